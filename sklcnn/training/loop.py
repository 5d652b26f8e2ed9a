"""The epoch loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import PrintLog

from sklcnn.data.batches import Rows, batch_sizes
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.network.allocation import freed_memory_kept
from sklcnn.threads import threads_for
from sklcnn.training.averaging import make_averaging
from sklcnn.training.checkpoints import check_length, recorded_frozen
from sklcnn.training.copies import Copies
from sklcnn.training.epoch import BatchCallbacks, TrainingPass
from sklcnn.training.evaluation import forward_store, weighted_loss
from sklcnn.training.health import DeathCheck, check_finite, total_norm
from sklcnn.training.norms import YoungStatistics
from sklcnn.training.progress import make_progress
from sklcnn.training.rates import Rates
from sklcnn.training.replay import begin_schedulers
from sklcnn.training.run import Fall, FrozenStage, Hooks, Outcome
from sklcnn.training.stages import Stages, clear_gradients, set_rate
from sklcnn.training.step import Step, has_heavy_rows
from sklcnn.training.stopping import Judge
from sklcnn.training.temperature import cool, may_be_too_sure

DEVICE_SHARE = 3  # the rows may take a third of a GPU's free memory; the rest is for the network


def train_net(
    net: Any,
    train: Rows,
    valid: Rows | None = None,
    *,
    hooks: Hooks | None = None,
    augment: Callable | None = None,
    generator: torch.Generator | None = None,
    frozen: FrozenStage | None = None,
    epochs: int | None = None,
    horizon: int | None = None,
    rates: Sequence[float] | None = None,
    fall: Fall | None = None,
    resumes: bool = True,
) -> Outcome:
    """Train for some epochs, or until early stopping.

    Parameters
    ----------
    net : TrainingNet
    train, valid : Rows, Rows or None
    hooks : Hooks or None
        Called while the network trains.
    augment : callable of (inputs, targets), or None
        Changes a training batch.
    generator : torch.Generator or None
        Shuffles the rows.
    frozen : FrozenStage or None
        What the epochs up to `spec.freeze_epochs` train on, if not on all of the network.
    epochs : int or None
        None: those of the net's spec.
    horizon : int or None
        Epochs that the schedule spans, if not `epochs`.
    rates : sequence of float or None
        A learning rate an epoch, instead of the schedule.
    fall : Fall or None
        Of the rate, brought forward as in a run that this one repeats.
    resumes : bool
        Whether a callback may load a run that was cut off.

    Returns
    -------
    outcome : Outcome

    Raises
    ------
    ValueError
        If the loss is not finite. The net, which is the fit's own, is then of no use.
    KeyboardInterrupt
        If interrupted before an epoch has finished; likewise.
    """
    epochs = epochs or net.spec.max_epochs
    with freed_memory_kept():
        run = Run(
            net, train, valid, hooks or Hooks(), augment, generator, frozen, epochs, horizon or epochs, rates, fall,
            resumes,
        )  # fmt: skip
        return run.train()


class Run:
    """One run of the epoch loop, and its state."""

    def __init__(self, net, train, valid, hooks, augment, generator, frozen, epochs, horizon, rates, fall, resumes):
        self.net, self.spec, self.hooks, self.resumes = net, net.spec, hooks, resumes
        self.device, self.dtype = net.torch_device_, TORCH_FLOATS[net.spec.precision]
        if self.device.type == "cuda":
            free_bytes = torch.cuda.mem_get_info(self.device)[0] // DEVICE_SHARE
            train, valid = (rows and rows.on_device(self.device, free_bytes) for rows in (train, valid))
        self.first = len(net.history) + 1
        self.finished, self.last_epoch = self.first - 1, self.first + epochs - 1
        self.can_tell_death = self.spec.precision != "bfloat16" and bool((train.targets != train.targets[:1]).any())
        self.watches_loss = valid is None or self.spec.scoring == "loss"
        self.outcome = Outcome(n_before=self.finished)

        network, optimizer = net.module_, net.optimizer_
        self.copies = Copies(network, optimizer)
        self.stages = Stages(network, optimizer, self.spec, train, valid, frozen, self.last_epoch)
        self.n_updates = len(batch_sizes(len(train), self.spec.batch_size, self.stages.joins_few_rows))
        span = self.n_updates, self.first, self.first + horizon - 1
        self.rates = Rates(self.spec, optimizer, *span, self.watches_loss, given=rates, fall=fall)
        self.judge, self.death_check = self.make_judge(), DeathCheck()
        self.statistics = YoungStatistics()
        prints = any(isinstance(callback, PrintLog) for callback in net.listeners("on_epoch_end"))
        self.progress = make_progress(min(self.spec.verbose, 1 if prints else 2), self.spec.label)
        self.callbacks = BatchCallbacks(net, self.stages)
        clips = self.n_updates > 1 and has_heavy_rows(train.weights)
        step = Step(net, self.stages, augment, clips, self.callbacks.tell_gradients)
        self.averaging = make_averaging(self.spec.weight_averaging, net, self.stages, self.rates)
        self.training_pass = TrainingPass(
            net, self.stages, step, self.callbacks, self.statistics, hooks.train_score, self.progress, generator,
            self.averaging,
        )  # fmt: skip

    def make_judge(self):
        """Build what decides which epoch early stopping keeps; None without early stopping."""
        of_what = self.n_updates, self.watches_loss, self.net.criterion_.task.has_probabilities
        return None if self.spec.patience is None else Judge(self.spec.patience, *of_what)

    def train(self) -> Outcome:
        """Train from start to end."""
        try:
            self.enter_stage(self.first)
            self.begin_or_resume()
            while self.finished < self.last_epoch:
                with threads_for(self.stages.operations_of_batch(self.finished + 1)):
                    self.run_epoch(self.finished + 1)
            self.progress.finish(self.copies.best.epoch if self.copies.best.complete else None)
        except KeyboardInterrupt as interrupt:
            self.keep_last_epoch(interrupt)
        finally:
            self.statistics.end()
            self.progress.close()
            self.averaging.end()
        self.keep_best_epoch()
        return self.end()

    def begin_or_resume(self):
        """Begin, or resume a run that a callback has loaded from a checkpoint."""
        set_rate(self.net.optimizer_, self.spec.learning_rate)  # skorch's LRScheduler begins from it
        self.net.stop_training = False
        rows = self.stages.train_rows
        with self.net.loading("run"):
            self.net.notify("on_train_begin", X=rows, y=self.stages.valid_rows)
        if len(self.net.history) > self.finished:
            check_length(len(self.net.history), self.last_epoch, self.resumes, self.spec.estimator_name)
            self.resume()
        begin_schedulers(self.net, self.first - 1, X=rows, y=self.stages.valid_rows)
        self.progress.begin(self.last_epoch - self.finished, self.n_updates, self.finished + 1)

    def run_epoch(self, epoch):
        """Train and validate for an epoch, keep its weights, and see whether it is the last."""
        self.averaging.take_back()
        if epoch == self.spec.freeze_epochs + 1 and epoch > self.first:
            self.enter_stage(epoch)
        if self.hooks.before_epoch is not None:
            self.hooks.before_epoch()
        row = self.train_and_validate(epoch)
        self.outcome.rates.append(row["learning_rate"])
        self.rates.after_epoch(epoch, self.watched(row))
        self.progress.end_epoch(row)
        told_to_stop = self.hooks.after_epoch is not None and self.hooks.after_epoch(row)
        self.outcome.stopped = bool(told_to_stop or self.net.stop_training)
        self.stages.set_training_mode()  # after validation, so that the copies hold what training changes
        self.finished = epoch  # before copying: a copy that is interrupted leaves the network at the end of this epoch
        self.copies.last.take(epoch)
        if self.judge is not None and self.is_to_keep(row):
            self.copies.best.take(epoch)
            self.death_check.keep()
        self.last_epoch = epoch if self.outcome.stopped else self.next_last_epoch(epoch)

    def enter_stage(self, epoch):
        """Train from now on what trains in an epoch, and add it to the copies."""
        self.statistics.end()
        self.copies.extend(self.stages.enter(epoch))
        self.statistics.watch(self.net.module_)

    def train_and_validate(self, epoch):
        """Train for an epoch and validate; return its row of the history, which is recorded."""
        net, stages, began = self.net, self.stages, time.perf_counter()
        net.notify("on_epoch_begin", dataset_train=stages.train_rows, dataset_valid=stages.valid_rows)
        self.copies.extend(stages.look_again())
        self.averaging.begin_epoch()
        row = dict.fromkeys(("train_loss", "penalty", "val_loss", "train_score", "val_score"), np.nan)
        row |= {"epoch": epoch, "learning_rate": np.nan}
        trained = self.training_pass.run(self.rates.of_epoch(epoch))
        row["train_loss"], row["train_score"] = trained.loss, trained.score
        self.averaging.end_epoch(epoch)
        row["penalty"] = float(stages.penalty())
        row["learning_rate"] = float(net.optimizer_.param_groups[0]["lr"])
        check_finite(row["train_loss"], "training loss is", row, self.spec.estimator_name)
        if stages.valid_rows is not None:
            row["val_loss"], row["val_score"] = self.validate()
            check_finite(row["val_loss"], "validation loss is", row, self.spec.estimator_name)
        else:  # no loss has been computed after the last update
            self.death_check.note(trained.first_output)
            check_finite(total_norm(stages.trained), "weights are", row, self.spec.estimator_name)
        row["duration"] = time.perf_counter() - began
        net.record_epoch(row)
        net.notify("on_epoch_end", dataset_train=stages.train_rows, dataset_valid=stages.valid_rows)
        return row

    def validate(self):
        """Return the weighted mean loss and the score of the validation rows."""
        rows = self.stages.valid_rows
        outputs = self.outputs_of_valid_rows(self.callbacks.tell_validation)
        self.death_check.note(outputs)
        score = np.nan if self.hooks.valid_score is None else self.hooks.valid_score(outputs)
        return weighted_loss(self.net.criterion_, outputs, rows, self.device), score

    def outputs_of_valid_rows(self, tell=None):
        """Compute the outputs of the validation rows."""
        self.net.module_.eval()
        rows = self.stages.valid_rows
        return forward_store(
            self.stages.valid_forward, rows.store, self.dtype, self.spec.precision, self.device, rows.rows, tell=tell
        )

    # Early stopping.

    def watched(self, row):
        """Return the number that early stopping minimises."""
        if self.stages.valid_rows is None:
            return row["train_loss"]
        return row["val_loss"] if self.spec.scoring == "loss" else -row["val_score"]

    def is_to_keep(self, row):
        """Tell whether early stopping keeps the weights of an epoch."""
        return self.judge.keeps(self.watched(row), row["val_score"], row["train_loss"], row["val_loss"])

    def next_last_epoch(self, epoch):
        """Return the run's last epoch; an earlier one than planned if validation no longer gets better."""
        if self.judge is None or not self.judge.exhausted:
            return self.last_epoch
        if self.spec.patience != "auto":
            return epoch
        if epoch <= self.spec.freeze_epochs < self.last_epoch:  # the backbone has not trained yet
            return self.last_epoch
        return self.rates.bring_forward(epoch, self.last_epoch)

    # A run that continues from a checkpoint.

    def resume(self):
        """Continue a run that a callback has loaded, as if this one had trained so far.

        Its order of rows, schedule and frozen layers go on, and its kept weights, where they were saved.
        """
        history, planned_end = self.net.history.to_list(), self.last_epoch
        epoch = kept = len(history)
        if self.rates.falls_on_plateau:
            set_rate(self.net.optimizer_, self.spec.learning_rate)
        for row in history[self.first - 1 :]:
            self.training_pass.shuffle()
            self.outcome.rates.append(row["learning_rate"])
            self.rates.after_epoch(row["epoch"], self.watched(row))
            if self.judge is not None and self.is_to_keep(row):
                kept = row["epoch"]
            self.last_epoch = self.next_last_epoch(row["epoch"])
        if self.judge is not None and kept < epoch:
            self.load_kept_epoch(kept)
        self.enter_stage(epoch)
        self.copies.extend(self.stages.freeze_as_recorded(recorded_frozen(history)))
        if self.copies.best.complete:
            self.net.load_params(**self.net.files_of(epoch))
        elif self.judge is not None:
            if kept < epoch:  # only the weights of the last epoch were saved
                self.judge = self.make_judge()
                self.is_to_keep(history[-1])
                if self.rates.fall is None:  # a fall that has begun continues to its end
                    self.last_epoch = planned_end
            self.copies.best.take(epoch)
        self.copies.last.take(epoch)
        self.finished = epoch
        self.averaging.resume(epoch)

    def load_kept_epoch(self, epoch):
        """Copy the weights that early stopping had kept from the epoch's own file, if there is one."""
        files = self.net.files_of(epoch)
        if "f_params" in files:
            self.enter_stage(epoch)
            self.net.load_params(**files)
            self.copies.best.take(epoch)

    # The end.

    def keep_last_epoch(self, interrupt):
        """Restore the last finished epoch after an interrupt; raise the interrupt if there is none."""
        last = self.copies.last
        if last.complete:
            self.finished = last.epoch
        if self.finished < self.first:
            raise interrupt
        if last.complete:
            self.return_to(last)
        self.outcome.interrupt = interrupt

    def keep_best_epoch(self):
        """Restore the epoch that early stopping keeps."""
        best = self.copies.best
        del self.net.history[self.finished :]
        self.outcome.fall = self.rates.fall
        self.outcome.n_epochs = self.finished - self.first + 1
        self.outcome.best_epoch = self.finished
        if self.judge is not None and best.complete:
            self.return_to(best)
            self.outcome.best_epoch = best.epoch
            if may_be_too_sure(self.net.criterion_, self.spec, self.net.history[best.epoch - 1]):
                outputs, rows = self.outputs_of_valid_rows(), self.stages.valid_rows
                self.outcome.temperature = cool(self.net, outputs, rows)

    def return_to(self, snapshot):
        """Restore an epoch's state, and freeze a backbone again that did not train in it."""
        self.stages.go_back_to(snapshot.epoch)
        snapshot.restore()

    def end(self):
        """Tell callbacks, and return the outcome."""
        self.net.module_.eval()
        clear_gradients(self.net.optimizer_.param_groups)  # as large as the weights, and of no use any more
        # Not told in bfloat16, where different outputs may be rounded to the same.
        self.outcome.died = self.can_tell_death and self.death_check.died
        try:
            with self.net.loading("best"):
                self.net.notify("on_train_end", X=self.stages.train_rows, y=self.stages.valid_rows)
        except KeyboardInterrupt as interrupt:
            self.outcome.interrupt = interrupt
        if self.net.epoch_loaded_ is not None:
            self.outcome.best_epoch, self.outcome.temperature = self.net.epoch_loaded_, 1.0
        return self.outcome
