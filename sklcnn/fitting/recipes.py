"""How the layers of a network are made, without their weights, so that a saved network can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from sklcnn.donors import find_donor
from sklcnn.network.blocks import has_known_activation
from sklcnn.network.cnn import build_network, build_on_backbone
from sklcnn.network.network import Network
from sklcnn.network.own_modules import on_zeros
from sklcnn.network.own_state import give_memory, with_memory, without_memory
from sklcnn.network.plan import NetworkSpec, plan_blocks
from sklcnn.network.standardize import Scaling, parts_taken_off
from sklcnn.signals import raise_if_signalled
from sklcnn.training.seeding import drawing_undone

Shapes = Mapping[str, tuple[int, ...]]  # by the names of weights


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

    def build(self, shapes: Shapes | None = None) -> Any:
        """Make the backbone, not frozen, with weights that are to be replaced.

        Parameters
        ----------
        shapes : mapping of str to tuple of int, or None
            Of the weights that will be loaded. Unless there is code of the user's, they are compared with the recipe's
            before memory is allocated.

        Raises
        ------
        ValueError
            If they differ from the recipe's.
        """
        from sklcnn.network.backbones import adopt_trained, count_by_name, load_backbone, outline_backbone

        with drawing_undone(self.runs_own_code):
            if isinstance(self.source, NetworkRecipe):
                made = self._adopt(self.source)
            elif isinstance(self.source, TrainedModule):
                trained, n_axes, scaling = self.source, len(self.sample_shape) - 1, _scaling_of(self, self.sample_shape)
                made = adopt_trained(with_memory(trained.module), trained.n_features, self.scale, scaling, n_axes)
                made.channels_last = trained.channels_last
            elif isinstance(self.source, str):
                made = outline_backbone(self.source, self.sample_shape, self.scale)
            else:
                scaling = _scaling_of(self, self.sample_shape)
                made = load_backbone(self.source, None, self.sample_shape, scale=self.scale, scaling=scaling)
        if not self.holds_own_code:
            _compare(made, shapes)
        give_memory(made)
        if isinstance(self.source, str):
            made.n_features = count_by_name(made, self.source, self.sample_shape)
        if not isinstance(self.source, NetworkRecipe):
            made.name, made.loaded = self.name, self.loaded
        return made

    def _adopt(self, source):
        """Make a backbone of the feature layers of a network that was trained here."""
        from sklcnn.network.backbones import adopt_network

        if source.backbone is not None:  # whose recipe is that of its backbone
            raise ValueError("a network on a backbone is no backbone")
        network = source.outline()
        names = [name for name, _ in network.named_children()]
        # A file may name samples of any size, on which the network would have to be run to count its features.
        n_features = None if source.runs_own_code else plan_blocks(source.spec, source.sample_shape)[1]
        return adopt_network(network[: names.index("features") + 1], self.sample_shape, n_features)

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

    @property
    def runs_own_code(self) -> bool:
        """Whether code of the user's makes it, which may draw numbers; of a TrainedModule there is a copy."""
        if isinstance(self.source, NetworkRecipe):
            return self.source.runs_own_code
        return not isinstance(self.source, (str, TrainedModule))

    def as_trained(self, backbone: Any) -> BackboneRecipe:
        """Return a recipe that does not change with the user's module."""
        if not self.holds_module:
            return self
        try:
            return replace(self, source=TrainedModule.of(backbone))
        except Exception as error:  # it cannot be copied any more, by what its `forward` has put into it
            raise_if_signalled(error)
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
        Whether the first layer standardises; with a backbone, whether its features are standardised.
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
    def runs_own_code(self) -> bool:
        """Whether code of the user's makes layers, which may draw numbers.

        It may compute values too, which tensors without memory have none of; all other layers are made of such.
        """
        return self._makes_own_layers or (self.backbone is not None and self.backbone.runs_own_code)

    @property
    def _makes_own_layers(self):
        """Whether there are layers of the user's beside those of the backbone."""
        return not has_known_activation(self.spec) or (self.backbone is None and not isinstance(self.spec.block, str))

    def as_trained(self, network: Any) -> NetworkRecipe:
        """Return a recipe that does not change with the user's module."""
        if self.backbone is None or not self.backbone.holds_module:
            return self
        return replace(self, backbone=self.backbone.as_trained(network.backbone))

    def build(self, shapes: Shapes | None = None) -> Network:
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
        with drawing_undone(self.runs_own_code):
            network = self.outline(shapes)
        if self.backbone is None or not self.backbone.holds_own_code:
            _compare(network, shapes)
        return give_memory(network)

    def outline(self, shapes: Shapes | None = None) -> Network:
        """Make the network, where possible without memory for its weights; of its backbone they have some."""
        backbone = None
        if self.backbone is not None:
            backbone = self.backbone.build(None if shapes is None else _within(shapes, "backbone."))
        # On "meta" tensors have shapes but take no memory.
        with nullcontext() if self._makes_own_layers else torch.device("meta"):
            if backbone is not None:
                scaling = _scaling_of(self, (backbone.n_features,))
                return build_on_backbone(self.spec, backbone, self.n_outputs, scaling)
            network = build_network(self.spec, self.sample_shape, self.n_outputs, _scaling_of(self, self.sample_shape))
        if network.has_own_code and shapes is not None and not shapes.keys() <= network.state_dict().keys():
            on_zeros(network, torch.zeros(1, *self.sample_shape))  # `forward` makes tensors when it is first called
        return network


def _within(shapes, prefix):
    """Return the shapes of what is inside a part of a network, by its names there."""
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _compare(module, shapes):
    """Check, before its weights have memory, that what will be loaded is of a module's shapes."""
    if shapes is None:
        return
    found = _shapes_in(module)
    if found != shapes:
        differing = next(name for name in {**found, **shapes} if found.get(name) != shapes.get(name))
        raise ValueError(
            f"the weights of {differing} have shape {shapes.get(differing)}, where the network has "
            f"{found.get(differing)}"
        )


def _shapes_in(network):
    """Return the shapes of a network's weights, by name."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items() if hasattr(value, "shape")}


def _scaling_of(recipe, shape):
    """Return a scaling of values of a shape, to be replaced by another; None where nothing is standardised."""
    if not recipe.standardizes:
        return None
    shapes = {name: shape if name == "shared" else shape[:1] for name in Scaling._fields}
    names = ("mean", "deviation", *recipe.takes_off)
    return Scaling(**{name: torch.empty(shapes[name]) for name in names})  # `ones` on "meta" may import SymPy
