"""CNNClassifier: labels in, probabilities and labels out."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length

from sklcnn.base import BaseCNN
from sklcnn.constraints import Choice, Dictionary, Nothing, Number, OneOf
from sklcnn.data.targets import are_foreign_labels, check_labels, comparable, is_indicator
from sklcnn.declarations import parameter
from sklcnn.fitting.data import Given
from sklcnn.fitting.guards import FittedAttribute, OneEpochAtATime, arguments_explained
from sklcnn.network.losses import CLASSIFICATION_LOSSES
from sklcnn.parameters import CALLABLE_LOSS
from sklcnn.tasks.learn import check_classes, learn_labels
from sklcnn.wording import errors_named, shown


class CNNClassifier(ClassifierMixin, BaseCNN):
    """Convolutional network for classifying signals, images and volumes.

    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; the columns' numbers where y was an indicator matrix.
    n_features_in_ : int
        Columns of X, where it was a table.
    feature_names_in_ : ndarray of str
        Names of its columns, where it was a DataFrame.
    sample_shape_ : tuple of int
        Shape of one sample as the network sees it, channels first.
    n_outputs_ : int
        Outputs of the network: one per class, or one per label.
    n_iter_ : int
        Epochs trained.
    best_epoch_ : int
        The epoch, from 1, whose weights the network has.
    temperature_ : float
        With ``early_stopping`` and ``patience="auto"``, what the logits of that epoch were divided by, since the
        validation rows showed them to be too sure of themselves (Guo et al. 2017); else 1.
    history_ : DataFrame
        One row per epoch: ``epoch, duration, learning_rate, train_loss, penalty, val_loss, train_score, val_score``.
        Losses are means over rows (without the penalty, which is that of the weights at the epoch's end); durations
        are seconds; ``train_score`` is measured while training, ``learning_rate`` is that of the last update.
    module_ : torch.nn.Module
        The trained network: maps raw samples, channels first, to one logit per class.
    net_ : skorch.NeuralNet
        The skorch net around it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklcnn import CNNClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), max_epochs=10, random_state=0).fit(X[:500], y[:500])
    >>> cnn.score(X[500:], y[500:]) > 0.8
    True
    >>> cnn.predict_proba(X[:3]).shape
    (3, 10)
    """

    loss: Any = parameter(
        "cross_entropy",
        OneOf(Choice(tuple(CLASSIFICATION_LOSSES)), CALLABLE_LOSS),
        """"cross_entropy" (binary cross-entropy where y is an indicator matrix), or a callable that is given raw
        outputs and targets (class probabilities), both (n, k), and returns one loss per row, (n,).""",
    )
    label_smoothing: float = parameter(
        0.0,
        Number(0, 1, below=True),
        "Share of each target's probability that is spread evenly over all classes.",
    )
    class_weight: Any = parameter(
        None,
        OneOf(Nothing(), Choice(("balanced",)), Dictionary("a {label: weight} dict")),
        """Weight of each class, by scikit-learn's rules: "balanced": inversely proportional to the class's share
        of the training rows. It multiplies `sample_weight`. Where a row weighs more than ten average ones and a batch
        is not all rows, gradients are clipped to a norm of 2 for each unit that the batch's rows weigh in the mean:
        the steps of batches with such a row would be so large that units may die.""",
    )

    classes_ = FittedAttribute(lambda fitted: fitted.task.classes, "The labels, sorted.")
    temperature_ = FittedAttribute(
        lambda fitted: fitted.temperature, "What the logits of the kept epoch were divided by."
    )

    def _learn_task(self, y):
        return learn_labels(y, self._name)

    def _known_task(self, y):
        known, found = super()._known_task(y), learn_labels(y, self._name)
        if not known.accepts(found):
            last, now = shown(known.classes.tolist()), shown(found.classes.tolist())
            if known.kind != found.kind:  # a row had one class, and has several labels now; or the other way round
                last, now = f"{last} (each a {known.output_kind})", f"{now} (each a {found.output_kind})"
            raise ValueError(
                f"{self._name}: warm_start continues with the classes of the last fit, {last}, but y holds {now}. Pass "
                "rows of each class, or set warm_start=False."
            )
        return known

    def _make_loss(self, task):
        smoothing = {"label_smoothing": float(self.label_smoothing)} if self.label_smoothing else {}
        return task.make_loss(self.loss, self._name, **smoothing)

    @OneEpochAtATime
    @arguments_explained
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> CNNClassifier:
        """Train for one epoch on some rows, at a constant learning rate, continuing with the network of earlier calls.

        Parameters
        ----------
        X, y : as in `fit`
            Some of the rows, and their targets.
        classes : array-like of shape (n_classes,), default=None
            The labels of all calls; needed in the first one if its y does not hold them all.
        sample_weight : array-like of shape (n,), default=None
            Used as they are, not rescaled to a mean of 1.

        Returns
        -------
        self : object
            The estimator itself, fitted.
        """
        self._check_parameters()
        if self.class_weight == "balanced":
            raise ValueError(
                f'{self._name}: class_weight="balanced" is not defined for partial_fit, which sees a part of the '
                "rows. Pass a {label: weight} dict."
            )
        self._partial_fit(Given(X, y, sample_weight), lambda: self._known_classes(y, classes))
        return self

    def _known_classes(self, y, classes):
        """Check the `classes` of a call to `partial_fit`; return the task of a first call."""
        classes = None if classes is None else check_classes(classes, self._name)
        if self._fitted is None:
            return learn_labels(y, self._name, classes)
        if classes is not None and not np.array_equal(comparable(classes), comparable(self.classes_)):
            raise ValueError(
                f"{self._name}: classes={shown(classes.tolist())} differ from those of the first call, "
                f"{shown(self.classes_.tolist())}. Pass the same, or none."
            )
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy of the predictions; of an indicator matrix, the share of rows with all labels right.

        Parameters
        ----------
        X : array-like
            Samples as `fit` takes them.
        y : array-like of shape (n,) or (n, n_labels)
            Their true labels.
        sample_weight : array-like of shape (n,) or None
            How much each row counts.

        Returns
        -------
        score : float
            From 0 to 1.
        """
        y, sample_weight = self._scored(X, y, sample_weight)
        predicted = self.predict(X)
        if not is_indicator(y):
            predicted, y = comparable(predicted), comparable(check_labels(y, self._name))
        if not are_foreign_labels(y):
            with errors_named(self._name, "y"):
                return float(accuracy_score(y, predicted, sample_weight=sample_weight))
        check_consistent_length(y, predicted, sample_weight)
        return float(np.average(predicted == y, weights=sample_weight))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like
            Samples as `fit` takes them.

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes)
            For an indicator matrix the probability of each label by itself.
        """
        outputs = self._outputs(X)
        return self._task.readable(outputs)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : array-like
            Samples as `fit` takes them.

        Returns
        -------
        log_probabilities : ndarray of shape (n, n_classes)
            Of the columns of `predict_proba`.
        """
        outputs = self._outputs(X)
        return self._task.log_probabilities(outputs)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the network's logits.

        Parameters
        ----------
        X : array-like
            Samples as `fit` takes them.

        Returns
        -------
        scores : ndarray of shape (n, n_classes), or (n,) for two classes
            For two classes the logit of the second minus that of the first.
        """
        outputs = self._outputs(X)
        return self._task.decision(outputs)
