"""Laws of torch's global modes: no result depends on them, and they are left as they were found."""

import numpy as np
import pytest
import torch
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.inspection import FeatureMapDisplay, SaliencyDisplay

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(40, 8, 8)
LABELS, VALUES = np.arange(40) % 3, X.mean((1, 2))
QUICK = {"filters": 3, "dense_units": 4, "max_epochs": 3, "random_state": 0}
MODES = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
}


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


CASES = {
    "classifier": lambda: CNNClassifier(**QUICK),
    "dropout, batch norm, early stopping": lambda: CNNClassifier(
        **QUICK, dropout=0.5, batch_norm=True, early_stopping=True, augmentation="shift"
    ),
    "regressor": lambda: CNNRegressor(**QUICK),
    "frozen backbone": lambda: CNNClassifier(**QUICK, backbone=small_backbone, freeze_epochs=9),
    "backbone that thaws": lambda: CNNClassifier(**QUICK, backbone=small_backbone, freeze_epochs=1),
}


@pytest.fixture(params=[*MODES, "float64 by default"])
def in_mode(request):
    """Return a function that calls another in a mode, and checks that the mode is the same afterwards."""

    def call(function):
        if request.param == "float64 by default":
            torch.set_default_dtype(torch.float64)
            try:
                found = function()
                assert torch.get_default_dtype() == torch.float64
            finally:
                torch.set_default_dtype(torch.float32)
            return found
        with MODES[request.param]():
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
            device = torch.get_default_device()
            found = function()
            now = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
            assert (now, torch.get_default_device()) == (before, device)
        return found

    return call


@pytest.mark.parametrize("name", CASES)
def test_a_mode_changes_no_bit_of_what_is_fitted_and_predicted(name, in_mode):
    y = VALUES if name == "regressor" else LABELS
    expected = CASES[name]().fit(X, y)
    fitted, predicted = in_mode(lambda: (cnn := CASES[name]().fit(X, y), cnn.predict(X)))
    np.testing.assert_array_equal(predicted, expected.predict(X))
    for one, other in zip(fitted.module_.state_dict().values(), expected.module_.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_a_fit_goes_on_outside_the_mode_it_began_in(name, in_mode):
    y = VALUES if name == "regressor" else LABELS
    expected = CASES[name]().set_params(warm_start=True).fit(X, y).fit(X, y)
    fitted = in_mode(lambda: CASES[name]().set_params(warm_start=True).fit(X, y)).fit(X, y)
    np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))


def test_a_mode_changes_no_feature(in_mode):
    features = CNNFeatures(backbone=small_backbone, random_state=0)
    found = in_mode(lambda: features.fit_transform(X))
    np.testing.assert_array_equal(found, CNNFeatures(backbone=small_backbone, random_state=0).fit_transform(X))


@pytest.mark.parametrize("method", ["saliency", "occlusion", "integrated_gradients", "grad_cam"])
def test_a_mode_changes_no_attribution(method, in_mode):
    cnn = CNNClassifier(**QUICK).fit(X, LABELS)

    def attributions():
        return SaliencyDisplay.from_estimator(cnn, X, samples=[0, 1], method=method, draw=False).attributions

    np.testing.assert_array_equal(in_mode(attributions), attributions())


def test_a_mode_changes_no_feature_map(in_mode):
    cnn = CNNClassifier(**QUICK).fit(X, LABELS)

    def maps():
        return FeatureMapDisplay.from_estimator(cnn, X, samples=[0], draw=False).maps

    np.testing.assert_array_equal(in_mode(maps), maps())
