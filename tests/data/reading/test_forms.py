"""X as other libraries hold it trains what its array trains; what holds no samples is refused, with what to pass."""

import io
import re
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.model_selection import cross_val_predict

from sklcnn import CNNClassifier, CNNFeatures
from sklcnn.data.reading import read_inputs
from sklcnn.data.schema import InputSpec

N = 12
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % 3
QUICK = {"filters": 2, "dense_units": (), "max_epochs": 2, "batch_size": 5, "random_state": 0}
SIGNALS = RANDOM.normal(size=(N, 20))
PIXELS = RANDOM.integers(0, 256, (N, 8, 8))


def fit(X, **params):
    return CNNClassifier(**QUICK | params).fit(X, LABELS)


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_tensors_of_several_sizes_may_be_of_any_kind():
    spec = InputSpec("test", image_size=(4, 4))
    arrays = [np.arange(20 + 4 * row, dtype=np.float32).reshape(-1, 4) for row in range(2)]
    tensors = [torch.from_numpy(array).bfloat16().requires_grad_() for array in arrays]
    expected, batch = (read_inputs(X, spec)[0].batch(slice(2), torch.float32) for X in (arrays, tensors))
    assert torch.equal(batch, expected)


def parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return pd.read_parquet(io.BytesIO(file.getvalue()))


def objects(cells):
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


# Columns of samples

NESTED = {
    "Series of arrays": lambda X: pd.Series(list(X)),
    "Series of lists": lambda X: pd.Series(X.tolist()),
    "column of arrays": lambda X: pd.DataFrame({"sample": list(X)}),
    "column of lists": lambda X: pd.DataFrame({"sample": X.tolist()}),
    "indexed column": lambda X: pd.DataFrame({"sample": list(X)}, index=range(5, N + 5)),
    "parquet": lambda X: parquet(pd.DataFrame({"sample": X.tolist()})),
    "parquet's column": lambda X: parquet(pd.DataFrame({"sample": X.tolist()}))["sample"],
    "array of arrays": lambda X: objects(list(X)),
    "array (n, 1) of arrays": lambda X: objects(list(X))[:, None],
    "polars column": lambda X: pl.DataFrame({"sample": X.tolist()}),
    "polars Series": lambda X: pl.Series(X.tolist()),
    "Arrow table": lambda X: pa.table({"sample": X.tolist()}),
    "Arrow column": lambda X: pa.table({"sample": X.tolist()})["sample"],
    "Arrow array": lambda X: pa.array(X.tolist()),
    "Arrow-backed column": lambda X: pa.table({"sample": X.tolist()}).to_pandas(types_mapper=pd.ArrowDtype),
    "Arrow tensor": lambda X: pa.Tensor.from_numpy(np.ascontiguousarray(X)),
    "Arrow tensors": lambda X: pa.table({"sample": pa.FixedShapeTensorArray.from_numpy_ndarray(X)}),
}
OF_SIGNALS = {
    "column of Series": lambda X: pd.DataFrame({"sample": [pd.Series(row) for row in X]}),
    "list of Series": lambda X: [pd.Series(row) for row in X],
    "polars arrays": lambda X: pl.DataFrame({"sample": pl.Series(X.tolist(), dtype=pl.Array(pl.Float64, X.shape[1]))}),
}
CASES = [(SIGNALS, form) for form in NESTED | OF_SIGNALS] + [(PIXELS, form) for form in NESTED]


@pytest.mark.parametrize(("X", "form"), CASES)
def test_a_column_of_samples_trains_what_their_array_trains(X, form):
    given = (NESTED | OF_SIGNALS)[form](X)
    expected = fit(X)
    cnn = fit(given)
    assert cnn.sample_shape_ == expected.sample_shape_
    assert_array_equal(cnn.predict_proba(given), expected.predict_proba(X))
    assert_array_equal(expected.predict_proba(given), expected.predict_proba(X))
    assert_array_equal(cnn.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("form", ["column of arrays", "parquet", "polars column", "Arrow table", "Series of lists"])
def test_a_column_of_samples_is_sliced_weighted_and_held_out(form):
    given = NESTED[form](SIGNALS)
    cnn = CNNClassifier(**QUICK)
    found = cross_val_predict(cnn, given, LABELS, cv=2)
    assert_array_equal(found, cross_val_predict(cnn, SIGNALS, LABELS, cv=2))
    weights = np.arange(N) % 4
    weighted = CNNClassifier(**QUICK).fit(given, LABELS, sample_weight=weights, X_val=given, y_val=LABELS)
    expected = CNNClassifier(**QUICK).fit(SIGNALS, LABELS, sample_weight=weights, X_val=SIGNALS, y_val=LABELS)
    assert_array_equal(weighted.history_["val_loss"], expected.history_["val_loss"])


def test_an_arrow_table_of_numbers_is_one_of_pandas():
    frame = pd.DataFrame(SIGNALS, columns=[f"t{i}" for i in range(20)])
    cnn = fit(pa.Table.from_pandas(frame))
    assert_array_equal(cnn.feature_names_in_, frame.columns)
    assert_array_equal(cnn.predict_proba(frame), fit(frame).predict_proba(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        cnn.predict(pa.Table.from_pandas(frame[frame.columns[::-1]]))


BAD_CELLS = {
    "missing": (pd.Series([*SIGNALS[:3], None, *SIGNALS[4:]]), "misses the sample of row 3"),
    "missing in parquet": (pl.DataFrame({"a": [*SIGNALS[:3].tolist(), None]}), "misses the sample of row 3"),
    "of unequal length": (pd.DataFrame({"a": [*SIGNALS[:3], *SIGNALS[3:, :9]]}), "lengths, from 9 to 20.*Pad"),
    "ragged": (pd.DataFrame({"a": [[[1, 2], [3, 4]], [[1, 2], [3]]] * 6}), "row 1 lists of differing lengths"),
    "NaN": (pd.DataFrame({"a": [*SIGNALS[:-1].tolist(), [np.nan] * 20]}), "NaN"),
    "several columns": (
        pd.DataFrame({"a": list(SIGNALS), "b": list(SIGNALS)}),
        "in column 'a', beside 1 other.*np.stack.*spatial_dims=1.*\"channels_first\"",
    ),
    "beside numbers": (pd.DataFrame({"age": range(N), "b": SIGNALS.tolist()}), "in column 'b', beside 1 other"),
}


@pytest.mark.parametrize(("X", "message"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_cells_that_are_no_samples_are_named(X, message, refuses):
    cnn = CNNClassifier(**QUICK)
    with refuses(cnn, message):
        cnn.fit(X, LABELS[: len(X)])


def test_the_remedy_for_several_columns_works():
    X = pd.DataFrame({"a": list(SIGNALS), "b": [pd.Series(row) for row in -SIGNALS]})
    stacked = np.stack([np.stack([np.asarray(cell) for cell in X[name]]) for name in X.columns], axis=1)
    assert fit(stacked, spatial_dims=1, data_format="channels_first").sample_shape_ == (2, 20)


@pytest.mark.parametrize("as_series", [pd.Series, pl.Series, lambda X: pd.Series(X, dtype="float64[pyarrow]")])
def test_a_series_of_numbers_is_told_from_a_table(as_series, refuses):
    cnn = fit(SIGNALS)
    for call in (cnn.predict, lambda X: cnn.fit(X, LABELS)):
        with refuses(cnn, r"1D array instead: X has shape \(20,\)\. Reshape your data.*df\.iloc\[\[row\]\]"):
            call(as_series(SIGNALS[0]))


@pytest.mark.parametrize("dtype", [object, float])
def test_python_numbers_of_any_kind_are_numbers(dtype):
    from decimal import Decimal
    from fractions import Fraction

    X = [
        [kind(number) for number in row]
        for row, kind in zip(PIXELS[:, 0].tolist(), [Decimal, Fraction] * 6, strict=True)
    ]
    expected = fit(PIXELS[:, 0].astype(float)).predict_proba(PIXELS[:, 0])
    assert_array_equal(fit(np.array(X, dtype)).predict_proba(PIXELS[:, 0]), expected)
    assert_array_equal(fit(X).predict_proba(PIXELS[:, 0]), expected)


# Encoded images in dicts, as Hugging Face's data sets keep them

CELLS = [{"bytes": encode(pixels), "path": None} for pixels in PIXELS]
IMAGE_COLUMNS = {
    "list": lambda cells: cells,
    "Series": pd.Series,
    "column": lambda cells: pd.DataFrame({"image": cells}),
    "parquet": lambda cells: parquet(pd.DataFrame({"image": cells})),
    "polars": lambda cells: pl.DataFrame({"image": cells}),
    "Arrow table": lambda cells: pa.table({"image": cells}),
    "Arrow-backed": lambda cells: pa.table({"image": cells}).to_pandas(types_mapper=pd.ArrowDtype),
}


@pytest.mark.parametrize("form", IMAGE_COLUMNS)
@pytest.mark.parametrize("content", ["bytes", "path"])
def test_images_in_dicts_of_bytes_and_path_are_read(form, content, tmp_path):
    cells = CELLS
    if content == "path":
        cells = [{"bytes": None, "path": str(tmp_path / f"{row}.png")} for row in range(N)]
        for cell, encoded in zip(cells, CELLS, strict=True):
            (tmp_path / cell["path"]).write_bytes(encoded["bytes"])
    X = IMAGE_COLUMNS[form](cells)
    assert_array_equal(fit(X).predict_proba(X), fit(PIXELS).predict_proba(PIXELS))


def test_a_dict_with_neither_bytes_nor_path_is_named():
    with pytest.raises(ValueError, match="misses the image of row 1: it has neither bytes nor a path"):
        fit([CELLS[0], {"bytes": None, "path": None}])


# No message prints more of a value than a line

HUGE = "x" * 1_000_000
HUGE_VALUES = {
    "dicts": [{"image": b"\xff" * 1_000_000}] * N,
    "dict column": pd.DataFrame({"image": [{"content": b"\xff" * 1_000_000}] * N}),
    "a mapping": {HUGE: SIGNALS},
    "a path": [HUGE] * N,
    "a long path beside others": ["a.png", HUGE],
    "text": [[HUGE]] * N,
    "numbers as text": [" ".join(["100"] * 100_000)] * N,
    "objects": objects([{"a": HUGE}] * N),
    "one object": objects([[HUGE, 1]] * N),
    "long column name": pd.DataFrame({HUGE: list(SIGNALS), "b": 1}),
    "scalar": objects([{"a": HUGE}])[0],
}


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("X", HUGE_VALUES.values(), ids=HUGE_VALUES)
def test_no_message_prints_more_of_X_than_a_line(X):
    cnn = fit(SIGNALS)
    for call in (lambda: fit(X), lambda: cnn.predict(X), lambda: CNNFeatures().fit(X)):
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        error = caught.value
        while error is not None:
            assert len(str(error)) < 1_000
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


HUGE_PARAMETERS = {
    "filters": [HUGE],
    "backbone": HUGE,
    "augmentation": (HUGE,),
    "optimizer": HUGE,
    "scoring": HUGE,
    "class_weight": {HUGE: 1.0},
    "input_shape": np.zeros(100_000),
    "random_state": HUGE,
    "callbacks": [HUGE],
}


@pytest.mark.parametrize("name", HUGE_PARAMETERS)
def test_no_message_prints_more_of_a_hyper_parameter_than_a_line(name):
    with pytest.raises((TypeError, ValueError)) as caught:
        fit(SIGNALS, early_stopping=True, **{name: HUGE_PARAMETERS[name]})
    assert len(str(caught.value)) < 2_000


def test_no_message_prints_more_of_y_than_a_line():
    for y in ([HUGE] * N, [HUGE + str(row) for row in range(N)]):
        cnn = CNNClassifier(**QUICK).fit(SIGNALS, LABELS)
        with pytest.raises((TypeError, ValueError)) as caught:
            cnn.set_params(warm_start=True).fit(SIGNALS, y)
        assert len(str(caught.value)) < 1_000


# Texts of numbers

TEXTS = {
    "spaces": (lambda row: " ".join(map(str, row)), r"text\.split\(\) for text in X\], dtype=np\.uint8"),
    "commas": (lambda row: ",".join(map(str, row)), r"re\.findall\("),
    "a list": (lambda row: str(row.tolist()), r"re\.findall\("),
    "NumPy's": (str, r"re\.findall\("),
    "fractions": (lambda row: " ".join(f"{value / 255:.6f}" for value in row), "dtype=float"),
}


@pytest.mark.parametrize(("write", "message"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("form", [list, pd.Series, lambda X: pd.DataFrame({"pixels": X}), np.array])
def test_texts_of_numbers_are_no_names_of_files_and_the_remedy_reads_them(write, message, form):
    rows = PIXELS.reshape(N, -1)
    texts = [write(row) for row in rows]
    with pytest.raises(ValueError, match=rf"texts of 64 numbers .*{message}.*input_shape.*\(8, 8\)") as caught:
        fit(form(texts))
    remedy = re.search(r"Pass (.*?), where X", str(caught.value))[1]
    read = eval(remedy, {"np": np, "re": re, "X": texts})
    np.testing.assert_allclose(read * (255 if read.max() <= 1 else 1), rows, atol=1e-3)
    fit(read, input_shape=(8, 8))


@pytest.mark.parametrize("name", ["1 2 3 4.png", "2024-01-02 10 11 12/3 4 5.jpg", "0001", "7,8,9 a.tif"])
def test_names_of_files_may_hold_numbers(name):
    with pytest.raises(ValueError, match=r"the image file '.*', which does not exist"):
        fit([name] * N)


# What holds no samples


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, row):
        return torch.from_numpy(SIGNALS)[row % N], int(LABELS[row % N])


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return zip(torch.from_numpy(SIGNALS), LABELS, strict=True)


TENSORS = torch.utils.data.TensorDataset(torch.from_numpy(SIGNALS), torch.from_numpy(LABELS))
NO_SAMPLES = {
    "Dataset": (Pairs, r"a torch data set \(Pairs\)"),
    "IterableDataset": (Stream, r"a torch data set \(Stream\)"),
    "TensorDataset": (lambda: TENSORS, r"a torch data set \(TensorDataset\)"),
    "DataLoader": (lambda: torch.utils.data.DataLoader(TENSORS, 5), "a torch data loader"),
    "generator": (lambda: (row for row in SIGNALS), r"an iterator \(generator\)"),
    "map": (lambda: map(np.asarray, SIGNALS), r"an iterator \(map\)"),
    "dict": (lambda: {"train": SIGNALS, "test": SIGNALS}, r"a mapping \(dict\).*X\['train'\]"),
    "BytesIO": (lambda: io.BytesIO(CELLS[0]["bytes"]), r"an open file \(BytesIO\)"),
    "BytesIO in a list": (lambda: [io.BytesIO(cell["bytes"]) for cell in CELLS], r"holds open files \(BytesIO\)"),
}


@pytest.mark.parametrize(("make", "message"), NO_SAMPLES.values(), ids=NO_SAMPLES)
def test_what_holds_no_samples_is_named(make, message, refuses):
    cnn = fit(SIGNALS)
    with refuses(cnn, message, kinds=(TypeError,)) as caught:
        cnn.fit(make(), LABELS)
    assert ". Pass " in str(caught.value)
    with refuses(cnn, message, kinds=(TypeError,)):
        cnn.predict(make())


@pytest.mark.parametrize("kind", ["Dataset", "IterableDataset", "TensorDataset", "DataLoader"])
def test_the_remedy_for_what_torch_holds_works(kind):
    dataset = loader = NO_SAMPLES[kind][0]()
    with pytest.raises(TypeError) as caught:
        fit(dataset)
    names = {"dataset": dataset, "loader": loader, "torch": torch}
    X, y = eval(re.search(r"X, y = (.*)\.$", str(caught.value))[1], names)
    assert_array_equal(CNNClassifier(**QUICK).fit(X, y).predict(X), fit(SIGNALS).predict(SIGNALS))


def test_an_archive_of_arrays_is_named(tmp_path):
    np.savez(tmp_path / "data.npz", images=PIXELS, labels=LABELS)
    with np.load(tmp_path / "data.npz") as archive, pytest.raises(TypeError, match=r"a mapping.*X\['images'\]"):
        fit(archive)
    assert zipfile.is_zipfile(tmp_path / "data.npz")


def test_a_folder_is_named_and_its_classes_are_read_by_scikit_learn(tmp_path):
    from sklearn.datasets import load_files

    for row, cell in enumerate(CELLS):
        folder = tmp_path / f"class {LABELS[row]}"
        folder.mkdir(exist_ok=True)
        (folder / f"{row}.png").write_bytes(cell["bytes"])
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(TypeError, match=r"name of a folder.*rglob.*load_files"):
            fit(folder)
    files = load_files(tmp_path, load_content=False)
    labels = np.array(files.target_names)[files.target]
    assert_array_equal(CNNClassifier(**QUICK).fit(files.filenames, labels).classes_, ["class 0", "class 1", "class 2"])


@pytest.mark.parametrize("address", ["https://example.org/a.png", "s3://bucket/a.png", "data:image/png;base64,iVBOR"])
def test_an_address_is_no_file(address):
    with pytest.raises(ValueError, match=r"row 0 the image file .* is an address.*Fetch it first"):
        fit([address] * N)


# PIL images that can no longer be decoded


def test_a_picture_closed_by_its_with_block_is_named_before_training(tmp_path):
    pictures = [Image.fromarray(pixels.astype(np.uint8)) for pixels in PIXELS]
    path = tmp_path / "closed.png"
    pictures[3].save(path)
    with Image.open(path) as pictures[3]:
        pass
    with pytest.raises(ValueError, match=r"row 3 a PIL image, whose file was closed .*with block.*image\.load\(\)"):
        fit(pictures)
    with Image.open(path) as pictures[3]:
        pictures[3].load()
    fit(pictures)


@pytest.mark.parametrize("image_size", [None, 6])
def test_a_truncated_picture_is_named(image_size):
    noise = RANDOM.integers(0, 256, (N, 40, 40))
    pictures = [Image.open(io.BytesIO(encode(pixels))) for pixels in noise]
    pictures[7] = Image.open(io.BytesIO(encode(noise[7])[:600]))
    with pytest.raises(ValueError, match="row 7 a PIL image, which is truncated or broken"):
        fit(pictures, image_size=image_size)


# Axes


def test_rows_along_the_last_axis_are_named(refuses):
    X = np.moveaxis(RANDOM.random((N, 9, 9, 3)), 0, -1)
    cnn = CNNClassifier(**QUICK)
    message = rf"9 rows in X but {N} in y, as many as the last axis .*np\.moveaxis\(X, -1, 0\)"
    for call in (cnn.fit, cnn.partial_fit):
        with refuses(cnn, message):
            call(X, LABELS)
    with refuses(cnn, message):
        cnn.fit(np.moveaxis(X, -1, 0), LABELS, X_val=torch.from_numpy(X), y_val=LABELS)


def test_grey_volumes_are_named(refuses):
    cnn = CNNClassifier(**QUICK)
    with refuses(cnn, r"data_format=.*or spatial_dims=3 if they are grey volumes"):
        cnn.fit(RANDOM.random((N, 5, 6, 7)), LABELS)
    assert fit(RANDOM.random((N, 5, 6, 7)), spatial_dims=3).sample_shape_ == (1, 5, 6, 7)


@pytest.mark.parametrize("shape", [(22, 160), (160, 22), (12, 40)])
def test_panels_read_as_grey_images_give_a_warning(shape):
    X = RANDOM.normal(size=(N, *shape))
    with pytest.warns(UserWarning, match=rf'unusual shape.*spatial_dims=1 .*"channels_first" \({shape[0]} channels'):
        fit(X).predict(X)
    fit(X, spatial_dims=2)
    fit(X, spatial_dims=1, data_format="channels_first")
    fit(RANDOM.integers(0, 256, (N, *shape), dtype=np.uint8))  # lines of writing


def test_one_error_names_all_that_a_panel_needs(refuses):
    cnn = CNNClassifier(**QUICK)
    with refuses(cnn, r'spatial_dims=2 .*spatial_dims=1 with data_format="channels_first" \(6 channels of length 100'):
        cnn.fit(RANDOM.normal(size=(N, 6, 100)), LABELS)


CHANNELS = {
    "three for one": (PIXELS, np.repeat(PIXELS[..., None], 3, -1), lambda X: X[..., :1]),
    "one for three": (
        np.repeat(PIXELS[..., None], 3, -1),
        PIXELS,
        lambda X: np.repeat(X.reshape(-1, 8, 8, 1), 3, axis=-1),
    ),
    "four for three": (
        np.repeat(PIXELS[..., None], 3, -1),
        np.repeat(PIXELS[..., None], 4, -1),
        lambda X: X[..., :3],
    ),
}


@pytest.mark.parametrize(("fitted_on", "given", "remedy"), CHANNELS.values(), ids=CHANNELS)
def test_another_number_of_channels_has_a_remedy(fitted_on, given, remedy, refuses):
    cnn = fit(fitted_on)
    with refuses(cnn, r"X\[\.\.\., :[13]\]|np\.repeat\(X\.reshape\(-1, 8, 8, 1\), 3, axis=-1\)"):
        cnn.predict(given)
    assert_array_equal(cnn.predict(remedy(given)), cnn.predict(fitted_on))


def test_pictures_with_an_alpha_channel_of_several_sizes_have_a_remedy():
    X = [RANDOM.integers(0, 256, (5 + row % 3, 6, 4), dtype=np.uint8) for row in range(N)]
    with pytest.raises(ValueError, match=r"\[image\[:, :, :3\] for image in X\].*fromarray"):
        fit(X, image_size=8)
    fit([image[:, :, :3] for image in X], image_size=8)
    fit([Image.fromarray(image) for image in X], image_size=8)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (PIXELS / 127.5 - 1, "standardised.*pass the pixels as they were"),
        (PIXELS / 1.0, "Divide X by 255"),
        (PIXELS // 16 / 1.0, "Divide X by what white is in it, such as 15"),
    ],
    ids=["normalised", "0..255", "0..15"],
)
def test_floats_that_a_backbone_cannot_take_are_told_what_they_seem_to_be(X, message, refuses):
    features = CNNFeatures(image_size=32, backbone_weights=None)
    with refuses(features, message):
        features.fit(X)
