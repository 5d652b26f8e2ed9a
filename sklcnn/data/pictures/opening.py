"""Images opened with Pillow, and what is known of them before their pixels are decoded."""

from typing import NamedTuple

from sklcnn.data.pictures.errors import UnusableImageError, decodable
from sklcnn.data.pictures.pixels import ORIENTATION_TAG, has_frames, is_grey, white_of
from sklcnn.signals import raise_if_signalled

LEVEL, SIDEWAYS = (1, 2, 3, 4), (5, 6, 7, 8)  # EXIF orientations that keep height and width, or exchange them

# What Pillow decodes in this process, by itself. It hands EPS to Ghostscript, WMF to Windows, and others to whatever
# has been registered for them. The last ones are of libraries that are registered with Pillow by the user.
FORMATS = (
    "PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000", "MPO", "DIB", "TGA", "ICO", "CUR", "ICNS",
    "PCX", "DCX", "PSD", "SGI", "SUN", "DDS", "QOI", "XBM", "XPM", "IM", "MSP", "SPIDER", "PIXAR", "FITS", "FLI", "BLP",
    "FTEX", "GBR", "IMT", "MCIDAS", "PCD", "XVTHUMB", "HEIF", "JXL",
)  # fmt: skip


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded."""

    height: int  # upright, as are the pixels
    width: int
    grey: bool
    orientation: int  # the EXIF turn that decoding still has to make
    white: int | None = None  # 255, or 65535 where it has 16 bits; None for an array, whose values may mean anything
    frames: bool = False  # whether it is the first of several
    extremes: tuple[float, float] | None = None  # the least and the greatest value of an array; None: within 0..white


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
    width, height = image.size if orientation in LEVEL else image.size[::-1]
    return Header(height, width, is_grey(image), orientation, white_of(image), has_frames(image))


def exif_orientation(image):
    """Return the EXIF orientation of a PIL image, 1 where there is none."""
    from PIL import Image

    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    try:
        # A PNG's own getexif decodes the image, for tags that might follow the pixels.
        exif = Image.Image.getexif(image)
    except Exception as error:
        raise_if_signalled(error)
        return 1  # a viewer shows a picture whose tags are broken, too
    orientation = exif.get(ORIENTATION_TAG, 1)
    return orientation if orientation in (*LEVEL, *SIDEWAYS) else 1


def open_with_pillow(file):
    """Open an image file without decoding it, if Pillow knows its format and trusts its size."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = _open_format(file)
    except UnidentifiedImageError as error:
        raise UnusableImageError("which is not an image that Pillow can open by itself") from error
    except Image.DecompressionBombError as error:
        raise too_many_pixels() from error
    # Pillow warns of a bomb before it refuses one at twice the size.
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise too_many_pixels()
    return image


def _open_format(file):
    """Open an image of one of the formats above, the common ones first: Pillow imports more modules for the others."""
    from PIL import Image, UnidentifiedImageError

    Image.preinit()
    common = [name for name in FORMATS if name in Image.OPEN]
    try:
        return Image.open(file, formats=common)
    except UnidentifiedImageError:
        Image.init()
        others = [name for name in FORMATS if name in Image.OPEN and name not in common]
        file.seek(0)
        return Image.open(file, formats=others)


def too_many_pixels():
    """Say why a decompression bomb is refused."""
    from PIL import Image

    return UnusableImageError(
        f"which has more than {Image.MAX_IMAGE_PIXELS:,} pixels, as decompression bombs do. "
        "If you trust it, raise PIL.Image.MAX_IMAGE_PIXELS"
    )


def check_has_pixels(image):
    """Check that a PIL image has pixels, and is decoded or still can be."""
    file = getattr(image, "fp", None)
    if getattr(image, "tile", None) and image.format is not None and image.format not in FORMATS:
        raise UnusableImageError(
            f"whose format is {image.format}, which Pillow hands to another program. Call image.load(), if you trust it"
        )
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
