"""Arrays of labels and of names that skops cannot store, as plain values, and back."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from sklcnn.signals import raise_if_signalled

STRINGS = "strings of variable width"
TIMES = "times of pandas"


def labels_to_plain(values: np.ndarray) -> Any:
    """Turn texts of variable width, and pandas's times among objects, into a dict of plain values.

    Parameters
    ----------
    values : ndarray

    Returns
    -------
    plain : dict or ndarray
        The array itself where it holds neither, or what has no plain form.
    """
    if values.dtype.kind == "T":
        return _plain_strings(values)
    pandas: Any = sys.modules.get("pandas")
    if values.dtype != object or values.ndim != 1 or pandas is None:
        return values
    times = pandas.Timestamp, pandas.Timedelta
    if not any(isinstance(value, times) for value in values):
        return values
    entries = [_plain_time(value) if isinstance(value, times) else value for value in values]
    return values if None in entries else {"type": TIMES, "entries": entries}


def labels_from_plain(plain: dict[str, Any]) -> np.ndarray:
    """Make the array that `labels_to_plain` was given."""
    if plain["type"] == STRINGS:
        missing = {"na_object": plain["missing"][0]} if plain.get("missing") else {}
        return np.array(plain["values"], dtype=np.dtypes.StringDType(**missing, coerce=plain.get("coerce", True)))
    values = np.empty(len(plain["entries"]), dtype=object)
    values[:] = [_time(entry) if isinstance(entry, dict) else entry for entry in plain["entries"]]
    return values


def is_stored_by_skops(value: Any) -> bool:
    """Tell whether skops reads a label, or an array of them, that it writes: of pandas's times it reads none."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "T":
        return False
    if isinstance(value, np.ndarray) and value.dtype == object:
        return all(map(is_stored_by_skops, value.flat))
    pandas: Any = sys.modules.get("pandas")
    return pandas is None or not isinstance(value, (pandas.Timestamp, pandas.Timedelta))


def _plain_strings(values):
    dtype: Any = values.dtype
    plain = {"type": STRINGS, "values": values.tolist()}
    if hasattr(dtype, "na_object"):
        if not (dtype.na_object is None or isinstance(dtype.na_object, (str, float))):
            return values
        plain["missing"] = [dtype.na_object]
    return plain if dtype.coerce else plain | {"coerce": False}


def _plain_time(value):
    """Describe a time as a number of units; None where its zone is not found again by its name."""
    zone = getattr(value, "tzinfo", None)
    raw = value.asm8
    plain = {"count": int(raw.astype(np.int64)), "unit": value.unit, "is_difference": raw.dtype.kind == "m"}
    plain["zone"] = None if zone is None else str(zone)
    try:
        again = _time(plain)
    except (KeyError, ValueError, TypeError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise_if_signalled(error)
        return None
    return plain if again == value and str(again) == str(value) else None


def _time(plain):
    import pandas

    if plain["is_difference"]:
        return pandas.Timedelta(np.timedelta64(plain["count"], plain["unit"]))
    time = pandas.Timestamp(np.datetime64(plain["count"], plain["unit"]))
    return time if plain["zone"] is None else time.tz_localize("UTC").tz_convert(plain["zone"])
