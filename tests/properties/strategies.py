"""Whole examples: an estimator, its hyper-parameters, and all that `fit` is called with."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from hyper_parameters import Weights, flat_backbone, hyper_parameters, refused_hyper_parameters
from hypothesis import strategies as st
from inputs import (
    DTYPES,
    FORMS,
    GROUPS,
    LABELS,
    LAYOUTS,
    PATTERNS,
    PICTURE_FORMS,
    PICTURE_MODES,
    VALUES,
    WEIGHTS,
    as_dtype,
    draw_codes,
    draw_values,
    make_pictures,
    make_targets,
    usually_fit,
)

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.declarations import declared_parameters

ESTIMATORS = {"classifier": CNNClassifier, "regressor": CNNRegressor, "features": CNNFeatures}
# Small, so that an example takes tens of milliseconds.
BASE = {"filters": 2, "dense_units": 2, "max_epochs": 1, "batch_size": 8, "random_state": 0, "device": "cpu"}


FEATURES_BASE = {"backbone": flat_backbone, "batch_size": 8, "random_state": 0, "device": "cpu"}


@dataclass(frozen=True)
class Samples:
    """A recipe for X: `shape` is that of one sample, or of each picture in turn."""

    n: int
    shape: tuple
    pattern: str = "normal"
    dtype: str = "float64"
    layout: str = "C"
    form: str = "array"
    mode: str | None = None  # of pictures, which have no type and layout
    seed: int = 0

    def make(self, n=None, shift=0):
        """Build X, or another one like it of `n` rows."""
        n = self.n if n is None else n
        if self.mode is not None:
            sides = [self.shape[row % len(self.shape)] for row in range(n)]
            return make_pictures(sides, self.pattern, self.mode, self.form, self.seed + shift)
        values = as_dtype(draw_values((n, *self.shape), self.pattern, self.seed + shift), self.dtype)
        return FORMS[self.form](LAYOUTS[self.layout](values))


@dataclass(frozen=True)
class Case:
    """One example; what is printed of it can be pasted into a test: `check(Case(...))`."""

    estimator: str
    X: Samples
    y: str
    parameters: dict = field(default_factory=dict)
    n_classes: int = 2
    weights: str | None = None
    groups: str | None = None
    n_val: int = 0  # validation rows; 0: none are passed
    weights_val: str | None = None
    fitted_before: bool = False
    then: str = "nothing"  # after fit: "partial_fit", or a second fit with "warm_start"
    refused: dict = field(default_factory=dict)

    def targets(self, n, shift=0):
        return make_targets(self.y, n, self.n_classes, self.X.seed + shift, self.estimator == "classifier")

    def given(self):
        """Build the arguments of `fit`."""
        if self.estimator == "features":
            return {"X": self.X.make()}
        rng = np.random.RandomState(self.X.seed)
        given: dict[str, Any] = {"X": self.X.make(), "y": self.targets(self.X.n)}
        if self.weights is not None:
            given["sample_weight"] = WEIGHTS[self.weights](self.X.n, rng)
        if self.groups is not None:
            given["groups"] = GROUPS[self.groups](self.X.n, rng)
        if self.n_val:
            given |= {"X_val": self.X.make(self.n_val, shift=50), "y_val": self.targets(self.n_val, shift=50)}
            if self.weights_val is not None:
                given["sample_weight_val"] = WEIGHTS[self.weights_val](self.n_val, rng)
        return given

    def hyper_parameters(self):
        """Build the hyper-parameters."""
        base = FEATURES_BASE if self.estimator == "features" else BASE
        parameters = base | self.parameters | self.refused
        if isinstance(parameters.get("class_weight"), Weights):
            labels = np.unique(draw_codes(self.X.n, self.n_classes, self.X.seed))
            try:
                labels = np.unique(np.asarray(self.targets(self.X.n)))
            except (TypeError, ValueError):
                pass
            if labels.dtype == object and any(hasattr(label, "shape") for label in labels):  # a sparse matrix
                labels = np.arange(3)
            parameters["class_weight"] = parameters["class_weight"].of(labels.tolist())
        return parameters

    def make(self):
        """Build the estimator."""
        return ESTIMATORS[self.estimator](**self.hyper_parameters())


@cache
def mostly(usual, others, odds=3):
    """Draw the usual value, and now and then another; others are a strategy, or the names in a table."""
    if not isinstance(others, st.SearchStrategy):
        others = st.sampled_from(others)
    return st.one_of(*[st.just(usual)] * odds, others)


sides = st.integers(1, 9)
short_sides = st.integers(1, 4)
channels = st.sampled_from([1, 3, 3, 4, 2])


@st.composite
def shapes(draw):
    """Draw the shape of a sample, and hyper-parameters that say what its axes mean."""
    kind = draw(
        st.sampled_from(["row", "row", "row of pixels", "signals", "grey images", "images", "images", "volumes"])
    )
    first = draw(st.booleans())
    told = {"data_format": "channels_first" if first else "channels_last"} if draw(st.integers(0, 5)) else {}
    if kind == "row":
        return (draw(st.integers(1, 24)),), {}
    if kind == "row of pixels":
        height, width, depth = draw(sides), draw(sides), draw(channels)
        shape = draw(st.sampled_from([(height, width), (height, width, depth), (depth, height, width)]))
        return (int(np.prod(shape)),), {"input_shape": shape} | told
    if kind == "signals":
        length, depth = draw(st.integers(1, 20)), draw(channels)
        return ((depth, length) if first else (length, depth)), {"spatial_dims": 1} | told
    if kind == "grey images":
        return (draw(sides), draw(sides)), {"spatial_dims": draw(st.sampled_from([None, 2]))}
    spatial = (draw(sides), draw(sides)) if kind == "images" else tuple(draw(short_sides) for _ in range(3))
    depth = draw(channels)
    if kind == "volumes" and depth == 1 and draw(st.booleans()):
        return spatial, {"spatial_dims": 3}
    return ((depth, *spatial) if first else (*spatial, depth)), told


@st.composite
def samples(draw):
    """Draw a recipe for X, and hyper-parameters that go with it."""
    n, seed = draw(st.one_of(st.integers(4, 24), st.integers(1, 4))), draw(st.integers(0, 40))
    if draw(st.integers(0, 5)) == 0:
        picture_sides = tuple(draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=3)))
        size = {"image_size": draw(st.one_of(sides, st.tuples(sides, sides)))} if draw(st.integers(0, 7)) else {}
        pattern = draw(mostly("normal", ("zeros", "constant", "pixels", "duplicates")))
        form, mode = draw(st.sampled_from(PICTURE_FORMS)), draw(st.sampled_from(PICTURE_MODES))
        return Samples(n, picture_sides, pattern, form=form, mode=mode, seed=seed), size
    shape, told = draw(shapes())
    form = draw(mostly("array", usually_fit(FORMS), odds=2))
    return Samples(
        n,
        shape,
        draw(mostly("normal", usually_fit(PATTERNS), odds=2)),
        draw(mostly("float64", usually_fit(DTYPES), odds=1)),
        draw(mostly("C", usually_fit(LAYOUTS), odds=1)),
        form,
        seed=seed,
    ), told


@cache
def hyper_parameter_names(estimator_class):
    return tuple(declared_parameters(estimator_class))


@st.composite
def cases(draw):
    """Draw a whole example."""
    estimator = draw(st.sampled_from([*ESTIMATORS, *list(ESTIMATORS)[:2] * 3]))
    X, told = draw(samples())
    told = {name: value for name, value in told.items() if name in hyper_parameter_names(ESTIMATORS[estimator])}
    kinds = LABELS if estimator == "classifier" else VALUES
    refused = {}
    if draw(st.integers(0, 11)) == 0:
        refused = draw(refused_hyper_parameters(ESTIMATORS[estimator]))
    return Case(
        estimator,
        X,
        draw(mostly("ints" if estimator == "classifier" else "floats", usually_fit(kinds), odds=1)),
        draw(hyper_parameters(ESTIMATORS[estimator])) | told,
        draw(mostly(2, (3, 4, 1), odds=6)),
        draw(mostly(None, usually_fit(WEIGHTS), odds=2)),
        draw(mostly(None, usually_fit(GROUPS), odds=5)),
        draw(mostly(0, (1, 2, 3, 6), odds=4)),
        draw(mostly(None, usually_fit(WEIGHTS), odds=3)),
        draw(st.integers(0, 5)) == 0,
        draw(mostly("nothing", ("partial_fit", "warm_start"), odds=5)),
        refused,
    )
