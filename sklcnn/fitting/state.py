"""The state of estimators: plain values, for pickle, joblib, cloudpickle, copies and skops."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from sklcnn import __version__
from sklcnn.process import leaves_process_as_found
from sklcnn.training.modes import own_modes


class PlainStateMixin:
    """Keep the state of an estimator in plain Python and NumPy values, but for what the user's hyper-parameters hold.

    What a fit left behind is in its attribute `_fitted`.
    """

    _fitted: Any
    _tell_skl2onnx: Callable[[], None]

    def __copy__(self):
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def __getstate__(self):
        state = super().__getstate__() | {"_sklcnn_version": __version__}  # type: ignore[operator]
        if self._fitted is not None:
            from sklcnn.fitting.saving import to_state

            state["_fitted"] = to_state(self._fitted)
        return state

    @leaves_process_as_found
    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_sklcnn_version", None)
        if version != __version__:
            from sklcnn.fitting.saving import warn_of_version

            warn_of_version(type(self).__name__, version, __version__)
        if state.get("_fitted") is not None:
            from sklcnn.fitting.saving import from_state

            with own_modes():
                state["_fitted"] = from_state(state["_fitted"])
        super().__setstate__(state)  # type: ignore[misc]
        self._tell_skl2onnx()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        """Return what `__reduce_ex__` does, to skops, which calls this one and cannot store modules."""
        reduced = self.__reduce_ex__(2)
        fitted = reduced[2].get("_fitted") or {}
        given = self.get_params(deep=False).items()  # type: ignore[attr-defined]
        for name, value in (*given, *_modules_of(fitted)):
            if isinstance(value, nn.Module):
                raise TypeError(
                    f"{type(self).__name__}: {name} is an nn.Module ({type(value).__name__}), which skops does not "
                    f"store: its code would have to run to load it. Pass a function or class of a module of yours "
                    f"that makes it as {name}, or save the estimator by pickle or joblib."
                )
        for name, value in (("class_weight", reduced[2].get("class_weight")), ("y", fitted.get("task"))):
            _check_labels_are_stored(value, name, type(self).__name__)
        if callbacks := fitted.get("net_callbacks"):
            from sklcnn.training.callbacks import check_skops_stores

            check_skops_stores(callbacks, type(self).__name__)
        return reduced


def _modules_of(fitted):
    """Yield what was fitted with a module, which the hyper-parameters may no longer hold."""
    yield "loss", fitted.get("loss")
    recipe = fitted.get("recipe") or {}
    recipe = recipe.get("backbone") or recipe  # CNNFeatures has that of a backbone
    source = recipe.get("source")
    yield "backbone", source.get("module") if isinstance(source, dict) else source


def _check_labels_are_stored(value, name, estimator_name):
    """Refuse labels, and names of columns, that skops would write but not read."""
    from sklcnn.fitting.labels import is_stored_by_skops

    for label in (*value, *value.values()) if isinstance(value, dict) else ():
        if not is_stored_by_skops(label):
            kind = label.dtype if getattr(label, "dtype", np.dtype("O")).kind == "T" else "pandas.Timestamp"
            raise TypeError(
                f"{estimator_name}: {name} holds labels or names of type {kind}, which skops does not store. Save the "
                "estimator by pickle or joblib, or let them be texts or NumPy's datetime64."
            )
