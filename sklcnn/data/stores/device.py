"""Samples kept on an accelerator."""

from __future__ import annotations

import numpy as np
import torch

from sklcnn.data.glance import Glance
from sklcnn.data.stores.arrays import channels_to_front
from sklcnn.data.stores.base import Store


class DeviceStore(Store):
    """Samples kept on an accelerator, in their own number format.

    Parameters
    ----------
    samples : tensor of shape (n, *spatial, c)
    store : Store
        Where they come from.
    """

    def __init__(self, samples: torch.Tensor, store: Store):
        self._samples = samples
        self._store = store
        self.sample_shape, self.integer = store.sample_shape, store.integer

    def __len__(self):
        return len(self._samples)

    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Return the samples of some rows, (n, c, *spatial), where they are kept."""
        return channels_to_front(self._samples[rows].contiguous()).to(dtype)

    def keys(self, rows: torch.Tensor | slice) -> list[bytes]:
        """Return a digest of each sample's content."""
        return self._store.keys(rows)

    def original(self, row: int) -> tuple[np.ndarray, str | None]:
        """Return a sample as the user gave it."""
        return self._store.original(row)

    def glance(self, rows: np.ndarray | None) -> Glance:
        """Look at a few of the given rows (None: of all rows)."""
        return self._store.glance(rows)

    def samples(self) -> torch.Tensor:
        """Return all samples as they are kept, (n, *spatial, c)."""
        return self._samples
