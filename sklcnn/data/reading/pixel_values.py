"""Whether an array's values are pixels, from 0 to 255 or from 0 to 1."""

from __future__ import annotations

import numpy as np

from sklcnn.data.glance import DARK
from sklcnn.data.pictures.pixels import WHITE_8, WHITE_16
from sklcnn.data.reading.numbers import parts_of

KINDS_OF_PIXELS = {WHITE_8: "integers 0..255", WHITE_16: "pictures of 16 bits", 1: "floats"}


def are_integers_of_pixels(array, spec, rows):
    """Whether values are integers 0..255; for a backbone, what is neither 0..255 nor 0..1 is refused."""
    if array.dtype == np.uint8 or not (spec.pixels or array.dtype.kind in "ui"):
        return array.dtype == np.uint8
    low, high = _extremes(array, rows)
    is_whole = array.dtype.kind in "ui"
    if spec.pixels:
        refuse_beyond_pixels(low, high, is_whole, spec.estimator)
    return bool(is_whole and low >= 0 and high <= 255)


def refuse_beyond_pixels(low, high, is_whole, estimator):
    """Refuse numbers for a named backbone that are neither integers 0..255 nor floats 0..1."""
    if is_whole and (low < 0 or high > 255):
        raise ValueError(
            f"{estimator}: a backbone takes integers from 0 to 255, but X holds {low:g} to {high:g}. "
            "Scale X to 0..255 (uint8) or to 0..1 (float)."
        )
    if not is_whole and (low < -0.5 or high > 1.5):
        raise ValueError(
            f"{estimator}: a backbone takes floats from 0 to 1, but X holds {low:g} to {high:g}. "
            f"{_remedy_for_floats(low, high)}"
        )


def _remedy_for_floats(low, high):
    """Say how to get floats from 0 to 1, by what the values seem to be."""
    if low < 0:
        return "They seem standardised, which the backbone does itself: pass the pixels as they were."
    if high <= WHITE_8 and high > WHITE_8 * DARK:
        return "Divide X by 255, or pass it as uint8."
    return f"Divide X by what white is in it, such as {high:g}."


def _extremes(array, rows):
    """Return the least and the greatest value of some rows, or of all."""
    extremes = [(part.min(), part.max()) for part in parts_of(array, rows)]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def check_same_kind(unit, schema):
    """Check that a backbone is given the kind of numbers that `fit` was given."""
    if schema.spec.pixels and unit != schema.unit:
        raise ValueError(
            f"{schema.spec.estimator}: X holds {KINDS_OF_PIXELS[unit]}, but the network was fitted on "
            f"{KINDS_OF_PIXELS[schema.unit]}, which are scaled differently for a backbone. Pass the kind of numbers "
            "that fit was given."
        )
