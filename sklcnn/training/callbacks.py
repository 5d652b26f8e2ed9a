"""The user's skorch callbacks."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from functools import partial
from typing import Any

import torch
from sklearn.base import clone
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    ParamMapper,
    PrintLog,
    TrainEndCheckpoint,
)
from skorch.callbacks.logging import filter_log_keys
from skorch.callbacks.scoring import ScoringBase

from sklcnn.training.checkpoints import DIGESTS
from sklcnn.training.run import HISTORY_COLUMNS
from sklcnn.wording import shortened, shown

UNSTORED = (torch.Tensor, torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
REFIT_PREFIX = "refit_"
# What the epoch loop writes into skorch's history a second time, under skorch's names.
ALIASES = ("batches", "valid_loss", "dur")
NOT_PRINTED = ("val_loss", "duration", DIGESTS)  # skorch has names of its own for them


def user_callbacks(callbacks: Any, estimator_name: str, schedule: str | None = None, refit: bool = False) -> list:
    """Clone the user's callbacks, so that each fit has its own.

    Parameters
    ----------
    callbacks : sequence of skorch callbacks, classes of them, or (name, callback) pairs; or None
    estimator_name : str
    schedule : str or None
        Of the learning rate.
    refit : bool
        Whether they are for the second training of `refit_full`, whose checkpoints have names of their own.

    Warns
    -----
    UserWarning
        If skorch's LRScheduler is among them beside a schedule.

    Raises
    ------
    ValueError
        If skorch's EarlyStopping or InputShapeSetter is among them, a score has the name of a column of `history_`,
        two have one name, or LoadInitState is to load what is no run.
    TypeError
        If a pair does not hold a name and a callback, or a class needs arguments.
    """
    cloned = []
    for item in callbacks if callbacks is not None else ():
        name, callback = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
        is_callback = isinstance(callback, Callback) or (isinstance(callback, type) and issubclass(callback, Callback))
        if not is_callback or not isinstance(name, (str, type(None))):
            raise TypeError(
                f"{estimator_name}: callbacks must hold skorch callbacks or (name, callback) pairs; got {shown(item)}."
            )
        fresh = _fresh(callback, estimator_name)
        _check_fits_here(fresh, estimator_name)
        if schedule is not None and not refit and isinstance(fresh, LRScheduler):
            warnings.warn(
                f"{estimator_name}: skorch's LRScheduler in callbacks changes nothing, since lr_schedule, here "
                f"{shown(schedule)}, sets the rate of each update. Set lr_schedule=None for it.",
                UserWarning,
                stacklevel=2,
            )
        fresh = _without_doubles(fresh)
        if refit:
            fresh = _named_apart(fresh)
        cloned.append(fresh if name is None else (name, fresh))
    _check_names(cloned, estimator_name)
    return cloned


def _fresh(callback, estimator_name):
    """Clone a callback; make one where a class is given."""
    if not isinstance(callback, type):
        return clone(callback, safe=False)
    try:
        return callback()
    except TypeError as error:
        raise TypeError(
            f"{estimator_name}: callbacks hold the class {callback.__name__}, which cannot be made without arguments: "
            f"{shortened(error)}. Pass {callback.__name__}(...) with them."
        ) from error


def _check_fits_here(callback, estimator_name):
    """Refuse callbacks of skorch's that do not go with this package, or what they hold."""
    if isinstance(callback, EarlyStopping):
        raise ValueError(
            f"{estimator_name}: skorch's EarlyStopping is not for callbacks here: it stops by an interrupt and does "
            "not keep the best weights. Set early_stopping=True and patience instead."
        )
    if isinstance(callback, InputShapeSetter):
        raise ValueError(
            f"{estimator_name}: skorch's InputShapeSetter is not for callbacks here: the network takes its sizes "
            "from X by itself. Leave it out."
        )
    if isinstance(callback, LoadInitState) and not isinstance(callback.checkpoint, Checkpoint):
        ended = isinstance(callback.checkpoint, TrainEndCheckpoint)
        given = "TrainEndCheckpoint, which saves what a fit has ended with" if ended else shown(callback.checkpoint)
        raise ValueError(
            f"{estimator_name}: LoadInitState in callbacks resumes the run that a Checkpoint saves, and cannot by "
            f"{given}. Give the same Checkpoint(monitor=None, ...) to both; to train further after a fit, set "
            "warm_start=True."
        )
    if isinstance(callback, ScoringBase) and callback.name in (*HISTORY_COLUMNS, *ALIASES):
        raise ValueError(
            f"{estimator_name}: callbacks hold a score that is named {shown(callback.name)}, which is a column of "
            "history_ already. Give it another name."
        )


def _check_names(callbacks, estimator_name):
    """Refuse names that several callbacks would have; skorch numbers those of one class that are given none."""
    given = {item[0] for item in callbacks if isinstance(item, tuple)}
    counts = Counter(item[0] if isinstance(item, tuple) else type(item).__name__ for item in callbacks)
    numbered = {f"{name}_{n}" for name, count in counts.items() for n in range(1, count + 1) if count > 1}
    taken = sorted((given & {name for name, count in counts.items() if count > 1}) | (counts.keys() & numbered))
    if taken:
        raise ValueError(
            f"{estimator_name}: callbacks hold several that would be named {shown(taken[0])}. Give each a name of its "
            "own; one without is named by its class."
        )


def _without_doubles(callback):
    """Leave out of the tables of PrintLog what the history holds under two names."""
    if isinstance(callback, PrintLog):
        given = callback.keys_ignored
        callback.keys_ignored = [*([given] if isinstance(given, str) else given or ()), *NOT_PRINTED]
    return callback


def _named_apart(callback):
    """Put a prefix before the names of a checkpoint's files, so that the refit does not overwrite the first run's."""
    if isinstance(callback, (Checkpoint, TrainEndCheckpoint)):
        callback.fn_prefix = REFIT_PREFIX + callback.fn_prefix
    elif isinstance(callback, LoadInitState):
        _named_apart(callback.checkpoint)
    return callback


def without_running_parts(callbacks: list) -> list:
    """Return initialised callbacks without what refers to a run, with all of its network, or to themselves."""
    return [(name, _without_running_parts(callback)) for name, callback in callbacks]


def _without_running_parts(callback):
    if not isinstance(callback, (LRScheduler, ParamMapper)):
        return callback
    copied = copy.copy(callback)
    if isinstance(copied, LRScheduler):
        copied.lr_scheduler_ = None  # made when training begins
        return copied
    if getattr(callback.schedule, "__self__", None) is callback:
        copied.schedule = None
    if isinstance(callback.at, partial) and getattr(callback.at.func, "__self__", None) is callback:
        copied.at = callback.at.keywords["epoch"]
    return copied


def check_skops_stores(callbacks: list, estimator_name: str) -> None:
    """Refuse callbacks of the user's that hold what skops does not store.

    Raises
    ------
    TypeError
    """
    for _, callback in callbacks:
        for attribute, value in vars(callback).items():
            if isinstance(value, UNSTORED):
                raise TypeError(
                    f"{estimator_name}: the callback {type(callback).__name__} holds {attribute}, of type "
                    f"{type(value).__name__}, which skops does not store. Save the estimator by pickle or joblib, or "
                    "save what without_training_state() returns."
                )


def made_whole(callbacks: list) -> list:
    """Give callbacks back what `without_running_parts` has left out."""
    for _, callback in callbacks:
        if isinstance(callback, ParamMapper):
            callback.initialize()
    return list(callbacks)


def recorded_names(history: Any) -> list[str]:
    """List what callbacks have recorded in a history, such as EpochScoring's scores; marks and events are left out."""
    names = dict.fromkeys(name for row in history for name in row)
    return list(filter_log_keys(names, keys_ignored=ALIASES))
