"""The skorch net: what it holds, and what its callbacks and users expect of it. The epoch loop is in `loop.py`."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History
from skorch.utils import to_numpy

from sklcnn.network.losses import RowLoss
from sklcnn.network.network import Network
from sklcnn.training.checkpoints import (
    DIGESTS,
    ROWS,
    check_files,
    check_loadable,
    digest_of,
    digest_of_rows,
    files_of_epoch,
    read_history,
    warn_of_unsaved,
)
from sklcnn.training.optimizers import make_optimizer
from sklcnn.training.run import TrainingSpec
from sklcnn.training.stages import parameter_groups, thaw
from sklcnn.training.turns import take_turn_back

LOSSES = "train_loss", "val_loss"


class TrainingNet(NeuralNet):
    """A skorch net around a network of the package.

    Parameters
    ----------
    module : Network
    criterion : RowLoss
    spec : TrainingSpec
    callbacks : list of skorch callbacks

    Attributes
    ----------
    stop_training : bool
        Callbacks set it to end the training after the present epoch, as in Keras.
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
            predict_nonlinearity=criterion.task.activate,
            **kwargs,
        )
        self.spec = spec

    def __getstate__(self):
        """Return the attributes as they are, so that cloudpickle can store a user's own code with them.

        skorch would pickle networks and losses by themselves, by pickle only, and some of them twice.
        """
        return super().__getstate__() if self.torch_device_.type == "cuda" else vars(self).copy()

    def __setstate__(self, state):
        if "__cuda_dependent_attributes__" in state:
            super().__setstate__(state)
        else:
            vars(self).update(state)
        if not isinstance(self.spec.optimizer, str) and hasattr(self, "optimizer_"):
            # The pickle of an optimiser lacks what its class adds, such as LBFGS's list of parameters.
            unpickled = self.optimizer_
            groups = [{name: group[name] for name in ("params", "lr_factor")} for group in unpickled.param_groups]
            self.optimizer_ = self._make_optimizer(groups)
            self.optimizer_.load_state_dict(unpickled.state_dict())

    def get_default_callbacks(self):
        """Return none of skorch's: the epoch loop records losses and times itself."""
        return []

    def initialize_optimizer(self, *args, **kwargs):
        """Build the optimiser over the parameters that train."""
        self.optimizer_ = self._make_optimizer(parameter_groups(self.module_, self.spec))
        return self

    def _make_optimizer(self, groups):
        spec = self.spec
        return make_optimizer(
            spec.optimizer, groups, spec.learning_rate, spec.optimizer_params, self.torch_device_, spec.estimator_name
        )

    @property
    def torch_device_(self):
        """The device that the network is on."""
        return torch.device(self.device)

    def continued(self, spec: TrainingSpec, criterion: RowLoss, callbacks: list | None) -> TrainingNet:
        """Return a net with this one's network, optimiser and history, and with other hyper-parameters.

        Parameters
        ----------
        spec : TrainingSpec
        criterion : RowLoss
        callbacks : list of skorch callbacks, or None
            None: those of this net, in their present state.
        """
        net: Any = object.__new__(type(self))
        vars(net).update(vars(self))
        net.history_ = History(self.history)
        restarts = (self.spec.optimizer, self.spec.optimizer_params) != (spec.optimizer, spec.optimizer_params)
        net.spec = spec
        net.criterion_ = criterion.to(self.device)
        if restarts:
            net.initialize_optimizer()
        if callbacks is not None:
            net.callbacks = callbacks
            net.initialize_callbacks()
        return net

    # What callbacks and scorers see.

    def listeners(self, *hooks: str) -> list[Callback]:
        """List the callbacks that listen to one of some hooks."""
        found = [callback for _, callback in self.callbacks_]
        return [cb for cb in found if any(getattr(type(cb), hook) is not getattr(Callback, hook) for hook in hooks)]

    def record_epoch(self, row: dict[str, Any]) -> None:
        """Write an epoch into skorch's history, under skorch's names too, which its callbacks watch."""
        best = {f"{name}_best": not any(old[name] <= row[name] for old in self.history[:-1]) for name in LOSSES}
        best["valid_loss_best"] = best["val_loss_best"]
        best["val_score_best"] = not any(old["val_score"] >= row["val_score"] for old in self.history[:-1])
        aliases = {"valid_loss": row["val_loss"], "dur": row["duration"]}
        for name, value in {**row, **aliases, **best}.items():
            self.history.record(name, value)

    def __sklearn_tags__(self):
        """Say that it is a classifier, so that scorers of two classes get the probability of the second one."""
        tags = super().__sklearn_tags__()
        tags.estimator_type = self.criterion.task.estimator_type
        return tags

    @property
    def classes_(self):
        """The classes, as callbacks that score are given them in y; of several labels, those of each."""
        classes = self.criterion.task.scored_classes
        if classes is None:
            raise AttributeError(f"{type(self).__name__} of values has no classes_.")
        return classes

    def predict(self, X):
        """Return labels, indicators or values, of the form and in the units of y."""
        return self.criterion_.task.decide(self.predict_proba(X))

    def _as_given(self, targets):
        return self.criterion_.task.as_given(to_numpy(targets))

    def get_loss(self, y_pred, y_true, X=None, training=False, weights=None):
        """Average the weighted losses of the rows."""
        return self.criterion_.average(y_pred, y_true, weights)

    def notify(self, method_name, **data):
        """Call the callbacks, and wait for fits that they may have run in threads of their own.

        Those that score compare predictions with y as the user gave it, unless they have a `target_extractor` of
        their own.
        """
        scoring = [callback for _, callback in self.callbacks_ if getattr(callback, "target_extractor", 0) is to_numpy]
        for callback in scoring:
            callback.target_extractor = self._as_given
        try:
            super().notify(method_name, **data)
        finally:
            for callback in scoring:  # which are saved with the estimator
                callback.target_extractor = to_numpy
        take_turn_back()

    # Files.

    def save_params(self, f_params=None, *, use_safetensors=False, **files):
        """Save as skorch does, but replace each file by a complete one, so that a killed process leaves no part of one.

        The history is saved with digests of the epoch's other files, and not at all where one could not be written.
        """
        for name, file in {"f_params": f_params, **files}.items():
            if not isinstance(file, (str, os.PathLike)):
                super().save_params(**{name: file}, use_safetensors=use_safetensors)
            elif name != "f_history" or None not in self._digests().values():
                self._save_aside(name, os.fspath(file), use_safetensors)

    def _save_aside(self, name, file, use_safetensors):
        aside = f"{file}.part"
        if name == "f_history":
            self._digests()[ROWS] = digest_of_rows(self.history)
        try:
            super().save_params(**{name: aside}, use_safetensors=use_safetensors)
            digest = digest_of(aside)
            os.replace(aside, file)
        except Exception as error:
            self._digests()[os.path.basename(file)] = None
            with contextlib.suppress(OSError):
                os.unlink(aside)
            warn_of_unsaved(file, error, self.spec.estimator_name)
            raise
        if name != "f_history":
            self._digests()[os.path.basename(file)] = digest

    def _digests(self):
        """Return the digests of the files of the latest epoch: None where one could not be written."""
        return self.history[-1].setdefault(DIGESTS, {}) if self.history else {}

    def load_params(self, f_params=None, f_optimizer=None, f_criterion=None, f_history=None, checkpoint=None, **kwargs):
        """Load as skorch does, after giving the optimiser the parameters that it trained when it was saved.

        A checkpoint is loaded with all of its files.

        Raises
        ------
        ValueError
            If a file of a checkpoint is missing, damaged or of another epoch; it is named.
        """
        if checkpoint is not None and f_history is None and checkpoint.f_history is not None:
            self._load_checkpoint(checkpoint, kwargs)
            return
        if f_history is not None:
            self._thaw_for(len(History.from_file(f_history)))
        super().load_params(f_params, f_optimizer, f_criterion, f_history, checkpoint, **kwargs)
        if checkpoint is not None:
            self.loaded_from_ = checkpoint

    def _load_checkpoint(self, checkpoint, kwargs):
        name = self.spec.estimator_name
        rows = read_history(checkpoint, name)
        if not rows:
            return
        saved = max((n for n, row in enumerate(rows, 1) if row.get(checkpoint.event_name)), default=len(rows))
        files = files_of_epoch(checkpoint, rows, saved)
        check_files(files, rows, saved, name)
        self._thaw_for(len(rows))
        check_loadable(partial(super().load_params, **kwargs), files, name)
        self.history = History(rows)
        self.loaded_from_ = checkpoint

    def _thaw_for(self, n_epochs):
        """Give the optimiser the parameters that it trained after so many epochs."""
        if self.module_.is_frozen and n_epochs > self.spec.freeze_epochs:
            thaw(self.module_, self.optimizer_, self.spec)

    def files_of(self, epoch):
        """Return the files of an epoch's weights and optimiser, of the checkpoint loaded from.

        Empty where the epoch was not saved, or a later one has overwritten it.

        Raises
        ------
        ValueError
            If one is missing or damaged.
        """
        checkpoint, rows = getattr(self, "loaded_from_", None), self.history.to_list()
        if checkpoint is None or not rows[epoch - 1].get(checkpoint.event_name, checkpoint.monitor is None):
            return {}
        then, now = (files_of_epoch(checkpoint, rows, n_epochs) for n_epochs in (epoch, len(rows)))
        parts = [part for part in ("f_params", "f_optimizer") if epoch == len(rows) or then.get(part) != now.get(part)]
        files = {part: then[part] for part in parts if part in then}
        check_files(files, rows, epoch, self.spec.estimator_name)
        return files


def make_net(module: Network, spec: TrainingSpec, criterion: RowLoss, callbacks: list) -> TrainingNet:
    """Build and initialise a net around a network."""
    if isinstance(spec.optimizer, type) and issubclass(spec.optimizer, torch.optim.LBFGS):
        # It views all gradients as one vector, which channels-last weights do not allow.
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
    net = TrainingNet(module, criterion, spec, callbacks=callbacks, device=spec.device)
    return net.initialize()
