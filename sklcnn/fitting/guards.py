"""Errors in words, and attributes and methods that are there only when they can be used."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class memory_errors_explained:  # noqa: N801 (called like a function)
    """Turn torch's error of too little memory, in a block, into one that says what takes less."""

    def __init__(self, estimator_name: str):
        self._estimator_name = estimator_name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, RuntimeError):
            return
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            return
        size = re.search(r"allocate ([\d.]+ ?[a-zA-Z]+)", str(error))
        raise MemoryError(
            f"{self._estimator_name}: the network and its batches take more memory than there is"
            f"{f' ({size[1]} at once)' if size else ''}. Lower batch_size, filters, kernel_size, dense_units or "
            "image_size, or set global_pooling."
        ) from error


@contextmanager
def validation_rows_named() -> Iterator[None]:
    """Name the validation rows in errors about them: they are checked by the same functions as X and y."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (f"Validation rows (X_val, y_val): {error}", *error.args[1:])
        raise


class NotOfferedError(AttributeError, ValueError):
    """A hyper-parameter's value switches a method off: `hasattr` is False, and a call says why."""


class OneEpochAtATime:
    """Decorator of `partial_fit`, which an estimator with early stopping does not offer."""

    def __init__(self, method: Callable):
        functools.update_wrapper(self, method)  # type: ignore[arg-type]
        self._method = method

    def __get__(self, estimator: Any, cls: type | None = None) -> Callable:
        """Bind the method to an estimator."""
        if estimator is None:
            return self._method
        if estimator.early_stopping:
            raise NotOfferedError(
                f"{type(estimator).__name__}: partial_fit trains for one epoch and cannot stop early. "
                "Set early_stopping=False."
            )
        return types.MethodType(self._method, estimator)


class FittedAttribute:
    """A public attribute of an estimator that is there once it is fitted.

    Parameters
    ----------
    read : callable of (Fitted) -> value
        Returns None where the attribute does not exist.
    doc : str
    """

    def __init__(self, read: Callable[[Any], Any], doc: str):
        self._read, self.__doc__ = read, doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, estimator: Any, cls: type | None = None) -> Any:
        """Read the value from what the fit left behind."""
        if estimator is None:
            return self
        value = None if estimator._fitted is None else self._read(estimator._fitted)
        if value is None:
            when = " before fit" if estimator._fitted is None else ": X was no table with such columns"
            raise AttributeError(f"{type(estimator).__name__} has no {self._name}{when}.")
        return value
