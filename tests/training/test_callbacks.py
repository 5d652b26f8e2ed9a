"""Laws of skorch's callbacks: which hooks are called with what, and that skorch's own callbacks work."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
import skops.io
import torch
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
    Unfreezer,
)
from torch.nn import functional

from sklcnn import TRUSTED_TYPES, CNNClassifier, CNNRegressor

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(20, 8)
LABELS = np.array(["a", "b", "c"])[np.arange(20) % 3]
CODES = np.unique(LABELS, return_inverse=True)[1]
SEVERAL_LABELS = RANDOM.randint(0, 2, (20, 3))
VALUES = RANDOM.randn(20)
QUICK = {
    "filters": (3,), "dense_units": (4,), "max_epochs": 3, "batch_size": 8, "random_state": 0, "lr_schedule": None,
    "precision": "float64",
}  # fmt: skip
HOOKS = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed", "on_batch_end", "on_epoch_end"]
TASKS = [
    pytest.param(CNNClassifier, LABELS, id="labels"),
    pytest.param(CNNClassifier, SEVERAL_LABELS, id="indicators"),
    pytest.param(CNNRegressor, VALUES, id="values"),
]


def listener(*hooks):
    """Make a callback class that notes each call of its hooks, with what comes along."""
    heard = []

    def method(hook):
        return lambda self, net, *args, **kwargs: heard.append((hook, kwargs))

    return type("Listener", (Callback,), {hook: method(hook) for hook in hooks} | {"heard": heard})


def same_state(one, other):
    one, other = one.module_.state_dict(), other.module_.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


# Which hooks are called, and with what.


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_each_event_is_told_once_and_in_order(estimator, y, validated):
    told = listener(*HOOKS, "on_train_end")
    net = estimator(**QUICK, callbacks=[told])
    net.fit(X, y, **({"X_val": X, "y_val": y} if validated else {}))
    batch = ["on_batch_begin", "on_grad_computed", "on_batch_end"]
    validation = ["on_batch_begin", "on_batch_end"] if validated else []
    epoch = ["on_epoch_begin", *3 * batch, *validation, "on_epoch_end"]
    assert [hook for hook, _ in told.heard] == ["on_train_begin", *3 * epoch, "on_train_end"]
    training = [kwargs["training"] for hook, kwargs in told.heard if hook == "on_batch_end"]
    assert training == 3 * ([True] * 3 + [False] * validated)


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_batches_come_with_their_inputs_targets_outputs_and_loss(estimator, y):
    told = listener("on_batch_end")
    net = estimator(**QUICK | {"max_epochs": 1, "learning_rate": 1e-300}, callbacks=[told])
    net.fit(X, y, X_val=X, y_val=y)
    for _, told_of in told.heard:
        (inputs, targets), outputs = told_of["batch"], told_of["y_pred"]
        with torch.no_grad():
            torch.testing.assert_close(net.module_(inputs), outputs, rtol=1e-12, atol=1e-14)
        if estimator is CNNRegressor:
            loss = functional.mse_loss(outputs, targets)
        elif y is LABELS:
            loss = functional.cross_entropy(outputs, targets)
        else:
            loss = functional.binary_cross_entropy_with_logits(outputs, targets)
        assert float(told_of["loss"]) == pytest.approx(float(loss), rel=1e-12)
    assert sum(len(told_of["y_pred"]) for _, told_of in told.heard if told_of["training"]) == 20
    np.testing.assert_array_equal(told.heard[-1][1]["batch"][0][:, 0], X)  # the validation rows, in order


def test_without_listeners_to_batches_none_is_told(monkeypatch):
    told = listener("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
    notified = []
    net = CNNClassifier(**QUICK, callbacks=[told]).fit(X, LABELS)
    notify = type(net.net_).notify

    def noting(self, hook, **kwargs):
        notified.append(hook)
        notify(self, hook, **kwargs)

    monkeypatch.setattr(type(net.net_), "notify", noting)
    net.fit(X, LABELS, X_val=X, y_val=LABELS)
    assert {hook for hook in notified if "batch" in hook or "grad" in hook} == set()
    assert notified.count("on_epoch_end") == 3


def test_listening_changes_nothing():
    params = QUICK | {"dropout": 0.3, "batch_norm": True, "l2": 0.01, "early_stopping": True}
    one, other = (CNNClassifier(**params, callbacks=c).fit(X, LABELS) for c in (None, [listener(*HOOKS)]))
    assert same_state(one, other)
    columns = one.history_.columns.drop("duration")
    assert one.history_[columns].equals(other.history_[columns])


class Counter(Callback):
    """Count epochs, in itself."""

    def __init__(self, count=0):
        self.count = count

    def on_epoch_end(self, net, **kwargs):
        self.count += 1


def test_callbacks_are_cloned():
    counter = Counter()
    net = CNNClassifier(**QUICK, callbacks=[counter, ("named", counter), Counter])
    for _ in range(2):
        net.fit(X, LABELS)
        assert [callback.count for _, callback in net.net_.callbacks_] == [3, 3, 3]
        assert "named" in dict(net.net_.callbacks_)
    assert counter.count == 0
    assert net.callbacks[0] is counter


def test_going_on_keeps_the_callbacks_there_are_until_others_are_given():
    net = CNNClassifier(**QUICK, callbacks=[Counter()], warm_start=True)
    net.fit(X, LABELS).fit(X, LABELS)
    assert net.net_.callbacks_[0][1].count == 6
    net.partial_fit(X, LABELS)
    assert net.net_.callbacks_[0][1].count == 7
    again = pickle.loads(pickle.dumps(net)).fit(X, LABELS)
    assert again.net_.callbacks_[0][1].count == 10
    assert net.set_params(callbacks=[Counter(100)]).fit(X, LABELS).net_.callbacks_[0][1].count == 103
    assert net.set_params(callbacks=None).fit(X, LABELS).net_.callbacks_ == []


@pytest.mark.parametrize(
    "wrong", [[7], [("a", 7)], [(7, Counter())], [("a", Counter(), 1)], Counter(), ["Counter"], [int]]
)
def test_what_is_no_callback_is_an_error(wrong):
    with pytest.raises(TypeError, match="CNNClassifier: callbacks"):
        CNNClassifier(**QUICK, callbacks=wrong).fit(X, LABELS)


@pytest.mark.parametrize("stopping", [EarlyStopping(), EarlyStopping, ("stop", EarlyStopping())])
def test_skorchs_early_stopping_is_refused_with_a_pointer_to_ours(stopping):
    with pytest.raises(ValueError, match=r"CNNClassifier: .*early_stopping=True"):
        CNNClassifier(**QUICK, callbacks=[stopping]).fit(X, LABELS)


def test_skorchs_setter_of_input_shapes_is_refused():
    with pytest.raises(ValueError, match=r"CNNClassifier: .*InputShapeSetter .*from X by itself"):
        CNNClassifier(**QUICK, callbacks=[InputShapeSetter()]).fit(X, LABELS)


# skorch's own callbacks at work.


def test_clipped_gradients_take_shorter_steps():
    params = QUICK | {"optimizer": "sgd", "optimizer_params": {"momentum": 0, "nesterov": False}, "max_epochs": 1}
    params |= {"batch_size": 100, "learning_rate": 0.5, "warm_start": True}
    net = CNNClassifier(**params).fit(X, LABELS)
    for limit in (1e-3, 1e-1):
        start = copy.deepcopy(net)
        start.set_params(callbacks=[GradientNormClipping(limit)]).fit(X, LABELS)
        steps = [a - b for a, b in zip(start.module_.parameters(), net.module_.parameters(), strict=True)]
        assert float(torch.cat([s.detach().flatten() for s in steps]).norm()) == pytest.approx(0.5 * limit, rel=1e-5)


def test_clipping_sees_the_penalties_gradient_too():
    params = QUICK | {"optimizer": "sgd", "optimizer_params": {"momentum": 0, "nesterov": False}, "max_epochs": 1}
    params |= {"batch_size": 100, "learning_rate": 1, "warm_start": True, "l2": 100}
    net = CNNClassifier(**params | {"learning_rate": 1e-300}).fit(X, LABELS)
    clipped = copy.deepcopy(net).set_params(callbacks=[GradientNormClipping(1e-2)], learning_rate=1).fit(X, LABELS)
    steps = [a - b for a, b in zip(clipped.module_.parameters(), net.module_.parameters(), strict=True)]
    assert float(torch.cat([s.detach().flatten() for s in steps]).norm()) == pytest.approx(1e-2, rel=1e-5)


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize(
    ("estimator", "y", "scoring"),
    [
        (CNNClassifier, LABELS, "accuracy"),
        (CNNClassifier, SEVERAL_LABELS, "accuracy"),
        (CNNRegressor, VALUES, "r2"),
        (CNNRegressor, np.stack([VALUES, -(VALUES**2)], 1), "r2"),
    ],
)
def test_epoch_scoring_scores_the_validation_rows(estimator, y, scoring, use_caching):
    callback = EpochScoring(scoring, lower_is_better=False, use_caching=use_caching)
    net = estimator(**QUICK, callbacks=[callback]).fit(X, y, X_val=X, y_val=y)
    scores = net.net_.history[:, scoring]
    np.testing.assert_allclose(scores, net.history_["val_score"], rtol=1e-12)
    assert scores[-1] == pytest.approx(net.score(X, y), rel=1e-12)
    best = np.maximum.accumulate(scores)
    assert net.net_.history[:, f"{scoring}_best"] == [i == 0 or s > best[i - 1] for i, s in enumerate(scores)]


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize(
    ("y", "scoring"),
    [
        (CODES == 2, "roc_auc"),
        (CODES == 2, "average_precision"),
        (LABELS == "a", "f1"),
        (CODES, "neg_log_loss"),
        (LABELS, "roc_auc_ovr"),
        (SEVERAL_LABELS, "roc_auc"),
        (SEVERAL_LABELS[:, :2], "average_precision"),
    ],
)
def test_epoch_scoring_by_name_gives_what_the_estimators_scoring_does(y, scoring, use_caching):
    callback = EpochScoring(scoring, lower_is_better=False, use_caching=use_caching)
    cnn = CNNClassifier(**QUICK, callbacks=[callback], early_stopping=True, scoring=scoring, learning_rate=0.03)
    cnn.fit(X, y, X_val=X, y_val=y)
    scores = cnn.net_.history[:, scoring]
    np.testing.assert_allclose(scores, cnn.history_["val_score"], rtol=1e-9)
    assert len(set(scores)) > 1


def test_epoch_scoring_scores_the_training_rows():
    callback = EpochScoring("accuracy", on_train=True, name="seen", lower_is_better=False)
    net = CNNClassifier(**QUICK, callbacks=[callback]).fit(X, LABELS)
    np.testing.assert_allclose(net.net_.history[:, "seen"], net.history_["train_score"], rtol=1e-12)


class SeenScores:
    """A scoring function that keeps what it sees: predictions, and y."""

    def __call__(self, net, X, y):
        self.last = net.predict(X), y
        return 0.0


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize(("estimator", "y"), [*[task.values for task in TASKS], (CNNRegressor, 1e4 + 1e3 * VALUES)])
def test_scoring_callbacks_see_y_as_it_was_given_and_predictions_like_it(estimator, y, use_caching):
    callback = EpochScoring(SeenScores(), use_caching=use_caching, name="seen")
    cnn = estimator(**QUICK, callbacks=[callback]).fit(X, y, X_val=X, y_val=y)
    ((_, fitted),) = cnn.net_.callbacks_
    predicted, given = fitted.scoring.last
    assert given.dtype == y.dtype
    if estimator is CNNRegressor:
        np.testing.assert_allclose(given, y, rtol=1e-12)
        np.testing.assert_allclose(predicted, cnn.predict(X), rtol=1e-12)
    else:
        np.testing.assert_array_equal(given, y)
        np.testing.assert_array_equal(predicted, cnn.predict(X))
    assert fitted.target_extractor is callback.target_extractor


def test_scorers_of_callbacks_may_name_a_label():
    callback = EpochScoring(make_scorer(f1_score, pos_label="b"), lower_is_better=False, name="f1_of_b")
    names = np.where(LABELS == "a", "a", "b")
    cnn = CNNClassifier(**QUICK, callbacks=[callback]).fit(X, names, X_val=X, y_val=names)
    assert cnn.history_["f1_of_b"].iloc[-1] == f1_score(names, cnn.predict(X), pos_label="b")


def test_labels_that_metrics_do_not_take_are_scored_by_their_numbers():
    labels = [Fraction(code + 1, 3) for code in CODES]
    callback = EpochScoring("accuracy", lower_is_better=False)
    cnn = CNNClassifier(**QUICK, callbacks=[callback]).fit(X, labels, X_val=X, y_val=labels)
    np.testing.assert_allclose(cnn.history_["accuracy"], cnn.history_["val_score"])


def test_scoring_callbacks_of_validation_rows_rest_where_there_are_none():
    callbacks = [EpochScoring("accuracy"), BatchScoring(lambda net, X, y: 1.0, name="one")]
    net = CNNClassifier(**QUICK, callbacks=callbacks).fit(X, LABELS)
    assert not {"accuracy", "one"} & net.net_.history[-1].keys()


@pytest.mark.parametrize("on_train", [False, True])
def test_batch_scoring_averages_over_batches(on_train):
    def share_of_a(net, X, y):
        assert len(net.predict(X)) == len(y)
        return accuracy_score(y, np.full(len(y), "a"))

    callback = BatchScoring(share_of_a, on_train=on_train, name="share")
    net = CNNClassifier(**QUICK, callbacks=[callback]).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert net.net_.history[:, "share"] == pytest.approx([np.mean(CODES == 0)] * 3)


def test_a_schedule_beside_an_lr_scheduler_is_warned_of():
    scheduler = LRScheduler("StepLR", step_size=1)
    with pytest.warns(UserWarning, match=r"LRScheduler in callbacks changes nothing.*Set lr_schedule=None"):
        CNNClassifier(**QUICK | {"lr_schedule": "one_cycle"}, callbacks=[scheduler]).fit(X, LABELS)


@pytest.mark.parametrize("name", ["epoch", "val_score", "valid_loss"])
def test_a_score_cannot_have_the_name_of_a_column(name):
    cnn = CNNClassifier(**QUICK, callbacks=[EpochScoring("accuracy", name=name)])
    with pytest.raises(ValueError, match=rf"named '{name}', which is a column of history_ already"):
        cnn.fit(X, LABELS, X_val=X, y_val=LABELS)


@pytest.mark.parametrize("column", ["train_loss", "val_loss", "val_score"])
def test_a_checkpoint_watches_a_column_of_history_(column, tmp_path):
    callback = Checkpoint(dirname=tmp_path, monitor=f"{column}_best")
    cnn = CNNClassifier(**QUICK | {"max_epochs": 6, "learning_rate": 0.3}, callbacks=[callback])
    values = cnn.fit(X, LABELS, X_val=X, y_val=LABELS).history_[column]
    best = values.cummax() if column == "val_score" else values.cummin()
    expected = [True, *(best.diff().iloc[1:] != 0)]
    assert cnn.net_.history[:, "event_cp"] == expected
    assert not all(expected) or column == "train_loss"


@pytest.mark.parametrize("policy", ["StepLR", torch.optim.lr_scheduler.StepLR])
def test_lr_scheduler_steps_every_epoch(policy):
    scheduler = LRScheduler(policy, step_size=1, gamma=0.5)
    net = CNNClassifier(**QUICK, learning_rate=0.08, callbacks=[scheduler]).fit(X, LABELS)
    assert net.history_["learning_rate"].tolist() == [0.08, 0.04, 0.02]


def test_lr_scheduler_steps_every_batch_from_its_first_rate():
    def scheduler():
        return LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=9, cycle_momentum=False, step_every="batch"
        )

    one = CNNClassifier(**QUICK, callbacks=[scheduler()]).fit(X, LABELS)
    other = CNNClassifier(**QUICK | {"lr_schedule": "one_cycle"}, learning_rate=0.01).fit(X, LABELS)
    for name, tensor in one.module_.state_dict().items():
        torch.testing.assert_close(tensor, other.module_.state_dict()[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("validated", [False, True])
def test_checkpoints_are_written_and_can_be_loaded(tmp_path, validated):
    callbacks = [Checkpoint(dirname=tmp_path / "best"), TrainEndCheckpoint(dirname=tmp_path / "end")]
    net = CNNClassifier(**QUICK, callbacks=callbacks)
    net.fit(X, LABELS, **({"X_val": X, "y_val": LABELS} if validated else {}))
    assert net.net_.history[:, "event_cp"] == [True] * 3
    weights = torch.load(tmp_path / "end" / "train_end_params.pt", weights_only=True)
    assert weights.keys() == net.module_.state_dict().keys()
    for name, tensor in net.module_.state_dict().items():
        assert torch.equal(weights[name], tensor)
    assert (tmp_path / "best" / "params.pt").exists()


@pytest.mark.parametrize("params", [{}, {"l1": 0.1, "l2": 0.1}], ids=["free", "penalised"])
def test_frozen_layers_keep_their_weights_and_are_not_penalised(params):
    start, end = (
        CNNClassifier(**QUICK | {"learning_rate": rate}, **params, callbacks=[Freezer("block1.*")]).fit(X, LABELS)
        for rate in (1e-300, 0.1)
    )
    moved = {
        name: not torch.equal(tensor, end.module_.state_dict()[name])
        for name, tensor in start.module_.named_parameters()
    }
    assert moved == {name: not name.startswith("block1") for name in moved}
    weights = [end.module_.dense1.linear.weight, end.module_.output.weight]
    expected = sum(float((w.abs() + w.square()).detach().sum()) for w in weights) / 10 if params else 0
    assert end.history_["penalty"].iloc[-1] == pytest.approx(expected, rel=1e-12)


def test_a_network_of_which_nothing_trains_is_refused():
    with pytest.raises(ValueError, match=r"CNNClassifier: no weight of the network trains: callbacks have frozen"):
        CNNClassifier(**QUICK, callbacks=[Freezer("*")]).fit(X, LABELS)


def test_layers_that_take_turns_in_training_each_change():
    """As many parameters train before the change as after it, but others."""
    turns = [Freezer("block1.*"), Freezer("output.*", at=3), Unfreezer("block1.*", at=3)]
    kept = CNNClassifier(**QUICK | {"learning_rate": 0.1}, callbacks=turns[:1]).fit(X, LABELS)
    moved = CNNClassifier(**QUICK | {"learning_rate": 0.1, "l2": 0.1}, callbacks=turns).fit(X, LABELS)
    assert not torch.equal(kept.module_.block1.conv.weight, moved.module_.block1.conv.weight)
    weights = [moved.module_.block1.conv.weight, moved.module_.dense1.linear.weight]
    expected = sum(float(w.square().detach().sum()) for w in weights) / 10
    assert moved.history_["penalty"].iloc[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end"])
def test_an_interrupt_after_layers_thawed_undoes_what_they_learned(hook):
    def interrupt(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt

    thawing = [Freezer("block1.*"), Unfreezer("block1.*", at=3)]
    interrupting = type("Interrupting", (Callback,), {hook: interrupt})
    params = QUICK | {"learning_rate": 0.1, "l2": 0.1}
    net = CNNClassifier(**params, callbacks=[*thawing, interrupting])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, LABELS)
    assert same_state(net, CNNClassifier(**params | {"max_epochs": 2}, callbacks=[Freezer("block1.*")]).fit(X, LABELS))
    moved = CNNClassifier(**params, callbacks=thawing).fit(X, LABELS)
    assert not torch.equal(moved.module_.block1.conv.weight, net.module_.block1.conv.weight)


def test_an_error_after_layers_thawed_undoes_what_all_epochs_learned():
    def trouble(self, net, **kwargs):
        if len(net.history) == 6:
            raise ZeroDivisionError

    net = CNNClassifier(**QUICK | {"learning_rate": 0.1}, warm_start=True).fit(X, LABELS)
    before = copy.deepcopy(net)
    # It trains in epoch 4, not in epoch 5, and again in epoch 6.
    callbacks = [Freezer("block1.*", at=5), Unfreezer("block1.*", at=6)]
    net.set_params(callbacks=[*callbacks, type("Raising", (Callback,), {"on_epoch_end": trouble})])
    with pytest.raises(ZeroDivisionError):
        net.fit(X, LABELS)
    assert same_state(net, before)


def test_an_initializer_sets_weights():
    callback = Initializer("output.*", fn=torch.nn.init.zeros_)
    net = CNNClassifier(**QUICK | {"learning_rate": 1e-300}, callbacks=[callback]).fit(X, LABELS)
    np.testing.assert_allclose(net.predict_proba(X), 1 / 3)


def test_logging_callbacks_log(capsys):
    lines = []

    class Log(PrintLog):
        def _sink(self, text, verbose):
            lines.append(text)

    callbacks = [EpochTimer(), Log(), ProgressBar(), PassthroughScoring("train_loss", on_train=True)]
    net = CNNClassifier(**QUICK, callbacks=callbacks).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert len(lines) == 5  # two of the head, one per epoch
    for name in ("train_loss", "valid_loss", "dur"):
        assert name in lines[0]
    assert net.net_.history[:, "train_loss_best"] == [True] * 3
    assert capsys.readouterr().out == ""


def test_the_skorch_history_agrees_with_the_data_frame():
    net = CNNClassifier(**QUICK, early_stopping=True, l2=0.1).fit(X, LABELS)
    for column in net.history_:
        assert net.net_.history[:, column] == net.history_[column].tolist()
    assert net.net_.history[:, "valid_loss"] == net.history_["val_loss"].tolist()


# Stopping by a callback.


def stops_after(n_epochs, hook="on_epoch_end"):
    """Make a callback that ends the training with an epoch."""

    def stop(self, net, **kwargs):
        if len(net.history) >= n_epochs:
            net.stop_training = True

    return type("Stops", (Callback,), {hook: stop})


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_a_callback_that_stops_the_training_leaves_what_so_many_epochs_give(estimator, y, hook):
    stopped = estimator(**QUICK | {"max_epochs": 9}, callbacks=[stops_after(2, hook)]).fit(X, y)
    assert stopped.n_iter_ == len(stopped.history_) == stopped.best_epoch_ == 2
    assert same_state(stopped, estimator(**QUICK | {"max_epochs": 2}).fit(X, y))


@pytest.mark.filterwarnings("ignore:.*the network has died")  # at such a rate
def test_a_stop_with_early_stopping_keeps_the_best_epoch():
    rising = QUICK | {"learning_rate": 1.0, "optimizer": "sgd", "early_stopping": True, "patience": 10, "max_epochs": 9}
    stopped = CNNClassifier(**rising, callbacks=[stops_after(4)]).fit(X, LABELS)
    best = int(stopped.history_["val_loss"].argmin()) + 1
    assert stopped.n_iter_ == 4
    assert stopped.best_epoch_ == best < 4
    assert same_state(stopped, CNNClassifier(**rising, callbacks=[stops_after(best)]).fit(X, LABELS))


def test_a_stop_is_of_one_fit_and_the_next_goes_on():
    cnn = CNNClassifier(**QUICK, warm_start=True, callbacks=[stops_after(2)]).fit(X, LABELS)
    cnn.set_params(callbacks=None).fit(X, LABELS)
    assert cnn.n_iter_ == 2 + 3


def test_a_run_that_was_stopped_is_not_trained_anew_on_all_rows():
    params = QUICK | {"early_stopping": True, "patience": 10, "max_epochs": 9}
    stopped = CNNClassifier(**params, refit_full=True, callbacks=[stops_after(2)]).fit(X, LABELS)
    assert same_state(stopped, CNNClassifier(**params, callbacks=[stops_after(2)]).fit(X, LABELS))


def test_a_refit_that_is_stopped_leaves_the_first_runs_network():
    class StopsRefit(Callback):
        """Stop a run that validates on nothing."""

        def on_epoch_end(self, net, dataset_valid=None, **kwargs):
            net.stop_training = dataset_valid is None

    params = QUICK | {"early_stopping": True, "max_epochs": 6}
    stopped = CNNClassifier(**params, refit_full=True, callbacks=[StopsRefit]).fit(X, LABELS)
    assert stopped.best_epoch_ > 1
    assert same_state(stopped, CNNClassifier(**params).fit(X, LABELS))


# What callbacks record.


def test_what_callbacks_record_is_in_the_data_frame():
    callbacks = [
        EpochScoring("accuracy", lower_is_better=False),
        EpochScoring("neg_log_loss", lower_is_better=False, on_train=True, name="seen"),
        BatchScoring("accuracy", lower_is_better=False, name="by_batch"),
        LRScheduler("StepLR", step_size=1),
        Checkpoint(monitor=None, f_params=None, f_optimizer=None, f_criterion=None, f_history=None),
    ]
    cnn = CNNClassifier(**QUICK, callbacks=callbacks).fit(X, LABELS, X_val=X, y_val=LABELS)
    plain = CNNClassifier(**QUICK).fit(X, LABELS).history_
    assert list(cnn.history_) == [*plain, "accuracy", "seen", "by_batch"]
    np.testing.assert_allclose(cnn.history_["accuracy"], cnn.history_["val_score"])
    assert pickle.loads(pickle.dumps(cnn)).history_.equals(cnn.history_)


def test_an_epoch_in_which_a_callback_records_nothing_has_no_number_there():
    class OddEpochs(Callback):
        """Record the number of the epoch, in every second one."""

        def on_epoch_end(self, net, **kwargs):
            if len(net.history) % 2:
                net.history.record("odd", len(net.history))

    history = CNNClassifier(**QUICK, callbacks=[OddEpochs]).fit(X, LABELS).history_
    np.testing.assert_array_equal(history["odd"], [1, np.nan, 3])


# Callbacks that predict.


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.5}, {"batch_norm": True}, {"optimizer": torch.optim.LBFGS}],
    ids=["dropout", "norm", "LBFGS"],
)
def test_a_callback_that_predicts_changes_nothing(hook, changes):
    samples = torch.from_numpy(X[:5, None])
    asking = type("Asking", (Callback,), {hook: lambda self, net, *args, **kwargs: net.predict(samples)})
    plain = CNNClassifier(**QUICK | {"batch_norm": True} | changes).fit(X, LABELS)
    asked = CNNClassifier(**QUICK | {"batch_norm": True} | changes, callbacks=[asking]).fit(X, LABELS)
    assert same_state(asked, plain)


# Layers that a callback has frozen, in fits that continue.


def make_again(cnn):
    """Pickle twice, the second time without a net made in between."""
    return pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(cnn))))


@pytest.mark.parametrize("copied", [lambda cnn: cnn, make_again, copy.deepcopy], ids=["itself", "pickled", "copied"])
@pytest.mark.parametrize(
    "changed",
    [{}, {"optimizer": "sgd"}, {"callbacks": [Unfreezer("block1.*", at=lambda net: True)]}],
    ids=["same", "other optimizer", "thawed"],
)
def test_frozen_layers_are_continued_with(copied, changed):
    params = QUICK | {"warm_start": True, "learning_rate": 0.1, "callbacks": [Freezer("block1.*")]}
    alone, cnn = (CNNClassifier(**params).fit(X, LABELS) for _ in range(2))
    cnn = copied(cnn)
    before = cnn.module_.block1.conv.weight.detach().clone()
    assert same_state(alone.set_params(**changed).fit(X, LABELS), cnn.set_params(**changed).fit(X, LABELS))
    assert torch.equal(cnn.module_.block1.conv.weight, before) == ("callbacks" not in changed)


def test_what_is_frozen_may_train_again_after_the_training_state_was_left_out():
    params = QUICK | {"warm_start": True, "learning_rate": 0.1, "callbacks": [Freezer("block1.*")]}
    cnn = CNNClassifier(**params).fit(X, LABELS).without_training_state()
    before = cnn.module_.block1.conv.weight.detach().clone()
    cnn.set_params(optimizer="sgd", callbacks=[Unfreezer("block1.*", at=lambda net: True)]).fit(X, LABELS)
    assert not torch.equal(cnn.module_.block1.conv.weight, before)


def test_a_network_saved_without_the_names_of_its_optimisers_parameters_is_continued():
    alone, cnn = (CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS) for _ in range(2))
    state = cnn.__getstate__()
    del state["_fitted"]["groups"]
    cnn.__setstate__(state)
    assert same_state(alone.fit(X, LABELS), cnn.fit(X, LABELS))


def halved(n):
    return 0.5**n


def test_a_schedule_of_skorchs_begins_anew_in_each_fit():
    schedulers = [
        LRScheduler("StepLR", step_size=1, gamma=0.5),
        LRScheduler("LambdaLR", lr_lambda=halved),
    ]
    for scheduler in schedulers:
        params = QUICK | {"warm_start": True, "learning_rate": 0.4, "callbacks": [scheduler]}
        cnn = CNNClassifier(**params).fit(X, LABELS).set_params(learning_rate=0.2).fit(X, LABELS)
        np.testing.assert_allclose(cnn.history_["learning_rate"], [0.4, 0.2, 0.1, 0.2, 0.1, 0.05])
        cnn = pickle.loads(pickle.dumps(cnn.set_params(callbacks=None))).set_params(callbacks=[scheduler])
        for _ in range(2):
            cnn.partial_fit(X, LABELS)
        np.testing.assert_allclose(cnn.history_["learning_rate"][6:], 0.2)


@pytest.mark.parametrize("first", [True, False])
def test_a_schedule_of_skorchs_is_resumed_wherever_it_is_listed(first, tmp_path):
    def fit(folder, *others):
        checkpoint = Checkpoint(monitor=None, dirname=str(folder))
        callbacks = [LoadInitState(checkpoint), checkpoint]
        callbacks.insert(0 if first else 2, LRScheduler("LambdaLR", lr_lambda=halved))
        return CNNClassifier(**QUICK | {"max_epochs": 5}, callbacks=[*callbacks, *others]).fit(X, LABELS)

    def trouble(self, net, **kwargs):
        if len(net.history) == 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "cut off", type("CutOff", (Callback,), {"on_epoch_begin": trouble}))
    resumed, whole = fit(tmp_path / "cut off"), fit(tmp_path / "whole")
    assert resumed.history_["learning_rate"].tolist() == whole.history_["learning_rate"].tolist()
    assert same_state(resumed, whole)


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 5), (1, 5), (2, 5)])
@pytest.mark.parametrize("printing", [PrintLog, PrintLog(keys_ignored="penalty")], ids=["class", "instance"])
def test_what_prints_epochs_prints_them_once(printing, verbose, n_lines, capsys):
    CNNClassifier(**QUICK, verbose=verbose, callbacks=[printing]).fit(X, LABELS, X_val=X, y_val=LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == n_lines
    names = lines[0].split()
    assert {"epoch", "train_loss", "valid_loss", "dur"} <= set(names)
    assert not {"val_loss", "duration"} & set(names)


def test_callbacks_are_told_the_training_rows_and_the_validation_rows():
    told = {}

    def note(self, net, X, y, **kwargs):
        told.update(X=X, y=y)

    telling = type("Telling", (Callback,), {"on_train_begin": note})
    CNNClassifier(**QUICK, callbacks=[telling]).fit(X, LABELS, X_val=X[:5], y_val=LABELS[:5])
    assert [int(target) for _, target in told["y"]] == CODES[:5].tolist()
    samples, targets = zip(*told["X"], strict=True)
    np.testing.assert_allclose(torch.stack(samples)[:, 0].numpy(), X, rtol=1e-6)
    assert [int(target) for target in targets] == CODES.tolist()
    assert torch.equal(told["X"][-1][0], samples[-1])


# skops.


@pytest.mark.parametrize(
    "callback",
    [
        LRScheduler("StepLR", step_size=1, gamma=0.5),
        Freezer("block1.*"),
        Unfreezer("block1.*", at=5),
        Initializer("output.*", fn=torch.nn.init.zeros_, at=5),
        Checkpoint(monitor=None, f_params=None, f_optimizer=None, f_criterion=None, f_history=None),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_skops_stores_skorchs_callbacks_and_training_goes_on(callback):
    first = CNNClassifier(**QUICK, warm_start=True, callbacks=[callback]).fit(X, LABELS)
    content = skops.io.dumps(first)
    trusted = [*TRUSTED_TYPES, *skops.io.get_untrusted_types(data=content)]
    again = skops.io.loads(skops.io.dumps(skops.io.loads(content, trusted=trusted)), trusted=trusted)
    for cnn in (first, again):
        cnn.set_params(callbacks=cnn.callbacks).fit(X, LABELS)
    assert same_state(first, again)
    assert first.history_["learning_rate"].tolist() == again.history_["learning_rate"].tolist()


def test_a_callback_that_holds_tensors_is_named_to_skops():
    keeping = type(
        "Keeping", (Callback,), {"on_epoch_end": lambda self, net, **rest: setattr(self, "w_", torch.ones(1))}
    )
    with pytest.raises(TypeError, match=r"the callback Keeping holds w_, of type Tensor.*pickle"):
        skops.io.dumps(CNNClassifier(**QUICK, callbacks=[keeping]).fit(X, LABELS))


class WithArgument(Callback):
    def __init__(self, needed):
        self.needed = needed


@pytest.mark.parametrize("given", [WithArgument, Freezer, ("named", LoadInitState)], ids=["own", "any", "named"])
def test_a_class_of_callbacks_that_needs_arguments_is_named(given):
    name = given[1].__name__ if isinstance(given, tuple) else given.__name__
    with pytest.raises(TypeError, match=rf"CNNClassifier: callbacks hold the class {name}, .* Pass {name}\(\.\.\.\)"):
        CNNClassifier(**QUICK, callbacks=[given]).fit(X, LABELS)


@pytest.mark.parametrize(
    ("callbacks", "name"),
    [
        ([("a", EpochTimer()), ("a", PrintLog())], "a"),
        ([("EpochTimer", PrintLog()), EpochTimer], "EpochTimer"),
        ([EpochTimer(), EpochTimer(), ("EpochTimer_2", EpochTimer())], "EpochTimer_2"),
    ],
    ids=["twice", "of a class", "of a number"],
)
def test_two_callbacks_of_one_name_are_refused(callbacks, name):
    with pytest.raises(ValueError, match=f"CNNClassifier: callbacks hold several that would be named '{name}'"):
        CNNClassifier(**QUICK, callbacks=callbacks).fit(X, LABELS)


def test_callbacks_of_one_class_are_numbered():
    cnn = CNNClassifier(**QUICK, callbacks=[EpochTimer(), EpochTimer, ("mine", EpochTimer)]).fit(X, LABELS)
    assert [name for name, _ in cnn.net_.callbacks_] == ["EpochTimer_1", "EpochTimer_2", "mine"]


def test_a_checkpoint_prints_nothing(capsys, tmp_path):
    CNNClassifier(**QUICK, callbacks=[Checkpoint(monitor=None, dirname=str(tmp_path), f_criterion=None)]).fit(X, LABELS)
    assert not capsys.readouterr().out
