"""Whether a network is well while it trains: its losses are finite, its outputs differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

ROUNDING = 1e-6  # of outputs that differ in their last bits alone


def check_finite(value: float, what: str, row: dict, estimator_name: str) -> None:
    """Check a loss of an epoch, or the size of the weights after it.

    Parameters
    ----------
    value : float
    what : str
        Its name and the verb.
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


class Pulse:
    """Outputs of a network's first batch and of its latest, or latest kept, epoch.

    Where the former differ from row to row and the latter do not, its units have died on the way: each is zero for
    every row, and no gradient brings it back. No row goes through the network for this alone.
    """

    def __init__(self) -> None:
        self.first: torch.Tensor | None = None
        self.latest: torch.Tensor | None = None
        self.kept: torch.Tensor | None = None

    def feel(self, outputs: torch.Tensor) -> None:
        """Take note of an epoch's outputs: of validation rows, or of its first batch."""
        self.first = outputs if self.first is None else self.first
        self.latest = outputs

    def keep(self) -> None:
        """Take note that the weights of the epoch are kept."""
        self.kept = self.latest

    @property
    def stopped(self) -> bool:
        """Whether the network was alive and is dead."""
        kept = self.latest if self.kept is None else self.kept
        return are_constant(kept) and not are_constant(self.first) and self.first is not None and len(self.first) > 1
