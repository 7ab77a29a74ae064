"""The note's `CircuitBreaker`: asked before a call, told after it, without its defects."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import anyio
import pytest

from resilient import breakers
from resilient._runtime.clock import now
from resilient._runtime.listeners import process
from resilient.events import BreakerChanged
from resilient.note import CircuitBreaker
from resilient.testing import Log, fresh_breakers, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class OpenRouterError(Exception):
    """The error of the note."""

    def __init__(self, status_code, message):
        super().__init__(f"[{status_code}] {message}")
        self.status_code = status_code


async def safe_call_llm(breaker, call):
    """Call with a circuit breaker, as the note does."""
    if not breaker.can_call():
        raise OpenRouterError(503, "Servicio temporalmente no disponible")
    try:
        result = await call()
        breaker.record_success()
        return result
    except OpenRouterError:
        breaker.record_failure()
        raise


async def fails():
    raise OpenRouterError(500, "OpenRouter server error")


async def answers():
    return "answer"


async def refused(breaker, call=answers):
    """Tell whether a call is refused."""
    try:
        await safe_call_llm(breaker, call)
    except OpenRouterError as error:
        return error.status_code == 503
    return False


async def opened(breaker, times=5):
    """Let so many calls fail."""
    for _ in range(times):
        assert not await refused(breaker, fails)


@pytest.fixture
def log(monkeypatch):
    """Hear of every transition."""
    heard = Log()
    monkeypatch.setattr(process, "loud", (heard,))
    return heard


@BACKENDS
class TestAsTheNoteUsesIt:
    def test_it_opens_at_the_threshold(self, backend):
        """At the fifth failure in a row, and not before; a success begins the row anew."""

        async def main():
            breaker = CircuitBreaker(failure_threshold=5, timeout=60)
            await opened(breaker, 4)
            assert (breaker.is_open, breaker.failure_count) == (False, 4)
            assert not await refused(breaker)
            assert breaker.failure_count == 0
            await opened(breaker)
            assert breaker.is_open
            return await refused(breaker)

        assert virtual_time(main, backend=backend, check_leftovers=True)

    def test_it_tries_again_after_its_timeout(self, backend):
        """At exactly `timeout` seconds one call may try; its success closes it, for all."""

        async def main():
            breaker = CircuitBreaker(timeout=60)
            await opened(breaker)
            await anyio.sleep(59.5)
            assert await refused(breaker)
            await anyio.sleep(0.5)
            assert not await refused(breaker)
            assert not breaker.is_open
            return [await refused(breaker) for _ in range(3)]

        assert virtual_time(main, backend=backend) == [False] * 3

    def test_one_call_tries_and_not_everybody(self, backend):
        """Of a hundred callers after the timeout one is let through (the note lets all)."""

        async def main():
            breaker = CircuitBreaker()
            await opened(breaker)
            await anyio.sleep(60)
            called, turned_away = [], []

            async def slow():
                called.append(now())
                await anyio.sleep(1)

            async def caller():
                if await refused(breaker, slow):
                    turned_away.append(now())

            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(caller)
            return len(called), len(turned_away), breaker.is_open

        assert virtual_time(main, backend=backend, check_leftovers=True) == (1, 99, False)

    def test_a_failure_of_the_one_that_tries_is_enough(self, backend):
        """It opens again at once (the note wants the whole threshold again)."""

        async def main():
            breaker = CircuitBreaker()
            await opened(breaker)
            await anyio.sleep(60)
            assert not await refused(breaker, fails)
            return await refused(breaker)

        assert virtual_time(main, backend=backend) is True

    def test_a_late_success_closes_nothing(self, backend):
        """A call that began before it opened says nothing about now."""

        async def main():
            breaker = CircuitBreaker()

            async def slow():
                await anyio.sleep(5)

            async with anyio.create_task_group() as group:
                group.start_soon(refused, breaker, slow)
                await anyio.sleep(1)
                await opened(breaker)
            assert now() == 5
            return await refused(breaker)

        assert virtual_time(main, backend=backend) is True

    def test_a_straggler_keeps_nothing_open(self, backend):
        """A late failure does not move the end of the open time."""

        async def main():
            breaker = CircuitBreaker(timeout=60)

            async def slow():
                await anyio.sleep(50)
                await fails()

            async with anyio.create_task_group() as group:
                group.start_soon(refused, breaker, slow)
                await anyio.sleep(1)
                await opened(breaker)
            assert now() == 50
            await anyio.sleep(11)
            return await refused(breaker)

        assert virtual_time(main, backend=backend) is False

    def test_the_wall_clock_may_step(self, backend, monkeypatch):
        """An hour back changes nothing: no wall clock is asked."""
        monkeypatch.setattr(time, "time", lambda: 0.0)

        async def main():
            breaker = CircuitBreaker(timeout=60)
            await opened(breaker)
            monkeypatch.setattr(time, "time", lambda: -3600.0)
            await anyio.sleep(60)
            return await refused(breaker)

        assert virtual_time(main, backend=backend) is False

    def test_an_error_that_nobody_recorded_decides_nothing(self, backend):
        """A `TypeError` in the call that tries does not close it; its place comes back."""

        async def bug():
            raise TypeError

        async def main():
            breaker = CircuitBreaker(timeout=60)
            await opened(breaker)
            await anyio.sleep(60)
            with pytest.raises(TypeError):
                await safe_call_llm(breaker, bug)
            assert await refused(breaker)
            await anyio.sleep(60)
            return await refused(breaker)

        assert virtual_time(main, backend=backend) is False

    def test_a_cancelled_call_wedges_nothing(self, backend):
        """The place of a call that was cancelled while it tried comes back after `timeout`."""

        async def main():
            breaker = CircuitBreaker(timeout=60)
            await opened(breaker)
            await anyio.sleep(60)
            with anyio.move_on_after(1):
                await safe_call_llm(breaker, anyio.sleep_forever)
            assert breaker.is_open
            await anyio.sleep(59)
            return await refused(breaker)

        assert virtual_time(main, backend=backend, check_leftovers=True) is False


class TestWhoseCallItIs:
    @BACKENDS
    def test_each_task_speaks_of_its_own(self, backend):
        """A hundred calls at once: each result is that of its own admission."""

        async def main():
            breaker = CircuitBreaker(failure_threshold=200)

            async def caller(number):
                assert breaker.can_call()
                await anyio.sleep(number / 100)
                breaker.record_failure()

            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(caller, number)
            return breaker.failure_count

        assert virtual_time(main, backend=backend) == 100

    @BACKENDS
    def test_a_task_may_tell_for_the_one_that_began_it(self, backend):
        """What a child task records is the call that its parent was granted, once."""

        async def main():
            breaker = CircuitBreaker(failure_threshold=1, timeout=60)
            assert breaker.can_call()
            breaker.record_failure()
            await anyio.sleep(60)
            assert breaker.can_call()

            async def child():
                breaker.record_success()

            async with anyio.create_task_group() as group:
                group.start_soon(child)
            closed = not breaker.is_open
            breaker.record_failure()  # a call of its own: the other was told of
            return closed, breaker.is_open

        assert virtual_time(main, backend=backend) == (True, True)

    def test_what_was_not_asked_for_is_learned_all_the_same(self):
        """A failure without `can_call()` counts, and while it is open nothing does."""
        breaker = CircuitBreaker(failure_threshold=2)
        breaker.record_failure()
        breaker.record_failure()
        assert breaker.is_open
        breaker.record_success()
        breaker.record_failure()
        assert breaker.is_open

    def test_an_error_is_judged(self):
        """The caller's own fault is no failure of the service, where the error is given."""
        breaker = CircuitBreaker(failure_threshold=1)
        assert breaker.can_call()
        breaker.record_failure(OpenRouterError(401, "API key inválida"))
        assert not breaker.is_open
        breaker.record_failure(OpenRouterError(500, "OpenRouter server error"))
        assert breaker.is_open

    def test_threads_share_it_exactly(self):
        """Four threads without a loop count every failure."""
        breaker = CircuitBreaker(failure_threshold=10_000)

        def work():
            for _ in range(1000):
                assert breaker.can_call()
                breaker.record_failure()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert breaker.failure_count == 4000

    def test_loops_share_it(self):
        """What one loop has broken is broken in the next."""
        breaker = CircuitBreaker(failure_threshold=3)
        asyncio.run(opened(breaker, 3))
        assert asyncio.run(refused(breaker)) is True


class TestItself:
    def test_each_is_its_own(self):
        """Two that are written alike share nothing, and others are other ones."""
        first, second, third = (
            CircuitBreaker(1),
            CircuitBreaker(1),
            CircuitBreaker(failure_threshold=1, timeout=5),
        )
        first.record_failure()
        assert [one.is_open for one in (first, second, third)] == [True, False, False]

    def test_it_goes_when_nobody_holds_it(self):
        """Neither a registry nor a finished call keeps one alive."""
        with fresh_breakers():
            breaker = CircuitBreaker(3)
            assert breaker.can_call()
            breaker.record_success()
            assert breakers()["CircuitBreaker(3, 60)"].keys == 1
            gone = weakref.ref(breaker)
            del breaker
            gc.collect()
            assert gone() is None
            assert breakers()["CircuitBreaker(3, 60)"].keys == 0

    def test_it_is_a_handle_as_well(self):
        """It can be isolated, looked at, and used as a block."""
        breaker = CircuitBreaker()
        with breaker.isolate():
            assert not breaker.can_call()
            assert breaker.is_open
        with breaker.acquire():
            pass
        assert breaker.snapshot().state == "closed"

    @BACKENDS
    def test_its_transitions_are_told(self, backend, log):
        """Listeners hear of them, as of any breaker's."""

        async def main():
            await opened(CircuitBreaker())

        virtual_time(main, backend=backend)
        (change,) = [event for event in log.events if isinstance(event, BreakerChanged)]
        assert (change.name, change.to_state) == ("CircuitBreaker(5, 60)", "open")

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"failure_threshold": 0}, ValueError, r"CircuitBreaker\(failure_threshold=\) must be"),
            ({"failure_threshold": "5"}, TypeError, r"CircuitBreaker\(failure_threshold=\)"),
            ({"timeout": 0}, ValueError, r"CircuitBreaker\(timeout=\) must be seconds above 0"),
            ({"timeout": None}, ValueError, r"CircuitBreaker\(timeout=\)"),
        ],
    )
    def test_a_bad_option_is_refused_at_once(self, options, error, text):
        """The message names the option as it is written here."""
        with pytest.raises(error, match=text):
            CircuitBreaker(**options)
