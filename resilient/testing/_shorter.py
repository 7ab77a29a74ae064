"""The shortest schedule that shows what another one shows, without Hypothesis.

Greedy and bounded: each candidate is one simplification of the best so far,
and is run once. It is what a table of schedules gets; a property is shrunk by
Hypothesis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import Fail, Hang, Items, Ok, values_of
from resilient.testing._virtual_run import Stuck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient.testing._run import Run
    from resilient.testing._steps import Step

MOST: Final = 100
"""Runs that are spent on it."""


def shortest(run: Run, breaks: Callable[[Run], bool]) -> FailureSchedule | None:
    """Return the simplest schedule found whose run `breaks` what this one breaks."""
    if run.details.again is None:
        return None
    best, spent = run.schedule, 0
    candidates = _simpler(best)
    while spent < MOST:
        one = next(candidates, None)
        if one is None:
            break
        spent += 1
        try:
            if breaks(run.details.again(one)):
                best, candidates = one, _simpler(one)
        except Stuck:
            continue
    return best


def _simpler(schedule: FailureSchedule) -> Iterator[FailureSchedule]:
    """Go through the schedules that say a little less."""
    if schedule.jitter_seed:
        yield replace(schedule, jitter_seed=0)
    if schedule.take is not None:
        yield replace(schedule, take=None)
    if schedule.pause:
        yield replace(schedule, pause=0)
    if schedule.cancel_at is not None:
        yield replace(schedule, cancel_at=None, cancel="scope")
        if schedule.cancel == "task":
            yield replace(schedule, cancel="scope")
    for number in range(1, len(schedule.arrivals)):
        arrivals = schedule.arrivals
        yield replace(schedule, arrivals=arrivals[:number] + arrivals[number + 1 :])
    for number, other in enumerate(schedule.fallbacks):
        if other != FailureSchedule():
            yield _with_fallback(schedule, number, FailureSchedule())
    for number in range(len(schedule.steps)):
        yield replace(schedule, steps=schedule.steps[:number] + schedule.steps[number + 1 :])
    if schedule.then != Ok():
        yield replace(schedule, then=Ok())
    for number, step in enumerate(schedule.steps):
        for simple in _simpler_step(step):
            steps = (*schedule.steps[:number], simple, *schedule.steps[number + 1 :])
            yield replace(schedule, steps=steps)
    for simple in _simpler_step(schedule.then):
        yield replace(schedule, then=simple)
    for number, other in enumerate(schedule.fallbacks):
        for simple_one in _simpler(other):
            yield _with_fallback(schedule, number, simple_one)


def _with_fallback(
    schedule: FailureSchedule, number: int, other: FailureSchedule
) -> FailureSchedule:
    others = list(schedule.fallbacks)
    others[number] = other
    while others and others[-1] == FailureSchedule():
        others.pop()
    return replace(schedule, fallbacks=tuple(others))


def _simpler_step(step: Step) -> Iterator[Step]:
    if step.after:
        yield replace(step, after=0)
    if isinstance(step, Fail) and step.hint is not None:
        yield replace(step, hint=None)
    if isinstance(step, Items):
        yield from _simpler_items(step)


def _simpler_items(step: Items) -> Iterator[Step]:
    """Go through streams that say less: no gaps, fewer items, a plain end, an answer, a failure."""
    if step.gap:
        yield replace(step, gap=0)
    if values_of(step):
        yield replace(step, n=step.n - 1 if isinstance(step.n, int) else step.n[:-1])
    if step.then != Ok():
        yield replace(step, then=Ok())
    if not values_of(step) and isinstance(step.then, Ok | Fail | Hang):
        yield step.then
