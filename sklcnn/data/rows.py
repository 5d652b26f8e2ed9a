"""The rows of X that train, with their targets, weights and groups beside them."""

from __future__ import annotations

from collections.abc import ValuesView
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import _num_samples

from sklcnn.data.plain import plain_values
from sklcnn.data.reading.kinds import check_has_length, check_kind
from sklcnn.data.stores import Store
from sklcnn.data.targets import check_weights
from sklcnn.wording import errors_named, shown

MAX_WEIGHT = 1e300  # millions of such weights can be added up in float64
EVERYWHERE = slice(None)  # all of the rows kept; indexing by a slice copies nothing


@dataclass(frozen=True)
class KeptRows:
    """The rows of positive weight.

    Attributes
    ----------
    store : Store
    rows : ndarray of int of shape (n,)
        Rows of the store.
    y : array-like of shape (n,) or (n, k)
        As the user gave it.
    weights : float64 ndarray of shape (n,)
    groups : ndarray of int of shape (n,) or None
        The number of each row's group.
    """

    store: Store
    rows: np.ndarray
    y: Any
    weights: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.rows)


def replace_weightless_rows(X: Any, sample_weight: Any, estimator: str) -> tuple[Any, np.ndarray | None]:
    """Replace the samples of zero weight, so that a fault in one of them does not matter.

    Parameters
    ----------
    X : array-like
    sample_weight : array-like of shape (n,) or None
    estimator : str

    Returns
    -------
    X : array-like
        Rows of zero weight are replaced by copies of others. An array of numbers is returned as it is, because it may
        be too large to copy: only `rows` of it may be looked at.
    rows : ndarray of int, or None
        The rows that count; None: all.

    Raises
    ------
    ValueError
        If a weight is not usable.
    """
    if not hasattr(X, "__len__") or getattr(X, "is_nested", False):  # reading says what is wrong with such an X
        return X, None
    if sample_weight is not None and not isinstance(X, (torch.Tensor, np.ndarray)):
        check_kind(X, estimator)
    weights = check_weights(sample_weight, _num_samples(X), estimator)
    if weights is None or np.all(weights > 0):
        return X, None
    has_weight = weights > 0
    rows = np.flatnonzero(has_weight)
    if _is_array_of_numbers(X):
        return X, rows
    if isinstance(X, ValuesView):
        X = list(X)
    elif _becomes_array_of_numbers(X):  # which may allow no more than rows in increasing order, as HDF5's data sets do
        return np.asarray(X), rows
    # Each takes the sample of the last row of weight before it (the first ones take the last of all), so that the first
    # row with a fault, which errors name, is one that counts.
    with errors_named(estimator, "X"):
        return take_rows(X, rows[np.cumsum(has_weight) - 1]), rows


def take_rows(values: Any, rows: np.ndarray | slice) -> Any:
    """Return some rows of X, y or groups."""
    if hasattr(values, "oindex"):  # zarr's arrays, which scikit-learn cannot index
        return np.asarray(values.oindex[rows])
    return _safe_indexing(values, rows)


def _is_array_of_numbers(X):
    return (isinstance(X, torch.Tensor) or (isinstance(X, np.ndarray) and X.dtype.kind in "biuf")) and X.ndim > 1


def _becomes_array_of_numbers(X):
    """Whether X is another library's array of numbers, or can do no more than become an array."""
    if not hasattr(X, "__array__") or hasattr(X, "columns"):
        return False
    has_axes = len(getattr(X, "shape", ())) > 1 and getattr(getattr(X, "dtype", None), "kind", "O") in "biuf"
    return has_axes or not hasattr(X, "__getitem__")


def check_rows_first(X: Any, y: Any, estimator: str) -> None:
    """Refuse X whose rows lie along another axis than the first, as the length of y shows.

    Parameters
    ----------
    X, y : object
        What the user passed.
    estimator : str

    Raises
    ------
    ValueError
        If one other axis is as long as y, and not the first, as in SVHN's files.
    TypeError
        If one of them is not computed yet, and its length not known.
    """
    check_has_length(X, estimator, "X")
    check_has_length(y, estimator, "y")
    shape = () if getattr(X, "is_nested", False) else tuple(getattr(X, "shape", ()))  # a nested tensor has none
    n_targets = y.shape[0] if getattr(y, "shape", ()) else len(y) if isinstance(y, (list, tuple)) else None
    if not n_targets or len(shape) < 2 or n_targets == shape[0] or shape.count(n_targets) != 1:
        return
    axis = shape.index(n_targets)
    name, remedy = "the last axis", "np.moveaxis(X, -1, 0)"
    if len(shape) == 2:
        remedy = "X.T"
    elif axis < len(shape) - 1:
        name, remedy = f"axis {axis}", f"np.moveaxis(X, {axis}, 0)"
    raise ValueError(
        f"Found input variables with inconsistent numbers of samples: {estimator} got {shape[0]} rows in X but "
        f"{n_targets} in y, as many as {name} of X is long. Rows come first: pass {remedy}."
    )


def check_lengths(X: Any, y: Any, sample_weight: Any, estimator: str) -> None:
    """Refuse y or weights of another length than X, as far as lengths are known at once.

    Raises
    ------
    ValueError
    """
    for values, name, remedy in ((y, "y", "target"), (sample_weight, "sample_weight", "weight")):
        n_rows, n_values = _length_of(X), _length_of(values)
        if None not in (n_rows, n_values) and n_rows != n_values:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {estimator} got {n_rows} rows in X but "
                f"{n_values} in {name}. Pass one {remedy} a row."
            )


def _length_of(values):
    """Return the length of a list, or of what has axes; None of anything else."""
    if isinstance(values, (list, tuple)):
        return len(values)
    shape = () if getattr(values, "is_nested", False) else getattr(values, "shape", ())
    return shape[0] if isinstance(shape, tuple) and shape and isinstance(shape[0], int) else None


def keep_rows(store: Store, y: Any, sample_weight: Any, groups: Any, estimator: str) -> KeptRows:
    """Check targets, weights and groups against X, and drop the rows of zero weight.

    Parameters
    ----------
    store : Store
    y : array-like of shape (n,) or (n, k)
    sample_weight, groups : array-like of shape (n,) or None
    estimator : str

    Raises
    ------
    TypeError, ValueError
        If y is missing, or lengths differ, or a weight is not usable.
    """
    if y is None:
        raise ValueError(f"{estimator}: requires y to be passed, but the target y is None. Pass one target a row.")
    weights = check_weights(sample_weight, len(store), estimator)
    y = plain_values(y, estimator, "y")
    y = y if hasattr(y, "shape") or isinstance(y, (list, tuple)) else np.asarray(y)
    if getattr(y, "shape", None) == ():
        raise TypeError(f"{estimator}: y must hold one target a row; got the one value {shown(y.tolist())}.")
    if len(store) != (n_targets := _num_samples(y)):
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {estimator} got {len(store)} rows in X "
            f"but {n_targets} in y. Pass one target a row."
        )
    if groups is not None:
        check_has_length(groups, estimator, "groups")
        if not hasattr(groups, "__len__") or isinstance(groups, str):
            raise TypeError(f"{estimator}: groups must be array-like, of one label a row; got {shown(groups)}.")
        with errors_named(estimator, "groups"):
            n_groups = _num_samples(groups)
        if n_groups != n_targets:
            raise ValueError(
                f"{estimator}: groups: Found input variables with inconsistent numbers of samples: "
                f"[{n_targets}, {n_groups}], of y and of groups. Pass the label of a group for each row."
            )
    if weights is None:
        rows, weights = np.arange(len(store)), np.broadcast_to(1.0, len(store))
    else:
        rows = np.flatnonzero(weights > 0)
        weights = weights[rows]
    if len(rows) < len(store):
        y = take_rows(y, rows)
        groups = None if groups is None else take_rows(groups, rows)
    return KeptRows(store, rows, y, weights, None if groups is None else _number_groups(groups, estimator))


def _number_groups(groups, estimator):
    """Return the number of each row's group, in the sorted order of the labels."""
    given = plain_values(groups, estimator, "groups")
    values = given if hasattr(given, "dtype") else np.array([*given, None], dtype=object)[:-1]
    kinds = {_kind_of(value) for value in values} if str(getattr(values, "dtype", "")) == "object" else set()
    if len(kinds) > 1:
        raise TypeError(
            f"{estimator}: groups must hold labels of one type, but mixes {shown(sorted(kinds))}. Pass a number or a "
            "string a row, all of one type and none missing."
        )
    with errors_named(estimator, "groups"):
        groups = check_array(given, ensure_2d=False, dtype=None, allow_nd=True, input_name="groups")
    if groups.ndim != 1 and groups.size != len(groups):
        raise ValueError(f"{estimator}: groups has shape {groups.shape}. Pass one label a row, of shape (n_samples,).")
    if groups.dtype.kind in "mM" and np.isnat(groups).any():
        raise ValueError(f"{estimator}: Input groups contains NaT. Pass a group for every row.")
    try:
        return np.unique(groups, return_inverse=True)[1].ravel()
    except TypeError as error:
        raise TypeError(
            f"{estimator}: groups holds values that cannot be told apart by sorting ({error}). Pass a number or a "
            "string a row, all of one type and none missing."
        ) from error


def _kind_of(value):
    """Name the type of a label; numbers of any type are alike, and so are texts."""
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, Number):
        return "number"
    return "str" if isinstance(value, str) else "None" if value is None else type(value).__name__


def weight_unit(train_weights: np.ndarray, estimator: str) -> float:
    """Return what weights are divided by: their mean over the training rows.

    Raises
    ------
    ValueError
        If all of them are zero.
    """
    if not np.any(train_weights > 0):
        raise ValueError(f"{estimator}: class_weight leaves every training row with weight 0. Raise a weight.")
    low, high = train_weights.min(), train_weights.max()
    if low != high and high > MAX_WEIGHT:
        raise ValueError(
            f"{estimator}: the weights of rows, sample_weight times class_weight, reach {high:.3g}, too large to be "
            "added up. Scale them: only their ratios count."
        )
    return low if low == high else train_weights.mean()  # equal weights become exactly 1
