"""Copies of the weights of a run, to restore later. No other module takes or restores them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from sklcnn.network.layouts import address_of
from sklcnn.network.network import Network, layers_of, trained_parameters
from sklcnn.network.own_state import copy_network, own_modules, plain_attributes, set_attributes


def state_tensors(module: nn.Module) -> list[torch.Tensor]:
    """List what training changes in a network: trained parameters, and the buffers of layers in training mode."""
    tensors = [parameter.data for parameter in trained_parameters(module)]
    for layer in layers_of(module):
        if layer.training:
            tensors += layer.buffers(recurse=False)
    return tensors


class Snapshot:
    """A copy of a network's weights and buffers, and of its optimiser's state where there is one.

    What modules of the user's hold in plain attributes is a part of it.

    Parameters
    ----------
    module : nn.Module
    optimizer : torch.optim.Optimizer or None
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer | None = None):
        self._module: nn.Module = module
        self._optimizer: Any = optimizer
        self._live: list[torch.Tensor] = []
        self._copies: list[torch.Tensor] = []
        self._groups: list[dict] = []
        self._others: dict | None = None
        self._own: dict[str, nn.Module] | None = None  # the user's, which may train what are no tensors
        self._attributes: dict[str, dict] = {}
        self.epoch = 0
        self.complete = False

    def _moments(self):
        """List the tensors of the optimiser's state; None if it holds anything else and must be copied whole."""
        states = [] if self._optimizer is None else list(self._optimizer.state.values())
        values = [value for state in states for value in state.values() if value is not None]
        return values if all(isinstance(value, torch.Tensor) for value in values) else None

    @torch.no_grad()
    def take(self, epoch: int) -> None:
        """Copy the state as it is at the end of an epoch."""
        self.complete = False
        moments = self._moments()
        live = state_tensors(self._module) + (moments or [])
        if [address_of(t) for t in live] == [address_of(t) for t in self._live]:
            torch._foreach_copy_(self._copies, live)
        else:
            self._copies = [tensor.clone() for tensor in live]
        self._live = live
        if self._own is None:
            self._own = own_modules(self._module)
        if self._own:
            training = {path: module for path, module in self._own.items() if module.training}
            self._attributes = plain_attributes(training, self._module)
        self._others = None if moments is not None else copy.deepcopy(self._optimizer.state_dict())
        if self._optimizer is not None:
            self._groups = [{k: v for k, v in g.items() if k != "params"} for g in self._optimizer.param_groups]
        self.epoch = epoch
        self.complete = True

    @torch.no_grad()
    def extend(self, tensors: list[torch.Tensor]) -> None:
        """Add tensors that begin to train now: they still have the values of when the copy was taken."""
        known = {address_of(tensor) for tensor in self._live}
        tensors = [tensor for tensor in tensors if address_of(tensor) not in known]
        if self._copies:
            self._live = self._live + tensors
            self._copies = self._copies + [tensor.clone() for tensor in tensors]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copied state back."""
        if self._live:
            torch._foreach_copy_(self._live, self._copies)
        if self._attributes:
            set_attributes(self._module, self._attributes, next(self._module.parameters()).device)
        if self._optimizer is None:
            return
        if self._others is not None:
            self._optimizer.load_state_dict(self._others)
            return
        known = {address_of(tensor) for tensor in self._live}
        for parameter, state in list(self._optimizer.state.items()):
            if any(isinstance(v, torch.Tensor) and address_of(v) not in known for v in state.values()):
                del self._optimizer.state[parameter]  # it was created after the copy
        for group, saved in zip(self._optimizer.param_groups, self._groups, strict=False):
            group.update(saved)


def copy_to_train(network: Network, optimizer: torch.optim.Optimizer) -> tuple[Network, torch.optim.Optimizer]:
    """Copy a network and its optimiser: the copies train, while the network itself predicts and stays as it is.

    A frozen backbone's weights, which are most of a network and do not change, are shared until it is thawed.
    """
    memo: dict[int, Any] = {}
    if network.is_frozen:
        backbone: Any = network.backbone
        memo[id(backbone)] = backbone.lent()
    trained: Any = copy_network(network, memo)
    # Not by its own `__getstate__`, which leaves out what a class of the user's, or LBFGS, adds.
    attributes = {name: value for name, value in vars(optimizer).items() if name != "step"}  # a scheduler's, of the old
    copied: Any = object.__new__(type(optimizer))
    vars(copied).update(copy.deepcopy(attributes, memo))
    return trained, copied


class Copies:
    """The copies that a run keeps.

    Parameters
    ----------
    network : nn.Module
    optimizer : torch.optim.Optimizer

    Attributes
    ----------
    last : Snapshot
        Of the last finished epoch; restored after an interrupt.
    best : Snapshot
        Of the epoch that early stopping keeps.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer):
        self.last, self.best = Snapshot(network, optimizer), Snapshot(network, optimizer)

    def extend(self, tensors: list[torch.Tensor]) -> None:
        """Add tensors that begin to train now to each copy."""
        if tensors:
            for snapshot in (self.last, self.best):
                snapshot.extend(tensors)
