"""The last resort: a value to answer with when nobody else did."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from resilient._kinds import name_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Value:
    """What `value(...)` returns, for `degrade=`."""

    __slots__ = ("_factory", "_value")

    def __init__(self, value: Any, factory: Callable[[], Any] | None) -> None:  # noqa: ANN401
        self._value = value
        self._factory = factory

    def produce(self) -> Any:  # noqa: ANN401
        """Make the answer of one call; nobody else has the same object."""
        return copy.deepcopy(self._value) if self._factory is None else self._factory()

    def describe(self) -> str:
        """Say what it is, not what it holds."""
        if self._factory is not None:
            return f"a value made by {name_of(self._factory)}"
        return "a fixed value"

    def __repr__(self) -> str:
        """Leave the value out: it may be anything."""
        return f"<{self.describe()}>"


_NOTHING: Any = object()


def value(answer: Any = _NOTHING, /, *, factory: Callable[[], Any] | None = None) -> Value:  # noqa: ANN401
    """Return the last resort `answer` for `degrade=`, flagged `degraded` wherever it is used.

    Each call gets a deep copy, so a mutable answer is never handed out twice;
    `factory` makes a new one instead, and may be async. Give one of the two.

    >>> value("No answer right now.").produce()
    'No answer right now.'
    >>> value(factory=list).produce()
    []
    """
    if (answer is _NOTHING) == (factory is None):
        message = "value() takes either an answer or factory="
        raise TypeError(message)
    if factory is not None and not callable(factory):
        message = f"value(factory=) takes a function, not {type(factory).__qualname__}"
        raise TypeError(message)
    return Value(None if factory is not None else answer, factory)
