"""Named networks with their weights read, which all frozen backbones of the process share."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklcnn.bounded import BoundedCache
from sklcnn.files import identity_of
from sklcnn.network.backbones.module import trainable_names
from sklcnn.network.backbones.recipes import find_recipe
from sklcnn.network.backbones.state_dicts import load_file
from sklcnn.network.network import layers_of
from sklcnn.process import Entered
from sklcnn.signals import raise_if_signalled

# Networks kept in memory with their weights read: enough for a search over a few backbones.
MAX_NETWORKS = 4
LOGGER = logging.getLogger("sklcnn.weights")


@dataclass
class Pristine:
    """A named network as its weights left it: frozen, in eval mode, on the CPU, shared by all who ask."""

    network: nn.Module
    trainable: frozenset[str]  # parameters that train once the network is no longer frozen
    n_features: dict[tuple[int, ...], int] = field(default_factory=dict)  # by sample shape
    digests: dict[float, tuple[list, str]] = field(default_factory=dict)  # of the weights, by scale

    def __post_init__(self):
        self.layers = tuple(layers_of(self.network))
        self.tensors = (*self.network.parameters(), *self.network.buffers())


_networks: BoundedCache = BoundedCache(MAX_NETWORKS)

_ZEROS = {
    torch.ops.aten.randn.default: torch.ops.aten.zeros.default,
    torch.ops.aten.rand.default: torch.ops.aten.zeros.default,
    torch.ops.aten.randn_like.default: torch.ops.aten.zeros_like.default,
    torch.ops.aten.rand_like.default: torch.ops.aten.zeros_like.default,
}


class _NoDraws(TorchDispatchMode):
    """Build networks without drawing the random weights that a file is about to replace.

    It saves time, and it leaves the global generator alone, so that a fit draws the same numbers whether
    or not another fit has read the network before it.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _ZEROS:
            func = _ZEROS[func]
        elif torch.Tag.nondeterministic_seeded in func.tags and func._schema.is_mutable:
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


class _NoWeights(_NoDraws):
    """Build networks whose weights take no memory (on "meta"); what is computed when they are built has its values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.empty.memory_format:  # by which layers make weights, before they draw them
            kwargs = {**(kwargs or {}), "device": torch.device("meta")}
        return super().__torch_dispatch__(func, types, args, kwargs)


def build_to_be_filled(build):
    """Build a named network whose weights are to be replaced: nothing is drawn, and where possible none has memory.

    Parameters
    ----------
    build : callable () -> nn.Module

    Returns
    -------
    network : nn.Module
        Its weights are on "meta", as far as nothing is computed of them.
    """
    try:
        with Entered(_NoWeights()):
            network = build()
        if not _computes_weights(network):
            return network
    except (RuntimeError, TypeError):  # something is computed of weights
        pass
    with Entered(_NoDraws()):
        return build()


def _computes_weights(network):
    """Tell whether modules keep, beside their state dict, what has no memory either and would not be filled."""
    for module in network.modules():
        values = [*vars(module).values(), *map(module._buffers.get, module._non_persistent_buffers_set)]
        if any(isinstance(value, torch.Tensor) and value.is_meta for value in values):
            return True
    return False


def pristine_network(name, weights):
    """Return the network of a name and its weights, read at most once a process."""
    key = (name, *_weights_identity(weights))
    return _networks.find_or_make(key, lambda: _read_network(find_recipe(name), weights))


def _weights_identity(weights):
    if weights == "pretrained":
        return ("pretrained",)
    path = Path(weights)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise_if_signalled(error)
        return (str(path),)  # reading it gives the error
    return str(path.resolve()), *identity_of(status), status.st_ctime_ns


def _read_network(recipe, weights):
    with _NoDraws():
        if weights == "pretrained":
            network = recipe.build_pretrained()
        else:
            network = load_file(recipe.build(), weights, recipe.name, recipe.head, recipe.rename)
    LOGGER.debug("%d network is built with its weights read: %s", 1, recipe.name)
    trainable = trainable_names(network)
    network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Pristine(network, trainable)
