"""Scorers: scikit-learn's by name, and callables of the user's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import is_regressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.metrics._scorer import _BaseScorer, _PassthroughScorer
from sklearn.utils.validation import _num_samples

from sklcnn.data.rows import take_rows
from sklcnn.data.targets import are_foreign_labels
from sklcnn.signals import raise_if_signalled
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import name_of, short_cause, shortened, shown


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
    """Tell whether a scorer can be given the weights of its rows: whether it, or the metric in it, names them.

    A callable of the user's that only takes any arguments may hand them to one that takes no weights.
    """
    if isinstance(scorer, functools.partial):
        # Weights that the user has bound stay; a scorer in it may have a metric that takes none.
        return "sample_weight" not in scorer.keywords and _names_weights(scorer) and takes_weights(scorer.func)
    if isinstance(scorer, _BaseScorer):
        return _names_weights(scorer._score_func)
    if isinstance(scorer, _PassthroughScorer):
        return _names_weights(scorer._estimator.score)
    return _names_weights(scorer)


def _names_weights(function):
    """Whether a function takes an argument `sample_weight` by that name, itself or as a decorator passes it on."""
    try:
        own = inspect.signature(function, follow_wrapped=False).parameters
        named = own.get("sample_weight", inspect.signature(function).parameters.get("sample_weight"))
    except (TypeError, ValueError):
        return False
    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    if named is None or named.kind not in by_name:
        return False
    return "sample_weight" in own or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in own.values())


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
        raise_if_signalled(error)
        if not (type(error) in (TypeError, ValueError) or type(error).__module__.startswith("sklearn.")):
            error.add_note(f"{where} raised this on {rows}.")  # a type of the user's may not be made of one text
            raise
        text = shortened(error).rstrip(".")
        remedy = _remedy_for_metric(scorer) or _remedy(cnn, y)
        raise type(error)(f"{where} failed on {rows}: {text}. {remedy}") from short_cause(error)
    if not np.isfinite(value):
        raise ValueError(f"{where} gave {value} on {rows}. {_remedy(cnn, y)}")
    return value


def _remedy_for_metric(function):
    """Say what to pass for a function of y and predictions; None for what can be called as a scorer is."""
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        pass
    except ValueError:  # it has no signature
        return None
    else:
        return None
    scorers = {name: get_scorer(name) for name in get_scorer_names()}
    names = [name for name, scorer in scorers.items() if scorer._score_func is function]
    known = f'scoring="{names[0]}" or ' if names else ""
    is_loss = ", greater_is_better=False" if names and scorers[names[0]]._sign < 0 else ""
    made = f"sklearn.metrics.make_scorer({name_of(function)}{is_loss})"
    return f"A scorer is called with (estimator, X, y): pass {known}{made}."


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
