"""What cannot be read is named, with what to pass instead."""

import base64
import io
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from scipy import sparse

from sklcnn import CNNClassifier

N = 12
RANDOM = np.random.RandomState(0)
SIGNALS = RANDOM.normal(size=(N, 20))
PIXELS = RANDOM.randint(0, 256, (N, 8, 8)).astype(np.uint8)
LABELS = np.arange(N) % 3
QUICK = {"filters": 4, "dense_units": 4, "max_epochs": 1, "random_state": 0, "device": "cpu"}


def fit(X, **params):
    return CNNClassifier(**{**QUICK, **params}).fit(X, LABELS)


def encode(pixels, format="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


ENCODED = [encode(pixels) for pixels in PIXELS]


# Cells of dicts


def test_dicts_may_hold_bytes_in_one_row_and_a_path_in_another(tmp_path):
    path = tmp_path / "0.png"
    path.write_bytes(ENCODED[0])
    cells = [{"bytes": encoded, "path": None} for encoded in ENCODED]
    expected = fit(PIXELS).predict_proba(PIXELS)
    for missing in (None, float("nan"), b""):
        cells[0] = {"bytes": missing, "path": str(path)}
        np.testing.assert_array_equal(fit(cells).predict_proba(cells), expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda encoded: {"bytes": np.frombuffer(encoded, np.uint8)},
        lambda encoded: {"bytes": list(encoded)},
        lambda encoded: [{"bytes": encoded}],
    ],
    ids=["array", "list of numbers", "one-element list"],
)
def test_bytes_in_dicts_may_be_numbers_or_lie_in_lists(wrap):
    X = [wrap(encoded) for encoded in ENCODED]
    np.testing.assert_array_equal(fit(X).predict_proba(X), fit(PIXELS).predict_proba(PIXELS))


@pytest.mark.parametrize("cell", [{"image": PIXELS[0], "label": 1}, {"label": 1, "image": {"bytes": ENCODED[0]}}])
def test_dicts_of_samples_and_labels_are_told_apart_by_their_keys(cell):
    with pytest.raises(TypeError, match=r"dicts with the keys .*cell\['image'\] for cell in X"):
        fit([cell] * N)


def test_a_column_of_dicts_beside_others_is_named():
    X = pd.DataFrame({"image": [{"bytes": encoded} for encoded in ENCODED], "age": LABELS})
    with pytest.raises(ValueError, match=r"dicts in column 'image', beside 1 other.*ColumnTransformer"):
        fit(X)


# Pairs and data sets


@pytest.mark.parametrize(
    "samples", [list(SIGNALS), list(torch.from_numpy(SIGNALS)), ["a.png"] * N, [Image.fromarray(p) for p in PIXELS]]
)
def test_pairs_of_samples_and_labels_are_to_be_unzipped(samples):
    pairs = list(zip(samples, LABELS.tolist(), strict=True))
    with pytest.raises(TypeError, match=r"pairs of a sample and its label.*X, y = map\(list, zip\(\*X\)\)"):
        fit(pairs)


def test_x_and_y_in_one_tuple_are_to_be_passed_apart():
    with pytest.raises(TypeError, match="a pair of samples and their targets"):
        fit((SIGNALS, LABELS))


class Listed(torch.utils.data.Dataset):
    """Files of a folder a class, as torchvision lists them."""

    def __init__(self, paths):
        self.samples = [(path, label) for path, label in zip(paths, LABELS.tolist(), strict=True)]

    def __getitem__(self, row):
        return self.samples[row]


class Held(torch.utils.data.Dataset):
    """Pixels in memory, as torchvision's MNIST keeps them."""

    data, targets = torch.from_numpy(PIXELS), torch.from_numpy(LABELS)

    def __getitem__(self, row):
        return self.data[row], self.targets[row]


class Dicts(torch.utils.data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, row):
        return {"image": PIXELS[row % N], "label": LABELS[row % N]}


def test_the_remedy_for_data_sets_of_torchvision_reads_them(tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(N)]
    for path, encoded in zip(paths, ENCODED, strict=True):
        path.write_bytes(encoded)
    expected = fit(PIXELS).predict(PIXELS)
    for dataset in (Listed(paths), Held()):
        with pytest.raises(TypeError, match="a torch data set") as caught:
            fit(dataset)
        X, y = eval(re.search(r"X, y = (.*)\.$", str(caught.value))[1], {"dataset": dataset})
        np.testing.assert_array_equal(CNNClassifier(**QUICK).fit(X, y).predict(X), expected)
    with pytest.raises(TypeError) as caught:
        fit(Dicts())
    X = eval(re.search(r"one key: (.*)\.$", str(caught.value))[1], {"dataset": Dicts()})
    np.testing.assert_array_equal(X, PIXELS)


# Other kinds

KINDS = {
    "lazy table": (lambda: pl.DataFrame(SIGNALS).lazy(), r"not computed yet \(LazyFrame\).*X\.collect\(\)"),
    "set": (lambda: {1, 2}, "a set, whose samples have no order"),
    "function": (lambda: fit, "scalar array instead: X is <function fit"),
    "object": (lambda: object(), "scalar array instead: X is <object"),
    "objects": (lambda: [object()] * N, "of object objects, which are neither arrays nor images"),
    "range": (lambda: range(N), r"1D array instead: X has shape \(12,\)"),
    "records": (lambda: np.zeros(N, [("a", float)]), "structured_to_unstructured"),
    "hidden values": (lambda: np.ma.masked_array(SIGNALS, SIGNALS > 2), r"masked array.*X\.filled"),
    "hidden values of a sample": (
        lambda: [*SIGNALS[1:], np.ma.masked_equal(SIGNALS[0], SIGNALS[0, 0])],
        "masked array",
    ),
    "sparse columns": (lambda: pd.DataFrame(SIGNALS).astype("Sparse[float]"), r"X\.sparse\.to_dense\(\)"),
    "sparse": (lambda: sparse.csr_array(SIGNALS), r"\.toarray\(\)"),
    "sparse tensor": (lambda: torch.from_numpy(SIGNALS).to_sparse(), r"torch tensor.*X\.to_dense\(\)"),
    "tensor without data": (lambda: torch.empty(N, 20, device="meta"), "torch tensor that is no array"),
    "complex": (lambda: SIGNALS + 1j, r"Complex data not supported.*np\.stack\(\[X\.real, X\.imag\]"),
    "nested tensor": (
        lambda: torch.nested.nested_tensor([torch.rand(8)] * 12, layout=torch.jagged),
        r"nested.*X\.to_padded_tensor",
    ),
    "numbers as text": (lambda: pd.DataFrame(SIGNALS).astype(str), r"written as text in column 0.*X\.astype\(float\)"),
    "a picture's folder in a list": (lambda: ["."] * N, r"row 0 .*which is a folder.*rglob"),
    "a table's file": (lambda: "train.csv", r"one str, 'train\.csv'.*pandas\.read_csv\(X\)"),
    "a pattern": (lambda: "photos/*.png", r"glob\.glob\(X\)"),
    "home": (lambda: ["~/a.png"] * N, "expanduser"),
    "base64": (lambda: [base64.b64encode(encoded).decode() for encoded in ENCODED], r"base64\.b64decode\(text\)"),
    "no pixels": (lambda: [Image.new("L", (0, 0))] * N, r"row 0 a PIL image, which has no pixels"),
    "a list beside nothing": (lambda: [["a.png"], None] * 6, "misses the image of row 1"),
    "nothing": (lambda: None, "scalar array instead: X is None"),
}


@pytest.mark.parametrize(("make", "message"), KINDS.values(), ids=KINDS)
def test_what_cannot_be_read_is_named_with_a_remedy(make, message, refuses):
    cnn = fit(SIGNALS)
    for call in (lambda X: cnn.fit(X, LABELS), cnn.predict):
        with refuses(cnn, message) as caught:
            call(make())
        assert len(str(caught.value)) < 500


def test_a_picture_that_was_closed_is_named_after_it_was_decoded_too():
    for format in ("PNG", "WEBP"):
        pictures = [Image.open(io.BytesIO(encode(pixels, format))) for pixels in PIXELS]
        pictures[3].load()
        pictures[3].close()
        with pytest.raises(ValueError, match="row 3 a PIL image, whose file was closed"):
            fit(pictures)


# Texts of numbers


@pytest.mark.parametrize(
    "write",
    [
        lambda row: "|".join(map(str, row)),
        lambda row: f'"{" ".join(map(str, row))}"',
        lambda row: str(list(map(float, row / 7))),
        lambda row: repr(row / 7),
        lambda row: str(torch.tensor(row / 7)),
        lambda row: " ".join(map(str, row)).encode(),
        lambda row: " ".join(["nan", *map(str, row[1:])]),
    ],
    ids=["bars", "quotes", "long numbers", "array", "tensor", "bytes", "missing"],
)
def test_the_remedy_for_texts_of_numbers_reads_them(write):
    rows = PIXELS.reshape(N, -1)[:, :36]
    texts = [write(row) for row in rows]
    with pytest.raises(ValueError, match=r"texts of 36 numbers .*input_shape.*\(6, 6\)") as caught:
        fit(texts)
    read = eval(re.search(r"Pass (.*?), where X", str(caught.value))[1], {"np": np, "re": re, "X": texts})
    assert read.shape == (N, 36)
    seen = np.isfinite(read)
    scale = 7 if read[0, 1] < rows[0, 1] else 1
    np.testing.assert_allclose(read[seen] * scale, rows[seen], atol=1e-3)


@pytest.mark.parametrize("text", ["1 2", "0.5,2,3"])
def test_texts_of_a_few_numbers_are_values_unless_there_is_such_a_file(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"holds texts of [23] numbers"):
        CNNClassifier(max_epochs=1).fit([text] * 12, LABELS)
    Image.fromarray(PIXELS[0]).save("picture.png")
    (tmp_path / "picture.png").rename(text)
    CNNClassifier(max_epochs=1).fit([text] * 12, LABELS)


def test_a_column_of_texts_of_numbers_beside_others_is_named_at_once():
    X = pd.DataFrame({"emotion": LABELS, "pixels": [" ".join(map(str, row)) for row in PIXELS.reshape(N, -1)]})
    with pytest.raises(ValueError, match=r"column 'pixels' of X holds texts of 64 numbers"):
        fit(X)


def test_texts_that_numpy_cut_short_are_named():
    with pytest.raises(ValueError, match=r"cut short by '\.\.\.'.*tolist"):
        fit([str(np.arange(5000.0))] * N)


# Axes


@pytest.mark.parametrize(
    ("X", "remedy"),
    [
        (SIGNALS.T, r"as the last axis of X is long.*pass X\.T"),
        (np.zeros((3, N, 9, 9)), r"as axis 1 of X is long.*np\.moveaxis\(X, 1, 0\)"),
    ],
)
def test_rows_along_another_axis_are_named(X, remedy):
    with pytest.raises(ValueError, match=remedy):
        fit(X)


@pytest.mark.parametrize("shape", [(20,), (8, 8), (8, 8, 3), (5, 6, 7, 1)])
def test_one_sample_without_its_axis_is_named_at_predict(shape, refuses):
    X = RANDOM.random((N, *shape))
    cnn = fit(X)
    with refuses(cnn, r"X is one sample.*X\[None\]|1D array"):
        cnn.predict(X[0])


def test_signals_of_several_channels_and_lengths_are_no_images():
    X = [RANDOM.random((3, 40 + row)) for row in range(N)]
    with pytest.raises(ValueError, match=r"signals must be of one size.*\(3, 40\) and \(3, 41\).*Pad or cut"):
        fit(X, spatial_dims=1)


def test_panels_declared_as_images_give_no_warning():
    X = RANDOM.normal(size=(N, 22, 160))
    fit(X, image_size=16)
    fit(X.reshape(N, -1), input_shape=(22, 160))


@pytest.mark.parametrize(("axis", "remedy"), [(-1, r"X\[\.\.\., :1\]"), (1, r"X\[:, :1\]")])
def test_the_remedy_for_channels_knows_their_axis(axis, remedy, refuses):
    cnn = fit(PIXELS[..., None])
    with refuses(cnn, remedy):
        cnn.predict(np.repeat(np.expand_dims(PIXELS, axis), 3, axis=axis))


@pytest.mark.parametrize(
    ("shape", "remedy"), [((4,), "alpha channel"), ((2,), "another number"), (None, r"np\.moveaxis\(image, 0, -1\)")]
)
def test_arrays_of_several_sizes_that_are_no_images_have_a_remedy(shape, remedy):
    sizes = [(3, 5 + row % 3, 6) if shape is None else (5 + row % 3, 6, *shape) for row in range(N)]
    with pytest.raises(ValueError, match=remedy):
        fit([np.zeros(size, np.uint8) for size in sizes], image_size=8)


# Integers from 0 to 255 beside floats from 0 to 1


SCALED = PIXELS / 255
OF_BOTH = [SCALED[row] if row % 2 else PIXELS[row] for row in range(N)]
BOTH = "X must hold arrays of integers .0 to 255. or of floats, but row 0 is uint8 and row 1 is float64. Convert them"
FORMS_OF_BOTH = {
    "list": OF_BOTH,
    "tuple": tuple(OF_BOTH),
    "tensors": [torch.from_numpy(np.array(image)) for image in OF_BOTH],
    "Series": pd.Series(OF_BOTH),
    "with channels": [image[..., None] for image in OF_BOTH],
    "volumes": [np.repeat(image[..., None, None], 2, axis=2) for image in OF_BOTH],
    "several sizes": [OF_BOTH[0][:5], *OF_BOTH[1:]],
}


@pytest.mark.parametrize("X", FORMS_OF_BOTH.values(), ids=FORMS_OF_BOTH)
def test_pictures_on_two_scales_are_refused(X, refuses):
    with refuses(CNNClassifier(), BOTH):
        fit(X, image_size=8 if X is FORMS_OF_BOTH["several sizes"] else None)


@pytest.mark.parametrize("fitted", [PIXELS, SCALED, list(SCALED)], ids=["pixels", "scaled", "list"])
def test_pictures_on_two_scales_are_refused_after_fit(fitted, refuses):
    cnn = fit(fitted)
    with refuses(cnn, BOTH):
        cnn.predict(OF_BOTH)
    with refuses(cnn, f"^Validation rows .*{BOTH}"):
        cnn.fit(fitted, LABELS, X_val=OF_BOTH, y_val=LABELS)


@pytest.mark.parametrize(
    "X",
    [
        [image.astype([np.uint8, np.int64, np.uint16][row % 3]) for row, image in enumerate(PIXELS)],
        [image.astype([np.float32, np.float64][row % 2]) for row, image in enumerate(SCALED)],
        [(SCALED[row] if row % 2 else PIXELS[row]).tolist() for row in range(N)],
        [signal if row % 2 else signal.astype(int) for row, signal in enumerate(SIGNALS)],
    ],
    ids=["integers", "floats", "lists", "signals"],
)
def test_numbers_of_one_kind_and_signals_of_any_may_come_in_one_list(X):
    assert_array_equal(fit(X).predict_proba(X), fit(np.array(X)).predict_proba(np.array(X)))


# Channels first


def test_arrays_of_several_sizes_have_their_channels_where_data_format_says(refuses):
    sizes = [(5 + row % 3, 6) for row in range(N)]
    last = [RANDOM.randint(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    first = [np.moveaxis(image, -1, 0) for image in last]
    expected, cnn = fit(last, image_size=8), fit(first, image_size=8, data_format="channels_first")
    assert_array_equal(cnn.predict_proba(first), expected.predict_proba(last))
    assert_array_equal(cnn.predict_proba(last), expected.predict_proba(last))  # which can be nothing else
    alike = first[::3]  # of one size
    assert_array_equal(cnn.predict_proba(alike), expected.predict_proba(last[::3]))
    assert_array_equal(cnn.predict_proba(np.stack(alike)), expected.predict_proba(last[::3]))
    with refuses(CNNClassifier(), "Move the channels to the last axis"):
        fit(first, image_size=8, data_format="channels_last")
