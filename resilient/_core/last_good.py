"""The newest good answers of a chain, to answer with when nobody else does.

`LastGood` is the option, `Answers` the book: for each key the newest answer
and when it came, at most so many and none older than so long. It keeps what
it is given; who copies, and which clock is read, is decided elsewhere.

Two orders are kept. An answer that was given or handed out lately is the last
to make room (least recently used first), and the one that came first is the
first to be too old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient._core.functions import short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


@dataclass(frozen=True, slots=True)
class LastGood:
    """What `last_good(...)` returns, for `degrade=`: a value, shared by any number of chains."""

    max_age: float
    key: Callable[..., Hashable] | None
    max_entries: int

    def describe(self) -> str:
        """Say what it is, for `explain`."""
        text = f"the last good answer up to {_span(self.max_age)} old"
        return text if self.key is None else f"{text}, kept by {short_name(self.key)}"

    @property
    def may_wait(self) -> bool:
        """Whether it takes time: it never does."""
        return False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and when it came in seconds of the Clock."""

    value: Any
    at: float


class Answers:
    """The newest answer of each key, in both orders."""

    __slots__ = ("_by_time", "_by_use", "_max_age", "_max_entries")

    def __init__(self, max_age: float, max_entries: int) -> None:
        self._max_age = max_age
        self._max_entries = max_entries
        self._by_use: dict[Hashable, Answer] = {}
        self._by_time: dict[Hashable, None] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_use)

    def put(self, key: Hashable, value: Any, now: float) -> None:  # noqa: ANN401
        """Keep an answer in place of an older one, and forget what there is no room for."""
        self._forget_old(now)
        self._drop(key)
        if len(self._by_use) == self._max_entries:
            self._drop(next(iter(self._by_use)))
        self._by_use[key] = Answer(value, now)
        self._by_time[key] = None

    def find(self, key: Hashable, now: float) -> Answer | None:
        """Return the newest answer of `key` that is not too old."""
        self._forget_old(now)
        found = self._by_use.pop(key, None)
        if found is not None:
            self._by_use[key] = found  # the most recently used one is last
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._by_use.clear()
        self._by_time.clear()

    def _forget_old(self, now: float) -> None:
        while self._by_time:
            oldest = next(iter(self._by_time))
            if now - self._by_use[oldest].at < self._max_age:
                return
            self._drop(oldest)

    def _drop(self, key: Hashable) -> None:
        if self._by_use.pop(key, None) is not None:
            del self._by_time[key]


def _span(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.6g} {unit}"
    return f"{seconds:.6g} s"
