"""Early stopping: which epoch's weights are kept, and when more epochs gain nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# patience="auto" counts updates, since an epoch of few rows is a handful of them. The latest epoch is kept whose
# averaged loss is within a tolerance of the least: accuracy still rises long after the loss has begun to rise because
# of a few overconfident rows, and the first epoch with the least loss, as elsewhere, loses up to 8 points. But where
# rows are noisy, what is learnt late is noise. As against a tolerance of a quarter, test rows, means of runs simulated
# on recorded ones (83 of classes on benchmarks small_data, one to five seeds; 13 with wrong labels and 18 with noisy
# values, three seeds):
#   5 %, own loss within a tenth   accuracy -0.1 points (-4.8 to 1.4), log-loss 0.98; wrong labels 4.2 points; R2 0.10
#   1 %, within 2 %                accuracy -0.4 (-21 to 2), 0.98; wrong labels 6.7 points; noisy values: R2 0.13
#   15 %                           accuracy -0.1 (-2 to 2), 0.99; wrong labels 1.6 points; noisy values: R2 0.02
# R2 of small_data changes by less than 0.001 with each. Losing most are sets of which next to nothing is learnt. A
# tolerance that is a share of the gain over a constant, and losses at the best temperature, were no better. Nor was a
# better score that counts only while the loss is within 20 % of the least: 20 and 40 % of wrong labels +0.2 points (12
# runs, -1.0 to 1.8), other sets of classes -0.6 (45 runs, -15 to 0.3).
SMOOTH_UPDATES, TOLERANCE_OF_CLASSES, TOLERANCE_OF_VALUES = 40, 0.05, 0.01
OWN = 2.0  # the epoch's own loss may be this many times the tolerance above the least: averages lag behind a rise
# At a high rate, a loss may jump for an epoch or two. Averaged with those of the first epochs, which were larger
# still, it may be the least: an epoch is not kept either where its own loss, of training or validation rows, is above
# the median of those that are averaged by more than three times that median and a hundredth of the first epoch's loss.
# Of 43 runs (benchmarks small_data, one seed, two of its sets with five) this changes one, from 0.70 to 1.00; twice
# does the same, not above it at all loses up to 11 points, and the loss of validation rows alone finds 0.75 there.
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
        Whether losses are watched. With a scorer of the user's, the epoch of its best score is kept; with "auto", of
        several with that score, the one of the least loss.
    of_classes : bool
        Whether it is a classifier's loss, which may rise though more rows are right.
    """

    def __init__(self, patience: Any, n_updates: int, of_loss: bool, of_classes: bool = True):
        self._tolerance = TOLERANCE_OF_CLASSES if of_classes else TOLERANCE_OF_VALUES
        self._tolerant = patience == "auto" and of_loss
        self._breaks_ties = patience == "auto" and not of_loss
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
        self._loss_of_best = math.inf  # with a user's scorer, of the epoch whose score is the best so far
        self._train_loss_then = math.inf  # in the epoch of the least loss
        self._waited = 0

    def keeps(
        self, loss: float, score: float = math.nan, train_loss: float = math.nan, val_loss: float = math.nan
    ) -> bool:
        """Add an epoch, and tell whether its weights are to be kept.

        `loss` is the validation loss, or the negated score of the user's scorer, which `val_loss` is the loss beside.
        Without a `train_loss` it is assumed to fall.
        """
        first = not self._losses
        self._losses.append(math.inf if math.isnan(loss) else loss)
        self._scores.append(score)
        self._train_losses.append(train_loss)
        good = self._is_as_good() if self._tolerant else self._is_better(val_loss)
        if self._smoothed(self._losses) < self._least:
            self._least, self._train_loss_then = self._smoothed(self._losses), self._smoothed(self._train_losses)
        self._most = max(self._most, self._smoothed(self._scores))
        if good or first:
            self._waited = 0
        elif not (self._tolerant and self._smoothed(self._train_losses) >= self._train_loss_then):
            # Where the training loss rises too, this is no overfitting: the rate is still too high.
            self._waited += 1
        return good or first

    def _is_better(self, val_loss):
        """Tell whether the score is the best so far; or as good as that, as many are of few rows, with a smaller loss.

        The first epoch of a score that few rows cannot tell from the best is one that has hardly trained.
        """
        better = self._losses[-1] < self._least
        tied = self._breaks_ties and self._losses[-1] <= self._least + ROUNDING and val_loss < self._loss_of_best
        if better or tied:
            self._loss_of_best = math.inf if math.isnan(val_loss) else val_loss
        return better or tied

    def _is_as_good(self):
        least = min(self._least, self._smoothed(self._losses))
        slack = self._tolerance * abs(least)
        near = self._smoothed(self._losses) <= least + slack and self._losses[-1] <= least + OWN * slack
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
