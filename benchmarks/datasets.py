"""The data of the benchmarks."""

import functools
import gzip
import os
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))  # of Debian's dataset-fashion-mnist


@functools.cache
def fashion_mnist(part):
    """Read Fashion-MNIST: images (n, 28, 28) of uint8, and labels.

    Parameters
    ----------
    part : {"train", "test"}

    Raises
    ------
    OSError, RuntimeError
        If it is neither in the folder nor to be downloaded.
    """
    if FOLDER.is_dir():
        prefix = {"train": "train", "test": "t10k"}[part]
        images = read_bytes(f"{prefix}-images-idx3-ubyte.gz", offset=16).reshape(-1, 28, 28)
        return images, read_bytes(f"{prefix}-labels-idx1-ubyte.gz", offset=8)
    from torchvision.datasets import FashionMNIST

    data = FashionMNIST(Path.home() / ".cache" / "sklcnn", train=part == "train", download=True)
    return data.data.numpy(), data.targets.numpy()


def read_bytes(name, offset):
    return np.frombuffer(gzip.decompress((FOLDER / name).read_bytes()), np.uint8, offset=offset).copy()


def fashion_or_noise(n_rows):
    """Read rows of Fashion-MNIST; where it cannot be had, make noise of its shape, which takes as long to train on."""
    try:
        images, labels = fashion_mnist("train")
    except (OSError, RuntimeError):
        return noise(n_rows, 28, 28)
    return images[:n_rows], labels[:n_rows].astype(np.int64)


def noise(n_rows, *shape, n_classes=10):
    """Draw images of uint8 and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n_rows, *shape), np.uint8), np.arange(n_rows) % n_classes
