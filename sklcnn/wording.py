"""Values and other libraries' errors in messages, cut so that messages stay short."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklcnn.signals import raise_if_signalled

LINE = 100  # characters
PARAGRAPH = 600


class _Shortener(reprlib.Repr):
    """The standard library's Repr, but bytes are cut before they become a text."""

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
        Of any size: of containers, strings and bytes only the part that is shown becomes a text.

    Returns
    -------
    text : str
        At most 100 characters, without line breaks.
    """
    try:
        text = _shortener.repr(value)
    except Exception as error:  # a value whose own repr fails
        raise_if_signalled(error)
        text = object.__repr__(value)
    return cut(" ".join(text.split()), LINE)


def cut(text: str, length: int) -> str:
    """Cut what is too long out of a text's middle."""
    if len(text) <= length:
        return text
    head = (length - 5) * 2 // 3
    return f"{text[:head]} ... {text[head + 5 - length :]}"


def shortened(error: BaseException) -> str:
    """Return another library's message with a long middle, often a printed value, left out."""
    return cut(str(error), PARAGRAPH)


def short_cause(error: BaseException) -> BaseException | None:
    """Return an error to be raised from; None if its message, which would be printed whole, is long."""
    return error if len(str(error)) <= PARAGRAPH else None


def name_of(value: Any) -> str:
    """Return the name of a function or class, or of the class of another object."""
    return getattr(value, "__name__", type(value).__name__)


class errors_noted:  # noqa: N801 (called like a function)
    """Add a note to an error that the user's code raises in a block; its type and message stay.

    Parameters
    ----------
    describe : callable
        Returns the note for an error: what raised it, and what that is called with.
    """

    def __init__(self, describe: Callable[[Exception], str]):
        self._describe = describe

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception):
            error.add_note(self._describe(error))


def _missing_values(text, name):
    """Return the sentence of an error of NumPy, pandas or scikit-learn that says that values are missing; else None."""
    if "'NAType'" in text or "value of NA is ambiguous" in text:
        return f"Input {name} contains NaN (pandas' NA)."
    found = re.match(rf"Input {name} contains [^\n]*", text)
    return found and found[0]


def _repeated_columns(text, name):
    """Return what an error of narwhals, by which scikit-learn reads tables, says of column names; else None."""
    if "unique column names" not in text:
        return None
    names = cut(", ".join(re.findall(r"^- (.*) \d+ times", text, re.MULTILINE)), LINE)
    return f"Expected unique column names, but several columns of {name} are called {names}. Give each its own name."


@contextmanager
def repeated_columns_named(estimator: str, name: str) -> Iterator[None]:
    """Name the estimator and the table in the error of another library that column names are repeated."""
    try:
        yield
    except ValueError as error:
        if repeated := _repeated_columns(str(error), name):
            raise ValueError(f"{estimator}: {repeated}") from None
        raise


@contextmanager
def errors_named(estimator: str, name: str, remedy: str = "") -> Iterator[None]:
    """Name the estimator and the value in another library's errors that name neither.

    Parameters
    ----------
    estimator : str
    name : str
        What is checked, such as "y".
    remedy : str
        What to do where values are missing, if that is something else than to drop rows.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        if missing := _missing_values(text, name):
            if not remedy:
                remedy = f"Drop those rows{' or give them weight 0' * (name == 'sample_weight')}."
            raise ValueError(f"{estimator}: {missing} {remedy}") from None
        if repeated := _repeated_columns(text, name):
            raise ValueError(f"{estimator}: {repeated}") from None
        if len(text) <= PARAGRAPH and re.search(rf"(?<!\w)(?:{estimator}|{name})(?!\w)", text):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        first_line = (text.splitlines() or [""])[0]
        raise kind(f"{estimator}: {name}: {cut(first_line, PARAGRAPH)}") from None
