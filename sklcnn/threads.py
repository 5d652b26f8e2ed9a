"""How many of torch's threads a network runs on.

Threads of one computation wait for one another after each layer, and keep their cores busy while they wait. Where a
core has other work, the thread that should run there comes late, and all others wait for it: beside two busy processes
on two cores a small fit took three to twelve times as long on two threads as on one. So a network runs on no more
threads than the process has cores, and a batch that takes less time than waking threads and joining them runs on one.
"""

from __future__ import annotations

import math
import os
import threading
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from sklcnn.control_groups import control_groups, read_lines
from sklcnn.process import Undone
from sklcnn.signals import raise_if_signalled

# Multiply-adds of a batch's forward pass below which a second thread gains little on an idle machine, at most a third
# of the time, where it costs ten times the time on a busy one.
SMALL = 2**25
# The same of a single row, whose answer is waited for: there a third of the time counts.
SMALL_ROW = 2**22

# Threads inside a block, and how many of torch's each had before it. A thread is here before it changes anything, and
# until it has changed it back.
_inside: dict[int, int] = {}
_local = threading.local()


def _begin_alone():
    """Run a forked child on one thread: OpenMP's other threads do not survive a fork, and using them would hang."""
    global _local
    _local = threading.local()
    _inside.clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_alone)


class threads_for:  # noqa: N801 (called like a function)
    """Run a block on as many threads as its work is worth: one, or those that torch has, up to the process's cores.

    Afterwards torch has as many threads as before. An inner block may use as many as torch had outside the outer one.

    Parameters
    ----------
    operations : float or None
        Multiply-adds of a batch; None for work that is not small.
    """

    def __init__(self, operations: float | None = None):
        self._alone = operations is not None and operations < SMALL
        self._undone: Undone | None = None

    def __enter__(self):
        if self._alone and torch.get_num_threads() == 1:  # for one row, the rest would cost a tenth of the time
            return self
        thread, n_threads = threading.get_ident(), torch.get_num_threads()
        is_outer = thread not in _inside
        if is_outer:
            if not hasattr(_local, "known"):  # a new thread begins with what another one has set inside its block
                n_threads = next(iter(list(_inside.values())), n_threads)
            _local.known = True
        self._undone = Undone(partial(_go_back, n_threads, thread if is_outer else None, os.getpid()))
        self._undone.__enter__()
        if is_outer:
            _inside[thread] = n_threads
        wanted = 1 if self._alone else min(_inside[thread], available_cores())
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._undone is not None:
            self._undone.__exit__()


def _go_back(n_threads, thread, process):
    """Restore torch's number of threads after a block; after an outermost block, its thread is inside no longer."""
    if process != os.getpid():  # in a child that was forked inside the block
        return
    if torch.get_num_threads() != n_threads:
        torch.set_num_threads(n_threads)
    if thread is not None:
        _inside.pop(thread, None)


def allowed_threads() -> int:
    """Return how many threads work that is not small may have, inside a block and outside."""
    given = _inside.get(threading.get_ident()) or next(iter(list(_inside.values())), torch.get_num_threads())
    return min(given, available_cores())


def available_cores() -> int:
    """Count the cores that this process may use: its affinity, and the quota of its control groups."""
    try:
        n_cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError) as error:
        raise_if_signalled(error)
        n_cores = os.cpu_count() or 1
    return min(n_cores, _cores_of_groups())


@cache
def _cores_of_groups():
    return cores_of_groups()


def cores_of_groups(root: Path = Path("/")) -> int:
    """Count the cores that the quotas of this process's control groups come to; a part of one counts as one.

    Parameters
    ----------
    root : Path
        Where the system's files are.

    Returns
    -------
    n_cores : int
        Very many where there is no quota.
    """
    quotas = []
    for version, folder in control_groups("cpu", root):
        if version == 2:
            quota = " ".join(read_lines(folder / "cpu.max")).split()
        else:
            quota = [" ".join(read_lines(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period")]
        if len(quota) == 2 and quota[0].isdecimal() and quota[1].isdecimal() and int(quota[1]) > 0:
            quotas.append(max(1, math.ceil(int(quota[0]) / int(quota[1]))))
    return min(quotas, default=2**20)
