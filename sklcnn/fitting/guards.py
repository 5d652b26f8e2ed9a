"""Errors in words, and attributes and methods that are there only when they can be used."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sklcnn.suggestions import did_you_mean


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


# What other libraries' `fit` takes and this one does not, and what to do here.
_VALIDATION = "Pass X_val=X_valid, y_val=y_valid"
_ELSEWHERE = {
    "validation_data": _VALIDATION,
    "eval_set": _VALIDATION,
    "validation_set": _VALIDATION,
    "validation_split": "Set early_stopping=True and validation_fraction",
    "epochs": "Set max_epochs",
    "n_epochs": "Set max_epochs",
    "nb_epoch": "Set max_epochs",
    "sample_weights": "Pass sample_weight",
    "weights": "Pass sample_weight",
    "shuffle": "Leave it out: rows are shuffled in each epoch",
}


def arguments_explained(method: Callable) -> Callable:
    """Decorate a method so that wrong arguments are a TypeError that names the estimator's own class and a remedy."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        if not hasattr(self, "get_params"):  # X, where the method is called on the class
            raise TypeError(
                f"{method.__name__}() was called on an estimator's class. Call it on an instance, such as "
                f"CNNClassifier().{method.__name__}(X, y)."
            )
        try:
            signature.bind(self, *args, **kwargs)
        except TypeError as error:
            fault, remedy = str(error), ""
            unknown = next((one for one in kwargs if one not in signature.parameters), None)
            if unknown is not None:  # which may be why another argument is missing
                fault = f"got an unexpected keyword argument {unknown!r}"
                remedy = _remedy_for(unknown, self, method.__name__, signature.parameters)
            raise TypeError(f"{type(self).__name__}.{method.__name__}() {fault}.{remedy}") from None
        return method(self, *args, **kwargs)

    return call


def _remedy_for(unknown, estimator, method, parameters):
    """Say what an argument that a method does not know is here: another one, another method's, a hyper-parameter."""
    other = "fit" if method == "partial_fit" else "partial_fit"
    if unknown in inspect.signature(getattr(type(estimator), other)).parameters:
        return f" It is an argument of {other}: leave it out, or call {other}."
    known = estimator.get_params(deep=False)
    remedy = _ELSEWHERE.get(unknown, f"Set {unknown}" if unknown in known else None)
    if remedy is None:
        return did_you_mean(unknown, [*list(parameters)[1:], *known])
    place = f" in {type(estimator).__name__}(...)" if remedy.startswith("Set") else ""
    return f" {remedy}{place}."


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
