"""Which failures a policy acts on: what the user wrote as `on=`, made into a decision.

A condition is built once, from an exception type, a predicate or a tuple of
either, and then answers for each error: `False`, do not act; `True`, act and
wait as computed; a number, act and wait exactly that long. A number may be 0,
so an answer is compared with `is`.

Rule 1: only an `Exception` is ever acted on or shown to a predicate.

Rule 2: a type does not cover our own refusals (`Rejected`), unless it is one of
the library's own classes: a broad `on=Exception` must not retry an open circuit.

Rule 3: a group is acted on if every leaf is, and waits as long as the leaf that
asks for the longest wait. The exception is a type that matches the group as
such, not only as some exception.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from resilient._core.answers import Answer, Predicate, checked
from resilient._core.faults import Classify, classified
from resilient._core.functions import refuse_async, short_name
from resilient._core.names import class_name
from resilient._core.options import either, shown
from resilient._core.shape import is_group, leaves, own_retryable
from resilient._core.transient import Table
from resilient.errors import Rejected, ResilientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

On = type[Exception] | Predicate | tuple["On", ...]
"""What `on=` takes."""

BUGS: Final = (TypeError, AttributeError, NameError, AssertionError, NotImplementedError)
"""Errors that look like a bug of the program and not like a failure of what it calls."""


def not_a_bug(error: BaseException) -> bool:
    """Say whether an error is none of `BUGS`; a group is none if no leaf is.

    >>> not_a_bug(KeyError("choices")), not_a_bug(TypeError())
    (True, False)
    """
    if is_group(error):
        return not any(issubclass(type(leaf), BUGS) for leaf in leaves(error) or ())
    return not issubclass(type(error), BUGS)


class Condition(ABC):
    """What `on=` has become."""

    __slots__ = ()

    def decide(self, error: BaseException) -> bool | float:
        """Return `False` (do not act), `True` (act), or the seconds to wait."""
        if not issubclass(type(error), Exception):
            return False
        error = cast("Exception", error)
        return self._decide_group(error) if is_group(error) else self.one(error)

    @abstractmethod
    def one(self, error: Exception) -> bool | float:
        """Decide about an error that is no group."""

    def whole(self, group: Exception) -> bool | float | None:  # noqa: ARG002 - for those that override
        """Decide about a group as such; `None` leaves it to its leaves."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """Return what is acted on, in words, for `explain`."""

    def _decide_group(self, group: Exception) -> bool | float:
        whole = self.whole(group)
        if whole is not None:
            return whole
        members = leaves(group)
        if not members:  # more than anybody should wait for
            return False
        longest: bool | float = True
        for leaf in members:
            answer = self.one(cast("Exception", leaf))
            if answer is False:
                return False
            if answer is not True:
                longest = answer if longest is True else max(longest, answer)
        return longest


def condition(on: object, option: str = "on", *, classify: Classify | None = None) -> Condition:
    """Return the condition that an option means.

    It may be an exception class, a predicate, or a tuple of either, nested or
    not: any of them, in order, the first that says yes. `classify` is the
    user's own answer to what an error is; tables ask it before they look.
    """
    parts = [_part(item, option, classify) for item in _flattened(on, option)]
    types = [part for part in parts if isinstance(part, Named)]
    if len(types) == len(parts):
        return Named(tuple(cls for part in types for cls in part.types))
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def result_condition(on_result: object, option: str = "on_result") -> ResultCondition:
    """Return the condition that makes a returned value a failure."""
    if isinstance(on_result, type) or not callable(on_result):
        raise TypeError(
            f"{option} must be a predicate on the returned value, not {_spec_shown(on_result)}"
        )
    refuse_async(on_result, option)
    return ResultCondition(cast("Callable[[Any], Answer]", on_result), option)


def is_unknown(on: Condition, error: Exception) -> bool:
    """Say whether `on` is a table alone that has no answer for this error."""
    if not isinstance(on, Judged) or "transient" not in on.table.accepts:
        return False
    if on.classify is not None and classified(error, on.classify) is not None:
        return False
    return not on.table.knows(error)


def with_classify(on: Condition, classify: Classify) -> Condition:
    """Return `on` with a target's own answer in front of each table that has none."""
    if isinstance(on, Judged) and on.classify is None:
        return Judged(on.table, classify)
    if isinstance(on, AnyOf):
        return AnyOf(tuple(with_classify(part, classify) for part in on.parts))
    return on


def may_wait(on: Condition) -> bool:
    """Say whether `on` may answer with a wait of its own, of which nothing is known."""
    if isinstance(on, AnyOf):
        return any(may_wait(part) for part in on.parts)
    return isinstance(on, Chosen) and on.predicate is not not_a_bug


@dataclass(frozen=True, slots=True)
class Named(Condition):
    """Exception types that were named."""

    types: tuple[type[Exception], ...]
    # Those that cover our own refusals, and those that are more than some exception.
    ours: tuple[type[Exception], ...] = field(init=False)
    special: tuple[type[Exception], ...] = field(init=False)

    def __post_init__(self) -> None:
        ours = tuple(cls for cls in self.types if issubclass(cls, ResilientError))
        special = tuple(cls for cls in self.types if not issubclass(ExceptionGroup, cls))
        # A class that is no more than a group is a group by name.
        special += tuple(cls for cls in self.types if issubclass(cls, BaseExceptionGroup))
        object.__setattr__(self, "ours", ours)
        object.__setattr__(self, "special", special)

    def one(self, error: Exception) -> bool:
        """Return `True` for an instance of one of the types."""
        kind = type(error)  # `isinstance` would believe `__class__`
        if not issubclass(kind, self.types):
            return False
        return not issubclass(kind, Rejected) or issubclass(kind, self.ours)

    def whole(self, group: Exception) -> bool | None:
        """Return `True` where a type names this kind of group."""
        return True if issubclass(type(group), self.special) else None

    def describe(self) -> str:
        """Return the names of the types."""
        return either(class_name(cls) for cls in self.types)


@dataclass(frozen=True, slots=True)
class Judged(Condition):
    """A table such as `transient`, with the user's `classify` before it."""

    table: Table
    classify: Classify | None

    def one(self, error: Exception) -> bool:
        """Return what `classify` says, or else the table."""
        answer = self._classified(error)
        return self.table(error) if answer is None else answer

    def whole(self, group: Exception) -> bool | None:
        """Return what `classify` or the group itself says of the group."""
        answer = self._classified(group)
        return answer if answer is not None or own_retryable(group) is None else self.table(group)

    def describe(self) -> str:
        """Return what the table accepts."""
        return self.table.describe()

    def _classified(self, error: Exception) -> bool | None:
        fault = None if self.classify is None else classified(error, self.classify)
        if fault is None:
            return None
        # Retryable is not yet unsent: only the table has proof of that.
        return fault.retryable and ("transient" in self.table.accepts or self.table(error))


@dataclass(frozen=True, slots=True)
class Chosen(Condition):
    """A user's predicate."""

    predicate: Predicate
    option: str

    def one(self, error: Exception) -> bool | float:
        """Ask the predicate."""
        return checked(self.predicate(error), self.predicate, self.option)

    def describe(self) -> str:
        """Return the name of the predicate."""
        if self.predicate is not_a_bug:
            return "errors that are no bugs"
        return f"errors chosen by {short_name(self.predicate)}"


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """Several conditions: the first that does not say no."""

    parts: tuple[Condition, ...]

    def one(self, error: Exception) -> bool | float:
        """Return the first answer that is not `False`."""
        for part in self.parts:
            answer = part.one(error)
            if answer is not False:
                return answer
        return False

    def whole(self, group: Exception) -> bool | float | None:
        """Return the first yes to the group as such.

        A part that says no to it says so for every leaf; the others go on.
        """
        answers = [part.whole(group) for part in self.parts]
        for answer in answers:
            if answer is not None and answer is not False:
                return answer
        if False not in answers:
            return None
        others = tuple(
            part for part, answer in zip(self.parts, answers, strict=True) if answer is None
        )
        return AnyOf(others).decide(group)

    def describe(self) -> str:
        """Return what each part acts on."""
        return either(part.describe() for part in self.parts)


@dataclass(frozen=True, slots=True)
class ResultCondition:
    """The predicate that makes a returned value a failure."""

    predicate: Callable[[Any], Answer]
    option: str = "on_result"

    def decide(self, value: Any) -> bool | float:  # noqa: ANN401 - any value can be returned
        """Return `False` (a good value), `True` (a failure), or the seconds to wait."""
        return checked(self.predicate(value), self.predicate, self.option)

    def describe(self) -> str:
        """Return the name of the predicate."""
        return f"results chosen by {short_name(self.predicate)}"


def _flattened(on: object, option: str) -> Iterator[object]:
    if not isinstance(on, tuple):
        yield on
        return
    if not on:
        raise ValueError(f"{option} must name an error or a predicate, not an empty tuple")
    for item in cast("tuple[object, ...]", on):
        yield from _flattened(item, option)


def _part(item: object, option: str, classify: Classify | None) -> Condition:
    if isinstance(item, Table):
        return Judged(item, classify)
    if isinstance(item, type):
        return Named((_exception_class(item, option),))
    if not callable(item):
        raise TypeError(
            f"{option} must be an exception class, a predicate or a tuple of these,"
            f" not {_spec_shown(item)}"
        )
    refuse_async(item, option)
    return Chosen(cast("Predicate", item), option)


def _exception_class(cls: type, option: str) -> type[Exception]:
    if issubclass(cls, Exception):
        return cls
    if BaseException in cls.__mro__:
        raise ValueError(
            f"{option} must name an Exception, not {cls.__qualname__}:"
            " cancellation and exit are never handled"
        )
    raise TypeError(f"{option} must be an exception class, not the class {cls.__qualname__}")


def _spec_shown(item: object) -> str:
    if isinstance(item, BaseException):
        return f"an instance of {class_name(type(item))} (give the class)"
    return shown(item)
