"""The format of a folder's files: tables of keys and digests, and rows of numbers."""

import hashlib
import os
import re
import struct
from dataclasses import dataclass

import numpy as np

MAGIC = b"sklcnn1\n"
HEADER = struct.Struct("<8sIIc3x")  # magic, number of entries, length of a row, type of its numbers
KEY_BYTES = DIGEST_BYTES = 32
MAX_ENTRIES = 2**20  # of a shard: its table is read whole, and a writer makes one of a batch
DTYPES = {b"f": np.dtype("<f4"), b"d": np.dtype("<f8")}
SHARD_NAME = re.compile(r"[0-9a-f]{32}\.features")


class DamagedError(Exception):
    """A shard is not what its writer wrote."""


@dataclass(frozen=True)
class Shard:
    """What a shard says of itself: header, keys, one digest an entry, a digest over these; then the rows."""

    length: int
    code: bytes
    keys: tuple[bytes, ...]
    digests: tuple[bytes, ...]

    @property
    def row_bytes(self):
        """Bytes of a row."""
        return self.length * DTYPES[self.code].itemsize

    def offset(self, i):
        """Compute where row `i` begins."""
        return _table_bytes(len(self.keys)) + i * self.row_bytes

    def value(self, i, data):
        """Turn the bytes of row `i` into an array, if they are the ones that were written."""
        if _entry_digest(self.code, self.keys[i], data) != self.digests[i]:
            raise DamagedError
        return np.frombuffer(data, dtype=DTYPES[self.code])


def _table_bytes(n):
    return HEADER.size + n * (KEY_BYTES + DIGEST_BYTES) + DIGEST_BYTES


def _entry_digest(code, key, data):
    return hashlib.sha256(MAGIC + code + key + data).digest()


def encode_shard(keys, values, code):
    """Write keys and values as the bytes of a shard, numbers of the type that `code` stands for."""
    rows = [np.ascontiguousarray(value, dtype=DTYPES[code]).tobytes() for value in values]
    digests = [_entry_digest(code, key, row) for key, row in zip(keys, rows, strict=True)]
    table = b"".join([HEADER.pack(MAGIC, len(keys), len(values[0]), code), *keys, *digests])
    return b"".join([table, hashlib.sha256(table).digest(), *rows])


def decode_table(data):
    """Read what a shard says of itself from at least all of the bytes that come before its rows."""
    try:
        magic, n, length, code = HEADER.unpack_from(data)
    except struct.error:
        raise DamagedError from None
    end = _table_bytes(n)
    if magic != MAGIC or code not in DTYPES or len(data) < end:
        raise DamagedError
    digests_end = end - DIGEST_BYTES
    if hashlib.sha256(data[:digests_end]).digest() != data[digests_end:end]:
        raise DamagedError
    parts = [data[i : i + KEY_BYTES] for i in range(HEADER.size, digests_end, KEY_BYTES)]
    return Shard(length, code, tuple(parts[:n]), tuple(parts[n:]))


def read_table(file):
    """Read what an open shard says of itself, and check that its length is right."""
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise DamagedError
    _, n, _, _ = HEADER.unpack(head)
    size = os.fstat(file.fileno()).st_size
    if n > MAX_ENTRIES or _table_bytes(n) > size:
        raise DamagedError
    shard = decode_table(head + file.read(_table_bytes(n) - HEADER.size))
    if shard.offset(n) != size:
        raise DamagedError
    return shard


def shard_name(data):
    """Name a shard after its content."""
    return f"{hashlib.sha256(data).hexdigest()[:32]}.features"
