"""The same seed gives the same bits, nothing else in the process moves, and importing is cheap."""

import json
import random
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sklcnn import CNNClassifier, CNNRegressor

SMALL = {"input_shape": (8, 8), "filters": (3, 4), "dense_units": 6, "batch_size": 16, "max_epochs": 2}
# Everything that draws: initial weights, order, dropout, the hold-out, augmentation.
CONFIGURATIONS = {
    "plain": {},
    "dropout": {"dropout": 0.5, "conv_dropout": 0.3, "batch_norm": True},
    "early_stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "refit": {"early_stopping": True, "refit_full": True, "dropout": 0.3},
    "augmentation": {"augmentation": ("shift", "noise")},
    "mixup": {"augmentation": "mixup"},
    "bfloat16": {"precision": "bfloat16"},
    "float64": {"precision": "float64"},
}
ESTIMATORS = [CNNClassifier, CNNRegressor]


@pytest.fixture(params=ESTIMATORS)
def make(request):
    """Return a function that makes a small estimator of one of the classes."""
    return partial(request.param, **SMALL)


def bits(estimator):
    """Copy all tensors of a trained network."""
    return [tensor.clone() for tensor in estimator.module_.state_dict().values()]


def same_bits(one, other):
    return all(torch.equal(a, b) for a, b in zip(bits(one), bits(other), strict=True))


def global_states():
    """Return the states of the global generators as something that can be compared."""
    return random.getstate(), str(np.random.get_state(legacy=False)), torch.get_rng_state().tolist()


@pytest.mark.parametrize("parameters", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_one_seed_gives_one_network_whatever_the_global_generators_do(make, parameters, digits):
    first = make(random_state=0, **parameters).fit(*digits)
    random.random()
    np.random.rand(3)
    torch.rand(3)
    assert same_bits(make(random_state=0, **parameters).fit(*digits), first)
    assert not same_bits(make(random_state=1, **parameters).fit(*digits), first)


@pytest.mark.parametrize("parameters", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_seeded_fit_leaves_the_global_generators_as_they_were(make, parameters, digits):
    before = global_states()
    estimator = make(random_state=0, **parameters).fit(*digits)
    estimator.predict(digits[0])
    assert global_states() == before
    if "early_stopping" not in parameters:
        estimator.partial_fit(*digits)
        assert global_states() == before


def test_a_fit_that_fails_leaves_the_global_generators_as_they_were(make, digits):
    before = global_states()
    with pytest.raises(ValueError, match="not finite"):
        make(random_state=0, learning_rate=1e30, lr_schedule=None, optimizer="sgd").fit(*digits)
    assert global_states() == before


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_without_a_seed_one_integer_is_drawn_from_numpy(make, method, digits):
    np.random.seed(7)
    np.random.randint(np.iinfo(np.int32).max)
    expected = str(np.random.get_state(legacy=False))
    np.random.seed(7)
    python, torch_state = random.getstate(), torch.get_rng_state()
    getattr(make(dropout=0.3), method)(*digits)
    assert str(np.random.get_state(legacy=False)) == expected
    assert random.getstate() == python
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_without_a_seed_fits_differ_as_numpy_goes_on(make, digits):
    np.random.seed(7)
    first, second = make().fit(*digits), make().fit(*digits)
    np.random.seed(7)
    again = make().fit(*digits)
    assert not same_bits(first, second)
    assert same_bits(first, again)


def test_a_random_state_gives_one_integer_a_fit(make, digits):
    given, reference = np.random.RandomState(3), np.random.RandomState(3)
    estimator = make(random_state=given).fit(*digits)
    reference.randint(np.iinfo(np.int32).max)
    assert given.randint(1000) == reference.randint(1000)
    assert estimator.random_state is given


@pytest.mark.parametrize("parameters", [CONFIGURATIONS["dropout"], CONFIGURATIONS["early_stopping"]])
def test_fits_in_threads_give_the_bits_of_fits_in_turn(make, parameters, digits):
    expected = [make(random_state=seed, **parameters).fit(*digits) for seed in range(3)]
    found = [make(random_state=seed, **parameters) for seed in range(3)]
    start = threading.Barrier(3)

    def fit(estimator):
        start.wait()
        estimator.fit(*digits)

    before = global_states()
    threads = [threading.Thread(target=fit, args=(estimator,)) for estimator in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same_bits, found, expected))
    assert global_states() == before


def test_predictions_in_threads_are_those_in_turn(make, digits):
    estimator = make(random_state=0, dropout=0.5, batch_norm=True).fit(*digits)
    expected = estimator.predict(digits[0])
    found = {}
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: estimator.predict(digits[0])}))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for predictions in found.values():
        np.testing.assert_array_equal(predictions, expected)


@pytest.mark.parametrize("parameters", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_second_fit_gives_the_bits_of_the_first(make, parameters, digits):
    estimator = make(random_state=0, **parameters).fit(*digits)
    first = bits(estimator)
    estimator.fit(*digits)
    assert all(map(torch.equal, bits(estimator), first))
    assert estimator.n_iter_ == len(estimator.history_)


def test_a_clone_of_a_fitted_estimator_fits_the_same(make, digits):
    estimator = make(random_state=0, dropout=0.3).fit(*digits)
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    assert same_bits(copied.fit(*digits), estimator)


@pytest.mark.parametrize("parameters", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_fitting_changes_no_hyper_parameter(make, parameters, digits):
    estimator = make(random_state=0, **parameters)
    before = estimator.get_params()
    text = repr(before)
    estimator.fit(*digits)
    after = estimator.get_params()
    assert all(after[name] is value for name, value in before.items())
    assert repr(after) == text


@pytest.mark.parametrize("parameters", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_fitting_changes_no_data(make, parameters, digits):
    X, y = digits
    weights = np.linspace(0, 2, len(y))
    copies = X.copy(), y.copy(), weights.copy()
    estimator = make(random_state=0, **parameters).fit(X.copy(), y.copy(), sample_weight=weights)
    assert same_bits(make(random_state=0, **parameters).fit(*copies[:2], sample_weight=copies[2]), estimator)
    for array, copied in zip((X, y, weights), copies, strict=True):
        np.testing.assert_array_equal(array, copied)


# Hyper-parameters of another network, another reading of X, another machine.
CHANGES = {
    "filters": (8, 8, 8),
    "input_shape": (4, 16),
    "precision": "float64",
    "standardize": False,
    "activation": "tanh",
    "batch_norm": True,
    "dropout": 0.9,
    "dense_units": (),
    "data_format": "channels_first",
    "spatial_dims": 1,
    "batch_size": 1,
    "loss": "no such loss",
    "device": "meta",
    "random_state": 5,
    "image_size": 4,
}


@pytest.mark.parametrize("name, value", CHANGES.items(), ids=CHANGES)
def test_setting_a_hyper_parameter_after_fit_leaves_predictions_as_they_were(make, name, value, digits):
    estimator = make(random_state=0).fit(*digits)
    expected = estimator.predict(digits[0])
    summary = estimator.summary()
    estimator.set_params(**{name: value})
    np.testing.assert_array_equal(estimator.predict(digits[0]), expected)
    assert estimator.summary().equals(summary)


def test_the_form_of_x_does_not_change_the_bits(make, digits):
    X, y = digits
    images = X.reshape(-1, 8, 8)
    expected = make(random_state=0).fit(X, y)
    forms = [
        X.astype(np.uint8),
        X.astype(np.float64),
        X.tolist(),
        np.asfortranarray(X),
        torch.from_numpy(X.copy()),
        pd.DataFrame(X),
        list(torch.from_numpy(X.copy())),
    ]
    assert all(same_bits(make(random_state=0).fit(form, y), expected) for form in forms)
    own_shape = SMALL | {"input_shape": None}
    shapes = [images, images[..., None], images[:, None], np.asfortranarray(images), torch.from_numpy(images.copy())]
    for form in shapes:
        assert same_bits(type(expected)(**own_shape, random_state=0).fit(form, y), expected)


def test_one_row_is_predicted_as_among_others(make, digits):
    X, _ = digits
    estimator = make(random_state=0, batch_norm=True, precision="float64").fit(*digits)
    method = getattr(estimator, "predict_proba", estimator.predict)
    alone = np.concatenate([method(X[[row]]) for row in range(10)])
    np.testing.assert_allclose(alone, method(X)[:10], rtol=1e-10)


def run(code):
    """Run Python code in a process of its own, with warnings as errors, and return what it prints."""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


UNNEEDED = ("matplotlib", "torchvision", "kornia", "timm", "captum", "onnx", "skops", "dask", "skorch")


def test_importing_and_fitting_are_silent_and_import_nothing_that_is_not_needed():
    found = run(f"""
import sys, json, numpy as np
def unneeded():
    print(json.dumps(sorted(set(sys.modules) & {set(UNNEEDED)!r})))
from sklcnn import CNNClassifier, CNNRegressor
unneeded()
from sklcnn.inspection import *
unneeded()
X = np.random.RandomState(0).rand(20, 6)
CNNClassifier(max_epochs=1).fit(X, [0, 1] * 10).predict(X)
unneeded()
""")
    assert [json.loads(line) for line in found.splitlines()] == [[], [], ["skorch"]]
