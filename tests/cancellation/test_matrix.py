"""Every kind of callable in every policy, cancelled in both ways on both backends.

The cases are generated. In each the function waits for ever at its first call
and is cancelled after a second: the very cancellation that the function saw
reaches the caller, nothing was called or counted after it, nothing is left,
and the next call works.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import pytest

from resilient import (
    circuit_breaker,
    consecutive,
    count_window,
    fallback,
    retry,
    stack,
    timeout,
)
from resilient._runtime.clock import now
from resilient.testing import leftovers, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable

DELIVERIES = [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]


def coroutine_function(policy, body):
    @policy
    async def function():
        return await body()

    return function


def method(policy, body):
    class Owner:
        @policy
        async def method(self):
            return await body()

    return Owner().method


def static_method_below(policy, body):
    class Owner:
        @staticmethod
        @policy
        async def static():
            return await body()

    return Owner().static


def static_method_above(policy, body):
    class Owner:
        @policy
        @staticmethod
        async def static():
            return await body()

    return Owner.static


def class_method_below(policy, body):
    class Owner:
        @classmethod
        @policy
        async def of_class(cls):
            return await body()

    return Owner.of_class


def class_method_above(policy, body):
    class Owner:
        @policy
        @classmethod
        async def of_class(cls):
            return await body()

    return Owner().of_class


def partial(policy, body):
    async def function(first, second):
        return await body()

    return policy(functools.partial(function, 1, second=2))


class Asked:
    """An object with an async `__call__`."""

    def __init__(self, body):
        self.body = body

    async def __call__(self):
        return await self.body()


def object_with_call(policy, body):
    return policy(Asked(body))


def annotated_def(policy, body):
    @policy
    def function() -> Awaitable[str]:
        return body()

    return function


def called_through(policy, body):
    return functools.partial(stack(policy).call, body)


def reads(generator):
    """Return a coroutine function that reads a stream to its end."""

    async def read():
        async with aclosing(generator()) as items:
            return [item async for item in items][-1]

    return read


def before_the_first_item(policy, body):
    @policy
    async def numbers():
        yield await body()

    return reads(numbers)


def between_two_items(policy, body):
    @policy
    async def numbers():
        yield "first"
        yield await body()

    return reads(numbers)


STREAMS = [before_the_first_item, between_two_items]
KINDS = [
    coroutine_function,
    method,
    static_method_below,
    static_method_above,
    class_method_below,
    class_method_above,
    partial,
    object_with_call,
    annotated_def,
    called_through,
    *STREAMS,
]


async def other():
    """Answer instead."""
    return "other"


async def other_stream():
    """Give one item instead."""
    yield "other"


def closed():
    return circuit_breaker("matrix", trip=count_window(9, min_calls=1), open_for=60)


def half_open():
    breaker = circuit_breaker("matrix", trip=consecutive(1), open_for=0, probe_timeout=600)
    breaker.acquire().fail()
    breaker.acquire().release()
    return breaker


def all_four(instead):
    return stack(
        fallback(to=[instead]),
        timeout(60),
        retry(attempts=3, backoff=[1]),
        closed(),
        timeout(30),
    )


POLICIES = {
    "retry": lambda _: retry(attempts=3, backoff=[1]),
    "timeout": lambda _: timeout(30),
    "breaker": lambda _: closed(),
    "half-open breaker": lambda _: half_open(),
    "fallback": lambda instead: fallback(to=[instead]),
    "all four": all_four,
}


class Body:
    """Waits for ever at the first call and answers at the next; notes what it saw."""

    def __init__(self):
        self.calls = 0
        self.seen = []
        self.cleaned_up = 0

    async def __call__(self):
        self.calls += 1
        if self.calls > 1:
            return "value"
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            self.seen.append(error)
            raise
        finally:
            self.cleaned_up += 1
        raise AssertionError


async def cancelled(call, delivery):
    """Make a call, cancel it after a second; return what left it."""
    left = []

    async def caller():
        try:
            await call()
        except BaseException as error:
            left.append(error)
            raise

    if delivery == "task":
        task = asyncio.get_running_loop().create_task(caller())
        await anyio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert task.cancelling() == 1
        return left
    before = 0 if asyncio_task() is None else asyncio_task().cancelling()
    with anyio.move_on_after(1) as scope:
        await caller()
    assert scope.cancelled_caught
    assert before == (0 if asyncio_task() is None else asyncio_task().cancelling())
    await anyio.lowlevel.checkpoint()
    return left


def asyncio_task():
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def learned():
    """Return what the breaker of this run has learned, and who has a place."""
    family = circuit_breaker("matrix")._seen()
    found = []
    for circuit in family.circuits():
        machine, shot = circuit.breaker, circuit.snapshot(0)
        places = 0 if machine.half_open is None else machine.half_open.taken
        found.append((shot.state, shot.calls, shot.failures, shot.refused, places))
    return found


@pytest.mark.parametrize(("backend", "delivery"), DELIVERIES)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_cancellation_passes_unchanged(kind, policy, backend, delivery):
    """The function's own cancellation surfaces, nothing is counted or left, the next call works."""
    body = Body()

    async def main():
        instead = other_stream if kind in STREAMS else other
        call = kind(POLICIES[policy](instead), body)
        before = learned()
        left = await cancelled(call, delivery)
        assert [id(error) for error in left] == [id(error) for error in body.seen]
        assert isinstance(left[0], anyio.get_cancelled_exc_class())
        assert (body.calls, body.cleaned_up, now()) == (1, 1, 1)
        assert leftovers() == []
        # Where there was no circuit yet there is one that has seen nothing.
        assert learned() == before or learned() == [("closed", 0, 0, 0, 0)]
        assert await call() == "value"
        assert leftovers() == []
        return body.calls, now()

    assert virtual_time(main, backend=backend, check_leftovers=True) == (2, 1)
