"""The T cases of the conformance list: whose limit it was, when it struck, what it left."""

from __future__ import annotations

import re

import anyio
import pytest

from resilient import TimedOut, fallback, remaining, retry, stack, timeout, value
from resilient._runtime.clock import now
from resilient.errors import PolicyOrderWarning
from resilient.events import (
    AttemptEnded,
    CallEnded,
    RetryStopped,
    TimeoutFired,
    TimeoutOverrun,
)
from resilient.testing import Fail, Log, Stubborn, Tester, leftovers, virtual_time

BACKENDS = ("asyncio", "trio")
both = pytest.mark.parametrize("backend", BACKENDS)
NOW = [0]


def fired(run):
    """Return when which limit struck at which attempt."""
    return [
        (round(event.at, 9), event.after, event.limit, event.number)
        for event in run.events
        if isinstance(event, TimeoutFired)
    ]


def test_T01_the_limit_strikes_at_its_instant():
    """A function that takes 4 s under a limit of 2 s is a `TimedOut` at exactly 2 s."""
    runs = Tester(timeout(2)).run(".4")
    names = ["CallStarted", "AttemptStarted", "TimeoutFired", "AttemptEnded", "CallEnded"]
    runs.asserts(tries=1, calls=1, error=TimedOut, elapsed=2, events=names)
    for run in runs:
        assert run.error.after == 2
        assert fired(run) == [(2, 2, "attempt", 1)]


@both
def test_T01_the_function_has_cleaned_up_before_the_error_surfaces(backend):
    """The function is cancelled and its `finally` has run when `TimedOut` surfaces."""
    seen = []

    @timeout(2)
    async def slow():
        try:
            await anyio.sleep(4)
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise
        finally:
            seen.append("cleaned up")

    async def main():
        with pytest.raises(TimedOut):
            await slow()
        seen.append("surfaced")

    virtual_time(main, backend=backend, check_leftovers=True)
    assert seen == ["cancelled", "cleaned up", "surfaced"]


@pytest.mark.parametrize("wrong", [None, 0, -1, float("nan")])
def test_T03_no_limit_is_said_by_leaving_the_policy_out(wrong):
    """`None`, 0, negative and NaN are a `ValueError` at construction that names the option."""
    with pytest.raises(ValueError, match=r"timeout\(seconds\) must be seconds above 0") as caught:
        timeout(wrong)
    assert f"not {wrong!r}" in str(caught.value)


CANCELLED = ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]


def test_T05_the_caller_s_cancellation_wins_at_the_same_instant():
    """A caller who cancels in the instant of the limit gets the cancellation, and no timeout."""
    runs = Tester(timeout(2)).run("~", cancel_at=2, cancel="task")
    runs.asserts(tries=1, calls=1, result="cancelled", elapsed=2, events=CANCELLED)


@both
@pytest.mark.parametrize("first", ["scope", "limit"])
def test_T05_a_scope_that_ends_at_the_same_instant_wins(backend, first):
    """A scope of the caller's that ends in the instant of the limit is what was cancelled."""
    log = Log()

    async def main():
        guarded = stack(timeout(2), listeners=[log])(log.scripted("~"))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                if first == "scope":
                    scope.deadline = anyio.current_time() + 2  # noqa: TID251 - the loop's own
                tasks.start_soon(guarded)
                await anyio.sleep(1)
                if first == "limit":
                    scope.deadline = anyio.current_time() + 1  # noqa: TID251 - the loop's own
        return scope.cancelled_caught, now(), leftovers()

    assert virtual_time(main, backend=backend) == (True, 2, [])
    assert [type(event).__name__ for event in log.events] == CANCELLED


def test_T06_a_swallowed_limit_returns_the_late_value():
    """A function that swallows the cancellation and returns at 3 s has its value returned."""
    runs = Tester(timeout(2)).run([Stubborn(3)])
    names = ["CallStarted", "AttemptStarted", "TimeoutOverrun", "AttemptEnded", "CallEnded"]
    runs.asserts(tries=1, calls=1, from_call=1, elapsed=3, events=names)
    for run in runs:
        (overrun,) = [event for event in run.events if isinstance(event, TimeoutOverrun)]
        assert (overrun.at, overrun.after, overrun.overrun) == (3, 2, 1)


@both
def test_T06_the_late_value_is_42(backend):
    """The very value that the stubborn function returned is what the caller gets."""

    @timeout(2)
    async def stubborn():
        with anyio.CancelScope(shield=backend == "trio"):
            try:
                await anyio.sleep(3)
            except anyio.get_cancelled_exc_class():
                await anyio.sleep(1)
        return 42

    async def main():
        answer = await stubborn()
        await anyio.sleep(1)
        return answer, now()

    assert virtual_time(main, backend=backend, check_leftovers=True) == (42, 4)


def test_T09_a_timeout_of_the_function_s_own_is_not_ours():
    """A `TimeoutError` that the function raises surfaces as that very object."""
    runs = Tester(timeout(2)).run([Fail(TimeoutError, 1)])
    names = ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]
    runs.asserts(tries=1, calls=1, error=TimeoutError, from_call=1, elapsed=1, events=names)


def test_T11_the_nearer_of_two_limits_strikes_each_time():
    """Under limits of 0.05 and 0.1 s the first strikes three times, and the fallback answers."""
    policies = (
        lambda: fallback(degrade=value("instead")),
        lambda: retry(attempts=3, backoff=NOW),
        lambda: timeout(0.05),
        lambda: timeout(0.1),
    )
    with pytest.warns(PolicyOrderWarning, match=r"0\.1 s never expires inside one of 0\.05 s"):
        runs = Tester(*policies).run("~ ~ ~")
    runs.asserts(
        tries=3, calls=3, value="instead", calls_at=[0, 0.05, 0.1], waits=[0, 0], elapsed=0.15
    )
    for run in runs:
        assert fired(run) == [
            (0.05, 0.05, "attempt", 1),
            (0.1, 0.05, "attempt", 2),
            (0.15, 0.05, "attempt", 3),
        ]


def test_T14_a_wait_that_could_not_end_in_time_is_not_begun():
    """A wait of 1 s under a total of 0.1 s is refused at once, with the original error."""
    runs = Tester(timeout(0.1), retry(attempts=3, backoff=[1])).run("x*")
    runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, waits=[], elapsed=0)
    for run in runs:
        assert fired(run) == []
        (stopped,) = [event for event in run.events if isinstance(event, RetryStopped)]
        assert stopped.result == "deadline"


def test_T16_the_total_ends_the_fifth_attempt():
    """Attempts of 0.12 s under a total of 0.5 s: four time out, the fifth is cut by the total."""
    tester = Tester(timeout(0.5), retry(attempts=10, backoff=NOW), timeout(0.12))
    runs = tester.run("~ ~ ~ ~ ~ ~ ~ ~ ~ ~")
    runs.asserts(
        tries=5, calls=5, error=TimedOut, calls_at=[0, 0.12, 0.24, 0.36, 0.48], elapsed=0.5
    )
    for run in runs:
        assert fired(run) == [
            (0.12, 0.12, "attempt", 1),
            (0.24, 0.12, "attempt", 2),
            (0.36, 0.12, "attempt", 3),
            (0.48, 0.12, "attempt", 4),
            (0.5, 0.5, "total", 5),
        ]
        assert (run.error.after, run.error.limit) == (0.5, "total")
        ends = [event for event in run.events if isinstance(event, AttemptEnded)]
        assert [event.verdict for event in ends] == ["failure"] * 5
        assert isinstance(run.events[-1], CallEnded)


@pytest.mark.parametrize(("total", "attempt"), [(2, 2), (2, 3)])
def test_T18_an_attempt_limit_that_can_never_strike_is_warned_of(total, attempt):
    """An attempt limit not below the total warns at decoration, naming both figures."""
    message = re.escape(f"the inner timeout of {attempt} s never expires inside one of {total} s")
    with pytest.warns(PolicyOrderWarning, match=message) as caught:
        stack(timeout(total), retry(), timeout(attempt))
    assert len(caught) == 1

    with pytest.warns(PolicyOrderWarning, match=message) as caught:

        @timeout(total)
        @retry
        @timeout(attempt)
        async def fetch():
            """Never called."""

    assert len(caught) == 1
    assert caught[0].filename == __file__


@both
@pytest.mark.parametrize(("passed", "left"), [(1, 2.0), (9, 1.0)])
def test_T20_remaining_is_the_least_of_all_deadlines(backend, passed, left):
    """Inside `timeout(10)` around `timeout(3)`, `remaining()` is the least of both."""
    log, seen = Log(), []

    async def inner():
        if passed == 1:
            await anyio.sleep(1)
        seen.append(remaining())

    @stack(timeout(10), listeners=[log])
    async def outer():
        if passed == 9:
            await anyio.sleep(9)
        await timeout(3)(inner)()

    async def main():
        await outer()
        return leftovers()

    assert virtual_time(main, backend=backend) == []
    assert seen == [left]
    assert [type(event).__name__ for event in log.events] == [
        "CallStarted",
        "AttemptStarted",
        "AttemptEnded",
        "CallEnded",
    ]


@both
def test_T20_no_socket_timeout_lies_above_what_remains(backend):
    """In one stack of both limits the attempt has what the nearer one leaves, at each attempt."""
    seen = []

    @timeout(10)
    @retry(attempts=4, on=TimedOut, backoff=NOW)
    @timeout(3)
    async def fetch():
        seen.append(round(remaining(), 9))
        await anyio.sleep_forever()

    async def main():
        with pytest.raises(TimedOut):
            await fetch()

    virtual_time(main, backend=backend, check_leftovers=True)
    assert seen == [3, 3, 3, 1]
