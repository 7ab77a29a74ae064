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

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from resilient._core.custom_backoff import Computed, Foreign, Listed, listed_waits
from resilient._core.functions import refuse_async, short_name
from resilient._core.growth import FibonacciNumbers, Multiples, Powers, Same
from resilient._core.jitter import JITTERS, SPREAD, Jitter, decorrelated, spread
from resilient._core.options import choice, number, seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._core.growth import Growth
    from resilient._core.options import Seconds


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


_ACCEPTED = (
    "a backoff such as exponential() or constant(1), a list of seconds,"
    " or a function of the retry's number"
)


def backoff_of(value: object, option: str = "backoff", accepted: str = _ACCEPTED) -> Backoff:
    """Return the backoff that an option means.

    It may be a backoff, a list or tuple of seconds (the last one repeats), or
    a function from the number of the retry, 1 for the first, to seconds. An
    answer of the function that is no number of seconds fails the call: a
    `ValueError` for a number below 0, NaN or infinity, a `TypeError` for
    anything else, both naming the function. `accepted` is what the message of
    a `TypeError` names.

    >>> listed = backoff_of([3, 6, 9])
    >>> [listed.wait(retry, rnd=0.5, previous=None) for retry in (1, 2, 3, 4)]
    [3.0, 6.0, 9.0, 9.0]
    >>> backoff_of(lambda retry: retry / 4).wait(3, rnd=0.5, previous=None)
    0.75
    """
    if isinstance(value, (Schedule, Listed, Computed, Foreign)):
        return value
    if isinstance(value, (list, tuple)):
        return listed_waits(cast("list[object] | tuple[object, ...]", value), option)
    if any(value is maker for maker in (exponential, constant, linear, fibonacci)):
        maker = short_name(value)
        raise TypeError(f"{option} must be what {maker}() returns, not the function {maker} itself")
    if isinstance(value, Backoff) and not isinstance(value, type):
        return Foreign(value)
    if callable(value):
        refuse_async(value, option)
        return Computed(cast("Callable[[int], Seconds]", value))
    raise TypeError(f"{option} must be {accepted}, not {shown(value)}")


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
        return spread(longest, self.jitter, rnd)

    def describe(self) -> str:
        """Return one line for `explain`."""
        low, high = min(self.base, self.cap), self._highest()
        if high == 0:
            return "no wait"
        span = f"{low:.6g} s" if low == high else f"{low:.6g} s .. {high:.6g} s"
        return f"{SPREAD[self.jitter]} {span}"

    def _highest(self) -> float:
        if self.jitter == "decorrelated" and self.base > 0:
            return self.cap
        return min(self.cap, self.growth.grown(self.base, _FAR))


_FAR = 10**9
"""A retry so late that whatever grows has reached its cap."""


def _schedule(growth: Growth, base: object, cap: object, jitter: object) -> Schedule:
    return Schedule(
        base=seconds(base, "base", zero=True),
        growth=growth,
        cap=seconds(cap, "cap", zero=True),
        jitter=cast("Jitter", choice(jitter, "jitter", JITTERS)),
    )
