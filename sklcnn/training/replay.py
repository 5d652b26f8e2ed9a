"""skorch's LRScheduler: begun in each fit, and taken to where it was in a run that was cut off."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from skorch.callbacks import LRScheduler
from skorch.history import History

from sklcnn.training.checkpoints import BEGIN_ANEW
from sklcnn.training.stages import join_again, put_back_to_start
from sklcnn.wording import name_of

SAME_RATE = 1e-9  # of two rates, the relative difference that another release of torch may make


def begin_schedulers(net: Any, n_before: int, **data: Any) -> None:
    """Begin the schedules of skorch's LRScheduler anew in each fit, or where a run that is resumed was cut off.

    Parameters
    ----------
    net : TrainingNet
        It may have loaded a run.
    n_before : int
        Epochs of earlier fits.
    **data
        As callbacks are told when training begins.

    Raises
    ------
    ValueError
        If a schedule cannot be resumed.
    """
    schedulers = [callback for _, callback in net.callbacks_ if isinstance(callback, LRScheduler)]
    if not schedulers:
        return
    if len(net.history) > n_before:
        _resume(net, schedulers, n_before, data)
    else:
        _begin(net, schedulers, data)


def _begin(net, schedulers, data):
    """Tell schedulers that training begins, of a net without epochs: skorch would have torch's go on after them."""
    whole, net.history_ = net.history, History()
    try:
        for scheduler in schedulers:
            scheduler.on_train_begin(net, **data)
    finally:
        net.history_ = whole


def _resume(net, schedulers, n_before, data):
    """Take schedulers to where they were when a run was cut off, by their steps from its beginning.

    torch's schedulers go on from the present rate, from counts of their own and from what they were told so far, none
    of which is in a checkpoint. What the optimiser's groups were loaded with, rates and momenta, holds.
    """
    optimizer, spec, rows = net.optimizer_, net.spec, net.history.to_list()[n_before:]
    loaded = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    thaws_in_run = rows[0]["epoch"] <= spec.freeze_epochs
    joined = put_back_to_start(optimizer, spec.learning_rate, 1 if thaws_in_run else len(loaded))
    _begin(net, schedulers, data)
    optimizer._opt_called = True  # in the run that was cut off: torch would warn of steps before the optimiser's
    past = SimpleNamespace(history=History(net.history[:n_before]), optimizer_=optimizer)
    for row in rows:
        if row is not rows[0]:
            _tell_all(schedulers, "on_epoch_end", past, spec)
        if thaws_in_run and row["epoch"] == spec.freeze_epochs + 1:
            join_again(optimizer, joined)
        _replay_batches(schedulers, row, past, spec)
        past.history[-1] = dict(row)
        if spec.schedule is None:  # else it sets the rate of each update, whatever they say
            _check_rate(float(optimizer.param_groups[0]["lr"]), row, schedulers, spec)
    for group, settings in zip(optimizer.param_groups, loaded, strict=True):
        group.update(settings)
    # The checkpoint was saved before they were told that its epoch has ended.
    for scheduler in schedulers:
        scheduler.on_epoch_end(net)


def _replay_batches(schedulers, row, past, spec):
    """Tell schedulers the training batches of an epoch, when each has ended, in a new row of the history."""
    seen: list[dict] = []
    past.history.append({"epoch": row["epoch"], "batches": seen})
    for batch in row["batches"]:
        if "train_batch_size" in batch:  # not one of validation
            seen.append(dict(batch))
            _tell_all(schedulers, "on_batch_end", past, spec, training=True)


def _tell_all(schedulers, event, past, spec, **told):
    for scheduler in schedulers:
        try:
            getattr(scheduler, event)(past, **told)
        except (AttributeError, TypeError) as error:
            raise ValueError(
                f"{spec.estimator_name}: a run with {_described(scheduler)} in callbacks cannot be resumed, since it "
                "reads more of the net than its history, which is all that a checkpoint holds of earlier epochs. Let "
                f"its monitor be the name of a score. {BEGIN_ANEW}."
            ) from error


def _check_rate(rate, row, schedulers, spec):
    """Check that a scheduler gives an epoch the learning rate that it had."""
    if not math.isclose(rate, row["learning_rate"], rel_tol=SAME_RATE):
        described = " and ".join(map(_described, schedulers))
        raise ValueError(
            f"{spec.estimator_name}: the run cannot be resumed on its learning-rate schedule, since {described} in "
            f"callbacks gives a rate of {rate:.6g} in epoch {row['epoch']}, which was trained at "
            f"{row['learning_rate']:.6g}. A run is resumed with the same hyper-parameters. {BEGIN_ANEW}."
        )


def _described(scheduler):
    policy = scheduler.policy
    return f"{type(scheduler).__name__}({policy if isinstance(policy, str) else name_of(policy)})"
