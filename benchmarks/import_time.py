"""Importing.

Milliseconds of an import in a fresh process, its files in the disk cache.
"""

import subprocess
import sys

from benchmarks.timing import in_turn, spread, table

STATEMENTS = (
    "import torch, sklearn",
    "import torch, sklearn, skorch",
    "import sklcnn",
    "from sklcnn import CNNClassifier",
)
SCRIPT = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def measure(quick):
    """Measure milliseconds, and return a table."""
    rounds = in_turn(
        {
            statement: lambda statement=statement: {statement: import_milliseconds(statement)}
            for statement in STATEMENTS
        },
        1 if quick else 9,
    )
    return table(["", "milliseconds"], [[f"`{statement}`", spread(rounds[statement], 0)] for statement in STATEMENTS])


def import_milliseconds(statement):
    """Time a statement in a fresh process."""
    command = [sys.executable, "-c", SCRIPT.format(statement)]
    return 1000 * float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
