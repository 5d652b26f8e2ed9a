"""Laws of training: what a weight means, what an epoch does, how fits continue, and what is printed."""

import copy
import re

import numpy as np
import pytest
import torch
from scipy.stats import loguniform
from sklearn.model_selection import RandomizedSearchCV
from skorch.callbacks import Callback
from torch.nn import functional

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.fitting.specs import auto_epochs

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(30, 10)
LABELS = np.array(["b", "a", "c"])[np.arange(30) % 3]
CODES = np.unique(LABELS, return_inverse=True)[1]
SEVERAL_LABELS = RANDOM.randint(0, 2, (30, 3))
VALUES = RANDOM.randn(30)
QUICK = {"filters": (3,), "dense_units": (4,), "max_epochs": 3, "precision": "float64", "random_state": 0}
# Every row in every step, so that only sums over rows matter.
FULL_BATCH = QUICK | {"batch_size": 10_000}
# A bias before batch norm has no gradient but what rounding leaves, up to 1e-15. Adam and RMSprop divide that by its
# own size plus 1e-8: a step of 1e-7 learning rates, another on each machine. A dozen at 0.01 make 1e-8.
ROUNDING_OF_STEPS = 1e-7
TASKS = [
    pytest.param(CNNClassifier, LABELS, id="labels"),
    pytest.param(CNNClassifier, SEVERAL_LABELS, id="indicators"),
    pytest.param(CNNRegressor, VALUES, id="values"),
]


def outputs(net, rows=X):
    return net.predict(rows) if isinstance(net, CNNRegressor) else net.predict_proba(rows)


def state(net):
    """Copy all weights and buffers."""
    return {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}


def same_state(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def initial(estimator, y, **params):
    """Make the network as it is before the first step, by a step that is too small to change a bit."""
    frozen = {"learning_rate": 1e-300, "max_epochs": 1, "lr_schedule": None}
    return copy.deepcopy(estimator(**{**QUICK, **params, **frozen}).fit(X, y).module_).train()


# Weights.


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_weight_two_counts_as_the_row_twice(estimator, y):
    twice = np.random.RandomState(1).permutation(30)[:12]
    weights = np.ones(30)
    weights[twice] = 2
    one = estimator(**FULL_BATCH).fit(X, y, weights)
    other = estimator(**FULL_BATCH).fit(np.concatenate([X, X[twice]]), np.concatenate([y, y[twice]]))
    np.testing.assert_allclose(outputs(one), outputs(other), rtol=0, atol=1e-9)
    for column in ("train_loss", "train_score"):
        np.testing.assert_allclose(one.history_[column], other.history_[column], rtol=1e-9)


def test_class_weight_99_counts_as_99_copies():
    rare = np.flatnonzero(LABELS == "c")
    one = CNNClassifier(**FULL_BATCH, class_weight={"c": 99, "a": 1, "b": 1}).fit(X, LABELS)
    rows = np.concatenate([np.arange(30), np.repeat(rare, 98)])
    other = CNNClassifier(**FULL_BATCH).fit(X[rows], LABELS[rows])
    np.testing.assert_allclose(outputs(one), outputs(other), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("estimator", "y"), TASKS)
@pytest.mark.parametrize("params", [{}, {"batch_size": 7}, {"early_stopping": True}], ids=str)
def test_rows_of_weight_zero_are_as_if_absent(estimator, y, params):
    weights = 1.0 + np.random.RandomState(1).randint(0, 3, 30)
    weights[::4] = 0
    kept = weights > 0
    one = estimator(**{**QUICK, **params}).fit(X, y, weights)
    other = estimator(**{**QUICK, **params}).fit(X[kept], y[kept], weights[kept])
    np.testing.assert_array_equal(outputs(one), outputs(other))


def test_a_class_of_weight_zero_is_no_class():
    net = CNNClassifier(**QUICK).fit(X, LABELS, (LABELS != "b").astype(float))
    assert net.classes_.tolist() == ["a", "c"]


@pytest.mark.parametrize(("estimator", "y"), TASKS)
@pytest.mark.parametrize("scale", [2**10, 0.3, 1e-12, 1e12])
def test_the_scale_of_the_weights_does_not_matter(estimator, y, scale):
    weights = 1.0 + np.arange(30) % 4
    params = {"batch_size": 7, "early_stopping": True, "l2": 0.01}
    one, other = (estimator(**{**QUICK, **params}).fit(X, y, w) for w in (weights, scale * weights))
    np.testing.assert_allclose(outputs(one), outputs(other), rtol=0, atol=0 if scale == 2**10 else 1e-9)


def test_equal_weights_are_no_weights():
    one, other = (CNNClassifier(**QUICK).fit(X, LABELS, weights) for weights in (None, np.full(30, 0.7)))
    np.testing.assert_array_equal(outputs(one), outputs(other))


@pytest.mark.parametrize("weights", [None, 1.0 + np.arange(30) % 4], ids=["unweighted", "weighted"])
def test_balanced_classes_are_the_dict_that_balances_them(weights):
    rows = np.concatenate([np.arange(30), np.flatnonzero(CODES == 1), np.flatnonzero(CODES == 1)])
    y, w = LABELS[rows], None if weights is None else weights[rows]
    totals = {label: np.sum((y == label) * (1 if w is None else w)) for label in "abc"}
    by_hand = {label: sum(totals.values()) / (3 * total) for label, total in totals.items()}
    one, other = (
        CNNClassifier(**QUICK, batch_size=9, class_weight=class_weight).fit(X[rows], y, w)
        for class_weight in ("balanced", by_hand)
    )
    np.testing.assert_allclose(outputs(one), outputs(other), rtol=0, atol=1e-12)


def test_class_weight_multiplies_sample_weight():
    weights = 1.0 + np.arange(30) % 4
    by_class = {"a": 0.5, "b": 3, "c": 1}
    one = CNNClassifier(**QUICK, class_weight=by_class).fit(X, LABELS, weights)
    other = CNNClassifier(**QUICK).fit(X, LABELS, weights * [by_class[label] for label in LABELS])
    np.testing.assert_allclose(outputs(one), outputs(other), rtol=0, atol=1e-12)


def test_a_class_missing_from_the_dict_has_weight_one():
    one, other = (CNNClassifier(**QUICK, class_weight=w).fit(X, LABELS) for w in ({"a": 3}, {"a": 3, "b": 1, "c": 1}))
    np.testing.assert_array_equal(outputs(one), outputs(other))


def test_a_batchs_loss_is_the_mean_of_weight_times_loss():
    # Not divided by the weights of the batch: rare heavy rows keep their weight wherever they fall.
    weights = np.where(CODES == 0, 50.0, 1.0)
    net = CNNRegressor(**QUICK | {"max_epochs": 1, "batch_size": 5, "learning_rate": 1e-300}).fit(X, VALUES, weights)
    z = (VALUES - np.average(VALUES, weights=weights)) / np.sqrt(np.cov(VALUES, aweights=weights, ddof=0))
    with torch.no_grad():
        errors = net.module_(torch.from_numpy(X)[:, None])[:, 0].numpy() - z
    expected = np.mean(weights / weights.mean() * errors**2)
    assert net.history_["train_loss"].iloc[0] == pytest.approx(expected, rel=1e-12)


# The loop.


class Recorder(Callback):
    """Keep what a callback is given, in lists of the class that a test makes."""

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.batches.append(tuple(part.clone() for part in batch))

    def on_batch_end(self, net, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


def recorder():
    return type("Recorded", (Recorder,), {"batches": [], "rates": []})


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("adam", lambda p: torch.optim.Adam(p, lr=0.01)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.01)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.01)),
        (torch.optim.NAdam, lambda p: torch.optim.NAdam(p, lr=0.01)),
    ],
    ids=["adam", "adamw", "sgd", "rmsprop", "a class"],
)
def test_fit_is_the_plain_torch_loop(name, make):
    recorded = recorder()
    params = {"optimizer": name, "batch_size": 8, "batch_norm": True}
    net = CNNClassifier(**QUICK, **params, learning_rate=0.01, lr_schedule=None, callbacks=[recorded]).fit(X, LABELS)
    module = initial(CNNClassifier, LABELS, **params)
    for layer in module.modules():
        if hasattr(layer, "reset_running_stats"):
            layer.reset_running_stats()
    optimizer = make(module.parameters())
    for n_seen, (images, codes) in enumerate(recorded.batches):
        for layer in module.modules():
            if hasattr(layer, "reset_running_stats"):
                layer.momentum = max(0.1, 1 / (n_seen + 1))  # statistics begin as the average of the batches so far
        optimizer.zero_grad()
        functional.cross_entropy(module(images), codes).backward()
        optimizer.step()
    assert len(recorded.batches) == 12
    for name, tensor in state(net).items():
        np.testing.assert_allclose(tensor, module.state_dict()[name], rtol=0, atol=ROUNDING_OF_STEPS)


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_an_epoch_takes_every_row_once_in_an_order_of_its_own(estimator, y):
    recorded = recorder()
    estimator(**QUICK, batch_size=8, callbacks=[recorded]).fit(X, y)
    assert [len(images) for images, _ in recorded.batches] == 3 * [8, 8, 8, 6]
    epochs = [torch.cat([images[:, 0] for images, _ in recorded.batches[i : i + 4]]).numpy() for i in (0, 4, 8)]
    orders = [[int(np.flatnonzero((X == row).all(1))[0]) for row in rows] for rows in epochs]
    assert [sorted(order) for order in orders] == 3 * [list(range(30))]
    assert orders[0] != orders[1] != orders[2]
    assert not any(order == sorted(order) for order in orders)


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_the_training_loss_is_that_of_the_epoch_before_on_all_rows(estimator, y):
    net = estimator(**FULL_BATCH).fit(X, y, X_val=X, y_val=y)
    history = net.history_
    for name in ("loss", "score"):
        np.testing.assert_allclose(history[f"train_{name}"][1:], history[f"val_{name}"][:-1], rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimizer_params_reach_the_optimizer(optimizer):
    net = CNNClassifier(**QUICK, optimizer=optimizer, optimizer_params={"weight_decay": 0.125}).fit(X, LABELS)
    assert {group["weight_decay"] for group in net.net_.optimizer_.param_groups} == {0.125}


class NeverAsks(torch.optim.SGD):
    def step(self, closure=None):
        return None


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.SparseAdam, r"CNNClassifier: optimizer=SparseAdam failed in its step: .*dense gradients"),
        (NeverAsks, r"CNNClassifier: optimizer=NeverAsks does not call the closure of its step"),
    ],
    ids=["SparseAdam", "NeverAsks"],
)
def test_an_optimizer_that_fails_in_its_step_is_named(optimizer, message):
    with pytest.raises(ValueError, match=message):
        CNNClassifier(**QUICK, optimizer=optimizer).fit(X, LABELS)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", torch.optim.NAdam])
def test_weight_decay_is_the_optimizers_own(optimizer):
    flat = CNNClassifier(**QUICK, optimizer=optimizer, weight_decay=0.125).fit(X, LABELS)
    named = CNNClassifier(**QUICK, optimizer=optimizer, optimizer_params={"weight_decay": 0.125}).fit(X, LABELS)
    assert {group["weight_decay"] for group in flat.net_.optimizer_.param_groups} == {0.125}
    assert same_state(state(flat), state(named))


@pytest.mark.parametrize("momentum", [0, 0.5])
def test_momentum_is_that_of_sgd_alone(momentum):
    for optimizer in ("sgd", "adam", "rmsprop"):
        net = CNNClassifier(**QUICK, optimizer=optimizer, momentum=momentum).fit(X, LABELS)
        group = net.net_.optimizer_.param_groups[0]
        assert group.get("momentum", 0) == (momentum if optimizer == "sgd" else 0)
    assert net.net_.optimizer_.param_groups[0].get("nesterov", False) is False
    sgd = CNNClassifier(**QUICK, optimizer="sgd", momentum=momentum).fit(X, LABELS).net_.optimizer_
    assert sgd.param_groups[0]["nesterov"] is bool(momentum)


@pytest.mark.parametrize("name", ["weight_decay", "momentum"])
def test_an_argument_that_is_given_twice_is_refused(name):
    net = CNNClassifier(**QUICK, optimizer="sgd", **{name: 0.25}, optimizer_params={name: 0.5})
    with pytest.raises(ValueError, match=f"{name}=0.25 and optimizer_params=.*both set {name}"):
        net.fit(X, LABELS)


def test_weight_decay_can_be_drawn_by_a_search():
    search = RandomizedSearchCV(
        CNNClassifier(**QUICK, optimizer="adamw"), {"weight_decay": loguniform(1e-4, 1e-1)}, n_iter=2, cv=2,
        random_state=0,
    ).fit(X, LABELS)  # fmt: skip
    best = search.best_estimator_
    assert best.net_.optimizer_.param_groups[0]["weight_decay"] == search.best_params_["weight_decay"]


def test_an_optimizer_without_weight_decay_says_so():
    with pytest.raises(TypeError, match=r"LBFGS refuses weight_decay=0.125"):
        CNNClassifier(**QUICK, optimizer=torch.optim.LBFGS, weight_decay=0.125).fit(X, LABELS)


def test_a_warm_start_heeds_a_new_weight_decay():
    net = CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS)
    net.set_params(weight_decay=0.25).fit(X, LABELS)
    assert net.net_.optimizer_.param_groups[0]["weight_decay"] == 0.25


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.SGD])
def test_an_argument_that_the_optimizer_refuses_is_an_error_that_says_so(optimizer):
    with pytest.raises((TypeError, ValueError), match=r"CNNClassifier: \w+ refuses optimizer_params=.*no_such"):
        CNNClassifier(**QUICK, optimizer=optimizer, optimizer_params={"no_such": 1}).fit(X, LABELS)


def test_an_optimizer_that_refuses_the_network_says_so():
    class Lines(torch.optim.SGD):
        def __init__(self, params, lr):
            raise ValueError("only lines.")

    with pytest.raises(ValueError, match=r"CNNClassifier: Lines refuses the weights of this network: only lines\.$"):
        CNNClassifier(**QUICK, optimizer=Lines).fit(X, LABELS)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_every_precision_trains_and_keeps_weights_in_full(estimator, y, precision):
    net = estimator(**QUICK | {"precision": precision, "max_epochs": 20}).fit(X, y)
    assert net.history_["train_loss"].iloc[-1] < net.history_["train_loss"].iloc[0]
    assert {p.dtype for p in net.module_.parameters()} == {getattr(torch, precision.replace("bfloat16", "float32"))}
    assert np.isfinite(outputs(net)).all()


# The number of epochs.


def test_auto_gives_about_a_thousand_updates_within_ten_and_two_hundred_epochs():
    for n_rows in [*range(1, 3000, 7), 10_000, 60_000, 10**6]:
        for batch_size in (1, 32, 64, 1000):
            epochs = auto_epochs(n_rows, batch_size)
            updates = -(-n_rows // batch_size)
            assert epochs == np.clip(round(1000 / updates), 10, 200)
            if 10 < epochs < 200:
                assert abs(epochs * updates - 1000) <= updates / 2


@pytest.mark.filterwarnings("ignore:.*learnt next to nothing")  # where the first outputs are small by chance
@pytest.mark.parametrize(("early_stopping", "n_rows"), [(False, 30), (True, 27)])
def test_auto_counts_the_rows_that_train(early_stopping, n_rows):
    params = {"filters": (), "dense_units": (), "batch_size": 2, "patience": 200, "learning_rate": 1e-300}
    net = CNNRegressor(**params, early_stopping=early_stopping, scoring=lambda net, X, y: 0.0).fit(X, VALUES)
    assert net.n_iter_ == len(net.history_) == auto_epochs(n_rows, 2)


def test_without_validation_the_last_epoch_is_the_best():
    net = CNNClassifier(**QUICK).fit(X, LABELS)
    assert net.n_iter_ == net.best_epoch_ == 3
    assert net.history_["epoch"].tolist() == [1, 2, 3]
    assert (net.history_["duration"] > 0).all()


# Warm starts and partial fits.


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", torch.optim.LBFGS])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_warm_start_goes_on_where_the_last_fit_ended(estimator, y, optimizer):
    params = FULL_BATCH | {"lr_schedule": None, "optimizer": optimizer, "batch_norm": True}
    at_once = estimator(**params | {"max_epochs": 5}).fit(X, y)
    in_parts = estimator(**params, warm_start=True).fit(X, y).set_params(max_epochs=2).fit(X, y)
    np.testing.assert_allclose(outputs(at_once), outputs(in_parts), rtol=0, atol=ROUNDING_OF_STEPS)
    assert in_parts.n_iter_ == in_parts.best_epoch_ == 5
    assert in_parts.history_["epoch"].tolist() == [1, 2, 3, 4, 5]
    columns = ["train_loss", "train_score", "learning_rate"]
    np.testing.assert_allclose(at_once.history_[columns], in_parts.history_[columns], rtol=1e-7)


def test_warm_start_is_deterministic():
    params = QUICK | {"dropout": 0.5, "batch_size": 7, "early_stopping": True}
    one, other = (CNNClassifier(**params, warm_start=True).fit(X, LABELS).fit(X, LABELS) for _ in range(2))
    assert same_state(state(one), state(other))


def test_the_first_fit_with_warm_start_is_a_fit():
    one, other = (CNNClassifier(**QUICK, warm_start=warm_start).fit(X, LABELS) for warm_start in (False, True))
    assert same_state(state(one), state(other))


def test_without_warm_start_every_fit_begins_anew():
    net = CNNClassifier(**QUICK).fit(X, LABELS)
    first = state(net)
    assert same_state(first, state(net.fit(X, LABELS)))
    assert len(net.history_) == 3


def test_warm_start_heeds_a_new_learning_rate_and_optimizer():
    net = CNNClassifier(**QUICK, warm_start=True, lr_schedule=None).fit(X, LABELS)
    net.set_params(learning_rate=0.125, optimizer="sgd", optimizer_params={"momentum": 0.5}).fit(X, LABELS)
    assert net.history_["learning_rate"].tolist() == [2e-3] * 3 + [0.125] * 3
    assert isinstance(net.net_.optimizer_, torch.optim.SGD)
    assert net.net_.optimizer_.param_groups[0]["momentum"] == 0.5


def test_warm_start_heeds_a_new_loss_and_new_callbacks():
    net = CNNClassifier(**FULL_BATCH, warm_start=True).fit(X, LABELS)
    recorded = recorder()
    net.set_params(label_smoothing=0.3, callbacks=[recorded], learning_rate=1e-300).fit(X, LABELS)
    assert len(recorded.batches) == 3
    logits = torch.from_numpy(net.decision_function(X))
    expected = functional.cross_entropy(logits, torch.from_numpy(CODES), label_smoothing=0.3)
    assert net.history_["train_loss"].iloc[-1] == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "y"),
    [
        (X, np.where(LABELS == "a", "z", LABELS)),
        (X, np.where(LABELS == "a", "b", LABELS)),
        (X, CODES),
        (X, SEVERAL_LABELS),
        (X[:, :9], LABELS),
        (np.repeat(X[..., None], 3, 2), LABELS),
    ],
    ids=["another class", "a class less", "other labels", "indicators", "another length", "more channels"],
)
@pytest.mark.parametrize("going_on", ["warm_start", "partial_fit"])
def test_going_on_with_other_classes_or_samples_is_an_error(rows, y, going_on):
    net = CNNClassifier(**QUICK, warm_start=True, spatial_dims=1).fit(X, LABELS)
    before, history = state(net), net.history_
    if going_on == "partial_fit" and np.isin(y, LABELS).all() and rows is X:
        net.partial_fit(rows, y)  # a part of the rows need not hold every class
        return
    with pytest.raises(ValueError, match="CNNClassifier"):
        net.fit(rows, y) if going_on == "warm_start" else net.partial_fit(rows, y)
    assert same_state(before, state(net))
    assert net.history_.equals(history)


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_going_on_in_another_precision_is_an_error(estimator):
    net = estimator(**QUICK, warm_start=True).fit(X, CODES)
    before = outputs(net)
    with pytest.raises(ValueError, match=rf"{estimator.__name__}: .*precision"):
        net.set_params(precision="float32").fit(X, CODES)
    np.testing.assert_array_equal(outputs(net), before)


def test_a_regressor_that_goes_on_keeps_the_units_of_its_first_targets():
    net = CNNRegressor(**FULL_BATCH | {"learning_rate": 1e-300}, warm_start=True).fit(X, VALUES)
    first = net.predict(X)
    np.testing.assert_array_equal(net.fit(X, 1000 + VALUES).predict(X), first)
    np.testing.assert_array_equal(net.partial_fit(X, 1000 + VALUES).predict(X), first)
    with pytest.raises(ValueError, match="2 columns"):
        net.partial_fit(X, np.stack([VALUES, VALUES], 1))


@pytest.mark.parametrize("schedule", ["auto", "one_cycle", "cosine", None])
def test_partial_fit_takes_one_epoch_at_a_constant_rate(schedule):
    net = CNNClassifier(**QUICK, batch_size=4, lr_schedule=schedule)
    for n_calls in (1, 2, 3):
        net.partial_fit(X, LABELS)
        assert net.n_iter_ == net.best_epoch_ == len(net.history_) == n_calls
    assert net.history_["learning_rate"].tolist() == [2e-3] * 3


def test_partial_fits_are_a_torch_loop_with_momentum():
    parts = [slice(0, 12), slice(12, 30), slice(5, 25)]
    weights = 0.5 + np.arange(30) % 3
    params = {"optimizer": "sgd", "standardize": False, "learning_rate": 0.1}
    net = CNNClassifier(**FULL_BATCH, **params)
    for part in parts:
        net.partial_fit(X[part], LABELS[part], sample_weight=weights[part])
    module = initial(CNNClassifier, LABELS, **params)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for part in parts:
        optimizer.zero_grad()
        losses = functional.cross_entropy(
            module(torch.from_numpy(X[part])[:, None]), torch.from_numpy(CODES[part]), reduction="none"
        )
        (losses * torch.from_numpy(weights[part])).mean().backward()  # weights as they are
        optimizer.step()
    for name, tensor in state(net).items():
        np.testing.assert_allclose(tensor, module.state_dict()[name].detach(), rtol=0, atol=1e-12)


def test_partial_fit_multiplies_class_weight_and_sample_weight_as_they_are():
    params = FULL_BATCH | {"optimizer": "sgd", "standardize": False}
    one = CNNClassifier(**params, class_weight={"a": 8}).partial_fit(X, LABELS, sample_weight=np.full(30, 2))
    other = CNNClassifier(**params).partial_fit(X, LABELS, sample_weight=np.where(LABELS == "a", 16, 2))
    np.testing.assert_array_equal(outputs(one), outputs(other))


def test_partial_fit_needs_the_classes_only_where_the_first_rows_lack_some():
    net = CNNClassifier(**QUICK).partial_fit(X[:2], LABELS[:2], classes=["a", "b", "c"])
    assert net.classes_.tolist() == ["a", "b", "c"]
    net.partial_fit(X[2:3], LABELS[2:3])
    net.partial_fit(X, LABELS, classes=["c", "b", "a"])
    assert net.predict_proba(X).shape == (30, 3)
    with pytest.raises(ValueError, match="classes="):
        net.partial_fit(X, LABELS, classes=["a", "b"])
    with pytest.raises(ValueError, match="not among"):
        CNNClassifier(**QUICK).partial_fit(X, LABELS, classes=["a", "b"])


def test_partial_fit_is_not_offered_with_early_stopping():
    net = CNNClassifier(**QUICK, early_stopping=True)
    assert not hasattr(net, "partial_fit")
    with pytest.raises(ValueError, match="CNNClassifier: partial_fit trains for one epoch"):
        net.partial_fit(X, LABELS)


def test_partial_fit_cannot_balance_classes():
    with pytest.raises(ValueError, match=r"CNNClassifier: .*balanced"):
        CNNClassifier(**QUICK, class_weight="balanced").partial_fit(X, LABELS)


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_every_call_draws_other_units_to_drop(call):
    # One row a call, through the same network: were the same units dropped, the losses would be equal.
    params = FULL_BATCH | {"max_epochs": 1, "learning_rate": 1e-300, "dropout": 0.5, "dense_units": (20,)}
    net = CNNRegressor(**params, warm_start=True).fit(X, VALUES)
    for _ in range(3):
        getattr(net, call)(X[:1], VALUES[:1])
    assert net.history_["train_loss"][1:].nunique() == 3


# Batch norm, and batches of one row.


@pytest.mark.parametrize("n_rows", [9, 17, 30])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_last_batch_of_one_row_joins_the_batch_before_it_for_batch_norm(batch_norm, n_rows):
    recorded = recorder()
    net = CNNClassifier(**QUICK | {"max_epochs": 1}, batch_size=8, batch_norm=batch_norm, callbacks=[recorded])
    net.fit(X[:n_rows], LABELS[:n_rows])
    sizes = [len(images) for images, _ in recorded.batches]
    if batch_norm:
        assert sizes == {9: [9], 17: [8, 9], 30: [8, 8, 8, 6]}[n_rows]
    else:
        assert sizes == {9: [8, 1], 17: [8, 8, 1], 30: [8, 8, 8, 6]}[n_rows]
    assert np.isfinite(outputs(net)).all()


def test_a_last_batch_of_few_rows_joins_the_batch_before_it_for_batch_norm():
    """Two rows are normalised to 1 and -1, whatever they are: 66 digits were learnt to 0.85, and 64 to 0.91."""
    recorded = recorder()
    net = CNNClassifier(**QUICK | {"max_epochs": 1}, batch_size=16, batch_norm=True, callbacks=[recorded])
    for n_rows, sizes in {18: [18], 19: [16, 3]}.items():
        recorded.batches.clear()
        net.fit(X[:n_rows], LABELS[:n_rows])
        assert [len(images) for images, _ in recorded.batches] == sizes


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_a_schedule_counts_the_joined_batch_once(schedule):
    joined, plain = (
        CNNRegressor(**QUICK, batch_norm=True, batch_size=size, lr_schedule=schedule).fit(X[:17], VALUES[:17])
        for size in (8, 10)
    )  # two updates an epoch, both
    np.testing.assert_array_equal(joined.history_["learning_rate"], plain.history_["learning_rate"])


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_batches_of_one_row_are_normalised_by_running_statistics(estimator, y):
    net = estimator(**QUICK, batch_size=1, batch_norm=True, global_pooling="avg").fit(X, y)
    assert (net.module_.block1.norm.running_mean == 0).all()
    assert (net.module_.block1.norm.running_var == 1).all()
    assert np.isfinite(outputs(net)).all()
    assert net.history_["train_loss"].nunique() == 3


def test_one_row_is_enough_for_a_regressor():
    net = CNNRegressor(**QUICK, batch_norm=True).fit(X[:1], VALUES[:1])
    assert net.predict(X).shape == (30,)


# What is printed.


def test_verbose_0_prints_nothing(capfd):
    CNNClassifier(**QUICK, early_stopping=True).fit(X, LABELS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, True])
def test_verbose_1_shows_one_bar_and_prints_nothing_else(capfd, verbose):
    net = CNNClassifier(**QUICK, verbose=verbose).fit(X, LABELS, X_val=X, y_val=LABELS)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1  # the bar is drawn over itself
    last = printed.err.split("\r")[-1]
    row = net.history_.iloc[-1]
    assert re.search(rf"epoch 3/3 100%.*loss {row['train_loss']:.3g}, val_loss {row['val_loss']:.3g}, val_score", last)


STOPPING = QUICK | {"early_stopping": True, "patience": 2, "learning_rate": 1.0, "optimizer": "sgd", "max_epochs": 50}


def test_the_bar_is_full_and_names_the_best_epoch_after_an_early_stop(capfd):
    net = CNNClassifier(**STOPPING, verbose=1).fit(X, LABELS)
    last = capfd.readouterr().err.split("\r")[-1]
    assert net.n_iter_ < 50
    score = net.history_["val_score"][net.best_epoch_ - 1]
    assert re.search(rf"^epoch {net.n_iter_}/50, best {net.best_epoch_} 100%.*val_score {score:.3g}", last)
    assert "left" not in last


def test_the_bar_of_an_error_is_not_full_and_promises_no_time(capfd):
    def fail(self, net, **kwargs):
        if len(net.history) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CNNClassifier(**QUICK, verbose=1, callbacks=[type("Fails", (Callback,), {"on_epoch_end": fail})]).fit(X, LABELS)
    last = capfd.readouterr().err.split("\r")[-1]
    assert "100%" not in last
    assert "left" not in last


@pytest.mark.parametrize("verbose", [1, 2])
def test_the_training_on_all_rows_has_a_name_of_its_own(capfd, verbose):
    net = CNNClassifier(**STOPPING, refit_full=True, verbose=verbose).fit(X, LABELS)
    printed = "".join(capfd.readouterr())
    best = net.best_epoch_
    assert re.findall(r"refit +\d+/\d+", printed)[-1].split() == ["refit", f"{best}/{best}"]
    assert f"best {'epoch ' * (verbose == 2)}{best}" in printed


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_no_line_of_the_bar_is_longer_than_the_terminal(capfd, columns, monkeypatch):
    from tqdm import std

    monkeypatch.setattr(std, "_screen_shape_wrapper", lambda: lambda file: (columns, 24))
    CNNClassifier(**STOPPING, verbose=1).fit(X, LABELS)
    lines = capfd.readouterr().err.replace("\n", "").split("\r")
    shown = [line.rstrip() for line in lines if "%|" in line]
    assert shown
    assert max(map(len, shown)) <= columns
    assert all(re.search(r"%\|.*\| (\d\d:\d\d|\?)( left)?(, [a-z_]+ [-+.e\d]+)*$", line) for line in shown)
    n_numbers = {line.count(", val") + line.count(", loss") for line in shown if "epoch 2/50 " in line}
    assert n_numbers == {{40: 0, 60: 1, 80: 3, 120: 3}[columns]}


@pytest.mark.parametrize("verbose", [2, 3])
def test_verbose_2_prints_a_line_an_epoch(capfd, verbose):
    net = CNNClassifier(**QUICK, verbose=verbose, l2=0.01).fit(X, LABELS)
    printed = capfd.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert len(lines) == 3
    for number, (line, row) in enumerate(zip(lines, net.history_.itertuples(), strict=True), start=1):
        assert line.startswith(f"epoch {number}/3 ")
        assert f"train_loss {row.train_loss:.4g}" in line
        assert f"penalty {row.penalty:.4g}" in line
        assert "nan" not in line


def test_progress_goes_on_counting_in_a_warm_start(capfd):
    net = CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS)
    net.set_params(verbose=2).fit(X, LABELS)
    assert [line[:9] for line in capfd.readouterr().out.splitlines()] == ["epoch 4/6", "epoch 5/6", "epoch 6/6"]


def test_lbfgs_trains_convolutions(digits):
    X, y = digits
    cnn = CNNClassifier(
        optimizer=torch.optim.LBFGS,
        learning_rate=0.5,
        lr_schedule=None,
        batch_size=len(X),
        max_epochs=5,
        random_state=0,
    ).fit(X.reshape(-1, 8, 8), y)
    losses = cnn.history_["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0] / 2
