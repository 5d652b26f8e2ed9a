"""Blocks: what is between one pooling and the next.

A plain block is convolutions in a row, as in VGG (Simonyan and Zisserman, 2015). A residual one has a shortcut around
them (He et al., 2016; for signals Wang et al., 2017), one of inception modules parallel kernels of several sizes
(Szegedy et al., 2015; for signals Fawaz et al., 2020). A factory of the user's may make another layer in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from sklcnn.network.convolutions import make_convolution
from sklcnn.network.network import Layers
from sklcnn.network.own_modules import make_own_activation, own_copy, with_weights
from sklcnn.network.own_outputs import as_floats
from sklcnn.network.own_state import is_known
from sklcnn.network.plan import BlockPlan, ConvPlan, InceptionPlan, NetworkSpec, kernel_of_factory
from sklcnn.network.rows import RowMaxPool1d, RowNorm1d, join_channels

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}
# For these max(f(x)) is f(max(x)): after maximum pooling f is computed for fewer values.
MONOTONE = {"relu", "tanh", "sigmoid", "leaky_relu", "elu"}
NORMS = {1: RowNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLS: dict[int, Any] = {1: RowMaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
POOLINGS: dict[str, dict[int, Any]] = {
    "max": MAX_POOLS,
    "avg": {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d},
}
POOLING_LAYERS = tuple(layer for layers in POOLINGS.values() for layer in layers.values())
FEATURE_DROPOUTS = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}


def make_activation(spec: NetworkSpec, n_axes: int) -> nn.Module:
    """Build an activation, for maps of so many spatial axes."""
    if isinstance(spec.activation, str):
        return ACTIVATIONS[spec.activation]()
    return make_own_activation(spec.activation, n_axes, spec.estimator_name)


def has_known_activation(spec: NetworkSpec) -> bool:
    """Tell whether the activation is the package's or torch's."""
    return isinstance(spec.activation, str) or is_known(spec.activation)


class ConvUnit(Layers):
    """A convolution, and the normalisation and activation after it, where there are any."""

    def __init__(self, pad: nn.Module | None, conv: nn.Module, norm: nn.Module | None, activation: nn.Module | None):
        super().__init__()
        self.pad, self.conv, self.norm, self.activation = pad, conv, norm, activation

    def steps(self) -> list[nn.Module]:
        """List the layers in the order in which they run."""
        return [step for step in (self.pad, self.conv, self.norm, self.activation) if step is not None]


class InceptionUnit(Layers):
    """An inception module: parallel paths whose outputs are joined, then normalisation and activation."""

    def __init__(self, paths: nn.Module, norm: nn.Module | None, activation: nn.Module | None):
        super().__init__()
        self.paths, self.norm, self.activation = paths, norm, activation

    def steps(self) -> list[nn.Module]:
        """List the layers in the order in which they run."""
        return [step for step in (self.paths, self.norm, self.activation) if step is not None]


class InceptionPaths(nn.Module):
    """Parallel convolutions, joined: of several kernel sizes behind a bottleneck, and one behind maximum pooling.

    Of fewer than four filters there is nothing left for the last.
    """

    def __init__(
        self, bottleneck: nn.Module | None, convs: Sequence[nn.Module], pool: nn.Module | None, pooled: nn.Module | None
    ):
        super().__init__()
        self.bottleneck, self.convs = bottleneck, nn.ModuleList(convs)
        self.pool, self.pooled = pool, pooled

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, *spatial) to (n, filters, *smaller)."""
        narrow = maps if self.bottleneck is None else self.bottleneck(maps)
        paths = [conv(narrow) for conv in self.convs]
        if self.pool is not None and self.pooled is not None:
            paths.append(self.pooled(self.pool(maps)))
        return join_channels(paths)


class Crop(nn.Module):
    """Cut the middle out of maps, as large as an unpadded convolution leaves it."""

    def __init__(self, starts: tuple[int, ...], lengths: tuple[int, ...]):
        super().__init__()
        self.starts, self.lengths = starts, lengths

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Cut maps (n, c, *spatial) along each axis."""
        for axis, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True), start=2):
            maps = maps.narrow(axis, start, length)
        return maps


class Shortcut(nn.Module):
    """Add the maps that come in, or a 1x1 convolution of them, to what layers make of them."""

    def __init__(self, body: nn.Sequential, around: nn.Module | None):
        super().__init__()
        self.body, self.around = body, around

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, *spatial) to (n, filters, *smaller)."""
        return self.body(maps) + (maps if self.around is None else self.around(maps))


class Ending(NamedTuple):
    """The layers at the end of a block."""

    activation: nn.Module | None
    pool: nn.Module | None
    dropout: nn.Module | None
    pool_first: bool


class Block(Layers):
    """Layers that make maps, then activation, pooling and dropout of whole feature maps.

    Where pooling takes the maximum and the activation is monotone, they change places: the result is the same, and
    the activation sees fewer values.
    """

    activation: nn.Module | None
    pool_first: bool

    def _end_with(self, ending):
        self.activation, self.pool, self.dropout, self.pool_first = ending

    def convolving(self) -> list[nn.Module]:
        """List the layers before the last activation and pooling."""
        raise NotImplementedError

    @property
    def maps_layer(self) -> nn.Module:
        """The layer whose output are the maps before the activation."""
        return self.convolving()[-1]

    def steps(self) -> list[nn.Module]:
        """List the layers in the order in which they run."""
        order = (self.pool, self.activation) if self.pool_first else (self.activation, self.pool)
        return self.convolving() + [step for step in (*order, self.dropout) if step is not None]


class ConvBlock(Block):
    """A plain block: convolutions in a row.

    Attributes
    ----------
    before : nn.ModuleList of ConvUnit, or None
        All but the last.
    pad, conv, norm : nn.Module or None
        The last convolution; before it uneven zeros, which it cannot add itself; after it normalisation.
    """

    def __init__(self, before: list[ConvUnit], last: ConvUnit, ending: Ending):
        super().__init__()
        self.before = nn.ModuleList(before) if before else None
        self.pad, self.conv, self.norm = last.pad, last.conv, last.norm
        self._end_with(ending)

    def convolving(self) -> list[nn.Module]:
        """List the layers before the last activation and pooling."""
        before: Any = self.before or ()
        steps = [step for unit in before for step in unit.steps()]
        return steps + [step for step in (self.pad, self.conv, self.norm) if step is not None]


class ShortcutBlock(Block):
    """A residual block, or one of inception modules: layers with a shortcut around them."""

    def __init__(self, sum_: Shortcut, ending: Ending):
        super().__init__()
        self.sum = sum_
        self._end_with(ending)

    def convolving(self) -> list[nn.Module]:
        """List the layers before the last activation and pooling."""
        return [self.sum]


class OwnBlock(Block):
    """What a factory of the user's makes, then pooling and dropout.

    Parameters
    ----------
    body : nn.Module
    plan : BlockPlan
        By which its maps are checked.
    ending : Ending
    """

    def __init__(self, body: nn.Module, plan: BlockPlan, ending: Ending):
        super().__init__()
        self.body = body
        self._taken, self._made = plan.size, (plan.filters, *plan.convolved)
        self._end_with(ending)

    def convolving(self) -> list[nn.Module]:
        """List the layers before pooling."""
        return [self.body]

    @property
    def own_part(self) -> tuple[str, nn.Module]:
        """The hyper-parameter and the module of the user's, for messages."""
        return "block", self.body

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Run the user's module, whose output is checked, and the layers after it."""
        maps = as_floats(self.body(values), values, "block", "the maps")
        made = self._made if values.shape[2:] == self._taken else (self._made[0], *maps.shape[2:])
        if maps.ndim != values.ndim or maps.shape[:1] != values.shape[:1] or maps.shape[1:] != made:
            raise ValueError(
                f"block must map maps of shape {tuple(values.shape)} to {(len(values), *made)}, as when it was tried, "
                f"but it made {tuple(maps.shape)}."
            )
        for step in self.steps()[1:]:
            maps = step(maps)
        return maps


def make_unit(plan: ConvPlan, spec: NetworkSpec, *, activate: bool, normalise: bool = True) -> ConvUnit:
    """Build a convolution, and what comes after it."""
    pad, conv = make_convolution(
        plan.channels, plan.filters, plan.size, plan.kernel, plan.stride, plan.pads, bfloat16=spec.bfloat16
    )
    norm = NORMS[len(plan.size)](plan.filters) if spec.batch_norm and normalise else None
    return ConvUnit(pad, conv, norm, make_activation(spec, len(plan.size)) if activate else None)


def _make_inception_unit(plan: InceptionPlan, spec, *, activate):
    def plain(conv):
        return None if conv is None else make_unit(conv, spec, activate=False, normalise=False)

    n_axes = len(plan.convs[0].size)
    bottleneck, convs = (
        plain(plan.bottleneck),
        [make_unit(c, spec, activate=False, normalise=False) for c in plan.convs],
    )
    pool = None if plan.pooled is None else MAX_POOLS[n_axes](3, 1, padding=1)
    paths = InceptionPaths(bottleneck, convs, pool, plain(plan.pooled))
    norm = NORMS[n_axes](plan.filters) if spec.batch_norm else None
    return InceptionUnit(paths, norm, make_activation(spec, n_axes) if activate else None)


def _make_plain(plan: BlockPlan, spec, ending):
    units = [make_unit(conv, spec, activate=conv is not plan.convs[-1]) for conv in plan.convs]
    return ConvBlock(units[:-1], units[-1], ending)


def _make_with_shortcut(plan: BlockPlan, spec, ending, make):
    body = [make(conv, spec, activate=conv is not plan.convs[-1]) for conv in plan.convs]
    around: list[nn.Module] = [] if plan.crop is None else [Crop(*plan.crop)]
    if plan.around is not None:
        around.append(make_unit(plan.around, spec, activate=False))
    return ShortcutBlock(Shortcut(nn.Sequential(*body), nn.Sequential(*around) if around else None), ending)


def _make_own(plan: BlockPlan, spec, ending, copies):
    body = spec.block(plan.channels, plan.filters, kernel_of_factory(plan.kernel), len(plan.size))
    body = with_weights(own_copy(body, copies), plan.channels, plan.size, plan.makes_weights)
    return OwnBlock(body, plan, ending._replace(activation=None, pool_first=False))  # it brings activations of its own


MAKERS: dict[str, Callable] = {
    "plain": _make_plain,
    "residual": lambda plan, spec, ending: _make_with_shortcut(plan, spec, ending, make_unit),
    "inception": lambda plan, spec, ending: _make_with_shortcut(plan, spec, ending, _make_inception_unit),
}


def make_block(plan: BlockPlan, spec: NetworkSpec, copies: dict) -> Block:
    """Build a block, its weights drawn from torch's global generator.

    Parameters
    ----------
    plan : BlockPlan
    spec : NetworkSpec
    copies : dict
        Of what a factory returned for the network's other blocks; see `own_copy`.
    """
    n_axes = len(plan.size)
    ending = Ending(
        activation=make_activation(spec, n_axes),
        pool=POOLINGS[spec.pooling][n_axes](plan.window) if spec.pooling and plan.window else None,
        dropout=FEATURE_DROPOUTS[n_axes](spec.conv_dropout) if spec.conv_dropout else None,
        pool_first=spec.pooling == "max" and isinstance(spec.activation, str) and spec.activation in MONOTONE,
    )
    if not isinstance(spec.block, str):
        return _make_own(plan, spec, ending, copies)
    return MAKERS[spec.block](plan, spec, ending)
