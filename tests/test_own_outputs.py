"""Laws of own modules while a network runs: they may do otherwise than when they were tried, on zeros in eval mode."""

import copy
import pickle
import random
import re
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.deploy.export import export_onnx
from sklcnn.deploy.extras import has_right_exporter

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(40, 8, 8).astype(np.float32)
LABELS, VALUES = np.arange(40) % 2, X.mean((1, 2))
QUICK = {"filters": 4, "dense_units": 3, "max_epochs": 2, "batch_size": 16, "random_state": 0}


class Block(nn.Module):
    """A convolution whose maps a function changes, in the modes that are named."""

    def __init__(self, function, modes, n_in, n_out, kernel_size, spatial_dims):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel_size, padding="same")
        self.function, self.modes = function, modes

    def forward(self, maps):
        changes = self.training in self.modes and maps.any()
        return self.function(self.conv(maps)) if changes else self.conv(maps)


def block(function, *modes):
    return lambda *sizes: Block(function, modes, *sizes)


def activation(function, *modes):
    class Own(nn.Module):
        def forward(self, values):
            changes = self.training in modes and values.any()
            return function(values.relu()) if changes else values.relu()

    return Own


def mean_of_rows(values):
    return values.mean(0, keepdim=True)


TRAINING, EVALUATION = True, False
MODES = [pytest.param(TRAINING, id="training"), pytest.param(EVALUATION, id="evaluation")]
KINDS = {"block": block, "activation": activation}
WRONG = {
    "one row for all": (mean_of_rows, ValueError, r"\(1, 4, "),
    "the first row": (lambda values: values[:1], ValueError, r"\(1, 4, "),
    "a row less": (lambda values: values[:-1], ValueError, r"it made"),
    "less channels": (lambda values: values[:, :2], ValueError, r"it made"),
    "less positions": (lambda values: values[..., :4], ValueError, r"it made"),
    "no positions": (lambda values: values.flatten(1), ValueError, r"it made"),
    "a tuple": (lambda values: (values, values), TypeError, "it returned tuple"),
    "nothing": (lambda values: None, TypeError, "it returned NoneType"),
    "integers": (lambda values: values.long(), TypeError, "as floats, but they are int64"),
    "complex": (lambda values: values + 0j, TypeError, "as floats, but they are complex64"),
    "sparse": (lambda values: values.to_sparse(), TypeError, "layout sparse_coo on cpu"),
    "without data": (lambda values: values.to("meta"), TypeError, "layout strided on meta"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("parameter", KINDS)
def test_what_own_modules_return_of_data_is_checked_in_words_that_name_them(parameter, name, mode):
    function, error, words = WRONG[name]
    cnn = CNNRegressor(**QUICK, **{parameter: KINDS[parameter](function, mode)})
    with pytest.raises(error, match=rf"^{parameter}.*{words}") as caught:
        cnn.fit(X, VALUES).predict(X)
    assert len(caught.value.__notes__) == 1
    kind = "Block" if parameter == "block" else "Own"
    assert re.search(
        rf"network raised this, in its {parameter} \({kind}\), on a batch \(\d+, ", caught.value.__notes__[0]
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("parameter", KINDS)
def test_other_floats_of_own_modules_are_cast_to_the_networks(parameter, dtype, mode):
    cnn = CNNClassifier(**QUICK, **{parameter: KINDS[parameter](lambda values: values.to(dtype), mode)})
    assert np.isfinite(cnn.fit(X, LABELS).predict_proba(X)).all()


def test_a_block_that_joins_rows_is_refused_before_it_trains():
    def factory(*sizes):
        return nn.Sequential(nn.Conv2d(1, 4, 1), Joins())

    class Joins(nn.Module):
        def forward(self, maps):
            return mean_of_rows(maps)

    with pytest.raises(ValueError, match=r"block=factory must make .* of shape \(2, 1, 8, 8\) it made \(1, 4, 8, 8\)"):
        CNNClassifier(**QUICK, block=factory).fit(X, LABELS)


def test_a_checked_network_takes_maps_of_another_size_than_it_was_trained_on():
    cnn = CNNClassifier(**QUICK, block=block(torch.relu, True, False), global_pooling="avg").fit(X, LABELS)
    assert cnn.module_.eval()(torch.zeros(3, 1, 12, 10)).shape == (3, 2)


@pytest.mark.skipif(not has_right_exporter(), reason="PyTorch before 2.9 cannot export every network")
def test_an_own_activation_is_exported(tmp_path):
    cnn = CNNClassifier(**QUICK, activation=Tempered).fit(X, LABELS)
    export_onnx(cnn, tmp_path / "network.onnx")  # compared with the estimator before it is written
    assert (tmp_path / "network.onnx").is_file()


class Tempered(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, values):
        return (self.weight * values).tanh()


@pytest.mark.parametrize("way", [lambda cnn: pickle.loads(pickle.dumps(cnn)), copy.deepcopy], ids=["pickle", "copy"])
def test_an_own_activation_keeps_the_names_of_its_weights_and_its_bits(way):
    cnn = CNNClassifier(**QUICK, activation=Tempered).fit(X, LABELS)
    assert "block1.activation.weight" in cnn.module_.state_dict()
    again = way(cnn)
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))
    assert all(len(layer._forward_hooks) == 1 for layer in again.module_.modules() if isinstance(layer, Tempered))


# Layers that are made when a module is first called.


class Late(nn.Module):
    def __init__(self, n_in, n_out, kernel_size, spatial_dims):
        super().__init__()
        self.n_out, self.conv = n_out, None

    def forward(self, maps):
        if self.conv is None:
            self.conv = nn.Conv2d(maps.shape[1], self.n_out, 3, padding=1)
        return self.conv(maps)


class LateBuffer(Late):
    """A buffer that the first batch makes."""

    def __init__(self, n_in, n_out, kernel_size, spatial_dims):
        super().__init__(n_in, n_out, kernel_size, spatial_dims)
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.register_buffer("scale", None)

    def forward(self, maps):
        if self.scale is None:
            self.scale = 1 + maps.detach().abs().mean((0, 2, 3))[:, None, None]
        return self.conv(maps) * self.scale


@pytest.mark.parametrize("way", [lambda cnn: pickle.loads(pickle.dumps(cnn)), copy.deepcopy], ids=["pickle", "copy"])
@pytest.mark.parametrize("late", [Late, LateBuffer])
def test_what_a_block_makes_when_it_is_first_called_trains_and_comes_back(late, way):
    cnn = CNNClassifier(**QUICK, block=late).fit(X, LABELS)
    again = way(cnn)
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))
    first = CNNClassifier(**QUICK | {"max_epochs": 1}, block=late).fit(X, LABELS)
    assert not torch.equal(first.module_.block1.body.conv.weight, cnn.module_.block1.body.conv.weight)
    for each in (cnn, again):
        each.set_params(warm_start=True).fit(X, LABELS)
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))


class LateActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = None

    def forward(self, values):
        if self.slope is None:
            self.slope = nn.Parameter(torch.ones(values.shape[1]))
        return values * self.slope[0]


def test_an_activation_whose_weights_are_made_late_is_refused():
    with pytest.raises(ValueError, match="activation=LateActivation has weights whose shape waits for the first input"):
        CNNClassifier(**QUICK, activation=LateActivation).fit(X, LABELS)


# Gradients inside a network or a loss.


class Force(nn.Module):
    """The derivative of an energy, which needs gradients in evaluation too."""

    def __init__(self, n_in=1, n_out=4, kernel_size=3, spatial_dims=2):
        super().__init__()
        self.energy, self.mix = nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_in, n_out, 1)

    def forward(self, maps):
        with torch.enable_grad():
            maps = maps.detach().clone().requires_grad_()
            (force,) = torch.autograd.grad(self.energy(maps).square().sum(), maps, create_graph=self.training)
        return self.mix(force)


class SwitchesOn(nn.Conv2d):
    def forward(self, maps):
        torch.set_grad_enabled(True)
        return super().forward(maps)


class ForceActivation(nn.Module):
    def forward(self, values):
        with torch.enable_grad():
            given = values if values.requires_grad else values.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(given.square().sum(), given, create_graph=True)
        return slope / 2


DIFFERENTIATING = {
    "block": {"block": Force},
    "backbone": {"backbone": Force()},
    "frozen backbone": {"backbone": Force(), "freeze_epochs": 9},
    "activation": {"activation": ForceActivation},
    "switched on": {"block": lambda n_in, n_out, kernel, dims: SwitchesOn(n_in, n_out, kernel, padding="same")},
}


@pytest.mark.parametrize("name", DIFFERENTIATING)
def test_networks_that_differentiate_by_themselves_validate_and_predict(name):
    given = {"X_val": X[:10], "y_val": LABELS[:10]}
    cnn = CNNClassifier(**QUICK, early_stopping=True, **DIFFERENTIATING[name]).fit(X, LABELS, **given)
    assert np.isfinite(cnn.history_["val_loss"]).all()
    rows = np.concatenate([cnn.predict_proba(X[:1]), cnn.predict_proba(X[1:])])
    np.testing.assert_allclose(rows, cnn.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert torch.is_grad_enabled()


def gradient_penalty(outputs, targets):
    with torch.enable_grad():
        given = outputs if outputs.requires_grad else outputs.detach().clone().requires_grad_()
        losses = (given - targets).square().sum(1)
        (slope,) = torch.autograd.grad(losses.sum(), given, create_graph=True)
    return losses + slope.square().sum(1)


LOSSES = {
    "differentiates": gradient_penalty,
    "asks for gradients": lambda outputs, targets: (outputs - targets).square().sum(1).requires_grad_(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_differentiate_or_ask_for_gradients_validate(name):
    given = {"X_val": X[:10], "y_val": LABELS[:10]}
    cnn = CNNClassifier(**QUICK, loss=LOSSES[name]).fit(X, LABELS, **given)
    assert np.isfinite(cnn.history_["val_loss"]).all()


# Errors.


class Indexed(nn.Module):
    """Features that are looked up, with sparse gradients."""

    def __init__(self, sparse=True):
        super().__init__()
        self.table = nn.Embedding(8, 4, sparse=sparse)

    def forward(self, images):
        return self.table((images[:, 0, :2].flatten(1) * 2).long() % 8).flatten(1)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", torch.optim.AdamW])
def test_sparse_gradients_are_refused_with_the_remedy(optimizer):
    words = r"CNNClassifier: optimizer=\w+ does not take sparse gradients, which backbone.network.table.weight has"
    with pytest.raises(ValueError, match=words):
        CNNClassifier(**QUICK, backbone=Indexed(), optimizer=optimizer).fit(X, LABELS)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch says so once a process
@pytest.mark.parametrize(
    "params", [{"backbone": Indexed(sparse=False)}, {"backbone": Indexed(), "optimizer": torch.optim.Adagrad}]
)
def test_the_remedies_of_sparse_gradients_serve(params):
    assert np.isfinite(CNNClassifier(**QUICK, **params).fit(X, LABELS).predict_proba(X)).all()


class OwnNorm(nn.Module):
    def __init__(self, n_in, n_out, kernel_size, spatial_dims):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 8)
        self.register_buffer("mean", torch.zeros(n_out))
        self.register_buffer("variance", torch.ones(n_out))

    def forward(self, maps):
        return functional.batch_norm(self.conv(maps), self.mean, self.variance, training=self.training)


@pytest.mark.parametrize("batch_size", [1, 13, 3])
def test_a_last_batch_of_one_row_that_an_own_norm_does_not_take_names_batch_size(batch_size):
    words = rf"CNNClassifier: batch_size={batch_size} leaves a batch of one row.* in its block \(OwnNorm\)"
    with pytest.raises(ValueError, match=words):
        CNNClassifier(**QUICK | {"batch_size": batch_size}, block=OwnNorm).fit(X, LABELS)


class FailsWhen(nn.Linear):
    def __init__(self, mode):
        super().__init__(64, 3)
        self.mode = mode

    def forward(self, images):
        if self.training == self.mode and images.any():
            raise ArithmeticError("of the user's")
        return super().forward(images.flatten(1))


@pytest.mark.parametrize("mode", MODES)
def test_an_error_in_a_network_is_noted_in_training_and_in_predict(mode):
    with pytest.raises(ArithmeticError, match="of the user's") as caught:
        CNNClassifier(**QUICK, backbone=FailsWhen(mode)).fit(X, LABELS).predict(X)
    (note,) = caught.value.__notes__
    assert re.search(r"network raised this, in its backbone \(FailsWhen\), on a batch \(\d+, 1, 8, 8\)", note)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_torchscript_is_refused_inside_blocks_and_activations():
    class Scripted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.jit.script(nn.ReLU())

        def forward(self, values):
            return self.inner(values)

    with pytest.raises(TypeError, match=r"block=<lambda> holds TorchScript.* Pass the nn.Module that it was made of"):
        CNNClassifier(**QUICK, block=lambda *sizes: Scripted()).fit(X, LABELS)
    with pytest.raises(TypeError, match="activation=Scripted holds TorchScript"):
        CNNClassifier(**QUICK, activation=Scripted).fit(X, LABELS)


# Random numbers.


class Draws(nn.Module):
    """Dropout in evaluation too, and a look at the other generators."""

    def forward(self, values):
        np.random.rand()
        random.random()
        return functional.dropout(values, 0.5)


def drawing_block(n_in, n_out, kernel_size, spatial_dims):
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1), Draws())


def read_generators():
    return random.getstate(), np.random.get_state()[1:], torch.get_rng_state()


def same_generators(one, other):
    return one[0] == other[0] and one[1][1:] == other[1][1:] and torch.equal(one[2], other[2]) and (
        np.array_equal(one[1][0], other[1][0])
    )  # fmt: skip


DRAWING = {
    "block": {"block": drawing_block},
    "activation": {"activation": Draws},
    "backbone": {"backbone": nn.Sequential(nn.Flatten(), Draws())},
    "frozen backbone": {"backbone": nn.Sequential(nn.Flatten(), Draws()), "freeze_epochs": 9, "feature_cache": None},
}


@pytest.mark.parametrize("n_rows", [1, 5])
@pytest.mark.parametrize("name", DRAWING)
def test_predictions_that_draw_leave_the_generators_as_they_were(name, n_rows):
    cnn = CNNClassifier(**QUICK, **DRAWING[name]).fit(X, LABELS)
    before = read_generators()
    first = cnn.predict_proba(X[:n_rows])
    assert same_generators(read_generators(), before)
    assert first.shape == (n_rows, 2)
    answers = []
    for _ in range(2):
        torch.rand(1)
        answers.append(cnn.predict_proba(X))
    assert not np.array_equal(*answers)  # it does draw


def test_features_that_draw_leave_the_generators_as_they_were():
    features = CNNFeatures(backbone=DRAWING["backbone"]["backbone"], feature_cache=None).fit(X)
    before = read_generators()
    features.transform(X)
    assert same_generators(read_generators(), before)


def test_a_prediction_that_draws_does_not_set_back_the_generators_of_a_fit_in_another_thread():
    cnn = CNNClassifier(**QUICK, block=drawing_block).fit(X, LABELS)
    drawn, go_on, done = [], threading.Event(), threading.Event()

    def waits(images):
        drawn.append(torch.rand(1).item())
        if len(drawn) == 1:
            go_on.set()
            assert done.wait(60)
        return images

    other = threading.Thread(target=CNNClassifier(**QUICK, augmentation=waits).fit, args=(X, LABELS))
    other.start()
    assert go_on.wait(60)
    cnn.predict(X)
    during = torch.get_rng_state()
    cnn.predict(X)
    moved = not torch.equal(torch.get_rng_state(), during)
    done.set()
    other.join(60)
    assert moved and len(set(drawn)) == len(drawn)


# What losses and augmentations return.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (torch.Tensor.to_sparse, "layout sparse_coo on cpu"),
        (lambda values: values.to("meta"), "layout strided on meta"),
    ],
    ids=["sparse", "meta"],
)
def test_losses_and_augmentations_that_are_sparse_or_without_data_are_refused(change, words):
    with pytest.raises(TypeError, match=rf"augmentation must return a dense tensor .*{words}"):
        CNNClassifier(**QUICK, augmentation=change).fit(X, LABELS)
    with pytest.raises(TypeError, match=rf"CNNClassifier: loss must return a dense tensor .*{words}"):
        CNNClassifier(**QUICK, loss=lambda o, t: change((o - t).square().sum(1))).fit(X, LABELS)
