"""scikit-learn's own callbacks (`sklearn.callback`, experimental, from 1.9): one task per fit, one subtask per epoch.

On an older scikit-learn this module does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklcnn.training.run import Hooks

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand in for scikit-learn's mixin, where there is none."""

    def with_callbacks(method: Callable) -> Callable:  # type: ignore[misc]
        """Leave a method as it is."""
        return method


class FitTask:
    """Tells the estimator's callbacks of the beginning, the epochs and the end of one fit.

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

    def follow(self, hooks: Hooks, fitted: Any) -> None:
        """Tell callbacks of each epoch of a run, with the weights as they are then.

        Parameters
        ----------
        hooks : Hooks
            Of the run.
        fitted : Fitted
            With which a copy of the estimator predicts.
        """
        if self._context is not None:
            hooks.before_epoch = self.begin_epoch
            hooks.after_epoch = lambda row: self.end_epoch(lambda: {"_fitted": fitted})

    def begin_epoch(self) -> None:
        """Tell that an epoch begins."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def end_epoch(self, fitted_attributes: Callable[[], dict]) -> bool:
        """Tell that an epoch has ended, and return whether a callback asks to stop.

        Parameters
        ----------
        fitted_attributes : callable of () -> dict
            Returns the attributes with which a copy of the estimator predicts by the weights as they are then.
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
