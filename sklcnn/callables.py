"""Callables of the user's as hyper-parameters: what they hold is theirs, and a fit works on a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable


def copied_callable(given: Callable) -> Callable:
    """Copy a callable that may change what it holds, such as its own generator of random numbers or a counter.

    A fit changes no hyper-parameter, and the next one with the same seed begins with the same. Functions, classes and
    builtins come back as they are, of a bound method its object is copied; so a closure, which is a function, still
    shares what it closes over, and an object does that is its own copy by `__deepcopy__`.

    Parameters
    ----------
    given : callable

    Returns
    -------
    copied : callable
        The callable itself where it cannot be copied, as one that holds an open file or a lock.
    """
    try:
        return copy.deepcopy(given)
    except Exception:
        return given
