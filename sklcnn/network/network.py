"""The network of an estimator: its layers by name, its backbone and its head."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn


class Layers(nn.Module):
    """A layer made of smaller ones that run one after the other."""

    def steps(self) -> list[nn.Module]:
        """List the smaller layers in the order in which they run."""
        raise NotImplementedError

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Run the smaller layers."""
        for step in self.steps():
            values = step(values)
        return values


class Network(nn.Sequential):
    """What an estimator trains: a sequence of named layers.

    The names are ``standardize``, ``block1`` ..., ``features``, or ``backbone``, ``standardize_features``; then
    ``dense1`` ..., ``output``. It maps a raw batch (n, c, *spatial) to raw outputs (n, k).
    """

    widest: int | None = None  # values of a sample in memory at one time, by `widest_block`; None: by `widest_layer`
    operations: int | None = None  # multiply-adds of a sample; None: unknown, and many
    has_own_code = False  # whether there are modules of the user's, which may draw numbers or differentiate

    @property
    def first(self) -> nn.Module:
        """The layer that sees the inputs: in a third of the time of ``self[0]``."""
        return next(iter(self._modules.values()))  # type: ignore[return-value]

    @property
    def has_backbone(self) -> bool:
        """Whether the convolutions are a backbone."""
        return "backbone" in self._modules

    @property
    def _backbone(self) -> Any:
        """The backbone, or None: tools that look at all attributes of a module, as tracing does, may ask for it."""
        return self._modules.get("backbone")

    @property
    def is_frozen(self) -> bool:
        """Whether there is a backbone that does not train."""
        return self.has_backbone and self._backbone.frozen

    @property
    def keeps_statistics(self) -> bool:
        """Whether there is a backbone whose batch norms keep the statistics that they came with."""
        return self.has_backbone and self._backbone.keeps_statistics

    @property
    def head(self) -> Network:
        """The layers after the backbone, which share its parameters; all layers where there is no backbone."""
        if not self.has_backbone:
            return self
        head: Any = self[1:]
        head.operations = sum(parameter.numel() for parameter in head.parameters())
        head.has_own_code = self.has_own_code
        return head

    @property
    def input_means(self) -> torch.Tensor | None:
        """The mean of each channel (c,) of what the network, or its backbone, was trained on; None if unknown."""
        if self.has_backbone:
            mean = self._backbone.mean
            return None if mean is None else mean.reshape(-1) / self._backbone.scale
        standardize: Any = self._modules.get("standardize")
        return None if standardize is None else standardize.mean.reshape(-1)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the backbone that train."""
        return trained_parameters(self._backbone) if self.has_backbone else []

    def freeze(self) -> None:
        """Stop training the backbone, where there is one."""
        if self.has_backbone:
            self._backbone.freeze()

    def thaw(self) -> None:
        """Train the backbone, where there is one. Its parameters may be new ones."""
        if self.has_backbone:
            self._backbone.unfreeze()

    def flat(self) -> Network:
        """Return the same layers as one sequence, without the blocks around them: less Python a batch.

        A block that does more than run its layers stays whole.
        """
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, layer in self.named_children():
            if isinstance(layer, Layers) and type(layer).forward is Layers.forward:
                layers |= {f"{name}_{number}": step for number, step in enumerate(layer.steps(), start=1)}
            else:
                layers[name] = layer
        network = Network(layers)
        network.widest, network.operations, network.has_own_code = self.widest, self.operations, self.has_own_code
        return network


def layers_of(module: nn.Module, *, shared: bool = True) -> list[nn.Module]:
    """List a module and all in it, in the order of `modules()` but in a fifth of its time for a deep backbone.

    Without those inside a frozen backbone that is shared with the process, if `shared` is False.
    """
    found: dict[nn.Module, None] = {}
    waiting = [module]
    while waiting:
        layer = waiting.pop()
        if layer in found:
            continue
        found[layer] = None
        known = layer.__dict__.get("layers_inside")  # of a backbone that does not change
        if known is None:
            waiting += [inner for inner in reversed(layer._modules.values()) if inner is not None]
        elif shared:
            found |= dict.fromkeys(known)
    return list(found)


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """List the parameters of a module that train."""
    own = (parameter for layer in layers_of(module, shared=False) for parameter in layer._parameters.values())
    trained: list[Any] = [parameter for parameter in own if parameter is not None and parameter.requires_grad]
    return list(dict.fromkeys(trained))  # layers may share one
