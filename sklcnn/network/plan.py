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

    estimator_name: str
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
    block: Any = "plain"
    convs_per_block: Any = "auto"


@dataclass(frozen=True)
class ConvPlan:
    """The sizes of one convolution, one number an axis."""

    channels: int
    filters: int
    size: tuple[int, ...]  # of the maps that come in
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pads: list[tuple[int, int]]  # zeros before and after
    convolved: tuple[int, ...]  # size of the maps that go out

    def each(self) -> list[ConvPlan]:
        """List the convolutions: this one."""
        return [self]


@dataclass(frozen=True)
class InceptionPlan:
    """The sizes of an inception module."""

    filters: int
    bottleneck: ConvPlan | None
    convs: list[ConvPlan]
    pooled: ConvPlan | None  # on the maxima

    @property
    def convolved(self) -> tuple[int, ...]:
        """Size of the maps that go out."""
        return self.convs[0].convolved

    def each(self) -> list[ConvPlan]:
        """List the convolutions."""
        return [conv for conv in (self.bottleneck, *self.convs, self.pooled) if conv is not None]


@dataclass(frozen=True)
class BlockPlan:
    """The sizes of one block, one number an axis."""

    name: str
    channels: int
    filters: int
    size: tuple[int, ...]  # of the maps that come in
    kernel: tuple[int, ...]
    convs: list[Any]  # ConvPlan or InceptionPlan, in a row
    convolved: tuple[int, ...]  # size of the maps before pooling
    window: tuple[int, ...] | None  # of pooling, where there is any
    pooled: tuple[int, ...]  # size of the maps that go out
    around: ConvPlan | None = None  # on the shortcut
    crop: tuple[tuple[int, ...], tuple[int, ...]] | None = None  # of the shortcut: where it starts, how much is left
    n_own_weights: int = 0  # of a factory's module
    makes_weights: bool = False  # whether that makes some only when it is first called

    def each_conv(self) -> list[ConvPlan]:
        """List all convolutions."""
        convs = [conv for plan in self.convs for conv in plan.each()]
        return convs if self.around is None else [*convs, self.around]

    def behind_maxima(self) -> list[ConvPlan]:
        """List the convolutions of inception modules that come after maximum pooling."""
        return [plan.pooled for plan in self.convs if isinstance(plan, InceptionPlan) and plan.pooled is not None]


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Compute the zeros before and after each axis for ``ceil(size / stride)`` outputs: TensorFlow's "SAME"."""
    totals = [max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def plan_convolution(
    channels: int, filters: int, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: str
) -> ConvPlan:
    """Compute the sizes of a convolution.

    Raises
    ------
    ValueError
        If a "valid" kernel does not fit into what is left of a sample.
    """
    pads = same_padding(size, kernel, stride) if padding == "same" else [(0, 0)] * len(size)
    padded = [n + before + after for n, (before, after) in zip(size, pads, strict=True)]
    if any(k > n for k, n in zip(kernel, padded, strict=True)):
        raise ValueError(f"kernel_size={kernel}, but only {size} positions are left")
    convolved = tuple((n - k) // s + 1 for n, k, s in zip(padded, kernel, stride, strict=True))
    return ConvPlan(channels, filters, size, kernel, stride, pads, convolved)


def _plan_inception(channels, filters, size, kernel, stride, padding):
    """Compute the sizes of an inception module: kernels of k, k/2 and k/4, and 1 on the maxima, joined to `filters`.

    All paths pad, so that they have the same positions, whatever `padding` says.
    """
    kernels = [kernel, tuple((k + 1) // 2 for k in kernel), tuple(max(1, round(k / 4)) for k in kernel)]
    widths = [filters // 4 + (number < filters % 4) for number in range(4)]
    ones = (1,) * len(size)
    narrow = max(1, filters // 4)
    bottleneck = plan_convolution(channels, narrow, size, ones, ones, "same") if channels > 1 else None
    n_in = channels if bottleneck is None else narrow
    convs = [
        plan_convolution(n_in, width, size, own, stride, "same")
        for own, width in zip(kernels, widths, strict=False)
        if width
    ]
    pooled = plan_convolution(channels, widths[3], size, ones, stride, "same") if widths[3] else None
    return InceptionPlan(filters, bottleneck, convs, pooled)


def _plan_shortcut(channels, filters, size, stride, convolved):
    """Compute what brings the maps that come in to the channels and positions of those that go out."""
    crop = None
    total = tuple(max(1, math.ceil(n / s)) for n, s in zip(size, stride, strict=True))
    if total != convolved:  # unpadded convolutions: the middle of the maps
        lengths = tuple((n_out - 1) * s + 1 for n_out, s in zip(convolved, stride, strict=True))
        crop = tuple((n - length) // 2 for n, length in zip(size, lengths, strict=True)), lengths
        size = lengths
    if channels == filters and size == convolved:
        return None, crop
    return plan_convolution(channels, filters, size, (1,) * len(size), stride, "same"), crop


def kernel_of_factory(kernel: tuple[int, ...]) -> int | tuple[int, ...]:
    """Return a kernel size as a factory of blocks gets it: one number, where all axes have the same."""
    return kernel[0] if len(set(kernel)) == 1 else kernel


CONVS_PER_BLOCK = {"plain": 1, "residual": 2, "inception": 3}


def find_convs_per_block(block: Any, convs_per_block: Any) -> Any:
    """Return `convs_per_block`, with "auto" resolved."""
    if convs_per_block != "auto":
        return convs_per_block
    return CONVS_PER_BLOCK[block] if isinstance(block, str) else 1


def _plan_body(spec, number, n_convs, channels, filters, size, kernel, stride):
    """Compute the sizes of what is in a block before pooling, as arguments of its plan."""
    if not isinstance(spec.block, str):
        from sklcnn.network.own_modules import try_block  # with torch, which plans of named blocks do without

        trial = try_block(spec, channels, filters, size, kernel_of_factory(kernel))
        return {
            "convs": [],
            "convolved": trial.size,
            "n_own_weights": trial.n_weights,
            "makes_weights": trial.makes_weights,
        }
    plan_unit = _plan_inception if spec.block == "inception" else plan_convolution
    convs, n_in, left = [], channels, size
    try:
        for position in range(n_convs):
            step = stride if position == 0 else (1,) * len(size)
            convs.append(plan_unit(n_in, filters, left, kernel, step, spec.padding))
            n_in, left = filters, convs[-1].convolved
    except ValueError as error:
        raise ValueError(
            f'{spec.estimator_name}: block {number} has {error} there. Use padding="same", smaller kernels or '
            "fewer blocks."
        ) from None
    around, crop = (None, None) if spec.block == "plain" else _plan_shortcut(channels, filters, size, stride, left)
    return {"convs": convs, "convolved": left, "around": around, "crop": crop}


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
        per_block(getattr(spec, name), n_blocks, n_axes, name, spec.estimator_name) if n_blocks else []
        for name in ("kernel_size", "stride", "pool_size")
    )
    convs_per_block = find_convs_per_block(spec.block, spec.convs_per_block)
    counts = per_block(convs_per_block, n_blocks, 1, "convs_per_block", spec.estimator_name) if n_blocks else []
    plans = []
    for number, (filters, kernel, stride, window, (n_convs,)) in enumerate(
        zip(spec.filters, kernels, strides, pools, counts, strict=True), start=1
    ):
        body = _plan_body(spec, number, n_convs, channels, filters, size, kernel, stride)
        convolved = body["convolved"]
        window = tuple(1 if w > n else w for w, n in zip(window, convolved, strict=True))
        pools_here = spec.pooling is not None and any(w > 1 for w in window)
        pooled = tuple(n // w for n, w in zip(convolved, window, strict=True)) if pools_here else convolved
        taken = window if pools_here else None
        plans.append(BlockPlan(f"block{number}", channels, filters, size, kernel, window=taken, pooled=pooled, **body))
        channels, size = filters, pooled
    return plans, channels if spec.global_pooling else channels * math.prod(size)
