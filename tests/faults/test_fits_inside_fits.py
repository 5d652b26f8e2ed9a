"""Laws of fits in threads that a fit waits for: they end, and each gives what it gives alone."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ending import ended
from joblib import parallel_config
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback
from torch import nn

from sklcnn import CNNClassifier

RANDOM = np.random.RandomState(0)
X, LABELS = RANDOM.rand(24, 8), np.arange(24) % 3
TINY = {"filters": (2,), "dense_units": (4,), "max_epochs": 2, "batch_size": 8, "dropout": 0.3}


def fit(seed, **params):
    return CNNClassifier(**TINY | params, random_state=seed).fit(X, LABELS).predict_proba(X)


def in_pool():
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(fit, [1, 2]))


def in_threads():
    found = {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: fit(seed)})) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[1], found[2]]


def in_search():
    with parallel_config("threading", n_jobs=2):
        return cross_val_score(CNNClassifier(**TINY, random_state=0), X, LABELS, cv=2)


def in_nested_pools():
    """Fit in a thread, whose scorer fits in a thread."""

    def scorer(cnn, X, y):
        with ThreadPoolExecutor(1) as pool:
            return float(pool.submit(fit, 5).result()[0, 0])

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fit, 3, early_stopping=True, scoring=scorer, max_epochs=1).result()


PLACES = ["callback", "batch callback", "scorer", "loss", "augmentation"]
WAYS = [in_pool, in_threads, in_search, in_nested_pools]


@pytest.mark.parametrize(
    ("place", "inner"), [*((place, in_pool) for place in PLACES), *(("scorer", way) for way in WAYS[1:])]
)
def test_a_fit_whose_own_code_fits_in_threads_ends_with_the_same_bits(place, inner):
    inside, calls = [], []

    def once(result):
        if not inside:
            inside.append(inner())
        calls.append(0)
        return result

    hook = "on_batch_end" if place == "batch callback" else "on_epoch_end"
    callback = type("Fits", (Callback,), {hook: lambda self, net, **kwargs: once(None)})
    params = {
        "scorer": lambda function: {"early_stopping": True, "scoring": lambda cnn, X, y: function(0.5)},
        "loss": lambda function: {"loss": lambda outputs, targets: function((outputs - targets).square().sum(1))},
        "augmentation": lambda function: {"augmentation": lambda images: function(images)},
    }.get(place, lambda function: {"callbacks": [callback] if function is once else []})
    found = ended(lambda: fit(0, **params(once)))
    np.testing.assert_array_equal(found, fit(0, **params(lambda result: result)))
    np.testing.assert_array_equal(inside[0], inner())
    assert calls


def test_one_that_polls_lends_its_turn_after_a_while(monkeypatch):
    monkeypatch.setattr("sklcnn.training.turns.LONGEST", 0.2)

    class Polls(Callback):
        def on_train_begin(self, net, **kwargs):
            thread = threading.Thread(target=fit, args=(1,))
            thread.start()
            while thread.is_alive():
                time.sleep(0.01)

    np.testing.assert_array_equal(ended(lambda: fit(0, callbacks=[Polls])), fit(0))


def test_fits_of_other_threads_do_not_mix_with_those_that_lend_their_turn():
    class Waits(Callback):
        def on_epoch_end(self, net, **kwargs):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(fit, 7).result()

    def many(seed):
        return [fit(seed, callbacks=[Waits] if seed else None) for _ in range(2)]

    expected = [fit(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for found, alone in zip(pool.map(many, range(3), timeout=120), expected, strict=True):
            for one in found:
                np.testing.assert_array_equal(one, alone)


def test_the_generators_are_as_before_a_fit_that_lent_its_turn():
    np.random.seed(3)
    before = np.random.get_state()[1]

    class Waits(Callback):
        def on_epoch_end(self, net, **kwargs):
            in_pool()

    fit(0, callbacks=[Waits])
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def own_block(channels, filters, kernel_size, spatial_dims):
    return nn.Conv1d(channels, filters, 3, padding=1)


@pytest.mark.parametrize("where", ["its thread", "a thread"])
def test_a_fit_whose_callback_loads_ends_with_the_same_bits(where):
    data = pickle.dumps(CNNClassifier(**TINY, block=own_block, random_state=0).fit(X, LABELS))

    class Loads(Callback):
        def on_epoch_end(self, net, **kwargs):
            if where == "its thread":
                pickle.loads(data)
            else:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(pickle.loads, data).result()

    np.testing.assert_array_equal(ended(lambda: fit(0, callbacks=[Loads])), fit(0))


def test_a_fit_in_a_callback_waits_for_one_in_a_thread_that_the_callback_has_begun():
    found, long = {}, {"max_epochs": 20}

    class Fits(Callback):
        def on_train_begin(self, net, **kwargs):
            begun = threading.Event()
            tells = type("Tells", (Callback,), {"on_train_begin": lambda self, net, **kwargs: begun.set()})
            thread = threading.Thread(target=lambda: found.update({1: fit(1, callbacks=[tells], **long)}))
            thread.start()
            begun.wait()
            found[2] = fit(2, **long)
            thread.join()

    found[0] = ended(lambda: fit(0, callbacks=[Fits]))
    for seed, params in enumerate([{}, long, long]):
        np.testing.assert_array_equal(found[seed], fit(seed, **params))
