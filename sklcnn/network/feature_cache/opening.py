"""The caches of this process, by what the hyper-parameter `feature_cache` names."""

import os
from pathlib import Path

from sklcnn.bounded import BoundedCache
from sklcnn.files import no_start_error
from sklcnn.network.feature_cache.folder import FolderCache
from sklcnn.network.feature_cache.memory import MemoryCache
from sklcnn.wording import shown

MEMORY_VARIABLE = "SKLCNN_FEATURE_CACHE_MB"
DEFAULT_MEMORY_MB = 512
MAX_FOLDERS = 8  # of which this process keeps the index

_memory: dict[str, MemoryCache] = {}
_folders: BoundedCache = BoundedCache(MAX_FOLDERS)


def open_feature_cache(feature_cache):
    """Open the cache that the hyper-parameter `feature_cache` names.

    Parameters
    ----------
    feature_cache : "memory", path-like or None

    Returns
    -------
    cache : MemoryCache, FolderCache or None
        The process has one of each: a folder's index is read once.
    """
    if feature_cache is None:
        return None
    if isinstance(feature_cache, str) and feature_cache == "memory":
        return memory_cache()
    if not isinstance(feature_cache, str | os.PathLike):
        raise TypeError(
            "feature_cache must be 'memory', the path of a folder or None, "
            f"but it is of type {type(feature_cache).__name__}."
        )
    if not os.fspath(feature_cache):
        raise ValueError("feature_cache must not be an empty path. Pass '.' for the current folder.")
    try:
        folder = Path(feature_cache).expanduser().absolute()
        if b"\0" in os.fsencode(folder):
            raise ValueError("embedded null byte")
    except FileNotFoundError:
        raise no_start_error("feature_cache", feature_cache) from None
    except (ValueError, RuntimeError) as error:  # such as "~name" where there is no such user
        raise ValueError(
            f"feature_cache={shown(str(feature_cache))} cannot be the path of a folder ({error}). Pass another one."
        ) from error
    return _folders.find_or_make(folder, lambda: FolderCache(folder))


def memory_cache():
    """Return the process's cache in memory, of the size that the environment sets."""
    limit = _memory_limit()
    cache = _memory.setdefault("cache", MemoryCache(limit))
    cache.resize(limit)
    return cache


def _memory_limit():
    """Read the memory cache's size, in bytes, from the environment."""
    text = os.environ.get(MEMORY_VARIABLE, str(DEFAULT_MEMORY_MB))
    try:
        megabytes = float(text)
    except ValueError:
        megabytes = -1.0
    if not 0 <= megabytes < float("inf"):
        raise ValueError(
            f"The environment variable {MEMORY_VARIABLE} must be a number of megabytes >= 0, "
            f"but it is {text!r}. Unset it for {DEFAULT_MEMORY_MB}."
        )
    return int(megabytes * 2**20)


def _forget_caches():
    """Start afresh in a forked child, which may have inherited locks that no thread will release."""
    global _folders
    _memory.clear()
    _folders = BoundedCache(MAX_FOLDERS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_caches)
