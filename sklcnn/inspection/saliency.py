"""SaliencyDisplay: which parts of a sample speak for a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklcnn.data.targets import ValueEncoding
from sklcnn.inspection._attribution import (
    METHODS,
    Question,
    check_method,
    explain,
    find_baseline,
    find_targets,
    import_captum,
    readable,
)
from sklcnn.inspection._drawing import (
    SMALL,
    WIDTH,
    add_bar,
    cut,
    cut_note,
    draw_sample,
    draw_signal,
    find_cut,
    import_matplotlib,
    is_tall,
    make_panels,
    number,
    overlay_colors,
    picture_height,
    set_title,
    short,
    value_range,
)
from sklcnn.inspection._network import OpenNetwork
from sklcnn.inspection._samples import choose_rows, find_cnn, read_samples, read_store

N_SAMPLES = 4  # shown unless others are chosen
SMALLEST_SCALE = 0.05  # of probability, so that what hardly matters does not look as if it did
CROSSES = {"marker": "X", "linestyle": "", "color": "black", "markeredgecolor": "white", "markersize": 7}
CLIP = 98  # percentile of attributions at which colours end: single pixels would take the whole scale


@dataclass(kw_only=True, eq=False, repr=False)
class SaliencyDisplay:
    """The parts of samples that speak for a class, or for a high value.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    attributions : ndarray of shape (n_samples, *spatial)
        One number a position of the samples as the network sees them (resized, if `image_size` says so).

        - ``"grad_cam"``: the layer's maps, weighted by how much they raise the target, at least 0, interpolated up.
        - ``"occlusion"``: what the target's probability (a regressor's value) loses when the position is covered.
        - ``"integrated_gradients"``: the position's share of the difference between the sample and the baseline, in
          units of y, or of a classifier's logit; they add up to that difference.
        - ``"saliency"``: how steep the target is there: the largest absolute gradient over the channels.
    method : str
    targets : ndarray of shape (n_samples,)
        The class, or the number of the column of y, that is explained.
    scores : ndarray of shape (n_samples,)
        Its predicted probability, or a regressor's value.
    predictions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        What `predict` gives.
    pictures : list of ndarray of shape (*spatial, n_channels)
        The samples as X gives them, channels last.
    names : list of str
        Of the samples: "sample" and the row, or the file.
    kind : {"classes", "labels", "values"}
        Of the targets: classes, labels of an indicator matrix, or columns of values.
    layer : str or None
        The layer that Grad-CAM stands on.
    probabilities : ndarray of shape (n_samples, *n_patches) or None
        Of occlusion: the target's probability (a regressor's value) with each patch covered.
    patch_predictions : ndarray of shape (n_samples, *n_patches) or (n_samples, *n_patches, n_outputs) or None
        Of occlusion: what is predicted with each patch covered.
    patch_positions : tuple of ndarray of int or None
        Of occlusion: for each axis, the first position that patches cover.
    patch_size : tuple of int or None
        Of occlusion: how many positions a patch covers along each axis; the border cuts the last ones.
    target_names : ndarray of shape (n_samples,) or None
        What the targets are called, where y was a DataFrame; None: as `targets` says.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Set by :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_samples, 2)
        The sample, and what was found, laid over it; for signals (n_samples, 1).

    See Also
    --------
    FeatureMapDisplay : What a layer makes of a sample.
    MistakesDisplay : The samples with the largest loss.

    References
    ----------
    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (occlusion).

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017 (integrated gradients).

    Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR 2014 workshop (saliency).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklcnn import CNNClassifier
    >>> from sklcnn.inspection import SaliencyDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), max_epochs=1, random_state=0).fit(X, y)
    >>> display = SaliencyDisplay.from_estimator(cnn, X, target=7, method="occlusion", samples=[7], draw=False)
    >>> display.probabilities.shape
    (1, 7, 7)
    """

    attributions: np.ndarray
    method: str
    targets: np.ndarray
    scores: np.ndarray
    predictions: np.ndarray
    pictures: list[np.ndarray]
    names: list[str]
    kind: str
    layer: str | None = None
    probabilities: np.ndarray | None = None
    patch_predictions: np.ndarray | None = None
    patch_positions: tuple[np.ndarray, ...] | None = None
    patch_size: tuple[int, ...] | None = None
    target_names: np.ndarray | None = None
    figure_: Any = field(init=False, default=None)
    axes_: Any = field(init=False, default=None)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        target: Any = None,
        method: str = "grad_cam",
        samples: Any = None,
        layer: int | str | None = None,
        patch_size: Any = None,
        stride: Any = None,
        baseline: Any = None,
        n_steps: int | None = None,
        ax: Any = None,
        draw: bool = True,
        alpha: float = 0.7,
        slice_index: int | None = None,
    ) -> SaliencyDisplay:
        """Find what speaks for a target in chosen samples, and draw it over them.

        Parameters
        ----------
        estimator : estimator
            Fitted: CNNClassifier, CNNRegressor, a Pipeline that ends in one (X goes through its earlier steps), or a
            search, whose best one is looked into.
        X : array-like
            Samples as `predict` takes them.
        target : label, int, or array-like of shape (n,), default=None
            What is explained: a class, a column of an indicator matrix or of a regressor's values, by its number or by
            its name in a DataFrame; or one for each row of X. None: the predicted class, the most probable label, the
            first column.
        method : {"grad_cam", "occlusion", "integrated_gradients", "saliency"}, default="grad_cam"
        samples : array-like of int or bool, default=None
            Positions of rows of X, or a mask. None: the first four.
        layer : int or str, default=None
            For Grad-CAM: a block by its position, or any layer by its name in `module_`. None: the last feature maps
            before they are pooled, of the last block or of the backbone.
        patch_size, stride : int or tuple of int, default=None
            For occlusion: the side of the covered patch, and the steps by which it moves, in positions of the samples
            as the network sees them. None: a fifth of each axis, and half of that.
        baseline : float or array-like of shape (n_channels,), default=None
            For occlusion and integrated gradients: what stands for "nothing", in the units of X. None: each channel's
            mean over what the network, or its backbone, was trained on.
        n_steps : int, default=None
            For integrated gradients: how many steps lead from the baseline to the sample; None: 50.
        ax, alpha, slice_index
            As in :meth:`plot`.
        draw : bool, default=True
            False only computes the arrays; :meth:`plot` draws them.

        Returns
        -------
        display : SaliencyDisplay

        Raises
        ------
        ImportError
            If captum is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a method, layer, target or row is unknown, a parameter belongs to another method, or X differs from what
            `fit` was given.
        """
        given = {
            "layer": layer, "patch_size": patch_size, "stride": stride, "baseline": baseline, "n_steps": n_steps
        }  # fmt: skip
        check_method(method, given)
        import_captum()
        cnn, X = find_cnn(estimator, X)
        store = read_store(cnn, X)
        chosen = read_samples(cnn, store, choose_rows(samples, len(store), N_SAMPLES))
        network, encoding = OpenNetwork(cnn), cnn._encoding
        outputs = network.predictions(chosen.inputs)
        targets, codes = find_targets(encoding, target, outputs, chosen.rows, len(store))
        question = Question(
            network=network,
            encoding=encoding,
            inputs=chosen.inputs,
            codes=torch.from_numpy(codes).to(chosen.inputs.device),
            baseline=find_baseline(network.module, chosen.inputs, baseline),
        )
        own = {name: value for name, value in given.items() if value is not None and name != "baseline"}
        display = cls(
            method=method,
            targets=targets,
            scores=readable(encoding, outputs, codes),
            predictions=encoding.decode(outputs),
            pictures=chosen.pictures,
            names=chosen.names,
            target_names=encoding.output_names[codes],
            kind="values" if isinstance(encoding, ValueEncoding) else "labels" if encoding.multilabel else "classes",
            **explain(question, method, **own),
        )
        return display.plot(ax=ax, alpha=alpha, slice_index=slice_index) if draw else display

    def plot(self, ax: Any = None, *, alpha: float = 0.7, slice_index: int | None = None) -> SaliencyDisplay:
        """Draw what was found over the samples.

        Images stand beside themselves with colours laid over; signals are shaded from behind. Crosses mark the
        patches whose covering turns the prediction.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Whose place is filled. None makes a figure.
        alpha : float, default=0.7
            Opacity of the largest values, 0 to 1; those near 0 are transparent.
        slice_index : int, default=None
            Of volumes: the position along the first axis at which they are cut. None: the middle.

        Returns
        -------
        display : SaliencyDisplay
        """
        share = find_cut(slice_index, self.pictures)
        values, top = self._scaled()
        draw_all = self._draw_signals if self.attributions.ndim == 2 else self._draw_images
        signed = self.method in ("occlusion", "integrated_gradients")
        import_matplotlib()
        image = draw_all(ax, values, share, overlay_colors(alpha, top, signed=signed))
        unit = "value" if self.kind == "values" else "probability"
        label = METHODS[self.method].bar.format(unit=unit)
        location = "right" if is_tall(self.pictures[0]) else "bottom"  # where there is more room
        add_bar(self.figure_, image, self.axes_.ravel().tolist(), label, location)
        set_title(self.figure_, ax, self._title(share))
        return self

    def _title(self, share):
        title = METHODS[self.method].title
        if self.layer is not None:
            title += f" at layer {self.layer}"
        if self.patch_size is not None:
            title += f", patches of {' x '.join(map(str, self.patch_size))}"
        title += cut_note(self.pictures, share)
        if any(np.any(self._turned(i)) for i in range(len(self.pictures))):
            title += "\ncrosses: covering the patch there turns the prediction"
        return title

    def _text(self, i):
        """Say what was explained, and how it was predicted."""
        target, score = (self.targets if self.target_names is None else self.target_names)[i], self.scores[i]
        if self.kind != "values":
            return f"P({short(target)}) = {score:.2f}"
        if self.predictions.ndim == 1:
            return f"predicted {number(score)}"
        return f"column {short(target)}: {number(score)}"

    def _scaled(self):
        """Give the values that are drawn, (n, *spatial), and where colours end."""
        values = self.attributions.astype(float)
        if not METHODS[self.method].relative:
            floor = SMALLEST_SCALE if self.kind != "values" else 0.0
            return values, max(float(np.abs(values).max()), floor) or 1.0
        axes = tuple(range(1, values.ndim))
        sizes = np.abs(values)
        tops = np.percentile(sizes, 100 if self.method == "grad_cam" else CLIP, axis=axes, keepdims=True)
        tops = np.where(tops > 0, tops, sizes.max(axis=axes, keepdims=True))  # fewer values than are left out
        return np.clip(np.divide(values, tops, out=np.zeros_like(values), where=tops > 0), -1, 1), 1.0

    def _turned(self, i):
        """Tell which covered patches turn a sample's prediction, as far as its target is concerned."""
        if self.patch_predictions is None or self.kind == "values":
            return np.zeros((0,) * (self.attributions.ndim - 1), bool)
        covered, plain = self.patch_predictions[i], self.predictions[i]
        if self.kind == "labels":
            covered, plain = covered[..., self.targets[i]], plain[self.targets[i]]
        return covered != plain

    def _crosses(self, i, share):
        """Give where crosses are drawn: a coordinate an axis, as shares of the last two axes (or one) of a sample."""
        turned = self._turned(i)
        if not turned.any():
            return [np.empty(0)] * min(turned.ndim, 2)
        size = self.attributions.shape[1:]
        edges = [
            (starts, np.minimum(starts + width, whole))
            for starts, width, whole in zip(self.patch_positions, self.patch_size, size, strict=True)
        ]
        if turned.ndim == 3:
            depth = int(size[0] * share)
            covering = (edges[0][0] <= depth) & (depth < edges[0][1])
            turned, edges, size = turned[covering].any(0), edges[1:], size[1:]
        return [
            ((starts + ends) / 2 / whole)[at]
            for (starts, ends), whole, at in zip(edges, size, np.nonzero(turned), strict=True)
        ]

    def _draw_images(self, ax, values, share, colors):
        n = len(self.pictures)
        pairs = min(n, 2)  # samples beside each other
        n_rows = math.ceil(n / pairs)
        height, breadth = self.pictures[0].shape[-3:-1]
        width = WIDTH if pairs == 2 or breadth > 1.4 * height else 0.7 * WIDTH
        row_height = picture_height(self.pictures[0], width / (2 * pairs), 0.8, 4.0) + 0.35
        figure, grid = make_panels(ax, n_rows, 2 * pairs, (width, row_height * n_rows + 1.1), self.pictures[0])
        self.figure_, self.axes_ = figure, np.empty((n, 2), dtype=object)
        limits = value_range(self.pictures)
        for i, picture in enumerate(self.pictures):
            row, column = divmod(i, pairs)
            plain, over = self.axes_[i] = [figure.add_subplot(grid[row, 2 * column + k]) for k in range(2)]
            for panel, title in ((plain, short(self.names[i], 22)), (over, self._text(i))):
                draw_sample(panel, picture, limits, share)
                panel.set_title(title, fontsize=SMALL)
            height, breadth = picture.shape[-3:-1]
            image = over.imshow(
                cut(values[i], share) if picture.ndim == 4 else values[i],
                extent=(-0.5, breadth - 0.5, height - 0.5, -0.5),
                interpolation="bilinear" if self.method == "grad_cam" else "nearest",
                **colors,
            )
            down, right = self._crosses(i, share)
            over.plot(right * breadth - 0.5, down * height - 0.5, **CROSSES)
        return image

    def _draw_signals(self, ax, values, share, colors):
        n = len(self.pictures)
        figure, grid = make_panels(ax, n, 1, (WIDTH, 1.5 * n + 1.2))
        self.figure_, self.axes_ = figure, np.empty((n, 1), dtype=object)
        for i, signal in enumerate(self.pictures):
            panel = self.axes_[i, 0] = figure.add_subplot(grid[i])
            draw_signal(panel, signal)
            image = panel.imshow(
                values[i][None],
                extent=(-0.5, len(signal) - 0.5, *panel.get_ylim()),
                aspect="auto",
                interpolation="nearest",
                zorder=0,
                **colors,
            )
            [along] = self._crosses(i, share)
            at_foot = panel.get_xaxis_transform()
            panel.plot(along * len(signal) - 0.5, np.full(len(along), 0.08), transform=at_foot, **CROSSES)
            panel.set_title(f"{short(self.names[i], 40)}: {self._text(i)}", fontsize=SMALL)
            panel.tick_params(labelbottom=i == n - 1)
        self.axes_[-1, 0].set_xlabel("position", fontsize=SMALL)
        return image
