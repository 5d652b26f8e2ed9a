"""Whose turn it is to draw from torch's one global generator: seeded fits in threads go one after the other.

A callback or scorer may fit in threads of its own, and wait for them, while the fit that it belongs to has the turn.
It cannot be known which threads the callback has started. But while a callback waits, its fit draws nothing: so the fit
lends its turn to any thread that asks, until that one gives it back with the generators restored.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from functools import partial
from typing import Any

from sklcnn.process import Lock, Undone

LOOK_EVERY = 0.05  # seconds between two looks at what the fit that has the turn is doing
LONGEST = 10.0  # seconds in one call of the user's code, after which it is assumed to wait for others
# Packages by which threads wait for each other.
WAITING = {"threading", "queue", "concurrent", "multiprocessing", "joblib", "asyncio", "selectors"}


class _Turn:
    """A turn, and the thread that has it."""

    def __init__(self):
        self.lock = Lock()
        self.thread = 0
        self.is_kept = False  # whether that thread lends it to no other for now


# The turn itself; the one that its thread lends; the one that the borrower lends; and so on.
_turns = [_Turn()]


def take_turn() -> Lock:
    """Wait for the turn, or until one is lent; return the lock that was acquired."""
    for turn in reversed(_turns):
        if turn.lock.is_owned():
            turn.lock.__enter__()
            take_turn_back()  # a fit in a callback waits for those that have borrowed the turn from it
            return turn.lock
    seen: dict[int, Any] = {}
    while True:
        for level in itertools.count():
            if level == len(_turns):
                _turns.append(_Turn())
            turn = _turns[level]
            if turn.lock.acquire(LOOK_EVERY):
                # The lender may have continued by now; if not, it will wait in `take_turn_back`.
                lender = _turns[level - 1]
                if level == 0 or (not lender.is_kept and _lends(lender, level - 1, seen)):
                    turn.thread = threading.get_ident()
                    return turn.lock
                turn.lock.__exit__()
                break
            if not turn.is_kept and not _lends(turn, level, seen):
                break


class in_turn:  # noqa: N801 (called like a function)
    """Have the turn in a block: what a fit continues with is read, and replaced, by no other meanwhile.

    Parameters
    ----------
    needed : bool
        Whether to wait for it at all.
    """

    def __init__(self, needed: bool = True):
        self._needed = needed

    def __enter__(self):
        self._lock = take_turn() if self._needed else None
        return self

    def __exit__(self, *error):
        if self._lock is not None:
            self._lock.__exit__()


class turn_kept:  # noqa: N801 (called like a function)
    """Have the turn in a block, and lend it to no other thread: for what changes the whole process meanwhile.

    Whoever has borrowed it before, from a callback that has begun the block, is waited for.
    """

    def __enter__(self):
        self._lock = take_turn()
        turn = next(turn for turn in _turns if turn.lock is self._lock)
        self._lent_again = Undone(partial(setattr, turn, "is_kept", turn.is_kept))
        self._lent_again.__enter__()
        turn.is_kept = True
        take_turn_back()
        return self

    def __exit__(self, *error):
        self._lent_again.__exit__()
        self._lock.__exit__()


class turn_if_free:  # noqa: N801 (called like a function)
    """Have the turn in a block, without waiting for it; what is entered says whether no other thread has it."""

    def __enter__(self):
        turn = _turns[0]
        self._lock = turn.lock if turn.lock.acquire(0) else None
        if self._lock is not None:
            turn.thread = threading.get_ident()
        return self._lock is not None

    def __exit__(self, *error):
        if self._lock is not None:
            self._lock.__exit__()


def take_turn_back() -> None:
    """Wait, after the user's code has returned, for those who have borrowed this thread's turn meanwhile."""
    if len(_turns) == 1:
        return
    for turn, lent in itertools.pairwise(list(_turns)):
        if turn.lock.is_owned() and not lent.lock.is_owned():
            with Undone(partial(setattr, turn, "is_kept", turn.is_kept)):
                turn.is_kept = True
                with lent.lock:
                    return


def _lends(turn, level, seen):
    """Tell whether the thread that has a turn waits for others, in the same place of the user's code as before."""
    where, is_waiting = _position_in_user_code(turn.thread)
    before, since = seen.get(level, (None, 0.0))
    if where is None or where != before:
        seen[level] = where, time.monotonic()
        return False
    return is_waiting or time.monotonic() - since > LONGEST


def _position_in_user_code(thread):
    """Find the position of a thread in the user's code, None if it is elsewhere; and whether it waits for threads."""
    frame = sys._current_frames().get(thread)
    is_waiting = frame is not None and _package(frame) in WAITING
    while frame is not None and _package(frame) in WAITING:
        frame = frame.f_back
    if frame is None or _package(frame) == "sklcnn":
        return None, False
    if is_waiting:
        return (id(frame), frame.f_lasti), True
    while frame is not None and _package(frame) != "sklcnn":
        frame = frame.f_back
    # Only callbacks and scorers can wait for others; networks and losses compute, however long they take.
    is_told = frame is not None and frame.f_code.co_name in ("notify", "checked_score", "begin_epoch", "end_epoch")
    return ((id(frame), frame.f_lasti) if is_told else None), False


def _package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
