"""Decoded pictures, kept by every store of the process in one bounded memory."""

import os

from sklcnn.bounded import BoundedCache

DEFAULT_LIMIT_MB = 512

# Python's own share of an entry: the key, the array's header and the table. Counted, so that many
# tiny pictures stay within the limit too.
ENTRY_BYTES = 512


class ImageCache:
    """Decoded pictures and what is known of files; the least recently used are dropped first. Safe between threads.

    The limit is 512 MB, or the environment variable ``SKLCNN_IMAGE_CACHE_MB`` (0: keep nothing),
    looked up whenever something is added.
    """

    def __init__(self):
        self._entries = BoundedCache(DEFAULT_LIMIT_MB * 2**20)

    def __len__(self):
        return len(self._entries)

    @property
    def n_bytes(self):
        """Bytes that it holds."""
        return self._entries.size

    def get(self, keys):
        """Return the values of several keys, None where there is none."""
        return self._entries.get(keys)

    def put(self, key, value, n_bytes=0):
        """Keep a value of so many bytes; the entry's own overhead is added."""
        self._entries.resize(limit_bytes())
        self._entries.put([(key, value, n_bytes + ENTRY_BYTES)])

    def clear(self):
        """Forget everything."""
        self._entries.clear()


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
