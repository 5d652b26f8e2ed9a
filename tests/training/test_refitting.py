"""Laws of `refit_full`: the network is trained on all rows, with the epochs and rates of the run with validation."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.training.schedules import SCHEDULES

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(40, 8)
LABELS = np.array(["a", "b", "c"])[np.arange(40) % 3]
VALUES = 100 + 30 * RANDOM.randn(40)
QUICK = {
    "filters": (3,), "dense_units": (4,), "max_epochs": 6, "batch_size": 16, "random_state": 0, "batch_norm": True,
    "dropout": 0.3, "precision": "float64",
}  # fmt: skip
TASKS = [pytest.param(CNNClassifier, LABELS, id="classifier"), pytest.param(CNNRegressor, VALUES, id="regressor")]


def best_in_epoch(best):
    """Make a scorer by which one epoch is the best."""
    epochs = iter(range(1, 100))
    return lambda estimator, X, y: float(next(epochs) == best)


def refitted(estimator, y, best, **params):
    params = {**QUICK, "early_stopping": True, "refit_full": True, "scoring": best_in_epoch(best), **params}
    return estimator(**params).fit(X, y)


def assert_same_network(one, other):
    assert one.module_.state_dict().keys() == other.module_.state_dict().keys()
    for name, tensor in one.module_.state_dict().items():
        assert torch.equal(tensor, other.module_.state_dict()[name]), name


def telling(hook, method):
    return type("Telling", (Callback,), {hook: method})


@pytest.mark.parametrize("best", [1, 4, 6])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_the_network_is_that_of_a_fit_on_all_rows_for_the_best_number_of_epochs(estimator, y, best):
    net = refitted(estimator, y, best, lr_schedule=None)
    plain = estimator(**QUICK | {"max_epochs": best, "lr_schedule": None}).fit(X, y)
    assert_same_network(net, plain)
    np.testing.assert_array_equal(net.predict(X), plain.predict(X))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_keeps_the_horizon_of_the_first_run(schedule):
    rates = []
    recorder = telling("on_batch_end", lambda self, net, **kwargs: rates.append(net.optimizer_.param_groups[0]["lr"]))
    net = refitted(CNNRegressor, VALUES, 4, lr_schedule=schedule, batch_size=10, callbacks=[recorder])
    again = rates[-4 * 4 :]  # four batches of all rows an epoch
    np.testing.assert_allclose(again, net.learning_rate * SCHEDULES[schedule](np.arange(4 * 4), 6 * 4), rtol=1e-12)


def test_a_plateau_of_the_first_run_lowers_the_rate_in_the_same_epochs():
    per_epoch = []
    recorder = telling("on_epoch_end", lambda self, net, **kwargs: per_epoch.append(net.history[-1, "learning_rate"]))
    net = refitted(
        CNNRegressor,
        VALUES,
        30,
        lr_schedule="reduce_on_plateau",
        max_epochs=30,
        patience=40,
        batch_size=2,
        callbacks=[recorder],
    )
    assert net.history_["learning_rate"].nunique() > 2
    assert per_epoch == 2 * net.history_["learning_rate"].tolist()


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_the_history_is_that_of_the_run_with_validation(estimator, y):
    net = refitted(estimator, y, 3)
    first = estimator(**QUICK, early_stopping=True, scoring=best_in_epoch(3)).fit(X, y)
    columns = net.history_.columns.drop("duration")
    assert net.history_[columns].equals(first.history_[columns])
    assert (net.best_epoch_, net.n_iter_) == (first.best_epoch_, first.n_iter_) == (3, 6)


def test_inputs_and_targets_are_standardised_by_all_rows():
    net = refitted(CNNRegressor, VALUES, 2)
    assert float(net.module_.standardize.mean) == pytest.approx(X.mean(), rel=1e-9)
    torch.nn.init.zeros_(net.module_.output.weight)
    torch.nn.init.zeros_(net.module_.output.bias)
    np.testing.assert_allclose(net.predict(X), VALUES.mean(), rtol=1e-9)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_all_rows_have_their_weights(class_weight):
    weights = 1.0 + np.arange(40) % 3
    y = np.where(np.arange(40) < 10, "rare", "common")
    params = QUICK | {"lr_schedule": None, "class_weight": class_weight}
    net = CNNClassifier(**params, early_stopping=True, refit_full=True, scoring=best_in_epoch(3)).fit(X, y, weights)
    assert_same_network(net, CNNClassifier(**params | {"max_epochs": 3}).fit(X, y, weights))


def test_without_early_stopping_there_is_nothing_to_refit():
    one, other = (CNNClassifier(**QUICK, refit_full=refit).fit(X, LABELS) for refit in (False, True))
    assert_same_network(one, other)
    assert len(one.history_) == len(other.history_) == 6


@pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end"])
def test_an_interrupt_while_refitting_leaves_the_first_runs_best_epoch(hook):
    told = []

    def interrupt(self, net, **kwargs):
        told.append(0)
        if len(told) > n_first:
            raise KeyboardInterrupt

    n_first = {"on_train_begin": 1, "on_batch_end": 6 * 4, "on_epoch_end": 6 + 1, "on_train_end": 1}[hook]
    net = CNNClassifier(
        **QUICK, early_stopping=True, refit_full=True, scoring=best_in_epoch(3), callbacks=[telling(hook, interrupt)]
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, LABELS)
    first = CNNClassifier(**QUICK, early_stopping=True, scoring=best_in_epoch(3)).fit(X, LABELS)
    assert_same_network(net, first)
    assert net.best_epoch_ == 3
    np.testing.assert_array_equal(net.predict_proba(X), first.predict_proba(X))


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_end", "on_train_end"])
def test_an_error_while_refitting_leaves_the_estimator_as_it_was(hook, warm_start):
    told = []

    def trouble(self, net, **kwargs):
        told.append(0)
        if len(told) > n_first:
            raise ZeroDivisionError

    n_first = {"on_train_begin": 1, "on_epoch_end": 6, "on_train_end": 1}[hook]
    net = refitted(CNNClassifier, LABELS, 3, warm_start=warm_start)
    before = copy.deepcopy({name: value for name, value in vars(net).items() if name != "scoring"})
    predicted, n_epochs = net.predict_proba(X), len(net.net_.history)
    net.set_params(scoring=best_in_epoch(2), callbacks=[telling(hook, trouble)])
    with pytest.raises(ZeroDivisionError):
        net.fit(X, LABELS)
    np.testing.assert_array_equal(net.predict_proba(X), predicted)
    assert net.history_["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(net.net_.history) == n_epochs == 3
    assert vars(net).keys() == {*before, "scoring"}


@pytest.mark.parametrize("schedule", [None, *SCHEDULES])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_a_refit_of_a_warm_start_trains_the_network_of_before_on_all_rows(estimator, y, schedule):
    cnn = refitted(estimator, y, 4, warm_start=True, lr_schedule=schedule)
    before, earlier = copy.copy(cnn), cnn.history_
    rates = []
    recorder = telling("on_epoch_end", lambda self, net, **kwargs: rates.append(net.history[-1, "learning_rate"]))
    cnn.set_params(scoring=best_in_epoch(3), callbacks=[recorder]).fit(X, y)
    assert (cnn.best_epoch_, cnn.n_iter_) == (6 + 3, 12)
    assert cnn.history_["epoch"].tolist() == list(range(1, 13))
    assert cnn.history_[: len(earlier)].equals(earlier)
    if schedule is None:
        before.set_params(early_stopping=False, refit_full=False, max_epochs=3).fit(X, y)
        assert_same_network(cnn, before)
    else:  # the first of the six epochs of a cycle, of which the refit has one more update each
        np.testing.assert_allclose(rates[6:], rates[:3], rtol=0.5)
    cnn.set_params(early_stopping=False, scoring="loss").fit(X, y)
    assert cnn.history_["epoch"].tolist() == list(range(1, 19))


def test_after_a_refit_a_warm_start_goes_on_with_the_callbacks_of_the_first_run(tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
    cnn = refitted(CNNClassifier, LABELS, 4, warm_start=True, callbacks=[checkpoint])
    assert [callback.fn_prefix for _, callback in cnn.net_.callbacks_] == [""]
