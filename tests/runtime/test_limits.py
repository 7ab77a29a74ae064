"""A limit on asyncio does what `asyncio.timeout` does, but for one thing that is on purpose.

Each scenario runs twice in virtual time, once with `asyncio.timeout` and once
with our `timeout`, and everything that can be observed has to be the same: what
came out, when, what the code inside saw, and the balance of `cancelling()`.
"""

# ruff: noqa: TID251 - the native counterparts are the subject

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

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
from resilient._runtime import limits
from resilient._runtime.clock import now, runtime
from resilient.testing import Log, leftovers, virtual_time


async def natively(seconds, fn):
    async with asyncio.timeout(seconds):
        return await fn()


async def ours(seconds, fn):
    return await timeout(seconds).call(fn)


async def as_the_deadline_of_a_chain(seconds, fn):
    manager = FallbackManager([Target("only", fn)], deadline=seconds)
    return (await manager.run()).value


def loop():
    return asyncio.get_running_loop()


def cancelling():
    """Return how many cancellations the running task has been asked for."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


class Observer:
    """What one run of a scenario shows."""

    def __init__(self, within) -> None:
        self.within = within
        self.seen: list[tuple[object, float, int]] = []
        self.task: Any = None

    def see(self, what) -> None:
        """Note something, with the instant and the balance of cancellations."""
        self.seen.append((what, round(loop().time(), 9), cancelling()))

    async def outcome(self, call):
        """Await `call`; note what came of it."""
        try:
            value = await call
        except BaseException as error:
            self.see(name_of(error))
            raise
        self.see(value)
        return value

    async def sleeps(self, seconds, value="value"):
        """Sleep; note a cancellation that arrives meanwhile."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.see("cancelled inside")
            raise
        return value

    async def run(self, scenario):
        """Run `scenario` in a task of its own."""
        self.task = loop().create_task(scenario(self))
        await asyncio.wait([self.task])
        await asyncio.sleep(50)  # what is still armed by mistake would strike now
        if self.task.cancelled():
            end = "cancelled"
        elif self.task.exception() is not None:
            end = name_of(self.task.exception())
        else:
            end = self.task.result()
        return [*self.seen, end, self.task.cancelling()]


def name_of(error):
    if isinstance(error, TimeoutError):
        return "TimeoutError"
    if isinstance(error, BaseExceptionGroup):
        return type(error).__name__, sorted(str(name_of(one)) for one in error.exceptions)
    return type(error).__name__


async def a_value_in_time(o):
    """The value passes, and the deadline never strikes."""
    return await o.outcome(o.within(2, lambda: o.sleeps(1)))


async def too_late(o):
    """The code inside sees one cancellation, the caller a timeout, and later awaits work."""
    with suppress(TimeoutError):
        await o.outcome(o.within(2, lambda: o.sleeps(4)))
    await asyncio.sleep(1)
    o.see("later")


async def its_own_error(o):
    """An error of the code inside passes as it is."""

    async def fails():
        await asyncio.sleep(1)
        raise ConnectionError

    await o.outcome(o.within(2, fails))


async def its_own_timeout(o):
    """A `TimeoutError` of the code inside passes as it is."""

    async def fails():
        await asyncio.sleep(1)
        raise TimeoutError("mine")

    try:
        await o.within(2, fails)
    except TimeoutError as error:
        o.see(str(error))


async def cancelled_before_the_deadline(o):
    """The caller's cancellation passes as it is."""
    loop().call_at(1, o.task.cancel)
    await o.outcome(o.within(2, lambda: o.sleeps(4)))


async def cancelled_first_in_the_tick_of_the_deadline(o):
    """The caller cancels in the tick of the deadline, before it."""
    future = loop().create_future()
    loop().call_at(2, o.task.cancel)
    await o.outcome(o.within(2, lambda: future))


async def cancelled_second_in_the_tick_of_the_deadline(o):
    """The caller cancels in the tick of the deadline, after it."""
    loop().call_at(2, lambda: loop().call_soon(o.task.cancel))
    await o.outcome(o.within(2, lambda: o.sleeps(4)))


async def cancelled_while_the_deadline_unwinds(o):
    """The caller cancels while the code inside cleans up after the deadline."""
    loop().call_at(3, o.task.cancel)

    async def cleans_up():
        try:
            await o.sleeps(4)
        finally:
            await o.sleeps(4)

    await o.outcome(o.within(2, cleans_up))


async def the_value_and_the_deadline_in_one_tick(o):
    """The value is there in the tick of the deadline, set before it."""
    future = loop().create_future()
    loop().call_at(2, future.set_result, "value")
    await o.outcome(o.within(2, lambda: future))


async def the_deadline_and_the_value_in_one_tick(o):
    """The value is there in the tick of the deadline, set after it."""
    future = loop().create_future()
    loop().call_at(2, lambda: loop().call_soon(done, future))
    await o.outcome(o.within(2, lambda: future))


def done(future) -> None:
    if not future.done():
        future.set_result("value")


async def the_inner_one_of_two(o):
    """The inner limit is the nearer one."""

    async def middle():
        with suppress(TimeoutError):
            await o.outcome(o.within(1, lambda: o.sleeps(4)))
        return await o.sleeps(1)

    return await o.outcome(o.within(3, middle))


async def the_outer_one_of_two(o):
    """The outer limit is the nearer one; code between the two cannot take it for the inner."""

    async def middle():
        with suppress(TimeoutError):
            await o.outcome(o.within(3, lambda: o.sleeps(4)))
        return "swallowed"

    return await o.outcome(o.within(1, middle))


async def three_deep_with_a_cancel(o):
    """Limits in limits, and the caller cancels."""
    loop().call_at(2, o.task.cancel)

    async def first():
        return await o.within(5, second)

    async def second():
        return await o.within(7, lambda: o.sleeps(9))

    await o.outcome(o.within(6, first))


async def recursion(o):
    """A function calls itself through the same policy."""

    async def dive(depth):
        if depth == 0:
            return await o.sleeps(9)
        await asyncio.sleep(0.25)
        return await o.within(2, lambda: dive(depth - 1))

    await o.outcome(dive(4))


async def clean_up_of_a_cancelled_task(o):
    """A task that is being cancelled cleans up within a limit, which expires."""
    loop().call_at(1, o.task.cancel)
    try:
        await o.sleeps(9)
    finally:
        with suppress(TimeoutError):
            await o.outcome(o.within(2, lambda: o.sleeps(4)))
        await o.sleeps(1)


async def clean_up_in_time(o):
    """A task that is being cancelled cleans up within a limit, in time."""
    loop().call_at(1, o.task.cancel)
    try:
        await o.sleeps(9)
    finally:
        await o.outcome(o.within(2, lambda: o.sleeps(1)))


async def clean_up_cancelled_again(o):
    """A task that is being cancelled is cancelled again while it cleans up within a limit."""
    loop().call_at(1, o.task.cancel)
    loop().call_at(2, o.task.cancel)
    try:
        await o.sleeps(9)
    finally:
        await o.outcome(o.within(2, lambda: o.sleeps(4)))


async def uncancelled_by_its_owner(o):
    """A cancellation that was taken back counts no more for a later limit."""
    loop().call_at(1, o.task.cancel)
    with suppress(asyncio.CancelledError):
        await o.sleeps(9)
    o.task.uncancel()
    with suppress(TimeoutError):
        await o.outcome(o.within(2, lambda: o.sleeps(4)))
    await o.sleeps(1)


async def a_task_group_inside(o):
    """The deadline ends a task group and its children."""

    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(9))
            tasks.create_task(asyncio.sleep(9))
            await o.sleeps(9)

    with suppress(TimeoutError):
        await o.outcome(o.within(2, group))
    await o.sleeps(1)


async def a_task_group_waiting(o):
    """The deadline strikes while the task group only waits for its children."""

    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(9))

    with suppress(TimeoutError):
        await o.outcome(o.within(2, group))
    await o.sleeps(1)


async def a_child_fails_first(o):
    """A child of a task group inside fails before the deadline."""

    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(failing(1))
            await o.sleeps(9)

    await o.outcome(o.within(2, group))


async def a_child_fails_in_the_tick(o):
    """A child of a task group inside fails in the tick of the deadline."""

    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(failing(2))
            await o.sleeps(9)

    await o.outcome(o.within(2, group))


async def a_child_fails_while_it_unwinds(o):
    """A child of a task group inside fails when the deadline cancels it."""

    async def stubborn():
        try:
            await asyncio.sleep(9)
        finally:
            raise ConnectionError

    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            await o.sleeps(9)

    await o.outcome(o.within(2, group))


async def failing(seconds):
    await asyncio.sleep(seconds)
    raise ConnectionError


async def a_task_group_around(o):
    """A sibling fails, and the task group around cancels the limited code."""

    async def limited():
        await o.outcome(o.within(2, lambda: o.sleeps(4)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(failing(1))
        tasks.create_task(limited())


async def a_task_group_around_in_the_tick(o):
    """A sibling fails in the tick of the deadline."""

    async def limited():
        await o.outcome(o.within(2, lambda: o.sleeps(4)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(failing(2))
        tasks.create_task(limited())


async def swallowed(o):
    """The code inside swallows the cancellation and returns late."""

    async def stubborn():
        with suppress(asyncio.CancelledError):
            await o.sleeps(9)
        return await o.sleeps(3)

    await o.outcome(o.within(2, stubborn))
    await o.sleeps(1)


async def swallowed_and_failed(o):
    """The code inside turns the cancellation into an error of its own."""

    async def stubborn():
        try:
            await o.sleeps(9)
        except asyncio.CancelledError:
            raise ConnectionError from None

    with suppress(ConnectionError):
        await o.outcome(o.within(2, stubborn))
    await o.sleeps(1)


async def a_foreign_cancellation(o):
    """The code inside awaits a task that somebody else cancelled, before the deadline."""
    other = loop().create_task(asyncio.sleep(9))
    loop().call_at(1, other.cancel)

    async def waits():
        return await other

    await o.outcome(o.within(2, waits))


async def a_foreign_cancellation_afterwards(o):
    """The code inside swallows ours and then meets a foreign one."""
    other = loop().create_task(asyncio.sleep(9))
    loop().call_at(3, other.cancel)

    async def waits():
        with suppress(asyncio.CancelledError):
            await o.sleeps(9)
        return await other

    with suppress(TimeoutError):
        await o.outcome(o.within(2, waits))
    await o.sleeps(1)


async def shielded(o):
    """The code inside waits for something behind a shield of asyncio, which goes on."""
    inner = loop().create_task(o.sleeps(4))
    with suppress(TimeoutError):
        await o.outcome(o.within(2, lambda: asyncio.shield(inner)))
    return await inner


async def one_after_the_other(o):
    """Limits follow each other in one task."""
    for seconds in (1, 3, 1, 3):
        with suppress(TimeoutError):
            await o.outcome(o.within(2, lambda s=seconds: o.sleeps(s)))


async def side_by_side(o):
    """Many tasks with limits of one length, some of which expire."""

    async def one(number):
        await asyncio.sleep(number / 4)
        return await o.within(2, lambda: o.sleeps(number))

    got = await asyncio.gather(*(one(number) for number in range(5)), return_exceptions=True)
    o.see([name_of(one) if isinstance(one, BaseException) else one for one in got])


async def a_native_timeout_inside(o):
    """`asyncio.timeout` inside is the nearer one."""

    async def inside():
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await o.sleeps(9)
        return await o.sleeps(9)

    await o.outcome(o.within(2, inside))


async def a_native_timeout_around_in_one_tick(o):
    """`asyncio.timeout` around strikes in the same tick."""
    async with asyncio.timeout(2):
        await o.outcome(o.within(2, lambda: o.sleeps(9)))


async def a_native_timeout_inside_in_one_tick(o):
    """`asyncio.timeout` inside strikes in the same tick."""

    async def inside():
        async with asyncio.timeout(2):
            await o.sleeps(9)

    await o.outcome(o.within(2, inside))


async def a_scope_of_anyio_inside(o):
    """A scope of anyio inside ends first, then the deadline strikes."""

    async def inside():
        with anyio.move_on_after(1):
            await o.sleeps(9)
        return await o.sleeps(9)

    await o.outcome(o.within(2, inside))


async def a_scope_of_anyio_around(o):
    """A scope of anyio around ends before the deadline."""
    with anyio.move_on_after(1) as scope:
        await o.outcome(o.within(2, lambda: o.sleeps(9)))
    o.see(scope.cancelled_caught)
    await o.sleeps(1)


async def a_scope_of_anyio_around_in_one_tick(o):
    """A scope of anyio around ends in the tick of the deadline."""
    with anyio.move_on_after(2) as scope:
        await o.outcome(o.within(2, lambda: o.sleeps(9)))
    o.see(scope.cancelled_caught)
    await o.sleeps(1)


async def a_task_group_of_anyio_inside(o):
    """The deadline ends a task group of anyio and its children."""

    async def group():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 9)
            await o.sleeps(9)

    with suppress(TimeoutError):
        await o.outcome(o.within(2, group))
    await o.sleeps(1)


async def pierces_a_shield_of_anyio(o):
    """The deadline pierces a shield of anyio, as `asyncio.timeout` does."""

    async def inside():
        with anyio.CancelScope(shield=True):
            await o.sleeps(9)

    await o.outcome(o.within(2, inside))


async def never_suspends(o):
    """The deadline passes in code that never suspends: the value wins."""

    async def busy():
        loop()._now += 5
        return "value"

    await o.outcome(o.within(2, busy))
    await o.sleeps(1)


async def blocks_and_suspends(o):
    """The deadline passes in code that blocks, and strikes at the next await that waits."""

    async def busy():
        loop()._now += 5
        await asyncio.sleep(0)
        return await o.sleeps(4)

    await o.outcome(o.within(2, busy))


async def cancelled_before_it_begins(o):
    """The caller has been cancelled and has not suspended since."""
    o.task.cancel()
    await o.outcome(o.within(2, lambda: o.sleeps(4)))


async def generator_exit(o):
    """The coroutine is closed by hand: nothing strikes later."""
    call = o.within(2, lambda: o.sleeps(4))
    call.send(None)
    call.close()
    await o.sleeps(4)


SCENARIOS = [
    a_value_in_time,
    too_late,
    its_own_error,
    its_own_timeout,
    cancelled_before_the_deadline,
    cancelled_first_in_the_tick_of_the_deadline,
    cancelled_second_in_the_tick_of_the_deadline,
    cancelled_while_the_deadline_unwinds,
    the_value_and_the_deadline_in_one_tick,
    the_deadline_and_the_value_in_one_tick,
    the_inner_one_of_two,
    the_outer_one_of_two,
    three_deep_with_a_cancel,
    recursion,
    clean_up_of_a_cancelled_task,
    clean_up_in_time,
    clean_up_cancelled_again,
    uncancelled_by_its_owner,
    a_task_group_inside,
    a_task_group_waiting,
    a_child_fails_first,
    a_child_fails_in_the_tick,
    a_child_fails_while_it_unwinds,
    a_task_group_around,
    a_task_group_around_in_the_tick,
    swallowed,
    swallowed_and_failed,
    a_foreign_cancellation,
    a_foreign_cancellation_afterwards,
    shielded,
    one_after_the_other,
    side_by_side,
    a_native_timeout_inside,
    a_native_timeout_around_in_one_tick,
    a_native_timeout_inside_in_one_tick,
    a_scope_of_anyio_inside,
    a_scope_of_anyio_around,
    a_scope_of_anyio_around_in_one_tick,
    a_task_group_of_anyio_inside,
    pierces_a_shield_of_anyio,
    never_suspends,
    blocks_and_suspends,
    cancelled_before_it_begins,
    generator_exit,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("within", [ours, as_the_deadline_of_a_chain])
def test_it_equals_asyncio_timeout(within, scenario):
    """In every scenario, what can be observed of our limit is what `asyncio.timeout` shows."""

    async def observe(within):
        found = await Observer(within).run(scenario)
        assert leftovers() == []
        return found

    assert virtual_time(observe, within) == virtual_time(observe, natively)


# What is different on purpose: of our own limits in one task, one cancellation
# is in flight at a time.


class Recorder:
    """A function under limits: it waits for ever, and cleans up for some time."""

    def __init__(self, clean_up) -> None:
        self.clean_up = clean_up
        self.seen: list[tuple[object, float]] = []

    def see(self, what) -> None:
        self.seen.append((what, round(now(), 9)))

    async def __call__(self):
        try:
            await anyio.sleep_forever()
        finally:
            self.see("cleaning up")
            try:
                await anyio.sleep(self.clean_up)
                self.see("cleaned up")
            except BaseException:
                self.see("pierced")
                raise


async def timed_out(call):
    """Await `call`; return the limit that ended it, and when."""
    before = cancelling()
    with pytest.raises(TimedOut) as caught:
        await call
    assert cancelling() == before
    assert leftovers() == []
    after, at = caught.value.after, round(runtime().clock(), 9)
    await anyio.sleep(50)
    return after, at


def test_an_outer_limit_waits_for_an_inner_one_to_unwind():
    """An outer limit that expires during the clean-up of an inner one strikes after it."""
    work = Recorder(clean_up=0.5)

    @timeout(1.2)
    async def outer():
        with pytest.raises(TimedOut) as caught:
            await timeout(1).call(work)
        work.see(caught.value.after)
        await anyio.sleep(9)

    assert virtual_time(lambda: timed_out(outer())) == (1.2, 1.5)
    assert work.seen == [("cleaning up", 1), ("cleaned up", 1.5), (1, 1.5)]


def test_an_outer_limit_in_the_same_tick_waits_as_well():
    """Of two limits that expire at one instant, one strikes, and the clean-up is whole."""
    for first, second in ((2, 2), (2, 2.0000000001), (2.0000000001, 2)):
        work = Recorder(clean_up=0.5)

        async def inner(work=work, second=second):
            return await timeout(second).call(work)

        assert virtual_time(lambda: timed_out(timeout(first).call(inner)))[1] == 2.5  # noqa: B023
        assert work.seen == [("cleaning up", 2), ("cleaned up", 2.5)]


def test_an_inner_limit_waits_for_an_outer_one_to_unwind():
    """A limit inside that expires while the outer one unwinds does not pierce its clean-up."""
    work = Recorder(clean_up=0.5)

    @timeout(1)
    async def outer():
        await timeout(1.2).call(work)

    assert virtual_time(lambda: timed_out(outer())) == (1, 1.5)
    assert work.seen == [("cleaning up", 1), ("cleaned up", 1.5)]


def test_a_clean_up_that_outlasts_the_grace_is_pierced():
    """An outer limit waits for `CLEANUP_GRACE` and no longer."""
    work = Recorder(clean_up=9)

    @timeout(1.2)
    async def outer():
        await timeout(1).call(work)

    at = 1.2 + limits.CLEANUP_GRACE
    assert virtual_time(lambda: timed_out(outer())) == (1.2, at)
    assert work.seen == [("cleaning up", 1), ("pierced", at)]


def test_limits_that_wait_strike_one_after_the_other():
    """Of three limits a tenth of a second apart, each strikes when the one before is over."""
    work = Recorder(clean_up=0.5)

    @timeout(1.2)
    async def outermost():
        try:
            await timeout(1.1).call(middle)
        finally:
            work.see("outermost")
            await anyio.sleep_forever()

    async def middle():
        try:
            await timeout(1).call(work)
        finally:
            work.see("middle")
            try:
                await anyio.sleep_forever()
            finally:
                await anyio.sleep(0.25)

    assert virtual_time(lambda: timed_out(outermost())) == (1.2, 1.75)
    assert work.seen == [
        ("cleaning up", 1),
        ("cleaned up", 1.5),
        ("middle", 1.5),
        ("outermost", 1.75),
    ]


def test_a_limit_on_the_clean_up_strikes_at_once():
    """A limit that is set after the cancellation was sent ends the clean-up when it says so."""
    work = Recorder(clean_up=9)

    @timeout(1)
    async def outer():
        try:
            await anyio.sleep_forever()
        finally:
            with pytest.raises(TimedOut):
                await timeout(0.3).call(work)
            work.see("gone on")

    work.clean_up = 0.1
    assert virtual_time(lambda: timed_out(outer())) == (1, 1.4)
    assert work.seen == [("cleaning up", 1.3), ("cleaned up", 1.4), ("gone on", 1.4)]


def test_a_limit_on_the_clean_up_does_not_let_an_outer_one_pierce_it():
    """After a limit on the clean-up has struck, the cancellation before it is still in flight."""
    work = Recorder(clean_up=0)

    async def clean_up():
        try:
            await anyio.sleep_forever()
        finally:
            with suppress(TimedOut):
                await timeout(0.1).call(anyio.sleep_forever)
            work.see("limited")
            try:
                await anyio.sleep(0.5)
                work.see("cleaned up")
            except BaseException:
                work.see("pierced")
                raise

    @timeout(1.2)
    async def outer():
        await timeout(1).call(clean_up)

    assert virtual_time(lambda: timed_out(outer())) == (1, 1.6)
    assert work.seen == [("limited", 1.1), ("cleaned up", 1.6)]


def test_a_caller_s_cancellation_wins_while_a_limit_waits():
    """A cancellation by the caller is delivered at once and surfaces, whatever waits."""
    work = Recorder(clean_up=9)

    @timeout(1.2)
    async def outer():
        await timeout(1).call(work)

    async def main():
        task = loop().create_task(outer())
        loop().call_at(1.5, task.cancel)
        await asyncio.wait([task])
        await anyio.sleep(50)
        return task.cancelled(), task.cancelling(), leftovers()

    assert virtual_time(main) == (True, 1, [])
    assert work.seen == [("cleaning up", 1), ("pierced", 1.5)]


def test_a_limit_that_waited_in_vain_is_no_overrun():
    """A value that comes before the held-back cancellation wins, and nothing is reported of it."""
    log = Log()

    async def main():
        async def middle():
            with suppress(TimedOut):
                await timeout(1).call(Recorder(clean_up=0.5))
            return "value"

        return await stack(timeout(1.2), listeners=[log])(middle)(), leftovers()

    assert virtual_time(main) == ("value", [])
    assert [type(event).__name__ for event in log.events] == [
        "CallStarted",
        "AttemptStarted",
        "AttemptEnded",
        "CallEnded",
    ]


def test_no_attempt_begins_while_an_outer_limit_waits():
    """A retry that an expired inner limit lets go on finds no time left, and makes no attempt."""
    calls = []

    @timeout(1.2)
    @retry(attempts=5, on=TimedOut, backoff=[0])
    @timeout(1)
    async def fetch():
        calls.append(round(runtime().clock(), 9))
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.5)

    assert virtual_time(lambda: timed_out(fetch()))[1] == 1.5
    assert calls == [0]


def test_nobody_else_is_asked_while_an_outer_limit_waits():
    """A fallback moves on to nobody once the limit around it has expired."""
    work, other = Recorder(clean_up=0.5), []

    async def main():
        async def second():
            other.append(1)

        fn = timeout(1.2)(fallback(to=[second])(timeout(1)(work)))
        return await timed_out(fn())

    assert virtual_time(main) == (1.2, 1.5)
    assert other == []


def test_the_balance_holds_when_the_grace_is_over_for_several():
    """Two outer limits that lose patience are both taken back, and the next await works."""
    work = Recorder(clean_up=9)

    async def stubborn():
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await work()
        return "value"

    async def main():
        async def middle():
            return await timeout(1).call(stubborn)

        async def outer():
            return await timeout(1.1).call(middle)

        value = await timeout(1.2).call(outer)
        assert cancelling() == 0
        assert leftovers() == []
        await anyio.sleep(50)
        return value

    assert virtual_time(main) == "value"
    assert work.seen == [
        ("cleaning up", 1),
        ("pierced", 2.1),
        ("cleaning up", 2.2),
        ("cleaned up", 11.2),
    ]


# Tables, timers and loops.


class Counter:
    """Collects the timers of our limits on a loop, and may make them early, as uvloop does."""

    def __init__(self, early=0.0) -> None:
        self.loop = loop()
        self.early = early
        self.handles: list[asyncio.TimerHandle] = []
        self.call_later, self.loop.call_later = self.loop.call_later, self.replaced

    def replaced(self, delay, callback, *args, **kwargs):
        assert delay >= 0
        delay = max(delay - self.early, min(delay, 1e-5))
        handle = self.call_later(delay, callback, *args, **kwargs)
        if isinstance(getattr(callback, "__self__", None), limits.Table):
            self.handles.append(handle)
        return handle


def test_many_limits_share_one_timer():
    """A thousand limits of one length arm one timer, which stays with the loop when idle."""

    async def main():
        counter = Counter()
        fn = timeout(8)(nothing)
        await asyncio.gather(*(fn() for _ in range(1000)))
        (table,) = runtime().tables.values()
        assert not table.armed
        assert counter.handles == [table.handle]
        await anyio.sleep(9)
        assert table.handle is None
        await fn()
        assert len(counter.handles) == 2
        return leftovers()

    assert virtual_time(main) == []


async def nothing():
    """Answer at once."""


def test_one_timer_wakes_for_those_that_are_left():
    """The timer of a limit that was left goes on to the next one that is armed."""

    async def main():
        fn = timeout(8)(anyio.sleep)
        counter = Counter()
        async with asyncio.TaskGroup() as group:
            group.create_task(fn(1))
            await anyio.sleep(5)
            with pytest.raises(TimedOut):
                await fn(20)
        assert runtime().clock() == 13
        return len(counter.handles)

    assert virtual_time(main) == 2


def test_a_timer_that_is_early_is_armed_again_for_the_rest():
    """A loop whose timers are 0.3 ms early ends nothing before its time, and does not spin."""

    async def main():
        counter = Counter(early=0.0003)
        with pytest.raises(TimedOut):
            await timeout(2).call(anyio.sleep_forever)
        at = runtime().clock()
        assert at == pytest.approx(2, abs=1e-9)
        assert at >= 2 - limits.EARLY
        return len(counter.handles)

    assert virtual_time(main) < 40


def test_each_length_has_its_table_and_each_loop_its_own():
    """Limits of one length share a table on their loop, and on no other."""
    first, second = timeout(3)(nothing), timeout(5)(nothing)

    async def main():
        for fn in (first, second, first, timeout(3)(nothing)):
            await fn()
        assert sorted(runtime().tables) == [3, 5]
        return list(runtime().tables.values())

    tables = [table for _ in range(2) for table in virtual_time(main)]
    assert len({id(table) for table in tables}) == 4
    assert len({id(table.loop) for table in tables}) == 2


def test_tables_of_lengths_that_are_used_once_do_not_pile_up():
    """Ten thousand different lengths leave a few hundred tables and timers, not ten thousand."""

    async def main():
        for number in range(10_000):
            await timeout(1000 + number).call(nothing)
        timers = [one for one in loop()._scheduled if not one.cancelled()]
        return len(runtime().tables), len(timers)

    tables, timers = virtual_time(main)
    assert tables <= limits.MANY_TABLES
    assert timers <= limits.MANY_TABLES + 1


def test_giving_up_idle_tables_touches_none_that_is_armed():
    """A limit whose table is old still strikes when many tables were made meanwhile."""

    async def main():
        task = loop().create_task(timeout(2000).call(anyio.sleep_forever))
        await anyio.sleep(1)
        for number in range(2 * limits.MANY_TABLES):
            await timeout(3000 + number).call(nothing)
        assert 2000 in runtime().tables
        with pytest.raises(TimedOut):
            await task
        return runtime().clock(), leftovers()

    assert virtual_time(main) == (2000, [])


def test_an_idle_timer_keeps_nothing_of_its_call_alive():
    """What a caller has in its context is let go with the call, however long the limit was."""

    class Request:
        """Something large that belongs to one call."""

    async def handle():
        request = Request()
        current_request.set(request)
        refs.append(weakref.ref(request))
        await timeout(3600)(see)()

    async def see():
        refs.append(weakref.ref(current_call()))

    refs = []

    async def main():
        await loop().create_task(handle())
        current_request.set(None)  # a variable itself remembers the value it had last
        await anyio.sleep(1)
        gc.collect()
        assert runtime().tables[3600].handle is not None
        return [ref() for ref in refs]

    assert virtual_time(main) == [None, None]


current_request: ContextVar[object] = ContextVar("current_request")


def test_a_loop_may_be_closed_with_an_idle_timer():
    """A loop closes without a word while the timer of a table still waits."""
    before = threading.active_count()
    with asyncio.Runner() as runner:
        runner.run(timeout(60).call(nothing))
        assert [one for one in runner.get_loop()._scheduled if one.when()]
    assert threading.active_count() == before


def test_a_loop_may_stop_and_run_again():
    """A loop that is run piece by piece keeps its tables, and limits still strike."""
    fn = timeout(0.01)(anyio.sleep_forever)
    with asyncio.Runner() as runner:
        for _ in range(3):
            runner.run(timeout(60).call(nothing))
            with pytest.raises(TimedOut):
                runner.run(fn())


def test_loops_in_threads_have_each_their_own_limits():
    """One decorated function in four threads at once: each loop's limits strike in its own."""
    fn = timeout(2)(anyio.sleep_forever)
    quick = timeout(2)(nothing)
    ended, errors = [], []

    async def main():
        for _ in range(20):
            await quick()
            with pytest.raises(TimedOut):
                await fn()
        ended.append((runtime().clock(), runtime().loop is loop(), leftovers()))

    def work() -> None:
        try:
            virtual_time(main)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert ended == [(40, True, [])] * 4


def test_a_coroutine_may_be_dropped_in_another_context():
    """The garbage collector may close a guarded coroutine anywhere: its limit is gone then."""

    async def main():
        call = timeout(2).call(anyio.sleep_forever)
        copy_context().run(call.send, None)
        (table,) = runtime().tables.values()
        assert len(table.armed) == 1
        del call
        gc.collect()
        assert not table.armed
        assert current_call() is None
        await anyio.sleep(50)
        return leftovers()

    assert virtual_time(main) == []


def test_a_coroutine_may_be_dropped_after_its_loop_is_closed():
    """Closing what a closed loop left in the middle of a clean-up raises nothing."""
    work = Recorder(clean_up=9)

    @timeout(1.2)
    async def outer():
        await timeout(1).call(work)

    async def main():
        here, time = runtime(), [0.0]
        here.clock = lambda: time[0]
        task = loop().create_task(outer())
        for after in (None, 1, 1.2):
            if after is not None:
                time[0] = after
                here.tables[after].handle.cancel()
                here.tables[after]._tick()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert task.cancelling() == 1
        return task

    # A loop that does not end its tasks when it is closed.
    own = asyncio.new_event_loop()
    task = own.run_until_complete(main())
    own.close()
    task._log_destroy_pending = False
    task.get_coro().close()
    assert [what for what, _ in work.seen] == ["cleaning up", "pierced"]
    assert task.cancelling() == 0


def test_guest_mode_of_trio_is_trio():
    """In trio's guest mode over asyncio, limits and waits are those of trio."""
    seen = []

    @timeout(2)
    @retry(attempts=2, on=ConnectionError, backoff=[1])
    async def flaky():
        seen.append((runtime().backend, trio.current_time() - began[0], remaining()))
        if len(seen) == 1:
            raise ConnectionError
        await trio.sleep_forever()

    began = []

    async def guest():
        began.append(trio.current_time())
        runtime().clock = trio.current_time
        with pytest.raises(TimedOut):
            await flaky()
        return trio.current_time() - began[0]

    async def host():
        done = loop().create_future()
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop().call_soon_threadsafe,
            done_callback=done.set_result,
            clock=clock,
        )
        # asyncio has a guarded call of its own meanwhile.
        assert await timeout(8).call(here) == "asyncio"
        return (await done).unwrap()

    async def here():
        return runtime().backend

    assert asyncio.run(host()) == 2
    assert seen == [("trio", 0, 2), ("trio", 1, 1)]


if sys.version_info >= (3, 12):  # eager tasks are new there

    def test_tasks_that_begin_eagerly_are_limited_as_well():
        """A call that begins before its task has been scheduled has its own task's limit."""

        async def main():
            loop().set_task_factory(asyncio.eager_task_factory)
            quick = loop().create_task(timeout(2).call(nothing))
            slow = loop().create_task(timeout(2).call(anyio.sleep, 5))
            fine = loop().create_task(timeout(2).call(anyio.sleep, 1))
            assert quick.done()
            await asyncio.wait([slow, fine])
            assert isinstance(slow.exception(), TimedOut)
            return cancelling(), slow.cancelling(), leftovers()

        assert virtual_time(main) == (0, 0, [])


# Whatever is nested in whatever.

SECONDS = st.sampled_from([0.5, 1.0, 1.0005, 1.001, 1.25, 2.0, 3.0])


@st.composite
def layers(draw):
    """Draw the layers around a wait: limits, clean-ups, code that swallows or is shielded."""
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("limit"), SECONDS),
                st.tuples(st.just("clean up"), SECONDS),
                st.tuples(st.just("clean up within"), SECONDS),
                st.tuples(st.just("swallow"), SECONDS),
                st.tuples(st.just("shield"), SECONDS),
                st.tuples(st.just("forgive"), SECONDS),
            ),
            max_size=7,
        )
    )


def wrapped(kind, seconds, inner):
    """Put one layer around `inner`."""
    stopped = anyio.get_cancelled_exc_class()

    async def clean_up():
        try:
            return await inner()
        finally:
            await anyio.sleep(seconds)

    async def clean_up_within():
        try:
            return await inner()
        finally:
            with suppress(TimedOut):
                await timeout(seconds).call(anyio.sleep, 1)

    async def swallow():
        try:
            return await inner()
        except stopped:
            return "swallowed"

    async def shield():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)
        return await inner()

    async def forgive():
        try:
            return await inner()
        except TimedOut:
            await anyio.sleep(seconds)
            return "forgiven"

    async def limit():
        return await timeout(seconds).call(inner)

    return {
        "limit": limit,
        "clean up": clean_up,
        "clean up within": clean_up_within,
        "swallow": swallow,
        "shield": shield,
        "forgive": forgive,
    }[kind]


@given(
    around=layers(),
    wait=st.sampled_from([0.25, 1.0, 9.0]),
    cancel_at=st.none() | SECONDS,
    native=st.booleans(),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_whatever_is_nested_all_is_balanced(around, wait, cancel_at, native, backend):
    """However limits, clean-ups and cancellations are nested, nothing is left and none leaks."""
    native = native and backend == "asyncio"

    async def main():
        async def inner():
            await anyio.sleep(wait)
            return "value"

        call = inner
        for kind, seconds in around:
            call = wrapped(kind, seconds, call)
        scope, found, asked = anyio.CancelScope(), [], []

        async def caller():
            with scope:
                try:
                    found.append(await call())
                except TimedOut:
                    found.append("timed out")
            # Nothing strikes later.
            before = scope.cancel_called
            await anyio.sleep(100)
            assert scope.cancel_called == before

        async def cancels(cancel):
            await anyio.sleep(cancel_at)
            if not found:
                asked.append(now())
                cancel()

        async with anyio.create_task_group() as group:
            if backend == "asyncio":
                task = loop().create_task(caller())
                if cancel_at is not None:
                    group.start_soon(cancels, task.cancel if native else scope.cancel)
                await asyncio.wait([task])
                assert task.cancelling() == (len(asked) if native else 0)
                if not task.cancelled():
                    task.result()
                else:
                    assert native
            else:
                if cancel_at is not None:
                    group.start_soon(cancels, scope.cancel)
                await caller()
        assert found or asked
        assert leftovers() == []
        assert not runtime().in_flight

    virtual_time(main, backend=backend)
