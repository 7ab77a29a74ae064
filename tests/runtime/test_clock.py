"""Where time comes from: one runtime for each loop, and a Clock that nothing trusts blindly."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import threading
import time
import weakref
from math import inf

import anyio
import anyio.lowlevel
import pytest
import trio

from resilient import (
    CircuitOpen,
    TimedOut,
    circuit_breaker,
    consecutive,
    remaining,
    retry,
    timeout,
)
from resilient._runtime import clock
from resilient._runtime.clock import NO_LOOP, now, process_random, runtime
from resilient.testing import fresh_breakers, leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def ask():
    """Return the runtime of a guarded call."""
    return runtime()


guarded = timeout(60)(ask)


@both
def test_a_run_has_one_runtime(backend):
    """All tasks of a loop or run share one runtime, and it is of that backend."""

    async def main():
        found = [runtime(), await guarded()]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, found)
            tasks.start_soon(collect, found)
        return {id(one) for one in found}, found[0].backend

    async def collect(found):
        found.append(await guarded())

    ids, name = virtual_time(main, backend=backend)
    assert (len(ids), name) == (1, backend)


@both
def test_each_run_has_its_own(backend):
    """A second loop or run begins with the process's clock and chance, and no timers."""

    async def main():
        here = await guarded()
        before = (here.clock, here.random, dict(here.tables), dict(here.in_flight))
        here.clock, here.random = (lambda: 7.0), random.Random(7)
        assert now() == 7
        return here, before

    first, before = anyio.run(main, backend=backend)
    second, after = anyio.run(main, backend=backend)
    assert first is not second
    assert before[:2] == after[:2] == (time.monotonic, process_random)
    assert after[3] == {}
    assert now() != 7


def test_loops_in_threads_have_each_their_own():
    """Two loops that run at the same time in two threads never see each other's runtime."""
    barrier, found = threading.Barrier(2), []

    async def main():
        for _ in range(100):
            barrier.wait()
            found.append((threading.get_ident(), id(await guarded())))

    threads = [threading.Thread(target=asyncio.run, args=[main()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert len(set(found)) == 2


def test_a_loop_inside_another_has_its_own():
    """A loop that is run by hand in the middle of another one's callback has its own runtime."""
    inner = asyncio.new_event_loop()

    async def main():
        mine = await guarded()
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        try:
            other = inner.run_until_complete(guarded())
        finally:
            asyncio._set_running_loop(loop)
        return mine.loop is loop, other.loop is inner, await guarded() is mine

    assert asyncio.run(main()) == (True, True, True)
    inner.close()


@both
def test_fresh_breakers_are_fresh_in_a_loop_that_runs_already(backend):
    """A block of them in an async test hides what was open before, and is hidden after it."""
    breaker = circuit_breaker("fresh", trip=consecutive(1), open_for=3600)

    @breaker
    async def fails():
        raise ConnectionError

    async def main():
        with pytest.raises(ConnectionError):
            await fails()
        with fresh_breakers(), pytest.raises(ConnectionError):
            await fails()
        with pytest.raises(CircuitOpen):
            await fails()
        return weakref.ref(runtime())

    here = anyio.run(main, backend=backend)
    if backend == "trio":  # asyncio's goes when the next loop begins
        gc.collect()
        assert here() is None
        assert all(ref() is not None for ref in clock._on_trio)


def test_closed_loops_are_forgotten():
    """A closed loop and what hangs on it are let go when the next loop is used."""
    gone = []

    async def main():
        loop = asyncio.get_running_loop()
        await guarded()
        gone.append(weakref.ref(loop))

    for _ in range(3):
        asyncio.run(main())
        gc.collect()
    assert [ref() is None for ref in gone] == [True, True, False]
    assert len(clock._by_loop) == 1


def test_outside_of_a_loop_there_is_the_process_s_clock():
    """Without a loop `now` is the monotonic clock, and a guarded call says what is missing."""
    assert abs(now() - time.monotonic()) < 1
    assert remaining() == inf
    with pytest.raises(RuntimeError) as caught:
        guarded().send(None)
    assert str(caught.value) == NO_LOOP


def test_without_trio_the_same_is_said(monkeypatch):
    """Where trio is not installed, a call outside of a loop says the same."""
    monkeypatch.delitem(sys.modules, "trio")
    with pytest.raises(RuntimeError, match="outside of asyncio and trio"):
        guarded().send(None)


def test_a_callback_of_a_loop_is_no_task():
    """In a plain callback of an asyncio loop there is no call to belong to, and no crash."""
    found = []

    def callback():
        found.append(now())
        with pytest.raises(RuntimeError, match="outside of asyncio and trio"):
            guarded().send(None)

    async def main():
        asyncio.get_running_loop().call_soon(callback)
        await anyio.lowlevel.checkpoint()

    asyncio.run(main())
    assert len(found) == 1


if hasattr(os, "fork"):

    def test_a_forked_child_draws_other_numbers(fresh_python):
        """After a fork, parent and child do not draw the same jitter."""
        # In a process without the hooks that other libraries have for a fork: some wait in there.
        assert fresh_python(FORK) == "True"


FORK = """
import os
from resilient._runtime.clock import process_random

read, write = os.pipe()
if os.fork() == 0:
    os.write(write, repr(process_random.random()).encode())
    os._exit(0)
os.wait()
print(float(os.read(read, 100)) != process_random.random())
"""


def test_seeding_anew_draws_other_numbers():
    """What a forked child does draws numbers that no seed of the parent predicts."""
    process_random.seed(7)
    expected = process_random.random()
    process_random.seed(7)
    clock._reseed()
    assert process_random.random() != expected


# A Clock that misbehaves: nothing crashes, nothing spins, no wait is negative.


class Skewed:
    """A Clock that follows the loop's time, apart from what is done to it."""

    def __init__(self) -> None:
        self.time = runtime().clock
        self.offset = 0.0
        self.rate = 1.0
        self.reads = 0
        runtime().clock = self

    def __call__(self) -> float:
        self.reads += 1
        return self.time() * self.rate + self.offset

    async def jump(self, at, seconds) -> None:
        """Jump by `seconds` once the loop's time is `at`."""
        await anyio.sleep(at)
        self.offset += seconds


@pytest.fixture
def sleeps(monkeypatch):
    """Collect every wait that is begun."""
    found = []
    real = anyio.sleep

    async def sleep(seconds):
        found.append(seconds)
        await real(seconds)

    monkeypatch.setattr("resilient._runtime.pause.anyio.sleep", sleep)
    return found


@both
@pytest.mark.parametrize("jump", [-3600.0, -0.25, 0.0, 0.25, 3600.0])
def test_a_wait_takes_its_time_whatever_the_clock_does(backend, jump, sleeps):
    """A wait of 1 s takes 1 s of the loop's time, and little more, if the Clock jumps in it."""
    calls = []

    @retry(attempts=2, on=ConnectionError, backoff=[1])
    async def fetch():
        calls.append(anyio_time())
        if len(calls) == 1:
            raise ConnectionError

    async def main():
        skewed = Skewed()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(skewed.jump, 0.5, jump)
            await fetch()
        assert skewed.reads < 20

    virtual_time(main, backend=backend)
    assert calls == [pytest.approx(0), pytest.approx(1.25 if jump == -0.25 else 1)]
    waited = [seconds for seconds in sleeps if seconds != 0.5]
    assert waited == ([1, 0.25] if jump == -0.25 else [1])


def anyio_time():
    return anyio.current_time()  # noqa: TID251 - the loop's time, beside the Clock


@both
@pytest.mark.parametrize("rate", [0.0, 0.5, 2.0])
def test_a_clock_that_stands_still_or_is_slow_ends_no_wait_for_ever(backend, rate, sleeps):
    """Under a frozen Clock a wait takes its time once; under a slow one, what is left of it."""

    @retry(attempts=4, on=ConnectionError, backoff=[1])
    async def fetch():
        raise ConnectionError

    async def main():
        skewed = Skewed()
        skewed.rate = rate
        with pytest.raises(ConnectionError):
            await fetch()
        return anyio_time()

    took = virtual_time(main, backend=backend)
    assert took == pytest.approx(6 if rate == 0.5 else 3, abs=1e-6)
    assert all(seconds >= 0 for seconds in sleeps)
    assert len(sleeps) < 200


@both
def test_a_wait_whose_timer_is_early_is_completed(backend, monkeypatch):
    """A sleep that comes back early is followed by the rest, and by no more than that."""
    real, count = anyio.sleep, []

    async def early(seconds):
        count.append(seconds)
        await real(seconds - min(0.0003, seconds / 2))

    calls = []

    @retry(attempts=2, on=ConnectionError, backoff=[1])
    async def fetch():
        calls.append(now())
        if len(calls) == 1:
            raise ConnectionError

    monkeypatch.setattr("resilient._runtime.pause.anyio.sleep", early)
    virtual_time(fetch, backend=backend)
    assert calls == [0, pytest.approx(1, abs=2e-9)]
    assert len(count) < 30


@both
@pytest.mark.parametrize("jump", [-3600.0, -0.5, 0.5, 3600.0])
def test_a_limit_strikes_once_whatever_the_clock_does(backend, jump):
    """A limit whose Clock jumps strikes at its own time of the loop, or later by the jump."""

    async def main():
        skewed = Skewed()
        delays = watch_timers() if backend == "asyncio" else []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(skewed.jump, 0.5, jump)
            with pytest.raises(TimedOut):
                await timeout(2).call(anyio.sleep_forever)
        assert skewed.reads < 20
        assert all(delay >= 0 for delay in delays)
        assert len(delays) < 5
        return anyio_time(), leftovers()

    at, left = virtual_time(main, backend=backend)
    assert left == []
    late = -jump if jump < 0 and backend == "asyncio" else 0
    assert at == pytest.approx(2 + late)


def watch_timers():
    """Collect the delays of the timers of the running loop."""
    loop, delays = asyncio.get_running_loop(), []
    real = loop.call_later

    def call_later(delay, *args, **kwargs):
        delays.append(delay)
        return real(delay, *args, **kwargs)

    loop.call_later = call_later
    return delays


@both
def test_a_limit_whose_time_is_over_when_it_is_armed_strikes_at_the_first_wait(backend):
    """A Clock that leaps while a call begins leaves no negative timer and no time."""

    class Leaping:
        def __init__(self) -> None:
            self.now = 0.0

        def __call__(self) -> float:
            self.now += 5
            return self.now

    async def main():
        runtime().clock = Leaping()
        delays = watch_timers() if backend == "asyncio" else []
        with pytest.raises(TimedOut):
            await timeout(2).call(anyio.sleep_forever)
        return anyio_time(), [delay for delay in delays if delay < 0]

    assert virtual_time(main, backend=backend) == (0, [])


@both
def test_no_attempt_is_made_when_the_clock_has_leapt_past_the_deadline(backend):
    """A Clock that leaps over the deadline ends the retry with the error, without a wait."""
    calls = []

    @timeout(10)
    @retry(attempts=5, on=ConnectionError, backoff=[1])
    async def fetch():
        calls.append(remaining())
        skewed[0].offset += 3600
        assert remaining() == 0
        raise ConnectionError

    skewed = []

    async def main():
        skewed.append(Skewed())
        with pytest.raises(ConnectionError):
            await fetch()
        return anyio_time(), leftovers()

    assert virtual_time(main, backend=backend) == (0, [])
    assert calls == [10]


@both
def test_no_attempt_begins_after_a_wait_that_the_loop_has_overslept(backend):
    """If the loop is busy past the deadline while a retry waits, the limit strikes first."""
    calls = []

    @timeout(2)
    @retry(attempts=5, on=ConnectionError, backoff=[1])
    async def fetch():
        calls.append(now())
        raise ConnectionError

    async def busy():
        await anyio.sleep(0.5)
        if runtime().backend == "trio":
            trio.lowlevel.current_clock().jump(5)
        else:
            asyncio.get_running_loop()._now += 5

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(busy)
            with pytest.raises(TimedOut):
                await fetch()
        return leftovers()

    assert virtual_time(main, backend=backend) == []
    assert calls == [0]
