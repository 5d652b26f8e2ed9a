"""Which kind of target the y of a fit is."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklcnn.data.plain import plain_values
from sklcnn.data.targets import (
    check_indicators,
    check_values,
    column_names,
    find_classes,
    is_indicator,
    refuse_mixed_labels,
    warn_if_one_hot,
)
from sklcnn.sizes import is_sequence
from sklcnn.tasks.classes import Classes
from sklcnn.tasks.label_sets import LabelSets
from sklcnn.tasks.values import ValuesToStandardise
from sklcnn.wording import shown


def learn_labels(y: Any, estimator_name: str, classes: Any = None) -> Classes | LabelSets:
    """Find the classes of a classifier's targets.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
        Labels, or an indicator matrix (sparse too).
    estimator_name : str
    classes : ndarray of shape (k,) or None
        The classes, where they are known already.

    Warns
    -----
    UserWarning
        If each row of an indicator matrix has just one label.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two classes, or y holds continuous values, or labels that do not sort.
    """
    _refuse_rows_of_labels(y, estimator_name)
    if not is_indicator(y):
        return Classes(find_classes(y, estimator_name, classes))
    indicators = check_indicators(y, estimator_name)
    warn_if_one_hot(y, indicators, estimator_name)
    task = LabelSets(np.arange(indicators.shape[1]), column_names(y))
    if classes is not None and not np.array_equal(classes, task.classes):
        raise ValueError(
            f"{estimator_name}: classes={shown(classes.tolist())}, but y is an indicator matrix of {task.n_outputs} "
            "columns, whose classes are their numbers. Leave classes out."
        )
    return task


def check_classes(classes: Any, estimator_name: str) -> np.ndarray:
    """Check the `classes` of `partial_fit` and return them sorted, each once, (k,).

    Raises
    ------
    TypeError
        If they are no sequence of labels, or do not sort.
    ValueError
        If one is NaN.
    """
    if not is_sequence(classes) and not np.ndim(classes):
        raise TypeError(f"{estimator_name}: classes must be a list or an array of labels; got {shown(classes)}.")
    refuse_mixed_labels(classes, estimator_name, "classes")
    try:
        labels = np.unique(np.asarray(plain_values(classes, estimator_name, "classes")))
    except TypeError:
        raise TypeError(
            f"{estimator_name}: classes={shown(classes)} cannot be sorted: pass labels of one type."
        ) from None
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError(f"{estimator_name}: classes={shown(classes)} holds NaN, which is no label. Leave it out.")
    return labels


def _refuse_rows_of_labels(y, estimator_name):
    """Refuse a list or a set of labels in each row: several labels a row come as an indicator matrix."""
    is_column = hasattr(y, "dtype") and (isinstance(y, np.ndarray) or hasattr(y, "to_numpy"))
    # Columns of polars and Arrow have dtypes of their own.
    rows = np.asarray(y) if is_column and getattr(y.dtype, "kind", "O") == "O" else y
    one_each = isinstance(rows, (list, tuple)) or (isinstance(rows, np.ndarray) and rows.ndim == 1)
    first = rows[0] if one_each and len(rows) else None
    refused = isinstance(first, (set, frozenset))
    if isinstance(first, (list, tuple)) or np.ndim(first) == 1:
        n_labels = {len(row) for row in rows if isinstance(row, (list, tuple)) or np.ndim(row) == 1}
        refused = len(n_labels) > 1 or (len(first) > 1 and isinstance(first[0], str))
    if refused:
        raise ValueError(
            f"{estimator_name}: the rows of y are lists or sets of labels, the first one {shown(first)}. Pass an "
            "indicator matrix, such as sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        )


def learn_values(y: Any, estimator_name: str, *, robust: bool = False, huber: bool = False) -> ValuesToStandardise:
    """Check a regressor's targets.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
    estimator_name : str
    robust, huber : bool
        Whether a few values far from the others are to leave the unit of the others as it is, and which one
        (`ValuesToStandardise`).

    Raises
    ------
    ValueError
        If they are not finite numbers.
    """
    check_values(y, estimator_name)
    return ValuesToStandardise(robust, huber)
