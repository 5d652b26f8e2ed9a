"""X in any of its forms, read once into a store that gives batches by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklcnn.data.glance import (
    MAX_SAMPLES,
    may_be_on_another_scale,
    warn_of_another_scale,
    warn_of_dark_pictures,
    warn_of_plain_pictures,
)
from sklcnn.data.pictures.columns import image_kind, image_sources
from sklcnn.data.pictures.pixels import WHITE_8, WHITE_16
from sklcnn.data.pictures.store import ImageStore
from sklcnn.data.reading.axes import channels_first_shape, check_same_sample, find_channels, schema_of, understand_axes
from sklcnn.data.reading.forms import plain_form
from sklcnn.data.reading.numbers import SMALLEST, numeric_array
from sklcnn.data.reading.pixel_values import are_integers_of_pixels, check_same_kind, refuse_beyond_pixels
from sklcnn.data.schema import DIMENSION_NAMES, InputSchema, InputSpec
from sklcnn.data.stores import ArrayStore, Store


def read_inputs(
    X: Any, spec: InputSpec, rows: np.ndarray | None = None, *, training: bool = False
) -> tuple[Store, InputSchema]:
    """Read X as `fit` does: decide what its axes mean.

    Parameters
    ----------
    X : array-like, DataFrame, torch tensor, memory map, or a collection of pictures
    spec : InputSpec
    rows : ndarray of int or None
        The rows that count, in order, as `replace_weightless_rows` gives them; None: all. Other rows of an array may
        hold anything, other pictures may be broken.
    training : bool
        Whether rows are to be gathered often, and in any order.

    Returns
    -------
    store : Store
    schema : InputSchema

    Raises
    ------
    TypeError, ValueError
        If X cannot be read, or can be read in two ways.
    """
    X = plain_form(X, spec.estimator)
    sources = image_sources(X)
    store: Store
    if sources is not None:
        sources = _channels_last(sources, spec)
        _check_are_images(sources, spec)
        store = ImageStore(sources, image_size=spec.image_size, mode=None, n_jobs=spec.n_jobs, rows=rows)
        _check_input_shape(store, spec)
        _check_pixels(store, spec)
        schema = InputSchema(spec, store.sample_shape, integer=store.integer, unit=store.unit, mode=store.mode)
        return store, _with_glance(store, schema, rows)
    array = numeric_array(X, spec.estimator, rows, spec.precision, training=training)
    schema = understand_axes(array, spec, rows)
    if (spec.pixels or schema.spatial_dims == 2) and are_integers_of_pixels(array, spec, rows):
        schema = replace(schema, integer=True, unit=WHITE_8)
    store = ArrayStore(array, schema)
    return store, _with_glance(store, schema, rows)


def _with_glance(store, schema, rows):
    """Put in the schema what a few samples hold, with warnings where it can hardly be what the user meant."""
    spec = schema.spec
    glance = store.glance(rows)
    if 0 < glance.peak < SMALLEST[spec.precision]:
        raise ValueError(
            f"{spec.estimator}: X holds no values further from zero than {glance.peak:.3g}, of which nothing is left "
            f"in a network that computes in {spec.precision}. Scale X, such as X / np.abs(X).max()."
        )
    # Floats from 0 to 1 that were converted to integers are black, too.
    if schema.mode is not None or (schema.integer and glance.peak == 0 and glance.n == MAX_SAMPLES):
        warn_of_plain_pictures(glance, len(store), spec.estimator)
    if spec.pixels:
        warn_of_dark_pictures(glance, schema.unit, spec.estimator)
    return replace(schema, glance=glance)


def _channels_last(sources, spec):
    """Move the channels of arrays to the last axis, where `data_format` says that they come first.

    Only where they can be nowhere else in one of the arrays: other lists are of pictures, which have them last.
    """
    if spec.data_format != "channels_first":
        return sources
    shapes = [np.shape(source) if image_kind(source) == "arrays" else () for source in sources]
    if not any(len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3) for shape in shapes):
        return sources
    return [
        np.moveaxis(np.asarray(source), 0, -1) if len(shape) == 3 and shape[0] in (1, 3) else source
        for source, shape in zip(sources, shapes, strict=True)
    ]


def _check_are_images(sources, spec):
    """Check that arrays of differing size may be images, which are resized."""
    if spec.spatial_dims in (None, 2) or not all(hasattr(source, "shape") for source in sources):
        return
    shapes = list(dict.fromkeys(tuple(source.shape) for source in sources))
    if len(shapes) > 1:
        raise ValueError(
            f"{spec.estimator}: {DIMENSION_NAMES[spec.spatial_dims]} must be of one size, but X holds samples of shape "
            f"{shapes[0]} and {shapes[1]}. Pad or cut them to one size."
        )


def _check_pixels(store, spec):
    """Check that a named backbone is given arrays of pixels."""
    if spec.pixels and store.extremes is not None:
        refuse_beyond_pixels(*store.extremes, store.whole, spec.estimator)


def _check_input_shape(store, spec):
    """Check that flat rows, if any come later, would be of the pictures' shape."""
    if spec.input_shape is None:
        return
    shape = channels_first_shape(spec.input_shape, find_channels(spec.input_shape, spec))
    if shape != store.sample_shape and spec.image_size is None:
        channels, *size = store.sample_shape
        raise ValueError(
            f"{spec.estimator}: input_shape={spec.input_shape} is the shape of one sample in a table of flat rows, but "
            f"X holds pictures of shape {tuple(size) if channels == 1 else (*size, channels)}. Leave it out, and "
            f"resize with image_size={spec.input_shape[:2]}."
        )


def read_again(
    X: Any,
    schema: InputSchema,
    n_jobs: int | None = None,
    rows: np.ndarray | None = None,
    name: str = "X",
    *,
    training: bool = False,
) -> Store:
    """Read X as `predict` does: in the way that was decided in `fit`.

    Parameters
    ----------
    X : like `read_inputs`
        Of any form, whatever that of `fit` was, as long as a sample has the same shape.
    schema : InputSchema
    n_jobs : int or None
        Threads that decode image files.
    rows, training
        As in `read_inputs`.
    name : str
        Of X, for warnings.

    Raises
    ------
    TypeError, ValueError
        If a sample of X differs from those of `fit`.
    """
    spec = schema.spec
    X = plain_form(X, spec.estimator)
    sources = image_sources(X, stack=schema.mode is None)
    store: Store
    if sources is not None:
        sources = _channels_last(sources, spec)
        size = spec.image_size or (schema.sample_shape[1:] if schema.spatial_dims == 2 else None)
        mode = schema.mode or {1: "L", 3: "RGB"}.get(schema.sample_shape[0])
        store = ImageStore(
            sources,
            image_size=spec.image_size,
            mode=mode,
            n_jobs=n_jobs,
            rows=rows,
            white=schema.unit if schema.unit > 1 else None,
        )
        check_same_sample(store.sample_shape, (schema.sample_shape[0], *(size or ())), spec.estimator)
        check_same_kind(store.unit, schema)
        if store.unit != WHITE_16:
            _check_pixels(store, spec)
    else:
        array = numeric_array(X, spec.estimator, rows, spec.precision, training=training)
        is_deep = array.dtype == np.uint16 and schema.unit == WHITE_16
        check_same_kind(WHITE_16 if is_deep else WHITE_8 if array.dtype.kind in "ui" else 1, schema)
        as_fitted = schema_of(array, schema)
        if as_fitted is not schema:
            schema = replace(as_fitted, integer=schema.integer, glance=schema.glance)
        if (spec.pixels or spec.image_size is not None) and not is_deep:
            schema = replace(schema, integer=are_integers_of_pixels(array, spec, rows))
        store = ArrayStore(array, schema)
    glance = schema.glance
    if glance is not None and (name == "X_val" or may_be_on_another_scale(glance, *store.bounds(rows))):
        warn_of_another_scale(glance, store.glance(rows), schema.spatial_dims, spec.estimator, name)
    return store
