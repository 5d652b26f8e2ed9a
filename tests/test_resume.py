"""A run that was killed continues from its checkpoint, as the guide describes."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EpochScoring,
    Freezer,
    LoadInitState,
    LRScheduler,
    TrainEndCheckpoint,
    Unfreezer,
)
from test_docs import ROOT, python_blocks
from torch import nn
from torch.optim.lr_scheduler import LinearLR, OneCycleLR
from torch.optim.swa_utils import SWALR

from sklcnn import CNNClassifier, CNNRegressor

RECIPE = next(block for block, _ in python_blocks(ROOT / "docs" / "guide.md") if "LoadInitState(" in block)
# The recipe as a script, on few rows, whose epochs are told as they end and take long enough to be killed in.
SCRIPT = f"""
import time
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from sklcnn import CNNClassifier

class Tell(Callback):
    def on_epoch_end(self, net, **kwargs):
        print("epoch", len(net.history), flush=True)
        time.sleep(0.1)

X, y = load_digits(return_X_y=True)
X, y = X[:100], y[:100]
{RECIPE.replace("callbacks=[", "callbacks=[Tell, ")}
"""


@pytest.fixture(scope="module")
def rows():
    X, y = load_digits(return_X_y=True)
    return X[:100], y[:100]


def run_recipe(rows):
    """Run the recipe here, to its end."""
    namespace = {"X": rows[0], "y": rows[1], "CNNClassifier": CNNClassifier}
    exec(RECIPE, namespace)
    return namespace["cnn"]


def kill_in_epoch(epoch, folder):
    """Run the recipe in a process of its own, and kill that when an epoch has ended, while it is being saved."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == f"epoch {epoch}\n":
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def without_durations(cnn):
    return cnn.history_.drop(columns="duration")


def test_a_killed_run_loses_one_epoch_at_most_and_ends_as_if_it_had_not_been_killed(rows, tmp_path, monkeypatch):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    kill_in_epoch(3, killed)
    saved = json.loads((killed / "run" / "history.json").read_text())
    assert len(saved) in (2, 3)  # the third epoch had ended, and was perhaps saved
    monkeypatch.chdir(killed)
    resumed = run_recipe(rows)
    monkeypatch.chdir(whole)
    expected = run_recipe(rows)
    assert resumed.n_iter_ == 6
    assert resumed.history_["duration"].tolist()[: len(saved)] == [row["duration"] for row in saved]
    pd.testing.assert_frame_equal(without_durations(resumed), without_durations(expected), check_exact=True)
    np.testing.assert_array_equal(resumed.predict_proba(rows[0]), expected.predict_proba(rows[0]))


def make(estimator, folder, **params):
    checkpoint = Checkpoint(
        monitor=None,
        dirname=str(folder),
        f_params="params_{last_epoch[epoch]}.pt",
        f_optimizer="optimizer_{last_epoch[epoch]}.pt",
    )
    params = {"filters": 4, "dense_units": 8, "max_epochs": 12, "batch_size": 16, "random_state": 0} | params
    return estimator(input_shape=(8, 8), callbacks=[LoadInitState(checkpoint), checkpoint], **params)


class CutOff(Callback):
    """Cuts off a run, or the refit, once its eighth epoch is saved."""

    def __init__(self, refit=False):
        self.refit = refit

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 8 and (not self.refit or np.isnan(net.history[-1, "val_loss"])):
            raise RuntimeError("cut off")


class CountEpochs(Callback):
    trained: ClassVar[list] = []

    def on_epoch_end(self, net, **kwargs):
        self.trained.append(len(net.history))


def never_better(outputs, targets):
    return (0 * outputs).sum(1) + 1


def small_backbone(sample_shape):
    return nn.Sequential(
        nn.Conv2d(sample_shape[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )


CONFIGURATIONS = {
    "constant": {"lr_schedule": None},
    "cosine": {"lr_schedule": "cosine", "optimizer": "sgd"},
    "plateau": {"lr_schedule": "reduce_on_plateau", "loss": never_better, "batch_size": 4},  # 25 updates an epoch
    "early stopping": {"early_stopping": True},
    "batch norm": {"batch_norm": True, "optimizer": "rmsprop"},
}


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_run_taken_up_equals_one_never_cut_off(rows, tmp_path, estimator, name):
    X, y = rows
    expected = make(estimator, tmp_path / "whole", **CONFIGURATIONS[name]).fit(X, y)
    cut_off = make(estimator, tmp_path / "cut off", **CONFIGURATIONS[name])
    cut_off.callbacks.append(CutOff)
    with pytest.raises(RuntimeError, match="cut off"):
        cut_off.fit(X, y)
    if name == "plateau":
        assert expected.history_["learning_rate"].nunique() == 3
    taken_up = make(estimator, tmp_path / "cut off", **CONFIGURATIONS[name]).fit(X, y)
    pd.testing.assert_frame_equal(without_durations(taken_up), without_durations(expected), check_exact=True)
    np.testing.assert_array_equal(taken_up.predict(X), expected.predict(X))


def fifth_epoch(cnn, X, y):
    """Score for early stopping that prefers the fifth epoch, whatever the network."""
    return -abs(len(cnn.net_.history) - 5)


WATCHED = {"early_stopping": True, "scoring": fifth_epoch, "patience": 6, "max_epochs": 15}
BEST_BEFORE = {
    "no backbone": {},
    "best while frozen": {"backbone": small_backbone, "freeze_epochs": 6},
    "best once thawed": {"backbone": small_backbone, "freeze_epochs": 2},
}


@pytest.mark.parametrize("name", BEST_BEFORE)
def test_a_run_taken_up_keeps_the_best_epoch_from_before(rows, tmp_path, name):
    X, y = rows[0] / 16, rows[1]
    params = WATCHED | BEST_BEFORE[name]
    expected = make(CNNClassifier, tmp_path / "whole", **params).fit(X, y)
    assert (expected.best_epoch_, expected.n_iter_) == (5, 11)
    cut_off = make(CNNClassifier, tmp_path / "cut off", **params)
    cut_off.callbacks.append(CutOff)
    with pytest.raises(RuntimeError, match="cut off"):
        cut_off.fit(X, y)
    taken_up = make(CNNClassifier, tmp_path / "cut off", **params).fit(X, y)
    finished = make(CNNClassifier, tmp_path / "whole", **params).fit(X, y)
    for again in (taken_up, finished):
        assert again.best_epoch_ == expected.best_epoch_
        pd.testing.assert_frame_equal(without_durations(again), without_durations(expected), check_exact=True)
        np.testing.assert_array_equal(again.predict_proba(X), expected.predict_proba(X))
    state = expected.net_.optimizer_.state_dict()["state"]
    for parameter, moments in taken_up.net_.optimizer_.state_dict()["state"].items():
        assert all(torch.equal(value, state[parameter][name]) for name, value in moments.items())


def test_where_the_best_epoch_has_no_file_early_stopping_compares_with_the_last_one(rows, tmp_path):
    def make_with_one_file(*others):
        checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
        return make(CNNClassifier, tmp_path, **WATCHED).set_params(
            callbacks=[LoadInitState(checkpoint), checkpoint, *others]
        )

    X, y = rows
    with pytest.raises(RuntimeError, match="cut off"):
        make_with_one_file(CutOff).fit(X, y)
    assert make_with_one_file().fit(X, y).best_epoch_ == 8


@pytest.mark.slow
def test_a_fall_of_the_rate_that_was_brought_forward_goes_on_though_the_kept_epoch_has_no_file(tmp_path):
    random = np.random.RandomState(0)
    X, y = random.randn(60, 8), np.where(random.rand(60) > 0.5, "a", "b")  # noise, so that the end is brought forward

    def make_with_one_file(folder, *others):
        checkpoint = Checkpoint(monitor=None, dirname=str(folder))
        return CNNClassifier(
            filters=3, dense_units=64, max_epochs=500, batch_size=2, early_stopping=True, precision="float64",
            random_state=0, callbacks=[LoadInitState(checkpoint), checkpoint, *others],
        )  # fmt: skip

    class CutOffInTheFall(Callback):
        def on_epoch_end(self, net, **kwargs):
            rates = net.history[:, "learning_rate"]
            if len(rates) == 10 + 1 + int(np.argmax(rates)):
                raise RuntimeError("cut off")

    expected = make_with_one_file(tmp_path / "whole").fit(X, y)
    with pytest.raises(RuntimeError, match="cut off"):
        make_with_one_file(tmp_path / "cut off", CutOffInTheFall).fit(X, y)
    taken_up = make_with_one_file(tmp_path / "cut off").fit(X, y)
    assert expected.n_iter_ < 500
    assert taken_up.history_["learning_rate"].tolist() == expected.history_["learning_rate"].tolist()


@pytest.mark.parametrize("schedule", [None, "reduce_on_plateau"])
def test_a_refit_that_was_cut_off_is_taken_up_by_itself(rows, tmp_path, schedule):
    X, y = rows
    params = {"early_stopping": True, "refit_full": True, "lr_schedule": schedule}
    plain = make(CNNClassifier, tmp_path, **params).set_params(callbacks=None).fit(X, y)
    expected = make(CNNClassifier, tmp_path / "whole", **params).fit(X, y)
    np.testing.assert_array_equal(expected.predict_proba(X), plain.predict_proba(X))
    assert expected.best_epoch_ >= 10
    cut_off = make(CNNClassifier, tmp_path / "cut off", **params)
    cut_off.callbacks.append(CutOff(refit=True))
    with pytest.raises(RuntimeError, match="cut off"):
        cut_off.fit(X, y)
    CountEpochs.trained.clear()
    taken_up = make(CNNClassifier, tmp_path / "cut off", **params)
    taken_up.callbacks.append(CountEpochs)
    np.testing.assert_array_equal(taken_up.fit(X, y).predict_proba(X), expected.predict_proba(X))
    assert CountEpochs.trained == list(range(9, expected.best_epoch_ + 1))
    assert taken_up.best_epoch_ == expected.best_epoch_


def test_a_finished_run_is_loaded_and_not_trained_further(rows, tmp_path):
    X, y = rows
    finished = make(CNNClassifier, tmp_path).fit(X, y)
    loaded = make(CNNClassifier, tmp_path).fit(X, y)
    pd.testing.assert_frame_equal(loaded.history_, finished.history_, check_exact=True)
    np.testing.assert_array_equal(loaded.predict_proba(X), finished.predict_proba(X))


def test_a_checkpoint_that_is_cut_short_leaves_the_one_before_it_whole(rows, tmp_path, monkeypatch):
    X, y = rows
    cnn = make(CNNClassifier, tmp_path, max_epochs=1).fit(X, y)
    history = tmp_path / "history.json"
    before = history.read_text()

    def write_half(self, file):
        Path(file).write_text(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr("skorch.history.History.to_file", write_half)
    with pytest.raises(KeyboardInterrupt):
        cnn.net_.save_params(f_history=os.fspath(history))
    assert history.read_text() == before


# Callbacks that change the rate, or what trains.


class CutOffInTheFourth(Callback):
    """Cuts off a fit of five epochs in its fourth."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) % 5 == 4:
            raise RuntimeError("cut off")


SHORT = {"max_epochs": 5, "filters": 2, "lr_schedule": None, "precision": "float64"}


def whole_and_resumed(rows, folder, callbacks, again=None, previous=None, **params):
    """Fit in one go, and once more after a run that was cut off; a factory makes the callbacks of each fit."""

    def fit(name, others):
        cnn = make(CNNClassifier, folder / name, **SHORT | params)
        loading = cnn.callbacks
        if previous is not None:
            cnn = pickle.loads(previous)
        return cnn.set_params(callbacks=[*others, *loading]).fit(*rows)

    whole = fit("whole", callbacks())
    with pytest.raises(RuntimeError, match="cut off"):
        fit("cut off", [*callbacks(), CutOffInTheFourth()])
    return whole, fit("cut off", (again or callbacks)())


def settings(cnn):
    """List what the groups of the optimiser are set to, such as rates and momenta."""
    return [{k: v for k, v in group.items() if k != "params"} for group in cnn.net_.optimizer_.param_groups]


def assert_same_run(one, other, X):
    pd.testing.assert_frame_equal(without_durations(one), without_durations(other), check_exact=True)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    assert settings(one) == settings(other)


def latest_loss(net):
    return net.history[-1, "train_loss"]


PLATEAU = {"policy": "ReduceLROnPlateau", "patience": 0, "threshold": 0.05}
ONE_CYCLE = {"policy": OneCycleLR, "step_every": "batch", "max_lr": 0.01, "total_steps": 35}
CYCLES = {"policy": "CyclicLR", "step_every": "batch", "base_lr": 0.001, "max_lr": 0.01, "step_size_up": 5}
SCHEDULERS = {
    "exponential": ([{"policy": "ExponentialLR", "gamma": 0.5}], {}),
    "cosine": ([{"policy": "CosineAnnealingLR", "T_max": 5}], {}),
    "plateau": ([PLATEAU], {}),
    "plateau of what is computed from the history": ([PLATEAU | {"monitor": latest_loss}], {}),
    "plateau of batches": ([PLATEAU | {"step_every": "batch", "patience": 3}], {}),
    "one cycle": ([ONE_CYCLE], {}),
    "one cycle of sgd": ([ONE_CYCLE], {"optimizer": "sgd"}),
    "cycles": ([CYCLES], {}),
    "swa": ([{"policy": SWALR, "swa_lr": 0.05, "anneal_epochs": 4}], {}),
    "two": ([{"policy": "ExponentialLR", "gamma": 0.5}, {"policy": LinearLR, "step_every": "batch"}], {}),
    "thawed": ([{"policy": "ExponentialLR", "gamma": 0.5}], {"backbone": small_backbone, "freeze_epochs": 2}),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedule_of_skorchs_goes_on_as_in_a_run_never_cut_off(rows, tmp_path, name):
    schedulers, params = SCHEDULERS[name]
    whole, resumed = whole_and_resumed(rows, tmp_path, lambda: [LRScheduler(**given) for given in schedulers], **params)
    assert whole.history_["learning_rate"].nunique() > 2
    assert_same_run(whole, resumed, rows[0])
    assert whole.net_.history[:, "batches"] == resumed.net_.history[:, "batches"]


class Freezing(Callback):
    """Freezes a layer by itself."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            net.module_.dense1.requires_grad_(False)


def ever_worse(cnn, X, y):
    return -cnn.n_iter_


THAWED = {
    "backbone": small_backbone, "freeze_epochs": 2, "early_stopping": True, "patience": 9, "scoring": ever_worse,
}  # fmt: skip
FREEZERS = {
    "freezer": (lambda: [Freezer("block1.*")], {}),
    "of averages": (lambda: [Freezer("block1.*")], {"weight_averaging": "ema"}),
    "until the second": (lambda: [Freezer("block1.*"), Unfreezer("block1.*", at=2)], {"weight_averaging": "ema"}),
    "until the fifth": (lambda: [Freezer("block1.*"), Unfreezer("block1.*", at=5)], {}),
    "one's own": (lambda: [Freezing()], {}),
    "early stopping": (lambda: [Freezer("block1.*", at=2)], {"early_stopping": True}),
    "of a thawed backbone, whose best epoch was before": (lambda: [Freezer("backbone.*0.*", at=3)], THAWED),
}


def trains(cnn):
    return {name: parameter.requires_grad for name, parameter in cnn.module_.named_parameters()}


@pytest.mark.parametrize("name", FREEZERS)
def test_layers_that_a_callback_froze_are_frozen_in_a_run_taken_up(rows, tmp_path, name):
    callbacks, params = FREEZERS[name]
    whole, resumed = whole_and_resumed(rows, tmp_path, callbacks, **params)
    assert_same_run(whole, resumed, rows[0])
    assert trains(whole) == trains(resumed)


@pytest.mark.parametrize(
    "callbacks",
    [lambda: [LRScheduler("ExponentialLR", gamma=0.5)], lambda: [Unfreezer("block1.*", at=7)]],
    ids=["rate", "thawed"],
)
def test_a_warm_start_that_was_cut_off_goes_on_with_its_schedule_and_layers(rows, tmp_path, callbacks):
    first = make(CNNClassifier, tmp_path / "first", **SHORT, warm_start=True)
    previous = pickle.dumps(first.set_params(callbacks=[Freezer("block1.*")]).fit(*rows))
    whole, resumed = whole_and_resumed(rows, tmp_path, callbacks, previous=previous)
    assert whole.n_iter_ == 10
    assert_same_run(whole, resumed, rows[0])
    assert trains(whole) == trains(resumed)


def bias_of_output(net):
    return float(net.module_.output.bias.detach().sum())


@pytest.mark.parametrize(
    ("given", "again", "message"),
    [
        ({"gamma": 0.5}, {"gamma": 0.25}, r"LRScheduler\(ExponentialLR\) in callbacks gives a rate of .* in epoch 2"),
        (PLATEAU | {"monitor": bias_of_output}, None, r"LRScheduler\(ReduceLROnPlateau\) in callbacks cannot be resum"),
    ],
    ids=["another", "monitor of weights"],
)
def test_a_schedule_that_cannot_be_followed_again_is_refused(rows, tmp_path, given, again, message):
    def schedulers(given):
        return [LRScheduler(**{"policy": "ExponentialLR"} | given)]

    with pytest.raises(ValueError, match=f"CNNClassifier: .*{message}"):
        whole_and_resumed(rows, tmp_path, lambda: schedulers(given), lambda: schedulers(again or given))


def test_scores_know_the_best_one_from_before_wherever_they_are_listed(rows, tmp_path):
    def score(net, X, y):
        return [3.0, 1.0, 0.0, 2.0, 4.0][len(net.history) - 1]

    def scoring():
        return [EpochScoring(score, lower_is_better=False, on_train=True, name="made_up")]

    for cnn in whole_and_resumed(rows, tmp_path, scoring):
        assert cnn.net_.history[:, "made_up_best"] == [True, False, False, False, True]


def test_a_momentum_that_one_fit_cycled_is_the_optimizers_own_in_the_next(rows):
    cnn = make(CNNClassifier, "", **SHORT, optimizer="sgd", warm_start=True).set_params(callbacks=None).fit(*rows)
    before = settings(cnn)
    cycled = settings(cnn.set_params(callbacks=[LRScheduler(**ONE_CYCLE)]).fit(*rows))
    assert cycled[0]["momentum"] != before[0]["momentum"]
    after = settings(pickle.loads(pickle.dumps(cnn)).set_params(callbacks=None).fit(*rows))
    assert {name: after[0][name] for name in before[0]} == before[0]


@pytest.mark.parametrize("saving", [TrainEndCheckpoint(), "a folder", None], ids=["end", "text", "none"])
def test_what_no_checkpoint_of_a_run_has_saved_is_not_resumed(rows, saving):
    with pytest.raises(ValueError, match=r"CNNClassifier: LoadInitState in callbacks .* Checkpoint\(monitor=None"):
        CNNClassifier(input_shape=(8, 8), callbacks=[LoadInitState(saving)]).fit(*rows)
