"""A network that was loaded. The skorch net around it is made only when asked for: `predict` needs none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklcnn.network.layouts import sparse_of


def to_tensors(value: Any) -> Any:
    """Turn arrays back into tensors, within tuples, lists and dicts too."""
    if isinstance(value, dict):
        if value.get("type") == "bfloat16":
            return torch.from_numpy(np.array(value["bits"])).view(torch.bfloat16)
        if value.get("type") == "sparse":
            return sparse_of(value["layout"], value["shape"], to_tensors(value["parts"]))
        return {key: to_tensors(entry) for key, entry in value.items()}
    if type(value) in (tuple, list):
        return type(value)(to_tensors(entry) for entry in value)
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


class SavedNet:
    """A network that was read from a state, and what the skorch net around it is made from.

    Attributes
    ----------
    module_ : Network
    spec : TrainingSpec
    criterion_ : RowLoss
    optimizer_state : dict or None
    epochs : list of dict
        The rows of skorch's history.
    callbacks : list
        Initialised callbacks of skorch.
    groups : list of lists of str, or None
        The names of the parameters that the optimiser has, by group; some may be frozen at present. None: not known.
    """

    def __init__(self, module, spec, criterion, optimizer_state, epochs, callbacks, groups=None):
        self.module_, self.spec, self.criterion_ = module, spec, criterion
        self.optimizer_state, self.epochs, self.callbacks, self.groups = optimizer_state, epochs, callbacks, groups

    @property
    def torch_device_(self) -> torch.device:
        """The device that the network is on."""
        return torch.device(self.spec.device)

    def restore(self) -> Any:
        """Make the skorch net."""
        from sklcnn.training.callbacks import made_whole
        from sklcnn.training.net import make_net
        from sklcnn.training.stages import named_groups

        net = make_net(self.module_, self.spec, self.criterion_, [])
        if self.groups is not None:
            net.optimize(named_groups(self.module_, self.groups, self.spec))
        net.callbacks_ = made_whole(self.callbacks)
        net.history.extend({"batches": [{}], **row} for row in self.epochs)
        if self.optimizer_state is not None:
            saved = to_tensors(self.optimizer_state)
            net.optimizer_.load_state_dict(saved)
            for parameter, entries in net.optimizer_.state.items():
                for name, value in entries.items():
                    entries[name] = _laid_out_like(parameter, value)
            _keep_formats(net.optimizer_, saved)
        return net


def _keep_formats(optimizer, saved):
    """Give what an optimiser keeps in another format than its weights that format again: loading casts it to theirs."""
    for group, known in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for parameter, number in zip(group["params"], known["params"], strict=True):
            entries = optimizer.state.get(parameter, {})
            for name, value in saved["state"].get(number, {}).items():
                now = entries.get(name)
                if isinstance(value, torch.Tensor) and isinstance(now, torch.Tensor) and now.dtype != value.dtype:
                    entries[name] = _laid_out_like(parameter, value.to(now.device))


def _laid_out_like(parameter, value):
    """Give an optimiser's moment the memory layout of its weights: fused optimisers read both in storage order."""
    if not isinstance(value, torch.Tensor) or value.shape != parameter.shape or value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
