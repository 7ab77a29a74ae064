"""Waits between attempts.

A backoff is a value: it maps the number of a retry (1 for the first), a
random number from 0 to 1 and the wait before (`None` for the first) to
seconds. It reads no clock and no random source, so the same inputs give the
same wait, and a test can ask for the wait after the millionth failure.

Two rules hold for all of them. The cap comes before the jitter: waits must
still spread when an outage is longest, and none may exceed the cap. And no
number of a retry and no option leads to an overflow, a NaN or an infinity: a
schedule is most needed when it has been running for longest.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast, runtime_checkable

from resilient._core.functions import function_name, refuse_async, short_name
from resilient._core.options import choice, number, seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._core.options import Seconds

Jitter = Literal["full", "equal", "decorrelated", "none"]
"""How the waits of many callers are spread."""

JITTERS: Final = ("full", "equal", "decorrelated", "none")

LARGEST: Final = sys.float_info.max

FIBONACCI_LIMIT: Final = 1476
"""The last Fibonacci number that a float can hold is this one."""


@runtime_checkable
class Backoff(Protocol):
    """How long to wait before the next attempt."""

    @property
    def cap(self) -> float:
        """The seconds that no wait exceeds; infinity where nobody knows."""
        ...

    def wait(self, retry: int, rnd: float, previous: float | None) -> float:
        """Return the seconds to wait before retry number `retry` (1 for the first).

        `rnd` is from 0 to 1, `previous` is the wait that this backoff gave
        for the retry before, `None` if there was none.
        """
        ...

    def describe(self) -> str:
        """Return one line for `explain`."""
        ...


def exponential(
    base: Seconds = 0.1,
    factor: float = 2,
    cap: Seconds = 20,
    jitter: Jitter = "full",
) -> Backoff:
    """Wait `base` seconds, then `factor` times as long at each retry, up to `cap`.

    The wait before retry n is d = min(cap, base * factor ** (n - 1)) before
    the jitter:

    - `"full"`: U(0, d), uniform between nothing and all of it. The default,
      because it makes a crowd of callers do the least work for the same
      progress.
    - `"equal"`: d/2 + U(0, d/2). At least half of the wait is kept.
    - `"decorrelated"`: min(cap, U(base, 3 * previous)), where previous is the
      wait before and at first the base. It grows by itself, so only `base`
      and `cap` count. In a long outage about three waits in ten equal the
      cap, so callers clump there; `"full"` does not.
    - `"none"`: d. Callers that failed together come back together.

    The base of 0.1 s is time enough to make a dropped connection anew, and
    nobody notices it; a factor of 2 goes from there to the cap in eight
    retries; the cap of 20 s is that of the AWS clients. A base of 0 means no
    wait. A cap below the base is legal: it is then the wait before the jitter.

    `ValueError` for a negative base or cap, a factor below 1, an unknown
    jitter, and for NaN or infinity; `TypeError` for what is no number.

    >>> backoff = exponential(base=0.5, cap=3, jitter="none")
    >>> [backoff.wait(retry, rnd=0.5, previous=None) for retry in (1, 2, 3, 4, 10**6)]
    [0.5, 1.0, 2.0, 3.0, 3.0]
    >>> exponential().wait(3, rnd=0.25, previous=0.1)
    0.1

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    growth = Powers(number(factor, "factor", least=1))
    return _schedule(growth, base, cap, jitter)


def constant(
    wait: Seconds,
    /,
    *,
    cap: Seconds | None = None,
    jitter: Jitter = "none",
) -> Backoff:
    """Wait the same number of seconds before every retry.

    The wait is d = min(cap, wait) before the jitter, which is one of those of
    `exponential`. The default is none, because whoever names one number means
    it; ask for jitter where many callers can fail together. Without a cap
    the wait is its own cap.

    `ValueError` and `TypeError` as for `exponential`, and a `ValueError` for
    `jitter="decorrelated"` without a cap: it would have nowhere to grow to.

    >>> constant(1.5).wait(7, rnd=0.2, previous=1.5)
    1.5
    >>> constant(2, jitter="equal").wait(1, rnd=0.5, previous=None)
    1.5

    Source of the jitter: "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.
    """
    base = seconds(wait, "wait", zero=True)
    made = _schedule(Same(), base, base if cap is None else cap, jitter)
    if made.jitter != "decorrelated":
        return replace(made, cap=min(base, made.cap))
    if cap is None:
        raise ValueError(
            "jitter must be 'full', 'equal' or 'none' without a cap, not 'decorrelated'"
        )
    return made


def linear(
    base: Seconds = 0.1,
    *,
    cap: Seconds = 20,
    jitter: Jitter = "full",
) -> Backoff:
    """Wait `base` seconds more at each retry, up to `cap`.

    The wait before retry n is d = min(cap, base * n) before the jitter, which
    is one of those of `exponential`; so are the defaults, for the same
    reasons. It suits a resource that comes free at a steady pace, such as a
    queue of jobs; against an overload it backs off too slowly.

    `ValueError` and `TypeError` as for `exponential`.

    >>> backoff = linear(2, cap=7, jitter="none")
    >>> [backoff.wait(retry, rnd=0.5, previous=None) for retry in (1, 2, 3, 4)]
    [2.0, 4.0, 6.0, 7.0]

    Source of the jitter: "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.
    """
    return _schedule(Multiples(), base, cap, jitter)


def fibonacci(
    base: Seconds = 0.1,
    *,
    cap: Seconds = 20,
    jitter: Jitter = "full",
) -> Backoff:
    """Wait along the Fibonacci numbers (1, 1, 2, 3, 5, 8, ...) times `base`, up to `cap`.

    The wait before retry n is d = min(cap, base * F(n)) before the jitter,
    with F(1) = F(2) = 1 and F(n) = F(n - 1) + F(n - 2). The jitter is one of
    those of `exponential`, and so are the defaults, for the same reasons. It
    grows by a factor of about 1.62, so it makes more early tries than
    doubling does.

    `ValueError` and `TypeError` as for `exponential`.

    >>> backoff = fibonacci(1, jitter="none")
    >>> [backoff.wait(retry, rnd=0.5, previous=None) for retry in range(1, 10)]
    [1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 20.0]

    Source of the jitter: "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.
    """
    return _schedule(FibonacciNumbers(), base, cap, jitter)


def backoff_of(value: object, option: str = "backoff") -> Backoff:
    """Return the backoff that an option means.

    It may be a backoff, a list or tuple of seconds (the last one repeats), or
    a function from the number of the retry, 1 for the first, to seconds. An
    answer of the function that is no number of seconds fails the call: a
    `ValueError` for a number below 0, NaN or infinity, a `TypeError` for
    anything else, both naming the function.

    >>> listed = backoff_of([3, 6, 9])
    >>> [listed.wait(retry, rnd=0.5, previous=None) for retry in (1, 2, 3, 4)]
    [3.0, 6.0, 9.0, 9.0]
    >>> backoff_of(lambda retry: retry / 4).wait(3, rnd=0.5, previous=None)
    0.75
    """
    if isinstance(value, (Schedule, Listed, Computed, Foreign)):
        return value
    if isinstance(value, (list, tuple)):
        return _listed(cast("list[object] | tuple[object, ...]", value), option)
    if any(value is maker for maker in (exponential, constant, linear, fibonacci)):
        maker = short_name(value)
        raise TypeError(f"{option} must be what {maker}() returns, not the function {maker} itself")
    if isinstance(value, Backoff) and not isinstance(value, type):
        return Foreign(value)
    if callable(value):
        refuse_async(value, option)
        return Computed(cast("Callable[[int], Seconds]", value))
    accepted = "a backoff such as exponential() or constant(1), a list of seconds, or a function"
    raise TypeError(f"{option} must be {accepted} of the retry's number, not {shown(value)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Waits that start at a base and grow up to a cap, and how they are spread."""

    base: float
    growth: Growth
    cap: float
    jitter: Jitter

    def wait(self, retry: int, rnd: float, previous: float | None) -> float:
        """Return the seconds to wait before retry number `retry`."""
        if self.jitter == "decorrelated":
            return decorrelated(self.base, self.cap, rnd, previous)
        # The cap before the jitter: the other way round all waits of a long
        # outage end at the cap together (stamina, tenacity) or above it (gRPC).
        longest = min(self.cap, self.growth.grown(self.base, retry))
        if self.jitter == "full":
            return rnd * longest
        if self.jitter == "equal":
            # Not twice the half: half of the smallest float is rounded to nothing.
            half = longest / 2
            return half + rnd * (longest - half)
        return longest

    def describe(self) -> str:
        """Return one line for `explain`."""
        low, high = min(self.base, self.cap), self._highest()
        if high == 0:
            return "no wait"
        span = f"{low:.6g} s" if low == high else f"{low:.6g} s .. {high:.6g} s"
        return f"{_SPREAD[self.jitter]} {span}"

    def _highest(self) -> float:
        if self.jitter == "decorrelated" and self.base > 0:
            return self.cap
        return min(self.cap, self.growth.grown(self.base, _FAR))


class Growth(Protocol):
    """How waits grow from one retry to the next, before cap and jitter."""

    def grown(self, base: float, retry: int) -> float:
        """Return the wait before retry number `retry`: finite, at least 0."""
        ...


@dataclass(frozen=True, slots=True)
class Same:
    """The base each time."""

    def grown(self, base: float, retry: int) -> float:  # noqa: ARG002 - the same for all
        """Return the base."""
        return base


@dataclass(frozen=True, slots=True)
class Powers:
    """The base times a power of the factor."""

    factor: float

    def grown(self, base: float, retry: int) -> float:
        """Return base * factor ** (retry - 1)."""
        if base == 0 or self.factor == 1:
            return base
        try:
            return min(LARGEST, base * self.factor ** (retry - 1))
        except OverflowError:  # past the largest float only the cap matters
            return LARGEST


@dataclass(frozen=True, slots=True)
class Multiples:
    """The base times the number of the retry."""

    def grown(self, base: float, retry: int) -> float:
        """Return base * retry."""
        return _times(base, retry)


@dataclass(frozen=True, slots=True)
class FibonacciNumbers:
    """The base times a Fibonacci number."""

    def grown(self, base: float, retry: int) -> float:
        """Return base * F(retry)."""
        return _times(base, fibonacci_number(min(retry, FIBONACCI_LIMIT)))


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
        return _answer(self.function(retry), f"the backoff function {function_name(self.function)}")

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


def decorrelated(base: float, cap: float, rnd: float, previous: float | None) -> float:
    """Return min(cap, U(base, 3 * previous)), previous being the base at first."""
    low = min(base, cap)
    before = low if previous is None else previous
    high = max(low, _times(before, 3))
    return min(cap, low + rnd * (high - low))


def fibonacci_number(n: int) -> int:
    """Return F(n), exactly, by doubling: F(2k) and F(2k+1) from F(k) and F(k+1)."""
    here, following = 0, 1
    for bit in f"{n:b}":
        here, following = here * (2 * following - here), here * here + following * following
        if bit == "1":
            here, following = following, here + following
    return here


def _times(base: float, count: int) -> float:
    try:
        return min(LARGEST, base * count)
    except OverflowError:  # the count alone is beyond the floats
        return LARGEST if base else 0.0


_FAR = 10**9
"""A retry so late that whatever grows has reached its cap."""

_SHOWN = 5

_SPREAD: dict[Jitter, str] = {
    "full": "full jitter",
    "equal": "equal jitter",
    "decorrelated": "decorrelated jitter",
    "none": "waits",
}


def _schedule(growth: Growth, base: object, cap: object, jitter: object) -> Schedule:
    return Schedule(
        base=seconds(base, "base", zero=True),
        growth=growth,
        cap=seconds(cap, "cap", zero=True),
        jitter=cast("Jitter", choice(jitter, "jitter", JITTERS)),
    )


def _listed(values: list[object] | tuple[object, ...], option: str) -> Listed:
    if not values:
        raise ValueError(f"{option} must be at least one wait in seconds, not an empty list")
    return Listed(
        tuple(seconds(wait, f"{option}[{place}]", zero=True) for place, wait in enumerate(values))
    )


def _answer(answer: object, who: str) -> float:
    if answer is None:  # a forgotten `return`, no missing value
        raise TypeError(f"{who} must return seconds, not None")
    return seconds(answer, f"the answer of {who}", zero=True)
