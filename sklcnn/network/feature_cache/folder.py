"""Features in a folder that processes, machines and runs share."""

import itertools
import math
import os
import re
import time
import uuid
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

from sklcnn.files import open_regular
from sklcnn.network.feature_cache.claims import Claims, Patience
from sklcnn.network.feature_cache.filling import keep_known
from sklcnn.network.feature_cache.shards import (
    SHARD_NAME,
    DamagedError,
    Shard,
    decode_table,
    encode_shard,
    read_table,
    shard_name,
)
from sklcnn.process import Lock, Undone
from sklcnn.signals import raise_if_signalled, suppressed

RETRY_SECONDS = 60.0  # before a folder that could not be written to is tried again
# Of temporary files and of claims, whose names are hexadecimal.
LEFTOVER_NAME = re.compile(r"\.([0-9a-f]{1,32}\.tmp|[0-9a-f]{1,18}\.claim)")
LEFTOVER_SECONDS = 3600.0  # age of temporary files that no living writer can still need


class FolderCache:
    """Features in a folder that processes, machines and runs share. Safe between threads.

    Nothing that is wrong with the folder raises: reading goes on without it, with a warning.

    Parameters
    ----------
    folder : path-like
        Made when something is first written.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._lock = Lock()
        self._shards: dict[str, Shard | None] = {}  # None: a damaged one that could not be moved
        self._index: dict[bytes, tuple[str, int]] = {}  # key -> shard, entry
        self._retry_at = 0.0
        self._warned = False
        self._tidied = False

    def get(self, keys):
        """Return the array of each key, or None."""
        found: dict[bytes, np.ndarray] = {}
        with self._lock:
            if any(key not in self._index for key in keys):
                self._list_shards()
            entries = sorted((*self._index[key], key) for key in dict.fromkeys(keys) if key in self._index)
            for name, group in itertools.groupby(entries, key=lambda entry: entry[0]):
                found.update(self._read_entries(name, [(i, key) for _, i, key in group]))
        return [found.get(key) for key in keys]

    def put(self, keys, values):
        """Keep one array for each key."""
        if time.monotonic() < self._retry_at:
            return
        groups = defaultdict(list)
        for key, value in zip(keys, values, strict=True):
            code = b"d" if value.dtype == np.float64 else b"f"
            groups[code, len(value)].append((key, value))
        try:
            for (code, _), entries in groups.items():
                self._write_shard(*zip(*entries, strict=True), code)
        except OSError as error:
            raise_if_signalled(error)
            self._stop_writing(error)

    def fill(self, keys, compute, keep):
        """Hand the values of `keys` to `keep`, sharing the work with others who fill the same folder."""
        missing = keys
        with Claims(self.folder) as claims:
            patience = Patience()
            while missing:
                claimed = claims.take(missing, self._round_size(len(missing)))
                if patience.over:
                    claimed = missing
                # Others publish before they give a claim back: what they had is there now.
                left = set(keep_known(self, missing, keep))
                if len(left) < len(missing) or claimed:
                    patience = Patience()
                else:
                    patience.wait()
                mine = [key for key in claimed if key in left]
                for done, values in compute(mine):
                    self.put(done, values)
                    keep(done, values)
                claims.release()
                left.difference_update(mine)
                missing = [key for key in missing if key in left]

    @staticmethod
    def _round_size(n_missing):
        """Choose how many keys to claim at once: few enough to share, enough to fill batches, with no small rest."""
        n_rounds = max(1, n_missing // max(32, min(n_missing // 16, 512)))
        return math.ceil(n_missing / n_rounds)

    def _list_shards(self):
        """Index the shards that have come since the last time."""
        try:
            names = [name for name in os.listdir(self.folder) if SHARD_NAME.fullmatch(name)]
        except FileNotFoundError:
            return
        except OSError as error:
            raise_if_signalled(error)
            self._stop_writing(error)
            return
        for name in names:
            if name not in self._shards:
                self._index_shard(name)

    def _index_shard(self, name):
        try:
            with open_regular(self.folder / name) as file:
                shard = read_table(file)
        except DamagedError:
            self._set_aside(name)
        except OSError as error:
            raise_if_signalled(error)
            return
        else:
            self._remember(name, shard)

    def _remember(self, name, shard):
        self._shards[name] = shard
        for i, key in enumerate(shard.keys):
            self._index.setdefault(key, (name, i))

    def _read_entries(self, name, entries):
        """Read entries ``(i, key)`` of one shard; none if one is damaged, so that all of them are written anew."""
        shard = self._shards.get(name)
        if shard is None:  # set aside a moment ago
            return {}
        found = {}
        try:
            with open_regular(self.folder / name) as file:
                for i, key in entries:
                    file.seek(shard.offset(i))
                    found[key] = shard.value(i, file.read(shard.row_bytes))
        except DamagedError:
            self._set_aside(name)
            return {}
        except OSError as error:
            raise_if_signalled(error)
            self._forget(name)
        return found

    def _forget(self, name):
        self._shards.pop(name, None)
        self._index = {key: entry for key, entry in self._index.items() if entry[0] != name}

    def _set_aside(self, name):
        """Move a damaged shard out of the way."""
        path = self.folder / name
        self._forget(name)
        try:
            os.replace(path, path.with_suffix(".damaged"))
        except FileNotFoundError:  # another process was faster
            return
        except OSError as error:
            raise_if_signalled(error)
            self._shards[name] = None
        warnings.warn(
            f"The feature cache has a damaged file, {path}. It was set aside, and its entries are computed again.",
            UserWarning,
            stacklevel=2,
        )

    def _write_shard(self, keys, values, code):
        data = encode_shard(keys, values, code)
        name = shard_name(data)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        temporary = self.folder / f".{uuid.uuid4().hex}.tmp"
        with Undone(lambda: _remove(temporary)):
            temporary.write_bytes(data)
            os.replace(temporary, self.folder / name)
        with self._lock:
            self._remember(name, decode_table(data))

    def _tidy(self):
        """Remove the files that killed writers left long ago."""
        if self._tidied:
            return
        self._tidied = True
        for path in self.folder.glob(".*"):
            if not LEFTOVER_NAME.fullmatch(path.name):  # other programs have hidden files too
                continue
            with suppressed(OSError):
                if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                    path.unlink()

    def _stop_writing(self, error):
        """Go on without writing for a while. The first time, say so."""
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"The feature cache cannot use the folder {self.folder} ({error}). Features are computed "
                "without it. Free some space, or pass a folder that can be written to, as feature_cache.",
                UserWarning,
                stacklevel=2,
            )


def _remove(path):
    """Remove a file, if it is there and can be."""
    with suppressed(OSError):
        path.unlink(missing_ok=True)
