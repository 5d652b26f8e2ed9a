"""Laws of exported files: they give what the estimator gives, in any number of rows, or they are not written."""

import errno
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
import torch
from marks import slow_but
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor, __version__, export_onnx
from sklcnn.deploy import export
from sklcnn.deploy.extras import has_right_exporter
from sklcnn.deploy.left_out import fill_left_out

pytestmark = pytest.mark.skipif(not has_right_exporter(), reason="PyTorch before 2.9 cannot export every network")
RANDOM = np.random.RandomState(0)
SIGNALS = RANDOM.rand(24, 20).astype("float32")
IMAGES = RANDOM.rand(24, 8, 9, 3).astype("float32")
VOLUMES = RANDOM.rand(24, 5, 6, 7, 1).astype("float32")
PIXELS = RANDOM.randint(0, 256, (24, 12, 14, 3)).astype("uint8")
CLASSES, VALUES = np.arange(24) % 3, 1000 + RANDOM.rand(24)
NAMES = np.array(["ape", "bee", "cat"])[CLASSES]
QUICK = {"filters": 3, "dense_units": 4, "max_epochs": 2, "random_state": 0}


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


FAST = {
    "signals": lambda: (CNNClassifier(**QUICK, pooling="avg", activation="gelu").fit(SIGNALS, NAMES), SIGNALS),
    "flat rows": lambda: (
        CNNClassifier(**QUICK, input_shape=(4, 5), spatial_dims=2, batch_norm=True).fit(SIGNALS, CLASSES), SIGNALS,
    ),
    "volumes": lambda: (CNNRegressor(**QUICK, kernel_size=2, global_pooling="max").fit(VOLUMES, VALUES), VOLUMES),
    "several labels": lambda: (CNNClassifier(**QUICK).fit(IMAGES, RANDOM.rand(24, 4) > 0.5), IMAGES),
    "resized pixels": lambda: (
        CNNClassifier(**QUICK, image_size=(7, 9), block="residual").fit(PIXELS, CLASSES), PIXELS,
    ),
    "steps before": lambda: (make_pipeline(StandardScaler(), CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES), SIGNALS),
    "steps behind": lambda: (
        make_pipeline(CNNFeatures(backbone=small_backbone, random_state=0), LogisticRegression()).fit(IMAGES, NAMES),
        IMAGES,
    ),
}  # fmt: skip
AGAIN = {"flat rows", "volumes", "several labels", "signals"}  # what the others and tests of the graph have too
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu")
SLOW = {
    **{
        f"{activation}, {pooling}, {padding}, {block}": lambda a=activation, p=pooling, d=padding, b=block: (
            CNNClassifier(**QUICK, activation=a, pooling=p, padding=d, block=b).fit(IMAGES, CLASSES), IMAGES,
        )
        for number, activation in enumerate(ACTIVATIONS)
        for pooling in ("max", "avg", None)[number % 3 :][:2]
        for padding in ("same", "valid")
        for block in ("plain", "residual", "inception")
    },
    "several values": lambda: (CNNRegressor(**QUICK).fit(SIGNALS, SIGNALS[:, :3]), SIGNALS),
    "float64": lambda: (CNNRegressor(**QUICK, precision="float64").fit(SIGNALS, VALUES), SIGNALS),
    "channels first": lambda: (
        CNNClassifier(**QUICK, data_format="channels_first").fit(np.moveaxis(IMAGES, -1, 1), CLASSES),
        np.moveaxis(IMAGES, -1, 1),
    ),
    "frozen lite0": lambda: (
        CNNClassifier(**QUICK, backbone="efficientnet_lite0", image_size=32).fit(PIXELS, CLASSES), PIXELS,
    ),
    "tuned lite0": lambda: (
        CNNClassifier(**QUICK, backbone="efficientnet_lite0", image_size=32, freeze_epochs=1).fit(PIXELS, CLASSES),
        PIXELS,
    ),
    "features of lite0": lambda: (CNNFeatures(image_size=32).fit(PIXELS), PIXELS),
}  # fmt: skip


def run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: X}), strict=True))


@pytest.mark.parametrize(
    "make",
    [pytest.param(FAST[name], marks=[pytest.mark.slow] * (name in AGAIN)) for name in FAST]
    + [pytest.param(make, marks=pytest.mark.slow) for make in SLOW.values()],
    ids=[*FAST, *SLOW],
)  # fmt: skip
def test_a_file_gives_what_the_estimator_gives_for_any_number_of_rows(make, tmp_path):
    estimator, X = make()
    path = export_onnx(estimator, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    for rows in (X, X[:1]):
        found = run(path, rows)
        if hasattr(estimator, "predict_proba"):
            np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(rows), rtol=0, atol=1e-4)
            np.testing.assert_array_equal(found["label"], estimator.predict(rows))
        else:
            method = estimator.predict if hasattr(estimator, "predict") else estimator.transform
            expected = method(rows)
            np.testing.assert_allclose(found["variable"].reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_file_says_what_it_takes_and_what_made_it(tmp_path):
    cnn, _ = FAST["signals"]()
    path = export_onnx(cnn, tmp_path / "model.onnx")
    (tmp_path / "other").write_text("")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode  # it may be read by whom other files may be
    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["sklcnn_version"] == __version__
    assert json.loads(said["labels"]) == ["ape", "bee", "cat"]
    assert json.loads(said["sample_shape"]) == [1, 20]
    assert (json.loads(said["input_shape"]), said["input_dtype"]) == ([None, 20], "float32")


@pytest.mark.slow
def test_the_format_of_x_is_that_of_fit_or_what_is_asked_for(tmp_path):
    cnn, X = FAST["resized pixels"]()
    session = onnxruntime.InferenceSession(export_onnx(cnn, tmp_path / "model.onnx"))
    assert session.get_inputs()[0].type == "tensor(uint8)"
    signals, X = FAST["signals"]()
    path = export_onnx(signals, tmp_path / "wide.onnx", input_dtype=np.float64)
    np.testing.assert_allclose(run(path, X.astype(float))["probabilities"], signals.predict_proba(X), rtol=0, atol=1e-4)
    with pytest.raises(TypeError, match="input_dtype=complex128 is no format"):
        export_onnx(signals, tmp_path / "other.onnx", input_dtype=complex)
    with pytest.raises(TypeError, match="input_dtype='pixels' is no format"):
        export_onnx(signals, tmp_path / "other.onnx", input_dtype="pixels")


def test_skl2onnx_converts_it_as_it_does_any_other_estimator():
    pipeline, X = FAST["steps before"]()
    model = skl2onnx.to_onnx(pipeline, X[:1], target_opset=18, options={"zipmap": False})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = dict(zip(("label", "probabilities"), session.run(None, {"X": X}), strict=True))
    np.testing.assert_allclose(found["probabilities"], pipeline.predict_proba(X), rtol=0, atol=1e-4)


AROUND = {
    "calibrated, three classes": lambda cnn: CalibratedClassifierCV(cnn, cv=2).fit(SIGNALS, CLASSES),
    "calibrated, two classes": lambda cnn: CalibratedClassifierCV(cnn, cv=2).fit(SIGNALS, CLASSES % 2),
    "a calibrated pipeline, three classes": lambda cnn: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), cnn), cv=2
    ).fit(SIGNALS, CLASSES),
    "a calibrated pipeline, two classes": lambda cnn: CalibratedClassifierCV(
        make_pipeline(MinMaxScaler(), make_pipeline(StandardScaler(), cnn)), cv=2
    ).fit(SIGNALS, CLASSES % 2),
    "stacked, three classes": lambda cnn: StackingClassifier(
        [("cnn", cnn)], stack_method="decision_function", cv=2
    ).fit(SIGNALS, CLASSES),
}


@pytest.mark.parametrize("name", slow_but(AROUND, ("calibrated, two classes",)))
def test_meta_estimators_that_use_decision_values_are_converted(name):
    """As soon as a network is fitted, which puts its class into skl2onnx's table; see the test below."""
    meta = AROUND[name](CNNClassifier(**QUICK | {"max_epochs": 20, "learning_rate": 0.01}))
    model = skl2onnx.to_onnx(meta, SIGNALS[:1], options={id(meta): {"zipmap": False}})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(None, {"X": SIGNALS})
    np.testing.assert_allclose(probabilities, meta.predict_proba(SIGNALS), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(labels, meta.predict(SIGNALS))


@pytest.mark.slow
@pytest.mark.parametrize("after", ["a fit", "loading"])
def test_skl2onnx_knows_the_class_in_a_process_that_has_converted_nothing(after, tmp_path):
    cnn = CNNClassifier(**QUICK).fit(SIGNALS, CLASSES)
    (tmp_path / "cnn.pickle").write_bytes(pickle.dumps(cnn))
    np.save(tmp_path / "X.npy", SIGNALS)
    make = "pickle.load(open('cnn.pickle', 'rb'))" if after == "loading" else f"CNNClassifier(**{QUICK}).fit(X, y)"
    code = f"""
import pickle, numpy as np, skl2onnx
from skl2onnx._supported_operators import sklearn_operator_name_map
from sklcnn import CNNClassifier
X, y = np.load("X.npy"), np.arange(24) % 3
cnn = {make}
print(type(cnn) in sklearn_operator_name_map)
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "True"


class Last(nn.Module):
    """The last output of a recurrent layer over the rows of an image."""

    def __init__(self, kind, **options):
        super().__init__()
        self.layer = kind(9, 4, batch_first=True, **options)

    def forward(self, images):
        return self.layer(images.mean(1))[0][:, -1]


class Clamped(nn.Module):
    def forward(self, images):
        return images.clamp(max=0.5).flatten(1)


LEFT_OUT = {
    "resize": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Flatten()),
    "clip": Clamped,
    "LSTM": lambda: Last(nn.LSTM, bidirectional=True),
    "GRU": lambda: Last(nn.GRU),
    "RNN without bias": lambda: Last(nn.RNN, bias=False),
}


@pytest.mark.parametrize("name", slow_but(LEFT_OUT, ("resize",)))
def test_layers_whose_operators_leave_inputs_out_are_exported(name, tmp_path):
    cnn = CNNClassifier(**QUICK, backbone=LEFT_OUT[name]()).fit(IMAGES, CLASSES)
    path = export_onnx(cnn, tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(path), full_check=True)
    np.testing.assert_allclose(run(path, IMAGES)["probabilities"], cnn.predict_proba(IMAGES), rtol=0, atol=1e-4)


def test_an_input_left_out_whose_default_is_not_known_is_named():
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Unknown", ["", "x"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:]))
    with pytest.raises(ValueError, match="leaves out an optional input of Unknown"):
        fill_left_out(model)


@pytest.mark.slow
def test_a_file_of_a_network_fitted_on_pictures_of_16_bits_takes_them(tmp_path):
    deep = RANDOM.randint(0, 65536, (24, 9, 8)).astype("uint16")
    cnn = CNNClassifier(**QUICK).fit([Image.fromarray(picture) for picture in deep], CLASSES)
    path = export_onnx(cnn, tmp_path / "model.onnx")
    found = run(path, deep[..., None].astype("float32"))
    expected = cnn.predict_proba([Image.fromarray(picture) for picture in deep])
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-4)


class Noisy(nn.Module):
    """What a file cannot repeat: a bias that is drawn at each call."""

    def forward(self, images):
        return images.flatten(1) + 3 * torch.rand(1)


TARGETS = {
    "near one": VALUES - 1000,
    "small": 1e-5 * (VALUES - 1000),
    "far from zero": 10 * VALUES,
    "of two sizes": np.stack([VALUES, 1e4 * VALUES], axis=1),
}


@pytest.mark.parametrize("name", slow_but(TARGETS, ("small",)))
def test_a_regressors_file_is_compared_in_deviations_of_its_targets(name, tmp_path):
    y = TARGETS[name]
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match="does not agree with CNNRegressor"):
        export_onnx(CNNRegressor(**QUICK, backbone=Noisy()).fit(IMAGES, y), path)
    assert not path.exists()
    assert export_onnx(CNNRegressor(**QUICK).fit(IMAGES, y), path).exists()


def test_a_column_of_one_value_is_that_value_in_a_file(tmp_path):
    cnn = CNNRegressor(**QUICK).fit(IMAGES, np.column_stack([VALUES, np.full(len(VALUES), 7.1)]))
    found = run(export_onnx(cnn, tmp_path / "model.onnx"), IMAGES)["variable"]
    np.testing.assert_array_equal(found[:, 1], 7.1)


@pytest.mark.slow
def test_a_channel_that_was_constant_in_fit_is_left_out_of_a_file_too(tmp_path):
    X = np.random.RandomState(0).rand(24, 8, 9, 3).astype("float32")
    X[..., 2] = 0.1
    cnn = CNNClassifier(**QUICK).fit(X, CLASSES)
    path, expected = export_onnx(cnn, tmp_path / "model.onnx"), cnn.predict_proba(X)
    X[..., 2] = np.arange(9)
    np.testing.assert_allclose(run(path, X)["probabilities"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", slow_but(["small", "constant"], ("small",)))
def test_a_file_is_tried_on_values_like_those_of_fit(kind, tmp_path):
    """No warning that they are on another scale, which would be an error here."""
    X = SIGNALS * 1e-13 if kind == "small" else np.full_like(SIGNALS, 3.0)
    cnn = CNNClassifier(**QUICK).fit(X, CLASSES)
    found = run(export_onnx(cnn, tmp_path / "model.onnx"), X)
    np.testing.assert_allclose(found["probabilities"], cnn.predict_proba(X), rtol=0, atol=1e-4)


STEPS = {
    "before: scaled by rows": (Normalizer(),),
    "before: to positive values and powers": (MinMaxScaler((1, 2)), PowerTransformer(method="box-cox")),
    "before: codes": (OrdinalEncoder(),),
    "before: nothing": ("passthrough", StandardScaler()),
    "before: in a Pipeline of their own": (make_pipeline(RobustScaler(), None), PCA(9)),
    "before: columns apart": (
        ColumnTransformer([("a", StandardScaler(), slice(0, 9)), ("b", "passthrough", slice(9, 20))]),
    ),
}  # fmt: skip
BEHIND = {
    "a classifier without probabilities": LinearSVC(random_state=0),
    "trees": RandomForestClassifier(4, random_state=0),
    "a search": GridSearchCV(LogisticRegression(), {"C": [1, 10]}, cv=2),
    "outliers": IsolationForest(n_estimators=3, random_state=0),
    "a regressor": Ridge(),
    "a transformer": PCA(2),
}


@pytest.mark.parametrize("name", slow_but(STEPS, ("before: in a Pipeline of their own",)))
def test_steps_before_are_converted(name, tmp_path):
    pipeline = make_pipeline(*STEPS[name], CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES)
    found = run(export_onnx(pipeline, tmp_path / "model.onnx"), SIGNALS)
    np.testing.assert_allclose(found["probabilities"], pipeline.predict_proba(SIGNALS), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", slow_but(BEHIND, ()))
def test_steps_behind_are_converted(name, tmp_path):
    pipeline = make_pipeline(FEATURES, BEHIND[name]).fit(IMAGES, CLASSES)
    first, *_ = run(export_onnx(pipeline, tmp_path / "model.onnx"), IMAGES).values()
    expected = pipeline.predict(IMAGES) if hasattr(pipeline, "predict") else pipeline.transform(IMAGES)
    np.testing.assert_allclose(first.reshape(expected.shape), expected, rtol=0, atol=1e-4)


FROZEN = {
    "alone": lambda cnn: FrozenEstimator(cnn),
    "twice": lambda cnn: FrozenEstimator(FrozenEstimator(cnn)),
    "a step": lambda cnn: make_pipeline(StandardScaler(), FrozenEstimator(cnn)).fit(SIGNALS, CLASSES),
    "each step": lambda cnn: make_pipeline(FrozenEstimator(StandardScaler().fit(SIGNALS)), FrozenEstimator(cnn)),
    "a pipeline": lambda cnn: FrozenEstimator(make_pipeline(StandardScaler(), cnn).fit(SIGNALS, CLASSES)),
    "a search": lambda cnn: FrozenEstimator(GridSearchCV(cnn, {"l2": [0, 0.1]}, cv=2).fit(SIGNALS, CLASSES)),
}


@pytest.mark.parametrize("what", slow_but(FROZEN, ("each step",)))
def test_what_is_frozen_is_exported(what, tmp_path):
    frozen = FROZEN[what](CNNClassifier(**QUICK).fit(SIGNALS, CLASSES))
    found = run(export_onnx(frozen, tmp_path / "model.onnx"), SIGNALS)
    np.testing.assert_allclose(found["probabilities"], frozen.predict_proba(SIGNALS), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_of_a_search_the_best_is_exported(tmp_path):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), CNNClassifier(**QUICK)), {"cnnclassifier__l2": [0, 1e-3]}, cv=2
    )
    search.fit(SIGNALS, CLASSES)
    found = run(export_onnx(search, tmp_path / "model.onnx"), SIGNALS)
    np.testing.assert_allclose(found["probabilities"], search.predict_proba(SIGNALS), rtol=0, atol=1e-4)


def test_the_rows_it_is_tried_on_are_what_the_first_step_saw():
    X = (1e5 * (1 + SIGNALS)).astype("float32")
    pipeline = make_pipeline(StandardScaler(), CNNClassifier(**QUICK)).fit(X, CLASSES)
    rows = export._examples(pipeline[-1]._fitted.schema, (20,), np.dtype("float32"), [pipeline[0]])
    assert rows.shape == (5, 20)
    assert 0.5e5 < rows.min() < rows.max() < 2.5e5


def test_what_does_not_agree_is_not_written(tmp_path, monkeypatch):
    cnn, _ = FAST["signals"]()
    path = tmp_path / "model.onnx"
    path.write_text("the old one")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"does not agree with CNNClassifier: it differs by .* Nothing was written"):
        export_onnx(cnn, path)
    assert path.read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_network_trained_in_bfloat16_computes_in_float32(in_pipeline, tmp_path):
    cnn = CNNClassifier(**QUICK | {"learning_rate": 0.05}, precision="bfloat16", input_shape=(4, 5), spatial_dims=2)
    estimator = (make_pipeline(StandardScaler(), cnn) if in_pipeline else cnn).fit(SIGNALS, NAMES)
    rows = estimator[:-1].transform(SIGNALS) if in_pipeline else SIGNALS
    found = run(export_onnx(estimator, tmp_path / "model.onnx"), SIGNALS)["probabilities"]
    module = (estimator[-1] if in_pipeline else estimator).module_.eval()
    with torch.no_grad():
        exact = module(torch.from_numpy(rows).float().reshape(-1, 1, 4, 5)).softmax(1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)
    assert abs(found - estimator.predict_proba(SIGNALS)).max() < 0.05


def test_labels_are_compared_too(tmp_path, monkeypatch):
    cnn, _ = FAST["signals"]()
    wrong = property(lambda source: np.array(["ape", "bee", "dog"], dtype=object))
    monkeypatch.setattr("sklcnn.deploy.source.Source.labels", wrong)
    cnn.module_.output.bias.data = torch.tensor([0.0, 0.0, 9.0])
    with pytest.raises(ValueError, match=r"has other labels, such as \['dog'\] for \['cat'\]. Nothing was written"):
        export_onnx(cnn, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_estimator_in_the_place_of_the_path_is_told_the_order(tmp_path):
    with pytest.raises(
        TypeError, match=r"path must be a str or path-like; got CNNRegressor.*estimator first, then the"
    ):
        export_onnx(str(tmp_path / "cnn.onnx"), CNNRegressor())


def test_a_place_where_no_file_can_be_is_refused_in_words_and_left_as_it_was(tmp_path):
    cnn, _ = FAST["signals"]()
    with pytest.raises(FileNotFoundError, match=r"export_onnx: there is no folder .*none"):
        export_onnx(cnn, tmp_path / "none" / "model.onnx")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        export_onnx(cnn, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("with_steps", [False, True])
def test_the_comparison_does_not_warn_of_names_of_columns(with_steps, monkeypatch):
    X = pd.DataFrame(np.random.RandomState(0).rand(8, 6)).add_prefix("x")
    cnn = CNNClassifier(filters=2, dense_units=(), max_epochs=1, random_state=0)
    cnn = (make_pipeline(StandardScaler(), cnn) if with_steps else cnn).fit(X, np.arange(8) % 2)
    monkeypatch.setattr(export, "_run", lambda data, rows: [cnn.predict(X), cnn.predict_proba(X)])
    export._compare(cnn, b"", X.to_numpy(), None)  # in which warnings are errors
    with pytest.warns(UserWarning, match="feature names"):
        cnn.predict(X.to_numpy())


def test_a_folder_that_cannot_be_written_to_is_told_of_first(tmp_path, monkeypatch):
    monkeypatch.setattr(export.os, "access", lambda path, mode: path != tmp_path)  # root may write into any
    with pytest.raises(PermissionError, match=f"export_onnx: .* the folder '{tmp_path}'. Pass a path in another one"):
        export_onnx(CNNClassifier(), tmp_path / "model.onnx")


def test_an_error_while_a_file_is_written_names_the_path_that_was_passed(tmp_path, monkeypatch):
    def fill_up(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export.os, "fsync", fill_up)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/model.onnx'"):
        export._write(tmp_path / "model.onnx", b"content")
    assert not list(tmp_path.iterdir())


def refuse_to_convert(*args):
    raise AssertionError("it was converted before its place was looked at")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: os.mkfifo(path), OSError, "a named pipe"),
        (lambda path: path.symlink_to("/dev/null"), OSError, "a device"),
        (lambda path: path.symlink_to(path.name), OSError, "ymbolic link"),
        (lambda path: path.symlink_to("none/model.onnx"), FileNotFoundError, "there is no folder .*none"),
    ],
)
def test_what_is_no_file_is_left_alone(make, error, message, tmp_path, monkeypatch):
    cnn, _ = FAST["signals"]()
    monkeypatch.setattr("sklcnn.deploy.steps.convert", refuse_to_convert)
    path = tmp_path / "model.onnx"
    make(path)
    before = os.lstat(path).st_ino, os.lstat(path).st_mode
    with pytest.raises(error, match=f"export_onnx: .*{message}"):
        export_onnx(cnn, path)
    assert (os.lstat(path).st_ino, os.lstat(path).st_mode) == before


@pytest.mark.parametrize(
    ("name", "error"), [("a\0.onnx", ValueError), ("a" * 256, OSError)], ids=["null character", "256 characters"]
)
def test_a_name_that_no_file_can_have_is_refused_first(name, error, tmp_path, monkeypatch):
    cnn, _ = FAST["signals"]()
    monkeypatch.setattr("sklcnn.deploy.steps.convert", refuse_to_convert)
    with pytest.raises(error, match=r"export_onnx: .* Pass "):
        export_onnx(cnn, tmp_path / name)


def test_a_link_is_followed_and_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    cnn, _ = FAST["signals"]()
    (tmp_path / "link").symlink_to("a" * 255)
    for _ in range(2):  # a new file, and one that is there
        assert export_onnx(cnn, tmp_path / "link") == tmp_path / "link"
        assert (tmp_path / "link").is_symlink()
    assert (tmp_path / ("a" * 255)).stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 2


class Branching(nn.Module):
    def forward(self, images):
        return images.flatten(1) if float(images.sum()) > 0 else -images.flatten(1)


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return 2 * X


class Uncounted(Doubled):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self


FEATURES = CNNFeatures(backbone=small_backbone, random_state=0)
REFUSED = {
    "not fitted": (CNNClassifier(), NotFittedError, "not fitted"),
    "another estimator": (LogisticRegression(), TypeError, "takes a CNNClassifier.*skl2onnx.to_onnx"),
    "a step without converter": (
        make_pipeline(FunctionTransformer(np.log1p), CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES),
        ValueError,
        "step 'functiontransformer' cannot be converted: FunctionTransformer is not.*Export the steps after",
    ),
    "a step of the user's own": (
        make_pipeline(StandardScaler(), Doubled(), CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES),
        TypeError, "step 'doubled' cannot be converted: skl2onnx has no converter for Doubled.*Export the steps after",
    ),
    "a part of a step": (
        make_pipeline(
            FeatureUnion([("a", StandardScaler()), ("b", make_pipeline(MinMaxScaler(), Doubled()))]),
            CNNClassifier(**QUICK),
        ).fit(SIGNALS, CLASSES),
        TypeError, "step 'featureunion' cannot be converted: skl2onnx has no converter for Doubled",
    ),
    "a step behind": (
        make_pipeline(FEATURES, NearestCentroid()).fit(IMAGES, CLASSES),
        TypeError,
        "step 'nearestcentroid' cannot be converted: .*converter for NearestCentroid.*Export the steps before",
    ),
    "a step that is half converted": (
        make_pipeline(FEATURES, VotingClassifier([("a", LogisticRegression())], voting="soft")).fit(IMAGES, CLASSES),
        ValueError, "step 'votingclassifier' cannot be converted: VotingClassifier: flatten_transform",
    ),
    "a step that says no columns": (
        make_pipeline(Uncounted(), CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES),
        TypeError, "Uncounted does not say how many columns it takes",
    ),
    "a step that gives two answers": (
        make_pipeline(KMeans(8, n_init=1, random_state=0), CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES),
        TypeError, "CNNClassifier: the step before it gives in ONNX label, scores",
    ),
    "labels that are too large": (
        CNNClassifier(**QUICK).fit(SIGNALS, CLASSES.astype(np.uint64) + 2**63),
        TypeError, "labels that are integers below 2\\*\\*63",
    ),
    "values that float32 does not hold": (
        CNNClassifier(**QUICK, precision="float64").fit(1e40 * SIGNALS.astype(float), CLASSES),
        ValueError, "computes in float32, which does not hold values as large as those of X in fit, 9.99e\\+39",
    ),
    "a module that branches": (
        CNNClassifier(**QUICK, backbone=Branching()).fit(IMAGES, CLASSES), ValueError,
        "torch cannot export the network to ONNX: .*must run without branches",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", slow_but(REFUSED, REFUSED.keys() - {"values that float32 does not hold", "a step that is half converted"})
)
def test_what_cannot_be_exported_is_refused_in_words(name, tmp_path):
    estimator, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        export_onnx(estimator, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_corrupted_file_raises_or_computes_and_runs_nothing(tmp_path):
    cnn, X = FAST["signals"]()
    data = export_onnx(cnn, tmp_path / "model.onnx").read_bytes()
    for number in range(300):
        random = np.random.RandomState(number)
        corrupted = bytearray(data)
        if number % 5 == 0:
            corrupted = corrupted[: random.randint(len(data))]
        else:
            corrupted[random.randint(len(data))] = random.randint(256)
        try:
            session = onnxruntime.InferenceSession(bytes(corrupted))
            session.run(None, {session.get_inputs()[0].name: X})
        except Exception as error:
            assert str(error)
