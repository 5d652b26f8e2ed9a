"""bfloat16.

`precision="bfloat16"` beside float32, in processor seconds on one thread, so that what else the machine does counts
less; "faster" is the median over rounds of the ratio. The network is that of the training benchmark, its rows those of
the same names; a fit is of one epoch, checks and statistics included. The backbone is EfficientNet-Lite0 with its
weights, on photographs at 96 pixels: frozen, which is one pass over the images, and trained for an epoch. Accuracies
are of equal networks that differ in precision alone.
"""

import time
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch

from benchmarks.datasets import fashion_mnist
from benchmarks.grid_search import BACKBONE, SIDE, photographs
from benchmarks.timing import in_turn, ratio, spread, table
from benchmarks.training import LEARNING_RATE, make_problems
from sklcnn import CNNClassifier

PRECISIONS = ("float32", "bfloat16")


def measure(quick):
    """Measure speed and accuracy on one thread, and return a table of each."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return "\n\n".join((speeds(quick), accuracies(quick), instructions()))
    finally:
        torch.set_num_threads(n_threads)


def speeds(quick):
    """Time each task in both precisions, in turn."""
    rows = []
    for name, task in tasks(quick).items():
        runs = {
            precision: lambda precision=precision, task=task: {precision: processor_seconds(task(precision))}
            for precision in PRECISIONS
        }
        rounds = in_turn(runs, n_rounds=1 if quick else 5)
        cells = [spread(rounds[precision]) for precision in PRECISIONS]
        rows.append([name, *cells, f"{ratio(rounds, 'float32', 'bfloat16'):.2f}"])
    return table(["processor seconds", *PRECISIONS, "times faster"], rows)


def tasks(quick):
    """Return by name what takes a precision, prepares and gives the call to time."""
    made = {}
    for problem in make_problems(quick)[:3]:
        title = problem.title.partition(",")[0]
        made[f"fit, {title}"] = partial(prepare, problem.images, problem.labels, "fit", batch_size=problem.batch_size)
        made[f"predict, {title}"] = partial(
            prepare, problem.images, problem.labels, "predict", batch_size=problem.batch_size
        )
    images, labels = photographs(n_each=6 if quick else 48)
    backbone = {"backbone": BACKBONE, "image_size": SIDE, "feature_cache": None, "dense_units": ()}
    made["predict, frozen backbone"] = partial(prepare, images, labels, "predict", **backbone)
    made["fit, backbone trains"] = partial(prepare, images, labels, "fit", freeze_epochs=0, **backbone)
    return made


def prepare(images, labels, method, precision, **params):
    """Return the call to time: a fit of one epoch, or predict of what has been fitted."""
    cnn = classifier(precision, max_epochs=1, **params)
    return partial(cnn.fit, images, labels) if method == "fit" else partial(cnn.fit(images, labels).predict, images)


def classifier(precision, **params):
    return CNNClassifier(precision=precision, learning_rate=LEARNING_RATE, lr_schedule=None, random_state=0, **params)


def processor_seconds(work):
    """Time a call by what it took of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def accuracies(quick):
    """Train equal networks in both precisions from several seeds, and compare their accuracy."""
    n_rows, n_test, n_seeds = (300, 300, 2) if quick else (3000, 5000, 5)
    try:
        (X, y), (X_test, y_test) = fashion_mnist("train"), fashion_mnist("test")
    except (OSError, RuntimeError):
        return "Accuracy: not measured, Fashion-MNIST cannot be had."
    scores = {precision: [] for precision in PRECISIONS}
    for seed in range(n_seeds):
        for precision in PRECISIONS:
            cnn = CNNClassifier(precision=precision, max_epochs=5, random_state=seed, spatial_dims=2)
            scores[precision].append(cnn.fit(X[:n_rows], y[:n_rows]).score(X_test[:n_test], y_test[:n_test]))
    differences = [b - f for f, b in zip(*scores.values(), strict=True)]
    rows = [[precision, spread(scores[precision], 4)] for precision in PRECISIONS]
    return table([f"accuracy, {n_seeds} seeds", "on test rows"], rows) + (
        f"\n\n{n_rows:,} rows of Fashion-MNIST, 5 epochs, {n_test:,} test rows. bfloat16 less float32, seed by seed: "
        f"{mean(differences):+.4f} on average, standard deviation {stdev(differences):.4f}."
    )


def instructions():
    """Say which of bfloat16's instructions the processor has."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "Which instructions the processor has is not known."
    found = sorted({"amx_bf16", "avx512_bf16"} & words)
    return f"Instructions for bfloat16: {', '.join(found) or 'none'}."
