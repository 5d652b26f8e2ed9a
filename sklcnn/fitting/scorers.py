"""Scorers: scikit-learn's by name, and callables of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import is_regressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.metrics._scorer import _BaseScorer
from sklearn.utils.validation import _num_samples

from sklcnn.data.rows import take_rows
from sklcnn.data.targets import are_foreign_labels
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import short_cause, shortened, shown


def find_scorer(scoring: Any, cnn: Any) -> Callable:
    """Return the scorer that `scoring` names, or is itself.

    Raises
    ------
    ValueError
        If there is no scorer of that name, or it calls methods that the estimator does not have.
    """
    scorer, name = scoring, type(cnn).__name__
    if isinstance(scoring, str):
        try:
            scorer = get_scorer(scoring)
        except ValueError:
            raise ValueError(
                f'{name}: scoring must be "loss", a scorer\'s name or a callable; got {shown(scoring)}. '
                "sklearn.metrics.get_scorer_names() lists the names."
                f"{did_you_mean(scoring, ['loss', *get_scorer_names()])}"
            ) from None
    methods = getattr(scorer, "_response_method", ())
    methods = (methods,) if isinstance(methods, str) else methods
    if methods and not any(hasattr(cnn, method) for method in methods):
        raise ValueError(
            f"{name}: scoring={shown(scoring)} needs {' or '.join(methods)}, which {name} does not have. Pass a scorer "
            "of predictions" + (', such as "r2" or "neg_mean_absolute_error".' if is_regressor(cnn) else ".")
        )
    return scorer


def is_scikit_learns(scorer: Callable) -> bool:
    """Tell whether a scorer is scikit-learn's own: it only passes X on to `predict` or a similar method."""
    return isinstance(scorer, _BaseScorer)


def takes_weights(scorer: Callable) -> bool:
    """Tell whether a scorer's metric takes sample weights."""
    if not isinstance(scorer, _BaseScorer):
        return False
    try:
        return "sample_weight" in inspect.signature(scorer._score_func).parameters
    except (TypeError, ValueError):
        return False


def scored_data(X: Any, y: Any, rows: np.ndarray, positions: np.ndarray | slice) -> Callable:
    """Return a function that makes the X (its `rows`) and y (at its `positions`) a scorer is called with.

    scikit-learn's own scorers only pass X on to `predict`, which knows the outputs already: for them X is replaced by
    a placeholder, so that no row of it is copied.
    """
    y = y.tocsr() if sparse.issparse(y) else y  # not every sparse format can be indexed

    def data(placeholder):
        if placeholder:
            given = np.empty((len(rows), 0))
        else:
            given = X if len(rows) == _num_samples(X) else take_rows(X, rows)
        return given, take_rows(y, positions)

    return data


def checked_score(scorer: Callable, cnn: Any, X: Any, y: Any, arguments: dict, scoring: Any) -> float:
    """Call a scorer on the validation rows.

    Raises
    ------
    TypeError, ValueError
        If it fails, or its score is not finite.
    """
    where = f"{type(cnn).__name__}: scoring={shown(scoring)}"
    rows = f"the {_num_samples(y)} validation rows"
    try:
        value = float(scorer(cnn, X, y, **arguments))
    except Exception as error:
        if not (type(error) in (TypeError, ValueError) or type(error).__module__.startswith("sklearn.")):
            error.add_note(f"{where} raised this on {rows}.")  # a type of the user's may not be made of one text
            raise
        text = shortened(error).rstrip(".")
        raise type(error)(f"{where} failed on {rows}: {text}. {_remedy(cnn, y)}") from short_cause(error)
    if not np.isfinite(value):
        raise ValueError(f"{where} gave {value} on {rows}. {_remedy(cnn, y)}")
    return value


def _remedy(cnn, y):
    """Say what to do about a scorer that failed on validation rows."""
    classes = getattr(cnn, "classes_", ())
    if are_foreign_labels(y):
        if getattr(y, "dtype", np.dtype(object)).kind == "T":
            return "scikit-learn's metrics take no labels of NumPy's StringDType: pass y.astype(object)."
        kind = type(np.asarray(y, dtype=object).ravel()[0]).__name__
        return f"scikit-learn's metrics take no labels of type {kind}: pass y as texts or integers."
    if len(y) < 2 or (np.ndim(y) == 1 and len(classes) and len(np.unique(y)) < len(classes)):
        return "Hold out more rows, or watch another score."
    return "Check that it suits the estimator and y, or watch another score."
