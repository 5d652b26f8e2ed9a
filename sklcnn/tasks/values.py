"""One value or several a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklcnn.data.targets import MAX_VALUE, check_values, column_names, weighted_quantile
from sklcnn.network.losses import REGRESSION_LOSSES
from sklcnn.tasks.task import Task, other_columns_error
from sklcnn.training.scores import R2

# Deviations of y that float32 holds with all of its seven digits; and the mean, in deviations, that leaves four digits.
FLOAT32_RANGE = 1e-30, 1e30
FLOAT32_DIGITS_TO_SPARE = 1000
NORMAL = math.sqrt(math.pi / 2)  # the deviation of normal values by their mean distance from the median
# Huber's own constant: where it begins to be linear, in deviations of normal values. With 1 to 10 % of y wrong (by 30,
# or 1e4, where the others have a deviation of 2) and early stopping, R2 of right values was greater than with the
# deviation of all in 16 of the 19 fits in which it applied (three kinds of data), by 0.06 to thousands, and less in 3
# of diabetes, by 0.2 to 0.5; log-normal values gained -0.01 and 0.06.
HUBER = 1.35
MEDIAN_DISTANCES = 1.4826  # which the deviation of normal values is
FAR = 4.5  # deviations by that measure; of normal values, 7 of a million are farther
HIDING = 2  # such deviations; of log-normal values with a sigma of 1 the deviation has 1.6
FEW_FAR = 0.075  # of the rows; more are data. A twentieth may be wrong, and by chance some more of those that train
LEAST_DIFFERING = 0.15  # of the rows; where fewer are not at the median, all of these are rare, and none far
ROUNDING = 1e-12  # of a column's values, by which they may differ and be one value
LEAST_GAP = 3  # times; of values near each other, such as 1 and 2 among zeros, none is far


@dataclass(frozen=True)
class Values(Task):
    """Values, standardised for the network.

    Attributes
    ----------
    mean, deviation : ndarray of shape (k,)
        Or, for losses that outliers move less, the median and a distance from it that these do not make.
    one_dimensional : bool
        Whether y, and so the predictions, have shape (n,).
    names : ndarray of shape (k,) or None
        The columns' names, where y was a DataFrame.
    constant : bool ndarray of shape (k,) or None
        Which columns were one value in all rows of the first fit; None: none, or of an older version.
    """

    mean: np.ndarray
    deviation: np.ndarray
    one_dimensional: bool
    names: np.ndarray | None = None
    constant: np.ndarray | None = None

    losses = REGRESSION_LOSSES
    score = R2
    kind = "values"
    score_name = "R²"
    estimator_type = "regressor"
    output_kind = "column of y"
    has_probabilities = False

    @property
    def n_outputs(self) -> int:
        """One output a column of y."""
        return len(self.mean)

    @property
    def outputs(self) -> np.ndarray:
        """The columns' numbers."""
        return np.arange(self.n_outputs)

    @property
    def output_names(self) -> np.ndarray:
        """The columns' names, or their numbers."""
        return self.outputs if self.names is None else self.names

    @property
    def settled_outputs(self) -> np.ndarray | None:
        """The columns that are one value."""
        return self.constant

    def encode(
        self, y: Any, estimator_name: str, dtype: torch.dtype, row_numbers: np.ndarray | None = None
    ) -> torch.Tensor:
        """Turn values into standardised ones (n, k)."""
        values = check_values(y, estimator_name)
        columns = values.reshape(len(values), -1)
        if columns.shape[1] != self.n_outputs:
            raise other_columns_error(columns.shape[1], self.n_outputs, estimator_name)
        with np.errstate(over="ignore"):  # what is infinite is refused below
            differences = columns - self.mean
        if self.constant is not None:  # of rounding, a network would learn steps as large as its rate
            differences[self.constant & (np.abs(differences) <= ROUNDING * np.abs(self.mean))] = 0
        with np.errstate(over="ignore"):
            standardised = differences / self.deviation
        too_far = np.abs(standardised) > (MAX_VALUE if dtype == torch.float64 else FLOAT32_RANGE[1])
        if too_far.any():
            row, column = np.argwhere(too_far)[0]
            in_float32, remedy = "", "."
            if dtype != torch.float64:
                in_float32, remedy = " in float32", ', or set precision="float64".'
            raise ValueError(
                f"{estimator_name}: y holds {columns[row, column]:.3g} in row "
                f"{row if row_numbers is None else row_numbers[row]}, too far from the values that train to compute "
                f"with{in_float32}. Leave that row out, or give it weight 0{remedy}"
            )
        return torch.from_numpy(standardised).to(dtype)

    def trained_on(self, y: Any, rows: Any, weights: np.ndarray, estimator_name: str) -> Values:
        """Return the same, with predictions of the shape of this y: one column is (n,) in one call, (n, 1) in another.

        Their unit stays that of the first fit, which the network has learnt.
        """
        one_dimensional = len(getattr(y, "shape", None) or np.shape(y)) == 1
        return self if one_dimensional == self.one_dimensional else replace(self, one_dimensional=one_dimensional)

    def activate(self, outputs: torch.Tensor) -> torch.Tensor:
        """Leave values as they are."""
        return outputs

    def decide(self, activated: np.ndarray) -> np.ndarray:
        """Return the values in the units of y."""
        return self.as_given(activated)

    def as_given(self, targets: np.ndarray) -> np.ndarray:
        """Return standardised values in the units of y, in float64."""
        return self.decode(targets.astype(np.float64))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs (n, k) in the user's units; (n,) where y was.

        One output is in the network's precision, unless float32 would lose digits of such values; several outputs are
        always in float64, as scikit-learn asks.
        """
        values = outputs.astype(np.float64) * self.deviation + self.mean
        if not self.one_dimensional:
            return values
        return values[:, 0].astype(outputs.dtype if self._float32_holds else np.float64)

    @property
    def _float32_holds(self):
        """Whether float32 has the range for the values, and enough digits beside those that the mean takes.

        And all digits of a column that is one value, of which R2 is 0 where any other is predicted.
        """
        low, high = FLOAT32_RANGE
        constants = self.mean[[] if self.constant is None else self.constant]
        return bool(
            np.all((self.deviation > low) & (self.deviation < high))
            and np.all(np.abs(self.mean) <= FLOAT32_DIGITS_TO_SPARE * self.deviation)
            and np.all(constants.astype(np.float32) == constants)
        )

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the values (n, k) in the user's units."""
        return self.decode(outputs).reshape(len(outputs), -1)

    def answers(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the values (n, k) in the user's units, in float64 where float32 would lose digits."""
        deviation, mean = (torch.tensor(values.tolist(), dtype=torch.float64) for values in (self.deviation, self.mean))
        values = outputs.double() * deviation + mean
        return {"variable": values.float() if self._float32_holds else values}

    def explained(self, outputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return a value in the user's units."""
        deviation, mean = (torch.from_numpy(values).to(outputs)[codes] for values in (self.deviation, self.mean))
        return super().explained(outputs, codes) * deviation + mean

    def predicted_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Return the first column."""
        return np.zeros(len(outputs), np.int64)

    def given(self, y: Any, rows: np.ndarray, estimator_name: str) -> np.ndarray:
        """Return the values of some rows, not from their targets, which are rounded."""
        values = check_values(y, estimator_name)[rows]
        return values.reshape(len(rows)) if self.one_dimensional else values.reshape(len(rows), -1)


@dataclass(frozen=True)
class ValuesToStandardise:
    """Values whose training rows, and so their mean and deviation, are not known yet.

    Attributes
    ----------
    robust : bool
        Whether the median takes the place of the mean, and the mean distance from it that of the deviation, where rare
        values make these: for a loss that such values do not move. Three outliers of a hundred values would else be
        all that the network learns.
    huber : bool
        Whether the median and Huber's constant times the deviation that the median distance tells do so: for the loss
        that is quadratic up to that unit. Of the deviation that outliers make, all other errors would be quadratic.
    """

    robust: bool = False
    huber: bool = False

    def strata(self, y: Any, estimator_name: str) -> None:
        """Return None: a hold-out of values is not stratified."""

    def trained_on(self, y: Any, rows: Any, weights: np.ndarray, estimator_name: str) -> Values:
        """Find the weighted mean and deviation of the training rows, or what takes their place.

        Parameters
        ----------
        y : array-like of shape (n,) or (n, k)
        rows : ndarray of int of shape (m,), or slice
            The training rows.
        weights : ndarray of shape (m,)
            Their weights.
        estimator_name : str
        """
        values = check_values(y, estimator_name)
        columns = values.reshape(len(values), -1)[rows]
        # Divided by a power of two, which changes no digit, so that their products with values do not overflow.
        weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
        mean = np.average(columns, axis=0, weights=weights)
        differences = columns - mean
        # In a unit of a power of two, which changes no digit, squares neither overflow nor vanish.
        spread = np.abs(differences).max(axis=0)
        unit = 2.0 ** np.frexp(spread)[1]
        deviation = unit * np.sqrt(np.average((differences / unit) ** 2, axis=0, weights=weights))
        if self.robust:
            mean, deviation = _median_and_distance(columns, weights, mean, deviation)
        elif self.huber:
            mean, deviation = _median_and_common_unit(columns, weights, mean, deviation)
        constant = spread <= ROUNDING * np.abs(mean)
        # All equal but for rounding; or one row has nearly all of the weight.
        without = np.where(constant, np.maximum(unit, 1.0), unit)
        deviation = np.where(deviation <= ROUNDING * np.abs(mean), without, deviation)
        mean = np.where((columns == columns[0]).all(axis=0), columns[0], mean)  # an average may be rounded
        return Values(mean, deviation, values.ndim == 1, column_names(y), constant)


def _median_and_distance(columns, weights, mean, deviation):
    """Replace mean and deviation, where rare values make them, by the median and the mean distance from it.

    In that distance a few values far from the others do not count. It is in deviations of normal values.
    """
    median = weighted_quantile(columns, weights, 0.5)
    far = values_far_from_the_others(columns, weights)
    away = np.where(far, 0.0, np.abs(columns - median))
    unit = 2.0 ** np.frexp(away.max(axis=0))[1]
    distance = NORMAL * unit * np.average(away / unit, axis=0, weights=np.where(far, 0.0, weights[:, None]))
    hidden = (distance > 0) & (deviation > HIDING * distance)
    return np.where(hidden, median, mean), np.where(hidden, distance, deviation)


def _median_and_common_unit(columns, weights, mean, deviation):
    """Replace mean and deviation, where a few outliers make them, by the median and 1.35 deviations of the others.

    Those are measured by the median distance, which a tenth of the values being outliers hardly changes.
    """
    median = weighted_quantile(columns, weights, 0.5)
    away = np.abs(columns - median)
    common = MEDIAN_DISTANCES * weighted_quantile(away, weights, 0.5)
    is_few = weights @ (away > FAR * common) <= FEW_FAR * weights.sum()
    hidden = (common > 0) & (deviation > HIDING * common) & is_few
    return np.where(hidden, median, mean), np.where(hidden, HUBER * common, deviation)


def values_far_from_the_others(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Find the few values of each column that a gap parts from all others, as if they were wrong.

    There is a gap in distances from the median where one is more times the last before it than that is a middle one.
    Where values only grow rarer (in a tail, or in a pixel that a peak comes near to in few of many pictures) there is
    none.

    Parameters
    ----------
    columns : ndarray of shape (n, k)
    weights : ndarray of shape (n,)

    Returns
    -------
    far : bool ndarray of shape (n, k)
    """
    away = np.abs(columns - weighted_quantile(columns, weights, 0.5))
    order = away.argsort(axis=0, kind="stable")
    ordered, ordered_weights = np.take_along_axis(away, order, axis=0), weights[order]
    # Those that are the median tell nothing of how far the others may be: most of y may be zeros.
    differing = np.where(ordered > 0, ordered_weights, 0)
    n_differing = differing.sum(axis=0)
    places = (np.cumsum(differing, axis=0) < n_differing / 2).sum(axis=0)
    middle = ordered[places.clip(max=len(columns) - 1), np.arange(columns.shape[1])]
    beyond = np.cumsum(ordered_weights[:0:-1], axis=0)[::-1]  # (n - 1, k): the weight of those that are farther
    is_few = (beyond <= FEW_FAR * weights.sum()) & (n_differing >= LEAST_DIFFERING * weights.sum())
    near, next_one = ordered[:-1], ordered[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        is_gap = is_few & (near > 0) & (next_one / near > np.maximum(near / middle, LEAST_GAP))
    if not len(is_gap):  # one row
        return np.zeros(columns.shape, dtype=bool)
    last = np.take_along_axis(ordered, is_gap.argmax(axis=0)[None], axis=0)
    return is_gap.any(axis=0) & (away > last)
