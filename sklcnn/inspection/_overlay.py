"""Attributions as colours over the picture of a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from sklcnn.inspection._drawing import add_bar, as_image, cut, no_ticks

# The picture below the colours is drawn in greys from this to white, so that a colour looks much the same everywhere.
# The ground of the colour bar is the middle one of those greys; for signals, white.
PALE = 0.5
GROUND, WHITE = (1 + PALE) / 2, 1.0
COLOURS = 4  # pictures with more channels are not drawn in colours
LUMA = (0.299, 0.587, 0.114)
LEAST_SMOOTHING = 0.3  # positions: a narrower Gaussian hardly reaches the neighbours


def smoothing_of(size: tuple[int, ...], *, signed: bool) -> float:
    """Choose the standard deviation, in positions, of the Gaussian by which neighbouring values are averaged.

    Small pictures, whose pixels can be seen one by one, are not smoothed. In large ones values of both signs alternate
    from pixel to pixel, and only their sum over a region says whether it is for or against the target.
    """
    longest = max(size)
    deviation = (longest - 20) / 14 if signed and len(size) > 1 else longest / 56
    return deviation if deviation >= LEAST_SMOOTHING else 0.0


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Average values (n, *spatial) over neighbouring positions; their sum stays the same."""
    return np.stack([gaussian_filter(sample, deviation) for sample in values]) if deviation > 0 else values


def scale_values(values: np.ndarray, *, percentile: float | None, floor: float) -> tuple[np.ndarray, float]:
    """Scale values to what is drawn, (n, *spatial), and choose where colours end.

    Parameters
    ----------
    values : ndarray of shape (n, *spatial)
    percentile : float or None
        Of each sample's absolute values, at which its colours end; None: one scale for all samples, of their own units.
    floor : float
        The one scale ends here or above.
    """
    sizes = np.abs(values)
    if percentile is None:
        return values, max(float(sizes.max()), floor) or 1.0
    axes = tuple(range(1, values.ndim))
    tops = np.percentile(sizes, percentile, axis=axes, keepdims=True)
    tops = np.where(tops > 0, tops, sizes.max(axis=axes, keepdims=True))  # where the percentile is 0
    return np.clip(np.divide(values, tops, out=np.zeros_like(values), where=tops > 0), -1, 1), 1.0


def patch_centres(
    chosen: np.ndarray, starts: tuple[np.ndarray, ...], patch: tuple[int, ...], size: tuple[int, ...], share: float
) -> list[np.ndarray]:
    """Compute the centres of chosen patches, an array per axis, as shares of a sample's last two axes (or one).

    Parameters
    ----------
    chosen : ndarray of bool of shape (*n_patches)
    starts : tuple of ndarray
        The first positions that patches cover, for each axis.
    patch, size : tuple of int
        Sides of a patch and of a sample; the border cuts the last patches.
    share : float
        Where volumes are cut.
    """
    edges = [(first, np.minimum(first + width, whole)) for first, width, whole in zip(starts, patch, size, strict=True)]
    if chosen.ndim == 3:
        depth = int(size[0] * share)
        covering = (edges[0][0] <= depth) & (depth < edges[0][1])
        chosen, edges, size = chosen[covering].any(0), edges[1:], size[1:]
    return [
        ((first + end) / 2 / whole)[at] for (first, end), whole, at in zip(edges, size, np.nonzero(chosen), strict=True)
    ]


def overlay_colors(alpha: float, top: float, *, signed: bool) -> dict[str, Any]:
    """Return imshow's arguments for values drawn over a picture, which is seen where they are near 0.

    The opacity is in the colours themselves, so that a colour bar shows it too.

    Parameters
    ----------
    alpha : float
        Opacity of the largest values.
    top : float
        The largest value.
    signed : bool
        Colours go from blue over transparent to red; else from transparent over yellow to dark red.
    """
    import matplotlib
    from matplotlib.colors import ListedColormap

    steps = np.linspace(-1 if signed else 0, 1, 257)
    if signed:
        colors = np.where(steps[:, None] < 0, (0.1, 0.3, 1.0), (1.0, 0.1, 0.1))
    else:
        colors = matplotlib.colormaps["YlOrRd"](0.25 + 0.75 * steps)[:, :3]
    colors = np.column_stack([colors, alpha * np.abs(steps)])
    return {"cmap": ListedColormap(colors), "vmin": -top if signed else 0.0, "vmax": top}


def draw_pale(ax: Any, picture: np.ndarray, limits: tuple[float, float], share: float) -> None:
    """Draw an image or a slice of a volume as the ground for colours: grey and pale."""
    image, _ = as_image(picture if picture.ndim == 3 else cut(picture, share), limits)
    if image.ndim == 3:
        grey = image @ LUMA
    else:
        low, high = limits
        grey = np.clip((image.astype(float) - low) / (high - low), 0, 1)
    ax.imshow(PALE + (1 - PALE) * grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    no_ticks(ax)


def add_overlay_bar(figure: Any, image: Any, panels: list[Any], label: str, location: str, ground: float) -> None:
    """Put a colour bar beside or below panels, on the grey that is below their colours (1: white)."""
    bar = add_bar(figure, image, panels, label, location)
    bar.ax.set_facecolor(str(ground))
