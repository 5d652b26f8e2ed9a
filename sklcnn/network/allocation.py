"""The C library's memory while a network trains.

A step frees as much as the next one asks for. By default glibc returns large blocks to the system at once, which hands
them out again page by page and zeroed: measured on 32x32 colour pictures, 200,000 pages and a third of the time of an
epoch. PyTorch's tuning guide advises another allocator for this reason; here glibc is told to keep what was freed until
training ends.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

from sklcnn.process import Lock, Undone
from sklcnn.signals import raise_if_signalled

# Parameters of mallopt(3).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# Blocks up to the first size come from the heap, and up to the second size the heap keeps its free end. The values for
# all other times are those at which glibc's own adjustment ends, once a block of 32 MB was freed.
WHILE_TRAINING = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1}
OTHERWISE = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}
# Where the user has set one of these, nothing is changed.
CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")

_lock = Lock()
_training: set[object] = set()  # the `with` blocks that have begun and not ended, of all threads
_resident_before = 0


def _begin_anew():
    """Forget, in a forked child, the fits of the parent's other threads."""
    _training.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


@cache
def _glibc():
    """Load glibc, if that is the C library and left to its defaults."""
    if any(name in os.environ for name in CHOSEN):
        return None
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
        _resident()
    except (OSError, AttributeError, TypeError) as error:
        raise_if_signalled(error)
        return None
    return library


def _set(library, sizes):
    for parameter, size in sizes.items():
        library.mallopt(parameter, size)


def _resident():
    """Count the bytes of physical memory that the process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def n_training() -> int:
    """Return how many `with` blocks keep freed memory at this moment."""
    return len(_training)


class freed_memory_kept(Undone):  # noqa: N801 (called like a function)
    """Keep freed memory for the next step, in all of the process; give it back if that is much, at the end."""

    def __init__(self):
        super().__init__(self._give_back)

    def __enter__(self):
        global _resident_before
        super().__enter__()
        library = _glibc()
        if library is None:
            return self
        with _lock:
            _training.add(self)
            if len(_training) == 1:
                _resident_before = _resident()
                _set(library, WHILE_TRAINING)
        return self

    def _give_back(self):
        with _lock:
            if self not in _training:
                return
            if len(_training) == 1:
                library = _glibc()
                _set(library, OTHERWISE)
                if _resident() - _resident_before > OTHERWISE[TRIM_THRESHOLD]:
                    library.malloc_trim(0)
            _training.discard(self)  # last: an interrupt before it has all of this done again
