"""SaliencyDisplay: which parts of a sample speak for a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklcnn.constraints import is_sequence
from sklcnn.data.targets import ValueEncoding
from sklcnn.inspection._drawing import (
    SMALL,
    WIDTH,
    add_bar,
    as_image,
    cut,
    draw_sample,
    draw_signal,
    find_cut,
    make_panels,
    no_ticks,
    number,
    set_title,
    short,
    value_range,
)
from sklcnn.inspection._network import OpenNetwork, as_numpy
from sklcnn.inspection._samples import choose_rows, find_cnn, read_samples, read_store

N_SAMPLES = 4  # shown unless others are chosen
PATCHES = 5  # a covered patch's side is so small a part of the sample's, unless patch_size says otherwise
BATCH_ROWS = 64  # rows that go through the network at once
INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}
CLIP = 99.5  # percentile of attributions at which colours end: single pixels would take the whole scale


def _import_captum():
    """Import captum.attr, or say how to get it."""
    try:
        import captum.attr
    except ImportError as error:
        raise ImportError(
            'SaliencyDisplay needs captum, which is not installed. Run: pip install "sklcnn[inspect]"'
        ) from error
    return captum.attr


@dataclass(frozen=True)
class _Method:
    """How a method's result is drawn, and which parameters it takes beside those that all take."""

    title: str
    bar: str
    parameters: tuple[str, ...]
    relative: bool = True  # each sample's values as shares of its largest


METHODS = {
    "grad_cam": _Method("Grad-CAM", "share of the largest value", ("layer",)),
    "occlusion": _Method("Occlusion", "{unit} lost when covered", ("patch_size", "stride", "baseline"), relative=False),
    "integrated_gradients": _Method(
        "Integrated gradients", "contribution, share of the largest", ("baseline", "n_steps")
    ),
    "saliency": _Method("Saliency", "|gradient|, share of the largest", ()),
}


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
        The class, or the column of y, that is explained.
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
            What is explained: a class, a column of an indicator matrix, or a column of a regressor's values; or one for
            each row of X. None: the predicted class, the most probable label, the first column.
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
        _check_method(method, given)
        _import_captum()
        cnn, X = find_cnn(estimator, X)
        store = read_store(cnn, X)
        chosen = read_samples(cnn, store, choose_rows(samples, len(store), N_SAMPLES))
        network, encoding = OpenNetwork(cnn), cnn._encoding
        with torch.no_grad():
            outputs = as_numpy(network.outputs(chosen.inputs))
        targets, codes = _find_targets(encoding, target, outputs, chosen.rows, len(store))
        question = _Question(
            network=network,
            encoding=encoding,
            inputs=chosen.inputs,
            codes=torch.from_numpy(codes).to(chosen.inputs.device),
            baseline=_find_baseline(network.module, chosen.inputs, baseline),
        )
        found = _answer(question, method, layer, patch_size, stride, n_steps)
        display = cls(
            method=method,
            targets=targets,
            scores=_readable(encoding, outputs, codes),
            predictions=encoding.decode(outputs),
            pictures=chosen.pictures,
            names=chosen.names,
            kind="values" if isinstance(encoding, ValueEncoding) else "labels" if encoding.multilabel else "classes",
            **found,
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
        values, colors = self._scaled()
        draw_all = self._draw_signals if self.attributions.ndim == 2 else self._draw_images
        panels, mappable = draw_all(ax, values, colors, alpha, share)
        unit = "value" if self.kind == "values" else "probability"
        add_bar(self.figure_, mappable, panels, METHODS[self.method].bar.format(unit=unit))
        set_title(self.figure_, ax, self._title())
        return self

    def _title(self):
        title = METHODS[self.method].title
        if self.layer is not None:
            title += f" at layer {self.layer}"
        if self.patch_size is not None:
            title += f", patches of {' × '.join(map(str, self.patch_size))}"
            if any(np.any(self._turned(i)) for i in range(len(self.pictures))):
                title += "\n× covering the patch here turns the prediction"
        return title

    def _text(self, i):
        """Say what was explained, and how it was predicted."""
        target, score = self.targets[i], self.scores[i]
        if self.kind != "values":
            return f"P({short(target)}) = {score:.2f}"
        return f"predicted {number(score)}" if self.predictions.ndim == 1 else f"column {target}: {number(score)}"

    def _scaled(self):
        """Give what is drawn, and imshow's arguments for its colours."""
        values = self.attributions.astype(float)
        axes = tuple(range(1, values.ndim))
        if METHODS[self.method].relative:
            tops = np.percentile(np.abs(values), 100 if self.method == "grad_cam" else CLIP, axis=axes, keepdims=True)
            largest = np.abs(values).max(axis=axes, keepdims=True)
            tops = np.where(tops > 0, tops, largest)  # fewer values than the percentile leaves out
            values = np.clip(np.divide(values, tops, out=np.zeros_like(values), where=tops > 0), -1, 1)
            top = 1.0
        else:
            top = float(np.abs(values).max()) or 1.0
        if self.method in ("grad_cam", "saliency"):
            return values, {"cmap": "inferno", "vmin": 0.0, "vmax": top}
        return values, {"cmap": "RdBu_r", "vmin": -top, "vmax": top}

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

    def _draw_images(self, ax, values, colors, alpha, share):
        n = len(self.pictures)
        pairs = min(n, 2)  # samples beside each other
        n_rows = math.ceil(n / pairs)
        width = WIDTH if pairs == 2 else 0.7 * WIDTH
        height, breadth = self.pictures[0].shape[-3:-1]
        row_height = min(max(width / (2 * pairs + 0.6) * height / breadth, 0.8), 4.0) + 0.35
        figure, grid = make_panels(ax, n_rows, 2 * pairs, (width, row_height * n_rows + 0.5), layout="compressed")
        self.figure_, self.axes_ = figure, np.empty((n, 2), dtype=object)
        limits = value_range(self.pictures)
        for i, picture in enumerate(self.pictures):
            row, column = divmod(i, pairs)
            plain, over = (figure.add_subplot(grid[row, 2 * column + k]) for k in range(2))
            self.axes_[i] = plain, over
            draw_sample(plain, picture, limits, share)
            plain.set_title(short(self.names[i], 22), fontsize=SMALL)
            shown = cut(picture, share) if picture.ndim == 4 else picture
            found = cut(values[i], share) if picture.ndim == 4 else values[i]
            height, breadth = shown.shape[:2]
            image, options = as_image(shown, limits)
            over.imshow(image, interpolation="nearest", **options)
            opacity = alpha * np.abs(found) / colors["vmax"]
            over.imshow(
                found,
                alpha=opacity,
                extent=(-0.5, breadth - 0.5, height - 0.5, -0.5),
                interpolation="bilinear" if self.method == "grad_cam" else "nearest",
                **colors,
            )
            down, right = self._crosses(i, share)
            over.plot(right * breadth - 0.5, down * height - 0.5, "x", color="black", markersize=4)
            over.set_title(self._text(i), fontsize=SMALL)
            no_ticks(over)
        return self.axes_.ravel().tolist(), _mappable(colors)

    def _draw_signals(self, ax, values, colors, alpha, share):
        n = len(self.pictures)
        figure, grid = make_panels(ax, n, 1, (WIDTH, 1.5 * n + 0.6), layout="constrained")
        self.figure_, self.axes_ = figure, np.empty((n, 1), dtype=object)
        for i, signal in enumerate(self.pictures):
            panel = self.axes_[i, 0] = figure.add_subplot(grid[i])
            draw_signal(panel, signal)
            low, high = panel.get_ylim()
            panel.imshow(
                values[i][None],
                alpha=alpha * np.abs(values[i][None]) / colors["vmax"],
                extent=(-0.5, len(signal) - 0.5, low, high),
                aspect="auto",
                interpolation="nearest",
                zorder=0,
                **colors,
            )
            [along] = self._crosses(i, share)
            at_foot = panel.get_xaxis_transform()
            panel.plot(along * len(signal) - 0.5, np.full(len(along), 0.06), "x", color="black", transform=at_foot)
            panel.set_title(f"{short(self.names[i], 40)}: {self._text(i)}", fontsize=SMALL)
            panel.tick_params(labelbottom=i == n - 1)
        self.axes_[-1, 0].set_xlabel("position", fontsize=SMALL)
        return self.axes_.ravel().tolist(), _mappable(colors)


def _mappable(colors):
    """Give a colour bar the full colours, not those that a picture shines through."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(colors["vmin"], colors["vmax"]), colors["cmap"])


def _check_method(method, given):
    """Check the method, and that it takes the parameters that are given."""
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}.")
    for name, value in given.items():
        if value is not None and name not in METHODS[method].parameters:
            users = " and ".join(repr(user) for user in METHODS if name in METHODS[user].parameters)
            raise ValueError(f"{name}={value!r} is for method {users}, but method={method!r}. Leave it out.")


def _answer(question, method, layer, patch_size, stride, n_steps):
    """Compute what a method finds, as keyword arguments of the display."""
    if method == "grad_cam":
        network = question.network
        name = network.last_map_layer(question.inputs) if layer is None else network.find(layer)
        return {"attributions": _grad_cam(question, name), "layer": name}
    if method == "saliency":
        return {"attributions": _saliency(question)}
    if method == "integrated_gradients":
        return {"attributions": _integrated_gradients(question, 50 if n_steps is None else n_steps)}
    size = tuple(question.inputs.shape[2:])
    default = [min(whole, max(2, round(whole / PATCHES))) for whole in size]
    patch = _per_axis(patch_size, default, "patch_size", size)
    stride = _per_axis(stride, [(width + 1) // 2 for width in patch], "stride", patch)
    attributions, outputs = _occlusion(question, patch, stride)
    counts, n_patches = outputs.shape[:-1], math.prod(outputs.shape[1:-1])
    flat = outputs.reshape(-1, outputs.shape[-1])
    decoded = question.encoding.decode(flat)
    codes = as_numpy(question.codes).repeat(n_patches)
    return {
        "attributions": attributions,
        "probabilities": _readable(question.encoding, flat, codes).reshape(counts),
        "patch_predictions": decoded.reshape(*counts, *decoded.shape[1:]),
        "patch_positions": _patch_starts(size, patch, stride),
        "patch_size": patch,
    }


@dataclass(frozen=True)
class _Question:
    """What is explained: samples, and which output of the network for each.

    Attributes
    ----------
    network : OpenNetwork
    encoding : Encoding
    inputs : torch.Tensor of shape (n, c, *spatial)
    codes : torch.Tensor of int64 of shape (n,)
        The output that is explained.
    baseline : torch.Tensor of shape (1, c, *spatial)
        What stands for "nothing".
    """

    network: OpenNetwork
    encoding: Any
    inputs: torch.Tensor
    codes: torch.Tensor
    baseline: torch.Tensor

    def score(self, inputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Give what gradients are taken of, (n,): a value in the units of y, or a logit.

        Of two classes, the difference of their logits, as in `decision_function`: each by itself is arbitrary.
        """
        outputs = self.network.outputs(inputs)
        chosen = outputs.gather(1, codes[:, None])[:, 0]
        if isinstance(self.encoding, ValueEncoding):
            deviation, mean = (
                torch.from_numpy(values).to(outputs)[codes] for values in (self.encoding.deviation, self.encoding.mean)
            )
            return chosen * deviation + mean
        if not self.encoding.multilabel and outputs.shape[1] == 2:
            return chosen - outputs.gather(1, 1 - codes[:, None])[:, 0]
        return chosen


def _readable(encoding, outputs, codes):
    """Give what a person reads of outputs (n, k): the probability or the value of each row's target, (n,)."""
    if isinstance(encoding, ValueEncoding):
        columns = encoding.decode(outputs).reshape(len(outputs), -1)
    else:
        columns = encoding.probabilities(outputs)
    return columns[np.arange(len(codes)), codes]


def _find_targets(encoding, target, outputs, rows, n_rows):
    """Find the output that is explained for each sample.

    Parameters
    ----------
    encoding : Encoding
    target : object
        None, one label or column, or one for each row of X.
    outputs : ndarray of shape (n, k)
        Of the chosen samples, for the predicted class.
    rows : ndarray of int of shape (n,)
        Their positions in X.
    n_rows : int
        Rows of X.

    Returns
    -------
    targets : ndarray of shape (n,)
        Labels, or the numbers of columns.
    codes : ndarray of int64 of shape (n,)
    """
    is_regressor = isinstance(encoding, ValueEncoding)
    labels = np.arange(encoding.n_outputs) if is_regressor else encoding.classes
    if target is None:
        codes = np.zeros(len(rows), np.int64) if is_regressor else outputs.argmax(1)
        return labels[codes], codes
    if is_sequence(target) or getattr(target, "ndim", 0) == 1:
        wanted = list(target)
        if len(wanted) != n_rows:
            raise ValueError(
                f"target holds {len(wanted)} entries, but X has {n_rows} rows. Pass one target, or one for each row of X."
            )
        wanted = [wanted[row] for row in rows]
    else:
        wanted = [target] * len(rows)
    places = {label: code for code, label in enumerate(labels.tolist())}
    codes = []
    for one in wanted:
        one = one.item() if isinstance(one, np.generic) else one
        if one not in places:
            kind = "column of y" if is_regressor or encoding.multilabel else "class"
            shown = ", ".join(map(repr, list(places)[:20])) + ", …" * (len(places) > 20)
            raise ValueError(f"target={one!r} is no {kind} that the network knows: {shown}.")
        codes.append(places[one])
    codes = np.array(codes, np.int64)
    return labels[codes], codes


def _find_baseline(module, inputs, baseline):
    """Give what stands for "nothing", (1, c, *spatial): a value for each channel.

    By default the mean of the training data, or of the images that a backbone was trained on, as far as the network
    knows it; else the samples' own mean.
    """
    n_channels = inputs.shape[1]
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    if baseline is not None:
        values = torch.as_tensor(np.asarray(baseline, dtype=np.float64)).reshape(-1).to(inputs)
        if len(values) not in (1, n_channels):
            raise ValueError(
                f"baseline holds {len(values)} numbers, but the samples have {n_channels} "
                f"channel{'s' * (n_channels > 1)}. Pass one number, or one a channel."
            )
    elif hasattr(module, "standardize"):
        values = module.standardize.mean.reshape(-1).to(inputs)
    elif getattr(getattr(module, "backbone", None), "mean", None) is not None:
        values = module.backbone.mean.reshape(-1).to(inputs) / module.backbone.scale
        values = values if len(values) == n_channels else values.mean(0, keepdim=True)
    else:
        values = inputs.movedim(1, -1).flatten(0, -2).mean(0)
    return values.reshape(shape).expand(1, *inputs.shape[1:])


# The methods: each gives attributions of shape (n, *spatial).


def _grad_cam(question, layer):
    attr = _import_captum()
    module = question.network.maps_module(layer)
    question.network.feature_maps(question.inputs[:1], layer)  # refuses a layer without maps
    inputs = question.inputs.clone().requires_grad_()
    maps = attr.LayerGradCam(question.score, module).attribute(
        inputs, additional_forward_args=question.codes, relu_attributions=True
    )
    size = tuple(inputs.shape[2:])
    if maps.shape[2:] != size:
        maps = attr.LayerAttribution.interpolate(maps.to(inputs), size, INTERPOLATION[len(size)])
    return as_numpy(maps[:, 0])


def _saliency(question):
    maps = (
        _import_captum()
        .Saliency(question.score)
        .attribute(question.inputs.clone().requires_grad_(), additional_forward_args=question.codes)
    )
    return as_numpy(maps.amax(1))


def _integrated_gradients(question, n_steps):
    maps = (
        _import_captum()
        .IntegratedGradients(question.score)
        .attribute(
            question.inputs,
            question.baseline,
            additional_forward_args=question.codes,
            n_steps=n_steps,
            internal_batch_size=max(BATCH_ROWS, len(question.inputs)),
        )
    )
    return as_numpy(maps.sum(1))


def _occlusion(question, patch, stride):
    """Cover one patch after another.

    Returns
    -------
    attributions : ndarray of shape (n, *spatial)
        What the target loses where a position is covered, averaged over the patches that cover it.
    outputs : ndarray of shape (n, *counts, k)
        The network's, with each patch covered.
    """
    n, n_channels = question.inputs.shape[:2]
    seen = []

    def read(inputs, codes):
        outputs = as_numpy(question.network.outputs(inputs))
        seen.append(outputs)
        return torch.from_numpy(_readable(question.encoding, outputs, as_numpy(codes)))

    attributions = (
        _import_captum()
        .Occlusion(read)
        .attribute(
            question.inputs,
            sliding_window_shapes=(n_channels, *patch),
            strides=(n_channels, *stride),
            baselines=question.baseline,
            additional_forward_args=question.codes,
            perturbations_per_eval=max(1, BATCH_ROWS // n),
        )
    )
    # After the samples as they are, captum covers patches with the first axis running fastest.
    outputs = np.concatenate([part.reshape(-1, n, part.shape[1]) for part in seen[1:]]).swapaxes(0, 1)
    counts = [len(starts) for starts in _patch_starts(question.inputs.shape[2:], patch, stride)]
    outputs = outputs.reshape(n, *counts[::-1], -1)
    n_axes = len(counts)
    return as_numpy(attributions[:, 0]), outputs.transpose(0, *range(n_axes, 0, -1), n_axes + 1)


def _patch_starts(size, patch, stride):
    """Give the first positions of patches along each axis; the last ones may be cut off by the border."""
    return tuple(
        step * np.arange(math.ceil((whole - width) / step) + 1)
        for whole, width, step in zip(size, patch, stride, strict=True)
    )


def _per_axis(value, default, name, upper):
    """Check a patch's sides or strides: one number for all axes, or one an axis."""
    values = default if value is None else value if is_sequence(value) else [value] * len(default)
    if len(values) != len(default) or any(isinstance(v, bool) or not hasattr(v, "__index__") for v in values):
        raise ValueError(f"{name}={value!r} must be a whole number, or {len(default)} of them, one an axis.")
    if any(not 1 <= v <= top for v, top in zip(values, upper, strict=True)):
        raise ValueError(f"{name}={value!r} must be at least 1 and at most {tuple(upper)} here.")
    return tuple(int(v) for v in values)
