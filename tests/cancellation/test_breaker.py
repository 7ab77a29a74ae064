"""Calls through circuit breakers, interrupted at every await: nothing leaks and nothing wedges."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import anyio
import pytest

from resilient import (
    CircuitOpen,
    FallbackManager,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    fallback,
    retry,
    stack,
    timeout,
)
from resilient.testing import Bad, Ok, cancel_at_every_await, virtual_time

NAMES = ("first", "second")


def counting(name="first", **options):
    """Return a breaker that counts everything and never opens by itself."""
    return circuit_breaker(name, trip=count_window(99, min_calls=99), **options)


def half_open(name="first", **options):
    """Return a breaker that is half open, with places for two probes."""
    breaker = circuit_breaker(
        name, trip=consecutive(1), open_for=0, probes=2, probe_timeout=1000, **options
    )
    breaker.acquire().fail()
    breaker.acquire().release()
    assert breaker.snapshot().state == "half_open"
    return breaker


def slow(target):
    """Return `target` with awaits before and after it."""

    async def function():
        await anyio.sleep(0.25)
        answer = await target()
        await anyio.sleep(0.25)
        return answer

    return function


def closed(log):
    return counting()(slow(log.scripted(".1")))


def closed_and_heard(log):
    return stack(counting(), listeners=[log])(slow(log.scripted(".1")))


def a_probe(log):
    return half_open()(slow(log.scripted(".1")))


def a_probe_of_a_judged_result(log):
    breaker = half_open(on_result=lambda answer: answer == "bad", successes=1)
    return retry(attempts=3, on_result=lambda answer: answer == "bad", backoff=[1])(
        breaker(slow(log.scripted([Bad("bad", after=1), Ok("good", after=1)])))
    )


def a_permit_by_hand(log):
    breaker, target = half_open(), slow(log.scripted(".1"))

    async def block():
        with breaker.acquire():
            return await target()

    return block


def observing(log):
    breaker = circuit_breaker("first", trip=consecutive(1), open_for=1000, mode="observe")
    breaker.acquire().fail()
    return breaker(slow(log.scripted(".1")))


def by_key(log):
    breaker, target = counting(key="shard"), slow(log.scripted(".1"))

    @breaker
    async def function(shard="eu"):
        return await target()

    return function


def two_breakers(log):
    return stack(counting(), half_open("second"))(slow(log.scripted(".1")))


def everything(log):
    other = stack(counting("second"), timeout(5))(slow(log.scripted(".1", "other")))
    policies = stack(
        fallback(to=[other]), timeout(30), retry(attempts=2, backoff=[1]), counting(), timeout(2)
    )
    return policies(slow(log.scripted("~ x1")))


def a_manager(log):
    return FallbackManager(
        [
            Target("a", slow(log.scripted("x1", "a")), policies=stack(counting(), timeout(3))),
            Target("b", slow(log.scripted(".1", "b")), policies=half_open("second")),
        ],
        deadline=60,
    ).run


CALLS = [
    closed,
    closed_and_heard,
    a_probe,
    a_probe_of_a_judged_result,
    a_permit_by_hand,
    observing,
    by_key,
    two_breakers,
    everything,
    a_manager,
]


def circuits():
    """Return the circuits of this run, by the name of their breaker."""
    return {name: circuit for name in NAMES for circuit in circuit_breaker(name)._seen().circuits()}


def seen():
    """Return what has been learned: for each circuit its state, calls and failures."""
    return {
        name: (shot.state, shot.calls, shot.failures)
        for name, circuit in circuits().items()
        for shot in [circuit.snapshot(0)]
    }


@pytest.mark.parametrize("make", CALLS, ids=lambda make: make.__name__)
def test_an_interruption_leaves_every_place_free(interruption, make):
    """At every await an interruption gives each permit back, and the next call works."""
    backend, delivery = interruption
    learned = []

    async def after(guarded):
        for circuit in circuits().values():
            machine = circuit.breaker
            assert machine.half_open is None or not machine.half_open.places
            assert not circuit.results
            assert not circuit.line
        learned.append(seen())
        for _ in range(2):
            try:
                return await guarded()
            except Exception:
                await anyio.sleep(5)
        return await guarded()

    awaits = 0
    for found in cancel_at_every_await(make, backend=backend, delivery=delivery, after=after):
        found.check()
        awaits += 1
        if not any(had_ended(call, found.run) for call in found.run.calls):
            # Interrupted in the first call, or on the way to it: nobody has learned of it.
            for state, calls, failures in learned[-1].values():
                assert (calls, failures) == (0, 0), (state, found.at)
    assert awaits >= 3


def had_ended(call, run):
    """Tell whether a call was over before the interruption."""
    return call.ended_order is not None and call.ended_order < run.cancelled_order


@pytest.mark.parametrize(
    ("backend", "delivery"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
def test_a_thousand_cancelled_calls_leave_the_places_to_the_next(backend, delivery):
    """Callers come at random and each is cancelled at another instant: the circuit still probes."""
    chance, ran = random.Random(7), []

    async def main():
        breaker = half_open()

        @breaker
        async def function():
            ran.append(1)
            for _ in range(4):
                await anyio.sleep(0.25)

        async def call():
            with suppress(CircuitOpen):
                await function()

        async def cancelled():
            await anyio.sleep(chance.randrange(4000) / 8)
            lives = chance.randrange(8) / 8
            if delivery == "scope":
                with anyio.move_on_after(lives):
                    await call()
                return
            task = asyncio.get_running_loop().create_task(call())
            await anyio.sleep(lives)
            task.cancel()
            await asyncio.wait([task])

        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(cancelled)
        machine = breaker._owner().single().breaker
        assert (machine.state, machine.half_open.taken) == ("half_open", 0)
        await function()
        await function()
        return breaker.snapshot().state

    assert virtual_time(main, backend=backend, check_leftovers=True) == "closed"
    assert len(ran) > 300
