"""A network that does not fit into what is free is refused before it is built, by a count that is never too high."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.fitting.specs import network_spec
from sklcnn.network.memory import count_weights, free_memory
from sklcnn.training import memory

GB = 10**9
RANDOM = np.random.RandomState(0)
Y = np.arange(8) % 2


def signals(n_samples):
    return RANDOM.randn(8, n_samples).astype(np.float32)


# By what takes most: the weights of a dense layer, or a batch.
LARGE = [
    (signals(48_000), {"filters": (32, 64)}, "dense1"),
    (signals(48_000), {"global_pooling": "avg", "filters": 256}, "block2|block1|dense1|output"),
    (RANDOM.randn(8, 300, 300, 1), {}, "dense1"),
    (RANDOM.randn(8, 40, 40, 40), {"spatial_dims": 3}, "dense1"),
    (signals(64), {"dense_units": (8000, 8000)}, "dense2"),
]


@pytest.mark.parametrize("estimator_class", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize(("X", "params", "layer"), LARGE, ids=str)
def test_what_does_not_fit_is_refused_with_what_takes_less(X, params, layer, estimator_class, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: GB // 10)
    estimator = estimator_class(max_epochs=1, random_state=0, **params)
    words = rf"^{estimator_class.__name__}: .*more memory than there is.*most of them in ({layer}) .*Lower batch_size"
    with pytest.raises(MemoryError, match=words):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "net_")


def test_what_is_named_as_taking_less_does(monkeypatch):
    X = signals(6000)
    monkeypatch.setattr(memory, "free_memory", lambda: GB // 10)
    large = {"filters": (32, 64), "max_epochs": 1, "batch_size": 8}
    with pytest.raises(MemoryError):
        CNNClassifier(**large).fit(X, Y)
    for less in ({"filters": "auto"}, {"dense_units": (4,)}, {"pool_size": 20}, {"global_pooling": "avg"}):
        CNNClassifier(**large | less).fit(X, Y)


def test_a_head_too_large_for_memory_is_refused_on_a_backbone_too(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: GB // 10)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
    estimator = CNNClassifier(backbone=backbone, dense_units=(8000, 8000), max_epochs=1)
    with pytest.raises(MemoryError, match=r"CNNClassifier: .*most of them in dense2"):
        estimator.fit(RANDOM.rand(8, 9, 9, 1), Y)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_weights_are_those_of_the_network(dims, batch_norm):
    X = RANDOM.randn(8, *(9, 8, 7)[:dims], 3)
    cnn = CNNClassifier(
        max_epochs=1, batch_norm=batch_norm, spatial_dims=dims, data_format="channels_last", dense_units=(5, 4)
    ).fit(X, Y)
    counted = count_weights(network_spec(cnn, cnn.sample_shape_), cnn.sample_shape_, cnn.n_outputs_)
    found = {
        name: sum(p.numel() for path, p in layer.named_parameters() if "norm" not in path)
        for name, layer in cnn.module_.named_children()
    }
    assert counted == {name: n for name, n in found.items() if n}


PEAK = """
import json, sys, warnings
from pathlib import Path

import numpy as np
import torch

from sklcnn import CNNClassifier
from sklcnn.fitting.specs import network_spec, training_spec
from sklcnn.training.memory import need_of_network

warnings.simplefilter("ignore")
torch.set_num_threads(1)
shape, params = json.loads(sys.argv[1])


def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


X, y = np.random.RandomState(0).randn(16, *shape).astype(np.float32), np.arange(16) % 2
CNNClassifier(max_epochs=2).fit(X.reshape(16, -1)[:, :64], y)  # what is loaded and kept at the first call
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
cnn = CNNClassifier(max_epochs=2, **params).fit(X, y)
peak = status("VmHWM") - before
network = network_spec(cnn, cnn.sample_shape_)
need = need_of_network(network, training_spec(cnn, 16), cnn.sample_shape_, cnn.n_outputs_, 16)
print(json.dumps([need.network + need.batch, peak]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("shape", "params"),
    [
        pytest.param((10_000,), {"batch_norm": True}, marks=pytest.mark.slow),
        pytest.param((64, 64, 3), {"early_stopping": True}, marks=pytest.mark.slow),
        pytest.param(
            (12, 12, 12),
            {"spatial_dims": 3, "pooling": None, "optimizer": "sgd", "activation": "gelu"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_a_fit_takes_what_was_counted_and_no_more_than_three_times_as_much(shape, params):
    result = subprocess.run([sys.executable, "-c", PEAK, json.dumps([shape, params])], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    counted, peak = json.loads(result.stdout)
    assert counted / 1.1 < peak < 3 * counted + 50e6  # a share of the first fit's memory is used again


# What is free, by files as systems write them.

MEMINFO = "MemTotal: 9000000 kB\nMemFree: 100 kB\nMemAvailable: 8000000 kB\nSwapTotal: 0 kB\nSwapFree: 500000 kB\n"
LEFT = 8_500_000 * 1024
V2 = {"memory.max": "max", "memory.current": "3000", "memory.stat": "anon 1\ninactive_file 500\n"}
V1 = {
    "memory.limit_in_bytes": str(2**63 - 4096), "memory.usage_in_bytes": "3000",
    "memory.stat": "inactive_file 100\ntotal_inactive_file 500\n",
}  # fmt: skip
SYSTEMS = {
    "no groups": ("", {}, LEFT),
    "no limit": ("0::/user/job\n", {"user/job": V2, "user": V2}, LEFT),
    "a limit": ("0::/user/job\n", {"user/job": V2 | {"memory.max": "10000"}}, 7500),
    "a limit around": ("0::/user/job\n", {"user/job": V2, "user": V2 | {"memory.max": "5000"}}, 2500),
    "the container's own": ("0::/\n", {".": V2 | {"memory.max": "4000"}}, 1500),
    "more than the limit": ("0::/a\n", {"a": V2 | {"memory.max": "2000"}}, 0),
    "version 1": ("9:cpu:/a\n8:memory:/a\n0::/\n", {"memory/a": V1 | {"memory.limit_in_bytes": "10000"}}, 7500),
    "version 1, no limit": ("8:memory:/a\n", {"memory/a": V1}, LEFT),
    "version 1, the host's path": ("8:memory:/x/y\n", {"memory": V1 | {"memory.limit_in_bytes": "9000"}}, 6500),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_free_is_the_least_that_machine_and_groups_leave(system, tmp_path):
    groups, folders, expected = SYSTEMS[system]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for folder, files in folders.items():
        path = tmp_path / "sys/fs/cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (path / name).write_text(text)
    assert free_memory(tmp_path) == expected


def test_nothing_is_refused_where_the_system_does_not_tell(tmp_path):
    assert free_memory(tmp_path) is None
