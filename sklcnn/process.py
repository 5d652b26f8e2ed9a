"""Locks and global settings that a call takes or changes are restored when it ends, even if Ctrl-C interrupts it.

Ctrl-C raises KeyboardInterrupt between any two steps of a program, also while a `with` block is being entered or left;
a lock would then be held for ever. So each thread has a list of what it still has to undo, and adds an entry before it
changes anything. The public methods work through that list when they end, and do so twice, since an interrupt may
hit the first time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable)
# Signals whose handlers raise: of Ctrl-C, and often of a request to end and of a time limit.
RAISING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGBREAK") if hasattr(signal, name)]


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


class warnings_hidden(Undone):  # noqa: N801 (called like a function)
    """A block in which warnings of this thread are hidden, and those of no other.

    ``warnings.catch_warnings`` would hide those of all threads, and of two blocks at once the one that ends last would
    leave the filters of the other one behind. This adds a filter, and takes that one away.

    Parameters
    ----------
    category : type
        Of the warnings.
    beginning : str
        A pattern that their texts begin with.
    """

    def __init__(self, category: type[Warning] = Warning, beginning: str = ""):
        super().__init__(self._remove)
        self._category, self._beginning = category, beginning
        self._kind: type | None = None

    def __enter__(self):
        super().__enter__()
        namespace = {"thread": threading.get_ident(), "hidden": self._category}
        self._kind = _KindOfThread("HiddenWarning", (Warning,), namespace)
        warnings.filterwarnings("ignore", self._beginning, self._kind)
        return self

    def _remove(self):
        for entry in [entry for entry in warnings.filters if entry[2] is self._kind]:
            with suppress(ValueError):  # another thread has put back filters of before
                warnings.filters.remove(entry)  # type: ignore[attr-defined]


class _KindOfThread(type):
    """A kind of warnings to which those belong that one thread raises."""

    thread: int
    hidden: type[Warning]

    def __subclasscheck__(cls, category):
        return cls.thread == threading.get_ident() and issubclass(category, cls.hidden)


class interrupts_wait(Undone):  # noqa: N801 (called like a function)
    """Hold signals whose handlers may raise back until a block ends, then call their handlers.

    It is for short work of libraries that an error between any two steps would leave broken: Ctrl-C comes later by as
    long as that takes. In other threads than the main one it does nothing, since Python calls no handlers there.
    """

    def __init__(self):
        super().__init__(self._put_back)
        self._handlers: dict[int, Any] = {}
        self._came: list[int] = []

    def __enter__(self):
        super().__enter__()
        if threading.current_thread() is threading.main_thread():
            for number in RAISING:
                handler = signal.getsignal(number)
                if callable(handler):  # else the system ends the process, or nothing happens
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error):
        super().__exit__()
        self._hand_on()

    def _hand_on(self):
        try:
            while self._came:
                number = self._came.pop(0)
                self._handlers[number](number, sys._getframe())
        finally:
            if self._came:  # one has raised: the others are called all the same
                self._hand_on()

    def _note(self, number, frame):
        self._came.append(number)

    def _put_back(self):
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._note:  # else it has been replaced meanwhile
                signal.signal(number, handler)


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
