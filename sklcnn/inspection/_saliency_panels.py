"""The panels of a SaliencyDisplay: attributions over the samples, and titles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sklcnn.inspection._attribution import METHODS
from sklcnn.inspection._drawing import (
    SMALL,
    WIDTH,
    cut,
    cut_note,
    draw_sample,
    draw_signal,
    make_panels,
    name_channels,
    number,
    picture_height,
    short,
    value_range,
)
from sklcnn.inspection._overlay import COLOURS, draw_pale, patch_centres
from sklcnn.inspection._positions import label_positions

if TYPE_CHECKING:
    from sklcnn.inspection.saliency import SaliencyDisplay

CROSSES = {"marker": "X", "linestyle": "", "color": "black", "markeredgecolor": "white", "markersize": 7}
FAINT = 0.1  # share of the scale: a sample whose largest value is less looks blank


def write_title(shown: SaliencyDisplay, share: float, top: float, smoothing: float | None) -> str:
    """Write the title over all panels.

    Parameters
    ----------
    shown : SaliencyDisplay
    share : float
        Where volumes are cut.
    top : float
        Where colours end.
    smoothing : float or None
        By how many positions the values were smoothed.
    """
    method = METHODS[shown.method]
    title = method.title
    if shown.layer is not None:
        title += f" at layer {shown.layer}"
    if shown.patch_size is not None:
        title += f", patches of {' x '.join(map(str, shown.patch_size))}"
    n_channels, is_signal = shown.pictures[0].shape[-1], shown.attributions.ndim == 2
    if method.over_channels and n_channels > 1 and (is_signal or n_channels > COLOURS):
        title += f", {method.over_channels} of {n_channels} channels"
    if smoothing:
        title += f", smoothed over {smoothing:.2g} positions"
    title += cut_note(shown.pictures, share)
    if any(np.any(turning_patches(shown, i)) for i in range(len(shown.pictures))):
        title += "\ncrosses: covering the patch there turns the prediction"
    largest = np.abs(shown.attributions).reshape(len(shown.pictures), -1).max(1)
    if shown.method == "occlusion" and shown.unit == "probability" and largest.min() < FAINT * top:
        title += '\nfaint: the network is sure; response_method="decision_function" shows more'
    if shown.method == "grad_cam" and not largest.all():
        title += "\nblank: no map of the layer speaks for the target"
    return title


def describe_sample(shown: SaliencyDisplay, i: int) -> str:
    """Say what was explained, and how it was predicted."""
    named, score = (shown.short_names, shown.target_names, shown.targets), shown.scores[i]
    target = short(next(names for names in named if names is not None)[i])  # as short names are already
    if shown.kind != "values":
        return f"P({target}) = {score:.2f}"
    if shown.predictions.ndim == 1:
        return f"predicted {number(score)}"
    return f"column {target}: {number(score)}"


def turning_patches(shown: SaliencyDisplay, i: int) -> np.ndarray:
    """Tell which covered patches change the prediction of a sample's target."""
    if shown.patch_predictions is None or shown.kind == "values":
        return np.zeros((0,) * (shown.attributions.ndim - 1), bool)
    covered, plain = shown.patch_predictions[i], shown.predictions[i]
    if shown.kind == "labels":
        covered, plain = covered[..., shown.targets[i]], plain[shown.targets[i]]
    return covered != plain


def _cross_positions(shown, i, share):
    """Compute where crosses are drawn, an array per axis, as shares of a sample's last two axes (or one)."""
    turned = turning_patches(shown, i)
    if not turned.any():
        return [np.empty(0)] * min(turned.ndim, 2)
    return patch_centres(turned, shown.patch_positions, shown.patch_size, shown.attributions.shape[1:], share)


def draw_over_images(shown: SaliencyDisplay, ax: Any, values: np.ndarray, share: float, colors: dict[str, Any]) -> Any:
    """Draw each image or slice beside a pale copy of it with the values over it.

    Parameters
    ----------
    shown : SaliencyDisplay
    ax : matplotlib Axes or None
    values : ndarray of shape (n_samples, *spatial)
    share : float
        Where volumes are cut.
    colors : dict
        What `overlay_colors` returns.

    Returns
    -------
    figure : matplotlib Figure
    axes : ndarray of matplotlib Axes of shape (n_samples, 2)
    image : matplotlib AxesImage
        One of the overlays, for a colour bar.
    """
    n = len(shown.pictures)
    pairs = min(n, 2)  # samples side by side
    n_rows = math.ceil(n / pairs)
    height, breadth = shown.pictures[0].shape[-3:-1]
    width = WIDTH if pairs == 2 or breadth > 1.4 * height else 0.7 * WIDTH
    row_height = picture_height(shown.pictures[0], width / (2 * pairs), 0.8, 4.0) + 0.35
    figure, grid = make_panels(ax, n_rows, 2 * pairs, (width, row_height * n_rows + 1.1), shown.pictures[0])
    axes = np.empty((n, 2), dtype=object)
    limits = value_range(shown.pictures)
    for i, picture in enumerate(shown.pictures):
        row, column = divmod(i, pairs)
        plain, over = axes[i] = [figure.add_subplot(grid[row, 2 * column + k]) for k in range(2)]
        draw_sample(plain, picture, limits, share)
        plain.set_title(short(shown.names[i], 22), fontsize=SMALL)
        draw_pale(over, picture, limits, share)
        over.set_title(describe_sample(shown, i), fontsize=SMALL)
        height, breadth = picture.shape[-3:-1]
        image = over.imshow(
            cut(values[i], share) if picture.ndim == 4 else values[i],
            extent=(-0.5, breadth - 0.5, height - 0.5, -0.5),
            interpolation="bilinear" if shown.method == "grad_cam" else "nearest",
            **colors,
        )
        down, right = _cross_positions(shown, i, share)
        over.plot(right * breadth - 0.5, down * height - 0.5, **CROSSES)
    return figure, axes, image


def draw_over_signals(shown: SaliencyDisplay, ax: Any, values: np.ndarray, share: float, colors: dict[str, Any]) -> Any:
    """Draw each signal shaded by its values; see `draw_over_images`, with axes of shape (n_samples, 1)."""
    n = len(shown.pictures)
    figure, grid = make_panels(ax, n, 1, (WIDTH, 1.5 * n + 1.2))
    axes = np.empty((n, 1), dtype=object)
    for i, signal in enumerate(shown.pictures):
        panel = axes[i, 0] = figure.add_subplot(grid[i])
        draw_signal(panel, signal)
        image = panel.imshow(
            values[i][None],
            extent=(-0.5, len(signal) - 0.5, *panel.get_ylim()),
            aspect="auto",
            interpolation="nearest",
            zorder=0,
            **colors,
        )
        [along] = _cross_positions(shown, i, share)
        at_foot = panel.get_xaxis_transform()
        panel.plot(along * len(signal) - 0.5, np.full(len(along), 0.08), transform=at_foot, **CROSSES)
        panel.set_title(f"{short(shown.names[i], 40)}: {describe_sample(shown, i)}", fontsize=SMALL)
        unit = label_positions(panel, shown.position_names)
        panel.tick_params(labelbottom=i == n - 1)
    axes[-1, 0].set_xlabel(unit, fontsize=SMALL)
    name_channels(axes[0, 0], shown.pictures[0].shape[-1])
    return figure, axes, image
