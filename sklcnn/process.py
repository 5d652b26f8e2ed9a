"""Locks and global settings that a call takes or changes are restored when it ends, even if Ctrl-C interrupts it.

Ctrl-C raises KeyboardInterrupt between any two steps of a program, also while a `with` block is being entered or left;
a lock would then be held for ever. So each thread has a list of what it still has to undo, and adds an entry before it
changes anything. The public methods work through that list when they end, and do so twice, since an interrupt may
hit the first time.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable)


class _Pending(threading.local):
    """What a thread has to undo, the latest last."""

    def __init__(self):
        self.undos: list[Callable[[], Any]] = []


_pending = _Pending()


def leaves_process_as_found(function: Function) -> Function:
    """Decorate a function so that, when it ends, everything is undone that was to be undone inside it."""

    @wraps(function)
    def call(*args, **kwargs):
        n_before = len(_pending.undos)
        try:
            try:
                return function(*args, **kwargs)
            finally:
                _undo(n_before)
        finally:
            _undo(n_before)

    return call  # type: ignore[return-value]


def _undo(n_before):
    undos = _pending.undos
    while len(undos) > n_before:
        undos[-1]()  # removed only afterwards: an interrupt here makes it run twice, not never
        undos.pop()


def _end_block(undo):
    """Undo a block's entry, after all later ones; nothing, if it has been undone already."""
    undos = _pending.undos
    for position in reversed(range(len(undos))):
        if undos[position] == undo:
            _undo(position)
            return


class Undone:
    """A block at whose end something is undone; at the latest when the public method ends.

    Parameters
    ----------
    undo : callable
        Called once; twice, where an interrupt falls on the first time.
    """

    def __init__(self, undo: Callable[[], Any]):
        self._undo: Callable[[], Any] | None = undo

    def __enter__(self):
        _pending.undos.append(self._end)
        return self

    def __exit__(self, *error):
        _end_block(self._end)
        self._end()  # a generator may be closed in another thread, whose list has no such entry

    def _end(self):
        if self._undo is not None:
            self._undo()
            self._undo = None


class Entered(Undone):
    """A block inside another library's context manager, which is left even where an interrupt comes."""

    def __init__(self, context: Any):
        super().__init__(lambda: self._is_inside and context.__exit__(None, None, None))
        self._context, self._is_inside = context, False

    def __enter__(self):
        super().__enter__()
        self._is_inside = self._context.__enter__() or True
        return self


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A re-entrant lock that is released after an interrupt, and in the child of a fork."""

    def __init__(self):
        self._lock: Any = threading.RLock()
        self._depth = 0  # how many times its thread has acquired it
        _locks.add(self)

    def __enter__(self):
        self.acquire()
        return self

    def acquire(self, timeout: float = -1) -> bool:
        """Wait for the lock, some seconds at most (-1: for ever); return whether this thread has it now."""
        if not self._lock._is_owned():
            _pending.undos.append(self._release_all)
        if not self._lock.acquire(timeout=timeout):
            _end_block(self._release_all)
            return False
        self._depth += 1
        return True

    def is_owned(self) -> bool:
        """Tell whether this thread has it."""
        return self._lock._is_owned()

    def __exit__(self, *error):
        if not self._lock._is_owned():  # released already
            return
        self._depth -= 1
        if self._depth:
            self._lock.release()
        else:
            _end_block(self._release_all)

    def _release_all(self):
        if self._lock._is_owned():
            self._depth = 0
            self._lock._release_save()  # however many times it was acquired


def _release_in_child():
    """Free, in a forked child, the locks that the parent's other threads held: no thread is left to do it."""
    for lock in list(_locks):
        if not lock._lock._is_owned():
            lock._lock, lock._depth = threading.RLock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
