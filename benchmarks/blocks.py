"""Blocks.

Seconds an epoch of plain, residual and inception networks (two blocks of 32 and 64 filters, each with max pooling, and
128 dense units; residual and inception ones with batch norm), trained by Adam at a constant rate without
standardisation, against the same network written by hand in PyTorch and trained by the tuned loop of
`benchmarks/peers.py`. "x" is the ratio to the fastest of the loop's layouts, which the last column names. An epoch is
the median over a fit's epochs.
"""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.datasets import fashion_or_noise
from benchmarks.peers import LEARNING_RATE, N_CLASSES, UNITS
from benchmarks.timing import in_turn, ratio, spread, table
from sklcnn import CNNClassifier

FILTERS = (32, 64)
SKLCNN, HAND = "sklcnn", "by hand"
CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


class Residual(nn.Module):
    """Two convolutions with a shortcut around them; the activation comes after the pooling behind."""

    def __init__(self, n_in, n_out, kernel, n_axes):
        super().__init__()
        conv, norm = CONVS[n_axes], NORMS[n_axes]
        self.body = nn.Sequential(
            conv(n_in, n_out, kernel, padding="same"), norm(n_out), nn.ReLU(),
            conv(n_out, n_out, kernel, padding="same"), norm(n_out),
        )  # fmt: skip
        self.around = nn.Sequential(conv(n_in, n_out, 1), norm(n_out))

    def forward(self, maps):
        return self.body(maps) + self.around(maps)


class Inception(nn.Module):
    """A module of kernels of k, k/2 and k/4 on a bottleneck, and of 1 on the maxima."""

    def __init__(self, n_in, n_out, kernel, n_axes):
        super().__init__()
        conv, width = CONVS[n_axes], n_out // 4
        self.bottleneck = conv(n_in, width, 1) if n_in > 1 else nn.Identity()
        kernels = (kernel, (kernel + 1) // 2, max(1, round(kernel / 4)))
        self.convs = nn.ModuleList(conv(width if n_in > 1 else 1, width, k, padding="same") for k in kernels)
        self.pool, self.pooled = POOLS[n_axes](3, 1, padding=1), conv(n_in, width, 1)
        self.norm = NORMS[n_axes](n_out)

    def forward(self, maps):
        narrow = self.bottleneck(maps)
        return self.norm(torch.cat([*(conv(narrow) for conv in self.convs), self.pooled(self.pool(maps))], dim=1))


class Inceptions(nn.Module):
    """Three modules with a shortcut around them."""

    def __init__(self, n_in, n_out, kernel, n_axes):
        super().__init__()
        self.body = nn.Sequential(
            Inception(n_in, n_out, kernel, n_axes), nn.ReLU(), Inception(n_out, n_out, kernel, n_axes), nn.ReLU(),
            Inception(n_out, n_out, kernel, n_axes),
        )  # fmt: skip
        self.around = nn.Sequential(CONVS[n_axes](n_in, n_out, 1), NORMS[n_axes](n_out))

    def forward(self, maps):
        return self.body(maps) + self.around(maps)


def plain(n_in, n_out, kernel, n_axes):
    """Build one convolution."""
    return CONVS[n_axes](n_in, n_out, kernel, padding="same")


BLOCKS = {"plain": plain, "residual": Residual, "inception": Inceptions}


class Flatten(nn.Module):
    """Flatten maps position by position, which is free where they are channels-last in memory."""

    def forward(self, maps):
        return maps.movedim(1, -1).flatten(1)


@dataclass(frozen=True)
class Problem:
    """A row of the table.

    Attributes
    ----------
    block : str
    kernel : int
    samples : ndarray of shape (n, *positions, channels), float32
    labels : ndarray of shape (n,)
    """

    block: str
    kernel: int
    samples: np.ndarray
    labels: np.ndarray
    batch_size: int = 128
    n_epochs: int = 4

    @property
    def title(self):
        """Name the block and the samples."""
        *size, _ = self.samples.shape[1:]
        return f"{self.block}, kernels of {self.kernel}, {'x'.join(map(str, size))}, {len(self.samples):,} rows"


def measure(quick):
    """Measure seconds, and return the table."""
    rows = []
    for problem in make_problems(quick):
        layouts = ("channels last", "channels first", "one row of pixels")[: 2 + (problem.samples.ndim == 3)]
        contestants = {f"{HAND}: {layout}": lambda p=problem, name=layout: by_hand(p, name) for layout in layouts}
        contestants[SKLCNN] = lambda p=problem: by_sklcnn(p)
        rounds = in_turn(
            {name: lambda name=name, run=run: {name: run()} for name, run in contestants.items()}, 1 if quick else 5
        )
        fastest = min((name for name in rounds if name != SKLCNN), key=lambda name: median(rounds[name]))
        rows.append([
            problem.title, spread(rounds[fastest]), f"{spread(rounds[SKLCNN])} x{ratio(rounds, SKLCNN, fastest):.2f}",
            fastest.removeprefix(f"{HAND}: "),
        ])  # fmt: skip
    return table(["", "tuned loop", "sklcnn, standardize=False", "layout"], rows)


def make_problems(quick):
    """Return the rows of the table."""
    less = 20 if quick else 1
    clothes, kinds = fashion_or_noise(3000 // less)
    images = clothes[..., None].astype(np.float32) / np.float32(255)
    signals = np.random.default_rng(0).standard_normal((3000 // less, 128, 1), np.float32)
    classes = np.arange(len(signals)) % N_CLASSES
    return [
        *(Problem(block, kernel, images, kinds) for block, kernel in (("plain", 3), ("residual", 3), ("inception", 5))),
        *(
            Problem(block, kernel, signals, classes)
            for block, kernel in (("plain", 7), ("residual", 7), ("inception", 40))
        ),
    ]


def build_by_hand(problem, one_row=False):
    """Build a problem's network; of signals, as images of one row where that is asked for."""
    *size, channels = problem.samples.shape[1:]
    n_axes, layers = len(size), []
    for filters in FILTERS:
        layers += [BLOCKS[problem.block](channels, filters, problem.kernel, n_axes), POOLS[n_axes](2), nn.ReLU()]
        channels, size = filters, [n // 2 for n in size]
    head = [nn.Linear(channels * int(np.prod(size)), UNITS)]
    head += [nn.BatchNorm1d(UNITS)] * (problem.block != "plain") + [nn.ReLU(), nn.Linear(UNITS, N_CLASSES)]
    network = nn.Sequential(*layers, Flatten(), *head)
    return as_images(network) if one_row else network


def as_images(network):
    """Turn layers of signals into those of images of one row."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Conv1d):
                (k,) = layer.kernel_size
                setattr(module, name, nn.Conv2d(layer.in_channels, layer.out_channels, (1, k), padding=layer.padding))
            elif isinstance(layer, nn.MaxPool1d):
                window, stride, padding = ((1, layer.kernel_size), (1, layer.stride), (0, layer.padding))
                setattr(module, name, nn.MaxPool2d(window, stride, padding))
            elif isinstance(layer, nn.BatchNorm1d) and module is not network:
                setattr(module, name, nn.BatchNorm2d(layer.num_features))
    return network


def by_hand(problem, layout):
    """Train a problem's network by the tuned loop; return the seconds of an epoch."""
    inputs, targets = torch.from_numpy(problem.samples), torch.from_numpy(problem.labels)
    network = build_by_hand(problem, layout == "one row of pixels")
    if layout == "one row of pixels":
        inputs = inputs[:, None]
    if layout == "channels first":
        inputs = inputs.movedim(-1, 1).contiguous()
    elif inputs.ndim == 4:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    epochs = []
    for _ in range(problem.n_epochs):
        start = time.perf_counter()
        total = torch.zeros(())
        for rows in torch.randperm(len(inputs)).split(problem.batch_size):
            batch = inputs[rows] if layout == "channels first" else inputs[rows].movedim(-1, 1)
            optimizer.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(network(batch), targets[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)
        epochs.append(time.perf_counter() - start)
    return median(epochs)


def make_sklcnn(problem, **params):
    """Make the estimator of a problem's network."""
    return CNNClassifier(
        filters=FILTERS, kernel_size=problem.kernel, block=problem.block, batch_norm=problem.block != "plain",
        dense_units=UNITS, standardize=False, learning_rate=LEARNING_RATE, lr_schedule=None, random_state=0,
        data_format="channels_last", spatial_dims=problem.samples.ndim - 2, batch_size=problem.batch_size,
        max_epochs=problem.n_epochs, **params,
    )  # fmt: skip


def by_sklcnn(problem):
    """Train it by sklcnn; return the seconds of an epoch."""
    return make_sklcnn(problem).fit(problem.samples, problem.labels).history_["duration"].median()
