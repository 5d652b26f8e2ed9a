"""Memory.

What `fit` and `predict` add to a process's peak of resident memory, beside an array of uint8 that is there already.
Each number is of a process of its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import spread, table

SMALL, LARGE = 4, 400  # MB
SHAPE = (32, 32, 3)
MB = 10**6
RESET_PEAK = Path("/proc/self/clear_refs")


def measure(quick):
    """Measure what is added, and return a table; tell of a memory map that is larger than what may be allocated."""
    if not RESET_PEAK.exists():
        return "Not measured: only Linux tells a process's peak."
    sizes = (SMALL, 20 if quick else LARGE)
    n_rounds = 1 if quick else 3
    rows = []
    for task in ("fit", "predict"):
        added = {size: [in_process(task, size) for _ in range(n_rounds)] for size in sizes}
        more = [large - small for small, large in zip(*added.values(), strict=True)]
        rows.append([task, *(spread(added[size], 1) for size in sizes), spread(more, 1)])
    head = ["MB added", *(f"{size} MB of uint8" for size in sizes), "difference"]
    with tempfile.TemporaryDirectory() as folder:
        mapped = in_process("memmap", folder)
    return table(head, rows) + (
        f"\n\nA read-only memory map of {mapped['map']:.0f} MB trains in a process that may hold {mapped['limit']:.0f} "
        f"MB of data (RLIMIT_DATA), of which {mapped['before']:.0f} MB were in use before."
    )


def in_process(task, argument):
    """Run a task of this module in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", task, str(argument)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def small_network():
    """Make an estimator whose network takes little memory."""
    from sklcnn import CNNClassifier

    return CNNClassifier(filters=4, kernel_size=4, stride=4, dense_units=(), max_epochs=1, random_state=0)


def added_memory(task, megabytes):
    """Measure the MB that fitting or predicting an array adds to the peak."""
    n_rows = megabytes * MB // int(np.prod(SHAPE))
    images = np.random.default_rng(0).integers(0, 256, (n_rows, *SHAPE), np.uint8)
    labels = np.arange(n_rows) % 2
    cnn = small_network().fit(images[:256], labels[:256])  # imports on first use are not counted
    before = status("VmRSS")
    RESET_PEAK.write_text("5")
    if task == "fit":
        cnn.fit(images, labels)
    else:
        cnn.predict(images)
    return status("VmHWM") - before


def train_beyond_limit(folder):
    """Train on a memory map that is larger than all data the process may hold."""
    block = np.random.default_rng(0).integers(0, 256, (300, 128, 128, 3), np.uint8)
    cnn = small_network().fit(block, np.arange(len(block)) % 2)
    before = status("VmData")
    limit = before + 128
    n_blocks = int(1.1 * limit * MB / block.nbytes) + 1
    path = Path(folder) / "images"
    with path.open("wb") as file:
        for _ in range(n_blocks):
            block.tofile(file)
    images = np.memmap(path, np.uint8, "r", shape=(n_blocks * len(block), *block.shape[1:]))
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * MB),) * 2)
    cnn.fit(images, np.arange(len(images)) % 2)
    return {"map": images.nbytes / MB, "limit": limit, "before": before}


def status(field):
    """Read a size from the process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith(f"{field}:"))


def main(task, argument):
    print(json.dumps(train_beyond_limit(argument) if task == "memmap" else added_memory(task, int(argument))))


if __name__ == "__main__":
    main(*sys.argv[1:])
