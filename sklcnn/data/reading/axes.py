"""What the axes of an array mean: samples, channels and space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sklcnn.data.schema import DIMENSION_NAMES, InputSchema, InputSpec

CHANNEL_COUNTS = (1, 3, 4)
DECLARED_AXES = {"channels_first": 0, "channels_last": -1}  # by data_format
LEAST_LENGTH = 32  # of signals that were meant, where a channel axis is declared and grey images are read
NARROW_RATIO = 3  # between the sides of grey images that might be signals of several channels


def understand_axes(array, spec, rows=None, *, warns=True):
    """Decide what the axes of an array mean; a reading that is told apart by little gives a warning."""
    flat = array.ndim == 2
    if flat and spec.input_shape is None:
        if spec.spatial_dims not in (None, 1):
            raise ValueError(
                f"{spec.estimator}: X is a table with {array.shape[1]} features a row, and spatial_dims="
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
                f"{spec.estimator}: a sample of X has shape {shape}, but input_shape={tuple(spec.input_shape)}. "
                "input_shape is only needed where X is a table of flat rows."
            )
    channel_axis = find_channels(shape, spec)
    if channel_axis is None and len(shape) == 2 and warns:
        _warn_if_signals(array, shape, spec)
    sample_shape = channels_first_shape(shape, channel_axis)
    if spec.image_size is not None:
        if len(sample_shape) != 3 and spec.pixels:
            raise ValueError(
                f"{spec.estimator}: a backbone takes images, but X was read as "
                f"{DIMENSION_NAMES[len(sample_shape) - 1]}. Where X is a table of pixels, pass the shape of one image "
                "as input_shape, such as (28, 28, 1)."
            )
        if len(sample_shape) != 3:
            raise ValueError(
                f"{spec.estimator}: image_size={spec.image_size} resizes images, but X was read as "
                f"{DIMENSION_NAMES[len(sample_shape) - 1]}. Leave image_size out."
            )
        sample_shape = (sample_shape[0], *spec.image_size)
    return InputSchema(spec, sample_shape, shape, channel_axis, flat)


def _are_one_sample(shape, other, spec):
    """Whether two shapes are of the same sample, but for the place of the channel axis."""
    if math.prod(shape) != math.prod(other):
        return False
    return len({channels_first_shape(one, find_channels(one, spec)) for one in (shape, other)}) == 1


def channels_first_shape(shape, channel_axis):
    """Return a sample's shape with its channels first, as the network sees it."""
    if channel_axis is None:
        return (1, *shape)
    return shape if channel_axis == 0 else (shape[-1], *shape[:-1])


def _example_shape(n_features):
    """Guess the shape of one image in a table of so many features."""
    for channels in CHANNEL_COUNTS:
        side = math.isqrt(n_features // channels)
        if side > 1 and side * side * channels == n_features:
            return (side, side, channels)
    return (n_features,)


def _channels_of_two_axes(shape, spec):
    """Find the channel axis of a sample of two axes, which is a grey image or a signal of several channels."""
    if 1 in shape:
        if spec.data_format != "auto":
            return DECLARED_AXES[spec.data_format]
        return 0 if shape[0] == 1 and shape[1] != 1 else -1
    if min(shape) > 4 and max(shape) < 8 * min(shape):
        return None
    raise ValueError(
        f"{spec.estimator}: samples of shape {tuple(shape)} could be grey images or signals of several channels. Set "
        f"spatial_dims=2 for images; for signals {_readings_as_signals(shape)}."
    )


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
            f"{spec.estimator}: X has {n_axes + 1} axes; at most 5 can be read, (n_samples, depth, height, width, "
            "channels)."
        )
    if n_axes == 2 and dims is None:
        return _channels_of_two_axes(shape, spec)
    dims = dims or {1: 1, 2: 2, 3: 2, 4: 3}[n_axes]
    if n_axes == dims:
        return None
    if n_axes != dims + 1:
        raise ValueError(
            f"{spec.estimator}: samples of shape {tuple(shape)} do not fit spatial_dims={dims}, which needs {dims} "
            "axes, or one more for channels."
        )
    if spec.data_format != "auto":
        return DECLARED_AXES[spec.data_format]
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
            f"{spec.estimator}: of samples of shape {tuple(shape)}, {candidates} could be the channels (1, 3 or 4 of "
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


def _warn_if_signals(array, shape, spec):
    """Warn where grey images may be signals of several channels: a channel axis is declared, or they are narrow."""
    if spec.spatial_dims is not None or spec.image_size is not None or array.dtype == np.uint8:
        return
    if spec.data_format != "auto":
        channels = shape[DECLARED_AXES[spec.data_format]]
        length = math.prod(shape) // channels
        if length < max(channels + 1, LEAST_LENGTH):
            return
        warnings.warn(
            f"{spec.estimator}: samples of shape {tuple(shape)} were read as grey images, which have no channel axis: "
            f'data_format="{spec.data_format}" changed nothing. Set spatial_dims=1 if they are signals of {channels} '
            "channels, or spatial_dims=2, which says that they are images.",
            UserWarning,
            stacklevel=2,
        )
    elif spec.input_shape is None and max(shape) >= NARROW_RATIO * min(shape):
        warnings.warn(
            f"{spec.estimator}: samples of shape {tuple(shape)} were read as grey images, of an unusual shape. If they "
            f"are signals of several channels, set {_readings_as_signals(shape)}: that is more apt and faster. "
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
        f"{spec.estimator}: X was read as signals of length {array.shape[1]}, but its whole numbers from 0 to 255 look "
        f"like pixels. For images pass input_shape={shape}.",
        UserWarning,
        stacklevel=2,
    )


def schema_of(array, schema):
    """Return the schema of a later array: its samples must be as in `fit`, but the channel axis may lie elsewhere."""
    spec, shape = schema.spec, array.shape[1:]
    if array.ndim == 2:
        flat_shape = schema.array_shape if schema.flat else spec.input_shape
        if flat_shape is None:
            if array.shape == schema.array_shape:
                raise ValueError(
                    f"{spec.estimator}: X is one sample, of shape {array.shape}. Pass several, or X[None] for one."
                )
            expected = ", ".join(map(str, schema.array_shape or (*schema.sample_shape[1:], schema.sample_shape[0])))
            raise ValueError(
                f"{spec.estimator}: X has shape {array.shape}, but was fitted on samples of shape ({expected}). "
                f"Pass X of shape (n_samples, {expected})."
            )
        if shape[0] != math.prod(flat_shape):
            raise ValueError(
                f"X has {shape[0]} features, but {spec.estimator} is expecting {math.prod(flat_shape)} "
                "features as input."
            )
        if schema.flat:
            return schema
    elif shape == schema.array_shape:
        return schema
    elif array.shape == schema.array_shape:
        raise ValueError(
            f"{spec.estimator}: X is one sample, of shape {array.shape}. Pass several, or X[None] for one."
        )
    elif len(shape) - schema.spatial_dims not in (0, 1):
        raise ValueError(
            f"{spec.estimator}: a sample of X has shape {shape}, but the network was fitted on "
            f"{DIMENSION_NAMES[schema.spatial_dims]} of shape {schema.sample_shape} (channels first). Pass samples "
            "of that shape."
        )
    else:
        spec = replace(spec, input_shape=None, spatial_dims=schema.spatial_dims)
    other = understand_axes(array, spec, warns=False)  # `fit` has warned
    check_same_sample(other.sample_shape, schema.sample_shape, spec.estimator, other.channel_axis)
    return other


def check_same_sample(shape, expected, estimator, channel_axis=-1):
    """Check that samples have the shape (channels first) of those in `fit`."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{estimator}: a sample of X has shape {tuple(shape)} (channels first), but the network was fitted on "
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
