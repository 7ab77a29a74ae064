"""The driver of `timeout` around a stream: a limit for the opening, then one for each item.

A scope is entered when the source is asked and left when it has answered, so
none is ever held across a `yield`, and what the consumer does between two
items is its own. `between_items` counts the time that the source takes for one
item; `total` is an instant that was fixed when the stream began, whatever
passes until then.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast

from anyio.lowlevel import checkpoint_if_cancelled

from resilient._runtime.limits import ARMED, SENT, Limit, Table, table_of
from resilient._runtime.pause import discard
from resilient._runtime.timeout import came_back, timeout_layer
from resilient.errors import TimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient._runtime.opened import Opened, Source
    from resilient.errors import Limit as LimitName


def stream_timeout_layer(
    total: float, name: LimitName, first_item: float, between_items: float, inner: Layer
) -> Layer:
    """Open the stream of `inner` within a limit, and put limits around its further items."""
    opening = inner
    if first_item < total:
        opening = timeout_layer(first_item, "first_item", inner)
    elif total < inf:
        opening = timeout_layer(total, name, inner)

    async def limited(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Opened:
        deadline = call.resumed + total
        opened: Opened = await opening(call, args, kwargs)
        if between_items < inf:
            limit_items(call, opened, between_items, "between_items")
        if deadline < inf:
            limit_items(call, opened, total, name, deadline)
        return opened

    return limited


def limit_items(
    call: Call, opened: Opened, after: float, name: LimitName, deadline: float | None = None
) -> None:
    """Limit each further item of `opened`: to `after` seconds, or to what is left to a deadline."""
    if opened.exhausted:
        return
    opened.source = Limited(call, opened, after, name, deadline)


class Limited:
    """A source with a limit around it."""

    __slots__ = ("_after", "_call", "_deadline", "_ends", "_inside", "_name", "_source", "_table")

    def __init__(
        self, call: Call, opened: Opened, after: float, name: LimitName, deadline: float | None
    ) -> None:
        self._call = call
        self._source: Source = opened.source
        # For those inside of this limit a stream that it cuts was cancelled.
        self._ends = opened.ends
        self._inside = len(opened.ends)
        self._after = after
        self._name: LimitName = name
        self._deadline = deadline
        self._table: Table | None = None

    def __anext__(self) -> Awaitable[Any]:
        """Give the next item in time."""
        return self._within(self._source.__anext__)

    def asend(self, value: Any, /) -> Awaitable[Any]:  # noqa: ANN401
        """Send a value in and give the next item in time."""
        return self._within(partial(self._source.asend, value))

    def athrow(self, error: BaseException, /) -> Awaitable[Any]:
        """Throw an error in and give the next item in time.

        To close may take any time; and what the consumer throws in arrives,
        also when the time is over.
        """
        over = self._deadline is not None and self._deadline <= self._call.runtime.clock()
        if over or isinstance(error, GeneratorExit):
            return self._source.athrow(error)
        # Let go of when it is thrown: its traceback is going to hold our frames.
        once = [error]
        return self._within(lambda: self._source.athrow(once.pop()))

    def aclose(self) -> Awaitable[Any]:
        """Close the source, in its own time."""
        return self._source.aclose()

    async def _within(self, ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        call = self._call
        now = call.runtime.clock()
        deadline = self._deadline
        if deadline is None:
            deadline = now + self._after
        elif deadline <= now:
            # It passed while the consumer was busy: there is nobody to interrupt.
            await discard(self._source)
            raise self._timed_out()
        outer = call.limit
        if deadline >= outer:
            return await ask()
        if call.runtime.loop is None:
            return await self._within_on_trio(ask, deadline, now)
        task = asyncio.current_task(call.runtime.loop)
        assert task is not None
        table = self._table or self._find_table()
        limit = Limit(task, deadline)
        if table.handle is None:
            table.arm(limit)
        else:  # as in `timeout_layer`
            table.armed[limit] = None
        call.limit = deadline
        try:
            item = await ask()
        except BaseException as error:
            call.limit = outer
            # A source that takes our cancellation for its end was cut all the same.
            ended = limit.state == SENT and isinstance(error, StopAsyncIteration)
            expired = table.leave(limit, error) or ended
            del task, limit
            if expired:
                await checkpoint_if_cancelled()
                raise self._timed_out() from (None if ended else error)
            raise
        call.limit = outer
        if limit.state == ARMED:
            del table.armed[limit]
        else:
            came_back(call, table, limit, self._after, self._name)
        return item

    async def _within_on_trio(
        self, ask: Callable[[], Awaitable[Any]], deadline: float, now: float
    ) -> Any:  # noqa: ANN401
        call, trio = self._call, cast("Any", sys.modules["trio"])
        outer, call.limit = call.limit, deadline
        item = None
        ended = False
        try:
            with trio.move_on_after(deadline - now) as scope:
                try:
                    item = await ask()
                except StopAsyncIteration:
                    if not scope.cancel_called:
                        raise
                    ended = True
        finally:
            call.limit = outer
        if scope.cancelled_caught or ended:
            raise self._timed_out()
        if scope.cancel_called:
            call.outlast(self._after, self._name, call.runtime.clock() - deadline)
        return item

    def _find_table(self) -> Table:
        """Return where the limits of this source wait.

        Those of one length share a table with all others of that length. An
        instant is a table of its own, whose timer runs once for the stream.
        """
        runtime = self._call.runtime
        if self._deadline is None:
            found = runtime.tables.get(self._after) or table_of(runtime, self._after)
        else:
            found = Table(runtime, self._after)
            self._ends.add(lambda _verdict, _error: found.close())
        self._table = found
        return found

    def _timed_out(self) -> TimedOut:
        self._ends.settle("neutral", first=self._inside)
        self._call.fire(self._after, self._name)
        return TimedOut(self._after, self._name)
