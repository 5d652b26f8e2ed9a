"""Laws of interrupts, errors and divergence: what is left of the estimator."""

import copy
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklcnn import CNNClassifier, CNNRegressor

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(40, 8)
LABELS = np.array(["a", "b", "c"])[np.arange(40) % 3]
VALUES = RANDOM.randn(40)
QUICK = {
    "filters": (3,), "dense_units": (4,), "max_epochs": 5, "batch_size": 16, "random_state": 0, "batch_norm": True,
    "dropout": 0.3, "lr_schedule": None,
}  # fmt: skip
TASKS = [pytest.param(CNNClassifier, LABELS, id="classifier"), pytest.param(CNNRegressor, VALUES, id="regressor")]
BATCH_HOOKS = ["on_batch_begin", "on_grad_computed", "on_batch_end"]
EPOCH_HOOKS = ["on_epoch_begin", *BATCH_HOOKS, "on_epoch_end"]


def raising(error, hook, epoch):
    """Make a callback class that raises in a hook, in one epoch."""

    def method(self, net, *args, **kwargs):
        if len(net.history) == epoch:
            raise error

    return type("Raising", (Callback,), {hook: method})


def state(net):
    """Copy all that a fit leaves: weights, statistics, the optimiser's state, the history."""
    history = net.history_.drop(columns="duration")
    return copy.deepcopy((net.module_.state_dict(), net.net_.optimizer_.state_dict(), history.to_dict("list")))


def assert_same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def public(net):
    """Return the public fitted attributes, but those that `state` copies."""
    names = [name for name in dir(net) if re.fullmatch(r"[a-z].*[a-z]_", name) and hasattr(net, name)]
    return {name: getattr(net, name) for name in names if name not in ("net_", "history_")}


def interrupted(estimator, y, hook, epoch, **params):
    net = estimator(**{**QUICK, **params}, callbacks=[raising(KeyboardInterrupt, hook, epoch)])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    return net


# Interrupts.


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", torch.optim.LBFGS])
@pytest.mark.parametrize("epoch", [2, 4])
@pytest.mark.parametrize("hook", EPOCH_HOOKS)
def test_an_interrupt_in_epoch_k_leaves_the_fit_of_k_minus_1_epochs(hook, epoch, optimizer):
    net = interrupted(CNNClassifier, LABELS, hook, epoch, optimizer=optimizer)
    whole = CNNClassifier(**QUICK | {"max_epochs": epoch - 1, "optimizer": optimizer}).fit(X, LABELS)
    assert_same(state(net), state(whole))
    assert net.n_iter_ == net.best_epoch_ == epoch - 1
    np.testing.assert_array_equal(net.predict_proba(X), whole.predict_proba(X))
    assert public(net).keys() == public(whole).keys()


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_begin", "on_epoch_end"])
def test_an_interrupt_leaves_a_regressor_too(hook):
    net = interrupted(CNNRegressor, VALUES, hook, 3)
    assert_same(state(net), state(CNNRegressor(**QUICK | {"max_epochs": 2}).fit(X, VALUES)))


def test_an_interrupt_after_the_last_epoch_leaves_all_of_them():
    net = interrupted(CNNClassifier, LABELS, "on_train_end", 5)
    assert_same(state(net), state(CNNClassifier(**QUICK).fit(X, LABELS)))


@pytest.mark.parametrize("hook", EPOCH_HOOKS)
def test_an_interrupt_with_early_stopping_leaves_the_best_epoch_so_far(hook):
    def scores():
        values = iter([1.0, 3, 2, 0, 0])
        return lambda estimator, X, y: next(values)

    params = {"early_stopping": True}
    net = interrupted(CNNClassifier, LABELS, hook, 4, **params, scoring=scores())
    whole = CNNClassifier(**QUICK | {"max_epochs": 3}, **params, scoring=scores()).fit(X, LABELS)
    assert (net.n_iter_, net.best_epoch_) == (3, 2)
    assert_same(state(net), state(whole))


def test_an_interrupt_in_a_scorer_is_one_too():
    calls = []

    def scorer(estimator, X, y):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return float(len(calls))

    net = CNNClassifier(**QUICK, early_stopping=True, scoring=scorer)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, LABELS)
    assert net.n_iter_ == 2


@pytest.mark.parametrize("hook", ["on_train_begin", *EPOCH_HOOKS])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_an_interrupt_in_the_first_epoch_leaves_the_estimator_unfitted(estimator, y, hook):
    net = interrupted(estimator, y, hook, 0 if hook == "on_train_begin" else 1)
    assert vars(net).keys() == vars(estimator()).keys()


@pytest.mark.parametrize("hook", EPOCH_HOOKS)
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_an_interrupt_in_the_first_epoch_of_a_second_fit_leaves_the_first(estimator, y, hook):
    net = estimator(**QUICK).fit(X, y)
    before, attributes = state(net), public(net)
    net.set_params(callbacks=[raising(KeyboardInterrupt, hook, 1)], filters=(7,), random_state=1)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X[::-1, :5], y)
    assert_same(state(net), before)
    assert public(net) == attributes
    assert len(net.predict(X)) == 40


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", torch.optim.LBFGS])
@pytest.mark.parametrize("hook", EPOCH_HOOKS)
@pytest.mark.parametrize("epoch", [6, 8])
def test_an_interrupt_of_a_fit_that_goes_on_leaves_its_last_epoch(hook, epoch, optimizer):
    net = CNNClassifier(**QUICK, optimizer=optimizer, warm_start=True).fit(X, LABELS)
    whole = copy.deepcopy(net)
    with pytest.raises(KeyboardInterrupt):
        net.set_params(callbacks=[raising(KeyboardInterrupt, hook, epoch)]).fit(X, LABELS)
    if epoch > 6:
        whole.set_params(max_epochs=epoch - 6).fit(X, LABELS)
    assert_same(state(net), state(whole))
    assert net.n_iter_ == epoch - 1


def test_after_an_interrupt_warm_start_goes_on():
    net = interrupted(CNNClassifier, LABELS, "on_batch_end", 4)
    net.set_params(callbacks=None, warm_start=True, max_epochs=2).fit(X, LABELS)
    whole = CNNClassifier(**QUICK | {"max_epochs": 3}, warm_start=True).fit(X, LABELS)
    whole.set_params(max_epochs=2).fit(X, LABELS)
    assert_same(state(net), state(whole))
    assert net.history_["epoch"].tolist() == [1, 2, 3, 4, 5]


def test_an_interrupt_of_partial_fit_leaves_the_calls_before():
    net = CNNClassifier(**QUICK).partial_fit(X, LABELS)
    before = state(net)
    with pytest.raises(KeyboardInterrupt):
        net.set_params(callbacks=[raising(KeyboardInterrupt, "on_batch_end", 2)]).partial_fit(X, LABELS)
    assert_same(state(net), before)


def test_a_signal_in_the_middle_of_an_epoch_is_an_interrupt(interruptible):
    def send(self, net, **kwargs):
        if len(net.history) == 3:
            signal.raise_signal(signal.SIGINT)

    net = CNNClassifier(**QUICK, callbacks=[type("Sending", (Callback,), {"on_batch_end": send})])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, LABELS)
    assert_same(state(net), state(CNNClassifier(**QUICK | {"max_epochs": 2}).fit(X, LABELS)))


@pytest.fixture
def interruptible():
    """Let SIGINT raise, as it does in a program of its own; test runners may ignore it in their workers."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("milliseconds", [20, 33, 47, 61])
def test_a_signal_at_any_time_leaves_whole_epochs(milliseconds, interruptible):
    timer = threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), signal.SIGINT))
    begin = type("Begin", (Callback,), {"on_train_begin": lambda self, net, **kwargs: timer.start()})
    net = CNNClassifier(**QUICK | {"max_epochs": 100_000}, callbacks=[begin])
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, LABELS)
    timer.join()
    if not hasattr(net, "net_"):
        return  # not one epoch in that time
    assert_same(state(net), state(CNNClassifier(**QUICK | {"max_epochs": net.n_iter_}).fit(X, LABELS)))


PROGRAM = """
import os, signal, sys
import numpy as np
from skorch.callbacks import Callback
from sklcnn import CNNClassifier

class Ready(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 4:  # three have finished
            print("ready", flush=True)

net = CNNClassifier(filters=(3,), dense_units=(), max_epochs=10**6, verbose=1, callbacks=[Ready()])
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    net.fit(np.random.RandomState(0).randn(40, 8), np.arange(40) % 2)
except KeyboardInterrupt:
    print(net.n_iter_ >= 3, len(net.history_) == net.n_iter_, flush=True)
    raise
"""


def test_control_c_ends_a_program_that_fits():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out == "True True\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode in (1, -signal.SIGINT)


# Errors.


class TroubleError(Exception):
    """The error that a callback raises here."""


@pytest.mark.parametrize("hook", ["initialize", "on_train_begin", *EPOCH_HOOKS, "on_train_end"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_an_error_in_a_callback_leaves_the_estimator_as_it_was(estimator, y, hook):
    if hook == "initialize":
        trouble = type("Raising", (Callback,), {"initialize": lambda self: 1 / 0})
    else:
        trouble = raising(TroubleError, hook, {"on_train_begin": 0, "on_train_end": 5}.get(hook, 3))
    net = estimator(**QUICK, callbacks=[trouble])
    with pytest.raises((TroubleError, ZeroDivisionError)):
        net.fit(X, y)
    assert vars(net).keys() == vars(estimator()).keys()

    net.set_params(callbacks=None).fit(X, y)
    before, attributes = state(net), public(net)
    with pytest.raises((TroubleError, ZeroDivisionError)):
        net.set_params(callbacks=[trouble]).fit(X[:, :6], y)
    assert_same(state(net), before)
    assert public(net) == attributes


@pytest.mark.parametrize(
    "optimizer",
    ["adam", *(pytest.param(optimizer, marks=pytest.mark.slow) for optimizer in ("sgd", "rmsprop", torch.optim.LBFGS))],
)
@pytest.mark.parametrize("hook", ["on_train_begin", *EPOCH_HOOKS, "on_train_end"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_after_an_error_a_fit_goes_on_as_if_there_had_been_none(hook, optimizer, early_stopping):
    net = CNNClassifier(**QUICK, optimizer=optimizer, warm_start=True, early_stopping=early_stopping).fit(X, LABELS)
    untroubled = copy.deepcopy(net)
    epoch = {"on_train_begin": 5, "on_train_end": 10}.get(hook, 8)
    with pytest.raises(TroubleError):
        net.set_params(callbacks=[raising(TroubleError, hook, epoch)]).fit(X, LABELS)
    assert_same(state(net), state(untroubled))
    assert not any(layer.training for layer in net.module_.modules())
    net.set_params(callbacks=None).fit(X, LABELS)
    assert_same(state(net), state(untroubled.fit(X, LABELS)))


def test_an_error_after_a_change_of_the_optimizer_brings_the_old_one_back():
    net = CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS)
    before = state(net)
    net.set_params(optimizer="sgd", loss=lambda outputs, targets: 1 / 0, batch_size=7)
    with pytest.raises(ZeroDivisionError):
        net.fit(X, LABELS)
    assert isinstance(net.net_.optimizer_, torch.optim.Adam)
    net.set_params(optimizer="adam", loss="cross_entropy", batch_size=16)
    assert_same(state(net), before)
    untroubled = CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS)
    assert_same(state(net.fit(X, LABELS)), state(untroubled.fit(X, LABELS)))


def test_an_error_in_partial_fit_leaves_the_calls_before():
    net = CNNClassifier(**QUICK).partial_fit(X, LABELS)
    before = state(net)
    with pytest.raises(TroubleError):
        net.set_params(callbacks=[raising(TroubleError, "on_epoch_end", 2)]).partial_fit(X, LABELS)
    assert_same(state(net), before)


def test_an_error_in_a_scorer_leaves_the_estimator_as_it_was():
    net = CNNClassifier(**QUICK, early_stopping=True, scoring=lambda estimator, X, y: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        net.fit(X, LABELS)
    assert not hasattr(net, "net_")


# Divergence.


def nan_from_epoch(epoch, when):
    """Make a loss that is NaN from an epoch on, in training or validation."""
    calls = {"training": 0, "validation": 0}

    def loss(outputs, targets):
        calls["training" if outputs.requires_grad else "validation"] += 1
        bad = outputs.requires_grad == (when == "training") and calls[when] >= epoch
        return (outputs - targets).square().sum(1) * (float("nan") if bad else 1)

    return loss


@pytest.mark.parametrize("when", ["training", "validation"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_a_loss_that_is_not_finite_is_an_error_that_names_epoch_rate_and_remedies(estimator, y, when):
    net = estimator(**QUICK | {"batch_size": 100}, learning_rate=0.0125, loss=nan_from_epoch(4, when))
    with pytest.raises(ValueError, match=rf"{estimator.__name__}: the {when} loss .*epoch 4.*0\.0125") as caught:
        net.fit(X, y, X_val=X, y_val=y)
    for remedy in ("learning_rate", "standardize", "GradientNormClipping"):
        assert remedy in str(caught.value)
    assert not hasattr(net, "net_")


@pytest.mark.parametrize("max_epochs", [1, 5])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_rate_far_too_high_is_an_error_and_never_a_network_of_nan(optimizer, early_stopping, max_epochs):
    params = QUICK | {"batch_norm": False, "max_epochs": max_epochs, "batch_size": 100, "optimizer": optimizer}
    net = CNNRegressor(**params, learning_rate=1e30, early_stopping=early_stopping)
    with pytest.raises(ValueError, match=r"CNNRegressor: .* not finite in epoch [12], at learning rate 1e\+30"):
        net.fit(X, VALUES)
    assert not hasattr(net, "net_")


def test_divergence_of_a_fit_that_goes_on_leaves_the_fit_before():
    net = CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS)
    before = state(net)
    with pytest.raises(ValueError, match="not finite in epoch 6"):
        net.set_params(learning_rate=1e30).fit(X, LABELS)
    assert_same(state(net), before)
    untroubled = CNNClassifier(**QUICK, warm_start=True).fit(X, LABELS)
    assert_same(state(net.set_params(learning_rate=2e-3).fit(X, LABELS)), state(untroubled.fit(X, LABELS)))
