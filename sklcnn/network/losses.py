"""Losses: from raw outputs and targets to one loss a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sklcnn.network.own_modules import own_copy
from sklcnn.wording import errors_noted, name_of


def cross_entropy(outputs, targets, label_smoothing=0.0, reduction="none"):
    """Cross-entropy of class codes (n,) or class probabilities (n, k)."""
    return functional.cross_entropy(outputs, targets, reduction=reduction, label_smoothing=label_smoothing)


def _mean_over_outputs(losses, reduction):
    return losses.mean() if reduction == "mean" else losses.mean(1)


def binary_cross_entropy(outputs, targets, label_smoothing=0.0, reduction="none"):
    """Mean over the labels of a row of the binary cross-entropy; smoothing moves indicators towards 1/2."""
    if label_smoothing:
        targets = targets * (1 - label_smoothing) + label_smoothing / 2
    losses = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return _mean_over_outputs(losses, reduction)


def squared_error(outputs, targets, reduction="none"):
    """Mean over the outputs of a row of the squared error."""
    return _mean_over_outputs((outputs - targets).square(), reduction)


def absolute_error(outputs, targets, reduction="none"):
    """Mean over the outputs of a row of the absolute error."""
    return _mean_over_outputs((outputs - targets).abs(), reduction)


def huber(outputs, targets, reduction="none"):
    """Mean over the outputs of a row of Huber's loss, quadratic up to one deviation of y."""
    return _mean_over_outputs(functional.huber_loss(outputs, targets, reduction="none"), reduction)


def pinball(outputs, targets, quantile=0.5, reduction="none"):
    """Mean over the outputs of a row of the pinball loss, which is least where a quantile is predicted."""
    errors = targets - outputs
    # From the size of errors, whose gradient is 0 where there is none, so that outputs that are right stay so. The
    # larger of two products has a gradient there.
    sizes = errors.abs()
    losses = torch.where(errors < 0, (1 - quantile) * sizes, quantile * sizes)
    return _mean_over_outputs(losses, reduction)


CLASSIFICATION_LOSSES: dict[str, Callable] = {"cross_entropy": cross_entropy}
REGRESSION_LOSSES: dict[str, Callable] = {
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "quantile": pinball,
}
ROBUST_LOSSES = ("absolute_error", "quantile")  # which a value far from the others moves no more than any other


class RowLoss(nn.Module):
    """One loss a row, whatever the kind of target.

    Parameters
    ----------
    loss : str or callable
        A name, or a function of raw outputs and targets, both (n, k).
    task : Task
        The kind of target.
    options : dict
        ``label_smoothing``: share of a target's probability that is spread over all classes (of an indicator: over 0
        and 1). ``quantile``: which one the loss of that name is least for.
    estimator_name : str
        For messages.
    """

    def __init__(self, loss: Any, task: Any, options: dict[str, float] | None = None, estimator_name: str = ""):
        super().__init__()
        self.task, self.options, self.estimator_name = task, {} if options is None else options, estimator_name
        self.label_smoothing = self.options.get("label_smoothing", 0.0)
        if isinstance(loss, nn.Module):
            loss = own_copy(loss)  # it goes to the fit's device, and may change what it holds
        self.loss, self.is_own = loss, callable(loss)
        self.function = loss if self.is_own else task.losses[loss]
        self.arguments = {} if self.is_own else self.options

    @property
    def unsmoothed(self) -> Callable:
        """The named loss of outputs and targets, without its options."""
        return self.task.losses[self.loss]

    def average(self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Return the mean over rows of weight times loss, a scalar."""
        if weights is None and not self.is_own:
            return self.function(outputs, targets, reduction="mean", **self.arguments)
        losses = self(outputs, targets)
        return losses.mean() if weights is None else (losses * weights).mean()

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, (n,)."""
        if not self.is_own:
            return self.function(outputs, targets, **self.arguments)
        if torch.is_inference_mode_enabled():  # in which it could not differentiate anything by itself
            with torch.inference_mode(False), torch.no_grad():
                return self._own_losses(outputs, targets)
        return self._own_losses(outputs, targets)

    def _own_losses(self, outputs, targets):
        targets = self.task.soft_targets(targets, outputs.dtype)
        if self.label_smoothing:
            targets = self.task.smooth(targets, self.label_smoothing)
        # Copies: a loss that writes into what it is given would change the scores and the rows of later epochs.
        with errors_noted(lambda error: self._note(outputs, targets)):
            losses = self.function(outputs.clone(), targets.clone())
        self._check(losses, outputs)
        return losses if outputs.requires_grad else losses.detach()

    def _note(self, outputs, targets):
        """Say what a loss of the user's that failed is called with."""
        return (
            f"{self.estimator_name}: loss={name_of(self.loss)} raised this. It is called with raw outputs and targets, "
            f"tensors of shape {tuple(outputs.shape)} and {tuple(targets.shape)}, and must return one loss a row."
        )

    def _remedy(self):
        """Say how the user's loss comes to one value a row."""
        name = type(self.loss).__name__
        if isinstance(self.loss, nn.modules.loss._Loss) and self.loss.reduction != "none":
            return f'nn.{name} averages over the rows too, unless it is told not to: nn.{name}(reduction="none").'
        return "Average over the outputs, not over the rows."

    def _check(self, losses, outputs):
        """Check what a loss of the user's returns."""
        if not isinstance(losses, torch.Tensor) or losses.shape != outputs.shape[:1]:
            shape = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
            raise ValueError(
                f"{self.estimator_name}: loss must return one loss a row, a tensor of shape ({len(outputs)},) "
                f"here; got {shape}. {self._remedy()}"
            )
        if losses.layout is not torch.strided or losses.device != outputs.device:
            raise TypeError(
                f"{self.estimator_name}: loss must return a dense tensor on the device of the outputs; got one of "
                f"layout {str(losses.layout)[6:]} on {losses.device}. Convert it by to_dense() and to(outputs.device)."
            )
        if losses.is_complex():
            raise TypeError(
                f"{self.estimator_name}: loss must return floats, but they are {str(losses.dtype)[6:]}. Return their "
                "magnitude, or real part."
            )
        if outputs.requires_grad and not losses.requires_grad:
            raise ValueError(
                f"{self.estimator_name}: loss must be computed by torch from the outputs it is given, so that it can "
                "be differentiated. Do not detach them or convert them to NumPy."
            )
