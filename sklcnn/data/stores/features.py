"""Features of a frozen backbone, which stand in for the images that they were computed from."""

from __future__ import annotations

import numpy as np
import torch

from sklcnn.data.glance import Glance, glance_at, some_of
from sklcnn.data.stores.base import Store, digest_samples


class FeatureStore(Store):
    """Rows of features that a network's head gets in the place of images.

    Parameters
    ----------
    features : tensor of shape (n, d)
    """

    integer = False

    def __init__(self, features: torch.Tensor):
        self._features = features
        self.sample_shape = tuple(features.shape[1:])

    def __len__(self):
        return len(self._features)

    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Return the features of some rows, (n, d)."""
        return self._features[rows].to(dtype)

    def keys(self, rows: torch.Tensor | slice) -> list[bytes]:
        """Return a digest of each row of features."""
        return digest_samples(self._features[rows].cpu().numpy())

    def original(self, row: int) -> tuple[np.ndarray, str | None]:
        """Return the features of a row, (d,), and the path of its file: None."""
        return self._features[row].cpu().numpy(), None

    def glance(self, rows: np.ndarray | None) -> Glance:
        """Look at a few of the given rows (None: of all rows)."""
        some = some_of(range(len(self)) if rows is None else rows, self._features.shape[1])
        return glance_at(self.original(row)[0] for row in some)
