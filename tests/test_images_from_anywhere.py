"""The same pixels fit and predict alike, whatever form they come in; what cannot be read is named."""

import io
import itertools
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline

from sklcnn import CNNClassifier, CNNRegressor

N = 24
QUICK = {"filters": 4, "dense_units": 8, "max_epochs": 2, "batch_size": 8, "random_state": 0}
LABELS = np.array(["cat", "dog", "owl"])[np.arange(N) % 3]
VALUES = np.arange(N) * 3.5 - 7


def draw_pixels(shape, seed=0):
    """Random pictures whose upper half is brighter in every second class."""
    pixels = np.random.default_rng(seed).integers(0, 200, (N, *shape), dtype=np.uint8)
    pixels[np.arange(N) % 3 == 1, : shape[0] // 2] += 55
    pixels.flags.writeable = False
    return pixels


GREY = draw_pixels((8, 8))
COLOUR = draw_pixels((8, 8, 3))


def save(pixels, folder, suffix="png"):
    """Write pictures as files, one set of pixels once; list their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i:02d}.{suffix}" for i in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    return [str(path) for path in paths]


def encode(picture, format="PNG"):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format)
    return file.getvalue()


def as_objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def as_memmap(pixels, folder):
    np.save(folder / "pixels.npy", pixels)
    return np.load(folder / "pixels.npy", mmap_mode="r")


def with_channels_first(pixels, folder):
    return np.ascontiguousarray(pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, -1, 1))


def as_frame(pixels, dtype):
    flat = pixels.reshape(len(pixels), -1)
    return pd.DataFrame(flat, columns=[f"pixel{i}" for i in range(flat.shape[1])]).astype(dtype)


SHAPED = {
    "array": lambda pixels, folder: pixels,
    "int64 array": lambda pixels, folder: pixels.astype(np.int64),
    "array in Fortran's order": lambda pixels, folder: np.asfortranarray(pixels),
    "array seen backwards": lambda pixels, folder: pixels[::-1].copy()[::-1],
    "channels last": lambda pixels, folder: pixels.reshape(N, 8, 8, -1),
    "channels first": with_channels_first,
    "memory map": as_memmap,
    "tensor": lambda pixels, folder: torch.from_numpy(pixels.copy()),
    "list of arrays": lambda pixels, folder: list(pixels),
    "list of tensors": lambda pixels, folder: list(torch.from_numpy(pixels.copy())),
    "nested list": lambda pixels, folder: pixels.tolist(),
}
# Floats are not rounded to whole numbers where they are resized.
FLOATS = {
    "float32 array": lambda pixels, folder: pixels.astype(np.float32),
    "float64 array": lambda pixels, folder: pixels.astype(np.float64),
}
FLAT = {
    "flat array": lambda pixels, folder: pixels.reshape(N, -1),
    "int64 columns": lambda pixels, folder: as_frame(pixels, np.int64),
    "uint8 columns": lambda pixels, folder: as_frame(pixels, np.uint8),
    "nullable columns": lambda pixels, folder: as_frame(pixels, "UInt8"),
    "Arrow columns": lambda pixels, folder: as_frame(pixels, "uint8[pyarrow]"),
    "polars columns": lambda pixels, folder: pl.from_pandas(as_frame(pixels, np.uint8)),
}
PICTURES = {
    "paths in a list": save,
    "paths in a tuple": lambda pixels, folder: tuple(save(pixels, folder)),
    "pathlib paths": lambda pixels, folder: list(map(Path, save(pixels, folder))),
    "paths in a Series": lambda pixels, folder: pd.Series(save(pixels, folder), index=range(5, N + 5)),
    "paths in a column": lambda pixels, folder: pd.DataFrame({"file": save(pixels, folder)}),
    "paths in an Arrow column": lambda pixels, folder: pd.DataFrame(
        {"file": save(pixels, folder)}, dtype="string[pyarrow]"
    ),
    "paths in a polars column": lambda pixels, folder: pl.DataFrame({"file": save(pixels, folder)}),
    "paths in an array": lambda pixels, folder: np.array(save(pixels, folder)),
    "paths in an array of objects": lambda pixels, folder: as_objects(save(pixels, folder))[:, None],
    "WebP, BMP and TIFF files": lambda pixels, folder: [
        save(pixels, folder, suffix)[i] for i, suffix in zip(range(N), itertools.cycle(("bmp", "tiff", "png")))
    ],
    "bytes": lambda pixels, folder: list(map(encode, pixels)),
    "bytes in a column": lambda pixels, folder: pd.DataFrame({"file": list(map(encode, pixels))}),
    "PIL images": lambda pixels, folder: list(map(Image.fromarray, pixels)),
    "PIL images in an array": lambda pixels, folder: as_objects(list(map(Image.fromarray, pixels))),
}
FORMS = SHAPED | FLAT | PICTURES


def make_cnn(pixels=GREY, **params):
    # A shape is said in each case: it is what a form that has one agrees with, and what flat rows need.
    return CNNClassifier(input_shape=pixels.shape[1:], **QUICK | params)


def without_shape(**params):
    return CNNClassifier(**QUICK | params)


# The same pixels


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("form", FORMS | FLOATS)
def test_the_same_pixels_train_the_same_network_in_every_form(form, pixels, tmp_path):
    cnn = without_shape() if form not in FLAT else make_cnn(pixels)
    X = (FORMS | FLOATS)[form](pixels, tmp_path)
    expected = without_shape().fit(pixels, LABELS).predict_proba(pixels)
    assert_array_equal(cnn.fit(X, LABELS).predict_proba(X), expected)


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_pixels_are_resized_alike_in_every_form(form, pixels, tmp_path):
    cnn = make_cnn(pixels, image_size=(5, 6), max_epochs=1)
    if form not in FLAT:
        cnn.set_params(input_shape=None)
    X = FORMS[form](pixels, tmp_path)
    expected = without_shape(image_size=(5, 6), max_epochs=1).fit(pixels, LABELS).predict_proba(pixels)
    assert_array_equal(cnn.fit(X, LABELS).predict_proba(X), expected)


def slow(*forms):
    return [pytest.param(form, marks=pytest.mark.slow) for form in forms]


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
@pytest.mark.parametrize("form", ["array", "paths in a column", *slow("channels first", "uint8 columns", "PIL images")])
def test_a_network_predicts_from_every_form_whatever_the_form_it_was_fitted_on(form, tmp_path):
    cnn = make_cnn().fit(FORMS[form](GREY, tmp_path), LABELS)
    expected = cnn.predict_proba(FORMS[form](GREY, tmp_path))
    for other in FORMS | FLOATS:
        assert_array_equal(cnn.predict_proba((FORMS | FLOATS)[other](GREY, tmp_path)), expected, err_msg=other)


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
@pytest.mark.parametrize("form", ["channels first", "bytes", *slow("array", "int64 columns", "paths in a column")])
def test_validation_rows_may_have_any_form_whatever_that_of_the_training_rows(form, tmp_path):
    validation, folder = draw_pixels((8, 8), seed=1), tmp_path / "validation"
    folder.mkdir()
    X = FORMS[form](GREY, tmp_path)
    expected = make_cnn(max_epochs=1).fit(GREY, LABELS, X_val=validation, y_val=LABELS).history_["val_loss"]
    for other in FORMS:
        cnn = make_cnn(max_epochs=1).fit(X, LABELS, X_val=FORMS[other](validation, folder), y_val=LABELS)
        assert_array_equal(cnn.history_["val_loss"], expected, err_msg=other)


@pytest.mark.parametrize("n_jobs", [1, 2, 5, -1])
@pytest.mark.parametrize("image_size", [None, 6])
def test_the_number_of_decoding_threads_changes_nothing(n_jobs, image_size, tmp_path):
    paths = save(COLOUR, tmp_path)
    alone = without_shape(image_size=image_size, n_jobs=None).fit(paths, LABELS).predict_proba(paths)
    several = without_shape(image_size=image_size, n_jobs=n_jobs).fit(paths, LABELS).predict_proba(paths)
    assert_array_equal(several, alone)


@pytest.mark.parametrize("image_size", [8, (5, 9)])
def test_pictures_of_differing_sizes_are_those_of_one_size_once_resized(image_size, tmp_path):
    large = [np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1) for picture in COLOUR[::2]]
    mixed = [large[i // 2] if i % 2 == 0 else picture for i, picture in enumerate(COLOUR)]
    cnn = without_shape(image_size=image_size)
    forms = [mixed, list(map(Image.fromarray, mixed)), save(mixed, tmp_path)]
    first, *others = [clone(cnn).fit(X, LABELS).predict_proba(X) for X in forms]
    for other in others:
        assert_array_equal(other, first)


def test_a_regressor_reads_files_too(tmp_path):
    cnn = CNNRegressor(**QUICK)
    paths = pd.Series(save(COLOUR, tmp_path))
    assert_array_equal(clone(cnn).fit(paths, VALUES).predict(paths), clone(cnn).fit(COLOUR, VALUES).predict(COLOUR))


@pytest.mark.parametrize("form", ["paths in a column", "uint8 columns", "PIL images", "memory map"])
@pytest.mark.parametrize("options", [{}, {"refit_full": True}, {"scoring": "accuracy"}], ids=str)
def test_rows_are_held_out_of_every_form_alike(form, options, tmp_path):
    cnn = make_cnn(early_stopping=True, validation_fraction=0.25, **options)
    X = FORMS[form](GREY, tmp_path)
    expected, found = clone(cnn).fit(GREY, LABELS), clone(cnn).fit(X, LABELS)
    columns = ["train_loss", "val_loss", "val_score"]
    assert_array_equal(found.history_[columns], expected.history_[columns])
    assert_array_equal(found.predict_proba(X), expected.predict_proba(GREY))


def test_a_callable_scorer_is_given_the_held_out_paths(tmp_path):
    paths = pd.DataFrame({"file": save(GREY, tmp_path)})
    seen = []

    def score(cnn, X, y):
        seen.extend(X["file"])
        return cnn.score(X, y)

    without_shape(early_stopping=True, scoring=score, max_epochs=1).fit(paths, LABELS)
    assert set(seen) < set(paths["file"])


# Weights


@pytest.mark.parametrize("form", ["paths in a column", "bytes", "PIL images"])
def test_pictures_of_weight_0_are_as_if_they_were_not_there(form, tmp_path):
    X = FORMS[form](GREY, tmp_path)
    weights = np.arange(N) % 4
    kept = np.flatnonzero(weights)
    some = X.iloc[kept] if hasattr(X, "iloc") else [X[i] for i in kept]
    with_zeros = without_shape().fit(X, LABELS, sample_weight=weights)
    without = without_shape().fit(some, LABELS[kept], sample_weight=weights[kept])
    assert_array_equal(with_zeros.predict_proba(X), without.predict_proba(X))


@pytest.mark.parametrize("fault", ["missing", "empty", "coloured", "of another size"])
def test_a_picture_of_weight_0_may_be_anything(fault, tmp_path):
    paths = save(GREY, tmp_path)
    expected = without_shape().fit(paths[1:], LABELS[1:], X_val=paths[1:], y_val=LABELS[1:])
    other = {
        "missing": lambda: Path(paths[0]).unlink(),
        "empty": lambda: Path(paths[0]).write_bytes(b""),
        "coloured": lambda: Image.fromarray(COLOUR[0]).save(paths[0]),
        "of another size": lambda: Image.new("L", (3, 4)).save(paths[0]),
    }
    other[fault]()
    weights = np.ones(N)
    weights[0] = 0
    arguments = {"sample_weight": weights, "X_val": paths, "y_val": LABELS, "sample_weight_val": weights}
    found = without_shape().fit(paths, LABELS, **arguments)
    assert_array_equal(found.history_["val_loss"], expected.history_["val_loss"])
    assert_array_equal(found.predict_proba(paths[1:]), expected.predict_proba(paths[1:]))


# scikit-learn around it


def table_of(paths):
    return pd.DataFrame({"price": np.arange(N) * 1.0, "file": paths, "shop": ["a", "b"] * (N // 2)})


def behind_a_column_transformer(cnn):
    return Pipeline([("choose", ColumnTransformer([("file", "passthrough", ["file"])])), ("cnn", cnn)])


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_a_column_transformer_chooses_the_column_of_paths(output, tmp_path):
    paths = save(GREY, tmp_path)
    pipeline = behind_a_column_transformer(without_shape()).set_output(transform=output)
    found = pipeline.fit(table_of(paths), LABELS).predict_proba(table_of(paths))
    assert_array_equal(found, without_shape().fit(paths, LABELS).predict_proba(paths))


@pytest.mark.slow
def test_a_search_over_a_table_with_paths_gives_in_processes_what_it_gives_in_one(tmp_path):
    table = table_of(save(GREY, tmp_path))
    grid = {"cnn__image_size": [6, 8]}
    searches = [
        GridSearchCV(behind_a_column_transformer(without_shape(max_epochs=1)), grid, cv=2, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    alone, together = [search.fit(table, LABELS) for search in searches]
    assert_array_equal(together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert_array_equal(together.predict_proba(table), alone.predict_proba(table))


@pytest.mark.parametrize(
    "form", ["paths in a list", "paths in a Series", "bytes in a column", "PIL images", "int64 columns"]
)
def test_cross_validation_slices_every_form_alike(form, tmp_path):
    expected = cross_val_predict(make_cnn(), GREY, LABELS, cv=2, method="predict_proba")
    found = cross_val_predict(make_cnn(), FORMS[form](GREY, tmp_path), LABELS, cv=2, method="predict_proba")
    assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["paths in a column", "bytes", "PIL images", "Arrow columns"])
def test_a_pickled_network_predicts_the_same_bits(form, tmp_path):
    X = FORMS[form](COLOUR, tmp_path)
    cnn = make_cnn(COLOUR).fit(X, LABELS)
    assert_array_equal(pickle.loads(pickle.dumps(cnn)).predict_proba(X), cnn.predict_proba(X))


def test_a_pickled_network_holds_no_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (N, 48, 48), dtype=np.uint8)
    small = {"stride": 8, "max_epochs": 1}
    for X in (noise, save(noise, tmp_path), list(map(Image.fromarray, noise))):
        assert len(pickle.dumps(without_shape(**small).fit(X, LABELS))) < noise.nbytes


# What is remembered of a form


def test_the_colour_mode_of_fit_is_kept(tmp_path):
    grey, colour = save(GREY, tmp_path / "grey"), save(COLOUR, tmp_path / "colour")
    luma = [np.asarray(Image.fromarray(picture).convert("L")) for picture in COLOUR]
    cnn = without_shape().fit(grey, LABELS)
    assert cnn.sample_shape_ == (1, 8, 8)
    assert_array_equal(cnn.predict_proba(colour), cnn.predict_proba(luma))
    cnn = without_shape().fit(colour, LABELS)
    assert cnn.sample_shape_ == (3, 8, 8)
    assert_array_equal(cnn.predict_proba(grey), cnn.predict_proba(np.stack([GREY] * 3, axis=-1)))


def test_one_coloured_picture_makes_all_of_them_coloured(tmp_path):
    paths = save([*GREY[:-1], COLOUR[-1]], tmp_path)
    assert without_shape(max_epochs=1).fit(paths, LABELS).sample_shape_ == (3, 8, 8)


@pytest.mark.parametrize("as_one", [Image.fromarray, encode, np.asarray, torch.tensor])
@pytest.mark.parametrize("fitted", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("given", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_list_of_one_picture_is_predicted_as_among_others(as_one, fitted, given, tmp_path):
    cnn = without_shape().fit(save(fitted, tmp_path), LABELS)
    among_others = cnn.predict_proba(list(map(Image.fromarray, given)))
    found = cnn.predict_proba([as_one(given[3])])
    np.testing.assert_allclose(found, among_others[3:4], rtol=1e-5)  # of another batch size


def test_arrays_of_one_size_and_of_several_are_resized_alike_after_pictures(tmp_path):
    cnn = without_shape(image_size=6).fit(save(GREY, tmp_path), LABELS)
    coloured = list(COLOUR)
    assert_array_equal(cnn.predict(coloured), cnn.predict([*coloured, np.zeros((4, 9), np.uint8)])[:-1])


def test_the_columns_of_pixels_are_remembered():
    X = as_frame(GREY, np.uint8)
    cnn = make_cnn().fit(X, LABELS)
    assert cnn.n_features_in_ == 64
    assert_array_equal(cnn.feature_names_in_, X.columns)


def test_a_column_of_paths_is_remembered(tmp_path):
    X = pd.DataFrame({"file": save(GREY, tmp_path)})
    cnn = without_shape().fit(X, LABELS)
    assert cnn.n_features_in_ == 1
    assert_array_equal(cnn.feature_names_in_, ["file"])


FRAMES = ["int64 columns", "Arrow columns", "polars columns"]
CHANGES = {
    "order": lambda X: X[list(X.columns)[::-1]],
    "number": lambda X: X[list(X.columns)[1:]],
    "name": lambda X: type(X)(
        {name.replace("pixel7", "other").replace("file", "other"): X[name] for name in X.columns}
    ),
}
CALLS = {
    "predict": lambda cnn, X, other: cnn.fit(X, LABELS).predict(other),
    "X_val": lambda cnn, X, other: cnn.fit(X, LABELS, X_val=other, y_val=LABELS),
    "warm start": lambda cnn, X, other: cnn.fit(X, LABELS).set_params(warm_start=True).fit(other, LABELS),
    "partial_fit": lambda cnn, X, other: cnn.partial_fit(X, LABELS).partial_fit(other, LABELS),
}


@pytest.mark.parametrize(
    ("form", "change"),
    [*itertools.product(FRAMES, CHANGES), ("paths in a column", "name"), ("bytes in a column", "name")],
)
@pytest.mark.parametrize("call", CALLS)
def test_columns_of_other_names_or_in_another_order_are_an_error(form, change, call, tmp_path):
    X = FORMS[form](GREY, tmp_path)
    with pytest.raises(ValueError, match="feature names should match"):
        CALLS[call](make_cnn(max_epochs=1), X, CHANGES[change](X))


def test_columns_without_names_get_scikit_learns_warning():
    X = as_frame(GREY, np.uint8)
    cnn = make_cnn().fit(X, LABELS)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        cnn.predict(X.to_numpy())


# What cannot be read


@pytest.mark.parametrize("dtype", ["float64", "Int64", "float64[pyarrow]", "int64[pyarrow]", "polars"])
def test_a_missing_pixel_is_an_error(dtype):
    X = as_frame(GREY, np.int64)
    if dtype == "polars":
        X = pl.from_pandas(X).with_columns(pixel7=pl.lit(None, pl.Int64))
    else:
        X = X.astype(dtype)
        X.iloc[5, 7] = None
    with pytest.raises(ValueError, match=r"NaN|missing|null"):
        make_cnn().fit(X, LABELS)


@pytest.mark.parametrize("fault", ["missing", "empty", "text", "folder"])
@pytest.mark.parametrize("when", ["fit", "predict", "X_val"])
def test_a_bad_file_is_named_with_its_row_before_training(fault, when, tmp_path):
    paths = save(GREY, tmp_path)
    bad = tmp_path / "bad.png"
    if fault == "folder":
        bad.mkdir()
    elif fault != "missing":
        bad.write_bytes(b"" if fault == "empty" else b"no picture at all")
    X = [*paths[:5], str(bad), *paths[6:]]
    cnn = without_shape().fit(paths, LABELS)
    before = cnn.net_
    with pytest.raises(ValueError, match=r"row 5 the image file '.*bad\.png'"):
        if when == "fit":
            cnn.fit(X, LABELS)
        elif when == "predict":
            cnn.predict(X)
        else:
            cnn.fit(paths, LABELS, X_val=X, y_val=LABELS)
    assert cnn.net_ is before


def test_a_truncated_file_is_named_with_its_row_and_leaves_the_network_as_it_was(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (N, 30, 30), dtype=np.uint8)
    paths = save(noise, tmp_path)
    cnn = without_shape().fit(noise, LABELS)
    before = cnn.predict_proba(noise)
    Path(paths[7]).write_bytes(Path(paths[7]).read_bytes()[:400])
    with pytest.raises(ValueError, match=r"row 7 the image file '.*07\.png'"):
        cnn.fit(paths, LABELS)
    assert_array_equal(cnn.predict_proba(noise), before)


def test_differing_sizes_name_image_size(tmp_path):
    Image.new("L", (9, 7)).save(tmp_path / "other.png")
    with pytest.raises(ValueError, match=r"row 24 has 7 x 9.*Pass image_size"):
        without_shape().fit([*save(GREY, tmp_path), tmp_path / "other.png"], [*LABELS, "cat"])


def test_pictures_of_another_size_than_those_of_fit_are_an_error(tmp_path):
    cnn = without_shape().fit(save(GREY, tmp_path), LABELS)
    with pytest.raises(ValueError, match=r"\(1, 7, 9\).*fitted on samples of shape \(1, 8, 8\)"):
        cnn.predict([Image.new("L", (9, 7))])


def test_paths_beside_other_columns_point_to_the_column_transformer(tmp_path):
    table = table_of(save(GREY, tmp_path))
    with pytest.raises(ValueError, match=r"column 'file', beside 2 other.*ColumnTransformer"):
        without_shape().fit(table, LABELS)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_path_names_its_row(missing, tmp_path):
    paths = save(GREY, tmp_path)
    with pytest.raises(ValueError, match="misses the image of row 3"):
        without_shape().fit(pd.Series([*paths[:3], missing, *paths[4:]], dtype=object), LABELS)


def test_kinds_of_pictures_do_not_mix(tmp_path):
    paths = save(GREY, tmp_path)
    with pytest.raises(TypeError, match="row 0 is of paths and row 23 of PIL images"):
        without_shape().fit([*paths[:-1], Image.fromarray(GREY[-1])], LABELS)


@pytest.mark.parametrize(
    "one", [Image.fromarray(GREY[0]), "picture.png", encode(GREY[0])], ids=["PIL", "path", "bytes"]
)
def test_one_picture_that_is_not_in_a_list_is_an_error(one):
    with pytest.raises(TypeError, match="Pass a list"):
        without_shape().fit(GREY, LABELS).predict(one)


def test_flat_rows_after_pictures_need_input_shape(tmp_path):
    cnn = without_shape().fit(save(GREY, tmp_path), LABELS)
    with pytest.raises(ValueError, match=r"fitted on samples of shape \(8, 8, 1\)"):
        cnn.predict(GREY.reshape(N, -1))


def test_an_input_shape_that_pictures_do_not_have_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"input_shape=\(6, 6\).*pictures of shape \(8, 8\)"):
        without_shape(input_shape=(6, 6)).fit(save(GREY, tmp_path), LABELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("fitted", [np.uint8, np.int64, np.float64])
@pytest.mark.parametrize("value", [200, 300, -1, 0.7])
def test_a_constant_picture_is_resized_to_itself_whatever_the_numbers_of_fit(fitted, dtype, value):
    cnn = without_shape(image_size=5, max_epochs=1).fit(GREY.astype(fitted), LABELS)
    large, small = (np.full((2, side, side), value).astype(dtype) for side in (8, 5))
    np.testing.assert_allclose(cnn.predict_proba(large), cnn.predict_proba(small), rtol=1e-4)
