"""Who awaits the guarded function: once, and cancelled while it does if the test says so.

A scope cancels again at every await, `task.cancel()` once. Either way the
caller's own count of cancellations must come out as it went in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio

from resilient._runtime.clock import now, runtime
from resilient.testing._record import Cancelled, Raised, Result, Returned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient.testing._record import Log
    from resilient.testing._schedule import Delivery


class Caller:
    """Awaits the guarded function once, and may be cancelled while it does."""

    def __init__(self, guarded: Callable[[], Awaitable[Any]], log: Log) -> None:
        self._guarded = guarded
        self._log = log
        self.cancelled_order: int | None = None
        self.unbalanced: list[str] = []

    async def call(self, cancel_at: float | None, delivery: Delivery) -> Result:
        """Make the call; return what came of it."""
        if cancel_at is not None and delivery == "task":
            return await self._in_task(cancel_at)
        task = asyncio.current_task() if runtime().backend == "asyncio" else None
        before = 0 if task is None else task.cancelling()
        try:
            if cancel_at is None:
                return await self._outcome()
            return await self._in_scope(cancel_at)
        except anyio.get_cancelled_exc_class():
            return Cancelled()  # not by us: a step raised it
        finally:
            self._balance(before, 0 if task is None else task.cancelling())

    async def _outcome(self) -> Result:
        try:
            return Returned(await self._guarded())
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
            return Raised(error)

    async def _in_scope(self, cancel_at: float) -> Result:
        result: Result = Cancelled()
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if cancel_at == 0:
                    self._cancel(scope.cancel)
                else:
                    group.start_soon(self._cancel_later, cancel_at, scope.cancel)
                result = await self._outcome()
            group.cancel_scope.cancel()
        return result

    async def _in_task(self, cancel_at: float) -> Result:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._outcome())
        alarm = loop.call_at(cancel_at, self._cancel, task.cancel)
        await asyncio.wait([task])
        alarm.cancel()
        self._balance(0 if self.cancelled_order is None else 1, task.cancelling())
        return Cancelled() if task.cancelled() else task.result()

    async def _cancel_later(self, at: float, cancel: Callable[[], object]) -> None:
        await anyio.sleep(at - now())
        self._cancel(cancel)

    def _cancel(self, cancel: Callable[[], object]) -> None:
        self.cancelled_order = self._log.next()
        cancel()

    def _balance(self, expected: int, found: int) -> None:
        if found != expected:
            self.unbalanced.append(f"task.cancelling() is {found}, not {expected}")
