"""A run that was killed continues from its checkpoint, as the guide describes."""

import json
import os
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
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from test_docs import ROOT, python_blocks
from torch import nn

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
