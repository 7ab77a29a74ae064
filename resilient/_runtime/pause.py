"""What happens between two attempts: look for a cancellation, wait, look again.

After a cancellation was requested no wait and no attempt begins, also where
the target swallowed it: `task.cancelling()` has grown then, and the request
still stands. anyio scopes on asyncio and all of trio say so at a checkpoint.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from resilient._runtime.listeners import once

if TYPE_CHECKING:
    from resilient._runtime.call import Call

_RESOLUTION = 1e-9


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


async def _sleep(call: Call, seconds: float) -> None:
    # A timer may be early against the Clock (uvloop: by up to 0.3 ms).
    until = call.runtime.clock() + seconds
    while seconds > _RESOLUTION:
        await anyio.sleep(seconds)
        seconds = until - call.runtime.clock()


async def discard(value: Any) -> None:  # noqa: ANN401 - what the user's function returned
    """Close a result that nobody will see, if it can be closed."""
    close = getattr(value, "aclose", None) or getattr(value, "close", None)
    if not callable(close):
        return
    try:
        closing = close()
        if hasattr(closing, "__await__"):
            await closing
    except Exception as error:  # nobody asked for this result any more
        once(
            ("discard", type(value), type(error)),
            "closing a discarded %s failed with %s",
            type(value).__qualname__,
            type(error).__qualname__,
        )
