"""Threads and processes at the same time give what each gives alone, and none of them waits for ever."""

import copy
import os
import pickle
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.training.turns import in_turn

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(40, 6, 5, 3).astype(np.float32)
Y = {CNNClassifier: np.array(["a", "b"])[np.arange(40) % 2], CNNRegressor: X[:, 0, 0, 0]}
SMALL = {"filters": (3, 4), "dense_units": 6, "batch_size": 16, "max_epochs": 2, "dropout": 0.3, "batch_norm": True}
N_THREADS = 16


@pytest.fixture(params=[CNNClassifier, CNNRegressor])
def make(request):
    """Return a function that makes a small estimator of one of the classes."""
    return partial(request.param, **SMALL)


def fitted(estimator):
    return estimator.fit(X, Y[type(estimator)])


def same_bits(one, other):
    pairs = zip(one.module_.state_dict().values(), other.module_.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def at_once(functions):
    """Call functions, each in a thread of its own, all at the same time; return what they return."""
    start = threading.Barrier(len(functions))

    def call(function):
        start.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


@pytest.mark.parametrize("n_rows", [1, 5, 40])
def test_sixteen_threads_predict_what_one_does(make, n_rows):
    estimator = fitted(make(random_state=0))
    parts = [X[start : start + n_rows] for start in range(0, 41 - n_rows, max(1, n_rows // 2))][:N_THREADS]
    parts = [parts[number % len(parts)] for number in range(N_THREADS)]
    expected = [estimator.predict(part) for part in parts]
    for _ in range(3):
        for found, alone in zip(at_once([partial(estimator.predict, part) for part in parts]), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_sixteen_threads_ask_for_labels_probabilities_and_scores():
    classifier = fitted(CNNClassifier(**SMALL, random_state=0))
    methods = [classifier.predict, classifier.predict_proba, classifier.predict_log_proba, classifier.decision_function]
    expected = [method(X) for method in methods]
    found = at_once([partial(methods[number % 4], X) for number in range(N_THREADS)])
    for number, values in enumerate(found):
        np.testing.assert_array_equal(values, expected[number % 4])


@pytest.mark.parametrize("form", ["paths", "pictures"])
def test_sixteen_threads_predict_pictures(form, tmp_path):
    images = [Image.fromarray((sample * 255).astype(np.uint8)) for sample in X]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    samples = [tmp_path / f"{number}.png" for number in range(40)] if form == "paths" else images
    classifier = CNNClassifier(**SMALL, random_state=0, n_jobs=2).fit(samples, Y[CNNClassifier])
    expected = classifier.predict_proba(samples)
    for found in at_once([partial(classifier.predict_proba, samples)] * N_THREADS):
        np.testing.assert_array_equal(found, expected)


def test_sixteen_threads_share_the_features_of_a_backbone():
    donor = fitted(CNNClassifier(**SMALL, random_state=0))
    transformer = CNNFeatures(backbone=donor).fit(X)
    expected = CNNFeatures(backbone=donor, feature_cache=None).fit(X).transform(X)
    for found in at_once([partial(transformer.transform, X)] * N_THREADS):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_fits", [2, 4])
@pytest.mark.parametrize("changes", [{}, {"early_stopping": True, "validation_fraction": 0.4, "refit_full": True}])
def test_fits_of_different_seeds_give_in_threads_what_each_gives_alone(make, n_fits, changes):
    expected = [fitted(make(random_state=seed, **changes)) for seed in range(n_fits)]
    found = at_once([partial(fitted, make(random_state=seed, **changes)) for seed in range(n_fits)])
    assert all(map(same_bits, found, expected))
    assert not same_bits(*found[:2])


def test_fits_of_both_kinds_and_precisions_give_in_threads_what_each_gives_alone():
    estimators = [
        (kind, {"precision": precision, "augmentation": "noise"})
        for kind in (CNNClassifier, CNNRegressor)
        for precision in ("float32", "float64", "bfloat16")
    ]
    expected = [fitted(kind(**SMALL, **changes, random_state=0)) for kind, changes in estimators]
    found = at_once([partial(fitted, kind(**SMALL, **changes, random_state=0)) for kind, changes in estimators])
    assert all(map(same_bits, found, expected))


def test_one_estimator_predicts_while_others_are_fitted(make):
    estimator, expected_fit = fitted(make(random_state=0)), fitted(make(random_state=1, max_epochs=6))
    expected = estimator.predict(X)
    fits = [partial(fitted, make(random_state=1, max_epochs=6))] * 2
    *fits, predictions = at_once([*fits, lambda: [estimator.predict(X) for _ in range(100)]])
    assert all(same_bits(fit, expected_fit) for fit in fits)
    for found in predictions:
        np.testing.assert_array_equal(found, expected)


def test_an_estimator_that_is_fitted_anew_predicts_by_its_old_network_or_its_new_one(make):
    estimator = fitted(make(random_state=0))
    old = estimator.predict(X)
    new = fitted(make(random_state=1, max_epochs=6)).predict(X)
    estimator.set_params(random_state=1, max_epochs=6)
    _, predictions = at_once([lambda: fitted(estimator), lambda: [estimator.predict(X) for _ in range(100)]])
    assert all(np.array_equal(found, old) or np.array_equal(found, new) for found in predictions)
    np.testing.assert_array_equal(estimator.predict(X), new)


# Loading builds a network anew, which would draw weights from the generators of a fit in another thread.


def own_backbone(sample_shape):
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), nn.BatchNorm2d(4), nn.Flatten())


def own_block(channels, filters, kernel_size, spatial_dims):
    return nn.Conv2d(channels, filters, 3, padding=1)


class OwnActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.rand(()))

    def forward(self, values):
        return values * self.slope


NAMED = {"backbone": "timm/test_efficientnet", "backbone_weights": None, "image_size": 32}
ONE_EPOCH = {"max_epochs": 1, "random_state": 0}
LOADED = {
    "no backbone": lambda: fitted(CNNClassifier(**SMALL, random_state=0)),
    "a named backbone": lambda: fitted(CNNClassifier(**NAMED, **ONE_EPOCH)),
    "features of a named one": lambda: CNNFeatures(**NAMED, random_state=0).fit(X),
    "another estimator": lambda: fitted(CNNClassifier(backbone=LOADED["no backbone"](), **ONE_EPOCH)),
    "a module": lambda: fitted(CNNClassifier(backbone=own_backbone((3, 6, 5)), **ONE_EPOCH)),
}
LOADED_BY_OWN_CODE = {
    "a factory": lambda: fitted(CNNClassifier(backbone=own_backbone, **ONE_EPOCH)),
    "features of a factory": lambda: CNNFeatures(backbone=own_backbone).fit(X),
    "a block": lambda: fitted(CNNClassifier(block=own_block, **SMALL, random_state=0)),
    "an activation": lambda: fitted(CNNClassifier(activation=OwnActivation, **SMALL, random_state=0)),
    "a head": lambda: fitted(
        CNNClassifier(**NAMED, activation=OwnActivation, dense_units=3, freeze_epochs=1, **ONE_EPOCH)
    ),
}


def states_of_generators():
    return [torch.get_rng_state().numpy(), np.random.get_state()[1], np.array(random.getstate()[1])]


@pytest.mark.parametrize("way", ["pickle", "deep copy"])
@pytest.mark.parametrize("name", LOADED | LOADED_BY_OWN_CODE)
def test_fits_beside_loads_give_what_each_gives_alone(name, way):
    loaded = (LOADED | LOADED_BY_OWN_CODE)[name]()
    data, stop, n_loads = pickle.dumps(loaded), threading.Event(), []

    def load():
        while not stop.is_set():
            n_loads.append(pickle.loads(data) if way == "pickle" else copy.deepcopy(loaded))

    def fit():
        try:
            return [fitted(CNNClassifier(**SMALL, random_state=seed)) for seed in (0, 1, 2)]
        finally:
            stop.set()

    expected = [fitted(CNNClassifier(**SMALL, random_state=seed)) for seed in (0, 1, 2)]
    found, _ = at_once([fit, load])
    assert n_loads
    assert all(map(same_bits, found, expected))


@pytest.mark.parametrize("name", LOADED | LOADED_BY_OWN_CODE)
def test_the_generators_are_as_before_a_load(name):
    data = pickle.dumps((LOADED | LOADED_BY_OWN_CODE)[name]())
    before = states_of_generators()
    pickle.loads(data)
    for found, state in zip(states_of_generators(), before, strict=True):
        np.testing.assert_array_equal(found, state)


@pytest.mark.parametrize("name", LOADED)
def test_loading_waits_for_no_fit_where_no_code_of_the_users_makes_the_network(name):
    data = pickle.dumps(LOADED[name]())
    thread = threading.Thread(target=pickle.loads, args=(data,), daemon=True)
    with in_turn():  # as a fit has it
        thread.start()
        thread.join(60)
        assert not thread.is_alive()


# Processes. Each test is a process of its own, so that one that waits for ever fails, and no more.

PROLOGUE = """
import multiprocessing, sys
import numpy as np, torch
from sklcnn import CNNClassifier
torch.set_num_threads(4)
X = np.random.RandomState(0).rand(64, 24, 24, 3).astype("float32")
y = np.arange(64) % 2

def make():
    return CNNClassifier(filters=(8, 8), dense_units=8, max_epochs=2, random_state=0)

def fit(_=None):
    return make().fit(X, y).predict_proba(X)

def predict(cnn):
    return cnn.predict_proba(X)

if __name__ == "__main__":
"""
START_PROCESSES = """
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(1) as after_import:
        parts = after_import.map(fit, range(1))
    cnn = make().fit(X, y)
    with context.Pool(1) as after_a_fit:
        parts += [*after_a_fit.map(predict, [cnn]), *after_a_fit.map(fit, range(1))]
    np.testing.assert_allclose(parts, [cnn.predict_proba(X)] * 3, rtol=1e-4, atol=1e-5)
"""
# The child goes on with the parent's estimator, which it has by the fork itself.
IN_A_FORKED_CHILD = """
    import os
    cnn = make().fit(X, y)
    before = cnn.predict_proba(X)
    child = os.fork()
    if child == 0:
        try:
            np.testing.assert_allclose(cnn.predict_proba(X), before, rtol=1e-4, atol=1e-5)
            cnn.set_params(warm_start=True).fit(X, y)
            CNNClassifier(early_stopping=True, validation_fraction=0.3, max_epochs=1).fit(X, y)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.get_num_threads() == 4
    np.testing.assert_array_equal(cnn.predict_proba(X), before)
"""
# The others begin with fresh processes: they take longer, and what they could lose is less.
FRESH = [pytest.param(method, marks=pytest.mark.slow) for method in ("forkserver", "spawn")]
METHODS = ["spawn"] if sys.platform == "win32" else ["fork", *FRESH]


def run(tmp_path, code, *arguments):
    script = tmp_path / "script.py"  # a file, which spawned processes import
    script.write_text(PROLOGUE + code)
    environment = os.environ | {"OMP_NUM_THREADS": "4"}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", script, *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.parametrize("method", METHODS)
def test_processes_started_after_import_and_after_a_fit_fit_and_predict(method, tmp_path):
    run(tmp_path, START_PROCESSES, method)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.slow
def test_a_forked_child_goes_on_with_its_parents_estimator(tmp_path):
    run(tmp_path, IN_A_FORKED_CHILD)
