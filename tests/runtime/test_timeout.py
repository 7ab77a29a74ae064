"""`timeout`: one scope, ours alone, and nothing of it left when it is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import Any

import anyio
import pytest
import trio

from resilient import (
    FallbackManager,
    Target,
    TimedOut,
    current_call,
    fallback,
    remaining,
    retry,
    stack,
    timeout,
)
from resilient._runtime.clock import now, runtime
from resilient.events import AttemptEnded, TimeoutFired, TimeoutOverrun
from resilient.testing import Fail, Hang, Log, Ok, Stubborn, Tester, leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def of(run, kind):
    """Return the events of one kind."""
    return [event for event in run.events if isinstance(event, kind)]


def test_a_value_in_time_is_returned():
    """A function that is quick enough never meets its limit."""
    runs = Tester(timeout(2)).run([Ok(7, after=1)])
    for run in runs.asserts(tries=1, calls=1, value=7, elapsed=1):
        assert of(run, TimeoutFired | TimeoutOverrun) == []


def test_what_expired_is_on_the_error():
    """`TimedOut` says after how long and which limit, and is a builtin `TimeoutError`."""
    for run in Tester(timeout(2)).run("~").asserts(tries=1, calls=1, error=TimedOut, elapsed=2):
        assert isinstance(run.error, TimeoutError)
        assert (run.error.after, run.error.limit) == (2, "attempt")
        (fired,) = of(run, TimeoutFired)
        assert (fired.at, fired.after, fired.limit, fired.number) == (2, 2, "attempt", 1)
        (ended,) = of(run, AttemptEnded)
        assert (ended.timeout, ended.timeout_limit, ended.error) == (2, "attempt", run.error)


@pytest.mark.parametrize(
    ("inside", "limit"), [([], "attempt"), ([retry(attempts=2, on=OSError)], "total")]
)
def test_a_limit_around_a_retry_is_the_total(inside, limit):
    """A limit is called `total` when a retry stands inside it, and `attempt` otherwise."""
    runs = Tester(timeout(2), *inside).run("~")
    for run in runs.asserts(tries=1, calls=1, error=TimedOut, elapsed=2):
        assert run.error.limit == limit


def test_a_limit_around_a_fallback_is_the_total():
    """A limit with a fallback inside is called `total`."""
    runs = Tester(timeout(2), lambda other: fallback(to=[other])).run("x1", "~")
    for run in runs.asserts(tries=2, calls=2, error=TimedOut, elapsed=2):
        assert (run.error.after, run.error.limit) == (2, "total")


@pytest.mark.parametrize("after", [2.0, 2.5, 7.0])
def test_code_that_is_cancelled_and_returns_has_its_value_returned(after):
    """A value that comes late in spite of our cancellation wins, and its lateness is reported."""
    runs = Tester(timeout(2)).run([Stubborn(after)])
    for run in runs.asserts(tries=1, calls=1, elapsed=after, from_call=1):
        assert of(run, TimeoutFired) == []
        overrun = [(event.at, event.after, event.overrun) for event in of(run, TimeoutOverrun)]
        assert overrun == ([(after, 2, after - 2)] if after > 2 else [])
        (ended,) = of(run, AttemptEnded)
        assert ended.overrun == (after - 2 or None)
        assert ended.verdict == "success"


@both
def test_code_that_never_waits_is_never_cancelled(backend):
    """A limit that passes while code blocks does nothing, on either backend: nothing was sent."""
    log = Log()

    async def blocks():
        leap(5)
        return "value"

    async def main():
        return await stack(timeout(2), listeners=[log])(blocks)(), leftovers()

    assert virtual_time(main, backend=backend) == ("value", [])
    assert "TimeoutOverrun" not in [type(event).__name__ for event in log.events]


def leap(seconds) -> None:
    """Let time pass without an await, as code that blocks does."""
    own: Any
    if runtime().backend == "trio":
        own = trio.lowlevel.current_clock()
        own.jump(seconds)
    else:
        own = asyncio.get_running_loop()
        own._now += seconds


@both
def test_code_that_blocks_is_cancelled_at_its_next_wait(backend):
    """A limit that passed while code blocked strikes when it waits."""

    async def blocks():
        leap(5)
        await anyio.sleep(1)

    async def main():
        with pytest.raises(TimedOut):
            await timeout(2).call(blocks)
        return now(), leftovers()

    assert virtual_time(main, backend=backend) == (5, [])


@both
def test_nobody_else_is_asked_after_code_that_blocked_past_the_limit(backend):
    """A target that blocks past the limit around its chain and fails is the last that is asked."""
    asked = []

    async def blocks():
        await anyio.sleep(1)
        leap(5)
        raise ConnectionError

    async def other():
        asked.append(now())

    async def main():
        with pytest.raises(TimedOut):
            await stack(timeout(2), fallback(to=[other]))(blocks)()
        return now(), leftovers()

    assert virtual_time(main, backend=backend) == (6, [])
    assert asked == []


@both
def test_a_limit_around_another_task_does_not_hold_this_one_up(backend):
    """A shielded child that outlives the limit of the call it began in goes on."""
    asked = []

    async def other():
        asked.append(now())

    async def child():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
            await fallback(to=[other])(fails)()

    async def fails():
        leap(5)
        raise ConnectionError

    @timeout(2)
    async def parent():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)

    async def main():
        with suppress(TimedOut):  # on trio nothing was cancelled, and it is merely late
            await parent()
        return now(), leftovers()

    assert virtual_time(main, backend=backend) == (6, [])
    assert asked == [6]


@both
def test_afterwards_the_caller_is_clean(backend):
    """After a timeout, awaits of the caller work, and nothing strikes again."""

    async def main():
        for seconds in (1, 2, 1):
            with pytest.raises(TimedOut):
                await timeout(seconds).call(anyio.sleep_forever)
            await anyio.sleep(3)
        return now(), remaining(), leftovers()

    assert virtual_time(main, backend=backend) == (13, inf, [])


@both
def test_a_clean_up_that_raises_is_what_surfaces(backend):
    """An error from the clean-up of a function that was cancelled by a limit passes as it is."""
    error = ConnectionError("on close")

    async def closes_badly():
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    async def main():
        with pytest.raises(ConnectionError) as caught:
            await timeout(2).call(closes_badly)
        await anyio.sleep(1)
        return caught.value is error, now(), leftovers()

    assert virtual_time(main, backend=backend) == (True, 3, [])


@both
def test_a_group_that_holds_the_cancellation_loses_it(backend):
    """A task group that the limit ends is a timeout; one whose child failed is a group."""

    async def fails_when_cancelled():
        try:
            await anyio.sleep_forever()
        except BaseException:
            raise ConnectionError from None

    async def group(child):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            tasks.start_soon(anyio.sleep_forever)

    async def main():
        with pytest.raises(TimedOut):
            await timeout(2).call(group, anyio.sleep_forever)
        with pytest.raises(ExceptionGroup) as caught:
            await timeout(2).call(group, fails_when_cancelled)
        await anyio.sleep(1)
        return [type(one) for one in caught.value.exceptions], now(), leftovers()

    assert virtual_time(main, backend=backend) == ([ConnectionError], 5, [])


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_and_disarms(backend, error):
    """A `BaseException` leaves a limit unchanged, and the limit is gone."""
    raised = error()

    async def interrupted():
        await anyio.sleep(1)
        raise raised

    async def main():
        with pytest.raises(error) as caught:
            await timeout(2).call(interrupted)
        await anyio.sleep(9)
        return caught.value is raised, leftovers()

    assert virtual_time(main, backend=backend) == (True, [])


@both
def test_only_the_nearest_limit_is_armed(backend):
    """A limit that cannot expire before one around it in the same call costs nothing."""

    async def count():
        return [len(table.armed) for table in runtime().tables.values()]

    async def main():
        with pytest.warns(UserWarning, match="never expires"):
            both_limits = stack(timeout(2), timeout(2))
        assert await timeout(2).call(count) == ([1] if backend == "asyncio" else [])
        return await both_limits.call(count)

    assert virtual_time(main, backend=backend) == ([1] if backend == "asyncio" else [])


@both
def test_remaining_is_the_least_of_all_limits(backend):
    """`remaining` sees limits of outer calls and of the caller's scopes, also in child tasks."""
    seen = []

    async def see(label):
        seen.append((label, remaining()))

    @timeout(5)
    async def inner():
        await see("inner")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(see, "child")
        with anyio.move_on_after(0.5):
            await see("scope")

    @timeout(9)
    async def outer():
        await see("outer")
        await anyio.sleep(1)
        await inner()
        await anyio.sleep(4)
        await see("outer again")
        await inner()

    async def main():
        await see("outside")
        await outer()
        await see("outside again")

    virtual_time(main, backend=backend)
    assert seen == [
        ("outside", inf),
        ("outer", 9),
        ("inner", 5),
        ("child", 5),
        ("scope", 0.5),
        ("outer again", 4),
        ("inner", 4),
        ("child", 4),
        ("scope", 0.5),
        ("outside again", inf),
    ]


@both
def test_remaining_is_restored_when_a_limit_is_left(backend):
    """Between attempts only the outer limit is in force, whatever the attempt came to."""
    seen = []

    def look(_error):
        seen.append(current_call().remaining())
        return True

    script = iter([ConnectionError, None])

    @timeout(9)
    @retry(attempts=3, on=look, backoff=[1])
    @timeout(2)
    async def attempt():
        seen.append(remaining())
        error = next(script, "value")
        if error is None:
            await anyio.sleep_forever()
        if error != "value":
            raise error

    virtual_time(attempt, backend=backend)
    assert seen == [2, 9, 2, 6, 2]


def test_each_attempt_has_a_limit_of_its_own():
    """A limit inside a retry begins anew with each attempt."""
    tester = Tester(retry(attempts=3, on=TimedOut, backoff=[1]), timeout(2))
    runs = tester.run([Hang(), Hang(), Ok(after=1.5)])
    for run in runs.asserts(tries=3, calls=3, calls_at=[0, 3, 6], elapsed=7.5, from_call=3):
        assert [event.number for event in of(run, TimeoutFired)] == [1, 2]


def test_an_error_of_one_s_own_passes_as_it_is():
    """A failure inside a limit is the same object outside, without a note of ours."""
    for run in Tester(timeout(2)).run([Fail(TimeoutError, 1)]):
        assert type(run.error) is TimeoutError
        assert run.error is run.calls[0].error
        assert getattr(run.error, "__notes__", []) == []


def test_the_cause_of_a_timeout_on_asyncio_is_its_cancellation():
    """On asyncio the traceback of `TimedOut` shows where the function waited."""

    async def waits():
        await anyio.sleep_forever()

    async def main():
        with pytest.raises(TimedOut) as caught:
            await timeout(2).call(waits)
        trace = caught.value.__cause__.__traceback__
        names = []
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        return type(caught.value.__cause__), "waits" in names

    assert virtual_time(main) == (asyncio.CancelledError, True)


@both
def test_the_deadline_of_a_chain_is_a_limit_like_any_other(backend):
    """A chain's deadline ends the running target with the `TimedOut` of the total."""

    async def main():
        manager = FallbackManager([Target("only", anyio.sleep_forever)], deadline=3)
        with pytest.raises(TimedOut) as caught:
            await manager.run()
        await anyio.sleep(1)
        return caught.value.limit, now(), leftovers()

    assert virtual_time(main, backend=backend) == ("total", 4, [])


@both
def test_a_chain_inside_a_nearer_limit_arms_none_of_its_own(backend):
    """A deadline of a chain that lies behind the limit in force leaves that one to strike."""

    async def main():
        @timeout(2)
        async def ask():
            return await FallbackManager(
                [Target("only", anyio.sleep_forever, timeout=9)], deadline=5
            ).run()

        with pytest.raises(TimedOut) as caught:
            await ask()
        return caught.value.after, now(), leftovers()

    assert virtual_time(main, backend=backend) == (2, 2, [])


@both
def test_a_late_value_under_the_deadline_of_a_chain_wins(backend):
    """A target that swallows the chain's cancellation and returns late has its value returned."""

    async def stubborn():
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()
        return "late"

    async def main():
        manager = FallbackManager([Target("only", stubborn)], deadline=3)
        outcome = await manager.run()
        await anyio.sleep(1)
        return outcome.value, now(), leftovers()

    assert virtual_time(main, backend=backend) == ("late", 4, [])
