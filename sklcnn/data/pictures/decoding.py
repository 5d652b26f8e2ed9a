"""The pixels of an image file's content, upright."""

import io

import numpy as np

from sklcnn.data.pictures.errors import UnusableImageError, decodable
from sklcnn.data.pictures.opening import open_with_pillow
from sklcnn.data.pictures.pixels import WHITE_16, deep_pixels, deep_rawmode, pillow_pixels


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
        As :func:`sklcnn.data.pictures.pixels.pillow_pixels` returns.

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
        if rawmode is None:
            pixels = pillow_pixels(image, header.orientation)
        else:
            pixels = deep_pixels(rawmode, opened, header.orientation)
        if pixels.shape[:2] != (header.height, header.width):
            raise UnusableImageError("whose pixels are not as many as its header says")
        return np.ascontiguousarray(pixels)
