"""Files that may be anything: a name can lead to a pipe that never answers, or to a device that never ends."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Any

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Any) -> IO[bytes]:
    """Open a file to read its bytes, if it is one.

    Raises
    ------
    OSError
        If there is none, or it is a folder, a pipe, a device or a socket, which is not waited for.
    ValueError
        If no file can be called so.
    """
    check_regular(os.stat(path), path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        check_regular(os.fstat(file.fileno()), path)  # what was looked at may have been replaced
    except OSError:
        file.close()
        raise
    return file


def check_regular(status: os.stat_result, path: Any) -> None:
    """Raise OSError where what was found is no file, with its kind as the reason."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}, and no file", path)


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what differs between a file and one that replaces it, or that is written in its place."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
