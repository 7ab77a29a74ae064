"""Interrupting at every await: what is good passes at each, and what is wrong is found."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from resilient import retry, stack, timeout
from resilient.testing import Cancelled, Fail, Log, Ok, Raised, cancel_at_every_await

DELIVERIES = [
    ("asyncio", "scope"),
    ("asyncio", "task"),
    ("trio", "scope"),
    *(
        (backend, kind)
        for backend in ("asyncio", "trio")
        for kind in (KeyboardInterrupt, SystemExit)
    ),
]
every = pytest.mark.parametrize(("backend", "delivery"), DELIVERIES)


class Private(BaseException):
    """Nothing that any policy may handle."""


def guarded(log: Log):
    return stack(timeout(30), retry(attempts=4), timeout(8), listeners=[log])(
        log.scripted("x2 ~ x .1")
    )


@every
def test_a_guarded_call_can_be_interrupted_anywhere(backend, delivery):
    """At every await: the interruption comes out, nothing is called after it, the next works."""
    found = [
        one.check() for one in cancel_at_every_await(guarded, backend=backend, delivery=delivery)
    ]
    assert [one.at for one in found] == [1, 2, 3, 4, 5, 6]
    assert {one.of for one in found} == {6}
    assert [len(one.run.calls) for one in found] == [1, 1, 2, 2, 3, 4]


@every
def test_what_came_out_is_recorded(backend, delivery):
    """A cancelled call is `Cancelled`, one that was raised into has that very class."""
    for one in cancel_at_every_await(guarded, backend=backend, delivery=delivery):
        if isinstance(delivery, str):
            assert one.run.result == Cancelled()
        else:
            assert isinstance(one.run.result, Raised)
            assert type(one.run.error) is delivery


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_private_base_exceptions_pass_too(backend):
    """Any class that is no `Exception` can be raised at each await."""
    for one in cancel_at_every_await(guarded, backend=backend, delivery=Private):
        assert type(one.check().run.error) is Private


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_instants_are_those_of_the_call(backend):
    """The call is interrupted where it waits: in an attempt, in a pause, in the next attempt."""

    def make(log: Log):
        return retry(backoff=[4])(log.scripted("x2 .1"))

    found = list(cancel_at_every_await(make, backend=backend))
    assert [one.run.cancelled_at for one in found] == [0, 2, 6]
    assert [one.run.elapsed for one in found] == [0, 2, 6]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_after_decides_what_is_called_next(backend):
    """`after` gets the same function once the interrupted call is over."""
    asked = []

    async def after(call) -> str:
        asked.append(call)
        await anyio.sleep(100)
        return "another day"

    found = list(cancel_at_every_await(guarded, backend=backend, after=after))
    assert {one.after.value for one in found} == {"another day"}
    assert len(asked) == 6


def test_a_call_that_never_suspends_is_refused():
    """Without an await there is nothing to interrupt, and a test of nothing must not pass."""
    with pytest.raises(ValueError, match="never suspends"):
        list(cancel_at_every_await(lambda log: log.scripted("."), backend="asyncio"))


def test_trio_has_no_task_to_cancel():
    """Native cancellation is asyncio's own."""
    with pytest.raises(ValueError, match="asyncio only"):
        list(cancel_at_every_await(guarded, backend="trio", delivery="task"))


def naive(log: Log, *, on: type[BaseException] = Exception, pause: float = 1):
    """Return a retry as one writes it in a minute."""
    function = log.scripted("x1 .1")

    async def retried():
        for _ in range(2):
            try:
                return await function()
            except on:
                if pause:
                    await anyio.sleep(pause)
        return await function()

    return retried


def complaints(make, backend="asyncio", delivery="scope") -> list[str]:
    found = []
    for one in cancel_at_every_await(make, backend=backend, delivery=delivery):
        try:
            one.check()
        except AssertionError as exc:
            found.append(str(exc))
    return found


def test_the_naive_retry_is_good_as_long_as_it_handles_exceptions():
    """Three awaits, and nothing to complain of."""
    assert complaints(naive) == complaints(naive, "trio") == []


@every
def test_a_retry_of_everything_is_found(backend, delivery):
    """One that handles `BaseException` calls again after it was interrupted."""
    found = complaints(lambda log: naive(log, on=BaseException, pause=0), backend, delivery)
    assert "nothing_called_afterwards" in found[0]
    assert "call 2 of target" in found[0]


def test_a_scope_heals_what_a_task_s_cancellation_does_not():
    """An anyio scope cancels again at the next await, so swallowing shows with `task.cancel()`."""

    def make(log: Log):
        return naive(log, on=BaseException)

    assert complaints(make, delivery="scope") == []
    assert "the interruption did not surface: Returned" in complaints(make, delivery="task")[0]


def test_the_report_says_where():
    """A complaint begins with the backend, the delivery and the suspension."""
    (first, *_) = complaints(lambda log: naive(log, on=BaseException), delivery="task")
    assert first.startswith("asyncio, task, suspension 1 of 3: ")


def test_a_task_left_running_is_found():
    """A call that abandons its helper when it is interrupted leaves it behind."""

    def make(log: Log):
        function = log.scripted(".1")

        async def abandons():
            helper = asyncio.get_running_loop().create_task(anyio.sleep(5))
            value = await function()
            helper.cancel()
            return value

        return abandons

    assert "left behind: a task still runs: sleep" in complaints(make)[0]


def test_an_unbalanced_uncancel_is_found():
    """A call that takes back a cancellation which is not its own is found."""

    def make(log: Log):
        function = log.scripted(".1")

        async def unbalanced():
            try:
                return await function()
            finally:
                task = asyncio.current_task()
                if task.cancelling():
                    task.uncancel()

        return unbalanced

    (found,) = complaints(make, delivery="task")
    assert "left behind: task.cancelling() is 0, not 1" in found


def test_a_cancellation_that_became_an_error_is_found():
    """A call that turns its cancellation into an error of its own is found."""

    def make(log: Log):
        function = log.scripted(".1")

        async def wraps():
            try:
                return await function()
            except asyncio.CancelledError as exc:
                raise RuntimeError("gave up") from exc

        return wraps

    (found,) = complaints(make, delivery="task")
    assert "the interruption did not surface: Raised(error=RuntimeError('gave up'))" in found


def test_a_next_call_that_fails_is_found():
    """State that an interrupted call leaves behind shows in the next one."""

    def make(log: Log):
        function = log.scripted(".1.1")
        running = []

        async def exclusive():
            if running:
                raise RuntimeError("still running")
            running.append(1)
            value = await function()
            running.clear()
            return value

        return exclusive

    assert (
        "the next call did not return: Raised(error=RuntimeError('still running'))"
        in (complaints(make)[0])
    )


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_value_that_was_there_before_may_come_out(backend):
    """Interrupted after its target has returned, a call may still deliver that value."""

    def make(log: Log):
        function = log.scripted(".1")

        async def tidies():
            value = await function()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            return value

        return tidies

    first, second = (one.check() for one in cancel_at_every_await(make, backend=backend))
    assert first.run.result == Cancelled()
    assert second.run.origin == 1


@pytest.mark.parametrize("seconds", [0, 1])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_error_that_was_there_before_may_come_out_of_a_shield(backend, seconds):
    """Interrupted where no await hears of it, a call ends with the error that it had."""

    def make(log: Log):
        function = log.scripted("x1 .1")

        async def tidies():
            try:
                return await function()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(seconds)

        return tidies

    found = [one.check() for one in cancel_at_every_await(make, backend=backend)]
    assert found[0].run.result == Cancelled()
    assert isinstance(found[-1].run.error, ConnectionError)
    assert [len(one.run.calls) for one in found] == [1] * len(found)


@pytest.mark.parametrize(("backend", "delivery"), DELIVERIES[:3])
def test_an_error_may_not_take_the_place_of_an_interruption(backend, delivery):
    """Where an await did hear of it, an error from before is no excuse."""

    def make(log: Log):
        function = log.scripted("x1 .1")

        async def pauses():
            try:
                return await function()
            except ConnectionError as error:
                try:
                    await anyio.sleep(1)
                except anyio.get_cancelled_exc_class():
                    raise error from None
                raise

        return pauses

    found = complaints(make, backend, delivery)[-1]
    assert "the interruption did not surface: Raised(error=ConnectionError(" in found


@pytest.mark.parametrize("seconds", [0, 1])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_called_behind_a_shield_hears_of_it(backend, seconds):
    """Interrupted behind a shield, a function makes the call that comes next, and no more."""

    def make(log: Log, *, again: bool = False):
        function = log.scripted(".1*")

        async def prepares():
            await function()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(seconds)
            try:
                return await function()
            finally:
                if again:
                    await function()

        return prepares

    found = [one.check() for one in cancel_at_every_await(make, backend=backend)]
    assert {len(one.run.calls) for one in found} == {1, 2}
    assert {one.run.result for one in found} == {Cancelled()}
    defiant = complaints(lambda log: make(log, again=True), backend)
    assert len(defiant) == len(found) - 1
    assert all("call 3 of target" in one for one in defiant)


@pytest.mark.parametrize(("backend", "delivery"), DELIVERIES[:3])
def test_tasks_that_were_started_before_may_begin(backend, delivery):
    """A task that has not run yet takes its first step in any case, and one step only."""

    def make(log: Log, *, again: bool = False):
        function = log.scripted(".1*")

        async def child():
            try:
                await function()
            finally:
                if again:
                    await function()

        async def together():
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                group.start_soon(child)

        return together

    assert complaints(make, backend, delivery) == []
    (found, *_) = complaints(lambda log: make(log, again=True), backend, delivery)
    assert "nothing_called_afterwards" in found
    assert "call 3 of target" in found


@pytest.mark.parametrize(("backend", "delivery"), DELIVERIES[:3])
def test_a_task_that_is_started_afterwards_is_found(backend, delivery):
    """Who starts a task when it is interrupted makes a call that comes after it."""

    def make(log: Log):
        function = log.scripted(".1*")

        async def spreads():
            async with anyio.create_task_group() as group:
                try:
                    await function()
                finally:
                    group.start_soon(function)

        return spreads

    assert "call 2 of target" in complaints(make, backend, delivery)[0]


def test_why_it_never_suspends_is_told():
    """What a call failed with before its first await is the cause of the refusal."""
    with pytest.raises(ValueError, match="never suspends") as caught:
        list(cancel_at_every_await(lambda log: log.scripted("x"), backend="asyncio"))
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_value_from_nowhere_may_not():
    """Interrupted, a call that invents a value has swallowed the interruption."""

    def make(log: Log):
        function = log.scripted([Ok(after=1), Fail(ConnectionError)])

        async def invents():
            try:
                return await function()
            except asyncio.CancelledError:
                return "sorry"

        return invents

    (found,) = complaints(make, delivery="task")
    assert "the interruption did not surface: Returned(value='sorry')" in found


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_failing_next_call_that_is_cancelled_is_a_result(backend):
    """What comes of the next call is recorded, a cancellation included."""

    async def after(call):
        await anyio.lowlevel.checkpoint()
        raise anyio.get_cancelled_exc_class() if backend == "asyncio" else Private

    (one, *_) = cancel_at_every_await(guarded, backend=backend, after=after)
    assert one.after == Cancelled() if backend == "asyncio" else type(one.after.error) is Private
