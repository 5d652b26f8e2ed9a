"""What a PIL image shows, as an array: all of its bits, its palette looked up, its alpha channel laid over white.

Pillow itself reads 16-bit colour with 8 bits, and its own conversions from palettes or transparency to RGB drop the
alpha channel, which may hold all of a drawing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from sklcnn.data.pictures.errors import UnusableImageError

WHITE_8, WHITE_16 = 255, 0xFFFF  # what white is in pictures of 8 and of 16 bits

GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}

# Pillow keeps 8 of 16 bits: the byte that is the high one in the byte order that it is told. A file that is read once
# in its own order and once in the other gives both bytes.
NATIVE = "B" if sys.byteorder == "big" else "L"
OTHER_ORDER = {"B": "L", "L": "B"}
DEEP_COLOURS = ("RGB", "RGBA", "RGBX", "CMYK")
BITS_TAG, PLANES_TAG = 258, 284  # of TIFF
ORIENTATION_TAG = 0x0112  # of EXIF

# Formats whose further frames are other sizes, thumbnails or layers of the first picture, not other pictures.
ONE_PICTURE_FORMATS = {"MPO", "PSD"}


def is_grey(image: Any) -> bool:
    """Whether a PIL image's mode, or its palette, holds no colour."""
    if image.mode in ("P", "PA"):
        palette = rgb_palette(image)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES or deep_rawmode(image) == "LA;16B"


def white_of(image: Any) -> int:
    """Return what white is in a PIL image that is not decoded yet: 255, or 65535 where it has 16 bits."""
    return WHITE_16 if image.mode.startswith("I") or deep_rawmode(image) is not None else WHITE_8


def has_frames(image: Any) -> bool:
    """Whether a PIL image is the first of several."""
    if image.format in ONE_PICTURE_FORMATS or image.tell() != 0:
        return False
    return bool(getattr(image, "is_animated", False))


def deep_rawmode(image: Any) -> str | None:
    """Name how 16-bit colours lie in a file that Pillow has opened, and not decoded, with 8 bits.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    rawmode : str or None
        Such as "RGB;16B"; "PPM" for that format. None: the file's colours have 8 bits, or the image is decoded.

    Raises
    ------
    UnusableImageError
        If Pillow would read 16-bit planes as 8-bit ones.
    """
    tiles = getattr(image, "tile", None)
    if not tiles or image.mode.startswith("I"):
        return None
    codec, _, _, arguments = tiles[0]
    if codec == "ppm":
        return "PPM" if arguments[1] > WHITE_8 else None
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    if not isinstance(rawmode, str):
        return None
    if image.format == "TIFF" and image.tag_v2.get(PLANES_TAG) == 2 and 16 in image.tag_v2.get(BITS_TAG, ()):
        raise UnusableImageError("whose 16-bit colours lie in separate planes. Pass arrays instead")
    return rawmode if ";16" in rawmode and image.mode in ("LA", *DEEP_COLOURS) else None


def pillow_pixels(image: Any, orientation: int = 1) -> np.ndarray:
    """Convert a PIL image to grey or RGB; what is transparent shows white.

    Parameters
    ----------
    image : PIL.Image.Image
        Of 8-bit colours, or grey; see :func:`deep_pixels` for others.
    orientation : int from 1 to 8
        The EXIF orientation that it is to be turned from.

    Returns
    -------
    pixels : ndarray of shape (h, w, 1 or 3)
        uint8; of 16-bit images uint16, or int32 where the file's integers have a sign.

    Raises
    ------
    UnusableImageError
        If pixels are floats, or integers of more than 16 bits.
    """
    image.load()
    image = upright(image, orientation)
    key = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        return palette_pixels(image, key)
    if image.mode.startswith("I"):
        return over_white(at_most_16_bits(np.asarray(image))[:, :, None], key)
    if image.mode == "F":
        raise UnusableImageError(
            "whose pixels are floats. Pass arrays instead: np.asarray(image) of each, opened by PIL.Image.open"
        )
    if image.mode in ("La", "RGBa"):
        return premultiplied_over_white(np.asarray(image))
    if image.mode in ("LA", "RGBA"):
        pixels = np.asarray(image)
        return over_white(pixels[:, :, :-1], alpha=pixels[:, :, -1:])
    if image.mode in GREY_MODES:
        return over_white(np.asarray(image.convert("L"))[:, :, None], key)
    return over_white(np.asarray(image.convert("RGB")), key)


def upright(image: Any, orientation: int) -> Any:
    """Turn a decoded PIL image as its EXIF orientation asks."""
    if orientation == 1:
        return image
    from PIL import ImageOps

    image = image.copy()
    image.info.pop("exif", None)  # other tags, which may be broken, would be written anew
    image.getexif()[ORIENTATION_TAG] = orientation
    return ImageOps.exif_transpose(image)


def palette_pixels(image: Any, key: bytes | int | None) -> np.ndarray:
    """Look a palette image's pixels up, which Pillow's own conversion warns about."""
    palette = rgb_palette(image)
    table = np.zeros((256, 4), np.uint8)
    table[: len(palette), :3] = palette
    table[:, 3] = WHITE_8
    if isinstance(key, bytes):
        table[: len(key), 3] = np.frombuffer(key, np.uint8)
    elif key is not None:
        table[key, 3] = 0
    codes = np.asarray(image)  # (h, w), or (h, w, 2) with alpha
    if codes.ndim == 3:
        return over_white(table[codes[:, :, 0], :3], alpha=codes[:, :, 1:])
    pixels = table[codes]
    return over_white(pixels[:, :, :3], alpha=pixels[:, :, 3:])


def rgb_palette(image: Any) -> np.ndarray:
    """Return a PIL image's palette as an array of shape (entries, 3)."""
    raw_mode, entries = image.palette.getdata()
    if raw_mode != "RGB":
        entries = bytes(image.getpalette())  # decodes the image, which a plain palette does not need
    return np.frombuffer(entries, np.uint8, len(entries) // 3 * 3).reshape(-1, 3)


def at_most_16_bits(values: np.ndarray) -> np.ndarray:
    """Check that integers have no more than 16 bits, with a sign or without one."""
    if values.dtype.itemsize == 2:
        return values.astype(np.uint16)  # in this machine's order of bytes
    if values.min() < -0x8000 or values.max() > WHITE_16:
        raise UnusableImageError("whose pixels have more than 16 bits. Pass arrays instead")
    return values


def deep_pixels(rawmode: str, reopen: Callable[[], Any], orientation: int = 1) -> np.ndarray:
    """Decode 16-bit colours in full.

    Parameters
    ----------
    rawmode : str
        As :func:`deep_rawmode` returns.
    reopen : callable
        Opens the image, not decoded.
    orientation : int from 1 to 8
        The EXIF orientation that it is to be turned from.

    Returns
    -------
    pixels : ndarray of shape (h, w, 1 or 3), uint16
        What is transparent shows white.
    """
    image = reopen()
    key = image.info.get("transparency")
    if rawmode == "PPM":
        return ppm_words(image)
    if rawmode == "LA;16B":
        image._mode = "RGBA"
        words = decoded(image, "RGBA", orientation).view(">u2").astype(np.uint16)  # grey and alpha, two bytes each
        return over_white(words[:, :, :1], alpha=words[:, :, 1:])
    kind, _, order = rawmode.partition(";16")
    order = NATIVE if order == "N" else order
    premultiplied = kind == "RGBa"
    kind = "RGBA" if premultiplied else kind
    high = decoded(image, f"{kind};16{order}", orientation)
    low = decoded(reopen(), f"{kind};16{OTHER_ORDER[order]}", orientation)
    words = high * np.uint16(256) + low
    if premultiplied:
        return premultiplied_over_white(words)
    if kind == "CMYK":
        inks = WHITE_16 - words.astype(np.uint64)
        return ((inks[:, :, :3] * inks[:, :, 3:] + WHITE_16 // 2) // WHITE_16).astype(np.uint16)
    if kind == "RGBA":
        return over_white(words[:, :, :3], alpha=words[:, :, 3:])
    return over_white(words[:, :, :3], key)


def decoded(image: Any, rawmode: str, orientation: int) -> np.ndarray:
    """Decode an image as if its bytes lay in another way, to (h, w, channels)."""
    image.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:])) for tile in image.tile
    ]
    image.load()
    return np.asarray(upright(image, orientation))


def ppm_words(image: Any) -> np.ndarray:
    """Read 16-bit colours of a PPM file, spread to the full range as Pillow spreads grey ones."""
    _, _, offset, (_, largest) = image.tile[0]
    image.fp.seek(offset)
    n_words = image.width * image.height * 3
    content = image.fp.read(2 * n_words)
    if len(content) < 2 * n_words:
        raise OSError("image file is truncated")
    words = np.frombuffer(content, ">u2").reshape(image.height, image.width, 3)
    return (np.minimum(words, largest).astype(np.uint32) * WHITE_16 // largest).astype(np.uint16)


def over_white(
    pixels: np.ndarray, key: int | tuple[int, ...] | None = None, *, alpha: np.ndarray | None = None
) -> np.ndarray:
    """Lay pixels over a white ground.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, channels), uint8, uint16 or int32
    key : int, tuple of int or None
        The one colour that is transparent.
    alpha : ndarray of shape (h, w, 1), default=None
        How opaque each pixel is, in the pixels' own range.

    Returns
    -------
    pixels : ndarray of shape (h, w, channels)
        The same array where nothing is transparent.
    """
    white = WHITE_8 if pixels.dtype == np.uint8 else WHITE_16
    if key is not None:
        return np.where((pixels == key).all(axis=2, keepdims=True), np.asarray(white, pixels.dtype), pixels)
    if alpha is None or alpha.min() == white:
        return pixels
    opaque = alpha.astype(np.uint32)
    covered = pixels * opaque + white * (white - opaque) + white // 2  # below 2**32 for 16 bits too
    return (covered // white).astype(pixels.dtype)


def premultiplied_over_white(pixels: np.ndarray) -> np.ndarray:
    """Lay pixels (h, w, channels and alpha), whose colours were multiplied by their alpha, over a white ground."""
    white = np.iinfo(pixels.dtype).max
    return pixels[:, :, :-1] + np.minimum(white - pixels[:, :, -1:], white - pixels[:, :, :-1])
