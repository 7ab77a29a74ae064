"""`FaultyBackend`: an async function that does what a schedule says."""

from __future__ import annotations

from contextlib import aclosing
from contextvars import ContextVar
from typing import TYPE_CHECKING

from resilient._core.options import text
from resilient.testing._record import Log
from resilient.testing._schedule import FailureSchedule, schedule_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from resilient.testing._record import TargetCall
    from resilient.testing._steps import Step

running: ContextVar[Log | None] = ContextVar("resilient_log", default=None)
"""The log of the run that this code is part of."""


class FaultyBackend:
    """An async function that does what a schedule says: step i answers call i.

    Its method `stream` is an async generator function that does the same.

    For managers built by hand (`Target("a", FaultyBackend("x."))`) and for
    functions that get what they call as an argument. In a `simulate` run its
    calls are part of that run, and each run begins with the first step.
    Elsewhere it goes on from call to call; `calls` has all of them.

    >>> backend = FaultyBackend("x.", name="prices")
    >>> virtual_time(retry(backoff=[1])(backend))
    <answer of call 2>
    >>> [call.started for call in backend.calls]
    [0.0, 1.0]
    """

    def __init__(
        self,
        schedule: str | Iterable[Step] | FailureSchedule = FailureSchedule(),  # noqa: B008 - frozen
        *,
        name: str = "backend",
        index: int = 0,
    ) -> None:
        self.schedule = schedule_of(schedule)
        self.__name__ = self.__qualname__ = text(name, "FaultyBackend(name=)")
        self._index = index
        self._log = Log()

    async def __call__(self, *_args: object, **_kwargs: object) -> object:
        """Do what the step of this call says, whatever the arguments are."""
        log, step, index = self._turn()
        return await log.played(step, self.__name__, index, self)

    async def stream(self, *_args: object, **_kwargs: object) -> AsyncGenerator[object]:
        """Give the items that the step of this call says: the same as an async generator.

        >>> async def words():
        ...     return [item async for item in FaultyBackend([Items(["so", "blue"])]).stream()]
        >>> virtual_time(words)
        ['so', 'blue']
        """
        log, step, index = self._turn()
        async with aclosing(log.streamed(step, self.__name__, index, self)) as items:
            async for item in items:
                yield item

    def _turn(self) -> tuple[Log, Step, int]:
        """Return what the next call does, and where it is noted."""
        log = running.get() or self._log
        self._log = log
        schedule, index = log.script(self.schedule, self._index)
        return log, schedule.step(log.turn(self)), index

    @property
    def calls(self) -> list[TargetCall]:
        """The calls so far, in this run or the last one."""
        return [call for call in self._log.calls if call.function is self]

    def __repr__(self) -> str:
        """Show the schedule."""
        return f"FaultyBackend({str(self.schedule)!r})"
