"""Laws of CNNFeatures. check_estimator has no pictures: the checks that need none are listed here."""

import inspect
import io
import pickle
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from counted import Counted
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_sample_images
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils import estimator_checks
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor
from sklcnn.bounded import BoundedCache
from sklcnn.network.backbones import shared
from sklcnn.network.feature_cache import opening

N_PASSES = Counted("sklcnn.features")
N_BUILDS = Counted("sklcnn.weights")
RANDOM = np.random.RandomState(0)
SIDE = 32
# Small pieces of scikit-learn's two photographs, six of each.
CORNERS = [(row, column) for row in (0, 200) for column in (0, 200, 400)]
PIXELS = np.stack(
    [
        np.asarray(Image.fromarray(photograph[row : row + 200, column : column + 200]).resize((SIDE, SIDE)))
        for row, column in CORNERS
        for photograph in load_sample_images().images
    ]
)
KINDS = np.array(["palace", "flower"] * 6)
SMALL = {"image_size": SIDE}
TABLE = {"input_shape": (SIDE, SIDE, 3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pictures as files."""
    folder = tmp_path_factory.mktemp("photographs")
    for row, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(folder / f"{row:02}.png")
    return folder


@pytest.fixture(scope="module")
def expected():
    """The features of all pictures, as the backbone gives them."""
    features = CNNFeatures(**SMALL)
    features.fit(PIXELS)
    return by_torch(features.backbone_, PIXELS)


@pytest.fixture
def empty_memory(monkeypatch):
    """Let the test begin with nothing in memory."""
    monkeypatch.setattr(opening, "_memory", {})


class Halves(nn.Module):
    """A small network with a state of its own."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images):
        return self.norm(self.conv(images)).relu()


def by_torch(module, pixels, dtype=torch.float32):
    """Run a module over (n, h, w, c) pixels."""
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(np.array(pixels)).to(dtype).movedim(-1, 1)).numpy()


def trained(estimator=CNNClassifier, **params):
    params = {"filters": 3, "kernel_size": 5, "pool_size": 4, "dense_units": 4, "max_epochs": 2} | params
    return estimator(**params, random_state=0).fit(PIXELS, KINDS if estimator is CNNClassifier else np.arange(12.0))


def passes_of(work):
    """Count the images that go through a backbone."""
    before = N_PASSES.value
    work()
    return N_PASSES.value - before


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_state(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def assert_close(one, other):
    """Compare features, up to 6, after fifty layers that each round to 6e-8 of that: a last bit makes 1e-5."""
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


# scikit-learn's checks that need no data.


@pytest.mark.parametrize(
    "check",
    [
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_scikit_learns_checks_without_data_pass(check):
    arguments = ("CNNFeatures", CNNFeatures())
    check = getattr(estimator_checks, check)
    check(*arguments[: len(inspect.signature(check).parameters)])


def test_the_hyper_parameters_are_those_of_the_design():
    assert CNNFeatures().get_params() == {
        "backbone": "efficientnet_lite0",
        "backbone_weights": "pretrained",
        "image_size": None,
        "input_shape": None,
        "spatial_dims": None,
        "data_format": "auto",
        "feature_cache": "memory",
        "batch_size": 64,
        "device": "auto",
        "precision": "float32",
        "n_jobs": None,
        "random_state": None,
    }


@pytest.mark.parametrize("method", ["transform", "get_feature_names_out"])
def test_an_unfitted_transformer_says_so(method):
    arguments = (PIXELS,) if method == "transform" else ()
    with pytest.raises(NotFittedError, match="CNNFeatures instance is not fitted yet"):
        getattr(CNNFeatures(), method)(*arguments)


def test_fitting_returns_self_and_leaves_the_hyper_parameters():
    module = Halves()
    params = {"backbone": module, "image_size": [SIDE, SIDE], "feature_cache": None}
    features = CNNFeatures(**params)
    assert features.fit(PIXELS) is features
    for name, value in params.items():
        assert getattr(features, name) is value
    assert module.training


def test_a_clone_is_unfitted_and_gives_the_same_features(expected):
    features = CNNFeatures(**SMALL).fit(PIXELS)
    copied = clone(features)
    assert copied.get_params() == features.get_params()
    with pytest.raises(NotFittedError):
        copied.transform(PIXELS)
    assert_close(copied.fit_transform(PIXELS), expected)


def test_a_second_fit_forgets_the_first():
    features = CNNFeatures(**TABLE, **SMALL).fit(pd.DataFrame(PIXELS.reshape(12, -1)).add_prefix("pixel"))
    assert features.n_features_in_ == SIDE * SIDE * 3
    features.set_params(input_shape=None).fit(PIXELS / 255)
    assert not hasattr(features, "n_features_in_")
    assert not hasattr(features, "feature_names_in_")
    with pytest.raises(ValueError, match="integers"):
        features.transform(PIXELS)


def halves(sample_shape):
    """Build a module whose weights are drawn, by all three generators."""
    module = Halves()
    module.conv.bias.data += np.random.rand() + random.random()
    return module


class LazyHalves(nn.Module):
    """A module whose weights are drawn when it sees a first batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(4, 3)

    def forward(self, images):
        return self.conv(images)


DRAWN = {
    "random weights": {"backbone": "efficientnet_lite0", "backbone_weights": None},
    "factory": {"backbone": halves},
    "lazy module": {"backbone": LazyHalves()},
}


@pytest.mark.parametrize("params", DRAWN.values(), ids=DRAWN)
def test_one_seed_gives_one_network_and_spends_no_global_generator(params):
    features = CNNFeatures(**params, **SMALL, random_state=0)
    first = features.fit_transform(PIXELS)
    generators = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    np.testing.assert_array_equal(clone(features).fit(PIXELS).transform(PIXELS), first)
    assert random.getstate() == generators[0]
    np.testing.assert_array_equal(np.random.get_state()[1], generators[1])
    assert torch.equal(torch.get_rng_state(), generators[2])
    assert not np.array_equal(CNNFeatures(**params, **SMALL, random_state=1).fit_transform(PIXELS), first)


@pytest.mark.parametrize("params", [{}, {"backbone": halves}], ids=["loaded weights", "factory"])
def test_without_a_seed_one_integer_is_drawn_from_numpy_if_weights_are_drawn(params):
    np.random.seed(0)
    first = CNNFeatures(**params, **SMALL).fit_transform(PIXELS)
    drawn = np.random.randint(2**31)
    np.random.seed(0)
    np.testing.assert_array_equal(CNNFeatures(**params, **SMALL).fit_transform(PIXELS), first)
    assert np.random.randint(2**31) == drawn
    np.random.seed(0)
    if params:
        np.random.randint(2**31)
    assert np.random.randint(2**31) == drawn


def test_an_error_in_fit_leaves_the_transformer_as_it_was(expected):
    features = CNNFeatures(**SMALL).fit(PIXELS)
    before = dict(vars(features))
    with pytest.raises(ValueError, match="4 channels"):
        features.fit(np.zeros((2, SIDE, SIDE, 4), np.uint8))
    assert vars(features) == before
    assert_close(features.transform(PIXELS), expected)


def test_a_picture_that_cannot_be_decoded_leaves_the_transformer_as_it_was(folder, tmp_path, refuses):
    (tmp_path / "cut.png").write_bytes((folder / "00.png").read_bytes()[:1000])  # its header alone can be read
    features = CNNFeatures(image_size=16).fit(PIXELS[:1])
    with refuses(features, "cut.png", kinds=(ValueError,)):
        features.fit_transform([str(tmp_path / "cut.png")])


def test_set_params_after_fit_leaves_transform_as_it_was(expected):
    features = CNNFeatures(**SMALL).fit(PIXELS)
    features.set_params(backbone=Halves(), image_size=64, precision="float64")
    found = features.transform(PIXELS)
    assert found.dtype == np.float32
    assert_close(found, expected)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", Halves(), trained()], ids=lambda b: type(b).__name__)
def test_a_pickle_carries_the_weights(backbone, tmp_path, monkeypatch):
    features = CNNFeatures(backbone=backbone, **SMALL).fit(PIXELS)
    expected = features.transform(PIXELS)
    monkeypatch.setattr(shared, "_networks", BoundedCache(shared.MAX_NETWORKS))
    monkeypatch.setattr(shared, "_read_network", None)  # nothing else to take the weights from
    monkeypatch.setattr(opening, "_memory", {})
    copied = pickle.loads(pickle.dumps(features))
    assert passes_of(lambda: assert_close(copied.transform(PIXELS), expected)) in (0, 12)
    assert copied.get_feature_names_out().tolist() == features.get_feature_names_out().tolist()


# What the features are.


def test_features_are_what_the_backbone_gives(expected):
    features = CNNFeatures(**SMALL)
    found = features.fit_transform(PIXELS, KINDS)
    assert found.shape == (12, 1280)
    assert found.dtype == np.float32
    assert_close(found, expected)
    assert_close(features.transform(PIXELS), expected)


def forms_of(folder):
    """The same pictures in every form that X may have, with the hyper-parameters each needs."""
    paths = sorted(folder.iterdir())
    flat = PIXELS.reshape(12, -1)
    mapped = np.memmap(folder / "pixels.dat", PIXELS.dtype, "w+", shape=PIXELS.shape)
    mapped[:] = PIXELS
    return {
        "uint8": (PIXELS, {}),
        "floats": ((PIXELS / 255).astype(np.float32), {}),
        "doubles": (PIXELS / 255, {}),
        "channels first": (PIXELS.transpose(0, 3, 1, 2), {}),
        "torch": (torch.from_numpy(PIXELS), {}),
        "memmap": (mapped, {}),
        "table": (flat, TABLE),
        "int64 table": (flat.astype(np.int64), TABLE),
        "data frame": (pd.DataFrame(flat).add_prefix("pixel"), TABLE),
        "paths": (paths, {}),
        "strings": (list(map(str, paths)), {}),
        "series": (pd.Series(list(map(str, paths)), name="photo"), {}),
        "path column": (pd.DataFrame({"photo": list(map(str, paths))}), {}),
        "array of paths": (np.array(list(map(str, paths)), dtype=object), {}),
        "column of paths": (np.array(list(map(str, paths)), dtype=object)[:, None], {}),
        "bytes": ([path.read_bytes() for path in paths], {}),
        "PIL images": ([Image.open(io.BytesIO(path.read_bytes())) for path in paths], {}),
        "list of arrays": (list(PIXELS), {}),
    }


FORMS = [
    "uint8", "floats", "doubles", "channels first", "torch", "memmap", "table", "int64 table", "data frame", "paths",
    "strings", "series", "path column", "array of paths", "column of paths", "bytes", "PIL images", "list of arrays",
]  # fmt: skip


@pytest.fixture(scope="module")
def forms(folder):
    forms = forms_of(folder)
    assert list(forms) == FORMS
    return forms


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_pictures_has_the_same_features(forms, form, expected):
    X, params = forms[form]
    features = CNNFeatures(**SMALL, **params)
    assert_close(features.fit_transform(X), expected)
    assert_close(features.transform(X), expected)
    assert features.sample_shape_ == (3, SIDE, SIDE)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_goes_through_a_pipeline(forms, form):
    X, params = forms[form]
    model = make_pipeline(CNNFeatures(**SMALL, **params), LogisticRegression(max_iter=1000)).fit(X, KINDS)
    assert model.score(X, KINDS) == 1
    assert (cross_val_predict(model, X, KINDS, cv=3) == KINDS).mean() > 0.8


def test_grey_pictures_are_colour_pictures_without_colours():
    grey = PIXELS.mean(axis=3).astype(np.uint8)
    features = CNNFeatures(**SMALL)
    expected = features.fit_transform(np.repeat(grey[..., None], 3, axis=3))
    assert_close(features.fit_transform(grey), expected)
    assert features.sample_shape_ == (1, SIDE, SIDE)
    assert_close(CNNFeatures(input_shape=(SIDE, SIDE), **SMALL).fit_transform(grey.reshape(12, -1)), expected)


def test_pictures_are_resized_to_image_size_or_to_what_the_weights_expect():
    assert CNNFeatures(image_size=(40, 48)).fit(PIXELS).sample_shape_ == (3, 40, 48)
    assert CNNFeatures().fit(PIXELS).sample_shape_ == (3, 224, 224)
    assert CNNFeatures(backbone=Halves()).fit(PIXELS).sample_shape_ == (3, SIDE, SIDE)


def test_a_row_has_the_same_features_alone_and_among_others(expected):
    features = CNNFeatures(**SMALL, feature_cache=None).fit(PIXELS)
    assert_close(np.concatenate([features.transform(PIXELS[row : row + 1]) for row in range(12)]), expected)


@pytest.mark.parametrize(
    ("precision", "dtype", "tolerance"),
    [("float64", np.float64, 1e-5), ("bfloat16", np.float32, 0.2)],
)
def test_precision_is_that_of_the_features(precision, dtype, tolerance, expected):
    found = CNNFeatures(**SMALL, precision=precision).fit_transform(PIXELS)
    assert found.dtype == dtype
    assert 0 < np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("n_jobs", [1, 3, -1])
def test_n_jobs_changes_no_bit(folder, n_jobs):
    paths = sorted(map(str, folder.glob("*.png")))
    found = [
        CNNFeatures(image_size=48, feature_cache=None, n_jobs=jobs).fit_transform(paths) for jobs in (None, n_jobs)
    ]
    np.testing.assert_array_equal(*found)


def test_batch_size_changes_next_to_nothing(expected):
    assert_close(CNNFeatures(**SMALL, feature_cache=None, batch_size=5).fit_transform(PIXELS), expected)


# Names and tables.


def test_each_feature_has_a_name():
    features = CNNFeatures(backbone=Halves()).fit(PIXELS)
    assert features.get_feature_names_out().tolist() == [f"cnnfeatures{i}" for i in range(4)]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_gives_data_frames(folder, library):
    photos = pd.Series(sorted(map(str, folder.glob("*.png"))), index=range(7, 19), name="photo")
    features = CNNFeatures(backbone=Halves()).set_output(transform=library)
    for found in (features.fit_transform(photos), features.transform(photos)):
        assert type(found).__module__.startswith(library)
        assert list(found.columns) == list(features.get_feature_names_out())
        assert library == "polars" or found.index.equals(photos.index)


def test_a_clone_keeps_set_output():
    features = clone(CNNFeatures(backbone=Halves()).set_output(transform="pandas"))
    assert isinstance(features.fit_transform(PIXELS), pd.DataFrame)


def test_columns_are_known_by_name_and_number(forms):
    table = forms["data frame"][0]
    features = CNNFeatures(**TABLE, backbone=Halves()).fit(table)
    assert features.n_features_in_ == table.shape[1]
    assert features.feature_names_in_.tolist() == list(table.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        features.transform(table.rename(columns={"pixel0": "other"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        features.transform(table.to_numpy())
    with pytest.raises(ValueError, match=f"expecting {table.shape[1]} features"):
        CNNFeatures(**TABLE, backbone=Halves()).fit(table.to_numpy()).transform(table.to_numpy()[:, 1:])


def test_a_path_column_is_known_by_its_name(forms):
    photos = forms["path column"][0]
    features = CNNFeatures(backbone=Halves()).fit(photos)
    assert features.feature_names_in_.tolist() == ["photo"]
    with pytest.raises(ValueError, match="feature names should match"):
        features.transform(photos.rename(columns={"photo": "picture"}))


# Once per distinct image.


@pytest.mark.usefixtures("empty_memory")
def test_fitting_runs_no_picture_and_each_distinct_one_runs_once():
    features = CNNFeatures(**SMALL)
    assert passes_of(lambda: features.fit(PIXELS)) == 0
    assert passes_of(lambda: features.transform(np.concatenate([PIXELS, PIXELS[:5]]))) == 12
    assert passes_of(lambda: features.transform(PIXELS[::-1])) == 0
    assert passes_of(lambda: clone(features).fit_transform(PIXELS)) == 0


@pytest.mark.usefixtures("empty_memory")
def test_candidates_and_folds_share_the_features():
    model = make_pipeline(CNNFeatures(**SMALL), LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1, 10]}, cv=3)
    builds = N_BUILDS.value
    assert passes_of(lambda: search.fit(PIXELS, KINDS)) == 12
    assert N_BUILDS.value - builds <= 1
    assert passes_of(lambda: search.predict(PIXELS)) == 0


@pytest.mark.usefixtures("empty_memory")
def test_the_classifiers_frozen_backbone_shares_them_too():
    classifier = CNNClassifier(backbone="efficientnet_lite0", **SMALL, max_epochs=1).fit(PIXELS, KINDS)
    assert passes_of(lambda: CNNFeatures(**SMALL).fit_transform(PIXELS)) == 0
    assert passes_of(lambda: CNNFeatures(backbone=classifier).fit_transform(PIXELS)) == 0


@pytest.mark.usefixtures("empty_memory")
def test_without_a_cache_every_picture_runs_each_time():
    features = CNNFeatures(**SMALL, feature_cache=None).fit(PIXELS)
    assert [passes_of(lambda: features.transform(PIXELS)) for _ in range(2)] == [12, 12]


@pytest.mark.slow
def test_another_process_takes_the_weights_from_a_pickle_and_the_features_from_a_folder(tmp_path, expected):
    features = CNNFeatures(**SMALL, feature_cache=tmp_path / "cache").fit(PIXELS)
    (tmp_path / "features.pickle").write_bytes(pickle.dumps((features, PIXELS)))
    script = """
import pickle, sys
import numpy as np
from counted import Counted

N_PASSES, N_BUILDS = Counted("sklcnn.features"), Counted("sklcnn.weights")
features, pixels = pickle.load(open("features.pickle", "rb"))
np.save("found.npy", features.transform(pixels))
print(N_PASSES.value, N_BUILDS.value)
"""
    features.transform(PIXELS[:5])
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert printed.split() == ["7", "0"]
    assert_close(np.load(tmp_path / "found.npy"), expected)
    assert passes_of(lambda: features.transform(PIXELS)) == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other text"])
def test_no_damage_to_a_file_of_the_folder_changes_a_feature(tmp_path, damage, expected, monkeypatch):
    features = CNNFeatures(**SMALL, feature_cache=tmp_path)
    features.fit_transform(PIXELS)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    places = RANDOM.randint(0, len(whole), 6)
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged = {"truncated": whole[:place], "flipped": bytes(flipped), "empty": b"", "other text": b"?" * place}
        file.write_bytes(damaged[damage])
        monkeypatch.setattr(opening, "_folders", BoundedCache(opening.MAX_FOLDERS))
        with pytest.warns(UserWarning, match="damaged file"):
            assert_close(features.transform(PIXELS), expected)
        for left in tmp_path.iterdir():
            left.unlink()


# A fitted estimator as the backbone.


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (CNNClassifier, {}),
        (CNNClassifier, {"batch_norm": True, "global_pooling": "avg", "dropout": 0.5, "dense_units": ()}),
        (CNNClassifier, {"image_size": 16}),
        (CNNRegressor, {}),
        (CNNRegressor, {"precision": "float64"}),
        (CNNClassifier, {"backbone": Halves(), "freeze_epochs": 0}),
        (CNNClassifier, {"backbone": Halves(), "freeze_epochs": 1, "standardize": False}),
        (CNNRegressor, {"backbone": "efficientnet_lite0", **SMALL}),
    ],
)
@pytest.mark.parametrize("wrap", [lambda estimator: estimator, FrozenEstimator], ids=["plain", "FrozenEstimator"])
def test_a_fitted_estimators_features_are_what_its_dense_layers_get(estimator, params, wrap):
    network = trained(estimator, **params)
    seen = []
    layers = dict(network.module_.named_children())
    before_dense = next(name for name in layers if name.startswith(("dropout", "dense", "output")))
    layers[before_dense].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    network.predict(PIXELS)
    [expected] = seen
    features = CNNFeatures(backbone=wrap(network)).fit(PIXELS)
    found = features.transform(PIXELS)
    assert_close(found, expected.numpy())
    assert found.dtype == expected.numpy().dtype
    assert features.get_feature_names_out().shape == (found.shape[1],)


def test_the_fitted_estimator_is_left_as_it_was():
    network = trained(batch_norm=True)
    state, prediction = state_of(network.module_), network.predict_proba(PIXELS)
    features = CNNFeatures(backbone=network, precision="float64", device="cpu")
    features.fit(PIXELS)
    features.transform(PIXELS)
    assert_same_state(network.module_.state_dict(), state)
    np.testing.assert_array_equal(network.predict_proba(PIXELS), prediction)
    assert features.backbone is network


@pytest.mark.parametrize(
    "params", [{}, {"backbone": Halves(), "freeze_epochs": 0}, {"backbone": "efficientnet_lite0", **SMALL}]
)
def test_later_training_of_the_estimator_leaves_the_features_as_they_were(params):
    network = trained(warm_start=True, **params)
    features = CNNFeatures(backbone=network).fit(PIXELS)
    expected = features.transform(PIXELS)
    network.set_params(freeze_epochs=0, learning_rate=0.1).fit(PIXELS, KINDS)
    np.testing.assert_array_equal(features.transform(PIXELS), expected)
    assert np.abs(clone(features).fit_transform(PIXELS) - expected).max() > 1e-3


def test_a_clone_keeps_the_fitted_estimator():
    network = trained()
    assert clone(CNNFeatures(backbone=network)).backbone is network


def test_a_fitted_estimator_serves_in_a_searched_pipeline():
    network = trained()
    search = GridSearchCV(
        make_pipeline(CNNFeatures(backbone=network), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": [0.1, 1.0]},
        cv=3,
        error_score="raise",
    ).fit(PIXELS, KINDS)
    expected = CNNFeatures(backbone=network).fit_transform(PIXELS)
    np.testing.assert_array_equal(search.best_estimator_[0].transform(PIXELS), expected)


def test_backbones_are_searched_and_frozen_estimators_among_them():
    grid = {"cnnfeatures__backbone": ["efficientnet_lite0", Halves(), FrozenEstimator(trained())]}
    model = make_pipeline(CNNFeatures(**SMALL), LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(PIXELS, KINDS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.8


# Pictures and columns.


@pytest.fixture
def goods(folder):
    """A table of photographs beside other columns, one of them with gaps."""
    return pd.DataFrame(
        {
            "path": sorted(map(str, folder.glob("*.png"))),
            "price": np.where(np.arange(12) % 5, RANDOM.rand(12), np.nan),
            "shop": pd.Categorical(["north", "south", "east"] * 4),
        },
        index=range(100, 112),
    )


def test_pictures_and_columns_meet_in_a_column_transformer(goods):
    columns = ColumnTransformer(
        [
            ("photo", CNNFeatures(**SMALL), ["path"]),
            ("shop", OrdinalEncoder(), ["shop"]),
            ("rest", "passthrough", ["price"]),
        ]
    ).set_output(transform="pandas")
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=1))
    assert model.fit(goods, KINDS).score(goods, KINDS) == 1
    table = columns.transform(goods)
    assert table.shape == (12, 1282)
    assert table.columns[[0, -2, -1]].tolist() == ["photo__cnnfeatures0", "shop__shop", "rest__price"]
    assert table.index.equals(goods.index)
    np.testing.assert_array_equal(model.predict(goods.iloc[[3, 8]]), KINDS[[3, 8]])
    search = GridSearchCV(model, {"columntransformer__photo__image_size": [24, SIDE]}, cv=2, error_score="raise").fit(
        goods, KINDS
    )
    assert search.best_score_ > 0.5


def test_a_column_may_be_given_by_name_alone(goods):
    columns = ColumnTransformer([("photo", CNNFeatures(backbone=Halves()), "path")])
    assert columns.fit_transform(goods).shape == (12, 4)


def test_other_columns_beside_paths_point_to_the_column_transformer(goods):
    with pytest.raises(ValueError, match="ColumnTransformer"):
        CNNFeatures().fit(goods)


# What is refused.


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((3, 20)), "image"),
        (np.zeros((3, 20, 1)), "image"),
        (np.zeros((3, 6, 6, 6, 1)), "image"),
        (np.zeros((3, 8, 8, 4), np.uint8), "4 channels"),
        (np.full((3, 8, 8, 3), 2.0), "floats from 0 to 1"),
        (np.full((3, 8, 8, 3), 256), "integers from 0 to 255"),
        (np.full((3, 8, 8, 3), np.nan), "NaN"),
        (np.zeros((0, 8, 8, 3)), "0 sample"),
    ],
    ids=["table", "signals", "volumes", "four channels", "floats", "integers", "NaN", "empty"],
)
def test_what_is_no_picture_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        CNNFeatures().fit(X)


def test_a_missing_file_is_named(folder):
    with pytest.raises(ValueError, match=r"row 1.*nowhere\.png"):
        CNNFeatures().fit([str(folder / "00.png"), "nowhere.png"])


@pytest.mark.parametrize(
    ("fitted", "given"), [(PIXELS, PIXELS / 255), (PIXELS / 255, PIXELS)], ids=["uint8 first", "floats first"]
)
def test_another_kind_of_numbers_is_refused_by_transform(fitted, given):
    with pytest.raises(ValueError, match="scaled differently"):
        CNNFeatures(**SMALL).fit(fitted).transform(given)


def test_another_size_is_refused_where_pictures_are_not_resized():
    with pytest.raises(ValueError, match=r"\(3, 16, 16\)"):
        CNNFeatures(backbone=Halves()).fit(PIXELS).transform(PIXELS[:, :16, :16])


@pytest.mark.parametrize(
    ("backbone", "error", "message"),
    [
        (None, TypeError, "got None"),
        (CNNClassifier(), NotFittedError, "not fitted"),
        (FrozenEstimator(CNNRegressor()), NotFittedError, "not fitted"),
        (LogisticRegression(), TypeError, "CNNClassifier or CNNRegressor"),
        (7.5, TypeError, "backbone"),
        ("resnet19", ValueError, "resnet18"),
    ],
)
def test_other_backbones_are_refused(backbone, error, message):
    with pytest.raises(error, match=message):
        CNNFeatures(backbone=backbone).fit(PIXELS)


def test_missing_weights_are_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        CNNFeatures(backbone="resnet18", backbone_weights="nowhere.pth").fit(PIXELS)


def test_a_missing_extra_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "sklcnn\[backbones\]"'):
        CNNFeatures().fit(PIXELS)


def test_parameters_that_fit_does_not_know_are_refused():
    with pytest.raises(TypeError, match="sample_weight"):
        CNNFeatures(backbone=Halves()).fit_transform(PIXELS, KINDS, sample_weight=np.ones(12))
