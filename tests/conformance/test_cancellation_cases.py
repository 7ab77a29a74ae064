"""The Z cases of the conformance list: a cancellation surfaces, and nothing comes after it."""

from __future__ import annotations

import asyncio
import random

import anyio
import anyio.lowlevel
import pytest

from resilient import (
    RetryBudget,
    circuit_breaker,
    consecutive,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient._runtime.clock import now
from resilient.events import AttemptEnded, CallEnded
from resilient.testing import Log, Ok, Tester, leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
DELIVERIES = ["scope", "task"]


@pytest.mark.parametrize("cancel", DELIVERIES)
def test_Z02_a_wait_is_cancelled_at_once(cancel):
    """A retry that waits 1 s and is cancelled at 0.3 s has one call and gives nothing up."""
    runs = Tester(retry(attempts=3, backoff=[1])).run("x*", cancel_at=0.3, cancel=cancel)
    runs.asserts(
        tries=2,  # the second one was announced, and never begun
        calls=1,
        result="cancelled",
        waits=[1],
        elapsed=0.3,
        events=["CallStarted", "AttemptStarted", "AttemptEnded", "RetryScheduled", "CallEnded"],
    )
    for run in runs:
        assert run.events[-1].outcome == "cancelled"
        assert run.events[-1].retry_result == "cancelled"
        assert not hasattr(run.calls[0].error, "__notes__")


@pytest.mark.parametrize("cancel", DELIVERIES)
def test_Z05_a_full_stack_is_cancelled_in_its_function(cancel):
    """Cancelled in the function, a full stack has one neutral attempt and no failure anywhere."""
    policies = (
        lambda other: fallback(to=[other], degrade=value(7)),
        retry(attempts=3),
        circuit_breaker("Z05", trip=consecutive(1)),
        timeout(8),
    )
    runs = Tester(*policies).run([Ok(after=5)], ".", cancel_at=2, cancel=cancel)
    runs.asserts(
        tries=1,
        calls=1,
        result="cancelled",
        elapsed=2,
        events=["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"],
    )
    for run in runs:
        attempt, call = run.events[2:]
        assert isinstance(attempt, AttemptEnded)
        assert (attempt.verdict, attempt.disposition) == ("neutral", "cancelled")
        assert isinstance(call, CallEnded)
        assert call.outcome == "cancelled"


@both
def test_Z05_the_function_sees_it_once(backend):
    """The function sees one cancellation, and each clean-up on the way out runs once."""
    seen = []

    def noting(name, inner):
        async def note():
            try:
                return await inner()
            except anyio.get_cancelled_exc_class():
                seen.append(name)
                raise

        return note

    async def main():
        breaker = circuit_breaker("Z05", trip=consecutive(1), open_for=1, probe_timeout=9)
        policies = stack(retry(attempts=3), breaker, timeout(8))
        inner = policies(noting("function", anyio.sleep_forever))
        outer = stack(fallback(degrade=value(7)), timeout(30))(noting("between", inner))
        with anyio.move_on_after(2) as scope:
            await noting("caller", outer)()
        await anyio.sleep(1)
        counted = breaker.snapshot()
        assert (counted.state, counted.failures, counted.refused) == ("closed", 0, 0)
        return scope.cancelled_caught, now(), leftovers()

    assert virtual_time(main, backend=backend) == (True, 3, [])
    assert seen == ["function", "between", "caller"]


def hops(random_source):
    """Draw how many turns of the loop something takes."""
    return random_source.randrange(4)


async def turn(times) -> None:
    for _ in range(times):
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize(
    ("backend", "delivery"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
def test_Z06_a_cancel_at_the_instant_of_a_result(backend, delivery, block):
    """In 1000 interleavings either the value or the cancellation comes out, and all balances."""
    outcomes = [
        virtual_time(interleaving, seed, delivery, backend=backend, seed=seed)
        for seed in range(block * 250, (block + 1) * 250)
    ]
    assert {"value", "cancelled"} <= set(outcomes) <= {"value", "cancelled", "timed out"}


async def half_opened(breaker):
    """Open a circuit, wait until it is due, and return that instant."""
    for _ in range(10):
        breaker.acquire().fail()
    await anyio.sleep(1)
    breaker.acquire().release()
    assert breaker.snapshot().state == "half_open"
    return now()


async def interleaving(seed, delivery):
    """Let a result, a cancellation and limits meet at one instant, in a random order."""
    chance = random.Random(seed)
    budget = RetryBudget("Z06")
    breaker = circuit_breaker("Z06", open_for=1, probe_timeout=9, probes=9, successes=1)
    began = await half_opened(breaker) if chance.randrange(2) else 0.0
    log = Log()
    failures = chance.randrange(3)
    steps = [chance.choice([0, 1]) for _ in range(failures + 1)]
    # All of these end at the same instant.
    end = began + sum(steps) + failures

    async def target():
        number = len(log.calls)
        await log.scripted("." if number >= failures else "x")()

    async def function():
        number = len(log.calls)
        await anyio.sleep(steps[number])
        await turn(hops(chance))
        await target()
        await turn(hops(chance))
        return "value"

    total = max(end - began, 0.5) + chance.choice([0, 1])
    attempt = max(steps[-1], 0.5) + chance.choice([0, 1])
    policies = stack(
        fallback(degrade=value("degraded")),
        timeout(total),
        retry(attempts=5, backoff=[1], budget=budget),
        breaker,
        *([timeout(attempt)] if attempt < total else []),
        listeners=[log],
    )
    guarded = policies(function)
    scope = anyio.CancelScope()
    order = [0]
    found = []

    async def caller():
        with scope:
            found.append(await guarded())

    async def cancels(cancel):
        await anyio.sleep(end - now())
        await turn(hops(chance))
        order[0] = log.next()
        cancel()

    async with anyio.create_task_group() as group:
        if delivery == "task":
            task = asyncio.get_running_loop().create_task(caller())
            group.start_soon(cancels, task.cancel)
            await asyncio.wait([task])
            assert task.cancelling() <= 1
            if not task.cancelled():
                task.result()
        else:
            both_ways = [(caller,), (cancels, scope.cancel)]
            chance.shuffle(both_ways)
            for one in both_ways:
                group.start_soon(*one)
    assert leftovers() == []
    starts = [type(event).__name__ for event in log.events]
    assert starts.count("AttemptStarted") == starts.count("AttemptEnded")
    assert starts.count("CallStarted") == starts.count("CallEnded") == 1
    assert starts[-1] == "CallEnded"
    for call in log.calls:
        assert call.ended_order is not None
    # No probe has a place any more, and what was cancelled was counted nowhere.
    machine = breaker._owner().single().breaker
    assert machine.half_open is None or not machine.half_open.places
    assert breaker.snapshot().calls <= starts.count("AttemptStarted")
    assert breaker.snapshot().refused == 0
    # Tokens went to retries that were announced, and to nothing else.
    assert budget.available == pytest.approx(10.2 - starts.count("RetryScheduled"))
    if not found:
        assert log.events[-1].outcome == "cancelled"
        return "cancelled"
    return "timed out" if found == ["degraded"] else "value"
