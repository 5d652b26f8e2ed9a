"""Errors of images that cannot be read: a phrase for the cause, to which the row and the image are added."""

import os
import re
import warnings
from contextlib import contextmanager
from typing import ClassVar

from sklcnn.files import working_folder
from sklcnn.process import Lock, Undone
from sklcnn.signals import raise_if_signalled
from sklcnn.wording import short_cause

# Matches Pillow's modules. The comment inside tells this filter from any of the user's.
OF_PILLOW = r"PIL\.(?#the filter of this module)"
SILENCE = ("ignore", None, Warning, re.compile(OF_PILLOW))


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
            folder = working_folder()
            start = "which has been deleted: pass absolute ones" if folder is None else repr(folder)
            reason += f". Relative paths start at the working folder, {start}"
        if str(error.filename).startswith("~"):
            reason = "which does not exist. os.path.expanduser puts your folder in the place of ~"
        raise UnusableImageError(reason) from short_cause(error)
    except IsADirectoryError as error:
        reason = 'which is a folder. Pass the files in it, such as sorted(pathlib.Path(folder).rglob("*.png"))'
        raise UnusableImageError(reason) from short_cause(error)
    except ValueError as error:
        raise UnusableImageError(
            "which is a name that no file can have: it holds a null character or surrogates"
        ) from error
    except OSError as error:
        raise_if_signalled(error)
        reason = error.strerror or error
        raise UnusableImageError(f"which cannot be read: {reason}") from short_cause(error)


@contextmanager
def decodable():
    """Say in one phrase that an image is broken, whatever a decoder raises."""
    try:
        yield
    except UnusableImageError:
        raise
    except Exception as error:
        raise_if_signalled(error)
        # Broken files make decoders raise nearly anything: OSError, SyntaxError, struct.error, RuntimeError.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnusableImageError(f"which is truncated or broken: {reason}") from error


class pillow_silence(Undone):  # noqa: N801 (called like a function)
    """Ignore Pillow's warnings while any thread is inside such a block.

    ``warnings.catch_warnings`` would put back the filters of one thread while another is inside;
    here the worst that interleaving leaves behind is an ignored warning of Pillow's.
    """

    _lock = Lock()
    _inside: ClassVar[set] = set()

    def __init__(self):
        super().__init__(self._leave)

    def __enter__(self):
        super().__enter__()
        with self._lock:
            self._inside.add(self)
            if len(self._inside) == 1:
                warnings.filterwarnings("ignore", module=OF_PILLOW)
        return self

    def _leave(self):
        with self._lock:
            if self._inside == {self}:
                warnings.filters[:] = [entry for entry in warnings.filters if entry[:4] != SILENCE]  # type: ignore
            self._inside.discard(self)


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
