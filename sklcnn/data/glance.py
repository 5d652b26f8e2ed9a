"""A glance at a few samples: the range of their values, and warnings where it can hardly be what the user meant.

A few samples, evenly spaced, show as well as all of X whether it holds pixels, fractions or masks, at no cost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

MAX_SAMPLES, MAX_VALUES = 16, 2**17  # that a glance looks at

# Two X are on different scales where the largest value of one is so many times that of the other. The first ratio is
# for whole numbers beside fractions (0..16 and 0..1); the second for images of any numbers (0..255 and 0..1, 16 bits
# and 8, pixels and standardised ones).
# Signals and volumes may be louder or quieter than those of `fit`. That their values lie wholly apart, by so many times
# the range of those, is a matter of unit or offset. Validation rows are of one kind with the training rows: of them the
# second ratio tells too, in any kind of data. Channels are compared one by one where a few samples were seen on both
# sides: a single one may be odd in one of many channels.
FRACTION_RATIO, IMAGE_RATIO = 8, 64
FEW_SAMPLES = 4
APART = 4
DARK = 1 / 8  # an image no brighter than this share of white is nearly black


@dataclass(frozen=True)
class Glance:
    """What a few samples hold.

    Attributes
    ----------
    low, high : float
        The least and the greatest value.
    whole : bool
        Whether all values are whole numbers.
    plain : bool
        Whether each sample is of a single colour: the same value everywhere, in each channel.
    n : int
        Samples looked at.
    lows, highs : tuple of float
        The least and the greatest value in each channel; empty where channels were not told apart.
    sizes : tuple of float
        The largest magnitude in each channel of a sample, in the median over samples: a rare event hardly moves it.
    """

    low: float
    high: float
    whole: bool
    plain: bool
    n: int = 1
    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()
    sizes: tuple[float, ...] = ()

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


def some_of(rows: Sequence[int] | np.ndarray, n_values: int) -> list[int]:
    """Choose a few of the given rows, evenly spaced; the fewer, the more values a sample has."""
    n = max(1, min(MAX_SAMPLES, len(rows), MAX_VALUES // n_values))
    if n == 1:
        return [int(rows[0])] if len(rows) else []
    return [int(rows[i]) for i in np.linspace(0, len(rows) - 1, n).astype(int)]


def glance_at(samples: Iterable[np.ndarray]) -> Glance:
    """Look at some samples, each an array (*spatial, c)."""
    seen = [sample.reshape(-1, sample.shape[-1]) for sample in samples]  # each (positions, c)
    lows = np.array([values.min(axis=0) for values in seen], np.float64)  # (n, c)
    highs = np.array([values.max(axis=0) for values in seen], np.float64)
    return Glance(
        low=float(lows.min()),
        high=float(highs.max()),
        whole=all(values.dtype.kind != "f" or bool((values == np.rint(values)).all()) for values in seen),
        plain=all(len(values) > 1 and bool((values == values[0]).all()) for values in seen),
        n=len(seen),
        lows=tuple(lows.min(axis=0).tolist()),
        highs=tuple(highs.max(axis=0).tolist()),
        sizes=tuple(np.median(np.maximum(highs, -lows), axis=0).tolist()),
    )


def glance_at_pictures(picture: Callable[[int], np.ndarray], rows: list[int], white: float | None) -> Glance:
    """Look at pictures, and decode no more of them than are needed to find a bright one.

    Parameters
    ----------
    picture : callable
        Returns the picture of a row, ndarray (h, w, c).
    rows : list of int
    white : float or None
        The value of white. None: the pictures are arrays, which need no decoding, so all are looked at.

    Returns
    -------
    glance : Glance
        Once a picture is neither dark nor of a single colour, the range is taken to be from black to white.
    """
    seen: list[np.ndarray] = []
    for row in rows:
        seen.append(picture(row))
        last = glance_at(seen[-1:])
        if white is not None and not last.plain and last.high > DARK * white:
            return Glance(min(0.0, last.low), max(white, last.high), whole=True, plain=False)
    return glance_at(seen)


def warn_of_plain_pictures(glance: Glance, n_rows: int, estimator: str) -> None:
    """Warn where every picture looked at is of a single colour."""
    if glance.plain:
        looked_at = f"all {glance.n}" if glance.n == n_rows else f"{glance.n} of {n_rows:,}"
        warnings.warn(
            f"{estimator}: every picture of X that was looked at ({looked_at}) is of a single colour, so that there is "
            f"nothing to tell them apart by but that (values from {glance.low:g} to {glance.high:g}). See whether "
            "what they show was lost before, as in a conversion to integers.",
            UserWarning,
            stacklevel=2,
        )


def warn_of_dark_pictures(glance: Glance, white: float, estimator: str) -> None:
    """Warn where a backbone would see nothing but black."""
    if not glance.plain and glance.high <= DARK * white:
        warnings.warn(
            f"{estimator}: a backbone takes {white:,} for white, but the brightest value of X that was looked at is "
            f"{glance.high:g}: it sees black pictures. Scale X to 0..255 (uint8) or to 0..1 (float), such as "
            f"X / {glance.high:g}.",
            UserWarning,
            stacklevel=2,
        )


def warn_of_another_scale(fitted: Glance, now: Glance, spatial_dims: int, estimator: str, name: str) -> None:
    """Warn where X is scaled in another way than in `fit`."""
    validates = name == "X_val"
    if not _scales_differ(fitted, now, spatial_dims, validates):
        channel = None if spatial_dims == 2 else _differing_channel(fitted, now, validates)
        if channel is None:
            return
        fitted, now = (replace(seen, low=seen.lows[channel], high=seen.highs[channel]) for seen in (fitted, now))
        name = f"channel {channel} of {name}"
    warnings.warn(
        f"{estimator}: {name} holds values from {now.low:g} to {now.high:g}, but the network was fitted on values "
        f"from {fitted.low:g} to {fitted.high:g}. On another scale its answers mean nothing: scale the one as the "
        "other (was only one of them divided by 255, or standardised?).",
        UserWarning,
        stacklevel=2,
    )


def may_be_on_another_scale(fitted: Glance, lows: Sequence[float], highs: Sequence[float]) -> bool:
    """Tell by bounds of a few samples whether a full glance could find another scale.

    Parameters
    ----------
    fitted : Glance
    lows, highs : sequences of float
        The least and the greatest value of each channel, or the one of all channels.
    """
    before, low, high = fitted.peak, min(lows), max(highs)
    if not before / FRACTION_RATIO < max(-low, high) < before * FRACTION_RATIO:
        return True
    apart = _lie_apart(fitted.low, fitted.high, low, high)
    return apart or (len(lows) > 1 and any(map(_lie_apart, fitted.lows, fitted.highs, lows, highs)))


def _differing_channel(fitted, now, validates):
    """Find the first channel that is on another scale; None if there is none."""
    if min(fitted.n, now.n) < FEW_SAMPLES or fitted.plain or now.plain:
        return None
    channels = zip(fitted.lows, fitted.highs, fitted.sizes, now.lows, now.highs, now.sizes, strict=False)
    for channel, (fitted_low, fitted_high, fitted_size, low, high, size) in enumerate(channels):
        before, after = (max(-fitted_low, fitted_high), fitted_size), (max(-low, high), size)
        is_scaled = _dwarfs(before, after) or _dwarfs(after, before)
        if (validates and fitted_low < fitted_high and is_scaled) or _lie_apart(fitted_low, fitted_high, low, high):
            return channel
    return None


def _dwarfs(large, small):
    """Tell whether magnitudes of a channel, the greatest and the usual one, are so many times those of another."""
    return all(0 < IMAGE_RATIO * less <= more for less, more in zip(small, large, strict=True))


def _scales_differ(fitted, now, spatial_dims, validates):
    if fitted.plain or now.plain or not (fitted.peak and now.peak):
        return False
    small, large = sorted((fitted, now), key=lambda glance: glance.peak)
    ratio = large.peak / small.peak
    if (spatial_dims == 2 or validates) and ratio >= IMAGE_RATIO:
        return True
    if spatial_dims != 2 and _lie_apart(fitted.low, fitted.high, now.low, now.high):  # pictures may be dark, and bright
        return True
    return ratio >= FRACTION_RATIO and large.whole and not small.whole


def _lie_apart(fitted_low, fitted_high, low, high):
    margin = APART * (fitted_high - fitted_low)
    return margin > 0 and (low > fitted_high + margin or high < fitted_low - margin)
