"""The default scores of estimators, computed from raw outputs, of which some rows come at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch


def _add_right_classes(outputs, targets, weights):
    return torch.stack([weights[outputs.argmax(1) == targets].sum(), weights.sum()])


def _add_right_label_sets(outputs, targets, weights):
    right = ((outputs > 0) == (targets > 0.5)).all(1)
    return torch.stack([weights[right].sum(), weights.sum()])


def _accuracy(sums):
    right, total = sums
    return float(right / total)


def _add_errors(outputs, targets, weights):
    """Sum, for each output, rows, weights, targets, their squares, and squared errors."""
    weights = weights[:, None]
    targets = targets.double()
    error = weights * (targets - outputs) ** 2
    parts = (torch.ones_like(weights), weights, weights * targets, weights * targets**2, error)
    return torch.stack([part.expand_as(targets).sum(0) for part in parts])


def _r2(sums):
    """Average R2 over the outputs, as scikit-learn does; of a constant target it is 1 or 0."""
    n_rows, total, first, second, error = sums
    if n_rows[0] < 2:
        return float("nan")
    spread = second - first**2 / total
    constant = spread <= 1e-12 * second
    perfect = torch.where(error <= 1e-24 * second, 1.0, 0.0)
    return float(torch.where(constant, perfect, 1 - error / spread.clamp(min=1e-300)).mean())


class Score(NamedTuple):
    """A score that is computed from sums over rows.

    Attributes
    ----------
    add : callable of (outputs, targets, weights) -> tensor
        Sums over some rows.
    finish : callable of (sums) -> float
    """

    add: Callable
    finish: Callable


ACCURACY = Score(_add_right_classes, _accuracy)
LABEL_SET_ACCURACY = Score(_add_right_label_sets, _accuracy)
R2 = Score(_add_errors, _r2)


class RunningScore:
    """A score of rows whose outputs come in parts.

    Parameters
    ----------
    score : Score
    targets : tensor of shape (n,) or (n, k)
    weights : tensor of shape (n,) or None
    """

    def __init__(self, score: Score, targets: torch.Tensor, weights: torch.Tensor | None):
        self._score, self._targets, self._weights = score, targets, weights
        self._sums: torch.Tensor | None = None

    @torch.inference_mode()
    def add(self, outputs: torch.Tensor, positions: torch.Tensor | slice) -> None:
        """Add the outputs of the rows at some positions."""
        outputs = outputs.cpu()  # the sums are in float64, which not every device has
        weights = torch.ones(len(outputs)) if self._weights is None else self._weights[positions]
        sums = self._score.add(outputs, self._targets[positions], weights.double())
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self) -> float:
        """Return the score of all rows added so far, and begin anew."""
        sums, self._sums = self._sums, None
        return float("nan") if sums is None else self._score.finish(sums)

    def of_all(self, outputs: torch.Tensor) -> float:
        """Return the score of the outputs of all rows, in order."""
        self.add(outputs, slice(None))
        return self.take()
