"""Convolutions, and an equal form of those for which the library that computes them on CPUs is at fault.

oneDNN, as torch 2.14 brings it, reads or writes beyond its arrays for some shapes: the outcome depends on what lies
there, is not finite, or the process ends. Found by filling the memory around the arrays with NaN, or forbidding it, and
comparing with float64 over some thousand shapes on AVX2 and AVX-512 processors:

- a single output position along an axis, where the kernel has a stride (one input channel; wrong outputs) or in
  bfloat16 (wrong gradients);
- a stride with a kernel of 1 along every axis (crashes);
- volumes with padding along an axis no longer than the kernel, with a stride or in bfloat16 (crashes, wrong gradients).

All other layers are PyTorch's own, those of signals as images of one row (rows.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sklcnn.network.rows import RowConv1d, RowPad1d

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONVOLUTION_LAYERS = tuple(CONVOLUTIONS.values())
CONVOLVE: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
PADS: dict[int, Any] = {1: RowPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}

# Where less of a kernel meets its maps in the mean, its first weights are scaled up. Accuracy of deep networks on small
# maps, means of three or four seeds: 300 digits, five blocks 0.70 -> 0.86, volumes of four 0.51 -> 0.76; 600 clothes,
# six blocks 0.65 -> 0.70, kernels of 9 in four 0.74 -> 0.77. Usual networks begin as torch has it, to the bit.
MOSTLY_PADDING = 1 / 2


def output_sizes(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> list[int]:
    """Count the positions of a kernel along each axis, with `padding` zeros at both ends."""
    return [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)]


def needs_equal_form(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], bfloat16: bool
) -> bool:
    """Tell whether a convolution is of a shape that the library computes wrongly."""
    axes = list(zip(size, kernel, stride, padding, output_sizes(size, kernel, stride, padding), strict=True))
    single = any(n_out == 1 and (s > 1 or bfloat16) for _, _, s, _, n_out in axes)
    pointwise = all(k == 1 for k in kernel) and any(s > 1 for s in stride)
    long_kernel = len(size) == 3 and any(p > 0 and k >= n and (s > 1 or bfloat16) for n, k, s, p, _ in axes)
    return single or pointwise or long_kernel


def convolve_in_equal_form(
    maps: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
) -> torch.Tensor:
    """Convolve as ``torch.nn.functional.conv2d`` and its siblings do, by way of shapes that are computed rightly.

    An axis with a single output position is no axis: its values are channels. Along an axis where the kernel is 1, a
    stride takes every so many positions. Padding of volumes is a step of its own. In channels-last memory all but the
    padding are views.

    Parameters
    ----------
    maps : tensor of shape (n, c, *spatial)
    weight : tensor of shape (filters, c, *kernel)
    bias : tensor of shape (filters,) or None
    stride, padding : sequence of int
        One number an axis.

    Returns
    -------
    maps : tensor of shape (n, filters, *outputs)
    """
    size, kernel = list(maps.shape[2:]), list(weight.shape[2:])
    stride, padding = list(stride), list(padding)
    outputs = output_sizes(size, kernel, stride, padding)
    single = [axis for axis, n_out in enumerate(outputs) if n_out == 1]
    others = [axis for axis in range(len(outputs)) if axis not in single]
    for axis in single:  # the part of the maps that the one window covers, and the weights that it meets there
        before = padding[axis]
        n_met = min(size[axis], kernel[axis] - before)
        maps, weight = maps.narrow(2 + axis, 0, n_met), weight.narrow(2 + axis, before, n_met)
    for axis in others:
        if kernel[axis] == 1 and stride[axis] > 1 and padding[axis] == 0:
            maps = maps[(slice(None),) * (2 + axis) + (slice(None, None, stride[axis]),)]
            stride[axis] = 1
    if single:
        maps, weight = (_as_channels(tensor, single, others) for tensor in (maps, weight))
    stride, padding = [stride[axis] for axis in others], [padding[axis] for axis in others]
    if len(others) == 3 and any(padding):
        maps = functional.pad(maps, [width for width in reversed(padding) for _ in range(2)])
        padding = [0, 0, 0]
    if others:
        maps = CONVOLVE[len(others)](maps, weight, bias, tuple(stride), tuple(padding))
    else:
        maps = functional.linear(maps, weight, bias)
    for axis in single:
        maps = maps.unsqueeze(2 + axis)
    return maps


def _as_channels(tensor, single, others):
    """Lay the values along some axes out as channels, (n, c, *spatial) as (n, values * c, *others)."""
    by_position = tensor.permute(0, *(2 + axis for axis in others), *(2 + axis for axis in single), 1)
    return by_position.flatten(1 + len(others)).movedim(-1, 1)


class _EqualForm:
    """A convolution with the weights and the sizes of PyTorch's, computed in the equal form."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, *spatial) to (n, filters, *outputs)."""
        layer: Any = self
        return convolve_in_equal_form(maps, layer.weight, layer.bias, layer.stride, layer.padding)

    def _get_name(self):
        """Return the name that a user knows: of the convolution whose sizes and weights it has."""
        return type(self).__name__.removeprefix("Equal")


class EqualConv1d(_EqualForm, nn.Conv1d):
    """The equal form of Conv1d."""


class EqualConv2d(_EqualForm, nn.Conv2d):
    """The equal form of Conv2d."""


class EqualConv3d(_EqualForm, nn.Conv3d):
    """The equal form of Conv3d."""


EQUAL_FORMS: dict[int, Any] = {1: EqualConv1d, 2: EqualConv2d, 3: EqualConv3d}


def make_convolution(
    channels: int,
    filters: int,
    size: Sequence[int],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pads: Sequence[tuple[int, int]],
    *,
    bfloat16: bool = False,
) -> tuple[nn.Module | None, nn.Module]:
    """Build a convolution, its weights drawn from torch's global generator.

    Parameters
    ----------
    channels, filters : int
        Coming in and going out.
    size : sequence of int
        Of the maps along each axis.
    kernel, stride : tuple of int
        One number an axis.
    pads : sequence of (before, after)
        Zeros at the ends of each axis.
    bfloat16 : bool
        Whether it runs in that precision.

    Returns
    -------
    pad : nn.Module or None
        Of uneven zeros, which a convolution cannot add itself.
    conv : nn.Module
    """
    even = all(before == after for before, after in pads)
    # A convolution of signals itself adds the zeros that both ends have in common, which copies less.
    both = len(pads) == 1 and not bfloat16
    padding = tuple(min(pair) if even or both else 0 for pair in pads)
    rest = [(before - width, after - width) for (before, after), width in zip(pads, padding, strict=True)]
    pad = None if even else PADS[len(pads)]([width for pair in reversed(rest) for width in pair])
    size = [n + before + after for n, (before, after) in zip(size, rest, strict=True)]
    if needs_equal_form(size, kernel, stride, padding, bfloat16):
        forms = EQUAL_FORMS
    else:
        # Not in bfloat16: a row would be an axis with a single output position, which is then computed wrongly.
        forms = CONVOLUTIONS if bfloat16 else CONVOLUTIONS | {1: RowConv1d}
    conv = forms[len(pads)](channels, filters, kernel, stride, padding=padding)
    _begin_as_if_without_padding(conv, [n - sum(pair) for n, pair in zip(size, rest, strict=True)], pads)
    return pad, conv


def _begin_as_if_without_padding(conv, size, pads):
    """Scale the first weights up where most of them meet nothing but padding.

    torch draws them the smaller, the more there are to a filter. On maps of one position a kernel of 3x3 has one that
    counts of nine, so that each of several such layers would pass on a third of what comes in, and of its gradient.
    """
    axes = zip(size, conv.kernel_size, conv.stride, pads, strict=True)
    part = math.prod(_part_met(*axis) for axis in axes)
    if part <= MOSTLY_PADDING:
        with torch.no_grad():
            for weights in conv.parameters():
                weights.div_(math.sqrt(part))


def _part_met(n, k, stride, pads):
    """Compute what part of a kernel of k meets the n positions of an axis, in the mean of the places where it lies."""
    before, after = pads
    starts = np.arange(-before, n + after - k + 1, stride)
    return float((np.minimum(k, n - starts) - np.maximum(0, -starts)).mean()) / k
