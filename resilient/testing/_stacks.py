"""Where a middleware is put to be checked, and what happens to it there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resilient._breaker import circuit_breaker
from resilient._core.trips import consecutive
from resilient._decorators import fallback, retry, timeout
from resilient._stack import Pipeline
from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import Bad, Fail, Hang, Interruption, Ok

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient._policies import Middleware, Policy


@dataclass(frozen=True, slots=True)
class Stack:
    """The policies outside of a middleware, and those inside of it."""

    outside: tuple[Policy, ...]
    inside: tuple[Policy, ...]
    thorough: bool = True
    """Whether what is played here is also run again, on the other backend as well."""

    def around(self, middlewares: Sequence[Middleware]) -> Pipeline:
        """Return the pipeline with the middleware in its place."""
        return Pipeline(policies=(*self.outside, *middlewares, *self.inside))

    def named(self, middleware: str) -> str:
        """Say what stands around what, outermost first."""
        kinds = [part.kind for part in self.outside], [part.kind for part in self.inside]
        return " > ".join([*kinds[0], middleware, *kinds[1]])

    @property
    def limited(self) -> bool:
        """Whether a call that hangs is ended."""
        return "timeout" in self.kinds

    @property
    def kinds(self) -> set[str]:
        """The kinds of the policies."""
        return {part.kind for part in (*self.outside, *self.inside)}


def stacks() -> list[Stack]:
    """Return the places for a middleware, the simplest first."""

    async def spare(*args: object, **kwargs: object) -> None: ...

    tried = retry(attempts=3, backoff=[1]).policies
    limited = timeout(60).policies
    chained = fallback(to=[spare]).policies
    broken = circuit_breaker("kit.middleware", trip=consecutive(2), open_for=10).policies
    found = [Stack((), ())]
    for policies in (tried, limited, chained, broken):
        found += [Stack(policies, (), thorough=False), Stack((), policies, thorough=False)]
    return [*found, Stack(timeout(300).policies, (*tried, *timeout(60).policies))]


def schedules(
    good: Ok, failures: Sequence[Fail | Bad], *, limited: bool
) -> Iterator[FailureSchedule]:
    """Go through what may happen to a middleware, the simplest first."""
    slow = replace(good, after=2)
    bad, *others = failures
    late = replace(bad, after=1)
    for steps in ([good], [bad], [late, late, slow], [bad] * 5, [Fail(Interruption)]):
        yield FailureSchedule(steps, then=good)
    for other in others:
        yield FailureSchedule([other], then=good)
    if limited:
        yield FailureSchedule([Hang()], then=good)
    # Odd instants: where something ends as it is cancelled, either may be first.
    yield FailureSchedule([slow], then=good, cancel_at=1.013)
    yield FailureSchedule([slow], then=good, cancel_at=1.013, cancel="task")
    yield FailureSchedule([late], then=slow, cancel_at=1.513)
    yield FailureSchedule([slow, late, slow], then=slow, arrivals=(0, 0.5, 0.75))


def alike(good: Ok, failures: Sequence[Fail | Bad]) -> Iterator[FailureSchedule]:
    """Go through schedules of callers of whom each should fare as if it were alone."""
    for step in (good, *failures):
        yield FailureSchedule(then=replace(step, after=3), arrivals=(0, 1, 2))
