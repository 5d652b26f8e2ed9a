"""Grid search over a frozen backbone.

GridSearchCV over dropout and l2: six candidates, three folds, ten epochs, and the refit; 200 photographs
(scikit-image's `lfw_subset`, face or not) at 96 pixels, EfficientNet-Lite0 with its ImageNet weights, one process.
The skorch net has the same backbone, head, penalty and optimiser; it runs the backbone again for every epoch,
candidate and fold, as nets do. Both find the backbone's weights read and the libraries imported.
"""

import dataclasses
import logging
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from skimage.data import lfw_subset
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from torch import nn

from benchmarks.timing import table
from sklcnn import CNNClassifier
from sklcnn.network.backbones import load_backbone

BACKBONE, SIDE, UNITS, BATCH_SIZE, LEARNING_RATE = "efficientnet_lite0", 96, 128, 64, 2e-3
DROPOUTS, PENALTIES = [0.0, 0.2, 0.5], [0.0, 1e-3]


def measure(quick):
    """Run the searches, and return a table of them, and of the passes through the backbone that ours took."""
    dropouts, n_epochs = (DROPOUTS[:2], 2) if quick else (DROPOUTS, 10)
    images, labels = photographs(n_each=12 if quick else 100)
    load_backbone(BACKBONE, "pretrained", (3, SIDE, SIDE), scale=1.0)  # read once in a process
    torch.optim.Adam([nn.Parameter(torch.zeros(1))])  # a process's first imports torch's compiler: a second or so
    passes = N_PASSES.value
    ours, our_seconds = search(sklcnn_grid(dropouts, n_epochs), images, labels)
    passes = N_PASSES.value - passes
    theirs, their_seconds = search(skorch_grid(dropouts, n_epochs), three_channels(images), labels)
    rows = [
        ["sklcnn", f"{our_seconds:.1f}", f"{ours.best_score_:.3f}", f"{passes / len(images):.2f}"],
        ["skorch", f"{their_seconds:.1f}", f"{theirs.best_score_:.3f}", f"{FrozenNetwork.n_passes / len(images):.2f}"],
        ["ratio", f"{their_seconds / our_seconds:.0f}", "", ""],
    ]
    with tempfile.TemporaryDirectory() as folder:
        shared = passes_of_two_processes(dropouts, n_epochs, images, labels, Path(folder))
    return table(["", "seconds", "best accuracy", "passes through the backbone, an image"], rows) + (
        "\n\nOne run each. With a folder as `feature_cache` and `n_jobs=2`, "
        f"{shared / len(images):.2f} passes an image, all processes together."
    )


class Passes(logging.Handler):
    """Count the images that go through a backbone in this process."""

    value = 0

    def __init__(self):
        super().__init__(logging.DEBUG)
        logger = logging.getLogger("sklcnn.features")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)

    def emit(self, record):
        """Add a record's number."""
        self.value += record.args[0]


N_PASSES = Passes()


def photographs(n_each):
    """Read images (n, 25, 25) of floats in 0..1, the two classes by turns."""
    images = lfw_subset()
    half = len(images) // 2
    order = np.arange(2 * n_each).reshape(2, n_each)
    order[1] += half - n_each
    return images[order.T.ravel()].astype(np.float32), np.tile([1, 0], n_each)


def search(grid, images, labels):
    """Fit a grid search; return it and the seconds it took."""
    start = time.perf_counter()
    grid.fit(images, labels)
    return grid, time.perf_counter() - start


def folds():
    """Return the folds that both searches use."""
    return StratifiedKFold(3, shuffle=True, random_state=0)


def sklcnn_grid(dropouts, n_epochs, feature_cache="memory", **search_options):
    """Set up the search over ours."""
    cnn = CNNClassifier(
        backbone=BACKBONE, image_size=SIDE, dense_units=(UNITS,), batch_size=BATCH_SIZE, max_epochs=n_epochs,
        learning_rate=LEARNING_RATE, lr_schedule=None, feature_cache=feature_cache, random_state=0,
    )  # fmt: skip
    return GridSearchCV(cnn, {"dropout": dropouts, "l2": PENALTIES}, cv=folds(), **search_options)


def passes_of_two_processes(dropouts, n_epochs, images, labels, folder):
    """Search with two processes that share a folder; return how many images went through a backbone in all."""
    before = N_PASSES.value
    counts = folder / "counts"
    counts.mkdir()
    grid = sklcnn_grid(
        dropouts, n_epochs, feature_cache=str(folder / "features"), n_jobs=2, scoring=CountingScorer(str(counts))
    )
    grid.fit(images, labels)
    return sum(int(file.read_text()) for file in counts.iterdir()) + N_PASSES.value - before


@dataclasses.dataclass
class CountingScorer:
    """Return the accuracy, and write down how many passes the process has made so far."""

    folder: str

    def __call__(self, estimator, X, y):
        accuracy = estimator.score(X, y)
        (Path(self.folder) / str(os.getpid())).write_text(str(N_PASSES.value))
        return accuracy


# The peer.


class FrozenNetwork(nn.Module):
    """A frozen backbone with a head that trains."""

    n_passes = 0

    def __init__(self, dropout=0.0):
        super().__init__()
        self.backbone = load_backbone(BACKBONE, "pretrained", (3, SIDE, SIDE), scale=1.0, frozen=True)
        self.head = nn.Sequential(
            nn.Linear(self.backbone.n_features, UNITS), nn.ReLU(), nn.Dropout(dropout), nn.Linear(UNITS, 2)
        )

    def forward(self, images):
        FrozenNetwork.n_passes += len(images)
        with torch.no_grad():
            features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return self.head(features)


def skorch_grid(dropouts, n_epochs):
    """Set up the search over a skorch net."""
    from skorch import NeuralNetClassifier

    class PenalisedNet(NeuralNetClassifier):
        """With the l2 penalty of the head's weights."""

        def __init__(self, *args, l2=0.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.l2 = l2

        def get_loss(self, *args, **kwargs):
            weights = (layer.weight for layer in self.module_.head if isinstance(layer, nn.Linear))
            penalty = self.l2 * sum(weight.square().sum() for weight in weights) if self.l2 else 0
            return super().get_loss(*args, **kwargs) + penalty

    net = PenalisedNet(
        FrozenNetwork, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=LEARNING_RATE,
        batch_size=BATCH_SIZE, max_epochs=n_epochs, iterator_train__shuffle=True, train_split=None, verbose=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return GridSearchCV(net, {"module__dropout": dropouts, "l2": PENALTIES}, cv=folds(), scoring="accuracy")


def three_channels(images):
    """Resize beforehand, which skorch does not do, and repeat the grey channel."""
    from sklcnn.data.pictures.resizing import resize_images

    grey = resize_images(torch.from_numpy(images)[:, None], (SIDE, SIDE))
    return grey.repeat(1, 3, 1, 1).numpy()
