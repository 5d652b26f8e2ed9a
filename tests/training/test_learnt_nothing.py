"""Warnings of data and settings from which a network learns nothing, and targets with values far from the others."""

import warnings

import numpy as np
import pytest
import torch
from marks import slow_but
from scipy.stats import entropy

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.data.batches import Rows
from sklcnn.data.stores import Statistics
from sklcnn.fitting.diagnosis import CODED, CODED_TARGETS, _warn_of_scale, find_code, most_and_farthest
from sklcnn.tasks.learn import learn_labels, learn_values
from sklcnn.training.health import loss_of_constant

RANDOM = np.random.RandomState(0)
OTHERS = np.random.RandomState(2)
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
    assert loss_of_constant(task.make_loss("huber", ""), rows) is None


@pytest.mark.parametrize(("loss", "options"), [("absolute_error", {}), ("quantile", {"quantile": 0.2})])
def test_the_best_constant_of_a_robust_loss_is_a_weighted_quantile(loss, options):
    y, weights = RANDOM.gamma(1, size=(50, 2)), np.arange(50) % 3 + 1.0
    task = learn_values(y, "CNNRegressor", robust=True).trained_on(y, slice(None), weights, "CNNRegressor")
    targets = task.encode(y, "CNNRegressor", torch.float64)
    criterion = task.make_loss(loss, "", **options)
    found = loss_of_constant(criterion, Rows(None, torch.arange(50), targets, torch.tensor(weights)))
    best = [
        min(np.average(criterion(one, column[:, None]).numpy(), weights=weights) for one in column)
        for column in targets.T
    ]
    assert found == pytest.approx(np.mean(best))


def test_a_network_that_is_worse_than_a_constant_is_warned_of():
    """Its outputs stay near the median of y, and the quantile is far from it."""
    with pytest.warns(UserWarning, match=f'CNNRegressor: {NOTHING}.*Where most of y is one value, loss="quantile"'):
        CNNRegressor(**PARAMS, loss="quantile", quantile=0.02, learning_rate=1e-9).fit(X, X[:, 0])


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


def standardised(y, weights=None, *, robust=True, huber=False):
    draft = learn_values(y, "CNNRegressor", robust=robust, huber=huber)
    return draft.trained_on(y, slice(None), np.ones(len(y)) if weights is None else weights, "CNNRegressor")


@pytest.mark.parametrize("loss", [{}, {"robust": False, "huber": True}], ids=["robust", "huber"])
def test_weight_2_is_the_row_twice_in_median_and_distance(loss):
    y, weights = RANDOM.normal(size=(31, 2)), np.arange(31) % 3 + 1
    y[3] = 1e4
    weighted = standardised(y, weights.astype(float), **loss)
    repeated = standardised(np.repeat(y, weights, axis=0), **loss)
    np.testing.assert_array_equal(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.deviation, repeated.deviation, rtol=1e-12)


def mean_distance(y):
    """Return the unit of values none of which is far, and whose median is that of y."""
    return np.sqrt(np.pi / 2) * np.abs(y - np.median(y, axis=0)).mean(axis=0)


@pytest.mark.parametrize("n_wrong", [1, 5])
@pytest.mark.parametrize("factor", [100, 1e6, 1e299])
def test_a_few_values_far_from_the_others_do_not_count_in_the_unit(n_wrong, factor):
    y = RANDOM.uniform(1, 3, size=(101, 2))
    right = mean_distance(np.delete(y, slice(7, 7 + n_wrong), axis=0))
    y[7 : 7 + n_wrong] *= factor
    robust = standardised(y)
    np.testing.assert_allclose(robust.deviation, right, rtol=0.05)
    np.testing.assert_array_equal(robust.mean, np.quantile(y, 0.5, axis=0, method="inverted_cdf"))


@pytest.mark.parametrize("spread", [30, 1e4, 1e290])
def test_huber_is_linear_beyond_what_most_values_do_where_a_few_are_outliers(spread):
    y = np.random.RandomState(1).normal(size=(400, 2))
    y[::25, 1] *= spread  # a twenty-fifth, in all distances: no gap parts them from the others
    found, plain = standardised(y, robust=False, huber=True), standardised(y, robust=False)
    assert (found.mean[0], found.deviation[0]) == (plain.mean[0], plain.deviation[0])
    assert found.mean[1] == np.quantile(y[:, 1], 0.5, method="inverted_cdf")
    assert found.deviation[1] == pytest.approx(1.35, rel=0.15)


@pytest.mark.parametrize(
    "y",
    [
        OTHERS.uniform(size=200),
        OTHERS.exponential(size=200),
        np.where(np.arange(200) % 9 < 4, 0, OTHERS.gamma(2, size=200)),
        np.where(np.arange(200) % 20, 0, OTHERS.gamma(2, size=200)),
        np.r_[np.zeros(180), 100 + OTHERS.normal(size=20)],
    ],
    ids=["uniform", "exponential", "many zeros", "mostly zeros", "two groups"],
)
def test_huber_keeps_the_deviation_of_values_without_outliers(y):
    found, plain = standardised(y, robust=False, huber=True), standardised(y, robust=False)
    assert (found.mean, found.deviation) == (plain.mean, plain.deviation)


def test_huber_learns_the_values_that_are_right():
    random = np.random.RandomState(6)
    X = random.normal(size=(300, 12))
    y = X[:, :4].sum(1)
    wrong = y.copy()
    wrong[::20] += 300 * random.normal(size=15)
    net = CNNRegressor(loss="huber", filters=8, dense_units=(), max_epochs=100, random_state=0)
    assert net.fit(X[:200], wrong[:200]).score(X[200:], y[200:]) > 0.8


def peaks(n, size=16, width=4):
    """Return noisy pictures (n, size, size) of a peak, and maps (n, size**2 / 4) of where it is."""
    random, grid = np.random.default_rng(0), np.arange(size)
    down, right = random.uniform(1, size - 1, (2, n, 1, 1))
    pictures = np.exp(-((grid[:, None] - down) ** 2 + (grid - right) ** 2) / width)
    return pictures + 0.3 * random.normal(size=pictures.shape), pictures[:, 1::2, 1::2].reshape(n, -1)


@pytest.mark.parametrize(
    "y",
    [
        np.exp(2 * RANDOM.normal(size=201)),
        np.where(np.arange(201) % 20, 0, RANDOM.gamma(2, size=201)),
        np.r_[np.zeros(180), 100 + RANDOM.normal(size=21)],
        peaks(301)[1][:, [0, 3, 7]],
    ],
    ids=["log-normal", "mostly zeros", "two groups", "pixels of peaks"],
)
def test_values_that_are_many_or_grow_rarer_count_in_the_unit(y):
    np.testing.assert_allclose(standardised(y).deviation, mean_distance(y))


@pytest.mark.parametrize(
    "draw", [RANDOM.normal, RANDOM.uniform, RANDOM.exponential, RANDOM.lognormal], ids=lambda draw: draw.__name__
)
def test_without_values_far_from_the_others_mean_and_deviation_stay(draw):
    y = draw(size=200)
    robust, plain = standardised(y), standardised(y, robust=False)
    assert (robust.mean, robust.deviation) == (plain.mean, plain.deviation)


@pytest.mark.parametrize(("n_same", "counts"), [(80, False), (96, True)])
def test_where_nearly_all_values_are_the_same_none_of_the_others_is_far(n_same, counts):
    y = np.r_[np.zeros(n_same), 5 + np.arange(100 - n_same)]
    y[-1] = 1e4
    np.testing.assert_allclose(standardised(y).deviation, mean_distance(y if counts else y[:-1]))


@pytest.mark.parametrize("loss", slow_but(["absolute_error", "quantile"], ["absolute_error"]))
def test_maps_of_peaks_are_learnt_no_worse_than_medians(loss):
    pictures, maps = peaks(600)
    net = CNNRegressor(spatial_dims=2, filters=(8, 16), loss=loss, random_state=0)
    net.fit(pictures[:100], maps[:100])
    errors = np.abs(net.predict(pictures[100:]) - maps[100:]).mean()
    assert errors < 1.1 * np.abs(maps[100:] - np.median(maps[:100], axis=0)).mean()


# Causes that numbers tell.

LONG = {"filters": (8,), "dense_units": (16,), "random_state": 0}


def warnings_of(net, *args, **validation):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.fit(*args, **validation)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("bad", [-9999.0, 1e6])
def test_values_that_stand_for_missing_ones_are_named(bad):
    spoilt = X.copy()
    spoilt[[3, 40], [5, 9]] = bad
    found = " ".join(warnings_of(CNNClassifier(**LONG), spoilt, LABELS))
    assert "has learnt" in found or "has died" in found
    if "has died" not in found:  # which is named first
        assert f"row 3 of X, position 5, holds {bad:.6g}, where 99.5% of the values are from -" in found


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_codes_of_missing_values_are_named_however_low_the_training_loss_is(share):
    """A network learns by heart where they are."""
    spoilt = np.where(np.random.RandomState(1).random_sample(X.shape) < share, -9999, X)
    (found,) = warnings_of(CNNClassifier(**LONG), spoilt, LABELS)
    row, position = np.argwhere(spoilt == -9999)[0]
    if "has died" not in found:  # which is named first
        assert f"row {row} of X, position {position}, holds -9999, where 9" in found


def test_codes_among_targets_are_named_after_a_short_run_too():
    y = X[:, 20:].sum(1)
    y[[7, 20, 50, 90]] = -999
    (found,) = warnings_of(CNNRegressor(**LONG, max_epochs=2), X, y)
    assert "CNNRegressor: 4 values of y are -999, such as that in row 7, far from all others" in found
    (found,) = warnings_of(CNNRegressor(**LONG, max_epochs=2), X, np.column_stack([X[:, 0], y]))
    assert "4 values of column 1 of y are -999" in found
    weights = (y > -999).astype(float)
    assert warnings_of(CNNRegressor(**LONG, max_epochs=2), X, y, weights) == []
    assert warnings_of(CNNRegressor(**LONG, max_epochs=2, loss="absolute_error"), X, y) == []


@pytest.mark.parametrize("code", [-999.25, -9999, 9999, 1e20, -3.4e38])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_one_value_far_from_all_others_is_a_code(code, share):
    values = np.where(RANDOM.random_sample((200, 40)) < share, code, RANDOM.normal(size=(200, 40)))
    assert find_code(values, CODED) == code


def healthy():
    """Return values (300, 60) of kinds that a network learns from."""
    shape, random = (300, 60), np.random.RandomState(0)
    normal, uniform = random.normal(size=shape), random.random_sample(shape)
    few, half = uniform < 0.05, uniform < 0.5
    return {
        "normal": normal,
        "binary": 1000.0 * few,
        "one-hot codes and noise": 1000 * np.eye(60)[random.randint(0, 60, 300)] + normal,
        "levels of rows": 1000 * random.normal(size=(300, 1)) + normal,
        "one value": np.full(shape, 1000.0),
        "sparse": np.where(few, random.gamma(2, 1000, shape), 0),
        "sparse, alike": np.where(few, 1000 + normal, 0),
        "spikes": np.where(few, 1e5 * uniform, 0) + normal,
        "glitch": np.where(np.arange(60) == 7, 1e6, 0) * (np.arange(300)[:, None] == 7) + normal,
        "saturated above": np.minimum(np.exp(7 + 1.5 * normal), 4095).round(),
        "saturated on both sides": (3e4 * normal).clip(-32768, 32767).round(),
        "nearly all saturated": (1e4 * normal).clip(-500, 500),
        "counts": random.poisson(0.5, shape).astype(float),
        "many counts": random.negative_binomial(1, 0.001, shape).astype(float),
        "counts among zeros": np.where(few, random.poisson(500, shape), 0),
        "log-normal": np.exp(5 * normal),
        "Cauchy": random.standard_cauchy(shape),
        "whole numbers with a tail": np.floor(random.pareto(0.7, shape)),
        "silhouettes, white": np.where(half, 255, random.randint(0, 3, shape)),
        "silhouettes, black": np.where(half, 0, 254 + 0.3 * normal),
        "computed tomography": np.where(half, -1024, 40 + 150 * normal),
        "decibels": np.where(half, -120, -40 + 10 * normal),
        "logarithms of zeros": np.log(np.where(half, 0, uniform) + 1e-30),
        "padded numbers of words": np.where(half, -1, random.randint(0, 5000, shape)),
        "censored days": np.where(half, 365, random.gamma(2, 5, shape)),
    }


@pytest.mark.parametrize("kind", healthy())
def test_healthy_values_hold_no_code(kind):
    values = healthy()[kind].astype(float)
    assert find_code(values, CODED) is None
    assert find_code(values[:, 7], CODED_TARGETS) is None


@pytest.mark.parametrize("share", [0.001, 0.015])
def test_a_few_values_in_all_sizes_that_dwarf_all_others_are_found(share):
    random = np.random.RandomState(3)
    values = random.normal(size=(200, 50))
    hot = random.uniform(size=values.shape) < share
    values[hot] = random.uniform(200, 4000, hot.sum())
    most, place = most_and_farthest(values)
    assert values.flat[place] == values.max()
    assert most.max() < 200
    assert most_and_farthest(random.exponential(size=values.shape)) is None


@pytest.mark.parametrize("early_stopping", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("holds", [False, True])
def test_what_holds_for_training_rows_alone_is_warned_of(early_stopping, holds):
    random = np.random.RandomState(5)
    rows = random.normal(size=(150, 16))
    y = (rows[:, :8].sum(1) > 0).astype(int) if holds else np.arange(150) % 2
    n_train, validation = (150, {}) if early_stopping else (100, {"X_val": rows[100:], "y_val": y[100:]})
    network = CNNClassifier(**LONG | {"filters": 4}, early_stopping=early_stopping, validation_fraction=0.3)
    found = " ".join(warnings_of(network, rows[:n_train], y[:n_train], **validation))
    told = "learnt next to nothing that holds for other rows: its least validation loss is" in found
    assert told != holds


def test_of_few_validation_rows_nothing_is_said():
    random = np.random.RandomState(5)
    rows = random.normal(size=(120, 24))
    assert warnings_of(CNNClassifier(**LONG), rows[:100], LABELS[:100], X_val=rows[100:], y_val=LABELS[100:]) == []


def test_too_few_updates_for_the_training_rows_are_warned_of():
    rows, y = X[:60], (X[:60, :6].sum(1) > 0).astype(int)
    slow = {"filters": 2, "dense_units": (), "learning_rate": 2e-5, "random_state": 0}
    (found,) = warnings_of(CNNClassifier(**slow), rows, y)
    assert "has learnt next to nothing" in found or "has not learnt its training rows yet" in found
    (found,) = warnings_of(CNNClassifier(**slow | {"learning_rate": 2e-4, "l2": 1e-4}), rows, y)
    assert "has not learnt its training rows yet: its training loss is 0." in found
    assert "Of so few rows 200 epochs are 200 updates: raise max_epochs or learning_rate" in found
    assert warnings_of(CNNClassifier(**slow | {"learning_rate": 2e-4, "max_epochs": 200}), rows, y) == []
    assert warnings_of(CNNClassifier(**slow | {"learning_rate": 2e-2}), rows, y) == []


@pytest.mark.parametrize("loss", ["absolute_error", "quantile"])
def test_wrong_values_that_a_loss_does_not_heed_make_no_network_look_poor(loss):
    y = X[:, :6].sum(1)
    y[[7, 70]] = 1e4
    network = CNNRegressor(**LONG, loss=loss)
    assert warnings_of(network, X, y) == []
    assert network.score(np.delete(X, [7, 70], 0), np.delete(y, [7, 70])) > 0.8


def test_a_wrong_value_of_y_is_named():
    y = X[:, :6].sum(1) + 10
    wrong = y.copy()
    wrong[7] *= 10
    (found,) = warnings_of(CNNRegressor(**LONG), X, wrong)
    assert f"CNNRegressor: a few values of y, such as {wrong[7]:.6g}, are far from the others" in found
    assert warnings_of(CNNRegressor(**LONG, loss="absolute_error"), X, wrong) == []
    (found,) = warnings_of(CNNRegressor(**LONG), X, np.column_stack([y, wrong]))
    assert "a few values of column 1 of y" in found


def test_a_wrong_value_of_y_is_named_by_the_row_that_trains():
    y, weights = X[:, :6].sum(1) + 10, np.arange(120) % 4
    y[7] = -9999
    found = warnings_of(CNNRegressor(**LONG, early_stopping=True), X, y, weights)
    assert any("a few values of y, such as -9999, are far" in one for one in found)


@pytest.mark.parametrize(
    "y",
    [
        np.exp(RANDOM.normal(0, 0.8, 120)),
        np.exp(RANDOM.normal(0, 2, 120)),
        np.where(np.arange(120) % 10, 0, RANDOM.gamma(1, size=120)),
        RANDOM.exponential(size=120),
        RANDOM.poisson(0.5, 120),
        np.r_[np.zeros(115), np.ones(5)],
        X[:, 0],
    ],
    ids=["log-normal", "long tail", "mostly zeros", "exponential", "counts", "rare ones", "normal"],
)
def test_of_targets_with_a_tail_nothing_is_said(y):
    assert not [found for found in warnings_of(CNNRegressor(**LONG), X, y) if "a few values of y, such as" in found]


def test_of_maps_of_peaks_nothing_is_said():
    silent(CNNRegressor(spatial_dims=2, filters=(8,), random_state=0), *peaks(120))


def test_large_numbers_as_they_come_are_warned_of():
    (found,) = warnings_of(CNNClassifier(**LONG, standardize=False), 1e5 * X, LABELS)
    assert "CNNClassifier: X holds values up to" in found or "has learnt" in found or "has died" in found
    assert warnings_of(CNNClassifier(**LONG, standardize=False), 10 * X, LABELS) == []


def test_a_factor_of_values_far_from_zero_is_warned_of():
    (found,) = warnings_of(CNNRegressor(**LONG, augmentation=("noise", {"scale": 0.05})), X + 300, X[:, :6].sum(1))
    assert 'CNNRegressor: augmentation="scale" multiplies samples by up to 1.05' in found
    assert "about 300 with a deviation of 1" in found


@pytest.mark.parametrize(
    ("augmentation", "mean"),
    [("scale", [0, 0]), ("scale", [5, -5]), ({"scale": 0.001}, [300, 300]), ("noise", [300, 300]), ("scale", [5, 1e9])],
    ids=str,
)
def test_of_a_factor_that_moves_samples_by_little_nothing_is_said(augmentation, mean):
    found = Statistics(torch.tensor(mean).double(), torch.tensor([1.0, float(mean[1] < 1e9)]), *torch.zeros(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_of_scale("CNNRegressor", augmentation, found)


def test_chunks_in_another_unit_are_warned_of():
    y = X[:, :6].sum(1)
    net = CNNRegressor(**LONG).partial_fit(X[:60], y[:60])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.partial_fit(X[60:], 3 * y[60:])
    with pytest.warns(UserWarning, match=r"CNNRegressor: X is standardised as in the first call"):
        net.partial_fit(1000 * X[60:], y[60:])
    with pytest.warns(UserWarning, match=r"CNNRegressor: y is standardised as in the first call"):
        net.partial_fit(X[60:], 1000 * y[60:])
