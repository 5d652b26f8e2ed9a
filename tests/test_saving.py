"""Laws of saving: what comes back predicts the same bits, holds no code, and says so where it cannot be read."""

import copy
import datetime
import decimal
import io
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklcnn import TRUSTED_TYPES, CNNClassifier, CNNFeatures, CNNRegressor, __version__
from sklcnn.fitting import saving

RANDOM = np.random.RandomState(0)
SIGNALS, IMAGES, VOLUMES = RANDOM.rand(24, 20), RANDOM.rand(24, 8, 8), RANDOM.rand(24, 5, 6, 7, 1)
CLASSES, VALUES = np.arange(24) % 3, RANDOM.rand(24)
NAMES = np.array(["ape", "bee", "cat"])[CLASSES]
SAVED_MODELS = Path(__file__).parent / "data" / "saved_models"
QUICK = {"filters": 3, "dense_units": 4, "max_epochs": 2, "random_state": 0}


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


DONOR = CNNClassifier(**QUICK, batch_norm=True).fit(IMAGES, CLASSES)
CASES = {
    "signals": lambda: CNNClassifier(**QUICK).fit(SIGNALS, NAMES),
    "images": lambda: CNNClassifier(**QUICK, batch_norm=True, early_stopping=True, conv_dropout=0.1).fit(IMAGES, NAMES),
    "volumes": lambda: CNNClassifier(**QUICK, pooling="avg", activation="gelu").fit(VOLUMES, CLASSES),
    "flat rows": lambda: CNNClassifier(**QUICK, input_shape=(8, 8)).fit(IMAGES.reshape(24, -1), CLASSES),
    "uneven kernel": lambda: CNNClassifier(**QUICK | {"filters": (2, 3)}, kernel_size=((2, 3), 4), stride=2).fit(
        IMAGES, CLASSES
    ),
    "residual": lambda: CNNClassifier(**QUICK, block="residual", batch_norm=True).fit(IMAGES, CLASSES),
    "inception": lambda: CNNClassifier(**QUICK | {"filters": (4, 5)}, block="inception", stride=2).fit(IMAGES, CLASSES),
    "label sets": lambda: CNNClassifier(**QUICK).fit(IMAGES, RANDOM.rand(24, 3) > 0.5),
    "values": lambda: CNNRegressor(**QUICK, loss="huber", standardize=False).fit(IMAGES, VALUES),
    "several values": lambda: CNNRegressor(**QUICK, precision="float64").fit(SIGNALS, SIGNALS[:, :2]),
    "bfloat16": lambda: CNNClassifier(**QUICK, precision="bfloat16").fit(IMAGES, CLASSES),
    "frozen": lambda: CNNClassifier(**QUICK, backbone=small_backbone, freeze_epochs=9).fit(IMAGES, CLASSES),
    "thawed": lambda: CNNClassifier(**QUICK, backbone=small_backbone, freeze_epochs=1).fit(IMAGES, CLASSES),
    "lent backbone": lambda: CNNClassifier(**QUICK, backbone=DONOR).fit(IMAGES, CLASSES),
    "L-BFGS": lambda: CNNClassifier(**QUICK, optimizer=torch.optim.LBFGS).fit(IMAGES, CLASSES),
    "a numbered device": lambda: CNNClassifier(**QUICK, device="cpu:0").fit(IMAGES, CLASSES),
    "refitted": lambda: CNNClassifier(**QUICK, early_stopping=True, refit_full=True).fit(IMAGES, CLASSES),
    "steps before": lambda: make_pipeline(StandardScaler(), CNNClassifier(**QUICK)).fit(SIGNALS, CLASSES),
    "steps behind": lambda: make_pipeline(CNNFeatures(backbone=DONOR), LogisticRegression()).fit(IMAGES, CLASSES),
    "own features": lambda: make_pipeline(CNNFeatures(backbone=small_backbone), LogisticRegression()).fit(
        IMAGES, CLASSES
    ),
}


def samples(name):
    return {"signals": SIGNALS, "volumes": VOLUMES, "flat rows": IMAGES.reshape(24, -1), "steps before": SIGNALS}.get(
        name, SIGNALS if name == "several values" else IMAGES
    )


def outputs(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return joblib.load(io.BytesIO(file.getvalue()))


def through_skops(estimator):
    data = skops.io.dumps(estimator)
    own = [name for name in skops.io.get_untrusted_types(data=data) if name not in TRUSTED_TYPES]
    # A function or class that the user passed is the user's to trust.
    assert all("test_saving" in name or "LBFGS" in name for name in own)
    return skops.io.loads(data, trusted=[*TRUSTED_TYPES, *own])


WAYS = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "old pickle": lambda estimator: pickle.loads(pickle.dumps(estimator, protocol=2)),
    "joblib": through_joblib,
    "cloudpickle": lambda estimator: cloudpickle.loads(cloudpickle.dumps(estimator)),
    "skops": through_skops,
    "deep copy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("name", CASES)
def test_what_comes_back_predicts_the_same_bits(name):
    estimator, X = CASES[name](), samples(name)
    expected = outputs(estimator, X)
    for way in WAYS.values():
        again = way(estimator)
        np.testing.assert_array_equal(outputs(again, X), expected)
        np.testing.assert_array_equal(outputs(way(again), X), expected)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(("steps", "own"))])
def test_a_warm_start_goes_on_with_what_comes_back(name):
    estimator, X = CASES[name]().set_params(warm_start=True, refit_full=False), samples(name)
    y = estimator.predict(X)
    if estimator._fitted.task.n_outputs == 3 and y.ndim == 1:
        y = estimator.classes_[CLASSES]
    saved = {way: WAYS[way](estimator) for way in ("pickle", "skops", "deep copy")}
    estimator.fit(X, y)
    for again in saved.values():
        again.fit(X, y)
        assert again.n_iter_ == estimator.n_iter_
        np.testing.assert_array_equal(outputs(again, X), outputs(estimator, X))


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy has it from 2.0 on")
@pytest.mark.parametrize("way", WAYS)
def test_labels_of_variable_width_come_back_as_they_were(way):
    X, labels = np.random.default_rng(0).normal(size=(20, 64)), np.arange(20)
    y = np.array(["cat", "dog", "a longer name"], dtype=np.dtypes.StringDType())[labels % 3]
    cnn = CNNClassifier(filters=(2,), dense_units=(), input_shape=(8, 8), max_epochs=1, random_state=0).fit(X, y)
    again = WAYS[way](cnn)
    assert again.classes_.dtype == again.predict(X).dtype == y.dtype
    assert (again.predict(X) == cnn.predict(X)).all()


def objects(labels):
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


DAYS = pd.DatetimeIndex(["2020-01-01T00:00:00.0", "2021-07-01T10:00:00.5", "2022-12-31T00:00:00.0"])
LABELS = {
    "times": lambda: objects(list(DAYS)),
    "times in UTC": lambda: objects(list(DAYS.tz_localize("UTC"))),
    "times of a zone": lambda: objects(list(DAYS.tz_localize("Europe/Paris"))),
    "times in nanoseconds": lambda: objects(list(DAYS.as_unit("ns"))),
    "differences of times": lambda: objects(list(pd.to_timedelta([1, 2, 3], unit="s"))),
    "periods": lambda: objects(list(pd.period_range("2020", "2022", freq="Y"))),
    "dates": lambda: objects([datetime.date(2020, month, 1) for month in (1, 2, 3)]),
    "decimals": lambda: objects([decimal.Decimal(number) for number in (1, 2, 3)]),
    "texts that may be None": lambda: np.array(["a", "b", "cc"], dtype=np.dtypes.StringDType(na_object=None)),
    "texts that may be NaN": lambda: np.array(["a", "b", "cc"], dtype=np.dtypes.StringDType(na_object=np.nan)),
    "texts alone": lambda: np.array(["a", "b", "cc"], dtype=np.dtypes.StringDType(coerce=False)),
}


@pytest.mark.parametrize("way", ["pickle", "skops"])
@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_each_kind_come_back_as_they_were(kind, way):
    if kind.startswith("texts") and not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy has it from 2.0 on")
    labels = LABELS[kind]()
    cnn = CNNClassifier(**QUICK).fit(IMAGES, labels[CLASSES])
    data = skops.io.dumps(cnn)
    trusted = [*TRUSTED_TYPES, *(name for name in skops.io.get_untrusted_types(data=data) if "sklcnn" not in name)]
    again = skops.io.loads(data, trusted=trusted) if way == "skops" else WAYS[way](cnn)
    assert again.classes_.dtype == labels.dtype
    for found, label in zip(again.classes_, labels, strict=True):
        assert type(found) is type(label) and found == label
        assert getattr(found, "unit", None) == getattr(label, "unit", None)
        assert str(getattr(found, "tzinfo", None)) == str(getattr(label, "tzinfo", None))
    assert (again.predict(IMAGES) == cnn.predict(IMAGES)).all()


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_columns_of_y_that_are_times_come_back(estimator):
    y = pd.DataFrame(RANDOM.randint(0, 2, (24, 3)), columns=DAYS.tz_localize("UTC"))
    cnn = estimator(**QUICK).fit(IMAGES, y)
    assert list(through_skops(cnn)._fitted.task.output_names) == list(y.columns)


def test_skops_is_told_of_labels_that_it_does_not_read():
    zone = datetime.timezone(datetime.timedelta(hours=1), "a zone of one's own")
    labels = objects([pd.Timestamp(2020, 1, day, tz=zone) for day in (1, 2, 3)])
    cnn = CNNClassifier(**QUICK).fit(IMAGES, labels[CLASSES])
    assert (WAYS["pickle"](cnn).classes_ == labels).all()
    with pytest.raises(TypeError, match=r"CNNClassifier: y holds labels or names .* which skops does not store"):
        skops.io.dumps(cnn)
    cnn = CNNClassifier(**QUICK, class_weight=dict.fromkeys(DAYS, 1.0))
    with pytest.raises(TypeError, match=r"CNNClassifier: class_weight holds .* which skops does not store"):
        skops.io.dumps(cnn)


def plain_parts(value):
    if isinstance(value, dict):
        for entry in value.values():
            yield from plain_parts(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from plain_parts(entry)
    else:
        yield value


@pytest.mark.parametrize("name", ["signals", "images", "label sets", "several values", "bfloat16", "refitted"])
def test_the_state_is_of_plain_values(name):
    state = CASES[name]().__getstate__()
    kinds = {type(part) for part in plain_parts(state)}
    assert kinds <= {str, int, float, bool, type(None), np.ndarray}, kinds


def test_hyper_parameters_that_change_after_fit_do_no_harm():
    estimator = CASES["images"]()
    expected = estimator.predict_proba(IMAGES)
    estimator.set_params(filters=(7, 7), activation="tanh", precision="float64", batch_norm=False, loss=nn.ReLU())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict_proba(IMAGES), expected)


def test_a_saved_estimator_takes_the_room_of_its_weights_and_moments():
    estimator = CNNClassifier(filters=(32, 64), max_epochs=1, random_state=0).fit(IMAGES, CLASSES)
    weights = sum(tensor.nbytes for tensor in estimator.module_.state_dict().values())
    moments = sum(
        value.nbytes for state in estimator.net_.optimizer_.state.values() for value in state.values()
    )  # fmt: skip
    assert len(pickle.dumps(estimator)) <= 1.1 * (weights + moments)
    assert estimator.net_.module is estimator.net_.module_
    without = estimator.without_training_state()
    assert len(pickle.dumps(without)) <= 1.1 * weights
    for again in (without, pickle.loads(pickle.dumps(without))):
        np.testing.assert_array_equal(again.predict_proba(IMAGES), estimator.predict_proba(IMAGES))
        assert again.history_.equals(estimator.history_)


def test_without_its_training_state_a_fit_goes_on_with_a_new_optimizer():
    estimator = CNNClassifier(**QUICK, warm_start=True).fit(IMAGES, CLASSES)
    before = copy.deepcopy(estimator)
    without = copy.deepcopy(estimator.without_training_state()).fit(IMAGES, CLASSES)
    assert without.n_iter_ == 4
    steps = {float(state["step"]) for state in without.net_.optimizer_.state.values()}
    assert steps == {2.0}
    np.testing.assert_array_equal(estimator.predict_proba(IMAGES), before.predict_proba(IMAGES))


@pytest.mark.parametrize("parameter", ["backbone", "loss"])
def test_skops_is_told_which_parameter_is_a_module(parameter):
    class Module(nn.Module):
        def forward(self, outputs, targets=None):
            return outputs.flatten(1) if targets is None else ((outputs - targets) ** 2).mean(1)

    estimator = CNNClassifier(**QUICK, **{parameter: Module()}).fit(IMAGES, CLASSES)
    with pytest.raises(TypeError, match=f"CNNClassifier: {parameter} is an nn.Module"):
        skops.io.dumps(estimator)
    with pytest.raises(TypeError, match=f"{parameter} is an nn.Module"):
        skops.io.dumps(make_pipeline(StandardScaler(), estimator))
    again = cloudpickle.loads(cloudpickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict(IMAGES), estimator.predict(IMAGES))


def test_predicting_after_loading_makes_no_skorch_net(monkeypatch):
    estimator = pickle.loads(pickle.dumps(CASES["images"]()))
    monkeypatch.setattr("sklcnn.training.net.make_net", lambda *args: pytest.fail("a net was made"))
    estimator.predict(IMAGES)


class TiedBlock(nn.Module):
    """Two convolutions that share their weights."""

    def __init__(self, in_channels, out_channels, kernel_size, spatial_dims):
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")
        self.second = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")
        self.second.weight = self.first.weight

    def forward(self, X):
        return self.first(torch.relu(X)) + self.second(X)


def test_weights_that_are_shared_are_shared_after_loading():
    again = pickle.loads(pickle.dumps(CNNClassifier(**QUICK, block=TiedBlock).fit(IMAGES, CLASSES)))
    (block,) = [module for module in again.module_.modules() if isinstance(module, TiedBlock)]
    assert block.second.weight is block.first.weight


@pytest.mark.slow
def test_loading_and_predicting_import_nothing_that_torch_imports_for_compiling(tmp_path):
    saved = [pickle.dumps(CASES[name]()) for name in ("images", "lent backbone", "steps behind")]
    (tmp_path / "models.pickle").write_bytes(pickle.dumps(saved))
    np.save(tmp_path / "X.npy", IMAGES)
    code = """
import pickle, sys, numpy, torch
with torch.device("meta"):
    torch.nn.Linear(1, 1)  # torch 2.6 imports SymPy for any layer without memory
before = set(sys.modules)
with open("models.pickle", "rb") as file:
    for data in pickle.load(file):
        pickle.loads(data).predict(numpy.load("X.npy"))
print(sorted({"sympy", "torch._dynamo", "skorch"} & (set(sys.modules) - before)))
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_loading_draws_no_random_number():
    saved = [pickle.dumps(CASES[name]()) for name in ("images", "frozen", "lent backbone", "own features")]
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for data in saved:
        pickle.loads(data)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("way", ["pickle", "deep copy"])
def test_what_an_optimizer_keeps_in_another_format_comes_back_in_it(way):
    estimator = CNNRegressor(**QUICK, optimizer=torch.optim.NAdam, precision="float64").fit(IMAGES, VALUES)
    again = WAYS[way](estimator)
    formats = [
        [value.dtype for entries in one.net_.optimizer_.state.values() for value in entries.values()]
        for one in (estimator, again)
    ]
    assert formats[0] == formats[1]
    expected = estimator.set_params(warm_start=True).fit(IMAGES, VALUES).predict(IMAGES)
    np.testing.assert_array_equal(again.set_params(warm_start=True).fit(IMAGES, VALUES).predict(IMAGES), expected)


# Versions.


def test_an_estimator_of_another_version_is_loaded_with_a_warning(monkeypatch):
    estimator = CASES["images"]()
    expected, data = estimator.predict_proba(IMAGES), pickle.dumps(estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(data)
    monkeypatch.setattr("sklcnn.fitting.state.__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match=f"CNNClassifier from version {__version__} when using .*99.0"):
        again = pickle.loads(data)
    np.testing.assert_array_equal(again.predict_proba(IMAGES), expected)


def test_a_file_of_a_newer_version_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(saving, "FORMAT", 2)
    data = pickle.dumps(CASES["images"]())
    monkeypatch.setattr(saving, "FORMAT", 1)
    with pytest.raises(ValueError, match=r"CNNClassifier was saved by a newer version.*format 2.*Upgrade sklcnn"):
        pickle.loads(data)


@pytest.mark.parametrize("file", sorted(SAVED_MODELS.glob("*.skops")), ids=lambda f: f.stem)
def test_a_model_of_each_release_is_still_read(file):
    with np.load(file.with_suffix(".npz")) as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        estimator = skops.io.load(file, trusted=TRUSTED_TYPES)
        np.testing.assert_allclose(estimator.predict_proba(kept["X"]), kept["probabilities"], rtol=0, atol=1e-5)


def test_a_model_of_this_release_is_kept():
    assert (SAVED_MODELS / f"{__version__}.skops").exists()


# What is damaged.

DAMAGES = {
    "a part is missing": lambda state: state.pop("task"),
    "a weight is missing": lambda state: state["weights"].pop("output.bias"),
    "a weight too many": lambda state: state["weights"].update(other=np.zeros(3)),
    "a weight of another shape": lambda state: state["weights"].update({"output.bias": np.zeros(7, "float32")}),
    "weights are no arrays": lambda state: state["weights"].update({"output.bias": "many"}),
    "another network": lambda state: state["recipe"]["spec"].update(filters=(10**7, 10**7)),
    "no such layer": lambda state: state["recipe"]["spec"].update(activation="no such"),
    "a recipe that is none": lambda state: state.update(recipe=7),
    "an unknown type": lambda state: state["task"].update(type="Shell"),
    "no format": lambda state: state.pop("format"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_in_words(damage):
    state = copy.deepcopy(CASES["images"]().__getstate__())
    DAMAGES[damage](state["_fitted"])
    with pytest.raises(ValueError, match=r"CNNClassifier.*damaged or incomplete"):
        CNNClassifier().__setstate__(state)


NAMED = {"backbone": "timm/test_efficientnet", "backbone_weights": None}
HUGE = (1, 10**6, 10**6)  # samples of this shape take terabytes, and so do layers of so many units
DAMAGES_ON_BACKBONES = {
    "large samples of another network": (NAMED, lambda r: r["backbone"].update(sample_shape=HUGE, source="resnet18")),
    "many units": (NAMED, lambda r: r["spec"].update(dense_units=(10**6, 10**6))),
    "another head": (NAMED, lambda r: r["spec"].update(dense_units=(4, 3))),
    "a larger network": (NAMED, lambda r: r["backbone"].update(source="vit_h_14")),
    "many filters": ({"backbone": DONOR}, lambda r: r["backbone"]["source"]["spec"].update(filters=(10**6, 10**6))),
    "a network in a network": (NAMED, lambda r: r["backbone"].update(source=copy.deepcopy(r))),
}


@pytest.mark.parametrize("damage", DAMAGES_ON_BACKBONES)
def test_a_damaged_state_of_a_network_on_a_backbone_is_refused_before_it_takes_memory(damage):
    params, change = DAMAGES_ON_BACKBONES[damage]
    state = copy.deepcopy(CNNClassifier(**QUICK, **params).fit(IMAGES, CLASSES).__getstate__())
    change(state["_fitted"]["recipe"])
    with pytest.raises(ValueError, match=r"CNNClassifier.*damaged or incomplete"):
        CNNClassifier().__setstate__(state)


@pytest.mark.parametrize("params", [NAMED, {"backbone": DONOR}])
def test_no_network_is_run_on_samples_of_the_size_that_a_file_names(params):
    state = CNNClassifier(**QUICK, **params).fit(IMAGES, CLASSES).__getstate__()
    state["_fitted"]["recipe"]["backbone"]["sample_shape"] = HUGE
    CNNClassifier().__setstate__(state)


def test_a_file_that_is_cut_or_of_skops_changed_is_refused_by_its_reader():
    estimator = CASES["images"]()
    pickled, archive = pickle.dumps(estimator), skops.io.dumps(estimator)
    for length in (0, 1, len(pickled) // 2, len(pickled) - 1):
        with pytest.raises((pickle.UnpicklingError, EOFError)):
            pickle.loads(pickled[:length])
    for length in (0, len(archive) // 2, len(archive) - 1):
        with pytest.raises(zipfile.BadZipFile):
            skops.io.loads(archive[:length], trusted=TRUSTED_TYPES)
    weights = estimator.module_.state_dict()["output.weight"].numpy().tobytes()
    place = archive.index(weights) + 3
    changed = archive[:place] + bytes([archive[place] ^ 64]) + archive[place + 1 :]
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        skops.io.loads(changed, trusted=TRUSTED_TYPES)


@pytest.mark.slow
def test_no_corruption_of_a_file_runs_code(tmp_path):
    data = skops.io.dumps(CASES["images"]())
    random, n_read = np.random.RandomState(0), 0
    for _ in range(1000):
        corrupted = bytearray(data)
        if random.rand() < 0.2:
            corrupted = corrupted[: random.randint(len(data))]
        else:
            for place in random.randint(len(data), size=random.randint(1, 20)):
                corrupted[place] = random.randint(256)
        try:
            estimator = skops.io.loads(bytes(corrupted), trusted=TRUSTED_TYPES)
        except Exception as error:
            assert str(error), type(error)
        else:
            n_read += 1
            assert isinstance(estimator, CNNClassifier)
    assert n_read < 1000
