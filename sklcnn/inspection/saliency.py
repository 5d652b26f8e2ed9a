"""SaliencyDisplay: which parts of a sample speak for a prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sklcnn.inspection._attribution import (
    METHODS,
    Question,
    check_method,
    check_number,
    explain,
    find_baseline,
    find_targets,
    import_captum,
    readable,
)
from sklcnn.inspection._drawing import find_cut, import_matplotlib, is_tall, set_title, shorten
from sklcnn.inspection._network import OpenNetwork
from sklcnn.inspection._overlay import (
    GROUND,
    WHITE,
    add_overlay_bar,
    overlay_colors,
    scale_values,
    smooth,
    smoothing_of,
)
from sklcnn.inspection._positions import position_names
from sklcnn.inspection._saliency_panels import draw_over_images, draw_over_signals, write_title
from sklcnn.inspection._samples import choose_rows, class_names, find_cnn, read_samples, read_store
from sklcnn.process import leaves_process_as_found
from sklcnn.training.modes import own_modes

N_SAMPLES = 4  # shown unless others are chosen
SMALLEST_SCALE = 0.05  # of probability: smaller effects must not look large


@dataclass(kw_only=True, eq=False, repr=False)
class SaliencyDisplay:
    """The parts of samples that speak for a class, or for a high value.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    attributions : ndarray of shape (n_samples, *spatial)
        One number a position of the samples as the network sees them (resized, if `image_size` says so).

        - ``"grad_cam"``: the layer's maps, weighted by how much they raise the target, at least 0, interpolated up.
        - ``"occlusion"``: what the target's probability, or the logarithm of its odds (a regressor's value), loses when
          the position is covered.
        - ``"integrated_gradients"``: the position's share of the difference between the sample and the baseline, in
          units of y, or of a classifier's logit; they add up to that difference.
        - ``"saliency"``: how steep the target is there: the largest absolute gradient over the channels.
    method : str
        How they were found.
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
        The layer whose maps Grad-CAM uses.
    probabilities : ndarray of shape (n_samples, *n_patches) or None
        Of occlusion: the target's probability (a regressor's value) with each patch covered.
    patch_predictions : ndarray of shape (n_samples, *n_patches) or (n_samples, *n_patches, n_outputs) or None
        Of occlusion: what is predicted with each patch covered.
    patch_positions : tuple of ndarray of int or None
        Of occlusion: for each axis, the first position that patches cover.
    patch_size : tuple of int or None
        Of occlusion: how many positions a patch covers along each axis; the border cuts the last ones.
    target_names : ndarray of shape (n_samples,) or None
        What the targets are called; None: as `targets` says.
    short_names : list of str of length n_samples or None
        The same for titles: where long names are cut, so that no two classes or columns look alike, if need be by their
        position in brackets. None: `target_names`, cut each by itself.
    response_method : {"predict_proba", "decision_function"}, default="predict_proba"
        Of occlusion: whether attributions are of probabilities, or of logarithms of odds.
    position_names : ndarray of shape (n_positions,) or None
        Of signals that are rows of a table: the names of its columns.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Set by :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_samples, 2)
        The sample, and the attributions over it; for signals (n_samples, 1).

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
    >>> cnn = CNNClassifier(input_shape=(8, 8), filters=(8,), max_epochs=1, random_state=0).fit(X[:300], y[:300])
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
    short_names: list[str] | None = None
    response_method: str = "predict_proba"
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
        target: Any = None,
        method: str = "grad_cam",
        samples: Any = None,
        layer: int | str | None = None,
        patch_size: Any = None,
        stride: Any = None,
        baseline: Any = None,
        n_steps: int | None = None,
        response_method: str | None = None,
        display_labels: Any = None,
        ax: Any = None,
        draw: bool = True,
        alpha: float = 0.7,
        smoothing: float | None = None,
        slice_index: int | None = None,
    ) -> SaliencyDisplay:
        """Find which parts of chosen samples speak for a target, and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted: CNNClassifier, CNNRegressor, a Pipeline that ends in one (X goes through its earlier steps), or a
            search, whose best estimator is used.
        X : array-like
            Samples as `predict` takes them.
        target : label, int, or array-like of shape (n,), default=None
            What is explained: a class, a column of an indicator matrix or of a regressor's values, by its number or by
            its name in a DataFrame; or one for each row of X. None: the predicted class, the most probable label, the
            first column.
        method : {"grad_cam", "occlusion", "integrated_gradients", "saliency"}, default="grad_cam"
            How they are found; `attributions` of the class says what each method computes.
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
        response_method : {"predict_proba", "decision_function"}, default=None
            For occlusion by a classifier: whether to measure how much the probability falls (also None), or the
            logarithm of the odds, which shows differences also where the network is sure.
        display_labels : array-like of shape (n_classes,), default=None
            Names of the classes in titles, in the order of `classes_`. None: the labels.
        ax : matplotlib Axes, default=None
            Its area is filled. None makes a figure.
        draw : bool, default=True
            False only computes the arrays; :meth:`plot` draws them.
        alpha, smoothing, slice_index : as in :meth:`plot`
            How it is drawn.

        Returns
        -------
        display : SaliencyDisplay
            With what was found, drawn or not.

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
            "layer": layer, "patch_size": patch_size, "stride": stride, "baseline": baseline, "n_steps": n_steps,
            "response_method": response_method,
        }  # fmt: skip
        check_method(method, given | {"smoothing": smoothing})
        import_captum()
        display = cls(method=method, **_explain(estimator, X, target, samples, display_labels, method, given))
        if not draw:
            return display
        return display.plot(ax=ax, alpha=alpha, smoothing=smoothing, slice_index=slice_index)

    def plot(
        self, ax: Any = None, *, alpha: float = 0.7, smoothing: float | None = None, slice_index: int | None = None
    ) -> SaliencyDisplay:
        """Draw what was found over the samples.

        An image is drawn beside a pale copy with colours over it; a signal has the colours behind it. Crosses mark the
        patches that change the prediction when they are covered.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its area is filled. None makes a figure.
        alpha : float, default=0.7
            Opacity of the largest values, 0 to 1; those near 0 are transparent.
        smoothing : float, default=None
            For integrated gradients and saliency, which differ much from position to position: the standard deviation,
            in positions, of the Gaussian that smooths what is drawn; 0 is none. None: chosen by the size of the
            samples, none for small pictures. The title says how much it is.
        slice_index : int, default=None
            Of volumes: the position along the first axis at which they are cut. None: the middle.

        Returns
        -------
        display : SaliencyDisplay
            With what was found, drawn or not.
        """
        check_method(self.method, {"smoothing": smoothing})
        check_number("alpha", alpha)
        share, method = find_cut(slice_index, self.pictures), METHODS[self.method]
        values = self.attributions.astype(float)
        if "smoothing" in method.parameters:
            if smoothing is None:
                smoothing = smoothing_of(values.shape[1:], signed=method.signed)
            values = smooth(values, smoothing)
        floor = 0.0 if self.unit == "value" else SMALLEST_SCALE
        values, top = scale_values(values, percentile=method.percentile, floor=floor)
        import_matplotlib()
        colors = overlay_colors(alpha, top, signed=method.signed)
        draw_over = draw_over_signals if self.attributions.ndim == 2 else draw_over_images
        self.figure_, self.axes_, image = draw_over(self, ax, values, share, colors)
        location = "right" if is_tall(self.pictures[0]) else "bottom"  # where there is more room
        ground = WHITE if self.attributions.ndim == 2 else GROUND
        label = method.bar.format(unit=self.unit)
        add_overlay_bar(self.figure_, image, self.axes_.ravel().tolist(), label, location, ground)
        set_title(self.figure_, ax, write_title(self, share, top, smoothing))
        return self

    @property
    def unit(self) -> str:
        """The unit of occlusion's attributions: "value", "probability" or "log-odds"."""
        if self.kind == "values":
            return "value"
        return "probability" if self.response_method == "predict_proba" else "log-odds"


def _explain(estimator, X, target, samples, display_labels, method, parameters):
    """Compute the fields of a SaliencyDisplay, as a dict; the arguments are those of `from_estimator`.

    Parameters
    ----------
    parameters : dict
        Those of the method; None where they were not given.
    """
    cnn, transformed = find_cnn(estimator, X)
    task = cnn._task
    names = class_names(task, display_labels)
    if parameters["response_method"] is not None and names is None:
        raise ValueError("response_method is for a classifier's probabilities. Leave it out for a CNNRegressor.")
    names = task.output_names if names is None else names
    short_names = shorten(names)
    store = read_store(cnn, transformed)
    chosen = read_samples(cnn, store, choose_rows(samples, len(store), N_SAMPLES))
    network = OpenNetwork(cnn)
    outputs = network.predictions(chosen.inputs)
    targets, codes = find_targets(task, target, outputs, chosen.rows, len(store))
    question = Question(
        network=network,
        task=task,
        inputs=chosen.inputs,
        codes=torch.from_numpy(codes).to(chosen.inputs.device),
        baseline=find_baseline(network.module, chosen.inputs, parameters["baseline"]),
    )
    own = {name: value for name, value in parameters.items() if value is not None and name != "baseline"}
    return {
        "targets": targets,
        "scores": readable(task, outputs, codes),
        "predictions": task.decode(outputs),
        "pictures": chosen.pictures,
        "names": chosen.names,
        "target_names": names[codes],
        "short_names": [short_names[code] for code in codes],
        "position_names": position_names(estimator, X),
        "response_method": parameters["response_method"] or "predict_proba",
        "kind": task.kind,
        **explain(question, method, **own),
    }
