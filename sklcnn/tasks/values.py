"""One value or several a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sklcnn.data.targets import check_values, column_names
from sklcnn.network.losses import REGRESSION_LOSSES
from sklcnn.tasks.task import Task
from sklcnn.training.scores import R2

# Deviations of y that float32 holds with all of its seven digits; and the mean, in deviations, that leaves four digits.
FLOAT32_RANGE = 1e-30, 1e30
FLOAT32_DIGITS_TO_SPARE = 1000
QUARTILES, TWENTIETHS = 1.349, 3.290  # of a normal distribution, from the first to the last in deviations
LEAST_SPREAD = 1e-3  # by quartiles, of that by twentieths
HIDING = 3  # deviations by quartiles; of log-normal values up to a sigma of 1.2 the deviation has fewer


@dataclass(frozen=True)
class Values(Task):
    """Values, standardised for the network.

    Attributes
    ----------
    mean, deviation : ndarray of shape (k,)
    one_dimensional : bool
        Whether y, and so the predictions, have shape (n,).
    names : ndarray of shape (k,) or None
        The columns' names, where y was a DataFrame.
    """

    mean: np.ndarray
    deviation: np.ndarray
    one_dimensional: bool
    names: np.ndarray | None = None

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

    def encode(self, y: Any, estimator_name: str, dtype: torch.dtype) -> torch.Tensor:
        """Turn values into standardised ones (n, k)."""
        values = check_values(y, estimator_name)
        columns = values.reshape(len(values), -1)
        if columns.shape[1] != self.n_outputs:
            raise ValueError(f"{estimator_name}: y has {columns.shape[1]} columns, but {self.n_outputs} are expected.")
        return torch.from_numpy((columns - self.mean) / self.deviation).to(dtype)

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
        """Whether float32 has the range for the values, and enough digits beside those that the mean takes."""
        low, high = FLOAT32_RANGE
        return bool(
            np.all((self.deviation > low) & (self.deviation < high))
            and np.all(np.abs(self.mean) <= FLOAT32_DIGITS_TO_SPARE * self.deviation)
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
        Whether they are standardised by median and quartiles, for a loss that a few values far from the others do not
        move: three outliers of a hundred values would else be all that the network learns.
    """

    robust: bool = False

    def strata(self, y: Any, estimator_name: str) -> None:
        """Return None: a hold-out of values is not stratified."""

    def trained_on(self, y: Any, rows: Any, weights: np.ndarray, estimator_name: str) -> Values:
        """Find the weighted mean and deviation of the training rows.

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
            mean, deviation = _median_and_quartiles(columns, weights, mean, deviation)
        constant = deviation <= 1e-12 * np.abs(mean)
        # All equal but for rounding; or one row has nearly all of the weight.
        without = np.where(spread <= 1e-12 * np.abs(mean), np.maximum(unit, 1.0), unit)
        return Values(mean, np.where(constant, without, deviation), values.ndim == 1, column_names(y))


def _median_and_quartiles(columns, weights, mean, deviation):
    """Replace mean and deviation, where a few values make them, by the median and a deviation from the quartiles.

    Where nine tenths of the values are the same, mean and deviation stay.
    """
    median, spread = spread_of_most(columns, weights)
    hidden = (spread > 0) & (deviation > HIDING * spread)
    return np.where(hidden, median, mean), np.where(hidden, spread, deviation)


def spread_of_most(columns: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of each column, and a deviation that values far from the others do not move.

    It is that of the normal distribution with the column's quartiles; or with its first and last twentieth, where half
    of the values are nearly the same.

    Parameters
    ----------
    columns : ndarray of shape (n, k)
    weights : ndarray of shape (n,)

    Returns
    -------
    median, spread : ndarrays of shape (k,)
    """
    order = columns.argsort(axis=0, kind="stable")
    shares = np.cumsum(weights[order], axis=0)
    ordered = np.take_along_axis(columns, order, axis=0)

    def quantile(share):
        places = (shares < share * shares[-1]).sum(axis=0).clip(max=len(columns) - 1)
        return ordered[places, np.arange(columns.shape[1])]

    spread = (quantile(0.75) - quantile(0.25)) / QUARTILES
    wide = (quantile(0.95) - quantile(0.05)) / TWENTIETHS
    return quantile(0.5), np.where(spread > LEAST_SPREAD * wide, spread, wide)
