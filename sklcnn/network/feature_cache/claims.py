"""Which features a process is computing, as other processes see it."""

import random
import time
import uuid
from collections import defaultdict
from pathlib import Path

from filelock import FileLock, Timeout

from sklcnn.process import Undone
from sklcnn.signals import raise_if_signalled, suppressed

WAIT_SECONDS = 600.0  # without any progress, after which a process computes what others have claimed


class Patience:
    """How long a process waits for others that make no progress."""

    def __init__(self):
        self._deadline = time.monotonic() + WAIT_SECONDS
        self._pause = 0.01

    @property
    def over(self):
        """Whether it has waited long enough."""
        return time.monotonic() > self._deadline

    def wait(self):
        """Wait a little, each time longer."""
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 0.25)


class Claims(Undone):
    """The keys that this process is computing, as others see it: locks that the system releases if it is killed.

    A claim is on a bucket of keys, those with the same first bytes, so that processes with different rows agree on what
    a claim means, and there are at most 256 of them whatever the number of images.

    Parameters
    ----------
    folder : Path
    """

    BUCKET_BYTES = 9  # 8 for the kind of features, 1 for the image

    def __init__(self, folder):
        super().__init__(self.release)
        self.folder = folder
        self._held = []
        # Not NumPy's or Python's global generator: a fit leaves those as they were. Each process and thread has an
        # order of its own, so that they seldom want the same bucket.
        self._random = random.Random(uuid.uuid4().int)

    def take(self, keys, n_wanted):
        """Claim buckets until they have `n_wanted` of `keys`; return the keys claimed."""
        buckets = defaultdict(list)
        for key in keys:
            buckets[key[: self.BUCKET_BYTES]].append(key)
        order = list(buckets)
        self._random.shuffle(order)
        claimed = []
        for bucket in order:
            if len(claimed) >= n_wanted:
                break
            if self._claim(self.folder / f".{bucket.hex()}.claim"):
                claimed += buckets[bucket]
        return claimed

    def release(self):
        """Give all claims back."""
        while self._held:
            lock = self._held[-1]
            if lock.is_locked:
                with suppressed(OSError):
                    # While it is held: who waits for it finds that the file has gone, and claims another of its name.
                    Path(lock.lock_file).unlink(missing_ok=True)
            with suppressed(OSError):
                lock.release()
            self._held.remove(lock)

    def _claim(self, path):
        """Try to claim a bucket. Where files cannot be locked at all, every process may compute it."""
        lock = FileLock(path)
        self._held.append(lock)  # before it is acquired, in case of an interrupt: releasing a free lock does nothing
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            self._held.remove(lock)
            return False
        except (OSError, NotImplementedError) as error:
            raise_if_signalled(error)
            self._held.remove(lock)
        return True
