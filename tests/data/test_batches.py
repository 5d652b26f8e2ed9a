"""Laws of batches: how rows are divided, and that inputs, targets and weights stay together."""

import math

import numpy as np
import pytest
import torch

from sklcnn.data.batches import Rows, batch_sizes, few_rows
from sklcnn.data.reading import read_inputs
from sklcnn.data.schema import InputSpec

CPU = torch.device("cpu")
SHAPES = {"signals": (9,), "grey": (5, 6), "colour": (5, 6, 3), "volumes": (2, 5, 6, 3)}


def make_rows(shape=(5, 6, 3), n=20, dtype="uint8", weighted=True):
    """Make rows whose pixels, targets and weights all tell the row's number."""
    X = np.broadcast_to(np.arange(n).reshape(n, *[1] * len(shape)), (n, *shape)).astype(dtype)
    store, _ = read_inputs(X, InputSpec("owner", data_format="channels_last"))
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(0))[: n - 5]
    return Rows(store, chosen, chosen * 10, chosen / 100 if weighted else None)


# How rows are divided.


@pytest.mark.parametrize("join_few", [False, True])
def test_batches_take_every_row_and_are_full_but_for_the_last(join_few):
    for n in range(1, 40):
        for batch_size in range(1, 45):
            sizes = batch_sizes(n, batch_size, join_few)
            assert sum(sizes) == n
            assert all(size == batch_size for size in sizes[:-1])
            assert 1 <= sizes[-1] <= batch_size + few_rows(batch_size) * (join_few and batch_size > 1)


def test_without_joining_there_are_no_more_batches_than_needed():
    for n in range(1, 40):
        for batch_size in range(1, 45):
            assert len(batch_sizes(n, batch_size)) == math.ceil(n / batch_size)


@pytest.mark.parametrize(("batch_size", "few"), [(2, 1), (8, 1), (15, 1), (16, 2), (32, 4), (64, 8), (1000, 8)])
def test_only_a_last_batch_of_few_rows_is_joined(batch_size, few):
    for n in range(2, 3 * batch_size + 2):
        plain, joined = batch_sizes(n, batch_size), batch_sizes(n, batch_size, join_few=True)
        if plain[-1] <= few and len(plain) > 1:
            assert joined == [*plain[:-2], batch_size + plain[-1]]
        else:
            assert joined == plain
        assert 1 not in joined
    assert batch_sizes(1, batch_size, join_few=True) == [1]  # there is no batch before it


def test_batches_of_one_row_are_not_joined():
    assert batch_sizes(3, 1, join_few=True) == [1, 1, 1]


# What they hold.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_inputs_targets_and_weights_stay_together(kind, weighted):
    rows = make_rows(SHAPES[kind], weighted=weighted)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    batches = list(rows.batches(order, [6, 6, 3], torch.float32, CPU))
    assert [len(batch.targets) for batch in batches] == [6, 6, 3]
    for batch in batches:
        numbers = batch.inputs.flatten(1)
        assert (numbers == numbers[:, :1]).all()
        assert torch.equal(numbers[:, 0] * 10, batch.targets.float())
        assert batch.weights is None if not weighted else torch.equal(batch.weights, batch.targets / 1000)
    assert torch.equal(torch.cat([batch.targets for batch in batches]), rows.targets[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["uint8", "float32", "float64", ">i2"])
@pytest.mark.parametrize("kind", SHAPES)
def test_inputs_are_channels_first_to_the_eye_and_channels_last_in_memory(kind, form, dtype):
    rows = make_rows(SHAPES[kind], dtype=form)
    (batch,) = rows.batches(torch.arange(4), [4], dtype, CPU)
    *size, channels = SHAPES[kind] if kind in ("colour", "volumes") else (*SHAPES[kind], 1)
    assert batch.inputs.shape == (4, channels, *size)
    # The strides too: torch tells the two layouts of a single channel apart by them.
    assert batch.inputs.movedim(1, -1).stride() == torch.empty(4, *size, channels).stride()
    assert batch.inputs.dtype == dtype


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_by_number_and_by_slice_are_the_same(kind):
    store = make_rows(SHAPES[kind]).store
    by_slice, by_number = (store.batch(rows, torch.float32) for rows in (slice(3, 9), torch.arange(3, 9)))
    assert torch.equal(by_slice, by_number)
    assert by_slice.stride() == by_number.stride()


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_kept_on_a_device_give_the_same_batches(kind):
    rows = make_rows(SHAPES[kind])
    kept = rows.on_device(CPU, free_bytes=10**9)
    assert kept.store is not rows.store
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    for one, other in zip(*(r.batches(order, [8, 7], torch.float32, CPU) for r in (rows, kept)), strict=True):
        for tensor, same in zip(one, other, strict=True):
            assert torch.equal(tensor, same)
            assert tensor.stride() == same.stride()
    whole = slice(0, 9)
    assert kept.store.batch(whole, torch.float32).stride() == rows.store.batch(whole, torch.float32).stride()


def test_rows_that_do_not_fit_stay_where_they_are():
    rows = make_rows()
    assert rows.on_device(CPU, free_bytes=20 * 5 * 6 * 3 - 1) is rows


def test_a_store_tells_samples_apart_by_their_content():
    X = np.random.RandomState(0).randint(0, 2, (30, 2, 2, 1), dtype=np.uint8)  # with repetitions
    store, _ = read_inputs(X, InputSpec("owner"))
    keys = store.keys(slice(None))
    for i in range(30):
        for j in range(30):
            assert (keys[i] == keys[j]) == np.array_equal(X[i], X[j])
    assert store.keys(torch.tensor([4, 2])) == [keys[4], keys[2]]
