"""Training.

Seconds an epoch of one network (convolutions of 32 and 64 filters of 3x3, each with 2x2 max pooling, and 128 dense
units), trained by Adam at a constant rate. "x" is the ratio to the tuned loop: the fastest of three that are written
by hand, in `benchmarks/peers.py`. An epoch is the median over a fit's epochs; a whole fit is everything from the call
to its return, divided by its epochs: checks, statistics and the building of the network are in it.
"""

import os
import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.datasets import fashion_or_noise, noise
from benchmarks.peers import (
    LEARNING_RATE,
    TUNED_LAYOUTS,
    FlattenPositions,
    build_network,
    keras_model,
    skorch_net,
    tuned_loop,
    tutorial_loop,
)
from benchmarks.timing import in_turn, ratio, seconds, spread, table
from sklcnn import CNNClassifier

TUNED, SKLCNN, PEAK = "tuned loop", "sklcnn, standardize=False", "matrix multiplication, GFLOP/s"
WHOLE = ", whole fit"
ROWS = (
    TUNED,
    SKLCNN,
    "sklcnn",
    TUNED + WHOLE,
    SKLCNN + WHOLE,
    "sklcnn" + WHOLE,
    "tutorial loop",
    "skorch",
    "Keras",
)


@dataclass(frozen=True)
class Problem:
    """What a column of the table trains on."""

    title: str
    images: np.ndarray  # (n, height, width, channels), float32 in 0..1 or uint8
    labels: np.ndarray  # (n,), int64
    batch_size: int
    n_epochs: int
    n_rounds: int = 3
    with_peers: bool = True


def measure(quick):
    """Measure seconds, and return the table, which layout was the tuned loop's, and the shares of the peak."""
    problems = make_problems(quick)
    columns = [
        name_fastest_layout(in_turn(contestants(problem), 1 if quick else problem.n_rounds)) for problem in problems
    ]
    head = ["", *(problem.title for problem in problems)]
    layouts = "; ".join(
        f"{problem.title}: {layout}" + f" (the others x{', x'.join(others)})"
        for problem, (_, layout, others) in zip(problems, columns, strict=True)
    )
    rounds = [column[0] for column in columns]
    parts = [
        table(head, [[name, *(cell(column, name) for column in rounds)] for name in ROWS]),
        f"The tuned loop's layout: {layouts}.",
        "" if "KERAS_PYTHON" in os.environ else "Keras: not measured; KERAS_PYTHON names no interpreter.",
        "Of the machine's peak, as large matrix multiplications reach it (float32):",
        table(head, [share_row(name, problems, rounds) for name in (TUNED, SKLCNN, "sklcnn")]),
    ]
    return "\n\n".join(filter(None, parts))


def make_problems(quick):
    """Return the columns of the table."""
    less = 20 if quick else 1

    def floats(images, largest):
        return images.reshape(len(images), *images.shape[1:3], -1).astype(np.float32) / np.float32(largest)

    digits = load_digits()
    clothes, kinds = fashion_or_noise(60_000 // less)
    colours, classes = noise(3000 // less, 32, 32, 3)
    n_small, n_medium = 1500 // less, 6000 // less
    return [
        Problem("8x8 digits, 1,500 rows", floats(digits.images, 16)[:n_small], digits.target[:n_small], 32, 10),
        Problem("28x28, 6,000 rows", floats(clothes[:n_medium], 255), kinds[:n_medium], 128, 3),
        Problem("32x32x3, 3,000 rows", floats(colours, 255), classes, 64, 3),
        Problem("28x28 uint8, 60,000 rows", clothes[..., None], kinds, 128, 2, with_peers=False),
    ]


def contestants(problem):
    """Make what runs in turn on a problem."""
    data = (problem.images, problem.labels, problem.batch_size, problem.n_epochs)

    def run(name, train, *arguments):
        start = time.perf_counter()
        epochs = train(*data, *arguments)
        return {name: median(epochs), name + WHOLE: (time.perf_counter() - start) / problem.n_epochs}

    trainers = {f"{TUNED}: {layout}": (tuned_loop, layout) for layout in TUNED_LAYOUTS}
    trainers |= {SKLCNN: (fit_sklcnn, False), "sklcnn": (fit_sklcnn, True)}
    if problem.with_peers:
        trainers |= {"tutorial loop": (tutorial_loop,), "skorch": (skorch_net,)}
    if problem.with_peers and "KERAS_PYTHON" in os.environ:
        trainers["Keras"] = (keras_model,)
    runs = {name: lambda name=name, trainer=trainer: run(name, *trainer) for name, trainer in trainers.items()}
    return runs | {PEAK: lambda: {PEAK: matmul_peak()}}


def fit_sklcnn(images, labels, batch_size, n_epochs, standardize):
    """Train the same network by sklcnn; return the seconds of each epoch."""
    cnn = CNNClassifier(
        learning_rate=LEARNING_RATE, lr_schedule=None, standardize=standardize, batch_size=batch_size,
        max_epochs=n_epochs, random_state=0,
    )  # fmt: skip
    return cnn.fit(images, labels).history_["duration"].tolist()


def matmul_peak(side=2048):
    """Measure the billions of floating-point operations a second of a large matrix multiplication."""
    one, other = torch.rand(2, side, side)
    return 2 * side**3 / min(seconds(torch.mm, one, other) for _ in range(5)) / 1e9


def name_fastest_layout(rounds):
    """Call the fastest layout the tuned loop; return the rounds, its name and the ratios of the others."""
    names = sorted((f"{TUNED}: {layout}" for layout in TUNED_LAYOUTS), key=lambda name: median(rounds[name]))
    fastest = names[0]
    rounds = rounds | {TUNED: rounds[fastest], TUNED + WHOLE: rounds[fastest + WHOLE]}
    others = [f"{ratio(rounds, name, TUNED):.2f} {name.removeprefix(f'{TUNED}: ')}" for name in names[1:]]
    return rounds, fastest.removeprefix(f"{TUNED}: "), others


def cell(rounds, name):
    """Write seconds an epoch and the ratio to the tuned loop."""
    if name not in rounds:
        return ""
    reference = TUNED + WHOLE if name.endswith(WHOLE) else TUNED
    return f"{spread(rounds[name])} x{ratio(rounds, name, reference):.2f}"


def share_row(name, problems, rounds):
    """Return a contestant's share of the peak, problem by problem."""
    shares = [
        count_operations(problem) / median(column[name]) / 1e9 / median(column[PEAK])
        for problem, column in zip(problems, rounds, strict=True)
    ]
    return [name, *(f"{share:.0%}" for share in shares)]


def count_operations(problem):
    """Count the floating-point operations of an epoch, forward and backward."""
    n_rows = 16
    network = build_network(problem.images.shape[1:], FlattenPositions, pool_first=True)
    batch = torch.from_numpy(problem.images[:n_rows]).permute(0, 3, 1, 2).float()
    with FlopCounterMode(display=False) as counter:
        network(batch).sum().backward()
    return counter.get_total_flops() * len(problem.images) / n_rows
