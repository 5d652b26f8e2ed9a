"""Files by names that users pass: such a name may be that of a pipe, which never answers, or of an endless device."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Any

from sklcnn.wording import shown

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Any) -> IO[bytes]:
    """Open a regular file to read its bytes.

    Raises
    ------
    OSError
        If there is none, or it is a folder, a pipe, a device or a socket; none of these is waited for.
    ValueError
        If no file can have such a name.
    """
    check_regular(os.stat(path), path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        check_regular(os.fstat(file.fileno()), path)  # it may have been replaced since
    except OSError:
        file.close()
        raise
    return file


def working_folder() -> str | None:
    """Return the working folder, where relative paths start; None where it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def no_start_error(name: str, path: Any) -> FileNotFoundError:
    """Say of a hyper-parameter's relative path that the working folder, where it starts, has been deleted."""
    return FileNotFoundError(
        f"{name}={shown(str(path))} starts at the working folder, which has been deleted. Pass an absolute path."
    )


def check_regular(status: os.stat_result, path: Any) -> None:
    """Raise an OSError that says what was found, if it is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(
            errno.EINVAL, f"it is {KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, and no file", path
        )


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    """Return numbers that change when a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
