"""y and its weights, encoded for the network; and the way back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.utils import check_array, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from sklcnn.wording import shown

TORCH_FLOATS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}

# Deviations of y that float32 can hold with all of its seven digits, and the mean in such deviations that leaves four.
FLOAT32_RANGE = 1e-30, 1e30
FLOAT32_DIGITS_TO_SPARE = 1000
MAX_VALUE = 1e300  # of which a few can be added up, multiplied by a few and still be finite


@dataclass(frozen=True)
class ClassEncoding:
    """Labels as codes 0..k-1.

    Attributes
    ----------
    classes : ndarray of shape (k,)
        Sorted.
    """

    classes: np.ndarray
    multilabel: ClassVar[bool] = False

    @property
    def output_names(self) -> np.ndarray:
        """What the outputs are called where they are shown: the labels."""
        return self.classes

    @property
    def n_outputs(self) -> int:
        """One output a class."""
        return len(self.classes)

    def encode(self, y: Any, owner: str, dtype: torch.dtype) -> torch.Tensor:
        """Give labels as int64 codes (n,); unknown labels are an error."""
        y = _labels(y, owner)
        try:
            codes = np.searchsorted(self.classes, y)
            found = self.classes[np.minimum(codes, len(self.classes) - 1)] == y
        except TypeError:  # labels that cannot be compared with the known ones
            found = np.zeros(len(y), dtype=bool)
        if not np.all(found):
            unknown = list(dict.fromkeys(np.asarray(y)[~np.asarray(found)].tolist()))
            raise ValueError(
                f"{owner}: y holds labels that are not among its classes: {shown(unknown[:5])}. "
                f"The classes are {shown(self.classes.tolist())}."
            )
        return torch.from_numpy(np.ascontiguousarray(codes, dtype=np.int64))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Give the labels (n,) of the largest of the logits (n, k)."""
        return self.classes[outputs.argmax(1)]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Give the probability of each class, (n, k), from logits.

        In float64, in which rows sum to one as closely as scikit-learn's metrics and calibration want it.
        """
        return softmax(outputs.astype(np.float64), axis=1)


@dataclass(frozen=True)
class LabelSetEncoding:
    """An indicator matrix: any number of labels a row.

    Attributes
    ----------
    classes : ndarray of shape (k,)
        The columns' numbers, as in MLPClassifier.
    names : ndarray of shape (k,) or None
        The columns' names, where y was a DataFrame.
    """

    classes: np.ndarray
    names: np.ndarray | None = None
    multilabel: ClassVar[bool] = True

    @property
    def output_names(self) -> np.ndarray:
        """What the outputs are called where they are shown: the columns' names, or their numbers."""
        return self.classes if self.names is None else self.names

    @property
    def n_outputs(self) -> int:
        """One output a column."""
        return len(self.classes)

    def encode(self, y: Any, owner: str, dtype: torch.dtype) -> torch.Tensor:
        """Give indicators as floats (n, k)."""
        y = _indicators(y, owner)
        if y.shape[1] != self.n_outputs:
            raise ValueError(f"{owner}: y has {y.shape[1]} columns, but {self.n_outputs} labels are expected.")
        return torch.from_numpy(np.ascontiguousarray(y)).to(dtype)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Give the indicators (n, k) of the labels more probable than not, from logits."""
        return (outputs > 0).astype(int)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Give the probability of each label by itself, (n, k), from logits."""
        return expit(outputs.astype(np.float64))


@dataclass(frozen=True)
class ValueEncoding:
    """Regression targets, standardised.

    Attributes
    ----------
    mean, deviation : ndarray of shape (k,)
    one_dimensional : bool
        Whether y, and so the predictions, have shape (n,).
    names : ndarray of shape (k,) or None
        The columns' names, where y was a DataFrame.
    """

    mean: np.ndarray
    deviation: np.ndarray
    one_dimensional: bool
    names: np.ndarray | None = None
    multilabel: ClassVar[bool] = False

    @property
    def output_names(self) -> np.ndarray:
        """What the outputs are called where they are shown: the columns' names, or their numbers."""
        return np.arange(self.n_outputs) if self.names is None else self.names

    @property
    def n_outputs(self) -> int:
        """One output a column of y."""
        return len(self.mean)

    def encode(self, y: Any, owner: str, dtype: torch.dtype) -> torch.Tensor:
        """Give standardised values (n, k)."""
        values = check_values(y, owner)
        columns = values.reshape(len(values), -1)
        if columns.shape[1] != self.n_outputs:
            raise ValueError(f"{owner}: y has {columns.shape[1]} columns, but {self.n_outputs} are expected.")
        return torch.from_numpy((columns - self.mean) / self.deviation).to(dtype)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Give outputs (n, k) in the user's units; (n,) where y was.

        In the network's own precision, which says how far they can be trusted, where float32 holds such values
        without loss; several outputs always in float64, as scikit-learn asks.
        """
        values = outputs.astype(np.float64) * self.deviation + self.mean
        if not self.one_dimensional:
            return values
        return values[:, 0].astype(outputs.dtype if self._float32_holds else np.float64)

    @property
    def _float32_holds(self):
        """Whether float32 has the range for the values, and digits to spare beside those that the mean takes."""
        low, high = FLOAT32_RANGE
        return bool(
            np.all((self.deviation > low) & (self.deviation < high))
            and np.all(np.abs(self.mean) <= FLOAT32_DIGITS_TO_SPARE * self.deviation)
        )


Encoding = ClassEncoding | LabelSetEncoding | ValueEncoding


def _labels(y, owner, warn=False):
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None. Pass one label a row.")
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    if _is_indicator(y):
        raise ValueError(f"{owner}: y is an indicator matrix of shape {np.shape(y)}; one label a row is expected.")
    if str(getattr(y, "dtype", "")).startswith("complex"):
        raise ValueError(f"Complex data not supported: {owner}: y has dtype {y.dtype}. Pass real labels.")
    y = column_or_1d(y, warn=warn)
    if getattr(y, "dtype", None) is not None and y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise ValueError(f"{owner}: Input y contains NaN or infinity. Drop those rows.")
    return y


def _check_one_type(y, owner):
    """Refuse a list of texts and numbers, of which NumPy makes texts."""
    if isinstance(y, (list, tuple)) and any(isinstance(label, str) for label in y):
        others = [label for label in y if not isinstance(label, str)]
        if others and np.asarray(others[:1]).ndim == 1:
            raise TypeError(
                f"{owner}: the labels in y cannot be sorted: they mix {sorted({type(label).__name__ for label in y})}. "
                "Pass labels of one type."
            )


def _check_classes(y, owner):
    """Refuse measurements and nested labels, in scikit-learn's words; any other objects are labels if they sort."""
    if y.dtype.kind == "O" and len(y) and isinstance(y[0], Real):
        numbers = np.asarray(y.tolist())
        if numbers.dtype.kind == "O":  # fractions, or integers too large for NumPy
            return
        y = _labels(numbers, owner)
    elif y.dtype.kind == "T" or (y.dtype.kind == "O" and len(y) and not isinstance(y[0], (Sequence, np.ndarray))):
        return
    check_classification_targets(y)


def _is_indicator(y):
    return (
        sparse.issparse(y)
        or (len(getattr(y, "shape", ())) == 2 and y.shape[1] > 1)
        or (
            isinstance(y, (list, tuple))
            and len(y) > 0
            and isinstance(y[0], (list, tuple, np.ndarray))
            and len(y[0]) > 1
        )
    )


def _indicators(y, owner):
    y = y.toarray() if sparse.issparse(y) else np.asarray(y)
    if y.ndim == 2:
        check_array(y, estimator=owner, input_name="y")
    if y.ndim != 2 or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"{owner}: y must be an indicator matrix of zeros and ones here, one column a label; got shape {y.shape} "
            f"and dtype {y.dtype}. For one class a row pass y of shape (n_samples,) from the first fit on."
        )
    return y.astype(np.float32)


def _column_names(y):
    """Give the names of a DataFrame's columns, (k,); None for anything else."""
    if not hasattr(y, "columns"):
        return None
    names = np.empty(len(y.columns), dtype=object)
    for number, name in enumerate(y.columns):  # one at a time: a name may be a tuple
        names[number] = name
    return names


def _warn_if_one_hot(y, indicators, owner):
    """Warn where an indicator matrix looks like the one-hot codes that Keras takes for one class a row."""
    if not np.all(indicators.sum(1) == 1):
        return
    if hasattr(y, "idxmax"):
        remedy = "y.idxmax(axis=1)"
    else:
        remedy = "y.argmax(1)" if hasattr(y, "argmax") else "np.asarray(y).argmax(1)"
    warnings.warn(
        f"{owner}: y is an indicator matrix with just one 1 in every row. It is learnt as {indicators.shape[1]} labels "
        f"of which a row may have any number, none too. If a row is of one class, pass {remedy}.",
        UserWarning,
        stacklevel=2,
    )


def learn_labels(y: Any, owner: str, classes: Any = None) -> ClassEncoding | LabelSetEncoding:
    """Find the classes of a classifier's targets.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
        Labels, or an indicator matrix (sparse too).
    owner : str
        Whose targets they are, for messages.
    classes : array-like or None
        The classes, where they are known already.

    Warns
    -----
    UserWarning
        If each row of an indicator matrix has just one label.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or y holds continuous values.
    """
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    if _is_indicator(y):
        indicators = _indicators(y, owner)
        _warn_if_one_hot(y, indicators, owner)
        return LabelSetEncoding(np.arange(indicators.shape[1]), _column_names(y))
    _check_one_type(y, owner)
    y = _labels(y, owner, warn=True)
    if y.dtype.kind == "S" or (y.dtype.kind == "O" and len(y) and isinstance(y[0], bytes)):
        raise TypeError(
            f"{owner}: y holds bytes, which scikit-learn's metrics do not take as labels. Pass texts, such as "
            "[label.decode() for label in y]."
        )
    try:
        _check_classes(y, owner)
        classes = np.unique(y if classes is None else np.asarray(classes))
    except TypeError:
        raise TypeError(
            f"{owner}: the labels in y cannot be sorted: they mix {sorted({type(v).__name__ for v in y})}. "
            "Pass labels of one type."
        ) from None
    if len(classes) < 2:
        raise ValueError(
            f"{owner}: y holds {len(classes)} class, {shown(classes.tolist())}; classification needs at least 2 "
            "classes. Check how the rows were chosen."
        )
    return ClassEncoding(classes)


def check_values(y: Any, owner: str) -> np.ndarray:
    """Check regression targets and give them as float64 of shape (n,) or (n, k)."""
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None. Pass one value a row.")
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    values = check_array(
        y, dtype=np.float64, ensure_2d=False, allow_nd=True, ensure_min_samples=0, estimator=owner, input_name="y"
    )
    if values.size and max(values.max(), -values.min()) > MAX_VALUE:
        raise ValueError(
            f"{owner}: y holds values up to {np.abs(values).max():.3g}, too large to compute with. Scale y, such as "
            "y / np.abs(y).max()."
        )
    if values.ndim > 2:
        raise ValueError(f"{owner}: y has shape {values.shape}; pass (n_samples,) or (n_samples, n_outputs).")
    return values


def learn_values(y: Any, rows: np.ndarray, weights: np.ndarray, owner: str) -> ValueEncoding:
    """Find the weighted mean and deviation of the training rows of regression targets.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
    rows : ndarray of int
        The training rows.
    weights : ndarray
        The weight of each training row.
    owner : str
    """
    values = check_values(y, owner)
    columns = values.reshape(len(values), -1)[rows]
    mean = np.average(columns, axis=0, weights=weights)
    differences = columns - mean
    # In a unit of a power of two, which changes no digit, squares neither overflow nor vanish.
    unit = 2.0 ** np.frexp(np.abs(differences).max(axis=0))[1]
    deviation = unit * np.sqrt(np.average((differences / unit) ** 2, axis=0, weights=weights))
    constant = deviation <= 1e-12 * np.maximum(np.abs(mean), deviation)
    return ValueEncoding(mean, np.where(constant, 1.0, deviation), values.ndim == 1, _column_names(y))


def check_weights(sample_weight: Any, X_length: int, owner: str) -> np.ndarray | None:
    """Check sample weights and give them as float64 of shape (n,); None stays None.

    Raises
    ------
    ValueError
        If one is negative, not finite, or all are zero.
    """
    if sample_weight is None:
        return None
    placeholder = np.empty((X_length, 1))
    weights = _check_sample_weight(sample_weight, placeholder, dtype=np.float64)
    if np.any(weights < 0):
        raise ValueError(f"{owner}: sample_weight must not be negative; got {weights.min():g}.")
    if weights.max(initial=0) > MAX_VALUE:
        raise ValueError(
            f"{owner}: sample_weight reaches {weights.max():.3g}, too large to add up. Scale it: only ratios count."
        )
    if not np.any(weights > 0):
        raise ValueError(f"{owner}: sample_weight is zero for every row, which leaves nothing to train on.")
    return weights


def class_weights(
    class_weight: Any, encoding: ClassEncoding, codes: np.ndarray, sample_weight: np.ndarray, owner: str
) -> np.ndarray:
    """Give the weight of each class by scikit-learn's rules, (k,).

    Parameters
    ----------
    class_weight : "balanced" or {label: weight}
    encoding : ClassEncoding
    codes : ndarray of int of shape (n,)
        The training rows' classes.
    sample_weight : ndarray of shape (n,)
        Their weights: "balanced" counts a row of weight 2 as two.
    owner : str

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or is that of a label that y does not hold.
    """
    try:
        weights = compute_class_weight(
            class_weight, classes=encoding.classes, y=encoding.classes[codes], sample_weight=sample_weight
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: class_weight={shown(class_weight)} does not fit the classes {shown(encoding.classes.tolist())}: "
            f"{error}."
        ) from error
    if np.any(weights < 0) or not np.all(np.isfinite(weights)):
        raise ValueError(f"{owner}: class_weight must not be negative or infinite; got {shown(class_weight)}.")
    return weights
