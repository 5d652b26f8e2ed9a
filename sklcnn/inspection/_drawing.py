"""Drawing that the displays share: panels in a figure or in the area of an axes, samples, numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sklcnn.wording import shown

WIDTH = 8.0  # inches, as a page of documentation
SMALL = 8  # points
MAX_CHANNELS = 10  # up to so many, each line has a colour of its own
N_NAMED = 5  # channels in the legend, if there are more
QUARTER = 0.25  # pictures whose largest value is this share of 1 or 255, or more, are drawn on the scale 0..1 or 0..255


def import_matplotlib() -> Any:
    """Import pyplot, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Drawing needs matplotlib, which is not installed. Run: pip install "sklcnn[inspect]"'
        ) from error
    return plt


def make_panels(
    ax: Any, n_rows: int, n_cols: int, figsize: tuple[float, float], picture: np.ndarray | None = None, **ratios
) -> Any:
    """Make a grid for panels, in a new figure or in the area of an axes.

    Parameters
    ----------
    ax : matplotlib Axes or None
    n_rows, n_cols : int
    figsize : (float, float)
        Of a new figure, in inches.
    picture : ndarray or None
        A sample that is drawn in them. Panels of images and volumes, whose proportions are fixed, are moved together.
    **ratios
        `width_ratios`, `height_ratios`, `hspace`, `wspace` of the grid.

    Returns
    -------
    figure : matplotlib Figure
    grid : matplotlib GridSpecBase
    """
    plt = import_matplotlib()
    if ax is None:
        together = picture is not None and picture.ndim > 2 and not is_tall(picture)
        figure = plt.figure(figsize=figsize, layout="compressed" if together else "constrained")
        return figure, figure.add_gridspec(n_rows, n_cols, **ratios)
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be one matplotlib Axes, whose place is filled; got {type(ax).__name__}.")
    ax.set_axis_off()
    place = ax.get_subplotspec()
    if place is not None:
        return ax.figure, place.subgridspec(n_rows, n_cols, **ratios)
    box = ax.get_position()
    return ax.figure, ax.figure.add_gridspec(
        n_rows, n_cols, left=box.x0, right=box.x1, bottom=box.y0, top=box.y1, **ratios
    )


def picture_height(picture: np.ndarray, width: float, low: float, high: float) -> float:
    """Compute the height of a picture from its width, both in inches, within limits."""
    height, breadth = picture.shape[-3:-1]
    return min(max(width * height / breadth, low), high)


def is_tall(picture: np.ndarray) -> bool:
    """Tell whether a picture is much higher than wide, so that the texts above it are wider than it is."""
    return picture.ndim > 2 and picture.shape[-3] > 1.4 * picture.shape[-2]


def value_range(pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """Choose the value that is drawn black, and the one that is drawn white.

    0 and 1, or 0 and 255, if no value is outside and the largest is at least a quarter of it; else the extremes.

    Parameters
    ----------
    pictures : sequence of ndarray
        They are drawn side by side, on one scale.
    """
    low, high = min(float(p.min()) for p in pictures), max(float(p.max()) for p in pictures)
    for top in (1.0, 255.0):
        if low >= 0 and QUARTER * top <= high <= top:
            return 0.0, top
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def find_cut(slice_index: int | None, pictures: Sequence[np.ndarray]) -> float:
    """Find where volumes are cut, as a share of their depth.

    It is a share since feature maps may be less deep than the samples.

    Raises
    ------
    TypeError, ValueError
        If it is no position, or there is no such slice.
    """
    if slice_index is None:
        return 0.5
    if isinstance(slice_index, bool) or not hasattr(slice_index, "__index__"):
        raise TypeError(f"slice_index must be a whole number; got {shown(slice_index)}.")
    if pictures[0].ndim != 4:
        raise ValueError(f"slice_index={slice_index} is a position across volumes, but X holds none. Leave it out.")
    depth = len(pictures[0])
    if not -depth <= slice_index < depth:
        raise ValueError(f"slice_index={slice_index}, but the volumes have a depth of {depth}. Number slices from 0.")
    return (slice_index % depth + 0.5) / depth


def cut(volume: np.ndarray, share: float) -> np.ndarray:
    """Return the slice of a volume at a share of its first axis."""
    return volume[int(len(volume) * share)]


def cut_note(pictures: Sequence[np.ndarray], share: float) -> str:
    """Say in a title where volumes are cut; nothing for other samples."""
    if pictures[0].ndim != 4:
        return ""
    depth = len(pictures[0])
    return f", slice {int(depth * share)} of 0 to {depth - 1}"


def as_image(picture: np.ndarray, limits: tuple[float, float]) -> tuple[np.ndarray, dict[str, Any]]:
    """Convert an image (h, w, c) to what imshow takes, with its further arguments.

    Three channels are colours and a fourth is dropped; any other number is averaged to grey.
    """
    low, high = limits
    n_channels = picture.shape[-1]
    if n_channels in (3, 4):
        return np.clip((picture[..., :3].astype(float) - low) / (high - low), 0, 1), {}
    return picture.mean(-1), {"cmap": "gray", "vmin": low, "vmax": high}


def no_ticks(ax: Any) -> None:
    """Leave out the ticks of a picture."""
    ax.set_xticks([])
    ax.set_yticks([])


def draw_sample(ax: Any, picture: np.ndarray, limits: tuple[float, float], share: float = 0.5) -> None:
    """Draw one sample as the user gave it: lines, an image, or a slice of a volume.

    Parameters
    ----------
    ax : matplotlib Axes
    picture : ndarray of shape (*spatial, c)
    limits : (float, float)
        What `value_range` returns.
    share : float
        Where volumes are cut.
    """
    if picture.ndim == 2:
        draw_signal(ax, picture)
        return
    image, options = as_image(picture if picture.ndim == 3 else cut(picture, share), limits)
    ax.imshow(image, interpolation="nearest", **options)
    no_ticks(ax)


def draw_signal(ax: Any, signal: np.ndarray) -> None:
    """Draw a signal (length, c), a line a channel."""
    colors = _channel_colors(signal.shape[1])
    for i, color in enumerate(colors):
        ax.plot(np.arange(len(signal)), signal[:, i], color=color, linewidth=1, label=f"channel {i}")
    ax.set_xlim(-0.5, len(signal) - 0.5)
    ax.tick_params(labelsize=SMALL)


def _channel_colors(n_channels):
    """Choose a color for each channel: a scale from the first to the last where there are many, as of an EEG."""
    if n_channels == 1:
        return ["black"]
    if n_channels <= MAX_CHANNELS:
        return [f"C{i}" for i in range(n_channels)]
    import matplotlib

    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, n_channels)))


def name_channels(ax: Any, n_channels: int, *, below: bool = False) -> None:
    """Put a legend of the lines beside, or below, a signal of several channels; of many, it names some."""
    if n_channels == 1:
        return
    handles, names = ax.get_legend_handles_labels()
    n_named = n_channels if n_channels <= MAX_CHANNELS else N_NAMED
    named = np.linspace(0, n_channels - 1, n_named).round().astype(int)
    place = (0.0, -0.6) if below else (1.0, 1.05)
    legend = ax.legend(
        [handles[i] for i in named], [names[i] for i in named], loc="upper left", bbox_to_anchor=place,
        fontsize=SMALL, frameon=False, handlelength=1.0,
    )  # fmt: skip
    legend.set_in_layout(not below)


def short(text: Any, width: int = 18) -> str:
    """Cut a label that is too long for its place."""
    text = str(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shorten(names: Iterable[Any], width: int = 18, first: int = 0) -> list[str]:
    """Shorten names to a width so that no two look alike.

    Of a name that is too long the beginning is kept. Of those that begin alike, what tells most of them apart: both
    ends, the words between those that they begin and end with, or the characters. Those still alike get their number.

    Parameters
    ----------
    names : iterable of object
        Also of classes that are not drawn: a name must not be taken for theirs.
    width : int
        In characters, at least 3; names with a number may be wider where it is less than 8.
    first : int
        The number of the first name.
    """
    names = [str(name) for name in names]
    labels = [short(name, width) for name in names]
    for group in _alike(labels):
        texts = [names[i] for i in group]
        ways = [
            [_short_inside(text, width) for text in texts],
            _short_between(texts, width, whole_words=True),
            _short_between(texts, width, whole_words=False),
        ]
        for i, label in zip(group, max(ways, key=lambda way: len(set(way))), strict=True):
            labels[i] = label
    numbered = [_numbered(name, i, width) for i, name in enumerate(names, first)]
    for group in _alike(labels):
        for i in group:
            labels[i] = numbered[i]
    return numbered if _alike(labels) else labels  # a name that itself ends in a number may be as another with its own


def _alike(labels):
    """List the positions of each label that occurs more than once."""
    positions: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        positions.setdefault(label, []).append(i)
    return [group for group in positions.values() if len(group) > 1]


def _short_inside(text, width):
    """Cut the middle of a label that is too long for its place."""
    ends = (width - 1) // 2
    return text if len(text) <= width else f"{text[:ends]}…{text[-ends:]}"


def _short_between(texts, width, whole_words):
    """Cut the beginning and the end that all texts share, but for what has a place before the rest."""
    start = _common_start(texts)
    if whole_words:
        start = re.match(r"(?:.*[\W_])?", start, re.DOTALL)[0]
    rests = [text[len(start) :] for text in texts]
    end = _common_start([rest[::-1] for rest in rests])[::-1]
    if whole_words:
        end = re.search(r"(?:[\W_].*)?$", end, re.DOTALL)[0]
    rests = [rest[: len(rest) - len(end)] + "…" * bool(end) for rest in rests]
    room = width - max(map(len, rests))
    if len(start) > room:
        place = start[len(start) - max(room - 1, 0) :]
        start = "…" + re.sub(r"^.*?[\W_]+", "", place, count=1, flags=re.DOTALL)
    return [short(start + rest, width) for rest in rests]


def _common_start(texts):
    """Return the characters with which all texts begin: those of the first and the last in alphabetical order."""
    first, last = min(texts), max(texts)
    return first[
        : next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    ]


def _numbered(name, n, width):
    """Shorten a name and put a number after it."""
    number_ = f" ({n})"
    return short(name, max(width - len(number_), 2)) + number_


def number(value: float) -> str:
    """Format a value; zero without a sign."""
    return f"{value + 0.0:.4g}"


def set_title(figure: Any, ax: Any, text: str) -> None:
    """Put a title over all panels: the figure's, or that of the axes whose area they fill."""
    if ax is None:
        figure.suptitle(text, fontsize=10)
    else:
        ax.set_title(text, fontsize=10, pad=18)  # points, above the panels' own titles


def signed_scale(values: np.ndarray) -> dict[str, Any]:
    """Choose imshow's arguments for a scale from 0, or around 0 where there are negative values."""
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        return {"cmap": "viridis", "vmin": 0.0, "vmax": high if high > 0 else 1.0}
    return {"cmap": "RdBu_r", "vmin": -max(-low, high), "vmax": max(-low, high)}


def add_bar(figure: Any, mappable: Any, panels: list[Any], label: str, location: str = "right") -> Any:
    """Put a colour bar beside or below panels, and return it."""
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(
        mappable,
        ax=panels,
        location=location,
        aspect=30,
        shrink=1.0 if location == "right" else 0.5,
        pad=0.02,
        ticks=MaxNLocator(4 if mappable.get_clim()[0] < 0 else 5),  # 4 if signed: ends, middle, halves
    )
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def axes_or_new(ax: Any, figsize: tuple[float, float]) -> tuple[Any, Any]:
    """Return the axes to draw one panel in, and its figure: those given, or new ones.

    Parameters
    ----------
    ax : matplotlib Axes or None
    figsize : (float, float)
        Of a new figure, in inches.
    """
    plt = import_matplotlib()
    if ax is None:
        return plt.subplots(figsize=figsize, layout="constrained")
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be one matplotlib Axes; got {type(ax).__name__}.")
    return ax.figure, ax
