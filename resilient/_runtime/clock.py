"""Where time and chance come from: one `Runtime` for each event loop or trio run.

Everything that belongs to one loop hangs on its `Runtime`: the clock, the
random source, the tables of armed timers. A call looks its runtime up once.
So a run in virtual time replaces `clock` on its own runtime and nobody else
notices, and two loops in two threads share no timer.

The clock is `time.monotonic` and never the loop's own: breakers and cool-downs
outlive loops, and trio starts each run at a random instant.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import anyio

from resilient._runtime.listeners import Process, process
from resilient._runtime.world import World
from resilient._runtime.world import process as whole_process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import trio

    from resilient._runtime.limits import Table

process_random = random.Random()
"""The one random source of the process; a run may have its own."""


class Runtime:
    """The clock, the random source and the timers of one event loop or trio run."""

    __slots__ = (
        "__weakref__",
        "audience",
        "backend",
        "clock",
        "in_flight",
        "loop",
        "random",
        "tables",
        "world",
    )

    def __init__(
        self, backend: Literal["asyncio", "trio"], loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.backend = backend
        self.loop = loop
        self.clock: Callable[[], float] = time.monotonic
        self.random: random.Random = process_random
        # Where its circuit breakers live: all loops share one world, a simulated run has its own.
        self.world: World = whole_process.world
        # Who is told of its calls, likewise.
        self.audience: Process = process
        self.tables: dict[float, Table] = {}
        # The tasks that a limit of ours is cancelling right now (asyncio only).
        self.in_flight: dict[asyncio.Task[Any], Any] = {}

    async def sleep(self, seconds: float) -> None:
        """Let a wait between two attempts pass; a test may put in its place what passes at once."""
        await anyio.sleep(seconds)


def runtime_of(loop: asyncio.AbstractEventLoop | None, task: asyncio.Task[Any] | None) -> Runtime:
    """Return the runtime of an asyncio task's loop; without a task, of the trio run.

    asyncio is meant only if there is a current asyncio *task*: in trio's guest
    mode an asyncio loop runs as well, and has none.
    """
    if loop is None or task is None:
        return _trio_runtime()
    last.runtime = found = _asyncio_runtime(loop)
    return found


def runtime() -> Runtime:
    """Return the runtime of the loop or run that this code runs in."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _trio_runtime()
    return runtime_of(loop, asyncio.current_task(loop))


def now() -> float:
    """Read the Clock: the running loop's if there is one, else the process's."""
    try:
        return runtime().clock()
    except RuntimeError:
        return time.monotonic()


def audience() -> Process:
    """Return who is told of calls made here: the whole process's where no loop runs."""
    try:
        return runtime().audience
    except RuntimeError:
        return process


def world() -> World:
    """Return the world that this code runs in: that of the process where no loop runs."""
    try:
        return runtime().world
    except RuntimeError:
        return whole_process.world


@contextmanager
def fresh_breakers() -> Generator[None]:
    """Let the code inside find every circuit breaker new, and forget afterwards what it did.

    Inside, all names are free and all circuits closed, in every thread and
    loop; breakers are process-wide, and a test must not depend on what others
    have broken. A run in `virtual_time` needs no such thing: it has its own.

    >>> from resilient import breakers, circuit_breaker
    >>> with fresh_breakers(), circuit_breaker("docs.fresh").isolate():
    ...     print(*breakers())
    docs.fresh
    """
    before, new = whole_process.world, World()
    _move(before, new)
    try:
        yield
    finally:
        _move(new, before)


def _move(here: World, there: World) -> None:
    whole_process.world = there
    for found in (*list(_by_loop.values()), *[ref() for ref in list(_on_trio)]):
        if found is not None and found.world is here:
            found.world = there


class _Last(threading.local):
    """The asyncio runtime that this thread used last: nearly always the right one."""

    runtime: Runtime | None = None


last = _Last()
_by_loop: dict[int, Runtime] = {}


def _asyncio_runtime(loop: asyncio.AbstractEventLoop) -> Runtime:
    # Keyed by identity and checked against it: loops need not be weakly
    # referable, and an id is used again once its loop is gone.
    found = _by_loop.get(id(loop))
    if found is None or found.loop is not loop:
        for key, other in _by_loop.copy().items():  # other threads add to it
            if other.loop is None or other.loop.is_closed():
                _by_loop.pop(key, None)
        found = _by_loop[id(loop)] = Runtime("asyncio", loop)
    return found


def _trio_runtime() -> Runtime:
    module = cast("Any", sys.modules.get("trio"))
    if module is None:
        raise RuntimeError(NO_LOOP)
    try:
        found = _run_variable(module).get(None)
    except RuntimeError:
        raise RuntimeError(NO_LOOP) from None
    if found is None:
        found = Runtime("trio", None)
        _run_variable(module).set(found)
        _on_trio[weakref.ref(found, _forget)] = None
    return found


# The runtimes of the trio runs of all threads: each belongs to its run, and goes with it.
_on_trio: dict[weakref.ref[Runtime], None] = {}


def _forget(ref: weakref.ref[Runtime]) -> None:
    _on_trio.pop(ref, None)


NO_LOOP = "a guarded function was awaited outside of asyncio and trio"

_variables: list[trio.lowlevel.RunVar[Runtime | None]] = []


def _run_variable(module: Any) -> trio.lowlevel.RunVar[Runtime | None]:  # noqa: ANN401 - trio may be absent
    if not _variables:
        _variables.append(module.lowlevel.RunVar("resilient"))
    return _variables[0]


def _reseed() -> None:
    # Without it all workers of a prefork server draw the same jitter.
    process_random.seed()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reseed)
