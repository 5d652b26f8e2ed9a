"""What random examples have found, each by its name: laws that did not hold."""

import threading
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(12, 6))
LABELS = np.arange(12) % 3
ESTIMATORS = {CNNClassifier: LABELS, CNNRegressor: X[:, 0]}
QUICK = {"filters": 2, "dense_units": 2, "max_epochs": 1, "random_state": 0}


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return request.param(**QUICK)


def y_of(estimator):
    return ESTIMATORS[type(estimator)]


class Wrapped:
    """What can become an array, and nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)

    def __len__(self):
        return len(self.values)


# Errors of scikit-learn's checks that did not say what they are about.

UNNAMED = {
    "no weights": ({"sample_weight": []}, "CNN.*: sample_weight: Found array with 0 sample"),
    "weights of strings": ({"sample_weight": list("abcdefghijkl")}, "sample_weight: could not convert string"),
    "a group short": ({"groups": LABELS[1:]}, r"CNN.*: groups: Found input variables with inconsistent.*12, 11"),
    "a matrix": ({"X": X.view(np.matrix)}, "CNN.*: X: np.matrix is not supported"),
    "texts of images": ({"X": X.reshape(12, 2, 3).astype(str)}, "CNN.*: X: dtype='numeric' is not compatible"),
    "complex numbers in a wrapper": (
        {"X": Wrapped(X + 1j)},
        "Complex data not supported: CNN.*: X has dtype complex128",
    ),
}


@pytest.mark.parametrize("given, message", UNNAMED.values(), ids=UNNAMED)
def test_an_error_of_a_check_of_scikit_learns_says_what_it_is_about(estimator, given, message, refuses):
    with refuses(estimator, message):
        estimator.fit(**{"X": X, "y": y_of(estimator)} | given)


def test_measurements_are_no_labels_and_named(refuses):
    classifier = CNNClassifier(**QUICK)
    with refuses(classifier, "^CNNClassifier: y: Unknown label type: continuous"):
        classifier.fit(X, X[:, 0])


def test_complex_targets_are_named_and_not_printed(refuses):
    regressor = CNNRegressor(**QUICK)
    with refuses(regressor, "^CNNRegressor: y: Complex data not supported$"):
        regressor.fit(X, X[:, 0] + 1j)


# Small integers of NumPy's, which overflow where they are multiplied.


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_small_integers_of_numpys_are_the_numbers_that_they_are(estimator, kind):
    numbers = {"batch_size": 100, "filters": 3, "dense_units": 100, "kernel_size": 5, "max_epochs": 2, "patience": 100}
    X, y = RANDOM.normal(size=(120, 200)), np.tile(y_of(estimator), 10)
    expected = estimator.set_params(**numbers).fit(X, y).predict(X)
    found = estimator.set_params(**{name: kind(value) for name, value in numbers.items()}).fit(X, y).predict(X)
    np.testing.assert_array_equal(found, expected)


def test_features_come_in_batches_of_a_small_integers_size():
    images = RANDOM.rand(300, 2, 2, 3)
    donor = CNNClassifier(**QUICK).fit(images, np.arange(300) % 3)
    expected, found = (
        CNNFeatures(backbone=donor, feature_cache=None, batch_size=size).fit_transform(images)
        for size in (100, np.uint8(100))
    )
    np.testing.assert_array_equal(found, expected)


# Numbers that single precision does not hold.


@pytest.mark.parametrize("name", ["learning_rate", "backbone_lr_factor"])
@pytest.mark.parametrize("optimizer", ["adam", torch.optim.LBFGS])
def test_a_rate_that_single_precision_does_not_hold_is_refused(estimator, name, optimizer, refuses):
    estimator.set_params(**{name: 1e300, "optimizer": optimizer})
    with refuses(estimator, rf"{name} must be a number > 0 and <= 1e\+30.*; got 1e\+300"):
        estimator.fit(X, y_of(estimator))


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_of_validation_weights_the_ratios_alone_count(estimator, scale):
    y, weights = y_of(estimator), RANDOM.rand(12)
    expected, found = (
        type(estimator)(**QUICK).fit(X, y, X_val=X, y_val=y, sample_weight_val=factor * weights).history_["val_loss"]
        for factor in (1, scale)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*early_stopping judges")
def test_held_out_weights_may_be_far_from_those_of_the_training_rows():
    for held_out in (1e-250, 1e250):
        regressor = CNNRegressor(**QUICK, early_stopping=True, validation_fraction=0.3)
        groups = np.arange(12) % 3
        weights = np.where(groups == 0, held_out, 1.0)
        regressor.fit(X, X[:, 0], sample_weight=weights, groups=groups)
        assert np.isfinite(regressor.history_["val_loss"]).all()


def test_weights_and_targets_may_both_be_far_from_one():
    weights, y = 10.0 ** RANDOM.uniform(-200, 200, 12), X[:, 0] * 1e200
    regressor = CNNRegressor(**QUICK).fit(X, y, weights)
    np.testing.assert_array_equal(regressor.predict(X), CNNRegressor(**QUICK).fit(X, y, weights * 2.0**300).predict(X))


@pytest.mark.parametrize("kind", [CNNClassifier, CNNRegressor, CNNFeatures])
@pytest.mark.parametrize("device", ["meta", "abacus", "hpu"])
def test_a_device_that_computes_nothing_is_refused_in_fit(kind, device, refuses):
    estimator = kind(device=device, **({} if kind is CNNFeatures else QUICK))
    with refuses(estimator, rf"CNN.*: device='{device}' is not available here"):
        estimator.fit(RANDOM.rand(12, 8, 8, 3), LABELS)


@pytest.mark.parametrize(
    "far, words", [(1e25, "the validation loss is not finite"), (1e200, r"y holds 1e\+200 in row 1, too far")]
)
def test_infinite_losses_of_validation_rows_are_an_error_without_a_warning_of_numpys(far, words, refuses):
    regressor = CNNRegressor(**QUICK)
    with refuses(regressor, words):
        regressor.fit(X[:1], [1.0], X_val=X[:3], y_val=[1.0, far, -far], sample_weight_val=[1.0, 1e-300, 1.0])


@pytest.mark.parametrize("part", [torch.nn.LazyBatchNorm1d(), threading.Lock()])
def test_a_module_that_cannot_be_copied_is_refused_with_a_remedy(estimator, part, refuses):
    module = torch.nn.Flatten()
    module.part = part
    with refuses(estimator.set_params(backbone=module), r"backbone=Flatten\(...\) cannot be copied.*factory"):
        estimator.fit(X, y_of(estimator))


# Forms.


def test_rows_of_weight_zero_are_left_out_of_what_can_only_become_an_array(estimator):
    weights, y = np.r_[0.0, 0.0, np.ones(10)], y_of(estimator)
    found = estimator.fit(Wrapped(X), y, weights).predict(X)
    np.testing.assert_array_equal(found, type(estimator)(**QUICK).fit(X[2:], y[2:]).predict(X))


def test_fractions_in_what_can_only_become_an_array_are_numbers(estimator):
    values = np.array([Fraction(value) for value in X.ravel()]).reshape(X.shape)
    expected = estimator.fit(X, y_of(estimator)).predict(X)
    np.testing.assert_array_equal(estimator.fit(Wrapped(values), y_of(estimator)).predict(Wrapped(values)), expected)


def test_a_polars_table_of_fractions_holds_numbers(estimator, refuses):
    values = [[Fraction(value) for value in row] for row in X]
    expected = estimator.fit(X, y_of(estimator)).predict(X)
    table = pl.DataFrame(np.array(values, dtype=object))
    np.testing.assert_array_equal(estimator.fit(table, y_of(estimator)).predict(table), expected)
    values[0][0] = Fraction(10**300)
    with refuses(estimator, "X holds values up to 1e\\+300, too large"):
        estimator.fit(pl.DataFrame(np.array(values, dtype=object)), y_of(estimator))


def test_rows_that_pandas_cannot_take_are_named(estimator, refuses):
    table = pd.DataFrame(X.astype(np.dtype(float).newbyteorder()))
    table = table.astype({0: "float32"}).astype({0: np.dtype(np.float32)})
    with refuses(estimator, "CNN.*: X: Big-endian buffer not supported"):
        estimator.fit(table, y_of(estimator), np.r_[0.0, np.ones(11)])
