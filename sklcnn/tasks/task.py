"""What every kind of target defines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from sklcnn.network.losses import RowLoss
from sklcnn.training.scores import Score


class Task(ABC):
    """One kind of target, learnt from the y of a fit.

    It encodes y for the network and decodes the network's outputs, and it knows the losses and the score of its kind.

    Attributes
    ----------
    losses : dict of str to callable
        The functions that a `loss` given by name may mean.
    score : Score
        Computes what `score` of the estimator does, from raw outputs.
    kind : {"classes", "labels", "values"}
    score_name : str
        What that score is called where it is shown.
    estimator_type : {"classifier", "regressor"}
        As what skorch's scoring callbacks treat the net.
    output_kind : str
        What one output is called in a message.
    has_probabilities : bool
        Whether outputs become probabilities.
    """

    losses: ClassVar[dict[str, Callable]]
    score: ClassVar[Score]
    kind: ClassVar[str]
    score_name: ClassVar[str]
    estimator_type: ClassVar[str]
    output_kind: ClassVar[str]
    has_probabilities: ClassVar[bool]

    # The outputs.

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """How many outputs the network has."""

    @property
    @abstractmethod
    def outputs(self) -> np.ndarray:
        """What `target` of a display may be, one for each output (k,): labels or the numbers of columns."""

    @property
    @abstractmethod
    def output_names(self) -> np.ndarray:
        """What the outputs are called where they are shown, (k,)."""

    @property
    def settled_outputs(self) -> np.ndarray | None:
        """Which outputs have targets that are all 0 when training begins, bool of shape (k,); None: none."""
        return None

    @property
    def scored_classes(self) -> np.ndarray | list[np.ndarray] | None:
        """What callbacks that score know as classes; of several labels, those of each; None: there are none.

        By the list scikit-learn tells that probabilities of two labels are not those of two classes.
        """
        return None

    # y for the network.

    @abstractmethod
    def encode(
        self, y: Any, estimator_name: str, dtype: torch.dtype, row_numbers: np.ndarray | None = None
    ) -> torch.Tensor:
        """Turn y into the targets of the loss, (n,) or (n, k).

        Errors name rows by `row_numbers`, (n,), or by their positions in y.

        Raises
        ------
        ValueError
            If y is of another kind, or holds what the task does not know.
        """

    def strata(self, y: Any, estimator_name: str) -> np.ndarray | None:
        """Return the codes (n,) or indicators (n, k) by which a hold-out is stratified; None where it is not."""
        return None

    def trained_on(self, y: Any, rows: Any, weights: np.ndarray, estimator_name: str) -> Task:
        """Return the task, completed with what depends on the training rows.

        Parameters
        ----------
        y : array-like of shape (n,) or (n, k)
        rows : ndarray of int of shape (m,), or slice
            The training rows.
        weights : ndarray of shape (m,)
            Their weights.
        estimator_name : str
        """
        return self

    def accepts(self, other: Task) -> bool:
        """Tell whether a fit on the targets of another task can continue with this one's network."""
        return True

    def class_weights(
        self, class_weight: Any, targets: torch.Tensor, weights: np.ndarray, estimator_name: str
    ) -> np.ndarray | None:
        """Return the weight of each class, (k,), or None.

        Raises
        ------
        ValueError
            If the kind has no weights of classes, or they do not fit the classes.
        """
        return None

    def soft_targets(self, targets: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return targets as (n, k): as a user's loss is given them, and as mixing pictures needs them."""
        return targets

    def smooth(self, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Spread a share of the probability of soft targets (n, k) evenly."""
        return targets

    # The network's outputs.

    def make_loss(self, loss: Any, estimator_name: str, **options: float) -> RowLoss:
        """Build the loss that the hyper-parameter `loss` names, or is itself."""
        return RowLoss(loss, self, options, estimator_name)

    @abstractmethod
    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn raw outputs into probabilities, where there are any."""

    @abstractmethod
    def decide(self, activated: np.ndarray) -> np.ndarray:
        """Turn the result of `activate` into predictions of the form and in the units of y, for scoring callbacks."""

    @abstractmethod
    def as_given(self, targets: np.ndarray) -> np.ndarray:
        """Turn targets of the loss back into y, to be compared with the result of `decide`."""

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Turn raw outputs (n, k) into predictions, of the form and in the units of y."""

    @abstractmethod
    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Turn raw outputs into what displays show, (n, k): probabilities, or values in the units of y."""

    @abstractmethod
    def answers(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Turn raw outputs into the outputs of an ONNX file, under the names that skl2onnx uses.

        Labels that `lookup` holds are returned as their codes.
        """

    @property
    def lookup(self) -> np.ndarray | None:
        """The labels whose codes `answers` gives under "label"; None where it gives none."""
        return None

    def explained(self, outputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the number of each row, (n,), whose gradients explain the output with its code."""
        return outputs.gather(1, codes[:, None])[:, 0]

    def predicted_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Return the number of the output that is explained where the user names none, (n,)."""
        return outputs.argmax(1)

    def given(self, y: Any, rows: np.ndarray, estimator_name: str) -> np.ndarray:
        """Return the targets of some rows as the user gave them, in the form of predictions."""
        raise NotImplementedError


def other_columns_error(n_found: int, n_expected: int, estimator_name: str, what: str = "") -> ValueError:
    """Make the error for a y of another number of columns than the y that was fitted."""
    columns, are = "column" if n_found == 1 else "columns", "is" if n_expected == 1 else "are"
    return ValueError(
        f"{estimator_name}: y has {n_found} {columns}, but {n_expected} {what + ' ' * bool(what)}{are} expected, as in "
        "the y that was fitted. Pass as many, or fit a new estimator."
    )
