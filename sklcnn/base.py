"""The fit line, the forward pass and the state that classifier and regressor share."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.metrics import get_scorer
from sklearn.metrics._scorer import _BaseScorer
from sklearn.utils import _safe_indexing, check_array, check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from sklcnn.constraints import is_sequence
from sklcnn.data.batches import Rows
from sklcnn.data.images import image_sources
from sklcnn.data.inputs import FeatureStore, InputSpec, channel_statistics, read_again, read_inputs
from sklcnn.data.split import split_rows
from sklcnn.data.targets import TORCH_FLOATS, ClassEncoding, check_weights
from sklcnn.network.cnn import NetworkSpec, build_network
from sklcnn.network.losses import RowLoss
from sklcnn.parameters import CNNParameters
from sklcnn.scikit_callbacks import CALLBACK_ATTRIBUTES, CallbackSupportMixin, FitTask, with_callbacks
from sklcnn.scores import RunningScore, Score
from sklcnn.training.seeding import draw_seed, seeded

if TYPE_CHECKING:
    import pandas as pd

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
# "auto" for max_epochs: about so many updates, in no fewer and no more epochs than these.
AUTO_UPDATES, AUTO_MIN_EPOCHS, AUTO_MAX_EPOCHS = 1000, 10, 200

EVALUATION_ROWS = 32  # images that a frozen backbone is given at once: of 224 pixels, what fits a cache best


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


def auto_epochs(n_rows: int, batch_size: int) -> int:
    """Choose a number of epochs that gives about 1,000 updates."""
    updates = math.ceil(n_rows / batch_size)
    return min(max(round(AUTO_UPDATES / updates), AUTO_MIN_EPOCHS), AUTO_MAX_EPOCHS)


def find_image_size(image_size: Any, backbone: Any) -> tuple[int, int] | None:
    """Give the (height, width) that images are resized to: the user's, or what a named backbone was trained on."""
    if image_size is not None:
        return tuple(map(int, image_size)) if is_sequence(image_size) else (int(image_size),) * 2
    if backbone is None:
        return None
    from sklcnn.network.backbones import default_image_size

    return default_image_size(backbone)


def resolve_device(device: str, precision: str, owner: str) -> str:
    """Find the device to run on.

    Raises
    ------
    ValueError
        If there is no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        usable = torch.backends.mps.is_available() and precision != "float64"  # which Apple's GPUs lack
        return "mps" if usable else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{owner}: device={device!r} is not available here: {reason}. Use device=\"auto\"."
        ) from None
    return device


def find_scorer(scoring: Any, owner: str) -> Callable:
    """Give the scorer that a hyper-parameter names, or is.

    Raises
    ------
    ValueError
        If there is no scorer of that name.
    """
    if not isinstance(scoring, str):
        return scoring
    try:
        return get_scorer(scoring)
    except ValueError:
        raise ValueError(
            f"{owner}: scoring must be \"loss\", a scorer's name or a callable; got {scoring!r}. "
            "sklearn.metrics.get_scorer_names() lists the names."
        ) from None


def offers_partial_fit(estimator: Any) -> bool:
    """Tell whether an estimator has `partial_fit`; say why not."""
    if estimator.early_stopping:
        raise ValueError(
            f"{type(estimator).__name__}: partial_fit trains for one epoch and cannot stop early. "
            "Set early_stopping=False."
        )
    return True


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

    def _input_spec(self):
        shape = None if self.input_shape is None else tuple(int(size) for size in self.input_shape)
        return InputSpec(
            self._owner,
            shape,
            self.spatial_dims,
            self.data_format,
            image_size=find_image_size(self.image_size, self.backbone),
            n_jobs=self.n_jobs,
            pixels=self.backbone is not None,
        )

    def _network_spec_now(self):
        def as_tuple(units):
            return tuple(int(n) for n in units) if is_sequence(units) else (int(units),)

        return NetworkSpec(
            owner=self._owner,
            filters=as_tuple(self.filters),
            dense_units=as_tuple(self.dense_units),
            **{
                name: getattr(self, name)
                for name in (
                    "kernel_size", "stride", "padding", "pooling", "pool_size", "global_pooling", "activation",
                    "batch_norm", "dropout", "conv_dropout",
                )
            },
        )  # fmt: skip

    def _training_spec(self, n_rows):
        from sklcnn.training.net import TrainingSpec

        schedule = self.lr_schedule
        if schedule == "auto":
            schedule = "reduce_on_plateau" if self.early_stopping else "one_cycle"
        return TrainingSpec(
            owner=self._owner,
            schedule=schedule,
            max_epochs=auto_epochs(n_rows, self.batch_size) if self.max_epochs == "auto" else int(self.max_epochs),
            patience=int(self.patience) if self.early_stopping else None,
            device=resolve_device(self.device, self.precision, self._owner),
            freeze_epochs=math.inf if self.freeze_epochs is None else int(self.freeze_epochs),
            **{
                name: getattr(self, name)
                for name in (
                    "optimizer", "learning_rate", "optimizer_params", "batch_size", "l1", "l2", "scoring", "precision",
                    "verbose", "backbone_lr_factor",
                )
            },
        )  # fmt: skip

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
            Weight 2 counts as the row twice; rows of weight 0 are dropped.
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
        KeyboardInterrupt
            If interrupted. The estimator is then fitted as of the last finished epoch.
        """
        with unchanged_on_error(self):
            self._check_parameters()
            self._fit(X, y, sample_weight, groups, (X_val, y_val, sample_weight_val))
        return self

    def _fit(self, X, y, sample_weight, groups, validation):
        if validation[0] is None and any(part is not None for part in validation):
            raise ValueError(f"{self._owner}: y_val and sample_weight_val go with X_val, which is None.")
        seed = draw_seed(self.random_state)
        goes_on = self.warm_start and hasattr(self, "net_")
        store, reading = self._read(X, goes_on, sample_weight)
        given_y = y
        rows, y, weights, groups = self._kept_rows(store, y, sample_weight, groups)
        draft = self._known_encoding(y) if goes_on else self._draft_encoding(y)
        train, valid = self._split(draft, y, rows, groups, validation, seed)
        encoding = self._finish_encoding(draft, y, train, weights[train])
        data, by_class = self._encode(encoding, store, rows, y, weights, train)
        train_rows = data(train)
        if valid is None:
            valid_rows, valid_data = self._validation_rows(X, encoding, reading, validation, by_class)
        else:
            valid_rows, valid_data = data(valid), _scored_data(X, y, rows[valid], valid)
        self._check_validation_weights(valid_rows)
        with self._seeded(seed, goes_on):
            spec = self._training_spec(len(train_rows))
            net = self._continued_net(spec, encoding) if goes_on else self._new_net(spec, encoding, reading, train_rows)
            watch = self._watch(net, encoding, reading, train_rows, valid_rows, valid_data)
            task = FitTask(self, X, given_y, sample_weight, spec.max_epochs)
            self._tell_epochs(task, watch, net, encoding, reading)
            outcome = self._train(net, train_rows, valid_rows, watch, seed)
        history = net.history
        if self.refit_full and self.early_stopping and outcome.interrupt is None:
            try:
                net, encoding = self._refit(spec, draft, reading, (store, rows, y, weights), outcome, seed)
            except KeyboardInterrupt as interrupt:
                outcome.interrupt = interrupt  # the first run's network stands
        self._remember(X, net, encoding, reading, outcome, history)
        task.end(lambda: {})
        if outcome.interrupt is not None:
            raise outcome.interrupt

    def _refit(self, spec, draft, reading, data, outcome, seed):
        """Train anew on all rows, for as long as was best, as the first run went."""
        store, rows, y, weights = data
        everything = np.arange(len(rows))
        encoding = self._finish_encoding(draft, y, everything, weights)
        all_rows = self._encode(encoding, store, rows, y, weights, everything)[0](everything)
        with seeded(seed):
            net = self._new_net(replace(spec, patience=None), encoding, reading, all_rows)
            by_epoch = outcome.rates if spec.schedule == "reduce_on_plateau" else None
            again = self._train(
                net, all_rows, None, self._watch(net, encoding, reading, all_rows, None, None), seed,
                epochs=outcome.best_epoch, horizon=spec.max_epochs, rates=by_epoch,
            )  # fmt: skip
        if again.interrupt is not None:
            raise again.interrupt
        return net, encoding

    def _seeded(self, seed, goes_on):
        """Seed what a fit draws; a fit that goes on draws anew, not what the last one drew."""
        return seeded((seed + (len(self.net_.history) if goes_on else 0)) % 2**32)

    def _known_encoding(self, y):
        """Give the last fit's encoding, for more targets of its kind."""
        return self._encoding

    def _read(self, X, goes_on, sample_weight):
        if goes_on:
            self._check_features(X)
            return read_again(X, self._reading, self.n_jobs, sample_weight), self._reading
        return read_inputs(X, self._input_spec(), sample_weight)

    def _kept_rows(self, store, y, sample_weight, groups):
        """Drop the rows of zero weight; give the rest with y, weights and groups beside them."""
        if y is None:
            raise ValueError(
                f"{self._owner}: requires y to be passed, but the target y is None. Pass one target a row."
            )
        weights = check_weights(sample_weight, len(store), self._owner)
        y = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
        y = y if hasattr(y, "shape") or isinstance(y, (list, tuple)) else np.asarray(y)
        if getattr(y, "shape", None) == ():
            raise TypeError(f"{self._owner}: y must hold one target a row; got the one value {y.tolist()!r}.")
        if len(store) != (n_targets := _num_samples(y)):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {self._owner} got {len(store)} rows in X "
                f"but {n_targets} in y. Pass one target a row."
            )
        if groups is not None:
            groups = check_array(groups, ensure_2d=False, dtype=None, input_name="groups")
            check_consistent_length(y, groups)
        rows = np.arange(len(store))
        if weights is None:
            return rows, y, np.ones(len(store)), groups
        rows = np.flatnonzero(weights > 0)
        if len(rows) < len(store):
            y = _safe_indexing(y, rows)
            groups = None if groups is None else groups[rows]
        return rows, y, weights[rows], groups

    def _split(self, draft, y, rows, groups, validation, seed):
        """Give places (in `rows`) to train on, and to validate on or None."""
        places = np.arange(len(rows))
        if not self.early_stopping or validation[0] is not None:
            return places, None
        codes = labels = None
        if isinstance(draft, ClassEncoding):
            codes, labels = draft.encode(y, self._owner, torch.float32).numpy(), draft.classes
        return split_rows(
            places, fraction=self.validation_fraction, codes=codes, groups=groups, labels=labels, seed=seed,
            owner=self._owner,
        )  # fmt: skip

    def _encode(self, encoding, store, rows, y, weights, train, *, rescale=True, by_class=None):
        """Give a function from places (in `rows`) to their data; and the class weights, found here or given."""
        dtype = TORCH_FLOATS[self.precision]
        targets = encoding.encode(y, self._owner, dtype)
        score_weights = None if np.all(weights == weights[0]) else torch.from_numpy(weights)
        if by_class is None:
            by_class = self._class_weights(encoding, targets[train], weights[train])
        if by_class is not None:
            weights = weights * by_class[targets.numpy()]
        if rescale:
            weights = weights / self._weight_unit(weights[train])
        row_weights = None if np.all(weights == 1) else torch.from_numpy(weights).to(dtype)
        numbers = torch.from_numpy(rows)

        def data(places):
            places = torch.from_numpy(places)
            return Rows(
                store,
                numbers[places],
                targets[places],
                None if row_weights is None else row_weights[places],
                None if score_weights is None else score_weights[places],
            )

        return data, by_class

    def _weight_unit(self, train_weights):
        """Give what weights are divided by: their mean over the training rows."""
        if not np.any(train_weights > 0):
            raise ValueError(f"{self._owner}: class_weight leaves every training row with weight 0. Raise a weight.")
        low, high = train_weights.min(), train_weights.max()
        return low if low == high else train_weights.mean()  # equal weights are no weights, to the last bit

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
        view._check_features(X)
        store = read_again(X, reading, self.n_jobs, sample_weight)
        rows, y, weights, _ = self._kept_rows(store, y, sample_weight, None)
        places = np.arange(len(rows))
        data, _ = self._encode(encoding, store, rows, y, weights, places, rescale=False, by_class=by_class)
        return data(places), _scored_data(X, y, rows, places)

    def _new_net(self, spec, encoding, reading, train_rows):
        """Build a network and the skorch net around it."""
        from sklcnn.training.callbacks import user_callbacks
        from sklcnn.training.net import make_net

        if self.backbone is None:
            module = self._build_module(encoding, reading, train_rows)
        else:
            module, spec = self._build_on_backbone(encoding, reading, spec)
        net = make_net(
            module.to(TORCH_FLOATS[self.precision]), spec, self._make_loss(encoding), user_callbacks(self.callbacks, self._owner)
        )
        net.given_callbacks = self.callbacks
        return net

    def _build_module(self, encoding, reading, train_rows):
        statistics = None
        if self.standardize:
            weights = torch.ones(len(train_rows)) if train_rows.weights is None else train_rows.weights
            statistics = channel_statistics(train_rows.store, train_rows.rows, weights)
        return build_network(self._network_spec_now(), reading.sample_shape, encoding.n_outputs, statistics)

    def _build_on_backbone(self, encoding, reading, spec):
        """Build a network on a backbone; give it with the spec, which now knows how long the backbone is frozen."""
        from sklcnn.network.backbones import load_backbone
        from sklcnn.network.cnn import build_on_backbone

        scale = 1 / 255 if reading.integer else 1.0
        if self.freeze_epochs is None:
            loads = isinstance(self.backbone, str) and self.backbone_weights is not None
            spec = replace(spec, freeze_epochs=math.inf if loads else 0)
        backbone = load_backbone(
            self.backbone,
            self.backbone_weights,
            reading.sample_shape,
            scale=scale,
            frozen=spec.freeze_epochs > 0,
        )
        return build_on_backbone(self._network_spec_now(), backbone, encoding.n_outputs), spec

    def _continued_net(self, spec, encoding):
        """Give the last fit's net, set to the hyper-parameters of now."""
        from sklcnn.training.callbacks import user_callbacks

        # With refit_full this net is not the last word, and an error on the way to that must leave the old one.
        net = copy.deepcopy(self.net_) if self.refit_full and self.early_stopping else self.net_
        for name in ("precision", "device"):
            old, new = getattr(net.spec, name), getattr(spec, name)
            if TORCH_FLOATS.get(old, old) != TORCH_FLOATS.get(new, new):
                raise ValueError(
                    f"{self._owner}: {name} was {old!r} when the network was made, and cannot become {new!r} in a "
                    "fit that goes on with it. Set warm_start=False to begin anew."
                )
        if self.freeze_epochs is None:
            spec = replace(spec, freeze_epochs=net.spec.freeze_epochs)
        restart = (net.spec.optimizer, net.spec.optimizer_params) != (spec.optimizer, spec.optimizer_params)
        net.spec = spec
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
        from sklcnn.training.net import FrozenStage

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
        from sklcnn.network.feature_cache import cached_features, open_feature_cache

        return cached_features(
            net.module_.backbone,
            store,
            rows,
            cache=open_feature_cache(self.feature_cache),
            batch_size=EVALUATION_ROWS,
            device=net.device,
            precision=net.spec.precision,
            image_size=store.sample_shape[1:],
        )

    @available_if(offers_partial_fit)
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
        with unchanged_on_error(self):
            self._check_parameters()
            self._partial_fit(X, y, sample_weight)
        return self

    def _partial_fit(self, X, y, sample_weight, draft=None):
        seed = draw_seed(self.random_state)
        goes_on = hasattr(self, "net_")
        store, reading = self._read(X, goes_on, sample_weight)
        rows, y, weights, _ = self._kept_rows(store, y, sample_weight, None)
        draft = self._encoding if goes_on else draft or self._draft_encoding(y)
        train = np.arange(len(rows))
        encoding = self._finish_encoding(draft, y, train, weights)
        data, _ = self._encode(encoding, store, rows, y, weights, train, rescale=False)
        train_rows = data(train)
        with self._seeded(seed, goes_on):
            spec = replace(self._training_spec(len(train_rows)), schedule=None, patience=None, max_epochs=1)
            net = self._continued_net(spec, encoding) if goes_on else self._new_net(spec, encoding, reading, train_rows)
            watch = self._watch(net, encoding, reading, train_rows, None, None)
            outcome = self._train(net, train_rows, None, watch, seed)
            self._remember(X, net, encoding, reading, outcome, net.history)
        if outcome.interrupt is not None:
            raise outcome.interrupt

    def _watch(self, net, encoding, reading, train_rows, valid_rows, valid_data):
        """Set up what is computed while the network trains."""
        from sklcnn.training.net import Watch

        score = self._default_score(encoding)
        watch = Watch(train_score=RunningScore(score, train_rows.targets, train_rows.score_weights))
        if self.augmentation is not None:
            from sklcnn.data.augmentation import build_augmentation

            watch.augment = build_augmentation(
                self.augmentation,
                spatial_dims=reading.spatial_dims,
                sample_shape=reading.sample_shape,
                unit=255 if reading.integer else 1,
            )
        if valid_rows is not None:
            watch.valid_score = RunningScore(score, valid_rows.targets, valid_rows.score_weights).of_all
        if self.scoring != "loss":
            self._watch_scorer(watch, net, encoding, reading, valid_rows, valid_data)
        return watch

    def _tell_epochs(self, task, watch, net, encoding, reading):
        """Tell scikit-learn's callbacks of each epoch, with the weights of the moment."""
        if not task.listens:
            return

        def fitted_attributes():
            view = copy.copy(self)
            view._remember_network(net, encoding, reading)
            return vars(view)

        watch.before_epoch = task.begin_epoch
        watch.after_epoch = lambda row: task.end_epoch(fitted_attributes)

    def _watch_scorer(self, watch, net, encoding, reading, valid_rows, valid_data):
        """Score the validation rows by the user's scorer, in the user's units, from outputs that are there already."""
        scorer = find_scorer(self.scoring, self._owner)
        watch.train_score = None  # the scorer's own units: not to be compared with accuracy or R2 beside it
        if valid_rows is None:
            return
        view = copy.copy(self)
        view._remember_network(net, encoding, reading)
        X, y = valid_data(isinstance(scorer, _BaseScorer))
        view._known_outputs = known = [X, None]
        arguments = {}
        if valid_rows.score_weights is not None and _takes_weights(scorer):
            arguments["sample_weight"] = valid_rows.score_weights.numpy()

        def score(outputs):
            known[1] = outputs
            try:
                value = float(scorer(view, X, y, **arguments))
            except (TypeError, ValueError) as error:
                raise type(error)(
                    f"{self._owner}: scoring={self.scoring!r} failed on the {len(valid_rows)} validation rows: {error} "
                    "Hold out more rows, or watch another score."
                ) from error
            if not np.isfinite(value):
                raise ValueError(
                    f"{self._owner}: scoring={self.scoring!r} gave {value} on the {len(valid_rows)} validation rows. "
                    "Hold out more rows, or watch another score."
                )
            return value

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
        self._history = [{name: row[name] for name in HISTORY_COLUMNS} for row in history]
        if outcome.interrupt is not None:
            outcome.interrupt.state_kept = True

    @property
    def module_(self) -> torch.nn.Module:
        """The trained network, an `nn.Module`."""
        if "net_" not in vars(self):
            raise AttributeError(f"{self._owner} has no module_ before fit.")
        return self.net_.module_

    @property
    def history_(self) -> pd.DataFrame:
        """A row an epoch: losses, penalty, scores, learning rate, seconds."""
        if "_history" not in vars(self):
            raise AttributeError(f"{self._owner} has no history_ before fit.")
        import pandas as pd

        return pd.DataFrame(self._history, columns=list(HISTORY_COLUMNS))

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
        if hasattr(X, "columns") or (hasattr(self, "feature_names_in_") and getattr(X, "ndim", 0) == 2):
            has_pictures = image_sources(X) is not None
            if has_pictures == (self._reading.mode is not None):
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
        outputs = forward_store(module, store, self._dtype, spec.precision, self.net_.torch_device_, spec.batch_size)
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


def _takes_weights(scorer):
    """Tell whether a scorer's metric weighs rows."""
    if not isinstance(scorer, _BaseScorer):
        return False
    try:
        return "sample_weight" in inspect.signature(scorer._score_func).parameters
    except (TypeError, ValueError):
        return False


def _scored_data(X, y, rows, places):
    """Give a function that makes the X (its `rows`) and y (its `places`) a scorer is called with.

    scikit-learn's own scorers only hand X on to `predict`, which knows the outputs already: for them X is a stand-in,
    so that no row of it is copied.
    """

    def data(stand_in):
        if stand_in:
            given = np.empty((len(rows), 0))
        else:
            given = X if len(rows) == _num_samples(X) else _safe_indexing(X, rows)
        return given, _safe_indexing(y, places)

    return data
