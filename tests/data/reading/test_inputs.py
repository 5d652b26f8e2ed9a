"""Laws of the arrays and tables that X may be: how they are read, and that the form they come in does not matter."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from skorch.callbacks import Callback

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.data.reading import read_inputs
from sklcnn.data.stores import statistics
from sklcnn.fitting.data import input_spec

N = 12
QUICK = {"filters": (2,), "dense_units": (), "max_epochs": 2, "batch_size": 5, "random_state": 0}
# Small whole numbers, which every number format holds exactly.
IMAGES = np.random.RandomState(0).randint(0, 100, (N, 6, 5, 3))
SIGNALS = np.random.RandomState(1).randint(0, 100, (N, 10))
VOLUMES = np.random.RandomState(2).randint(0, 100, (N, 5, 5, 6, 3))
Y = np.arange(N) % 3


def fit(X, **params):
    return CNNClassifier(**QUICK, **params).fit(X, Y[: len(X)])


def bits(net, X):
    return net.predict_proba(X).tobytes()


# How X is read.

READINGS = [
    # signals
    ((20,), {}, (1, 20)),
    ((20,), {"spatial_dims": 1}, (1, 20)),
    ((20, 1), {}, (1, 20)),
    ((1, 20), {}, (1, 20)),
    ((1, 1), {}, (1, 1)),
    ((20, 3), {"spatial_dims": 1}, (3, 20)),
    ((3, 20), {"spatial_dims": 1}, (3, 20)),
    ((3, 20), {"spatial_dims": 1, "data_format": "channels_last"}, (20, 3)),
    ((20, 6), {"spatial_dims": 1, "data_format": "channels_last"}, (6, 20)),
    ((6, 20), {"spatial_dims": 1, "data_format": "channels_first"}, (6, 20)),
    ((20, 1), {"data_format": "channels_first"}, (20, 1)),
    ((1, 20), {"data_format": "channels_first"}, (1, 20)),
    ((1, 20), {"data_format": "channels_last"}, (20, 1)),
    ((20, 1), {"data_format": "channels_last"}, (1, 20)),
    # images
    ((8, 8), {}, (1, 8, 8)),
    ((5, 39), {}, (1, 5, 39)),
    ((39, 5), {}, (1, 39, 5)),
    ((5, 40), {"spatial_dims": 2}, (1, 5, 40)),
    ((4, 4), {"spatial_dims": 2}, (1, 4, 4)),
    ((8, 9, 1), {}, (1, 8, 9)),
    ((8, 9, 3), {}, (3, 8, 9)),
    ((8, 9, 4), {}, (4, 8, 9)),
    ((1, 8, 9), {}, (1, 8, 9)),
    ((3, 8, 9), {}, (3, 8, 9)),
    ((4, 8, 9), {}, (4, 8, 9)),
    ((8, 9, 2), {"data_format": "channels_last"}, (2, 8, 9)),
    ((2, 8, 9), {"data_format": "channels_first"}, (2, 8, 9)),
    ((3, 8, 3), {"data_format": "channels_last"}, (3, 3, 8)),
    ((3, 8, 3), {"data_format": "channels_first"}, (3, 8, 3)),
    ((8, 9, 3), {"spatial_dims": 2}, (3, 8, 9)),
    # volumes
    ((5, 6, 7), {"spatial_dims": 3}, (1, 5, 6, 7)),
    ((3, 6, 1), {"spatial_dims": 3}, (1, 3, 6, 1)),
    ((5, 6, 7, 1), {}, (1, 5, 6, 7)),
    ((5, 6, 7, 3), {}, (3, 5, 6, 7)),
    ((4, 5, 6, 7), {}, (4, 5, 6, 7)),
    ((5, 6, 7, 2), {"data_format": "channels_last"}, (2, 5, 6, 7)),
    # rows that say what one sample is
    ((24,), {"input_shape": (24,)}, (1, 24)),
    ((25,), {"input_shape": (5, 5)}, (1, 5, 5)),
    ((25,), {"input_shape": (5, 5, 1)}, (1, 5, 5)),
    ((25,), {"input_shape": (25, 1)}, (1, 25)),
    ((75,), {"input_shape": (5, 5, 3)}, (3, 5, 5)),
    ((75,), {"input_shape": (3, 5, 5)}, (3, 5, 5)),
    ((20,), {"input_shape": (20, 1), "data_format": "channels_first"}, (20, 1)),
    ((24,), {"input_shape": (8, 3), "spatial_dims": 1}, (3, 8)),
    ((24,), {"input_shape": [2, 3, 4], "spatial_dims": 3}, (1, 2, 3, 4)),
    ((24,), {"input_shape": np.array([2, 3, 4, 1])}, (1, 2, 3, 4)),
]


@pytest.mark.parametrize(("shape", "params", "sample_shape"), READINGS, ids=str)
def test_a_shape_is_read_as_the_table_says(shape, params, sample_shape):
    X = np.random.RandomState(0).randn(4, *shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*unusual shape")
        net = CNNRegressor(**QUICK, **params).fit(X, np.arange(4.0))
    assert net.sample_shape_ == sample_shape
    assert net.predict(X).shape == (4,)


@pytest.mark.parametrize(
    ("shape", "params"),
    [((8, 40), {}), ((6, 40), {}), ((320,), {"input_shape": (8, 40)}), ((8, 40), {"input_shape": (8, 40)})],
    ids=str,
)
@pytest.mark.parametrize(("data_format", "n_channels"), [("channels_first", 0), ("channels_last", -1)])
def test_a_channel_axis_that_grey_images_lack_is_warned_of_once(shape, params, data_format, n_channels):
    if data_format == "channels_last":
        shape = shape[::-1]
        params = {name: value[::-1] for name, value in params.items()}
    X, declared = np.random.RandomState(0).randn(N, *shape), params | {"data_format": data_format}
    n_channels = params.get("input_shape", shape)[n_channels]
    words = rf'data_format="{data_format}" changed nothing.*spatial_dims=1 .*of {n_channels} channels.*spatial_dims=2'
    with pytest.warns(UserWarning, match=words) as warned:
        net = fit(X, **declared)
    assert len(warned) == 1
    assert net.sample_shape_ == (1, *params.get("input_shape", shape))
    net.predict(X)
    if "input_shape" in params:
        net.predict(X.reshape(N, -1))
    fit(X, **declared, spatial_dims=2)
    assert fit(X, **declared, spatial_dims=1).sample_shape_[0] == n_channels


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_grey_pictures_may_come_with_the_data_format_of_a_whole_data_set(data_format):
    pixels = np.random.RandomState(0).randint(0, 256, (N, 8, 9), dtype=np.uint8)
    assert fit(pixels, data_format=data_format).sample_shape_ == (1, 8, 9)
    assert fit(pixels / 255, data_format=data_format, image_size=6).sample_shape_ == (1, 6, 6)


@pytest.mark.parametrize(
    ("shape", "params", "words"),
    [
        ((4, 20), {}, "spatial_dims=2 .*spatial_dims=1"),
        ((5, 40), {}, "spatial_dims=2 .*spatial_dims=1"),
        ((4, 4), {}, "spatial_dims=2 .*spatial_dims=1"),
        ((2, 20), {}, "spatial_dims=2 .*spatial_dims=1"),
        ((20, 6), {"spatial_dims": 1}, "data_format"),
        ((8, 9, 2), {}, "data_format"),
        ((8, 9, 5), {}, "data_format"),
        ((3, 9, 3), {}, "data_format"),
        ((1, 9, 4), {}, "data_format"),
        ((5, 6, 7, 8), {}, "data_format"),
        ((3, 6, 7, 3), {}, "data_format"),
        ((20,), {"spatial_dims": 2}, "input_shape"),
        ((8, 9, 3), {"spatial_dims": 1}, "spatial_dims=1"),
        ((8, 9), {"spatial_dims": 3}, "spatial_dims=3"),
        ((5, 6, 7, 1), {"spatial_dims": 2}, "spatial_dims=2"),
        ((2, 3, 4, 5, 1), {}, "5 can be read"),
        ((24,), {"input_shape": (5, 5)}, "24 features .*25"),
        ((784,), {"input_shape": (32, 32, 1)}, r"784 features .*1024\. .*\(28, 28, 1\)"),
        ((24,), {"input_shape": (4, 6)}, "spatial_dims"),
        ((5, 6), {"input_shape": (6, 5)}, "input_shape"),
    ],
    ids=str,
)
def test_a_shape_that_can_be_read_in_two_ways_or_none_is_an_error(shape, params, words):
    with pytest.raises(ValueError, match=words):
        CNNRegressor(**QUICK, **params).fit(np.random.RandomState(0).randn(4, *shape), np.arange(4.0))


def test_the_reading_is_decided_in_fit_and_kept():
    X = np.random.RandomState(0).randn(4, 3, 8, 8)
    net = CNNRegressor(**QUICK).fit(X, np.arange(4.0))
    predicted = net.predict(X)
    net.set_params(data_format="channels_last", spatial_dims=1, input_shape=(192,))
    np.testing.assert_array_equal(net.predict(X), predicted)


# That the form does not matter.


def from_file(X, path):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode="r")


def every_second(X):
    spread = np.zeros((2 * len(X), *X.shape[1:-1], X.shape[-1] + 2), X.dtype)
    spread[::2, ..., 1:-1] = X
    return spread[::2, ..., 1:-1]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


ARRAY_FORMS = {
    **{name: lambda X, name=name: X.astype(name) for name in (
        "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
        "longdouble", ">i2", ">u4", ">f4", ">f8", "object",
    )},
    "Fortran order": np.asfortranarray,
    "Fortran order, bytes": lambda X: np.asfortranarray(X.astype("uint8")),
    "reversed": lambda X: X[::-1].copy()[::-1],
    "every second row": every_second,
    "every second row, bytes": lambda X: every_second(X.astype("uint8")),
    "rows last in memory": lambda X: np.moveaxis(np.moveaxis(X, 0, -1).copy(), -1, 0),
    "read only": read_only,
    "read only floats": lambda X: read_only(X.astype("float32")),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "nested lists": np.ndarray.tolist,
    "tensor": torch.from_numpy,
    **{f"tensor of {name}": lambda X, name=name: torch.from_numpy(X).to(getattr(torch, name)) for name in (
        "uint8", "int16", "int64", "float16", "bfloat16", "float32", "float64",
    )},
    "tensor that is trained": lambda X: torch.from_numpy(X).double().requires_grad_(),
    "tensor with other axes in memory": lambda X: torch.from_numpy(X.T.copy()).permute(*range(X.ndim - 1, -1, -1)),
    "list of tensors": lambda X: [torch.from_numpy(sample) for sample in X],
    "list of bfloat16 tensors": lambda X: [torch.from_numpy(sample).bfloat16() for sample in X],
}  # fmt: skip


@pytest.mark.parametrize("X", [SIGNALS, IMAGES, VOLUMES], ids=["signals", "images", "volumes"])
@pytest.mark.parametrize("form", ARRAY_FORMS)
def test_the_same_numbers_give_the_same_bits_in_every_form(form, X):
    same = ARRAY_FORMS[form](X)
    net, other = fit(X), fit(same)
    assert bits(net, X) == bits(other, X) == bits(net, same)


def test_an_axis_of_one_channel_gives_the_same_bits():
    """Whatever stride NumPy gives it: 0 where it was added to a view."""
    X = np.random.default_rng(0).normal(size=(N, 10, 12))
    forms = (X[..., None], X.reshape(N, 10, 12, 1), X[:, :, :, np.newaxis].astype(np.float32))
    net = fit(X)
    for form in forms:
        assert bits(net, form) == bits(net, X) == bits(fit(form), X)
        stores = [read_inputs(same, input_spec(net), training=True)[0] for same in (X, form)]
        one, other = (store.batch(slice(0, 4), torch.float32) for store in stores)
        assert one.stride() == other.stride()


@pytest.mark.parametrize("X", [SIGNALS, IMAGES, VOLUMES], ids=["signals", "images", "volumes"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">i2"])
def test_a_memory_map_gives_the_same_bits(dtype, X, tmp_path):
    mapped = from_file(X.astype(dtype), tmp_path)
    assert isinstance(mapped, np.memmap)
    net, other = fit(X), fit(mapped)
    assert bits(net, X) == bits(other, X) == bits(net, mapped)


def test_a_large_memory_map_whose_rows_lie_apart_is_trained_on_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("sklcnn.data.reading.numbers.LARGE_MAP", IMAGES.nbytes - 1)
    np.save(tmp_path / "images.npy", np.asfortranarray(IMAGES))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    with pytest.warns(UserWarning, match=r"CNN\w+: X is a memory map of .* Write it to one in C order first") as warned:
        net = fit(mapped)
    assert len(warned) == 1
    assert bits(net, mapped) == bits(fit(IMAGES), IMAGES)  # without another one


def test_booleans_are_zeros_and_ones():
    X = IMAGES > 50
    assert bits(fit(X), X) == bits(fit(X.astype(float)), X) == bits(fit(torch.from_numpy(X)), X)


NAMES = [f"t{i}" for i in range(10)]
TABLE_FORMS = {
    "DataFrame": lambda X: pd.DataFrame(X, columns=NAMES),
    "DataFrame of bytes": lambda X: pd.DataFrame(X.astype("uint8"), columns=NAMES),
    "DataFrame of mixed numbers": lambda X: pd.DataFrame(X, columns=NAMES).astype({"t0": "uint8", "t5": "float32"}),
    "DataFrame with another index": lambda X: pd.DataFrame(X, columns=NAMES, index=[f"row {i}" for i in range(N)]),
    **{f"DataFrame of {dtype}": lambda X, dtype=dtype: pd.DataFrame(X, columns=NAMES).astype(dtype) for dtype in (
        "Int64", "UInt8", "Float32", "Float64", "int64[pyarrow]", "uint8[pyarrow]", "float[pyarrow]", "double[pyarrow]",
    )},
    "polars": lambda X: pl.DataFrame(X, schema=NAMES),
    "polars of bytes": lambda X: pl.DataFrame(X.astype("uint8"), schema=NAMES),
    "polars of mixed numbers": lambda X: pl.DataFrame(X, schema=NAMES).with_columns(pl.col("t3").cast(pl.Float32)),
}  # fmt: skip


@pytest.mark.parametrize("form", TABLE_FORMS)
def test_the_same_numbers_give_the_same_bits_in_every_table(form):
    table = TABLE_FORMS[form](SIGNALS)
    net, other = fit(SIGNALS), fit(table)
    assert bits(net, SIGNALS) == bits(other, table)
    assert net.n_features_in_ == other.n_features_in_ == 10
    assert list(other.feature_names_in_) == NAMES
    assert not hasattr(net, "feature_names_in_")


@pytest.mark.parametrize("form", TABLE_FORMS)
def test_a_table_with_other_columns_at_predict_is_an_error(form):
    table = TABLE_FORMS[form](SIGNALS)
    net = fit(table)
    reordered = table[NAMES[::-1]]
    with pytest.raises(ValueError, match="feature names"):
        net.predict(reordered)
    with pytest.raises(ValueError, match="feature names"):
        net.predict(table[NAMES[:9]])


@pytest.mark.parametrize("dtype", ["boolean", "bool", "bool[pyarrow]"])
def test_tables_of_truth_values_are_zeros_and_ones(dtype):
    X = SIGNALS > 50
    assert bits(fit(pd.DataFrame(X).astype(dtype)), pd.DataFrame(X).astype(dtype)) == bits(fit(X.astype(float)), X)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA], ids=str)
@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int64[pyarrow]", "float64"])
def test_missing_values_are_an_error(dtype, missing):
    if dtype == "float64" and missing is pd.NA:
        missing = np.nan
    table = pd.DataFrame(SIGNALS, columns=NAMES).astype(dtype)
    table.loc[3, "t2"] = missing
    with pytest.raises(ValueError, match=r"(?s)Input X contains NaN"):
        fit(table)


@pytest.mark.parametrize("X", [IMAGES, VOLUMES], ids=["images", "volumes"])
def test_channels_first_and_last_and_flat_rows_are_the_same_samples(X):
    first = np.moveaxis(X, -1, 1)
    forms = [
        (X, {}),
        (first, {}),
        (X, {"data_format": "channels_last"}),
        (first.copy(), {"data_format": "channels_first"}),
        (X.reshape(N, -1), {"input_shape": X.shape[1:]}),
        (first.reshape(N, -1), {"input_shape": first.shape[1:]}),
        (pd.DataFrame(X.reshape(N, -1)), {"input_shape": X.shape[1:]}),
    ]
    assert len({bits(fit(form, **params), form) for form, params in forms}) == 1


def test_samples_of_one_channel_are_the_same_with_and_without_their_axis():
    # Torch guesses from strides how a single channel lies in memory, and computes other bits by another guess.
    X = IMAGES[..., :1]
    forms = [X, X[..., 0], np.moveaxis(X, -1, 1), X.reshape(N, -1)]
    shapes = [None, None, None, (6, 5)]
    nets = [fit(form, spatial_dims=2, input_shape=shape) for form, shape in zip(forms, shapes, strict=True)]
    assert len({bits(net, form) for net, form in zip(nets, forms, strict=True)}) == 1
    X = SIGNALS[..., None]
    assert len({bits(fit(form), form) for form in (X, X[..., 0], np.moveaxis(X, -1, 1))}) == 1


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", ">f4"])
def test_x_is_never_modified(dtype, standardize, precision):
    X = IMAGES.astype(dtype)
    before = X.copy()
    net = fit(X, standardize=standardize, precision=precision, conv_dropout=0.3, batch_norm=True)
    net.predict(X)
    assert X.tobytes() == before.tobytes()
    assert X.dtype == before.dtype


def test_predictions_do_not_depend_on_the_rows_beside():
    X = np.random.RandomState(0).randn(1200, 6)  # more than go through the network at once
    net = CNNClassifier(**QUICK, batch_norm=True, precision="float64").fit(X, np.arange(1200) % 3)
    whole = net.predict_proba(X)
    np.testing.assert_allclose(net.predict_proba(X[700:705]), whole[700:705], rtol=1e-12)
    np.testing.assert_allclose(net.predict_proba(X[::-1]), whole[::-1], rtol=1e-12)


# Batches.


class Layouts(Callback):
    """Keep whether batches are laid out channels-last in memory, in a list of the class that a test makes."""

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        images = batch[0]
        self.seen.append((images.movedim(1, -1).is_contiguous(), images.dtype))


@pytest.mark.parametrize("X", [SIGNALS, IMAGES, VOLUMES], ids=["signals", "images", "volumes"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "form", ["uint8", "float32", "float64", "Fortran order", "every second row", "list of tensors"]
)
def test_batches_are_channels_last_in_memory_and_of_the_networks_format(form, precision, X):
    for order in (X, np.moveaxis(X, -1, 1) if X.ndim > 2 else X):
        layouts = type("Seen", (Layouts,), {"seen": []})
        same = ARRAY_FORMS[form](order)
        net = CNNClassifier(**QUICK, precision=precision, callbacks=[layouts]).fit(same, Y, X_val=same, y_val=Y)
        assert net.sample_shape_[0] == (3 if X.ndim > 2 else 1)
        assert set(layouts.seen) == {(True, getattr(torch, precision))}


# Statistics.


def standardisation(X, weights=None, **params):
    net = CNNClassifier(**QUICK | {"max_epochs": 1}, precision="float64", **params).fit(X, Y, weights)
    layer = net.module_.standardize
    return layer.mean.flatten().numpy(), layer.deviation.flatten().numpy()


@pytest.mark.parametrize("weights", [None, 1.0 + np.arange(N) % 4, np.arange(N) % 3], ids=["none", "some", "zeros"])
@pytest.mark.parametrize("chunk", [1, 100, 2**20])
@pytest.mark.parametrize(
    "X", [IMAGES.astype("uint8"), IMAGES / 7, VOLUMES, SIGNALS[..., None]], ids=["b", "f", "v", "s"]
)
def test_the_standardisation_is_numpys_mean_and_deviation(X, chunk, weights, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK_VALUES", chunk)  # values looked at together
    mean, deviation = standardisation(X, weights)
    axes = tuple(range(1, X.ndim - 1))
    expected = np.average(X.mean(axes), axis=0, weights=weights)
    spread = np.average(((X - expected) ** 2).mean(axes), axis=0, weights=weights)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    np.testing.assert_allclose(deviation, np.sqrt(spread), rtol=1e-12)


@pytest.mark.parametrize("offset", [1e6, -1e9])
def test_the_standardisation_keeps_its_digits_far_from_zero(offset):
    X = IMAGES + offset
    mean, deviation = standardisation(X)
    np.testing.assert_allclose(mean, X.mean((0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(deviation, X.std((0, 1, 2)), rtol=1e-9)


@pytest.mark.parametrize("value", [0, 7, 0.1, 1e9 / 3])
def test_a_constant_channel_is_only_shifted(value):
    X = IMAGES.astype(float)
    X[..., 1] = value
    mean, deviation = standardisation(X)
    assert mean[1] == pytest.approx(value, rel=1e-14)
    assert deviation[1] == 1


def test_predictions_follow_an_affine_change_of_the_inputs():
    X = IMAGES / 10
    changed = X * [2, -0.5, 1e3] + [1, 100, -5e4]
    params = {"precision": "float64", "random_state": 0}
    one = CNNClassifier(**QUICK | params).fit(X, Y)
    # A mirrored channel needs mirrored weights: leave its sign.
    other = CNNClassifier(**QUICK | params).fit(changed * [1, -1, 1], Y)
    np.testing.assert_allclose(other.predict_proba(changed * [1, -1, 1]), one.predict_proba(X), rtol=1e-8)


# Pixels that come as a table.


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
@pytest.mark.parametrize(
    ("length", "shape"), [(64, (8, 8, 1)), (784, (28, 28, 1)), (192, (8, 8, 3)), (16, (4, 4, 1))], ids=str
)
def test_a_table_that_looks_like_pixels_gives_a_warning_that_names_the_shape(length, shape, dtype):
    X = np.random.RandomState(0).randint(0, 256, (N, length)).astype(dtype)
    with pytest.warns(UserWarning, match="input_shape=" + str(shape).replace("(", r"\(").replace(")", r"\)")) as caught:
        net = fit(X)
    assert len(caught) == 1
    net.predict(X)  # said once, in fit


@pytest.mark.parametrize(
    ("X", "params"),
    [
        (np.random.RandomState(0).randint(0, 256, (N, 64)), {"input_shape": (8, 8)}),
        (np.random.RandomState(0).randint(0, 256, (N, 64)), {"input_shape": (64,)}),
        (np.random.RandomState(0).randint(0, 256, (N, 64, 1)), {}),
        (np.random.RandomState(0).randint(0, 256, (N, 60)), {}),
        (np.random.RandomState(0).randint(0, 256, (N, 9)), {}),
        (np.random.RandomState(0).randint(-1, 256, (N, 64)), {}),
        (np.random.RandomState(0).randint(0, 65536, (N, 64)), {}),
        (np.random.RandomState(0).rand(N, 64), {}),
    ],
    ids=["named", "named as signals", "signals by shape", "length", "tiny", "negative", "16 bits", "fractions"],
)
def test_other_tables_give_no_warning(X, params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(X, **params)


# Memory.


@pytest.mark.parametrize("mapped", [False, True])
def test_fit_and_predict_copy_neither_an_array_of_bytes_nor_a_memory_map(mapped, tmp_path):
    X = np.random.RandomState(0).randint(0, 256, (3000, 64, 64), dtype=np.uint8)
    X = from_file(X, tmp_path) if mapped else X
    net = CNNClassifier(filters=(1,), stride=8, dense_units=(), max_epochs=1, batch_size=32, early_stopping=True)
    y = np.arange(len(X)) % 2
    tracemalloc.start()
    net.fit(X, y).predict(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A batch, and the 8 MB of float64 in which the statistics are computed: not the 12 MB of X, let alone 49 as floats.
    assert peak < X.nbytes / 10 + 2**24


def test_a_memory_map_of_any_order_is_not_copied(tmp_path):
    from sklcnn.data.reading.numbers import numeric_array

    X = np.memmap(tmp_path / "X", np.float32, "w+", shape=(50, 20), order="F")
    assert np.shares_memory(numeric_array(X, "estimator"), X)
