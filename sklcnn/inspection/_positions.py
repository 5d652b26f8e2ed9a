"""The names of a signal's positions, such as wavelengths: the columns of the table in which it is a row."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sklcnn.base import BaseCNN
from sklcnn.inspection._drawing import SMALL, shorten

# A number, with a text before or after it that all names share: "1100.5", "nm_1100", "1100 nm".
NUMBER = re.compile(r"(\D*?)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(\D*)")


def position_names(estimator: Any, X: Any) -> Any:
    """Find the names of the columns as they arrive at the network.

    Parameters
    ----------
    estimator : as in `find_cnn`
    X : array-like
        As given to it.

    Returns
    -------
    names : ndarray of object of shape (n_positions,), or None
        None where the columns have no names, or are not the positions of one signal.
    """
    names = getattr(X, "columns", None)
    while not isinstance(estimator, BaseCNN):
        if isinstance(estimator, Pipeline):
            for _, step in estimator.steps[:-1]:
                names = _renamed(step, names)
            estimator = estimator.steps[-1][1]
        else:
            estimator = estimator.best_estimator_
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    n_channels, n_positions, *further = estimator.sample_shape_
    if names is None or n_channels > 1 or further or len(names) != n_positions:
        return None
    if list(names) == list(range(n_positions)):  # pandas' names where none were given
        return None
    return np.array([*names, None], dtype=object)[:-1]  # names that are tuples stay single entries


def _renamed(step, names):
    """Return what a step of a pipeline makes of the names.

    A step that does not say, such as a FunctionTransformer that takes a derivative, is assumed to keep them. If it
    makes other columns, their number usually differs, and the names are not used.
    """
    if names is None or not hasattr(step, "get_feature_names_out"):
        return names
    try:
        return step.get_feature_names_out([str(name) for name in names])
    except (AttributeError, TypeError, ValueError):
        return None


def label_positions(panel: Any, names: Any, n_ticks: int = 7, n_drawn: int | None = None) -> str:
    """Label the x axis of a signal, and return its unit.

    Parameters
    ----------
    panel : matplotlib Axes
        With position i at x = i.
    names : ndarray of shape (n_positions,) or None
        Numbers that rise or fall get labels at round numbers; of other names a few are written at their positions.
    n_ticks : int
        About so many, at most.
    n_drawn : int or None
        Positions of a layer's map of the signal, which has fewer of them; None: those of the signal itself.

    Returns
    -------
    unit : str
        A label for the axis.
    """
    if names is None:
        return "position"
    values, unit = _numbers(names)
    if values is None:
        positions = np.unique(np.linspace(0, len(names) - 1, min(n_ticks, len(names))).round().astype(int))
        labels, unit = shorten(names, 80 // n_ticks), "column"
        labels = [labels[position] for position in positions]
    else:
        from matplotlib.ticker import MaxNLocator

        ticks = MaxNLocator(n_ticks).tick_values(values.min(), values.max())
        ticks = ticks[(ticks >= values.min()) & (ticks <= values.max())]
        order = np.argsort(values)
        positions, labels = np.interp(ticks, values[order], order), [f"{tick:.10g}" for tick in ticks]
    share = 1.0 if n_drawn is None else n_drawn / len(names)
    panel.set_xticks((positions + 0.5) * share - 0.5, labels)
    panel.tick_params(labelsize=SMALL)
    return unit


def _numbers(names):
    """Read names as numbers (n,) that rise or fall, and the text beside them; None if they are others."""
    parts = [NUMBER.fullmatch(str(name).strip()) for name in names]
    if any(part is None for part in parts):
        return None, ""
    beside = {(part[1], part[3]) for part in parts}
    values = np.array([float(part[2]) for part in parts])
    steps = np.diff(values)
    if len(beside) > 1 or not ((steps > 0).all() or (steps < 0).all()):
        return None, ""
    return values, " ".join(text.strip(" _-:.()[]") for text in beside.pop()).strip() or "column"
