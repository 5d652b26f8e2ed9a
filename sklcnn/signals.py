"""Errors that handlers of signals raise, such as that of a time limit.

They come in the midst of anything, and are no fault of what was being done: so what catches errors of many classes, to
explain or to overlook them, lets these go on.
"""

from __future__ import annotations

import contextlib
import signal
from functools import partial
from types import CodeType, TracebackType
from typing import Any


def raise_if_signalled(error: BaseException) -> None:
    """Raise an error again, if the handler of a signal has raised it.

    Its class tells nothing: `TimeoutError` is an `OSError`, and is what sockets raise too. But the handler's own code
    is among what its traceback lists.
    """
    if _was_signalled(error.__traceback__):
        raise error


class suppressed(contextlib.suppress):  # noqa: N801 (called like a function)
    """Overlook errors of some classes in a block, but not what the handler of a signal raises."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> bool:
        return not _was_signalled(traceback) and bool(super().__exit__(kind, error, traceback))


def _was_signalled(traceback: TracebackType | None) -> bool:
    """Whether the code of a handler that is set is among a traceback's."""
    if traceback is None:
        return False
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a handler: a function, a method, a partial of these or an object that is called."""
    while isinstance(handler, partial):
        handler = handler.func
    if isinstance(handler, type) or not callable(handler):
        return None
    function = handler if hasattr(handler, "__code__") or hasattr(handler, "__func__") else type(handler).__call__
    return getattr(getattr(function, "__func__", function), "__code__", None)
