"""Waits between attempts that pass at once: the Clock jumps over them.

Where several calls wait at a time, the one whose wait ends first goes on
first, as it would if the time had passed.
"""

from __future__ import annotations

import heapq
import time
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio.lowlevel

from resilient._runtime.clock import Runtime

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_sleep = Runtime.sleep


class Jumping:
    """The clock of one loop: real time, and the waits that were passed over."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._waiting: list[tuple[float, int]] = []
        self._numbers = count()

    def now(self) -> float:
        """Read the clock."""
        return time.monotonic() + self._ahead

    async def skip(self, seconds: float) -> None:
        """Pass over a wait, behind those that end before it."""
        mine = self.now() + seconds, next(self._numbers)
        heapq.heappush(self._waiting, mine)
        try:
            await anyio.lowlevel.checkpoint()
            while self._waiting[0] != mine:
                await anyio.lowlevel.checkpoint()
            self._ahead = max(self._ahead, mine[0] - time.monotonic())
        finally:
            self._waiting.remove(mine)
            heapq.heapify(self._waiting)


_jumping: MutableMapping[Runtime, Jumping] = WeakKeyDictionary()


async def _skip(runtime: Runtime, seconds: float) -> None:
    clock = _jumping.get(runtime)
    if clock is None:
        if runtime.clock is not time.monotonic:  # a run in virtual time: its waits cost nothing
            await _sleep(runtime, seconds)
            return
        clock = _jumping[runtime] = Jumping()
        runtime.clock = clock.now
    await clock.skip(seconds)


def skipping(*, on: bool) -> None:
    """Let waits pass at once from now on, in every loop; or in their own time again."""
    # Every wait between attempts goes through it, and through nothing else.
    setattr(Runtime, "sleep", _skip if on else _sleep)  # noqa: B010 - a method is swapped
    if not on:
        for runtime in list(_jumping):
            runtime.clock = time.monotonic
        _jumping.clear()
