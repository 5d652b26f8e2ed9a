"""What every test may rely on: how many threads, no window, array-API support switched on, a few small data sets."""

import os
import re
import traceback
from contextlib import contextmanager
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # read once, when scipy is imported
os.environ["MPLBACKEND"] = "Agg"
# The tests run in as many processes as there are cores, and threads decide the order in which sums are rounded: the
# processes that a test starts, joblib's too, get as many as the test itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that a test starts find the tests' own modules too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def digits():
    """Return 120 handwritten digits from 0 to 3 as flat rows of 64 pixels, and their labels; not to be written to."""
    pixels, labels = load_digits(n_class=4, return_X_y=True)
    pixels, labels = pixels[:120].astype(np.float32), labels[:120]
    pixels.flags.writeable = labels.flags.writeable = False
    return pixels, labels


@pytest.fixture(scope="session")
def signals():
    """Return 60 signals of length 12, the sum of a part of each, and whether that is positive."""
    values = np.random.RandomState(0).randn(60, 12)
    sums = values[:, 3:7].sum(axis=1)
    values.flags.writeable = sums.flags.writeable = False
    return values, sums, np.where(sums > 0, "up", "down")


def weights_of(estimator):
    """Copy all that a fitted estimator's network holds; nothing for another."""
    if not hasattr(estimator, "net_"):
        return {}
    return {name: tensor.clone() for name, tensor in estimator.module_.state_dict().items()}


@contextmanager
def refusal(estimator, message, kinds=(TypeError, ValueError, NotFittedError)):
    """Expect an error of this package or scikit-learn, of just these kinds, that leaves an estimator as it was."""
    attributes, weights = vars(estimator).copy(), weights_of(estimator)
    with pytest.raises(kinds) as caught:
        yield caught
    assert type(caught.value) in kinds
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    raised_in = traceback.extract_tb(caught.value.__traceback__)[-1].filename
    assert not re.search(r"[/\\](torch|skorch)[/\\]", raised_in), f"raised in {raised_in}"
    assert vars(estimator) == attributes
    assert all(torch.equal(tensor, weights[name]) for name, tensor in weights_of(estimator).items())


@pytest.fixture
def refuses():
    """Return a context in which an estimator must refuse what it is given, and stay as it was."""
    return refusal
