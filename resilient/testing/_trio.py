"""The trio half of virtual time: trio's own mock clock, one for each run.

The clock jumps by itself when every task waits. What it does not do is notice
that a task waits for a thread, or that no timer is left at all: an instrument
looks for both.
"""

from __future__ import annotations

import importlib
import math
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import outcome
import trio
import trio.testing

from resilient.testing import _tasks
from resilient.testing._virtual_run import Stuck, VirtualRun, one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")


def run(
    main: Callable[[VirtualRun, Callable[[], float]], Coroutine[Any, Any, T]], horizon: float
) -> T:
    """Run `main` under a fresh mock clock that starts at 0."""
    clock = trio.testing.MockClock(autojump_threshold=0)

    # Not the result of the task: trio's own objects keep it until they are collected.
    result: list[T] = []

    async def begin() -> None:
        this = VirtualRun(horizon)

        async def alarm() -> None:
            await trio.sleep_until(horizon)
            this.past_horizon()

        # A system task ends with the run, and its timer is the last one to be due.
        this.tasks_before.add(trio.lowlevel.spawn_system_task(alarm))
        watch = _Watch(this, clock, trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(watch)
        try:
            result.append(await main(this, clock.current_time))
        finally:
            trio.lowlevel.remove_instrument(watch)

    with one_at_a_time, _shuffled_the_same_way():
        trio.run(begin, clock=clock)
    return result.pop()


@contextmanager
def _shuffled_the_same_way() -> Generator[None]:
    """Let trio run what is ready at one instant in the same order in every run.

    It shuffles on purpose. It has a switch and a source of its own for
    Hypothesis, and a run that is to be the same again needs both as well.
    """
    inside: Any = importlib.import_module("trio._core._run")
    source, switch = getattr(inside, "_r", None), "_ALLOW_DETERMINISTIC_SCHEDULING"
    if not isinstance(source, random.Random) or not hasattr(inside, switch):
        yield  # another trio than those that we know: it shuffles
        return
    state, before = source.getstate(), getattr(inside, switch)
    setattr(inside, switch, True)
    source.seed(0)
    try:
        yield
    finally:
        setattr(inside, switch, before)
        source.setstate(state)


class _Watch(trio.abc.Instrument):
    """Ends a run that the clock alone would jump over, or leave hanging."""

    def __init__(
        self, run: VirtualRun, clock: trio.testing.MockClock, main: trio.lowlevel.Task
    ) -> None:
        self._run = run
        self._clock = clock
        self._main = main
        self._time = 0.0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio calls it
        # While a thread works, the clock holds still for as long as patience lasts.
        patience = self._run.patience if self._run.busy_threads() else 0.0
        if patience != self._clock.autojump_threshold:
            self._clock.autojump_threshold = patience

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - as above
        now = self._clock.current_time()
        jumped, self._time = now > self._time, now
        busy = self._run.busy_threads()
        if jumped and busy:
            self._run.waits_for_thread()
        elif self._run.reason is not None and not busy:
            self._release(self._run.reason)

    def _release(self, reason: str) -> None:
        """Raise in the tasks that wait behind a shield, if nothing else is left to wait for."""
        now = trio.lowlevel.current_statistics()
        if now.tasks_runnable or now.seconds_to_next_deadline < math.inf:
            return
        for task in _tasks.below(self._main):
            if not task.child_nurseries:
                trio.lowlevel.reschedule(task, outcome.Error(Stuck(reason)))
