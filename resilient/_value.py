"""Last resorts: what to answer with when nobody else did."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from resilient._core import options
from resilient._core.functions import name_of
from resilient._core.last_good import LastGood
from resilient._core.options import shown
from resilient._kinds import function_or_none, is_coroutine_function

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from resilient._core.options import Seconds


class Value:
    """A fixed value, or what makes one: what `value(...)` returns, for `degrade=`."""

    __slots__ = ("_factory", "_value")

    def __init__(self, value: Any, factory: Callable[[], Any] | None) -> None:  # noqa: ANN401
        self._value = value
        self._factory = factory

    def produce(self) -> Any:  # noqa: ANN401
        """Make the answer of one call; nobody else has the same object."""
        return copy.deepcopy(self._value) if self._factory is None else self._factory()

    @property
    def may_wait(self) -> bool:
        """Whether making the answer can take time."""
        return self._factory is not None and is_coroutine_function(self._factory)

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

    The answer is copied now and for each call, so it is never handed out
    twice and never changes; what cannot be copied is a `TypeError`. `factory`
    makes a new one for each call instead, and may be async. Give one of the two.

    >>> value("No answer right now.").produce()
    'No answer right now.'
    >>> value(factory=list).produce()
    []
    """
    if (answer is _NOTHING) == (factory is None):
        raise TypeError("value() takes either an answer or factory=")
    if factory is not None:
        _check(factory)
        return Value(None, factory)
    try:
        return Value(copy.deepcopy(answer), None)
    except Exception as error:
        raise TypeError(
            f"value() copies its answer, and {shown(answer)} cannot be copied: give factory="
        ) from error


def _check(factory: object) -> None:
    if not callable(factory):
        raise TypeError(f"value(factory=) must be a function, not {shown(factory)}")


def last_good(
    *,
    max_age: Seconds = 3600,
    key: Callable[..., Hashable] | None = None,
    max_entries: int = 1024,
) -> LastGood:
    """Return the last resort "the newest good answer", for `degrade=`.

    Each chain keeps its own: the newest answer that a target of it really
    gave, never a degraded one. `max_age` is how many seconds old it may
    become (an hour: old enough to outlast an outage, young enough to be told
    apart from a stale cache). `key` is a function of the call's arguments,
    `self` included, whose result says which answers are the same; **without it
    there is one answer for the function, whatever it was asked**. At most
    `max_entries` keys are kept; the least recently used makes room.

    An answer is copied (`copy.deepcopy`) when it is kept and when it is given.
    One that cannot be copied is not kept, which is logged once. An answer
    that is given is flagged `degraded`, and `Outcome.age` says how old it is.
    Where nothing is kept, the call fails as it would without a last resort.

    Raises `ValueError` or `TypeError` for bad options here, and `TypeError`
    in a call whose key cannot be hashed.

    >>> @fallback(degrade=last_good(max_age=60, key=lambda sku: sku))
    ... async def price(sku: str) -> float: ...
    >>> print(explain(price).splitlines()[1])
      fallback          the last good answer up to 1 min old, kept by <lambda>
    """
    function_or_none(key, "last_good(key=)")
    return LastGood(
        options.seconds(max_age, "last_good(max_age=)"),
        key,
        options.whole(max_entries, "last_good(max_entries=)"),
    )
