"""What a hyper-parameter may be, how that reads in the documentation, and the error when it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from sklcnn.sizes import is_sequence
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import shown

BIG = 10**9  # longer than any sequence that is passed


class Constraint:
    """A rule for one hyper-parameter.

    ``accepts`` is the rule itself; ``accepts_kind`` tells a wrong value (ValueError) from a wrong kind of thing
    (TypeError). ``str()`` of a constraint completes the sentence "must be ...".
    """

    def accepts_kind(self, value: Any) -> bool:
        """Whether the value is of the right kind, if perhaps out of range."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Whether the value is allowed."""
        raise NotImplementedError

    def bad_values(self) -> list[Any]:
        """List values that the rule must refuse, for tests."""
        raise NotImplementedError

    def alternatives(self) -> list[str]:
        """Name each thing that the rule allows, as parts of a list."""
        return [str(self)]

    def names(self) -> list[str | None]:
        """List the names that the rule allows, and None where it does."""
        return []

    def check(self, estimator_name: str, name: str, value: Any) -> None:
        """Raise a TypeError or ValueError that names estimator_name, rule and value, if the value is not allowed.

        Parameters
        ----------
        estimator_name, name : str
            The estimator and its hyper-parameter.
        value : object
            What the user passed.
        """
        if self.accepts(value):
            return
        error = ValueError if self.accepts_kind(value) else TypeError
        raise error(f"{estimator_name}: {name} must be {self}; got {shown(value)}.{did_you_mean(value, self.names())}")


def _is_number(value, kind=Real):
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_))


def _listed(parts):
    return " or ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _in_words(bound):
    return f"{bound:,}" if isinstance(bound, Integral) else f"{bound:g}"


@dataclass(frozen=True)
class Number(Constraint):
    """A real number between two bounds."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # the lower bound itself is left out
    below: bool = False  # the upper bound itself is left out
    kind: type = Real
    noun = "a number"

    def accepts_kind(self, value):
        return _is_number(value, self.kind)

    def accepts(self, value):
        return (
            self.accepts_kind(value)
            and (isinstance(value, Integral) or math.isfinite(value))
            and (value > self.low if self.above else value >= self.low)
            and (value < self.high if self.below else value <= self.high)
        )

    def bad_values(self):
        outside = [math.nan, math.inf] if self.kind is Real else [1.5]
        if self.low > -math.inf:
            outside.append(self.low if self.above else self.low - 1)
        if self.high < math.inf:
            outside.append(self.high if self.below else self.high + max(1, self.high))
        return ["much", True, [1.0, "x"], *outside]

    def __str__(self):
        if self.low == self.high:
            return _in_words(self.low)
        if self.low > -math.inf and self.high < math.inf and not (self.above or self.below):
            return f"{self.noun} from {_in_words(self.low)} to {_in_words(self.high)}"
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'>' if self.above else '>='} {_in_words(self.low)}")
        if self.high < math.inf:
            bounds.append(f"{'<' if self.below else '<='} {_in_words(self.high)}")
        return " ".join([self.noun, " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class Whole(Number):
    """A whole number between two bounds."""

    kind: type = Integral
    noun = "a whole number"


@dataclass(frozen=True)
class Choice(Constraint):
    """One of a few names."""

    choices: tuple[str, ...]

    def accepts_kind(self, value):
        return isinstance(value, str)

    def accepts(self, value):
        return isinstance(value, str) and value in self.choices

    def bad_values(self):
        return ["no such name", 7.5]

    def alternatives(self):
        return [repr(name) for name in self.choices]

    def names(self):
        return [*self.choices]

    def __str__(self):
        return _listed(self.alternatives())


@dataclass(frozen=True)
class Nothing(Constraint):
    """None."""

    def accepts_kind(self, value):
        return value is None

    accepts = accepts_kind

    def bad_values(self):
        return [7.5]

    def names(self):
        return [None]

    def __str__(self):
        return "None"


@dataclass(frozen=True)
class Switch(Constraint):
    """True or False."""

    def accepts_kind(self, value):
        return isinstance(value, (bool, np.bool_))

    accepts = accepts_kind

    def bad_values(self):
        return ["yes", None, 2]

    def __str__(self):
        return "True or False"


@dataclass(frozen=True)
class OneOf(Constraint):
    """A value that one of several rules accepts; `text` describes it where a list of the rules would be long."""

    rules: tuple[Constraint, ...]
    text: str

    def __init__(self, *rules: Constraint, text: str = ""):
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "text", text)

    def accepts_kind(self, value):
        return any(rule.accepts_kind(value) for rule in self.rules)

    def accepts(self, value):
        return any(rule.accepts(value) for rule in self.rules)

    def bad_values(self):
        candidates = [value for rule in self.rules for value in rule.bad_values()]
        return [value for value in candidates if not self.accepts(value)]

    def alternatives(self):
        return [self.text] if self.text else [part for rule in self.rules for part in rule.alternatives()]

    def names(self):
        return [name for rule in self.rules for name in rule.names()]

    def __str__(self):
        return _listed(self.alternatives())


@dataclass(frozen=True)
class SequenceOf(Constraint):
    """A tuple (or list, or one-dimensional array) whose items all obey one rule."""

    item: Constraint
    min_length: int = 0
    max_length: int = BIG

    def accepts_kind(self, value):
        return is_sequence(value) and all(self.item.accepts_kind(entry) for entry in value)

    def accepts(self, value):
        return (
            is_sequence(value)
            and self.min_length <= len(value) <= self.max_length
            and all(self.item.accepts(entry) for entry in value)
        )

    def bad_values(self):
        bad = [(entry,) * max(1, self.min_length) for entry in self.item.bad_values()]
        return [*bad, *([()] if self.min_length else [])]

    def __str__(self):
        return f"a tuple of entries that are each {self.item}"


@dataclass(frozen=True)
class InstanceOf(Constraint):
    """An instance, or a subclass, of a class that is looked up only when needed: looking it up imports its library."""

    find_class: Any
    text: str
    subclass: bool = False

    def accepts_kind(self, value):
        if self.subclass:
            return isinstance(value, type) and issubclass(value, self.find_class())
        return isinstance(value, self.find_class())

    accepts = accepts_kind

    def bad_values(self):
        return [7.5, dict if self.subclass else object()]

    def __str__(self):
        return self.text


@dataclass(frozen=True)
class Function(Constraint):
    """A callable that is not a class."""

    text: str = "a callable"

    def accepts_kind(self, value):
        return callable(value) and not isinstance(value, type)

    accepts = accepts_kind

    def bad_values(self):
        return [7.5]

    def __str__(self):
        return self.text


@dataclass(frozen=True)
class Dictionary(Constraint):
    """A mapping."""

    text: str = "a dict"

    def accepts_kind(self, value):
        return isinstance(value, MappingABC)

    accepts = accepts_kind

    def bad_values(self):
        return [7.5, "a"]

    def __str__(self):
        return self.text


@dataclass(frozen=True)
class Checked(Constraint):
    """A rule that a function checks: ``function(value)`` raises where the value is not allowed."""

    function: Any
    text: str
    bad: tuple = (7.5,)

    def check(self, estimator_name, name, value):
        try:
            self.function(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{estimator_name}: {error}") from None

    def accepts(self, value):
        try:
            self.function(value)
        except (TypeError, ValueError):
            return False
        return True

    def accepts_kind(self, value):
        try:
            self.function(value)
        except TypeError:
            return False
        except ValueError:
            return True
        return True

    def bad_values(self):
        return list(self.bad)

    def __str__(self):
        return self.text
