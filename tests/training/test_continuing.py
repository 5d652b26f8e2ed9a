"""A fit that continues trains a copy of the last fit's network, which predicts meanwhile and stays as it is."""

import pickle
import threading
import warnings

import numpy as np
import pytest
import skops.io
import torch
from skorch.callbacks import Callback
from torch import nn

from sklcnn import TRUSTED_TYPES, CNNClassifier
from sklcnn.data.split import split_rows

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(48, 8, 8, 1).astype(np.float32)
Y = np.arange(48) % 3
QUICK = {"filters": (2,), "dense_units": (4,), "max_epochs": 2, "batch_size": 16, "random_state": 0}


def own_backbone():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())


def same_bits(one, other):
    pairs = zip(one.module_.state_dict().values(), other.module_.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Asking:
    """Asks an estimator for predictions whenever a batch is augmented, as another thread may at any time."""

    def __init__(self):
        self.cnn, self.answers = None, []

    def __call__(self, images, generator=None):
        if self.cnn is not None:
            self.answers.append(self.cnn.predict_proba(X))
        return images

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.5}, {"batch_norm": True}, {"backbone": own_backbone()}],
    ids=["dropout", "batch norm", "backbone"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_predictions_under_way_change_nothing_and_are_those_of_the_old_network(changes, method):
    asking = Asking()
    cnn = CNNClassifier(**QUICK | changes, warm_start=True, augmentation=asking).fit(X, Y)
    undisturbed = CNNClassifier(**QUICK | changes, warm_start=True, augmentation=Asking()).fit(X, Y)
    old = cnn.predict_proba(X)
    asking.cnn = cnn
    getattr(cnn, method)(X, Y)
    getattr(undisturbed, method)(X, Y)
    assert len(asking.answers) >= 3
    assert all(np.array_equal(answer, old) for answer in asking.answers)
    assert same_bits(cnn, undisturbed)


class Trouble(Callback):
    def __init__(self, hook, error):
        self.hook, self.error = hook, error

    def notice(self, hook):
        if self.hook == hook:
            raise self.error

    def on_batch_end(self, net, **kwargs):
        self.notice("on_batch_end")

    def on_train_end(self, net, **kwargs):
        self.notice("on_train_end")


@pytest.mark.parametrize("hook", ["on_batch_end", "on_train_end"])
@pytest.mark.parametrize("freeze_epochs", [None, 0, 9])
def test_a_failed_fit_leaves_the_old_network_and_its_optimiser(hook, freeze_epochs):
    backbone = None if freeze_epochs is None else own_backbone()
    cnn = CNNClassifier(**QUICK, backbone=backbone, freeze_epochs=freeze_epochs, warm_start=True).fit(X, Y)
    twin = pickle.loads(pickle.dumps(cnn))
    cnn.set_params(callbacks=[Trouble(hook, ZeroDivisionError())], freeze_epochs=0 if backbone else None)
    for method in (cnn.fit, cnn.partial_fit):
        with pytest.raises(ZeroDivisionError):
            method(X, Y)
    cnn.set_params(callbacks=None, freeze_epochs=freeze_epochs)
    assert same_bits(cnn, twin)
    assert same_bits(cnn.fit(X, Y), twin.fit(X, Y))


def test_a_warning_at_the_end_that_is_made_an_error_leaves_the_old_network():
    cnn = CNNClassifier(**QUICK, warm_start=True).fit(X, Y)
    before = cnn.predict_proba(X)
    cnn.set_params(learning_rate=1e3, optimizer="sgd", lr_schedule=None, max_epochs=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((UserWarning, ValueError), match=r"died|not finite"):
            cnn.fit(X, Y)
    np.testing.assert_array_equal(cnn.predict_proba(X), before)


def test_an_error_when_scikit_learn_is_told_of_the_end_leaves_the_old_network(monkeypatch):
    cnn = CNNClassifier(**QUICK, warm_start=True).fit(X, Y)
    before = cnn.predict_proba(X)

    def fail(task, attributes):
        raise ZeroDivisionError

    monkeypatch.setattr("sklcnn.scikit_callbacks.FitTask.end", fail)
    with pytest.raises(ZeroDivisionError):
        cnn.fit(X, Y)
    np.testing.assert_array_equal(cnn.predict_proba(X), before)
    assert cnn.n_iter_ == len(cnn.net_.history) == 2


def test_a_frozen_backbone_is_not_copied_until_it_thaws():
    cnn = CNNClassifier(**QUICK, backbone=own_backbone(), freeze_epochs=4, warm_start=True).fit(X, Y)
    frozen = cnn.module_.backbone.network
    weights = frozen[0].weight.detach().clone()
    assert cnn.fit(X, Y).module_.backbone.network is frozen
    assert cnn.partial_fit(X, Y).module_.backbone.network is not frozen  # the fifth epoch
    assert torch.equal(frozen[0].weight, weights)
    assert not torch.equal(cnn.module_.backbone.network[0].weight, weights)


class NormedConv(nn.Module):
    """A block whose weights are computed, and kept where `copy` refuses them."""

    def __init__(self, in_channels, out_channels, kernel_size, spatial_dims):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, maps):
        self.computed = self.conv.weight * self.scale
        return nn.functional.conv2d(maps, self.computed, padding="same")


class Locked(NormedConv):
    """A block that cannot be copied."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.lock = threading.Lock()


@pytest.mark.parametrize("block", [NormedConv, Locked])
def test_a_network_that_cannot_be_copied_is_made_again(block):
    cnn = CNNClassifier(**QUICK, block=block, warm_start=True).fit(X, Y)
    other = pickle.loads(pickle.dumps(cnn))
    old = cnn.module_
    assert same_bits(cnn.fit(X, Y), other.fit(X, Y))
    assert cnn.module_ is not old


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_calls_in_several_threads_all_count(method):
    cnn = CNNClassifier(**QUICK | {"max_epochs": 1}, warm_start=True)
    start = threading.Barrier(4)

    def call():
        start.wait()
        for _ in range(3):
            getattr(cnn, method)(X, Y)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cnn.n_iter_ == len(cnn.net_.history) == 12


@pytest.mark.parametrize(
    "states",
    [(None, None), (0, 1), (np.random.RandomState(0),) * 2],
    ids=["None", "other seeds", "generator"],
)
@pytest.mark.parametrize("saved", [None, pickle, skops.io], ids=["kept", "pickle", "skops"])
def test_rows_that_were_held_out_are_held_out_again(states, saved, monkeypatch):
    params = QUICK | {"early_stopping": True, "validation_fraction": 0.25, "warm_start": True, "max_epochs": 1}
    held_out = []

    def note(*given, **options):
        parts = split_rows(*given, **options)
        held_out.append(parts[1].tolist())
        return parts

    monkeypatch.setattr("sklcnn.fitting.data.split_rows", note)
    cnn = CNNClassifier(**params | {"random_state": states[0]}).fit(X, Y)
    if saved is not None:
        content = saved.dumps(cnn.set_params(random_state=None))
        cnn = pickle.loads(content) if saved is pickle else skops.io.loads(content, trusted=TRUSTED_TYPES)
    cnn.set_params(random_state=states[1]).fit(X, Y)
    assert len(held_out[0]) == 12
    assert held_out[0] == held_out[1]


def test_an_estimator_saved_without_the_seed_of_its_hold_out_is_loaded():
    cnn = CNNClassifier(**QUICK, early_stopping=True, validation_fraction=0.25, warm_start=True).fit(X, Y)
    state = cnn.__getstate__()
    del state["_fitted"]["split_seed"]
    old = CNNClassifier()
    old.__setstate__(state)
    assert old.fit(X, Y).n_iter_ >= 3
