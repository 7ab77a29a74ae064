"""The cases of the conformance list that are about streams: R36, F15, F17 and Z09."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import anyio
import pytest

from resilient import (
    FallbackManager,
    Restarted,
    Target,
    circuit_breaker,
    count_window,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient.events import AttemptEnded, AttemptStarted, CallEnded, RetryScheduled, StreamCut
from resilient.testing import Log, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Boom(ConnectionError):
    """What a source raises."""


def source(calls, *scripts, name="a"):
    """Return an async generator function; its nth call follows the nth script, or the last."""

    async def items():
        calls.append(name)
        for step in scripts[min(calls.count(name), len(scripts)) - 1]:
            if isinstance(step, Exception):
                raise step
            yield step

    items.__name__ = items.__qualname__ = name
    return items


async def read(stream):
    """Return the items of a stream and its error."""
    items = []
    try:
        async with aclosing(stream):
            async for item in stream:
                items.append(item)  # noqa: PERF401 - those before an error count
    except Exception as error:
        return items, error
    return items, None


def tries_of(log):
    """Return the turns of the retry loop."""
    return 1 + sum(isinstance(event, RetryScheduled) for event in log.events)


@both
def test_R36_a_failure_after_the_first_item_surfaces(backend):
    """A generator that fails after an item is called once, and nothing is replayed."""
    calls, log, error = [], Log(), Boom()
    guarded = stack(retry(attempts=3, backoff=[0]), listeners=[log])(source(calls, [1, error]))
    found = virtual_time(lambda: read(guarded()), backend=backend, check_leftovers=True)
    assert found == ([1], error)
    assert (calls, tries_of(log)) == (["a"], 1)
    assert [event.items for event in log.events if isinstance(event, StreamCut)] == [1]


@both
def test_R36_a_failure_before_the_first_item_is_retried(backend):
    """A generator that fails before its first item is called again, until it gives one."""
    calls, log = [], Log()
    policy = stack(retry(attempts=3, backoff=[0]), listeners=[log])
    guarded = policy(source(calls, [Boom()], [Boom()], [1, 2]))
    found = virtual_time(lambda: read(guarded()), backend=backend, check_leftovers=True)
    assert found == ([1, 2], None)
    assert (calls, tries_of(log)) == (["a"] * 3, 3)


@both
def test_F15_a_cut_stream_is_its_own_error_by_default(backend):
    """A gives 1, 2, 3 and fails: the consumer gets these and A's error, and B is never called."""
    calls, log, error = [], Log(), Boom()
    b = source(calls, [1, 2, 3], name="b")
    guarded = stack(fallback(to=[b]), listeners=[log])(source(calls, [1, 2, 3, error]))
    found = virtual_time(lambda: read(guarded()), backend=backend, check_leftovers=True)
    assert found == ([1, 2, 3], error)
    assert calls == ["a"]
    (ended,) = [event for event in log.events if isinstance(event, AttemptEnded)]
    assert (ended.verdict, ended.disposition) == ("failure", "raised")


@both
@pytest.mark.parametrize("way", ["decorator", "manager"])
def test_F15_a_restart_is_marked(backend, way):
    """With `midstream="restart"`: 1, 2, 3, a marker that names both, and all of B."""
    calls, log = [], Log()
    a = source(calls, [1, 2, 3, Boom()])
    b = source(calls, [1, 2, 3], name="b")
    if way == "decorator":
        stream = stack(fallback(to=[b], midstream="restart"), listeners=[log])(a)
    else:
        manager = FallbackManager([a, b], midstream="restart", listeners=[log])

        async def stream():
            async with manager.stream() as items:
                async for item in items:
                    yield item

    found = virtual_time(lambda: read(stream()), backend=backend, check_leftovers=True)
    assert found == ([1, 2, 3, Restarted("a", "b", 3), 1, 2, 3], None)
    assert calls == ["a", "b"]
    started = [event for event in log.events if isinstance(event, AttemptStarted)]
    assert [(event.number, event.target_index) for event in started] == [(1, 0), (2, 1)]


@both
def test_F17_an_error_before_the_first_content_moves_on(backend):
    """A stream whose server says 200 and then an error before any content falls back."""
    calls, log = [], Log()

    async def answers_200_and_an_error():
        calls.append("a")
        await anyio.sleep(1)  # the response has begun, and nothing of it was given on
        raise Boom("the first event is an error")
        yield

    manager = FallbackManager(
        [Target("a", answers_200_and_an_error), Target("b", source(calls, [1, 2], name="b"))],
        listeners=[log],
    )

    async def main():
        async with manager.stream() as items:
            found = [item async for item in items]
        return found, items.outcome

    found, outcome = virtual_time(main, backend=backend, check_leftovers=True)
    assert found == [1, 2]
    assert calls == ["a", "b"]
    assert [(one.target, one.disposition) for one in outcome.attempts] == [
        ("a", "fell_back"),
        ("b", "returned"),
    ]


STACK = stack(
    fallback(degrade=value("sorry")),
    timeout(60),
    retry(),
    circuit_breaker("Z09", trip=count_window(2, min_calls=1)),
    timeout(30, first_item=5, between_items=5),
)


def guarded_for_Z09(log):
    """Return a stream through a full stack, and the story of its source's clean-up."""
    story = []

    @stack(STACK, listeners=[log])
    async def numbers():
        try:
            for number in range(9):
                yield number
        finally:
            story.append("begins")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            story.append("ends")

    return numbers, story


def assert_neutral(log):
    """Assert that nothing was learned: one neutral attempt, and a call that was cancelled."""
    (attempt,) = [event for event in log.events if isinstance(event, AttemptEnded)]
    assert (attempt.verdict, attempt.disposition) == ("neutral", "cancelled")
    (call,) = [event for event in log.events if isinstance(event, CallEnded)]
    assert (call.outcome, call.items) == ("cancelled", 2)
    assert log.events[-1] is call


@both
def test_Z09_closed_early(backend):
    """A stream that is closed with `aclose()` cleans up once, and nothing is learned from it."""
    log = Log()
    numbers, story = guarded_for_Z09(log)

    async def main():
        stream = numbers()
        assert [await anext(stream), await anext(stream)] == [0, 1]
        await stream.aclose()
        assert story == ["begins", "ends"]
        await stream.aclose()

        assert circuit_breaker("Z09").snapshot().calls == 0

    virtual_time(main, backend=backend, check_leftovers=True)
    assert story == ["begins", "ends"]
    assert_neutral(log)


@pytest.mark.parametrize(
    ("backend", "delivery"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
def test_Z09_cancelled_between_two_items(backend, delivery):
    """A consumer that is cancelled between two items: one clean-up, and nothing is learned."""
    log = Log()
    numbers, story = guarded_for_Z09(log)

    async def consumer():
        async with aclosing(numbers()) as stream:
            async for number in stream:
                if number == 1:
                    await anyio.sleep_forever()

    async def main():
        if delivery == "task":
            task = asyncio.ensure_future(consumer())
            await anyio.sleep(1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()
        else:
            with anyio.move_on_after(1) as scope:
                await consumer()
            assert scope.cancelled_caught

        assert circuit_breaker("Z09").snapshot().calls == 0

    virtual_time(main, backend=backend, check_leftovers=True)
    assert story == ["begins", "ends"]
    assert_neutral(log)
