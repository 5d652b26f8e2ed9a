"""The network inside an estimator, and chosen samples of X as it sees them and as the user gave them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklcnn.base import BaseCNN
from sklcnn.data.reading import read_again
from sklcnn.data.stores import Store
from sklcnn.wording import shown


def find_cnn(estimator: Any, X: Any = None) -> tuple[BaseCNN, Any]:
    """Find the fitted network inside an estimator, and X as it arrives there.

    Parameters
    ----------
    estimator : CNNClassifier, CNNRegressor, Pipeline that ends in one, or a search over such
    X : array-like or None
        None where only the network is wanted.

    Returns
    -------
    cnn : BaseCNN
    X : array-like or None
        Transformed by the pipelines' earlier steps.

    Raises
    ------
    TypeError
        If there is no network in it.
    NotFittedError
        If it is not fitted.
    """
    given = estimator
    while not isinstance(estimator, BaseCNN):
        if isinstance(estimator, type) or not hasattr(estimator, "fit"):
            raise _no_network(given)
        check_is_fitted(estimator)
        if isinstance(estimator, Pipeline):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "cv_results_"):
            raise ValueError(
                f"{type(estimator).__name__} was fitted with refit={estimator.refit!r} and keeps no network. "
                "Set refit=True, or pass a fitted CNNClassifier or CNNRegressor."
            )
        else:
            raise _no_network(given)
    check_is_fitted(estimator)
    return estimator, X


def _no_network(estimator):
    kind = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
    return TypeError(
        f"Expected a fitted CNNClassifier or CNNRegressor, a Pipeline that ends in one, or a search over them, "
        f"but got {'the class ' if isinstance(estimator, type) else ''}{kind}."
    )


def class_names(task: Any, display_labels: Any) -> np.ndarray | None:
    """Return the names of classes for titles: the user's, those of a DataFrame's columns, or the labels.

    Parameters
    ----------
    task : Task
    display_labels : array-like of shape (n_classes,) or None

    Returns
    -------
    names : ndarray of shape (n_classes,), or None
        None for a regressor.

    Raises
    ------
    ValueError
        If there is not one name per class.
    """
    if not task.has_probabilities:
        if display_labels is not None:
            raise ValueError("display_labels names classes, but a CNNRegressor has none. Leave it out.")
        return None
    if display_labels is None:
        return task.output_names
    names = np.asarray(display_labels)
    if names.shape != (task.n_outputs,):
        raise ValueError(
            f"display_labels has shape {names.shape}, but there are {task.n_outputs} classes. "
            "Pass one name a class, in the order of classes_."
        )
    return names


def read_store(cnn: BaseCNN, X: Any) -> Store:
    """Read X as the network's `predict` does."""
    fitted = cnn._fitted
    fitted.columns.check(X, fitted.schema, fitted.estimator_name)
    return read_again(X, fitted.schema)


def choose_rows(samples: Any, n_rows: int, default: int) -> np.ndarray:
    """Find the positions of the rows to show.

    Parameters
    ----------
    samples : int, array-like of int or bool, or None
        Positions, negative ones from the end, or a mask; None: the first `default` rows.
    n_rows, default : int

    Raises
    ------
    TypeError, ValueError
        If they are not positions, or there is no such row.
    """
    if samples is None:
        return np.arange(min(default, n_rows))
    rows = np.atleast_1d(np.asarray(samples))
    if rows.dtype.kind == "b" and rows.shape == (n_rows,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "ui" or len(rows) == 0:
        raise TypeError(
            f"samples must be positions of rows of X, such as [0, 3], or a mask of its {n_rows} rows with at least "
            f"one True; got {shown(samples)}."
        )
    outside = rows[(rows < -n_rows) | (rows >= n_rows)]
    if len(outside):
        raise ValueError(f"samples names row {outside[0]}, but X has {n_rows} rows. Number them from 0.")
    return rows.astype(np.int64) % n_rows


@dataclass(frozen=True)
class Samples:
    """Chosen rows of X.

    Attributes
    ----------
    rows : ndarray of int of shape (n,)
    inputs : torch.Tensor of shape (n, c, *spatial)
        As the network sees them, on its device.
    pictures : list of ndarray of shape (*spatial, c)
        As the user gave them, channels last.
    names : list of str
        The file's name, or "sample" and its position.
    """

    rows: np.ndarray
    inputs: torch.Tensor
    pictures: list[np.ndarray]
    names: list[str]


def read_samples(cnn: BaseCNN, store: Store, rows: np.ndarray) -> Samples:
    """Read some rows of a store."""
    inputs = store.batch(torch.from_numpy(rows), cnn._dtype).to(cnn.net_.torch_device_)
    originals = [store.original(row) for row in rows.tolist()]
    return Samples(
        rows,
        inputs,
        [pixels.copy() for pixels, _ in originals],
        [
            f"sample {row}" if path is None else os.path.basename(path)
            for row, (_, path) in zip(rows, originals, strict=True)
        ],
    )
