"""What asyncio's task groups leave on their task, on Python 3.11 and 3.12.

A group whose child fails while the block is over and the group waits cancels
its own task, to be woken, and does not take that back: `task.cancelling()`
stays one too high for good. (The documentation of `asyncio.TaskGroup`: "Changed
in version 3.13: [...] correct preservation of cancellation counts".) Whoever
looks there whether the task is cancelled, as a retry does between two
attempts, would stop for a cancellation that nobody has asked for.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from resilient._runtime.linked import linked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

IS_BALANCED = sys.version_info >= (3, 13)
_EXIT = asyncio.TaskGroup.__aexit__.__code__


def take_back(task: asyncio.Task[Any] | None, before: int, error: BaseException) -> None:
    """Take back what the task groups that `error` came through have asked for and left.

    `before` is what `task.cancelling()` was before the call that failed with
    `error`: no more is taken back than has come since.
    """
    if IS_BALANCED or task is None:
        return
    grown = task.cancelling() - before
    if grown > 0:
        for _ in range(min(grown, len(_unbalanced(error)))):
            task.uncancel()


def _unbalanced(error: BaseException) -> set[int]:
    """Return the ids of the groups that have cancelled their task at the end of their block."""
    found: set[int] = set()
    for one in linked(error, contexts=True):
        for frame in _frames(one):
            if frame.f_code is _EXIT:
                group, left = frame.f_locals.get("self"), frame.f_locals.get("et")
                # Asked for before the end of the block it has come out of the block, as `et`.
                if left is None and getattr(group, "_parent_cancel_requested", False):
                    found.add(id(group))
    return found


def _frames(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
