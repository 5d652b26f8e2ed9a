"""X in any of its forms, read once into a store that gives batches by row."""

from __future__ import annotations

import hashlib
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from sklcnn.data.forms import plain_form
from sklcnn.data.glance import (
    DARK,
    SAMPLES,
    Glance,
    glance_at,
    some_of,
    warn_of_another_scale,
    warn_of_dark_pictures,
    warn_of_plain_pictures,
)
from sklcnn.data.numbers import CHUNK_VALUES, SMALLEST, numeric_array, parts_of
from sklcnn.data.pictures.columns import image_sources
from sklcnn.data.pictures.pixels import WHITE_8, WHITE_16
from sklcnn.data.pictures.resizing import resize_images
from sklcnn.data.pictures.store import ImageStore

CHANNEL_COUNTS = (1, 3, 4)
DIMENSION_NAMES = {1: "signals", 2: "images", 3: "volumes"}
KINDS_OF_PIXELS = {WHITE_8: "integers 0..255", WHITE_16: "pictures of 16 bits", 1: "floats"}
# What torch computes with directly; other formats are cast by NumPy first.
TORCH_DTYPES = {np.dtype(name) for name in ("uint8", "int8", "int16", "int32", "int64", "float32", "float64")}
NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
GRAM_CHANNELS = 8
PANEL_RATIO = 3  # of the sides of grey images, from which on they might be signals of several channels


class Store(Protocol):
    """X, indexed by row; see docs/architecture.md."""

    sample_shape: tuple[int, ...]
    integer: bool

    def __len__(self) -> int: ...

    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Give the samples of some rows, (n, c, *spatial), laid out channels-last."""

    def batches(self, groups: Iterable, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Give the batches of a sequence of row groups."""

    def keys(self, rows: torch.Tensor | slice) -> list[bytes]:
        """Give a digest of each sample's content."""

    def original(self, row: int) -> tuple[np.ndarray, str | None]:
        """Give a sample as the user gave it, and its path where it is a file."""

    def glance(self, rows: np.ndarray | None) -> Glance:
        """Look at a few of some rows, or of all."""


@dataclass(frozen=True)
class InputSpec:
    """What the estimator's hyper-parameters say of X."""

    owner: str
    input_shape: tuple[int, ...] | None = None
    spatial_dims: int | None = None
    data_format: str = "auto"
    image_size: tuple[int, int] | None = None
    n_jobs: int | None = None
    precision: str = "float32"  # what the network computes in
    pixels: bool = False  # integers must be 0..255 and floats 0..1: what a backbone needs


@dataclass(frozen=True)
class Reading:
    """How X was understood in `fit`, kept for `predict`.

    Attributes
    ----------
    spec : InputSpec
    sample_shape : tuple of int
        Channels first, as the network sees one sample.
    array_shape : tuple of int or None
        Shape of one sample as X gives it; None for pictures.
    channel_axis : int or None
        0 or -1 within `array_shape`; None where X has no channel axis.
    flat : bool
        Whether X is a table of flat rows.
    integer : bool
        Whether values are integers 0..255.
    unit : float
        What white is: 255 for those, 65535 in pictures of 16 bits, else 1.
    mode : str or None
        Colour mode of pictures, "L" or "RGB".
    glance : Glance or None
        What a few samples hold.
    """

    spec: InputSpec
    sample_shape: tuple[int, ...]
    array_shape: tuple[int, ...] | None = None
    channel_axis: int | None = None
    flat: bool = False
    integer: bool = False
    unit: float = 1
    mode: str | None = None
    glance: Glance | None = None

    @property
    def spatial_dims(self) -> int:
        """1 for signals, 2 for images, 3 for volumes."""
        return len(self.sample_shape) - 1


def read_inputs(X: Any, spec: InputSpec, rows: np.ndarray | None = None) -> tuple[Store, Reading]:
    """Read X as `fit` does: decide what its axes mean.

    Parameters
    ----------
    X : array-like, DataFrame, torch tensor, memory map, or a collection of pictures
    spec : InputSpec
    rows : ndarray of int or None
        The rows that count, in order, as `without_weightless` gives them; None: all. Other rows of an array may hold
        anything, other pictures may be broken.

    Returns
    -------
    store : Store
    reading : Reading

    Raises
    ------
    TypeError, ValueError
        If X cannot be read, or can be read in two ways.
    """
    X = plain_form(X, spec.owner)
    sources = image_sources(X)
    store: Store
    if sources is not None:
        _check_are_images(sources, spec)
        store = ImageStore(sources, image_size=spec.image_size, mode=None, n_jobs=spec.n_jobs, rows=rows)
        _check_input_shape(store, spec)
        reading = Reading(spec, store.sample_shape, integer=store.integer, unit=store.unit, mode=store.mode)
        return store, _at_first_glance(store, reading, rows)
    array = numeric_array(X, spec.owner, rows, spec.precision)
    reading = _understand(array, spec, rows)
    if (spec.pixels or reading.spatial_dims == 2) and _check_pixels(array, spec, rows):
        reading = replace(reading, integer=True, unit=WHITE_8)
    store = ArrayStore(array, reading)
    return store, _at_first_glance(store, reading, rows)


def _at_first_glance(store, reading, rows):
    """Look at a few samples in `fit`, with warnings where they can hardly be what was meant."""
    spec = reading.spec
    glance = store.glance(rows)
    if 0 < glance.peak < SMALLEST[spec.precision]:
        raise ValueError(
            f"{spec.owner}: X holds no values further from zero than {glance.peak:.3g}, of which nothing is left in a "
            f"network that computes in {spec.precision}. Scale X, such as X / np.abs(X).max()."
        )
    # Shares 0..1 that were converted to integers are black too.
    if reading.mode is not None or (reading.integer and glance.peak == 0 and glance.n == SAMPLES):
        warn_of_plain_pictures(glance, len(store), spec.owner)
    if spec.pixels:
        warn_of_dark_pictures(glance, reading.unit, spec.owner)
    return replace(reading, glance=glance)


def _check_are_images(sources, spec):
    """Check that arrays of differing size may be images, which are resized."""
    if spec.spatial_dims in (None, 2) or not all(hasattr(source, "shape") for source in sources):
        return
    shapes = list(dict.fromkeys(tuple(source.shape) for source in sources))
    if len(shapes) > 1:
        raise ValueError(
            f"{spec.owner}: {DIMENSION_NAMES[spec.spatial_dims]} must be of one size, but X holds samples of shape "
            f"{shapes[0]} and {shapes[1]}. Pad or cut them to one size."
        )


def _check_input_shape(store, spec):
    """Check that flat rows, if any come later, would be of the pictures' shape."""
    if spec.input_shape is None:
        return
    shape = _channels_first(spec.input_shape, find_channels(spec.input_shape, spec))
    if shape != store.sample_shape and spec.image_size is None:
        channels, *size = store.sample_shape
        raise ValueError(
            f"{spec.owner}: input_shape={spec.input_shape} is the shape of one sample in a table of flat rows, but X "
            f"holds pictures of shape {tuple(size) if channels == 1 else (*size, channels)}. Leave it out, and resize "
            f"with image_size={spec.input_shape[:2]}."
        )


def read_again(
    X: Any, reading: Reading, n_jobs: int | None = None, rows: np.ndarray | None = None, name: str = "X"
) -> Store:
    """Read X as `predict` does: in the way that was decided in `fit`.

    Parameters
    ----------
    X : like `read_inputs`
        Of any form, whatever that of `fit` was, as long as a sample has the same shape.
    reading : Reading
    n_jobs : int or None
        Threads that decode image files.
    rows : ndarray of int or None
        As in `read_inputs`.
    name : str
        Of X, for warnings.

    Raises
    ------
    TypeError, ValueError
        If a sample of X differs from those of `fit`.
    """
    spec = reading.spec
    X = plain_form(X, spec.owner)
    sources = image_sources(X, stack=reading.mode is None)
    store: Store
    if sources is not None:
        size = spec.image_size or (reading.sample_shape[1:] if reading.spatial_dims == 2 else None)
        mode = reading.mode or {1: "L", 3: "RGB"}.get(reading.sample_shape[0])
        store = ImageStore(
            sources,
            image_size=spec.image_size,
            mode=mode,
            n_jobs=n_jobs,
            rows=rows,
            white=reading.unit if reading.unit > 1 else None,
        )
        _check_same_sample(store.sample_shape, (reading.sample_shape[0], *(size or ())), spec.owner)
        _check_same_kind(store.unit, reading)
    else:
        array = numeric_array(X, spec.owner, rows, spec.precision)
        is_deep = array.dtype == np.uint16 and reading.unit == WHITE_16
        _check_same_kind(WHITE_16 if is_deep else WHITE_8 if array.dtype.kind in "ui" else 1, reading)
        reading = replace(_reading_of(array, reading), integer=reading.integer, glance=reading.glance)
        if (spec.pixels or spec.image_size is not None) and not is_deep:
            reading = replace(reading, integer=_check_pixels(array, spec, rows))
        store = ArrayStore(array, reading)
    if reading.glance is not None:
        warn_of_another_scale(reading.glance, store.glance(rows), reading.spatial_dims, spec.owner, name)
    return store


def _reading_of(array, reading):
    """Give the reading of an array whose samples must be those of `fit`, perhaps with their axes in another order."""
    spec, shape = reading.spec, array.shape[1:]
    if array.ndim == 2:
        flat_shape = reading.array_shape if reading.flat else spec.input_shape
        if flat_shape is None:
            if array.shape == reading.array_shape:
                raise ValueError(
                    f"{spec.owner}: X is one sample, of shape {array.shape}. Pass several, or X[None] for one."
                )
            expected = ", ".join(map(str, reading.array_shape or (*reading.sample_shape[1:], reading.sample_shape[0])))
            raise ValueError(
                f"{spec.owner}: X has shape {array.shape}, but was fitted on samples of shape ({expected}). "
                f"Pass X of shape (n_samples, {expected})."
            )
        if shape[0] != math.prod(flat_shape):
            raise ValueError(
                f"X has {shape[0]} features, but {spec.owner} is expecting {math.prod(flat_shape)} features as input."
            )
        if reading.flat:
            return reading
    elif shape == reading.array_shape:
        return reading
    elif array.shape == reading.array_shape:
        raise ValueError(f"{spec.owner}: X is one sample, of shape {array.shape}. Pass several, or X[None] for one.")
    elif len(shape) - reading.spatial_dims not in (0, 1):
        raise ValueError(
            f"{spec.owner}: a sample of X has shape {shape}, but the network was fitted on "
            f"{DIMENSION_NAMES[reading.spatial_dims]} of shape {reading.sample_shape} (channels first). Pass samples "
            "of that shape."
        )
    else:
        spec = replace(spec, input_shape=None, spatial_dims=reading.spatial_dims)
    other = _understand(array, spec)
    _check_same_sample(other.sample_shape, reading.sample_shape, spec.owner, other.channel_axis)
    return other


def _check_same_sample(shape, expected, owner, channel_axis=-1):
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{owner}: a sample of X has shape {tuple(shape)} (channels first), but the network was fitted on "
            f"samples of shape {tuple(expected)}. {_remedy_for_shape(shape, expected, channel_axis)}"
        )


def _remedy_for_shape(shape, expected, channel_axis):
    """Say how to get the right number of channels, where nothing else differs."""
    if len(shape) != len(expected) or shape[1:] != expected[1:]:
        return "Pass samples of that shape."
    before = ":" if channel_axis == 0 else "..."
    if (shape[0], expected[0], len(shape)) == (3, 1, 3):
        return (
            f"Pass one channel, such as X[{before}, :1]; tools that repeat grey images to three channels, as LIME "
            f"does, are given lambda images: cnn.predict_proba(images[{before}, :1])."
        )
    if (shape[0], expected[0], len(shape)) == (4, 3, 3):
        return f"Leave the alpha channel out: X[{before}, :3]."
    if shape[0] > expected[0]:
        return f"Pass {expected[0]} of the channels, such as X[{before}, :{expected[0]}]."
    if shape[0] == 1:
        size = ", ".join(map(str, expected[1:]))
        return f"Repeat the channel: np.repeat(X.reshape(-1, {size}, 1), {expected[0]}, axis=-1)."
    return "Pass samples of as many channels."


def _check_same_kind(unit, reading):
    if reading.spec.pixels and unit != reading.unit:
        raise ValueError(
            f"{reading.spec.owner}: X holds {KINDS_OF_PIXELS[unit]}, but the network was fitted on "
            f"{KINDS_OF_PIXELS[reading.unit]}, which are scaled differently for a backbone. Pass the kind of numbers "
            "that fit was given."
        )


def _understand(array, spec, rows=None):
    """Decide what the axes of an array mean."""
    flat = array.ndim == 2
    if flat and spec.input_shape is None:
        if spec.spatial_dims not in (None, 1):
            raise ValueError(
                f"{spec.owner}: X is a table with {array.shape[1]} features a row, and spatial_dims="
                f"{spec.spatial_dims}. Pass the shape of one sample as input_shape, such as (28, 28, 1)."
            )
        _warn_if_pixels(array, spec, rows)
        shape: tuple[int, ...] = (array.shape[1],)
    elif flat:
        shape = tuple(int(size) for size in spec.input_shape)
        if math.prod(shape) != array.shape[1]:
            raise ValueError(
                f"X has {array.shape[1]} features per row, but input_shape={shape} needs {math.prod(shape)}. "
                f"Pass the shape of one sample, such as {_example_shape(array.shape[1])}."
            )
    else:
        shape = array.shape[1:]
        if spec.input_shape not in (None, shape) and not _are_one_sample(shape, spec.input_shape, spec):
            raise ValueError(
                f"{spec.owner}: a sample of X has shape {shape}, but input_shape={tuple(spec.input_shape)}. "
                "input_shape is only needed where X is a table of flat rows."
            )
    channel_axis = find_channels(shape, spec)
    if channel_axis is None and len(shape) == 2:
        _warn_if_panel(array, shape, spec)
    sample_shape = _channels_first(shape, channel_axis)
    if spec.image_size is not None:
        if len(sample_shape) != 3 and spec.pixels:
            raise ValueError(
                f"{spec.owner}: a backbone takes images, but X was read as {DIMENSION_NAMES[len(sample_shape) - 1]}. "
                "Where X is a table of pixels, pass the shape of one image as input_shape, such as (28, 28, 1)."
            )
        if len(sample_shape) != 3:
            raise ValueError(
                f"{spec.owner}: image_size={spec.image_size} resizes images, but X was read as "
                f"{DIMENSION_NAMES[len(sample_shape) - 1]}. Leave image_size out."
            )
        sample_shape = (sample_shape[0], *spec.image_size)
    return Reading(spec, sample_shape, shape, channel_axis, flat)


def _are_one_sample(shape, other, spec):
    """Whether two shapes differ only in where, and whether, they have a channel axis."""
    if math.prod(shape) != math.prod(other):
        return False
    return len({_channels_first(one, find_channels(one, spec)) for one in (shape, other)}) == 1


def _channels_first(shape, channel_axis):
    if channel_axis is None:
        return (1, *shape)
    return shape if channel_axis == 0 else (shape[-1], *shape[:-1])


def _example_shape(n_features):
    for channels in CHANNEL_COUNTS:
        side = math.isqrt(n_features // channels)
        if side > 1 and side * side * channels == n_features:
            return (side, side, channels)
    return (n_features,)


def find_channels(shape: Sequence[int], spec: InputSpec) -> int | None:
    """Find the channel axis of a sample's shape, and so the number of spatial axes.

    Parameters
    ----------
    shape : sequence of 1 to 4 int
        Shape of one sample.
    spec : InputSpec

    Returns
    -------
    axis : {0, -1} or None
        None where the sample has no channel axis: it has one channel.

    Raises
    ------
    ValueError
        If the shape can be read in two ways; the message names the parameter that decides.
    """
    n_axes = len(shape)
    dims = spec.spatial_dims
    if n_axes > 4:
        raise ValueError(
            f"{spec.owner}: X has {n_axes + 1} axes; at most 5 can be read, (n_samples, depth, height, width, "
            "channels)."
        )
    if n_axes == 2 and dims is None:
        if 1 in shape:
            return 0 if shape[0] == 1 and shape[1] != 1 else -1
        if min(shape) > 4 and max(shape) < 8 * min(shape):
            return None
        raise ValueError(
            f"{spec.owner}: samples of shape {tuple(shape)} could be grey images or signals of several channels. Set "
            f"spatial_dims=2 for images; for signals {_readings_as_signals(shape)}."
        )
    dims = dims or {1: 1, 2: 2, 3: 2, 4: 3}[n_axes]
    if n_axes == dims:
        return None
    if n_axes != dims + 1:
        raise ValueError(
            f"{spec.owner}: samples of shape {tuple(shape)} do not fit spatial_dims={dims}, which needs {dims} axes, "
            "or one more for channels."
        )
    if spec.data_format != "auto":
        return 0 if spec.data_format == "channels_first" else -1
    first, last = shape[0] in CHANNEL_COUNTS, shape[-1] in CHANNEL_COUNTS
    if first == last:
        candidates = "both the first and the last axis" if first else "no axis"
        remedy = 'data_format="channels_last" or "channels_first"'
        if dims == 1:
            remedy = _readings_as_signals(shape)
        elif spec.spatial_dims is None and n_axes == 3:
            remedy += ", or spatial_dims=3 if they are grey volumes"
        if shape[-2] in CHANNEL_COUNTS and not first and n_axes > 2:
            remedy += "; if rows lie along the last axis, pass np.moveaxis(X, -1, 0)"
        raise ValueError(
            f"{spec.owner}: of samples of shape {tuple(shape)}, {candidates} could be the channels (1, 3 or 4 of "
            f"them). Set {remedy}."
        )
    return 0 if first else -1


def _readings_as_signals(shape):
    """Name the settings that read samples of two axes as signals."""
    first, last = shape
    return (
        f'spatial_dims=1 with data_format="channels_first" ({first} channels of length {last}) or "channels_last" '
        f"({last} channels of length {first})"
    )


def _warn_if_panel(array, shape, spec):
    """Warn where what is read as grey images is long and narrow, as signals of several channels are."""
    said_images = spec.spatial_dims is not None or spec.image_size is not None or spec.input_shape is not None
    if not said_images and array.dtype != np.uint8 and max(shape) >= PANEL_RATIO * min(shape):
        warnings.warn(
            f"{spec.owner}: samples of shape {tuple(shape)} were read as grey images, of an unusual shape. If they are "
            f"signals of several channels, set {_readings_as_signals(shape)}: that is more apt and faster. "
            "spatial_dims=2 says that they are images.",
            UserWarning,
            stacklevel=2,
        )


def _warn_if_pixels(array, spec, rows):
    """Warn where a table read as signals looks like the pixels of square images."""
    shape = _example_shape(array.shape[1])
    if len(shape) != 3 or shape[-1] == 4 or shape[0] < 4:
        return
    sample = array[:256] if rows is None else array[rows[:256]]
    if sample.min() < 0 or sample.max() > 255 or (sample.dtype.kind == "f" and np.any(sample % 1)):
        return
    warnings.warn(
        f"{spec.owner}: X was read as signals of length {array.shape[1]}, but its whole numbers from 0 to 255 look "
        f"like pixels. For images pass input_shape={shape}.",
        UserWarning,
        stacklevel=2,
    )


def _check_pixels(array, spec, rows):
    """Tell integers 0..255 from floats; for a backbone, refuse what is neither 0..255 nor 0..1."""
    if array.dtype == np.uint8 or not (spec.pixels or array.dtype.kind in "ui"):
        return array.dtype == np.uint8
    low, high = _extremes(array, rows)
    if array.dtype.kind in "ui":
        if spec.pixels and (low < 0 or high > 255):
            raise ValueError(
                f"{spec.owner}: a backbone takes integers from 0 to 255, but X holds {low} to {high}. "
                "Scale X to 0..255 (uint8) or to 0..1 (float)."
            )
        return bool(low >= 0 and high <= 255)
    if spec.pixels and (low < -0.5 or high > 1.5):
        raise ValueError(
            f"{spec.owner}: a backbone takes floats from 0 to 1, but X holds {low:g} to {high:g}. "
            f"{_remedy_for_floats(low, high)}"
        )
    return False


def _remedy_for_floats(low, high):
    """Say how floats become shares: by what they were before, not by yet another scaling."""
    if low < 0:
        return "They seem standardised, which the backbone does itself: pass the pixels as they were."
    if high <= WHITE_8 and high > WHITE_8 * DARK:
        return "Divide X by 255, or pass it as uint8."
    return f"Divide X by what white is in it, such as {high:g}."


def _extremes(array, rows):
    """Give the least and the greatest value of some rows, or of all."""
    extremes = [(part.min(), part.max()) for part in parts_of(array, rows)]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _channels_to_front(samples):
    """See contiguous samples (n, *spatial, c) as (n, c, *spatial)."""
    # Through one axis, so that a single channel has the strides of channels-last too: torch takes it for
    # channels-first otherwise, which computes other bits, and more slowly.
    return samples.reshape(-1).view(samples.shape).movedim(-1, 1)


class ArrayStore:
    """Rows of an array, whatever its layout, as channels-last batches.

    Parameters
    ----------
    array : ndarray of shape (n, ...)
        Not copied; a memory map is read by the batch.
    reading : Reading
    """

    def __init__(self, array: np.ndarray, reading: Reading):
        assert reading.array_shape is not None
        self._array = array
        self._shape = reading.array_shape
        self._channel_axis = reading.channel_axis
        self._size = reading.spec.image_size
        self.sample_shape = reading.sample_shape
        self.integer = reading.integer
        if self._size is not None and self._size == self._spatial_shape():
            self._size = None
        # A sample a row, where torch can gather them itself, in half of NumPy's time; it has no read-only tensors.
        self._table = None
        if array.dtype in TORCH_DTYPES and array.flags.writeable and array.flags.c_contiguous:
            self._table = torch.from_numpy(array.reshape(len(array), -1))

    def _spatial_shape(self):
        if self._channel_axis is None:
            return self._shape
        return self._shape[1:] if self._channel_axis == 0 else self._shape[:-1]

    def __len__(self):
        return len(self._array)

    def _gather(self, rows):
        """Give rows as (n, *spatial, c), contiguous, in the array's own number format."""
        if isinstance(rows, slice):
            part = self._array[rows]
        else:
            part = self._array.take(rows.numpy(), axis=0)
        part = part.reshape(len(part), *self._shape)
        if self._channel_axis is None:
            return part[..., None]
        return part if self._channel_axis == -1 else np.moveaxis(part, 1, -1)

    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Give the samples of some rows, (n, c, *spatial), laid out channels-last."""
        images = self._gather_by_numpy(rows, dtype) if self._table is None else self._gather_by_torch(rows)
        if self._size is not None:
            images = self._resized(images, dtype)
        return images.to(dtype)

    def _gather_by_numpy(self, rows, dtype):
        part = self._gather(rows)
        if part.dtype not in TORCH_DTYPES:
            part = part.astype(NUMPY_DTYPES[dtype])
        part = np.ascontiguousarray(part)
        if not part.flags.writeable:
            part = part.astype(NUMPY_DTYPES[dtype])
        return _channels_to_front(torch.from_numpy(part))

    def _gather_by_torch(self, rows):
        part = self._table[rows] if isinstance(rows, slice) else self._table.index_select(0, rows)
        part = part.view(len(part), *self._shape)
        if self._channel_axis == 0:
            return _channels_to_front(part.movedim(1, -1).contiguous())
        return (part if self._channel_axis == -1 else part.unsqueeze(-1)).movedim(-1, 1)

    def samples(self) -> torch.Tensor | None:
        """Give all samples as (n, *spatial, c), in their own number format; None where that takes more than a view."""
        if self._size is not None or self._array.dtype not in TORCH_DTYPES or not self._array.flags.writeable:
            return None
        return torch.from_numpy(self._gather(slice(None)))

    def _resized(self, images, dtype):
        images = images.to(torch.uint8 if self.integer else dtype)
        return resize_images(images, self._size)

    def batches(self, groups: Iterable, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Give the batches of a sequence of row groups."""
        for rows in groups:
            yield self.batch(rows, dtype)

    def keys(self, rows: torch.Tensor | slice) -> list[bytes]:
        """Give a digest of each sample's content."""
        rows = torch.arange(len(self))[rows] if isinstance(rows, slice) else rows
        keys = []
        for some in rows.split(max(1, CHUNK_VALUES // math.prod(self._shape))):  # gathering copies
            part = np.ascontiguousarray(self._gather(some))
            head = f"{part.dtype.str}{part.shape[1:]}".encode()
            keys += [hashlib.blake2b(head + sample.tobytes(), digest_size=16).digest() for sample in part]
        return keys

    def original(self, row: int) -> tuple[np.ndarray, str | None]:
        """Give a sample as it came, (*spatial, c), and the path of its file: None."""
        return self._gather(slice(row, row + 1))[0], None

    def glance(self, rows: np.ndarray | None) -> Glance:
        """Look at a few of some rows, or of all."""
        some = some_of(range(len(self)) if rows is None else rows, math.prod(self._shape))
        return glance_at(self.original(row)[0] for row in some)


class DeviceStore:
    """Rows kept on an accelerator, in their own number format.

    Parameters
    ----------
    samples : tensor of shape (n, *spatial, c)
    store : Store
        Where they come from.
    """

    def __init__(self, samples: torch.Tensor, store: Store):
        self._samples = samples
        self.sample_shape, self.integer = store.sample_shape, store.integer
        self.keys, self.original, self.glance = store.keys, store.original, store.glance

    def __len__(self):
        return len(self._samples)

    def batch(self, rows: torch.Tensor | slice, dtype: torch.dtype) -> torch.Tensor:
        """Give the samples of some rows, (n, c, *spatial), laid out channels-last, where they are kept."""
        return _channels_to_front(self._samples[rows].contiguous()).to(dtype)

    def batches(self, groups: Iterable, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Give the batches of a sequence of row groups."""
        for rows in groups:
            yield self.batch(rows, dtype)


class FeatureStore:
    """Rows of features that stand in for images.

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
        """Give the features of some rows, (n, d)."""
        return self._features[rows].to(dtype)

    def batches(self, groups: Iterable, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Give the batches of a sequence of row groups."""
        for rows in groups:
            yield self.batch(rows, dtype)


def channel_statistics(
    store: Store, rows: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the weighted mean and standard deviation of each channel.

    Parameters
    ----------
    store : Store
    rows : int64 tensor of shape (n,)
    weights : tensor of shape (n,) or None
        Weight of each of those rows; None: they count alike.

    Returns
    -------
    mean, deviation : float64 tensors of shape (channels,)
        A constant channel has deviation 1.
    """
    n_channels = store.sample_shape[0]
    n_positions = math.prod(store.sample_shape[1:])
    step = max(1, CHUNK_VALUES // math.prod(store.sample_shape))
    if weights is not None and torch.all(weights == weights[0]):
        weights = None
    shift = torch.zeros(n_channels, dtype=torch.float64)
    total, square = torch.zeros(2, n_channels, dtype=torch.float64)
    chunk_weights = itertools.repeat(None) if weights is None else weights.split(step)
    chunks = zip(store.batches(rows.split(step), torch.float64), chunk_weights, strict=False)
    for number, (images, weight) in enumerate(chunks):
        values = images.movedim(1, -1).reshape(-1, n_channels)  # (n * positions, c)
        if number == 0:
            shift = values.mean(0)  # near the mean, so that the squares below lose no digits
        values = values.sub_(shift)  # a batch of rows is a copy, never the user's own
        weighted = values if weight is None else values * weight.double().repeat_interleave(n_positions)[:, None]
        total += weighted.sum(0)
        # Products of matrices are much faster than reductions, as long as there are few channels.
        square += (weighted.T @ values).diagonal() if n_channels <= GRAM_CHANNELS else (weighted * values).sum(0)
    total_weight = len(rows) if weights is None else weights.sum(dtype=torch.float64)
    mean, square = torch.stack([total, square]) / (total_weight * n_positions)
    deviation = (square - mean**2).clamp_(min=0).sqrt_()
    scale = torch.maximum((shift + mean).abs(), deviation)
    deviation[deviation <= 1e-12 * scale] = 1.0
    return shift + mean, deviation
