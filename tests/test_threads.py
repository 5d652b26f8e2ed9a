"""On how many of torch's threads networks run: no more than cores, one for small work, and as before afterwards."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV

from sklcnn import CNNClassifier, CNNFeatures
from sklcnn import threads as module
from sklcnn.threads import allowed_threads, cores_of_groups, threads_for

SMALL = {"input_shape": (8, 8), "filters": (2,), "dense_units": (), "max_epochs": 1, "random_state": 0}
LARGE = SMALL | {"filters": (32, 64), "batch_size": 120, "kernel_size": 7}


@pytest.fixture
def cores(monkeypatch):
    """Let torch have two threads, and the process four cores, or as many as a test says."""

    def pretend(n):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(n)), raising=False)

    monkeypatch.setattr(module, "_cores_of_groups", lambda: 2**20)
    pretend(4)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield pretend
    torch.set_num_threads(before)


class CountingLoss:
    """Cross-entropy that notes on how many threads it is computed."""

    def __init__(self):
        self.counts = set()

    def __call__(self, outputs, targets):
        self.counts.add(torch.get_num_threads())
        return -(targets * outputs.log_softmax(1)).sum(1)

    def __deepcopy__(self, memo):
        return self


def threads_of_fit(digits, **params):
    loss = CountingLoss()
    CNNClassifier(loss=loss, **params).fit(*digits)
    return loss.counts


def test_small_batches_train_on_one_thread_and_large_ones_on_torchs(cores, digits):
    assert threads_of_fit(digits, **SMALL) == {1}
    assert threads_of_fit(digits, **LARGE) == {2}


def test_one_row_has_torchs_threads_where_they_shorten_the_wait(cores, digits):
    counts = {}
    for name, filters in {"small": (2,), "large": (64, 128)}.items():
        cnn = CNNClassifier(**LARGE | {"filters": filters}).fit(digits[0][:20], digits[1][:20])
        cnn.module_.register_forward_hook(
            lambda *_, name=name: counts.setdefault(name, []).append(torch.get_num_threads())
        )
        cnn.predict(digits[0][:1])  # large: 6.5 million multiply-adds, 2 ** 22 to 2 ** 25
        cnn.predict(digits[0][:2])
    assert counts == {"small": [1, 1], "large": [2, 1]}


def test_training_takes_no_more_threads_than_the_process_has_cores(cores, digits):
    cores(1)
    assert threads_of_fit(digits, **LARGE) == {1}


def test_heads_of_frozen_backbones_train_on_one_thread(cores, digits):
    X, y = digits[0] / 16, digits[1]
    backbone = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.AdaptiveAvgPool2d(1))
    options = {"backbone": backbone, "input_shape": (8, 8), "max_epochs": 2, "random_state": 0}
    assert threads_of_fit((X, y), freeze_epochs=2, **options) == {1}
    assert threads_of_fit((X, y), freeze_epochs=1, **options) == {1, 2}  # how much work a module makes is not known


@pytest.mark.parametrize("params", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("n_cores", [1, 4])
def test_torch_has_as_many_threads_after_each_method_as_before(n_cores, params, cores, digits):
    cores(n_cores)
    X, y = digits
    cnn = CNNClassifier(**params)
    for call in (cnn.fit, cnn.partial_fit, cnn.score):
        call(X, y)
        assert torch.get_num_threads() == 2
    cnn.predict(X[:1])
    CNNFeatures(backbone=cnn).fit_transform(X)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_torch_has_as_many_threads_after_an_error_as_before(error, cores, digits):
    def failing(outputs, targets):
        raise error

    with pytest.raises(error):
        CNNClassifier(loss=failing, **SMALL).fit(*digits)
    assert torch.get_num_threads() == 2


def test_small_fits_are_the_same_to_the_bit_on_one_thread_and_on_two(cores, digits):
    X, y = digits
    on_two = CNNClassifier(**SMALL).fit(X, y).predict_proba(X)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(CNNClassifier(**SMALL).fit(X, y).predict_proba(X), on_two)


def test_a_saved_network_predicts_on_as_many_threads_as_the_one_that_was_fitted(digits):
    import pickle

    cnn = CNNClassifier(**SMALL).fit(*digits)
    assert pickle.loads(pickle.dumps(cnn)).module_.operations == cnn.module_.operations > 0


def test_work_inside_other_work_may_have_the_threads_that_torch_had_outside(cores):
    with threads_for(1):
        assert torch.get_num_threads() == 1
        assert allowed_threads() == 2
        with threads_for():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_a_new_thread_does_not_take_anothers_limit_for_torchs_own(cores):
    found = {}

    def work():
        with threads_for():
            found["inside"] = torch.get_num_threads()
        found["after"] = torch.get_num_threads()

    with threads_for(1):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == {"inside": 2, "after": 2}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("n_jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_nested_searches_leave_torchs_threads_as_they_were(n_jobs, cores, digits):
    bagging = BaggingClassifier(CNNClassifier(**SMALL), n_estimators=2, n_jobs=2, random_state=0)
    search = GridSearchCV(bagging, {"estimator__dropout": [0.0, 0.3]}, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(*digits)
    assert torch.get_num_threads() == 2


GROUPS = {
    "no quota, version 2": ({"sys/fs/cgroup/cpu.max": "max 100000"}, "0::/", 2**20),
    "version 2": ({"sys/fs/cgroup/a/cpu.max": "150000 100000"}, "0::/a/b", 2),
    "version 2, the least counts": (
        {"sys/fs/cgroup/a/cpu.max": "400000 100000", "sys/fs/cgroup/a/b/cpu.max": "20000 100000"}, "0::/a/b", 1
    ),
    "version 1": (
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
        "4:cpu,cpuacct:/of/the/host", 3,
    ),
    "no quota, version 1": (
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, "1:cpu:/", 2**20
    ),
    "no groups": ({}, "", 2**20),
}  # fmt: skip


@pytest.mark.parametrize(("files", "group", "expected"), GROUPS.values(), ids=GROUPS.keys())
def test_the_quotas_of_control_groups_count_as_cores(files, group, expected, tmp_path):
    for name, text in (files | {"proc/self/cgroup": group}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert cores_of_groups(tmp_path) == expected


FORK = """
import os, sys, torch
from sklearn.datasets import load_digits
from sklcnn import CNNClassifier
X, y = load_digits(n_class=4, return_X_y=True)
torch.set_num_threads(2)
large = CNNClassifier(input_shape=(8, 8), batch_size=512, kernel_size=7, max_epochs=1, random_state=0)
if sys.argv[1] == "after a fit":
    large.fit(X, y)
torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # OpenMP has its threads now
child = os.fork()
if not child:
    large.fit(X, y).predict(X)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert torch.get_num_threads() == 2
large.fit(X, y)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only some systems fork")
@pytest.mark.parametrize("when", [pytest.param("after import", marks=pytest.mark.slow), "after a fit"])
def test_a_forked_child_fits_and_the_parent_goes_on(when):
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, when], check=True, timeout=300)
