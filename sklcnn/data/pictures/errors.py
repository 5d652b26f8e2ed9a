"""Errors of images that cannot be read: a phrase for the cause, to which the row and the image are added."""

import os
import threading
import warnings
from contextlib import contextmanager

from sklcnn.wording import short_cause


class UnusableImageError(ValueError):
    """An image that cannot be read; the text continues a sentence that names it."""


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


@contextmanager
def naming(row, source):
    """Name the row and the image where one cannot be read."""
    try:
        yield
    except UnusableImageError as error:
        raise named_error(row, source, error) from error


def named_error(row, source, error):
    """Make the error that names the row and the image."""
    return ValueError(f"X has in row {row} {source.name}, {error}.")
