"""Early stopping: which epoch's weights are kept, and when more epochs gain nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# patience="auto" counts updates, since an epoch of few rows is a handful of them. Measured on runs over eight sets of
# 100 to 1,000 rows, as against the last epoch: the latest epoch within a tenth of the best smoothed loss loses 0.9
# points of accuracy (3 at worst) and brings the log-loss to 0.75 of it; within a quarter 0.2 points (4 at worst), 0.80;
# within a half 0.0 points (2.5), 0.85; within a quarter or with an accuracy not seen before 0.0 (0.8 at worst), 0.90.
# The first epoch with the least loss, which stands for early stopping elsewhere, loses up to 8 points: accuracy goes on
# rising for long after the loss of a few overconfident rows has begun to.
SMOOTH_UPDATES, TOLERANCE = 40, 0.25
# Without an epoch as good for so long, the end is brought forward; where a scorer judges, without a better one.
WAIT_UPDATES, WAIT_EPOCHS = 100, 3
SCORE_WAIT_UPDATES, SCORE_WAIT_EPOCHS = 300, 10
ROUNDING = 1e-9  # of averages of the same scores in another order


class Judge:
    """Decide epoch by epoch whether its weights are to be kept, and whether to wait for more.

    Parameters
    ----------
    patience : int or "auto"
        An int is exact: the first of the best epochs is kept, and the wait is over after so many epochs without a
        better one. With "auto" the latest good epoch is kept: one whose smoothed loss is within a tolerance of the
        best, or whose smoothed score is the best so far.
    n_updates : int
        Of an epoch.
    of_loss : bool
        Whether losses are watched. What a scorer of the user's gives is taken as it is: its best epoch is the best.
    """

    def __init__(self, patience: Any, n_updates: int, of_loss: bool):
        self._tolerant = patience == "auto" and of_loss
        self._window = max(1, round(SMOOTH_UPDATES / n_updates)) if self._tolerant else 1
        if self._tolerant:
            self._patience = max(WAIT_EPOCHS, math.ceil(WAIT_UPDATES / n_updates))
        elif patience == "auto":
            self._patience = max(SCORE_WAIT_EPOCHS, math.ceil(SCORE_WAIT_UPDATES / n_updates))
        else:
            self._patience = patience
        self._losses: list[float] = []
        self._scores: list[float] = []
        self._train_losses: list[float] = []
        self._least, self._most = math.inf, -math.inf
        self._train_loss_then = math.inf  # in the epoch of the least loss
        self._waited = 0

    def keeps(self, loss: float, score: float = math.nan, train_loss: float = math.nan) -> bool:
        """Take note of an epoch's validation loss, or negated score of a scorer; of its score, and its training loss.

        Tell whether its weights are to be kept. A training loss that is not known counts as one that goes on falling.
        """
        first = not self._losses
        self._losses.append(math.inf if math.isnan(loss) else loss)
        self._scores.append(score)
        self._train_losses.append(train_loss)
        good = self._is_as_good() if self._tolerant else self._losses[-1] < self._least
        if self._smoothed(self._losses) < self._least:
            self._least, self._train_loss_then = self._smoothed(self._losses), self._smoothed(self._train_losses)
        self._most = max(self._most, self._smoothed(self._scores))
        if good or first:
            self._waited = 0
        elif not (self._tolerant and self._smoothed(self._train_losses) >= self._train_loss_then):
            self._waited += 1  # else the rate is too high for now, which is no overfitting: the schedule will lower it
        return good or first

    def _is_as_good(self):
        least = min(self._least, self._smoothed(self._losses))
        near = self._smoothed(self._losses) <= least + TOLERANCE * abs(least)
        return near or self._smoothed(self._scores) > self._most + ROUNDING

    def _smoothed(self, values):
        return float(np.mean(values[-self._window :]))

    @property
    def exhausted(self) -> bool:
        """Whether the wait is over."""
        return self._waited >= self._patience
