"""The task that a fit's targets are."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklcnn.data.targets import (
    check_indicators,
    check_values,
    column_names,
    find_classes,
    is_indicator,
    warn_if_one_hot,
)
from sklcnn.tasks.classes import Classes
from sklcnn.tasks.label_sets import LabelSets
from sklcnn.tasks.values import ValuesToStandardise


def learn_labels(y: Any, estimator_name: str, classes: Any = None) -> Classes | LabelSets:
    """Find the classes of a classifier's targets.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
        Labels, or an indicator matrix (sparse too).
    estimator_name : str
    classes : array-like or None
        The classes, where they are known already.

    Warns
    -----
    UserWarning
        If each row of an indicator matrix has just one label.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two classes, or y holds continuous values, or labels that do not sort.
    """
    if not is_indicator(y):
        return Classes(find_classes(y, estimator_name, classes))
    indicators = check_indicators(y, estimator_name)
    warn_if_one_hot(y, indicators, estimator_name)
    return LabelSets(np.arange(indicators.shape[1]), column_names(y))


def learn_values(y: Any, estimator_name: str) -> ValuesToStandardise:
    """Check a regressor's targets.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
    estimator_name : str

    Raises
    ------
    ValueError
        If they are not finite numbers.
    """
    check_values(y, estimator_name)
    return ValuesToStandardise()
