"""How the layers of a network are made, without their weights, so that a saved network can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from sklcnn.donors import find_donor
from sklcnn.network.blocks import has_known_activation
from sklcnn.network.cnn import build_network
from sklcnn.network.network import Network
from sklcnn.network.own_modules import on_zeros
from sklcnn.network.own_state import give_memory, with_memory, without_memory
from sklcnn.network.plan import NetworkSpec
from sklcnn.network.standardize import Scaling, parts_taken_off
from sklcnn.process import Entered


@dataclass(frozen=True)
class TrainedModule:
    """A module of the user's as a fit has trained it, without its weights, and what is known of it.

    Attributes
    ----------
    module : nn.Module
        From `without_memory`: whatever the user does with the module that was passed, it stays as it is.
    n_features : int
    channels_last : bool
        How batches are laid out for it.
    """

    module: nn.Module
    n_features: int
    channels_last: bool

    @classmethod
    def of(cls, backbone: Any) -> TrainedModule:
        """Return that of a backbone."""
        return cls(without_memory(backbone.network, backbone._trainable), backbone.n_features, backbone.channels_last)


@dataclass(frozen=True)
class BackboneRecipe:
    """How a backbone is made.

    Attributes
    ----------
    source : str, nn.Module, callable, TrainedModule or NetworkRecipe
        A name, the user's own module or factory, or the recipe of a fitted estimator's network. What is saved of a
        module is a TrainedModule.
    sample_shape : tuple of int
    name : str or None
        The name under which its features are cached, with the version of the library that made it.
    scale : float
        What raw values are multiplied by.
    loaded : bool
        Whether its weights were read, or learnt by another estimator.
    standardizes : bool
        Whether it is the user's own and standardises its inputs.
    takes_off : tuple of str
        The parts of a `Scaling` beside mean and deviation, then.
    """

    source: Any
    sample_shape: tuple[int, ...]
    name: str | None
    scale: float
    loaded: bool
    standardizes: bool = False
    takes_off: tuple[str, ...] = ()

    @classmethod
    def of(cls, backbone: Any, given: Any, sample_shape: tuple[int, ...]) -> BackboneRecipe:
        """Return the recipe of a backbone that was made from a hyper-parameter."""
        donor = find_donor(given)
        if donor is not None:
            source = donor._fitted.recipe
            if source.backbone is not None:
                return source.backbone
        else:
            source = given
        standardizes = backbone.name is None and backbone.mean is not None
        return cls(
            source, tuple(sample_shape), backbone.name, backbone.scale, backbone.loaded, standardizes,
            parts_taken_off(backbone),
        )  # fmt: skip

    def build(self) -> Any:
        """Make the backbone, not frozen, with weights that are to be replaced."""
        from sklcnn.network.backbones import adopt_network, adopt_trained, load_backbone

        if isinstance(self.source, NetworkRecipe):
            network = self.source.build()
            names = [name for name, _ in network.named_children()]
            return adopt_network(network[: names.index("features") + 1], self.sample_shape)
        scaling = _scaling_of(self)
        if isinstance(self.source, TrainedModule):
            trained, n_axes = self.source, len(self.sample_shape) - 1
            made = adopt_trained(with_memory(trained.module), trained.n_features, self.scale, scaling, n_axes)
            made.channels_last, made.loaded = trained.channels_last, self.loaded
            return made
        made = load_backbone(self.source, None, self.sample_shape, scale=self.scale, scaling=scaling)
        made.name, made.loaded = self.name, self.loaded
        return made

    @property
    def holds_module(self) -> bool:
        """Whether the backbone is a module that the user passed."""
        return isinstance(self.source, (nn.Module, TrainedModule))

    @property
    def holds_own_code(self) -> bool:
        """Whether there is code of the user's in it."""
        if isinstance(self.source, NetworkRecipe):
            return self.source.holds_own_code
        return not isinstance(self.source, str)

    def as_trained(self, backbone: Any) -> BackboneRecipe:
        """Return a recipe that does not change with the user's module."""
        if not self.holds_module:
            return self
        try:
            return replace(self, source=TrainedModule.of(backbone))
        except Exception:  # it cannot be copied any more, by what its `forward` has put into it
            return self


@dataclass(frozen=True)
class NetworkRecipe:
    """How a network is made.

    Attributes
    ----------
    spec : NetworkSpec
    sample_shape : tuple of int
        Channels first.
    n_outputs : int
    standardizes : bool
        Whether the first layer standardises.
    backbone : BackboneRecipe or None
    takes_off : tuple of str
        The parts of the first layer's `Scaling` beside mean and deviation.
    """

    spec: NetworkSpec
    sample_shape: tuple[int, ...]
    n_outputs: int
    standardizes: bool
    backbone: BackboneRecipe | None = None
    takes_off: tuple[str, ...] = ()

    @property
    def holds_module(self) -> bool:
        """Whether the backbone is a module that the user passed."""
        return self.backbone is not None and self.backbone.holds_module

    @property
    def holds_own_code(self) -> bool:
        """Whether there is code of the user's in it."""
        if not isinstance(self.spec.activation, str):
            return True
        return not isinstance(self.spec.block, str) if self.backbone is None else self.backbone.holds_own_code

    @property
    def _makes_known_layers(self):
        """Whether all layers are this package's or torch's, which tensors without memory do not disturb.

        A module of the user's may compute values when it is made, which "meta" has none of.
        """
        return has_known_activation(self.spec) and isinstance(self.spec.block, str)

    def as_trained(self, network: Any) -> NetworkRecipe:
        """Return a recipe that does not change with the user's module."""
        if self.backbone is None or not self.backbone.holds_module:
            return self
        return replace(self, backbone=self.backbone.as_trained(network.backbone))

    def build(self, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Network:
        """Make the network, with weights that are to be replaced.

        Parameters
        ----------
        shapes : mapping of str to tuple of int, or None
            Of the weights that will be loaded. They are compared with the recipe's before memory is allocated.

        Raises
        ------
        ValueError
            If they differ from the recipe's.
        """
        if self.backbone is not None:
            from sklcnn.network.cnn import build_on_backbone

            with Entered(torch.random.fork_rng(devices=[])):
                return build_on_backbone(self.spec, self.backbone.build(), self.n_outputs)
        # On "meta" tensors have shapes but take no memory.
        place = torch.device("meta") if self._makes_known_layers else Entered(torch.random.fork_rng(devices=[]))
        with place:
            network = build_network(self.spec, self.sample_shape, self.n_outputs, _scaling_of(self))
            found = _shapes_in(network)
            if network.has_own_code and shapes is not None and not shapes.keys() <= found.keys():
                on_zeros(network, torch.zeros(1, *self.sample_shape))  # `forward` makes tensors when it is first called
                found = _shapes_in(network)
        if shapes is not None and found != shapes:
            differing = next(name for name in {**found, **shapes} if found.get(name) != shapes.get(name))
            raise ValueError(
                f"the weights of {differing} have shape {shapes.get(differing)}, where the network has "
                f"{found.get(differing)}"
            )
        return give_memory(network) if self._makes_known_layers else network


def _shapes_in(network):
    """Return the shapes of a network's weights, by name."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items() if hasattr(value, "shape")}


def _scaling_of(recipe):
    """Return a scaling whose values are to be replaced; None where nothing is standardised."""
    if not recipe.standardizes:
        return None
    shapes = {name: recipe.sample_shape if name == "shared" else recipe.sample_shape[:1] for name in Scaling._fields}
    names = ("mean", "deviation", *recipe.takes_off)
    return Scaling(**{name: torch.empty(shapes[name]) for name in names})  # `ones` on "meta" may import SymPy
