"""The data of a fit: X read, y encoded, rows held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sklcnn.data.batches import Rows
from sklcnn.data.reading import read_again, read_inputs
from sklcnn.data.rows import EVERYWHERE, KeptRows, check_rows_first, keep_rows, replace_weightless_rows, weight_unit
from sklcnn.data.schema import InputSchema
from sklcnn.data.split import split_rows
from sklcnn.data.stores import Statistics, Store, channel_statistics
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.donors import find_donor
from sklcnn.fitting.fitted import Columns, Fitted
from sklcnn.fitting.guards import validation_rows_named
from sklcnn.fitting.scorers import scored_data
from sklcnn.fitting.specs import input_spec
from sklcnn.tasks.task import Task

FEW_VALIDATION_ROWS = 10  # with fewer, a single row may decide which epoch is best


@dataclass(frozen=True)
class Given:
    """What `fit` is called with."""

    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None

    def check(self, estimator_name: str) -> None:
        """Check that validation rows come with an X."""
        if self.X_val is None and (self.y_val is not None or self.sample_weight_val is not None):
            raise ValueError(f"{estimator_name}: y_val and sample_weight_val go with X_val, which is None.")


@dataclass(frozen=True)
class FitData:
    """The data of a fit.

    Attributes
    ----------
    schema : InputSchema
    columns : Columns
    kept : KeptRows
        The rows of positive weight.
    task : Task
    train : Rows
    valid : Rows or None
    scored : callable or None
        Returns the X and y of the validation rows that a scorer is given.
    """

    schema: InputSchema
    columns: Columns
    kept: KeptRows
    task: Task
    train: Rows
    valid: Rows | None = None
    scored: Callable | None = None

    @cached_property
    def statistics(self) -> Statistics:
        """The statistics of each channel of the training rows, read once for all that need them."""
        spec = self.schema.spec
        return channel_statistics(self.train.store, self.train.rows, self.train.weights, spec.precision, spec.estimator)


def read_rows(cnn: Any, given: Given, previous: Fitted | None) -> tuple[KeptRows, InputSchema, Columns]:
    """Read X, and keep the rows of positive weight.

    Parameters
    ----------
    cnn : BaseCNN
    given : Given
    previous : Fitted or None
        Of the fit that this one continues.
    """
    name = type(cnn).__name__
    check_rows_first(given.X, given.y, name)
    X, rows = replace_weightless_rows(given.X, given.sample_weight, name)
    store, schema = _read(cnn, X, rows, previous)
    kept = keep_rows(store, given.y, given.sample_weight, given.groups, name)
    return kept, schema, Columns.of(given.X, schema, name)


def _read(cnn, X, rows, previous) -> tuple[Store, InputSchema]:
    if previous is not None:
        previous.columns.check(X, previous.schema, type(cnn).__name__)
        return read_again(X, previous.schema, cnn.n_jobs, rows, training=True), previous.schema
    donor = find_donor(cnn.backbone)
    if donor is not None:
        return read_again(X, donor._fitted.schema, cnn.n_jobs, rows, training=True), donor._fitted.schema
    return read_inputs(X, input_spec(cnn), rows, training=True)


def divide(
    cnn: Any, given: Given, kept: KeptRows, schema: InputSchema, columns: Columns, draft: Any, seed: int
) -> FitData:
    """Choose the rows that train and those that validate, and encode their targets.

    Parameters
    ----------
    cnn : BaseCNN
    given : Given
    kept : KeptRows
    schema : InputSchema
    columns : Columns
    draft : Task or ValuesToStandardise
        What can be known of the targets before rows are held out.
    seed : int
    """
    train, valid = _hold_out(cnn, given, kept, draft, seed)
    task = draft.trained_on(kept.y, train, kept.weights[train], type(cnn).__name__)
    rows, class_weights = encode(cnn, task, kept, train)
    if valid is None:
        valid_rows, scored = _given_validation_rows(cnn, given, task, schema, columns, class_weights)
    else:
        valid_rows, scored = weighed_alone(rows.at(valid), cnn), scored_data(given.X, kept.y, kept.rows[valid], valid)
    _check_validation_rows(cnn, valid_rows)
    train_rows = weighed_for_training(rows.at(train), cnn, rescale=True)
    return FitData(schema, columns, kept, task, train_rows, valid_rows, scored)


def undivided(cnn: Any, kept: KeptRows, schema: InputSchema, columns: Columns, draft: Any, *, rescale: bool) -> FitData:
    """Encode the targets of all rows; all of them train, and none validates.

    Parameters
    ----------
    cnn : BaseCNN
    kept : KeptRows
    schema : InputSchema
    columns : Columns
    draft : Task or ValuesToStandardise
    rescale : bool
        Whether weights are rescaled to a mean of 1.
    """
    task = draft.trained_on(kept.y, EVERYWHERE, kept.weights, type(cnn).__name__)
    rows, _ = encode(cnn, task, kept, EVERYWHERE)
    return FitData(schema, columns, kept, task, weighed_for_training(rows, cnn, rescale=rescale))


def _hold_out(cnn, given, kept, draft, seed):
    """Return the positions, in the rows kept, of those that train, and of those that validate or None."""
    if not cnn.early_stopping or given.X_val is not None:
        return EVERYWHERE, None
    name = type(cnn).__name__
    strata = draft.strata(kept.y, name)
    return split_rows(
        np.arange(len(kept)), fraction=cnn.validation_fraction, codes=strata, groups=kept.groups,
        labels=None if strata is None else draft.output_names, seed=seed, estimator_name=name,
    )  # fmt: skip


def encode(
    cnn: Any, task: Task, kept: KeptRows, train: Any, class_weights: np.ndarray | None = None
) -> tuple[Rows, np.ndarray | None]:
    """Encode the targets of rows, and multiply their weights by those of their classes.

    Parameters
    ----------
    cnn : BaseCNN
    task : Task
    kept : KeptRows
    train : ndarray of int, or slice
        Positions of the training rows, by which class weights are found.
    class_weights : ndarray of shape (k,) or None
        None: found here.

    Returns
    -------
    rows : Rows
        Their weights are in float64 and not rescaled yet.
    class_weights : ndarray of shape (k,) or None
    """
    name, dtype = type(cnn).__name__, TORCH_FLOATS[cnn.precision]
    targets, weights = task.encode(kept.y, name, dtype, kept.rows), kept.weights
    if class_weights is None:
        class_weights = task.class_weights(getattr(cnn, "class_weight", None), targets[train], weights[train], name)
    if class_weights is not None:
        with np.errstate(over="ignore"):  # infinite weights are refused later
            weights = weights * class_weights[targets.numpy()]
    rows = Rows(
        kept.store,
        torch.from_numpy(kept.rows),
        targets,
        torch.tensor(weights),
        None if np.all(kept.weights == kept.weights[0]) else torch.from_numpy(kept.weights),
    )
    return rows, class_weights


def weighed_for_training(rows: Rows, cnn: Any, *, rescale: bool) -> Rows:
    """Return rows with weights in the network's precision, of mean 1 if they are rescaled; None where all are 1."""
    return _with_weights(rows, _float64(rows.weights), cnn, rescale)


def weighed_alone(rows: Rows, cnn: Any) -> Rows:
    """Return validation rows with weights rescaled to mean 1, whatever the weights of the training rows."""
    weights = _float64(rows.weights)
    largest = weights.max()
    return _with_weights(rows, weights / (largest or 1), cnn, rescale=largest > 0)


def _float64(weights):
    return np.ones(1) if weights is None else weights.numpy()


def _with_weights(rows, weights, cnn, rescale):
    if rescale:
        weights = weights / weight_unit(weights, type(cnn).__name__)
    ones = np.all(weights == 1)
    return replace(rows, weights=None if ones else torch.from_numpy(weights).to(TORCH_FLOATS[cnn.precision]))


def _given_validation_rows(cnn, given, task, schema, columns, class_weights):
    """Read the user's validation rows, for the loss and for a scorer."""
    if given.X_val is None:
        return None, None
    name = type(cnn).__name__
    if given.y_val is None:
        is_pair = isinstance(given.X_val, tuple) and len(given.X_val) == 2
        remedy = "X_val is a pair: pass X_val=X_valid, y_val=y_valid." if is_pair else "Pass the targets of its rows."
        raise ValueError(f"{name}: X_val needs y_val, which is None. {remedy}")
    if cnn.refit_full:
        raise ValueError(
            f"{name}: refit_full trains on the rows that early_stopping held out, but X_val is given and "
            "nothing is held out. Leave out X_val, or set refit_full=False."
        )
    with validation_rows_named():
        check_rows_first(given.X_val, given.y_val, name)
        X, rows = replace_weightless_rows(given.X_val, given.sample_weight_val, name)
        columns.check(X, schema, name)
        store = read_again(X, schema, cnn.n_jobs, rows, name="X_val")
        kept = keep_rows(store, given.y_val, given.sample_weight_val, None, name)
        data, _ = encode(cnn, task, kept, EVERYWHERE, class_weights)
    return weighed_alone(data, cnn), scored_data(given.X_val, kept.y, kept.rows, EVERYWHERE)


def _check_validation_rows(cnn, valid):
    """Refuse validation rows that all have weight 0, and warn of too few."""
    name = type(cnn).__name__
    if valid is not None and valid.weights is not None and not valid.weights.any():
        raise ValueError(
            f"{name}: class_weight leaves every validation row with weight 0. Raise a weight, or validate "
            "on other rows."
        )
    if cnn.early_stopping and len(valid) < FEW_VALIDATION_ROWS:
        warnings.warn(
            f"{name}: early_stopping judges epochs by {len(valid)} validation "
            f"row{'s' * (len(valid) != 1)}, too few to tell a better one from luck. Raise "
            "validation_fraction, pass X_val and y_val, or leave early_stopping out: the schedule ends by itself.",
            UserWarning,
            stacklevel=5,
        )
