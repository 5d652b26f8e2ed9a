"""Laws of the penalties: their values, the weights that they shrink, and those that they do not."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.training import stages

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(20, 12)
LABELS = np.arange(20) % 3
VALUES = RANDOM.randn(20)
SHAPES = {1: (12, 1), 2: (3, 4, 1), 3: (3, 2, 2, 1)}
STRENGTHS = [{"l1": 0.01}, {"l2": 0.02}, {"l1": 0.01, "l2": 0.02}]
QUICK = {"filters": (3, 4), "dense_units": (5,), "precision": "float64", "max_epochs": 3, "random_state": 0}
# One layer, and nothing between its gradient and its step.
ONE_LAYER = {
    "filters": (), "dense_units": (), "standardize": False, "precision": "float64", "batch_size": 100, "max_epochs": 1,
    "lr_schedule": None, "optimizer_params": {"momentum": 0, "nesterov": False}, "random_state": 0,
}  # fmt: skip


def weights_of(module):
    """List a network's convolution and dense weights, by layer."""
    layers = (layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)))
    return [layer.weight.detach().numpy().copy() for layer in layers]


def others_of(module):
    """List all other parameters: biases and normalisation."""
    weights = {id(layer.weight) for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv1d))}
    return [p.detach().numpy().copy() for p in module.parameters() if id(p) not in weights]


@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
@pytest.mark.parametrize("dims", SHAPES)
def test_the_penalty_in_the_history_is_that_of_the_weights(dims, strengths):
    net = CNNClassifier(**QUICK, **strengths, batch_norm=True, input_shape=SHAPES[dims], data_format="channels_last")
    net.fit(X, LABELS)
    weights = np.concatenate([w.ravel() for w in weights_of(net.module_)])
    l1, l2 = strengths.get("l1", 0), strengths.get("l2", 0)
    expected = l1 * np.abs(weights).sum() + l2 * (weights**2).sum()
    assert net.history_["penalty"].iloc[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", torch.optim.SGD], ids=["by name", "by class"])
@pytest.mark.parametrize("strengths", [{}, *STRENGTHS], ids=str)
def test_one_step_is_the_hand_computed_one(strengths, optimizer):
    rate = 0.05
    params = ONE_LAYER | ({} if optimizer == "sgd" else {"optimizer_params": None})
    net = CNNClassifier(**params, **strengths, optimizer=optimizer, learning_rate=1e-300, warm_start=True)
    net.fit(X, LABELS)  # a step too small to change a bit: the initial weights
    weight, bias = (p.detach().numpy().copy() for p in net.module_.output.parameters())
    net.set_params(learning_rate=rate).fit(X, LABELS)

    logits = X @ weight.T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (probabilities - np.eye(3)[LABELS]) / len(X)
    l1, l2 = strengths.get("l1", 0), strengths.get("l2", 0)
    stepped = weight - rate * (error.T @ X + l1 * np.sign(weight) + 2 * l2 * weight)
    np.testing.assert_allclose(net.module_.output.weight.detach(), stepped, rtol=0, atol=1e-14)
    np.testing.assert_allclose(net.module_.output.bias.detach(), bias - rate * error.sum(0), rtol=0, atol=1e-14)


def test_weights_that_are_computed_from_others_are_penalised_too():
    def fit(**params):
        def block(n_in, n_out, kernel, n_axes):
            return nn.utils.parametrizations.weight_norm(nn.Conv1d(n_in, n_out, kernel))

        cnn = CNNRegressor(**QUICK | {"filters": 3, "max_epochs": 20}, block=block, learning_rate=0.1, **params)
        return cnn.fit(X, VALUES).module_.block1.body.weight.square().sum()

    assert fit(l2=1.0) < fit() / 10


# With a solver that goes to the end, a linear network is a model that scikit-learn knows.
SOLVED = ONE_LAYER | {
    "optimizer": torch.optim.LBFGS, "learning_rate": 1, "max_epochs": 20,
    "optimizer_params": {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-12, "tolerance_change": 0},
}  # fmt: skip
# The solver compares losses, which are rounded to 1e-16. They rise with the square of the distance, at least `l2` times
# it, so that it finds weights to sqrt(1e-16 / 1e-3) = 3e-7.
SOLVED_TO = 1e-5


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_a_linear_network_with_l2_is_scikit_learns_logistic_regression(l2):
    net = CNNClassifier(**SOLVED, l2=l2).fit(X, LABELS)
    plain = LogisticRegression(C=1 / (2 * len(X) * l2), tol=1e-10, max_iter=10_000).fit(X, LABELS)
    np.testing.assert_allclose(net.predict_proba(X), plain.predict_proba(X), rtol=0, atol=SOLVED_TO)


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_a_linear_network_with_l2_is_scikit_learns_ridge_regression(l2):
    net = CNNRegressor(**SOLVED, l2=l2).fit(X, VALUES)
    plain = Ridge(alpha=len(X) * l2).fit(X, VALUES)
    np.testing.assert_allclose(net.predict(X), plain.predict(X), rtol=0, atol=SOLVED_TO)


@pytest.mark.slow
def test_larger_l1_brings_more_weights_near_zero():
    params = QUICK | {"max_epochs": 150, "learning_rate": 0.005}
    near_zero = [
        np.mean(np.abs(np.concatenate([w.ravel() for w in weights_of(net.module_)])) < 1e-3)
        for net in (CNNClassifier(**params, l1=l1).fit(X, LABELS) for l1 in (0, 1e-3, 1e-2, 1e-1))
    ]
    assert near_zero == sorted(near_zero)
    assert near_zero[0] < 0.1
    assert near_zero[-1] > 0.9


def test_larger_l2_makes_weights_smaller():
    params = QUICK | {"max_epochs": 60, "learning_rate": 0.02}
    norms = [
        sum((w**2).sum() for w in weights_of(CNNRegressor(**params, l2=l2).fit(X, VALUES).module_))
        for l2 in (0, 1e-2, 1e-1, 1)
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < norms[0] / 10


@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
def test_biases_and_norms_are_not_penalised(strengths):
    # One step from the same weights: the penalty may move nothing but convolution and dense weights.
    params = QUICK | {"max_epochs": 1, "batch_norm": True, "optimizer": "sgd", "batch_size": 20, "lr_schedule": None}
    free, penalised = (CNNClassifier(**params, **more).fit(X, LABELS).module_ for more in ({}, strengths))
    for one, other in zip(others_of(free), others_of(penalised), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(weights_of(free), weights_of(penalised), strict=True):
        assert not np.array_equal(one, other)


def test_without_penalties_none_is_computed(monkeypatch):
    def never(*args):
        raise AssertionError("a penalty's gradient was asked for")

    monkeypatch.setattr(stages, "add_penalty_gradients", never)
    net = CNNClassifier(**QUICK).fit(X, LABELS)
    assert (net.history_["penalty"] == 0).all()
    with pytest.raises(AssertionError):
        CNNClassifier(**QUICK, l1=1e-6).fit(X, LABELS)


@pytest.mark.parametrize("strengths", STRENGTHS, ids=str)
def test_the_training_loss_is_without_the_penalty(strengths):
    params = ONE_LAYER | {"learning_rate": 1e-300, "optimizer": "sgd"}
    free, penalised = (CNNClassifier(**params, **more).fit(X, LABELS).history_ for more in ({}, strengths))
    assert free["train_loss"].tolist() == penalised["train_loss"].tolist()
    assert penalised["penalty"].iloc[0] > 0
