"""How much each part of a sample speaks for a target: Grad-CAM, occlusion and gradients, through captum."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklcnn.constraints import Number, Whole
from sklcnn.inspection._network import OpenNetwork, as_numpy
from sklcnn.sizes import is_sequence
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import PARAGRAPH, cut, shown

PATCHES_PER_AXIS = 5  # by default the side of a covered patch is a fifth of the sample's
CLIP = 98  # percentile of attributions at which colours end, so that a few pixels do not take the whole scale
N_STEPS = 50  # of integrated gradients
NUMBERS = {"smoothing": Number(0, 10**6), "n_steps": Whole(1, 10**6), "alpha": Number(0, 1)}
INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def import_captum():
    """Import captum.attr, or say how to get it."""
    try:
        import captum.attr
    except ImportError as error:
        raise ImportError(
            'SaliencyDisplay needs captum, which is not installed. Run: pip install "sklcnn[inspect]"'
        ) from error
    return captum.attr


@dataclass(frozen=True)
class Question:
    """What is explained: samples, and which output of the network for each.

    Attributes
    ----------
    network : OpenNetwork
    task : Task
    inputs : torch.Tensor of shape (n, c, *spatial)
    codes : torch.Tensor of int64 of shape (n,)
        The output that is explained.
    baseline : torch.Tensor of shape (1, c, *spatial)
        What stands for "nothing".
    """

    network: OpenNetwork
    task: Any
    inputs: torch.Tensor
    codes: torch.Tensor
    baseline: torch.Tensor

    def parts(self) -> Iterator[Question]:
        """Split the question by samples, so that each part goes through the network at once."""
        n = self.network.max_rows
        for inputs, codes in zip(self.inputs.split(n), self.codes.split(n), strict=True):
            yield replace(self, inputs=inputs, codes=codes)

    def score(self, inputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Compute the numbers, (n,), whose gradients explain: values in the units of y, or logits.

        Of two classes, the difference of their logits, as in `decision_function`: each by itself is arbitrary.
        """
        return self.task.explained(self.network.outputs(inputs), codes)


def readable(task, outputs, codes):
    """Return the probability or the value of each row's target, (n,), from outputs (n, k)."""
    return task.readable(outputs)[np.arange(len(codes)), codes]


def log_odds(task, outputs, codes):
    """Return the logarithm of the odds p / (1 - p) of each row's target from outputs (n, k), (n,)."""
    return task.log_odds(outputs, codes)


def find_targets(task, target, outputs, rows, n_rows):
    """Find the output that is explained for each sample.

    Parameters
    ----------
    task : Task
    target : object
        None, one label or column (its name or its number), or one for each row of X.
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
    labels = task.outputs
    if target is None:
        codes = task.predicted_outputs(outputs)
        return labels[codes], codes
    if is_sequence(target) or getattr(target, "ndim", 0) == 1:
        wanted = list(target)
        if len(wanted) != n_rows:
            raise ValueError(
                f"target holds {len(wanted)} entries, but X has {n_rows} rows. Pass one, or one for each row of X."
            )
        wanted = [wanted[row] for row in rows]
    else:
        wanted = [target] * len(rows)
    places = {label: code for code, label in enumerate(labels.tolist())}
    places |= {name: code for code, name in enumerate(task.output_names.tolist())}
    codes = []
    for one in wanted:
        one = one.item() if isinstance(one, np.generic) else one
        if not isinstance(one, Hashable) or one not in places:
            known = task.output_names.tolist()
            listed = cut(", ".join(map(repr, known[:20])) + ", …" * (len(known) > 20), PARAGRAPH)
            raise ValueError(f"target={shown(one)} is no {task.output_kind} that the network knows: {listed}.")
        codes.append(places[one])
    codes = np.array(codes, np.int64)
    return labels[codes], codes


def find_baseline(module, inputs, baseline):
    """Find what stands for "nothing", (1, c, *spatial): a value for each channel.

    By default the mean of the training data, or of the images that a backbone was trained on, as far as the network
    knows it; else the samples' own mean.
    """
    n_channels = inputs.shape[1]
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    if baseline is not None:
        try:
            values = torch.from_numpy(np.array(baseline, dtype=np.float64)).reshape(-1).to(inputs)
        except (TypeError, ValueError):
            raise TypeError(f"baseline must be one number, or one a channel; got {shown(baseline)}.") from None
        if not values.isfinite().all():
            raise ValueError(f"baseline={shown(baseline)} holds what is not finite. Pass values such as X has.")
        if len(values) not in (1, n_channels):
            raise ValueError(
                f"baseline holds {len(values)} numbers, but the samples have {n_channels} "
                f"channel{'s' * (n_channels > 1)}. Pass one number, or one a channel."
            )
    elif module.input_means is not None:
        values = module.input_means.to(inputs)
        values = values if len(values) == n_channels else values.mean(0, keepdim=True)
    else:
        values = inputs.movedim(1, -1).flatten(0, -2).mean(0)
    return values.reshape(shape).expand(1, *inputs.shape[1:])


# What a covered patch lowers, by `response_method`.
RESPONSES = {"predict_proba": readable, "decision_function": log_odds}


def _grad_cam(question, layer=None):
    captum, network = import_captum(), question.network
    name = network.last_map_layer(question.inputs) if layer is None else network.find(layer)
    network.feature_maps(question.inputs[:1], name)  # raises for a layer without maps
    method = captum.LayerGradCam(question.score, network.maps_module(name))
    inputs = question.inputs.clone().requires_grad_()
    maps = method.attribute(inputs, additional_forward_args=question.codes, relu_attributions=True)
    size = tuple(inputs.shape[2:])
    if maps.shape[2:] != size:
        maps = captum.LayerAttribution.interpolate(maps.to(inputs), size, INTERPOLATION[len(size)])
    return {"attributions": as_numpy(maps[:, 0]), "layer": name}


def _saliency(question):
    method = import_captum().Saliency(question.score)
    maps = method.attribute(question.inputs.clone().requires_grad_(), additional_forward_args=question.codes)
    return {"attributions": as_numpy(maps.amax(1))}


def _integrated_gradients(question, n_steps=N_STEPS):
    method = import_captum().IntegratedGradients(question.score)
    maps = method.attribute(
        question.inputs,
        question.baseline,
        additional_forward_args=question.codes,
        n_steps=n_steps,
        internal_batch_size=question.network.max_rows,
    )
    return {"attributions": as_numpy(maps.sum(1))}


def _occlusion(question, patch_size=None, stride=None, response_method="predict_proba"):
    measure = RESPONSES[response_method]
    size = tuple(question.inputs.shape[2:])
    default = [min(whole, max(2, round(whole / PATCHES_PER_AXIS))) for whole in size]
    patch = _per_axis(patch_size, default, "patch_size", size)
    stride = _per_axis(stride, [(width + 1) // 2 for width in patch], "stride", patch)
    starts = _patch_starts(size, patch, stride)
    losses, outputs = _cover(question, measure, patch, stride, [len(axis) for axis in starts])
    shape = outputs.shape[:-1]  # (n, *counts)
    outputs = outputs.reshape(-1, outputs.shape[-1])
    decoded = question.task.decode(outputs)
    codes = as_numpy(question.codes).repeat(math.prod(shape[1:]))
    return {
        "attributions": losses,
        "probabilities": readable(question.task, outputs, codes).reshape(shape),
        "patch_predictions": decoded.reshape(*shape, *decoded.shape[1:]),
        "patch_positions": starts,
        "patch_size": patch,
    }


def _cover(question, measure, patch, stride, counts):
    """Cover one patch after another; `measure`, such as `readable`, gives the target's number from outputs.

    Returns
    -------
    losses : ndarray of shape (n, *spatial)
        By how much the target's number falls, averaged over the patches that cover a position.
    outputs : ndarray of shape (n, *counts, k)
        The network's, with each patch covered.
    """
    n, n_channels = question.inputs.shape[:2]
    seen = []

    def read(inputs, codes):
        outputs = as_numpy(question.network.outputs(inputs))
        seen.append(outputs)
        return torch.from_numpy(measure(question.task, outputs, as_numpy(codes))).to(inputs)

    losses = (
        import_captum()
        .Occlusion(read)
        .attribute(
            question.inputs,
            sliding_window_shapes=(n_channels, *patch),
            strides=(n_channels, *stride),
            baselines=question.baseline,
            additional_forward_args=question.codes,
            perturbations_per_eval=question.network.max_rows // n,
        )
    )
    # First come the samples as they are; then patches, with the first axis running fastest.
    outputs = np.concatenate([part.reshape(-1, n, part.shape[1]) for part in seen[1:]]).swapaxes(0, 1)
    outputs = outputs.reshape(n, *counts[::-1], -1)
    n_axes = len(counts)
    return as_numpy(losses[:, 0]), outputs.transpose(0, *range(n_axes, 0, -1), n_axes + 1)


def _patch_starts(size, patch, stride):
    """Compute the first positions of patches along each axis; the last ones may be cut off by the border."""
    return tuple(
        step * np.arange(math.ceil((whole - width) / step) + 1)
        for whole, width, step in zip(size, patch, stride, strict=True)
    )


def _per_axis(value, default, name, largest):
    """Check a patch's sides or strides: one number for all axes, or one an axis."""
    values = default if value is None else value if is_sequence(value) else [value] * len(default)
    if len(values) != len(default) or any(isinstance(v, bool) or not hasattr(v, "__index__") for v in values):
        raise ValueError(f"{name}={shown(value)} must be a whole number, or {len(default)} of them, one an axis.")
    if any(not 1 <= v <= top for v, top in zip(values, largest, strict=True)):
        raise ValueError(f"{name}={shown(value)} must be from 1 to {tuple(largest)} here.")
    return tuple(int(v) for v in values)


@dataclass(frozen=True)
class Method:
    """A way to explain.

    Attributes
    ----------
    compute : callable
        From a question, and parameters by name, to arguments of the display, among them the attributions
        (n, *spatial).
    parameters : tuple of str
        The parameters of `SaliencyDisplay.from_estimator` that it takes and some others do not.
    title, bar : str
        For the figure and its colour bar.
    percentile : float or None
        Of each sample's values, at which its colours end; None: all samples are drawn on one scale.
    over_channels : str
        How the channels' values are combined, for the title; empty if there is one value for all.
    signed : bool
        Whether values may be negative: against the target.
    """

    compute: Callable[..., dict[str, Any]]
    parameters: tuple[str, ...]
    title: str
    bar: str
    percentile: float | None = 100
    over_channels: str = ""
    signed: bool = False


METHODS = {
    "grad_cam": Method(_grad_cam, ("layer",), "Grad-CAM", "share of the largest value"),
    "occlusion": Method(
        _occlusion,
        ("patch_size", "stride", "baseline", "response_method"),
        "Occlusion",
        "{unit} lost when covered",
        percentile=None,
        signed=True,
    ),
    "integrated_gradients": Method(
        _integrated_gradients,
        ("baseline", "n_steps", "smoothing"),
        "Integrated gradients",
        "contribution, share of the largest",
        percentile=CLIP,
        over_channels="sum",
        signed=True,
    ),
    "saliency": Method(
        _saliency,
        ("smoothing",),
        "Saliency",
        "|gradient|, share of the largest",
        percentile=CLIP,
        over_channels="largest",
    ),
}


def explain(question: Question, method: str, **parameters: Any) -> dict[str, Any]:
    """Compute a method's results, as arguments of the display.

    Parameters
    ----------
    question : Question
    method : str
    **parameters
        Those that the method takes; others keep their defaults.
    """
    parts = [METHODS[method].compute(part, **parameters) for part in question.parts()]
    by_sample = ("attributions", "probabilities", "patch_predictions")
    return parts[0] | {name: np.concatenate([part[name] for part in parts]) for name in by_sample if name in parts[0]}


def check_method(method: Any, parameters: dict[str, Any]) -> None:
    """Check that there is such a method, and that it takes the parameters that are not None."""
    _check_name("method", method, METHODS)
    given = {name: value for name, value in parameters.items() if value is not None}
    for name, value in given.items():
        if name not in METHODS[method].parameters:
            users = " and ".join(repr(other) for other in METHODS if name in METHODS[other].parameters)
            raise ValueError(f"{name}={shown(value)} is for method {users}, but method={method!r}. Leave it out.")
    if "response_method" in given:
        _check_name("response_method", given["response_method"], RESPONSES)
    for name in NUMBERS.keys() & given.keys():
        check_number(name, given[name])


def check_number(name: str, value: Any) -> None:
    """Check a parameter that is a number."""
    if not NUMBERS[name].accepts(value):
        raise ValueError(f"{name} must be {NUMBERS[name]}; got {shown(value)}.")


def _check_name(parameter, value, known):
    if not isinstance(value, str) or value not in known:
        names = ", ".join(map(repr, known))
        raise ValueError(f"{parameter} must be one of {names}; got {shown(value)}.{did_you_mean(value, known)}")
