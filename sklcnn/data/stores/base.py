"""What every store of samples can do."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from sklcnn.data.glance import Glance

CHUNK_VALUES = 2**17  # read together in a pass over all rows: 1 MB of float64 stays in the processor's cache


class Store(ABC):
    """X, read once and indexed by row.

    Rows are a one-dimensional int64 tensor or a slice. Batches are laid out channels-last in memory.

    Attributes
    ----------
    sample_shape : tuple of int
        ``(channels, *spatial)``, as the network sees one sample.
    integer : bool
        Whether values are on the scale of integers 0..255.
    """

    sample_shape: tuple[int, ...]
    integer: bool

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Return the samples of some rows, (n, c, *spatial)."""

    def batches(self, groups: Iterable, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Yield the batches of a sequence of row groups."""
        for rows in groups:
            yield self.batch(rows, dtype)

    @abstractmethod
    def keys(self, rows: torch.Tensor | slice) -> list[bytes]:
        """Return a digest of each sample's content, of 16 bytes."""

    @abstractmethod
    def original(self, row: int) -> tuple[np.ndarray, str | None]:
        """Return a sample as the user gave it, (*spatial, c), and its path where it is a file."""

    @abstractmethod
    def glance(self, rows: np.ndarray | None) -> Glance:
        """Look at a few of the given rows (None: of all rows)."""

    def bounds(self, rows: np.ndarray | None) -> tuple[Sequence[float], Sequence[float]]:
        """Return the least and the greatest value that a glance sees: of each channel, or one of all of them."""
        seen = self.glance(rows)
        return (seen.low,), (seen.high,)

    def samples(self) -> torch.Tensor | None:
        """Return all samples as (n, *spatial, c), in their own format; None where that would take a copy."""
        return None


def digest_samples(samples: np.ndarray) -> list[bytes]:
    """Digest each of some samples, (n, ...), with their number format and shape, to 16 bytes."""
    head = f"{samples.dtype.str}{samples.shape[1:]}".encode()
    return [hashlib.blake2b(head + sample.tobytes(), digest_size=16).digest() for sample in samples]
