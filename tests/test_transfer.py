"""Laws of networks on backbones: what is frozen and for how long, what is computed once, what images they take.

Weights of torchvision's networks cannot be fetched without a network: random ones, or ones saved here, stand in for
them. EfficientNet-Lite0 has its real ones.
"""

import copy
import itertools
import os
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from counted import Counted
from joblib.externals.loky import get_reusable_executor
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.bounded import BoundedCache
from sklcnn.network.backbones import downloads, load_backbone, shared
from sklcnn.network.feature_cache import opening

LITE0 = "efficientnet_lite0"
N_PASSES = Counted("sklcnn.features")
N_BUILDS = Counted("sklcnn.weights")
TINY = "timm/test_efficientnet"  # a hundred thousand weights, and batch norm
SIDE = 32
# Small pieces of scikit-learn's two photographs, twelve of each.
PIXELS = np.stack(
    [
        np.asarray(Image.fromarray(photograph[row : row + 100, column : column + 100]).resize((SIDE, SIDE)))
        for row in (0, 150, 300)
        for column in (0, 160, 320, 480)
        for photograph in load_sample_images().images
    ]
)
FLOATS = (PIXELS / 255).astype(np.float32)
KINDS = np.array(["palace", "flower"] * 12)
SEVERAL = np.stack([np.arange(24) % 2, np.arange(24) % 3 == 0], axis=1).astype(int)
VALUES = PIXELS.mean(axis=(1, 2, 3)) / 10


def small_network():
    """Build a network with all that training changes: weights, biases, norms and their statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1))


OWN = {"backbone": small_network()}
LOADED = {"backbone": LITE0, "image_size": SIDE}
QUICK = {"dense_units": (4,), "max_epochs": 4, "batch_size": 8, "lr_schedule": None, "random_state": 0}
FULL_BATCH = QUICK | {"batch_size": 10_000, "precision": "float64"}
# Features in float32 differ by up to 1e-5 with the rows that are computed with them, and so do probabilities.
ROUNDED = 1e-5


@pytest.fixture
def empty_memory(monkeypatch):
    """Let the test begin with nothing in memory."""
    monkeypatch.setattr(opening, "_memory", {})


def save_weights(path, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(timm.create_model(TINY.removeprefix("timm/")).state_dict(), path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small named network with its classifier, saved here."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    save_weights(path, seed=1)
    return path


@pytest.fixture(params=["module", "by name"])
def params(request, weights):
    """Make hyper-parameters of each kind of backbone: a network of the fit's own, or one that fits share."""
    return OWN if request.param == "module" else {"backbone": TINY, "backbone_weights": weights, "image_size": SIDE}


def classifier(**params):
    return CNNClassifier(**QUICK | params)


def outputs(estimator, X=PIXELS):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def own_outputs(estimator, X=PIXELS):
    """Run the trained network itself, whatever is remembered of its backbone's features."""
    with torch.inference_mode():
        images = torch.from_numpy(X).to(next(estimator.module_.parameters()).dtype).movedim(-1, 1)
        return estimator.module_.eval()(images).softmax(1).numpy()


def passes_of(work):
    """Count the images that go through a backbone frozen."""
    before = N_PASSES.value
    work()
    return N_PASSES.value - before


def backbone_state(net_or_estimator):
    return copy.deepcopy(net_or_estimator.module_.backbone.network.state_dict())


def same_state(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state(estimator):
    """Copy all that a fit leaves: weights, statistics, the optimiser's state, the history, what is frozen."""
    history = estimator.history_.drop(columns="duration").to_dict("list")
    module = estimator.module_
    return copy.deepcopy((module.state_dict(), estimator.net_.optimizer_.state_dict(), history, module.backbone.frozen))


def assert_same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def scores(*values):
    """Make a scorer that gives these values, one an epoch."""
    values = iter(values)
    return lambda estimator, X, y: next(values)


class Watch(Callback):
    """Notes, while a network trains, what of it does."""

    def on_train_begin(self, net, **kwargs):
        self.states = [backbone_state(net)]
        self.training, self.gradients, self.in_optimizer = [], [], []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        backbone = net.module_.backbone
        parameters = list(backbone.parameters())
        trained = {parameter for group in net.optimizer_.param_groups for parameter in group["params"]}
        self.training.append(any(module.training for module in backbone.modules()))
        self.gradients.append(any(p.requires_grad or p.grad is not None for p in parameters))
        self.in_optimizer.append(not trained.isdisjoint(parameters))

    def on_epoch_end(self, net, **kwargs):
        self.states.append(backbone_state(net))


class Raise(Callback):
    """Raises an error at the end of an epoch, once its weights have changed."""

    def __init__(self, error, epoch, hook="on_epoch_end"):
        self.error, self.epoch, self.hook = error, epoch, hook

    def _raise(self, net, hook):
        if hook == self.hook and len(net.history) == self.epoch:
            raise self.error

    def on_epoch_begin(self, net, **kwargs):
        self._raise(net, "on_epoch_begin")

    def on_batch_end(self, net, **kwargs):
        self._raise(net, "on_batch_end")

    def on_epoch_end(self, net, **kwargs):
        self._raise(net, "on_epoch_end")


def watched(**params):
    """Fit, and give the watch with the estimator."""
    estimator = classifier(**params, callbacks=[Watch()]).fit(PIXELS, KINDS)
    [watch] = [callback for _, callback in estimator.net_.callbacks_]
    return watch, estimator


# For how long a backbone is frozen.


@pytest.mark.parametrize("freeze_epochs", [None, 0, 2, 9])
@pytest.mark.parametrize(
    ("params", "default"),
    [
        (LOADED, 4),
        ({"backbone": TINY, "backbone_weights": "a path", "image_size": SIDE}, 4),
        ({"backbone": TINY, "backbone_weights": None, "image_size": SIDE}, 0),
        (OWN, 0),
        ({"backbone": lambda sample_shape: small_network()}, 0),
    ],
    ids=["by name", "by path", "random", "module", "factory"],
)
def test_a_backbone_trains_after_freeze_epochs(params, default, freeze_epochs, weights):
    params = {**params, "backbone_weights": str(weights)} if params.get("backbone_weights") == "a path" else params
    watch, estimator = watched(**params, freeze_epochs=freeze_epochs)
    n_frozen = default if freeze_epochs is None else min(freeze_epochs, 4)
    frozen = [True] * n_frozen + [False] * (4 - n_frozen)
    unchanged = [same_state(*pair) for pair in itertools.pairwise(watch.states)]
    assert unchanged == frozen  # batch-norm statistics too
    by_batch = [not value for value in frozen for _ in range(3)]
    assert watch.training == watch.gradients == watch.in_optimizer == by_batch
    assert estimator.module_.backbone.frozen == (n_frozen == 4)


@pytest.mark.parametrize("augmentation", [None, "flip"])
def test_a_frozen_backbone_keeps_every_bit_of_its_weights_file(augmentation):
    expected = load_backbone(LITE0, "pretrained", (3, SIDE, SIDE), scale=1).network.state_dict()
    watch, estimator = watched(**LOADED, augmentation=augmentation, l1=0.1, l2=0.1)
    for found in (*watch.states, backbone_state(estimator)):
        assert same_state(found, expected)


@pytest.mark.parametrize("freeze_epochs", [0, 2])
@pytest.mark.parametrize("loaded", [True, False])
def test_norms_keep_the_statistics_that_were_loaded_and_train_their_weights(weights, loaded, freeze_epochs):
    params = {"backbone": TINY, "backbone_weights": weights if loaded else None, "image_size": SIDE}
    watch, estimator = watched(**params, freeze_epochs=freeze_epochs)
    first, last = watch.states[0], watch.states[-1]
    norms = [name.removesuffix("running_mean") for name in first if name.endswith("running_mean")]
    assert norms
    for norm in norms:
        for part, kept in {"running_mean": loaded, "running_var": loaded, "weight": False, "bias": False}.items():
            assert torch.equal(first[norm + part], last[norm + part]) == kept
    assert not estimator.module_.backbone.frozen


def test_a_loaded_backbone_trains_on_one_row_at_a_time(weights):
    params = {"backbone": TINY, "backbone_weights": weights, "image_size": SIDE, "freeze_epochs": 0}
    estimator = classifier(**params, batch_size=7).fit(PIXELS[:22], KINDS[:22])  # three batches of 7, and a row
    updates = estimator.net_.optimizer_.state_dict()["state"][0]["step"]
    assert updates == 4 * estimator.n_iter_


@pytest.mark.parametrize("freeze_epochs", [0, 1, 2])
def test_freezing_for_k_epochs_is_a_frozen_fit_and_a_warm_start(freeze_epochs):
    params = FULL_BATCH | {"backbone": small_network()[:3], "freeze_epochs": freeze_epochs, "optimizer": "sgd"}
    expected = CNNClassifier(**params).fit(FLOATS, KINDS)
    estimator = CNNClassifier(**params, warm_start=True)
    for n_epochs in (1, 1, 2):
        estimator.set_params(max_epochs=n_epochs).fit(FLOATS, KINDS)
    assert estimator.n_iter_ == 4
    np.testing.assert_allclose(outputs(estimator, FLOATS), outputs(expected, FLOATS), rtol=0, atol=1e-9)


# How it trains then.


@pytest.mark.parametrize(
    ("schedule", "freeze_epochs"),
    [
        (None, 2),
        ("one_cycle", 2),
        ("cosine", 2),
        ("reduce_on_plateau", 2),
        *(pytest.param(one, 0, marks=pytest.mark.slow) for one in (None, "one_cycle", "cosine", "reduce_on_plateau")),
    ],
)
def test_the_backbone_trains_at_its_share_of_the_learning_rate(schedule, freeze_epochs):
    rates = []

    class Rates(Callback):
        def on_batch_end(self, net, training, **kwargs):
            if training and len(net.optimizer_.param_groups) == 2:
                rates.append([group["lr"] for group in net.optimizer_.param_groups])

    params = {"freeze_epochs": freeze_epochs, "lr_schedule": schedule, "backbone_lr_factor": 0.25, "max_epochs": 10}
    loss = {"loss": lambda outputs, targets: (0 * outputs).sum(1) + 1} if schedule == "reduce_on_plateau" else {}
    # An update a row: a plateau is at least 100 of them.
    classifier(**OWN, **params, **loss, batch_size=1, callbacks=[Rates]).fit(PIXELS, KINDS)
    assert len(rates) == 24 * (10 - freeze_epochs)
    np.testing.assert_allclose(*np.transpose([[0.25 * head, backbone] for head, backbone in rates]))
    assert (len(np.unique([head for head, _ in rates])) > 1) == (schedule is not None)


@pytest.mark.slow
def test_on_plateaus_a_backbones_rate_stays_its_share_and_a_thaw_begins_anew():
    """A rate falls to a hundredth at most, so that a share of 0.005 would begin below where the head's ends."""
    rates = []

    class Rates(Callback):
        def on_epoch_end(self, net, **kwargs):
            rates.append([group["lr"] for group in net.optimizer_.param_groups])

    classifier(
        **OWN, freeze_epochs=25, max_epochs=60, lr_schedule="reduce_on_plateau", backbone_lr_factor=0.005, batch_size=1,
        loss=lambda outputs, targets: (0 * outputs).sum(1) + 1, learning_rate=0.1, callbacks=[Rates],
    ).fit(PIXELS, KINDS)  # fmt: skip
    heads = np.array([rate[0] for rate in rates])
    assert heads[24] < 0.1 == heads[25] > heads[-1]  # falls, begins anew, falls
    np.testing.assert_allclose([backbone for _, backbone in rates[25:]], 0.005 * heads[25:])


@pytest.mark.parametrize("freeze_epochs", [0, 1])
def test_the_first_step_of_the_backbone_is_proportional_to_its_factor(freeze_epochs):
    steps = {}
    for factor in (1, 0.5):
        params = FULL_BATCH | {"optimizer": torch.optim.SGD, "max_epochs": freeze_epochs + 1}
        network = CNNClassifier(
            **params, backbone=small_network()[:3], freeze_epochs=freeze_epochs, backbone_lr_factor=factor
        ).fit(FLOATS, KINDS)
        weight = network.module_.backbone.network[0].weight
        steps[factor] = (weight - small_network()[0].weight.double()).detach().numpy()
    assert np.abs(steps[1]).max() > 1e-6
    np.testing.assert_allclose(steps[0.5], 0.5 * steps[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.1), (0.01, 0.02)])
def test_the_penalty_is_that_of_the_weights_that_train(l1, l2):
    def penalty(layers):
        weights = [p.detach().double().numpy() for p in layers.parameters() if p.ndim > 1]
        return sum(l1 * np.abs(weight).sum() + l2 * np.square(weight).sum() for weight in weights)

    frozen = classifier(**OWN, freeze_epochs=4, l1=l1, l2=l2).fit(PIXELS, KINDS)
    assert frozen.history_["penalty"].iloc[-1] == pytest.approx(penalty(frozen.module_[1:]))
    thawed = classifier(**OWN, freeze_epochs=3, l1=l1, l2=l2).fit(PIXELS, KINDS)
    assert thawed.history_["penalty"].iloc[-1] == pytest.approx(penalty(thawed.module_))
    assert penalty(thawed.module_) > penalty(thawed.module_[1:])


def test_penalties_shrink_the_backbone_once_it_trains():
    norms = [
        float(
            classifier(**OWN, l2=l2, backbone_lr_factor=1, learning_rate=0.01)
            .fit(PIXELS, KINDS)
            .module_.backbone.network[0]
            .weight.square()
            .sum()
            .detach()
        )
        for l2 in (0, 10)
    ]
    assert norms[1] < norms[0] / 2


def test_an_optimizer_of_one_learning_rate_trains_heads_and_refuses_backbones():
    head = classifier(**OWN, freeze_epochs=4, optimizer=torch.optim.LBFGS).fit(PIXELS, KINDS)
    assert head.history_["train_loss"].iloc[-1] < head.history_["train_loss"].iloc[0]
    for freeze_epochs in (0, 2):
        estimator = classifier(**OWN, freeze_epochs=freeze_epochs, optimizer=torch.optim.LBFGS)
        with pytest.raises(ValueError, match="LBFGS takes one learning rate"):
            estimator.fit(PIXELS, KINDS)


# What is kept: the best epoch, interrupts, errors, fits that go on.


def test_a_best_epoch_in_the_frozen_stage_is_kept_with_the_frozen_backbone(params):
    stopping = {"early_stopping": True, "freeze_epochs": 2, "max_epochs": 4}
    best = classifier(**params, **stopping, scoring=scores(1, 2, 0, 0)).fit(PIXELS, KINDS)
    whole = classifier(**params, **stopping | {"max_epochs": 2}, scoring=scores(1, 2)).fit(PIXELS, KINDS)
    assert (best.n_iter_, best.best_epoch_) == (4, 2)
    assert_same(best.module_.state_dict(), whole.module_.state_dict())
    assert best.module_.backbone.frozen
    np.testing.assert_array_equal(outputs(best), outputs(whole))
    np.testing.assert_allclose(own_outputs(best, *resized(params)), outputs(best), rtol=0, atol=ROUNDED)


def resized(params):
    """Make what `own_outputs` needs: pictures of the size that the backbone gets."""
    assert params.get("image_size", SIDE) == SIDE
    return (PIXELS,)


@pytest.mark.parametrize("best_epoch", [3, 4])
def test_a_best_epoch_in_the_thawed_stage_is_kept_with_its_backbone(best_epoch):
    values = [2 if epoch == best_epoch else 1 / epoch for epoch in range(1, 6)]
    params = {**OWN, "early_stopping": True, "freeze_epochs": 2}
    best = classifier(**params, max_epochs=5, scoring=scores(*values)).fit(PIXELS, KINDS)
    whole = classifier(**params, max_epochs=best_epoch, scoring=scores(*values)).fit(PIXELS, KINDS)
    assert (best.n_iter_, best.best_epoch_) == (5, best_epoch)
    assert_same(best.module_.state_dict(), whole.module_.state_dict())
    assert not best.module_.backbone.frozen


def test_the_validation_loss_is_that_of_the_network_in_either_stage():
    estimator = classifier(**OWN, freeze_epochs=2, precision="float64", warm_start=True, max_epochs=1)
    for _ in range(4):
        estimator.fit(FLOATS[:16], KINDS[:16], X_val=FLOATS[16:], y_val=KINDS[16:])
        log_p = np.log(own_outputs(estimator, FLOATS[16:]))
        loss = -log_p[np.arange(8), np.searchsorted(estimator.classes_, KINDS[16:])].mean()
        assert estimator.history_["val_loss"].iloc[-1] == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("freeze_epochs", [0, 1, None])
def test_refit_full_trains_all_rows_as_long_as_was_best(params, freeze_epochs):
    params = {**params, "freeze_epochs": freeze_epochs}
    refitted = classifier(**params, early_stopping=True, refit_full=True, scoring=scores(1, 2, 0, 0)).fit(PIXELS, KINDS)
    plain = classifier(**params, max_epochs=2).fit(PIXELS, KINDS)
    np.testing.assert_allclose(outputs(refitted), outputs(plain), rtol=0, atol=ROUNDED)
    assert refitted.module_.backbone.frozen == plain.module_.backbone.frozen


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_an_interrupt_leaves_the_last_finished_epoch_of_either_stage(params, hook, epoch):
    params = {**params, "freeze_epochs": 2}
    estimator = classifier(**params, callbacks=[Raise(KeyboardInterrupt, epoch, hook)])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(PIXELS, KINDS)
    whole = classifier(**params, max_epochs=epoch - 1).fit(PIXELS, KINDS)
    assert_same(state(estimator), state(whole))
    np.testing.assert_array_equal(outputs(estimator), outputs(whole))


@pytest.mark.parametrize(
    ("before", "after"), [(2, 2), (2, 3), (4, 1), (0, 9)], ids=["thaws", "thaws later", "thaws at once", "freezes"]
)
def test_an_error_in_a_fit_that_goes_on_puts_the_backbone_back(params, before, after):
    estimator = classifier(**params, freeze_epochs=before, max_epochs=2, warm_start=True).fit(PIXELS, KINDS)
    expected, prediction = state(estimator), outputs(estimator)
    estimator.set_params(freeze_epochs=after, max_epochs=3, callbacks=[Raise(ZeroDivisionError, 4)])
    with pytest.raises(ZeroDivisionError):
        estimator.fit(PIXELS, KINDS)
    assert_same(state(estimator), expected)
    np.testing.assert_array_equal(outputs(estimator), prediction)
    estimator.set_params(callbacks=None).fit(PIXELS, KINDS)
    assert estimator.n_iter_ == 5


def test_a_backbone_may_be_frozen_and_thawed_by_fits_that_go_on(params):
    estimator = classifier(**params, max_epochs=1, warm_start=True)
    states = []
    for freeze_epochs in (1, 1, 3, 3, None, 0):
        estimator.set_params(freeze_epochs=freeze_epochs).fit(PIXELS, KINDS)
        states.append(backbone_state(estimator))
        np.testing.assert_allclose(outputs(estimator), own_outputs(estimator), rtol=0, atol=ROUNDED)
    # None: as ever, for good where weights are loaded, else not at all. The third fit freezes what the second trained.
    assert [same_state(*pair) for pair in itertools.pairwise(states)] == [
        False, True, False, "backbone_weights" in params, False
    ]  # fmt: skip
    assert len(estimator.net_.optimizer_.param_groups) == 2


def test_each_call_of_partial_fit_is_an_epoch_of_freeze_epochs(params):
    estimator = classifier(**params, freeze_epochs=2)
    states = []
    for start in (0, 8, 16, 0):
        rows = slice(start, start + 8)
        estimator.partial_fit(PIXELS[rows], KINDS[rows], classes=np.unique(KINDS))
        states.append(backbone_state(estimator))
    assert [same_state(*pair) for pair in itertools.pairwise(states)] == [True, False, False]
    assert estimator.n_iter_ == 4


@pytest.mark.parametrize("cut_off", [2, 3, 4])
def test_a_run_cut_off_in_either_stage_is_taken_up(params, cut_off, tmp_path):
    params = {**params, "backbone": small_network()[:3]} if params is OWN else params  # without dropout's draws

    def make(folder, *more):
        checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path / folder))
        callbacks = [LoadInitState(checkpoint), checkpoint, *more]
        return classifier(**params, freeze_epochs=2, max_epochs=5, lr_schedule="one_cycle", callbacks=callbacks)

    expected = make("whole").fit(PIXELS, KINDS)
    with pytest.raises(ZeroDivisionError):
        make("cut off", Raise(ZeroDivisionError, cut_off)).fit(PIXELS, KINDS)
    taken_up = make("cut off").fit(PIXELS, KINDS)
    assert_same(state(taken_up), state(expected))
    np.testing.assert_array_equal(outputs(taken_up), outputs(expected))


@pytest.mark.parametrize("freeze_epochs", [pytest.param(0, marks=pytest.mark.slow), 2, 4])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copies_carry_the_weights_and_go_on(params, freeze_epochs, duplicate, monkeypatch):
    estimator = classifier(**params, freeze_epochs=freeze_epochs, warm_start=True).fit(PIXELS, KINDS)
    monkeypatch.setattr(shared, "_read_network", None)  # nothing else to take weights from
    copied = duplicate(estimator)
    np.testing.assert_array_equal(outputs(copied), outputs(estimator))
    np.testing.assert_array_equal(outputs(copied.fit(PIXELS, KINDS)), outputs(estimator.fit(PIXELS, KINDS)))


# What a fit leaves alone.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("freeze_epochs", [None, 1, 4])
def test_a_module_of_the_users_is_copied(training, freeze_epochs):
    module = small_network().train(training)
    module[1].eval()
    modes = [layer.training for layer in module.modules()]
    before = copy.deepcopy(module.state_dict())
    estimator = classifier(backbone=module, freeze_epochs=freeze_epochs).fit(PIXELS, KINDS)
    estimator.predict(PIXELS)
    assert estimator.backbone is module
    assert same_state(module.state_dict(), before)
    assert [layer.training for layer in module.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_a_factory_makes_a_module_for_each_fit():
    made = []

    def factory(sample_shape):
        made.append(sample_shape)
        return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 5, stride=4), nn.BatchNorm2d(4))

    estimator = classifier(backbone=factory).fit(PIXELS, KINDS)
    again = clone(estimator).fit(PIXELS, KINDS)
    assert made == [(3, SIDE, SIDE)] * 2
    assert estimator.module_.backbone.network is not again.module_.backbone.network
    np.testing.assert_array_equal(outputs(estimator), outputs(again))  # its draws are the seed's


@pytest.mark.parametrize("params", [OWN, LOADED, {"backbone": TINY, "backbone_weights": None, "image_size": SIDE}])
def test_global_generators_are_left_as_they_were(params):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    classifier(**params).fit(PIXELS, KINDS)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("freeze_epochs", [0, 1, None])
def test_clones_fit_the_same(params, freeze_epochs):
    estimator = classifier(**params, freeze_epochs=freeze_epochs, dropout=0.3).fit(PIXELS, KINDS)
    again = clone(estimator).fit(PIXELS, KINDS)
    np.testing.assert_allclose(outputs(again), outputs(estimator), rtol=0, atol=ROUNDED)


def test_fine_tuning_leaves_the_next_fit_the_weights_of_the_file():
    frozen = classifier(**LOADED).fit(PIXELS, KINDS)
    classifier(**LOADED, freeze_epochs=0, backbone_lr_factor=1, learning_rate=0.01).fit(PIXELS, KINDS)
    np.testing.assert_allclose(outputs(classifier(**LOADED).fit(PIXELS, KINDS)), outputs(frozen), rtol=0, atol=ROUNDED)


def test_parameters_of_the_convolution_blocks_are_idle():
    idle = {
        "filters": (5,), "kernel_size": (7,), "stride": (3,), "padding": "valid", "pooling": None, "pool_size": (4,),
        "global_pooling": "max", "conv_dropout": 0.9, "standardize": False,
    }  # fmt: skip
    expected = outputs(classifier(**LOADED).fit(PIXELS, KINDS))
    np.testing.assert_array_equal(outputs(classifier(**LOADED, **idle).fit(PIXELS, KINDS)), expected)


def test_the_summary_tells_what_trains():
    table = classifier(**LOADED).fit(PIXELS, KINDS).summary().set_index("layer")
    assert table.loc["backbone", "parameters"] > 3_000_000
    assert table.loc["backbone", "trainable"] == 0
    tuned = classifier(**LOADED, freeze_epochs=0, max_epochs=1).fit(PIXELS, KINDS).summary().set_index("layer")
    assert tuned.loc["backbone", "trainable"] == table.loc["backbone", "parameters"]


# Once.


@pytest.mark.usefixtures("empty_memory")
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_a_whole_search_runs_each_distinct_picture_once(where, tmp_path):
    search = GridSearchCV(
        classifier(**LOADED, feature_cache="memory" if where == "memory" else tmp_path),
        {"dropout": [0, 0.4], "l2": [0, 1e-3], "dense_units": [(), (8,)]},
        cv=3,
        error_score="raise",
    )
    builds = N_BUILDS.value
    assert passes_of(lambda: search.fit(PIXELS, KINDS)) == 24
    assert N_BUILDS.value - builds <= 1
    assert passes_of(lambda: search.predict(PIXELS)) == 0
    assert passes_of(lambda: search.predict(PIXELS[::-1, :, ::-1])) == 24  # mirrored: others
    assert passes_of(lambda: CNNRegressor(**QUICK, **LOADED, feature_cache=search.estimator.feature_cache).fit(
        np.concatenate([PIXELS, PIXELS]), np.tile(VALUES, 2)
    )) == 0  # fmt: skip


class CountPasses:
    """A scorer that tells which process it ran in, and how many images have passed there."""

    def __call__(self, estimator, X, y):
        return {"accuracy": estimator.score(X, y), "process": os.getpid(), "passes": N_PASSES.value}


@pytest.mark.slow
def test_processes_share_a_folder(tmp_path):
    # New processes: those that an earlier test left have passes of its own to count.
    get_reusable_executor().shutdown(wait=True)
    search = GridSearchCV(
        classifier(**LOADED, feature_cache=tmp_path),
        {"dropout": [0, 0.4], "l2": [0, 1e-3]},
        cv=3,
        n_jobs=2,
        scoring=CountPasses(),
        refit="accuracy",
        error_score="raise",
    )
    here = passes_of(lambda: search.fit(PIXELS, KINDS))
    table = pd.DataFrame(
        {
            name: np.concatenate([search.cv_results_[f"split{fold}_test_{name}"] for fold in range(3)])
            for name in ("process", "passes")
        }
    )
    by_process = table.groupby("process")["passes"].max()
    assert os.getpid() not in by_process.index
    assert 24 <= by_process.sum() + here <= 1.1 * 24


@pytest.mark.usefixtures("empty_memory")
@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_cached_and_uncached_fits_agree(estimator, tmp_path):
    y = KINDS if estimator is CNNClassifier else VALUES / VALUES.std()
    found = [
        outputs(estimator(**QUICK | {"max_epochs": 10}, **LOADED, feature_cache=cache).fit(PIXELS, y))
        for cache in (None, "memory", "memory", tmp_path, str(tmp_path))
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=ROUNDED)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_features_kept_and_features_computed_each_epoch_agree(precision):
    params = {**QUICK, **LOADED, "precision": precision, "learning_rate": 1e-3}
    kept = CNNClassifier(**params).fit(PIXELS, KINDS)
    through = CNNClassifier(**params, augmentation=lambda batch: batch).fit(PIXELS, KINDS)
    np.testing.assert_allclose(outputs(kept), outputs(through), rtol=0, atol=ROUNDED)


@pytest.mark.usefixtures("empty_memory")
@pytest.mark.parametrize("feature_cache", ["memory", None])
def test_without_a_cache_each_fit_and_each_prediction_runs_its_pictures(feature_cache):
    estimator = classifier(**LOADED, feature_cache=feature_cache)
    found = [passes_of(work) for work in (lambda: estimator.fit(PIXELS, KINDS), lambda: estimator.predict(PIXELS))]
    assert found == ([24, 0] if feature_cache else [24, 24])


@pytest.mark.usefixtures("empty_memory")
def test_whatever_changes_the_features_has_them_computed_again(weights, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(weights.read_bytes())
    base = {"backbone": TINY, "backbone_weights": file, "image_size": SIDE}

    def fit(X=PIXELS, **params):
        return lambda: classifier(**base | params).fit(X, KINDS)

    changed = PIXELS.copy()
    changed[3, 7, 7, 1] ^= 1
    assert passes_of(fit()) == 24
    assert passes_of(fit()) == 0
    assert passes_of(fit(changed)) == 1
    assert passes_of(fit(image_size=40)) == 24
    assert passes_of(fit(precision="float64")) == 24
    save_weights(file, seed=2)
    assert passes_of(fit()) == 24
    file.write_bytes(weights.read_bytes())
    assert passes_of(fit()) == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_no_damage_to_the_folder_changes_a_prediction(damage, tmp_path, monkeypatch):
    estimator = classifier(**LOADED, feature_cache=tmp_path).fit(PIXELS, KINDS)
    expected = outputs(estimator)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert files
    for place in np.random.RandomState(0).randint(0, 2**31, 8):
        for path, whole in files.items():
            flipped = bytearray(whole)
            flipped[place % len(whole)] ^= 1 << place % 8
            path.write_bytes(whole[: place % len(whole)] if damage == "truncated" else flipped)
        monkeypatch.setattr(opening, "_folders", BoundedCache(opening.MAX_FOLDERS))
        with pytest.warns(UserWarning, match="damaged file"):
            found = outputs(estimator)
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDED)
        for path in tmp_path.iterdir():
            path.unlink()


# What images it takes.


def test_integers_and_floats_are_scaled_alike():
    forms = {
        "uint8": PIXELS,
        "int64": PIXELS.astype(np.int64),
        "floats": FLOATS,
        "doubles": PIXELS / 255,
        "channels first": PIXELS.transpose(0, 3, 1, 2),
        "tables": PIXELS.reshape(24, -1).astype(np.int64),
        "frames": pd.DataFrame(PIXELS.reshape(24, -1)).add_prefix("pixel"),
        "PIL images": [Image.fromarray(pixels) for pixels in PIXELS],
    }
    for params in (LOADED, OWN):
        params = {**params, "precision": "float64"}
        expected = outputs(classifier(**params).fit(PIXELS, KINDS))
        for name, X in forms.items():
            shape = {"input_shape": (SIDE, SIDE, 3)} if name in ("tables", "frames") else {}
            estimator = classifier(**params, **shape).fit(X, KINDS)
            np.testing.assert_allclose(outputs(estimator, X), expected, rtol=0, atol=1e-6, err_msg=name)


def test_grey_pictures_are_colour_pictures_without_colours():
    grey = PIXELS.mean(axis=3).astype(np.uint8)
    expected = outputs(
        classifier(**LOADED).fit(np.repeat(grey[..., None], 3, axis=3), KINDS), np.repeat(grey[..., None], 3, axis=3)
    )
    estimator = classifier(**LOADED).fit(grey, KINDS)
    np.testing.assert_allclose(outputs(estimator, grey), expected, rtol=0, atol=ROUNDED)
    assert estimator.sample_shape_ == (1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({"backbone": LITE0}, (3, 224, 224)),
        ({"backbone": LITE0, "image_size": 40}, (3, 40, 40)),
        ({"backbone": LITE0, "image_size": (40, 48)}, (3, 40, 48)),
        (OWN, (3, SIDE, SIDE)),
        ({**OWN, "image_size": 20}, (3, 20, 20)),
    ],
)
def test_images_are_resized_to_image_size_or_to_what_the_weights_expect(params, shape):
    assert classifier(**params, max_epochs=1).fit(PIXELS[:4], KINDS[:4]).sample_shape_ == shape


@pytest.mark.parametrize("backbone", [LITE0, "resnet18"])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (FLOATS * 255, "floats from 0 to 1"),
        (FLOATS - 0.6, "floats from 0 to 1"),
        (PIXELS.astype(int) + 1, "integers from 0 to 255"),
        (PIXELS.astype(int) - 1, "integers from 0 to 255"),
    ],
    ids=["large floats", "small floats", "large integers", "negative integers"],
)
def test_values_that_do_not_suit_a_backbones_scaling_are_refused(backbone, X, message):
    X = np.concatenate([X, X[:1]])
    with pytest.raises(ValueError, match=message):
        classifier(backbone=backbone, backbone_weights=None).fit(X, [*KINDS, "palace"])


def of_two_sizes(X):
    """Pictures one by one, the odd ones without their last row."""
    return [picture[: len(picture) - number % 2] for number, picture in enumerate(X)]


@pytest.mark.parametrize("kind", [list, lambda pictures: pd.Series(pictures)], ids=["list", "Series"])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (FLOATS * 255, "floats from 0 to 1"),
        ((FLOATS - 0.5) * 4, "They seem standardised"),
        (PIXELS.astype(np.uint16) * 257, "integers from 0 to 255"),
        (PIXELS.astype(int) - 1, "integers from 0 to 255"),
    ],
    ids=["large floats", "standardised", "16 bits", "negative integers"],
)
def test_pictures_of_differing_size_are_held_to_the_same_range(X, message, kind):
    with pytest.raises(ValueError, match=message):
        classifier(backbone=TINY, backbone_weights=None, image_size=SIDE).fit(kind(of_two_sizes(X)), KINDS)


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16])
def test_integers_of_pixels_are_pixels_in_lists_too(dtype):
    params = {"backbone": TINY, "backbone_weights": None, "image_size": SIDE, "max_epochs": 1}
    seen = []

    def look(batch):
        seen.append(float(batch.max()))
        return batch

    one, other = (classifier(**params).fit(of_two_sizes(X), KINDS) for X in (PIXELS, PIXELS.astype(dtype)))
    np.testing.assert_array_equal(
        outputs(one, of_two_sizes(PIXELS)), outputs(other, of_two_sizes(PIXELS.astype(dtype)))
    )
    CNNClassifier(filters=(2,), max_epochs=1, image_size=8, augmentation=look).fit(
        of_two_sizes(PIXELS.astype(dtype)), KINDS
    )
    assert 0.5 < max(seen) <= 1
    with pytest.raises(ValueError, match="scaled differently"):
        one.predict(of_two_sizes(FLOATS))


@pytest.mark.parametrize(("fitted", "given"), [(PIXELS, FLOATS), (FLOATS, PIXELS)], ids=["integers", "floats"])
@pytest.mark.parametrize("method", ["predict", "partial_fit"])
def test_another_kind_of_numbers_is_refused_after_fit(weights, fitted, given, method):
    params = {"backbone": TINY, "backbone_weights": weights, "image_size": SIDE}
    estimator = classifier(**params, max_epochs=1).fit(fitted, KINDS)
    with pytest.raises(ValueError, match="scaled differently"):
        getattr(estimator, method)(*(given, KINDS)[: 1 if method == "predict" else 2])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((4, 20)), "takes images|resizes images"),
        (np.zeros((4, 20, 1)), "takes images|resizes images"),
        (np.zeros((4, 6, 6, 6, 1)), "takes images|resizes images"),
        (np.zeros((4, 32, 32, 4), np.uint8), "4 channels"),
    ],
    ids=["table", "signals", "volumes", "four channels"],
)
@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_named_backbones_take_grey_and_colour_images(estimator, X, message):
    with pytest.raises(ValueError, match=message):
        estimator(backbone=LITE0).fit(X, [0, 1, 0, 1])


def test_a_module_of_the_users_may_take_signals_and_volumes():
    signals, volumes = np.random.RandomState(0).rand(24, 20), np.random.RandomState(0).rand(24, 6, 6, 6, 1)
    for X, conv in ((signals, nn.Conv1d), (volumes, nn.Conv3d)):
        estimator = classifier(backbone=conv(1, 4, 3)).fit(X, KINDS)
        assert outputs(estimator, X).shape == (24, 2)


# What is missing.


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "sklcnn\[backbones\]"'):
        classifier(backbone=LITE0).fit(PIXELS, KINDS)


def test_missing_weights_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        classifier(backbone="resnet18", backbone_weights=tmp_path / "nowhere.pth").fit(PIXELS, KINDS)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "reach", lambda url: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(OSError, match=r"resnet18-\w+\.pth.*backbone_weights") as error:
        classifier(backbone="resnet18").fit(PIXELS, KINDS)
    assert str(tmp_path) in str(error.value)


# Whatever is learnt.


@pytest.mark.parametrize("freeze_epochs", [0, 2, 9])
@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_backbones_work_in_every_precision(params, freeze_epochs, precision):
    rates = {"learning_rate": 1e-3, "freeze_epochs": freeze_epochs}
    expected = outputs(classifier(**params, **rates).fit(PIXELS, KINDS))
    estimator = classifier(**params, **rates, precision=precision).fit(PIXELS, KINDS)
    found = outputs(estimator)
    dtype = torch.float64 if precision == "float64" else torch.float32
    assert {parameter.dtype for parameter in estimator.module_.parameters()} == {dtype}
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 if precision == "float64" else 0.1)


@pytest.mark.parametrize("freeze_epochs", [0, 2, 9])
@pytest.mark.parametrize(
    ("estimator", "y", "params"),
    [
        (CNNClassifier, KINDS, {"class_weight": "balanced", "label_smoothing": 0.1}),
        (CNNClassifier, SEVERAL, {}),
        (CNNClassifier, KINDS, {"loss": lambda outputs, targets: -(targets * outputs.log_softmax(1)).sum(1)}),
        (CNNRegressor, VALUES, {}),
        (CNNRegressor, np.stack([VALUES, -VALUES], 1), {"loss": "huber"}),
    ],
    ids=["classes", "labels", "callable loss", "values", "several values"],
)
def test_weight_two_counts_as_the_row_twice_on_a_backbone(estimator, y, params, freeze_epochs):
    # Without batch norm, whose statistics count rows, not weights.
    backbone = {"backbone": small_network()[0], "freeze_epochs": freeze_epochs}
    twice = np.arange(0, 24, 5)
    weight = np.ones(24)
    weight[twice] = 2
    one = estimator(**FULL_BATCH, **backbone, **params).fit(FLOATS, y, weight)
    other = estimator(**FULL_BATCH, **backbone, **params).fit(
        np.concatenate([FLOATS, FLOATS[twice]]), np.concatenate([y, y[twice]])
    )
    np.testing.assert_allclose(outputs(one, FLOATS), outputs(other, FLOATS), rtol=0, atol=1e-9)


def test_values_and_several_labels_are_learnt_on_a_backbone():
    params = QUICK | LOADED | {"max_epochs": 100}
    regressor = CNNRegressor(**params).fit(PIXELS, VALUES)
    assert regressor.score(PIXELS, VALUES) > 0.9
    assert regressor.predict(PIXELS).shape == (24,)
    labels = CNNClassifier(**params).fit(PIXELS, SEVERAL)
    assert labels.predict(PIXELS).shape == labels.predict_proba(PIXELS).shape == (24, 2)
    assert labels.score(PIXELS, SEVERAL) > 0.9


def test_fine_tuning_fits_the_training_rows_better_than_a_random_backbone_kept_frozen(weights):
    params = {"backbone": TINY, "backbone_weights": weights, "image_size": SIDE, "max_epochs": 10, "l2": 0}
    losses = [
        classifier(**params, freeze_epochs=freeze_epochs, backbone_lr_factor=1)
        .fit(PIXELS, KINDS)
        .history_["train_loss"]
        for freeze_epochs in (10, 2)
    ]
    assert losses[1].iloc[-1] < losses[0].iloc[-1] / 2
    np.testing.assert_allclose(losses[1][:2], losses[0][:2], rtol=1e-6)


@pytest.mark.slow
def test_backbones_are_searched():
    backbones = [None, LITE0, small_network(), lambda sample_shape: small_network()]
    search = GridSearchCV(
        classifier(filters=(4,), image_size=SIDE, max_epochs=8),
        {"backbone": backbones, "augmentation": [None, "flip", ("flip", "rotate"), {"rotate": 10}]},
        cv=2,
        error_score="raise",
    ).fit(PIXELS, KINDS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.7


# torchvision's networks, by name.


@pytest.mark.parametrize("name", [pytest.param("vgg16", marks=pytest.mark.slow), "googlenet"])
def test_torchvisions_networks_are_built_with_random_weights_or_from_a_file(name, tmp_path):
    params = {"backbone": name, "image_size": SIDE, "max_epochs": 1}
    estimator = classifier(**params, backbone_weights=None, freeze_epochs=1).fit(PIXELS[:8], KINDS[:8])
    network = estimator.module_.backbone.network
    file = tmp_path / f"{name}.pth"
    torch.save(network.state_dict(), file)
    loaded = classifier(**params, backbone_weights=str(file)).fit(PIXELS[:8], KINDS[:8])
    assert_same(loaded.module_.backbone.network.state_dict(), network.state_dict())
    assert loaded.module_.backbone.frozen
    assert loaded.module_.backbone.n_features == {"vgg16": 512, "googlenet": 1024}[name]
    state = network.state_dict()
    key = next(iter(state))
    torch.save({name: value for name, value in state.items() if name != key} | {"more.weight": state[key]}, file)
    with pytest.raises(ValueError, match=rf"lacks {key}.*unexpected more\.weight"):
        classifier(**params, backbone_weights=str(file)).fit(PIXELS[:8], KINDS[:8])


# It pays.


@pytest.mark.slow
def test_transfer_beats_the_same_budget_from_scratch():
    from skimage.data import lfw_subset
    from sklearn.model_selection import StratifiedKFold, cross_validate

    X, y = lfw_subset(), np.repeat(["face", "no face"], 100)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    budget = {"image_size": 96, "max_epochs": 10, "batch_size": 16, "random_state": 0}

    def mean_scores(**params):
        estimator, scoring = CNNClassifier(**budget, **params), ["accuracy", "neg_log_loss"]
        results = cross_validate(estimator, X, y, cv=folds, scoring=scoring, error_score="raise")
        return results["test_accuracy"].mean(), results["test_neg_log_loss"].mean()

    frozen, frozen_log_loss = mean_scores(backbone=LITE0)
    assert frozen >= 0.97
    scratch, scratch_log_loss = mean_scores()
    tuned, tuned_log_loss = mean_scores(backbone=LITE0, freeze_epochs=3)
    assert min(frozen, tuned) > scratch
    assert min(frozen_log_loss, tuned_log_loss) > scratch_log_loss
    assert tuned >= frozen - 0.01  # two pictures of two hundred
