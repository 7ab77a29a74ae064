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
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from resilient._core.options import choice
from resilient._runtime.clock import now
from resilient._stack import Pipeline, stack
from resilient.testing._caller import Caller
from resilient.testing._leftovers import leftovers
from resilient.testing._record import Log, Run
from resilient.testing._runs import Runs
from resilient.testing._schedule import Delivery, FailureSchedule, schedule_of
from resilient.testing._virtual import Backend, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from resilient.testing._steps import Step

Way = Literal["decorators", "stack"]


class Tester:
    """A stack of policies, outermost first, to be run against scripts.

    A policy may also be given as a function that makes it: called for each
    run, it gets fresh state. Its parameters are the further scripted
    functions, so `lambda other: fallback(to=[other])` falls back to one.
    """

    __test__ = False  # its name is a noun, not a class of tests

    def __init__(self, *policies: Pipeline | Callable[..., Pipeline]) -> None:
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
        scripts = [schedule_of(one) for one in (first, *others)]
        choice(cancel, "cancel", get_args(Delivery))
        if cancel == "task":
            backends = [backend for backend in backends if backend == "asyncio"]
        return Runs(
            tuple(
                virtual_time(
                    partial(self._run, scripts, backend, way, cancel_at, cancel),
                    backend=backend,
                    seed=seed,
                    horizon=horizon,
                )
                for backend in backends
                for way in ways
            )
        )

    async def _run(
        self,
        scripts: Sequence[FailureSchedule],
        backend: Backend,
        way: Way,
        cancel_at: float | None,
        cancel: Delivery,
    ) -> Run:
        log = Log()
        guarded = self._guarded(log, scripts, way)
        caller = Caller(guarded, log)
        began = now()
        result = await caller.call(cancel_at, cancel)
        return Run(
            backend=backend,
            way=way,
            calls=tuple(log.calls),
            events=tuple(log.events),
            result=result,
            elapsed=now() - began,
            leftovers=(*leftovers(), *caller.unbalanced),
            cancelled_at=cancel_at if caller.cancelled_order else None,
            cancelled_order=caller.cancelled_order,
        )

    def _guarded(
        self, log: Log, scripts: Sequence[FailureSchedule], way: Way
    ) -> Callable[[], Awaitable[Any]]:
        target, *others = [
            log.scripted(one, "target" if number == 0 else f"other_{number}")
            for number, one in enumerate(scripts)
        ]
        policies = [_made(policy, others) for policy in self._policies]
        if way == "stack":
            return stack(*policies, listeners=[log])(target)
        for policy in reversed(policies):
            target = policy(target)
        return stack(listeners=[log])(target)


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
