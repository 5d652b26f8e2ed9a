"""Features of a frozen backbone, computed once per distinct image.

Epochs, candidates, folds, ``predict`` and `CNNFeatures` ask for features by the content of the images; what
one of them has computed the others find in a cache. `MemoryCache` serves one process; `FolderCache` serves
processes, machines and runs.

A folder holds shards. A shard is written whole under another name and moved into place, so that it is there
or it is not, and it never changes afterwards. Every entry carries a digest over its key and value: what a
disk or a person did to a file shows, and that entry is computed again. Processes that need the same images
share the work through claims, files that say "I am computing these". A claim only saves work: with none, or
with one that is broken by mistake, an image is computed twice and nothing else happens.
"""

import contextlib
import hashlib
import itertools
import math
import os
import random
import re
import socket
import struct
import threading
import time
import uuid
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sklcnn.network.allocation import freed_memory_kept
from sklcnn.network.backbones import Counter

MEMORY_VARIABLE = "SKLCNN_FEATURE_CACHE_MB"
DEFAULT_MEMORY_MB = 512
ENTRY_OVERHEAD = 200  # bytes of Python objects around a stored row

N_PASSES = Counter()  # images that went through a backbone in this process

HEARTBEAT_SECONDS = 2.0  # between two signs of life of whoever holds a claim
STALE_SECONDS = 20.0  # without a sign of life, after which a claim counts as abandoned
WAIT_SECONDS = 600.0  # without any progress, after which one computes what others have claimed
RETRY_SECONDS = 60.0  # before a folder that could not be written to is tried again
LEFTOVER_SECONDS = 3600.0  # age of temporary files that no living writer can still need
MAX_FOLDERS = 8  # whose indexes are kept

Compute = Callable[[list[bytes]], Iterable[tuple[list[bytes], np.ndarray]]]
Keep = Callable[[Iterable[bytes], Iterable[np.ndarray]], None]


def cached_features(backbone, store, rows, *, cache, batch_size, device, precision, image_size):
    """Give the features of some images, computing only those that no one has computed yet.

    Parameters
    ----------
    backbone : Backbone
        Moved to `device`, and to float64 where `precision` says so. It is run in eval mode.
    store : store
        See ``docs/architecture.md``; `keys`, `batches`, `sample_shape` and `integer` are used.
    rows : torch.Tensor of shape (n,) or slice
    cache : MemoryCache, FolderCache or None
        A backbone of the user's own is kept in memory even where `cache` is a folder.
    batch_size : int
    device : str or torch.device
    precision : {"float32", "float64", "bfloat16"}
    image_size : tuple of int or None
        What the store resizes images to.

    Returns
    -------
    features : torch.Tensor of shape (n, d)
        On the CPU, float64 if `precision` is, else float32. Equal images have equal rows.
    """
    device = torch.device(device)
    dtype = torch.float64 if precision == "float64" else torch.float32
    rows = torch.arange(len(store))[rows] if isinstance(rows, slice) else rows
    was_training = backbone.training
    backbone.to(device=device, dtype=dtype).eval()
    try:
        kind = _kind_of_features(backbone, store, image_size, precision, device)
        keys = [_feature_key(kind, content) for content in store.keys(rows)]
        row_of = dict(zip(reversed(keys), reversed(rows.tolist()), strict=True))
        position = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        features = np.empty((len(position), backbone.n_features), dtype=str(dtype).removeprefix("torch."))

        def compute(keys):
            groups = _even_groups(keys, batch_size)
            batches = store.batches([torch.tensor([row_of[key] for key in group]) for group in groups], dtype)
            with freed_memory_kept() if len(keys) > 1 else contextlib.nullcontext():
                for group, images in zip(groups, batches, strict=True):
                    yield group, _run(backbone, images, device, precision).to(dtype).cpu().numpy()

        def keep(keys, values):
            for key, value in zip(keys, values, strict=True):
                features[position[key]] = value

        _fill(_suitable_cache(backbone, cache, kind), list(position), compute, keep)
    finally:
        backbone.train(was_training)
    if len(position) < len(keys):
        features = features[[position[key] for key in keys]]
    return torch.from_numpy(features)


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
        return _memory_cache()
    if not isinstance(feature_cache, str | os.PathLike):
        raise TypeError(
            "feature_cache must be 'memory', the path of a folder or None, "
            f"but it is of type {type(feature_cache).__name__}."
        )
    if not os.fspath(feature_cache):
        raise ValueError("feature_cache must not be an empty path. Pass '.' for the current folder.")
    folder = Path(feature_cache).expanduser().absolute()
    with _opening:
        cache = _folders.pop(folder, None) or FolderCache(folder)
        _folders[folder] = cache
        while len(_folders) > MAX_FOLDERS:
            _folders.popitem(last=False)
    return cache


def _memory_cache():
    limit = _memory_limit()
    with _opening:
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


_opening = threading.Lock()
_memory: dict[str, "MemoryCache"] = {}
_folders: OrderedDict[Path, "FolderCache"] = OrderedDict()


def _forget_caches():
    """Start afresh in a forked child, which may have inherited locks that no thread will release."""
    global _opening
    _opening = threading.Lock()
    _memory.clear()
    _folders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_caches)


def _kind_of_features(backbone, store, image_size, precision, device):
    """Digest what features depend on besides the image; None if the backbone cannot tell."""
    fingerprint = backbone.fingerprint
    if fingerprint is None:
        return None
    # Devices round convolutions differently, by more than the rounding that a fit may notice.
    parts = (
        fingerprint,
        tuple(store.sample_shape),
        bool(store.integer),
        image_size and tuple(image_size),
        precision,
        device.type,
    )
    return hashlib.sha256(repr(parts).encode()).digest()


def _feature_key(kind, content):
    """Make the key of an image's features: 8 bytes for the kind of features, 24 for the image."""
    kind = kind or bytes(32)
    return kind[:8] + hashlib.sha256(kind + content).digest()[:24]


def _suitable_cache(backbone, cache, kind):
    if cache is None or kind is None:
        return None
    return cache if backbone.shareable or isinstance(cache, MemoryCache) else _memory_cache()


def _fill(cache, keys, compute, keep):
    """Hand the values of all `keys` to `keep`, from the cache or from `compute`."""
    if cache is None:
        for done, values in compute(keys):
            keep(done, values)
        return
    missing = _keep_known(cache, keys, keep)
    if missing:
        cache.fill(missing, compute, keep)


def _keep_known(cache, keys, keep):
    """Hand what a cache has to `keep`, and return the keys it has not."""
    known, missing = {}, []
    for key, value in zip(keys, cache.get(keys), strict=True):
        if value is None:
            missing.append(key)
        else:
            known[key] = value
    keep(known.keys(), known.values())
    return missing


def _even_groups(keys, max_size):
    """Split keys into as few groups as `max_size` allows, all of nearly one size.

    Libraries round otherwise for batches of very few images: a last batch of two would have features of
    its own, by some 1e-5.
    """
    n_groups = math.ceil(len(keys) / max_size)
    if n_groups == 0:
        return []
    ends = [len(keys) * i // n_groups for i in range(n_groups + 1)]
    return [keys[start:end] for start, end in itertools.pairwise(ends)]


def _run(backbone, images, device, precision):
    """Run a batch through a backbone: (m, c, h, w) -> (m, d)."""
    images = images.to(device, non_blocking=True)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    N_PASSES.add(len(images))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.no_grad(), autocast:
        return backbone(images)


class MemoryCache:
    """Features in this process's memory, the least recently used out first. Safe between threads.

    Parameters
    ----------
    limit : int
        Bytes that it may hold.
    """

    def __init__(self, limit):
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._computing = threading.RLock()

    def get(self, keys):
        """Return the array of each key, or None."""
        with self._lock:
            found = [self._entries.get(key) for key in keys]
            for key, value in zip(keys, found, strict=True):
                if value is not None:
                    self._entries.move_to_end(key)
        return found

    def put(self, keys, values):
        """Keep one array for each key."""
        with self._lock:
            for key, value in zip(keys, values, strict=True):
                if key not in self._entries:
                    # A copy: a row that is a view would keep its whole batch in memory.
                    self._entries[key] = value = np.array(value)
                    self.size += value.nbytes + ENTRY_OVERHEAD
            self._shrink()

    def resize(self, limit):
        """Set the number of bytes that it may hold."""
        with self._lock:
            self.limit = limit
            self._shrink()

    def fill(self, keys, compute, keep):
        """Hand the values of `keys` to `keep`; threads that miss the same ones compute them once."""
        with self._computing:
            missing = _keep_known(self, keys, keep)
            for done, values in compute(missing):
                self.put(done, values)
                keep(done, values)

    def _shrink(self):
        while self.size > self.limit and self._entries:
            _, value = self._entries.popitem(last=False)
            self.size -= value.nbytes + ENTRY_OVERHEAD


MAGIC = b"sklcnn1\n"
HEADER = struct.Struct("<8sIIc3x")  # magic, number of entries, length of a row, type of its numbers
KEY_BYTES = DIGEST_BYTES = 32
DTYPES = {b"f": np.dtype("<f4"), b"d": np.dtype("<f8")}
SHARD_NAME = re.compile(r"[0-9a-f]{32}\.features")


class _DamagedError(Exception):
    """A shard is not what its writer wrote."""


@dataclass(frozen=True)
class _Shard:
    """What a shard says of itself: header, keys, one digest an entry, a digest over these; then the rows."""

    length: int
    code: bytes
    keys: tuple[bytes, ...]
    digests: tuple[bytes, ...]

    @property
    def row_bytes(self):
        return self.length * DTYPES[self.code].itemsize

    def offset(self, i):
        return _table_bytes(len(self.keys)) + i * self.row_bytes

    def value(self, i, data):
        """Turn the bytes of row `i` into an array, if they are the ones that were written."""
        if _entry_digest(self.code, self.keys[i], data) != self.digests[i]:
            raise _DamagedError
        return np.frombuffer(data, dtype=DTYPES[self.code])


def _table_bytes(n):
    return HEADER.size + n * (KEY_BYTES + DIGEST_BYTES) + DIGEST_BYTES


def _entry_digest(code, key, data):
    return hashlib.sha256(MAGIC + code + key + data).digest()


def _encode_shard(keys, values, code):
    rows = [np.ascontiguousarray(value, dtype=DTYPES[code]).tobytes() for value in values]
    digests = [_entry_digest(code, key, row) for key, row in zip(keys, rows, strict=True)]
    table = b"".join([HEADER.pack(MAGIC, len(keys), len(values[0]), code), *keys, *digests])
    return b"".join([table, hashlib.sha256(table).digest(), *rows])


def _decode_table(data, strict=True):
    """Read what a shard says of itself.

    Parameters
    ----------
    data : bytes
        At least all that comes before the rows.
    strict : bool, default=True
        Whether the digest over it must be right. If not, the digests of the entries must be relied on.
    """
    try:
        magic, n, length, code = HEADER.unpack_from(data)
    except struct.error:
        raise _DamagedError from None
    end = _table_bytes(n)
    if magic != MAGIC or code not in DTYPES or len(data) < end:
        raise _DamagedError
    digests_end = end - DIGEST_BYTES
    if strict and hashlib.sha256(data[:digests_end]).digest() != data[digests_end:end]:
        raise _DamagedError
    parts = [data[i : i + KEY_BYTES] for i in range(HEADER.size, digests_end, KEY_BYTES)]
    return _Shard(length, code, tuple(parts[:n]), tuple(parts[n:]))


def _read_table(file):
    """Read what an open shard says of itself, and check that its length is right."""
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise _DamagedError
    _, n, _, _ = HEADER.unpack(head)
    size = os.fstat(file.fileno()).st_size
    if _table_bytes(n) > size:
        raise _DamagedError
    shard = _decode_table(head + file.read(_table_bytes(n) - HEADER.size))
    if shard.offset(n) != size:
        raise _DamagedError
    return shard


def _salvage(data):
    """Find the entries of a damaged shard that are still as they were written."""
    try:
        shard = _decode_table(data, strict=False)
    except _DamagedError:
        return [], []
    keys, values = [], []
    for i, key in enumerate(shard.keys):
        with contextlib.suppress(_DamagedError):
            row = data[shard.offset(i) : shard.offset(i + 1)]
            if len(row) == shard.row_bytes:
                values.append(shard.value(i, row))
                keys.append(key)
    return keys, values


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
        self._lock = threading.RLock()
        self._shards: dict[str, _Shard | None] = {}  # None: a damaged one that could not be moved
        self._index: dict[bytes, tuple[str, int]] = {}  # key -> shard, entry
        self._retry_at = 0.0
        self._warned = False
        self._tidied = False

    def get(self, keys):
        """Return the array of each key, or None."""
        found: dict[bytes, np.ndarray] = {}
        with self._lock:
            # Twice: what is still right in a damaged shard is moved to another one.
            for _ in range(2):
                missing = [key for key in keys if key not in found]
                if any(key not in self._index for key in missing):
                    self._list_shards()
                entries = [(*self._index[key], key) for key in missing if key in self._index]
                if not entries:
                    break
                for name, group in itertools.groupby(sorted(entries), key=lambda entry: entry[0]):
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
            self._stop_writing(error)

    def fill(self, keys, compute, keep):
        """Hand the values of `keys` to `keep`, sharing the work with others who fill the same folder."""
        missing = keys
        with _Claims(self.folder) as claims:
            patience = _Patience()
            while missing:
                claimed = claims.take(missing, self._round_size(len(missing)))
                if patience.over:
                    claimed = missing
                # Others publish before they give a claim back: what they had is there now.
                left = set(_keep_known(self, missing, keep))
                if len(left) < len(missing) or claimed:
                    patience = _Patience()
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
        """Choose how much to claim at once: little enough to share, enough to fill batches, and no small rest."""
        n_rounds = max(1, n_missing // max(32, min(n_missing // 16, 512)))
        return math.ceil(n_missing / n_rounds)

    def _list_shards(self):
        """Index the shards that have come since the last time."""
        try:
            names = [name for name in os.listdir(self.folder) if SHARD_NAME.fullmatch(name)]
        except FileNotFoundError:
            return
        except OSError as error:
            self._stop_writing(error)
            return
        for name in names:
            if name not in self._shards:
                self._index_shard(name)

    def _index_shard(self, name):
        try:
            with open(self.folder / name, "rb") as file:
                shard = _read_table(file)
        except _DamagedError:
            self._set_aside(name)
        except OSError:
            return
        else:
            self._remember(name, shard)

    def _remember(self, name, shard):
        self._shards[name] = shard
        for i, key in enumerate(shard.keys):
            self._index.setdefault(key, (name, i))

    def _read_entries(self, name, entries):
        """Read entries ``(i, key)`` of one shard; those that are damaged are left out."""
        shard = self._shards.get(name)
        if shard is None:  # set aside a moment ago
            return {}
        found = {}
        try:
            with open(self.folder / name, "rb") as file:
                for i, key in entries:
                    file.seek(shard.offset(i))
                    found[key] = shard.value(i, file.read(shard.row_bytes))
        except _DamagedError:
            self._set_aside(name)
        except OSError:
            self._forget(name)
        return found

    def _forget(self, name):
        self._shards.pop(name, None)
        self._index = {key: entry for key, entry in self._index.items() if entry[0] != name}

    def _set_aside(self, name):
        """Move a damaged shard out of the way, and keep what is still right in it."""
        path = self.folder / name
        self._forget(name)
        keys, values = [], []
        try:
            keys, values = _salvage(path.read_bytes())
            os.replace(path, path.with_suffix(".damaged"))
        except FileNotFoundError:  # another process was faster
            return
        except OSError:
            self._shards[name] = None
        if keys:
            self.put(keys, values)
        warnings.warn(
            f"The feature cache has a damaged file, {path}. It was set aside, {len(keys)} of its entries "
            "were kept, and the others are computed again.",
            UserWarning,
            stacklevel=2,
        )

    def _write_shard(self, keys, values, code):
        data = _encode_shard(keys, values, code)
        name = f"{hashlib.sha256(data).hexdigest()[:32]}.features"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._tidy()
        temporary = self.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_bytes(data)
            os.replace(temporary, self.folder / name)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        with self._lock:
            self._remember(name, _decode_table(data))

    def _tidy(self):
        """Remove what writers left that were killed long ago."""
        if self._tidied:
            return
        self._tidied = True
        for path in itertools.chain(self.folder.glob(".*.tmp"), self.folder.glob(".*.claim")):
            with contextlib.suppress(OSError):
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


class _Patience:
    """How long one waits for others who make no progress."""

    def __init__(self):
        self._deadline = time.monotonic() + WAIT_SECONDS
        self._pause = 0.01

    @property
    def over(self):
        return time.monotonic() > self._deadline

    def wait(self):
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 0.25)


class _Claims:
    """The keys that this process is computing, as others see it.

    A claim is on a bucket of keys, those with the same first bytes, so that processes with different rows
    agree on what a claim means, and there are at most 256 of them whatever the number of images.

    Parameters
    ----------
    folder : Path
    """

    BUCKET_BYTES = 9  # 8 for the kind of features, 1 for the image

    def __init__(self, folder):
        self.folder = folder
        self._owner = f"{socket.gethostname()} {os.getpid()}"
        self._held: set[Path] = set()
        self._seen: dict[Path, tuple[int, float]] = {}  # claim -> its time stamp, when that was first seen
        # Not NumPy's or Python's global generator: a fit leaves those as they were. Each process and
        # thread has its own order, so that they meet late.
        self._random = random.Random(uuid.uuid4().int)
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="sklcnn-claims")

    def __enter__(self):
        self._heart.start()
        return self

    def __exit__(self, *error):
        self._closed.set()
        self._heart.join()
        self.release()

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
            with contextlib.suppress(OSError, KeyError):
                self._held.pop().unlink(missing_ok=True)

    def _claim(self, path):
        """Try to claim a bucket. Where that cannot be done at all, all are free to compute it."""
        try:
            with open(path, "x") as file:
                self._held.add(path)
                file.write(self._owner)
        except FileExistsError:
            if self._abandoned(path):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            return False
        except FileNotFoundError:
            return self._claim_in_new_folder(path)
        except OSError:
            return True
        return True

    def _claim_in_new_folder(self, path):
        try:
            self.folder.mkdir(parents=True)
        except OSError:
            return not self.folder.is_dir()
        return self._claim(path)

    def _abandoned(self, path):
        """Tell whether whoever made a claim is gone."""
        try:
            stamp, owner = path.stat().st_mtime_ns, path.read_text(errors="replace")
        except FileNotFoundError:
            return False
        except OSError:
            return True
        if _is_dead(owner):
            return True
        # Our own clock measures how long the stamp has stood still: clocks of machines differ.
        seen = self._seen.get(path)
        if seen is None or seen[0] != stamp:
            self._seen[path] = (stamp, time.monotonic())
            return False
        return time.monotonic() - seen[1] > STALE_SECONDS

    def _beat(self):
        while not self._closed.wait(HEARTBEAT_SECONDS):
            for path in tuple(self._held):
                with contextlib.suppress(OSError):
                    os.utime(path)


def _is_dead(owner):
    """Tell whether a process of this machine has ended; False where that cannot be told."""
    host, _, pid = owner.rpartition(" ")
    if os.name != "posix" or host != socket.gethostname() or not pid.isdecimal() or int(pid) == 0:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
