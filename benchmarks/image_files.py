"""Images per second from JPEG files, against torchvision's ImageFolder and DataLoader.

Five hundred crops of photographs, 224 x 224, in batches of 64 float32 images; the first epoch
decodes every file, later ones find the pictures in memory. Best of three, files in the disk cache.
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

from sklcnn.data.image_cache import IMAGE_CACHE
from sklcnn.data.images import ImageStore

N_FILES, SIDE, BATCH_SIZE, N_REPEATS = 500, 224, 64, 3


def main():
    """Print a table: one row a reader, images per second in the first and in later epochs."""
    with tempfile.TemporaryDirectory() as folder:
        write_crops(Path(folder) / "crops")
        # Both import their decoders when first used, which is no part of an epoch.
        time_sklcnn(folder, n_jobs=1)
        time_torchvision(folder, num_workers=0)
        print(f"{'images per second':<36}{'first epoch':>12}{'later':>12}")
        for n_jobs in (1, 2):
            print_row(f"sklcnn, n_jobs={n_jobs}", best(time_sklcnn, folder, n_jobs))
        for num_workers in (0, 1, 2):
            print_row(f"ImageFolder, num_workers={num_workers}", best(time_torchvision, folder, num_workers))


def write_crops(folder):
    """Write crops of photographs that ship with scikit-learn and scikit-image."""
    rng = np.random.default_rng(0)
    photographs = [*load_sample_images().images, skimage.data.astronaut(), skimage.data.chelsea()]
    folder.mkdir()
    for i in range(N_FILES):
        photograph = photographs[i % len(photographs)]
        top, left = (rng.integers(0, size - SIDE) for size in photograph.shape[:2])
        crop = photograph[top : top + SIDE, left : left + SIDE]
        Image.fromarray(crop).save(folder / f"{i:03d}.jpg", quality=90)


def time_sklcnn(folder, n_jobs):
    """Time a store from the paths on: the first epoch includes the reading of all headers."""
    IMAGE_CACHE.clear()
    start = time.perf_counter()
    store = ImageStore(sorted(Path(folder).glob("*/*.jpg")), n_jobs=n_jobs)

    def epoch():
        return store.batches(torch.randperm(len(store)).split(BATCH_SIZE), torch.float32)

    first = seconds_of(epoch(), start)
    return first, seconds_of(epoch())


def time_torchvision(folder, num_workers):
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


def best(time_reader, *arguments):
    """Keep the fastest first and the fastest later epoch."""
    return np.min([time_reader(*arguments) for _ in range(N_REPEATS)], axis=0)


def print_row(name, seconds):
    """Print one reader's images per second."""
    first, later = N_FILES / seconds
    print(f"{name:<36}{first:>12,.0f}{later:>12,.0f}")


if __name__ == "__main__":
    main()
