"""Values and other libraries' words in messages, never more of them than a line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LINE = 100  # characters
PARAGRAPH = 600


class _Shortener(reprlib.Repr):
    """Makes texts of parts of values; the standard library's makes one of all bytes first."""

    def __init__(self):
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = LINE
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 10

    def repr_bytes(self, value, level):
        return repr(value) if len(value) <= LINE else f"{value[: LINE // 4]!r}..."

    repr_bytearray = repr_bytes


_shortener = _Shortener()


def shown(value: Any) -> str:
    """Return a value as a message shows it: its `repr`, cut to a line.

    Parameters
    ----------
    value : object
        Of any size: what is not shown is not made a text either, for containers, strings and bytes.

    Returns
    -------
    text : str
        At most 100 characters, none of them the end of a line.
    """
    try:
        text = _shortener.repr(value)
    except Exception:  # a value whose own repr fails
        text = object.__repr__(value)
    return cut(" ".join(text.split()), LINE)


def cut(text: str, length: int) -> str:
    """Cut what is too long out of a text's middle."""
    if len(text) <= length:
        return text
    head = (length - 5) * 2 // 3
    return f"{text[:head]} ... {text[head + 5 - length :]}"


def shortened(error: BaseException) -> str:
    """Return another library's message without most of the value that it prints, and with the remedy at its end."""
    return cut(str(error), PARAGRAPH)


def short_cause(error: BaseException) -> BaseException | None:
    """Return an error as another's cause, which is printed with it, unless it holds more of a value than a line."""
    return error if len(str(error)) <= PARAGRAPH else None


@contextmanager
def errors_named(estimator: str, name: str) -> Iterator[None]:
    """Say what another library's errors are about, where they do not say so themselves.

    Parameters
    ----------
    estimator : str
    name : str
        What is checked, such as "y".
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        if len(text) <= PARAGRAPH and re.search(rf"(?<!\w)(?:{estimator}|{name})(?!\w)", text):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        first_line = (text.splitlines() or [""])[0]
        raise kind(f"{estimator}: {name}: {cut(first_line, PARAGRAPH)}") from None
