"""From X and y to what a fit leaves behind: the one path of `fit`, `partial_fit` and the refit."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sklcnn.data.constant_channels import warn_of_other_values
from sklcnn.fitting.building import build, continued
from sklcnn.fitting.data import FitData, Given, divide, read_rows, undivided
from sklcnn.fitting.diagnosis import warn_of_another_unit, warn_of_failure
from sklcnn.fitting.fitted import Fitted, Scored
from sklcnn.fitting.scaling import scaling_of_features
from sklcnn.fitting.scorers import checked_score, find_scorer, is_scikit_learns, takes_weights
from sklcnn.fitting.specs import training_spec
from sklcnn.scikit_callbacks import FitTask
from sklcnn.training.run import FrozenStage, Hooks, Outcome, TrainingSpec
from sklcnn.training.scores import RunningScore
from sklcnn.training.seeding import draw_seed, seeded
from sklcnn.training.temperature import divide_outputs

FEATURE_ROWS = 1024  # by whose features a head's inputs are standardised where augmentation changes those of all epochs


def fit(cnn: Any, given: Given) -> tuple[Fitted, FitTask, KeyboardInterrupt | None]:
    """Train a network.

    Parameters
    ----------
    cnn : BaseCNN
        It is not changed.
    given : Given

    Returns
    -------
    fitted : Fitted
    fit_task : FitTask
        To be ended once the estimator is fitted.
    interrupt : KeyboardInterrupt or None
        To be raised then.
    """
    given.check(type(cnn).__name__)
    seed = draw_seed(cnn.random_state)
    previous = cnn._fitted if cnn.warm_start else None
    kept, schema, columns = read_rows(cnn, given, previous)
    draft = cnn._learn_task(kept.y) if previous is None else cnn._known_task(kept.y)
    split_seed = seed if previous is None or previous.split_seed is None else previous.split_seed
    data = divide(cnn, given, kept, schema, columns, draft, split_seed)
    spec = training_spec(cnn, len(data.train))
    with _seeded(seed, previous):
        fitted = build(cnn, data, spec) if previous is None else continued(cnn, previous, data, spec)
        if given.X_val is not None and data.valid is not None:
            warn_of_other_values(data.valid.store, fitted.schema, type(cnn).__name__, data.valid.rows, "X_val")
        hooks = _hooks(cnn, fitted, data)
        fit_task = FitTask(cnn, given.X, given.y, given.sample_weight, spec.max_epochs)
        fit_task.follow(hooks, fitted)
        outcome = _train(cnn, fitted, data, hooks, seed)
    fitted = fitted.after(outcome)
    if cnn.early_stopping and given.X_val is None:
        fitted = replace(fitted, split_seed=split_seed)
    warn_of_failure(cnn, fitted, data, outcome)
    if cnn.refit_full and cnn.early_stopping and outcome.interrupt is None and not outcome.stopped:
        try:
            fitted = _refit(cnn, previous, fitted, data, draft, spec, outcome, seed)
        except KeyboardInterrupt as interrupt:
            outcome.interrupt = interrupt  # the first run's network is kept
    return fitted, fit_task, outcome.interrupt


def partial_fit(cnn: Any, given: Given, draft: Any = None) -> tuple[Fitted, KeyboardInterrupt | None]:
    """Train for one epoch at a constant learning rate, continuing with the network of earlier calls.

    Parameters
    ----------
    cnn : BaseCNN
        It is not changed.
    given : Given
    draft : Task or None
        Of a first call, if it is known already.

    Returns
    -------
    fitted : Fitted
    interrupt : KeyboardInterrupt or None
        To be raised once the estimator is fitted.
    """
    seed = draw_seed(cnn.random_state)
    previous = cnn._fitted
    kept, schema, columns = read_rows(cnn, given, previous)
    draft = (draft or cnn._learn_task(kept.y)) if previous is None else previous.task
    data = undivided(cnn, kept, schema, columns, draft, rescale=False)
    # An average over the updates of one call would be of little, with the statistics of its rows alone.
    spec = training_spec(cnn, len(data.train))
    spec = replace(spec, schedule=None, patience=None, max_epochs=1, weight_averaging=None)
    warn_of_another_unit(cnn, previous, data)
    with _seeded(seed, previous):
        fitted = build(cnn, data, spec) if previous is None else continued(cnn, previous, data, spec)
        outcome = _train(cnn, fitted, data, _hooks(cnn, fitted, data), seed, all_rows=False, resumes=False)
    return fitted.after(outcome), outcome.interrupt


def _refit(cnn, previous, fitted, data, draft, spec: TrainingSpec, outcome: Outcome, seed) -> Fitted:
    """Train anew on all rows, for the best number of epochs and at the rates of the first run.

    A fit that continues is repeated from the network of before it, as it began. If a callback stops it before, the
    first run's network is kept.
    """
    data = undivided(cnn, data.kept, data.schema, data.columns, draft, rescale=True)
    spec, n_epochs = replace(spec, patience=None, label="refit"), outcome.best_epoch - outcome.n_before
    with _seeded(seed, previous):
        if previous is None:
            refitted = build(cnn, data, spec, refit=True)
        else:
            refitted = continued(cnn, previous, data, spec, refit=True)
        again = _train(
            cnn, refitted, data, _hooks(cnn, refitted, data), seed, epochs=n_epochs,
            horizon=spec.max_epochs, fall=outcome.fall,
            rates=outcome.rates if spec.schedule == "reduce_on_plateau" else None,
        )  # fmt: skip
    if again.interrupt is not None:
        raise again.interrupt
    if again.n_epochs < n_epochs:
        return fitted
    refitted.net.callbacks_ = fitted.net.callbacks_  # which go on in a warm start; the refit's have other files
    # All rows train, so that none can tell the temperature; that of the first run is nearer than none.
    cooled = divide_outputs(refitted.network, outcome.temperature)
    return replace(
        refitted,
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        split_seed=fitted.split_seed,
        temperature=fitted.temperature if cooled else 1.0,
    )


def _seeded(seed, previous):
    """Seed what a fit draws; a fit that continues has a seed of its own, so that it draws something else."""
    return seeded((seed + (0 if previous is None else len(previous.net.history))) % 2**32)


def _train(cnn, fitted: Fitted, data: FitData, hooks: Hooks, seed, *, all_rows=True, **run) -> Outcome:
    from sklcnn.training.loop import train_net

    net, augment = fitted.net, _augmentation(cnn, data, len(data.train) if all_rows else None)
    generator = torch.Generator().manual_seed(seed + len(net.history))
    frozen = None
    if fitted.network.has_backbone and net.spec.freeze_epochs > len(net.history):
        # Computed once for all epochs; with augmentation they differ from epoch to epoch.
        frozen = FrozenStage(
            train=None if augment is not None else fitted.features_of_rows(data.train, cnn.feature_cache),
            valid=None if data.valid is None else fitted.features_of_rows(data.valid, cnn.feature_cache),
        )
        if fitted.recipe.standardizes and not net.history:
            _standardize_features(cnn, fitted, data.train, frozen.train, whole=all_rows)
    return train_net(
        net, data.train, data.valid, hooks=hooks, augment=augment, generator=generator, frozen=frozen, **run
    )


def _standardize_features(cnn, fitted, train, features, *, whole):
    """Let a new network's head get features standardised over the training rows, once and for all later fits."""
    if features is None:  # of rows from all places, which may be in order
        n_rows = min(len(train), FEATURE_ROWS)
        some = train.at(np.linspace(0, len(train) - 1, n_rows).round().astype(int))
        features = fitted.features_of_rows(some, cnn.feature_cache)
    fitted.network.standardize_features.take(scaling_of_features(features, fitted.dtype, whole=whole))


def _augmentation(cnn, data, n_rows):
    """Build the augmentation of training batches; None without one."""
    if cnn.augmentation is None:
        return None
    from sklcnn.data.augmentation import build_augmentation

    schema = data.schema
    return build_augmentation(
        cnn.augmentation, spatial_dims=schema.spatial_dims, sample_shape=schema.sample_shape, unit=schema.unit,
        deviation=lambda: data.statistics.deviation, batch_size=cnn.batch_size, n_rows=n_rows,
    )  # fmt: skip


def _hooks(cnn, fitted: Fitted, data: FitData) -> Hooks:
    """Set up what is computed while the network trains."""
    score, train, valid = fitted.task.score, data.train, data.valid
    hooks = Hooks(train_score=RunningScore(score, train.targets, train.score_weights))
    if valid is not None:
        hooks.valid_score = RunningScore(score, valid.targets, valid.score_weights).of_all
    if cnn.scoring != "loss":
        scorer = find_scorer(cnn.scoring, cnn)
        hooks.train_score = None  # accuracy or R2 is not comparable with the scorer's score
        if data.scored is not None:
            hooks.valid_score = _scorer_of_epochs(cnn, fitted, data, scorer)
    return hooks


def _scorer_of_epochs(cnn, fitted, data, scorer):
    """Return a function that scores the validation rows by the user's scorer, from outputs that are known already."""
    X, y = data.scored(is_scikit_learns(scorer))
    scored = Scored(**vars(fitted), X=X)
    view = copy.copy(cnn)
    view._fitted = scored
    arguments = {}
    if data.valid.score_weights is not None and takes_weights(scorer):
        arguments["sample_weight"] = data.valid.score_weights.numpy()

    def score(outputs):
        scored.known[:] = [outputs]
        return checked_score(scorer, view, X, y, arguments, cnn.scoring)

    return score
