"""A name in another library's spelling is refused with the name that was meant."""

import numpy as np
import pytest
from sklearn.metrics import get_scorer_names

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.data.augmentation import AUGMENTATIONS
from sklcnn.declarations import declared_parameters
from sklcnn.inspection import SaliencyDisplay
from sklcnn.inspection._attribution import METHODS, RESPONSES
from sklcnn.suggestions import OTHER_NAMES, did_you_mean

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(12, 6, 6, 3)
Y = {CNNClassifier: np.arange(12) % 2, CNNRegressor: RANDOM.rand(12), CNNFeatures: None}
MEANT = [
    (CNNClassifier, name, given, meant)
    for name, pairs in {
        "optimizer": {"Adam": "adam", "SGD": "sgd", "torch.optim.AdamW": "adamw", "RMSProp": "rmsprop"},
        "backbone": {"VGG16": "vgg16", "resnet-18": "resnet18", "efficientnet-lite0": "efficientnet_lite0"},
        "scoring": {"val_loss": "loss", "val_accuracy": "accuracy", "auc": "roc_auc", "f1_score": "f1"},
        "loss": {"categorical_crossentropy": "cross_entropy", "CrossEntropyLoss": "cross_entropy"},
        "activation": {"relu6": "relu", "ReLU": "relu", "swish": "silu", "nn.LeakyReLU": "leaky_relu", "gellu": "gelu"},
        "padding": {"SAME": "same", "Valid": "valid"},
        "pooling": {"average": "avg", "MaxPool2d": "max", "none": None},
        "global_pooling": {"global_average": "avg", "GlobalMaxPooling2D": "max"},
        "lr_schedule": {
            "OneCycleLR": "one_cycle", "ReduceLROnPlateau": "reduce_on_plateau", "CosineAnnealingLR": "cosine",
            "constant": None,
        },
        "augmentation": {"horizontal_flip": "flip", "RandomRotation": "rotate", "CutMix": "cutmix"},
        "device": {"gpu": "cuda", "CPU": "cpu"},
        "precision": {"16-mixed": "bfloat16", "double": "float64", "Float32": "float32"},
        "data_format": {"NCHW": "channels_first", "channel_last": "channels_last"},
        "class_weight": {"Balanced": "balanced"},
        "max_epochs": {"Auto": "auto"},
        "block": {"ResNet": "residual", "skip_connection": "residual", "GoogLeNet": "inception", "vgg": "plain"},
        "weight_averaging": {"EMA": "ema", "AveragedModel": "swa"},
    }.items()
    for given, meant in pairs.items()
] + [
    (CNNRegressor, "loss", "mse", "squared_error"),
    (CNNRegressor, "loss", "L1Loss", "absolute_error"),
    (CNNRegressor, "loss", "pinball_loss", "quantile"),
    (CNNRegressor, "scoring", "mse", "neg_mean_squared_error"),
    (CNNRegressor, "scoring", "mean_squared_error", "neg_mean_squared_error"),
    (CNNFeatures, "backbone", "ResNet18", "resnet18"),
]  # fmt: skip


def fit(estimator_class, **parameters):
    return estimator_class(**parameters).fit(X, Y[estimator_class])


@pytest.mark.parametrize("estimator_class, name, given, meant", MEANT)
def test_a_name_in_another_spelling_is_refused_with_the_one_that_is_meant(estimator_class, name, given, meant):
    with pytest.raises(ValueError, match=f"^{estimator_class.__name__}: {name}") as caught:
        fit(estimator_class, **{name: given})
    assert str(caught.value).endswith(f" Did you mean {meant!r}?")


def test_names_inside_other_values_are_suggested_too(tmp_path):
    for augmentation, meant in ((("flip", "rotation"), "rotate"), ({"ColorJitter": 0.1}, "color")):
        with pytest.raises(ValueError, match=f"Did you mean '{meant}'\\?$"):
            fit(CNNClassifier, augmentation=augmentation)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'epsilon'\. Did you mean 'eps'\?$"):
        fit(CNNClassifier, optimizer_params={"epsilon": 1e-7})
    with pytest.raises((ValueError, FileNotFoundError), match=r"Did you mean 'pretrained'\?$"):
        fit(CNNClassifier, backbone="resnet18", backbone_weights="imagenet")


def test_displays_suggest_names():
    cnn = fit(CNNClassifier, filters=2, dense_units=(), max_epochs=1)
    for options, meant in (
        ({"method": "GradCAM"}, "grad_cam"),
        ({"method": "occlusion", "response_method": "logits"}, "decision_function"),
    ):
        with pytest.raises(ValueError, match=f"Did you mean '{meant}'\\?$"):
            SaliencyDisplay.from_estimator(cnn, X, **options)


@pytest.mark.parametrize("given", ["abacus", "", "x" * 10_000, "7"])
@pytest.mark.parametrize(
    "name", ["optimizer", "loss", "scoring", "activation", "augmentation", "lr_schedule", "device"]
)
def test_what_is_like_no_name_is_refused_without_a_guess_and_not_printed_whole(name, given):
    with pytest.raises(ValueError, match=f"^CNNClassifier: {name}") as caught:
        fit(CNNClassifier, **{name: given})
    assert "Did you mean" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("name", [name for name in OTHER_NAMES if name is not None])
def test_every_name_that_is_suggested_is_known_somewhere(name):
    constraints = [
        field.metadata["constraint"]
        for estimator_class in (CNNClassifier, CNNRegressor)
        for field in declared_parameters(estimator_class).values()
    ]
    known = {one for constraint in constraints for one in constraint.names()} | {"loss", "pretrained", "cuda:0"}
    known |= {"betas", "eps", "weight_decay"}  # of torch's optimisers
    assert name in {*known, *get_scorer_names(), *AUGMENTATIONS, *METHODS, *RESPONSES}


def test_a_known_name_is_no_slip():
    assert did_you_mean("adam", ["adam", "adamw"]) == ""
    assert did_you_mean("Adam", ["adam", "adamw"]) == " Did you mean 'adam'?"
    assert did_you_mean("adm", ["adam", "adamw"]) == " Did you mean 'adam'?"
    assert did_you_mean("vgg", ["vgg11", "vgg16", "resnet18"]) == " Did you mean 'vgg16' or 'vgg11'?"


ARGUMENTS = {
    "validation_data": ((X, Y[CNNClassifier]), "Pass X_val=X_valid, y_val=y_valid"),
    "epochs": (3, r"Set max_epochs in CNNClassifier\("),
    "batch_size": (8, r"Set batch_size in CNNClassifier\("),
    "verbose": (0, r"Set verbose in CNNClassifier\("),
    "callbacks": ([], r"Set callbacks in CNNClassifier\("),
    "sample_weigth": (None, "Did you mean 'sample_weight'"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_of_another_librarys_fit_is_refused_with_what_it_is_here(argument, method):
    value, meant = ARGUMENTS[argument]
    words = rf"^CNNClassifier\.{method}\(\) got an unexpected keyword argument '{argument}'\. ?{meant}"
    with pytest.raises(TypeError, match=words):
        getattr(CNNClassifier(), method)(X, Y[CNNClassifier], **{argument: value})


@pytest.mark.parametrize("estimator_class", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_method_called_on_the_class_is_to_be_called_on_an_instance(estimator_class, method):
    words = (
        rf"^{method}\(\) was called on an estimator's class\. .* instance, such as CNNClassifier\(\)\.{method}\(X, y\)"
    )
    for arguments in ((X, [0] * 12), (X, [0] * 12, [1] * 12)):
        with pytest.raises(TypeError, match=words):
            getattr(estimator_class, method)(*arguments)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_unknown_name_is_named_where_it_leaves_another_argument_missing(method):
    for given, remedy in (("x", r" Did you mean 'X'\?$"), ("samples", "")):
        words = rf"^CNNClassifier\.{method}\(\) got an unexpected keyword argument '{given}'\.{remedy}"
        with pytest.raises(TypeError, match=words):
            getattr(CNNClassifier(), method)(**{given: X}, y=Y[CNNClassifier])


@pytest.mark.parametrize(
    "method, argument, other",
    [("partial_fit", "groups", "fit"), ("partial_fit", "X_val", "fit"), ("fit", "classes", "partial_fit")],
)
def test_an_argument_of_the_other_method_is_said_to_be_that_methods(method, argument, other):
    words = rf"^CNNClassifier\.{method}\(\) got an unexpected .*'{argument}'\. It is an argument of {other}: leave"
    with pytest.raises(TypeError, match=words):
        getattr(CNNClassifier(), method)(X, Y[CNNClassifier], **{argument: [0, 1]})


def test_a_missing_y_is_named_with_the_estimator():
    with pytest.raises(TypeError, match=r"^CNNRegressor\.fit\(\) missing a required argument: 'y'"):
        CNNRegressor().fit(X)


def test_validation_rows_in_a_pair_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"CNNClassifier: X_val needs y_val.* is a pair: pass X_val=X_valid, y_val="):
        CNNClassifier().fit(X, Y[CNNClassifier], X_val=(X, Y[CNNClassifier]))
