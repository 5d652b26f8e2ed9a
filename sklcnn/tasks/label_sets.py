"""Any number of labels a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import expit, log_expit

from sklcnn.data.targets import check_indicators
from sklcnn.network.losses import binary_cross_entropy
from sklcnn.tasks.task import Task, other_columns_error
from sklcnn.training.scores import LABEL_SET_ACCURACY


@dataclass(frozen=True)
class LabelSets(Task):
    """An indicator matrix; the outputs are logits, each of a label by itself.

    Attributes
    ----------
    classes : ndarray of shape (k,)
        The columns' numbers, as in MLPClassifier.
    names : ndarray of shape (k,) or None
        The columns' names, where y was a DataFrame.
    """

    classes: np.ndarray
    names: np.ndarray | None = None

    losses: ClassVar = {"cross_entropy": binary_cross_entropy}
    score = LABEL_SET_ACCURACY
    kind = "labels"
    score_name = "subset accuracy"
    estimator_type = "classifier"
    output_kind = "column of y"
    has_probabilities = True

    @property
    def n_outputs(self) -> int:
        """One output a column."""
        return len(self.classes)

    @property
    def scored_classes(self) -> list[np.ndarray]:
        """Zero and one, for each column."""
        return [np.arange(2)] * self.n_outputs

    @property
    def outputs(self) -> np.ndarray:
        """The columns' numbers."""
        return self.classes

    @property
    def output_names(self) -> np.ndarray:
        """The columns' names, or their numbers."""
        return self.classes if self.names is None else self.names

    def encode(
        self, y: Any, estimator_name: str, dtype: torch.dtype, row_numbers: np.ndarray | None = None
    ) -> torch.Tensor:
        """Turn an indicator matrix into floats (n, k)."""
        y = check_indicators(y, estimator_name)
        if y.shape[1] != self.n_outputs:
            raise other_columns_error(y.shape[1], self.n_outputs, estimator_name, "labels")
        return torch.from_numpy(np.ascontiguousarray(y)).to(dtype)

    def strata(self, y: Any, estimator_name: str) -> np.ndarray:
        """Return the indicators."""
        return self.encode(y, estimator_name, torch.float32).numpy()

    def accepts(self, other: Task) -> bool:
        """Tell whether there are as many labels."""
        return isinstance(other, LabelSets) and np.array_equal(self.classes, other.classes)

    def class_weights(self, class_weight, targets, weights, estimator_name):
        """Refuse weights of classes."""
        if class_weight is None:
            return None
        raise ValueError(
            f"{estimator_name}: class_weight is not defined where y is an indicator matrix, in which a row may have "
            "several labels. Use sample_weight."
        )

    def smooth(self, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Move indicators towards 1/2."""
        return targets * (1 - share) + share / 2

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn logits into the probability of each label by itself."""
        return outputs.sigmoid()

    def decide(self, activated: np.ndarray) -> np.ndarray:
        """Return the indicators of the labels more probable than not."""
        return self.as_given(activated)

    def as_given(self, targets: np.ndarray) -> np.ndarray:
        """Return the indicators; of mixed rows, the larger share."""
        return (targets > 0.5).astype(int)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the indicators (n, k) of the labels more probable than not."""
        return (outputs > 0).astype(int)

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each label by itself, (n, k)."""
        return expit(outputs.astype(np.float64))

    def answers(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the indicators of the labels more probable than not, and the probabilities, both (n, k)."""
        return {"label": (outputs > 0).long(), "probabilities": outputs.double().sigmoid().float()}

    def log_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logarithm of the probability of each label, (n, k)."""
        return log_expit(outputs.astype(np.float64))

    def log_odds(self, outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the logarithm of the odds p / (1 - p) of a label of each row, (n,): its logit."""
        return outputs[np.arange(len(codes)), codes].astype(np.float64)

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits (n, k)."""
        return outputs

    def given(self, y: Any, rows: np.ndarray, estimator_name: str) -> np.ndarray:
        """Return the indicators of some rows."""
        return self.strata(y, estimator_name)[rows].astype(int)
