"""X as an array of finite numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array

from sklcnn.data.pictures.columns import is_number, is_numeric, number_as_text_error, number_formats_error
from sklcnn.data.plain import refuse_dates, refuse_hidden, tensor_to_array
from sklcnn.data.stores.base import CHUNK_VALUES
from sklcnn.wording import PARAGRAPH, errors_named, shortened, shown

# Values may be no larger than this: their differences and, in float64, their squares must be finite.
LARGEST = {"float32": 1.7e38, "bfloat16": 1.7e38, "float64": 1e150}
# The largest of them may be no smaller than this: float32 would round it, or float64 its square, to nearly nothing.
SMALLEST = {"float32": 1e-37, "bfloat16": 1e-37, "float64": 1e-150}
# Bytes of an array whose rows lie apart, up to which they are put together for training; those of a table always are,
# which MNIST comes as. Measured: 60,000 x 784 of float64, 376 MB, take 0.26 s of the processor for that and then 0.05 s
# an epoch; left as they are 1.1 s an epoch.
TOGETHER = 2**27
LARGE_MAP = 2**26  # bytes of a memory map whose rows lie apart, from which on a warning says so
INCOMPLETE = "Leave those samples out, or fill the values in, as sklearn.impute.SimpleImputer does in a table."
# So many values, a row or a few, are looked at by what has to be in the processor's cache anyway, to see their range.
FEW_VALUES = 2**14


def numeric_array(
    X: Any, estimator: str, rows: np.ndarray | None = None, precision: str = "float32", *, training: bool = False
) -> np.ndarray:
    """Return X as a NumPy array of numbers, without a copy where there is one already.

    Parameters
    ----------
    X : array-like, DataFrame, Series or torch.Tensor
    estimator : str
    rows : ndarray of int or None
        Those that must be finite; None: all.
    precision : str
        What the network computes in, which values must not be too large for.
    training : bool
        Whether rows are to be gathered often, and in any order: those that lie apart are put together then, up to a
        bound.

    Raises
    ------
    TypeError, ValueError
        If X holds no numbers, or too large ones, or too few axes of them.
    """
    together = TOGETHER if isinstance(X, np.ndarray) else math.inf
    X = _unwrapped(X, estimator)
    if training:
        X = _with_rows_together(X, estimator, together)
    # For a single row, check_array takes half as long as the network: arrays that are plainly in order skip it.
    if _in_order(X, rows, LARGEST[precision]):
        return np.asarray(X)
    array = np.asarray(X if _is_finite_at(X, rows) else _checked_array(X, estimator))
    if array.dtype.kind == "O":  # check_array leaves objects that it does not see in X's own type
        array = _checked_array(array, estimator)
    _check_size(array, rows, precision, estimator)
    if 0 in array.shape:
        raise ValueError(f"{estimator}: X has shape {array.shape}: an axis of length 0. At least 1 is required.")
    return np.asarray(_with_rows_together(array, estimator, together) if training else array)


def _unwrapped(X, estimator):
    """Return the NumPy array that X holds or can become at once; else X."""
    if isinstance(X, np.ndarray):
        return X
    if isinstance(X, torch.Tensor):
        return tensor_to_array(X, estimator)
    if isinstance(X, (list, tuple)):
        _check_equal_lengths(X, estimator)
        _check_one_number_format(X)
        return X
    if hasattr(X, "to_numpy") and not hasattr(X, "columns"):
        return X.to_numpy()  # a Series
    if hasattr(X, "__array__") and not hasattr(X, "dtype") and not hasattr(X, "columns"):
        return np.asarray(X)  # all that is known of it is that it can become an array
    dtypes = set(getattr(X, "dtypes", ())) if hasattr(X, "columns") else set()
    if any(hasattr(dtype, "numpy_dtype") for dtype in dtypes):
        return _without_extension_types(X)
    if len(dtypes) == 1 and all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in dtypes):
        return X.to_numpy()
    return X


def _with_rows_together(X, estimator, together):
    """Return an array whose rows lie apart, up to a bound, with the values of each side by side; else X as it is.

    A DataFrame's columns lie one after the other, as all does in Fortran order: gathering rows from there in any order
    misses the cache at every value. In order, as `predict` takes them, it costs less than a copy.
    """
    if type(X) not in (np.ndarray, np.memmap) or X.dtype.kind not in "biuf" or not _lie_rows_apart(X):
        return X
    if isinstance(X, np.memmap):
        if X.nbytes > LARGE_MAP:
            warnings.warn(
                f"{estimator}: X is a memory map of {X.nbytes / 1e6:.0f} MB whose rows lie apart (Fortran order), so "
                "that each batch touches nearly all of the file. Write it to one in C order first, part by part, with "
                'numpy.lib.format.open_memmap(file, "w+", X.dtype, X.shape).',
                UserWarning,
                stacklevel=2,
            )
        return X
    return np.ascontiguousarray(X) if X.nbytes <= together else X


def _lie_rows_apart(array):
    """Whether the values of a row lie further apart than the rows do."""
    if array.size == 0 or len(array) == 1:
        return False
    between = [abs(stride) for stride, n in zip(array.strides[1:], array.shape[1:], strict=True) if n > 1]
    return bool(between) and 0 < abs(array.strides[0]) < min(between)  # 0: one row, seen many times


def _checked_array(X, estimator):
    """Return X as an array of finite numbers, with scikit-learn's checks and conversions."""
    _check_dtypes(X, estimator)
    _refuse_texts(X)
    if hasattr(X, "columns") and X.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required by {estimator}."
        )
    try:
        if isinstance(X, list) and (array := np.asarray(X)).ndim > 1:
            X = array  # in which Python's numbers of any kind are converted
        _check_axes(X, estimator)
        _check_number_format(X, estimator)
        with np.errstate(all="ignore"), errors_named(estimator, "X", INCOMPLETE):  # sums that overflow
            return check_array(X, dtype="numeric", allow_nd=True, estimator=estimator, input_name="X")
    except OverflowError as error:
        raise ValueError(f"{estimator}: Input X contains a value too large for float64: {error}.") from error
    except (TypeError, ValueError) as error:
        if "inhomogeneous" in str(error):
            raise ValueError(
                f"{estimator}: X is no array of numbers: lists within it have different lengths. Pad or "
                "cut them to one."
            ) from None
        if len(str(error)) <= PARAGRAPH:
            raise
        raise type(error)(shortened(error)) from None  # whose cause would be printed too


def _check_dtypes(X, estimator):
    """Refuse types that are not real numbers, or that hide values."""
    refuse_dates(X, estimator, "X")
    refuse_hidden(X, estimator, "X")
    dtypes = set(X.dtypes) if hasattr(X, "columns") else {getattr(X, "dtype", "")}
    for name in map(str, dtypes):
        if name.startswith("Sparse"):
            raise TypeError(
                "Sparse data was passed for X, but dense data is required. Use X.sparse.to_dense() to convert it."
            )
        if name.startswith("complex"):
            raise ValueError(
                f"Complex data not supported: {estimator}: X has dtype {name}. Pass its parts as channels, such as "
                "np.stack([X.real, X.imag], axis=-1)."
            )


def _refuse_texts(X):
    """Refuse numbers written as text among objects, of which NumPy would make numbers, as they are among texts."""
    dtypes = set(X.dtypes) if hasattr(X, "columns") else {getattr(X, "dtype", None)}
    if any(getattr(dtype, "kind", "") == "O" for dtype in dtypes):
        text = next((value for value in np.asarray(X).flat if is_number(value)), None)
        if text is not None:
            raise number_as_text_error(text)


def _check_axes(X, estimator):
    """Refuse X that has not at least two axes: samples, and values."""
    array = X if hasattr(X, "shape") else np.asarray(X)
    if len(array.shape) == 0:
        raise ValueError(
            f"{estimator}: Expected 2D array, got scalar array instead: X is {shown(X)}. Pass an array, a table, or a "
            "list of samples."
        )
    if len(array.shape) > 1 or len(array) == 0:
        return
    what = f"{estimator}: Expected 2D array, got 1D array instead: X has shape {array.shape}"
    if array.dtype.names:
        raise ValueError(f"{what}, of records. Pass numpy.lib.recfunctions.structured_to_unstructured(X).")
    if array.dtype.kind not in "biuf":
        first = next(iter(array.tolist()))
        raise ValueError(
            f"{what}, of {type(first).__name__} objects, which are neither arrays nor images. Pass an array of numbers."
        )
    raise ValueError(
        f"{what}. Reshape your data: one sample is X.reshape(1, -1), or of a table df.iloc[[row]]; samples of one "
        "value each are X.reshape(-1, 1)."
    )


def _check_number_format(X, estimator):
    """Refuse numbers that only another package knows, such as ml_dtypes' bfloat16: NumPy takes them for bytes."""
    dtype = getattr(X, "dtype", None)
    if getattr(dtype, "kind", "") == "V" and dtype.names is None:
        raise ValueError(
            f"{estimator}: X has dtype {dtype}, which is no number format of NumPy's own. Convert it, such as "
            "X.astype(np.float32)."
        )


def _check_size(array, rows, precision, estimator):
    """Refuse values that are finite, but too large to be standardised."""
    if array.dtype.kind != "f" or array.size == 0 or _are_within(array, rows, LARGEST[precision]):
        return
    peak = max(float(np.abs(part).max()) for part in parts_of(array, rows))
    remedy = "Scale X, such as X / np.abs(X).max()"
    if precision != "float64" and peak <= LARGEST["float64"]:
        remedy += ', or set precision="float64"'
    raise ValueError(
        f"{estimator}: X holds values up to {peak:.3g}, too large for a network that computes in {precision}. {remedy}."
    )


def _without_extension_types(X):
    """Return nullable and Arrow-backed columns in their own number format; check_array makes floats of integers."""
    if not all(is_numeric(dtype) for dtype in X.dtypes):
        return X  # check_array says what is wrong
    dtype = np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in X.dtypes))
    if X.isna().to_numpy().any():  # check_array says so of NaN, but does not know pandas 2's own `NA`
        return X.to_numpy(np.result_type(dtype, float), na_value=np.nan)
    return X.to_numpy(dtype)


def _in_order(X, rows, largest):
    """Whether X is plainly an array of numbers that are finite and not too large in some rows; False if in doubt."""
    if type(X) not in (np.ndarray, np.memmap) or X.ndim < 2 or X.size == 0:
        return False
    return X.dtype.kind in "uib" or (X.dtype.kind == "f" and _are_within(X, rows, largest))


def _are_within(array, rows, largest):
    """Whether the values of some rows are finite and no further than that from zero."""
    if rows is None and array.size <= FEW_VALUES:
        low, high = np.minimum.reduce(array, axis=None), np.maximum.reduce(array, axis=None)
        return -largest <= float(low) and float(high) <= largest  # false for NaN
    return all(_is_within(part, largest) for part in parts_of(array, rows))


def _is_within(part, largest):
    if part.dtype in (np.float32, np.float64):
        values = part.ravel(order="K")  # in whatever order they lie
        if float(np.vdot(values, values)) <= largest**2:  # one pass, and no warnings; false for NaN too
            return True
    with np.errstate(all="ignore"):
        return float(np.abs(part).max()) <= largest  # as a float: float16 would take the limit itself for infinity


def _is_finite_at(X, rows):
    """Whether X is an array that is finite in the rows that count; others may hold anything."""
    if rows is None or type(X) not in (np.ndarray, np.memmap) or X.dtype.kind != "f" or X.size == 0:
        return False
    return X.ndim > 1 and all(np.isfinite(part).all() for part in parts_of(X, rows))


def parts_of(array: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield some rows of an array, or all, a bounded part at a time."""
    step = max(1, CHUNK_VALUES // math.prod(array.shape[1:]))
    for start in range(0, len(array) if rows is None else len(rows), step):
        yield array[slice(start, start + step) if rows is None else rows[start : start + step]]


def _check_equal_lengths(X, estimator):
    lengths = {len(sample) for sample in X if hasattr(sample, "__len__")}
    if len(lengths) > 1:
        raise ValueError(
            f"{estimator}: the samples of X have different lengths, from {min(lengths)} to {max(lengths)}. Pad or cut "
            "them to one length."
        )


def _check_one_number_format(X):
    """Refuse a list of pictures of which some are integers, from 0 to 255, and others floats, most likely from 0 to 1.

    As one array they would all be floats. Signals, whose integers are numbers like others, may be of both.
    """
    dtypes = [getattr(sample, "dtype", None) for sample in X]
    kinds = {dtype: getattr(dtype, "kind", "") for dtype in set(dtypes)}
    if not ("f" in kinds.values() and {"i", "u"}.intersection(kinds.values())):
        return
    pictures = {row: dtypes[row] for row, sample in enumerate(X) if getattr(sample, "ndim", 0) > 1}
    first = {kinds[dtype].replace("u", "i"): row for row, dtype in reversed(pictures.items())}
    if {"i", "f"} <= first.keys():
        raise number_formats_error(pictures, first["i"], first["f"])
