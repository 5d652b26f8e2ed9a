"""Decoded pictures, kept by every store of the process in one bounded memory."""

import os
from collections import OrderedDict

from sklcnn.process import Lock

DEFAULT_LIMIT_MB = 512

# Python's own share of an entry: the key, the array's header and the table. Counted, so that many
# tiny pictures stay within the limit too.
ENTRY_BYTES = 512


class ImageCache:
    """A mapping that forgets what was least recently used once it holds too many bytes.

    The limit is 512 MB, or the environment variable ``SKLCNN_IMAGE_CACHE_MB`` (0: keep nothing),
    looked up whenever something is added. Threads may share a cache.
    """

    def __init__(self):
        self.n_bytes = 0
        self._entries = OrderedDict()
        self._lock = Lock()

    def __len__(self):
        return len(self._entries)

    def get(self, keys):
        """Return the values of several keys, None where there is none.

        Parameters
        ----------
        keys : iterable of hashable

        Returns
        -------
        values : list
        """
        # One turn at the lock for a whole batch.
        with self._lock:
            return [self._touch(key) for key in keys]

    def put(self, key, value, n_bytes=0):
        """Keep a value, and forget the least recently used ones beyond the limit.

        Parameters
        ----------
        key : hashable
        value : object
        n_bytes : int, default=0
            Size of the value; the entry's own overhead is added.
        """
        size = n_bytes + ENTRY_BYTES
        limit = limit_bytes()
        with self._lock:
            self._forget(key)
            if size <= limit:
                self._entries[key] = value, size
                self.n_bytes += size
            while self.n_bytes > limit:
                self._forget(next(iter(self._entries)))

    def clear(self):
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.n_bytes = 0

    def _touch(self, key):
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def _forget(self, key):
        _, size = self._entries.pop(key, (None, 0))
        self.n_bytes -= size


def limit_bytes():
    """Return how many bytes of pictures a process may keep.

    Returns
    -------
    limit : int

    Raises
    ------
    ValueError
        If ``SKLCNN_IMAGE_CACHE_MB`` is not a number of megabytes.
    """
    setting = os.environ.get("SKLCNN_IMAGE_CACHE_MB", DEFAULT_LIMIT_MB)
    try:
        return int(float(setting) * 2**20)
    except (ValueError, OverflowError):
        raise ValueError(
            f"SKLCNN_IMAGE_CACHE_MB must be a number of megabytes, not {setting!r}. Use 0 to keep nothing."
        ) from None


IMAGE_CACHE = ImageCache()
