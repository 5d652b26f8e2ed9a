"""Tensors as NumPy arrays, and the refusal of what NumPy would turn into numbers without a word."""

from __future__ import annotations

from collections.abc import ValuesView
from datetime import date, time, timedelta
from typing import Any

import numpy as np
import torch

from sklcnn.wording import short_cause

DATES = ("date", "time", "duration", "period", "interval")  # how names of dtypes begin


def plain_values(values: Any, estimator: str, name: str) -> Any:
    """Return targets, weights or groups without what only torch, NumPy or Python knows of them.

    Parameters
    ----------
    values : array-like
    estimator : str
    name : str
        Such as "y", for the message.

    Returns
    -------
    values : array-like
        A tensor as an array, the values of a dict as a list, nullable integers of pandas as integers of NumPy, anything
        else as it is.

    Raises
    ------
    TypeError, ValueError
        If a tensor cannot become an array, or a masked array hides values.
    """
    if isinstance(values, torch.Tensor):
        return tensor_to_array(values, estimator, name)
    if isinstance(values, ValuesView):
        return list(values)
    refuse_hidden(values, estimator, name)
    return _without_mask(values)


def _without_mask(values):
    """Give pandas's nullable and Arrow integers and truth values, where none is missing, the dtypes of NumPy.

    scikit-learn would make floats of them, of which two large integers may be one.
    """
    if hasattr(values, "iloc") and hasattr(values, "columns"):
        dtypes = [_integer_dtype(dtype) for dtype in values.dtypes]
        numbers = [n for n, dtype in enumerate(dtypes) if dtype is not None and not values.iloc[:, n].isna().any()]
        if numbers and values.columns.is_unique:
            return values.astype({values.columns[n]: dtypes[n] for n in numbers})
        return values
    dtype = _integer_dtype(getattr(values, "dtype", None))
    return values if dtype is None or values.isna().any() else values.to_numpy(dtype)


def _integer_dtype(dtype):
    """Return what NumPy calls a dtype of pandas's extensions that is of integers or truth values; else None."""
    categories = getattr(dtype, "categories", None)
    if categories is not None and hasattr(categories, "dtype"):  # of truth values, scikit-learn makes floats too
        return np.dtype(bool) if categories.dtype == bool else _integer_dtype(categories.dtype)
    found = getattr(dtype, "numpy_dtype", None)
    return found if getattr(found, "kind", "") in ("i", "u", "b") else None


def tensor_to_array(tensor: torch.Tensor, estimator: str, name: str = "X") -> np.ndarray:
    """Return a tensor's values as a NumPy array.

    Raises
    ------
    TypeError
        If it is of a kind that NumPy does not know: sparse, nested, quantized, without data.
    """
    variable = name.rpartition(" ")[2]
    if tensor.is_nested:
        raise TypeError(
            f"{estimator}: {name} is a nested torch tensor, whose samples may differ in shape. Pad them to one, such "
            f"as {variable}.to_padded_tensor(0.0)."
        )
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
    except (TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise TypeError(
            f"{estimator}: {name} is a torch tensor that is no array of numbers ({reason}). Pass an ordinary tensor, "
            f"such as {variable}.to_dense() or {variable}.dequantize()."
        ) from short_cause(error)


def refuse_hidden(values: Any, estimator: str, name: str) -> None:
    """Refuse a masked array that hides values.

    Raises
    ------
    ValueError
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # pandas' arrays have masks, too
        raise ValueError(
            f"{estimator}: {name} is a masked array, whose hidden values would be read. Fill them in: "
            f"{name.rpartition(' ')[2]}.filled(value)."
        )


def refuse_complex(y: Any, estimator: str) -> None:
    """Refuse complex numbers as labels, in an array or a list.

    Raises
    ------
    ValueError
    """
    dtype = str(getattr(y, "dtype", ""))
    if isinstance(y, (list, tuple)) and any(isinstance(label, (complex, np.complexfloating)) for label in y):
        dtype = "complex"
    if dtype.startswith("complex"):
        raise ValueError(f"Complex data not supported: {estimator}: y has dtype {dtype}. Pass real labels.")


def refuse_dates(values: Any, estimator: str, name: str) -> None:
    """Refuse dates, durations and intervals, in whatever unit they would become numbers.

    Raises
    ------
    TypeError
    """
    columns = [values]
    if hasattr(values, "iloc") and hasattr(values, "columns"):
        columns = [values.iloc[:, n] for n, dtype in enumerate(values.dtypes) if _may_hold_dates(dtype)]
    for column in columns:
        found = _kind_of_dates(column)
        if found:
            plural = "intervals" if "nterval" in found else "dates"
            raise TypeError(
                f"{estimator}: {name} must hold numbers, but has {found}. Convert {plural} to numbers, or leave "
                "them out."
            )


def _kind_of_dates(values):
    """Name the dtype, or the type, of dates in an array, column, polars table or nested list; None without any."""
    while isinstance(values, (list, tuple)):
        values = next((value for value in values if value is not None), None)
    dtypes = values.dtypes if hasattr(values, "columns") else [getattr(values, "dtype", "")]
    for dtype in map(str, dtypes):
        if dtype.lower().startswith(DATES):
            return f"dtype {dtype}"
    if isinstance(values, np.ndarray) or hasattr(values, "iloc"):
        values = values if str(getattr(values, "dtype", "")) == "object" else ()
        values = next((value for value in np.asarray(values).flat if value is not None), None)
    is_date = isinstance(values, (date, time, timedelta)) or type(values).__name__ in ("Period", "Interval")
    return f"values of type {type(values).__name__}" if is_date else None


def _may_hold_dates(dtype):
    return str(dtype) == "object" or str(dtype).lower().startswith(DATES)
