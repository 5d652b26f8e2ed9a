"""The control groups of this process, by which containers and services limit memory and processors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sklcnn.signals import raise_if_signalled


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """List the groups of this process that a controller may limit, the innermost first.

    Parameters
    ----------
    controller : {"memory", "cpu"}
    root : Path
        Root of the file system.

    Yields
    ------
    version : {1, 2}
    folder : Path
        Of the group's files.
    """
    for line in read_lines(root / "proc/self/cgroup"):
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            version, base = 1, root / "sys/fs/cgroup" / controller
        elif not controllers:
            version, base = 2, root / "sys/fs/cgroup"
        else:
            continue
        group = base / path.strip().lstrip("/")
        # In a container the path may be the host's, and what is mounted is the container's own group.
        for folder in (group, *group.parents):
            yield version, folder
            if folder == base:
                break


def read_lines(path: Path) -> list[str]:
    """Read a file's lines; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise_if_signalled(error)
        return []
