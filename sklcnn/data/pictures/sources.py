"""One image from a file, encoded bytes, a PIL image or an array: what it is, and its pixels.

Pixels are always ``(height, width, channels)`` with 1 or 3 channels. Pillow decodes all formats, so
that files, bytes and PIL images give the same bits. (torchvision's JPEG decoder is a tenth faster,
but deprecated since torchvision 0.29.) What the pixels of an opened image show is in `pixels.py`.
"""

import io
import os
import time
from hashlib import blake2b

import numpy as np

from sklcnn.data.pictures.cache import IMAGE_CACHE
from sklcnn.data.pictures.decoding import encoded_pixels
from sklcnn.data.pictures.errors import UnusableImageError, decodable, readable
from sklcnn.data.pictures.opening import Header, check_has_pixels, encoded_header, pillow_header
from sklcnn.data.pictures.pixels import deep_rawmode, pillow_pixels
from sklcnn.files import check_regular, identity_of, open_regular
from sklcnn.process import Lock
from sklcnn.wording import shown

CLOCK_TICK = 0.02  # seconds in which two changes of a file may have the same time
LARGEST_FILE = 2**31  # bytes


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
    """A file, which must not change once it was looked at: what is cached of it belongs to its status at that time."""

    encoded = True
    _status = None

    def __init__(self, path):
        self.path = path
        self.name = f"the image file {shown(path)}"

    def identity(self):
        if self._status is None:
            with readable():
                self._status = settled_status(self.path)
        # The time of the last change of any kind cannot be set back, as that of the last writing can.
        return (os.path.abspath(self.path), *identity_of(self._status), self._status.st_ctime_ns)

    def digest(self):
        if self._digest is None:
            key = ("digest", self.identity())
            [self._digest] = IMAGE_CACHE.get([key])
            if self._digest is None:
                self._digest = content_digest(self._read())
                IMAGE_CACHE.put(key, self._digest)
        return self._digest

    def header(self):
        with self._open() as file:
            return encoded_header(file)

    def pixels(self, header):
        content = self._read()
        if self._digest is not None and content_digest(content) != self._digest:
            raise replaced()
        return encoded_pixels(content, header)

    def _read(self):
        with self._open() as file, readable():
            return file.read()

    def _open(self):
        self.identity()
        with readable():
            file = open_regular(self.path)
        status = os.fstat(file.fileno())
        if identity_of(status) != identity_of(self._status):
            file.close()
            raise replaced()
        if status.st_size > LARGEST_FILE:
            file.close()
            raise UnusableImageError(f"which has {status.st_size:,} bytes, more than the {LARGEST_FILE:,} of a picture")
        return file


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
    _loading = Lock()
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
            return np.ascontiguousarray(pillow_pixels(self.image, header.orientation))

    def _compute_digest(self):
        return pixel_digest(self.pixels(self.header()))


class _PixelArray(ImageSource):
    name = "an array"

    def __init__(self, array):
        self.array = array if array.ndim == 3 else array[:, :, None]
        self.integer = array.dtype.kind in "ui"

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
        extremes = None if dtype == np.uint8 else (float(self.array.min()), float(self.array.max()))
        if extremes is not None and max(-extremes[0], extremes[1]) > np.finfo(np.float32).max / 2:
            raise UnusableImageError("which has pixels too large for float32. Scale X")
        return Header(*shape[:2], grey=shape[2] == 1, orientation=1, extremes=extremes)

    def pixels(self, header):
        return self.array if self.array.dtype == np.uint8 else self.array.astype(np.float32)

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


def settled_status(path):
    """Return a file's status; if it was changed just now, after a wait, so that later changes have another time."""
    status = os.stat(path)
    check_regular(status, path)
    age = time.time() - max(status.st_ctime, status.st_mtime)
    if 0 <= age < CLOCK_TICK:
        time.sleep(CLOCK_TICK - age)
        status = os.stat(path)
    return status


def replaced():
    """Say that a file is not what it was when it was first looked at."""
    return UnusableImageError(
        "which was changed or replaced while it was in use. Leave the files as they are until the call has ended"
    )


def content_digest(content):
    """Digest bytes to 16 bytes."""
    return blake2b(content, digest_size=16).digest()


def pixel_digest(pixels):
    """Digest an array's type, shape and values to 16 bytes."""
    digest = blake2b(f"{pixels.dtype.str} {pixels.shape} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def whole_content(file):
    """Read an open file from its beginning, and leave it where it was."""
    position = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(position)
    return content
