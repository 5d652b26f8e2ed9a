"""Laws of the convolutions: what they compute depends on their inputs alone, for shapes that the library gets wrong."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from sklcnn import CNNClassifier
from sklcnn.network.convolutions import convolve_in_equal_form, make_convolution
from sklcnn.network.plan import same_padding
from sklcnn.network.rows import RowConv1d, RowMaxPool1d, RowNorm1d, RowPad1d, join_channels

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
# (channels, size, kernel, stride, padding), by the fault.
FAULTY = {
    "one output position and a stride": [
        (1, (10, 1), (5, 5), (1, 5), (2, 2)),
        (1, (17, 1), (7, 7), (1, 3), (3, 3)),
        (1, (18, 8), (5, 5), (1, 5), (2, 0)),
        (1, (9, 10), (3, 10), (1, 3), (1, 0)),
        (1, (9, 8, 1), (3, 3, 3), (2, 1, 2), (1, 0, 1)),
        (1, (1, 7, 3), (1, 4, 4), (3, 1, 5), (0, 1, 1)),
    ],
    "a kernel of one and a stride": [
        (5, (17, 10), (1, 1), (1, 5), (0, 0)),
        (3, (6, 20), (1, 1), (3, 1), (0, 0)),
        (1, (9, 9), (1, 1), (3, 3), (0, 0)),
        (8, (4, 19), (1, 1), (2, 1), (0, 0)),
        (2, (9, 9, 3), (1, 1, 1), (1, 2, 5), (0, 0, 0)),
        (2, (21,), (1,), (4,), (0,)),
    ],
    "a long kernel on a volume": [
        (3, (7, 9, 9), (7, 7, 7), (2, 2, 1), (3, 3, 3)),
        (12, (5, 9, 1), (7, 7, 7), (2, 1, 1), (3, 3, 3)),
        (5, (6, 3, 1), (7, 3, 3), (2, 5, 1), (3, 0, 1)),
        (16, (7, 6, 9), (9, 9, 9), (3, 3, 3), (4, 3, 3)),
        (1, (4, 4, 4), (5, 5, 3), (1, 1, 1), (2, 2, 1)),
        (3, (4, 3, 8), (5, 3, 5), (1, 2, 1), (2, 1, 2)),
    ],
    "one output position": [
        (12, (1,), (3,), (5,), (1,)),
        (2, (1, 4), (7, 3), (1, 1), (3, 1)),
        (1, (13, 1), (1, 1), (2, 2), (0, 0)),
        (1, (1, 6, 1), (7, 1, 3), (1, 1, 1), (3, 0, 1)),
        (12, (1, 1, 1), (7, 7, 7), (1, 1, 1), (3, 3, 3)),
        (32, (2, 9, 1), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ],
}
ROWS = [(1, (33,), (7,), (2,), (3,)), (5, (7,), (15,), (1,), (7,)), (16, (20,), (3,), (3,), (0,))]
SHAPES = [*itertools.chain.from_iterable(FAULTY.values()), *ROWS]
# Every array lies between NaN, and so does whatever the library takes from freed memory.
AMONG_NAN = """
import json, sys

import torch

from sklcnn.network.convolutions import make_convolution

torch.set_num_threads(1)


def among_nan(tensor):
    room = torch.full((tensor.numel() + 8192,), torch.nan, dtype=tensor.dtype)
    place = room[4096:-4096].view(tensor.movedim(1, -1).shape)
    return place.copy_(tensor.movedim(1, -1)).movedim(-1, 1)


def free_nan(dtype):
    blocks = [torch.full((2**power,), torch.nan, dtype=dtype) for power in range(2, 17) for _ in range(3)]
    del blocks


def differing(layer, maps, gradient, dtype):
    expected_maps = maps.double().requires_grad_()
    exact = layer.double()(expected_maps)
    exact.backward(gradient.double())
    expected = [exact.detach(), expected_maps.grad, *(parameter.grad for parameter in layer.parameters())]
    layer.to(dtype).zero_grad()
    layer.weight.data = among_nan(layer.weight.data)
    given = among_nan(maps).requires_grad_()
    free_nan(dtype)
    outputs = layer(given)
    outer = among_nan(gradient)
    free_nan(dtype)
    outputs.backward(outer)
    found = [outputs.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())]
    share = {torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype]
    names = ("outputs", "gradient of the inputs", "of the weights", "of the bias")
    return [
        name
        for name, one, other in zip(names, found, expected, strict=True)
        if not (one.double() - other).abs().max() <= share * (1 + other.abs().max())
    ]


found, dtype = [], getattr(torch, sys.argv[2])
for channels, size, kernel, stride, padding in json.loads(sys.argv[1]):
    torch.manual_seed(0)
    pads = [(width, width) for width in padding]
    _, layer = make_convolution(
        channels, 4, size, tuple(kernel), tuple(stride), pads, bfloat16=dtype == torch.bfloat16
    )
    maps = torch.randn(9, channels, *size).to(dtype)
    layer.to(dtype)
    gradient = torch.randn(layer.double()(maps.double()).shape).to(dtype)
    wrong = differing(layer, maps, gradient, dtype)
    if wrong:
        found.append([channels, size, kernel, stride, padding, wrong])
print(json.dumps(found))
"""


@pytest.mark.parametrize("instructions", [None, pytest.param("AVX2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_outputs_and_gradients_depend_on_nothing_but_the_inputs(dtype, instructions):
    environment = dict(os.environ) | ({"ONEDNN_MAX_CPU_ISA": instructions} if instructions else {})
    result = subprocess.run(
        [sys.executable, "-c", AMONG_NAN, json.dumps(SHAPES), dtype], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, f"ended by signal {-result.returncode}: {result.stderr}"
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("fault", FAULTY)
def test_the_equal_form_is_the_same_convolution(fault):
    generator = torch.Generator().manual_seed(0)
    for channels, size, kernel, stride, padding in FAULTY[fault]:
        maps, weight, bias = (
            torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
            for shape in ((3, channels, *size), (4, channels, *kernel), (4,))
        )
        plain = CONVOLVE[len(size)](maps, weight, bias, stride, padding)
        equal = convolve_in_equal_form(maps, weight, bias, stride, padding)
        gradient = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(equal, plain, rtol=0, atol=1e-12)
        by_plain, by_equal = (torch.autograd.grad(out, (maps, weight, bias), gradient) for out in (plain, equal))
        for one, other in zip(by_equal, by_plain, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride"),
    [(1, (28, 28), 3, 1), (3, (32, 32), 3, 2), (32, (1, 1), 3, 1), (1, (500,), 7, 3), (4, (4, 4, 4), 5, 1)],
)
def test_all_other_layers_are_pytorchs_own(channels, size, kernel, stride):
    n_axes = len(size)
    pads = [(kernel // 2, kernel // 2)] * n_axes
    pad, conv = make_convolution(channels, 2, size, (kernel,) * n_axes, (stride,) * n_axes, pads)
    assert pad is None
    assert type(conv) is (RowConv1d, torch.nn.Conv2d, torch.nn.Conv3d)[n_axes - 1]


SIGNALS = [(1, 30, 7, 1, 3), (5, 12, 4, 3, 0), (8, 40, 1, 1, 0), (3, 1, 3, 1, 1), (2, 6, 5, 2, 2)]


@pytest.mark.parametrize(("channels", "length", "kernel", "stride", "padding"), SIGNALS)
def test_signals_are_computed_as_images_of_one_row(channels, length, kernel, stride, padding):
    torch.manual_seed(0)
    layers = {
        RowConv1d(channels, 4, kernel, stride, padding): functional.conv1d,
        RowNorm1d(channels): functional.batch_norm,
        RowPad1d((2, 1)): functional.pad,
        RowMaxPool1d(3, 1, padding=1): functional.max_pool1d,
    }
    for layer, plain in layers.items():
        layer.double()
        maps = torch.randn(6, length, channels, dtype=torch.float64, requires_grad=True)
        given = maps.movedim(-1, 1)
        found = layer(given)
        if plain is functional.conv1d:
            expected = plain(given, layer.weight, layer.bias, stride, padding)
        elif plain is functional.batch_norm:
            expected = plain(given, None, None, layer.weight, layer.bias, training=True)
        elif plain is functional.pad:
            expected = plain(given, (2, 1))
        else:
            expected = plain(given, 3, 1, padding=1)
        torch.testing.assert_close(found, expected)
        gradient = torch.randn(found.shape, dtype=torch.float64)
        tensors = (maps, *layer.parameters())
        for one, other in zip(*(torch.autograd.grad(out, tensors, gradient) for out in (found, expected)), strict=True):
            torch.testing.assert_close(one, other)
        assert layer(given.detach()).movedim(1, -1).is_contiguous() and found.movedim(1, -1).is_contiguous()
    maps = [torch.randn(3, length, n).movedim(-1, 1) for n in (2, 3)]
    joined = join_channels(maps)
    torch.testing.assert_close(joined, torch.cat(maps, 1))
    assert joined.movedim(1, -1).is_contiguous()


STRIDED = [
    ((9, 10, 1), {"spatial_dims": 2, "stride": ((1, 3),), "kernel_size": 3}),
    ((9, 2, 1), {"spatial_dims": 2, "stride": ((1, 3),), "kernel_size": 3, "padding": "same"}),
    ((9, 9, 2), {"kernel_size": 1, "stride": 2, "data_format": "channels_last"}),
    ((6, 6, 6, 1), {"spatial_dims": 3, "kernel_size": 7, "stride": 2}),
    ((4, 1), {"spatial_dims": 1, "kernel_size": 4, "stride": 5, "data_format": "channels_last"}),
]


@pytest.mark.parametrize(("shape", "params"), STRIDED, ids=str)
def test_a_network_of_such_a_shape_trains_alike_in_float32_and_float64(shape, params):
    X, y = np.random.RandomState(0).randn(12, *shape), np.arange(12) % 2
    shared = {"filters": 4, "pooling": None, "max_epochs": 3, "random_state": 0, **params}
    single, double = (CNNClassifier(precision=name, **shared).fit(X, y) for name in ("float32", "float64"))
    # Rounding of 6e-8 in the gradients becomes as much of a step of Adam as their share of its second moment: three
    # steps of 2e-3 stay well below.
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), rtol=0, atol=1e-3)
    types = single.summary().set_index("layer")["type"]
    assert types["block1.conv"] == f"Conv{len(single.sample_shape_) - 1}d"


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((1, 1), (3, 3), (1, 1)),
        ((2, 1), (3, 3), (1, 1)),
        ((2, 2), (3, 3), (1, 1)),
        ((3, 4), (9, 2), (2, 1)),
        ((6,), (15,), (1,)),
        ((3, 3, 3), (3, 3, 3), (1, 1, 1)),
        ((4, 4), (3, 3), (1, 1)),
        ((28, 28), (3, 3), (2, 2)),
        ((20,), (9,), (1,)),
    ],
)
def test_a_kernel_that_mostly_meets_padding_begins_as_if_it_had_only_the_weights_that_count(size, kernel, stride):
    pads = same_padding(size, kernel, stride)
    torch.manual_seed(0)
    _, conv = make_convolution(3, 4, size, kernel, stride, pads)
    torch.manual_seed(0)
    plain = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[len(size)](3, 4, kernel, stride)
    ones = functional.pad(torch.ones(1, 1, *size), [width for pair in reversed(pads) for width in pair])
    n_met = CONVOLVE[len(size)](ones, torch.ones(1, 1, *kernel), stride=stride).mean() / np.prod(kernel)
    scale = n_met**-0.5 if n_met <= 0.5 else 1.0
    torch.testing.assert_close(conv.weight, plain.weight * scale)
    torch.testing.assert_close(conv.bias, plain.bias * scale)
    assert (scale == 1) == torch.equal(conv.weight, plain.weight)
