"""What a network is to be made of, and the sizes of its layers, before there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklcnn.sizes import per_block


@dataclass(frozen=True)
class NetworkSpec:
    """What the network is made of: the estimator's hyper-parameters of the groups layers and regularisation."""

    owner: str
    filters: tuple[int, ...]
    kernel_size: Any
    stride: Any
    padding: str
    pooling: str | None
    pool_size: Any
    global_pooling: str | None
    dense_units: tuple[int, ...]
    activation: Any
    batch_norm: bool
    dropout: float
    conv_dropout: float
    bfloat16: bool = False  # whether it computes in that precision


@dataclass(frozen=True)
class BlockPlan:
    """The sizes of one convolution block, one number an axis."""

    name: str
    channels: int
    filters: int
    size: tuple[int, ...]  # of the maps that come in
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: list[tuple[int, int]]  # zeros before and after
    convolved: tuple[int, ...]  # size of the maps after the convolution
    window: tuple[int, ...] | None  # of pooling, where there is any
    pooled: tuple[int, ...]  # size of the maps that go out


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Compute the zeros before and after each axis for ``ceil(size / stride)`` outputs: TensorFlow's "SAME"."""
    totals = [max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def plan_blocks(spec: NetworkSpec, sample_shape: tuple[int, ...]) -> tuple[list[BlockPlan], int]:
    """Compute the sizes of the convolution blocks, and the number of features they leave.

    Parameters
    ----------
    spec : NetworkSpec
    sample_shape : tuple of int
        Channels first.

    Returns
    -------
    plans : list of BlockPlan
    n_features : int

    Raises
    ------
    ValueError
        If a "valid" kernel does not fit into what is left of a sample.
    """
    channels, *rest = sample_shape
    size, n_axes, n_blocks = tuple(rest), len(rest), len(spec.filters)
    kernels, strides, pools = (
        per_block(getattr(spec, name), n_blocks, n_axes, name, spec.owner) if n_blocks else []
        for name in ("kernel_size", "stride", "pool_size")
    )
    plans = []
    for number, (filters, kernel, stride, window) in enumerate(
        zip(spec.filters, kernels, strides, pools, strict=True), start=1
    ):
        pads = same_padding(size, kernel, stride) if spec.padding == "same" else [(0, 0)] * n_axes
        padded = [n + before + after for n, (before, after) in zip(size, pads, strict=True)]
        if any(k > n for k, n in zip(kernel, padded, strict=True)):
            raise ValueError(
                f"{spec.owner}: block {number} has kernel_size={kernel}, but only {size} positions are left "
                'there. Use padding="same", smaller kernels or fewer blocks.'
            )
        convolved = tuple((n - k) // s + 1 for n, k, s in zip(padded, kernel, stride, strict=True))
        window = tuple(1 if w > n else w for w, n in zip(window, convolved, strict=True))
        pools_here = spec.pooling is not None and any(w > 1 for w in window)
        pooled = tuple(n // w for n, w in zip(convolved, window, strict=True)) if pools_here else convolved
        taken = window if pools_here else None
        name = f"block{number}"
        plans.append(BlockPlan(name, channels, filters, size, kernel, stride, pads, convolved, taken, pooled))
        channels, size = filters, pooled
    return plans, channels if spec.global_pooling else channels * math.prod(size)
