"""Augmentation.

Milliseconds for a batch of 128 images of 32x32x3: flips, rotations and crops, one draw a sample, by whole batches and
by torchvision's transforms, sample after sample.
"""

from statistics import median

import torch

from benchmarks.timing import in_turn, ratio, seconds, spread, table
from sklcnn.data.augmentation import build_augmentation

SHAPE = (3, 32, 32)


def measure(quick):
    """Measure milliseconds, and return a table."""
    from torchvision.transforms import v2

    images, targets = torch.rand(128, *SHAPE), torch.arange(128) % 10
    augment = build_augmentation(("flip", "rotate", "crop"), spatial_dims=2, sample_shape=SHAPE)
    transforms = v2.Compose(
        [v2.RandomHorizontalFlip(), v2.RandomRotation(15, v2.InterpolationMode.BILINEAR), v2.RandomCrop(32, padding=4)]
    )
    works = {
        "sklcnn": lambda: augment(images, targets),
        "torchvision": lambda: torch.stack([transforms(image) for image in images]),
    }

    def run(name):
        return {name: 1000 * median(seconds(works[name]) for _ in range(2 if quick else 20))}

    rounds = in_turn({name: lambda name=name: run(name) for name in works}, 1 if quick else 5)
    rows = [[name, spread(rounds[name], 1), f"{ratio(rounds, name, 'sklcnn'):.1f}"] for name in works]
    return table(["", "milliseconds a batch", "ratio"], rows)
