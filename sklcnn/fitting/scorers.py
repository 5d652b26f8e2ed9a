"""Scorers: scikit-learn's by name, and callables of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.metrics._scorer import _BaseScorer
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sklcnn.suggestions import did_you_mean
from sklcnn.wording import shown


def find_scorer(scoring: Any, owner: str) -> Callable:
    """Give the scorer that a hyper-parameter names, or is.

    Raises
    ------
    ValueError
        If there is no scorer of that name.
    """
    if not isinstance(scoring, str):
        return scoring
    try:
        return get_scorer(scoring)
    except ValueError:
        raise ValueError(
            f'{owner}: scoring must be "loss", a scorer\'s name or a callable; got {shown(scoring)}. '
            f"sklearn.metrics.get_scorer_names() lists the names.{did_you_mean(scoring, ['loss', *get_scorer_names()])}"
        ) from None


def is_scikit_learns(scorer: Callable) -> bool:
    """Tell whether a scorer only hands X on to `predict` and its like."""
    return isinstance(scorer, _BaseScorer)


def takes_weights(scorer: Callable) -> bool:
    """Tell whether a scorer's metric weighs rows."""
    if not isinstance(scorer, _BaseScorer):
        return False
    try:
        return "sample_weight" in inspect.signature(scorer._score_func).parameters
    except (TypeError, ValueError):
        return False


def scored_data(X: Any, y: Any, rows: np.ndarray, places: np.ndarray | slice) -> Callable:
    """Give a function that makes the X (its `rows`) and y (its `places`) a scorer is called with.

    scikit-learn's own scorers only hand X on to `predict`, which knows the outputs already: for them X is a stand-in,
    so that no row of it is copied.
    """

    def data(stand_in):
        if stand_in:
            given = np.empty((len(rows), 0))
        else:
            given = X if len(rows) == _num_samples(X) else _safe_indexing(X, rows)
        return given, _safe_indexing(y, places)

    return data


def checked_score(scorer: Callable, cnn: Any, X: Any, y: Any, arguments: dict, scoring: Any) -> float:
    """Call a scorer on the validation rows.

    Raises
    ------
    TypeError, ValueError
        If it fails, or its score is not finite.
    """
    owner = type(cnn).__name__
    remedy = "Hold out more rows, or watch another score."
    try:
        value = float(scorer(cnn, X, y, **arguments))
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{owner}: scoring={shown(scoring)} failed on the {_num_samples(y)} validation rows: {error} {remedy}"
        ) from error
    if not np.isfinite(value):
        raise ValueError(
            f"{owner}: scoring={shown(scoring)} gave {value} on the {_num_samples(y)} validation rows. {remedy}"
        )
    return value
