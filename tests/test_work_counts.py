"""How much work a fit does: copies, passes, calls and waits are counted, since seconds depend on the machine."""

import io
import sys
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from counted import Counted
from marks import slow_but
from PIL import Image
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sklcnn import CNNClassifier
from sklcnn.data.reading import read_inputs
from sklcnn.fitting.specs import input_spec
from sklcnn.training.net import TrainingNet

N_PASSES = Counted("sklcnn.features")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((96, 8, 8, 1), dtype=np.float32)
LABELS = np.arange(96) % 3
QUICK = {"filters": (2,), "dense_units": (), "batch_size": 8, "max_epochs": 1, "random_state": 0}
# A network that is soon through many images.
COARSE = QUICK | {"kernel_size": 8, "stride": 8, "pooling": None, "batch_size": 64}
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation returns, other than as a view."""

    n_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given, given_back = (
            [leaf for leaf in tree_leaves(some) if isinstance(leaf, torch.Tensor)] for some in ((args, kwargs), result)
        )
        places = {tensor.untyped_storage().data_ptr() for tensor in given}
        sizes = [tensor.nbytes for tensor in given_back if tensor.untyped_storage().data_ptr() not in places]
        self.n_bytes = max([self.n_bytes, *sizes])
        return result


class Reads(TorchDispatchMode):
    """Counts how often Python waits for a number of torch's: `item`, `float`, `bool` and the like."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def read_numbers(work):
    with Reads() as reads:
        work()
    return reads.n


@contextmanager
def numpy_peak():
    """Yield a list that holds, after the block, the most bytes that NumPy and Python held beyond those before it."""
    peak = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def python_calls(work):
    """Count the calls of functions, Python's and C's."""
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        n_calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return n_calls


def per_batch(count, n_rows=(32, 96), **params):
    """Count what one more batch of a fit takes."""
    counts = []
    for n in (*n_rows, *n_rows):  # the first two find nothing imported or cached
        cnn = CNNClassifier(**QUICK | params)
        counts.append(count(lambda cnn=cnn, n=n: cnn.fit(IMAGES[:n], LABELS[:n])))
    return (counts[3] - counts[2]) / ((n_rows[1] - n_rows[0]) / QUICK["batch_size"])


# Memory.


@pytest.fixture(scope="module")
def large():
    """Return 40 MB of images, enough to be told from what any fit takes, and labels."""
    images = np.random.default_rng(0).integers(0, 256, (40_000, 32, 32, 1), np.uint8)
    return images, np.arange(len(images)) % 3


TASKS = pytest.mark.parametrize(
    "task",
    [
        pytest.param(lambda cnn, images, labels: cnn.fit(images, labels), id="fit"),
        pytest.param(
            lambda cnn, images, labels: cnn.set_params(early_stopping=True).fit(images, labels),
            id="early stopping",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda cnn, images, labels: cnn.predict(images), id="predict"),
    ],
)


@TASKS
def test_no_array_of_the_size_of_X_is_made(task, large):
    images, labels = large
    cnn = CNNClassifier(**COARSE).fit(images[:64], labels[:64])
    with numpy_peak() as peak, LargestTensor() as largest:
        task(cnn, images, labels)
    assert peak[0] < images.nbytes / 4  # a chunk of a million values in float64 is 8 MB
    assert largest.n_bytes < images.nbytes / 4


@TASKS
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak")
def test_peak_memory_grows_by_a_part_of_X(task, large):
    def status(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    def added(n_rows):
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        task(cnn, images[:n_rows], labels[:n_rows])
        return status("VmHWM") - before

    images, labels = large
    cnn = CNNClassifier(**COARSE).fit(images[:64], labels[:64])
    half, whole = (added(n_rows) for n_rows in (len(images) // 2, len(images)))
    assert whole - half < images.nbytes / 4  # a copy of X would add half of it


# How images are stored, and how those that are stored are seen.
LAYOUTS = {
    "every second row": (lambda images: np.repeat(images, 2, axis=0), lambda stored: stored[::2]),
    "reversed": (lambda images: images[::-1].copy(), lambda stored: stored[::-1]),
    "some channels": (lambda images: np.concatenate([images, images], -1), lambda stored: stored[..., :3]),
    "a crop": (lambda images: np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]), lambda stored: stored[:, 2:-2, 2:-2]),
    "mirrored": (lambda images: images[:, :, ::-1].copy(), lambda stored: stored[:, :, ::-1]),
    "channels moved": (lambda images: np.moveaxis(images, -1, 1).copy(), lambda stored: np.moveaxis(stored, 1, -1)),
    "Fortran order": (np.asfortranarray, lambda stored: stored),
    "big-endian": (lambda images: images.astype(images.dtype.newbyteorder(">")), lambda stored: stored),
}
GATHERED = np.random.default_rng(0).integers(0, 200, (2000, 12, 12, 3)).astype(np.float32)


def gathered(images, rows):
    """Return a batch, and the bytes that were allocated for it, by NumPy and by torch at once."""
    store, _ = read_inputs(images, input_spec(CNNClassifier()))
    for _ in range(2):  # with the first one torch imports modules
        with numpy_peak() as peak, LargestTensor() as largest:
            batch = store.batch(rows, torch.float32)
    return batch, peak[0] + largest.n_bytes


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "bool"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_is_read_without_a_copy_of_X_in_every_layout(layout, dtype, tmp_path):
    images, rows = GATHERED.astype(dtype), torch.arange(1990, 0, -71)
    expected = torch.from_numpy(images[rows.numpy()].astype(np.float32)).movedim(-1, 1)
    stored, seen = LAYOUTS[layout]
    np.save(tmp_path / "images.npy", stored(images))
    for same in (seen(stored(images)), seen(np.load(tmp_path / "images.npy", mmap_mode="r"))):
        batch, n_bytes = gathered(same, rows)
        assert torch.equal(batch, expected)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert n_bytes < 4 * expected.nbytes < same.nbytes  # in its own format, in order, and as floats


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_batch_of_numbers_that_are_not_aligned_is_read_without_a_copy_of_X(dtype):
    images, rows = GATHERED.astype(dtype), torch.arange(1990, 0, -71)
    same = np.frombuffer(b"0" + images.tobytes(), dtype, offset=1).reshape(images.shape)
    batch, n_bytes = gathered(same, rows)
    assert torch.equal(batch, gathered(images, rows)[0])
    assert n_bytes < 4 * batch.nbytes < same.nbytes


@pytest.mark.parametrize(
    "layout", slow_but(["a crop", "mirrored", "channels moved", "Fortran order"], ["Fortran order"])
)
@TASKS
def test_no_array_of_the_size_of_X_is_made_where_its_rows_are_in_no_order(task, layout, monkeypatch):
    monkeypatch.setattr("sklcnn.data.reading.numbers.TOGETHER", 2**20)  # of rows that lie apart, so much is copied
    images = np.random.default_rng(0).integers(0, 256, (20_000, 32, 32, 3), np.uint8)
    stored, seen = LAYOUTS[layout]
    images, labels = seen(stored(images)), np.arange(len(images)) % 3
    cnn = CNNClassifier(**COARSE).fit(images[:64], labels[:64])
    with numpy_peak() as peak, LargestTensor() as largest:
        task(cnn, images, labels)
    assert peak[0] < images.nbytes / 4
    assert largest.n_bytes < images.nbytes / 4


def test_rows_of_a_table_are_put_together_whatever_its_size(monkeypatch):
    monkeypatch.setattr("sklcnn.data.reading.numbers.TOGETHER", 0)
    table = pd.DataFrame(np.arange(400.0).reshape(40, 10))
    stores = [read_inputs(X, input_spec(CNNClassifier()), training=True)[0] for X in (table, table.to_numpy())]
    assert [store._array.flags.c_contiguous for store in stores] == [True, False]


# Passes through a network.


class CountedRelu(nn.ReLU):
    """Counts the rows that pass while training, and otherwise; not the zeros that an own activation is tried on."""

    rows = {True: 0, False: 0}  # noqa: RUF012

    def forward(self, maps):
        CountedRelu.rows[self.training] += len(maps) if maps.any() else 0
        return super().forward(maps)


@pytest.fixture
def passes():
    CountedRelu.rows = {True: 0, False: 0}
    return CountedRelu.rows


def test_training_rows_pass_once_an_epoch(passes):
    CNNClassifier(**QUICK | {"activation": CountedRelu, "max_epochs": 3}).fit(IMAGES, LABELS)
    assert passes == {True: 3 * 96, False: 0}


@pytest.mark.parametrize("scoring", ["loss", "accuracy", "neg_log_loss"])
def test_validation_rows_pass_once_an_epoch(passes, scoring):
    params = QUICK | {"activation": CountedRelu, "max_epochs": 3, "early_stopping": True, "validation_fraction": 0.25}
    cnn = CNNClassifier(scoring=scoring, **params).fit(IMAGES, LABELS)
    assert passes == {True: cnn.n_iter_ * 72, False: cnn.n_iter_ * 24}


def test_refit_passes_each_row_once_an_epoch(passes):
    params = QUICK | {"activation": CountedRelu, "max_epochs": 3, "early_stopping": True, "validation_fraction": 0.25}
    cnn = CNNClassifier(refit_full=True, **params).fit(IMAGES, LABELS)
    assert passes[True] == len(cnn.history_) * 72 + cnn.best_epoch_ * 96


def test_predict_passes_each_row_once(passes):
    cnn = CNNClassifier(**QUICK | {"activation": CountedRelu}).fit(IMAGES, LABELS)
    passes.update({True: 0, False: 0})
    cnn.predict(IMAGES)
    assert passes == {True: 0, False: 96}


def own_backbone():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_a_search_passes_each_distinct_image_through_a_frozen_backbone_once():
    images = RANDOM.random((40, 9, 9, 1), dtype=np.float32)
    images[30:] = images[:10]
    labels = np.arange(40) % 2
    # Standardised, the inputs of a network of one's own would differ from fold to fold.
    cnn = CNNClassifier(
        backbone=own_backbone(), standardize=False, freeze_epochs=4, dense_units=(), max_epochs=4, random_state=0
    )
    before = N_PASSES.value
    search = GridSearchCV(cnn, {"l2": [0, 1e-3], "early_stopping": [False, True]}, cv=2).fit(images, labels)
    search.predict(images)
    assert N_PASSES.value - before == 30


# Python, a batch.


def test_a_batch_takes_few_more_calls_than_a_loop_written_by_hand():
    inputs, targets = torch.from_numpy(IMAGES).movedim(-1, 1), torch.from_numpy(LABELS)

    def loop(n):
        module = CNNClassifier(**QUICK).fit(IMAGES[:8], LABELS[:8]).module_.train()
        optimizer = torch.optim.Adam(module.parameters(), fused=True)

        def train():
            total = torch.zeros(())
            for rows in torch.arange(n).split(QUICK["batch_size"]):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(module(inputs[rows]), targets[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach()

        return python_calls(train)

    by_hand = (loop(96) - loop(32)) / 8
    assert per_batch(python_calls) < by_hand + 50


def test_one_row_is_predicted_with_few_more_calls_than_the_network_makes():
    cnn = CNNClassifier(**QUICK).fit(IMAGES, LABELS)
    row = torch.from_numpy(IMAGES[:1]).movedim(-1, 1)

    @torch.inference_mode()
    def bare():
        cnn.module_(row)

    def predict():
        cnn.predict(IMAGES[:1])

    bare(), predict()  # what is imported, is imported now
    assert python_calls(predict) < python_calls(bare) + 230


@pytest.mark.parametrize("kind", ["array", "picture"])
def test_one_row_is_predicted_in_the_calling_thread(kind, monkeypatch):
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "PNG")
    X = IMAGES if kind == "array" else [file.getvalue()] * 6
    cnn = CNNClassifier(**QUICK, image_size=8).fit(X, LABELS[: len(X)])
    monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread was started"))
    cnn.predict(X[:1])


def test_no_callback_is_notified_of_batches_if_none_listens(monkeypatch):
    told = []
    notify = TrainingNet.notify
    monkeypatch.setattr(TrainingNet, "notify", lambda net, name, **rest: told.append(name) or notify(net, name, **rest))
    CNNClassifier(**QUICK).fit(IMAGES, LABELS)
    assert not [name for name in told if "batch" in name or "grad" in name]
    assert told.count("on_epoch_end") == 1  # the patch hears


def test_a_callback_that_listens_is_notified_of_each_batch():
    class Counter(Callback):
        n = 0

        def on_batch_end(self, net, training=False, **rest):
            Counter.n += training

    CNNClassifier(**QUICK, callbacks=[Counter()]).fit(IMAGES, LABELS)
    assert Counter.n == 96 / 8


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_number_is_read_back_for_a_batch(optimizer):
    assert per_batch(read_numbers, optimizer=optimizer, l1=1e-3, l2=1e-3, batch_norm=True, dropout=0.5) == 0


def test_this_count_notices_a_callback_that_reads_the_loss_of_each_batch():
    class Reader(Callback):
        def on_batch_end(self, net, loss=None, training=False, **rest):
            if training:
                loss.item()

    assert per_batch(read_numbers, callbacks=[Reader()]) >= 1
