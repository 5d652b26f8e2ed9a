"""Accelerators: what can be tested without one, and a fit where there is one."""

import numpy as np
import pytest
import torch

from sklcnn import CNNClassifier
from sklcnn.data.batches import Rows
from sklcnn.data.reading import read_inputs
from sklcnn.data.schema import InputSpec
from sklcnn.data.stores import DeviceStore

CPU = torch.device("cpu")


def some_rows(dtype):
    X = np.random.RandomState(0).randint(0, 255, (20, 6, 5, 3)).astype(dtype)
    store, _ = read_inputs(X, InputSpec("test"))
    return Rows(store, torch.arange(20), torch.arange(20), torch.rand(20))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_rows_kept_on_a_device_give_the_same_batches(dtype):
    rows = some_rows(dtype)
    kept = rows.on_device(CPU, free_bytes=10**6)
    assert isinstance(kept.store, DeviceStore)
    order = torch.randperm(20)
    pairs = zip(
        rows.batches(order, [8, 8, 4], torch.float32, CPU),
        kept.batches(order, [8, 8, 4], torch.float32, CPU),
        strict=True,
    )
    for batch, kept_batch in pairs:
        for tensor, kept_tensor in zip(batch, kept_batch, strict=True):
            assert torch.equal(tensor, kept_tensor)
            assert tensor.stride() == kept_tensor.stride()


def test_rows_in_reverse_order_are_read_by_the_batch():
    X = np.random.RandomState(0).rand(20, 6, 5, 3)[::-1]
    store, _ = read_inputs(X, InputSpec("test"))
    rows = Rows(store, torch.arange(20), torch.arange(20), None).on_device(CPU, free_bytes=10**6)
    [batch] = rows.batches(torch.arange(20), [20], torch.float64, CPU)
    np.testing.assert_array_equal(batch.inputs.movedim(1, -1), X)


def test_rows_that_do_not_fit_on_a_device_stay_where_they_are():
    rows = some_rows("uint8")
    assert rows.on_device(CPU, free_bytes=10) is rows


def test_a_device_that_is_not_there_is_named():
    X, y = np.random.RandomState(0).randn(10, 8), np.arange(10) % 2
    with pytest.raises(ValueError, match="device='cuda:97' is not available"):
        CNNClassifier(device="cuda:97").fit(X, y)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, which this machine has not")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("fits", [True, False])
def test_a_gpu_learns_what_a_cpu_learns(precision, fits, monkeypatch):
    if not fits:
        monkeypatch.setattr(Rows, "on_device", lambda self, device, free_bytes: self)
    X = np.random.RandomState(0).randint(0, 255, (200, 8, 8)).astype("uint8")
    y = (X[:, :4].mean((1, 2)) > X[:, 4:].mean((1, 2))).astype(int)
    cnn = CNNClassifier(random_state=0, max_epochs=20, precision=precision, early_stopping=True)
    on_gpu = cnn.set_params(device="auto").fit(X, y)
    assert next(on_gpu.module_.parameters()).device.type == "cuda"
    assert on_gpu.score(X, y) > 0.9
