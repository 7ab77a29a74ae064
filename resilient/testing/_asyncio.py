"""The asyncio half of virtual time: an event loop that never waits.

Its selector polls. When nothing is ready it moves the loop's clock to the
earliest timer, to that very number, so times are exact. A timer at infinity
(a sleep for ever) is no timer.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack, cast

from resilient.testing._virtual_run import Stuck, VirtualRun

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

    Ready = list[tuple[selectors.SelectorKey, int]]
    Select = Callable[[float | None], Ready]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(
    main: Callable[[VirtualRun, Callable[[], float]], Coroutine[Any, Any, T]], horizon: float
) -> T:
    """Run `main` in a fresh virtual loop, and close it as `asyncio.run` does."""
    # Not the result of the task: when the runner puts the handler of SIGINT
    # back, the signal module makes a `repr` of that task and all it holds.
    result: list[T] = []

    async def begin() -> None:
        loop = cast("VirtualLoop", asyncio.get_running_loop())
        loop.run = VirtualRun(horizon)
        alarm = loop.call_at(horizon, loop.run.past_horizon)
        try:
            result.append(await main(loop.run, loop.time))
        finally:
            alarm.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(begin())
    return result.pop()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector event loop whose clock starts at 0 and jumps."""

    run: VirtualRun

    def __init__(self) -> None:
        self._now = 0.0
        self._real = False
        self._pierced = False
        self._jobs: set[asyncio.Future[Any]] = set()
        super().__init__(_PollingSelector(self._idle))
        self._keep_resolution()

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return super().time() if self._real else self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread, and know of it."""
        job = super().run_in_executor(executor, func, *args)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Join the executor's threads, in real time: theirs is the only time there is."""
        self._real = True
        await super().shutdown_default_executor(*args, **kwargs)

    def _idle(self, select: Select, timeout: float | None) -> Ready:
        """Jump to the earliest timer; wait for real only for threads."""
        if self._real:
            return select(timeout)
        if self._jobs or self.run.busy_threads():
            return self._wait_for_threads(select)
        # `_scheduled` is private, and its first entry is the only exact source:
        # the timeout that a selector is given is rounded, and capped at a day.
        timers = cast("list[asyncio.TimerHandle]", cast("Any", self)._scheduled)  # noqa: SLF001
        if not timers or timers[0].when() == math.inf:
            self._pierce_shields()
        else:
            self._now = timers[0].when()
            self._keep_resolution()
        return []

    def _wait_for_threads(self, select: Select) -> Ready:
        # A run that was given up still has to see its threads end.
        ready = select(None if self.run.reason else self.run.patience)
        if not ready:
            self.run.waits_for_thread()
        return ready

    def _pierce_shields(self) -> None:
        # The run has been given up, and what is left waits behind a shield:
        # nothing else ends it. A task that swallows this as well is hopeless.
        if self._pierced:
            raise Stuck(self.run.reason or "a task was cancelled at the end and does not end")
        self._pierced = True
        for task in asyncio.all_tasks(self):
            task.cancel()

    def _keep_resolution(self) -> None:
        # asyncio calls a timer due when it is before `time() + resolution`. One
        # ulp makes that "not after now": no timer is early, and at no size of
        # the number (past 2 ** 24, for 1e-9) does the sum fall back to `time()`.
        self._clock_resolution = math.ulp(self._now)


class _PollingSelector(selectors.DefaultSelector):
    """A selector that looks once and, where it would wait, asks `idle` what to do."""

    def __init__(self, idle: Callable[[Select, float | None], Ready]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> Ready:
        ready = super().select(0)
        return ready if ready or timeout == 0 else self._idle(super().select, timeout)
