"""One image from a file, encoded bytes, a PIL image or an array: what it is, and its pixels.

Pixels are always ``(height, width, channels)`` with 1 or 3 channels. Pillow decodes all formats, so
that files, bytes and PIL images give the same bits. (torchvision's JPEG decoder is a tenth faster,
but deprecated since torchvision 0.29.) What the pixels of an opened image show is in `pixels.py`.
"""

import io
import os
import threading
import warnings
from contextlib import contextmanager
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from sklcnn.data.image_cache import IMAGE_CACHE
from sklcnn.data.pixels import (
    WHITE_16,
    UnusableImageError,
    deep_pixels,
    deep_rawmode,
    has_frames,
    is_grey,
    pillow_pixels,
    white_of,
)
from sklcnn.wording import short_cause, shown

# What each EXIF orientation asks for: mirror left-right, swap the axes, quarter turns (counter-clockwise).
UPRIGHT = {
    1: (False, 0),
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}

ORIENTATION_TAG = 0x0112


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded."""

    height: int  # upright, as are the pixels
    width: int
    grey: bool
    orientation: int  # the EXIF turn that decoding still has to make
    white: int | None = None  # 255, or 65535 where it has 16 bits; None for an array, whose numbers are its own
    frames: bool = False  # whether it is the first of several


def image_source(value):
    """Wrap one image, whatever its form.

    Parameters
    ----------
    value : str, path, bytes, PIL.Image.Image or ndarray of shape (h, w) or (h, w, channels)

    Returns
    -------
    source : ImageSource
    """
    if isinstance(value, (str, os.PathLike)):
        return _ImageFile(os.fspath(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _ImageBytes(bytes(value))
    if hasattr(value, "getpalette"):
        return _PillowImage(value)
    return _PixelArray(np.asarray(value))


class ImageSource:
    """One image that is not read yet.

    Attributes
    ----------
    name : str
        For errors.
    integer : bool
        Whether pixels are uint8.
    encoded : bool
        Whether reading costs much more than a copy.
    """

    name: str
    integer = True
    encoded = False
    _digest = None

    def header(self):
        """Describe the image without decoding it, as a :class:`Header`."""
        raise NotImplementedError

    def pixels(self, header):
        """Decode the image to an upright array of shape (h, w, 1 or 3), in its own numbers."""
        raise NotImplementedError

    def identity(self):
        """Return a hashable that stands for the content in this process."""
        return self.digest()

    def digest(self):
        """Digest the content, encoded where it comes encoded, to 16 bytes."""
        if self._digest is None:
            self._digest = self._compute_digest()
        return self._digest


class _ImageFile(ImageSource):
    encoded = True
    _identity = None

    def __init__(self, path):
        self.path = path
        self.name = f"the image file {shown(path)}"

    def identity(self):
        # A file that is written again has another time or size.
        if self._identity is None:
            with readable():
                status = os.stat(self.path)
            self._identity = (os.path.abspath(self.path), status.st_mtime_ns, status.st_size)
        return self._identity

    def digest(self):
        key = ("digest", self.identity())
        [digest] = IMAGE_CACHE.get([key])
        if digest is None:
            digest = content_digest(self._read())
            IMAGE_CACHE.put(key, digest)
        return digest

    def header(self):
        with readable():
            file = open(self.path, "rb")
        with file:
            return encoded_header(file)

    def pixels(self, header):
        return encoded_pixels(self._read(), header)

    def _read(self):
        with readable(), open(self.path, "rb") as file:
            return file.read()


class _ImageBytes(ImageSource):
    name = "encoded bytes"
    encoded = True

    def __init__(self, content):
        self.content = content

    def header(self):
        return encoded_header(io.BytesIO(self.content))

    def pixels(self, header):
        return encoded_pixels(self.content, header)

    def _compute_digest(self):
        return content_digest(self.content)


class _PillowImage(ImageSource):
    name = "a PIL image"

    # An image opened from a file decodes itself when first touched, which two threads must not do at once.
    _loading = threading.Lock()
    _header = None

    # The file of an image of 16-bit colours, which decodes itself with 8 bits.
    _content = None

    def __init__(self, image):
        self.image = image

    def header(self):
        if self._header is None:
            check_has_pixels(self.image)
            with decodable(), self._loading:
                if deep_rawmode(self.image) is not None:
                    self._content, self._frame = whole_content(self.image.fp), self.image.tell()
                self._header = pillow_header(self.image)
        return self._header

    def pixels(self, header):
        if self._content is not None:
            return encoded_pixels(self._content, header, self._frame)
        with decodable(), self._loading:
            return upright(pillow_pixels(self.image), header.orientation)

    def _compute_digest(self):
        return pixel_digest(self.pixels(self.header()))


class _PixelArray(ImageSource):
    name = "an array"

    def __init__(self, array):
        self.array = array if array.ndim == 3 else array[:, :, None]
        self.integer = array.dtype == np.uint8

    def header(self):
        shape, dtype = self.array.shape, self.array.dtype
        if dtype.kind not in "biuf":
            raise UnusableImageError(f"which has dtype {dtype}. Pass arrays of integers or floats")
        if shape[2] not in (1, 3):
            raise UnusableImageError(
                f"which has shape {shape}, but images have shape (height, width) or (height, width, 1 or 3). "
                f"{remedy_for_channels(shape)}"
            )
        if self.array.size == 0:
            raise UnusableImageError(f"which has no pixels: its shape is {shape}")
        if dtype.kind == "f" and not np.isfinite(self.array).all():
            raise UnusableImageError("which has NaN or infinite pixels")
        if dtype.kind == "f" and np.abs(self.array).max() > np.finfo(np.float32).max / 2:
            raise UnusableImageError("which has pixels too large for float32. Scale X")
        return Header(*shape[:2], grey=shape[2] == 1, orientation=1)

    def pixels(self, header):
        return self.array if self.integer else self.array.astype(np.float32)

    def _compute_digest(self):
        return pixel_digest(self.array)


def remedy_for_channels(shape):
    """Say how to make an image of an array (h, w, channels) that is none."""
    if shape[2] == 4:
        return (
            "Leave the alpha channel out, [image[:, :, :3] for image in X], or pass [PIL.Image.fromarray(image) for "
            "image in X], which is laid over white"
        )
    if shape[0] in (1, 3):
        return "Move the channels to the last axis: [np.moveaxis(image, 0, -1) for image in X]"
    return "Images of another number of channels are read as one array: resize and stack them first"


def content_digest(content):
    """Digest bytes to 16 bytes."""
    return blake2b(content, digest_size=16).digest()


def pixel_digest(pixels):
    """Digest an array's type, shape and values to 16 bytes."""
    digest = blake2b(f"{pixels.dtype.str} {pixels.shape} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def encoded_header(file):
    """Read an image file's header, leaving its pixels alone.

    Parameters
    ----------
    file : binary file

    Returns
    -------
    header : Header

    Raises
    ------
    UnusableImageError
        If Pillow knows no such format, or the image is too large to be trusted.
    """
    if not file.read(1):
        raise UnusableImageError("which is empty (0 bytes)")
    file.seek(0)
    with decodable():
        return pillow_header(open_with_pillow(file))


def check_has_pixels(image):
    """Check that a PIL image has pixels, and is decoded or still can be."""
    file = getattr(image, "fp", None)
    if 0 in image.size:
        raise UnusableImageError(f"which has no pixels: its size is {image.size}")
    if is_closed(image) or (getattr(image, "tile", None) and (file is None or getattr(file, "closed", False))):
        raise UnusableImageError(
            "whose file was closed before it was decoded, as at the end of a with block. Call image.load() inside it, "
            "or pass the path"
        )


def is_closed(image):
    """Whether a PIL image's close() was called."""
    try:
        _ = image.im
    except ValueError:
        return True
    except AssertionError:  # it was not decoded yet
        pass
    return False


def whole_content(file):
    """Read an open file from its beginning, and leave it where it was."""
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return content


def open_with_pillow(file):
    """Open an image file without decoding it, if Pillow knows its format and trusts its size."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file)
    except UnidentifiedImageError as error:
        raise UnusableImageError("which is not an image that Pillow can open") from error
    except Image.DecompressionBombError as error:
        raise too_many_pixels() from error
    # Pillow warns of a bomb before it refuses one at twice the size.
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise too_many_pixels()
    return image


def too_many_pixels():
    """Say why a decompression bomb is refused."""
    from PIL import Image

    return UnusableImageError(
        f"which has more than {Image.MAX_IMAGE_PIXELS:,} pixels, as decompression bombs do. "
        "If you trust it, raise PIL.Image.MAX_IMAGE_PIXELS"
    )


def pillow_header(image):
    """Describe a PIL image without decoding it.

    Parameters
    ----------
    image : PIL.Image.Image

    Returns
    -------
    header : Header
    """
    orientation = exif_orientation(image)
    _, quarter_turns = UPRIGHT[orientation]
    width, height = image.size[::-1] if quarter_turns % 2 else image.size
    return Header(height, width, is_grey(image), orientation, white_of(image), has_frames(image))


def exif_orientation(image):
    """Return the EXIF orientation of a PIL image, 1 where there is none."""
    from PIL import Image

    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        # A PNG's own getexif decodes the image, for tags that might follow the pixels.
        exif = Image.Image.getexif(image)
    except Exception:
        return 1  # a viewer shows a picture whose tags are broken, too
    orientation = exif.get(ORIENTATION_TAG, 1)
    return orientation if orientation in UPRIGHT else 1


def encoded_pixels(content, header, frame=0):
    """Decode one frame of an image file's content.

    Parameters
    ----------
    content : bytes
    header : Header
    frame : int, default=0

    Returns
    -------
    pixels : ndarray of shape (h, w, 1 or 3)
        As :func:`sklcnn.data.pixels.pillow_pixels` returns.

    Raises
    ------
    UnusableImageError
        If the content is truncated or broken.
    """

    def opened():
        image = open_with_pillow(io.BytesIO(content))
        if frame:
            image.seek(frame)
        return image

    with decodable():
        image = opened()
        rawmode = deep_rawmode(image) if header.white == WHITE_16 else None
        pixels = pillow_pixels(image) if rawmode is None else deep_pixels(rawmode, opened)
        return upright(pixels, header.orientation)


def upright(pixels, orientation):
    """Turn pixels as their EXIF orientation asks.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, channels)
    orientation : int from 1 to 8

    Returns
    -------
    pixels : ndarray, contiguous
    """
    mirrored, quarter_turns = UPRIGHT[orientation]
    if mirrored:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


@contextmanager
def readable():
    """Say in one phrase why the operating system does not give a file."""
    try:
        yield
    except FileNotFoundError as error:
        reason = "which does not exist"
        if "://" in str(error.filename) or str(error.filename).startswith("data:"):
            reason = "which is an address, and no file of this machine. Fetch it first, and pass the path or the bytes"
        elif not os.path.isabs(error.filename):
            reason += f". Relative paths start at the working folder, {os.getcwd()!r}"
        if str(error.filename).startswith("~"):
            reason = "which does not exist. os.path.expanduser puts your folder in the place of ~"
        raise UnusableImageError(reason) from short_cause(error)
    except IsADirectoryError as error:
        reason = 'which is a folder. Pass the files in it, such as sorted(pathlib.Path(folder).rglob("*.png"))'
        raise UnusableImageError(reason) from short_cause(error)
    except (OSError, ValueError) as error:  # a name with a zero byte in it is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise UnusableImageError(f"which cannot be read: {reason}") from short_cause(error)


@contextmanager
def decodable():
    """Say in one phrase that an image is broken, whatever a decoder raises."""
    try:
        yield
    except UnusableImageError:
        raise
    except Exception as error:
        # Broken files make decoders raise nearly anything: OSError, SyntaxError, struct.error, RuntimeError.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnusableImageError(f"which is truncated or broken: {reason}") from error


class PillowSilence:
    """Ignore Pillow's warnings while any thread is inside.

    ``warnings.catch_warnings`` would put back the filters of one thread while another is inside;
    here the worst that interleaving leaves behind is an ignored warning of Pillow's.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0
        self._filter = None

    def __enter__(self):
        with self._lock:
            if self._n_inside == 0:
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filter = warnings.filters[0]
            self._n_inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0 and self._filter in warnings.filters:
                warnings.filters.remove(self._filter)


PILLOW_SILENCE = PillowSilence()
