"""Laws of interrupts: whatever line one falls on, no lock is held and no setting of the process is lost."""

import io
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from injection import PACKAGE, count_lines, interrupt, lost_by
from PIL import Image
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(12, 6, 6)
LABELS = np.arange(12) % 3
TINY = {"filters": (2,), "dense_units": (), "max_epochs": 1, "batch_size": 8, "random_state": 0}
# Files where locks are taken and settings of the process are changed.
OF_THE_PROCESS = (
    "process.py", "training/seeding.py", "training/modes.py", "network/allocation.py", "network/bounded.py",
    "network/counting.py", "network/feature_cache/memory.py", "network/feature_cache/claims.py",
    "network/feature_cache/folder.py", "data/pictures/cache.py", "data/pictures/errors.py", "data/pictures/store.py",
)  # fmt: skip


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray((255 * pixels).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = [encoded(image) for image in X]


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 2, 3), nn.ReLU(), nn.Flatten())


def fit_arrays():
    cnn = CNNClassifier(**TINY, early_stopping=True, validation_fraction=0.25, dropout=0.3, batch_norm=True)
    cnn.fit(X, LABELS)


def fit_pictures(folder):
    """Fit encoded pictures by a frozen backbone of the user's."""
    cnn = CNNClassifier(**TINY, backbone=small_backbone, freeze_epochs=9, image_size=6, feature_cache=str(folder))
    cnn.fit(PICTURES[:6], LABELS[:6]).predict(PICTURES[:1])


def compute_features(folder):
    """Compute features of a named backbone, which go into a folder."""
    for path in folder.glob("*.features"):
        path.unlink()
    CNNFeatures(backbone_weights=None, random_state=0, feature_cache=str(folder)).fit_transform(X[:3, :, :, None])


CALLS = {
    "arrays": lambda folder: fit_arrays,
    "pictures": lambda folder: partial(fit_pictures, folder),
    "features in a folder": lambda folder: partial(compute_features, folder),
}


def assert_nothing_lost(call, chosen):
    """Interrupt a call on the chosen lines, the first and the last time that each is run; count that."""
    call()  # what is imported and read once
    failures, n_injected = {}, 0
    for line, n_times in count_lines(call).items():
        for time in sorted({1, n_times}) if chosen(line) else ():
            n_injected += 1
            lost = lost_by(call, line, time)
            if lost:
                failures[line, time] = lost
            assert "a lock" not in lost, failures
    assert lost_by(call, None, 1) == []  # the locks of the last one
    assert not failures, (len(failures), n_injected, failures)
    return n_injected


# Files that the interrupted line had open are closed as its frame goes.
closed_late = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@closed_late
@pytest.mark.parametrize("name", ["arrays", pytest.param("pictures", marks=pytest.mark.slow)])
def test_an_interrupt_on_a_line_that_changes_the_process_loses_nothing(name, tmp_path):
    assert assert_nothing_lost(CALLS[name](tmp_path), lambda line: line[0] in OF_THE_PROCESS) > 50


@pytest.mark.slow
@closed_late
@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_on_any_line_loses_nothing(name, tmp_path):
    n_injected = assert_nothing_lost(CALLS[name](tmp_path), lambda line: True)
    print(f"{name}: {n_injected} interrupts")
    assert n_injected > 500


def test_an_interrupt_is_raised():
    line = next(iter(count_lines(fit_arrays)))
    assert interrupt(fit_arrays, line, 1)


# What an interrupt must not leave held or entered, and what stands for it in the package.
BARE = re.compile(r"threading\.R?Lock\(\)|(?<!Entered\()(warnings\.catch_warnings|torch\.random\.fork_rng)\(")


@pytest.mark.parametrize("path", sorted(Path(PACKAGE).rglob("*.py")), ids=lambda path: path.name)
def test_locks_and_settings_of_the_process_are_those_that_are_undone(path):
    assert path.name == "process.py" or not BARE.search(path.read_text())
