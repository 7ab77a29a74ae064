"""What only many runs show: that the waits of many callers are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._core.backoff import Schedule
from resilient._core.functions import name_of
from resilient._guard import callee
from resilient.testing._given import several
from resilient.testing._interest import interest_of
from resilient.testing._invariants._common import s
from resilient.testing._schedule import FailureSchedule
from resilient.testing._simulate import simulate
from resilient.testing._steps import Fail
from resilient.testing._subject import example_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_AT_THE_CAP = 0.25


def spread_at_cap(what: Any, /, *, seeds: Iterable[int] = range(32)) -> None:  # noqa: ANN401
    """Assert that the waits of an outage are spread, also when they have reached their cap.

    Where jitter is forgotten at the cap, or comes before it, all callers of a
    long outage come back together. `what` is run once for each of the `seeds`
    with a target that always fails, and of the waits that have grown to the
    cap no more than a quarter may equal it, nor may all be the same. It is
    about many runs, so it is no part of `check`.

    Raises `ValueError` where there is no single retry with jitter, or where it
    makes too few attempts to get to its cap.

    >>> spread_at_cap(retry(attempts=12, backoff=exponential(cap=5)))
    """
    numbers = several(seeds, "spread_at_cap(seeds=)", "whole numbers")
    what = callee(what)
    backoff = _backoff(what)
    waits = [wait for seed in numbers for wait in _at_the_cap(what, backoff, seed)]
    if len(waits) < 2:  # noqa: PLR2004 - one wait cannot be spread
        raise ValueError(
            f"spread_at_cap: {name_of(what)} makes too few attempts to get to its cap of"
            f" {s(backoff.cap)}"
        )
    at_cap = sum(wait >= backoff.cap for wait in waits) / len(waits)
    if max(waits) > backoff.cap:
        raise AssertionError(f"spread_at_cap: no wait above {s(backoff.cap)}, not {s(max(waits))}")
    if max(waits) == min(waits) or at_cap > _MOST_AT_THE_CAP:
        raise AssertionError(
            f"spread_at_cap\n  expected  waits spread below the cap of {s(backoff.cap)}"
            f"\n  happened  {at_cap:.0%} of {len(waits)} waits equal it"
        )


def _backoff(what: Any) -> Schedule:  # noqa: ANN401
    node = example_of(what)
    retries = [] if node is None else [p for one in node.everything for p in one.around("retry")]
    found: Any = getattr(retries[0].policy, "policy", None) if len(retries) == 1 else None
    backoff = getattr(found, "backoff", None)
    if not isinstance(backoff, Schedule) or backoff.jitter in {"none", "decorrelated"}:
        raise ValueError(
            f"spread_at_cap: {name_of(what)} has no single retry with full or equal jitter"
        )
    return backoff


def _at_the_cap(what: Any, backoff: Schedule, seed: int) -> list[float]:  # noqa: ANN401
    interest = interest_of(what, 1)
    error = ConnectionError if interest is None else interest.leaves[0].errors[0]
    run = simulate(what, FailureSchedule(then=Fail(error), jitter_seed=seed))
    return [
        wait
        for number, wait in enumerate(run.waits, start=1)
        if backoff.growth.grown(backoff.base, number) >= backoff.cap
    ]
