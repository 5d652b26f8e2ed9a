"""Laws of fitted estimators as backbones of others."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (24, 8, 8, 3)).astype(np.uint8)
KINDS = np.array(["dark", "bright"])[(IMAGES.mean((1, 2, 3)) > 127).astype(int)]
VALUES = IMAGES[:, :4].mean((1, 2, 3)) - IMAGES[:, 4:].mean((1, 2, 3))
QUICK = {"filters": (3, 5), "dense_units": (4,), "max_epochs": 2, "batch_size": 8, "random_state": 0}


class Halves(nn.Module):
    """Mean colours of the upper and the lower half, scaled by a number that trains."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * torch.cat([half.mean((2, 3)) for half in images.chunk(2, dim=2)], dim=1)


def state_of(cnn):
    return {name: tensor.clone() for name, tensor in cnn.module_.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


DONORS = [
    (CNNClassifier, {}, IMAGES),
    (CNNRegressor, {"batch_norm": True, "global_pooling": "avg", "dense_units": ()}, IMAGES),
    (CNNClassifier, {"precision": "float64", "conv_dropout": 0.2}, IMAGES / 255),
    (CNNClassifier, {"input_shape": (8, 8, 3)}, pd.DataFrame(IMAGES.reshape(24, -1))),
    (CNNClassifier, {"image_size": 6}, [picture[:, :7] for picture in IMAGES]),
    (CNNRegressor, {}, IMAGES[:, 0, :, :1].astype(float)),
    (CNNClassifier, {}, RANDOM.randn(24, 5, 5, 5, 1)),
    (CNNClassifier, {"backbone": Halves()}, IMAGES),
    (CNNClassifier, {"backbone": "efficientnet_lite0", "image_size": 32}, IMAGES),
]


@pytest.mark.parametrize("wrap", [lambda estimator: estimator, FrozenEstimator], ids=["plain", "FrozenEstimator"])
@pytest.mark.parametrize(("estimator", "params", "X"), DONORS)
def test_a_fitted_estimator_is_a_frozen_backbone_whose_features_it_gives(estimator, params, X, wrap):
    donor = estimator(**QUICK | params).fit(X, KINDS if estimator is CNNClassifier else VALUES)
    before, precision = state_of(donor), params.get("precision", "float32")
    expected = CNNFeatures(backbone=wrap(donor)).fit_transform(X)
    head = {"dense_units": (), "precision": precision, "standardize": False}
    cnn = CNNRegressor(**QUICK | head, backbone=wrap(donor)).fit(X, VALUES)
    heads = []
    cnn.module_.output.register_forward_pre_hook(lambda module, arguments: heads.append(arguments[0].numpy()))
    cnn.predict(X)
    tolerance = 1e-12 if precision == "float64" else 1e-5
    assert_allclose(np.concatenate(heads), expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    assert same(state_of(donor), before)


def test_an_estimator_that_lends_its_network_is_left_as_it_was_by_fine_tuning():
    donor = CNNClassifier(**QUICK, batch_norm=True).fit(IMAGES, KINDS)
    before, prediction = state_of(donor), donor.predict_proba(IMAGES)
    cnn = CNNClassifier(**QUICK, backbone=donor, freeze_epochs=1, learning_rate=0.1).fit(IMAGES, KINDS)
    assert same(state_of(donor), before)
    assert_array_equal(donor.predict_proba(IMAGES), prediction)
    weight = cnn.module_.backbone.network.block1.conv.weight
    assert not torch.equal(weight, donor.module_.block1.conv.weight)
    frozen = CNNClassifier(**QUICK, backbone=donor, learning_rate=0.1).fit(IMAGES, KINDS)
    assert torch.equal(frozen.module_.backbone.network.block1.conv.weight, donor.module_.block1.conv.weight)
    assert cnn.backbone is donor


def test_the_lender_says_how_samples_are_read():
    flat = pd.DataFrame(IMAGES.reshape(24, -1))
    donor = CNNClassifier(**QUICK, input_shape=(8, 8, 3)).fit(flat, KINDS)
    cnn = CNNRegressor(**QUICK, backbone=donor).fit(flat, VALUES)
    assert cnn.sample_shape_ == donor.sample_shape_ == (3, 8, 8)
    assert_array_equal(cnn.predict(IMAGES), cnn.predict(flat))
    with pytest.raises(ValueError, match="190 features"):
        CNNRegressor(**QUICK, backbone=donor).fit(flat.iloc[:, :190], VALUES)


def test_copies_and_pickles_keep_the_lender_fitted():
    donor = CNNClassifier(**QUICK).fit(IMAGES, KINDS)
    cnn = CNNRegressor(**QUICK, backbone=donor)
    expected = cnn.fit(IMAGES, VALUES).predict(IMAGES)
    assert clone(cnn).backbone is donor
    assert_array_equal(clone(cnn).fit(IMAGES, VALUES).predict(IMAGES), expected)
    again = pickle.loads(pickle.dumps(cnn))
    assert_array_equal(again.predict(IMAGES), expected)
    assert_array_equal(clone(again).fit(IMAGES, VALUES).predict(IMAGES), expected)


def test_the_lender_serves_in_folds_and_searches_and_frozen_ones_are_candidates():
    donors = [CNNClassifier(**QUICK | {"filters": filters}).fit(IMAGES, KINDS) for filters in [(3,), (5,)]]
    cnn = CNNClassifier(**QUICK, backbone=donors[0])
    assert np.isfinite(cross_val_score(cnn, IMAGES, KINDS, cv=2, error_score="raise")).all()
    grid = {"backbone": [FrozenEstimator(donor) for donor in donors], "freeze_epochs": [None, 0]}
    search = GridSearchCV(CNNClassifier(**QUICK), grid, cv=2, error_score="raise").fit(IMAGES, KINDS)
    assert search.best_estimator_.backbone.estimator in donors


@pytest.mark.parametrize("wrap", [lambda estimator: estimator, FrozenEstimator], ids=["plain", "FrozenEstimator"])
@pytest.mark.parametrize(
    ("backbone", "error", "message"),
    [
        (CNNClassifier(), NotFittedError, "CNNClassifier that is not fitted.*best_estimator_.*FrozenEstimator"),
        (LogisticRegression(), TypeError, "backbone must be None, a name"),
    ],
)
def test_other_estimators_are_refused(backbone, error, message, wrap):
    with pytest.raises(error, match=message):
        CNNRegressor(**QUICK, backbone=wrap(backbone)).fit(IMAGES, VALUES)


def test_of_a_pipeline_the_last_step_is_to_be_passed():
    pipeline = make_pipeline(CNNClassifier(**QUICK)).fit(IMAGES, KINDS)
    for estimator in (CNNRegressor(**QUICK, backbone=pipeline), CNNFeatures(backbone=pipeline)):
        with pytest.raises(TypeError, match=r"backbone must be .*last step.*pipeline\[-1\]"):
            estimator.fit(IMAGES, VALUES)
    CNNFeatures(backbone=pipeline[-1]).fit(IMAGES)


def test_a_search_lends_nothing_not_even_what_it_was_given():
    """Its estimator may have been fitted before: that is not the network that the search has found."""
    search = GridSearchCV(CNNClassifier(**QUICK).fit(IMAGES, KINDS), {"max_epochs": [1]}, cv=2).fit(IMAGES, KINDS)
    for estimator in (CNNRegressor(**QUICK, backbone=search), CNNFeatures(backbone=search)):
        with pytest.raises(TypeError, match=r"backbone must be .* best_estimator_"):
            estimator.fit(IMAGES, VALUES)


def test_a_warm_start_goes_on_with_what_was_lent():
    donor = CNNClassifier(**QUICK).fit(IMAGES, KINDS)
    cnn = CNNRegressor(**QUICK, backbone=donor, warm_start=True).fit(IMAGES, VALUES)
    assert cnn.fit(IMAGES, VALUES).n_iter_ == 4
    learnt = donor.module_.block1.conv.weight
    assert torch.equal(cnn.module_.backbone.network.block1.conv.weight, learnt)
    cnn.set_params(freeze_epochs=4).fit(IMAGES, VALUES)
    assert not torch.equal(cnn.module_.backbone.network.block1.conv.weight, learnt)
