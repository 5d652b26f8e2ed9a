"""The results of a search: its candidates, their scores by fold, and hyper-parameters as axes of a plot."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklcnn.inspection._drawing import shorten
from sklcnn.signals import raise_if_signalled
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import cut, shown

DECADES = 50  # values whose largest is this many times the least are drawn on a logarithmic axis
MAX_TICKS = 12  # up to so many values, each has a tick
LABEL = 24  # characters of a category's name


def find_search(estimator: Any) -> Any:
    """Find the fitted search: the estimator itself, or the last step of a Pipeline.

    Raises
    ------
    TypeError
        If it is no search.
    NotFittedError
        If it is not fitted.
    """
    given = estimator
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    if isinstance(estimator, type) or not (hasattr(estimator, "cv_results_") or _searches(estimator)):
        kind = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise TypeError(f"Expected a fitted search, such as GridSearchCV, but got {kind}.")
    if not hasattr(estimator, "cv_results_"):
        check_is_fitted(estimator)
    return estimator


def _searches(estimator):
    return any(hasattr(estimator, name) for name in ("param_grid", "param_distributions"))


def searched_values(search: Any) -> dict[str, list[Any]]:
    """List each hyper-parameter's value in each candidate, by its whole name.

    Candidates of a grid that leaves one out have the estimator's own value. The resource of a halving search is not
    among them.
    """
    candidates = search.cv_results_["params"]
    resource = getattr(search, "resource", None)
    names = [name for name in dict.fromkeys(name for params in candidates for name in params) if name != resource]
    own = search.estimator.get_params() if any(len(params) < len(names) for params in candidates) else {}
    return {name: [params[name] if name in params else own.get(name) for params in candidates] for name in names}


def find_metric(search: Any, scoring: str | None) -> str:
    """Return the key of a score in `cv_results_`: "score", or the name of one of several metrics.

    Raises
    ------
    ValueError
        If there are several and none was chosen, or there is no such metric.
    """
    begins = "mean_test_"
    metrics = [key[len(begins) :] for key in search.cv_results_ if key.startswith(begins)]
    if metrics == ["score"]:
        if scoring not in (None, "score", search.scoring):
            raise ValueError(f"scoring={shown(scoring)}, but this search has one score only. Leave scoring out.")
        return "score"
    if scoring is None and isinstance(search.refit, str):
        return search.refit
    if scoring is None or scoring not in metrics:
        what = "was not given" if scoring is None else f"is {shown(scoring)}"
        raise ValueError(f"scoring {what}, but this search has several: {', '.join(metrics)}. Pass one of them.")
    return scoring


def name_score(search: Any, metric: str) -> str:
    """Return the name of a score for labels."""
    if metric != "score":
        return metric
    if isinstance(search.scoring, str):
        return search.scoring
    if search.scoring is None:
        return "accuracy" if is_classifier(search) else "R²" if is_regressor(search) else "score"
    return getattr(search.scoring, "__name__", "score")


def fold_scores(search: Any, metric: str) -> np.ndarray:
    """Return the scores of each candidate's folds, (n_candidates, n_folds).

    Raises
    ------
    ValueError
        If no candidate has a score.
    """
    results = search.cv_results_
    folds = [results[f"split{k}_test_{metric}"] for k in range(search.n_splits_)]
    scores: np.ndarray = np.column_stack([np.ma.filled(np.ma.asarray(fold, dtype=float), np.nan) for fold in folds])
    if not np.isfinite(scores.mean(1)).any():
        raise ValueError("No candidate of this search has a finite score: all fits, or all scorers, have failed.")
    return scores


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Shorten names such as `cnn__filters` to as few of their last parts as make them differ."""
    short = {}
    for name in names:
        parts = name.split("__")
        for n in range(1, len(parts) + 1):
            short[name] = "__".join(parts[-n:])
            if sum(f"__{other}".endswith(f"__{short[name]}") for other in names) == 1:
                break
    return short


def choose_params(values: dict[str, list[Any]], params: Any) -> tuple[str, ...]:
    """Choose the one or two hyper-parameters to draw; return their whole names.

    Parameters
    ----------
    values : dict of str to list
        Of all candidates.
    params : str, sequence of one or two str, or None
        None: those that vary, the one with more values first.

    Raises
    ------
    TypeError, ValueError
        If they are no names of hyper-parameters that were searched, or more than two vary and none is chosen.
    """
    if params is None:
        varied = [name for name in values if len(_distinct(values[name])) > 1] or list(values)
        if not 1 <= len(varied) <= 2:
            many = f"{len(varied)} hyper-parameters vary in this search: {cut(', '.join(varied), 200)}"
            raise ValueError(f"{many if varied else 'No hyper-parameter varies in this search'}. {_PASS}")
        return tuple(sorted(varied, key=lambda name: (not is_numeric(values[name]), -len(_distinct(values[name])))))
    chosen = (params,) if isinstance(params, str) else params
    if not isinstance(chosen, (tuple, list)) or not all(isinstance(name, str) for name in chosen):
        raise TypeError(f"params must be a name or two names of hyper-parameters; got {shown(params)}.")
    if not 1 <= len(chosen) <= 2 or len(set(chosen)) < len(chosen):
        raise ValueError(f"params={shown(params)} must be one name, or two different ones.")
    whole = {short: name for name, short in short_names(list(values)).items()} | {name: name for name in values}
    for name in chosen:
        if name not in whole:
            known = cut(", ".join(values), 200)
            raise ValueError(f"params has {name!r}, which was not searched: {known}.{did_you_mean(name, list(whole))}")
    return tuple(whole[name] for name in chosen)


_PASS = "Pass params with the names of one or two of them."


def is_numeric(values: Sequence[Any]) -> bool:
    """Tell whether all values are finite numbers."""
    return all(
        isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and np.isfinite(float(value))
        for value in values
    )


def _distinct(values):
    """List the different values: numbers sorted, others in the order in which they come."""
    found = {key_of(value): value for value in values}
    return sorted(found.values()) if is_numeric(values) else list(found.values())


def key_of(value: Any) -> Any:
    """Return a key that is equal for equal values only, also for those that cannot be hashed, such as modules."""
    if is_numeric([value]):
        return float(value)
    if isinstance(value, str):
        return f"text {value}"
    try:
        return joblib.hash(value)
    except Exception as error:  # what cannot be pickled, such as a lambda, equals itself
        raise_if_signalled(error)
        return id(value)


@dataclass(frozen=True)
class ValueAxis:
    """The positions of a hyper-parameter's values on an axis.

    Parameters
    ----------
    name : str
        Short.
    codes : ndarray of shape (n_candidates,)
        The number of each candidate's value among the different ones.
    places : ndarray of shape (n_values,)
        The position of each.
    labels : list of str
        The label of each.
    scale : {"linear", "log", "categories"}
    numeric : bool
    """

    name: str
    codes: np.ndarray
    places: np.ndarray
    labels: list[str]
    scale: str
    numeric: bool

    def spread(self, n: int) -> np.ndarray:
        """Return the shifts, for `moved`, that set `n` groups side by side."""
        units = np.log10(self.places) if self.scale == "log" else self.places
        gap = np.diff(units).min() if len(units) > 1 else 1.0
        return (np.arange(n) - (n - 1) / 2) * min(0.05, 0.5 / n) * gap

    def moved(self, places: np.ndarray, shift: float) -> np.ndarray:
        """Shift positions sideways, so that points with the same value do not cover each other."""
        return places * 10**shift if self.scale == "log" else places + shift


def value_axis(name: str, values: list[Any]) -> ValueAxis:
    """Choose an axis for a hyper-parameter's values.

    Numbers that span decades are on a logarithmic axis. If a zero is among them they are categories, as are all values
    that are no numbers.
    """
    different = _distinct(values)
    order = {key_of(value): i for i, value in enumerate(different)}
    codes = np.array([order[key_of(value)] for value in values])
    labels = shorten([_label(value) for value in different], LABEL, first=1)
    numeric = is_numeric(values)
    if numeric:
        numbers_ = np.array(different, dtype=float)
        positive = numbers_[numbers_ > 0]
        decades = len(positive) > 0 and positive[-1] / positive[0] >= DECADES
        if numbers_[0] > 0 or not decades or len(numbers_) > MAX_TICKS:
            return ValueAxis(name, codes, numbers_, labels, "log" if decades and numbers_[0] > 0 else "linear", numeric)
    return ValueAxis(name, codes, np.arange(len(different), dtype=float), labels, "categories", numeric)


def _label(value):
    """Write a value for a tick or a legend."""
    if isinstance(value, str):
        return value
    if is_numeric([value]):
        return f"{value:.4g}"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return shown(value)
