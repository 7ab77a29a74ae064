"""How much memory is in use when nothing is going on.

A timer that was cancelled stays with its event loop until there are many of
them, and with it what its task knew: asyncio looks for them when there are a
hundred, trio when there are a thousand. So as many are set and cancelled here.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

__all__ = ("blocks_in_use",)

_MANY: Final = 1100
_FAR: Final = 3600.0


async def blocks_in_use() -> int:
    """Return how many blocks of memory Python has given out, those of dead timers left out."""
    for _ in range(_MANY):
        with anyio.move_on_after(_FAR):  # noqa: ASYNC100 - a timer that nobody waits for
            pass
    await checkpoint()  # where loops forget
    gc.collect()
    return sys.getallocatedblocks()
