"""The tasks of the running loop or run, the same question on both backends."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

import anyio.lowlevel

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


async def all_blocked() -> None:
    """Wait until every other task waits for something; takes no time."""
    if runtime().backend == "trio":
        await cast("Any", importlib.import_module("trio.testing")).wait_all_tasks_blocked()
        return
    # Not anyio's: that one sleeps between two looks, and the clock would jump.
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    while others:
        await anyio.lowlevel.checkpoint()
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here and is_ready(task)]


def current() -> Task:
    """Return the task that this code runs in."""
    if runtime().backend == "asyncio":
        return asyncio.current_task()
    return cast("Any", sys.modules["trio"]).lowlevel.current_task()


def is_ready(task: Task) -> bool:
    """Tell whether a task waits for nothing any more, and goes on when it is its turn."""
    # The attributes are private: nothing else says what a task waits for.
    if runtime().backend == "trio":
        return task._abort_func is None  # noqa: SLF001 - as above
    waiter = task._fut_waiter  # noqa: SLF001 - as above
    return waiter is None or bool(waiter.done())


def is_new(task: Task) -> bool:
    """Tell whether a task was started and has not run yet: it takes its first step in any case."""
    coroutine = _coroutine(task)
    return (
        inspect.iscoroutine(coroutine)
        and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    )


def describe(task: Task) -> str:
    """Name the coroutine that a task runs."""
    coroutine = _coroutine(task)
    return str(getattr(coroutine, "__qualname__", coroutine))


def _coroutine(task: Task) -> Any:  # noqa: ANN401
    return task.get_coro() if hasattr(task, "get_coro") else task.coro


def below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """Return a task of trio and all that it waits for."""
    children = (child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return [task, *(found for child in children for found in below(child))]


def above(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """Return a task of trio and all that wait for it."""
    nursery = task.parent_nursery
    return [task, *(above(nursery.parent_task) if nursery is not None else ())]
