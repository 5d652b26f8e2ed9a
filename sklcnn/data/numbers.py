"""X as an array of finite numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array

from sklcnn.data.columns import is_numeric
from sklcnn.wording import PARAGRAPH, shortened

CHUNK_VALUES = 2**17  # values looked at together in a pass over all rows: 1 MB of float64, near the processor


def numeric_array(X: Any, owner: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return X as a NumPy array of numbers, without a copy where there is one already.

    Parameters
    ----------
    X : array-like, DataFrame, Series or torch.Tensor
    owner : str
    rows : ndarray of int or None
        Those that must be finite; None: all.

    Raises
    ------
    TypeError, ValueError
        If X holds no numbers, or too few axes of them.
    """
    if isinstance(X, torch.Tensor):
        X = tensor_to_array(X)
    elif hasattr(X, "to_numpy") and not hasattr(X, "columns"):
        X = X.to_numpy()  # a Series
    if isinstance(X, (list, tuple)):
        _check_equal_lengths(X, owner)
        X = [tensor_to_array(sample) if isinstance(sample, torch.Tensor) else sample for sample in X]
    elif any(hasattr(dtype, "numpy_dtype") for dtype in getattr(X, "dtypes", ())):
        X = _without_extension_types(X)
    # One row at a time, check_array alone costs half as much as the network: what is plainly in order skips it.
    array = X if _in_order(X) or _is_finite_at(X, rows) else _checked_array(X, owner)
    if 0 in array.shape:
        raise ValueError(f"{owner}: X has shape {array.shape}: an axis of length 0. At least 1 is required.")
    array = np.asarray(array)
    memory_mapped = isinstance(X, np.memmap)
    row = array[0]
    if not row.flags.c_contiguous and row.size > 1 and not memory_mapped:
        # A DataFrame's columns lie one after the other: gathering rows from there would miss the cache at every value.
        array = np.ascontiguousarray(array)
    return array


def tensor_to_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor's values as a NumPy array."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16


def _checked_array(X, owner):
    """Give X as an array of finite numbers, with scikit-learn's checks and conversions."""
    dtypes = set(X.dtypes) if hasattr(X, "columns") else {getattr(X, "dtype", "")}
    for dtype in map(str, dtypes):
        if dtype.lower().startswith(("date", "time", "duration")):
            raise TypeError(
                f"{owner}: X must hold numbers, but has dtype {dtype}. Convert dates to numbers, or leave them out."
            )
    if hasattr(X, "columns") and X.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required by {owner}."
        )
    if len(getattr(X, "shape", ())) == 1 and X.dtype.kind in "biuf":
        raise ValueError(
            f"{owner}: Expected 2D array, got 1D array instead: X has shape {X.shape}. Reshape your data: one sample "
            "is X.reshape(1, -1), or of a table df.iloc[[row]]; samples of one value each are X.reshape(-1, 1)."
        )
    try:
        if isinstance(X, list) and (array := np.asarray(X)).ndim > 1:
            X = array  # in which Python's numbers of any kind are converted
        return check_array(X, dtype="numeric", allow_nd=True, estimator=owner, input_name="X")
    except OverflowError as error:
        raise ValueError(f"{owner}: Input X contains a value too large for float64: {error}.") from error
    except (TypeError, ValueError) as error:
        if "inhomogeneous" in str(error):
            raise ValueError(
                f"{owner}: X is no array of numbers: lists within it have different lengths. Pad or cut them to one."
            ) from None
        if len(str(error)) <= PARAGRAPH:
            raise
        raise type(error)(shortened(error)) from None  # whose cause would be printed too


def _without_extension_types(X):
    """Give nullable and Arrow-backed columns in their own number format; check_array would make floats of integers."""
    if not all(is_numeric(dtype) for dtype in X.dtypes) or X.isna().to_numpy().any():
        return X  # check_array says what is wrong
    return X.to_numpy(np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in X.dtypes)))


def _in_order(X):
    """Whether X is an array of finite numbers that needs no closer look; False where that is not plain."""
    if type(X) not in (np.ndarray, np.memmap) or X.ndim < 2 or X.size == 0:
        return False
    if X.dtype.kind in "uib":
        return True
    with np.errstate(all="ignore"):
        # Half precision is added up in single, in which it cannot overflow.
        return X.dtype.kind == "f" and bool(np.isfinite(X.sum(dtype=np.result_type(X.dtype, np.float32))))


def _is_finite_at(X, rows):
    """Whether X is an array whose other rows alone may hold NaN or infinity."""
    if rows is None or type(X) not in (np.ndarray, np.memmap) or X.dtype.kind != "f" or X.size == 0:
        return False
    return X.ndim > 1 and all(np.isfinite(part).all() for part in parts_of(X, rows))


def parts_of(array: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield some rows of an array, or all, a bounded part at a time."""
    step = max(1, CHUNK_VALUES // math.prod(array.shape[1:]))
    for start in range(0, len(array) if rows is None else len(rows), step):
        yield array[slice(start, start + step) if rows is None else rows[start : start + step]]


def _check_equal_lengths(X, owner):
    lengths = {len(sample) for sample in X if hasattr(sample, "__len__")}
    if len(lengths) > 1:
        raise ValueError(
            f"{owner}: the samples of X have different lengths, from {min(lengths)} to {max(lengths)}. Pad or cut "
            "them to one length."
        )
