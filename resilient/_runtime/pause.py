"""What happens between two attempts: look for a cancellation, wait, look again.

After a cancellation was requested no wait and no attempt begins, also where
the target swallowed it: `task.cancelling()` has grown then, and the request
still stands. anyio scopes on asyncio and all of trio say so at a checkpoint.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from resilient._core.deadline import ROUNDING
from resilient._runtime.listeners import once

if TYPE_CHECKING:
    from resilient._runtime.call import Call


async def pause(call: Call, seconds: float) -> None:
    """Wait `seconds` before the next attempt."""
    await check_cancelled(call)
    if seconds > 0:
        await _sleep(call, seconds)
        await check_cancelled(call)
    call.resumed = call.runtime.clock()


async def check_cancelled(call: Call) -> None:
    """Let a requested cancellation happen now; return at once if there is none."""
    await anyio.lowlevel.checkpoint_if_cancelled()
    if call.task is not None and call.task.cancelling() > call.cancelling:
        # Delivered here if it still waits for an await; else the target has
        # swallowed it, and the one who asked must not wait for ever.
        await asyncio.sleep(0)  # noqa: TID251 - no wait: the one await that delivers it
        raise asyncio.CancelledError
    if call.deadline <= call.runtime.clock():
        # A limit around us is over and its cancellation on the way: it was held
        # back by another of ours, or the loop was busy and has yet to look at its
        # timers, which it does only after what is ready.
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()


async def _sleep(call: Call, seconds: float) -> None:
    # A timer may be early against the Clock (uvloop: by up to 0.5 ms): then the
    # rest is waited for. A Clock that stands still or goes back leaves no rest.
    until = call.runtime.clock() + seconds
    left, slept = seconds, inf
    while ROUNDING < left < slept:
        await call.runtime.sleep(left)
        left, slept = until - call.runtime.clock(), left


async def discard(value: Any) -> None:  # noqa: ANN401 - what the user's function returned
    """Close a result that nobody will see, if it can be closed."""
    try:
        close = getattr(value, "aclose", None) or getattr(value, "close", None)
        closing: Any = close() if callable(close) else None
        if hasattr(closing, "__await__"):
            await closing
    except Exception as error:  # nobody asked for this result any more
        once(
            ("discard", type(value), type(error)),
            "closing a discarded %s failed with %s",
            type(value).__qualname__,
            type(error).__qualname__,
        )
