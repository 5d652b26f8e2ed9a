"""A cache of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from sklcnn.process import Lock


class BoundedCache:
    """A mapping of bounded size, which drops the entries that were not used for longest. Threads may share it.

    Parameters
    ----------
    limit : float
        Largest sum of the weights of all entries: bytes, or a number of entries that weigh 1 each.
    """

    def __init__(self, limit: float):
        self.limit = limit
        self.size: float = 0
        self._entries: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, keys: Iterable[Hashable]) -> list[Any]:
        """Return the value of each key, or None, taking the lock once."""
        with self._lock:
            return [self._touch(key) for key in keys]

    def put(self, entries: Iterable[tuple[Hashable, Any, float]]) -> None:
        """Keep some ``(key, value, weight)``, and drop the least recently used entries beyond the limit.

        An entry that is over the limit by itself is not kept.
        """
        with self._lock:
            for key, value, weight in entries:
                self._forget(key)
                if weight <= self.limit:
                    self._entries[key] = value, weight
                    self.size += weight
            self._shrink()

    def find_or_make(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value of a key; if there is none, make it, once for all threads, and keep it with weight 1."""
        with self._lock:
            value = self._touch(key)
            if value is None:
                value = make()
                self.put([(key, value, 1)])
            return value

    def resize(self, limit: float) -> None:
        """Set the limit, and drop entries that are over it."""
        with self._lock:
            self.limit = limit
            self._shrink()

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()
            self.size = 0

    def _touch(self, key):
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def _forget(self, key):
        _, weight = self._entries.pop(key, (None, 0))
        self.size -= weight

    def _shrink(self):
        while self.size > self.limit and self._entries:
            self._forget(next(iter(self._entries)))
