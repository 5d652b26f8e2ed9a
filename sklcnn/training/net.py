"""The skorch net: what it holds, and what its callbacks and users expect of it. The epoch loop is in `loop.py`."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import Callback, LoadInitState, LRScheduler
from skorch.history import History
from skorch.utils import to_numpy

from sklcnn.network.losses import RowLoss
from sklcnn.network.network import Network
from sklcnn.training.copies import copy_to_train
from sklcnn.training.optimizers import make_optimizer
from sklcnn.training.resumable import ResumableNet
from sklcnn.training.run import TrainingSpec
from sklcnn.training.stages import check_number, forget_schedulers, parameter_groups
from sklcnn.training.turns import take_turn_back
from sklcnn.wording import errors_noted

LOSSES = "train_loss", "val_loss"


class TrainingNet(ResumableNet):
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
            verbose=1,  # for PrintLog; others of skorch's print only by a `sink` that the user gives them
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
            self.optimize(unpickled.param_groups)
            self.optimizer_.load_state_dict(unpickled.state_dict())

    def get_default_callbacks(self):
        """Return none of skorch's: the epoch loop records losses and times itself."""
        return []

    def initialize_optimizer(self, *args, **kwargs):
        """Build the optimiser over the parameters that train."""
        self.optimize(parameter_groups(self.module_, self.spec))
        return self

    def optimize(self, groups: list[dict]) -> None:
        """Build the optimiser over groups of parameters. A callback may freeze some of them, and thaw them again."""
        spec, groups = self.spec, [{name: group[name] for name in ("params", "lr_factor")} for group in groups]
        check_number(groups, spec)
        self.optimizer_ = make_optimizer(
            spec.optimizer, groups, spec.learning_rate, spec.optimizer_params, self.torch_device_, spec.estimator_name
        )

    @property
    def torch_device_(self):
        """The device that the network is on."""
        return torch.device(self.device)

    def copied(self) -> TrainingNet:
        """Return a net to train on, with copies of this one's network, optimiser and history.

        The callbacks are the same objects: they may hold what cannot be copied, such as the connection to a server.
        """
        net: Any = object.__new__(type(self))
        vars(net).update(vars(self))
        net.module_, net.optimizer_ = copy_to_train(self.module_, self.optimizer_)
        net.module = net.module_
        net.history_ = History(self.history)
        return net

    def continue_with(self, spec: TrainingSpec, criterion: RowLoss, callbacks: list | None) -> None:
        """Take other hyper-parameters.

        Parameters
        ----------
        spec : TrainingSpec
        criterion : RowLoss
        callbacks : list of skorch callbacks, or None
            None: those of this net, in their present state.
        """
        restarts = (self.spec.optimizer, self.spec.optimizer_params) != (spec.optimizer, spec.optimizer_params)
        self.spec = spec
        self.criterion_ = criterion.to(self.device)
        if restarts:
            self.optimize(self.optimizer_.param_groups)
        forget_schedulers(self.optimizer_)
        if callbacks is not None:
            self.callbacks = callbacks
            self.initialize_callbacks()

    def initialize_callbacks(self):
        """Initialise the callbacks, and put some in the order that resuming needs.

        What loads a run comes first, so that others find its history when training begins; those that schedule the
        rate come last, so that checkpoints hold an epoch's own.
        """
        super().initialize_callbacks()
        self.callbacks_.sort(key=lambda named: isinstance(named[1], LRScheduler) - isinstance(named[1], LoadInitState))
        return self

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

    def get_iterator(self, dataset, training=False):
        """Return an iterator over a data set, which draws no seed from the generator that a fit draws from."""
        iterator = super().get_iterator(dataset, training)
        iterator.generator = torch.Generator()
        return iterator

    def _as_given(self, targets):
        return self.criterion_.task.as_given(to_numpy(targets))

    def get_loss(self, y_pred, y_true, X=None, training=False, weights=None):
        """Average the weighted losses of the rows."""
        return self.criterion_.average(y_pred, y_true, weights)

    def notify(self, method_name, **data):
        """Call the callbacks, and wait for fits that they may have run in threads of their own.

        Those that score compare predictions with y as the user gave it, unless they have a `target_extractor` of
        their own. Those that schedule the rate are told by `begin_schedulers` that training begins.
        """
        told = self.callbacks_
        if method_name == "on_train_begin":
            self.callbacks_ = [named for named in told if not isinstance(named[1], LRScheduler)]
        scoring = [callback for _, callback in self.callbacks_ if getattr(callback, "target_extractor", 0) is to_numpy]
        for callback in scoring:
            callback.target_extractor = self._as_given
        try:
            getattr(self, method_name)(self, **data)
            for name, callback in self.callbacks_:
                with errors_noted(lambda error, name=name: f"The callback {name!r} raised this in {method_name}."):
                    getattr(callback, method_name)(self, **data)
        finally:
            self.callbacks_ = told
            for callback in scoring:  # which are saved with the estimator
                callback.target_extractor = to_numpy
        take_turn_back()


def make_net(module: Network, spec: TrainingSpec, criterion: RowLoss, callbacks: list) -> TrainingNet:
    """Build and initialise a net around a network."""
    if isinstance(spec.optimizer, type) and issubclass(spec.optimizer, torch.optim.LBFGS):
        # It views all gradients as one vector, which channels-last weights do not allow.
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
    net = TrainingNet(module, criterion, spec, callbacks=callbacks, device=spec.device)
    return net.initialize()
