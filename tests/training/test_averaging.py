"""Laws of averaged weights: what is averaged, what is validated, kept and used, and how fits continue."""

import copy
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.fitting import fit as fit_module
from sklcnn.training.averaging import DECAY, WARM_UP

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(40, 8, 8)
Y = np.arange(40) % 3
QUICK = {
    "filters": 3, "dense_units": 4, "max_epochs": 8, "batch_size": 8, "random_state": 0, "precision": "float64",
    "learning_rate": 0.01,
}  # fmt: skip


def weights(module):
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def recorder(hook):
    """Make a callback that keeps the weights whenever a hook is called, beginning with those before training."""
    seen = []

    def keep(self, net, training=True, **kwargs):
        if training:
            seen.append(weights(net.module_))

    return type("Recorder", (Callback,), {"on_train_begin": keep, hook: keep}), seen


def test_a_moving_average_is_the_recursion_over_updates():
    callback, seen = recorder("on_batch_end")
    cnn = CNNClassifier(**QUICK, weight_averaging="ema", callbacks=[callback]).fit(X, Y)
    mean = seen[0]
    for n, latest in enumerate(seen[1:], start=1):
        decay = min(DECAY, (1 + n) / (WARM_UP + n))
        mean = decay * mean + (1 - decay) * latest
    np.testing.assert_allclose(weights(cnn.module_), mean, rtol=1e-10)


def test_stochastic_weight_averages_are_the_mean_over_the_last_quarter():
    callback, seen = recorder("on_batch_end")
    cnn = CNNClassifier(**QUICK, weight_averaging="swa", callbacks=[callback]).fit(X, Y)
    ends = seen[5::5]  # 5 batches per epoch
    assert len(ends) == 8
    np.testing.assert_allclose(weights(cnn.module_), np.mean(ends[-2:], axis=0), rtol=1e-10)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_training_goes_on_with_the_latest_weights(kind):
    averaged, seen_averaged = recorder("on_batch_end")
    plain, seen = recorder("on_batch_end")
    one = CNNClassifier(**QUICK, weight_averaging=kind, callbacks=[averaged]).fit(X, Y)
    other = CNNClassifier(**QUICK, callbacks=[plain]).fit(X, Y)
    np.testing.assert_array_equal(seen_averaged, seen)
    assert one.history_["train_loss"].equals(other.history_["train_loss"])
    assert not np.array_equal(weights(one.module_), weights(other.module_))


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_averages_are_validated_and_kept(kind):
    callback, seen = recorder("on_epoch_end")
    cnn = CNNClassifier(
        **QUICK, weight_averaging=kind, callbacks=[callback], early_stopping=True, scoring="accuracy", patience=8
    ).fit(X, Y, X_val=X, y_val=Y)
    np.testing.assert_array_equal(weights(cnn.module_), seen[cnn.best_epoch_])
    assert cnn.score(X, Y) == pytest.approx(cnn.history_["val_score"][cnn.best_epoch_ - 1])


def test_batch_norms_have_the_statistics_of_the_averaged_network():
    cnn = CNNClassifier(**QUICK, weight_averaging="ema", batch_norm=True, standardize=False).fit(X, Y)
    block = cnn.module_.block1
    with torch.no_grad():
        maps = block.conv(torch.from_numpy(X)[:, None])
    np.testing.assert_allclose(block.norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-9)
    assert block.norm.momentum == 0.1
    latest = CNNClassifier(**QUICK, batch_norm=True, standardize=False).fit(X, Y)
    assert latest.history_["train_loss"].tolist() == cnn.history_["train_loss"].tolist()


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


CASES = {
    "plain": {},
    "batch norm": {"batch_norm": True, "dropout": 0.3},
    "thawed backbone": {"backbone": small_backbone, "freeze_epochs": 3},
    "frozen backbone": {"backbone": small_backbone, "freeze_epochs": 9},
    "early stopping": {"early_stopping": True, "refit_full": True},
    "augmented": {"augmentation": "mixup"},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_saved_estimator_and_a_warm_start_go_on_from_the_averages(kind, name):
    cnn = CNNClassifier(**QUICK, weight_averaging=kind, warm_start=True, **CASES[name]).fit(X, Y)
    again = pickle.loads(pickle.dumps(cnn))
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))
    assert "kept" not in dict(cnn.net_.criterion_.named_children())
    assert not cnn.net_.criterion_._load_state_dict_pre_hooks
    before = copy.deepcopy(cnn)
    np.testing.assert_array_equal(cnn.fit(X, Y).predict_proba(X), again.fit(X, Y).predict_proba(X))
    with pytest.raises(ZeroDivisionError):
        before.set_params(callbacks=[_raising(2)]).fit(X, Y)
    first = CNNClassifier(**QUICK, weight_averaging=kind, warm_start=True, **CASES[name]).fit(X, Y)
    np.testing.assert_array_equal(before.predict_proba(X), first.predict_proba(X))


def _raising(n, error=ZeroDivisionError):
    told = []

    def count(self, net, **kwargs):
        told.append(0)
        if len(told) == n:
            raise error

    return type("Raising", (Callback,), {"on_epoch_end": count})


@pytest.mark.parametrize("kind", ["ema", "swa"])
@pytest.mark.parametrize("params", [{}, {"batch_norm": True}])
def test_an_interrupt_leaves_the_averages_of_the_last_finished_epoch(kind, params):
    callback, seen = recorder("on_epoch_end")
    whole = CNNClassifier(**QUICK, weight_averaging=kind, callbacks=[callback], **params).fit(X, Y)
    assert len(whole.history_) == 8
    cnn = CNNClassifier(**QUICK, weight_averaging=kind, callbacks=[_raising(8, KeyboardInterrupt)], **params)
    with pytest.raises(KeyboardInterrupt):
        cnn.fit(X, Y)
    assert cnn.n_iter_ == 7
    np.testing.assert_array_equal(weights(cnn.module_), seen[7])


class CutOff(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 6:
            raise RuntimeError("cut off")


@pytest.mark.parametrize("name", ["plain", "batch norm", "thawed backbone"])
@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_run_that_is_resumed_equals_one_that_was_never_cut_off(kind, name, tmp_path):
    def make(folder, *others):
        checkpoint = Checkpoint(monitor=None, dirname=str(folder))
        return CNNClassifier(
            **QUICK | CASES[name] | {"dropout": 0.0},
            weight_averaging=kind,
            callbacks=[LoadInitState(checkpoint), checkpoint, *others],
        )

    expected = make(tmp_path / "whole").fit(X, Y)
    with pytest.raises(RuntimeError, match="cut off"):
        make(tmp_path / "cut off", CutOff).fit(X, Y)
    resumed = make(tmp_path / "cut off").fit(X, Y)
    np.testing.assert_array_equal(resumed.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_run_whose_latest_weights_were_not_saved_is_refused(kind, tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path), f_criterion=None)
    params = QUICK | {"weight_averaging": kind, "callbacks": [LoadInitState(checkpoint), checkpoint]}
    CNNClassifier(**params | {"max_epochs": 7, "lr_schedule": None}).fit(X, Y)
    cnn = CNNClassifier(**params | {"max_epochs": 8, "lr_schedule": None})
    with pytest.raises(ValueError, match=rf"CNNClassifier: a run with weight_averaging='{kind}' .*f_criterion="):
        cnn.fit(X, Y)
    assert not hasattr(cnn, "classes_")


def test_a_mean_begins_earlier_where_early_stopping_brings_the_end_forward():
    """Scores that get worse at once: the run ends as soon as it can."""
    params = QUICK | {"max_epochs": 200, "early_stopping": True, "batch_size": 1, "validation_fraction": 0.25}
    labels = np.random.RandomState(1).randint(0, 2, 40)
    kept = []

    class Kept(Callback):
        def on_epoch_end(self, net, **kwargs):
            kept.append(hasattr(net.criterion_, "kept"))

    cnn = CNNClassifier(**params, weight_averaging="swa", callbacks=[Kept]).fit(X, labels)
    assert cnn.n_iter_ < 150  # the last quarter of the planned run was never reached
    n_averaged = round(cnn.n_iter_ / 4)
    assert kept == [False] * (cnn.n_iter_ - n_averaged) + [True] * n_averaged


def test_regressors_take_averages():
    cnn = CNNRegressor(**QUICK, weight_averaging="ema").fit(X, X.mean((1, 2)))
    assert np.isfinite(cnn.predict(X)).all()


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_partial_fit_takes_none(kind):
    """An average over the few updates of a call would be little more than the latest weights, its statistics less."""
    streams = [CNNClassifier(**QUICK, weight_averaging=k, batch_norm=True) for k in (kind, None)]
    for start in (0, 16):
        for stream in streams:
            stream.partial_fit(X[start : start + 16], Y[start : start + 16], classes=range(3))
    one, other = (stream.predict_proba(X) for stream in streams)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_who_watches_the_averages_changes_nothing(kind, monkeypatch):
    """A scikit-learn callback predicts after each epoch, when no validation has set the network to eval mode."""
    modes = []

    def watched(cnn, fitted, data):
        hooks = plain_hooks(cnn, fitted, data)
        view = copy.copy(cnn)
        view._fitted = fitted

        def after_epoch(row):
            modes.append({layer.training for layer in fitted.network.modules()})
            view.predict(X[:5])

        hooks.after_epoch = after_epoch
        return hooks

    params = QUICK | {"batch_norm": True, "weight_averaging": kind}
    plain, plain_hooks = CNNClassifier(**params).fit(X, Y), fit_module._hooks
    monkeypatch.setattr(fit_module, "_hooks", watched)
    seen = CNNClassifier(**params).fit(X, Y)
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.module_.state_dict().values(), seen.module_.state_dict().values(), strict=True)
    )
    assert modes[-1] == {False}
