"""scikit-learn's own callbacks (`sklearn.callback`, experimental, from 1.9): one task a fit, one subtask an epoch.

On an older scikit-learn this module does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's mixin, where there is none."""

    def with_callbacks(method: Callable) -> Callable:  # type: ignore[misc]
        """Leave a method as it is."""
        return method


# Attributes that scikit-learn sets on an estimator while it fits, and removes again.
CALLBACK_ATTRIBUTES = ("_skl_callbacks", "_skl_callbacks_to_teardown", "_callback_fit_ctx", "_parent_callback_ctx")


class FitTask:
    """One fit, whose beginning, epochs and end the estimator's callbacks are told of.

    Parameters
    ----------
    estimator : estimator
    X, y : as passed to `fit`
    sample_weight : array-like or None
    n_epochs : int
        At most.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, n_epochs: int):
        self._estimator = estimator
        # None without callbacks, the estimator's own or those of a search around it.
        self._context: Any = None
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self._context = estimator._init_callback_context(max_subtasks=n_epochs)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"X": X, "y": y, "metadata": metadata}
        if self._context is not None:
            self._context.call_on_fit_task_begin(estimator=estimator, **self._data)

    @property
    def listens(self) -> bool:
        """Whether there are callbacks to tell."""
        return self._context is not None

    def begin_epoch(self) -> None:
        """Tell that an epoch begins."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def end_epoch(self, fitted_attributes: Callable[[], dict]) -> bool:
        """Tell that an epoch has ended, and return whether a callback asks to stop.

        Parameters
        ----------
        fitted_attributes : callable of () -> dict
            Makes the attributes with which a copy of the estimator predicts by the weights of the moment.
        """
        return self._epoch.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=fitted_attributes, **self._data
        )

    def end(self, fitted_attributes: Callable[[], dict]) -> None:
        """Tell that the fit has ended."""
        if self._context is not None:
            self._context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=fitted_attributes, **self._data
            )
