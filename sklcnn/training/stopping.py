"""Early stopping: which epoch's weights are kept, and when more epochs gain nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# patience="auto" counts updates, since an epoch of few rows is a handful of them. Measured on runs over eight sets of
# 100 to 1,000 rows, as against the last epoch: the latest epoch within a tenth of the best smoothed loss loses 0.9
# points of accuracy (3 at worst) and brings the log-loss to 0.75 of it; within a quarter 0.2 points (4 at worst), 0.80;
# within a half 0.0 points (2.5), 0.85; within a quarter or with an accuracy not seen before 0.0 (0.8 at worst), 0.90.
# The first epoch with the least loss, as elsewhere, loses up to 8 points: accuracy still rises long after the loss has
# begun to rise because of a few overconfident rows.
SMOOTH_UPDATES, TOLERANCE = 40, 0.25
# At a high rate, a loss may jump for an epoch or two. Averaged with those of the first epochs, which were larger
# still, it may be the least: an epoch is not kept either where its own loss, of training or validation rows, is above
# the median of those that are averaged by more than three times that median and a hundredth of the first epoch's loss.
# Of 129 runs (benchmarks small_data, three seeds) this changes one, from 0.70 to 1.00; twice does the same, not above
# it at all loses up to 11 points, and the loss of validation rows alone finds 0.75 in that run.
SPIKE, SPIKE_FLOOR = 3.0, 0.01
# After so long without a good epoch the final fall begins; with a user's scorer, without a better epoch.
WAIT_UPDATES, WAIT_EPOCHS = 100, 3
SCORE_WAIT_UPDATES, SCORE_WAIT_EPOCHS = 300, 10
ROUNDING = 1e-9  # averages of the same scores, summed in another order, differ by less


class Judge:
    """Decides after each epoch whether its weights are kept, and whether waiting for a better one is over.

    Parameters
    ----------
    patience : int or "auto"
        An int is exact: the first of the best epochs is kept, and the wait is over after so many epochs without a
        better one. With "auto" the latest good epoch is kept: one whose smoothed loss is within a tolerance of the
        best, or whose smoothed score is the best so far, and whose own losses are no spike.
    n_updates : int
        Of an epoch.
    of_loss : bool
        Whether losses are watched. With a scorer of the user's, the epoch of its best score is kept.
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
        """Add an epoch, and tell whether its weights are to be kept.

        `loss` is the validation loss, or the negated score of the user's scorer. Without a `train_loss` it is assumed
        to fall.
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
            # Where the training loss rises too, this is no overfitting: the rate is still too high.
            self._waited += 1
        return good or first

    def _is_as_good(self):
        least = min(self._least, self._smoothed(self._losses))
        near = self._smoothed(self._losses) <= least + TOLERANCE * abs(least)
        good = near or self._smoothed(self._scores) > self._most + ROUNDING
        return good and not any(self._has_jumped(losses) for losses in (self._losses, self._train_losses))

    def _has_jumped(self, losses):
        usual = float(np.median(losses[-self._window :]))
        # Never where no epochs are smoothed, or where there is no loss.
        return losses[-1] - usual > SPIKE * abs(usual) + SPIKE_FLOOR * abs(losses[0])

    def _smoothed(self, values):
        return float(np.mean(values[-self._window :]))

    @property
    def exhausted(self) -> bool:
        """Whether the wait is over."""
        return self._waited >= self._patience
