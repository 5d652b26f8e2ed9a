"""Features in this process's memory."""

import numpy as np

from sklcnn.bounded import BoundedCache
from sklcnn.network.feature_cache.filling import keep_known
from sklcnn.process import Lock

ENTRY_OVERHEAD = 200  # bytes of Python objects around a stored row


class MemoryCache:
    """Features in this process's memory, the least recently used out first. Safe between threads.

    Parameters
    ----------
    limit : int
        Bytes that it may hold.
    """

    def __init__(self, limit):
        self._entries = BoundedCache(limit)
        self._computing = Lock()

    @property
    def limit(self):
        """Bytes that it may hold."""
        return self._entries.limit

    @property
    def size(self):
        """Bytes that it holds."""
        return self._entries.size

    def get(self, keys):
        """Return the array of each key, or None."""
        return self._entries.get(keys)

    def put(self, keys, values):
        """Keep one array for each key."""
        # Copies: a row that is a view would keep its whole batch in memory.
        self._entries.put(
            (key, np.array(value), value.nbytes + ENTRY_OVERHEAD) for key, value in zip(keys, values, strict=True)
        )

    def resize(self, limit):
        """Set the number of bytes that it may hold."""
        self._entries.resize(limit)

    def fill(self, keys, compute, keep):
        """Hand the values of `keys` to `keep`; threads that miss the same ones compute them once."""
        with self._computing:
            missing = keep_known(self, keys, keep)
            for done, values in compute(missing):
                self.put(done, values)
                keep(done, values)
