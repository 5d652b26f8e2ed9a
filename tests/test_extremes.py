"""Values near the ends of what floats hold, and numbers of unusual types."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklcnn import CNNClassifier, CNNRegressor

N = 12
RANDOM = np.random.RandomState(0)
SIGNALS = RANDOM.normal(size=(N, 20))
LABELS = np.arange(N) % 3
QUICK = {"filters": 4, "dense_units": 4, "max_epochs": 1, "random_state": 0, "device": "cpu"}
BIGGEST = np.finfo(np.float64).max


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("X", [SIGNALS / np.abs(SIGNALS).max() * BIGGEST, SIGNALS * 1e200, SIGNALS * 1e-300])
def test_values_that_leave_nothing_to_compute_with_are_refused(X, precision, refuses):
    cnn = CNNClassifier(**QUICK, precision=precision)
    with refuses(cnn, rf"computes in {precision}\. Scale X, such as X / np\.abs\(X\)\.max\(\)"):
        cnn.fit(X, LABELS)
    cnn.fit(X / np.abs(X).max(), LABELS)


def test_the_largest_float32_is_refused_and_half_precision_is_not(refuses):
    X = SIGNALS / np.abs(SIGNALS).max()
    largest = np.finfo(np.float32).max
    cnn = CNNClassifier(**QUICK).fit((X * float(np.finfo(np.float16).max)).astype(np.float16), LABELS)
    for X_large in ((X * largest).astype(np.float32), [np.full((row % 2 + 4, 5), largest) for row in range(N)]):
        with refuses(cnn, "too large for.* float32"):
            cnn.fit(X_large, LABELS)


def test_what_float64_holds_is_trained_on_in_float64():
    probabilities = [
        CNNClassifier(**QUICK, precision="float64").fit(X, LABELS).predict_proba(X)
        for X in (SIGNALS, SIGNALS * 2.0**300)
    ]
    assert_array_equal(*probabilities)  # a power of two changes no digit


def test_differences_that_float32_loses_are_named():
    X = SIGNALS + 1e9
    with pytest.warns(UserWarning, match=r"rounds them by up to .*precision=.float64"):
        CNNClassifier(**QUICK).fit(X, LABELS)
    CNNClassifier(**QUICK, precision="float64").fit(X, LABELS)
    CNNClassifier(**QUICK).fit(np.full_like(X, 1e9 + 0.3), LABELS)  # nothing to lose
    X = 2.0**55 + 8 * np.round(8 * SIGNALS)  # which differ in float64's last digits
    with pytest.warns(UserWarning, match=r"rounds them by up to .*precision=.float64"):
        CNNClassifier(**QUICK).fit(X, LABELS)


@pytest.mark.parametrize("exponent", [-1040, -600, 600])
def test_targets_of_any_size_are_standardised(exponent):
    y = np.round(RANDOM.normal(size=N) * 64)
    expected = CNNRegressor(**QUICK).fit(SIGNALS, y).predict(SIGNALS)
    scaled = CNNRegressor(**QUICK).fit(SIGNALS, y * 2.0**exponent).predict(SIGNALS)
    # Where they are larger than float32 holds, predictions are in float64: the digits beyond float32's differ.
    np.testing.assert_allclose(scaled / 2.0**exponent, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "sample_weight", "params", "message"),
    [
        ((LABELS - 1) * BIGGEST, None, {}, "y holds values up to .* too large"),
        (LABELS, np.full(N, BIGGEST), {}, "sample_weight reaches .* too large"),
    ],
)
def test_targets_and_weights_too_large_to_add_up_are_refused(y, sample_weight, params, message, refuses):
    regressor = CNNRegressor(**QUICK, **params)
    with refuses(regressor, message):
        regressor.fit(SIGNALS, y, sample_weight)


def test_class_weights_too_large_to_add_up_are_refused(refuses):
    cnn = CNNClassifier(**QUICK, class_weight={0: BIGGEST, 1: BIGGEST, 2: 1})
    with refuses(cnn, "sample_weight times class_weight.*too large"):
        cnn.fit(SIGNALS, LABELS)


def test_balanced_class_weights_of_weights_far_apart_are_refused_without_a_warning(refuses):
    cnn = CNNClassifier(**QUICK, class_weight="balanced")
    with refuses(cnn, "class_weight must not be negative or infinite; got \"?'?balanced"):
        cnn.fit(SIGNALS, LABELS, np.where(LABELS == 0, 1e-300, 1e30))


# Fractions are numbers

FRACTIONS = {
    "learning_rate": Fraction(1, 512),
    "dropout": Fraction(1, 4),
    "conv_dropout": Fraction(1, 4),
    "l1": Fraction(1, 1024),
    "l2": Fraction(1, 1024),
    "label_smoothing": Fraction(1, 8),
    "validation_fraction": Fraction(1, 2),
    "optimizer_params": {"weight_decay": Fraction(1, 8), "betas": (Fraction(7, 8), Fraction(63, 64))},
    "augmentation": {"noise": Fraction(1, 8), "mixup": Fraction(1, 4)},
    "class_weight": {0: Fraction(1, 2), 1: Fraction(1), 2: Fraction(2)},
}


def as_float(value):
    if isinstance(value, dict):
        return {key: as_float(entry) for key, entry in value.items()}
    return tuple(map(as_float, value)) if isinstance(value, tuple) else float(value)


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.filterwarnings("ignore:.*early_stopping judges")
def test_a_fraction_is_the_number_that_it_is(name):
    params = QUICK | ({"early_stopping": True} if name == "validation_fraction" else {})
    given, plain = FRACTIONS[name], as_float(FRACTIONS[name])
    cnn = CNNClassifier(**params, **{name: given}).fit(SIGNALS, LABELS)
    assert cnn.get_params()[name] is given
    assert_array_equal(
        cnn.predict_proba(SIGNALS), CNNClassifier(**params, **{name: plain}).fit(SIGNALS, LABELS).predict_proba(SIGNALS)
    )


@pytest.mark.parametrize(
    "names", [[Fraction(1, 3), Fraction(2, 3), Fraction(1)], [10**30, 10**30 + 1, 10**31], [1, Fraction(3, 2), 2]]
)
@pytest.mark.parametrize("form", [list, lambda y: pd.Series(y, dtype=object)])
def test_fractions_and_huge_integers_are_labels(names, form):
    y = [names[code] for code in LABELS]
    cnn = CNNClassifier(**QUICK).fit(SIGNALS, form(y))
    assert cnn.classes_.tolist() == sorted(names)
    assert set(cnn.predict(SIGNALS)) <= set(names)
    assert_array_equal(cnn.predict_proba(SIGNALS), CNNClassifier(**QUICK).fit(SIGNALS, LABELS).predict_proba(SIGNALS))


@pytest.mark.parametrize(
    "y", [[b"a", b"b", b"c"], np.array([b"a", b"b", b"c"]), np.array([b"a", b"b", b"c"], object)], ids=str
)
def test_bytes_are_no_labels(y, refuses):
    cnn = CNNClassifier(**QUICK)
    with refuses(cnn, r"y holds bytes.*\[label\.decode\(\) for label in y\]", kinds=(TypeError,)):
        cnn.fit(SIGNALS, list(y) * 4 if isinstance(y, list) else np.tile(y, 4))


# Labels of mixed types


@pytest.mark.parametrize("labels", [["a", 1], ["a", None], [b"a", "a"], [True, "x"]])
@pytest.mark.parametrize("form", [list, lambda values: pd.Series(values, dtype=object), lambda v: np.array(v, object)])
def test_groups_of_mixed_types_are_refused(labels, form, refuses):
    cnn = CNNClassifier(**QUICK, early_stopping=True)
    with refuses(cnn, "groups must hold labels of one type, but mixes", kinds=(TypeError,)):
        cnn.fit(SIGNALS, LABELS, groups=form(labels * 6))


def test_a_list_of_labels_of_mixed_types_is_refused(refuses):
    cnn = CNNClassifier(**QUICK)
    with refuses(cnn, "mix .*'int', 'str'", kinds=(TypeError,)):
        cnn.fit(SIGNALS, ["a", 1, 2] * 4)


@pytest.mark.parametrize("groups", [np.arange(24).reshape(N, 2), [(row, row) for row in range(N)]])
def test_groups_of_several_columns_are_refused(groups, refuses):
    cnn = CNNClassifier(**QUICK, early_stopping=True)
    with refuses(cnn, r"groups has shape \(12, 2\)\. Pass one label a row"):
        cnn.fit(SIGNALS, LABELS, groups=groups)
