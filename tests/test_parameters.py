"""Hyper-parameters: declared once, stored untouched, checked in `fit`."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils import get_tags
from skorch.callbacks import EarlyStopping

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.declarations import declared_parameters

ESTIMATORS = [CNNClassifier, CNNRegressor]
DECLARATIONS = [
    pytest.param(estimator_class, name, field.metadata["constraint"], id=f"{estimator_class.__name__}-{name}")
    for estimator_class in ESTIMATORS
    for name, field in declared_parameters(estimator_class).items()
]
BAD_VALUES = [
    pytest.param(*case.values, value, id=f"{case.id}-{number}")
    for case in DECLARATIONS
    for number, value in enumerate(case.values[2].bad_values())
]
# What the estimators' contract names; a hyper-parameter is declared as soon as it works, not before.
DEFAULTS = {
    "filters": "auto",
    "kernel_size": "auto",
    "block": "plain",
    "convs_per_block": "auto",
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "pool_size": 2,
    "global_pooling": None,
    "dense_units": (128,),
    "activation": "relu",
    "batch_norm": False,
    "dropout": 0.0,
    "conv_dropout": 0.0,
    "l1": 0.0,
    "l2": "auto",
    "augmentation": None,
    "backbone": None,
    "backbone_weights": "pretrained",
    "freeze_epochs": None,
    "backbone_lr_factor": "auto",
    "image_size": None,
    "feature_cache": "memory",
    "input_shape": None,
    "spatial_dims": None,
    "data_format": "auto",
    "standardize": True,
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "momentum": 0.9,
    "optimizer_params": None,
    "weight_averaging": None,
    "lr_schedule": "auto",
    "batch_size": 64,
    "max_epochs": "auto",
    "early_stopping": False,
    "validation_fraction": 0.1,
    "patience": "auto",
    "scoring": "loss",
    "refit_full": False,
    "warm_start": False,
    "random_state": None,
    "device": "auto",
    "precision": "float32",
    "n_jobs": None,
    "verbose": 0,
    "callbacks": None,
}
OWN_DEFAULTS = {
    CNNClassifier: {"loss": "cross_entropy", "label_smoothing": 0.0, "class_weight": None},
    CNNRegressor: {"loss": "squared_error", "quantile": 0.5},
}
X = np.random.RandomState(0).randn(12, 6)
Y = {CNNClassifier: np.arange(12) % 2, CNNRegressor: X[:, 0]}


def fitted(estimator_class, **parameters):
    """Fit a very small network for one epoch."""
    settings = {"filters": 2, "dense_units": 2, "max_epochs": 1, "random_state": 0} | parameters
    return estimator_class(**settings).fit(X, Y[estimator_class])


@pytest.fixture(scope="module")
def fitted_once():
    """Return one fitted estimator of each class, which no test may leave changed."""
    return {estimator_class: fitted(estimator_class) for estimator_class in ESTIMATORS}


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_every_hyper_parameter_has_the_default_of_the_contract(estimator_class):
    assert estimator_class().get_params() == DEFAULTS | OWN_DEFAULTS[estimator_class]


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_every_argument_is_declared_and_keyword_only(estimator_class):
    assert declared_parameters(estimator_class).keys() == estimator_class().get_params().keys()
    with pytest.raises(TypeError):
        estimator_class((8,))


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_the_docstring_has_an_entry_for_every_hyper_parameter(estimator_class):
    parameters, _ = estimator_class.__doc__.split("Attributes\n")
    for name, field in declared_parameters(estimator_class).items():
        assert f"    {name} : {field.metadata['constraint']}, default=" in parameters
    assert "{parameters}" not in estimator_class.__doc__


@pytest.mark.parametrize("estimator_class, name, constraint", DECLARATIONS)
def test_every_default_obeys_its_constraint(estimator_class, name, constraint):
    constraint.check("Estimator", name, declared_parameters(estimator_class)[name].default)


@pytest.mark.parametrize("estimator_class, name, constraint", DECLARATIONS)
def test_every_constraint_refuses_something(estimator_class, name, constraint):
    assert len(constraint.bad_values()) > 0


def parts(value):
    """List a value and what it holds."""
    if isinstance(value, dict):
        return [value, *value.values()]
    return [value, *value] if isinstance(value, (list, tuple)) else [value]


@pytest.mark.parametrize("estimator_class, name, constraint, value", BAD_VALUES)
def test_a_bad_value_is_refused_by_name_and_changes_nothing(
    estimator_class, name, constraint, value, fitted_once, refuses
):
    estimator = fitted_once[estimator_class]
    good = getattr(estimator, name)
    kind = ValueError if constraint.accepts_kind(value) else TypeError
    try:
        estimator.set_params(**{name: value})
        for method in ("fit", "partial_fit")[: 1 if name == "early_stopping" else 2]:
            with refuses(estimator, rf"^{estimator_class.__name__}: {name}\b", kinds=(kind,)) as caught:
                getattr(estimator, method)(X, Y[estimator_class])
            assert any(repr(part) in str(caught.value) for part in parts(value))
    finally:
        estimator.set_params(**{name: good})


@pytest.mark.parametrize("estimator_class, name, constraint", DECLARATIONS)
def test_an_unfitted_estimator_stays_unfitted_if_a_value_is_bad(estimator_class, name, constraint, refuses):
    estimator = estimator_class(**{name: constraint.bad_values()[0]})
    with refuses(estimator, name):
        estimator.fit(X, Y[estimator_class])
    assert not hasattr(estimator, "net_")


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_an_unknown_hyper_parameter_is_refused(estimator_class):
    with pytest.raises(TypeError, match="filter_count"):
        estimator_class(filter_count=3)
    with pytest.raises(ValueError, match="filter_count"):
        estimator_class().set_params(filter_count=3)


@pytest.mark.parametrize(
    "name", ["filters", "dense_units", "kernel_size", "stride", "pool_size", "image_size", "max_epochs"]
)
def test_a_number_beyond_all_measure_is_refused(name):
    with pytest.raises(ValueError, match=f"^CNNClassifier: {name} must be .*a whole number from 1 to"):
        fitted(CNNClassifier, **{name: 10**400})


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_a_first_partial_fit_of_too_large_a_network_says_what_takes_less(estimator_class):
    estimator = estimator_class(filters=64, kernel_size=10**6)
    with pytest.raises(MemoryError, match=rf"^{estimator_class.__name__}: .* more memory than there is"):
        estimator.partial_fit(np.zeros((12, 6, 6, 1)), Y[estimator_class])
    assert not hasattr(estimator, "net_")


def test_a_network_larger_than_memory_says_what_takes_less():
    estimator = fitted(CNNClassifier)
    before = estimator.predict_proba(X)
    images = np.zeros((12, 6, 6, 1))
    with pytest.raises(MemoryError, match=r"CNNClassifier: .* more memory than there is .*Lower batch_size, filters"):
        estimator.set_params(filters=64, kernel_size=10**6).fit(images, Y[CNNClassifier])
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


@pytest.mark.filterwarnings("ignore:.*the network has died")  # at such a rate
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "reduce_on_plateau", None])
def test_as_many_epochs_as_early_stopping_wants(schedule):
    estimator = fitted(
        CNNRegressor, max_epochs=10**9, early_stopping=True, patience=1, lr_schedule=schedule, learning_rate=10
    )
    assert estimator.n_iter_ < 1000


class FixedLoss(torch.nn.Module):
    """A wrong loss: one number per batch instead of one per row."""

    def forward(self, outputs, targets):
        return (outputs - targets).square().mean()


def weights_alone(outputs, targets):
    return [0.0] * len(outputs)


# Values that are good by themselves but not together; each message says which hyper-parameter is to be changed.
COMBINATIONS = {
    "kernel larger than what is left": ({"padding": "valid", "kernel_size": 7}, "kernel_size.*(6,).*padding"),
    "kernel larger than what pooling left": (
        {"padding": "valid", "filters": (2, 2), "kernel_size": 3},
        r"block 2 .*kernel_size=\(3,\).*\(2,\).*fewer blocks",
    ),
    "kernels for other blocks": ({"filters": (2, 2), "kernel_size": (3, 5, 7)}, "kernel_size.*3 entries for 2"),
    "strides for other blocks": ({"filters": (2, 2), "stride": (1, 2, 1)}, "stride.*3 entries for 2"),
    "windows for other blocks": ({"filters": 2, "pool_size": (1, 2)}, "pool_size.*2 entries for 1"),
    "kernel of other rank": ({"filters": 2, "kernel_size": ((3, 3),)}, "kernel_size.*2 numbers.*1 spatial axis"),
    "kernel of mixed rank": ({"filters": (2, 2), "kernel_size": (3, (3, 3))}, "kernel_size.*2 numbers.*1 spatial"),
    "one loss a batch": ({"loss": FixedLoss()}, r"loss must return one loss a row.*\(12,\).*got \(\)"),
    "torch's loss as it comes": ({"loss": torch.nn.CrossEntropyLoss()}, r'nn\.CrossEntropyLoss\(reduction="none"\)'),
    "an activation that halves channels": ({"activation": torch.nn.GLU}, "activation=GLU must return.*same shape"),
    "an activation that flattens": ({"activation": torch.nn.Flatten}, "activation=Flatten must return.*made shape"),
    "an activation of weights to come": ({"activation": torch.nn.LazyBatchNorm1d}, "activation=LazyB.*first input"),
    "a loss that is no tensor": ({"loss": weights_alone}, "loss must return one loss a row.*got list"),
    "unknown scorer": ({"scoring": "exactness", "early_stopping": True}, "scoring.*'exactness'"),
    "unknown scorer that watches nothing": ({"scoring": "exactness"}, "scoring.*'exactness'"),
    "unknown scorer that watches validation rows": ({"scoring": "", "early_stopping": True}, "scoring.*''"),
    "unknown device": ({"device": "abacus"}, "device='abacus'.*device=\"auto\""),
    "device that is not here": ({"device": "cuda:77"}, "device='cuda:77'.*device=\"auto\""),
    "unknown argument of the optimiser": ({"optimizer_params": {"inertia": 1}}, "optimizer_params.*inertia"),
    "bad argument of the optimiser": ({"optimizer_params": {"betas": (2.0, 0.9)}}, "optimizer_params.*betas.*2.0"),
    "learning rate given twice": ({"optimizer_params": {"lr": 0.1}}, "optimizer_params.*lr.*learning_rate"),
    "skorch's early stopping": ({"callbacks": [EarlyStopping()]}, "EarlyStopping.*early_stopping=True"),
    "skorch's early stopping by class": ({"callbacks": [EarlyStopping]}, "EarlyStopping.*early_stopping=True"),
    "skorch's early stopping by name": ({"callbacks": [("s", EarlyStopping())]}, "EarlyStopping.*early_stopping=True"),
    "a pair that is none": ({"callbacks": [("s", 1)]}, "callbacks.*got.*'s', 1"),
    "input_shape of other size": ({"input_shape": (4, 4)}, r"X has 6 features per row.*\(4, 4\).*16"),
    "input_shape of images read as signals": ({"input_shape": (2, 3), "spatial_dims": 3}, "spatial_dims=3"),
    "a table read as images": ({"spatial_dims": 2}, "input_shape"),
    "signals resized": ({"image_size": 8}, "image_size.*signals"),
}


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
@pytest.mark.parametrize("parameters, message", COMBINATIONS.values(), ids=COMBINATIONS)
def test_values_that_do_not_go_together_are_refused(parameters, message, estimator_class, refuses):
    estimator = fitted(estimator_class)
    predictions = estimator.predict(X)
    estimator.set_params(**parameters)
    with refuses(estimator, message):
        estimator.fit(X, Y[estimator_class])
    np.testing.assert_array_equal(estimator.predict(X), predictions)
    unfitted = clone(estimator)
    with refuses(unfitted, message):
        unfitted.fit(X, Y[estimator_class])


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_hyper_parameters_are_stored_untouched(estimator_class):
    given = {"filters": [2], "kernel_size": np.array([3]), "input_shape": [6], "optimizer_params": {"eps": 1e-7}}
    estimator = estimator_class(max_epochs=1, **given)
    for _ in range(2):
        for name, value in given.items():
            assert getattr(estimator, name) is value
        estimator.fit(X, Y[estimator_class])
    assert given["optimizer_params"] == {"eps": 1e-7}


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
@pytest.mark.parametrize(
    "name, forms",
    [
        ("filters", [4, (4,), [4], np.array([4]), np.int64(4)]),
        ("dense_units", [5, (5,), [5], np.array([5])]),
        ("kernel_size", [3, (3,), [3], np.array([3]), ((3,),), np.int64(3), (3, 3)]),
        ("batch_norm", [True, np.True_]),
        ("learning_rate", [0.25, np.float64(0.25), np.float32(0.25)]),
        ("input_shape", [None, (6,), [6], (6, 1), (1, 6)]),
    ],
)
def test_forms_of_one_value_give_one_network(estimator_class, name, forms):
    first, *others = (fitted(estimator_class, **{name: form}).predict(X) for form in forms)
    for predictions in others:
        np.testing.assert_array_equal(predictions, first)


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_the_tags_say_what_the_estimator_takes(estimator_class):
    tags = get_tags(estimator_class())
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_a_subclass_may_override_a_default(estimator_class):
    class Deep(estimator_class):
        filters: tuple = (2, 3, 4)

    assert clone(Deep(dropout=0.5)).get_params()["filters"] == (2, 3, 4)


FEATURE_BAD_VALUES = [
    pytest.param(name, field.metadata["constraint"], value, id=f"{name}-{number}")
    for name, field in declared_parameters(CNNFeatures).items()
    for number, value in enumerate(field.metadata["constraint"].bad_values())
]


@pytest.mark.parametrize("name, constraint, value", FEATURE_BAD_VALUES)
def test_a_bad_value_of_the_transformer_is_refused_by_name(name, constraint, value, refuses):
    transformer = CNNFeatures(**{name: value})
    kind = ValueError if constraint.accepts_kind(value) else TypeError
    with refuses(transformer, rf"^CNNFeatures: {name}\b", kinds=(kind,)) as caught:
        transformer.fit(np.zeros((2, 6, 5, 3)))
    assert any(repr(part) in str(caught.value) for part in parts(value))
