"""Image files.

Images a second from 500 JPEG files, crops of photographs of 224x224, in batches of 64 float32 images, against
torchvision's ImageFolder and DataLoader; the files are in the disk cache. The first epoch decodes every file (and reads
all headers beforehand), later ones find the pictures in memory. torchvision's workers are kept from one epoch to the
next.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.timing import in_turn, spread, table
from sklcnn.data.pictures.cache import IMAGE_CACHE
from sklcnn.data.pictures.store import ImageStore

N_FILES, SIDE, BATCH_SIZE = 500, 224, 64


def measure(quick):
    """Measure the readers, and return a table: a row a reader, images a second in the first and in later epochs."""
    n_files = 40 if quick else N_FILES
    with tempfile.TemporaryDirectory() as folder:
        write_crops(Path(folder) / "crops", n_files)
        readers = {f"sklcnn, n_jobs={n}": lambda n=n: read_by_sklcnn(folder, n) for n in (1, 2)}
        readers |= {f"ImageFolder, num_workers={n}": lambda n=n: read_by_torchvision(folder, n) for n in (0, 1, 2)}

        def rates(name):
            first, later = readers[name]()
            return {f"{name}, first": n_files / first, f"{name}, later": n_files / later}

        rounds = in_turn({name: lambda name=name: rates(name) for name in readers}, 1 if quick else 3)
    rows = [[name, *(spread(rounds[f"{name}, {epoch}"], 0) for epoch in ("first", "later"))] for name in readers]
    return table(["images a second", "first epoch", "later"], rows)


def write_crops(folder, n_files):
    """Write crops of photographs that ship with scikit-learn and scikit-image."""
    rng = np.random.default_rng(0)
    photographs = [*load_sample_images().images, skimage.data.astronaut(), skimage.data.chelsea()]
    folder.mkdir()
    for i in range(n_files):
        photograph = photographs[i % len(photographs)]
        top, left = (rng.integers(0, size - SIDE) for size in photograph.shape[:2])
        crop = photograph[top : top + SIDE, left : left + SIDE]
        Image.fromarray(crop).save(folder / f"{i:03d}.jpg", quality=90)


def read_by_sklcnn(folder, n_jobs):
    """Time a store from the paths on: the first epoch includes the reading of all headers."""
    IMAGE_CACHE.clear()
    start = time.perf_counter()
    store = ImageStore(sorted(Path(folder).glob("*/*.jpg")), n_jobs=n_jobs)

    def epoch():
        return store.batches(torch.randperm(len(store)).split(BATCH_SIZE), torch.float32)

    first = seconds_of(epoch(), start)
    return first, seconds_of(epoch())


def read_by_torchvision(folder, num_workers):
    """Time the tutorial's loader, workers kept from the first epoch to the second."""
    start = time.perf_counter()
    dataset = ImageFolder(folder, v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)]))
    loader = torch.utils.data.DataLoader(
        dataset, BATCH_SIZE, shuffle=True, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    first = seconds_of(loader, start)
    return first, seconds_of(loader)


def seconds_of(batches, start=None):
    """Time one pass over batches."""
    start = start or time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start
