"""Files show the network what they show a person: all 16 bits, what alpha channels draw, no frame lost in silence."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageSequence

from sklcnn import CNNClassifier, CNNFeatures
from sklcnn.data.pictures.store import ImageStore

N = 12
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % 3
QUICK = {"filters": 2, "dense_units": 4, "max_epochs": 2, "batch_size": 8, "random_state": 0}
GREY = RANDOM.integers(0, 2**12, (N, 6, 5), dtype=np.uint16)  # 12 bits, as cameras and scanners have them
COLOUR = RANDOM.integers(0, 2**16, (N, 6, 5, 3), dtype=np.uint16)
SIGNED = RANDOM.integers(-1024, 3072, (N, 6, 5), dtype=np.int16)
BYTES = RANDOM.integers(0, 256, (N, 6, 5), dtype=np.uint8)


def fit(X, **params):
    return CNNClassifier(**QUICK | params).fit(X, LABELS)


def read(picture, **options):
    return ImageStore([picture], **options).batch(slice(None), torch.float32)[0].movedim(0, -1).numpy()


def encode(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(words, transparent=None):
    """Write 16-bit words as PNG, which Pillow does for grey ones alone."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    words = words.reshape(*words.shape[:2], -1)
    height, width, channels = words.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in words)
    key = b"" if transparent is None else chunk(b"tRNS", np.asarray(transparent, ">u2").tobytes())
    chunks = chunk(b"IHDR", head) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(words, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, words, **options)
    return file.getvalue()


def ppm(words):
    kind = b"P5" if words.ndim == 2 else b"P6"
    return b"%s\n%d %d\n65535\n" % (kind, words.shape[1], words.shape[0]) + words.astype(">u2").tobytes()


# All bits

DEEP = {
    "PNG": (GREY, png),
    "TIFF": (GREY, tiff),
    "compressed TIFF": (GREY, lambda words: tiff(words, compression="zlib")),
    "TIFF of the other byte order": (GREY, lambda words: tiff(words, byteorder=">")),
    "PGM": (GREY, ppm),
    "TIFF with a sign": (SIGNED, tiff),
    "PIL": (GREY, Image.fromarray),
    "PIL with a sign": (SIGNED, lambda words: Image.fromarray(words.astype(np.int32))),
    "opened": (GREY, lambda words: Image.open(io.BytesIO(png(words)))),
    "colour PNG": (COLOUR, png),
    "colour TIFF": (COLOUR, lambda words: tiff(words, photometric="rgb")),
    "compressed colour TIFF": (COLOUR, lambda words: tiff(words, photometric="rgb", compression="zlib")),
    "colour TIFF of the other byte order": (COLOUR, lambda words: tiff(words, photometric="rgb", byteorder=">")),
    "PPM": (COLOUR, ppm),
    "opened colour": (COLOUR, lambda words: Image.open(io.BytesIO(png(words)))),
}


@pytest.mark.parametrize(("words", "write"), DEEP.values(), ids=DEEP)
def test_pictures_of_16_bits_train_the_network_that_their_array_trains(words, write):
    files = list(map(write, words))
    from_files, from_array = fit(files), fit(words)
    assert_array_equal(from_files.predict_proba(files), from_array.predict_proba(words))
    assert_array_equal(from_files.predict_proba(words), from_array.predict_proba(files))


def test_an_opened_picture_is_read_with_16_bits_again_and_again():
    image = Image.open(io.BytesIO(png(COLOUR[0])))
    for _ in range(2):
        store = ImageStore([image])
        for _ in range(2):
            assert_array_equal(store.batch(slice(None), torch.float32)[0].movedim(0, -1), COLOUR[0])
        assert_array_equal(store.original(0)[0], COLOUR[0])


def test_all_pictures_of_a_fit_are_on_one_scale():
    deep, shallow = (list(map(write, BYTES)) for write in (lambda pixels: png(pixels * np.uint16(257)), as_png))
    mixed = [*deep[:6], *shallow[6:]]
    expected = fit(deep).predict_proba(deep)
    cnn = fit(mixed)
    for others in (deep, shallow, mixed, list(map(Image.fromarray, BYTES))):
        assert_array_equal(cnn.predict_proba(others), expected)


def test_after_pictures_of_8_bits_those_of_16_are_on_their_scale():
    cnn = fit(list(map(as_png, BYTES)))
    finer = BYTES * np.uint16(257) + RANDOM.integers(0, 100, BYTES.shape, dtype=np.uint16)
    assert_array_equal(cnn.predict_proba([png(pixels * np.uint16(257)) for pixels in BYTES]), cnn.predict_proba(BYTES))
    exact = fit(BYTES).predict_proba((finer / np.float32(257)).astype(np.float32))
    assert_array_equal(cnn.predict_proba(list(map(png, finer))), exact)


def as_png(pixels):
    return encode(Image.fromarray(pixels))


def test_a_backbone_sees_16_bits_as_it_sees_8():
    pixels = RANDOM.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    features = CNNFeatures(backbone="efficientnet_lite0", image_size=32, feature_cache=None)
    shallow = features.fit_transform(pixels)
    deep = features.fit_transform([png(picture * np.uint16(257)) for picture in pixels])
    assert_allclose(deep, shallow, atol=1e-4 * np.abs(shallow).max())
    assert_allclose(features.transform(list(map(as_png, pixels))), deep, atol=1e-4 * np.abs(deep).max())
    for other in (pixels, pixels / 255):
        with pytest.raises(ValueError, match="fitted on pictures of 16 bits"):
            features.transform(other)


def test_16_bit_colours_in_separate_planes_are_refused():
    for options in ({}, {"compression": "zlib"}):
        planes = tiff(np.moveaxis(COLOUR[0], -1, 0), photometric="rgb", planarconfig="separate", **options)
        with pytest.raises(ValueError, match="row 0 encoded bytes, whose 16-bit colours lie in separate planes"):
            ImageStore([planes])


# What is transparent


def over_white(pixels, white):
    colours, alpha = pixels[..., :-1].astype(float), pixels[..., -1:] / white
    return colours * alpha + white * (1 - alpha)


def transparent(*channels, dtype=np.uint8):
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, (6, 5, sum(channels)), dtype=dtype)


def la_image(pixels):
    return Image.merge("LA", [Image.fromarray(pixels[..., 0]), Image.fromarray(pixels[..., 1])])


@pytest.mark.parametrize("make", [Image.fromarray, la_image], ids=["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "PIL", "PIL premultiplied"])
def test_a_picture_is_laid_over_white(make, format):
    pixels = transparent(3 if make is Image.fromarray else 1, 1)
    image = make(pixels)
    expected = over_white(pixels, 255)
    if format == "PIL premultiplied":
        image = image.convert({"RGBA": "RGBa", "LA": "La"}[image.mode])
    elif format != "PIL":
        image = encode(image, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    mode = "L" if make is la_image else "RGB"
    # Premultiplied colours were rounded once before.
    assert_allclose(read(image, mode=mode), expected, atol=1 if format == "PIL premultiplied" else 0.5)


@pytest.mark.parametrize("write", [png, lambda words: tiff(words, photometric="rgb", extrasamples=[2])])
def test_a_picture_of_16_bits_is_laid_over_white(write):
    words = transparent(3, 1, dtype=np.uint16)
    assert_allclose(read(write(words)), over_white(words, 65535), atol=0.5)


def test_grey_of_16_bits_with_an_alpha_channel_is_grey():
    words = transparent(1, 1, dtype=np.uint16)
    store = ImageStore([png(words)])
    assert store.mode == "L"
    assert_allclose(store.batch(slice(None), torch.float32)[0, 0], over_white(words, 65535)[..., 0], atol=0.5)


def test_premultiplied_colours_of_16_bits_are_laid_over_white():
    words = transparent(3, 1, dtype=np.uint16)
    words[..., :3] = words[..., :3] * (words[..., 3:] / 65535)
    found = read(tiff(words, photometric="rgb", extrasamples=[1]))
    assert_array_equal(found, words[..., :3].astype(float) + 65535 - words[..., 3:])


@pytest.mark.parametrize("key", [3, bytes(range(0, 240, 15))], ids=["one colour", "each colour"])
@pytest.mark.parametrize("format", ["PNG", "PIL"])
def test_transparent_colours_of_a_palette_are_laid_over_white(key, format):
    image = Image.fromarray(transparent(3)).quantize(16)
    codes, palette = np.asarray(image), np.asarray(image.convert("RGB"))
    alpha = np.full(codes.shape, 255) if isinstance(key, int) else np.frombuffer(key, np.uint8)[codes]
    alpha[codes == key] = 0
    image.info["transparency"] = key
    found = read(encode(image, transparency=key) if format == "PNG" else image)
    assert_allclose(found, over_white(np.dstack([palette, alpha]), 255), atol=0.5)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_a_transparent_colour_is_white(mode):
    image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert(mode)
    key = (0, 0, 0) if mode == "RGB" else 0
    white = 65535 if mode == "I;16" else 255
    assert_array_equal(read(encode(image, transparency=key))[0, :, 0], [white, 255, white])


def test_a_transparent_colour_of_16_bits_is_white():
    words = COLOUR[0].copy()
    words[2, 3] = 1000, 2000, 3000
    expected = words.copy()
    expected[2, 3] = 65535
    assert_array_equal(read(png(words, transparent=[1000, 2000, 3000])), expected)


def test_a_drawing_in_the_alpha_channel_alone_is_seen():
    """Black ink on nothing, as sketches and icons are stored."""
    ink = np.zeros((N, 6, 5, 4), np.uint8)
    ink[..., 3] = 255 * (BYTES > 128)
    files = list(map(as_png, ink))
    on_paper = np.repeat(255 - ink[..., 3:], 3, axis=-1)
    assert_array_equal(fit(files).predict_proba(files), fit(on_paper).predict_proba(on_paper))


def test_an_opaque_picture_is_as_if_it_had_no_alpha_channel():
    opaque = np.dstack([COLOUR[0] // 257, np.full((6, 5), 255)]).astype(np.uint8)
    assert_array_equal(read(as_png(opaque)), opaque[..., :3])


def test_inks_of_16_bits_are_colours_of_16_bits():
    inks = transparent(3, 1, dtype=np.uint16)
    white = 65535 - inks.astype(float)
    assert_allclose(read(tiff(inks, photometric="separated")), white[..., :3] * white[..., 3:] / 65535, atol=0.5)


# Frames


@pytest.mark.parametrize("format", ["TIFF", "GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("when", ["fit", "predict", "X_val"])
def test_pictures_of_several_frames_are_named(format, when, tmp_path):
    frames = [Image.fromarray(pixels) for pixels in BYTES]
    stack = tmp_path / "stack"
    frames[0].save(stack, format, save_all=True, append_images=frames[1:3])
    singles = list(map(as_png, BYTES))
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for path, content in zip(paths, singles, strict=True):
        path.write_bytes(content)
    X = [*paths[:4], stack, *paths[5:]]
    message = r"row 4 the image file '.*stack', which holds several frames: only the first is read"
    if when == "fit":
        with pytest.warns(UserWarning, match=message):
            fit(X)
    elif when == "predict":
        cnn = fit(paths)
        with pytest.warns(UserWarning, match=message):
            cnn.predict(X)
    else:
        with pytest.warns(UserWarning, match=message):
            CNNClassifier(**QUICK).fit(paths, LABELS, X_val=X, y_val=LABELS)


def test_the_warning_of_frames_says_how_many_pictures_have_them():
    frames = [Image.fromarray(pixels) for pixels in BYTES]
    stack = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:3])
    with pytest.warns(UserWarning, match=r"several frames \(and so do 2 other rows\)"):
        ImageStore([stack] * 3)


def test_a_frame_that_was_chosen_is_read_without_a_warning():
    frames = [Image.fromarray(pixels) for pixels in COLOUR[:3].astype(np.uint8)]
    image = Image.open(io.BytesIO(encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])))
    image.seek(2)
    assert_array_equal(read(image), np.asarray(frames[2]))
    copies = [frame.copy() for frame in ImageSequence.Iterator(image)]
    for copy, frame in zip(copies, frames, strict=True):
        assert_array_equal(read(copy), np.asarray(frame))


def test_the_second_picture_of_a_phones_jpeg_is_no_frame():
    photo = Image.fromarray(COLOUR[0].astype(np.uint8))
    assert read(encode(photo, "MPO", save_all=True, append_images=[photo])).shape == (6, 5, 3)
