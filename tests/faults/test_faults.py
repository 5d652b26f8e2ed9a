"""Laws of faults from outside: signals, full disks, folders that cannot be written to, memory that ends."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from injection import process_state
from sklearn.model_selection import GridSearchCV
from test_interrupted_lines import PICTURES, small_backbone

from sklcnn import CNNClassifier, CNNFeatures
from sklcnn.data.pictures.store import ImageStore
from sklcnn.network.feature_cache import opening

RANDOM = np.random.RandomState(0)
X, LABELS = RANDOM.rand(24, 8), np.arange(24) % 3
TINY = {"filters": 2, "dense_units": 4, "max_epochs": 4, "batch_size": 8, "random_state": 0}


def fit():
    return CNNClassifier(**TINY).fit(X, LABELS).predict_proba(X)


def search(n_jobs=1):
    found = GridSearchCV(CNNClassifier(**TINY), {"dropout": [0, 0.3]}, cv=2, n_jobs=n_jobs).fit(X, LABELS)
    return found.cv_results_["mean_test_score"]


def predict_pictures():
    cnn = CNNClassifier(**TINY | {"max_epochs": 1}, backbone=small_backbone, image_size=6)
    cnn.fit(PICTURES, np.arange(12) % 2)
    return np.concatenate([cnn.predict_proba(PICTURES[start:]) for start in range(10)])


def features(folder):
    opening._forget_caches()
    return CNNFeatures(backbone_weights=None, image_size=32, random_state=0, feature_cache=str(folder)).fit_transform(
        PICTURES
    )


RECEIVED: list[int] = []


def receive(number, frame):
    """Raise as Python's own handler does, and note that the signal is here."""
    RECEIVED.append(number)
    raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts():
    """Let SIGINT raise, as it does in a program of its own."""
    before = signal.signal(signal.SIGINT, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_after(seconds, call):
    """Call a function that is interrupted after some time, if it has not ended; return whether it was."""
    begun, done, sent, n_before = threading.Event(), threading.Event(), threading.Event(), len(RECEIVED)

    def send():
        begun.wait()  # else a signal might be here before what catches it
        if not done.wait(seconds):
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        begun.set()
        call()
        done.set()
        thread.join()
        while sent.is_set() and len(RECEIVED) == n_before:  # a busy machine delivers it late
            time.sleep(0.001)
    except KeyboardInterrupt:
        pass
    done.set()
    thread.join()
    return sent.is_set()


CALLS = {"fit": fit, "search": search, "predict": predict_pictures}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", [*CALLS, "cache"])
def test_signals_at_random_moments_lose_nothing(name, tmp_path):
    call = CALLS.get(name, lambda: features(tmp_path))
    call()  # what is imported and compiled once
    began = time.perf_counter()
    expected = call()
    took = time.perf_counter() - began
    n_sent = 0
    with interrupts():
        for share in RANDOM.rand(100):
            if n_sent == 6:
                break
            for path in tmp_path.glob("*.features"):
                path.unlink()
            before = process_state()
            n_sent += interrupt_after(share * took, call)
            assert process_state() == before
    assert n_sent
    np.testing.assert_array_equal(call(), expected)
    assert not list(tmp_path.glob(".*.tmp"))


PARALLEL = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_faults import interrupts, search

with interrupts():
    search(2)
    print("ready", flush=True)
    while True:
        search(2)
"""


@pytest.mark.slow
def test_control_c_ends_a_search_in_two_processes_and_its_workers():
    with subprocess.Popen(
        [sys.executable, "-c", PARALLEL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("workers are left")


@contextlib.contextmanager
def full_disk():
    """Let no file grow past a kilobyte."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_features_are_computed_where_the_disk_is_full(tmp_path):
    expected = features(tmp_path / "whole")
    with full_disk(), pytest.warns(UserWarning, match="The feature cache cannot use the folder .*Free some space"):
        found = features(tmp_path / "full")
    np.testing.assert_array_equal(found, expected)
    assert not list((tmp_path / "full").glob("*"))


@pytest.mark.parametrize("kind", ["a file", "a link to itself"])
def test_features_are_computed_where_the_folder_is_none(tmp_path, kind):
    expected, path = features(tmp_path / "whole"), tmp_path / "none"
    path.write_text("") if kind == "a file" else path.symlink_to("none")
    with pytest.warns(UserWarning, match="The feature cache cannot use the folder"):
        np.testing.assert_array_equal(features(path), expected)


def test_a_folder_replaced_by_a_file_under_way_is_done_without(tmp_path, monkeypatch):
    expected, folder = features(tmp_path / "whole"), tmp_path / "cache"
    keys = ImageStore.keys

    def keys_then_replace(self, rows):
        folder.write_text("")
        return keys(self, rows)

    monkeypatch.setattr(ImageStore, "keys", keys_then_replace)
    with pytest.warns(UserWarning, match="The feature cache cannot use the folder"):
        np.testing.assert_array_equal(features(folder), expected)


@pytest.mark.slow
def test_an_export_to_a_full_disk_leaves_no_file(tmp_path):
    from sklcnn import export_onnx

    cnn = CNNClassifier(**TINY).fit(X, LABELS)
    with full_disk(), pytest.raises(OSError):
        export_onnx(cnn, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_thread_that_decodes_is_raised_and_ends_the_threads(monkeypatch):
    n_before, decode = threading.active_count(), ImageStore._decode

    def fail(self, row):
        if row == 7 and threading.current_thread() is not threading.main_thread():
            raise RuntimeError("decoder failed")
        return decode(self, row)

    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", "0")
    monkeypatch.setattr(ImageStore, "_decode", fail)
    cnn = CNNClassifier(**TINY, image_size=4, n_jobs=2)
    with pytest.raises(RuntimeError, match="decoder failed"):
        cnn.fit(PICTURES, np.arange(12) % 2)
    assert threading.active_count() == n_before
    assert not hasattr(cnn, "net_")


LITTLE_MEMORY = """
import resource
import numpy as np
from sklcnn import CNNClassifier

X, y = np.random.RandomState(0).rand(256, 16, 16, 3).astype("float32"), np.arange(256) % 2
cnn = CNNClassifier(max_epochs=1, batch_size=8, random_state=0).fit(X, y)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
large = CNNClassifier(filters=512, batch_size=256, max_epochs=1)
try:
    large.fit(X, y)
except MemoryError as error:
    print(error)
print(hasattr(large, "net_"), len(cnn.predict(X[:8])))
"""


def test_where_memory_ends_a_fit_says_what_takes_less_and_others_go_on():
    result = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, timeout=120)
    lines = result.stdout.splitlines()
    assert "Lower batch_size" in lines[0], result.stderr
    assert lines[1] == "False 8"
