"""What a file is made from: the parts of a fitted estimator that compute predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklcnn.data.schema import InputSchema
from sklcnn.wording import shown


@dataclass(frozen=True)
class Source:
    """The parts of a fitted estimator that compute.

    Attributes
    ----------
    name : str
        Of the estimator's class.
    network : nn.Module
        Maps (n, c, *spatial) to raw outputs (n, k).
    schema : InputSchema
    n_outputs : int
    answers : callable
        Maps raw outputs to the outputs of the file, a dict by name.
    lookup : ndarray or None
        The labels whose codes are the output "label".
    deviation : ndarray of shape (k,) or None
        Of a regressor's targets.
    """

    name: str
    network: Any
    schema: InputSchema
    n_outputs: int
    answers: Callable[[torch.Tensor], dict[str, torch.Tensor]]
    lookup: np.ndarray | None = None
    deviation: np.ndarray | None = None

    def with_raw_scores(self) -> Source:
        """Return the same, with what the decision function gives instead of probabilities, as skl2onnx expects it.

        Of two classes it is a column a class, ``-d`` and ``d``.
        """

        def answers(outputs):
            scores = outputs
            if outputs.shape[1] == 2 and self.lookup is not None:  # not two labels, of which a row may have both
                difference = outputs[:, 1:] - outputs[:, :1]
                scores = torch.cat([-difference, difference], dim=1)
            return self.answers(outputs) | {"probabilities": scores}

        return replace(self, answers=answers)

    @property
    def dtype(self) -> torch.dtype:
        """The network's in the file: float32, whatever it was trained in.

        Only convolutions in float32 are known to all of ONNX's runtimes. That the file agrees with the estimator is
        tested before it is written.
        """
        return torch.float32

    @property
    def labels(self) -> np.ndarray | None:
        """The labels as ONNX holds them: text, integers or floats.

        Raises
        ------
        TypeError
            If they are none of those.
        """
        if self.lookup is None:
            return None
        values = np.array(self.lookup.tolist())
        if values.ndim != 1 or values.dtype.kind not in "Uiubf" or not np.all(values == self.lookup):
            raise TypeError(
                f"{self.name}: a file holds labels that are texts or numbers, but the classes are "
                f"{shown(self.lookup.tolist())}. Fit on their names, such as y.astype(str)."
            )
        held = values.astype({"U": object, "f": np.float64}.get(values.dtype.kind, np.int64))
        if not np.all(held == values):  # integers of 2**63 and more
            raise TypeError(
                f"{self.name}: a file holds labels that are integers below 2**63, but the classes are "
                f"{shown(self.lookup.tolist())}. Fit on their names, such as y.astype(str)."
            )
        return held


def in_float32(estimator: Any) -> Any:
    """Return a fitted estimator, or one with the same network that computes in float32, as the file does."""
    fitted = estimator._fitted.in_float32()
    if fitted is estimator._fitted:
        return estimator
    other = object.__new__(type(estimator))
    vars(other).update(vars(estimator), _fitted=fitted)
    return other


def source_of(estimator: Any) -> Source:
    """Return the parts of a fitted CNNClassifier, CNNRegressor or CNNFeatures that compute.

    Raises
    ------
    NotFittedError
    """
    check_is_fitted(estimator)
    name, fitted = type(estimator).__name__, estimator._fitted
    if hasattr(fitted, "task"):
        task = fitted.task
        deviation = getattr(task, "deviation", None)
        return Source(name, fitted.network, fitted.schema, task.n_outputs, task.answers, task.lookup, deviation)
    return Source(name, fitted.backbone, fitted.schema, fitted.n_features, lambda values: {"variable": values})
