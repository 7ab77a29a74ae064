"""Three lines for each test of how policies behave together.

    Tester(retry(attempts=3), timeout(8)).run("x x .").asserts(tries=3, calls=3, from_call=3)

A `Tester` is a stack; `run` calls a fresh scripted function through it in
virtual time, on both backends and in both spellings (decorators, `stack`), and
`asserts` compares every run with what is expected. What must hold always is
compared without being asked for: nothing is left behind, nothing is called
after a cancellation, every attempt that began has ended once, and the runs
tell the same story.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from resilient._core.options import choice
from resilient._stack import Pipeline, stack
from resilient.testing._anatomy import anatomy_of
from resilient.testing._engine import Scene, run_once
from resilient.testing._given import function
from resilient.testing._runs import Runs
from resilient.testing._schedule import Delivery, FailureSchedule, schedule_of
from resilient.testing._subject import Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resilient.testing._record import Log
    from resilient.testing._steps import Step
    from resilient.testing._virtual import Backend

Way = Literal["decorators", "stack"]


class Tester:
    """A stack of policies, outermost first, to be run against scripts.

    A policy may also be given as a function that makes it: called for each
    run, it gets fresh state. Its parameters are the further scripted
    functions, so `lambda other: fallback(to=[other])` falls back to one.
    """

    __test__ = False  # its name is a noun, not a class of tests

    def __init__(self, *policies: Pipeline | Callable[..., Pipeline]) -> None:
        for policy in policies:
            function(policy, "Tester", "policies, or functions that make them")
        self._policies = policies

    def run(
        self,
        first: str | Iterable[Step] | FailureSchedule,
        /,
        *others: str | Iterable[Step] | FailureSchedule,
        cancel_at: float | None = None,
        cancel: Delivery = "scope",
        backends: Sequence[Backend] = ("asyncio", "trio"),
        ways: Sequence[Way] = ("decorators", "stack"),
        seed: int = 0,
        horizon: float = 1e6,
    ) -> Runs:
        """Call a function that follows the script `first` through the policies.

        `others` are the scripts of further functions, for factories of
        policies. `cancel_at` cancels the caller at that instant, with an
        anyio scope or (asyncio only) with `task.cancel()`.
        """
        schedule = _joined([schedule_of(one) for one in (first, *others)], seed)
        choice(cancel, "cancel", get_args(Delivery))
        for way in ways:
            choice(way, "ways", get_args(Way))
        if cancel == "task":
            backends = [backend for backend in backends if backend == "asyncio"]
        schedule = replace(schedule, cancel_at=cancel_at, cancel=cancel)
        return Runs(
            tuple(
                run_once(
                    partial(self._ready, schedule, way),
                    schedule,
                    Scene(backend=backend, horizon=horizon, listening="log", way=way, others=True),
                )
                for backend in backends
                for way in ways
            )
        )

    def _ready(self, schedule: FailureSchedule, way: Way, log: Log) -> Ready:
        target, *others = [
            log.scripted(
                schedule.of(index), "target" if index == 0 else f"other_{index}", index=index
            )
            for index in range(len(schedule.fallbacks) + 1)
        ]
        policies = [_made(policy, others) for policy in self._policies]
        if way == "stack":
            guarded = stack(*policies)(target)
            return Ready(guarded, anatomy_of(guarded), real=False)
        for policy in reversed(policies):
            target = policy(target)
        # Without a policy it is guarded all the same: there is a call to be told of.
        guarded = target if policies else stack()(target)
        return Ready(guarded, anatomy_of(guarded), real=False)


def _joined(schedules: Sequence[FailureSchedule], seed: int) -> FailureSchedule:
    first, *others = schedules
    return replace(first, fallbacks=tuple(others), jitter_seed=seed or first.jitter_seed)


def _made(policy: Pipeline | Callable[..., Pipeline], others: Sequence[Any]) -> Pipeline:
    if isinstance(policy, Pipeline):
        return policy
    wanted = len(inspect.signature(policy).parameters)
    if wanted > len(others):
        raise ValueError(
            f"a policy is made from {wanted} further functions, and run() was given the scripts"
            f" of {len(others)}: write one more script for each"
        )
    return policy(*others[:wanted])
