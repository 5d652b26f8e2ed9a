"""Augmentation: random changes to whole training batches, with a draw of its own for each sample.

The names a user may give are the keys of `AUGMENTATIONS`; they are applied in the order of that table,
however they were written. Nothing is assumed about the range of the values: colours are changed relative
to each sample's own mean and spread, and what a move uncovers is filled from the sample itself, so that
pixels in 0..255, in 0..1 and standardised ones are treated alike.

Inside this package a batch is called ``images`` and is channels-last: ``(n, *spatial, c)``, where
``spatial`` is ``(length,)``, ``(h, w)`` or ``(d, h, w)``. All draws come from torch's global CPU generator,
whatever the device of the batch.
"""

from sklcnn.data.augmentation.checks import check_augmentation, read_strengths
from sklcnn.data.augmentation.pipeline import Augmentation, build_augmentation
from sklcnn.data.augmentation.table import AUGMENTATIONS

__all__ = ["AUGMENTATIONS", "Augmentation", "build_augmentation", "check_augmentation", "read_strengths"]
