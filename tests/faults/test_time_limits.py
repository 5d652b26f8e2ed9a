"""Laws of time limits: the error that the handler of a signal raises ends a call, whatever is being done just then."""

import functools
import io
import signal
import threading
import time

import numpy as np
import pytest
from filelock import FileLock
from injection import handled
from PIL import Image, ImageFile
from test_interrupted_lines import small_backbone

from sklcnn import CNNFeatures
from sklcnn.data.pictures import opening, sources
from sklcnn.data.pictures.cache import IMAGE_CACHE
from sklcnn.network.feature_cache import folder
from sklcnn.network.feature_cache.shards import KEY_BYTES
from sklcnn.process import leaves_process_as_found
from sklcnn.signals import raise_if_signalled, suppressed

OVER = r"^time is over$"


class TimeIsOverError(RuntimeError):
    """An error of a library that sets time limits."""


class Limit:
    """A time limit whose handler is an object, or a method of it."""

    def __call__(self, number, frame):
        """End whatever runs."""
        raise TimeoutError("time is over")

    def end(self, number, frame):
        """End whatever runs."""
        raise TimeIsOverError("time is over")


def end(message, number, frame):
    raise TimeoutError(message)


HANDLERS = {
    "function": lambda number, frame: end("time is over", number, frame),
    "object": Limit(),
    "method": Limit().end,
    "partial": functools.partial(end, "time is over"),
}
OF_PICTURES = {
    "header": (opening, "open_with_pillow"),
    "file": (sources, "open_regular"),
    "decoding": (ImageFile.ImageFile, "load"),
    "tags": (Image.Image, "getexif"),
}
OF_FOLDERS = {
    "list": (folder.os, "listdir"),
    "claim": (FileLock, "acquire"),
    "give back": (folder.Path, "unlink"),
    "encode": (folder, "encode_shard"),
    "write": (folder.Path, "write_bytes"),
    "clean up": (folder.Path, "unlink"),
    "index": (folder, "read_table"),
    "read": (folder.Shard, "value"),
}


def send_once(monkeypatch, owner, name):
    """Let a signal come the first time that a function is called; return a list, empty until then."""
    function, sent = getattr(owner, name), []

    @functools.wraps(function)
    def call(*args, **kwargs):
        if not sent:
            sent.append(name)
            signal.raise_signal(signal.SIGALRM)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)
    return sent


def features(pictures):
    IMAGE_CACHE.clear()
    return CNNFeatures(backbone=small_backbone, image_size=6, feature_cache=None, n_jobs=1).fit_transform(pictures)


@pytest.mark.parametrize("place", OF_PICTURES)
def test_a_time_limit_ends_a_call_while_pictures_are_read(place, tmp_path, monkeypatch):
    random = np.random.RandomState(0)
    pictures = []
    for row in range(3):
        file = io.BytesIO() if place in ("decoding", "tags") else tmp_path / f"{row}.png"
        Image.fromarray(random.randint(0, 256, (8, 8, 3), np.uint8)).save(file, "PNG")
        pictures.append(Image.open(file) if isinstance(file, io.BytesIO) else file)
    sent = send_once(monkeypatch, *OF_PICTURES[place])
    with handled(signal.SIGALRM, HANDLERS["function"]), pytest.raises(TimeoutError, match=OVER):
        features(pictures)
    assert sent
    assert len(features(pictures)) == 3


def fill(path):
    """Fill a folder of features, or take from it what it has; return how many keys have their own value."""
    keys = [bytes([row]) * KEY_BYTES for row in range(4)]
    kept = {}

    def compute(missing):
        yield missing, [np.full(3, key[0], np.float32) for key in missing]

    def keep(done, values):
        kept.update(zip(done, values, strict=True))

    leaves_process_as_found(folder.FolderCache(path).fill)(keys, compute, keep)
    return sum(kept[key][0] == key[0] for key in keys)


@pytest.mark.parametrize("place", OF_FOLDERS)
def test_a_time_limit_ends_a_call_while_a_folder_of_features_is_used(place, tmp_path, monkeypatch):
    if place in ("give back", "index", "read"):
        fill(tmp_path)
    sent = send_once(monkeypatch, *OF_FOLDERS[place])
    with handled(signal.SIGALRM, HANDLERS["function"]), pytest.raises(TimeoutError, match=OVER):
        fill(tmp_path)
    assert sent
    assert fill(tmp_path) == 4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", HANDLERS)
def test_errors_of_handlers_of_any_kind_are_let_through(kind):
    with handled(signal.SIGALRM, HANDLERS[kind]), pytest.raises((TimeoutError, TimeIsOverError), match=OVER):
        try:
            signal.raise_signal(signal.SIGALRM)
        except Exception as error:
            raise_if_signalled(error)
    with handled(signal.SIGALRM, HANDLERS[kind]), pytest.raises((TimeoutError, TimeIsOverError)), suppressed(Exception):
        signal.raise_signal(signal.SIGALRM)


def test_other_time_outs_are_errors_like_others():
    """Such as those of sockets, which have no number of the system either."""
    with handled(signal.SIGALRM, HANDLERS["function"]), suppressed(OSError):
        raise TimeoutError("timed out")


def test_a_time_limit_that_comes_while_a_thread_is_started_is_no_key_error(monkeypatch):
    name = "_start_new_thread" if hasattr(threading, "_start_new_thread") else "_start_joinable_thread"
    start, sent = getattr(threading, name), []

    def start_and_send(*args, **kwargs):
        made = start(*args, **kwargs)
        while threading._limbo:  # until the thread has said that it runs
            time.sleep(0.001)
        sent.append(signal.raise_signal(signal.SIGALRM))
        return made

    monkeypatch.setattr(threading, name, start_and_send)
    picture = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype("u1")
    with handled(signal.SIGALRM, HANDLERS["function"]), pytest.raises(TimeoutError, match=OVER):
        features([picture, picture[1:]])
    assert sent
