"""Temperature of early stopping.

Log-loss of test rows on the classification sets of [small data](#small-data), seed 0: without early stopping, by the
epoch that it keeps, and with that epoch's logits divided by `temperature_`, as `early_stopping=True` gives them.
"""

import warnings

import numpy as np
from scipy.special import log_softmax

from benchmarks.small_data import SETS
from benchmarks.timing import table
from sklcnn import CNNClassifier


def measure(quick):
    """Measure, and return a table."""
    sets = [data for data in SETS if not data.values]
    return report(
        [run_one(data, n, quick) for data in sets[: 1 if quick else None] for n in data.sizes[: 1 if quick else None]]
    )


def run_one(data, n_rows, quick=False):
    """Return name, size, three log-losses and the temperature."""
    X, y, X_test, y_test = data.load(n_rows, 0)
    parameters = data.parameters | {"random_state": 0} | ({"max_epochs": 2} if quick else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few validation rows
        plain, stopped = (CNNClassifier(**parameters, early_stopping=early).fit(X, y) for early in (False, True))
    codes = np.searchsorted(plain.classes_, y_test)
    temperature = stopped.temperature_
    losses = [log_loss(cnn, X_test, codes, unit) for cnn, unit in ((plain, 1), (stopped, temperature), (stopped, 1))]
    return [data.name, n_rows, *losses, temperature]


def log_loss(cnn, X, codes, unit):
    """Compute the log-loss of logits times a unit."""
    logits = unit * np.log(np.clip(cnn.predict_proba(X), 1e-30, None))
    return float(-log_softmax(logits, axis=1)[np.arange(len(codes)), codes].mean())


def report(rows):
    """Say on how many sets early stopping is ahead, and tabulate."""
    by_epoch, cooled = (sum(row[place] < row[2] for row in rows) for place in (3, 4))
    cells = [[name, n, *(f"{loss:.3f}" for loss in losses), f"{unit:.2f}"] for name, n, *losses, unit in rows]
    head = ["set", "rows", "without", "the epoch alone", "early_stopping", "temperature"]
    return (
        f"Ahead of no early stopping on {by_epoch} of {len(rows)} by the epoch alone, on {cooled} with the "
        "temperature.\n\n" + table(head, cells)
    )
