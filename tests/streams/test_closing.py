"""However a stream is left, its source is closed, once, and nothing remains."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import ClassVar

import anyio
import anyio.lowlevel
import pytest

from resilient import circuit_breaker, fallback, retry, stack, timeout, value
from resilient.events import AttemptEnded, CallEnded
from resilient.testing import virtual_time

POLICIES = {
    "retry": lambda: retry(backoff=[0]),
    "timeout": lambda: timeout(60, first_item=30, between_items=20),
    "circuit_breaker": lambda: circuit_breaker("closing"),
    "fallback": lambda: fallback(degrade=value("degraded")),
    "restart": lambda: fallback(to=[lambda *_: None], midstream="restart"),
    "stack": lambda: stack(
        fallback(degrade=value("degraded")), timeout(60), retry(), timeout(between_items=20)
    ),
}


@pytest.fixture(params=POLICIES)
def guarded(request, heard, sources):
    """Return a stream of endless items under each kind of policy, and its source's fate."""
    return stack(POLICIES[request.param](), listeners=[heard])(sources.source(range(9)))


def ends(heard):
    """Return how the attempts and the calls have ended, as the events say."""
    attempts = [(one.verdict, one.disposition) for one in heard.of(AttemptEnded)]
    return attempts, [one.outcome for one in heard.of(CallEnded)]


LEFT = [("neutral", "cancelled")], ["cancelled"]


def test_closed_early(guarded, run, heard, sources):
    """`aclose()` closes the source at once, and nobody has failed."""

    async def main():
        stream = guarded()
        await anext(stream)
        await stream.aclose()
        assert sources.ends == ["GeneratorExit"]
        assert ends(heard) == LEFT
        await stream.aclose()  # as often as one likes

    run(main)
    assert sources.ends == ["GeneratorExit"]
    assert ends(heard) == LEFT


def test_closed_by_another_task(guarded, run, heard, sources):
    """A task that has not asked for a single item can close it."""

    async def main():
        stream = guarded()
        await anext(stream)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.aclose)

    run(main)
    assert sources.ends == ["GeneratorExit"]
    assert ends(heard) == LEFT


def test_dropped(guarded, backend, heard, sources):
    """The loop closes a stream that its consumer forgot, source included."""

    async def main():
        stream = guarded()
        await anext(stream)
        del stream
        for _ in range(9):
            await anyio.lowlevel.checkpoint()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # trio's own
        virtual_time(main, backend=backend)
    assert sources.ends == ["GeneratorExit"]
    assert ends(heard) == LEFT


def test_dropped_in_a_cycle(guarded, backend, heard, sources):
    """The garbage collector hands the guarded generator to the loop, and that closes its source."""

    async def main():
        class Consumer:
            pass

        consumer = Consumer()
        consumer.itself = consumer
        consumer.stream = guarded()
        await anext(consumer.stream)
        del consumer
        gc.collect()
        for _ in range(9):
            await anyio.lowlevel.checkpoint()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        virtual_time(main, backend=backend)
    assert sources.ends == ["GeneratorExit"]
    assert ends(heard) == LEFT


def test_open_at_the_end_of_the_loop(backend, heard, caplog):
    """The end of the loop closes a stream that is still open, clean-up of its source included."""
    story = []

    @stack(timeout(9), retry(), listeners=[heard])
    async def source():
        try:
            yield 1
        finally:
            story.append("closing")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            story.append("closed")

    kept = []

    async def main():
        kept.append(source())
        await anext(kept[0])

    virtual_time(main, backend=backend)
    assert story == ["closing", "closed"]
    assert ends(heard) == LEFT
    assert [record.name for record in caplog.records if record.name != "resilient"] == []


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
def test_cancelled_between_two_items(guarded, backend, native, heard, sources):
    """A consumer that is cancelled while it works on an item leaves a closed source behind."""
    if native and backend == "trio":
        return

    async def consume():
        async with aclosing(guarded()) as stream:
            async for _ in stream:
                await anyio.sleep_forever()

    async def main():
        if native:
            task = asyncio.ensure_future(consume())
            await anyio.sleep(1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        else:
            with anyio.move_on_after(1):
                await consume()

    virtual_time(main, backend=backend, check_leftovers=True)
    assert sources.ends == ["GeneratorExit"]
    assert ends(heard) == LEFT


def test_an_error_while_it_is_closed_is_its_own(run, heard, read):
    """What the source raises while its consumer closes it comes out, and is a failure."""

    @stack(retry(), listeners=[heard])
    async def source():
        try:
            yield 1
        finally:
            raise KeyError

    async def main():
        stream = source()
        await anext(stream)
        with pytest.raises(KeyError):
            await stream.aclose()

    run(main)
    assert ends(heard) == ([("failure", "raised")], ["failure"])


def test_a_source_that_ends_when_it_is_closed_was_still_closed(run, heard):
    """A `GeneratorExit` that the source takes for its end is no success."""

    @stack(retry(), listeners=[heard])
    async def source():
        with suppress(GeneratorExit):
            yield 1

    async def main():
        stream = source()
        await anext(stream)
        await stream.aclose()

    run(main)
    assert ends(heard) == LEFT


def test_what_no_policy_took_is_closed(run, sources, read):
    """Where a predicate fails the call with its own error, the stream that it saw is closed."""

    def broken(item):
        raise KeyError(item)

    async def main(policy):
        return await read(policy(sources.source([1, 2, 3]))())

    for policy in (
        retry(on_result=broken),
        fallback(degrade=value(0), on_result=broken),
        stack(timeout(9, between_items=2), retry(on_result=broken), timeout(3)),
    ):
        items, error = run(main, policy)
        assert (items, type(error)) == ([], KeyError)
    assert sources.ends == ["GeneratorExit"] * 3


class Iterator:
    """An async iterator that is no generator."""

    def __init__(self, *steps, closing="aclose") -> None:
        self.steps = iter(steps)
        self.closed = 0
        setattr(self, closing, self._aclose if closing == "aclose" else self._close)

    def __aiter__(self):
        return self

    async def __anext__(self):
        await anyio.lowlevel.checkpoint()
        step = next(self.steps, StopAsyncIteration)
        if isinstance(step, type):
            raise step
        return step

    async def _aclose(self):
        self.closed += 1

    def _close(self):
        self.closed += 1


@pytest.mark.parametrize("closing", ["aclose", "close", "nothing"])
def test_an_iterator_that_is_no_generator_is_closed_for_its_owner(run, closing, read):
    """Nobody but the guard has it, so it is closed when it fails or is left early."""
    made = []

    def opened(*steps):
        def source():
            made.append(Iterator(*steps, closing=closing))
            return made[-1]

        return timeout(9)(annotated(source))

    async def main():
        assert await read(opened(1, 2)()) == ([1, 2], None)
        items, error = await read(opened(1, ConnectionError)())
        assert (items, type(error)) == ([1], ConnectionError)
        stream = opened(1, 2)()
        await anext(stream)
        await stream.aclose()
        stream = opened(1, 2)()
        await anext(stream)
        with pytest.raises(KeyError):
            await stream.athrow(KeyError())
        stream = opened(1, 2)()
        assert [await anext(stream), await stream.asend("nobody hears it")] == [1, 2]
        await stream.aclose()

    run(main)
    assert [one.closed for one in made] == ([0, 1, 1, 1, 1] if closing != "nothing" else [0] * 5)


def annotated(source):
    """Return `source` with an annotation that promises a stream."""
    source.__annotations__["return"] = AsyncIterator[int]
    return source


class Noted(ConnectionError):
    """An error that is known for as long as it lives."""

    made: ClassVar[list[weakref.ref]] = []

    def __init__(self) -> None:
        self.made.append(weakref.ref(self))


FATES = {
    "ended": [1, 2],
    "cut": [1, Noted],
    "failed": [Noted],
    "late": [1, 99.0],
    "closed": [1, 2, 3],
    "thrown in": [1, 2, 3],
}


async def failing():
    raise Noted
    yield


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("policy", [*POLICIES, "chain", "last"])
def test_nothing_is_kept_by_a_cycle(run, sources, policy, fate):
    """A stream, its source and its errors are gone without the garbage collector."""
    chains = {
        "chain": lambda: fallback(to=[failing, failing], midstream="restart"),
        "last": lambda: fallback(to=[failing], midstream="restart", raises="last"),
    }
    guarded = (POLICIES | chains)[policy]()(sources.source(FATES[fate]))
    gone = []

    async def one():
        stream = guarded()
        gone.append(weakref.ref(stream))
        if fate == "closed":
            await anext(stream)
            await stream.aclose()
        elif fate == "thrown in":
            await anext(stream)
            with suppress(Noted):
                await stream.athrow(Noted())
        else:
            with suppress(Exception):
                async for _ in stream:
                    pass

    async def main():
        Noted.made.clear()
        gc.collect()
        gc.disable()
        try:
            await one()
            await anyio.sleep(60)
            return [ref() for ref in gone + Noted.made if ref() is not None]
        finally:
            gc.enable()

    assert run(main) == []


def test_an_open_stream_is_no_cycle_with_the_task_that_has_failed(guarded, heard, sources):
    """A task that ends with an error and leaves a stream open is gone, and the stream is closed."""

    async def consume():
        stream = guarded()
        await anext(stream)
        raise KeyError(stream)

    async def main():
        gc.collect()
        gc.disable()
        try:
            task = asyncio.ensure_future(consume())
            await asyncio.wait([task])
            assert isinstance(task.exception(), KeyError)
            gone = weakref.ref(task)
            del task
            await anyio.sleep(1)
            return gone()
        finally:
            gc.enable()

    assert virtual_time(main) is None
    assert sources.ends == ["GeneratorExit"]
    assert ends(heard) == LEFT


def test_two_loops_one_after_the_other(run, sources):
    """One guarded function serves the loops of a process in turn."""
    guarded = stack(timeout(9), retry(), timeout(between_items=2))(sources.source([1, 1.0, 2]))

    async def main():
        return [item async for item in guarded()]

    assert [run(main), run(main)] == [[1, 2], [1, 2]]


def test_the_hooks_of_the_loop_are_as_they_were(run, sources):
    """Opening a stream leaves the interpreter's hooks for async generators alone."""
    guarded = retry(backoff=[0])(sources.source([ConnectionError], [1]))

    async def main():
        before = sys.get_asyncgen_hooks()
        async with aclosing(guarded()) as stream:
            await anext(stream)
            assert sys.get_asyncgen_hooks() == before

    run(main)
