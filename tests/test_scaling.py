"""What hides the differences between samples, their levels or what all share, is taken off: shapes are learnt."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor

TINY = {"filters": 4, "dense_units": (), "max_epochs": 1, "random_state": 0}


def bumps(n, level, seed=0):
    """Return signals with a bump, its width, and a level of their own."""
    random = np.random.default_rng(seed)
    widths, places = random.uniform(1.5, 5, n), random.uniform(8, 16, n)
    X = np.exp(-(((np.arange(24) - places[:, None]) / widths[:, None]) ** 2)) + random.normal(0, 0.1, (n, 24))
    return X + level * random.normal(size=(n, 1)), widths


def images(n, levels, seed=0):
    """Return noise (n, 4, 5, c) with levels of these deviations, one a channel."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, 4, 5, len(levels))) + levels * random.normal(size=(n, 1, 1, len(levels)))


def fit(X, weights=None, **params):
    """Fit to X (n, *positions, c)."""
    params = TINY | {"spatial_dims": X.ndim - 2, "data_format": "channels_last"} | params
    return CNNClassifier(**params).fit(X, np.arange(len(X)) % 2, weights)


def standardised(cnn, X):
    """Return what the blocks of a fitted network are given, channels last."""
    inputs = torch.from_numpy(np.moveaxis(X, -1, 1)).float()
    return np.moveaxis(cnn.module_.standardize(inputs).numpy(), 1, -1)


@pytest.mark.parametrize("level", [3, 10, 1000])
@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_shapes_are_learnt_under_levels(estimator, level):
    X, widths = bumps(420, level)
    y = widths > 3.2 if estimator is CNNClassifier else widths
    cnn = estimator(filters=(8, 16), dense_units=(32,), max_epochs=60, random_state=0).fit(X[:120], y[:120])
    assert cnn.score(X[120:], y[120:]) > (0.8 if estimator is CNNClassifier else 0.6)


@pytest.mark.parametrize("jitter", [0.001, 0.03, 0.2])
def test_a_level_that_is_the_answer_is_learnt(jitter):
    random = np.random.default_rng(0)
    level = random.normal(size=320)
    X = level[:, None] + jitter * random.normal(size=(320, 24))
    cnn = CNNRegressor(filters=(8, 16), dense_units=(32,), max_epochs=60, random_state=0).fit(X[:120], level[:120])
    assert cnn.score(X[120:], level[120:]) > 0.95


def test_levels_come_down_to_what_is_within_and_other_channels_stay():
    X = images(60, [0, 50, 0.5])
    cnn = fit(X)
    seen, before = standardised(cnn, X), (X - X.mean((0, 1, 2))) / X.std((0, 1, 2))
    np.testing.assert_allclose(seen[..., [0, 2]], before[..., [0, 2]], atol=1e-4)
    assert seen[..., 1].std() == pytest.approx(1, abs=0.02)
    levels = seen[..., 1].mean((1, 2))
    assert levels.std() == pytest.approx(seen[..., 1].std((1, 2)).mean(), rel=0.05)
    assert np.corrcoef(levels, X[..., 1].mean((1, 2)))[0, 1] > 0.999


def test_what_all_samples_share_is_taken_off():
    pattern = 300 * np.sin(np.arange(20) / 2).reshape(4, 5, 1)
    X = images(60, [1, 1])
    X[..., 1:] += pattern
    seen = standardised(fit(X), X)
    np.testing.assert_allclose(seen[..., 0], (X[..., 0] - X[..., 0].mean()) / X[..., 0].std(), atol=1e-4)
    np.testing.assert_allclose(seen[..., 1].mean(0), 0, atol=1e-4)
    differing = X[..., 1] - X[..., 1].mean(0)
    assert np.corrcoef(seen[..., 1].ravel(), differing.ravel())[0, 1] > 0.98
    assert seen[..., 1].std() == pytest.approx(1, abs=0.02)


def test_shapes_are_learnt_on_what_all_samples_share():
    X, widths = bumps(420, 0)
    X += 300 * np.sin(np.arange(24) / 2)
    cnn = CNNRegressor(filters=(8, 16), dense_units=(32,), max_epochs=60, random_state=0)
    assert cnn.fit(X[:120], widths[:120]).score(X[120:], widths[120:]) > 0.8


def test_what_augmentations_may_move_is_not_taken_off():
    X = images(60, [20]) + 50 * np.sin(np.arange(20) / 2).reshape(4, 5, 1)
    first = fit(X, augmentation="flip").module_.standardize
    assert first.shared is None
    assert first.kept is not None


@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_is_not_hidden_is_standardised_as_ever(level):
    X = images(60, [0, level])
    first = fit(X).module_.standardize
    assert first.kept is None
    assert first.shared is None
    np.testing.assert_allclose(first.mean.flatten(), X.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(first.deviation.flatten(), X.std((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    "X",
    [
        np.arange(20.0).reshape(20, 1, 1),
        np.arange(20.0)[:, None, None] + np.zeros((20, 6, 1)),
        np.tile(np.sin(np.arange(24.0)), (20, 1))[..., None],
        1e4 + np.random.RandomState(0).randn(20, 12, 1),
    ],
    ids=["one position", "one value a sample", "all samples alike", "an offset"],
)
def test_without_differences_or_without_what_hides_them_nothing_is_taken_off(X):
    first = fit(X).module_.standardize
    assert first.kept is None
    assert first.shared is None


def test_a_row_counts_as_often_as_its_weight_says():
    X = images(40, [20, 1]) + 40 * np.sin(np.arange(20)).reshape(4, 5, 1)
    weights = np.random.RandomState(0).randint(1, 4, 40)
    weighed, repeated = (fit(*data).module_.standardize for data in ((X, weights), (X.repeat(weights, axis=0),)))
    for name, buffer in repeated.named_buffers():
        torch.testing.assert_close(getattr(weighed, name), buffer, rtol=1e-4, atol=1e-4)
    assert {"shared", "kept"} <= dict(repeated.named_buffers()).keys()


def test_copies_and_chunks_go_on_by_it():
    X, widths = bumps(60, 30)
    X += 40 * np.sin(np.arange(24))
    cnn = CNNRegressor(**TINY).partial_fit(X, widths)
    for made in (copy.deepcopy(cnn), pickle.loads(pickle.dumps(cnn))):
        np.testing.assert_array_equal(made.predict(X), cnn.predict(X))
        np.testing.assert_array_equal(
            made.partial_fit(X, widths).predict(X), copy.deepcopy(cnn).partial_fit(X, widths).predict(X)
        )


def test_networks_of_ones_own_are_given_the_same():
    X, widths = bumps(60, 30)
    X += 40 * np.sin(np.arange(24))
    own = CNNRegressor(**TINY, backbone=nn.Flatten(), freeze_epochs=1).fit(X, widths)
    blocks = CNNRegressor(**TINY).fit(X, widths)
    raw = torch.from_numpy(X[:, None]).float()
    torch.testing.assert_close(own.module_.backbone(raw), blocks.module_.standardize(raw).flatten(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(own)).predict(X), own.predict(X))
