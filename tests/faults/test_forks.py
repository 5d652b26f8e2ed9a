"""Laws of forked children: they fit and predict whatever the parent's other threads were doing."""

import multiprocessing
import threading

import numpy as np
import pytest
from skorch.callbacks import Callback

from sklcnn import CNNClassifier
from sklcnn.network import allocation

X, LABELS = np.random.RandomState(0).rand(12, 8), np.arange(12) % 3
TINY = {"filters": (2,), "dense_units": (), "max_epochs": 2, "random_state": 0}


def fit_and_tell(connection):
    predicted = CNNClassifier(**TINY).fit(X, LABELS).predict_proba(X)
    connection.send((predicted, allocation.n_training()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that a process with threads is forked
def test_a_child_forked_while_another_thread_fits_fits_too():
    expected = CNNClassifier(**TINY).fit(X, LABELS).predict_proba(X)
    in_fit, go_on = threading.Event(), threading.Event()

    class Wait(Callback):
        def on_epoch_end(self, net, **kwargs):
            in_fit.set()
            go_on.wait(60)

    thread = threading.Thread(target=CNNClassifier(**TINY, callbacks=[Wait]).fit, args=(X, LABELS))
    thread.start()
    try:
        assert in_fit.wait(60)
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        child = context.Process(target=fit_and_tell, args=(there,), daemon=True)
        child.start()
        is_told = here.poll(30)
        predicted, n_training = here.recv() if is_told else (None, None)
        child.kill()
        child.join()
        assert is_told, "the child waits for a lock"
    finally:
        go_on.set()
        thread.join()
    np.testing.assert_array_equal(predicted, expected)
    assert n_training == 0
