"""What a training run is given, and what it returns: plain values, without skorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklcnn.data.batches import Rows
from sklcnn.training.scores import RunningScore

# Of the record of epochs, `history_`.
HISTORY_COLUMNS = (
    "epoch",
    "duration",
    "learning_rate",
    "train_loss",
    "penalty",
    "val_loss",
    "train_score",
    "val_score",
)


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained: the estimator's hyper-parameters of the groups optimisation and early stopping."""

    estimator_name: str
    optimizer: Any
    learning_rate: float
    optimizer_params: dict | None
    schedule: str | None
    batch_size: int
    max_epochs: int
    l1: float
    l2: float | str  # "auto": FROZEN_L2 while a backbone is frozen, else 0
    patience: int | str | None  # None: no early stopping
    scoring: Any
    precision: str
    device: str
    verbose: int
    freeze_epochs: float = math.inf
    backbone_lr_factor: float = 1.0
    weight_averaging: str | None = None
    label: str = "epoch"  # what an epoch is called where progress is shown


@dataclass(frozen=True)
class Fall:
    """A schedule's final fall that begins early: after the epoch `after`, within `n_epochs` more, to almost zero."""

    after: int
    n_epochs: int


@dataclass(frozen=True)
class FrozenStage:
    """The epochs during which the backbone does not train.

    Attributes
    ----------
    train, valid : Rows or None
        Rows of the backbone's features, on which the head trains; None where images must go through the backbone.
    """

    train: Rows | None
    valid: Rows | None


@dataclass
class Hooks:
    """What the estimator computes while its network trains; each is None if it is not needed.

    Attributes
    ----------
    train_score : RunningScore or None
        Is given the outputs of training batches.
    valid_score : callable of (outputs) -> float
        Scores the outputs (n, k) of all validation rows.
    before_epoch : callable of ()
    after_epoch : callable of (row) -> bool
        Whether to stop; `row` is the epoch's line of the history.
    """

    train_score: RunningScore | None = None
    valid_score: Callable | None = None
    before_epoch: Callable | None = None
    after_epoch: Callable | None = None


@dataclass
class Outcome:
    """How a training run ended.

    Attributes
    ----------
    n_before : int
        Epochs of earlier runs, with which the net's history begins.
    n_epochs : int
        Finished, in this run.
    best_epoch : int
        The epoch whose weights were kept, counted from 1 over the whole history.
    stopped : bool
        Whether a callback asked for the end.
    interrupt : KeyboardInterrupt or None
        To be raised once the estimator has been fitted.
    rates : list of float
        At the end of each epoch.
    fall : Fall or None
        Of the rate, where validation made it begin early.
    died : bool
        Whether all rows have the same output, though they differed when training began.
    temperature : float
        What the outputs of the epoch that was kept were divided by.
    """

    n_before: int = 0
    n_epochs: int = 0
    best_epoch: int = 0
    stopped: bool = False
    interrupt: KeyboardInterrupt | None = None
    rates: list[float] = field(default_factory=list)
    fall: Fall | None = None
    died: bool = False
    temperature: float = 1.0
