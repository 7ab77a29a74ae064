"""A middleware can delay a cancellation and never eat one.

Whatever it does with what `proceed()` left with, and with what came to an
await of its own: the one who cancelled gets what was asked for. Only a
cancellation that a scope of its own has asked for is its own affair.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from resilient import TimedOut, fallback, middleware, retry, stack, timeout, value
from resilient._runtime.clock import now
from resilient.events import TimeoutOverrun
from resilient.testing import Log, Stubborn, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Private(BaseException):
    """Nothing that any policy may handle."""


@middleware
async def answers(call, proceed):
    """Return something else."""
    try:
        return await proceed()
    except BaseException:
        return "eaten"


@middleware
async def fails(call, proceed):
    """Raise an error in its place."""
    try:
        return await proceed()
    except BaseException:
        raise ConnectionError from None


@middleware
async def finally_returns(call, proceed):
    """Return out of a `finally`, as one does by mistake."""
    found = None
    try:
        found = await proceed()
    finally:
        return found  # noqa: B012 - the mistake


@middleware(calls=9)
async def insists(call, proceed):
    """Ask again and again."""
    for _ in range(3):
        with suppress(BaseException):
            return await proceed()
    return "eaten"


@middleware
async def eats_before(call, proceed):
    """Handle what comes to its own await, and go on."""
    with suppress(BaseException):
        await anyio.sleep(4)
    return await proceed()


@middleware
async def eats_after(call, proceed):
    """Handle it when the target has answered."""
    await proceed()
    with suppress(BaseException):
        await anyio.sleep(4)
    return "eaten"


@middleware
async def eats_and_fails(call, proceed):
    """Handle it in its own await, and fail."""
    with suppress(BaseException):
        await anyio.sleep(4)
    raise ConnectionError


EATERS = [answers, fails, finally_returns, insists, eats_before, eats_after, eats_and_fails]
WHERE = {
    "alone": lambda eater: eater,
    "below a retry": lambda eater: stack(retry(attempts=3, backoff=[0]), eater),
    "below a fallback": lambda eater: stack(fallback(degrade=value("degraded")), eater),
    "above a retry": lambda eater: stack(eater, retry(attempts=3, backoff=[0])),
    "in another": lambda eater: stack(answers, eater),
    "in a stack": lambda eater: stack(timeout(30), retry(backoff=[0]), eater, timeout(20)),
}


def name_of(eater):
    return eater.policies[0].handler.__name__


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("eater", EATERS, ids=name_of)
def test_it_surfaces_whatever_the_middleware_does(cancelled, eater, where):
    """A cancellation that a middleware has eaten surfaces, and nobody is asked after it."""

    def make(log, _):
        slow = ".1 ." if eater is eats_after else ".4 ."
        calls = []
        guarded = WHERE[where](eater)(log.scripted(slow))

        async def once():
            calls.append(now())
            if len(calls) > 1:
                return None  # the next call is not the subject here
            return await guarded()

        return once

    story = cancelled(make, at=2)
    expected = [] if eater in (eats_before, eats_and_fails) else ["target"]
    assert (story.calls, story.took) == (expected, 2)


def test_asked_for_twice_it_surfaces_once(cancelled):
    """Every request that was eaten is still counted, and one cancellation surfaces."""

    def make(log, _):
        @middleware
        async def eats_two(call, proceed):
            for _ in range(2):
                with suppress(BaseException):
                    await proceed() if call.attempt == 0 else await anyio.sleep(4)
            return "eaten"

        guarded = eats_two(log.scripted(".4 ."))

        async def once():
            if log.calls:
                return None
            return await guarded()

        return once

    assert cancelled(make, at=[1, 2]).calls == ["target"]


def test_it_may_be_delayed(cancelled):
    """A clean-up behind a shield is finished, and then the cancellation surfaces."""
    cleaned = []

    def make(log, _):
        @middleware
        async def cleans_up(call, proceed):
            try:
                return await proceed()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(2)
                cleaned.append(now())
                return "eaten"

        return stack(retry(backoff=[0]), cleans_up)(log.scripted(".4 ."))

    story = cancelled(make, at=1)
    assert (story.took, cleaned, story.calls) == (3, [3], ["target"])


def test_a_result_that_nobody_will_see_is_closed(cancelled):
    """Cancelled after the target has answered, the middleware's result is closed on the way out."""
    closed = []

    class Closable:
        def close(self):
            closed.append(now())

    def make(log, _):
        async def opens():
            log.next()
            return Closable()

        @middleware
        async def lingers(call, proceed):
            found = await proceed()
            if now() < 1:
                await anyio.sleep(4)
            return found

        return lingers(opens)

    assert cancelled(make, at=1).took == 1
    assert closed == [1]


@BACKENDS
@pytest.mark.parametrize("eater", EATERS, ids=name_of)
def test_a_limit_of_ours_is_not_eaten_either(backend, eater):
    """The cancellation of a timeout outside is one as well: it ends as `TimedOut`, in time."""
    log = Log()
    guarded = timeout(2)(eater(log.scripted(".1" if eater is eats_after else "~")))

    async def main():
        with pytest.raises(TimedOut):
            await guarded()
        took = now()
        await anyio.sleep(1)  # nothing is left of the cancellation
        return took

    assert virtual_time(main, backend=backend, check_leftovers=True) == 2


@BACKENDS
def test_a_scope_outside_and_one_of_its_own(backend):
    """When both cancel, the one outside is obeyed, whichever came first."""
    found = []

    @middleware
    async def patient(call, proceed):
        with anyio.move_on_after(2):
            return await proceed()
        return "late"

    async def stubborn():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)

    async def main():
        for limit in (1, 2, 3, 5):
            began = now()
            with anyio.move_on_after(limit) as scope:
                found.append(await patient.call(stubborn))
                await anyio.lowlevel.checkpoint()
            found.append((scope.cancelled_caught, now() - began))

    virtual_time(main, backend=backend, check_leftovers=True)
    assert found == [(True, 3), (True, 4), (True, 4), "late", (False, 4)]


@BACKENDS
def test_a_value_of_a_target_that_swallowed_it_wins(backend):
    """What the target itself has swallowed is no affair of the middleware around it."""
    log = Log()

    @middleware
    async def tag(call, proceed):
        return await proceed()

    guarded = stack(timeout(2), tag, listeners=[log])(log.scripted([Stubborn(3)]))
    virtual_time(guarded, backend=backend, check_leftovers=True)
    assert [type(event) for event in log.events].count(TimeoutOverrun) == 1


def test_a_failure_made_of_it_is_not_answered_for(cancelled):
    """A target that turns its cancellation into an error is not answered for by a middleware."""

    def make(log, _):
        target = log.scripted(".4 .")

        async def converts():
            try:
                return await target()
            except anyio.get_cancelled_exc_class():
                raise ConnectionError from None

        @middleware
        async def sorry(call, proceed):
            try:
                return await proceed()
            except ConnectionError:
                return "sorry"

        return sorry(converts)

    assert cancelled(make, at=1).took == 1


def test_one_that_nobody_has_asked_for_surfaces_too():
    """A `CancelledError` out of the target that no one asked the task for is not eaten."""

    async def awaits_a_cancelled_task():
        task = asyncio.get_running_loop().create_task(anyio.sleep(1))
        task.cancel()
        await task

    async def main():
        for eater in (answers, fails, insists):
            with pytest.raises(asyncio.CancelledError):
                await eater.call(awaits_a_cancelled_task)

    virtual_time(main, check_leftovers=True)


def test_a_cancelled_helper_of_its_own_is_its_own_affair():
    """A middleware may await a task of its own that was cancelled, and go on."""

    @middleware
    async def helps(call, proceed):
        helper = asyncio.get_running_loop().create_task(anyio.sleep(1))
        helper.cancel()
        with suppress(asyncio.CancelledError):
            await helper
        return await proceed()

    log = Log()
    virtual_time(helps(log.scripted(".1")), check_leftovers=True)
    assert len(log.calls) == 1


def test_what_it_takes_back_itself_was_its_own():
    """By the rules of asyncio who calls `uncancel()` has asked: that can not be told apart."""
    log = Log()

    @middleware
    async def takes_back(call, proceed):
        task = asyncio.current_task()
        asyncio.get_running_loop().call_later(1, task.cancel)
        try:
            return await proceed()
        except asyncio.CancelledError:
            task.uncancel()
            return "taken back"

    async def main():
        found = await takes_back(log.scripted("~"))()
        await anyio.lowlevel.checkpoint()
        return found, asyncio.current_task().cancelling()

    assert virtual_time(main, check_leftovers=True) == ("taken back", 0)


@BACKENDS
@pytest.mark.parametrize("eater", [answers, fails, finally_returns, insists], ids=name_of)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Private])
def test_an_interrupt_comes_out_as_it_was(backend, eater, kind):
    """What the target raises that is no `Exception` surfaces: that very object, unchanged."""
    interrupt = kind()
    calls = []

    async def target():
        calls.append(now())
        raise interrupt

    async def main():
        try:
            await stack(retry(), fallback(degrade=value(1)), eater).call(target)
        except BaseException as error:
            return error is interrupt, error.__context__, error.__cause__

    with pytest.warns(UserWarning, match="fallback inside retry"):
        found = virtual_time(main, backend=backend, check_leftovers=True)
    assert (found, calls) == ((True, None, None), [0])


@BACKENDS
def test_an_interrupt_is_not_lost_to_a_cancellation_that_follows(backend):
    """A middleware that is cancelled while it handles an interrupt ends with the interrupt."""

    @middleware
    async def lingers(call, proceed):
        try:
            return await proceed()
        except Private:
            await anyio.sleep(4)

    async def target():
        raise Private

    async def main():
        with anyio.move_on_after(1):
            await lingers.call(target)

    with pytest.raises(Private):
        virtual_time(main, backend=backend)


@BACKENDS
def test_an_interrupt_may_take_the_place_of_a_cancellation(backend):
    """Cancelled, a middleware may still leave with `SystemExit`: nothing is eaten by that."""

    @middleware
    async def exits(call, proceed):
        try:
            return await proceed()
        except BaseException:
            raise SystemExit(3) from None

    async def main():
        with anyio.move_on_after(1):
            await exits.call(anyio.sleep_forever)

    with pytest.raises(SystemExit):
        virtual_time(main, backend=backend)


@pytest.mark.parametrize("eater", EATERS, ids=name_of)
def test_a_coroutine_that_is_closed_is_over(eater):
    """Closing the coroutine of a call whose middleware swallows `GeneratorExit` ends it."""

    async def main():
        coroutine = eater.call(anyio.sleep_forever)
        coroutine.send(None)
        coroutine.close()
        assert coroutine.cr_frame is None

    virtual_time(main, check_leftovers=True)


@pytest.mark.parametrize("eats", [True, False])
def test_a_coroutine_that_is_closed_closes_nothing_that_waits(eats):
    """A result whose closing would wait is left alone when the coroutine itself is closed."""
    closed = []

    class Closable:
        async def aclose(self):
            closed.append("closing")
            await anyio.sleep(1)

    async def opens():
        return Closable()

    @middleware
    async def lingers(call, proceed):
        await proceed()
        try:
            await anyio.sleep(4)
        except BaseException:
            if not eats:
                raise

    async def main():
        coroutine = lingers.call(opens)
        coroutine.send(None)
        coroutine.close()

    virtual_time(main, check_leftovers=True)
    assert closed == []
