"""CNNRegressor: values in, values out."""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from sklcnn.base import BaseCNN
from sklcnn.constraints import Choice, Number, OneOf
from sklcnn.declarations import parameter
from sklcnn.network.losses import REGRESSION_LOSSES, ROBUST_LOSSES
from sklcnn.parameters import CALLABLE_LOSS
from sklcnn.tasks.learn import learn_values
from sklcnn.wording import errors_named


class CNNRegressor(RegressorMixin, BaseCNN):
    """Convolutional network for predicting one or several values from signals, images and volumes.

    Targets are standardised for training and given back in their own units, by mean and deviation. Where rare values
    make most of the deviation, the median and the mean distance from it take its place if the loss is "absolute_error"
    or "quantile"; a few values far from all others do not count in them.

    {parameters}

    Attributes
    ----------
    n_features_in_ : int
        Columns of X, where it was a table.
    feature_names_in_ : ndarray of str
        Names of its columns, where it was a DataFrame.
    sample_shape_ : tuple of int
        Shape of one sample as the network sees it, channels first.
    n_outputs_ : int
        Values per row.
    n_iter_ : int
        Epochs trained.
    best_epoch_ : int
        The epoch, from 1, whose weights the network has.
    history_ : DataFrame
        One row per epoch: ``epoch, duration, learning_rate, train_loss, penalty, val_loss, train_score, val_score``.
        Losses are of standardised targets; scores are R2.
    module_ : torch.nn.Module
        The trained network: maps raw samples, channels first, to standardised values.
    net_ : skorch.NeuralNet
        The skorch net around it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklcnn import CNNRegressor
    >>> signals = np.random.default_rng(0).normal(size=(200, 16))
    >>> cnn = CNNRegressor(filters=(8,), max_epochs=40, random_state=0).fit(signals, signals[:, 4:8].sum(1))
    >>> cnn.score(signals, signals[:, 4:8].sum(1)) > 0.9
    True
    """

    loss: Any = parameter(
        "squared_error",
        OneOf(Choice(tuple(REGRESSION_LOSSES)), CALLABLE_LOSS),
        """"squared_error", "absolute_error", "huber" (quadratic up to one standard deviation of y, or, where a few
        outliers make that, up to 1.35 of the other values), "quantile" (the pinball loss, which is least at the given
        `quantile` of y), or a callable that is given raw outputs and standardised targets, both (n, k), and returns
        one loss per row, (n,).""",
    )
    quantile: float = parameter(
        0.5,
        Number(0, 1, above=True, below=True),
        'The quantile of y that `loss="quantile"` predicts: 0.05 and 0.95 bound nine tenths of the values.',
    )

    def _make_loss(self, task):
        options = {"quantile": float(self.quantile)} if self.loss == "quantile" else {}
        return task.make_loss(self.loss, self._name, **options)

    def _learn_task(self, y):
        loss = self.loss if isinstance(self.loss, str) else None
        return learn_values(y, self._name, robust=loss in ROBUST_LOSSES, huber=loss == "huber")

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the coefficient of determination R² of the predictions.

        Parameters
        ----------
        X : array-like
            Samples as `fit` takes them.
        y : array-like of shape (n,) or (n, n_outputs)
            Their true values.
        sample_weight : array-like of shape (n,) or None
            How much each row counts.

        Returns
        -------
        score : float
            1 is perfect; 0 is what the mean of y would score. Averaged over several outputs.
        """
        y, sample_weight = self._scored(X, y, sample_weight)
        predicted = self.predict(X)
        with errors_named(self._name, "y"):
            return float(r2_score(y, predicted, sample_weight=sample_weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
