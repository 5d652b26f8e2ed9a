"""Averages of the weights over a run, which are validated, kept and used instead of the latest weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from sklcnn.data.batches import batch_sizes
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.training.copies import state_tensors
from sklcnn.training.evaluation import autocast
from sklcnn.training.rates import Rates
from sklcnn.training.stages import Stages

# A moving average is over about 100 updates; at the beginning, over about a tenth of the updates so far.
DECAY, WARM_UP = 0.99, 10
SWA_SHARE = 0.25  # of the epochs, at the end, whose weights "swa" averages


class Averaging:
    """Without averages: the latest weights are used. Also the interface of the class below."""

    def take_back(self) -> None:
        """Put the latest weights back, to train on."""

    def begin_epoch(self) -> None:
        """Add the weights that begin to train."""

    def after_update(self) -> None:
        """Add the weights after an update to the average."""

    def end_epoch(self, epoch: int) -> None:
        """Put the averages into the network, until the next epoch begins."""

    def resume(self, epoch: int) -> None:
        """Continue after an epoch with what a checkpoint has loaded: averages in the network, and what is beside it."""

    def end(self) -> None:
        """Leave the network as it is."""


class KeptWeights(nn.Module):
    """The latest weights while the averages are in the network; a part of the loss, so that checkpoints save them."""

    def __init__(self, tensors: list[torch.Tensor], n_averaged: int):
        super().__init__()
        for number, tensor in enumerate(tensors):
            self.register_buffer(f"latest{number}", tensor.clone())
        self.register_buffer("n_averaged", torch.tensor(n_averaged))

    def latest(self) -> list[torch.Tensor]:
        """List the weights."""
        return [getattr(self, f"latest{number}") for number in range(len(list(self.buffers())) - 1)]


class WeightAverages(Averaging):
    """The averages of the weights that train in a run.

    Parameters
    ----------
    kind : {"ema", "swa"}
        An exponential moving average over updates; or the mean over the last quarter of the epochs.
    net : TrainingNet
    stages : Stages
    rates : Rates
        Which know the planned epochs of the run.
    """

    def __init__(self, kind: str, net: Any, stages: Stages, rates: Rates):
        self._kind, self._stages, self._rates = kind, stages, rates
        self._network, self._criterion, self._spec, self._device = (
            net.module_, net.criterion_, net.spec, net.torch_device_
        )  # fmt: skip
        self._averages: dict[nn.Parameter, torch.Tensor] = {}
        self._n_averaged = 0
        self._hook = self._criterion.register_load_state_dict_pre_hook(_make_room)

    @property
    def start(self) -> int:
        """The first epoch that "swa" averages; an earlier one than planned, once the end is brought forward."""
        first, last, fall = self._rates.first, self._rates.last, self._rates.fall
        planned = last - max(1, round(SWA_SHARE * (last - first + 1))) + 1
        return planned if fall is None else max(planned, fall.after + 1)  # the end was not known before

    @torch.no_grad()
    def _average_in(self, average):
        parameters = self._stages.trained
        for parameter in parameters:
            if parameter not in self._averages:
                self._averages[parameter] = parameter.detach().clone()
        average([self._averages[parameter] for parameter in parameters], [p.detach() for p in parameters])
        self._n_averaged += 1

    @torch.no_grad()
    def take_back(self) -> None:
        """Put the latest weights back, to train on."""
        kept = getattr(self._criterion, "kept", None)
        if kept is not None:
            self._stages.set_training_mode()
            torch._foreach_copy_(state_tensors(self._network), kept.latest())
            del self._criterion.kept

    def begin_epoch(self) -> None:
        """Begin a moving average with the weights that begin to train."""
        if self._kind == "ema":
            self._averages |= {p: p.detach().clone() for p in self._stages.trained if p not in self._averages}

    def after_update(self) -> None:
        """Add the weights after an update to the moving average."""
        if self._kind == "ema":
            n_before = self._n_averaged + 1
            average = get_ema_multi_avg_fn(min(DECAY, (1 + n_before) / (WARM_UP + n_before)))
            self._average_in(lambda means, latest: average(means, latest, n_before))

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Put the averages into the network, with the statistics of batch norms that fit them."""
        if self._kind == "swa" and epoch >= self.start:
            average = get_swa_multi_avg_fn()
            self._average_in(lambda means, latest: average(means, latest, self._n_averaged))
        if not self._averages:
            return
        self._stages.set_training_mode()
        kept = KeptWeights(state_tensors(self._network), self._n_averaged)
        self._criterion.kept = kept.to(self._device)
        for parameter, mean in self._averages.items():
            parameter.copy_(mean)
        self._find_statistics()

    def _find_statistics(self):
        """Compute the statistics of batch norms over the training rows, as ``torch.optim.swa_utils.update_bn`` does."""
        norms: list[Any] = [m for m in self._network.modules() if isinstance(m, _BatchNorm) and m.training]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self._network.eval()  # without dropout
        for norm in norms:
            norm.train().reset_running_stats()
            norm.momentum = None  # the plain mean of the batches
        rows = self._stages.train_rows
        sizes = batch_sizes(len(rows), self._spec.batch_size, self._stages.joins_few_rows)
        order, dtype = torch.arange(len(rows)), TORCH_FLOATS[self._spec.precision]
        for batch in rows.batches(order, sizes, dtype, self._device):
            with autocast(self._spec.precision, self._device):
                self._stages.forward(batch.inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self._network.eval()  # as a callback may predict by it

    def resume(self, epoch: int) -> None:
        """Continue after an epoch with what a checkpoint has loaded: averages in the network, the rest beside the loss.

        Raises
        ------
        ValueError
            If the latest weights were not saved, or those of a run without averages were.
        """
        kept = getattr(self._criterion, "kept", None)
        has_averages = self._kind == "ema" or epoch >= self.start
        if has_averages != (kept is not None):
            raise ValueError(
                f"{self._spec.estimator_name}: a run with weight_averaging={self._kind!r} is resumed from its averages "
                "and its latest weights, which Checkpoint saves beside the loss. Give it a file for them, such as "
                'f_criterion="criterion_{last_epoch[epoch]}.pt", and begin anew: delete what was saved.'
            )
        if kept is not None:
            self._averages = {parameter: parameter.detach().clone() for parameter in self._stages.trained}
            self._n_averaged = int(kept.n_averaged)

    def end(self) -> None:
        """Leave the averages in the network, and take the latest weights out of the loss."""
        if hasattr(self._criterion, "kept"):
            del self._criterion.kept
        self._hook.remove()


def _make_room(criterion, state_dict, prefix, *_):
    """Give a loss the submodule that its state of a checkpoint has."""
    saved = {name.removeprefix("kept."): value for name, value in state_dict.items() if name.startswith("kept.")}
    if saved:
        latest = [saved[f"latest{number}"] for number in range(len(saved) - 1)]
        criterion.kept = KeptWeights(latest, int(saved["n_averaged"]))
    elif hasattr(criterion, "kept"):
        del criterion.kept


def make_averaging(kind: str | None, net: Any, stages: Stages, rates: Rates) -> Averaging:
    """Build what averages the weights as a hyper-parameter says; the arguments are those of `WeightAverages`."""
    return Averaging() if kind is None else WeightAverages(kind, net, stages, rates)
