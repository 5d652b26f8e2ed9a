"""Laws of memory that training keeps: pages are asked for once, not once a step, and given back at the end."""

import itertools
import os
import subprocess
import sys
import threading

import pytest

from sklcnn.network import allocation
from sklcnn.network.allocation import freed_memory_kept

SCRIPT = """
import resource
import numpy as np
from skorch.callbacks import Callback
from sklcnn import CNNClassifier

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20

class CountPages(Callback):
    def on_epoch_end(self, net, **kwargs):
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        mb.append(resident())

pages, mb = [], []
X = np.random.RandomState(0).rand(192, 64, 64, 3).astype(np.float32)
cnn = CNNClassifier(max_epochs=4, random_state=0, callbacks=[CountPages])
cnn.fit(X, np.arange(192) % 10)
print(min(np.diff(pages)), max(mb), resident())
"""
glibc = pytest.mark.skipif(allocation._glibc() is None, reason="only glibc, left to its defaults, can be told")


def run(**environment):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(value) for value in result.stdout.split()]


@pytest.mark.slow
@glibc
def test_an_epoch_asks_the_system_for_no_memory_that_the_last_one_had():
    pages, most_mb, mb_afterwards = run()
    pages_by_default, *_ = run(MALLOC_TRIM_THRESHOLD_="131072")  # glibc's default, which as the user's choice stays
    assert pages_by_default > 2000
    assert pages < pages_by_default / 10
    assert most_mb - mb_afterwards > 50  # a step's memory is given back


class Library:
    """Stands in for glibc, and notes what it is told."""

    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, size):
        self.calls.append(("keep" if size == allocation.WHILE_TRAINING[parameter] else "default", parameter))

    def malloc_trim(self, pad):
        self.calls.append(("trim", pad))


@pytest.fixture
def library(monkeypatch):
    library, resident = Library(), itertools.count(0, 2**30)
    monkeypatch.setattr(allocation, "_glibc", lambda: library)
    monkeypatch.setattr(allocation, "_resident", lambda: next(resident))
    return library


def told(what):
    return [(what, parameter) for parameter in allocation.WHILE_TRAINING]


def test_the_last_fit_to_end_gives_the_memory_back(library):
    began, may_end = threading.Event(), threading.Event()

    def train():
        with freed_memory_kept():
            began.set()
            may_end.wait()

    thread = threading.Thread(target=train)
    with freed_memory_kept():
        thread.start()
        began.wait()
    assert library.calls == told("keep")  # the thread still trains
    may_end.set()
    thread.join()
    assert library.calls == [*told("keep"), *told("default"), ("trim", 0)]


def test_an_error_gives_the_memory_back(library):
    with pytest.raises(ZeroDivisionError), freed_memory_kept(), freed_memory_kept():
        raise ZeroDivisionError
    assert library.calls == [*told("keep"), *told("default"), ("trim", 0)]


def test_little_memory_is_kept_for_the_next_fit(library, monkeypatch):
    monkeypatch.setattr(allocation, "_resident", lambda: 2**40)
    with freed_memory_kept():
        pass
    assert library.calls == [*told("keep"), *told("default")]


@pytest.mark.parametrize("name", allocation.CHOSEN)
def test_the_users_own_settings_stay(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert allocation._glibc.__wrapped__() is None


def test_another_c_library_is_left_alone(monkeypatch):
    for name in allocation.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda name: object())
    assert allocation._glibc.__wrapped__() is None
    monkeypatch.setattr(allocation, "_glibc", lambda: None)
    with freed_memory_kept():
        pass
