"""One class a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import log_softmax, logsumexp, softmax
from torch.nn import functional

from sklcnn.data.targets import are_foreign_labels, check_labels, class_weights, comparable
from sklcnn.network.losses import cross_entropy
from sklcnn.tasks.task import Task
from sklcnn.training.scores import ACCURACY
from sklcnn.wording import shown


@dataclass(frozen=True)
class Classes(Task):
    """Labels, as codes 0..k-1; the outputs are logits.

    Attributes
    ----------
    classes : ndarray of shape (k,)
        Sorted.
    """

    classes: np.ndarray

    losses: ClassVar = {"cross_entropy": cross_entropy}
    score = ACCURACY
    kind = "classes"
    score_name = "accuracy"
    estimator_type = "classifier"
    output_kind = "class"
    has_probabilities = True

    @property
    def n_outputs(self) -> int:
        """One output a class."""
        return len(self.classes)

    @property
    def scored_classes(self) -> np.ndarray:
        """The labels; their numbers, where scikit-learn's metrics take no such labels."""
        classes = comparable(self.classes)
        return np.arange(self.n_outputs) if are_foreign_labels(classes) else classes

    @property
    def outputs(self) -> np.ndarray:
        """The labels."""
        return self.classes

    @property
    def output_names(self) -> np.ndarray:
        """The labels."""
        return self.classes

    def encode(
        self, y: Any, estimator_name: str, dtype: torch.dtype, row_numbers: np.ndarray | None = None
    ) -> torch.Tensor:
        """Turn labels into int64 codes (n,); unknown labels are an error."""
        y, classes = comparable(check_labels(y, estimator_name)), comparable(self.classes)
        try:
            codes = np.searchsorted(classes, y)
            found = classes[np.minimum(codes, len(classes) - 1)] == y
        except TypeError:  # they cannot be compared with the known labels
            found = np.zeros(len(y), dtype=bool)
        if not np.all(found):
            unknown = list(dict.fromkeys(np.asarray(y)[~np.asarray(found)].tolist()))
            raise ValueError(
                f"{estimator_name}: y holds labels that are not among its classes: {shown(unknown[:5])}. "
                f"The classes are {shown(self.classes.tolist())}."
            )
        return torch.from_numpy(np.ascontiguousarray(codes, dtype=np.int64))

    def strata(self, y: Any, estimator_name: str) -> np.ndarray:
        """Return the codes."""
        return self.encode(y, estimator_name, torch.float32).numpy()

    def accepts(self, other: Task) -> bool:
        """Tell whether the classes are the same."""
        return isinstance(other, Classes) and np.array_equal(comparable(self.classes), comparable(other.classes))

    def class_weights(self, class_weight, targets, weights, estimator_name):
        """Return the weight of each class by scikit-learn's rules, (k,), or None."""
        if class_weight is None:
            return None
        return class_weights(class_weight, self.classes, targets.numpy(), weights, estimator_name)

    def soft_targets(self, targets: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Turn codes into one-hot rows; probabilities stay as they are."""
        return functional.one_hot(targets, self.n_outputs).to(dtype) if targets.ndim == 1 else targets

    def smooth(self, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Spread a share of each row's probability over all classes."""
        return targets * (1 - share) + share / self.n_outputs

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn logits into probabilities that sum to one."""
        return outputs.softmax(1)

    def decide(self, activated: np.ndarray) -> np.ndarray:
        """Return the most probable classes."""
        return self.scored_classes[activated.argmax(1)]

    def as_given(self, targets: np.ndarray) -> np.ndarray:
        """Return the class of each code; of mixed rows, the one with the largest share."""
        return self.scored_classes[targets if targets.ndim == 1 else targets.argmax(1)]

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the labels (n,) of the largest of the logits (n, k)."""
        return self.classes[outputs.argmax(1)]

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, (n, k).

        In float64, since scikit-learn's metrics and calibration check closely that rows sum to one.
        """
        return softmax(outputs.astype(np.float64), axis=1)

    def answers(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the code of the most probable class (n,), and the probabilities (n, k)."""
        return {"label": outputs.argmax(1), "probabilities": outputs.double().softmax(1).float()}

    @property
    def lookup(self) -> np.ndarray:
        """The labels."""
        return self.classes

    def log_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logarithm of the probability of each class, (n, k)."""
        return log_softmax(outputs.astype(np.float64), axis=1)

    def log_odds(self, outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the logarithm of the odds p / (1 - p) of a class of each row, (n,)."""
        place = np.arange(len(codes)), codes
        logits = outputs.astype(np.float64)
        others = logits.copy()
        others[place] = -np.inf
        return logits[place] - logsumexp(others, axis=1)

    def decision(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits (n, k); of two classes that of the second minus that of the first, (n,)."""
        return outputs[:, 1] - outputs[:, 0] if self.n_outputs == 2 else outputs

    def explained(self, outputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return a logit; of two classes the difference, since each by itself is arbitrary."""
        chosen = super().explained(outputs, codes)
        return chosen - super().explained(outputs, 1 - codes) if self.n_outputs == 2 else chosen

    def given(self, y: Any, rows: np.ndarray, estimator_name: str) -> np.ndarray:
        """Return the labels of some rows."""
        return self.classes[self.strata(y, estimator_name)[rows]]
