"""Warnings of runs that have failed, and of data that make them fail: causes that numbers tell, and remedies."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch

from sklcnn.data.targets import weighted_quantile
from sklcnn.fitting.data import FitData
from sklcnn.fitting.fitted import Fitted
from sklcnn.fitting.specs import AUTO_MAX_EPOCHS, AUTO_UPDATES
from sklcnn.network.losses import ROBUST_LOSSES
from sklcnn.tasks.values import FEW_FAR, values_far_from_the_others
from sklcnn.training.health import LEAST_UPDATES, NEAR, loss_of_constant
from sklcnn.training.run import Outcome

NOTHING_TO_LEARN = 0.01  # loss of a constant: one class, or value, has nearly all of the weight
POOR = 1 / 3  # of the loss of the best constant: networks that memorise rows by chance come some way below it
HALF = 1 / 2  # of it, above which training was too short; absolute errors of networks that are right may be 0.4
MOST_VALUES = 2**18  # of X that are looked at: some copies of them are made
# So few values, without which the deviation is less than this part of itself: of a camera 1 % may be hot pixels.
FEW, DWARFED = (0.005, 0.02), 1 / 10
WEAK = 1e-4  # l1 and l2 that keep no network from learning its rows
LITTLE, MUCH = 2 / 3, 1 / 4  # of that of a constant, and of the epoch kept: validation losses of too early an epoch
LEAST_ROWS = 30  # of validation; the loss of fewer is chance
NO_SUCH_CAUSE = (
    "What tells training rows apart does not hold for them: X may say little of y, the rows may be too few, or what "
    "differs between rows for other reasons (a baseline, a drift, brightness) dwarfs what is to be learnt, and is best "
    "taken off before. Compare with a linear model."
)
MOST = 2 / 3  # of all squares; one value of 120 that is ten times too large makes 0.8, and R2 falls from 0.94 to -0.5
# As they come, pixels up to 255 train as well as standardised ones; up to 65,535 half as well, by chance.
LARGE = 1000.0
# Codes of missing values, such as -999 and 9999, are far from one. Other values that many share are background (0), ink
# and white (1 and 255) of drawings and silhouettes, whose other values may well be alike.
LEAST_CODE, WHITE = 90.0, 255.0
# Of the deviation, for that of the values without a code: the others are then 1/2,500 of the squares. Five codes of
# -999 in 150 rows of y leave 1/90; times of some days, of which half are censored at 365, 1/36; of X, a hundredth of
# hot pixels of 4095 among digits 1/70.
CODED = CODED_TARGETS = 1 / 50
ANOTHER_UNIT = 10.0  # deviations of the first call, for the root mean square of a later call's rows
TINY = np.finfo(float).tiny  # for columns that are all equal
MOST_ROWS = 64  # of a later call that are looked at


def warn_of_failure(cnn: Any, fitted: Fitted, data: FitData, outcome: Outcome) -> None:
    """Warn of a network that has learnt little, and of data that are known to make one so.

    Of a short run no more is said than that it died, and that y holds codes: it may be meant to be one.

    Parameters
    ----------
    cnn : BaseCNN
    fitted : Fitted
    data : FitData
    outcome : Outcome
    """
    name = type(cnn).__name__
    if outcome.died:
        _warn(
            f"{name}: the network has died: it gives all rows the same output. Lower learning_rate, set "
            "batch_norm=True, or weaken l1, l2 or class_weight; and look whether a few values of X or y dwarf all "
            "others."
        )
        return
    n_updates = outcome.n_epochs * math.ceil(len(data.train) / fitted.spec.batch_size)
    is_long = n_updates >= LEAST_UPDATES or cnn.max_epochs == "auto"
    if fitted.source.criterion_.loss in ("squared_error", "huber"):
        _warn_of_targets(name, data, is_long)
    if not is_long:
        return
    criterion = fitted.source.criterion_
    losses = [row["train_loss"] for row in fitted.history]
    # Where early stopping keeps an epoch that has hardly trained, what was learnt later may hold for no other rows.
    loss = losses[-1] if fitted.spec.patience is None else min(losses)
    constant = loss_of_constant(criterion, data.train)
    ratio = loss / constant if constant else 0.0
    if constant and ratio > POOR:
        hopeless = _loss_of_far_rows(criterion, data.train)  # of no network's fault
        ratio = (loss - hopeless) / (constant - hopeless)
    is_poor, on_others = ratio > POOR, _losses_of_validation(fitted, data)
    cause, is_code = _cause_in_inputs(cnn, data, is_poor or on_others is not None)
    # Above it, it has diverged or never come down; or it is seen through dropout, or in rows that are altered.
    is_seen_as_it_is = not (cnn.dropout or cnn.conv_dropout or cnn.augmentation)
    tells = is_seen_as_it_is and constant is not None and constant > NOTHING_TO_LEARN
    is_near = abs(ratio - 1) <= NEAR or (ratio > 1 and tells)
    if is_poor and (cause or is_near):
        how_little = "next to nothing" if is_near else "little"
        _warn(
            f"{name}: the network has learnt {how_little}: its training loss is {loss:.3g}, and {constant:.3g} for "
            f"one answer to all rows. {cause or _usual_causes(cnn, criterion.loss)}"
        )
    elif on_others is not None:
        _warn(
            f"{name}: the network has learnt next to nothing that holds for other rows: its least validation loss is "
            f"{on_others[0]:.3g}, and {on_others[1]:.3g} for one answer to all of them. {cause or NO_SUCH_CAUSE}"
        )
    elif ratio > HALF and tells and n_updates < AUTO_UPDATES and _could_learn_by_heart(cnn, outcome):
        _warn(
            f"{name}: the network has not learnt its training rows yet: its training loss is {loss:.3g}, and "
            f"{constant:.3g} for one answer to all rows. Of so few rows {outcome.n_epochs} epochs are {n_updates} "
            "updates: raise max_epochs or learning_rate, lower batch_size, or set batch_norm=True."
        )
    elif is_code:  # whose places a network learns by heart, so that its training loss tells nothing
        _warn(f"{name}: the network may have learnt the training rows by heart. {cause}")
    elif not cnn.standardize and cnn.backbone is None and (peak := _peak(data)) > LARGE:
        _warn(
            f"{name}: X holds values up to {peak:.3g}, and with standardize=False the network gets them as they come. "
            "It is made for numbers of about one, and may have learnt the training rows by heart. Set "
            "standardize=True, or divide X."
        )
    elif fitted.spec.patience is not None and fitted.spec.scoring != "loss":
        _warn_of_kept_epoch(name, fitted, data, outcome)
    if cnn.augmentation is not None:
        _warn_of_scale(name, cnn.augmentation, data.statistics)


def _could_learn_by_heart(cnn, outcome):
    """Tell whether nothing but the greatest "auto" number of epochs kept a network from learning its training rows."""
    l2 = 0 if cnn.l2 == "auto" else cnn.l2
    is_free = max(cnn.l1, l2) <= WEAK and not getattr(cnn, "label_smoothing", 0)
    return is_free and not isinstance(cnn.backbone, str) and outcome.n_epochs == AUTO_MAX_EPOCHS


def _loss_of_far_rows(criterion, train):
    """Return what rows whose y is far from all others add to the loss of one answer, where the loss heeds none of them.

    A network that has learnt all others right has that loss too.
    """
    if not isinstance(criterion.loss, str) or criterion.loss not in ROBUST_LOSSES:
        return 0.0
    targets = train.targets.cpu().double().numpy()
    weights = np.ones(len(targets)) if train.weights is None else train.weights.cpu().double().numpy()
    far = values_far_from_the_others(targets, weights).any(axis=1)
    return loss_of_constant(criterion, train, far) if weights @ far <= FEW_FAR * weights.sum() else 0.0


def _losses_of_validation(fitted, data):
    """Return the least validation loss and that of one answer to all rows; None where it is well below, or unknown."""
    if data.valid is None or len(data.valid) < LEAST_ROWS:
        return None
    losses = [row["val_loss"] for row in fitted.history if not math.isnan(row.get("val_loss", math.nan))]
    constant = loss_of_constant(fitted.source.criterion_, data.valid)
    if not losses or constant is None or constant <= NOTHING_TO_LEARN or min(losses) < (1 - NEAR) * constant:
        return None
    return min(losses), constant


def _warn_of_kept_epoch(name, fitted, data, outcome):
    """Warn where early stopping by a score kept an epoch that had learnt nothing, and later ones had learnt much."""
    if data.valid is None:
        return
    losses = {row["epoch"]: row["val_loss"] for row in fitted.history}
    least = min(losses, key=lambda epoch: losses[epoch])
    constant = loss_of_constant(fitted.source.criterion_, data.valid)
    kept = losses.get(outcome.best_epoch, math.nan)
    if constant is not None and kept > LITTLE * constant and losses[least] < MUCH * kept:
        _warn(
            f"{name}: early stopping kept epoch {outcome.best_epoch}, the first of the best by scoring, whose "
            f"validation loss is {kept:.3g}, and {constant:.3g} for one answer to all of the {len(data.valid)} rows; "
            f"in epoch {least} it is {losses[least]:.3g}. Of so few rows many epochs have one score: set "
            'patience="auto" or scoring="loss", or raise validation_fraction.'
        )


def _warn_of_scale(name, augmentation, statistics):
    """Warn where "scale" moves whole samples further than they are apart: it is a share of the distance from zero."""
    from sklcnn.data.augmentation import read_strengths

    strength = read_strengths(augmentation).get("scale", 0)
    moved = torch.where(statistics.deviation > 0, strength * statistics.mean.abs() / statistics.deviation, 0)
    channel = int(moved.argmax())
    if moved[channel] > 1:
        mean, deviation = float(statistics.mean[channel]), float(statistics.deviation[channel])
        _warn(
            f'{name}: augmentation="scale" multiplies samples by up to {1 + strength:.3g}, and the values of X, about '
            f"{mean:.3g} with a deviation of {deviation:.3g}, are so far from zero that this moves them by "
            f"{float(moved[channel]):.3g} deviations: what tells samples apart is lost in it. Subtract what is common "
            "first, as StandardScaler(with_std=False) does, or leave it out."
        )


def _peak(data):
    return 0.0 if data.schema.glance is None else data.schema.glance.peak


def _usual_causes(cnn, loss):
    remedy = "Raise learning_rate: sgd wants 0.01 to 0.1. " if cnn.optimizer == "sgd" else ""
    if isinstance(loss, str) and loss in ROBUST_LOSSES:  # a network at zero is right, then
        remedy += f'Where most of y is one value, loss="{loss}" asks for that: "squared_error" may do. '
    return (
        f"{remedy}Look whether a few values of X or y dwarf all others, and clip or scale them; try another "
        "learning_rate, batch_norm=True, or weaker l1, l2 and dropout."
    )


def _cause_in_inputs(cnn, data, is_poor):
    """Say which few values of X make nearly all of its deviation, by which it is standardised, and if they are codes.

    Values that are rare, and not one value that is repeated, are a cause only of a poor network.
    """
    if not cnn.standardize or isinstance(cnn.backbone, str):
        return None, False
    store, rows = data.train.store, data.train.rows
    if store.integer and not is_poor:  # uint8 has no room for a code so far from the others
        return None, False
    n_rows = min(len(rows), max(1, MOST_VALUES // math.prod(store.sample_shape)))
    rows = rows[torch.linspace(0, len(rows) - 1, n_rows, dtype=torch.float64).round().long()]
    samples = store.batch(rows, torch.float64).cpu().flatten(2).numpy()
    for channel in range(samples.shape[1]):
        values = samples[:, channel]
        code, found = find_code(values, CODED), most_and_farthest(values) if is_poor else None
        if found is not None:
            most, place = found
        elif code is not None:
            most, place = values[values != code], np.argmax(values == code)
        else:
            continue
        row, position = np.unravel_index(place, values.shape)
        return (
            f"Look whether a few values of X or y dwarf all others: row {int(rows[row])} of X, position {position}, "
            f"holds {values[row, position]:.6g}, where {len(most) / values.size:.1%} of the values are from "
            f"{most.min():.3g} to {most.max():.3g}, of whose differences the network sees little. Clip X, replace what "
            "stands for a missing value, or take the logarithm."
        ), code is not None
    return None, False


def most_and_farthest(values: np.ndarray) -> tuple[np.ndarray, Any] | None:
    """Return all values but the few that dwarf them, and the flat position of the farthest; None where none do."""
    away, deviation = np.abs(values - np.median(values)), values.std()
    for few in FEW:
        most = values[away <= np.quantile(away, 1 - few)]
        if 0 < most.std() < DWARFED * deviation:
            return most, away.argmax()
    return None


def find_code(values: np.ndarray, share: float) -> float | None:
    """Find the value that stands for a missing one: far from all others, which are near each other, and repeated.

    It is the least or the greatest one. Values without it that are all equal are no case of it: two values, one of
    which may be rare, are what the data are.

    Parameters
    ----------
    values : ndarray
    share : float
        Of their deviation, that of the others is less.

    Returns
    -------
    code : float or None
    """
    least, greatest = float(values.min()), float(values.max())
    peak = max(greatest, -least)  # by which they are divided, so that squares do not overflow
    for code in (least, greatest):
        if abs(code) < LEAST_CODE or code == WHITE:
            continue
        is_code = values == code
        if not 1 < np.count_nonzero(is_code) < values.size:
            continue
        scaled = values / peak
        if 0 < scaled[~is_code].std() < share * scaled.std():
            return code
    return None


def _warn_of_targets(name, data, is_long):
    """Warn where a few values of y make most of its deviation: the network learns them, and little of the others.

    Of a short run this is said of codes alone, which are no targets however long a network trains.
    """
    train, task = data.train, data.task
    # As given: beside a mean, and in float32, small values would be equal, and others far from them.
    positions = np.searchsorted(data.kept.rows, train.rows.cpu().numpy())
    values = task.given(data.kept.y, positions, name)
    values = values.reshape(len(values), -1)
    for column in np.flatnonzero(np.abs(values).max(axis=0) >= LEAST_CODE):
        code = find_code(values[:, column], CODED_TARGETS)
        if code is not None:
            is_code = values[:, column] == code
            _warn(
                f"{name}: {is_code.sum()} values of {_name_of_column(task, column)} are {code:.6g}, such as that in "
                f"row {int(data.kept.rows[positions[is_code.argmax()]])}, far from all others, which are from "
                f"{values[~is_code, column].min():.3g} to {values[~is_code, column].max():.3g}. They make nearly all "
                "of the loss. If they stand for missing values, leave those rows out, or give them weight 0."
            )
            return
    if is_long:
        _warn_of_far_targets(name, train, task, values)


def _name_of_column(task, column):
    return "y" if task.one_dimensional else f"column {task.output_names[column]} of y"


def _warn_of_far_targets(name, train, task, values):
    if train.weights is None:
        weights = np.broadcast_to(1.0, len(values))
    else:
        weights = train.weights.cpu().numpy().astype(np.float64)
    away = np.abs(values - weighted_quantile(values, weights, 0.5))
    squares = away / np.maximum(away.max(axis=0), TINY)
    np.square(squares, out=squares)
    squares *= weights[:, None]
    if (FEW_FAR * weights.sum() <= MOST * squares.sum(axis=0)).all():  # were the few all as far as the farthest
        return
    far = values_far_from_the_others(values, weights)
    if weights @ far.any(axis=1) > FEW_FAR * weights.sum():  # each of many columns has a few, so they are many
        return
    hiding = np.flatnonzero((squares * far).sum(axis=0) > MOST * squares.sum(axis=0))
    if len(hiding):
        column = int(hiding[0])
        others = values[~far[:, column], column]
        farthest, which = values[away[:, column].argmax(), column], _name_of_column(task, column)
        _warn(
            f"{name}: a few values of {which}, such as {farthest:.6g}, are far from the others: they make most of its "
            f"deviation, {task.deviation[column]:.3g}, where the others have {others.std():.3g}, and of the loss. "
            'Look whether they are right; loss="absolute_error" heeds them no more than others, and '
            "TransformedTargetRegressor takes the logarithm of positive ones."
        )


def warn_of_another_unit(cnn: Any, previous: Fitted | None, data: FitData) -> None:
    """Warn where a further chunk's rows lie far outside of what the first chunk's were standardised to.

    At the constant rate of chunks a network hardly reaches them.

    Parameters
    ----------
    cnn : BaseCNN
    previous : Fitted or None
        None: this is the first call.
    data : FitData
    """
    if previous is None or cnn.warm_start:  # which may be meant to leave the first rows behind
        return
    name, train = type(cnn).__name__, data.train
    standardize: Any = getattr(previous.network, "standardize", None)
    if standardize is not None:
        batch = train.store.batch(train.rows[:MOST_ROWS], torch.float32)
        with torch.no_grad():
            _warn_of_size(name, "X", standardize(batch.to(standardize.mean)))
    if data.task.kind == "values":
        _warn_of_size(name, "y", train.targets)


def _warn_of_size(name, what, values):
    size = float(values.double().square().mean().sqrt())
    if size > ANOTHER_UNIT:
        _warn(
            f"{name}: {what} is standardised as in the first call, and its values here are about {size:.3g} deviations "
            "of those from their mean: the network may never learn them. Begin with rows that are a fair sample, and "
            "give all of them in one unit."
        )


def _warn(message):
    warnings.warn(message, UserWarning, stacklevel=5)
