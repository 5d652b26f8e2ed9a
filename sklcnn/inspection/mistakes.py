"""MistakesDisplay: the samples that a network gets most wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklcnn.inspection._drawing import (
    SMALL,
    WIDTH,
    cut_note,
    draw_sample,
    find_cut,
    make_panels,
    name_channels,
    number,
    picture_height,
    set_title,
    short,
    shorten,
    value_range,
)
from sklcnn.inspection._positions import label_positions, position_names
from sklcnn.inspection._samples import class_names, find_cnn, read_samples, read_store
from sklcnn.process import leaves_process_as_found
from sklcnn.training.modes import own_modes
from sklcnn.wording import shown

COLUMNS = {1: 2, 2: 5, 3: 5}  # samples side by side, by the number of spatial axes
LABEL = 15  # characters of a label, or of a set of labels, over a picture, at most
LEAST = 3  # characters of each label of a set, at least


@dataclass(kw_only=True, eq=False, repr=False)
class MistakesDisplay:
    """The samples with the largest loss, as pictures or lines, with what was predicted.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    rows : ndarray of int of shape (n_samples,)
        Positions in X, largest loss first.
    losses : ndarray of shape (n_samples,)
        The loss that the network was trained with, of each of those samples by itself: without weights and penalties.
    y_true, y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels, indicators, or values in the units of y.
    probabilities : ndarray of shape (n_samples, n_classes) or None
        Predicted for each class; None for a regressor.
    classes : ndarray of shape (n_classes,) or None
        What the columns of `probabilities` stand for; the names of an indicator DataFrame's columns.
    pictures : list of ndarray of shape (*spatial, n_channels)
        The samples as X gives them, channels last.
    names : list of str
        Of the samples: "sample" and the row, or the file.
    display_labels : ndarray of shape (n_classes,) or None
        Names of the classes in titles; None: the classes themselves.
    position_names : ndarray of shape (n_positions,) or None
        Of signals that are rows of a table: the names of its columns.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Set by :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_samples,)

    See Also
    --------
    SaliencyDisplay : Which parts of a sample speak for a prediction.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklcnn import CNNClassifier
    >>> from sklcnn.inspection import MistakesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), filters=(8,), max_epochs=1, random_state=0).fit(X[:1000], y[:1000])
    >>> display = MistakesDisplay.from_estimator(cnn, X[1000:], y[1000:], n_samples=3, draw=False)
    >>> display.losses[0] >= display.losses[1] >= display.losses[2]
    np.True_
    """

    rows: np.ndarray
    losses: np.ndarray
    y_true: np.ndarray
    y_pred: np.ndarray
    probabilities: np.ndarray | None
    classes: np.ndarray | None
    pictures: list[np.ndarray]
    names: list[str]
    display_labels: np.ndarray | None = None
    position_names: np.ndarray | None = None
    figure_: Any = field(init=False, default=None)
    axes_: Any = field(init=False, default=None)

    @classmethod
    @leaves_process_as_found
    @own_modes()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_samples: int = 10,
        display_labels: Any = None,
        ax: Any = None,
        draw: bool = True,
        slice_index: int | None = None,
    ) -> MistakesDisplay:
        """Find the samples with the largest loss, and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted: CNNClassifier, CNNRegressor, a Pipeline that ends in one (X goes through its earlier steps), or a
            search, whose best estimator is used.
        X : array-like
            Samples as `predict` takes them.
        y : array-like of shape (n,) or (n, n_outputs)
            Their true labels or values.
        n_samples : int, default=10
            How many to show, right predictions too if there are fewer wrong ones.
        display_labels : array-like of shape (n_classes,), default=None
            Names of the classes in titles, in the order of `classes_`. None: the labels.
        ax : matplotlib Axes, default=None
            Its area is filled. None makes a figure.
        draw : bool, default=True
            False only computes the arrays; :meth:`plot` draws them.
        slice_index : as in :meth:`plot`
            Which slice of volumes is drawn.

        Returns
        -------
        display : MistakesDisplay
            With the samples, drawn or not.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X differs from what `fit` was given, or y or `display_labels` does not fit X or the classes.
        """
        if isinstance(n_samples, bool) or not hasattr(n_samples, "__index__") or n_samples < 1:
            raise ValueError(f"n_samples={shown(n_samples)} must be a whole number, at least 1.")
        given_X = X
        cnn, X = find_cnn(estimator, X)
        columns = position_names(estimator, given_X)
        task = cnn._task
        labels = class_names(task, display_labels)
        targets = task.encode(y, cnn._name, cnn._dtype)
        outputs = torch.from_numpy(cnn._outputs(X))
        if len(targets) != len(outputs):
            raise ValueError(f"X has {len(outputs)} rows, but y has {len(targets)}. Pass one target a row.")
        losses = _row_losses(cnn, outputs, targets)
        rows = np.argsort(-losses, kind="stable")[:n_samples]
        chosen = read_samples(cnn, read_store(cnn, X), rows)
        chosen_outputs = outputs[rows].numpy()
        display = cls(
            rows=rows,
            losses=losses[rows],
            y_true=task.given(y, rows, cnn._name),
            y_pred=task.decode(chosen_outputs),
            probabilities=task.readable(chosen_outputs) if task.has_probabilities else None,
            classes=task.output_names if task.has_probabilities else None,
            pictures=chosen.pictures,
            names=chosen.names,
            display_labels=labels,
            position_names=columns,
        )
        return display.plot(ax=ax, slice_index=slice_index) if draw else display

    def plot(self, ax: Any = None, *, slice_index: int | None = None) -> MistakesDisplay:
        """Draw the samples, the largest loss first.

        Over each sample are the true and the predicted label or value, a classifier's probability for it or a
        regressor's error (predicted minus true), and the name of its file. Wrong labels are red. Long names of classes
        are cut so that they stay different, if need be by their position in `classes` in brackets. Of sets of labels
        that are too long, those that are wrong come first, and "+2" stands for two more.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its area is filled. None makes a figure.
        slice_index : int, default=None
            Of volumes: the position along the first axis at which they are cut. None: the middle.

        Returns
        -------
        display : MistakesDisplay
            With the samples, drawn or not.
        """
        share = find_cut(slice_index, self.pictures)
        n_axes, n_samples = self.pictures[0].ndim - 1, len(self.pictures)
        n_columns = min(n_samples, COLUMNS[n_axes])
        n_rows = math.ceil(n_samples / n_columns)
        width = WIDTH if n_columns > 2 else WIDTH * max(n_columns / COLUMNS[n_axes], 0.5)
        row_height = 1.6 if n_axes == 1 else picture_height(self.pictures[0], 1.5, 0.7, 3.0) + 0.7
        figure, grid = make_panels(
            ax,
            n_rows,
            n_columns,
            (width, row_height * n_rows + 0.5),
            self.pictures[0],
        )
        limits = value_range(self.pictures)
        self.figure_, self.axes_ = figure, np.empty(n_samples, dtype=object)
        labels = self._short_labels()
        for i, picture in enumerate(self.pictures):
            panel = self.axes_[i] = figure.add_subplot(grid[i // n_columns, i % n_columns])
            draw_sample(panel, picture, limits, share)
            panel.set_title(self._text(i, labels), fontsize=SMALL, color="firebrick" if self._is_wrong(i) else "black")
            if n_axes == 1:
                unit = label_positions(panel, self.position_names, n_ticks=5)
                if i + n_columns >= n_samples:
                    panel.set_xlabel(unit, fontsize=SMALL)
        if n_axes == 1:
            name_channels(self.axes_[n_columns - 1], self.pictures[0].shape[-1])
        title = f"largest loss, {number(self.losses[0])}"
        if n_samples > 1:
            title = f"{n_samples} largest losses, {number(self.losses[0])} to {number(self.losses[-1])}"
        set_title(figure, ax, title + cut_note(self.pictures, share))
        return self

    def _is_wrong(self, i):
        return self.probabilities is not None and np.any(self.y_true[i] != self.y_pred[i])

    def _text(self, i, labels):
        true, predicted = self.y_true[i], self.y_pred[i]
        if self.probabilities is None:
            error = predicted - true
            lines = [f"true {_values(true, error)}", f"pred. {_values(predicted, error)}"]
            lines.append(f"error {_values(error, error, '+')}")
        elif np.ndim(true):
            wrong = true != predicted
            lines = [f"true {_label_set(labels, true, wrong)}", f"pred. {_label_set(labels, predicted, wrong)}"]
            lines.append(self._least_likely(i, labels))
        else:
            codes = [np.flatnonzero(self.classes == label)[0] for label in (true, predicted)]
            lines = [f"true {labels[LABEL][codes[0]]}", f"pred. {labels[LABEL][codes[1]]}"]
            lines.append(f"probability {self.probabilities[i].max():.2f}")
        if self.pictures[i].ndim == 2:  # a signal's panel is wide and low
            return f"{short(self.names[i], 22)}: {', '.join(lines)}"
        return "\n".join([short(self.names[i], 20), *lines])

    def _short_labels(self):
        """Shorten the names of the classes to each width that a label may have; a dict from width to list."""
        names = self.classes if self.display_labels is None else self.display_labels
        return {} if names is None else {width: shorten(names, width) for width in range(LABEL, LEAST - 1, -1)}

    def _least_likely(self, i, labels):
        """Return the label of an indicator row whose prediction is most wrong, with its probability."""
        likelihood = np.where(self.y_true[i] == 1, self.probabilities[i], 1 - self.probabilities[i])
        worst = likelihood.argmin()
        return f"P({labels[LABEL][worst]}) = {self.probabilities[i, worst]:.2f}"


def _row_losses(cnn, outputs, targets):
    """Compute the loss of each row, (n,), float64."""
    device = cnn.net_.torch_device_
    with torch.no_grad():
        losses = cnn.net_.criterion_(outputs.to(device), targets.to(device))
    return losses.double().cpu().numpy()


def _label_set(labels, indicators, wrong):
    """List the labels of an indicator row, each cut to its share of the place.

    Where not all have one, those that are wrong come first: they tell what is true from what is predicted.
    """
    there = np.flatnonzero(indicators)
    by_need = there[np.argsort(~wrong[there], kind="stable")]
    text = "none"
    for n_named in range(len(there), 0, -1):
        named, n_more = np.sort(by_need[:n_named]), len(there) - n_named
        for names in labels.values():  # the widest first
            text = ", ".join(names[label] for label in named) + f" +{n_more}" * (n_more > 0)
            if len(text) <= LABEL:
                return text
    return text


def _values(values, errors, sign=""):
    """Format one value, or the first ones of several, in as many digits as show the errors."""
    values, errors = np.atleast_1d(values), np.atleast_1d(errors)
    texts = [f"{value:{sign}.{_digits(value, error)}g}" for value, error in zip(values[:2], errors, strict=False)]
    return ", ".join(texts) + ", …" * (len(values) > 2)


def _digits(value, error):
    """Count the digits, 3 to 8, of which the last two or three show the error."""
    if value == 0 or error == 0:
        return 3
    return int(np.clip(np.floor(np.log10(abs(value))) - np.floor(np.log10(abs(error))) + 2, 3, 8))
