"""The fit line, the forward pass and the state that classifier and regressor share."""

from __future__ import annotations

import copy
import functools
import math
import re
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data

from sklcnn.data.batches import Rows
from sklcnn.data.forms import is_table_of_numbers
from sklcnn.data.inputs import FeatureStore, channel_statistics, read_again, read_inputs
from sklcnn.data.kinds import check_kind
from sklcnn.data.rows import EVERYWHERE, check_rows_first, keep_rows, weight_unit, without_weightless
from sklcnn.data.split import split_rows
from sklcnn.data.targets import TORCH_FLOATS, ClassEncoding, LabelSetEncoding
from sklcnn.donors import find_donor, lend_backbone
from sklcnn.going_on import built_from, check_unchanged
from sklcnn.network.cnn import build_network
from sklcnn.network.losses import RowLoss
from sklcnn.parameters import CNNParameters
from sklcnn.scikit_callbacks import CALLBACK_ATTRIBUTES, CallbackSupportMixin, FitTask, with_callbacks
from sklcnn.scorers import checked_score, find_scorer, is_scikit_learns, scored_data, takes_weights
from sklcnn.specs import input_spec, loads_weights, network_spec, training_spec
from sklcnn.training.memory import check_fits, need_of_network, need_on_backbone
from sklcnn.training.run import FrozenStage, Watch
from sklcnn.training.scores import RunningScore, Score
from sklcnn.training.seeding import draw_seed, seeded

if TYPE_CHECKING:
    import pandas as pd

FEW_JUDGES = 10  # rows that validate, below which one of them decides which epoch is best
LOADED_LR_FACTOR = 0.1  # backbone_lr_factor="auto" for weights that were trained elsewhere
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


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Put an estimator's attributes back if an error leaves the block; an interrupt that has been dealt with passes."""
    before = vars(estimator).copy()
    net = before.get("net_")  # which a warm start sets to the hyper-parameters of now
    net_before = {} if net is None else vars(net).copy()
    try:
        yield
    except BaseException as error:
        if not getattr(error, "state_kept", False):
            if net is not None:
                vars(net).clear()
                vars(net).update(net_before)
            now = vars(estimator).copy()
            vars(estimator).clear()
            vars(estimator).update(before | {name: now[name] for name in CALLBACK_ATTRIBUTES if name in now})
        raise


@contextmanager
def memory_errors_explained(owner: str) -> Iterator[None]:
    """Say what takes less memory, where torch says that there is not enough."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
        size = re.search(r"allocate ([\d.]+ ?[a-zA-Z]+)", str(error))
        raise MemoryError(
            f"{owner}: the network and its batches take more memory than there is"
            f"{f' ({size[1]} at once)' if size else ''}. Lower batch_size, filters, kernel_size, dense_units or "
            "image_size, or set global_pooling."
        ) from error


@contextmanager
def validation_rows_named() -> Iterator[None]:
    """Say that an error is about the validation rows, which are checked as X and y are and in the same words."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (f"Validation rows (X_val, y_val): {error}", *error.args[1:])
        raise


class NotOfferedError(AttributeError, ValueError):
    """A method is not there because of a hyper-parameter's value: `hasattr` says no, and a call says why."""


class OneEpochAtATime:
    """Decorator of `partial_fit`, which an estimator with early stopping does not offer."""

    def __init__(self, method: Callable):
        functools.update_wrapper(self, method)  # type: ignore[arg-type]
        self._method = method

    def __get__(self, estimator: Any, cls: type | None = None) -> Callable:
        """Bind the method to an estimator."""
        if estimator is None:
            return self._method
        if estimator.early_stopping:
            raise NotOfferedError(
                f"{type(estimator).__name__}: partial_fit trains for one epoch and cannot stop early. "
                "Set early_stopping=False."
            )
        return types.MethodType(self._method, estimator)


class BaseCNN(CallbackSupportMixin, CNNParameters):
    """What classifier and regressor share; a subclass says what its targets are."""

    # What a subclass says.

    def _draft_encoding(self, y: Any) -> Any:
        """Encode what can be known of the targets before rows are held out."""
        raise NotImplementedError

    def _finish_encoding(self, draft: Any, y: Any, rows: np.ndarray, weights: np.ndarray) -> Any:
        """Encode what depends on the training rows."""
        raise NotImplementedError

    def _make_loss(self, encoding: Any) -> RowLoss:
        """Build the loss."""
        raise NotImplementedError

    def _default_score(self, encoding: Any) -> Score:
        """Give what `score` computes, from raw outputs."""
        raise NotImplementedError

    def _class_weights(self, encoding: Any, targets: torch.Tensor, weights: np.ndarray) -> np.ndarray | None:
        """Give the class weight of each class, (k,), or None."""
        return None

    # Specs: hyper-parameters as plain values for the other rooms.

    @property
    def _owner(self):
        return type(self).__name__

    def __sklearn_clone__(self):
        copied = super().__sklearn_clone__()
        if find_donor(self.backbone) is not None:
            copied.backbone = self.backbone  # fitted: a clone of it would not be
        return copied

    # Fitting.

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BaseCNN:
        """Train a network.

        Parameters
        ----------
        X : array-like
            Signals `(n, length)` or `(n, length, channels)`, images `(n, height, width)` or
            `(n, height, width, channels)`, volumes, with channels first or last; or flat rows with `input_shape`.
            NumPy arrays, memory maps, torch tensors and DataFrames of numbers. Or pictures one by one: a list, Series
            or one-column DataFrame of paths or of encoded `bytes`, a list of PIL images or of arrays of several sizes.
        y : array-like of shape (n,) or (n, n_outputs)
            Labels or an indicator matrix for a classifier; one or several values a row for a regressor.
        sample_weight : array-like of shape (n,), default=None
            Weight 2 counts as the row twice; rows of weight 0 are as if absent, whatever is in them.
        groups : array-like of shape (n,), default=None
            Rows of one group are held out together by `early_stopping`.
        X_val, y_val, sample_weight_val : default=None
            Validation rows of the user's: recorded in `history_`, and watched by `early_stopping` instead of a
            hold-out. `X_val` may be of another form than X.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            If a hyper-parameter, X, y or a weight is not usable, or the loss is not finite. The estimator is then as
            it was before the call.
        MemoryError
            If the network or its batches do not fit.
        KeyboardInterrupt
            If interrupted. The estimator then has the weights of the last finished epoch, or with `early_stopping` of
            the best so far; it is as it was if no epoch has finished.
        """
        with unchanged_on_error(self), memory_errors_explained(self._owner):
            self._check_parameters()
            self._fit(X, y, sample_weight, groups, (X_val, y_val, sample_weight_val))
        return self

    def _fit(self, X, y, sample_weight, groups, validation):
        if validation[0] is None and any(part is not None for part in validation):
            raise ValueError(f"{self._owner}: y_val and sample_weight_val go with X_val, which is None.")
        seed = draw_seed(self.random_state)
        goes_on = self.warm_start and hasattr(self, "net_")
        check_rows_first(X, y, self._owner)
        store, reading = self._read(X, goes_on, sample_weight)
        kept = keep_rows(store, y, sample_weight, groups, self._owner)
        draft = self._known_encoding(kept.y) if goes_on else self._draft_encoding(kept.y)
        encoding, train_rows, valid_rows, valid_data = self._divide(X, draft, kept, reading, validation, seed)
        with self._seeded(seed, goes_on):
            spec = training_spec(self, len(train_rows))
            net = self._continued_net(spec, encoding) if goes_on else self._new_net(spec, encoding, reading, train_rows)
            view = self._as_fitted(X, net, encoding, reading)
            watch = self._watch(view, encoding, reading, train_rows, valid_rows, valid_data)
            task = FitTask(self, X, y, sample_weight, spec.max_epochs)
            self._tell_epochs(task, watch, view)
            outcome = self._train(net, train_rows, valid_rows, watch, seed)
        if outcome.died:
            warnings.warn(
                f"{self._owner}: the network has died: it gives all rows the same output. Lower learning_rate, "
                "set batch_norm=True, or weaken l1, l2 or class_weight.",
                UserWarning,
                stacklevel=3,
            )
        history = net.history
        if self.refit_full and self.early_stopping and outcome.interrupt is None and not outcome.stopped:
            try:
                refitted = self._refit(spec, draft, reading, kept, outcome, seed)
                net, encoding = refitted if refitted is not None else (net, encoding)
            except KeyboardInterrupt as interrupt:
                outcome.interrupt = interrupt  # the first run's network stands
        self._remember(X, net, encoding, reading, outcome, history)
        task.end(lambda: {})
        if outcome.interrupt is not None:
            raise outcome.interrupt

    def _divide(self, X, draft, kept, reading, validation, seed):
        """Give the encoding, the rows that train, and those that validate, for the loss and for a scorer."""
        train, valid = self._split(draft, kept, validation, seed)
        encoding = self._finish_encoding(draft, kept.y, train, kept.weights[train])
        data, by_class = self._encode(encoding, kept, train)
        if valid is None:
            valid_rows, valid_data = self._validation_rows(X, encoding, reading, validation, by_class)
        else:
            valid_rows, valid_data = data.at(valid), scored_data(X, kept.y, kept.rows[valid], valid)
        self._check_validation_weights(valid_rows)
        if self.early_stopping and len(valid_rows) < FEW_JUDGES:
            warnings.warn(
                f"{self._owner}: early_stopping judges epochs by {len(valid_rows)} validation "
                f"row{'s' * (len(valid_rows) != 1)}, too few to tell a better one from luck. Raise "
                "validation_fraction, pass X_val and y_val, or leave early_stopping out: the schedule ends by itself.",
                UserWarning,
                stacklevel=4,
            )
        return encoding, data.at(train), valid_rows, valid_data

    def _refit(self, spec, draft, reading, kept, outcome, seed):
        """Train anew on all rows, for as long as was best, as the first run went; None if a callback cuts it short."""
        encoding = self._finish_encoding(draft, kept.y, EVERYWHERE, kept.weights)
        rows, _ = self._encode(encoding, kept, EVERYWHERE)
        with seeded(seed):
            net = self._new_net(replace(spec, patience=None, label="refit"), encoding, reading, rows, refit=True)
            by_epoch = outcome.rates if spec.schedule == "reduce_on_plateau" else None
            again = self._train(
                net, rows, None, self._watch(None, encoding, reading, rows, None, None), seed,
                epochs=outcome.best_epoch, horizon=spec.max_epochs, rates=by_epoch, fall=outcome.fall,
            )  # fmt: skip
        if again.interrupt is not None:
            raise again.interrupt
        return None if again.n_epochs < outcome.best_epoch else (net, encoding)

    def _seeded(self, seed, goes_on):
        """Seed what a fit draws; a fit that goes on draws anew, not what the last one drew."""
        return seeded((seed + (len(self.net_.history) if goes_on else 0)) % 2**32)

    def _known_encoding(self, y):
        """Give the last fit's encoding, for more targets of its kind."""
        return self._encoding

    def _read(self, X, goes_on, sample_weight):
        X, rows = without_weightless(X, sample_weight, self._owner)
        if goes_on:
            self._check_features(X)
            return read_again(X, self._reading, self.n_jobs, rows), self._reading
        donor = find_donor(self.backbone)
        if donor is not None:
            return read_again(X, donor._reading, self.n_jobs, rows), donor._reading
        return read_inputs(X, input_spec(self), rows)

    def _split(self, draft, kept, validation, seed):
        """Give places (in the rows kept) to train on, and to validate on or None."""
        if not self.early_stopping or validation[0] is not None:
            return EVERYWHERE, None
        codes = labels = None
        if isinstance(draft, ClassEncoding | LabelSetEncoding):
            codes, labels = draft.encode(kept.y, self._owner, torch.float32).numpy(), draft.output_names
        return split_rows(
            np.arange(len(kept)), fraction=self.validation_fraction, codes=codes, groups=kept.groups, labels=labels,
            seed=seed, owner=self._owner,
        )  # fmt: skip

    def _encode(self, encoding, kept, train, *, rescale=True, by_class=None):
        """Give the data of the rows that were kept, and the class weights, found here or given."""
        dtype = TORCH_FLOATS[self.precision]
        targets = encoding.encode(kept.y, self._owner, dtype)
        weights = kept.weights
        if by_class is None:
            by_class = self._class_weights(encoding, targets[train], weights[train])
        if by_class is not None:
            weights = weights * by_class[targets.numpy()]
        if rescale:
            weights = weights / weight_unit(weights[train], self._owner)
        return Rows(
            kept.store,
            torch.from_numpy(kept.rows),
            targets,
            None if np.all(weights == 1) else torch.from_numpy(weights).to(dtype),
            None if np.all(kept.weights == kept.weights[0]) else torch.from_numpy(kept.weights),
        ), by_class

    def _check_validation_weights(self, valid_rows):
        if valid_rows is not None and valid_rows.weights is not None and not valid_rows.weights.any():
            raise ValueError(
                f"{self._owner}: class_weight leaves every validation row with weight 0. Raise a weight, or validate "
                "on other rows."
            )

    def _validation_rows(self, X_train, encoding, reading, validation, by_class):
        """Read the user's validation rows, for the loss and for a scorer."""
        X, y, sample_weight = validation
        if X is None:
            return None, None
        if y is None:
            raise ValueError(f"{self._owner}: X_val needs y_val, which is None.")
        if self.refit_full:
            raise ValueError(
                f"{self._owner}: refit_full trains on the rows that early_stopping held out, but X_val is given and "
                "nothing is held out. Leave out X_val, or set refit_full=False."
            )
        view = copy.copy(self)
        view._remember_features(X_train, reading)
        with validation_rows_named():
            check_rows_first(X, y, self._owner)
            given, rows = without_weightless(X, sample_weight, self._owner)
            view._check_features(given)
            store = read_again(given, reading, self.n_jobs, rows, name="X_val")
            kept = keep_rows(store, y, sample_weight, None, self._owner)
            data, _ = self._encode(encoding, kept, EVERYWHERE, rescale=False, by_class=by_class)
        return data, scored_data(X, kept.y, kept.rows, EVERYWHERE)

    def _new_net(self, spec, encoding, reading, train_rows, refit=False):
        """Build a network and the skorch net around it."""
        from sklcnn.training.callbacks import user_callbacks
        from sklcnn.training.net import make_net

        if self.backbone is None:
            module = self._build_module(encoding, reading, spec, train_rows)
        else:
            module, spec = self._build_on_backbone(encoding, reading, spec, len(train_rows))
        callbacks = user_callbacks(self.callbacks, self._owner, refit)
        net = make_net(module.to(TORCH_FLOATS[self.precision]), spec, self._make_loss(encoding), callbacks)
        net.given_callbacks = self.callbacks
        net.built_from = built_from(self, reading.sample_shape)
        return net

    def _build_module(self, encoding, reading, spec, train_rows):
        network, shape = network_spec(self, reading.sample_shape), reading.sample_shape
        check_fits(need_of_network(network, spec, shape, encoding.n_outputs, len(train_rows)), spec)
        statistics = None
        if self.standardize:
            statistics = channel_statistics(train_rows.store, train_rows.rows, train_rows.weights)
        return build_network(network, shape, encoding.n_outputs, statistics)

    def _build_on_backbone(self, encoding, reading, spec, n_rows):
        """Build a network on a backbone; give it with the spec, which now knows how long the backbone is frozen."""
        from sklcnn.network.backbones import load_backbone
        from sklcnn.network.cnn import build_on_backbone

        spec, donor, shape = self._with_backbone_defaults(spec), find_donor(self.backbone), reading.sample_shape
        frozen = spec.freeze_epochs > 0
        if donor is not None:
            backbone = lend_backbone(donor, frozen=frozen)
        else:
            backbone = load_backbone(self.backbone, self.backbone_weights, shape, scale=1 / reading.unit, frozen=frozen)
        network = network_spec(self, shape)
        check_fits(need_on_backbone(network, spec, backbone, encoding.n_outputs, n_rows), spec)
        return build_on_backbone(network, backbone, encoding.n_outputs), spec

    def _with_backbone_defaults(self, spec):
        """Decide for how long the backbone is frozen and how fast it trains then, where that is left open."""
        loads = loads_weights(self) or find_donor(self.backbone) is not None
        if self.freeze_epochs is None:
            spec = replace(spec, freeze_epochs=math.inf if loads else 0)
        if self.backbone_lr_factor == "auto":
            spec = replace(spec, backbone_lr_factor=LOADED_LR_FACTOR if loads else 1.0)
        return spec

    def _continued_net(self, spec, encoding):
        """Give the last fit's net, set to the hyper-parameters of now."""
        from sklcnn.training.callbacks import user_callbacks

        check_unchanged(self, self.net_.built_from, self._reading.sample_shape)
        # With refit_full this net is not the last word, and an error on the way to that must leave the old one.
        net = copy.deepcopy(self.net_) if self.refit_full and self.early_stopping else self.net_
        for name in ("precision", "device"):
            old, new = getattr(net.spec, name), getattr(spec, name)
            if TORCH_FLOATS.get(old, old) != TORCH_FLOATS.get(new, new):
                raise ValueError(
                    f"{self._owner}: {name} was {old!r} when the network was made, and cannot become {new!r} in a "
                    "fit that goes on with it. Put it back, or set warm_start=False and fit anew."
                )
        spec = self._with_backbone_defaults(spec)
        restart = (net.spec.optimizer, net.spec.optimizer_params) != (spec.optimizer, spec.optimizer_params)
        net.spec = spec
        for group in net.optimizer_.param_groups[1:]:
            group["lr_factor"] = spec.backbone_lr_factor
        net.criterion_ = self._make_loss(encoding).to(net.device)
        if restart:
            net.initialize_optimizer()
        if self.callbacks is not net.given_callbacks:
            net.given_callbacks = self.callbacks
            net.callbacks = user_callbacks(self.callbacks, self._owner)
            net.initialize_callbacks()
        return net

    def _train(self, net, train_rows, valid_rows, watch, seed, **run):
        generator = torch.Generator().manual_seed(seed + len(net.history))
        frozen = self._frozen_stage(net, train_rows, valid_rows, watch.augment)
        return net.fit_loop(train_rows, valid_rows, watch=watch, generator=generator, frozen=frozen, **run)

    def _frozen_stage(self, net, train_rows, valid_rows, augment):
        """Compute a frozen backbone's features, once for all epochs that train on them."""
        backbone = getattr(net.module_, "backbone", None)
        if backbone is None or net.spec.freeze_epochs <= len(net.history):
            return None

        def features(rows):
            found = self._features(net, rows.store, rows.rows)
            return replace(rows, store=FeatureStore(found), rows=torch.arange(len(rows)))

        return FrozenStage(
            train=features(train_rows) if augment is None else None,
            valid=None if valid_rows is None else features(valid_rows),
        )

    def _features(self, net, store, rows):
        """Look up or compute the features that a frozen backbone gives for some rows."""
        from sklcnn.network.backbones import backbone_batch_size
        from sklcnn.network.feature_cache import cached_features, open_feature_cache

        return cached_features(
            net.module_.backbone,
            store,
            rows,
            cache=open_feature_cache(self.feature_cache),
            batch_size=backbone_batch_size(store.sample_shape),
            device=net.device,
            precision=net.spec.precision,
            image_size=store.sample_shape[1:],
        )

    @OneEpochAtATime
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> BaseCNN:
        """Train for one epoch on some rows, at a constant learning rate, going on from the network there is.

        Parameters
        ----------
        X, y : as in `fit`
        sample_weight : array-like of shape (n,), default=None
            Taken as they are: not rescaled.

        Returns
        -------
        self : object
        """
        with unchanged_on_error(self), memory_errors_explained(self._owner):
            self._check_parameters()
            self._partial_fit(X, y, sample_weight)
        return self

    def _partial_fit(self, X, y, sample_weight, draft=None):
        seed = draw_seed(self.random_state)
        goes_on = hasattr(self, "net_")
        check_rows_first(X, y, self._owner)
        store, reading = self._read(X, goes_on, sample_weight)
        kept = keep_rows(store, y, sample_weight, None, self._owner)
        draft = self._encoding if goes_on else draft or self._draft_encoding(kept.y)
        encoding = self._finish_encoding(draft, kept.y, EVERYWHERE, kept.weights)
        train_rows, _ = self._encode(encoding, kept, EVERYWHERE, rescale=False)
        with self._seeded(seed, goes_on):
            spec = replace(training_spec(self, len(train_rows)), schedule=None, patience=None, max_epochs=1)
            net = self._continued_net(spec, encoding) if goes_on else self._new_net(spec, encoding, reading, train_rows)
            watch = self._watch(None, encoding, reading, train_rows, None, None)
            outcome = self._train(net, train_rows, None, watch, seed)
            self._remember(X, net, encoding, reading, outcome, net.history)
        if outcome.interrupt is not None:
            raise outcome.interrupt

    def _watch(self, view, encoding, reading, train_rows, valid_rows, valid_data):
        """Set up what is computed while the network trains."""
        score = self._default_score(encoding)
        watch = Watch(train_score=RunningScore(score, train_rows.targets, train_rows.score_weights))
        if self.augmentation is not None:
            from sklcnn.data.augmentation import build_augmentation

            watch.augment = build_augmentation(
                self.augmentation,
                spatial_dims=reading.spatial_dims,
                sample_shape=reading.sample_shape,
                unit=reading.unit,
            )
        if valid_rows is not None:
            watch.valid_score = RunningScore(score, valid_rows.targets, valid_rows.score_weights).of_all
        if self.scoring != "loss":
            self._watch_scorer(watch, view, valid_rows, valid_data)
        return watch

    def _as_fitted(self, X, net, encoding, reading):
        """Copy the estimator as one that predicts by the weights of the moment."""
        view = copy.copy(self)
        view._remember_network(net, encoding, reading)
        view._remember_features(X, reading)
        return view

    def _tell_epochs(self, task, watch, view):
        """Tell scikit-learn's callbacks of each epoch, with the weights of the moment."""
        if task.listens:
            watch.before_epoch = task.begin_epoch
            watch.after_epoch = lambda row: task.end_epoch(lambda: vars(view))

    def _watch_scorer(self, watch, view, valid_rows, valid_data):
        """Score the validation rows by the user's scorer, in the user's units, from outputs that are there already."""
        scorer = find_scorer(self.scoring, self._owner)
        watch.train_score = None  # the scorer's own units: not to be compared with accuracy or R2 beside it
        if valid_rows is None:
            return
        X, y = valid_data(is_scikit_learns(scorer))
        view = copy.copy(view)
        view._known_outputs = known = [X, None]
        arguments = {}
        if valid_rows.score_weights is not None and takes_weights(scorer):
            arguments["sample_weight"] = valid_rows.score_weights.numpy()

        def score(outputs):
            known[1] = outputs
            return checked_score(scorer, view, X, y, arguments, self.scoring)

        watch.valid_score = score

    # State.

    def _remember_network(self, net, encoding, reading):
        """Set what `predict` needs."""
        self.net_ = net
        self._encoding, self._reading = encoding, reading
        self.sample_shape_ = reading.sample_shape
        self.n_outputs_ = encoding.n_outputs

    def _remember_features(self, X, reading):
        """Set how X was read, and the number and names of a table's columns."""
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
        self._reading = reading
        if reading.flat or hasattr(X, "columns"):
            validate_data(self, X, reset=True, skip_check_array=True)

    def _remember(self, X, net, encoding, reading, outcome, history):
        """Set the fitted attributes."""
        vars(self).pop("_known_outputs", None)
        self._remember_network(net, encoding, reading)
        self._remember_features(X, reading)
        self.n_iter_ = len(history)
        self.best_epoch_ = outcome.best_epoch
        from sklcnn.training.callbacks import recorded_names

        names = dict.fromkeys([*HISTORY_COLUMNS, *recorded_names(history)])
        self._history = [{name: row.get(name, np.nan) for name in names} for row in history]
        if outcome.interrupt is not None:
            outcome.interrupt.state_kept = True

    @property
    def module_(self) -> torch.nn.Module:
        """The trained network, an `nn.Module`."""
        if "net_" not in vars(self):
            raise AttributeError(f"{self._owner} has no module_ before fit.")
        return self.net_.module_

    @property
    def fitted_(self) -> bool:
        """True after fit: what libraries such as MAPIE look for, where X is no table and so has no `n_features_in_`."""
        if "net_" not in vars(self):
            raise AttributeError(f"{self._owner} has no fitted_ before fit.")
        return True

    @property
    def history_(self) -> pd.DataFrame:
        """A row an epoch: losses, penalty, scores, learning rate, seconds, and what callbacks recorded."""
        if "_history" not in vars(self):
            raise AttributeError(f"{self._owner} has no history_ before fit.")
        import pandas as pd

        return pd.DataFrame(self._history, columns=list(self._history[0]) if self._history else HISTORY_COLUMNS)

    def summary(self) -> pd.DataFrame:
        """List the trained network's layers.

        Returns
        -------
        table : DataFrame
            Columns ``layer``, ``type``, ``output shape`` (channels first, without the batch axis), ``parameters`` and
            ``trainable``. Printed, it ends with the totals; they are in its `attrs`.
        """
        check_is_fitted(self)
        from sklcnn.network.summary import summarize

        return summarize(self.module_, self.sample_shape_, self._dtype)

    def __sklearn_is_fitted__(self):
        return "net_" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = False
        return tags

    # Predicting.

    @property
    def _dtype(self):
        return TORCH_FLOATS[self.net_.spec.precision]

    def _check_features(self, X):
        """Check a table's column names and number, as scikit-learn does, if `fit` was given a table of its kind."""
        # `read_again` counts the columns of a nameless table itself, and says the same.
        if not hasattr(self, "n_features_in_"):
            return
        check_kind(X, type(self).__name__)
        if hasattr(X, "columns") or (hasattr(self, "feature_names_in_") and getattr(X, "ndim", 0) == 2):
            reading = self._reading
            of_cells = reading.mode is not None or (self.n_features_in_ == 1 != math.prod(reading.array_shape))
            if is_table_of_numbers(X) != of_cells:
                validate_data(self, X, reset=False, skip_check_array=True)

    def _outputs(self, X):
        """Give the network's raw outputs, an ndarray (n, n_outputs_)."""
        if "net_" not in vars(self):
            check_is_fitted(self)
        known = vars(self).get("_known_outputs")
        if known is not None and known[0] is X:
            return known[1].cpu().numpy()
        self._check_features(X)
        store = read_again(X, self._reading, self.n_jobs)
        from sklcnn.training.net import forward_store, head_of

        spec, module = self.net_.spec, self.module_
        if getattr(getattr(module, "backbone", None), "frozen", False):
            module.eval()
            store, module = FeatureStore(self._features(self.net_, store, slice(None))), head_of(module)
        with memory_errors_explained(self._owner):
            outputs = forward_store(module, store, self._dtype, spec.precision, self.net_.torch_device_)
        outputs = outputs.cpu().numpy()
        if not np.all(np.isfinite(outputs)):
            row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
            raise ValueError(
                f"{self._owner}: the network's outputs for row {row} of X are not finite: X must hold values of the "
                "magnitude that fit was given. Check that row."
            )
        return outputs

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_known_outputs", None)
        return state
