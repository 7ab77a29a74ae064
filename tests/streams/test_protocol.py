"""A guarded stream is an async generator: what goes in arrives, what comes out is what was yielded.

The first test compares it with the bare generator over whole conversations.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import types
import weakref
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import circuit_breaker, fallback, retry, stack, timeout, value
from resilient.testing import virtual_time

POLICIES = {
    "retry": retry(),
    "timeout": timeout(60, first_item=30, between_items=20),
    "circuit_breaker": circuit_breaker("protocol", on=KeyError),
    "fallback": fallback(degrade=value("degraded"), on=KeyError),
    "restart": fallback(to=[lambda *_: None], midstream="restart", on=KeyError),
    "stack": stack(
        timeout(60), retry(), circuit_breaker("stack", on=KeyError), timeout(between_items=20)
    ),
}


class Boom(Exception):
    """What a consumer throws in."""


async def talker(catches, answers, at_the_end):
    """Yield what came in; do with what is thrown in what the arguments say."""
    said = "hello"
    for _ in range(4):
        try:
            said = "sent", (yield said)
        except catches as error:
            said = "caught", type(error).__name__
            if answers == "ends":
                return
            if answers == "raises":
                raise ValueError from error
        finally:
            if answers == "waits":
                await anyio.sleep(1)
    if at_the_end == "raises":
        raise LookupError


THROWN = [Boom, KeyboardInterrupt, StopAsyncIteration, GeneratorExit, ConnectionError]
MOVES = st.one_of(
    st.just(("next", None)),
    st.tuples(st.just("send"), st.sampled_from([None, 1, "two"])),
    st.tuples(st.just("throw"), st.sampled_from(THROWN)),
    st.just(("close", None)),
)
# Who catches a GeneratorExit ends: a generator that goes on instead is broken for good.
CATCHES = [
    *(
        (kind, answer)
        for kind in ((), Boom, Exception, ConnectionError, KeyboardInterrupt)
        for answer in ("yields", "ends", "raises", "waits")
    ),
    *((kind, answer) for kind in (GeneratorExit, BaseException) for answer in ("ends", "raises")),
]


async def conversation(stream, moves):
    """Return what came of each move."""
    came = []
    for move, what in moves:
        try:
            if move == "next":
                came.append(await anext(stream))
            elif move == "send":
                came.append(await stream.asend(what))
            elif move == "throw":
                came.append(await stream.athrow(what("thrown in")))
            else:
                came.append(await stream.aclose())
        except BaseException as error:
            came.append(f"{error!r} from {error.__cause__!r}")
    with contextlib.suppress(Exception):
        await stream.aclose()
    return came


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("policy", POLICIES)
@given(
    moves=st.lists(MOVES, max_size=6),
    catches=st.sampled_from(CATCHES),
    at_the_end=st.sampled_from(["ends", "raises"]),
)
def test_it_answers_as_the_bare_generator_does(backend, policy, moves, catches, at_the_end):
    """Whatever its consumer does, it gives, raises and ends as its source would by itself."""
    # The first move opens it. A bare generator that was not begun has nothing to answer for.
    moves = [("next", None), *moves]
    source = talker
    guarded = POLICIES[policy](source)

    async def main():
        bare = await conversation(source(*catches, at_the_end), moves)
        return bare, await conversation(guarded(*catches, at_the_end), moves)

    bare, found = virtual_time(main, backend=backend)
    assert found == bare


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_an_async_generator_function(policy):
    """`inspect` says what it says of the function that was decorated."""
    guarded = POLICIES[policy](talker)
    assert inspect.isasyncgenfunction(guarded)
    assert not inspect.iscoroutinefunction(guarded)
    assert inspect.signature(guarded) == inspect.signature(talker)
    assert type(guarded((), "yields", "ends")) is types.AsyncGeneratorType


@pytest.mark.parametrize("policy", POLICIES)
def test_a_context_manager_can_be_made_of_it(policy, run, sources):
    """`@asynccontextmanager` over it works: the body's error arrives inside and comes out again."""

    @asynccontextmanager
    @POLICIES[policy]
    async def session(name):
        try:
            yield name
        except Boom as error:
            seen.append(error)
            raise

    seen = []

    async def main():
        async with session("name") as found:
            assert found == "name"
        boom = Boom()
        with pytest.raises(Boom) as caught:
            async with session("name"):
                raise boom
        assert seen == [boom] == [caught.value]
        with pytest.raises(StopAsyncIteration):
            async with session("name"):
                raise StopAsyncIteration

    run(main)


def test_a_context_manager_is_tried_again_until_it_is_entered(run, sources):
    """A context manager over a guarded generator is retried while it is entered, not inside."""
    source = sources.source([ConnectionError], ["session"])
    session = asynccontextmanager(retry(backoff=[0])(source))

    async def main():
        async with session() as found:
            assert found == "session"
            raise ConnectionError

    with pytest.raises(ConnectionError):
        run(main)
    assert sources.ends == ["ConnectionError", "ConnectionError"]


def test_it_cannot_run_twice_at_a_time(run, sources):
    """A second `__anext__` while one waits is Python's own `RuntimeError`, and changes nothing."""
    stream = retry()(sources.source([2.0, "item"]))()

    async def impatient():
        await anyio.sleep(1)
        with pytest.raises(RuntimeError, match="already running"):
            await anext(stream)
        with pytest.raises(RuntimeError, match="already running"):
            await stream.aclose()

    async def main():
        async with anyio.create_task_group() as group, aclosing(stream):
            group.start_soon(impatient)
            assert await anext(stream) == "item"

    run(main)
    assert sources.calls == ["source"]


def test_one_that_was_not_begun_calls_nobody(run, sources, heard):
    """A stream that is closed or dropped before its first item has not asked its source."""
    guarded = stack(retry(), listeners=[heard])(sources.source(["item"]))

    async def main():
        await guarded().aclose()
        with pytest.raises(Boom):
            await guarded().athrow(Boom())
        guarded()

    run(main)
    assert (sources.calls, heard.events) == ([], [])


def test_one_that_does_not_want_to_be_closed_is_an_error(run):
    """A source that goes on after a `GeneratorExit` is a `RuntimeError`, as without a guard."""

    @retry
    async def stubborn():
        for number in range(2):
            with contextlib.suppress(GeneratorExit):
                yield number

    async def main():
        stream = stubborn()
        await anext(stream)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main)


def test_what_is_yielded_and_sent_is_not_kept(run):
    """Between two items neither the last item nor what was sent in is held by the guard."""

    class Item:
        pass

    @stack(timeout(9), retry())
    async def items():
        for _ in range(3):
            yield Item()

    async def main():
        async with aclosing(items()) as stream:
            first = weakref.ref(await anext(stream))
            sent = Item()
            second = weakref.ref(await stream.asend(sent))
            sent = weakref.ref(sent)
            await anext(stream)
            gc.collect()
            assert (first(), second(), sent()) == (None, None, None)

    run(main)
