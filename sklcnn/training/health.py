"""Checks while a network trains: that losses and weights are finite, and that outputs differ from row to row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

ROUNDING = 1e-6  # outputs that differ by less differ in their last bits only


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


def are_constant(outputs: torch.Tensor | None) -> bool:
    """Tell whether rows, of which there are several, all have the same outputs (n, k)."""
    if outputs is None or len(outputs) < 2:
        return False
    outputs = outputs.double()
    spread = (outputs.amax(0) - outputs.amin(0)).max()
    return bool(spread <= ROUNDING * (1 + outputs.abs().max()))


class DeathCheck:
    """Tells whether a network has died, from outputs that are computed anyway.

    A network is dead when its units are zero for every row, so that no gradient reaches them any more. Then all rows
    have the same outputs, though those of its first batch differed.
    """

    def __init__(self) -> None:
        self.first: torch.Tensor | None = None
        self.latest: torch.Tensor | None = None
        self.kept: torch.Tensor | None = None

    def note(self, outputs: torch.Tensor) -> None:
        """Note an epoch's outputs, of the validation rows or of its first batch."""
        self.first = outputs if self.first is None else self.first
        self.latest = outputs

    def keep(self) -> None:
        """Note that the weights of the epoch are kept."""
        self.kept = self.latest

    @property
    def died(self) -> bool:
        """Whether the network, as it is kept, has died since it began."""
        kept = self.latest if self.kept is None else self.kept
        return are_constant(kept) and not are_constant(self.first) and self.first is not None and len(self.first) > 1
