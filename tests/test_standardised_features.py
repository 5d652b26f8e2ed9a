"""Laws of frozen backbones of any scale: the head gets each feature standardised over the training rows."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor, export_onnx

N = 40
Y = np.arange(N) % 2
X = (np.random.RandomState(0).randn(N, 6, 6) + Y[:, None, None]).astype(np.float32)
WEIGHTS = np.random.RandomState(1).randint(1, 4, N).astype(float)
QUICK = {"max_epochs": 3, "batch_size": 8, "dense_units": (4,), "random_state": 0, "freeze_epochs": 99}


class Means(nn.Module):
    """Means of quarters of a picture, in some unit, and a feature that is the same in all pictures."""

    def __init__(self, factor=1.0, offset=0.0):
        super().__init__()
        self.factor, self.offset = factor, offset
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images):
        quarters = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        features = torch.cat([quarters, torch.zeros_like(quarters[:, :1])], 1)
        return self.weight * features * self.factor + self.offset


def fit(backbone=None, y=Y, estimator=CNNClassifier, X=X, sample_weight=None, **params):
    backbone = Means(100.0, 30.0) if backbone is None else backbone
    return estimator(backbone=backbone, **QUICK | params).fit(X, y, sample_weight=sample_weight)


def seen_by_head(cnn):
    """Return what the head's first dense layer, or its output, gets of X."""
    seen = []
    head = getattr(cnn.module_, "dense1", cnn.module_.output)
    handle = head.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().double().numpy()))
    cnn.predict(X)
    handle.remove()
    return np.concatenate(seen)


def state_of(cnn):
    return {name: values.clone() for name, values in cnn.module_.standardize_features.state_dict().items()}


def in_hundreds(sample_shape):
    """Build what skops knows by its name."""
    return Means(100.0, 30.0)


def donor(**params):
    return CNNClassifier(filters=(3,), max_epochs=1, global_pooling="avg", random_state=0, **params).fit(X, Y)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("params", [{}, {"dense_units": ()}, {"batch_norm": True}], ids=str)
def test_the_head_gets_features_of_mean_0_and_deviation_1(params, precision):
    seen = seen_by_head(fit(precision=precision, **params))
    tolerance = 0.02 if precision == "bfloat16" else 1e-4
    assert_allclose(seen.mean(0), 0, atol=tolerance)
    assert_allclose(seen.std(0), [1, 1, 1, 1, 0], atol=tolerance)


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "refit_full": True}], ids=["plain", "refit"])
def test_scale_and_offset_of_features_do_not_matter(estimator, params):
    answers = [
        fit(Means(*unit), estimator=estimator, **params)._fitted.outputs_of(X)
        for unit in [(1, 0), (100, 30), (0.01, 0)]
    ]
    assert_allclose(answers[1], answers[0], atol=1e-4)
    assert_allclose(answers[2], answers[0], atol=1e-4)


def test_rows_count_by_their_weights():
    seen = seen_by_head(fit(sample_weight=WEIGHTS))[:, :4]
    assert_allclose(np.average(seen, axis=0, weights=WEIGHTS), 0, atol=1e-4)
    assert_allclose(np.average(seen**2, axis=0, weights=WEIGHTS), 1, atol=1e-4)


def test_a_refit_takes_the_statistics_of_all_rows():
    every, refitted = state_of(fit()), state_of(fit(early_stopping=True, refit_full=True))
    assert all(torch.equal(values, refitted[name]) for name, values in every.items())


def test_with_augmentation_rows_are_taken_as_they_are():
    plain, augmented = fit(standardize=True), fit(augmentation="flip")
    assert all(torch.equal(one, state_of(augmented)[name]) for name, one in state_of(plain).items())


@pytest.mark.parametrize("freeze_epochs", [99, 2])
def test_statistics_stay_in_fits_that_go_on_and_after_a_thaw(freeze_epochs):
    cnn = fit(warm_start=True, freeze_epochs=freeze_epochs)
    before = state_of(cnn)
    assert all(torch.equal(values, state_of(fit())[name]) for name, values in before.items())
    cnn.fit(X[:9] * 7, Y[:9])
    cnn.partial_fit(X[9:20] * 3, Y[9:20])
    assert all(torch.equal(values, before[name]) for name, values in state_of(cnn).items())


def test_a_first_chunk_of_one_row_lets_features_through():
    cnn = CNNClassifier(backbone=Means(), **QUICK).partial_fit(X[:1], Y[:1], classes=[0, 1])
    assert_array_equal(state_of(cnn)["deviation"], np.ones((1, 5)))


@pytest.mark.parametrize("make", [lambda: in_hundreds, donor, lambda: fit(donor())], ids=["own", "donor", "of donor"])
def test_copies_and_files_answer_as_the_original_does(make):
    skops = pytest.importorskip("skops.io")
    cnn = fit(make())
    expected = cnn.predict_proba(X)
    stored = skops.dumps(cnn)
    again = [
        pickle.loads(pickle.dumps(cnn)),
        copy.deepcopy(cnn),
        skops.loads(stored, trusted=skops.get_untrusted_types(data=stored)),
        clone(cnn).fit(X, Y),
    ]
    for other in again:
        assert_array_equal(other.predict_proba(X), expected)


def test_a_fitted_estimators_features_are_standardised_and_given_as_they_are():
    lender = donor()
    cnn = fit(lender)
    assert_allclose(seen_by_head(cnn).mean(0), 0, atol=1e-4)
    assert_array_equal(CNNFeatures(backbone=cnn).fit_transform(X), CNNFeatures(backbone=lender).fit_transform(X))
    assert "standardize_features" not in cnn.summary()["layer"].tolist()


@pytest.mark.slow
def test_an_exported_file_answers_as_the_network_does(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    cnn = fit()
    export_onnx(cnn, tmp_path / "cnn.onnx", input_dtype=np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "cnn.onnx")
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(None, {session.get_inputs()[0].name: X}), strict=True))
    assert_allclose(answers["probabilities"], cnn.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("params", [{"standardize": False}, {"freeze_epochs": 0}], ids=str)
def test_without_it_and_where_nothing_is_frozen_features_come_as_they_are(params):
    cnn = fit(**params)
    assert not hasattr(cnn.module_, "standardize_features")
    features = cnn.module_.backbone(torch.from_numpy(X)[:, None]).detach().numpy()
    assert_allclose(seen_by_head(cnn), features, rtol=1e-4)


def test_features_of_named_backbones_come_as_they_are():
    pictures = np.random.RandomState(0).randint(0, 256, (6, 32, 32), dtype=np.uint8)
    cnn = fit("efficientnet_lite0", y=Y[:6], X=pictures, backbone_weights=None)
    assert not hasattr(cnn.module_, "standardize_features")
    assert not hasattr(fit(cnn, y=Y[:6], X=pictures).module_, "standardize_features")
