"""What a fit adds to memory depends on its batches, not on the size or the number format of X."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sklcnn import CNNClassifier, CNNRegressor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")

MB = 10**6
SIZE, SHARE, CONSTANT = 60 * MB, 0.1, 12 * MB
TINY = {
    "filters": 2, "stride": 4, "pooling": None, "dense_units": (), "max_epochs": 1, "batch_size": 256,
    "random_state": 0,
}  # fmt: skip


def peak_added(call):
    """Measure the bytes by which the process grew, at most, during a call."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what there is
    before = status("VmRSS")
    call()
    return status("VmHWM") - before


def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def make_images(n_bytes, shape, dtype):
    block = np.random.default_rng(0).integers(0, 256, (500, *shape)).astype(dtype)
    return np.resize(block, (n_bytes // block[0].nbytes, *shape))


def labels_of(X):
    return np.arange(len(X)) % 3


def fit(X, **params):
    return CNNClassifier(**TINY | params).fit(X, labels_of(X))


CALLS = {
    "fit": fit,
    "fit without standardisation": lambda X: fit(X, standardize=False),
    "fit with early stopping": lambda X: fit(X, early_stopping=True),
    "fit with a scorer": lambda X: fit(X, early_stopping=True, scoring="balanced_accuracy"),
    "fit and refit": lambda X: fit(X, early_stopping=True, refit_full=True),
    "fit with resizing": lambda X: fit(X, image_size=14),
    "fit with weights": lambda X: CNNClassifier(**TINY, class_weight="balanced").fit(
        X, labels_of(X), labels_of(X) + 1.0
    ),
    "fit with validation rows": lambda X: CNNClassifier(**TINY).fit(
        X[:100], labels_of(X)[:100], X_val=X, y_val=labels_of(X)
    ),
    "fit of values": lambda X: CNNRegressor(**TINY).fit(X, np.arange(len(X)) * 1.0),
    "partial_fit": lambda X: CNNClassifier(**TINY).partial_fit(X, labels_of(X)),
    "predict": lambda X: fit(X[:100]).predict(X),
    "score": lambda X: fit(X[:100]).score(X, labels_of(X)),
}


@pytest.mark.parametrize(
    "dtype",
    ["float32", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("uint8", "int64", "float16", "float64"))],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_adds_little_to_memory(call, dtype):
    X = make_images(SIZE, (28, 28), dtype)
    CALLS[call](X[:600])  # what is loaded and kept at the first call
    # Once more, if need be: a copy of X is made each time, while what the allocator keeps is taken from the system once
    # (10 to 30 MB in a process that is new, by chance).
    assert any(peak_added(lambda: CALLS[call](X)) < SHARE * SIZE + CONSTANT for _ in range(3))


# In a process of its own

READ_BY_THE_BATCH = """
import json, resource, sys
from pathlib import Path

import numpy as np
import torch

from sklcnn import CNNClassifier

torch.set_num_threads(1)
folder, room, n_bytes, params = Path(sys.argv[1]), *json.loads(sys.argv[2])
cnn = CNNClassifier(**params)
cnn.fit(np.eye(64, dtype=np.uint8).reshape(1, 64, 64, 1).repeat(12, 0), np.arange(12) % 3)
data = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
limit = int(data.split()[1]) * 1024 + room
n_rows = (n_bytes or limit + 2**20) // 64**2
with open(folder / "pixels", "wb") as file:
    file.write(bytes(range(256)) * 1600)
    file.truncate(n_rows * 64**2)  # the rest is 0, and takes no place on the disk
X = np.memmap(folder / "pixels", np.uint8, "r", shape=(n_rows, 64, 64, 1))
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.array(X)
except MemoryError:
    labels = cnn.fit(X, np.arange(n_rows) % 3).predict(X)
    print(json.dumps({"rows": len(labels), "bytes": X.nbytes, "limit": limit}))
"""

MAPPED = {**TINY, "kernel_size": 8, "stride": 8, "padding": "valid", "early_stopping": True, "scoring": "accuracy"}


def read_by_the_batch(folder, room, n_bytes=None, **params):
    """Train on a read-only memory map that does not fit into what a process may take; it tells how large it was."""
    arguments = [str(folder), json.dumps([room, n_bytes, MAPPED | params])]
    result = subprocess.run([sys.executable, "-c", READ_BY_THE_BATCH, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_a_memory_map_larger_than_the_memory_left_trains(tmp_path):
    # A fit needs 40 to 60 MB, by how fragmented memory is: with 60 it failed now and then.
    assert read_by_the_batch(tmp_path, room=80 * MB, n_bytes=200 * MB)["rows"] == 200 * MB // 64**2


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"image_size": 16}], ids=str)
def test_a_memory_map_larger_than_all_a_process_may_take_trains(params, tmp_path):
    found = read_by_the_batch(tmp_path, room=120 * MB, **params)
    assert found["bytes"] > found["limit"]


PEAK = """
import json, sys

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
from test_memory import CALLS, make_images, peak_added

torch.set_num_threads(1)
call, dtype, shape, n_bytes = json.loads(sys.argv[2])
X = make_images(n_bytes, shape, dtype)
CALLS[call](X[:600])
print(peak_added(lambda: CALLS[call](X)))
"""


def peak_in_a_process(*arguments):
    command = [sys.executable, "-c", PEAK, str(Path(__file__).parent), json.dumps(arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "dtype", "shape"),
    [
        *((call, "uint8", (28, 28)) for call in CALLS if call != "fit with validation rows"),
        ("fit", "uint8", (3, 32, 32)),
        ("fit", "float32", (28, 28)),
        ("fit", "float64", (28, 28)),
        ("fit", "int64", (28, 28)),
        ("predict", "float64", (28, 28)),
    ],
)
def test_400_mb_add_no_more_than_40_mb_to_what_4_mb_add(call, dtype, shape):
    large, small = (peak_in_a_process(call, dtype, shape, n_bytes) for n_bytes in (400 * MB, 4 * MB))
    assert large - small <= 40 * MB
