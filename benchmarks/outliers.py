"""Wrong values of y.

R2 of right test values where training values are wrong: 5 % by a normal deviation of 30, where the others have one of
about 2, or 1 % are 10,000. With early stopping; medians of three seeds, beside scikit-learn's HuberRegressor. The data
are 300 signals whose values are a sum and a product of some positions, 250 spectra of a peak on a baseline, and
scikit-learn's diabetes, 221 rows.
"""

import warnings

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import HuberRegressor

from benchmarks.timing import table
from sklcnn import CNNRegressor

LOSSES = ("squared_error", "huber", "absolute_error", "quantile")


def measure(quick):
    """Measure, and return a table."""
    n_seeds, sets = (1, ("signals",)) if quick else (3, tuple(SETS))
    rows = []
    for name in sets:
        for wrong in WRONG:
            runs = [run_one(name, wrong, seed, {"max_epochs": 2} if quick else {}) for seed in range(n_seeds)]
            rows.append([name, wrong, *(f"{np.median(scores):.2f}" for scores in zip(*runs, strict=True))])
    return table(["data", "wrong", *LOSSES, "HuberRegressor"], rows)


def run_one(name, wrong, seed, parameters):
    """Return the R2 of each loss, and of HuberRegressor."""
    random = np.random.default_rng(seed)
    X, y = SETS[name](random)
    half = len(X) // 2
    y_train = WRONG[wrong](y[:half].copy(), random)
    models = [
        CNNRegressor(loss=loss, filters=16, early_stopping=True, random_state=seed, **parameters) for loss in LOSSES
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the wrong values
        fitted = [model.fit(X[:half], y_train) for model in (*models, HuberRegressor(max_iter=500))]
    return [model.score(X[half:], y[half:]) for model in fitted]


def signals(random):
    """Draw signals whose values are a sum and a product of some positions."""
    X = random.normal(size=(600, 30))
    return X, X[:, :5] @ [1, -1, 0.5, 0.5, 1] + np.maximum(X[:, 3] * X[:, 4], 0)


def spectra(random):
    """Draw spectra of a peak on a baseline, whose values are the peak's height."""
    positions, height = np.linspace(0, 1, 60), random.uniform(0, 5, 500)
    peaks = np.exp(-((positions - 0.5) ** 2) / 0.01) * height[:, None] / 5
    return peaks + 0.3 * random.normal(size=(500, 1)) + 0.02 * random.normal(size=(500, 60)), height


def diabetes(random):
    """Shuffle the rows of scikit-learn's set."""
    data = load_diabetes()
    order = random.permutation(len(data.target))
    return data.data[order], data.target[order] / 50


def far(y, random):
    """Move a twentieth by a normal deviation of 30."""
    return np.where(random.random(len(y)) < 0.05, y + 30 * random.normal(size=len(y)), y)


def one_value(y, random):
    """Replace a hundredth by 10,000."""
    return np.where(random.random(len(y)) < 0.01, 1e4, y)


SETS = {"signals": signals, "spectra": spectra, "diabetes": diabetes}
WRONG = {"5 % by 30": far, "1 % are 10,000": one_value}
