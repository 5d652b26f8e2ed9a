"""A fit that continues with the last fit's network uses a changed hyper-parameter or refuses it; none is ignored."""

import pickle

import numpy as np
import pytest
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.declarations import declared_parameters

X = np.random.RandomState(0).rand(24, 64)
Y = {CNNClassifier: np.arange(24) % 2, CNNRegressor: X[:, 0]}
QUICK = {"input_shape": (8, 8), "filters": (2,), "dense_units": (4,), "max_epochs": 1, "random_state": 0}


class Corner(nn.Module):
    """A backbone that only cuts out a part of the picture."""

    def forward(self, images):
        return images[:, :, :2, :2].flatten(1)


# What the network of old is made of: a value that it has, one that it cannot take, and what it needs beside it.
FIXED = {
    "block": ("plain", "residual", {}),
    "convs_per_block": (1, 2, {}),
    "filters": ((2,), (3,), {}),
    "kernel_size": (3, (5,), {}),
    "stride": (1, 2, {}),
    "padding": ("same", "valid", {}),
    "pooling": ("max", "avg", {}),
    "pool_size": (2, ((2, 1),), {}),
    "global_pooling": (None, "avg", {}),
    "dense_units": ((4,), (), {}),
    "activation": ("relu", nn.Mish, {}),
    "batch_norm": (False, True, {}),
    "dropout": (0.0, 0.5, {}),
    "conv_dropout": (0.0, 0.5, {}),
    "standardize": (True, False, {}),
    "backbone": (None, Corner(), {}),
    "backbone_weights": ("pretrained", None, {"backbone": Corner()}),
    "image_size": (None, 6, {}),
    "input_shape": ((8, 8), (4, 16), {}),
    "spatial_dims": (2, 1, {"input_shape": (8, 8, 1)}),
    "data_format": ("channels_last", "channels_first", {"input_shape": (1, 64, 1)}),
    "precision": ("float32", "float64", {}),
    "device": ("cpu", "cpu:0", {}),  # the one other that is everywhere; "meta" is refused as no device to fit on
}
FOLLOWED = {
    "l1", "l2", "augmentation", "freeze_epochs", "backbone_lr_factor", "feature_cache", "optimizer", "learning_rate",
    "weight_decay", "momentum", "weight_averaging",
    "optimizer_params", "lr_schedule", "batch_size", "max_epochs", "early_stopping", "validation_fraction", "patience",
    "scoring", "refit_full", "warm_start", "random_state", "n_jobs", "verbose", "callbacks", "loss", "label_smoothing",
    "class_weight",
}  # fmt: skip


def test_of_every_hyper_parameter_it_is_known_whether_a_network_can_follow_it():
    assert declared_parameters(CNNClassifier).keys() == FIXED.keys() | FOLLOWED


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("name", FIXED)
def test_what_a_network_is_made_of_cannot_change(name, estimator, refuses):
    before, after, others = FIXED[name]
    cnn = estimator(**QUICK | others | {name: before}, warm_start=True).fit(X, Y[estimator])
    cnn.set_params(**{name: after})
    message = rf"^{estimator.__name__}: {name} was .* when the network was made, and cannot become .*warm_start=False"
    for method in (cnn.fit, cnn.partial_fit):
        with refuses(cnn, message, kinds=(ValueError,)):
            method(X, Y[estimator])
    cnn.set_params(**{name: before}).fit(X, Y[estimator])
    assert cnn.n_iter_ == 2


def test_an_unpickled_estimator_goes_on_too_and_still_refuses():
    cnn = pickle.loads(
        pickle.dumps(CNNClassifier(**QUICK, backbone=Corner(), warm_start=True).fit(X, Y[CNNClassifier]))
    )
    assert cnn.fit(X, Y[CNNClassifier]).n_iter_ == 2
    with pytest.raises(ValueError, match=r"backbone was Corner\(\)"):
        cnn.set_params(backbone=Corner()).fit(X, Y[CNNClassifier])


@pytest.mark.parametrize(
    "changed",
    [
        {"filters": 2},
        {"filters": np.array([2])},
        {"dense_units": [4]},
        {"kernel_size": (3, 3)},
        {"convs_per_block": 1},
        {"convs_per_block": (1,)},
        {"kernel_size": ((3, 3),), "pool_size": [2]},
        {"dropout": 0, "batch_norm": np.False_},
        {"input_shape": [8, 8]},
        {"precision": "bfloat16"},
        {"backbone_weights": None},
    ],
    ids=str,
)
def test_another_form_of_a_value_or_a_parameter_without_effect_is_no_change(changed):
    cnn = CNNClassifier(**QUICK, warm_start=True).fit(X, Y[CNNClassifier])
    assert cnn.set_params(**changed).fit(X, Y[CNNClassifier]).n_iter_ == 2


def test_a_list_that_was_changed_in_place_is_noticed():
    filters = [2]
    cnn = CNNClassifier(**QUICK | {"filters": filters}, warm_start=True).fit(X, Y[CNNClassifier])
    filters.append(3)
    with pytest.raises(ValueError, match=r"filters was \(2,\) .*become \(2, 3\)"):
        cnn.fit(X, Y[CNNClassifier])


def test_convolutions_are_idle_with_a_backbone():
    cnn = CNNClassifier(**QUICK, backbone=Corner(), warm_start=True).fit(X, Y[CNNClassifier])
    assert cnn.set_params(filters=(7,), kernel_size=5, conv_dropout=0.5).fit(X, Y[CNNClassifier]).n_iter_ == 2


def test_a_new_share_of_the_learning_rate_is_the_backbones():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    params = QUICK | {"backbone": backbone, "lr_schedule": None, "learning_rate": 0.5}
    cnn = CNNClassifier(**params, warm_start=True).fit(X, Y[CNNClassifier])
    assert [group["lr"] for group in cnn.net_.optimizer_.param_groups] == [
        0.5,
        0.5,
    ]  # by "auto", of an own module
    cnn.set_params(backbone_lr_factor=0.5).fit(X, Y[CNNClassifier])
    assert [group["lr"] for group in cnn.net_.optimizer_.param_groups] == [0.5, 0.25]


def test_epochs_to_freeze_are_followed_there_and_back():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    cnn = CNNClassifier(**QUICK, backbone=backbone, freeze_epochs=5, warm_start=True).fit(X, Y[CNNClassifier])
    assert cnn.module_.backbone.frozen
    cnn.set_params(freeze_epochs=None).fit(X, Y[CNNClassifier])  # of a module of the user's: none
    assert not cnn.module_.backbone.frozen
    cnn.set_params(freeze_epochs=5).fit(X, Y[CNNClassifier])
    assert cnn.module_.backbone.frozen
