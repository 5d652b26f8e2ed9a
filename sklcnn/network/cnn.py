"""The network: convolution blocks and a dense head, from a spec."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sklcnn.network.blocks import POOLING_LAYERS, has_known_activation, make_activation, make_block
from sklcnn.network.convolutions import CONVOLUTION_LAYERS
from sklcnn.network.memory import count_operations, widest_block
from sklcnn.network.network import Layers, Network
from sklcnn.network.plan import BlockPlan, NetworkSpec, plan_blocks
from sklcnn.network.standardize import Scaling, Standardize


class Flatten(nn.Module):
    """Lay out feature maps position by position, as Keras does: free for maps that are channels-last in memory."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, *spatial) to (n, positions * c)."""
        return maps.movedim(1, -1).flatten(1)


class GlobalPool(nn.Module):
    """One number a feature map: its mean or maximum."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, *spatial) to (n, c)."""
        axes = tuple(range(2, maps.ndim))
        return maps.mean(axes) if self.kind == "avg" else maps.amax(axes)

    def extra_repr(self) -> str:
        """Name the kind."""
        return self.kind


class DenseLayer(Layers):
    """A fully connected layer with normalisation, activation and dropout."""

    def __init__(self, n_in: int, n_out: int, norm: bool, activation: nn.Module, dropout: float):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.norm = nn.BatchNorm1d(n_out) if norm else None
        self.activation = activation
        self.dropout = nn.Dropout(dropout) if dropout else None

    def steps(self) -> list[nn.Module]:
        """List the layers in the order in which they run."""
        return [step for step in (self.linear, self.norm, self.activation, self.dropout) if step is not None]


def conv_layers(spec: NetworkSpec, plans: list[BlockPlan]) -> OrderedDict:
    """Build the convolution blocks and the layer that turns maps into features."""
    copies: dict = {}
    layers: OrderedDict[str, nn.Module] = OrderedDict((plan.name, make_block(plan, spec, copies)) for plan in plans)
    layers["features"] = GlobalPool(spec.global_pooling) if spec.global_pooling else Flatten()
    return layers


def head_layers(spec: NetworkSpec, n_features: int, n_outputs: int) -> OrderedDict:
    """Build the dense layers and the output."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.dropout and not spec.dense_units:
        layers["dropout"] = nn.Dropout(spec.dropout)
    for number, units in enumerate(spec.dense_units, start=1):
        layers[f"dense{number}"] = DenseLayer(
            n_features, units, spec.batch_norm, make_activation(spec, 0), spec.dropout
        )
        n_features = units
    layers["output"] = nn.Linear(n_features, n_outputs)
    return layers


def build_network(
    spec: NetworkSpec,
    sample_shape: tuple[int, ...],
    n_outputs: int,
    scaling: Scaling | None,
) -> Network:
    """Build the network that a spec describes, its weights drawn from torch's global generator.

    Parameters
    ----------
    spec : NetworkSpec
    sample_shape : tuple of int
        Channels first.
    n_outputs : int
    scaling : Scaling or None
        None leaves the inputs as they are.

    Returns
    -------
    network : Network
        Maps (n, c, *spatial) to (n, n_outputs), laid out channels-last in memory.

    Raises
    ------
    ValueError
        If a "valid" kernel does not fit into what is left of a sample.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if scaling is not None:
        layers["standardize"] = Standardize(scaling, len(sample_shape) - 1)
    plans, n_features = plan_blocks(spec, sample_shape)  # once: of a factory's blocks each is tried
    layers |= conv_layers(spec, plans)
    layers |= head_layers(spec, n_features, n_outputs)
    network = channels_last(Network(layers))
    network.widest = widest_block(spec, plans, sample_shape)
    network.operations = count_operations(spec, plans, n_features, n_outputs)
    network.has_own_code = not (isinstance(spec.block, str) and has_known_activation(spec))
    return network


def build_on_backbone(spec: NetworkSpec, backbone: Any, n_outputs: int, scaling: Scaling | None) -> Network:
    """Build the network of a backbone with dense layers on its features.

    Parameters
    ----------
    spec : NetworkSpec
        What it says about convolution blocks is not used.
    backbone : Backbone
    n_outputs : int
    scaling : Scaling or None
        Of the features; None leaves them as they are.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(backbone=backbone)
    if scaling is not None:
        layers["standardize_features"] = Standardize(scaling, 0)
    layers |= head_layers(spec, backbone.n_features, n_outputs)
    network = Network(layers)
    network.has_own_code = not (backbone.shareable and has_known_activation(spec))
    return network


def widest_layer(network: nn.Module, sample_shape: Sequence[int]) -> int:
    """Return the largest number of values of one sample before and after a layer; with "valid" padding a few too many.

    Parameters
    ----------
    network : nn.Module
    sample_shape : sequence of int
        Channels first.
    """
    channels, size = sample_shape[0], list(sample_shape[1:])
    before = math.prod(sample_shape)
    widest = 2 * before
    for layer in network.modules():
        if isinstance(layer, CONVOLUTION_LAYERS):
            channels = layer.out_channels
            size = [math.ceil(n / step) for n, step in zip(size, layer.stride, strict=False)]
        elif isinstance(layer, POOLING_LAYERS) and isinstance(layer.kernel_size, tuple):
            size = [n // window for n, window in zip(size, layer.kernel_size, strict=False)]
        elif isinstance(layer, nn.Linear):
            channels, size = layer.out_features, []
        else:
            continue
        after = channels * math.prod(size)
        widest, before = max(widest, before + after), after
    return widest


def channels_last(module: Network) -> Network:
    """Lay out the convolution weights of a network channels-last, which is faster on CPUs and GPUs alike."""
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, CONVOLUTION_LAYERS) and weight is not None:
            weight.data = weight.data.movedim(1, -1).contiguous().movedim(-1, 1)
    return module
