"""FeatureMapDisplay: what a layer makes of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.nn.modules.conv import _ConvNd

from sklcnn.inspection._drawing import (
    SMALL,
    WIDTH,
    add_bar,
    cut,
    cut_note,
    draw_sample,
    find_cut,
    make_panels,
    name_channels,
    no_ticks,
    picture_height,
    set_title,
    short,
    signed_scale,
    value_range,
)
from sklcnn.inspection._network import OpenNetwork, as_numpy
from sklcnn.inspection._positions import label_positions, position_names
from sklcnn.inspection._samples import choose_rows, find_cnn, read_samples, read_store
from sklcnn.network.blocks import Block, ConvBlock
from sklcnn.process import leaves_process_as_found
from sklcnn.training.modes import own_modes
from sklcnn.wording import shown

N_SAMPLES = 2  # shown unless others are chosen
# By the number of spatial axes: how many maps are side by side, and the width of the samples' column, in widths of a
# map.
COLUMNS = {1: 4, 2: 8, 3: 8}
FIRST_COLUMN = {1: 1.4, 2: 1.0, 3: 1.0}
NAME = {1: 16, 2: 11, 3: 11}  # characters of a sample's name over it, by the same
NEGLIGIBLE = 1e-4  # of the largest value: maps that are weaker are drawn as if they were 0
MEANINGS = {None: "output", True: "activation", False: "before activation"}  # by `after_activation`


@dataclass(kw_only=True, eq=False, repr=False)
class FeatureMapDisplay:
    """Feature maps of chosen samples at one layer.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    maps : ndarray of shape (n_samples, n_maps, *positions)
        The layer's output; for a block, before pooling.
    pictures : list of ndarray of shape (*spatial, n_channels)
        The samples as X gives them, channels last.
    names : list of str
        Of the samples: "sample" and the row, or the file.
    layer : str
        The layer's name.
    after_activation : bool or None
        Which of a block's maps they are; None for other layers.
    filters : ndarray of shape (n_maps, n_channels, *kernel) or None
        The weights of the layer's convolution; None if it has none of its own.
    position_names : ndarray of shape (n_positions,) or None
        Of signals that are rows of a table: the names of its columns.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Set by :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_rows, n_columns)
        The samples are in the first column, the maps beside them; None where there is no panel.

    See Also
    --------
    SaliencyDisplay : Which parts of a sample speak for a prediction.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklcnn import CNNClassifier
    >>> from sklcnn.inspection import FeatureMapDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), filters=(8, 16), max_epochs=1, random_state=0).fit(X[:300], y[:300])
    >>> FeatureMapDisplay.from_estimator(cnn, X, layer="block2", samples=[0, 5], draw=False).maps.shape
    (2, 16, 4, 4)
    """

    maps: np.ndarray
    pictures: list[np.ndarray]
    names: list[str]
    layer: str
    after_activation: bool | None = None
    filters: np.ndarray | None = None
    position_names: np.ndarray | None = None
    figure_: Any = field(init=False, default=None)
    axes_: Any = field(init=False, default=None)

    @classmethod
    @leaves_process_as_found
    @own_modes()
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        layer: int | str = 0,
        after_activation: bool | None = None,
        samples: Any = None,
        ax: Any = None,
        draw: bool = True,
        max_maps: int = 16,
        filters: bool = False,
        shared_scale: bool = False,
        slice_index: int | None = None,
    ) -> FeatureMapDisplay:
        """Compute a layer's feature maps of chosen samples, and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted: CNNClassifier, CNNRegressor, a Pipeline that ends in one (X goes through its earlier steps), or a
            search, whose best estimator is used.
        X : array-like
            Samples as `predict` takes them.
        layer : int or str, default=0
            A block by its position (0 is the first, -1 the last; of a backbone, a convolution layer) or any layer by
            its name in `module_`, such as ``"block1"`` or ``"backbone.network.conv_stem"``. A block's maps are those
            before pooling.
        after_activation : bool, default=None
            Of a block: whether to take the maps after the activation (also None) or before it. For other layers, whose
            output is taken, it must be None.
        samples : array-like of int or bool, default=None
            Positions of rows of X, or a mask. None: the first two.
        ax : matplotlib Axes, default=None
            Its area is filled. None makes a figure.
        draw : bool, default=True
            False only computes the arrays; :meth:`plot` draws them.
        max_maps, filters, shared_scale, slice_index : as in :meth:`plot`
            How they are drawn.

        Returns
        -------
        display : FeatureMapDisplay
            With the maps, drawn or not.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If there is no such layer or row, the layer gives no maps, or X differs from what `fit` was given.
        """
        given_X = X
        cnn, X = find_cnn(estimator, X)
        columns = position_names(estimator, given_X)
        network = OpenNetwork(cnn)
        name = network.find(layer)
        store = read_store(cnn, X)
        chosen = read_samples(cnn, store, choose_rows(samples, len(store), N_SAMPLES))
        maps = network.feature_maps(chosen.inputs, name, after_activation)
        module = network.module.get_submodule(name)
        is_block = isinstance(module, Block)
        display = cls(
            maps=as_numpy(maps),
            pictures=chosen.pictures,
            names=chosen.names,
            layer=name,
            after_activation=after_activation is not False if is_block else None,
            filters=_own_filters(module.conv if isinstance(module, ConvBlock) else module),
            position_names=columns,
        )
        if not draw:
            return display
        return display.plot(
            ax=ax, max_maps=max_maps, filters=filters, shared_scale=shared_scale, slice_index=slice_index
        )

    def plot(
        self,
        ax: Any = None,
        *,
        max_maps: int = 16,
        filters: bool = False,
        shared_scale: bool = False,
        slice_index: int | None = None,
    ) -> FeatureMapDisplay:
        """Draw each sample with its maps beside it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its area is filled. None makes a figure.
        max_maps : int, default=16
            Draw at most so many maps, the first ones.
        filters : bool, default=False
            Whether to draw each map's filter above it, in the same order. Filters on three colours are drawn as
            colours around grey; on other numbers of channels, the sum over them.
        shared_scale : bool, default=False
            Whether all maps are drawn on one scale, on which weak ones are hardly seen. False: each map of each sample
            has a scale of its own, up to the number over it, its largest absolute value; of signals, each map has one
            for all samples.
        slice_index : int, default=None
            Of volumes: the position along the first axis at which they are cut. None: the middle, of the maps as of
            the sample.

        Returns
        -------
        display : FeatureMapDisplay
            With the maps, drawn or not.
        """
        weights = self.filters if filters else None
        if filters and weights is None:
            raise ValueError(f"Layer {self.layer!r} is not a convolution and has no filters. Set filters=False.")
        if isinstance(max_maps, bool) or not hasattr(max_maps, "__index__") or max_maps < 1:
            raise ValueError(f"max_maps={shown(max_maps)} must be a whole number, at least 1.")
        share = find_cut(slice_index, self.pictures)
        n_axes = self.maps.ndim - 2
        n_maps = min(max_maps, self.maps.shape[1])
        n_columns = min(n_maps, COLUMNS[n_axes])
        block = math.ceil(n_maps / n_columns)  # rows of panels that a sample takes, and the filters
        n_rows = block * (len(self.maps) + filters)
        row_height = 0.9 if n_axes == 1 else picture_height(self.pictures[0], 0.75, 0.4, 2.0) + 0.2
        figure, grid = make_panels(
            ax,
            n_rows,
            n_columns + 1,
            (WIDTH, row_height * n_rows + 0.7),
            self.pictures[0],
            width_ratios=[FIRST_COLUMN[n_axes], *[1] * n_columns],
        )
        self.figure_, self.axes_ = figure, np.full((n_rows, n_columns + 1), None, dtype=object)

        def add(row, column):
            self.axes_[row, column] = figure.add_subplot(grid[row, column])
            return self.axes_[row, column]

        def add_panels(start):
            """Make panels for the maps in the block of rows that starts at `start`."""
            return [add(start + j // n_columns, 1 + j % n_columns) for j in range(n_maps)]

        if weights is not None:
            panels = add_panels(0)
            _draw_filters(figure, panels, weights[:n_maps])
            panels[0].set_title("filters", fontsize=SMALL, loc="left")
        draw_maps = _draw_lines if n_axes == 1 else _draw_images
        limits = value_range(self.pictures)
        rows = []
        for i, picture in enumerate(self.pictures):
            start = block * (i + filters)
            sample = add(start, 0)
            draw_sample(sample, picture, limits, share)
            sample.set_title(short(self.names[i], NAME[n_axes]), fontsize=SMALL, pad=3)
            rows.append(add_panels(start))
            for j, panel in enumerate(rows[-1]):
                panel.set_title(f"map {j}" if j == 0 or n_axes == 1 else f"{j}", fontsize=SMALL, pad=3)
        draw_maps(figure, rows, self.maps[:, :n_maps], share, MEANINGS[self.after_activation], shared_scale)
        if n_axes == 1:
            self._label_signals(block, filters)
        set_title(figure, ax, self._title(n_maps, share, shared_scale))
        return self

    def _label_signals(self, block, filters):
        """Label the x axes of signals, in the first column, and of their maps; name the channels where there is room.

        Parameters
        ----------
        block : int
            Rows of panels that a sample takes.
        filters : bool
            Whether the first block of rows shows filters.
        """
        samples = self.axes_[block * filters :: block, 0]
        for sample in samples:
            unit = label_positions(sample, self.position_names, n_ticks=3)
        samples[-1].set_xlabel(unit, fontsize=SMALL)
        if block > 1:  # below the first sample is an empty place
            name_channels(samples[0], self.pictures[0].shape[-1], below=True)
        if self.position_names is not None:
            maps = [panel for panel in self.axes_[block * filters :, 1:].flat if panel is not None]
            for panel in maps:
                label_positions(panel, self.position_names, n_ticks=3, n_drawn=self.maps.shape[2])

    def _title(self, n_maps, share, shared_scale):
        total = self.maps.shape[1]
        stage = {None: "", True: ", after activation", False: ", before activation"}[self.after_activation]
        positions = " x ".join(map(str, self.maps.shape[2:]))
        count = f"{total} maps" if n_maps == total else f"{n_maps} of {total} maps"
        title = f"{self.layer}{stage}: {count} of {positions} positions{cut_note(self.pictures, share)}"
        own_scales = self.maps.ndim > 3 and not shared_scale
        return title + "\ncolours: shares of the number over the map" * own_scales


def _own_filters(layer):
    """Copy the filters of a convolution, (n_maps, n_channels, *kernel), or None."""
    has_some = isinstance(layer, _ConvNd) and not layer.transposed
    return as_numpy(layer.weight).copy() if has_some else None


def _draw_images(figure, rows, maps, share, meaning, shared):
    """Draw maps (n_samples, n_maps, *positions) as pictures, each on its scale or all on one, with a colour bar."""
    from matplotlib.cm import ScalarMappable

    if maps.ndim == 5:
        maps = np.stack([[cut(one, share) for one in sample] for sample in maps])
    scale = signed_scale(maps)
    largest = np.abs(maps).max(axis=(2, 3))
    # A map that holds nothing but rounding errors should look empty.
    tops = np.where(shared | (largest < NEGLIGIBLE * scale["vmax"]), scale["vmax"], largest)
    for i, panels in enumerate(rows):
        for j, panel in enumerate(panels):
            limits = {"vmin": np.sign(scale["vmin"]) * tops[i, j], "vmax": tops[i, j]}
            panel.imshow(maps[i, j], interpolation="nearest", **scale | limits)
            no_ticks(panel)
            if not shared:
                panel.title.set_text(f"{panel.get_title()}: {largest[i, j] if largest[i, j] == tops[i, j] else 0:.2g}")
    if not shared:
        scale |= {"vmin": np.sign(scale["vmin"]), "vmax": 1.0}
        meaning = "share"
    colors = ScalarMappable(cmap=scale["cmap"])
    colors.set_clim(scale["vmin"], scale["vmax"])
    add_bar(figure, colors, [panel for panels in rows for panel in panels], meaning)


def _draw_lines(figure, rows, maps, share, meaning, shared):
    """Draw maps (n_samples, n_maps, length) as lines, each map on its scale or all on one."""
    lows, highs = np.minimum(maps.min(axis=(0, 2)), 0.0), np.maximum(maps.max(axis=(0, 2)), 0.0)
    if shared:
        lows[:], highs[:] = lows.min(), highs.max()
    highs = np.where(highs > lows, highs, 1.0)
    for panels, sample in zip(rows, maps, strict=True):
        for j, (panel, one) in enumerate(zip(panels, sample, strict=True)):
            panel.plot(one, color="C0", linewidth=1)
            margin = 0.05 * (highs[j] - lows[j])
            panel.set_ylim(lows[j] - margin, highs[j] + margin)
            panel.locator_params(axis="y", nbins=3)
            is_last = panels is rows[-1] and j + COLUMNS[1] >= len(panels)
            is_left = j % COLUMNS[1] == 0
            panel.tick_params(labelsize=SMALL, labelleft=is_left or not shared, labelbottom=is_last)
        panels[0].set_ylabel(meaning, fontsize=SMALL)


def _draw_filters(figure, panels, filters):
    """Draw filters (n_maps, n_channels, *kernel) on one scale around 0."""
    if filters.ndim == 5:
        filters = np.stack([[cut(channel, 0.5) for channel in kernel] for kernel in filters])
    if filters.ndim == 4 and filters.shape[1] != 3:
        filters = filters.sum(1, keepdims=True)
    top = float(np.abs(filters).max()) or 1.0
    for j, (panel, kernel) in enumerate(zip(panels, filters, strict=True)):
        if kernel.ndim == 2:
            panel.axhline(0, color="0.7", linewidth=0.5)
            panel.plot(kernel.T, linewidth=1, marker=".")
            panel.set_ylim(-1.1 * top, 1.1 * top)
            panel.tick_params(labelsize=SMALL, labelleft=j % COLUMNS[1] == 0, labelbottom=False)
            continue
        if len(kernel) == 3:
            panel.imshow(0.5 + 0.5 * np.moveaxis(kernel, 0, -1) / top, interpolation="nearest")
        else:
            image = panel.imshow(kernel[0], cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        no_ticks(panel)
    if filters.ndim == 3:
        panels[0].set_ylabel("weight", fontsize=SMALL)
    elif filters.shape[1] != 3:
        add_bar(figure, image, panels, "weight")
