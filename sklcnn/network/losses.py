"""Losses: from raw outputs and targets to one loss a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def cross_entropy(outputs, targets):
    """Cross-entropy of class codes (n,) or class probabilities (n, k)."""
    return functional.cross_entropy(outputs, targets, reduction="none")


def binary_cross_entropy(outputs, targets):
    """Mean over the labels of a row of the binary cross-entropy."""
    return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1)


def squared_error(outputs, targets):
    """Mean over the outputs of a row of the squared error."""
    return (outputs - targets).square().mean(1)


def absolute_error(outputs, targets):
    """Mean over the outputs of a row of the absolute error."""
    return (outputs - targets).abs().mean(1)


def huber(outputs, targets):
    """Mean over the outputs of a row of Huber's loss, quadratic up to one deviation of y."""
    return functional.huber_loss(outputs, targets, reduction="none").mean(1)


CLASSIFICATION_LOSSES: dict[str, Callable] = {"cross_entropy": cross_entropy}
REGRESSION_LOSSES: dict[str, Callable] = {
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
}


class RowLoss(nn.Module):
    """One loss a row, whatever the kind of target.

    Parameters
    ----------
    loss : str or callable
        A name, or a function of raw outputs and targets, both (n, k).
    n_outputs : int
    kind : {"classes", "labels", "values"}
        Class codes, indicators, or standardised values.
    label_smoothing : float
        Share of a target's probability that is spread over all classes (of an indicator: over 0 and 1).
    owner : str
        For messages.
    """

    def __init__(self, loss: Any, n_outputs: int, kind: str, label_smoothing: float = 0.0, owner: str = ""):
        super().__init__()
        self.kind, self.n_outputs, self.label_smoothing, self.owner = kind, n_outputs, label_smoothing, owner
        self.given = callable(loss)
        if self.given:
            self.function = loss
        elif kind == "labels":
            self.function = binary_cross_entropy
        else:
            self.function = {**CLASSIFICATION_LOSSES, **REGRESSION_LOSSES}[loss]

    def soft_targets(self, targets: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Give targets as (n, k): probabilities, indicators or values; class codes become one-hot rows."""
        if targets.ndim == 1 and self.kind == "classes":
            return functional.one_hot(targets, self.n_outputs).to(dtype)
        return targets

    def _smoothed(self, targets):
        n_values = self.n_outputs if self.kind == "classes" else 2
        return targets * (1 - self.label_smoothing) + self.label_smoothing / n_values

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Give the loss of each row, (n,)."""
        if self.given or self.label_smoothing:
            targets = self.soft_targets(targets, outputs.dtype)
            if self.label_smoothing:
                targets = self._smoothed(targets)
        losses = self.function(outputs, targets)
        if self.given and (not isinstance(losses, torch.Tensor) or losses.shape != outputs.shape[:1]):
            shape = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
            raise ValueError(
                f"{self.owner}: loss must return one loss a row, a tensor of shape ({len(outputs)},) here; got {shape}. "
                "Average over the outputs, not over the rows."
            )
        if outputs.requires_grad and not losses.requires_grad:
            raise ValueError(
                f"{self.owner}: loss must be computed by torch from the outputs it is given, so that it can be "
                "differentiated. Do not detach them or convert them to NumPy."
            )
        return losses
