"""A count that threads may add to at once."""

import threading


class Counter:
    """A count that threads may add to at once."""

    def __init__(self):
        self._lock = threading.Lock()
        self.value = 0

    def add(self, n=1):
        """Add `n`."""
        with self._lock:
            self.value += n
