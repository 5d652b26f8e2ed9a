"""Values of hyper-parameters, drawn from what `sklcnn/parameters.py` declares: a new one is drawn by itself."""

import math
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from inputs import folder
from skorch.callbacks import Callback, EpochScoring

from sklcnn.constraints import Choice, Nothing, Number, OneOf, SequenceOf, Switch, Whole
from sklcnn.declarations import declared_parameters
from sklcnn.suggestions import did_you_mean  # noqa: F401 (imported here, so that no example pays for it)

# Greatest values where larger ones only cost time. What has no entry is drawn up to a few above its least value.
GREATEST = {"max_epochs": 2, "batch_size": 40, "n_jobs": 2, "kernel_size": 9, "stride": 4, "pool_size": 5}
GREATEST |= {"image_size": 9, "random_state": 2**32 - 1, "convs_per_block": 2, "patience": 20, "freeze_epochs": 3}
USUAL = 4
TOO_SLOW = {"max_epochs": "auto"}  # hundreds of epochs


# What a hyper-parameter may be beside names and numbers. All can be pickled.


class Sine(torch.nn.Module):
    """An activation of the user's own."""

    def forward(self, values):
        return values.sin()


def flat_backbone(sample_shape):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(sample_shape), 3), torch.nn.Tanh())


class Means(torch.nn.Module):
    """A backbone without weights: the mean of each channel."""

    def forward(self, samples):
        return samples.flatten(2).mean(2)


class Widened(torch.nn.Module):
    """A backbone that learns its size from the first batch, and normalises by batches."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3), torch.nn.BatchNorm1d(3))

    def forward(self, samples):
        return self.layers(samples)


def own_block(in_channels, out_channels, kernel_size, spatial_dims):
    convolution = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[spatial_dims - 1]
    return convolution(in_channels, out_channels, 1)


def absolute_loss(outputs, targets):
    return (outputs - targets).abs().mean(dim=1)


def one_loss_a_batch(outputs, targets):
    return (outputs - targets).square().mean()


def constant_score(estimator, X, y):
    return 0.5


def twice(images):
    return images * 2


class Listener(Callback):
    """Listens to all that skorch's callbacks may, and does nothing."""

    def on_epoch_end(self, net, **kwargs):
        pass

    def on_batch_end(self, net, **kwargs):
        pass


class Weights:
    """A dict {label: weight}, of labels that are known when y is."""

    def __init__(self, *weights):
        self.weights = weights

    def __repr__(self):
        return f"Weights{self.weights}"

    def of(self, labels):
        """Return a weight for each of some labels."""
        return {label: self.weights[number % len(self.weights)] for number, label in enumerate(labels)}


AUGMENTATIONS = st.one_of(
    st.sampled_from(["flip", "shift", "noise", "scale", "erase", "mixup", "cutmix", "color", "crop", "rotate"]),
    st.sampled_from(["vertical_flip", "zoom", "trivial_augment", twice, ("shift", "noise"), ("noise", twice), ()]),
    st.dictionaries(st.sampled_from(["noise", "scale", "mixup", "shift", "flip"]), st.floats(0, 1), max_size=3),
)
SCORES = ("accuracy", "f1_macro", "neg_log_loss", "roc_auc", "average_precision", "balanced_accuracy", "r2")
SCORES += ("neg_mean_absolute_error", "max_error", "neg_mean_gamma_deviance", "no such score")
# Of what is declared by its class or by a function of its own.
BY_NAME = {
    "backbone": st.sampled_from([flat_backbone, flat_backbone, Means(), Widened()]),
    "backbone_weights": st.sampled_from(["pretrained"]),
    "feature_cache": st.sampled_from(["memory", Path(folder())]),
    "device": st.sampled_from(["auto", "cpu", "cpu:0", "meta", "abacus"]),
    "block": st.sampled_from([own_block]),
    "activation": st.sampled_from([Sine, torch.nn.Mish, torch.nn.Identity, torch.nn.Softsign]),
    "augmentation": AUGMENTATIONS,
    "optimizer": st.sampled_from(
        [torch.optim.SGD, torch.optim.Adagrad, torch.optim.NAdam, torch.optim.Rprop, torch.optim.LBFGS]
    ),
    "optimizer_params": st.sampled_from(
        [{}, {"eps": 1e-6}, {"weight_decay": 0.1}, {"weight_decay": Fraction(1, 8)}, {"betas": (0.5, 0.9)}, {"no": 1}]
    ),
    "scoring": st.sampled_from([*SCORES, constant_score]),
    "random_state": st.builds(np.random.RandomState, st.integers(0, 9)),
    "callbacks": st.sampled_from(
        [[], [Listener()], [Listener], (("mine", Listener()),), [EpochScoring("accuracy", on_train=True)]]
    ),
    "loss": st.sampled_from([absolute_loss, one_loss_a_batch]),
    "class_weight": st.builds(Weights, st.sampled_from([0.5, 1, Fraction(1, 3), 0]), st.sampled_from([1, 2.0, 1e3])),
}


def of_some_type(value, number, constraint):
    """Return a number as the number-th of some types that hold it, if the rule accepts that too."""
    if isinstance(value, int):
        types = [int, int, np.int64, np.int32 if abs(value) < 2**31 else int, np.uint8 if 0 <= value < 256 else int]
    else:
        types = [float, float, np.float64, np.float32, Fraction]
    with np.errstate(all="ignore"):
        converted = types[number](value)
    return converted if constraint.accepts(converted) else value


def numbers(constraint, name):
    """Draw numbers that a rule accepts: mostly moderate ones, sometimes those at its ends."""
    whole = isinstance(constraint, Whole)
    usual = GREATEST.get(name, constraint.low + USUAL if whole else 1)
    if whole:
        drawn = st.integers(int(constraint.low), int(min(usual, constraint.high)))
    else:
        low, high = max(constraint.low, -1), min(constraint.high, usual)
        ends = [low, low + 1e-3, (low + high) / 2, high, constraint.low, 1e-300, 1e-30, 1e30, 1e300, constraint.high]
        # The ends as floats: `0` and `0.0` are drawn alike.
        ends = [float(value) for value in ends if constraint.accepts(value)]
        drawn = st.one_of(st.sampled_from(ends), st.floats(low, high).filter(constraint.accepts))
    return st.builds(partial(of_some_type, constraint=constraint), drawn, st.integers(0, 4))


def accepted(constraint, name):
    """Draw what a rule accepts; of what is a matter of classes and functions, what `BY_NAME` has for it."""
    if isinstance(constraint, Number):
        return numbers(constraint, name)
    if isinstance(constraint, Nothing):
        return st.none()
    if isinstance(constraint, Switch):
        return st.sampled_from([True, False, np.True_])
    if isinstance(constraint, Choice):
        return st.sampled_from([choice for choice in constraint.choices if choice != TOO_SLOW.get(name)] or [None])
    if isinstance(constraint, OneOf):
        parts = [accepted(rule, name) for rule in constraint.rules]
        parts = [part for part in parts if not part.is_empty]
        return st.one_of(parts) if parts else st.nothing()
    if isinstance(constraint, SequenceOf):
        item = accepted(constraint.item, name)
        if item.is_empty:
            return st.nothing()
        lists = st.lists(item, min_size=constraint.min_length, max_size=min(constraint.max_length, 3))
        forms = [tuple, tuple, list]
        return st.builds(lambda form, values: form(values), st.sampled_from(forms), lists)
    return BY_NAME.get(name, st.nothing())


def just_outside(constraint):
    """List values that a rule refuses, those at its ends among them."""
    values = [*constraint.bad_values(), object(), b"x", 1 + 1j, {}, math.nan, np.array([[1]]), "a" * 10_000]
    for rule in getattr(constraint, "rules", (constraint,)):
        if isinstance(rule, Number):
            values += [np.nextafter(rule.low, -math.inf), np.nextafter(rule.high, math.inf), -1, 10**400]
    return [value for value in values if not constraint.accepts(value)]


@cache  # built once, not for each example
def strategies_of(estimator_class):
    """Map the name of each hyper-parameter to the values that its declaration accepts."""
    declared = declared_parameters(estimator_class)
    return {name: accepted(field.metadata["constraint"], name) for name, field in declared.items()}


@cache
def names_of(estimator_class, at_most=6):
    """Draw the names of a few hyper-parameters."""
    return st.lists(st.sampled_from(list(strategies_of(estimator_class))), max_size=at_most, unique=True)


@st.composite
def hyper_parameters(draw, estimator_class):
    """Draw some hyper-parameters of an estimator, each a value that its declaration accepts."""
    return {name: draw(strategies_of(estimator_class)[name]) for name in draw(names_of(estimator_class))}


@cache
def refused_hyper_parameters(estimator_class):
    """Draw one hyper-parameter, with a value that its declaration refuses."""
    pairs = [
        (name, value)
        for name, field in declared_parameters(estimator_class).items()
        for value in just_outside(field.metadata["constraint"])
    ]
    return st.sampled_from(pairs).map(lambda pair: dict([pair]))
