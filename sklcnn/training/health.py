"""Checks while a network trains: that losses and weights are finite, and that outputs differ from row to row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import entr

from sklcnn.data.batches import Rows
from sklcnn.data.targets import weighted_quantile
from sklcnn.network.losses import ROBUST_LOSSES, RowLoss

ROUNDING = 1e-6  # outputs that differ by less differ in their last bits only
LEAST_UPDATES = 1000  # after which a network that learns at all is ahead of a constant; those of max_epochs="auto"
NEAR = 0.02  # of the loss of the best constant
SHRUNK = 1e-3  # in runs over ten sets that learnt, also with strong l2, no epoch had less than a quarter


def check_finite(value: float, what: str, row: dict, estimator_name: str) -> None:
    """Check a loss of an epoch, or the size of the weights after it.

    Parameters
    ----------
    value : float
    what : str
        Subject and verb of the message, such as "training loss is".
    row : dict
        The epoch's line of the history, for the message.
    estimator_name : str

    Raises
    ------
    ValueError
        If it is not finite.
    """
    if not np.isfinite(value):
        raise ValueError(
            f"{estimator_name}: the {what} not finite in epoch {row['epoch']}, at learning rate "
            f"{row['learning_rate']:.3g}. Lower learning_rate, scale the inputs (standardize=True), or clip "
            "gradients with skorch's GradientNormClipping in callbacks."
        )


@torch.no_grad()
def total_norm(tensors: Sequence[torch.Tensor]) -> float:
    """Sum the norms of tensors; the sum is not finite if one of their values is not."""
    return float(torch.stack(torch._foreach_norm(list(tensors))).sum()) if tensors else 0.0


def spread_of(outputs: torch.Tensor) -> float:
    """Return the greatest difference between the outputs (n, k) of two rows."""
    outputs = outputs.double()
    return float((outputs.amax(0) - outputs.amin(0)).max())


class DeathCheck:
    """Tells whether a network has died, from outputs that are computed anyway.

    A network is dead when its units are zero for every row, or nearly, so that no gradient reaches them any more. Then
    all rows have the same outputs, but for a thousandth of what they once differed by, though those of its first batch
    differed.
    """

    def __init__(self) -> None:
        self._most = 0.0  # the greatest spread so far
        self._differed: bool | None = None  # did the first outputs
        self._is_dead = False
        self._kept_is_dead: bool | None = None  # None: no epoch's weights are kept, so the latest count

    def note(self, outputs: torch.Tensor) -> None:
        """Note an epoch's outputs, of the validation rows or of its first batch."""
        if len(outputs) < 2:
            return
        spread, rounding = spread_of(outputs), ROUNDING * (1 + float(outputs.abs().max()))
        self._most = max(self._most, spread)
        if self._differed is None:
            self._differed = spread > rounding
        self._is_dead = spread <= max(rounding, SHRUNK * self._most)

    def keep(self) -> None:
        """Note that the weights of the epoch are kept."""
        self._kept_is_dead = self._is_dead

    @property
    def died(self) -> bool:
        """Whether the network, as it is kept, has died since it began."""
        return bool(self._differed) and (self._is_dead if self._kept_is_dead is None else self._kept_is_dead)


def loss_of_constant(criterion: RowLoss, rows: Rows, part: np.ndarray | None = None) -> float | None:
    """Return the least mean loss of rows by outputs that are the same for all of them.

    Parameters
    ----------
    criterion : RowLoss
    rows : Rows
    part : bool ndarray of shape (n,) or None
        Of a robust loss: the rows whose share of it is wanted. None: all.

    Returns
    -------
    loss : float or None
        None where the loss is the user's own, or one whose best constant is neither a mean nor a quantile.
    """
    if criterion.is_own or criterion.loss not in ("cross_entropy", "squared_error", *ROBUST_LOSSES):
        return None
    task, targets = criterion.task, rows.targets.cpu().numpy()
    weights = np.ones(len(targets)) if rows.weights is None else rows.weights.cpu().numpy().astype(np.float64)
    weights /= weights.sum()
    if criterion.loss in ROBUST_LOSSES:
        best = weighted_quantile(targets, weights, criterion.options.get("quantile", 0.5))
        losses = criterion(torch.from_numpy(best), torch.from_numpy(targets)).numpy()
        return float(weights @ losses if part is None else weights[part] @ losses[part])
    if task.kind == "classes":  # codes
        mean = np.bincount(targets, weights, minlength=task.n_outputs)
    else:
        mean = weights @ targets
    if criterion.loss == "squared_error":
        return float(weights @ np.square(targets - mean).mean(axis=1))
    if criterion.label_smoothing:
        mean = task.smooth(mean, criterion.label_smoothing)
    return float(entr(mean).sum() if task.kind == "classes" else (entr(mean) + entr(1 - mean)).mean())
