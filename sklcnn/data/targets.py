"""What y and its weights may be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight

from sklcnn.data.plain import plain_values, refuse_complex, refuse_dates
from sklcnn.wording import errors_named, shown

TORCH_FLOATS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}

MAX_VALUE = 1e300  # sums of some such values, and small multiples of them, are finite in float64


def check_labels(y: Any, estimator_name: str, warn: bool = False) -> np.ndarray:
    """Check labels and return them as an array of shape (n,).

    Raises
    ------
    ValueError
        If there are none, or they are an indicator matrix, or not finite.
    """
    if y is None:
        raise ValueError(f"{estimator_name} requires y to be passed, but the target y is None. Pass one label a row.")
    y = plain_values(y, estimator_name, "y")
    if is_indicator(y):
        raise ValueError(
            f"{estimator_name}: y is an indicator matrix of shape {np.shape(y)}; one label a row is expected."
        )
    refuse_complex(y, estimator_name)
    if len(shape := getattr(y, "shape", ())) > 2:
        raise ValueError(
            f"{estimator_name}: Found array with dim {len(shape)}, while dim <= 2 is required: y has shape "
            f"{tuple(shape)}. Pass one label a row, (n_samples,), or an indicator matrix, (n_samples, n_labels)."
        )
    _refuse_arrays_in_cells(y, estimator_name)
    y = column_or_1d(y, warn=warn)
    if getattr(y, "dtype", None) is not None and y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise ValueError(f"{estimator_name}: Input y contains NaN or infinity. Drop those rows.")
    if y.dtype.kind == "O":
        _refuse_missing_labels(y, estimator_name)
    if y.dtype.kind in "mM" and np.isnat(y).any():
        raise ValueError(f"{estimator_name}: Input y contains NaT. Drop those rows.")
    return y


def _refuse_missing_labels(y, estimator_name):
    """Refuse None, NaN and pandas' NA among labels that are objects."""
    missing = {str(label) for label in y if _is_missing(label)}
    if missing:
        raise ValueError(
            f"{estimator_name}: Input y contains NaN or other missing labels ({', '.join(sorted(missing))}). "
            "Drop those rows."
        )


def _is_missing(label):
    if isinstance(label, (float, np.floating, Decimal)):
        return label != label
    return label is None or type(label).__name__ in ("NAType", "NaTType")


def refuse_mixed_labels(y: Any, estimator_name: str, name: str) -> None:
    """Refuse a list of texts and numbers, all of which NumPy would make texts.

    Raises
    ------
    TypeError
        `name` says whose labels they are.
    """
    if isinstance(y, (list, tuple)) and any(isinstance(label, str) for label in y):
        others = [label for label in y if not isinstance(label, str)]
        if others and name == "y":
            _refuse_missing_labels(others, estimator_name)
        if others and np.asarray(others[:1]).ndim == 1:
            raise TypeError(
                f"{estimator_name}: the labels in {name} cannot be sorted: they mix "
                f"{sorted({type(label).__name__ for label in y})}. Pass labels of one type."
            )


def _refuse_measurements(y, estimator_name):
    """Refuse measurements and nested labels, in scikit-learn's words; other objects are labels if they sort."""
    if y.dtype.kind == "O" and len(y) and isinstance(y[0], Real):
        numbers = np.asarray(y.tolist())
        if numbers.dtype.kind == "O":  # fractions, or integers too large for NumPy
            return
        y = check_labels(numbers, estimator_name)
    elif y.dtype.kind == "T" or (y.dtype.kind == "O" and len(y) and not isinstance(y[0], (Sequence, np.ndarray))):
        return
    with errors_named(estimator_name, "y"):
        check_classification_targets(y)


def comparable(labels: np.ndarray) -> np.ndarray:
    """Return labels of NumPy's StringDType as objects: other texts are not compared with it, nor does it have weights.

    Other labels are returned as they are.
    """
    return labels.astype(object) if labels.dtype.kind == "T" else labels


def are_foreign_labels(y: Any) -> bool:
    """Tell whether y holds labels that sort, but that scikit-learn's metrics do not take: dates, fractions and such."""
    array = y if hasattr(y, "dtype") else np.asarray(y, dtype=object) if isinstance(y, (list, tuple)) else None
    if getattr(getattr(array, "dtype", None), "kind", "") == "T":
        return True
    return array is not None and str(array.dtype) == "object" and type_of_target(y) == "unknown"


def is_indicator(y: Any) -> bool:
    """Tell whether y is a matrix of several columns, and not one label a row."""
    return (
        sparse.issparse(y)
        or (len(getattr(y, "shape", ())) == 2 and y.shape[1] > 1)
        or (
            isinstance(y, (list, tuple))
            and len(y) > 0
            and isinstance(y[0], (list, tuple, np.ndarray))
            and getattr(y[0], "ndim", 1) > 0  # labels may be arrays of no axes
            and len(y[0]) > 1
        )
    )


def check_indicators(y: Any, estimator_name: str) -> np.ndarray:
    """Check an indicator matrix and return it as float32 of shape (n, k).

    Raises
    ------
    ValueError
        If it is something else.
    """
    y = plain_values(y, estimator_name, "y")
    _refuse_arrays_in_cells(y, estimator_name)
    y = y.toarray() if sparse.issparse(y) else np.asarray(y)
    # Of numbers, scikit-learn says what is wrong with them; texts, dates and other objects it knows no remedy for.
    if y.ndim == 2 and y.dtype.kind in "biufc":
        with errors_named(estimator_name, "y"):
            check_array(y, estimator=estimator_name, input_name="y")
    if y.ndim != 2 or not _are_indicators(y):
        raise ValueError(
            f"{estimator_name}: y must be an indicator matrix of zeros and ones here, one column a label; got shape "
            f"{y.shape} and dtype {y.dtype}. For one class a row pass y of shape (n_samples,) from the first fit on; "
            "for several labels a row sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        )
    return y.astype(np.float32)


def _refuse_arrays_in_cells(y, estimator_name):
    """Refuse a column whose cells are arrays or lists, one a row, of zeros and ones as a rule."""
    if isinstance(y, (list, tuple)) or getattr(getattr(y, "dtype", None), "kind", "O") != "O":
        return
    cells = np.asarray(y)
    first = cells.flat[0] if cells.dtype.kind == "O" and cells.size else None
    # polars' columns of arrays of one length become an array of two axes.
    if cells.ndim > len(getattr(y, "shape", cells.shape)) or isinstance(first, (list, tuple)) or np.ndim(first):
        raise _arrays_in_cells_error(y, estimator_name, "n_labels")


def _arrays_in_cells_error(y, estimator_name, columns):
    """Say how a column whose cells are arrays or lists becomes one array."""
    table = hasattr(y, "columns")
    return ValueError(
        f"{estimator_name}: the values of y ({type(y).__name__}) are arrays or lists. Pass one array, of shape "
        f"(n_samples, {columns}), such as np.stack(y{'[column]' * table})."
    )


def _are_indicators(y):
    """Whether all values are 0 or 1; of objects, which may not become numbers, too."""
    if y.dtype.kind == "O":
        return all(isinstance(value, (Real, np.bool_)) and value in (0, 1) for value in y.flat)
    return y.dtype.kind in "biuf" and bool(np.isin(y, (0, 1)).all())


def column_names(y: Any) -> np.ndarray | None:
    """Return the names of a DataFrame's columns, (k,); None for anything else."""
    if not hasattr(y, "columns"):
        return None
    names = np.empty(len(y.columns), dtype=object)
    for number, name in enumerate(y.columns):  # one by one: NumPy would make an array of a name that is a tuple
        names[number] = name
    return names


def warn_if_one_hot(y: Any, indicators: np.ndarray, estimator_name: str) -> None:
    """Warn where an indicator matrix looks like the one-hot codes that Keras takes for one class a row."""
    if not np.all(indicators.sum(1) == 1):
        return
    if hasattr(y, "idxmax"):
        remedy = "y.idxmax(axis=1)"
    else:
        remedy = "y.argmax(1)" if hasattr(y, "argmax") else "np.asarray(y).argmax(1)"
    warnings.warn(
        f"{estimator_name}: y is an indicator matrix with just one 1 in every row. It is learnt as "
        f"{indicators.shape[1]} labels of which a row may have any number, none too. If a row is of one class, pass "
        f"{remedy}.",
        UserWarning,
        stacklevel=2,
    )


def find_classes(y: Any, estimator_name: str, classes: Any = None) -> np.ndarray:
    """Return the sorted classes of labels, (k,).

    Parameters
    ----------
    y : array-like of shape (n,)
    estimator_name : str
        Whose targets they are, for messages.
    classes : array-like or None
        The classes, where they are known already.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two classes, or y holds continuous values, or labels that do not sort.
    """
    refuse_mixed_labels(y, estimator_name, "y")
    y = check_labels(y, estimator_name, warn=True)
    if y.dtype.kind == "S" or (y.dtype.kind == "O" and len(y) and isinstance(y[0], bytes)):
        raise TypeError(
            f"{estimator_name}: y holds bytes, which scikit-learn's metrics do not take as labels. Pass texts, such as "
            "[label.decode() for label in y]."
        )
    name, remedy = "classes", "Pass all of them"
    if classes is None:
        name, remedy = "y", "Check how the rows were chosen; partial_fit takes all of them as classes"
    try:
        _refuse_measurements(y, estimator_name)
        classes = np.unique(y if classes is None else np.asarray(classes))
    except TypeError:
        raise TypeError(
            f"{estimator_name}: the labels in y cannot be sorted: they mix {sorted({type(v).__name__ for v in y})}. "
            "Pass labels of one type."
        ) from None
    if len(classes) < 2:
        raise ValueError(
            f"{estimator_name}: {name} holds {len(classes)} class, {shown(classes.tolist())}; classification needs at "
            f"least 2 classes. {remedy}."
        )
    return classes


@contextmanager
def _arrays_in_cells_explained(y, estimator_name):
    """Say how a column whose cells are arrays or lists becomes one array."""
    try:
        yield
    except ValueError as error:
        if "array element with a sequence" not in str(error) or isinstance(y, (list, tuple)):
            raise
        raise _arrays_in_cells_error(y, estimator_name, "n_outputs") from None


def check_values(y: Any, estimator_name: str) -> np.ndarray:
    """Check regression targets and return them as float64 of shape (n,) or (n, k)."""
    if y is None:
        raise ValueError(f"{estimator_name} requires y to be passed, but the target y is None. Pass one value a row.")
    y = plain_values(y, estimator_name, "y")
    refuse_dates(y, estimator_name, "y")
    # NumPy warns of a longdouble that float64 does not hold, which is refused.
    with np.errstate(all="ignore"), errors_named(estimator_name, "y"), _arrays_in_cells_explained(y, estimator_name):
        values = check_array(
            y,
            dtype=np.float64,
            ensure_2d=False,
            allow_nd=True,
            ensure_min_samples=0,
            estimator=estimator_name,
            input_name="y",
        )
    if values.size and max(values.max(), -values.min()) > MAX_VALUE:
        raise ValueError(
            f"{estimator_name}: y holds values up to {np.abs(values).max():.3g}, too large to compute with. Scale y, "
            "such as y / np.abs(y).max()."
        )
    if values.ndim > 2:
        raise ValueError(f"{estimator_name}: y has shape {values.shape}; pass (n_samples,) or (n_samples, n_outputs).")
    return values


def check_weights(sample_weight: Any, X_length: int, estimator_name: str) -> np.ndarray | None:
    """Check sample weights and return them as float64 of shape (n,); None stays None.

    Raises
    ------
    ValueError
        If one is negative, not finite, or all are zero.
    """
    if sample_weight is None:
        return None
    sample_weight = plain_values(sample_weight, estimator_name, "sample_weight")
    refuse_dates(sample_weight, estimator_name, "sample_weight")
    placeholder = np.empty((X_length, 1))
    with errors_named(estimator_name, "sample_weight"):
        try:
            weights = _check_sample_weight(sample_weight, placeholder, dtype=np.float64)
        except ValueError as error:
            if "sample_weight.shape" not in str(error):
                raise
            raise ValueError(f"{estimator_name}: {str(error).rstrip('!')}. Pass one weight a row.") from None
    if not np.isfinite(weights).all():  # a single number for all rows, which scikit-learn does not look at
        raise ValueError(f"{estimator_name}: sample_weight contains NaN or infinity. Pass numbers.")
    if np.any(weights < 0):
        raise ValueError(f"{estimator_name}: sample_weight must not be negative; got {weights.min():g}.")
    if weights.max(initial=0) > MAX_VALUE:
        raise ValueError(
            f"{estimator_name}: sample_weight reaches {weights.max():.3g}, too large to add up. Scale it: only "
            "ratios count."
        )
    if not np.any(weights > 0):
        raise ValueError(f"{estimator_name}: sample_weight is zero for every row, which leaves nothing to train on.")
    return weights


def _by_code(class_weight, classes):
    """Return a {label: weight} dict as {code: weight}, if it has all labels, or no others."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    labels = classes.tolist()
    missing = [label for label in labels if label not in class_weight]
    if missing and len(labels) - len(missing) != len(class_weight):
        unknown = [key for key in class_weight if key not in labels]
        raise ValueError(
            f"The classes, {shown(missing)}, are not in class_weight, whose keys {shown(unknown)} are no labels of y. "
            f"Write labels as y holds them, such as {shown(dict.fromkeys(labels, 1.0))}"
        )
    return {code: class_weight.get(label, 1.0) for code, label in enumerate(labels)}


def class_weights(
    class_weight: Any, classes: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray, estimator_name: str
) -> np.ndarray:
    """Return the weight of each class by scikit-learn's rules, (k,).

    Parameters
    ----------
    class_weight : "balanced" or {label: weight}
    classes : ndarray of shape (k,)
        Sorted.
    codes : ndarray of int of shape (n,)
        The training rows' classes.
    sample_weight : ndarray of shape (n,)
        Their weights: "balanced" counts a row of weight 2 as two.
    estimator_name : str

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or is that of a label that y does not hold.
    """
    try:
        # Codes for labels: scikit-learn would look for the number 1 where a label is the text "1".
        with np.errstate(over="ignore", divide="ignore"):  # what is infinite is refused below
            weights = compute_class_weight(
                _by_code(class_weight, classes), classes=np.arange(len(classes)), y=codes, sample_weight=sample_weight
            )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{estimator_name}: class_weight={shown(class_weight)} does not fit the classes "
            f"{shown(classes.tolist())}: {error}."
        ) from error
    if np.any(weights < 0) or not np.all(np.isfinite(weights)):
        raise ValueError(f"{estimator_name}: class_weight must not be negative or infinite; got {shown(class_weight)}.")
    return weights


def weighted_quantile(columns: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Return the least value of each column up to which the rows have that share of the weight.

    Parameters
    ----------
    columns : ndarray of shape (n, k)
    weights : ndarray of shape (n,)
    share : float

    Returns
    -------
    quantile : ndarray of shape (k,)
    """
    order = columns.argsort(axis=0, kind="stable")
    shares = np.cumsum(weights[order], axis=0)
    places = (shares < share * shares[-1]).sum(axis=0)
    return np.take_along_axis(columns, np.take_along_axis(order, places[None], axis=0), axis=0)[0]
