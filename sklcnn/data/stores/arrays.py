"""Samples of an array, as channels-last batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from sklcnn.data.glance import FEW_SAMPLES, Glance, glance_at, some_of
from sklcnn.data.pictures.resizing import resize_images
from sklcnn.data.schema import InputSchema
from sklcnn.data.stores.base import CHUNK_VALUES, Store, digest_samples

# What torch computes with directly; other formats are cast by NumPy first.
TORCH_DTYPES = {np.dtype(name) for name in ("uint8", "int8", "int16", "int32", "int64", "float32", "float64")}
NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


def channels_to_front(samples):
    """See contiguous samples (n, *spatial, c) as (n, c, *spatial)."""
    # Flattened in between, so that a single channel has the strides of channels-last too: otherwise torch takes it for
    # channels-first, which is slower and rounds differently.
    return samples.reshape(-1).view(samples.shape).movedim(-1, 1)


class ArrayStore(Store):
    """Rows of an array, whatever its layout, as channels-last batches.

    Parameters
    ----------
    array : ndarray of shape (n, ...)
        Not copied; a memory map is read by the batch.
    schema : InputSchema
    """

    def __init__(self, array: np.ndarray, schema: InputSchema):
        assert schema.array_shape is not None
        self._array = array
        self._shape = schema.array_shape
        self._channel_axis = schema.channel_axis
        self._layout = (*self._shape, 1) if self._channel_axis is None else self._shape
        self._size = schema.spec.image_size
        self.sample_shape = schema.sample_shape
        self.integer = schema.integer
        if self._size is not None and self._size == self._spatial_shape():
            self._size = None
        # NumPy's `take` first copies the whole of an array that is not so; indexing reads the rows alone.
        self._by_take = array.flags.c_contiguous and array.flags.aligned
        # Torch gathers rows in half of NumPy's time, but not from read-only memory.
        self._by_torch = array.dtype in TORCH_DTYPES and array.flags.writeable and self._by_take

    def _spatial_shape(self):
        if self._channel_axis is None:
            return self._shape
        return self._shape[1:] if self._channel_axis == 0 else self._shape[:-1]

    def __len__(self):
        return len(self._array)

    def _gather(self, rows):
        """Gather rows as (n, *spatial, c), in the array's own number format."""
        if isinstance(rows, slice):
            part = self._array[rows]
        else:
            part = self._array.take(rows.numpy(), axis=0) if self._by_take else self._array[rows.numpy()]
        part = part.reshape(len(part), *self._shape)
        if self._channel_axis is None:
            return part[..., None]
        return part if self._channel_axis == -1 else np.moveaxis(part, 1, -1)

    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Return the samples of some rows, (n, c, *spatial), laid out channels-last."""
        images = self._gather_by_torch(rows) if self._by_torch else self._gather_by_numpy(rows, dtype)
        if self._size is not None:
            images = self._resized(images, dtype)
        return images if images.dtype == dtype else images.to(dtype)

    def _gather_by_numpy(self, rows, dtype):
        part = self._gather(rows)
        if part.dtype not in TORCH_DTYPES:
            part = part.astype(NUMPY_DTYPES[dtype], order="C")
        part = np.ascontiguousarray(part)
        if not part.flags.writeable:
            part = part.astype(NUMPY_DTYPES[dtype])
        return channels_to_front(torch.from_numpy(part))

    def _gather_by_torch(self, rows):
        if isinstance(rows, slice):
            part = self._array[rows]
            part = torch.from_numpy(part.reshape(len(part), *self._layout))
        else:
            part = self._table.index_select(0, rows).view(len(rows), *self._layout)
        if self._channel_axis == 0:
            return channels_to_front(part.movedim(1, -1).contiguous())
        return channels_to_front(part)

    @cached_property
    def _table(self):
        """All samples, one a row."""
        return torch.from_numpy(self._array.reshape(len(self._array), -1))

    def samples(self) -> torch.Tensor | None:
        """Return all samples as (n, *spatial, c), in their own format; None where that would take a copy."""
        if self._size is not None or self._array.dtype not in TORCH_DTYPES or not self._array.flags.writeable:
            return None
        if any(stride < 0 or stride % self._array.itemsize for stride in self._array.strides):
            return None  # rows in reverse order, or a field of records: torch has no view of these
        return torch.from_numpy(self._gather(slice(None)))

    def _resized(self, images, dtype):
        images = images.to(torch.uint8 if self.integer else dtype)
        return resize_images(images, self._size)

    def keys(self, rows: torch.Tensor | slice) -> list[bytes]:
        """Return a digest of each sample's content."""
        rows = torch.arange(len(self))[rows] if isinstance(rows, slice) else rows
        keys = []
        for some in rows.split(max(1, CHUNK_VALUES // math.prod(self._shape))):  # gathering copies
            keys += digest_samples(np.ascontiguousarray(self._gather(some)))
        return keys

    def original(self, row: int) -> tuple[np.ndarray, str | None]:
        """Return a sample as it came, (*spatial, c), and the path of its file: None."""
        return self._gather(slice(row, row + 1))[0], None

    def glance(self, rows: np.ndarray | None) -> Glance:
        """Look at a few of the given rows (None: of all rows)."""
        return glance_at(self.original(row)[0] for row in self._some_of(rows))

    def bounds(self, rows: np.ndarray | None) -> tuple[Sequence[float], Sequence[float]]:
        """Return the least and the greatest value that a glance sees, without looking at anything else.

        Of each channel, where a few samples are seen and channels are compared: in signals and volumes.
        """
        seen = self._array if rows is None and len(self) == 1 else self._array[self._some_of(rows)]
        channels = self._channel_axis
        if channels is None or len(seen) < FEW_SAMPLES or self.sample_shape[0] == 1 or len(self.sample_shape) == 3:
            return (float(np.minimum.reduce(seen, axis=None)),), (float(np.maximum.reduce(seen, axis=None)),)
        axes = tuple(axis for axis in range(len(self._shape)) if axis != channels % len(self._shape))
        flat = seen.reshape(len(seen), -1)  # over rows first, of which whole ones are compared at once
        lows, highs = (
            reduce.reduce(reduce.reduce(flat, axis=0).reshape(self._shape), axis=axes)
            for reduce in (np.minimum, np.maximum)
        )
        return lows.tolist(), highs.tolist()

    def _some_of(self, rows):
        return some_of(range(len(self)) if rows is None else rows, math.prod(self._shape))
