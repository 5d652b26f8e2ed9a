"""Laws of names of pipes, devices and files of other kinds: refused in a sentence, at once and in little memory."""

import os
import re
import socket
import struct
import subprocess
import zlib

import numpy as np
import pytest
from ending import ended
from PIL import Image

from sklcnn import CNNClassifier, CNNFeatures
from sklcnn.data.pictures.store import ImageStore
from sklcnn.network.backbones.state_dicts import read_state_dict
from sklcnn.network.feature_cache import open_feature_cache
from sklcnn.network.feature_cache.shards import HEADER, MAGIC

RANDOM = np.random.RandomState(0)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
WMF = struct.pack("<IHhhhhHI", 0x9AC6CDD7, 0, 0, 0, 8, 8, 72, 0) + bytes(2) + b"\1\0\t\0\0\3" + bytes(20)


def png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def tiff_header(width, height):
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(path.parent)  # names of sockets are short
        bound.bind(path.name)


# By name: what makes it, and what is said of it.
NO_FILES = {
    "a pipe": (os.mkfifo, "a named pipe"),
    "a link to a device that never ends": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "a link to a device that waits": (lambda path: path.symlink_to("/dev/tty"), "a device|No such device"),
    "a socket": (make_socket, "a socket"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "[Ss]ymbolic links"),
    "a folder": (lambda path: path.mkdir(), "a folder"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "does not exist|no such file"),
}
OTHER_CONTENT = {
    "EPS": (EPS, "not an image that Pillow can open by itself"),
    "WMF": (WMF, "not an image that Pillow can open by itself"),
    "a PNG bomb": (png_header(60_000, 60_000), "decompression bombs"),
    "a TIFF bomb": (tiff_header(2**31, 2**31), "decompression bombs|truncated or broken"),
    "a PNG whose pixels are missing": (png_header(5_000, 5_000), "truncated or broken"),
    "a program": (b"\x7fELF" + bytes(100), "not an image"),
}
NAMES = {
    "null": ("a\0.png", "no file can have"),
    "surrogate": ("a\ud800.png", "no file can have|does not exist"),
    "a million characters": ("a" * 10**6 + ".png", "too long"),
    "a million folders": ("a/" * 500_000 + ".png", "too long"),
}


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        Image.fromarray(RANDOM.randint(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return [str(tmp_path / f"{number}.png") for number in range(3)]


def refused(call, message):
    with pytest.raises((ValueError, OSError)) as caught:
        ended(call)
    assert type(caught.value) in (ValueError, FileNotFoundError)
    text = str(caught.value)
    assert re.search(message, text), text
    assert len(text) < 600
    return text


def fit(paths):
    return CNNClassifier(image_size=8, max_epochs=1, filters=2, random_state=0).fit(paths, np.arange(len(paths)) % 2)


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_no_picture(paths, tmp_path, name):
    make, message = NO_FILES[name]
    make(tmp_path / "bad.png")
    assert "row 3 the image file" in refused(lambda: fit([*paths, "bad.png"]), message)


@pytest.fixture
def no_programs(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a program was started"))


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize("name", OTHER_CONTENT)
@pytest.mark.parametrize("form", ["file", "bytes"])
def test_other_content_under_the_name_of_a_picture_is_refused(paths, tmp_path, name, form):
    content, message = OTHER_CONTENT[name]
    (tmp_path / "bad.png").write_bytes(content)
    bad = "bad.png" if form == "file" else content
    assert "row 3" in refused(lambda: fit([*paths, bad]), message)


@pytest.mark.usefixtures("no_programs")
def test_a_picture_that_pillow_would_hand_to_another_program_is_not_loaded(paths, tmp_path):
    (tmp_path / "bad.eps").write_bytes(EPS)
    pictures = [Image.open(path) for path in (*paths, tmp_path / "bad.eps")]
    assert "row 3" in refused(lambda: fit(pictures), "format is EPS")
    for picture in pictures:
        picture.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_file_has_is_refused_in_a_line(paths, name):
    path, message = NAMES[name]
    assert "row 1" in refused(lambda: fit([paths[0], path, *paths[1:]]), message)
    refused(lambda: CNNFeatures(backbone_weights=path).fit(paths), message + "|no such file")


def test_a_file_without_end_is_not_read(paths, tmp_path):
    content = (tmp_path / "0.png").read_bytes()
    with open(tmp_path / "large.png", "wb") as file:
        file.write(content)
        file.truncate(2**40)  # of zeros, which take no room
    assert "row 3" in refused(lambda: fit([*paths, "large.png"]), "more than the")


@pytest.mark.parametrize("name", NO_FILES)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_is_no_file_is_no_weights(paths, tmp_path, name, suffix):
    make, message = NO_FILES[name]
    make(tmp_path / f"bad.{suffix}")
    refused(lambda: CNNFeatures(backbone_weights=f"bad.{suffix}").fit(paths), message)


def features(paths, folder):
    cnn = CNNFeatures(backbone_weights=None, image_size=32, random_state=0, feature_cache=str(folder))
    return cnn.fit_transform(paths)


@pytest.mark.filterwarnings("ignore:The feature cache:UserWarning")
@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_no_shard_of_a_cache(paths, tmp_path, name):
    make, _ = NO_FILES[name]
    (tmp_path / "cache").mkdir()
    make(tmp_path / "cache" / f"{'0' * 32}.features")
    os.chdir(tmp_path)
    found = ended(features, paths, tmp_path / "cache")
    np.testing.assert_array_equal(found, features(paths, tmp_path / "other"))


CRAFTED = {
    "a table of 2**32 entries": lambda path: path.write_bytes(HEADER.pack(MAGIC, 2**32 - 1, 10, b"f")),
    "rows of 2**32 numbers": lambda path: path.write_bytes(HEADER.pack(MAGIC, 1, 2**32 - 1, b"f") + bytes(96)),
    "zeros without end": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2**40),
    "a table without end": lambda path: (
        path.write_bytes(HEADER.pack(MAGIC, 2**32 - 1, 10, b"f")),
        os.truncate(path, 2**40),
    ),
}


@pytest.mark.filterwarnings("ignore:The feature cache:UserWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_shard_is_set_aside(paths, tmp_path, name):
    (tmp_path / "cache").mkdir()
    CRAFTED[name](tmp_path / "cache" / f"{'0' * 32}.features")
    found = ended(features, paths, tmp_path / "cache")
    np.testing.assert_array_equal(found, features(paths, tmp_path / "other"))


@pytest.mark.filterwarnings("ignore:The feature cache:UserWarning")
def test_shards_that_change_places_give_each_image_its_own_features(paths, tmp_path):
    expected = [features([path], tmp_path / "cache") for path in paths]
    shards = sorted((tmp_path / "cache").glob("*.features"))
    contents = [shard.read_bytes() for shard in shards]
    for shard, content in zip(shards, contents[1:] + contents[:1], strict=True):
        shard.write_bytes(content)
    # Another process reads them; this one is made to forget.
    from sklcnn.network.feature_cache import opening

    opening._forget_caches()
    for path, alone in zip(paths, expected, strict=True):
        np.testing.assert_array_equal(features([path], tmp_path / "cache"), alone)


# What reads each, without a fit: torch asks for the working folder itself when it imports some of its modules.
RELATIVE = {
    "feature_cache='cache'": lambda: open_feature_cache("cache"),
    "backbone_weights='weights.pth'": lambda: read_state_dict("weights.pth"),
    "X has in row 0 the image file 'a.png', ": lambda: ImageStore(["a.png"]),
}


@pytest.mark.parametrize("named", RELATIVE)
def test_relative_names_in_a_working_folder_that_was_deleted_are_refused_in_words(named, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises((FileNotFoundError, ValueError), match=f"{named}.*the working folder, which has been deleted"):
        RELATIVE[named]()


def test_a_folder_of_features_named_by_bytes_is_refused_with_the_remedy():
    X = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype("u1")
    with pytest.raises(TypeError, match=r"feature_cache must be .*os\.fsdecode.*; got b'cache'"):
        CNNFeatures(feature_cache=b"cache").fit(X)
