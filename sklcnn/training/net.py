"""The skorch net that trains: whole batches by index, one pass of Python a batch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklcnn.data.batches import batch_sizes
from sklcnn.data.inputs import Store
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.network.allocation import freed_memory_kept
from sklcnn.network.backbones import Backbone, backbone_batch_size
from sklcnn.network.cnn import flat, widest_layer
from sklcnn.network.losses import RowLoss
from sklcnn.network.penalties import FROZEN_L2, add_penalty_gradients, penalised_weights, weight_penalty
from sklcnn.training.health import Pulse
from sklcnn.training.norms import YoungStatistics
from sklcnn.training.optimizers import make_optimizer
from sklcnn.training.progress import make_progress
from sklcnn.training.rates import Rates
from sklcnn.training.run import Outcome, TrainingSpec, Watch
from sklcnn.training.snapshots import Snapshot, state_tensors
from sklcnn.training.stopping import Judge

# OpenMP's threads do not survive a fork: a child that asks for them waits for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

# Where some row weighs more than so many average ones, as at 99:1 with class_weight, gradients are clipped to a norm. A
# batch that holds such a row by chance moves the network by a multiple of what the others do: now and then its units
# die of it. A full batch holds them all, and its law, weight 2 is the row twice, stays exact.
HEAVY, MAX_NORM = 10.0, 1.0
SCORED_ROWS = 8192  # whose outputs wait to be scored together
DEVICE_SHARE = 3  # a GPU's free memory over what the rows may take of it: the rest is for the network
EVALUATION_BATCH = 1024  # rows a forward pass without gradients, at most
# Values before and after a layer in such a pass. Measured for signals, images and volumes, 8 to 256 filters: throughput
# is best at 2 to 6 million and falls by half at 10, where memory comes from the system each time, not from a pool.
EVALUATION_VALUES = 2**22


def has_backbone(network: nn.Module) -> bool:
    """Tell whether a backbone is among a network's layers."""
    return any(isinstance(layer, Backbone) for layer in network.children())


def evaluation_batch_size(network: nn.Module, sample_shape: Sequence[int]) -> int:
    """Choose how many rows go through a network at once without gradients."""
    if has_backbone(network):
        return backbone_batch_size(sample_shape)
    return max(1, min(EVALUATION_BATCH, EVALUATION_VALUES // widest_layer(network, sample_shape)))


def autocast(precision: str, device: torch.device) -> Any:
    """Give the context that a forward pass runs in."""
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def needs_pairs(module: nn.Module) -> bool:
    """Whether a batch of one row has no variance for some layer to normalise by."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def trained(module: nn.Module) -> list[nn.Parameter]:
    """List the parameters of a module that train."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@torch.no_grad()
def total_norm(tensors: Sequence[torch.Tensor]) -> float:
    """Sum the norms of tensors; the sum is not finite if one of their values is not."""
    return float(torch.stack(torch._foreach_norm(list(tensors))).sum()) if tensors else 0.0


def head_of(module: nn.Sequential) -> nn.Module:
    """Give what follows the backbone; all of a network that has none."""
    return module[1:] if hasattr(module, "backbone") else module


def has_heavy_rows(weights: torch.Tensor | None) -> bool:
    """Tell whether a row stands for so many that the batches with and without it are worlds apart."""
    return weights is not None and bool(weights.max() > HEAVY * weights.mean())


def _overrides(callback, hook):
    return getattr(type(callback), hook) is not getattr(Callback, hook)


class TrainingNet(NeuralNet):
    """A skorch net that takes batches of rows as they come and keeps its hands off the user's interrupts.

    Parameters
    ----------
    module : nn.Module
    criterion : RowLoss
    spec : TrainingSpec
    callbacks : list of skorch callbacks

    Attributes
    ----------
    stop_training : bool
        Callbacks set it to end the training with the epoch under way, as in Keras.
    """

    stop_training = False

    def __init__(self, module, criterion, spec, callbacks=None, device="cpu", **kwargs):
        super().__init__(
            module,
            criterion,
            callbacks=callbacks,
            device=device,
            train_split=None,
            verbose=0,
            lr=spec.learning_rate,
            max_epochs=spec.max_epochs,
            batch_size=spec.batch_size,
            use_caching=True,
            predict_nonlinearity=criterion.probabilities,
            **kwargs,
        )
        self.spec = spec

    def __setstate__(self, state):
        super().__setstate__(state)
        if not isinstance(self.spec.optimizer, str) and hasattr(self, "optimizer_"):
            # An optimiser is pickled without what its class adds, such as LBFGS's list of parameters.
            unpickled, spec = self.optimizer_, self.spec
            groups = [{name: group[name] for name in ("params", "lr_factor")} for group in unpickled.param_groups]
            self.optimizer_ = make_optimizer(
                spec.optimizer, groups, spec.learning_rate, spec.optimizer_params, self.torch_device_, spec.owner
            )
            self.optimizer_.load_state_dict(unpickled.state_dict())

    def get_default_callbacks(self):
        """Give none: the epoch loop below records losses and times itself."""
        return []

    def initialize_optimizer(self, *args, **kwargs):
        """Build the optimiser over the parameters that train."""
        spec = self.spec
        groups = [{"params": trained(head_of(self.module_)), "lr_factor": 1.0}]
        groups += self._backbone_groups()
        self.optimizer_ = make_optimizer(
            spec.optimizer, groups, spec.learning_rate, spec.optimizer_params, torch.device(self.device), spec.owner
        )
        return self

    def _backbone_groups(self):
        """Give the optimiser's group of the backbone's parameters, if there are any that train."""
        parameters = trained(getattr(self.module_, "backbone", nn.Identity()))
        if parameters and isinstance(self.spec.optimizer, type) and issubclass(self.spec.optimizer, torch.optim.LBFGS):
            raise ValueError(
                f"{self.spec.owner}: optimizer=LBFGS takes one learning rate for all parameters, but a backbone that "
                "trains has its own. Keep it frozen (freeze_epochs of max_epochs or more), or use another optimizer."
            )
        return [{"params": parameters, "lr_factor": self.spec.backbone_lr_factor}] if parameters else []

    def freeze_backbone(self):
        """Stop training the backbone, and take it out of the optimiser."""
        self.module_.backbone.freeze()
        self.set_groups(self.optimizer_.param_groups[:1])

    def thaw_backbone(self):
        """Train the backbone from now on, at its share of the head's learning rate."""
        self.module_.backbone.unfreeze()
        if len(self.optimizer_.param_groups) == 1 and (groups := self._backbone_groups()):
            rate = self.optimizer_.param_groups[0]["lr"] * self.spec.backbone_lr_factor
            self.optimizer_.add_param_group(groups[0] | {"lr": rate})

    def set_groups(self, groups):
        """Set what the optimiser trains; forget its state of all else."""
        self.optimizer_.param_groups[:] = groups
        kept = {parameter for group in groups for parameter in group["params"]}
        for parameter in [p for p in self.optimizer_.state if p not in kept]:
            del self.optimizer_.state[parameter]

    def __sklearn_tags__(self):
        """Be the classifier that scorers know, so that those of two classes are given the second one's probability."""
        tags = super().__sklearn_tags__()
        tags.estimator_type = {"classes": "classifier", "values": "regressor"}.get(self.criterion.kind)
        return tags

    @property
    def classes_(self):
        """The class codes, which scoring callbacks are given as targets."""
        if self.criterion.kind != "classes":
            raise AttributeError(f"{type(self).__name__} has classes_ only where a row has one class.")
        return np.arange(self.criterion.n_outputs)

    def predict(self, X):
        """Give class codes, indicators or standardised values: what skorch's scoring callbacks compare with targets."""
        return self.criterion_.decide(self.predict_proba(X))

    def get_loss(self, y_pred, y_true, X=None, training=False, weights=None):
        """Average the weighted losses of the rows."""
        return self.criterion_.average(y_pred, y_true, weights)

    def save_params(self, f_params=None, *, use_safetensors=False, **files):
        """Save as skorch does, a file at a time, so that being killed on the way leaves each old file whole."""
        for name, file in {"f_params": f_params, **files}.items():
            aside = f"{file}.part" if isinstance(file, (str, os.PathLike)) else file
            super().save_params(**{name: aside}, use_safetensors=use_safetensors)
            if aside is not file:
                os.replace(aside, file)

    def load_params(self, f_params=None, f_optimizer=None, f_criterion=None, f_history=None, checkpoint=None, **kwargs):
        """Load as skorch does, into an optimiser that trains what it trained when it was saved."""
        history = checkpoint.f_history_ if f_history is None and checkpoint is not None else f_history
        backbone = getattr(self.module_, "backbone", None)
        if history is not None and backbone is not None and backbone.frozen:
            if len(History.from_file(history)) > self.spec.freeze_epochs:
                self.thaw_backbone()
        super().load_params(f_params, f_optimizer, f_criterion, f_history, checkpoint, **kwargs)
        if checkpoint is not None:
            self.loaded_from_ = checkpoint

    def files_of(self, epoch):
        """Give the files of an epoch's weights and optimiser, of the checkpoint loaded from: those not written over."""
        checkpoint, history = getattr(self, "loaded_from_", None), self.history.to_list()
        if checkpoint is None or not history[epoch - 1].get(checkpoint.event_name, True):
            return {}

        def names(n_epochs):
            return checkpoint.get_formatted_files(SimpleNamespace(history=History(history[:n_epochs])))

        then, now = names(epoch), names(len(history))
        return {
            part: then[part]
            for part in ("f_params", "f_optimizer")
            if then[part] and (epoch == len(history) or then[part] != now[part]) and os.path.exists(then[part])
        }

    # The epoch loop.

    def fit_loop(
        self,
        X,
        y=None,
        epochs=None,
        *,
        watch=None,
        generator=None,
        horizon=None,
        rates=None,
        fall=None,
        frozen=None,
        **_,
    ):
        """Train for some epochs, or until early stopping.

        Parameters
        ----------
        X : Rows
            Training rows.
        y : Rows or None
            Validation rows.
        epochs : int or None
        watch : Watch or None
        generator : torch.Generator or None
            Shuffles the rows.
        horizon : int or None
            Epochs that the schedule spans, if not `epochs`.
        rates : list of float or None
            A learning rate an epoch, instead of the schedule.
        fall : Fall or None
            Of the rate, brought forward as in a run that this one repeats.
        frozen : FrozenStage or None
            What the epochs up to `spec.freeze_epochs` train on, if not on all of the network.

        Returns
        -------
        outcome : Outcome

        Raises
        ------
        ValueError
            If the loss is not finite. The net is then as it was.
        KeyboardInterrupt
            If interrupted before an epoch has finished. The net is then as it was.
        """
        epochs = epochs or self.spec.max_epochs
        run = _Run(self, X, y, epochs, watch or Watch(), generator, horizon or epochs, rates, fall, frozen)
        with freed_memory_kept():
            return run.train()

    @property
    def torch_device_(self):
        """Where the network is."""
        return torch.device(self.device)


class _Run:
    """One run of the epoch loop."""

    def __init__(self, net, train, valid, epochs, watch, generator, horizon, rates, fall, frozen):
        self.net, self.watch, self.frozen = net, watch, frozen
        self.spec, self.epochs, self.generator = net.spec, epochs, generator
        self.module, self.optimizer = net.module_, net.optimizer_
        self.device = net.torch_device_
        if self.device.type == "cuda":
            free_bytes = torch.cuda.mem_get_info(self.device)[0] // DEVICE_SHARE
            train, valid = (rows and rows.on_device(self.device, free_bytes) for rows in (train, valid))
        self.train_rows, self.valid_rows = self.all_rows = train, valid
        self.dtype = TORCH_FLOATS[self.spec.precision]
        self.hooks = [cb for _, cb in net.callbacks_ if any(map(cb_hook(cb), ("on_batch_begin", "on_batch_end")))]
        self.gradient_hooks = [cb for _, cb in net.callbacks_ if _overrides(cb, "on_grad_computed")]
        self.first = len(net.history) + 1
        last_epoch = self.first + epochs - 1
        thaws = self.spec.freeze_epochs < last_epoch
        by_batch = thaws and not getattr(getattr(self.module, "backbone", None), "keeps_statistics", False)
        self.join_last = needs_pairs(self.module if by_batch else head_of(self.module))
        self.n_batches = len(batch_sizes(len(train), self.spec.batch_size, self.join_last))
        schedule = (self.n_batches, self.first, self.first + horizon - 1, self._watches_loss())
        self.rates = Rates(self.spec, self.optimizer, *schedule, given=rates, fall=fall)
        self.clips = self.n_batches > 1 and has_heavy_rows(train.weights)
        self.judge = self._new_judge()
        self.young_statistics = YoungStatistics(self.module)
        self.pulse = Pulse()
        self.progress = make_progress(self.spec.verbose, self.spec.label)

    def train(self):
        net, outcome, train = self.net, Outcome(), self.all_rows[0]
        start, last, best = self.snapshots = [Snapshot(self.module, self.optimizer) for _ in range(3)]
        self.before = self._stage()
        self._set_training_mode()
        start.take(self.first - 1)
        self._enter_stage(self.first)
        finished, last_epoch = self.first - 1, self.first + self.epochs - 1
        try:
            self._set_rate(self.spec.learning_rate)  # from which skorch's LRScheduler sets out
            net.stop_training = False
            net.notify("on_train_begin", X=self.train_rows, y=self.valid_rows)
            if len(net.history) > finished:  # a callback has loaded a run that was cut off
                finished, last_epoch = self._take_up(last_epoch)
                outcome.rates = [row["learning_rate"] for row in net.history[self.first - 1 :]]
            self.progress.begin(last_epoch - finished, self.n_batches, finished + 1)
            while finished < last_epoch:
                epoch = finished + 1
                if epoch == self.spec.freeze_epochs + 1 and epoch > self.first:
                    self._enter_stage(epoch)
                if self.watch.before_epoch is not None:
                    self.watch.before_epoch()
                row = self._epoch(epoch)
                outcome.rates.append(row["learning_rate"])
                outcome.stopped = self._after_epoch(row)
                self._set_training_mode()  # which validation left: copies are of what training changes
                finished = epoch  # first: a copy cut short leaves the network itself at the end of this epoch
                last.take(epoch)
                if self.judge is not None and self._keeps(row):
                    best.take(epoch)
                    self.pulse.keep()
                last_epoch = epoch if outcome.stopped else self._last_epoch(epoch, last_epoch)
            self.progress.finish(best.epoch if best.complete else None)
        except KeyboardInterrupt as interrupt:
            finished = last.epoch if last.complete else finished
            if finished < self.first:
                self._go_back(start)
                raise
            if last.complete:
                self._return_to(last)
            outcome.interrupt = interrupt
        except BaseException:
            self._go_back(start)
            raise
        finally:
            self.young_statistics.end()
            self.progress.close()
        outcome.fall = self.rates.fall
        del net.history[finished:]
        outcome.n_epochs = finished - self.first + 1
        outcome.best_epoch = finished
        if self.spec.patience is not None and best.complete:
            self._return_to(best)
            outcome.best_epoch = best.epoch
        self.module.eval()
        # In bfloat16 outputs may be equal though what they are rounded from is not.
        can_tell = self.spec.precision != "bfloat16" and not bool((train.targets == train.targets[:1]).all())
        outcome.died = can_tell and self.pulse.stopped
        try:
            net.notify("on_train_end", X=self.train_rows, y=self.valid_rows)
        except KeyboardInterrupt as interrupt:
            outcome.interrupt = interrupt
        except BaseException:
            self._go_back(start)
            raise
        return outcome

    def _enter_stage(self, epoch):
        """Freeze or thaw the backbone, and choose what the epochs from now on train on."""
        backbone = getattr(self.module, "backbone", None)
        frozen = backbone is not None and epoch <= self.spec.freeze_epochs
        thaws = backbone is not None and backbone.frozen and not frozen
        self.forward = self.module
        self.train_rows, self.valid_rows = self.all_rows
        self.valid_forward = self.module
        if frozen:
            self.net.freeze_backbone()
            if self.frozen is not None and self.frozen.train is not None:
                self.forward, self.train_rows = head_of(self.module), self.frozen.train
            if self.frozen is not None and self.frozen.valid is not None:
                self.valid_forward, self.valid_rows = head_of(self.module), self.frozen.valid
        elif thaws:
            self.net.thaw_backbone()
        self.forward, self.valid_forward = flat(self.forward), flat(self.valid_forward)
        self._set_training_mode()
        self._note_trained()
        if thaws:
            for snapshot in self.snapshots:
                snapshot.extend(state_tensors(backbone))

    def _note_trained(self):
        """Take note of the parameters that train, which callbacks such as skorch's Freezer may change."""
        self.trained = trained(self.module)
        self.strengths = self.spec.l1, self.spec.l2
        if self.spec.l2 == "auto":
            backbone = getattr(self.module, "backbone", None)
            self.strengths = self.spec.l1, FROZEN_L2 if backbone is not None and backbone.frozen else 0.0
        self.penalised = penalised_weights(self.module) if any(self.strengths) else []

    def _last_epoch(self, epoch, last):
        """Give the run's last epoch, which is brought forward where validation says that more of them gain nothing."""
        if self.judge is None or not self.judge.exhausted:
            return last
        if self.spec.patience != "auto":
            return epoch
        thaws = epoch <= self.spec.freeze_epochs < last  # and what has yet to train may still gain
        return last if thaws else self.rates.bring_forward(epoch, last)

    def _take_up(self, last_epoch):
        """Go on with a run that a callback has loaded, as if this one had trained so far.

        That is: in its order of rows, on its schedule, and with the weights that early stopping had kept, where they
        were saved. Give the epoch that it had finished, and the run's last.
        """
        _, last, best = self.snapshots
        history = self.net.history.to_list()
        epoch = kept = len(history)
        if self.rates.falls_on_plateau:
            self._set_rate(self.spec.learning_rate)
        for row in history[self.first - 1 :]:
            torch.randperm(len(self.train_rows), generator=self.generator)
            self.rates.after_epoch(self._watched(row))
            if self.judge is not None and self._keeps(row):
                kept = row["epoch"]
            last_epoch = self._last_epoch(row["epoch"], last_epoch)
        if self.judge is not None:
            files = self.net.files_of(kept) if kept < epoch else {}
            if "f_params" in files:
                self._enter_stage(kept)
                self.net.load_params(**files)
                best.take(kept)
        self._enter_stage(epoch)
        if best.complete:
            self.net.load_params(**self.net.files_of(epoch))
        elif self.judge is not None:
            if kept < epoch:  # the weights of the last epoch are all there is
                self.judge = self._new_judge()
                self._keeps(history[-1])
                if self.rates.fall is None:  # a fall that has begun goes on to its end
                    last_epoch = self.first + self.epochs - 1
            best.take(epoch)
        last.take(epoch)
        return epoch, last_epoch

    def _keeps(self, row):
        return self.judge.keeps(self._watched(row), row["val_score"], row["train_loss"])

    def _new_judge(self):
        return None if self.spec.patience is None else Judge(self.spec.patience, self.n_batches, self._watches_loss())

    def _stage(self):
        """Note whether the backbone is frozen, and what the optimiser trains."""
        backbone = getattr(self.module, "backbone", None)
        return backbone is None or backbone.frozen, list(self.optimizer.param_groups), dict(self.optimizer.state)

    def _return_to(self, snapshot):
        """Put back an epoch's state; the backbone's too, if it did not train yet."""
        backbone = getattr(self.module, "backbone", None)
        if backbone is not None and snapshot.epoch <= self.spec.freeze_epochs and not backbone.frozen:
            self.net.freeze_backbone()
        snapshot.restore()

    def _go_back(self, start):
        if (backbone := getattr(self.module, "backbone", None)) is not None:
            frozen, groups, state = self.before
            if backbone.frozen != frozen:
                backbone.freeze() if frozen else backbone.unfreeze()
            for parameter, moments in state.items():  # of a backbone that this run froze
                self.optimizer.state.setdefault(parameter, moments)
            self.net.set_groups(groups)
        start.restore()
        del self.net.history[self.first - 1 :]
        self.module.eval()

    def _watches_loss(self):
        return self.valid_rows is None or self.spec.scoring == "loss"

    def _watched(self, row):
        """Give what early stopping minimises."""
        if self.valid_rows is None:
            return row["train_loss"]
        return row["val_loss"] if self.spec.scoring == "loss" else -row["val_score"]

    def _after_epoch(self, row):
        self.rates.after_epoch(self._watched(row))
        self.progress.end_epoch(row)
        stop = self.watch.after_epoch is not None and self.watch.after_epoch(row)
        return bool(stop or self.net.stop_training)

    def _epoch(self, epoch):
        net, began = self.net, time.perf_counter()
        net.notify("on_epoch_begin", dataset_train=self.train_rows, dataset_valid=self.valid_rows)
        if len(trained(self.module)) != len(self.trained):
            self._note_trained()
            for snapshot in self.snapshots:
                snapshot.extend([parameter.data for parameter in self.trained])
        row = dict.fromkeys(("train_loss", "penalty", "val_loss", "train_score", "val_score"), np.nan)
        row |= {"epoch": epoch, "learning_rate": np.nan}
        row["train_loss"], row["train_score"] = self._train_epoch(self.rates.of_epoch(epoch))
        row["penalty"] = float(weight_penalty(self.module, *self.strengths))
        row["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        self._check_finite(row["train_loss"], row, "training loss is")
        if self.valid_rows is not None:
            row["val_loss"], row["val_score"] = self._validate()
            self._check_finite(row["val_loss"], row, "validation loss is")
        else:  # the last update's outcome, which no loss has seen yet
            self._check_finite(total_norm(self.trained), row, "weights are")
        row["duration"] = time.perf_counter() - began
        self._record(row)
        net.notify("on_epoch_end", dataset_train=self.train_rows, dataset_valid=self.valid_rows)
        return row

    def _record(self, row):
        """Write an epoch into skorch's history, under skorch's names too, which its callbacks watch."""
        history = self.net.history
        best = {
            f"{skorch}_best": not any(old[own] <= row[own] for old in history[:-1])
            for skorch, own in (("train_loss", "train_loss"), ("valid_loss", "val_loss"))
        }
        aliases = {"valid_loss": row["val_loss"], "dur": row["duration"]}
        for name, value in {**row, **aliases, **best}.items():
            history.record(name, value)

    def _check_finite(self, loss, row, which):
        if not np.isfinite(loss):
            raise ValueError(
                f"{self.spec.owner}: the {which} not finite in epoch {row['epoch']}, at learning rate "
                f"{row['learning_rate']:.3g}. Lower learning_rate, scale the inputs (standardize=True), or clip "
                "gradients with skorch's GradientNormClipping in callbacks."
            )

    # One epoch of training.

    def _set_training_mode(self):
        self.module.train()
        if self.join_last and (self.spec.batch_size == 1 or len(self.train_rows) == 1):
            # One row has no variance to normalise by: running statistics take its place.
            for layer in self.module.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()

    def _train_epoch(self, rates):
        """Train on every row once, at a rate an update; give the mean loss and the score on the way."""
        rows, net = self.train_rows, self.net
        order = torch.randperm(len(rows), generator=self.generator)
        sizes = batch_sizes(len(rows), self.spec.batch_size, self.join_last)
        self._set_training_mode()
        self.young_statistics.begin_epoch()
        first_output = None
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        scored = _Scored(self.watch.train_score, order)
        for batch in rows.batches(order, sizes, self.dtype, self.device):
            if rates is not None:
                self._set_rate(next(rates))
            if self.hooks:
                net.notify("on_batch_begin", batch=(batch.inputs, batch.targets), training=True)
            if self.young_statistics.young:
                self.young_statistics.before_update()
            loss, output = self._step(batch)
            if first_output is None:
                first_output = output
            total.add_(loss, alpha=len(output))
            scored.add(output)
            self.progress.advance()
            if self.hooks:
                self._after_batch(batch, loss, output)
        if not self.hooks:
            net.history.new_batch()  # which skorch's Checkpoint looks up, whatever it holds
        if self.valid_rows is None:
            self.pulse.feel(first_output)
        return float(total) / len(rows), scored.score()

    def _after_batch(self, batch, loss, output):
        """Tell skorch's batch callbacks what they expect to hear."""
        history = self.net.history
        history.record_batch("train_loss", loss.item())
        history.record_batch("train_batch_size", len(output))
        self.net.notify("on_batch_end", batch=(batch.inputs, batch.targets), training=True, loss=loss, y_pred=output)

    def _step(self, batch):
        """Take one step of the optimiser; give the loss before it, and the outputs."""
        inputs, targets, weights = batch
        if self.watch.augment is not None:
            if self.watch.augment.mixes:
                targets = self.net.criterion_.soft_targets(targets, self.dtype)
            inputs, targets = self.watch.augment(inputs, targets)
        if isinstance(self.spec.optimizer, str):
            step = self._gradients(inputs, targets, weights, batch)
            self.optimizer.step()
            return step

        steps = []  # an optimiser of the user's may look several times, as L-BFGS does

        def closure():
            steps.append(self._gradients(inputs, targets, weights, batch))
            loss = steps[-1][0]
            return loss + weight_penalty(self.module, *self.strengths).to(loss) if self.penalised else loss

        self.optimizer.step(closure)
        return steps[0]

    def _gradients(self, inputs, targets, weights, batch):
        """Compute the loss and its gradients, and those of the penalties; give the loss and the outputs."""
        for group in self.optimizer.param_groups:  # as `zero_grad` does, in a tenth of its time
            for parameter in group["params"]:
                parameter.grad = None
        if self.spec.precision == "bfloat16":
            with autocast(self.spec.precision, self.device):
                output = self.forward(inputs).to(self.dtype)
        else:
            output = self.forward(inputs)
        loss = self.net.get_loss(output, targets, weights=weights, training=True)
        loss.backward()
        if self.penalised:
            add_penalty_gradients(self.penalised, *self.strengths)
        if self.clips:
            nn.utils.clip_grad_norm_(self.trained, MAX_NORM)
        if self.gradient_hooks:
            self._after_gradients(batch)
        return loss.detach(), output.detach()

    def _after_gradients(self, batch):
        named = list(self.module.named_parameters())
        for callback in self.gradient_hooks:
            callback.on_grad_computed(
                self.net, named_parameters=named, batch=(batch.inputs, batch.targets), training=True
            )

    def _set_rate(self, rate):
        for group in self.optimizer.param_groups:
            group["lr"] = float(rate) * group.get("lr_factor", 1.0)

    # Validation.

    def _validate(self):
        """Give the weighted mean loss and the score of the validation rows."""
        self.module.eval()
        rows, spec = self.valid_rows, self.spec
        outputs = forward_store(
            self.valid_forward, rows.store, self.dtype, spec.precision, self.device, rows.rows,
            tell=self._tell_validation if self.hooks else None,
        )  # fmt: skip
        self.pulse.feel(outputs)
        with torch.inference_mode():
            losses = self.net.criterion_(outputs, rows.targets.to(self.device)).cpu()
        loss = float(np.average(losses.numpy(), weights=None if rows.weights is None else rows.weights.cpu().numpy()))
        score = np.nan
        if self.watch.valid_score is not None:
            score = self.watch.valid_score(outputs)
        return loss, score

    def _tell_validation(self, inputs, outputs, start):
        """Tell skorch's batch callbacks of validation rows, which begin at place `start`."""
        net, rows, part = self.net, self.valid_rows, slice(start, start + len(outputs))
        targets = rows.targets[part].to(self.device)
        weights = None if rows.weights is None else rows.weights[part].to(self.device)
        loss = net.get_loss(outputs, targets, weights=weights)
        net.notify("on_batch_begin", batch=(inputs, targets), training=False)
        net.history.record_batch("valid_loss", float(loss))
        net.history.record_batch("valid_batch_size", len(outputs))
        net.notify("on_batch_end", batch=(inputs, targets), training=False, loss=loss, y_pred=outputs)


class _Scored:
    """The outputs of an epoch's batches on their way into a score: a few thousand rows together, no more at a time."""

    def __init__(self, running, order):
        self._running, self._order = running, order
        self._outputs, self._n_waiting, self._n_scored = None, 0, 0

    def add(self, output):
        if self._running is None:
            return
        waiting = self._n_waiting + len(output)
        if self._outputs is None:
            # Filled batch by batch: small tensors that stay would break up the memory that the next batch could use.
            n_rows = min(len(self._order), SCORED_ROWS + waiting)
            self._outputs = output.new_empty(n_rows, *output.shape[1:])
        elif waiting > len(self._outputs):
            self._score()
            waiting = len(output)
        self._outputs[self._n_waiting : waiting] = output
        self._n_waiting = waiting

    def _score(self):
        if self._n_waiting:
            done = self._n_scored + self._n_waiting
            self._running.add(self._outputs[: self._n_waiting], self._order[self._n_scored : done])
            self._n_waiting, self._n_scored = 0, done

    def score(self):
        self._score()
        return np.nan if self._running is None else self._running.take()


def cb_hook(callback):
    """Give a test for whether a callback listens to a hook."""
    return lambda hook: _overrides(callback, hook)


@torch.inference_mode()
def forward_store(
    module: nn.Module,
    store: Store,
    dtype: torch.dtype,
    precision: str,
    device: torch.device,
    rows: torch.Tensor | None = None,
    tell: Callable | None = None,
    at_most: int = EVALUATION_BATCH,
) -> torch.Tensor:
    """Run a network over a store, or some rows of it, in order and without gradients.

    `tell` is called with the inputs and outputs of each batch, and the place of its first row; a batch has `at_most`
    so many rows.

    Returns
    -------
    outputs : tensor of shape (n, k)
    """
    if module.training:
        module.eval()
    n_rows = len(store) if rows is None else len(rows)
    size = min(at_most, evaluation_batch_size(module, store.sample_shape)) if n_rows > 1 else 1
    groups: Iterable[torch.Tensor | slice]
    if rows is None:
        groups = [slice(start, start + size) for start in range(0, len(store), size)]
    else:
        groups = rows.split(size)
    n_done, outputs = 0, torch.empty(0)
    # Without a backbone, batches are of a size for which memory comes from a pool anyway.
    with freed_memory_kept() if n_rows > 1 and has_backbone(module) else nullcontext():
        for inputs in store.batches(groups, dtype):
            with autocast(precision, device):
                output = module(inputs.to(device)).to(dtype)
            if tell is not None:
                tell(inputs, output, n_done)
            if len(output) == n_rows:
                return output
            if n_done == 0:
                # Filled batch by batch: small tensors that stay would break up memory that the next batch could use.
                outputs = output.new_empty(n_rows, *output.shape[1:])
            outputs[n_done : n_done + len(output)] = output
            n_done += len(output)
    return outputs


def make_net(module: nn.Module, spec: TrainingSpec, criterion: RowLoss, callbacks: list) -> TrainingNet:
    """Build and initialise a net around a network."""
    if isinstance(spec.optimizer, type) and issubclass(spec.optimizer, torch.optim.LBFGS):
        # It looks at all gradients as one vector, without a copy, which channels-last weights do not allow.
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
    net = TrainingNet(module, criterion, spec, callbacks=callbacks, device=spec.device)
    return net.initialize()
