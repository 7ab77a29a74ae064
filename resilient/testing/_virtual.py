"""Virtual time: each run has a fresh loop, whose clock starts at 0 and jumps.

The clock stands still while anything can run. When everything waits, it jumps
to the earliest timer, so a sleep of 49 hours takes no time and ends at the
exact instant. The loop's own time, `anyio.current_time()` and the library's
Clock are one number; the library's Random is seeded. A run that would wait for
ever ends at the horizon with `Stuck`, on both backends.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack, cast, get_args

from resilient._core.options import choice, seconds, whole
from resilient._runtime.budgets import fresh_budgets
from resilient._runtime.clock import runtime
from resilient._runtime.world import World
from resilient.testing import _asyncio
from resilient.testing._given import function
from resilient.testing._leftovers import leftovers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient.testing._virtual_run import VirtualRun

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Backend = Literal["asyncio", "trio"]


def virtual_time(
    fn: Callable[[Unpack[Ts]], Awaitable[T]],
    /,
    *args: *Ts,
    backend: Backend = "asyncio",
    horizon: float = 1e6,
    seed: int = 0,
    check_leftovers: bool = False,
) -> T:
    """Run an async function in virtual time and return what it returns.

    Inside, every clock reads 0 at first and jumps whenever everything waits:
    sleeps and deadlines of asyncio, trio and anyio, and all waits and limits
    of this library. The library's random source is `Random(seed)`, and every
    retry budget is untouched.

    A run that is not over after `horizon` virtual seconds raises `Stuck`; so
    does one that waits for a worker thread for more than a real second: the
    clock stands still meanwhile, because a thread's time is not virtual. Nor
    is that of other machines: a socket is safe only if its other end is in
    the same run.

    With `check_leftovers`, an `AssertionError` names what the function left
    running, armed or open (see `leftovers`).

    >>> import anyio
    >>> async def nap() -> float:
    ...     await anyio.sleep(3600)
    ...     return anyio.current_time()
    >>> virtual_time(nap)
    3600.0
    """
    run = _runner(backend)
    end = seconds(horizon, "horizon")
    function(fn, "virtual_time", "an async function")
    whole(seed, "seed", least=0)

    async def main(this: VirtualRun, clock: Callable[[], float]) -> T:
        here = runtime()
        here.clock = clock
        here.random = random.Random(seed)
        here.world = World()
        with fresh_budgets(), this.supervised():
            return await _checked(fn(*args)) if check_leftovers else await fn(*args)

    # Not by a name of ours: whoever keeps a frame of this stack would keep the result.
    return cast("T", run(main, end))


async def _checked(call: Awaitable[T]) -> T:
    try:
        result = await call
    except AssertionError:
        raise  # a test that failed half-way leaves things behind, and has a better reason
    except Exception as exc:
        _refuse_leftovers(exc)
        raise
    _refuse_leftovers(None)
    return result


def _refuse_leftovers(cause: Exception | None) -> None:
    left = leftovers()
    if left:
        raise AssertionError("the function left behind: " + "; ".join(left)) from cause


def _runner(backend: str) -> Any:  # noqa: ANN401 - the same signature twice
    chosen = choice(backend, "backend", get_args(Backend))
    _refuse_running_loop()
    if chosen == "asyncio":
        return _asyncio.run
    try:
        from resilient.testing import _trio  # noqa: PLC0415 - trio may be absent
    except ImportError as exc:
        raise ImportError(
            "backend='trio' needs trio: pip install 'resilient-policies[testing]'"
        ) from exc
    return _trio.run


def _refuse_running_loop() -> None:
    trio = cast("Any", sys.modules.get("trio"))
    try:
        asyncio.get_running_loop()
        running = "asyncio"
    except RuntimeError:
        if trio is None or not trio.lowlevel.in_trio_run():
            return
        running = "trio"
    raise RuntimeError(
        f"virtual_time() starts a loop of its own, and {running} is running in this thread already:"
        " call it from a plain function (in a test: `def`, not `async def`), or in a worker"
        " thread with anyio.to_thread.run_sync()"
    )
