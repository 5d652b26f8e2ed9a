"""Warnings of data and settings from which a network learns nothing, and targets with values far from the others."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.data.batches import Rows
from sklcnn.tasks.learn import learn_labels, learn_values
from sklcnn.training.health import loss_of_constant

RANDOM = np.random.RandomState(0)
LABELS = np.array(["a", "b", "c"])[np.arange(120) % 3]
X = RANDOM.normal(size=(120, 24)).astype(np.float32)
for number in range(3):
    X[LABELS == "abc"[number], 6 * number : 6 * number + 6] += 2
PARAMS = {"filters": (8,), "dense_units": (16,), "batch_size": 64, "random_state": 0}
NOTHING = "the network has learnt next to nothing: its training loss is"


def silent(net, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return net.fit(*args, **kwargs)


def test_a_few_values_beyond_all_others_are_warned_of_by_what_is_learnt():
    assert silent(CNNClassifier(**PARAMS), X, LABELS).score(X, LABELS) > 0.9
    spiked = X.copy()
    spiked[:6, 5] = 1e5
    with pytest.warns(UserWarning, match=f"CNNClassifier: ({NOTHING}|the network has died).*a few values of X or y"):
        CNNClassifier(**PARAMS).fit(spiked, LABELS)


def test_a_rate_that_is_too_small_for_sgd_is_named():
    params = PARAMS | {"filters": (8, 16, 16), "optimizer": "sgd", "learning_rate": 1e-5}
    with pytest.warns(UserWarning, match=f"CNNClassifier: {NOTHING}.*Raise learning_rate: sgd wants 0.01 to 0.1"):
        CNNClassifier(**params).fit(X, LABELS)


def test_of_a_run_that_is_meant_to_be_short_nothing_is_said():
    y = X[:, 0]
    silent(CNNRegressor(**PARAMS, max_epochs=100, learning_rate=1e-9), X, y)  # 200 updates
    for max_epochs, batch_size in (("auto", 64), (20, 2)):
        with pytest.warns(UserWarning, match=f"CNNRegressor: {NOTHING}"):
            net = CNNRegressor(**PARAMS | {"batch_size": batch_size}, max_epochs=max_epochs, learning_rate=1e-9)
            net.fit(X, y)


def test_noise_that_is_learnt_by_heart_is_learnt():
    silent(CNNClassifier(**PARAMS, learning_rate=0.01), X[:, :12], RANDOM.permutation(LABELS))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_best_constant_of_classes_has_their_shares(smoothing):
    task = learn_labels(np.repeat(["a", "b", "c"], [60, 30, 10]), "CNNClassifier")
    weights = torch.cat([torch.ones(60), torch.full((40,), 2.0)])
    rows = Rows(None, torch.arange(100), torch.tensor([0] * 60 + [1] * 30 + [2] * 10), weights)
    loss = loss_of_constant(task.make_loss("cross_entropy", "", label_smoothing=smoothing), rows)
    shares = np.array([60, 60, 20]) / 140 * (1 - smoothing) + smoothing / 3
    assert loss == pytest.approx(entropy(shares))


def test_the_best_constant_of_values_is_their_mean():
    y = RANDOM.gamma(1, size=(50, 2))
    task = learn_values(y, "CNNRegressor").trained_on(y, slice(None), np.ones(50), "CNNRegressor")
    rows = Rows(None, torch.arange(50), task.encode(y, "CNNRegressor", torch.float64), None)
    assert loss_of_constant(task.make_loss("squared_error", ""), rows) == pytest.approx(1)
    assert loss_of_constant(task.make_loss("absolute_error", ""), rows) is None


# Outliers of y.


@pytest.mark.parametrize("loss", ["absolute_error", "quantile"])
@pytest.mark.parametrize("outlier", [1e3, 1e6])
def test_a_few_wrong_values_of_y_do_not_hide_the_others(loss, outlier):
    y = X[:, :6].sum(1)
    wrong = y.copy()
    wrong[[5, 50, 100]] = outlier
    params = PARAMS | {"max_epochs": 100, "learning_rate": 0.01}
    net = CNNRegressor(**params, loss=loss).fit(X, wrong)
    right = np.delete(np.arange(120), [5, 50, 100])
    assert net.score(X[right], y[right]) > 0.8


def standardised(y, weights=None, *, robust=True):
    draft = learn_values(y, "CNNRegressor", robust=robust)
    return draft.trained_on(y, slice(None), np.ones(len(y)) if weights is None else weights, "CNNRegressor")


def test_weight_2_is_the_row_twice_in_median_and_quartiles():
    y, weights = RANDOM.normal(size=(31, 2)), np.arange(31) % 3 + 1
    y[3] = 1e4
    weighted = standardised(y, weights.astype(float))
    repeated = standardised(np.repeat(y, weights, axis=0))
    np.testing.assert_array_equal(weighted.mean, repeated.mean)
    np.testing.assert_array_equal(weighted.deviation, repeated.deviation)


def test_median_and_quartiles_are_numpys():
    y = RANDOM.gamma(1, size=(101, 2))
    y[7:9] = 1e6
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(standardised(y).mean, middle)
    np.testing.assert_allclose(standardised(y).deviation, (high - low) / 1.349)


@pytest.mark.parametrize(
    "draw", [RANDOM.normal, RANDOM.uniform, RANDOM.exponential, RANDOM.lognormal], ids=lambda draw: draw.__name__
)
def test_without_values_far_from_the_others_mean_and_deviation_stay(draw):
    y = draw(size=200)
    robust, plain = standardised(y), standardised(y, robust=False)
    assert (robust.mean, robust.deviation) == (plain.mean, plain.deviation)


@pytest.mark.parametrize(("n_same", "spread"), [(80, "that of nine tenths"), (96, "the deviation")])
def test_where_most_values_are_the_same_the_others_tell_the_unit(n_same, spread):
    y = np.r_[np.zeros(n_same), 5 + np.arange(100 - n_same)]
    y[-1] = 1e4
    robust, plain = standardised(y), standardised(y, robust=False)
    expected = plain.deviation if spread == "the deviation" else (5 + 14) / 3.29
    np.testing.assert_allclose(robust.deviation, expected)
    assert robust.mean == (plain.mean if spread == "the deviation" else 0)
