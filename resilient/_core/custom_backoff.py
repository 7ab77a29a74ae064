"""Backoffs that users bring: a list, a function, an object of their own.

A list is checked once; what user code answers is checked each time, because a
wrong wait must name the function and not surface somewhere in a sleep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient._core.functions import function_name, short_name
from resilient._core.options import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient._core.backoff import Backoff
    from resilient._core.options import Seconds


@dataclass(frozen=True, slots=True)
class Listed:
    """Waits that were written down; the last one repeats."""

    waits: tuple[float, ...]

    @property
    def cap(self) -> float:
        """The longest wait of the list."""
        return max(self.waits)

    def wait(self, retry: int, rnd: float, previous: float | None) -> float:  # noqa: ARG002 - of the protocol
        """Return the wait at the place of `retry`."""
        return self.waits[min(retry, len(self.waits)) - 1]

    def describe(self) -> str:
        """Return one line for `explain`."""
        listed = ", ".join(f"{wait:.6g}" for wait in self.waits[:_SHOWN])
        return f"waits {listed}{', ...' if len(self.waits) > _SHOWN else ''} s"


@dataclass(frozen=True, slots=True)
class Computed:
    """Waits that a user's function computes."""

    function: Callable[[int], Seconds]

    @property
    def cap(self) -> float:
        """Infinity: nobody knows what the function will answer."""
        return math.inf

    def wait(self, retry: int, rnd: float, previous: float | None) -> float:  # noqa: ARG002 - of the protocol
        """Ask the function."""
        found = self.function(retry)
        return _answer(found, f"the backoff function {function_name(self.function)}")

    def describe(self) -> str:
        """Return one line for `explain`."""
        return f"waits from {short_name(self.function)}"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A backoff that a user wrote: its answers are checked as a function's are."""

    backoff: Backoff

    @property
    def cap(self) -> float:
        """What the user's backoff says."""
        return self.backoff.cap

    def wait(self, retry: int, rnd: float, previous: float | None) -> float:
        """Ask the user's backoff."""
        found = self.backoff.wait(retry, rnd, previous)
        return _answer(found, f"the backoff {type(self.backoff).__qualname__}")

    def describe(self) -> str:
        """Return what the user's backoff says of itself."""
        return self.backoff.describe()


_SHOWN = 5


def listed_waits(values: Sequence[object], option: str) -> Listed:
    """Return the waits that were written down, each checked by its place."""
    if not values:
        raise ValueError(f"{option} must be at least one wait in seconds, not an empty list")
    return Listed(
        tuple(seconds(wait, f"{option}[{place}]", zero=True) for place, wait in enumerate(values))
    )


def _answer(answer: object, who: str) -> float:
    if answer is None:  # a forgotten `return`, no missing value
        raise TypeError(f"{who} must return seconds, not None")
    return seconds(answer, f"the answer of {who}", zero=True)
