"""How fitting grows.

Seconds of a fit as one thing grows and all else stays; the slope is that of a line through the logarithms: 1 is
linear. Least of three runs.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from benchmarks.datasets import fashion_or_noise, noise
from benchmarks.timing import seconds, slope, table
from sklcnn import CNNClassifier


def measure(quick):
    """Measure the time as rows, epochs and so on grow, a table each."""
    n_rounds = 1 if quick else 3
    return "\n\n".join(
        series(title, sizes[: 2 if quick else None], fit, n_rounds)
        for title, sizes, fit in (
            ("rows of 28x28, one epoch", (1000, 10_000, 60_000), fit_rows),
            ("side of 128 images of one channel, one epoch", (8, 16, 32, 64, 128, 224), fit_side),
            ("filters f, 2f of two blocks, 1,000 rows of 28x28, one epoch", (8, 16, 32, 64, 128), fit_filters),
            ("candidates of a search, three folds, 500 digits, two epochs", (1, 2, 4, 8, 16), fit_candidates),
            (
                "candidates of a search over a frozen backbone, three folds, 60 new images of 96x96, ten epochs",
                (1, 2, 4, 8, 16),
                fit_frozen_candidates,
            ),
        )
    )


def series(title, sizes, fit, n_rounds):
    """Time `fit` for each size, in turn; return one table."""
    fit(sizes[0])
    times = [[seconds(fit, size) for size in sizes] for _ in range(n_rounds)]
    least = np.min(times, axis=0)
    head = [title, *(f"{size:,}" for size in sizes), "slope"]
    return table(head, [["seconds", *(f"{time:.3g}" for time in least), f"{slope(sizes, least):.2f}"]])


def fit_rows(n_rows):
    CNNClassifier(max_epochs=1).fit(*fashion_or_noise(n_rows))


def fit_side(side):
    CNNClassifier(max_epochs=1).fit(*noise(128, side, side))


def fit_filters(filters):
    CNNClassifier(filters=(filters, 2 * filters), max_epochs=1).fit(*fashion_or_noise(1000))


def fit_candidates(n_candidates):
    pixels, labels = load_digits(return_X_y=True)
    cnn = CNNClassifier(input_shape=(8, 8), max_epochs=2)
    GridSearchCV(cnn, {"dropout": dropouts(n_candidates)}, cv=3, refit=False).fit(pixels[:500], labels[:500])


def fit_frozen_candidates(n_candidates):
    # New images each time, so that none is found in the cache of an earlier search.
    images = np.random.default_rng().integers(0, 256, (60, 96, 96, 3), np.uint8)
    cnn = CNNClassifier(backbone="efficientnet_lite0", image_size=96, max_epochs=10)
    GridSearchCV(cnn, {"dropout": dropouts(n_candidates)}, cv=3, refit=False).fit(images, np.arange(60) % 2)


def dropouts(n):
    return np.linspace(0, 0.5, n).tolist()
