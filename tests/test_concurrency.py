"""Many calls at once, in several loops: each has its own fate, and nothing is left of any.

Reference counts alone free what a call has used: no error refers, through its
traceback, to something that refers to it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections import Counter
from contextlib import contextmanager, suppress

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    CircuitOpen,
    FallbackManager,
    Target,
    TimedOut,
    circuit_breaker,
    consecutive,
    current_call,
    fallback,
    retry,
    stack,
    time_window,
    timeout,
    value,
)
from resilient._runtime.clock import now, runtime
from resilient.testing import leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Busy(Exception):
    """A failure that passes."""


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Keep thousands of lines about failures out of the report."""
    caplog.set_level(logging.CRITICAL, "resilient")


@contextmanager
def counted_references():
    """Leave everything to reference counts: the collector of cycles is off."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def wait_for_ever():
    """Wait for what never comes, without a timer that the loop would keep."""
    await anyio.Event().wait()


def service():
    """Return a function whose fate is its argument, behind a full stack."""

    async def second(number):
        if number % 5 == 4:
            raise Busy
        return number, "second"

    @stack(
        fallback(to=[second], degrade=value("last")),
        timeout(20),
        retry(attempts=3, on=(Busy, TimedOut), backoff=[1, 2]),
        circuit_breaker("first", trip=time_window(60, min_calls=10**9)),
        timeout(3),
    )
    async def first(number):
        call = current_call()
        match number % 5:
            case 0:  # at once
                pass
            case 1:  # after a while
                await anyio.sleep(2)
            case 2:  # on the third attempt
                await anyio.sleep(0.5)
                if call.attempt < 3:
                    raise Busy
            case _:  # never: three timeouts
                await wait_for_ever()
        return number, call.attempt

    return first


def assert_counted(calls):
    """Of five fates two answer at once, one at the third attempt, and two fail three times."""
    counted = circuit_breaker("first").snapshot()
    assert (counted.state, counted.refused) == ("closed", 0)
    assert (counted.calls, counted.failures) == (calls // 5 * 11, calls // 5 * 8)


CALLS = {"asyncio": 10_000, "trio": 2_000}  # a task of trio costs many times one of asyncio
FATES = {0: 1, 1: 1, 2: 3, 3: "second", 4: None}


@pytest.mark.timeout(120)  # thousands of calls, on a machine that may have other work
@both
def test_ten_thousand_calls_at_once_leave_nothing(backend):
    """Thousands of calls, a fifth of each fate, end as they should and leave nothing behind."""
    found = Counter()

    async def one(first, number):
        answer = await first(number)
        assert answer == "last" if number % 5 == 4 else answer == (number, FATES[number % 5])
        found[number % 5] += 1

    async def main():
        first = service()
        async with anyio.create_task_group() as group:
            for number in range(CALLS[backend]):
                group.start_soon(one, first, number)
        assert_counted(CALLS[backend])
        here = runtime()
        assert not here.in_flight
        assert all(not table.armed for table in here.tables.values())
        return now(), leftovers()

    # Three attempts of 3 s with 1 and 2 s between them.
    assert virtual_time(main, backend=backend) == (12, [])
    assert found == dict.fromkeys(range(5), CALLS[backend] // 5)


@pytest.mark.timeout(120)  # thousands of calls, on a machine that may have other work
@both
def test_ten_thousand_calls_need_no_collector_of_cycles(backend):
    """Every call and every error of thousands of calls is freed as soon as it is over."""
    alive = []

    def note(thing):
        alive.append(weakref.ref(thing))

    @stack(timeout(20), retry(attempts=2, on=(Busy, TimedOut), backoff=[1]), timeout(3))
    async def function(number):
        note(current_call())
        await anyio.sleep(0.25)
        if number % 3 == 0:
            error = Busy(number)
            note(error)
            try:
                raise error
            finally:
                del error
        if number % 3 == 1:
            await wait_for_ever()

    async def one(number):
        try:
            await function(number)
        except (Busy, TimedOut) as error:
            note(error)

    async def main():
        async with anyio.create_task_group() as group:
            for number in range(CALLS[backend]):
                group.start_soon(one, number)
        await anyio.sleep(1)
        return sum(ref() is not None for ref in alive)

    with counted_references():
        assert virtual_time(main, backend=backend) == 0
    assert len(alive) > 2 * CALLS[backend]


class Listens:
    """A listener, so that every call has a permit."""

    def on_event(self, event, call):
        """Keep nothing."""


def fates():
    """Return functions that end in every way there is, by name, and what they note."""
    refs = []

    def note(thing):
        refs.append(weakref.ref(thing))

    async def fails():
        note(current_call())
        await anyio.sleep(0.25)
        error = Busy()
        note(error)
        try:
            raise error
        finally:
            del error

    async def fails_too():
        await fails()

    async def hangs():
        note(current_call())
        await wait_for_ever()

    async def answers():
        note(current_call())
        await anyio.sleep(0.25)

    async def opens():
        note(current_call())
        await anyio.sleep(0.25)
        error = Busy()
        note(error)
        try:
            raise error
        finally:
            del error

    async def refused():
        await opened()

    async def probe():
        breaker = circuit_breaker("probe", trip=consecutive(1), open_for=0)
        breaker.acquire().fail()
        with breaker.acquire():
            await timeout(1)(fails)()

    opened = stack(circuit_breaker("opened", trip=consecutive(1)), listeners=[Listens()])(opens)

    async def refusal():
        for _ in range(2):
            with suppress(Busy, CircuitOpen):
                await opened()
        await anyio.sleep(0.25)
        try:
            await opened()
        except CircuitOpen as error:
            note(error)
            raise

    async def block():
        async for attempt in retry(attempts=3, on=Busy, backoff=[1]):
            with attempt:
                await fails()

    again = retry(attempts=3, on=(Busy, TimedOut), backoff=[1])
    chain = [Target("a", fails, timeout=1, attempts=2), Target("b", hangs)]
    made = {
        "an answer": stack(timeout(9), again)(answers),
        "a retry": again(fails),
        "one attempt": retry(attempts=1)(fails),
        "a timeout": timeout(1)(hangs),
        "an error in time": timeout(1)(fails),
        "a stack that fails": stack(timeout(30), again, timeout(1))(fails),
        "a stack that hangs": stack(timeout(30), again, timeout(1))(hangs),
        "a fallback": fallback(to=[fails_too])(fails),
        "the first error": fallback(to=[fails_too], raises="first")(fails),
        "the last error": fallback(to=[fails_too], raises="last")(fails),
        "a last resort": fallback(degrade=value(7))(fails),
        "a guard in a guard": again(timeout(1)(fails)),
        "a breaker": circuit_breaker("fails", trip=consecutive(9))(fails),
        "a breaker that opens": circuit_breaker("opens", trip=consecutive(1))(opens),
        "a breaker that listens": opened,
        "a breaker that hangs": stack(retry(), circuit_breaker("hangs"), timeout(1))(hangs),
        "a refusal": refusal,
        "a refusal in a chain": fallback(to=[refused])(refusal),
        "a probe": probe,
        "a manager": FallbackManager(chain, deadline=5).run,
        "a block": block,
    }
    return made, refs


NAMES = sorted(fates()[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["asyncio", "trio", "in a task", "cancelled", "closed"])
def test_what_a_call_has_used_is_freed_with_it(name, ending):
    """However a call ends and whoever keeps its error for a while, no cycle is left of it."""
    made, refs = fates()
    call = made.pop(name)

    async def awaited():
        try:
            await call()
        except Exception as error:
            refs.append(weakref.ref(error))

    async def in_a_task(cancel_at):
        task = asyncio.get_running_loop().create_task(call())
        if cancel_at is not None:
            await anyio.sleep(cancel_at)
            task.cancel()
        await asyncio.wait([task])
        # The task keeps its error, and nobody asks for it: it goes with the task.
        if not task.cancelled() and task.exception() is not None:
            refs.append(weakref.ref(task.exception()))
        refs.append(weakref.ref(task))

    async def closed():
        coroutine = call()
        coroutine.send(None)
        coroutine.close()

    async def main():
        match ending:
            case "in a task":
                await in_a_task(None)
            case "cancelled":
                await in_a_task(0.125)
            case "closed":
                await closed()
            case _:
                await awaited()
        for _ in range(3):
            await anyio.sleep(1)  # the loop lets go of what it has just run
        return [ref() for ref in refs if ref() is not None], leftovers()

    with counted_references():
        backend = "trio" if ending == "trio" else "asyncio"
        assert virtual_time(main, backend=backend) == ([], [])
    assert refs


def test_one_function_in_two_loops_one_after_the_other():
    """A decorated function works in loop after loop, of either backend, whatever its fate."""
    first = service()

    async def main():
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(first, number)
        assert await first(2) == (2, 3)
        assert await first(4) == "last"
        return now(), leftovers()

    ends = [virtual_time(main, backend=one) for one in ("asyncio", "trio", "asyncio", "trio")]
    assert ends == [(12 + 4.5 + 12, [])] * 4


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio")])
def test_one_function_in_two_threads_at_once(backends):
    """A decorated function runs in the loops of two threads, with success and failure."""
    first, barrier = service(), threading.Barrier(2)
    ends, errors = [], []

    async def main():
        barrier.wait()
        found = []

        async def one(number):
            found.append(await first(number))

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, number)
        assert found.count("last") == 40
        assert found.count((2, 3)) == 1
        return now(), leftovers()

    def work(backend):
        try:
            ends.append(virtual_time(main, backend=backend))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[backend]) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert ends == [(12, [])] * 2


def test_one_manager_in_two_threads_counts_every_call():
    """What the calls of two threads teach one manager is exact."""

    async def fails():
        raise Busy

    async def answers():
        await anyio.sleep(1)

    manager = FallbackManager([Target("first", fails), Target("second", answers)])
    dead_end = FallbackManager([Target("first", fails), Target("second", fails)])
    errors = []

    async def ends_badly():
        with pytest.raises(AllTargetsFailed):
            await dead_end.run()

    async def main():
        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(manager.run)
                group.start_soon(ends_badly)

    def work():
        try:
            virtual_time(main, check_leftovers=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    health = manager.health()
    assert (health["first"].failed, health["second"].answered) == (1000, 1000)
    dead = dead_end.health()
    assert (dead["first"].failed, dead["second"].failed) == (1000, 1000)
