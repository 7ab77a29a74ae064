"""Defects of released libraries, each of which must not come back here.

A test is named after the defect. The ones about hedges and limiters arrive
with those policies.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import time
import warnings
import weakref

import anyio
import pytest
import trio

from resilient import (
    CircuitOpen,
    FallbackManager,
    Rejected,
    RetryBudget,
    Target,
    TimedOut,
    circuit_breaker,
    consecutive,
    current_call,
    exponential,
    fallback,
    manager_of,
    retry,
    stack,
    timeout,
    value,
)
from resilient._runtime.clock import now
from resilient.errors import PolicyOrderWarning
from resilient.events import AttemptEnded, AttemptStarted, RetryScheduled
from resilient.note import ModelConfig
from resilient.testing import Fail, Hang, Log, Tester, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NOW = [0]


@pytest.mark.parametrize("cancel", ["scope", "task"])
def test_a_cancellation_is_not_retried_through_a_negative_predicate(cancel):
    """`on=lambda e: not isinstance(e, ValueError)` does not retry a cancellation."""
    policy = retry(on=lambda error: not isinstance(error, ValueError), backoff=NOW)
    runs = Tester(policy).run([Hang()], cancel_at=1, cancel=cancel)
    runs.asserts(tries=1, calls=1, result="cancelled", elapsed=1)


def test_jitter_is_not_gone_at_the_cap_nor_above_it():
    """A thousand waits far past the cap spread below it."""
    backoff = exponential(base=1, cap=10)
    waits = [backoff.wait(50, number / 1000, None) for number in range(1000)]
    assert max(waits) <= 10
    assert len({round(wait, 2) for wait in waits}) > 900


@pytest.mark.parametrize("stacked", [True, False], ids=["around a retry", "alone"])
def test_a_timeout_is_not_only_looked_at_between_attempts(stacked):
    """A limit of 0.3 s ends an attempt that hangs at 0.3 s."""
    policies = [timeout(0.3), retry(backoff=NOW)] if stacked else [timeout(0.3)]
    runs = Tester(*policies).run("~")
    runs.asserts(tries=1, calls=1, error=TimedOut, elapsed=0.3)


@BACKENDS
def test_a_foreign_timeout_error_is_not_ours_and_ours_is_a_timeout_error(backend):
    """The function's own TimeoutError passes as the same object; TimedOut is a TimeoutError."""
    foreign = TimeoutError("theirs")

    @timeout(5)
    async def theirs():
        raise foreign

    with pytest.raises(TimeoutError) as caught:
        virtual_time(theirs, backend=backend, check_leftovers=True)
    assert caught.value is foreign

    @timeout(5)
    async def slow():
        await anyio.sleep_forever()

    with pytest.raises(TimeoutError) as caught:
        virtual_time(slow, backend=backend, check_leftovers=True)
    assert type(caught.value) is TimedOut


@BACKENDS
def test_a_shared_policy_does_not_mix_concurrent_calls(backend):
    """A hundred calls of one policy get their own values, numbers and exceptions."""
    policy = stack(timeout(60), retry(attempts=3, backoff=[1]), timeout(5))
    results = {}

    async def work(number):
        attempt = current_call().attempt
        await anyio.sleep(number / 1000)
        if attempt <= number % 4:
            raise ConnectionError(number)
        return number, attempt

    async def call(number):
        try:
            results[number] = await policy.call(work, number)
        except ConnectionError as error:
            results[number] = error.args[0], "failed"

    async def main():
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(call, number)

    virtual_time(main, backend=backend, check_leftovers=True)
    expected = {n: (n, "failed" if n % 4 == 3 else n % 4 + 1) for n in range(100)}
    assert results == expected


@BACKENDS
def test_listeners_of_concurrent_calls_do_not_see_each_others_attempts(backend):
    """Each call has as many starts as ends, all of its own."""
    heard = []

    class Listener:
        def on_event(self, event, call):
            heard.append((event, call))

    policy = stack(retry(attempts=3, backoff=[1]), listeners=[Listener()])

    async def fails(number):
        await anyio.sleep(number / 100)
        raise ConnectionError

    async def call(number):
        with pytest.raises(ConnectionError):
            await policy.call(fails, number)

    async def main():
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(call, number)

    virtual_time(main, backend=backend, check_leftovers=True)
    calls = {call for _, call in heard}
    assert len(calls) == 20
    for mine in calls:
        events = [event for event, owner in heard if owner is mine]
        starts = [event.number for event in events if isinstance(event, AttemptStarted)]
        ends = [event.number for event in events if isinstance(event, AttemptEnded)]
        assert starts == ends == [1, 2, 3]


GUARDED = [
    (retry(attempts=2, backoff=[0]), 0, ["item"]),
    (timeout(1), 2, TimedOut),
    (fallback(degrade=value("degraded")), 0, ["degraded"]),
]


@BACKENDS
@pytest.mark.parametrize(("policy", "seconds", "expected"), GUARDED)
def test_an_async_generator_is_not_silently_unguarded(policy, seconds, expected, backend):
    """Until its first item a stream is guarded like any call."""
    calls = 0

    @policy
    async def items():
        nonlocal calls
        calls += 1
        await anyio.sleep(seconds)
        if calls == 1:
            raise ConnectionError
        yield "item"

    async def main():
        return [item async for item in items()]

    if expected is TimedOut:
        with pytest.raises(TimedOut):
            virtual_time(main, backend=backend, check_leftovers=True)
    else:
        assert virtual_time(main, backend=backend, check_leftovers=True) == expected


@BACKENDS
def test_an_async_generator_is_not_replayed(backend):
    """After an item was delivered nothing is tried again: the error surfaces."""
    calls = 0

    @retry(attempts=3, backoff=[0])
    async def numbers():
        nonlocal calls
        calls += 1
        yield calls
        raise ConnectionError

    got = []

    async def main():
        async for number in numbers():
            got.append(number)  # noqa: PERF401 - what came before the error is the point

    with pytest.raises(ConnectionError):
        virtual_time(main, backend=backend, check_leftovers=True)
    assert (got, calls) == ([1], 1)


@BACKENDS
def test_an_async_fallback_is_awaited(backend):
    """The fallback's answer comes back, not its coroutine."""

    async def other():
        return "other"

    @fallback(to=[other])
    async def fails():
        raise ConnectionError

    assert virtual_time(fails, backend=backend, check_leftovers=True) == "other"


@BACKENDS
def test_a_fallback_value_is_not_cached_and_a_mutable_default_is_not_shared(backend):
    """Each call gets its own copy, and a success after a failure is the success."""
    fail = True

    @fallback(degrade=value([]))
    async def answers():
        if fail:
            raise ConnectionError
        return "answer"

    async def main():
        nonlocal fail
        first, second = await answers(), await answers()
        first.append(1)
        fail = False
        return first, second, await answers()

    assert virtual_time(main, backend=backend) == ([1], [], "answer")


@BACKENDS
def test_no_reference_cycle_keeps_a_failed_frame_alive(backend):
    """With the collector off, the error and what its frames held are freed with it."""

    class Lost(ConnectionError):
        """One that can be referred to weakly."""

    class Held:
        pass

    dead = []

    async def fails():
        held = Held()
        error = Lost()
        dead.extend([weakref.ref(held), weakref.ref(error)])
        try:
            raise error
        finally:
            del error

    async def refuses():
        dead.append(weakref.ref(Held()))
        if len(dead) % 2:
            await fails()
        raise Rejected("no", policy="test")

    async def hangs():
        held = Held()
        dead.append(weakref.ref(held))
        await anyio.sleep_forever()

    retried = retry(attempts=2, backoff=NOW)
    stacks = [
        stack(timeout(5), retried),
        stack(timeout(5), retried, timeout(1)),
        fallback(to=[fails]),
        stack(fallback(to=[fails, hangs]), retried),
        fallback(to=[fails], raises="last"),
        fallback(degrade=value(1)),
    ]

    async def main():
        for policy in stacks:
            for fn in (fails, refuses, hangs):
                with contextlib.suppress(Exception), anyio.move_on_after(60):
                    await policy.call(fn)

    gc.collect()
    gc.disable()
    try:
        virtual_time(main, backend=backend, check_leftovers=True)
        assert [reference() for reference in dead if reference() is not None] == []
        assert len(dead) > 30
    finally:
        gc.enable()


@BACKENDS
def test_the_traceback_of_an_error_does_not_grow_with_the_calls(backend):
    """The hundredth failure has a traceback as long as the first."""

    @retry(attempts=1)
    async def fails():
        raise ConnectionError

    def length(error):
        trace, size = error.__traceback__, 0
        while trace is not None:
            trace, size = trace.tb_next, size + 1
        return size

    async def main():
        sizes = set()
        for _ in range(100):
            try:
                await fails()
            except ConnectionError as error:
                sizes.add(length(error))
        return sizes

    assert len(virtual_time(main, backend=backend, check_leftovers=True)) == 1


def test_there_is_no_sleep_after_the_last_failure():
    """Three failures have two waits."""
    runs = Tester(retry(attempts=3, backoff=[1])).run("x*")
    runs.asserts(tries=3, calls=3, error=ConnectionError, elapsed=2, waits=[1, 1])


def test_there_is_no_sleep_past_the_deadline():
    """A wait of 5 s with 1 s left is not begun: the error surfaces at once."""
    runs = Tester(timeout(1), retry(backoff=[5])).run("x*")
    runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0)


def test_a_budget_is_not_asked_after_the_sleep_and_the_error_is_not_lost():
    """An empty budget costs no time, and the original error surfaces."""
    empty = RetryBudget("trap", ratio=0, reserve=0)
    runs = Tester(retry(backoff=[9], budget=empty)).run("x*")
    runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0)


@BACKENDS
def test_the_exception_of_a_listener_does_not_replace_the_real_error(backend, caplog):
    """With a listener that raises on every event, the function's own error surfaces."""

    class Raises:
        def on_event(self, event, call):
            raise LookupError

    @stack(retry(attempts=2, backoff=NOW), listeners=[Raises()])
    async def fails():
        raise ConnectionError

    with caplog.at_level(logging.CRITICAL), pytest.raises(ConnectionError):
        virtual_time(fails, backend=backend, check_leftovers=True)


@BACKENDS
def test_a_function_decorated_once_runs_in_a_second_loop(backend):
    """Nothing that belongs to a loop is made at decoration, nor kept for the next loop."""
    calls = []

    @fallback(degrade=value("degraded"))
    @timeout(10)
    @retry(attempts=2, backoff=[1])
    @timeout(2)
    async def hangs():
        calls.append(now())
        await anyio.sleep_forever()

    for _ in range(3):
        assert virtual_time(hangs, backend=backend, check_leftovers=True) == "degraded"
    assert calls == [0, 3] * 3


class Service:
    """Every kind of method, above and below the builtin decorators."""

    def __init__(self):
        self.calls = 0

    async def __call__(self):
        self.calls += 1
        if self.calls < 2:
            raise ConnectionError
        return self

    @retry(backoff=NOW)
    async def method(self):
        return await self()

    @staticmethod
    @retry(backoff=NOW)
    async def static_below(service):
        return await service()

    @retry(backoff=NOW)
    @staticmethod
    async def static_above(service):
        return await service()

    @classmethod
    @retry(backoff=NOW)
    async def class_below(cls, service):
        return await service()

    @retry(backoff=NOW)
    @classmethod
    async def class_above(cls, service):
        return await service()


@BACKENDS
@pytest.mark.parametrize(
    "make",
    [
        retry(backoff=NOW),
        lambda service: retry(backoff=NOW)(functools.partial(service)),
        lambda service: service.method,
        lambda service: functools.partial(Service.static_below, service),
        lambda service: functools.partial(service.static_above, service),
        lambda service: functools.partial(Service.class_below, service),
        lambda service: functools.partial(service.class_above, service),
    ],
    ids=["object", "partial", "method", "static <", "static >", "class <", "class >"],
)
def test_every_kind_of_callable_is_guarded(make, backend):
    """An object, a partial and every kind of method is tried a second time."""
    service = Service()
    assert virtual_time(make(service), backend=backend, check_leftovers=True) is service
    assert service.calls == 2


def test_a_large_attempt_number_does_not_overflow():
    """The wait before retry 1,000,000 is a number within the cap."""
    for jitter in ("full", "equal", "decorrelated", "none"):
        assert 0 <= exponential(jitter=jitter).wait(10**6, 0.999, 20.0) <= 20


@pytest.mark.parametrize(
    ("leaves", "calls"),
    [([ConnectionError(), TimeoutError()], 3), ([ConnectionError(), ValueError()], 1)],
    ids=["all transient", "one is not"],
)
def test_an_exception_group_is_looked_into(leaves, calls):
    """A group is retried if every leaf is transient."""
    script = [Fail(lambda: ExceptionGroup("several", leaves))] * 3
    runs = Tester(retry(backoff=NOW)).run(script)
    runs.asserts(tries=calls, calls=calls, error=ExceptionGroup, from_call=calls)


def test_a_fallback_inside_a_retry_is_warned_of():
    """The fallback hides the failures: decoration says so."""
    with pytest.warns(PolicyOrderWarning, match="hides the failures"):
        stack(retry(), fallback(degrade=value(1)))


@BACKENDS
def test_the_fallback_flag_is_true_when_a_fallback_answered(backend):
    """The first answer has `fallback: False`, the second target's `True`."""
    models = [
        ModelConfig("a", timeout=5, retry_count=2, priority=1),
        ModelConfig("b", timeout=5, retry_count=1, priority=2),
    ]

    async def call(model, data):
        if model == data:
            raise ValueError
        return model

    async def main():
        manager = FallbackManager(models)
        return [await manager.call_with_fallback(call, data) for data in ("none", "a")]

    assert virtual_time(main, backend=backend, check_leftovers=True) == [
        {"result": "a", "model": "a", "fallback": False},
        {"result": "b", "model": "b", "fallback": True},
    ]


@BACKENDS
def test_errors_that_are_no_timeouts_are_retried_as_well(backend):
    """`retry_count=2` gives a target that refuses a connection a second attempt."""
    calls = []

    async def call(model, data):
        calls.append(model)
        if len(calls) < 2:
            raise ConnectionError
        return data

    manager = FallbackManager([ModelConfig("a", timeout=5, retry_count=2)])
    outcome = virtual_time(manager.run_with, call, "data", backend=backend, check_leftovers=True)
    assert (calls, outcome.target, outcome.fallback_used) == (["a", "a"], "a", False)


def test_no_attempts_and_no_targets_are_errors_at_once():
    """`attempts=0` and an empty list of targets are refused where they are written."""
    with pytest.raises(ValueError, match="attempts"):
        retry(attempts=0)
    with pytest.raises(ValueError, match="attempts"):
        ModelConfig("a", timeout=5, retry_count=0)
    with pytest.raises(ValueError, match="at least one target"):
        FallbackManager([])


@BACKENDS
def test_nothing_of_a_call_is_kept_on_a_shared_manager(backend):
    """Fifty concurrent runs have their own attempts and their own answers."""

    async def first(number):
        await anyio.sleep(number / 100)
        if number % 2:
            raise ConnectionError
        return number

    async def second(number):
        return -number

    manager = FallbackManager([Target("first", first), Target("second", second)])
    outcomes = {}

    async def run(number):
        outcomes[number] = await manager.run(number)

    async def main():
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(run, number)

    virtual_time(main, backend=backend, check_leftovers=True)
    for number, outcome in outcomes.items():
        assert outcome.value == (-number if number % 2 else number)
        assert len(outcome.attempts) == 1 + number % 2
        assert outcome.fallback_used is bool(number % 2)


@BACKENDS
def test_the_manager_of_a_function_says_who_answered(backend):
    """`manager_of(ask).run()` gives what a plain call hides."""

    async def other():
        return 2

    @fallback(to=[other])
    @retry(attempts=2, backoff=NOW)
    async def ask():
        raise ConnectionError

    outcome = virtual_time(manager_of(ask).run, backend=backend, check_leftovers=True)
    assert outcome.value == 2
    assert outcome.fallback_used is True
    assert [(a.number, a.target_index) for a in outcome.attempts] == [(1, 0), (2, 0), (3, 1)]


def test_a_retry_event_is_told_to_a_listener_of_the_stack_only():
    """A listener given to one stack hears nothing of another."""
    log = Log()
    heard, unheard = stack(retry(backoff=NOW), listeners=[log]), stack(retry(backoff=NOW))

    async def fails():
        raise ConnectionError

    async def main():
        for policy in (heard, unheard):
            with pytest.raises(ConnectionError):
                await policy.call(fails)

    virtual_time(main, check_leftovers=True)
    assert sum(isinstance(event, RetryScheduled) for event in log.events) == 2


def test_the_defaults_give_no_warning():
    """The plain stack of the documentation decorates without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack(fallback(degrade=value(1)), timeout(30), retry(), timeout(8))


class Down:
    """A service that is down, behind a breaker that opens at the third failure, for 10 s."""

    def __init__(self, **options):
        self.breaker = circuit_breaker("down", trip=consecutive(3), open_for=10, **options)
        self.calls = 0
        self.error = ConnectionError
        self.guarded = self.breaker(self.function)

    async def function(self, seconds=0.0):
        self.calls += 1
        error = self.error
        await anyio.sleep(seconds)
        if error is not None:
            raise error

    async def call(self, seconds=0.0):
        with contextlib.suppress(ConnectionError, CircuitOpen):
            await self.guarded(seconds)

    async def opened(self):
        """Fail until it is open, and wait until it is due."""
        for _ in range(3):
            await self.call()
        assert self.state == "open"
        await anyio.sleep(10)
        self.calls = 0

    @property
    def state(self):
        return self.breaker.snapshot().state


@BACKENDS
def test_a_cancelled_probe_does_not_close_the_breaker(backend):
    """A service that is down and whose probe is cancelled is not let alone."""

    async def main():
        down = Down()
        await down.opened()
        with anyio.move_on_after(1):
            await down.call(99)
        assert down.state == "half_open"
        await down.call()
        return down.state, down.calls

    assert virtual_time(main, backend=backend, check_leftovers=True) == ("open", 2)


class Stop(BaseException):
    """What no policy handles."""


@BACKENDS
@pytest.mark.parametrize("ending", ["never", KeyboardInterrupt, SystemExit, GeneratorExit, Stop])
def test_a_probe_that_never_ends_or_is_torn_down_does_not_wedge(backend, ending):
    """However a probe is lost, a later call probes, and the circuit closes."""

    async def main():
        down = Down(probe_timeout=30)
        await down.opened()
        async with anyio.create_task_group() as group:
            if ending == "never":
                group.start_soon(down.call, 10_000)
            else:
                down.error = ending
                with contextlib.suppress(ending):
                    await down.call()
            await anyio.sleep(30)
            down.error = None
            await down.call()
            state = down.state
            group.cancel_scope.cancel()
        return state, down.calls

    assert virtual_time(main, backend=backend, check_leftovers=True) == ("closed", 2)


@BACKENDS
def test_half_open_does_not_let_everybody_in(backend):
    """Of twenty who come at once one is let in, and nineteen are refused."""

    async def main():
        down = Down()
        await down.opened()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(down.call, 1)
        return down.calls, down.breaker.snapshot().refused, down.state

    assert virtual_time(main, backend=backend, check_leftovers=True) == (1, 19, "open")


@BACKENDS
@pytest.mark.parametrize("ends", ["well", "badly"])
@pytest.mark.parametrize("now_in", ["open", "half_open", "closed"])
def test_a_result_of_an_earlier_era_does_not_move_the_state(backend, ends, now_in):
    """A call that began before the circuit opened ends when it is in another period: no matter."""

    async def main():
        down = Down()
        down.error = None if ends == "well" else ConnectionError
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(down.call, 60)
            await anyio.sleep(1)
            down.error = ConnectionError
            await down.opened()
            await anyio.sleep(45)
            if now_in != "open":
                probe = down.breaker.acquire()
                if now_in == "closed":
                    probe.succeed()
            before = down.breaker.snapshot()
            assert before.state == now_in
        after = down.breaker.snapshot()
        return (before.state, before.failures) == (after.state, after.failures)

    assert virtual_time(main, backend=backend, check_leftovers=True)


@BACKENDS
def test_a_failed_probe_needs_no_full_threshold_to_open_again(backend):
    """One failure in half-open is enough: the threshold is for the closed state."""

    async def main():
        down = Down()
        await down.opened()
        await down.call()
        await down.call()
        return down.state, down.calls, down.breaker.snapshot().retry_after

    assert virtual_time(main, backend=backend, check_leftovers=True) == ("open", 1, 10)


@BACKENDS
def test_stragglers_do_not_extend_the_open_window(backend):
    """Failures that come in while it is open leave the instant of the next probe where it was."""

    async def main():
        down = Down()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(down.call, 5)
            for _ in range(3):
                await down.call()
            opened_until = now() + down.breaker.snapshot().retry_after
        assert now() == 5
        return opened_until, now() + down.breaker.snapshot().retry_after

    assert virtual_time(main, backend=backend, check_leftovers=True) == (10, 10)


@BACKENDS
@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_step_of_the_wall_clock_is_no_outage_and_no_amnesty(backend, step, monkeypatch):
    """An hour back or forth on the wall clock moves no open window and forgets no failure."""
    wall = time.time  # noqa: TID251 - the clock that must not matter

    async def main():
        down = Down()
        await down.call()
        monkeypatch.setattr(time, "time", lambda: wall() + step)
        assert down.breaker.snapshot().failures == 1
        await down.call()
        await down.call()
        assert down.breaker.snapshot().retry_after == 10
        await anyio.sleep(10)
        down.error = None
        await down.call()
        return down.state

    assert virtual_time(main, backend=backend, check_leftovers=True) == "closed"


@BACKENDS
def test_a_stored_error_does_not_grow_with_the_refusals(backend):
    """No exception is kept: a thousand refusals have tracebacks of one length."""
    lengths, kept = set(), []

    def length(traceback):
        return 0 if traceback is None else 1 + length(traceback.tb_next)

    class Lost(ConnectionError):
        """An error that can be held weakly."""

    async def main():
        down = Down()
        down.error = Lost
        try:
            await down.guarded()
        except ConnectionError as error:
            kept.append(weakref.ref(error))
        await down.call()
        await down.call()
        for _ in range(1000):
            try:
                await down.guarded()
            except CircuitOpen as error:
                lengths.add(length(error.__traceback__))
        gc.collect()
        return [ref() for ref in kept], down.calls

    assert virtual_time(main, backend=backend, check_leftovers=True) == ([None], 3)
    assert len(lengths) == 1


def test_a_breaker_is_not_bound_to_a_loop():
    """What was made and opened in one loop refuses in the next, of another library."""
    down = Down()

    async def main():
        await down.call()
        return down.calls, down.state

    found = [asyncio.run(main()), trio.run(main), asyncio.run(main()), trio.run(main)]
    assert found == [(1, "closed"), (2, "closed"), (3, "open"), (3, "open")]
