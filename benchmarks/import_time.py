"""Importing.

Milliseconds of an import in a fresh process, its files in the disk cache. The last lines load a saved estimator, the
default network of 8x8 pictures, and predict one row.
"""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import skops.io

from benchmarks.timing import in_turn, spread, table
from sklcnn import CNNClassifier

STATEMENTS = (
    "import torch, sklearn",
    "import torch, sklearn, skorch",
    "import sklcnn",
    "from sklcnn import CNNClassifier",
    "import torch, sklearn, skops.io",
)
LOADING = {
    "`pickle.load(file).predict(X[:1])`": "import pickle, numpy; "
    "pickle.load(open('model.pickle', 'rb')).predict(numpy.load('X.npy'))",
    "`skops.io.load(file, TRUSTED_TYPES).predict(X[:1])`": "import numpy, skops.io; from sklcnn import TRUSTED_TYPES; "
    "skops.io.load('model.skops', TRUSTED_TYPES).predict(numpy.load('X.npy'))",
}
SCRIPT = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def measure(quick):
    """Measure milliseconds, and return a table."""
    statements = {f"`{statement}`": statement for statement in STATEMENTS} | LOADING
    with tempfile.TemporaryDirectory() as folder:
        save_estimator(Path(folder))
        rounds = in_turn(
            {
                title: lambda title=title, statement=statement: {title: milliseconds(statement, folder)}
                for title, statement in statements.items()
            },
            1 if quick else 9,
        )
    return table(["", "milliseconds"], [[title, spread(rounds[title], 0)] for title in statements])


def save_estimator(folder):
    """Save a fitted estimator by pickle and by skops, and a row."""
    X = np.random.default_rng(0).random((100, 8, 8))
    cnn = CNNClassifier(max_epochs=1, random_state=0).fit(X, np.arange(100) % 10)
    (folder / "model.pickle").write_bytes(pickle.dumps(cnn))
    skops.io.dump(cnn, folder / "model.skops")
    np.save(folder / "X.npy", X[:1])


def milliseconds(statement, folder):
    """Time a statement in a fresh process."""
    command = [sys.executable, "-c", SCRIPT.format(statement)]
    return 1000 * float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder).stdout)
