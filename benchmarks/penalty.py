"""What regularisation costs.

Shares of an epoch of the two-block network: the l1 and l2 penalties, whose gradients are added in each step, and early
stopping's copies of the weights, once an epoch. Each part is timed by itself, in the network that was trained:
differences of whole epochs of a few percent drown in the noise. What validation on as many rows adds to an
epoch is compared with bare forward passes over them.
"""

import math
from statistics import median

import torch

from benchmarks.predicting import forward
from benchmarks.timing import in_turn, seconds, spread, table
from benchmarks.training import make_problems
from sklcnn import CNNClassifier
from sklcnn.network.penalties import add_penalty_gradients, penalised_weights, weight_penalty
from sklcnn.training.copies import Snapshot
from sklcnn.training.evaluation import evaluation_batch_size

PENALTIES = {"l2": (0.0, 1e-4), "l1": (1e-4, 0.0), "l1 and l2": (1e-4, 1e-4)}
COPY = "copies of the weights"
VALIDATION = "validation / forward passes over its rows"


def measure(quick):
    """Measure shares, and return a table, problem by problem."""
    columns, n_rounds = [], 1 if quick else 5
    problems = make_problems(quick)[:3]
    for problem in problems:
        columns.append(in_turn({"shares": lambda problem=problem: shares(problem)}, n_rounds))
    rows = [[name, *(spread(column[name], 2) for column in columns)] for name in (*PENALTIES, COPY)]
    head = ["percent of an epoch", *(problem.title for problem in problems)]
    times = [[VALIDATION, *(spread(column[VALIDATION], 2) for column in columns)]]
    return table(head, rows) + "\n\n" + table(["ratio", *head[1:]], times)


def shares(problem):
    """Measure the parts in percent of an epoch, and validation on as many rows as are trained on."""
    images, labels = problem.images, problem.labels
    cnn = CNNClassifier(lr_schedule=None, learning_rate=1e-3, batch_size=problem.batch_size, max_epochs=3)
    validated = median(cnn.fit(images, labels, X_val=images, y_val=labels).history_["duration"])
    epoch = median(cnn.fit(images, labels).history_["duration"])
    module, optimizer = cnn.module_, cnn.net_.optimizer_
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    batch_size = evaluation_batch_size(module, cnn.sample_shape_)
    measured = {VALIDATION: (validated - epoch) / often(lambda: forward(module, inputs, batch_size), n=5)}
    weights = penalised_weights(module)
    for parameter in weights:
        parameter.grad = torch.zeros_like(parameter)
    n_batches = math.ceil(len(images) / problem.batch_size)
    for name, strengths in PENALTIES.items():
        step = often(lambda strengths=strengths: add_penalty_gradients(weights, *strengths))
        once = often(lambda strengths=strengths: weight_penalty(penalised_weights(module), *strengths))
        measured[name] = 100 * (n_batches * step + once) / epoch
    snapshot = Snapshot(module, optimizer)
    snapshot.take(1)
    measured[COPY] = 100 * often(lambda: snapshot.take(2)) / epoch
    return measured


def often(work, n=30):
    """Measure the median seconds of a few calls."""
    return median(seconds(work) for _ in range(n))
