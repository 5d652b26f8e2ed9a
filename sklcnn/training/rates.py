"""The learning rates of a run, from its schedule, its stages and the validation loss or score."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sklcnn.training.run import Fall, TrainingSpec
from sklcnn.training.schedules import (
    PLATEAU_FACTOR,
    PLATEAU_FLOOR,
    PLATEAU_GAIN,
    SCHEDULES,
    falling,
    plateau_wait,
)
from sklcnn.training.stages import set_rate

# A final fall that begins early takes this share of the epochs so far, and at least so many updates.
FALL_SHARE, FALL_UPDATES = 0.5, 100


class Rates:
    """The learning rate of every update, before a backbone's factor.

    Parameters
    ----------
    spec : TrainingSpec
    optimizer : torch.optim.Optimizer
        Whose rates "reduce_on_plateau" lowers, those of all groups by the same share.
    n_updates : int
        Of an epoch.
    first, last : int
        Epochs that the schedule spans.
    of_loss : bool
        Whether plateaus are looked for in a loss, and not in a score.
    given : list of float or None
        One rate per epoch, instead of the schedule.
    fall : Fall or None
        That of a run that this one repeats.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        optimizer: torch.optim.Optimizer,
        n_updates: int,
        first: int,
        last: int,
        of_loss: bool,
        given: Sequence[float] | None = None,
        fall: Fall | None = None,
    ):
        self._peak, self._n_updates, self._given, self.fall = spec.learning_rate, n_updates, given, fall
        self.first, self._last, self._shape = first, last, SCHEDULES.get(spec.schedule or "")
        thaw = spec.freeze_epochs + 1
        self._stages = [(first, int(thaw) - 1), (int(thaw), last)] if first < thaw <= last else [(first, last)]
        self._optimizer, self._of_loss = optimizer, of_loss
        self._plateau = None
        if given is None and spec.schedule == "reduce_on_plateau":
            self._plateau = self._new_plateau()

    def _new_plateau(self):
        """Make what lowers a rate, that of a parameter of its own: a backbone's is to stay a share of it."""
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            torch.optim.SGD([torch.zeros(1)], lr=self._peak),
            factor=PLATEAU_FACTOR,
            patience=plateau_wait(self._n_updates),
            # A share of a score, which may be zero or negative, means nothing: any gain counts there.
            threshold=PLATEAU_GAIN if self._of_loss else 0,
            min_lr=PLATEAU_FLOOR * self._peak,
            eps=0,
        )

    @property
    def last(self) -> int:
        """The last epoch that is planned now."""
        return self._last if self.fall is None else self.fall.after + self.fall.n_epochs

    @property
    def falls_on_plateau(self) -> bool:
        """Whether the rate falls when the watched loss or score stays the same."""
        return self._plateau is not None

    def of_epoch(self, epoch: int) -> Iterator[float] | None:
        """List the rates of an epoch's updates; None where the rate does not change."""
        if self._given is not None:
            return itertools.repeat(self._given[min(epoch - self.first, len(self._given) - 1)])
        if self._shape is None:
            return None
        return iter(self._peak * self._shares(epoch))

    def _shares(self, epoch):
        """Compute the shares of the peak at an epoch's updates."""
        updates = np.arange(self._n_updates)
        if self.fall is not None and epoch > self.fall.after:
            updates += (epoch - self.fall.after - 1) * self._n_updates
            top = self._scheduled(self.fall.after, np.array([self._n_updates - 1]))
            return top * falling(updates + 1, self.fall.n_epochs * self._n_updates)
        return self._scheduled(epoch, updates)

    def _scheduled(self, epoch, updates):
        """Compute the schedule's shares at some updates of an epoch: each stage has a cycle of its own."""
        start, end = next(stage for stage in reversed(self._stages) if stage[0] <= epoch)
        return self._shape((epoch - start) * self._n_updates + updates, (end - start + 1) * self._n_updates)

    def after_epoch(self, epoch: int, value: float) -> None:
        """Lower the rate if the watched loss or score has reached a plateau; a new stage begins with the whole rate."""
        if self._plateau is None:
            return
        (before,) = self._plateau.get_last_lr()
        if epoch + 1 == self._stages[-1][0]:
            self._plateau = self._new_plateau()
        else:
            self._plateau.step(value)
        (after,) = self._plateau.get_last_lr()
        if after != before:
            set_rate(self._optimizer, after)

    def bring_forward(self, epoch: int, last: int) -> int:
        """Begin the final fall of the rate now, since validation no longer gets better; return the run's last epoch.

        Without a schedule that falls, training ends at once. A final fall that is near, or has begun, is not changed.
        """
        if self._shape is None or self._given is not None:
            return epoch
        if self.fall is not None:
            return last
        n_epochs = max(math.ceil(FALL_SHARE * (epoch - self.first + 1)), math.ceil(FALL_UPDATES / self._n_updates))
        if epoch + n_epochs < last:
            self.fall = Fall(epoch, n_epochs)
            return epoch + n_epochs
        return last
