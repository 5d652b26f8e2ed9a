"""Image files, bytes, PIL images and ragged arrays are read alike, once, and within bounds."""

import gc
import io
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image, ImageOps

from sklcnn.data.pictures import pixels as pictures_pixels
from sklcnn.data.pictures import sources
from sklcnn.data.pictures.cache import ENTRY_BYTES, IMAGE_CACHE, ImageCache
from sklcnn.data.pictures.columns import image_sources
from sklcnn.data.pictures.resizing import resize_images
from sklcnn.data.pictures.store import ImageStore

pytestmark = pytest.mark.filterwarnings("error")

EVERYTHING = slice(None)
PHOTO_BYTES = 12 * 10 * 3


@pytest.fixture(autouse=True)
def empty_cache():
    IMAGE_CACHE.clear()


@pytest.fixture
def photos():
    """Six RGB pictures of 12 x 10 pixels."""
    return np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)


@pytest.fixture
def paths(photos, tmp_path):
    """The photos as PNG files."""
    return [save(Image.fromarray(photo), tmp_path / f"{i}.png") for i, photo in enumerate(photos)]


def save(image, path, **options):
    image.save(path, **options)
    return str(path)


def encode(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def read(images, dtype=torch.uint8, **options):
    return ImageStore(images, **options).batch(EVERYTHING, dtype)


def pixels_of(image, **options):
    """Read one image back as an array (h, w, c)."""
    return read([image], **options)[0].movedim(0, -1).numpy()


def image_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sklcnn-images")]


# Which forms of X are images

COLUMNS = {
    "list": list,
    "tuple": tuple,
    "nested list": lambda values: [[value] for value in values],
    "object array": lambda values: np.array(values, dtype=object),
    "object array (n, 1)": lambda values: np.array(values, dtype=object)[:, None],
    "Series of objects": lambda values: pd.Series(values, dtype=object),
    "DataFrame of objects": lambda values: pd.DataFrame({"file": pd.Series(values, dtype=object)}),
    "indexed Series": lambda values: pd.Series(values, index=range(5, 5 + len(values)), dtype=object),
    "polars Series": pl.Series,
    "polars DataFrame": lambda values: pl.DataFrame({"file": values}),
}

STRING_COLUMNS = {
    "string array": np.array,
    "string array (n, 1)": lambda values: np.array(values)[:, None],
    "string Series": lambda values: pd.Series(values, dtype="string"),
    "Arrow string Series": lambda values: pd.Series(values, dtype="string[pyarrow]"),
    "categories": lambda values: pd.Series(values, dtype="category"),
    "default DataFrame": lambda values: pd.DataFrame({"file": values}),
}
if hasattr(np.dtypes, "StringDType"):  # NumPy's from 2.0 on
    STRING_COLUMNS["variable-width strings"] = lambda values: np.array(values, dtype=np.dtypes.StringDType())


@pytest.mark.parametrize("form", [*COLUMNS, *STRING_COLUMNS])
def test_a_column_of_paths_in_any_form_lists_the_paths(form):
    values = ["a.png", "folder/b.jpg", "c.webp"]
    assert image_sources((COLUMNS | STRING_COLUMNS)[form](values)) == values


@pytest.mark.parametrize("form", COLUMNS)
def test_a_column_of_encoded_bytes_in_any_form_lists_the_bytes(form):
    values = [b"\x89PNG", b"\xff\xd8", b"RIFF\0"]
    assert image_sources(COLUMNS[form](values)) == values


def test_arrow_backed_binary_columns_list_the_bytes():
    pyarrow = pytest.importorskip("pyarrow")
    values = [b"\x89PNG", b"RIFF\0"]
    column = pd.Series(values, dtype=pd.ArrowDtype(pyarrow.binary()))
    assert image_sources(column) == values
    assert image_sources(column.to_frame()) == values


def test_pathlib_paths_are_images():
    assert image_sources([Path("a.png"), Path("b.png")]) == [Path("a.png"), Path("b.png")]


def test_pil_images_are_images(photos):
    images = [Image.fromarray(photo) for photo in photos]
    assert image_sources(images) == images
    assert image_sources(pd.Series(images)) == images


def test_arrays_of_differing_size_are_images(photos):
    arrays = [photos[0], photos[1][:7], photos[2][:, :, 0]]
    assert image_sources(arrays) == arrays


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((2, 4)),
        np.zeros((2, 4), dtype=object),
        np.zeros((2, 4, 4, 1), dtype=np.uint8),
        torch.zeros(2, 4),
        [torch.zeros(1, 4, 4)] * 2,
        [1, 2],
        [[1, 2], [3, 4]],
        [np.zeros(4), np.zeros(5)],
        [np.zeros((4, 4)), np.zeros((4, 4))],
        pd.Series([1, 2]),
        pd.Series([None, None]),
        pd.DataFrame(np.zeros((2, 4))),
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([1.5, 2], dtype="float64[pyarrow]")}),
        pd.DataFrame({"a": np.array([1, 2], dtype=object), "b": [1, 2]}),
        pl.DataFrame({"a": [1, 2], "b": [True, False]}),
        pl.Series([1.5, 2]),
        None,
    ],
    ids=lambda X: type(X).__name__,
)
def test_numbers_are_left_to_the_reader_of_arrays(X):
    assert image_sources(X) is None


def test_a_memory_map_is_left_to_the_reader_of_arrays(tmp_path):
    assert image_sources(np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(2, 4, 4))) is None


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"age": [1, 2], "file": ["a.png", "b.png"]}),
        pd.DataFrame({"age": [1, 2], "file": [None, b"\x89PNG"]}),
        pl.DataFrame({"age": [1, 2], "file": ["a.png", "b.png"]}),
    ],
    ids=["pandas paths", "pandas bytes", "polars"],
)
def test_paths_beside_other_columns_point_to_the_column_transformer(frame):
    with pytest.raises(ValueError, match=r"column 'file', beside 1 other .*ColumnTransformer"):
        image_sources(frame)


@pytest.mark.parametrize(
    "X",
    [np.array([["a.png", "1"], ["b.png", "2"]]), np.array([["a.png", 1]], dtype=object), [["a.png", "1"]]],
    ids=["strings", "objects", "list"],
)
def test_paths_in_a_wider_array_are_refused(X):
    with pytest.raises(ValueError, match="beside 1 other column"):
        image_sources(X)


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_a_missing_path_is_named_by_its_row(missing):
    with pytest.raises(ValueError, match="misses the image of row 1"):
        image_sources(["a.png", missing, "b.png"])


@pytest.mark.parametrize("dtype", ["string", "string[pyarrow]", object])
def test_a_missing_path_in_a_series_is_named_by_its_row(dtype):
    with pytest.raises(ValueError, match="misses the image of row 0"):
        image_sources(pd.Series([None, "b.png"], dtype=dtype))


@pytest.mark.parametrize("other", [3, np.zeros((4, 4)), Image.new("L", (4, 4)), ["b.png"]])
def test_mixed_kinds_are_a_type_error_that_names_the_row(other):
    with pytest.raises(TypeError, match=r"row 0 is of paths and row 2 of"):
        image_sources(["a.png", "b.png", other])


@pytest.mark.parametrize(
    "X", [[], (), np.array([], dtype=str), pd.Series([], dtype=object), pl.Series([], dtype=pl.String)]
)
def test_no_rows_are_an_error(X):
    with pytest.raises(ValueError, match="0 sample"):
        image_sources(X)


@pytest.mark.parametrize("X", ["a.png", Path("a.png"), b"\x89PNG", Image.new("L", (4, 4))])
def test_one_image_alone_is_a_type_error(X):
    with pytest.raises(TypeError, match="several images"):
        image_sources(X)


def test_byte_string_arrays_are_refused_because_numpy_cuts_zeros():
    with pytest.raises(TypeError, match="trailing zeros"):
        image_sources(np.array([b"\x89PNG", b"RIFF\0"]))


# The same pixels, in every form


@pytest.mark.parametrize("size", [None, (7, 9), (20, 16)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
def test_the_same_pixels_give_the_same_bits_in_every_form(photos, paths, size, dtype):
    expected = torch.from_numpy(photos).movedim(-1, 1)
    expected = (expected if size is None else resize_images(expected, size)).to(dtype)
    forms = {
        "paths": paths,
        "bytes": [Path(path).read_bytes() for path in paths],
        "WebP": [encode(Image.fromarray(photo), "WEBP", lossless=True) for photo in photos],
        "PIL": [Image.fromarray(photo) for photo in photos],
        "opened": [Image.open(path) for path in paths],
        "arrays": list(photos),
    }
    for name, images in forms.items():
        assert torch.equal(read(images, dtype, image_size=size), expected), name


def test_batches_are_channels_last_in_memory(paths):
    images = read(paths, torch.float32, image_size=(1, 5), mode="L")
    assert images.shape == (6, 1, 1, 5)
    assert images.movedim(1, -1).stride() == (5, 5, 1, 1)


def test_rows_are_a_tensor_or_a_slice(paths):
    store = ImageStore(paths)
    assert torch.equal(store.batch(torch.tensor([3, 1]), torch.uint8), store.batch(slice(3, 0, -2), torch.uint8))


def test_a_store_knows_its_length_and_sample_shape(paths):
    store = ImageStore(paths, image_size=(4, 5))
    assert (len(store), store.sample_shape, store.integer) == (6, (3, 4, 5), True)
    assert ImageStore(paths).sample_shape == (3, 12, 10)


def test_differing_sizes_without_image_size_are_named(paths, tmp_path):
    other = save(Image.new("RGB", (10, 11)), tmp_path / "other.png")
    with pytest.raises(ValueError, match=r"row 0 has 12 x 10 .* row 6 has 11 x 10\. Pass image_size"):
        ImageStore([*paths, other])


def test_differing_sizes_are_squashed_to_image_size(photos):
    images = read([photos[0], photos[1][:5]], image_size=(8, 8))
    alone = resize_images(torch.from_numpy(photos[1][:5]).movedim(-1, 0)[None], (8, 8))
    assert torch.equal(images[1:], alone)


def test_float_arrays_keep_their_values(photos):
    arrays = [photos[0] / 255, photos[1] / 255]
    store = ImageStore(arrays)
    assert not store.integer
    np.testing.assert_array_equal(store.batch(slice(1), torch.float32)[0].movedim(0, -1), arrays[0].astype(np.float32))


def test_read_only_and_mirrored_arrays_are_resized(photos):
    photos.flags.writeable = False
    assert read(list(photos), image_size=(4, 4)).shape == (6, 3, 4, 4)
    mirrored = read([photo[:, ::-1] for photo in photos], image_size=(4, 4))
    assert torch.equal(mirrored, read([photo[:, ::-1].copy() for photo in photos], image_size=(4, 4)))


@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 8, 8), (0, 5)])
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"row 1 an array, which has"):
        ImageStore([np.zeros((4, 4), np.uint8), np.zeros(shape, np.uint8)], image_size=(4, 4))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1j])
def test_arrays_with_unusable_values_are_refused(value):
    with pytest.raises(ValueError, match=r"row 1 an array, which has"):
        ImageStore([np.zeros((4, 4)), np.full((4, 5), value)], image_size=(4, 4))


def test_arrays_of_integers_and_of_floats_do_not_mix():
    with pytest.raises(ValueError, match=r"row 1 is uint8 and row 0 is float"):
        ImageStore([np.zeros((4, 4)), np.zeros((4, 5), np.uint8)], image_size=(4, 4))


# Formats, colours and orientation


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_formats_keep_their_pixels(photos, format, mode):
    image = Image.fromarray(photos[0] // 52 * 51).quantize(100).convert(mode)  # few enough colours for a GIF
    content = encode(image, format, **({"lossless": True} if format == "WEBP" else {}))
    np.testing.assert_array_equal(pixels_of(content, mode=mode), np.asarray(image).reshape(12, 10, -1))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_files_bytes_and_pil_images_give_the_same_bits(photos, tmp_path, mode, options):
    image = Image.fromarray(photos[0]).convert(mode)
    path = save(image, tmp_path / "photo.jpg", **options)
    pixels = pixels_of(path)
    np.testing.assert_array_equal(pixels, pixels_of(Path(path).read_bytes()))
    np.testing.assert_array_equal(pixels, pixels_of(Image.open(path)))


def test_palettes_are_looked_up(photos):
    image = Image.fromarray(photos[0]).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels_of(encode(image, "PNG")), expected)
    np.testing.assert_array_equal(pixels_of(image), expected)


def test_black_and_white_is_grey():
    image = Image.fromarray(np.eye(8, dtype=bool))
    np.testing.assert_array_equal(pixels_of(encode(image, "PNG"))[:, :, 0], 255 * np.eye(8))


def test_of_several_frames_the_first_counts(photos):
    frames = [Image.fromarray(photo) for photo in photos[:3]]
    content = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="several frames"):
        np.testing.assert_array_equal(pixels_of(content), photos[0])


@pytest.mark.parametrize("image", [Image.new("F", (4, 4)), Image.new("I", (4, 4), 70_000)], ids=["F", "I"])
def test_pixels_beyond_sixteen_bits_are_refused(image):
    with pytest.raises(ValueError, match=r"row 0 encoded bytes, whose pixels"):
        read([encode(image, "TIFF")])


def test_arrays_take_the_place_of_pil_images_of_floats():
    images = [Image.fromarray(np.full((4, 4), value, np.float32)) for value in (0.25, 0.5)]
    with pytest.raises(
        ValueError, match=r"row 0 a PIL image, whose pixels are floats\. .* np\.asarray\(image\) of each"
    ):
        read(images)
    assert read([np.asarray(image) for image in images], torch.float32)[1].max() == 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation_is_respected(photos, format, orientation):
    exif = Image.Exif()
    exif[pictures_pixels.ORIENTATION_TAG] = orientation
    content = encode(Image.fromarray(photos[0]), format, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert ImageStore([content]).sample_shape == (3, upright.height, upright.width)
    np.testing.assert_array_equal(pixels_of(content), np.asarray(upright))


def test_an_opened_image_is_turned_like_its_file(photos, tmp_path):
    exif = Image.Exif()
    exif[pictures_pixels.ORIENTATION_TAG] = 6
    path = save(Image.fromarray(photos[0]), tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels_of(Image.open(path)), pixels_of(path))


def test_broken_exif_is_ignored(photos):
    content = encode(Image.fromarray(photos[0]), "PNG", exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(pixels_of(content), photos[0])


def grey_palette():
    return Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.new("L", (8, 8)), "L"),
        (Image.new("LA", (8, 8)), "L"),
        (Image.new("1", (8, 8)), "L"),
        (Image.new("I;16", (8, 8)), "L"),
        (grey_palette(), "L"),
        (Image.new("RGB", (8, 8)), "RGB"),
        (Image.new("RGBA", (8, 8)), "RGB"),
        (Image.new("RGB", (8, 8), "red").quantize(4), "RGB"),
    ],
    ids=lambda value: getattr(value, "mode", value),
)
def test_a_single_colour_image_makes_the_mode_rgb(image, mode):
    grey = Image.new("L", (8, 8))
    content = encode(image, "PNG")
    assert ImageStore([encode(grey, "PNG"), content]).mode == mode
    assert ImageStore([content, encode(grey, "PNG")]).sample_shape[0] == (3 if mode == "RGB" else 1)


def test_a_given_mode_is_kept(photos):
    colour = Image.fromarray(photos[0])
    grey = colour.convert("L")
    np.testing.assert_array_equal(pixels_of(colour, mode="L")[:, :, 0], np.asarray(grey))
    np.testing.assert_array_equal(pixels_of(grey, mode="RGB"), np.asarray(grey.convert("RGB")))


def test_float_arrays_turn_grey_by_the_same_weights(photos):
    exact = read([photos[0] / 255], torch.float32, mode="L")
    rounded = read([photos[0]], torch.float32, mode="L") / 255
    torch.testing.assert_close(exact, rounded, atol=0.6 / 255, rtol=0)


# Threads and memory


@pytest.mark.parametrize("n_jobs", [None, 1, 3, -1])
@pytest.mark.parametrize("rows", [torch.arange(6).split(4), [slice(0, 1), slice(1, 6)], [torch.tensor([5, 5, 0])]])
def test_batches_are_the_batch_of_each_group_whatever_n_jobs(paths, rows, n_jobs):
    store = ImageStore(paths, image_size=(8, 8), n_jobs=n_jobs)
    first = list(store.batches(iter(rows), torch.float32))
    later = list(store.batches(rows, torch.float32))
    for group, batch, again in zip(rows, first, later, strict=True):
        assert torch.equal(batch, store.batch(group, torch.float32))
        assert torch.equal(batch, again)


def test_threads_share_images_that_decode_when_touched(paths, photos):
    image = Image.open(paths[0])
    store = ImageStore([image] * 64, n_jobs=8)
    [batch] = store.batches([EVERYTHING], torch.uint8)
    assert (batch.movedim(1, -1).numpy() == photos[0]).all()


def test_threads_end_with_the_batches(paths):
    store = ImageStore(paths, n_jobs=2)
    list(store.batches([EVERYTHING] * 3, torch.uint8))
    assert not image_threads()


def test_threads_end_where_the_caller_stops_early(paths):
    batches = ImageStore(paths, n_jobs=2).batches([EVERYTHING] * 100, torch.uint8)
    next(batches)
    assert image_threads()
    batches.close()
    assert not image_threads()


def test_threads_end_where_the_caller_forgets_the_batches(paths):
    batches = ImageStore(paths, n_jobs=2).batches([EVERYTHING] * 100, torch.uint8)
    next(batches)
    del batches
    gc.collect()
    assert not image_threads()


def test_only_a_few_batches_are_read_ahead(paths):
    asked = []
    groups = (asked.append(i) or torch.tensor([i % 6]) for i in range(100))
    batches = ImageStore(paths).batches(groups, torch.uint8)
    next(batches)
    assert len(asked) <= 5
    batches.close()


@pytest.fixture
def n_decoded(monkeypatch):
    """Count how many encoded images are decoded."""
    counted = []
    decode = sources.encoded_pixels
    monkeypatch.setattr(sources, "encoded_pixels", lambda *args: counted.append(1) or decode(*args))
    return lambda: len(counted)


def test_later_epochs_and_other_stores_decode_nothing(paths, n_decoded):
    for files in (paths, paths, paths[::-1][:4], [Path(path) for path in paths]):
        ImageStore(files, image_size=(4, 4)).batch(EVERYTHING, torch.float32)
    assert n_decoded() == 6


def test_other_sizes_and_modes_are_other_pictures(paths, n_decoded):
    for options in ({}, {"image_size": (4, 4)}, {"mode": "L"}):
        read(paths, **options)
    assert n_decoded() == 18


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    path = save(Image.new("L", (8, 8), 1), tmp_path / "a.png")
    read([path])
    save(Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)), path)
    assert pixels_of(path)[7, 7] == 63


def test_kept_pictures_never_exceed_the_limit(paths, photos, monkeypatch):
    limit = 3 * (PHOTO_BYTES + ENTRY_BYTES)
    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", str(limit / 2**20))
    store = ImageStore(paths)
    for _ in range(2):
        for batch, photo in zip(store.batches(torch.arange(6).split(1), torch.uint8), photos, strict=True):
            assert IMAGE_CACHE.n_bytes <= limit
            np.testing.assert_array_equal(batch[0].movedim(0, -1), photo)
    assert len(IMAGE_CACHE) == 3


def test_a_limit_of_zero_keeps_nothing(paths, n_decoded, monkeypatch):
    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", "0")
    read(paths)
    read(paths)
    assert n_decoded() == 12
    assert IMAGE_CACHE.n_bytes == len(IMAGE_CACHE) == 0


def test_a_limit_that_is_no_number_is_an_error(paths, monkeypatch):
    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", "plenty")
    with pytest.raises(ValueError, match="SKLCNN_IMAGE_CACHE_MB must be a number"):
        ImageStore(paths)


def test_the_least_recently_used_goes_first(monkeypatch):
    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", str(2 * ENTRY_BYTES / 2**20))
    cache = ImageCache()
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get(["a"])
    cache.put("c", 3)
    assert cache.get(["a", "b", "c"]) == [1, None, 3]


def test_an_entry_put_twice_counts_once():
    cache = ImageCache()
    for value in (1, 2):
        cache.put("a", value, n_bytes=100)
    assert (cache.get(["a"]), cache.n_bytes) == ([2], 100 + ENTRY_BYTES)


def test_threads_may_share_a_cache(monkeypatch):
    monkeypatch.setenv("SKLCNN_IMAGE_CACHE_MB", str(50 * ENTRY_BYTES / 2**20))
    cache = ImageCache()

    def use(seed):
        for key in np.random.default_rng(seed).integers(0, 100, 2_000).tolist():
            [value] = cache.get([key])
            assert value in (None, key)
            cache.put(key, key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert (len(cache), cache.n_bytes) == (50, 50 * ENTRY_BYTES)


def test_arrays_are_kept_only_where_they_are_resized(photos):
    read(list(photos))
    assert len(IMAGE_CACHE) == 0
    read(list(photos), image_size=(4, 4))
    assert len(IMAGE_CACHE) == 6


# Keys


def test_keys_follow_the_content_and_nothing_else(paths):
    content = [Path(path).read_bytes() for path in paths]
    keys = ImageStore(paths).keys(EVERYTHING)
    assert len(set(keys)) == 6
    assert {len(key) for key in keys} == {16}
    assert ImageStore(content, image_size=(4, 4), mode="L").keys(EVERYTHING) == keys
    assert ImageStore(paths).keys(torch.tensor([4, 1])) == [keys[4], keys[1]]


def test_keys_of_pixels_tell_values_shapes_and_types_apart(photos):
    arrays = [photos[0], photos[1], photos[0].reshape(10, 12, 3), photos[0][:, :, 0]]
    keys = ImageStore(arrays, image_size=(4, 4)).keys(EVERYTHING)
    assert len(set(keys)) == 4
    assert ImageStore([Image.fromarray(photos[0])]).keys(EVERYTHING) == keys[:1]
    assert ImageStore([photos[0].astype(float)]).keys(EVERYTHING) != keys[:1]


# Bad files


def truncated(content):
    return content[: len(content) // 2]


def noise(size=(64, 64)):
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"nonsense", "not an image"), (b"\x89PNG\r\n\x1a\n", "not an image|broken")],
    ids=["zero bytes", "text", "signature only"],
)
def test_bad_headers_are_named_before_any_batch(paths, tmp_path, content, reason):
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=rf"row 6 the image file '{bad}', which is .*({reason})"):
        ImageStore([*paths, bad])
    with pytest.raises(ValueError, match=rf"row 1 encoded bytes, which is .*({reason})"):
        ImageStore([Path(paths[0]).read_bytes(), content])


def test_a_missing_file_is_named(paths, tmp_path):
    with pytest.raises(ValueError, match=rf"row 2 the image file '{tmp_path}/no.png', which does not exist\.$"):
        ImageStore([*paths[:2], f"{tmp_path}/no.png", f"{tmp_path}/neither.png"])


def test_a_missing_relative_path_names_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"'no\.png', which does not exist.* working folder, '{tmp_path}'"):
        ImageStore(["no.png"])


def test_a_folder_is_no_file(paths, tmp_path):
    with pytest.raises(ValueError, match=rf"row 1 the image file '{tmp_path}', which is a folder.*rglob"):
        ImageStore([paths[0], tmp_path])


def test_a_forbidden_file_is_named(paths, monkeypatch):
    def forbid(path, *args):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sources, "open_regular", forbid)
    with pytest.raises(ValueError, match=rf"row 0 the image file '{paths[0]}', which cannot be read: Perm"):
        ImageStore(paths)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_body_is_named_once_decoded(tmp_path, format):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(encode(noise(), format))
    bad.write_bytes(truncated(good.read_bytes()))
    message = rf"row 1 the image file '{bad}', which is (truncated|broken|not)"
    with pytest.raises(ValueError, match=message):
        list(ImageStore([good, bad], n_jobs=2).batches([EVERYTHING], torch.uint8))
    assert not image_threads()
    with pytest.raises(ValueError, match=message):
        ImageStore([good, bad]).batch(EVERYTHING, torch.uint8)


def test_a_file_that_vanishes_is_named(paths):
    store = ImageStore(paths)
    Path(paths[3]).unlink()
    with pytest.raises(ValueError, match=rf"row 3 the image file '{paths[3]}', which does not exist"):
        store.batch(EVERYTHING, torch.uint8)
    with pytest.raises(ValueError, match="row 3"):
        store.keys(EVERYTHING)


@pytest.mark.parametrize("n_pixels", [100, 40], ids=["warned of", "refused"])
def test_decompression_bombs_are_refused_without_a_warning(paths, monkeypatch, n_pixels):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", n_pixels)
    with pytest.raises(ValueError, match=rf"row 0 the image file .* more than {n_pixels} pixels"):
        ImageStore(paths)


def test_the_limit_on_pixels_can_be_lifted(paths, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read(paths).shape == (6, 3, 12, 10)


def test_warning_filters_are_left_as_they_were(paths):
    before = list(warnings.filters)
    store = ImageStore(paths)
    list(store.batches([EVERYTHING], torch.uint8))
    assert warnings.filters == before


# Resizing


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resizing_gives_the_same_bits_for_any_layout_and_batch(channels, dtype):
    images = torch.randint(0, 256, (5, channels, 20, 30), generator=torch.Generator().manual_seed(0)).to(dtype)
    resized = resize_images(images, (7, 11))
    assert (resized.dtype, resized.shape) == (dtype, (5, channels, 7, 11))
    assert resized.movedim(1, -1).stride() == (77 * channels, 11 * channels, channels, 1)
    channels_last = images.movedim(1, -1).contiguous().movedim(-1, 1)
    assert torch.equal(resize_images(channels_last, (7, 11)), resized)
    assert torch.equal(torch.cat([resize_images(image[None], (7, 11)) for image in images]), resized)


def test_resizing_antialiases():
    stripes = torch.arange(64) % 2 * 255.0
    resized = resize_images(stripes.expand(1, 1, 64, 64), (8, 8))
    assert (resized[..., 1:-1] - 127.5).abs().max() < 10


@pytest.mark.slow
def test_importing_the_module_imports_no_decoder():
    code = "import sys, sklcnn.data.pictures.store; print({'PIL', 'torchvision', 'pandas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
