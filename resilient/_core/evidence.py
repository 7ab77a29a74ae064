"""What a closed breaker remembers of its calls, in three ways of forgetting.

Evidence belongs to one closed period. A breaker that closes gets new evidence,
and a result that comes after its period is written into evidence that nobody
reads any more: so it changes nothing.

Evidence is written by many threads. Each change is one step that the
interpreter's lock does not divide: it switches threads when a function begins
or has returned and at jumps back, and between the load and the store of
`counts[0] += 1` there is neither. A build without that lock writes under one
of its own (see `_runtime.circuit`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from math import floor
from typing import Final

BUCKETS: Final = 10
"""The parts of a time window."""

FAILED: Final = 1
SLOW: Final = 2


@dataclass(frozen=True, slots=True)
class Figures:
    """What the evidence comes to: calls, and how many of them failed or were slow.

    Of fewer than `min_calls` calls no share is taken.
    """

    calls: int = 0
    failures: int = 0
    slow: int = 0
    min_calls: int = 1

    @property
    def failure_rate(self) -> float | None:
        """The share of calls that failed; `None` where they are too few."""
        return self._share(self.failures)

    @property
    def slow_rate(self) -> float | None:
        """The share of calls that were slow; `None` where they are too few."""
        return self._share(self.slow)

    def _share(self, some: int) -> float | None:
        # Divided, not multiplied: 3 / 10 is the 0.3 that somebody has written.
        return None if self.calls < self.min_calls else some / self.calls


class Evidence(ABC):
    """The results of one closed period."""

    __slots__ = ()

    @abstractmethod
    def success(self, now: float) -> None:
        """Write down a call that ended well and in time; it is not evaluated."""

    @abstractmethod
    def add(self, now: float, what: int) -> bool:
        """Write down a call (0, `FAILED`, `SLOW` or both); tell whether the circuit opens."""

    @abstractmethod
    def figures(self, now: float) -> Figures:
        """Return what is remembered at `now`."""


class Row(Evidence):
    """How many calls have failed in a row."""

    __slots__ = ("in_a_row", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_a_row = 0

    def success(self, now: float) -> None:  # noqa: ARG002 - a row knows no time
        """End the row."""
        if self.in_a_row:
            self.in_a_row = 0

    def add(self, now: float, what: int) -> bool:
        """Make the row longer, or end it; slow is as bad as failed."""
        if not what:
            self.success(now)
            return False
        # Judged by what was written, not by what another thread has made of it since.
        self.in_a_row = row = self.in_a_row + 1
        return row >= self.most

    def figures(self, now: float) -> Figures:  # noqa: ARG002
        """Return the row: all that is known are failures."""
        row = self.in_a_row
        return Figures(row, row)


@dataclass(frozen=True, slots=True)
class Rates:
    """The shares of bad calls at which a window opens the circuit."""

    failure_rate: float
    min_calls: int
    slow_rate: float | None

    def watches(self, what: int) -> bool:
        """Tell whether such a call is a reason to look: a failure, or any where slow ones count."""
        return bool(what & FAILED) or self.slow_rate is not None

    def reached(self, figures: Figures) -> bool:
        """Tell whether one of them is reached."""
        failed, slow = figures.failure_rate, figures.slow_rate
        if failed is None or slow is None:
            return False
        return failed >= self.failure_rate or (
            self.slow_rate is not None and slow >= self.slow_rate
        )


class LastCalls(Evidence):
    """The last so many calls."""

    __slots__ = ("calls", "rates")

    def __init__(self, size: int, rates: Rates) -> None:
        self.calls: deque[int] = deque(maxlen=size)
        self.rates = rates

    def success(self, now: float) -> None:  # noqa: ARG002 - a count knows no time
        """Take the place of the oldest call."""
        self.calls.append(0)

    def add(self, now: float, what: int) -> bool:
        """Take the place of the oldest call; tell whether too many are bad."""
        self.calls.append(what)
        return self.rates.watches(what) and self.rates.reached(self.figures(now))

    def figures(self, now: float) -> Figures:  # noqa: ARG002
        """Count them."""
        calls = list(self.calls)
        failures = sum(what & FAILED for what in calls)
        slow = sum(what & SLOW for what in calls) // SLOW
        return Figures(len(calls), failures, slow, self.rates.min_calls)


class LastSeconds(Evidence):
    """The calls of the last so many seconds, in ten buckets aligned to the clock.

    A call is remembered for more than nine tenths of the window and never
    longer than the window; the current bucket counts.
    """

    __slots__ = ("buckets", "rates", "width")

    def __init__(self, window: float, rates: Rates) -> None:
        self.width = window / BUCKETS
        self.buckets: dict[int, list[int]] = {}
        self.rates = rates

    def success(self, now: float) -> None:
        """Count it in its bucket."""
        # `floor`, not `//`: 1.0 // 0.1 is 9, and the call would be kept too long.
        number = floor(now / self.width)
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self._bucket(number)
        bucket[0] += 1

    def add(self, now: float, what: int) -> bool:
        """Count it in its bucket; tell whether too many are bad."""
        bucket = self._bucket(floor(now / self.width))
        bucket[0] += 1
        if what & FAILED:
            bucket[1] += 1
        if what & SLOW:
            bucket[2] += 1
        return self.rates.watches(what) and self.rates.reached(self.figures(now))

    def _bucket(self, number: int) -> list[int]:
        # Two threads may get here together: `setdefault` lets one of them win.
        bucket = self.buckets.setdefault(number, [0, 0, 0])
        if len(self.buckets) > BUCKETS:
            for old in list(self.buckets):
                if old <= number - BUCKETS:
                    self.buckets.pop(old, None)
        return bucket

    def figures(self, now: float) -> Figures:
        """Add up the buckets that are not too old."""
        oldest = floor(now / self.width) - BUCKETS
        live = [bucket for number, bucket in list(self.buckets.items()) if number > oldest]
        calls, failures, slow = (sum(bucket[what] for bucket in live) for what in range(3))
        return Figures(calls, failures, slow, self.rates.min_calls)


class Several(Evidence):
    """Evidence of several rules at once, each with whether slow calls matter to it.

    Each is exact for itself; of two calls that end at once, two rules may see
    them in different orders.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[tuple[Evidence, bool], ...]) -> None:
        self.parts = parts

    def success(self, now: float) -> None:
        """Tell all of them."""
        for part, _ in self.parts:
            part.success(now)

    def add(self, now: float, what: int) -> bool:
        """Tell all of them; tell whether the circuit opens for one of them."""
        opens = False
        for part, minds_slow in self.parts:
            opens |= part.add(now, what if minds_slow else what & FAILED)
        return opens

    def figures(self, now: float) -> Figures:
        """Return those of the rule that remembers most calls."""
        return max((part.figures(now) for part, _ in self.parts), key=lambda found: found.calls)
