"""The tasks of the running loop or run, the same question on both backends."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, cast

from resilient._runtime.clock import runtime

if TYPE_CHECKING:
    import trio

Task = Any
"""An `asyncio.Task` or a trio task: compared and described, never touched."""


def alive() -> set[Task]:
    """Return all tasks that have not ended, but not the current one and those it belongs to."""
    if runtime().backend == "asyncio":
        return set(asyncio.all_tasks()) - {asyncio.current_task()}
    lowlevel = cast("Any", sys.modules["trio"]).lowlevel
    return set(below(lowlevel.current_root_task())) - set(above(lowlevel.current_task()))


def describe(task: Task) -> str:
    """Name the coroutine that a task runs."""
    coroutine: Any = task.get_coro() if hasattr(task, "get_coro") else task.coro
    return str(getattr(coroutine, "__qualname__", coroutine))


def below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """Return a task of trio and all that it waits for."""
    children = (child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return [task, *(found for child in children for found in below(child))]


def above(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """Return a task of trio and all that wait for it."""
    nursery = task.parent_nursery
    return [task, *(above(nursery.parent_task) if nursery is not None else ())]
