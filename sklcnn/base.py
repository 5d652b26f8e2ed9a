"""The public methods that classifier and regressor share. The folder `fitting` has what they do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklcnn.data.plain import plain_values
from sklcnn.data.rows import check_lengths
from sklcnn.deploy.convertible import OnnxConvertible
from sklcnn.donors import find_donor
from sklcnn.fitting.data import Given
from sklcnn.fitting.fit import fit, partial_fit
from sklcnn.fitting.guards import FittedAttribute, OneEpochAtATime, arguments_explained, memory_errors_explained
from sklcnn.fitting.state import PlainStateMixin
from sklcnn.network.losses import RowLoss
from sklcnn.parameters import CNNParameters
from sklcnn.process import leaves_process_as_found
from sklcnn.scikit_callbacks import CallbackSupportMixin, with_callbacks
from sklcnn.tasks.task import Task
from sklcnn.training.modes import own_modes
from sklcnn.training.run import HISTORY_COLUMNS
from sklcnn.training.turns import in_turn

if TYPE_CHECKING:
    import pandas as pd


class BaseCNN(PlainStateMixin, CallbackSupportMixin, OnnxConvertible, CNNParameters):
    """Base class of classifier and regressor; a subclass says what its targets are."""

    _fitted = cast("Any", None)  # the one thing that fitting sets

    sample_shape_ = FittedAttribute(lambda fitted: fitted.schema.sample_shape, "Shape of one sample, channels first.")
    n_outputs_ = FittedAttribute(lambda fitted: fitted.task.n_outputs, "Outputs of the network.")
    n_features_in_ = FittedAttribute(lambda fitted: fitted.columns.n_features, "Columns of X, where it was a table.")
    feature_names_in_ = FittedAttribute(lambda fitted: fitted.columns.names, "Names of the columns of a DataFrame.")
    n_iter_ = FittedAttribute(lambda fitted: len(fitted.history), "Epochs trained.")
    best_epoch_ = FittedAttribute(lambda fitted: fitted.best_epoch, "The epoch whose weights the network has.")
    module_ = FittedAttribute(lambda fitted: fitted.network, "The trained network, an `nn.Module`.")
    net_ = FittedAttribute(lambda fitted: fitted.net, "The skorch net around the network.")
    fitted_ = FittedAttribute(
        lambda fitted: True,
        "True after fit: what libraries such as MAPIE look for, where X is no table and has no `n_features_in_`.",
    )

    # What a subclass defines.

    def _learn_task(self, y: Any) -> Any:
        """Return the kind of target that y is, without what depends on the rows that will be held out."""
        raise NotImplementedError

    def _known_task(self, y: Any) -> Task:
        """Return the task of the last fit, if y is of its kind."""
        return self._fitted.task

    def _make_loss(self, task: Task) -> RowLoss:
        """Build the loss."""
        return task.make_loss(self.loss, self._name)

    @property
    def _name(self):
        return type(self).__name__

    def __sklearn_clone__(self):
        copied = super().__sklearn_clone__()
        if find_donor(self.backbone) is not None:
            copied.backbone = self.backbone  # a clone of it would not be fitted
        return copied

    # Fitting.

    @with_callbacks
    @leaves_process_as_found
    @arguments_explained
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BaseCNN:
        """Train a network.

        Parameters
        ----------
        X : array-like
            Signals `(n, length)` or `(n, length, channels)`, images `(n, height, width)` or
            `(n, height, width, channels)`, volumes, with channels first or last; or flat rows with `input_shape`.
            NumPy arrays, memory maps, torch tensors and DataFrames of numbers. Or pictures one by one: a list, Series
            or one-column DataFrame of paths or of encoded `bytes`, a list of PIL images or of arrays of several sizes.
        y : array-like of shape (n,) or (n, n_outputs)
            Labels or an indicator matrix for a classifier; one or several values a row for a regressor.
        sample_weight : array-like of shape (n,), default=None
            Weight 2 counts as the row twice; rows of weight 0 are as if absent, whatever is in them.
        groups : array-like of shape (n,), default=None
            Rows of one group are held out together by `early_stopping`.
        X_val, y_val, sample_weight_val : default=None
            Validation rows: their scores are recorded in `history_`, and `early_stopping` watches them instead of
            holding rows out. `X_val` may be of another form than X.

        Returns
        -------
        self : object
            The estimator itself, fitted.

        Raises
        ------
        TypeError, ValueError
            If a hyper-parameter, X, y or a weight is not usable, or the loss is not finite. The estimator is then as
            it was before the call.
        MemoryError
            If the network or its batches do not fit.
        KeyboardInterrupt
            If interrupted. The estimator then has the weights of the last finished epoch, or with `early_stopping` of
            the best so far; it is as it was if no epoch has finished.
        """
        with own_modes(), memory_errors_explained(self._name), in_turn(self.warm_start):
            self._check_parameters()
            given = Given(X, y, sample_weight, groups, X_val, y_val, sample_weight_val)
            fitted, fit_task, interrupt = fit(self, given)
            before, self._fitted = self._fitted, fitted
        try:
            fit_task.end(dict)
        except BaseException:
            self._fitted = before
            raise
        self._tell_skl2onnx()
        if interrupt is not None:
            raise interrupt
        return self

    @OneEpochAtATime
    @arguments_explained
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> BaseCNN:
        """Train for one epoch on some rows, at a constant learning rate, continuing with the network of earlier calls.

        Parameters
        ----------
        X, y : as in `fit`
            Some of the rows, and their targets.
        sample_weight : array-like of shape (n,), default=None
            Used as they are, not rescaled to a mean of 1.

        Returns
        -------
        self : object
            The estimator itself, fitted.
        """
        self._check_parameters()
        self._partial_fit(Given(X, y, sample_weight))
        return self

    @leaves_process_as_found
    def _partial_fit(self, given: Given, first_task: Callable[[], Any] | None = None) -> None:
        with own_modes(), memory_errors_explained(self._name), in_turn():
            self._fitted, interrupt = partial_fit(self, given, first_task() if first_task else None)
        self._tell_skl2onnx()
        if interrupt is not None:
            raise interrupt

    # What was fitted.

    @property
    def history_(self) -> pd.DataFrame:
        """One row per epoch: losses, penalty, scores, learning rate, seconds, and what callbacks recorded."""
        if self._fitted is None:
            raise AttributeError(f"{self._name} has no history_ before fit.")
        import pandas as pd

        rows = self._fitted.history
        return pd.DataFrame(rows, columns=list(rows[0]) if rows else HISTORY_COLUMNS)

    def summary(self) -> pd.DataFrame:
        """List the trained network's layers.

        Returns
        -------
        table : DataFrame
            Columns ``layer``, ``type``, ``output shape`` (channels first, without the batch axis), ``parameters`` and
            ``trainable``. Printed, it ends with the totals; they are in its `attrs`.
        """
        check_is_fitted(self)
        from sklcnn.network.summary import summarize

        return summarize(self.module_, self.sample_shape_, self._dtype)

    def without_training_state(self) -> BaseCNN:
        """Return a copy that predicts the same, without what is needed only to train on.

        That is the optimiser's state, which for Adam is twice as large as the weights, and skorch's callbacks: a file
        of the copy is a third as large. A warm start or `partial_fit` on it begins with a new optimiser.

        Returns
        -------
        estimator : CNNClassifier or CNNRegressor
            It shares the network with this one, until either is trained: a fit that continues trains a copy.
        """
        check_is_fitted(self)
        copied = copy.copy(self)
        copied._fitted = self._fitted.without_training_state()
        return copied

    def __sklearn_is_fitted__(self):
        return self._fitted is not None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = False
        return tags

    # Predicting.

    @property
    def _task(self) -> Any:
        """The kind of target that `fit` has seen."""
        if self._fitted is None:
            check_is_fitted(self)
        return self._fitted.task

    @property
    def _dtype(self) -> torch.dtype:
        return self._fitted.dtype

    @leaves_process_as_found
    def _outputs(self, X: Any) -> np.ndarray:
        """Compute the network's raw outputs, (n, n_outputs_)."""
        if self._fitted is None:
            check_is_fitted(self)
        with own_modes():
            return self._fitted.outputs_of(X, n_jobs=self.n_jobs, feature_cache=self.feature_cache)

    def _scored(self, X, y, sample_weight):
        """Return y and weights that predictions are compared with, checked as far as that can be before predicting."""
        if self._fitted is None:
            check_is_fitted(self)
        y = plain_values(y, self._name, "y")
        if sample_weight is not None:
            sample_weight = plain_values(sample_weight, self._name, "sample_weight")
        check_lengths(X, y, sample_weight, self._name)
        return y, sample_weight

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels or values.

        Parameters
        ----------
        X : array-like
            Samples of the shape that `fit` was given.

        Returns
        -------
        y : ndarray of shape (n,) or (n, n_outputs)
            Labels as `fit` was given them, or an indicator matrix; values in the units and the shape that `fit` was
            given.
        """
        outputs = self._outputs(X)
        return self._task.decode(outputs)
