"""Panels of a SearchResultsDisplay: lines with the folds' deviations, rounds of a halving search, maps, points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklcnn.inspection._candidates import MAX_TICKS, ValueAxis
from sklcnn.inspection._drawing import SMALL, number, short

if TYPE_CHECKING:
    from sklcnn.inspection.search_results import SearchResultsDisplay

FEW = 10  # rows and columns of a map whose cells hold numbers
CHOSEN = "chosen"  # in the legend: what the search took
FILLED = 0.8  # share of a map's cells that must have a candidate


def draw_lines(display: SearchResultsDisplay, x: ValueAxis, second: ValueAxis | None = None) -> None:
    """Draw a line, or one for each value of a second hyper-parameter."""
    rows = display.rows_to_draw()
    groups = [rows] if second is None else [rows[second.codes[rows] == code] for code in range(len(second.places))]
    labels = [None] if second is None else second.labels
    sized = display.rounds is not None
    for group, color, label, shift in zip(groups, _colors(second), labels, x.spread(len(groups)), strict=True):
        _draw_group(display, x, group, color=color, label=label, shift=shift, sized=sized)
    if sized:
        _explain_sizes(display)
    _mark_best(display, x, groups)
    _finish(display, x, title=None if second is None else second.name)


def draw_rounds(display: SearchResultsDisplay, x: ValueAxis) -> None:
    """Draw a line for each round of a halving search, the last one darkest."""
    assert display.rounds is not None and display.resources is not None
    numbers = np.unique(display.rounds)
    scored = np.isfinite(display.means)
    groups = [np.flatnonzero((display.rounds == round_) & scored) for round_ in numbers]
    labels = [_amount(display, round_) for round_ in numbers]
    colors = _scale(len(numbers))
    for group, color, label, shift in zip(groups, colors, labels, x.spread(len(groups)), strict=True):
        _draw_group(display, x, group, color=color, label=label, shift=shift)
    _mark_best(display, x, groups)
    _finish(display, x, title=short(display.resource_name))


def draw_map(display: SearchResultsDisplay, x: ValueAxis, y: ValueAxis) -> None:
    """Draw a cell for each pair of values, with its score and the folds' deviation."""
    ax, best = display.ax_, _best_of_cells(display, x, y)
    means = np.full((len(y.places), len(x.places)), np.nan)
    for (column, line), row in best.items():
        means[line, column] = display.means[row]
    image = ax.imshow(means, origin="lower", aspect="auto", cmap="viridis")
    if max(means.shape) <= FEW:
        middle = np.nanmean([np.nanmin(means), np.nanmax(means)])
        for (column, line), row in best.items():
            color = "black" if means[line, column] > middle else "white"
            ax.text(column, line, _cell_text(display, row), ha="center", va="center", color=color, fontsize=SMALL)
    for axis, values in ((ax.xaxis, x), (ax.yaxis, y)):
        axis.set_ticks(range(len(values.labels)), values.labels)
    if display.best_index is not None:
        place = (x.codes[display.best_index], y.codes[display.best_index])
        from matplotlib.patches import Rectangle

        ax.add_patch(Rectangle((place[0] - 0.48, place[1] - 0.46), 0.96, 0.92, fill=False, edgecolor="C3", linewidth=2))
    ax.set_xlabel(x.name)
    ax.set_ylabel(y.name)
    _add_bar(display, image)


def draw_scatter(display: SearchResultsDisplay, x: ValueAxis, y: ValueAxis) -> None:
    """Draw a point for each candidate, coloured by its score; the later its round, the larger it is."""
    ax, rows = display.ax_, display.rows_to_draw()
    rows = rows[np.argsort(display.means[rows])]  # better ones are drawn above others
    sizes = _sizes(display, rows)
    points = ax.scatter(
        x.places[x.codes[rows]], y.places[y.codes[rows]], c=display.means[rows], s=sizes, edgecolors="0.3",
        linewidths=0.5, zorder=2,
    )  # fmt: skip
    if display.best_index is not None:
        place = (x.places[x.codes[display.best_index]], y.places[y.codes[display.best_index]])
        ax.plot(*place, "o", mfc="none", mec="C3", markersize=14, markeredgewidth=2, label=CHOSEN)
    if display.rounds is not None:
        _explain_sizes(display)
    _add_bar(display, points)
    _set_axis(ax, "x", x)
    _set_axis(ax, "y", y)
    ax.grid(alpha=0.3)
    spread = number(float(np.median(display.deviations[rows])))
    title = f"{display.score_name}; deviation of a candidate's folds {spread} (median)"
    ax.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False, title=title, fontsize=SMALL,
        title_fontsize=SMALL, alignment="left",
    )  # fmt: skip


def is_grid(display: SearchResultsDisplay, x: ValueAxis, y: ValueAxis) -> bool:
    """Tell whether two hyper-parameters are numbers, and most pairs of their values were tried."""
    if not (x.numeric and y.numeric) or min(len(x.places), len(y.places)) < 3:
        return False
    return len(_best_of_cells(display, x, y)) >= FILLED * len(x.places) * len(y.places)


def _best_of_cells(display, x, y):
    """Return the best candidate of each pair of values."""
    best: dict[tuple[int, int], int] = {}
    for row in display.rows_to_draw():
        cell = (x.codes[row], y.codes[row])
        if cell not in best or display.means[row] > display.means[best[cell]]:
            best[cell] = row
    return best


def _cell_text(display, row):
    text = f"{number(display.means[row])}\n± {display.deviations[row]:.2g}"
    return text if display.resources is None else f"{text}\n({display.resources[row]})"


def _draw_group(display, x, rows, *, color, label, shift, sized=False):
    """Draw one line: at each value the best candidate with its deviation, the others as faint points."""
    best = {}
    for row in sorted(rows, key=lambda row: display.means[row]):
        best[x.codes[row]] = row
    rest = np.array([row for row in rows if best[x.codes[row]] != row], dtype=int)
    top = np.array([best[code] for code in sorted(best)], dtype=int)
    ax = display.ax_
    joined = "-" if display.is_grid and x.numeric else "none"
    places = x.moved(x.places[x.codes], shift)
    ax.errorbar(
        places[top], display.means[top], display.deviations[top], color=color, label=label, marker="o", markersize=4,
        linestyle=joined, linewidth=1.5, elinewidth=1, capsize=3,
    )  # fmt: skip
    if sized:
        ax.scatter(places[top], display.means[top], s=_sizes(display, top), color=color, zorder=3)
    ax.plot(places[rest], display.means[rest], ".", color=color, alpha=0.35, markersize=5)


def _mark_best(display, x, groups):
    row = display.best_index
    for group, shift in zip(groups, x.spread(len(groups)), strict=True):
        if row is not None and row in group:
            place = x.moved(x.places[x.codes[[row]]], shift)
            display.ax_.plot(
                place, display.means[[row]], "o", mfc="none", mec="C3", markersize=12, markeredgewidth=2, label=CHOSEN,
                zorder=4,
            )  # fmt: skip


def _finish(display, x, title):
    """Label the axes of lines, and add the legend."""
    ax = display.ax_
    _set_axis(ax, "x", x)
    ax.set_ylabel(f"{display.score_name}, mean ± deviation of {display.scores.shape[1]} folds")
    ax.grid(alpha=0.3)
    _add_legend(ax, title)


def _add_legend(ax, title):
    """Add the legend; beside the axes if it is long and the figure has no others."""
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: (labels[i] == CHOSEN, not hasattr(handles[i], "has_yerr")))
    alone = ax.figure.axes == [ax] and len(labels) > 2
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if alone else {"loc": "best"}
    if labels:
        ax.legend(
            [handles[i] for i in order], [labels[i] for i in order], title=title, fontsize=SMALL, title_fontsize=SMALL,
            **place,
        )  # fmt: skip


def _set_axis(ax, which, values: ValueAxis):
    """Set the scale, the ticks and the name of one axis."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    if values.scale == "log":
        getattr(ax, f"set_{which}scale")("log")
    if values.scale == "categories" or len(values.places) <= MAX_TICKS // 2:
        axis.set_ticks(values.places, values.labels)
        axis.set_ticks([], minor=True)
        if which == "x" and sum(map(len, values.labels)) > 60:
            ax.tick_params(axis="x", rotation=30)
            for label in ax.get_xticklabels():
                label.set_horizontalalignment("right")
    if values.scale == "categories":
        getattr(ax, f"set_{which}lim")(-0.5, len(values.places) - 0.5)
    getattr(ax, f"set_{which}label")(values.name)


def _add_bar(display, mappable):
    bar = display.figure_.colorbar(mappable, ax=display.ax_, aspect=30, pad=0.02)
    bar.set_label(display.score_name, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def _sizes(display, rows):
    return np.full(len(rows), 50.0) if display.rounds is None else 20.0 + 35.0 * display.rounds[rows]


def _amount(display, round_):
    """Write a round's amount of the resource, and its number of candidates."""
    of_round = display.rounds == round_
    n = of_round.sum()
    return f"{display.resources[of_round][0]} ({n} candidate{'s' if n > 1 else ''})"


def _explain_sizes(display):
    """Explain in the legend which round of a halving search each size of points stands for."""
    for round_ in np.unique(display.rounds):
        size = _sizes(display, np.flatnonzero(display.rounds == round_)[:1])
        text = f"{short(display.resource_name)} {_amount(display, round_)}"
        display.ax_.scatter([], [], s=size, color="0.6", label=text)


def _scale(n) -> Any:
    """Choose colours from light to dark."""
    from matplotlib import colormaps

    return [colormaps["viridis_r"](0.1 + 0.9 * i / max(n - 1, 1)) for i in range(n)] if n > 1 else ["C0"]


def _colors(second: ValueAxis | None):
    """Choose the colour of each line: on a scale for numbers."""
    if second is None:
        return ["C0"]
    return _scale(len(second.places)) if second.numeric else [f"C{i % 10}" for i in range(len(second.places))]
