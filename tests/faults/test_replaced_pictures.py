"""Laws of picture files that change during a fit: what is cached is of the content that was read; changes are named."""

import os
import time

import numpy as np
import pytest
from PIL import Image
from skorch.callbacks import Callback

from sklcnn import CNNClassifier, CNNFeatures

LABELS = np.arange(6) % 2


def save(path, seed, size=(8, 8)):
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (*size, 3), np.uint8)).save(path, "BMP")


@pytest.fixture
def paths(tmp_path):
    for number in range(6):
        save(tmp_path / f"{number}.bmp", 40 * number)
    return [str(tmp_path / f"{number}.bmp") for number in range(6)]


def replace_by_another(path):
    save(path + ".new", 255)
    os.replace(path + ".new", path)


def replace_keeping_time(path):
    """Replace a file by one of the same size and time stamp."""
    status = os.stat(path)
    replace_by_another(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write_again_keeping_time(path):
    """Write other pixels into a file, of the same size, and set its time back."""
    status = os.stat(path)
    save(path, 255)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = {
    "replaced": (replace_by_another, "changed or replaced"),
    "replaced by one of the same size and time": (replace_keeping_time, "changed or replaced"),
    "replaced by one of another size": (lambda path: save(path, 7, (9, 11)), "changed or replaced"),
    "truncated": (lambda path: os.truncate(path, 60), "changed or replaced"),
    "deleted": (os.unlink, "does not exist"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_picture_that_changes_between_epochs_is_named(paths, name, monkeypatch):
    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", "0")  # so that each epoch reads it
    change, message = CHANGES[name]

    class Change(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                change(paths[4])

    cnn = CNNClassifier(image_size=8, max_epochs=3, filters=2, random_state=0, callbacks=[Change])
    with pytest.raises(ValueError, match=rf"row 4 the image file .*4\.bmp', which .*{message}"):
        cnn.fit(paths, LABELS)
    assert not hasattr(cnn, "net_")


@pytest.mark.parametrize("change", [replace_by_another, replace_keeping_time, write_again_keeping_time])
def test_a_picture_replaced_between_two_calls_is_read_again(paths, change):
    cnn = CNNClassifier(image_size=8, max_epochs=1, filters=2, random_state=0).fit(paths, LABELS)
    before = cnn.predict_proba(paths)  # every picture is decoded and kept
    change(paths[1])
    found = cnn.predict_proba(paths)
    save(paths[0], 255)
    # Rows at different places of a batch may round differently, as they do with oneDNN's kernels for SSE 4.1.
    np.testing.assert_allclose(found[1], cnn.predict_proba(paths)[0], rtol=1e-6)
    assert abs(found[1] - before[1]).max() > 1e-3


def features(paths, folder):
    cnn = CNNFeatures(backbone_weights=None, image_size=32, random_state=0, feature_cache=str(folder))
    return cnn.fit_transform(paths)


@pytest.mark.parametrize("change", [replace_by_another, replace_keeping_time, write_again_keeping_time])
def test_no_features_of_another_picture_are_kept_under_a_digest(paths, tmp_path, change, monkeypatch):
    from sklcnn.data.pictures.store import ImageStore

    keys = ImageStore.keys

    def digest_then_change(self, rows):
        digests = keys(self, rows)
        change(paths[2])
        return digests

    before = [(tmp_path / f"{number}.bmp").read_bytes() for number in range(6)]
    monkeypatch.setattr(ImageStore, "keys", digest_then_change)
    with pytest.raises(ValueError, match=r"row 2 the image file .* was changed or replaced"):
        features(paths, tmp_path / "cache")
    monkeypatch.undo()
    found = features(before, tmp_path / "cache")  # of the content that was digested
    np.testing.assert_array_equal(found, features(before, tmp_path / "other"))


def test_a_picture_written_a_moment_ago_is_read_as_it_is(tmp_path):
    path, seen = str(tmp_path / "0.bmp"), set()
    cnn = None
    for seed in range(0, 250, 25):
        save(path, seed)
        if cnn is None:
            cnn = CNNClassifier(image_size=8, max_epochs=1, filters=2, random_state=0).fit([path] * 4, [0, 1, 0, 1])
        seen.add(tuple(cnn.predict_proba([path])[0]))
        time.sleep(0.001)
    assert len(seen) == 10
