"""Laws of networks of the user's own as backbones: they get what blocks would get, and serve as blocks do."""

import copy
import pickle
import warnings
from io import BytesIO

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from counted import Counted
from joblib import hash as hash_of
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor, export_onnx
from sklcnn.inspection import FeatureMapDisplay, SaliencyDisplay
from sklcnn.network.feature_cache import opening

N_PASSES = Counted("sklcnn.features")
RANDOM = np.random.RandomState(0)
N = 42
Y = np.arange(N) % 3
WEIGHTS = RANDOM.rand(N) * (np.arange(N) != 5)
QUICK = {
    "validation_fraction": 0.25,
    "dense_units": (),
    "max_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
    "precision": "float64",
}
SIGNALS = {"spatial_dims": 1, "data_format": "channels_first"}
# Microvolts, Hounsfield units, counts of a multispectral camera, pixels: no two of one range.
KINDS = {
    "EEG": (30 * RANDOM.randn(N, 5, 40) + 7, SIGNALS),
    "spectra": (RANDOM.rand(N, 30) - 3, {}),
    "CT": (RANDOM.randint(-1000, 3000, (N, 5, 6, 7)).astype(np.int16), {"spatial_dims": 3}),
    "multispectral": (RANDOM.randint(0, 60_000, (N, 8, 9, 6)).astype(np.uint16), {"data_format": "channels_last"}),
    "grey pixels": (RANDOM.randint(0, 256, (N, 8, 9)).astype(np.uint8), {"spatial_dims": 2}),
    "colours": (RANDOM.rand(N, 8, 9, 3).astype(np.float32), {}),
}
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def small_network(sample_shape):
    """Build a network for samples of a shape (channels first)."""
    n_axes = len(sample_shape) - 1
    return nn.Sequential(CONVS[n_axes](sample_shape[0], 4, 3), NORMS[n_axes](4), nn.ReLU())


def as_it_comes(sample_shape):
    """Build a network whose features are what it is given."""
    return nn.Flatten()


class Viewing(nn.Module):
    """A network that flattens by `view`, as many do that were written for torch's default layout."""

    def __init__(self, sample_shape):
        super().__init__()
        self.conv = small_network(sample_shape)[0]

    def forward(self, samples):
        maps = self.conv(samples).relu()
        return maps.view(len(maps), -1)[:, :10]


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def empty_memory(monkeypatch):
    """Let the test begin with no features in memory."""
    monkeypatch.setattr(opening, "_memory", {})


def fit(kind, y=Y, estimator=CNNClassifier, given=None, **params):
    X, reading = kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return estimator(**QUICK | reading | {"backbone": small_network} | params).fit(X, y, **given or {})


def raw(cnn, X):
    """Return X as batches have it, channels first."""
    X = X.reshape(len(X), *(X.shape[1:] if X.ndim > len(cnn.sample_shape_) else (1, *X.shape[1:])))
    X = torch.from_numpy(X.astype(float))
    return X if X.shape[1:] == cnn.sample_shape_ else X.movedim(-1, 1)


# What the network is given.


@pytest.mark.parametrize("given", [{}, {"sample_weight": WEIGHTS}], ids=["alike", "weighted"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_own_network_gets_what_convolution_blocks_would_get(kind, early_stopping, given):
    own = fit(kind, given=given, backbone=as_it_comes, early_stopping=early_stopping)
    blocks = fit(kind, given=given, backbone=None, early_stopping=early_stopping, filters=2)
    X = raw(own, kind[0])
    expected = blocks.module_.standardize(X.clone()).flatten(1)
    torch.testing.assert_close(own.module_.backbone(X), expected, rtol=0, atol=0)
    if not given and not early_stopping:
        assert abs(expected.mean()) < 1e-9 and abs((expected**2).mean() - 1) < 1e-9


def test_without_standardisation_it_gets_x_as_it_comes(kind):
    cnn = fit(kind, backbone=as_it_comes, standardize=False)
    X = raw(cnn, kind[0])
    torch.testing.assert_close(cnn.module_.backbone(X), X.flatten(1), rtol=0, atol=0)


def test_pictures_are_read_as_their_pixels():
    pixels = RANDOM.randint(0, 256, (N, 8, 9, 3)).astype(np.uint8)
    pictures = [Image.fromarray(image) for image in pixels]
    encoded = []
    for picture in pictures:
        picture.save(file := BytesIO(), "PNG")
        encoded.append(file.getvalue())
    expected = fit((pixels, {})).predict_proba(pixels)
    for X in (pictures, encoded):
        np.testing.assert_array_equal(fit((X, {})).predict_proba(X), expected)


def test_the_kind_of_numbers_is_free_in_predict_and_another_scale_is_warned_of():
    X, _ = KINDS["grey pixels"]
    cnn = fit(KINDS["grey pixels"])
    np.testing.assert_array_equal(cnn.predict_proba(X.astype(np.float32)), cnn.predict_proba(X))
    with pytest.warns(UserWarning, match="values from 0 to 1, but the network was fitted on values from 0 to 255"):
        cnn.predict(X / 255)


@pytest.mark.parametrize("freeze_epochs", [0, 9])
def test_networks_that_know_only_torchs_default_layout_are_given_it(kind, freeze_epochs):
    cnn = fit(kind, backbone=Viewing, freeze_epochs=freeze_epochs)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cnn)).predict_proba(kind[0]), cnn.predict_proba(kind[0]))


# What it serves for.


@pytest.mark.parametrize("freeze_epochs", [0, 9])
def test_a_factory_may_return_one_module_each_time(freeze_epochs):
    """Each fit has a copy, whatever the fits before have learnt."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    before = copy.deepcopy(made.state_dict())
    X = np.random.default_rng(0).normal(size=(N, 8, 8))
    params = QUICK | {"learning_rate": 0.1, "freeze_epochs": freeze_epochs}
    cnns = [CNNClassifier(**params, backbone=lambda shape: made).fit(X, Y) for _ in range(2)]
    expected = CNNClassifier(**params, backbone=made).fit(X, Y).predict_proba(X)
    for cnn in cnns:
        np.testing.assert_array_equal(cnn.predict_proba(X), expected)
    CNNFeatures(backbone=lambda shape: made).fit(X)
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in made.parameters())
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("freeze_epochs", [None, 1, 9])
def test_every_kind_of_target_is_learnt(kind, freeze_epochs):
    label_sets, values = RANDOM.rand(N, 4) > 0.5, RANDOM.rand(N, 2)
    params = {"freeze_epochs": freeze_epochs}
    assert fit(kind, label_sets, **params).predict_proba(kind[0]).shape == (N, 4)
    assert fit(kind, values, CNNRegressor, **params).predict(kind[0]).shape == (N, 2)
    assert np.isin(fit(kind, np.array(list("abc"))[Y], **params).predict(kind[0]), list("abc")).all()


def test_it_trains_at_the_rate_of_the_head_unless_told_otherwise(kind):
    found, full, tenth = (fit(kind, **params).predict_proba(kind[0]) for params in (
        {}, {"backbone_lr_factor": 1}, {"backbone_lr_factor": 0.1}
    ))  # fmt: skip
    np.testing.assert_array_equal(found, full)
    assert not np.array_equal(found, tenth)


@pytest.mark.parametrize("standardize", [True, False])
def test_it_is_saved_with_its_scaling(kind, standardize):
    X, _ = kind
    cnn = fit(kind, standardize=standardize)
    expected = cnn.predict_proba(X)
    joblib.dump(cnn, file := BytesIO())
    copies = [pickle.loads(pickle.dumps(cnn)), cloudpickle.loads(cloudpickle.dumps(cnn)), copy.deepcopy(cnn)]
    for again in (*copies, joblib.load(BytesIO(file.getvalue()))):
        np.testing.assert_array_equal(again.predict_proba(X), expected)
    np.testing.assert_array_equal(clone(cnn).fit(X, Y).predict_proba(X), expected)


def test_skops_stores_factories_by_their_name(kind):
    skops = pytest.importorskip("skops.io")
    cnn = fit(kind)
    again = skops.loads(skops.dumps(cnn), trusted=skops.get_untrusted_types(data=skops.dumps(cnn)))
    np.testing.assert_array_equal(again.predict_proba(kind[0]), cnn.predict_proba(kind[0]))


def test_it_is_looked_into(kind):
    X, _ = kind
    cnn = fit(kind)
    table = cnn.summary()
    assert table["layer"].tolist()[0] == "backbone" and table["output shape"][0] == (4,)
    assert table["parameters"].sum() == sum(p.numel() for p in cnn.module_.parameters())
    maps = FeatureMapDisplay.from_estimator(cnn, X, samples=[0], layer="backbone.network.0", draw=False).maps
    assert maps.shape == (1, 4, *(size - 2 for size in cnn.sample_shape_[1:]))
    for method in ("grad_cam", "saliency", "occlusion", "integrated_gradients"):
        shown = SaliencyDisplay.from_estimator(cnn, X, samples=[0], method=method, draw=False)
        assert shown.attributions.shape == (1, *cnn.sample_shape_[1:])


@pytest.mark.parametrize(
    "kind",
    [name if name == "EEG" else pytest.param(name, marks=pytest.mark.slow) for name in KINDS],
    indirect=True,
)
def test_it_is_exported(kind, tmp_path):
    X, _ = kind
    onnxruntime = pytest.importorskip("onnxruntime")
    cnn = fit(kind, precision="float32")
    export_onnx(cnn, tmp_path / "own.onnx", input_dtype=X.dtype if X.dtype == np.uint8 else np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx")
    X = X if X.dtype == np.uint8 else X.astype(np.float32)
    [entry] = session.get_inputs()
    answers = dict(zip([o.name for o in session.get_outputs()], session.run(None, {entry.name: X}), strict=True))
    np.testing.assert_allclose(answers["probabilities"], cnn.predict_proba(X), rtol=0, atol=1e-5)


def test_fits_go_on_with_the_scaling_of_the_first(kind):
    X, reading = kind
    whole = fit(kind, max_epochs=1, warm_start=True)
    scaling = whole.module_.backbone.mean.clone()
    whole.fit(X[:12], Y[:12])
    torch.testing.assert_close(whole.module_.backbone.mean, scaling, rtol=0, atol=0)
    whole.partial_fit(X[:12], Y[:12])
    assert whole.n_iter_ == 3
    before = whole.predict_proba(X)
    np.testing.assert_array_equal(whole.set_params(standardize=False).predict_proba(X), before)
    with pytest.raises(ValueError, match="standardize was True when the network was made, and cannot become False"):
        whole.fit(X, Y)
    stream = CNNClassifier(**QUICK | reading, backbone=small_network).partial_fit(X, Y, classes=[0, 1, 2])
    one = fit(kind, max_epochs=1, lr_schedule=None)
    np.testing.assert_allclose(stream.predict_proba(X), one.predict_proba(X), rtol=0, atol=1e-9)


def test_a_refit_standardises_by_all_rows(kind):
    cnn = fit(kind, early_stopping=True, refit_full=True, backbone=as_it_comes)
    every = fit(kind, backbone=as_it_comes)
    torch.testing.assert_close(cnn.module_.backbone.mean, every.module_.backbone.mean)


class CutOff(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("cut off")


@pytest.mark.parametrize("freeze_epochs", [0, 3])
def test_a_run_that_is_resumed_equals_one_that_was_never_cut_off(kind, freeze_epochs, tmp_path):
    def run(folder, *others):
        checkpoint = Checkpoint(monitor=None, dirname=str(folder))
        callbacks = [LoadInitState(checkpoint), checkpoint, *others]
        return fit(kind, max_epochs=4, freeze_epochs=freeze_epochs, callbacks=callbacks)

    expected = run(tmp_path / "whole").predict_proba(kind[0])
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut off", CutOff)
    np.testing.assert_array_equal(run(tmp_path / "cut off").predict_proba(kind[0]), expected)


def test_a_fitted_estimator_lends_its_own_network_with_its_scaling(kind):
    X, _ = kind
    donor = fit(kind)
    features = CNNFeatures(backbone=donor).fit_transform(X)
    with torch.no_grad():
        expected = donor.module_.eval().backbone(raw(donor, X)).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-6)
    head = CNNClassifier(**QUICK, backbone=donor).fit(X, Y)
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))


# What is computed once, and for whom.


def test_features_are_never_those_of_another_folds_scaling(kind, empty_memory):
    X, reading = kind
    params = {"freeze_epochs": 9, "backbone": small_network(fit(kind, max_epochs=1).sample_shape_)}
    grid = {"dropout": [0.0, 0.2], "standardize": [True, False]}
    searches = []
    for feature_cache in ("memory", None):
        cnn = CNNClassifier(**QUICK | reading, **params, feature_cache=feature_cache)
        searches.append(GridSearchCV(cnn, grid, cv=3, scoring="neg_log_loss").fit(X, Y))
    np.testing.assert_array_equal(
        searches[0].cv_results_["mean_test_score"], searches[1].cv_results_["mean_test_score"]
    )


def test_candidates_of_a_fold_share_features_and_all_folds_do_without_standardisation(empty_memory):
    X, reading = KINDS["EEG"]
    network = small_network((5, 40))
    passes = {}
    for standardize in (True, False):
        cnn = CNNClassifier(**QUICK | reading, backbone=network, freeze_epochs=9, standardize=standardize)
        search = GridSearchCV(cnn, {"dropout": [0.0, 0.1, 0.2]}, cv=3, refit=False)
        before = N_PASSES.value
        search.fit(X, Y)
        passes[standardize] = N_PASSES.value - before
    assert passes == {True: 3 * N, False: N}


# As a transformer.


def test_cnnfeatures_gives_an_own_network_x_as_it_comes(kind):
    X, reading = kind
    features = CNNFeatures(backbone=as_it_comes, **reading)
    given = features.fit_transform(X)
    np.testing.assert_array_equal(given, raw(features, X).flatten(1).float())
    again = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(again.transform(X), given)


# A network of another field.


class EEGNet(nn.Module):
    """EEGNet (Lawhern et al., 2018): filters over time, then over electrodes, on trials (n, electrodes, time)."""

    def __init__(self, n_electrodes, n_filters=4, depth=2, kernel=8):
        super().__init__()
        self.temporal = nn.Conv2d(1, n_filters, (1, kernel), padding="same", bias=False)
        self.norm = nn.BatchNorm2d(n_filters)
        n_maps = depth * n_filters
        self.spatial = nn.Conv2d(n_filters, n_maps, (n_electrodes, 1), groups=n_filters, bias=False)
        self.rest = nn.Sequential(
            nn.BatchNorm2d(n_maps),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
            nn.Dropout(0.25),
            nn.Conv2d(n_maps, n_maps, (1, 4), padding="same", groups=n_maps, bias=False),
            nn.Conv2d(n_maps, n_maps, 1, bias=False),
            nn.BatchNorm2d(n_maps),
            nn.ELU(),
        )

    def forward(self, trials):
        maps = self.norm(self.temporal(trials.unsqueeze(1)))
        return self.rest(self.spatial(maps)).flatten(1)


def make_eegnet(sample_shape):
    """Build an EEGNet for trials of a shape (electrodes, time)."""
    return EEGNet(sample_shape[0])


@pytest.mark.parametrize("kind", ["factory", "module"])
def test_an_eegnet_is_searched_in_a_pipeline_on_trials_of_microvolts(kind):
    torch.manual_seed(0)
    backbone = make_eegnet if kind == "factory" else EEGNet(6)
    random = np.random.RandomState(0)
    time = np.arange(64) / 64
    kinds = np.array(["left", "right"])[np.arange(60) % 2]
    trials = 20 * random.randn(60, 6, 64)
    trials[kinds == "left", 0] += 40 * np.sin(2 * np.pi * 8 * time)
    trials[kinds == "right", 5] += 40 * np.sin(2 * np.pi * 8 * time)
    cnn = CNNClassifier(backbone=backbone, **SIGNALS, dense_units=(), max_epochs=30, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(lambda X: X - X.mean(axis=-1, keepdims=True)), cnn)
    weights = None if kind == "factory" else hash_of(backbone.state_dict())
    search = GridSearchCV(pipeline, {"cnnclassifier__learning_rate": [1e-4, 1e-2]}, cv=2, error_score="raise")
    search.fit(trials, kinds)
    assert search.best_params_ == {"cnnclassifier__learning_rate": 1e-2}
    assert search.best_score_ > 0.9
    assert search.best_estimator_[-1].sample_shape_ == (6, 64)
    assert weights is None or hash_of(backbone.state_dict()) == weights


class OfType(nn.Module):
    """A network whose features are in a type of floats of their own."""

    def __init__(self, dtype):
        super().__init__()
        self.conv, self.dtype = nn.Conv2d(3, 4, 3), dtype

    def forward(self, images):
        if self.dtype == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.conv(images)
        return self.conv(images).to(getattr(torch, self.dtype))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("freeze_epochs", [0, None])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "autocast"])
def test_features_of_another_type_of_floats_are_taken(dtype, freeze_epochs, precision):
    X = KINDS["colours"][0]
    params = QUICK | {"precision": precision, "dense_units": (4,), "freeze_epochs": freeze_epochs}
    cnn = CNNClassifier(backbone=OfType(dtype), **params).fit(X, Y)
    assert np.isfinite(cnn.predict_proba(X)).all()
