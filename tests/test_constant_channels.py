"""A channel that is one value in all training rows is left out, whatever later rows hold, until it varies in some."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

QUICK = {"filters": 4, "dense_units": (), "max_epochs": 2, "random_state": 0}
AXES = {"data_format": "channels_last", "spatial_dims": 1}
LABELS = np.arange(24) % 2
SAID = "channel 1 of X was 101325 in all training rows, so that the network leaves it out; {} now holds values from "


def signals(constant=101325.0, seed=0):
    """Return signals whose second channel is constant, and the same with another value at each place of it."""
    random = np.random.RandomState(seed)
    dead = random.randn(24, 20, 3) + LABELS[:, None, None]
    dead[..., 1] = constant
    alive = dead.copy()
    alive[..., 1] += 1000 * random.randn(24, 20)
    return dead, alive


def make(**params):
    return CNNClassifier(**QUICK | AXES | params)


def quietly(method, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(X)


NETWORKS = {
    "blocks": {},
    "float64": {"precision": "float64"},
    "bfloat16": {"precision": "bfloat16"},
    "a backbone": {"backbone": nn.Flatten()},
    "averages": {"weight_averaging": "ema"},
    "a refit": {"early_stopping": True, "validation_fraction": 0.5, "refit_full": True},
}


@pytest.mark.parametrize("params", NETWORKS.values(), ids=NETWORKS)
def test_what_a_constant_channel_holds_later_changes_no_answer(params):
    dead, alive = signals()
    cnn = make(**params).fit(dead, LABELS)
    np.testing.assert_array_equal(quietly(cnn.predict_proba, alive), cnn.predict_proba(dead))


def test_a_copy_leaves_it_out_too():
    dead, alive = signals()
    cnn = make().fit(dead, LABELS)
    expected = cnn.predict_proba(dead)
    copied = pickle.loads(pickle.dumps(cnn))
    with pytest.warns(UserWarning, match=SAID.format("X")):
        np.testing.assert_array_equal(copied.predict_proba(alive), expected)


CALLS = {
    "predict": lambda cnn, dead, alive: cnn.fit(dead, LABELS).predict(alive),
    "predict of one row": lambda cnn, dead, alive: cnn.fit(dead, LABELS).predict(alive[:1]),
    "another constant": lambda cnn, dead, alive: cnn.fit(dead, LABELS).predict(dead + 1),
    "score": lambda cnn, dead, alive: cnn.fit(dead, LABELS).score(alive, LABELS),
    "validation rows": lambda cnn, dead, alive: cnn.fit(dead, LABELS, X_val=alive, y_val=LABELS),
    "a donor": lambda cnn, dead, alive: CNNFeatures(backbone=cnn.fit(dead, LABELS)).fit(dead).transform(alive),
}


@pytest.mark.parametrize("call", CALLS)
def test_rows_in_which_it_holds_something_else_are_named(call):
    with pytest.warns(UserWarning, match=SAID.format("X_val" if call == "validation rows" else "X")):
        CALLS[call](make(), *signals())


@pytest.mark.parametrize("constant", [0.0, 0.1, 101325.123, -1e-9])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_value_gives_no_warning(constant, dtype):
    dead, _ = signals(constant)
    cnn = make().fit(dead, LABELS, X_val=dead.astype(dtype), y_val=LABELS)
    cnn.predict(dead.astype(dtype))
    cnn.predict(dead[:1])
    cnn.partial_fit(dead.astype(dtype), LABELS).predict(dead)


def test_without_standardisation_nothing_is_left_out():
    dead, alive = signals(constant=0.0)
    cnn = make(standardize=False).fit(dead, LABELS)
    assert np.any(cnn.predict_proba(alive) != cnn.predict_proba(dead))


@pytest.mark.parametrize("params", [{}, {"backbone": nn.Flatten()}], ids=["blocks", "a backbone"])
@pytest.mark.parametrize("call", ["partial_fit", "warm start"])
def test_it_is_seen_once_it_varies_in_a_further_call(call, params):
    dead, alive = signals()
    cnn = make(warm_start=call == "warm start", **params).fit(dead, LABELS)
    before, expected = copy.copy(cnn), cnn.predict_proba(dead)
    (cnn.partial_fit if call == "partial_fit" else cnn.fit)(alive, LABELS)
    assert np.any(cnn.predict_proba(alive) != cnn.predict_proba(dead))
    np.testing.assert_array_equal(quietly(before.predict_proba, alive), expected)


def test_it_is_measured_from_its_constant_by_what_rows_differ_by_as_often_as_they_count():
    dead, alive = signals()
    weights = np.random.RandomState(0).randint(1, 4, len(alive)).astype(float)
    cnn = make().partial_fit(dead, LABELS).partial_fit(alive, LABELS, sample_weight=weights)
    away = np.average(np.square(alive[..., 1] - 101325).mean(1), weights=weights) ** 0.5
    layer = cnn.module_.standardize
    np.testing.assert_allclose(layer.mean.flatten()[1], 101325)
    np.testing.assert_allclose(layer.deviation.flatten()[1], away, rtol=1e-5)


def test_rows_of_before_keep_their_outputs_when_a_channel_comes_in():
    dead, alive = signals()
    cnn = make().fit(dead, LABELS)
    expected = cnn.predict_proba(dead)
    cnn.set_params(learning_rate=1e-30, warm_start=True).fit(alive, LABELS)
    np.testing.assert_allclose(cnn.predict_proba(dead), expected, atol=1e-6)


def test_a_further_call_that_fails_leaves_it_out_as_before():
    dead, alive = signals()
    cnn = make(warm_start=True).fit(dead, LABELS)
    expected = cnn.predict_proba(dead)
    with pytest.raises(ValueError, match="not finite"):
        cnn.set_params(learning_rate=1e30).fit(alive, LABELS)
    with pytest.warns(UserWarning, match=SAID.format("X")):
        np.testing.assert_array_equal(cnn.predict_proba(alive), expected)


def test_chunks_that_begin_with_blank_ones_are_learnt():
    random = np.random.RandomState(0)
    y = random.rand(60)
    X = 200 * y[:, None, None] * random.rand(60, 6, 6)
    cnn = CNNRegressor(**QUICK, learning_rate=0.03, batch_size=10).partial_fit(np.zeros((10, 6, 6)), y[:10])
    for _ in range(15):
        cnn.partial_fit(X, y)
    assert cnn.score(X, y) > 0.9


def test_one_value_alone_is_no_cause_for_a_word_in_fit():
    X = np.full((24, 20), 3.0)
    make(data_format="auto").fit(X, LABELS).predict(X)
