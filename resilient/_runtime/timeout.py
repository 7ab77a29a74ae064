"""The driver of `timeout`: a scope of at most so many seconds.

On asyncio a limit is an entry in a shared table (see `limits`), on trio a
cancel scope. A limit that cannot expire before one around it in the same call
is not armed at all: the outer one is in force.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from anyio.lowlevel import checkpoint_if_cancelled

from resilient._runtime.limits import ARMED, SENT, Limit, Table, table_of
from resilient.errors import TimedOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient.errors import Limit as LimitName


def timeout_layer(seconds: float, name: LimitName, inner: Layer) -> Layer:
    """Run `inner` within `seconds`."""

    async def limited(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        outer = call.limit
        deadline = call.resumed + seconds
        if deadline >= outer:
            return await inner(call, args, kwargs)
        task = call.task
        if task is None:
            return await _limited_on_trio(call, deadline, seconds, name, inner, args, kwargs)
        tables = call.runtime.tables
        table = tables.get(seconds)
        if table is None:
            table = table_of(call.runtime, seconds)
        limit = Limit(task, deadline)
        if table.handle is None:
            table.arm(limit)
        else:  # `arm` without its frame: this is the price of every timeout
            table.armed[limit] = None
        call.limit = deadline
        try:
            value = await inner(call, args, kwargs)
        except BaseException as error:
            call.limit = outer
            expired = table.leave(limit, error)
            # A task keeps what it ends with, and that keeps this frame.
            del task, limit
            if expired:
                # anyio holds back what a scope of the caller's asks for while
                # a cancellation is on its way: if it asked, that is what surfaces.
                await checkpoint_if_cancelled()
                call.fire(seconds, name)
                raise TimedOut(seconds, name) from error
            raise
        call.limit = outer
        if limit.state == ARMED:
            del table.armed[limit]
        else:
            came_back(call, table, limit, seconds, name)
        return value

    return limited


async def within(
    call: Call,
    seconds: float,
    name: LimitName,
    inner: Layer,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    """Run `inner` within `seconds` that only this call knows: with a timer of its own."""
    outer = call.limit
    deadline = call.resumed + seconds
    if call.task is None:
        return await _limited_on_trio(call, deadline, seconds, name, inner, args, kwargs)
    table = Table(call.runtime, seconds)
    limit = Limit(call.task, deadline)
    table.arm(limit)
    call.limit = deadline
    try:
        value = await inner(call, args, kwargs)
    except BaseException as error:
        call.limit = outer
        expired = table.leave(limit, error)
        table.close()
        del limit  # as above
        if expired:
            await checkpoint_if_cancelled()
            call.fire(seconds, name)
            raise TimedOut(seconds, name) from error
        raise
    call.limit = outer
    came_back(call, table, limit, seconds, name)
    table.close()
    return value


def came_back(call: Call, table: Table, limit: Limit, seconds: float, name: LimitName) -> None:
    """Leave the scope of `limit` with a value, which wins even if it is late."""
    was_sent = limit.state == SENT
    table.leave(limit, None)
    if was_sent:
        call.outlast(seconds, name, call.runtime.clock() - limit.deadline)


async def _limited_on_trio(
    call: Call,
    deadline: float,
    seconds: float,
    name: LimitName,
    inner: Layer,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    trio = cast("Any", sys.modules["trio"])
    outer, call.limit = call.limit, deadline
    value = None
    try:
        with trio.move_on_after(max(0.0, deadline - call.runtime.clock())) as scope:
            value = await inner(call, args, kwargs)
    finally:
        call.limit = outer
    if scope.cancelled_caught:
        call.fire(seconds, name)
        raise TimedOut(seconds, name)
    if scope.cancel_called:
        call.outlast(seconds, name, call.runtime.clock() - deadline)
    return value
