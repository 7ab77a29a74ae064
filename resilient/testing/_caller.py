"""Who awaits the guarded function: once, and cancelled while it does if the test says so.

A scope cancels again at every await, `task.cancel()` once. Either way the
caller's own count of cancellations must come out as it went in, its next await
must complete, and nothing of the call may still be current.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from resilient._core.outcome import Outcome
from resilient._runtime.call import current_call
from resilient._runtime.clock import now, runtime
from resilient._runtime.task_groups import take_back
from resilient.testing import _tasks
from resilient.testing._record import Cancelled, Raised, Result, Returned, current_span, who
from resilient.testing._run import CallerRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient.testing._consumer import Consumer
    from resilient.testing._record import Log
    from resilient.testing._schedule import Delivery


class Caller:
    """Awaits the guarded function once, and may be cancelled while it does."""

    def __init__(
        self,
        guarded: Callable[[], Awaitable[Any]],
        log: Log,
        number: int = 0,
        consumer: Consumer | None = None,
    ) -> None:
        self._guarded = guarded
        self._log = log
        self._number = number
        self._consumer = consumer
        self._outcome: Outcome[Any] | None = None
        self.cancelled_order: int | None = None
        self.awake = False
        self.troubles: list[str] = []
        # Of a call that was cancelled before it began.
        self._ended, self._ended_order = 0.0, 0

    async def run(self, at: float, cancel_at: float | None, delivery: Delivery) -> CallerRun:
        """Wait until `at`, make the call, and say what came of it."""
        if at > now():
            await anyio.sleep(at - now())
        token = who.set(self._number)
        started, order = now(), self._log.next()
        try:
            result = await self.call(cancel_at, delivery)
        finally:
            who.reset(token)
        return CallerRun(
            number=self._number,
            started=started,
            ended=max(started, self._ended),
            result=result,
            order=order,
            ended_order=self._ended_order or self._log.next(),
            cancelled_at=None if self.cancelled_order is None else cancel_at,
            cancelled_order=self.cancelled_order,
            cancelled_awake=self.awake,
            **self._details(),
        )

    def _details(self) -> dict[str, Any]:
        consumer = self._consumer
        if consumer is None:
            return {"outcome": self._outcome, "troubles": tuple(self.troubles)}
        return {
            "troubles": (*self.troubles, *consumer.troubles),
            "items": tuple(consumer.items),
            "items_at": tuple(consumer.orders),
            "closed": consumer.closed,
            "outcome": consumer.outcome,
        }

    async def call(self, cancel_at: float | None, delivery: Delivery) -> Result:
        """Make the call; return what came of it."""
        backend = runtime().backend
        if cancel_at is not None and delivery == "task" and backend == "asyncio":
            return await self._in_task(cancel_at)
        task = asyncio.current_task() if backend == "asyncio" else None
        before = 0 if task is None else task.cancelling()
        try:
            if cancel_at is None:
                return await self._made()
            return await self._in_scope(cancel_at)
        except anyio.get_cancelled_exc_class():
            return Cancelled()  # not by us: a step raised it
        finally:
            self._balance(before, 0 if task is None else task.cancelling())

    async def _made(self) -> Result:
        call, span = current_call(), current_span()
        try:
            result = await self._result()
        finally:
            self._ended, self._ended_order = now(), self._log.next()
            if current_call() is not call:
                self.troubles.append("the call that has ended is still the current one")
            if current_span() is not span:
                self.troubles.append("a span of the call that has ended is still the current one")
        await self._look_around()
        return result

    async def _result(self) -> Result:
        task = asyncio.current_task() if runtime().backend == "asyncio" else None
        before = 0 if task is None else task.cancelling()
        try:
            value = await self._guarded()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
            take_back(task, before, error)
            return Raised(error)
        if issubclass(type(value), Outcome):  # as in `FallbackManager`: not narrowed
            self._outcome = value
            return Returned(value.value)
        return Returned(value)

    async def _look_around(self) -> None:
        """Await once more: nothing of the call may come to that await."""
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            # One that was asked for comes here where the call was over by then.
            if self.cancelled_order is None:
                self.troubles.append("the await behind the call was cancelled: nobody had asked")

    async def _in_scope(self, cancel_at: float) -> Result:
        result: Result = Cancelled()
        task = _tasks.current()
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if cancel_at <= now():
                    self._cancel(scope.cancel)
                else:
                    group.start_soon(self._cancel_later, cancel_at, task, scope.cancel)
                result = await self._made()
            group.cancel_scope.cancel()
        return result

    async def _in_task(self, cancel_at: float) -> Result:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._made())
        alarm = loop.call_at(cancel_at, self._cancel, task.cancel)
        await asyncio.wait([task])
        alarm.cancel()
        self._balance(0 if self.cancelled_order is None else 1, task.cancelling())
        return Cancelled() if task.cancelled() else task.result()

    async def _cancel_later(
        self, at: float, task: _tasks.Task, cancel: Callable[[], object]
    ) -> None:
        await anyio.sleep(at - now())
        # What it waited for has come: it goes on, and meets the cancellation at its next await.
        self.awake = _tasks.is_ready(task)
        self._cancel(cancel)

    def _cancel(self, cancel: Callable[[], object]) -> None:
        self.cancelled_order = self._log.next()
        cancel()

    def _balance(self, expected: int, found: int) -> None:
        if found != expected:
            self.troubles.append(f"task.cancelling() is {found}, not {expected}")
