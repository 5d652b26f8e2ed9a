"""The stages of a run: what trains, and on what.

While a backbone is frozen the head trains, on the backbone's features where they are known; then all of the network
trains on the images. No other module freezes or thaws parameters, or changes the optimiser's groups of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklcnn.data.batches import Rows
from sklcnn.network.network import Network, trained_parameters
from sklcnn.network.penalties import (
    FROZEN_L2,
    add_penalty_gradients,
    computed_penalty,
    layers_with_computed_weights,
    penalised_weights,
    weight_penalty,
)
from sklcnn.training.copies import state_tensors
from sklcnn.training.run import FrozenStage, TrainingSpec


def parameter_groups(network: Network, spec: TrainingSpec) -> list[dict]:
    """Return the optimiser's groups: the parameters of the head, and those of a backbone that trains.

    Raises
    ------
    ValueError
        If the optimiser takes one learning rate for all, and there are two groups.
    """
    groups: list[dict] = [{"params": trained_parameters(network.head), "lr_factor": 1.0}]
    if of_backbone := network.backbone_parameters():
        groups.append({"params": of_backbone, "lr_factor": spec.backbone_lr_factor})
    check_number(groups, spec)
    return groups


def check_number(groups: list[dict], spec: TrainingSpec) -> None:
    """Refuse two groups for an optimiser that takes one learning rate for all.

    Raises
    ------
    ValueError
    """
    if len(groups) > 1 and isinstance(spec.optimizer, type) and issubclass(spec.optimizer, torch.optim.LBFGS):
        raise ValueError(
            f"{spec.estimator_name}: optimizer=LBFGS takes one learning rate for all parameters, but a backbone that "
            "trains has its own. Keep it frozen (freeze_epochs of max_epochs or more), or use another optimizer."
        )


def names_in_groups(network: Network, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """List the names of the parameters in each of the optimiser's groups."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def named_groups(network: Network, names: list[list[str]], spec: TrainingSpec) -> list[dict]:
    """Return the optimiser's groups, of the head and of a backbone that trains, by the names of their parameters."""
    parameters = dict(network.named_parameters())
    factors = (1.0, spec.backbone_lr_factor)
    return [
        {"params": [parameters[name] for name in group], "lr_factor": factor}
        for group, factor in zip(names, factors, strict=False)
    ]


def freeze(network: Network, optimizer: torch.optim.Optimizer) -> None:
    """Stop training the backbone, and take it out of the optimiser."""
    network.freeze()
    _set_groups(optimizer, optimizer.param_groups[:1])


def thaw(network: Network, optimizer: torch.optim.Optimizer, spec: TrainingSpec) -> None:
    """Train the backbone from now on, at its share of the head's learning rate."""
    network.thaw()
    groups = parameter_groups(network, spec)
    if len(optimizer.param_groups) == 1 and len(groups) == 2:
        rate = optimizer.param_groups[0]["lr"] * spec.backbone_lr_factor
        optimizer.add_param_group(groups[1] | {"lr": rate})


def frozen_names(network: Network) -> list[str]:
    """List the parameters that do not train, but not those of a backbone that is frozen as a whole.

    Callbacks may have frozen them, such as skorch's Freezer.
    """
    return [name for name, parameter in _own_flags(network) if not parameter.requires_grad]


def freeze_only(network: Network, names: Sequence[str]) -> None:
    """Let all parameters train but some, where the backbone is not frozen as a whole."""
    for name, parameter in _own_flags(network):
        if parameter.requires_grad != (name not in names):
            parameter.requires_grad_(name not in names)


def _own_flags(network):
    """List the named parameters of which each may train or not, whatever the stage."""
    of_stage = set(map(id, network.get_submodule("backbone").parameters())) if network.is_frozen else set()
    return [(name, parameter) for name, parameter in network.named_parameters() if id(parameter) not in of_stage]


def forget_schedulers(optimizer: torch.optim.Optimizer) -> None:
    """Forget what schedulers of torch's have left in the groups in an earlier fit, which also cycle the momentum."""
    for group in optimizer.param_groups:
        group.pop("initial_lr", None)  # from which the next one would begin
        if group.pop("base_momentum", None) is not None:
            group |= {name: optimizer.defaults[name] for name in ("momentum", "betas") if name in optimizer.defaults}


def put_back_to_start(optimizer: torch.optim.Optimizer, rate: float, n_groups: int) -> list[dict]:
    """Give the optimiser the groups and the rates that it had when a run began; its state stays.

    Returns
    -------
    joined : list of dict
        The groups that have joined since.
    """
    joined = optimizer.param_groups[n_groups:]
    del optimizer.param_groups[n_groups:]
    forget_schedulers(optimizer)
    set_rate(optimizer, rate)
    return joined


def join_again(optimizer: torch.optim.Optimizer, joined: list[dict]) -> None:
    """Give the optimiser groups back, at the rates with which `thaw` adds them."""
    for group in joined:
        optimizer.param_groups.append(group | {"lr": optimizer.param_groups[0]["lr"] * group["lr_factor"]})


def _set_groups(optimizer, groups):
    """Set what the optimiser trains, and drop its state for all other parameters."""
    optimizer.param_groups[:] = groups
    kept = {parameter for group in groups for parameter in group["params"]}
    for parameter in [p for p in optimizer.state if p not in kept]:
        del optimizer.state[parameter]


def _needs_pairs(module):
    """Tell whether the module has batch norm, which cannot normalise a batch of one row."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


class Stages:
    """What trains, and on what, in the present stage.

    Parameters
    ----------
    network : Network
    optimizer : torch.optim.Optimizer
    spec : TrainingSpec
    train, valid : Rows, Rows or None
        Samples that go through the whole network.
    frozen : FrozenStage or None
        The same rows as features of the frozen backbone.
    last_epoch : int
        Of the run, at most.

    Attributes
    ----------
    train_rows, valid_rows : Rows, Rows or None
        What the stage trains on, and what it validates on.
    forward, valid_forward : Network
        The layers that such rows go through.
    trained : list of nn.Parameter
    joins_few_rows : bool
        Whether a last batch of few rows joins the batch before it.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        spec: TrainingSpec,
        train: Rows,
        valid: Rows | None,
        frozen: FrozenStage | None,
        last_epoch: int,
    ):
        self._network, self._optimizer, self._spec = network, optimizer, spec
        self._all_rows = train, valid
        self._features = frozen or FrozenStage(None, None)
        thaws = spec.freeze_epochs < last_epoch
        self.joins_few_rows = _needs_pairs(network if thaws and not network.keeps_statistics else network.head)
        self.train_rows, self.valid_rows = train, valid
        self.forward = self.valid_forward = network
        self.trained: list[nn.Parameter] = []
        self._strengths = spec.l1, 0.0
        self._penalised: list[nn.Parameter] = []
        self._computing: list[nn.Module] = []  # whose weights are penalised, but are no parameters

    def operations_of_batch(self, epoch: int) -> int | None:
        """Count the multiply-adds of a batch in the layers that an epoch runs; None: unknown, and taken for many."""
        frozen = self._network.has_backbone and epoch <= self._spec.freeze_epochs and self._features.train is not None
        operations = (self._network.head if frozen else self._network).operations
        return None if operations is None else operations * self._spec.batch_size

    def enter(self, epoch: int) -> list[torch.Tensor]:
        """Enter the stage of an epoch; return the tensors that begin to change with it."""
        network = self._network
        stays_frozen = network.has_backbone and epoch <= self._spec.freeze_epochs
        thaws = network.is_frozen and not stays_frozen
        (self.train_rows, self.valid_rows), self.forward, self.valid_forward = self._all_rows, network, network
        if stays_frozen:
            freeze(network, self._optimizer)
            if self._features.train is not None:
                self.forward, self.train_rows = network.head, self._features.train
            if self._features.valid is not None:
                self.valid_forward, self.valid_rows = network.head, self._features.valid
        elif thaws:
            thaw(network, self._optimizer, self._spec)
        self.forward, self.valid_forward = self.forward.flat(), self.valid_forward.flat()
        self.set_training_mode()
        self._note_trained()
        return state_tensors(network.get_submodule("backbone")) if thaws else []

    def look_again(self) -> list[torch.Tensor]:
        """See whether a callback, such as skorch's Freezer, froze or thawed parameters; if so, return those that train.

        An empty list: nothing has changed.

        Raises
        ------
        ValueError
            If nothing trains any more.
        """
        trained = trained_parameters(self._network)
        if list(map(id, trained)) == list(map(id, self.trained)):
            return []
        if not trained:
            raise ValueError(
                f"{self._spec.estimator_name}: no weight of the network trains: callbacks have frozen them all. Let "
                "them leave some, such as those of Freezer's patterns that name blocks (block1.*)."
            )
        self._note_trained()
        return [parameter.data for parameter in self.trained]

    def freeze_as_recorded(self, names: Sequence[str] | None) -> list[torch.Tensor]:
        """Let train what did when a checkpoint was saved, if it says so; return as `look_again` does."""
        if names is not None:
            freeze_only(self._network, names)
        return self.look_again()

    def _note_trained(self):
        l2 = self._spec.l2
        if isinstance(l2, str):
            l2 = FROZEN_L2 if self._network.is_frozen else 0.0
        self.trained = trained_parameters(self._network)
        self._strengths = self._spec.l1, l2
        self._penalised = penalised_weights(self._network) if any(self._strengths) else []
        self._computing = layers_with_computed_weights(self._network) if any(self._strengths) else []

    def set_training_mode(self) -> None:
        """Set the network to training mode, but batch norms to eval mode where batches have one row."""
        self._network.train()
        if self.joins_few_rows and (self._spec.batch_size == 1 or len(self.train_rows) == 1):
            # One row has no variance to normalise by: running statistics are used.
            for layer in self._network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()

    def go_back_to(self, epoch: int) -> None:
        """Freeze the backbone again, if it was frozen in an epoch."""
        if self._network.has_backbone and epoch <= self._spec.freeze_epochs and not self._network.is_frozen:
            freeze(self._network, self._optimizer)

    @property
    def is_penalised(self) -> bool:
        """Whether the loss has penalties."""
        return bool(self._penalised or self._computing)

    def penalty(self) -> torch.Tensor:
        """Sum the penalties of the weights as they are."""
        computed = [layer.weight for layer in self._computing]
        return weight_penalty([*self._penalised, *computed], *self._strengths)

    def penalised(self, loss: torch.Tensor) -> torch.Tensor:
        """Add the penalties of weights that are computed, as in weight norm: they are differentiated with the loss."""
        return loss + computed_penalty(self._computing, *self._strengths) if self._computing else loss

    def add_penalty_gradients(self) -> None:
        """Add the gradients of the penalties to those of the loss."""
        add_penalty_gradients(self._penalised, *self._strengths)


def set_backbone_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the factor on the learning rate of a backbone that trains."""
    for group in optimizer.param_groups[1:]:
        group["lr_factor"] = factor


def set_rate(optimizer: torch.optim.Optimizer, rate: Any) -> None:
    """Set the learning rate of all groups, each times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = float(rate) * group.get("lr_factor", 1.0)


def clear_gradients(groups: Sequence[dict]) -> None:
    """Set the gradients to None, as an optimiser's `zero_grad` does, in a tenth of its time."""
    for group in groups:
        for parameter in group["params"]:
            parameter.grad = None
