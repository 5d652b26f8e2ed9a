"""Small fitted estimators on each kind of sample, and networks whose weights are set by hand."""

import itertools
import random
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from sklcnn import CNNClassifier

matplotlib.use("agg")

SHAPES = {
    "signals": (30,),
    "signals of three channels": (30, 3),
    "grey": (12, 12),
    "colour": (12, 10, 3),
    "volumes": (6, 7, 8, 1),
}
SMALL = {"filters": (3, 2), "dense_units": (), "max_epochs": 1, "batch_size": 12, "random_state": 0}


@dataclass
class Case:
    X: object
    y: np.ndarray
    cnn: CNNClassifier


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """Fit a classifier of three named classes, and its data, for each kind of sample."""
    rng = np.random.RandomState(0)
    y = np.array(["apple", "pear", "fig"] * 8)
    found = {}
    for kind, shape in SHAPES.items():
        X = rng.rand(24, *shape)
        if kind == "colour":
            X = (255 * X).astype(np.uint8)
        options = {"spatial_dims": 1} if kind == "signals of three channels" else {}
        found[kind] = Case(X, y, CNNClassifier(**SMALL, **options).fit(X, y))
    grey = found["grey"].X
    rows = grey.reshape(24, -1)
    found["flat rows"] = Case(rows, y, CNNClassifier(input_shape=(12, 12), **SMALL).fit(rows, y))
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, pixels in enumerate(found["colour"].X):
        paths.append(str(folder / f"fruit {number}.png"))
        Image.fromarray(pixels).resize((20 + number, 16)).save(paths[-1])
    found["files"] = Case(paths, y, CNNClassifier(image_size=(12, 12), **SMALL).fit(paths, y))
    return found


@pytest.fixture(scope="session")
def two_tone():
    """Make three grey images, bright on the left and dark on the right but for noise, and two more to fit on."""
    rng = np.random.RandomState(0)
    X = 0.2 * rng.rand(5, 8, 10, 1)
    X[:, :, :5] += 0.7
    return X


def fit_by_hand(X, filters, *, estimator=CNNClassifier, y=None, **params):
    """Fit a network of one block, whose weights the caller then sets."""
    options = {"pooling": None, "standardize": False, "precision": "float64", "max_epochs": 1, "random_state": 0}
    y = np.arange(len(X)) % 2 if y is None else y
    return estimator(filters=filters, dense_units=(), **(options | params)).fit(X, y)


def set_weights(layer, weight, bias=0.0):
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(np.asarray(weight)).reshape(layer.weight.shape))
        layer.bias.copy_(torch.as_tensor(bias))


@pytest.fixture(scope="session")
def by_hand():
    return fit_by_hand


@pytest.fixture(scope="session")
def set_by_hand():
    return set_weights


def state_of(cnn):
    """Describe what looking into a network must leave as it was."""
    module = cnn.module_
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        [
            (name, layer.training, [len(getattr(layer, kind)) for kind in hooks])
            for name, layer in module.named_modules()
        ],
        [(name, p.requires_grad, p.grad is None) for name, p in module.named_parameters()],
        [(name, value.tolist()) for name, value in module.state_dict().items()],
        [getattr(layer, "pool_first", None) for layer in module.modules()],
        sorted(vars(cnn)),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.is_grad_enabled(),
    ]


@pytest.fixture
def describe_state():
    return state_of


def drawn_texts(figure):
    """List the texts that are drawn: titles, labels, and the ticks in view."""
    texts = [*figure.texts]
    for ax in figure.axes:
        texts.append(ax.title)
        if ax.axison:
            texts += [ax.xaxis.label, ax.yaxis.label]
            for axis in (ax.xaxis, ax.yaxis):
                low, high = sorted(axis.get_view_interval())
                ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def overlapping_texts(figure):
    """List the pairs of texts of a figure that lie over each other, and texts that the figure cuts."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in drawn_texts(figure)]
    whole = figure.bbox.padded(1)
    cut = [
        name
        for name, box in boxes
        if not (whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1)
    ]
    pairs = [
        (first, second)
        for (first, one), (second, other) in itertools.combinations(boxes, 2)
        if one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1
    ]
    return pairs + cut


@pytest.fixture
def find_overlaps():
    return overlapping_texts
