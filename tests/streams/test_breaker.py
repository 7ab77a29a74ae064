"""A circuit breaker around a stream: it learns how the stream ends, and nothing before that."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import anyio
import pytest

from resilient import (
    CircuitOpen,
    FallbackManager,
    Restarted,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    fallback,
    retry,
    stack,
    timeout,
)
from resilient.events import AttemptEnded, AttemptStarted, BreakerChanged, StreamCut


def breaker(**options):
    """Return a breaker that opens at the first failure, for 10 s."""
    return circuit_breaker("streams", trip=consecutive(1), open_for=10, **options)


def figures(handle=None):
    """Return what the breaker holds: calls and failures."""
    found = (handle or circuit_breaker("streams")).snapshot()
    return found.state, found.calls, found.failures


def counting():
    """Return a breaker that never opens here, and counts."""
    return circuit_breaker("streams", trip=count_window(100, min_calls=100))


LATER = {
    "ended": (["a", "b"], "success"),
    "empty": ([], "success"),
    "failed": ([ConnectionError], "failure"),
    "cut": (["a", ConnectionError], "failure"),
    "stalled": (["a", 99.0], "failure"),
    "late": ([99.0], "failure"),
    "not found": (["a", FileNotFoundError], "neutral"),
}


@pytest.mark.parametrize("loud", [False, True], ids=["unheard", "heard"])
@pytest.mark.parametrize("fate", LATER)
def test_it_learns_how_a_stream_ends(run, sources, read, heard, fate, loud):
    """A normal end is a success, an error of the source a failure, before or after its items."""
    script, learned = LATER[fate]
    limits = timeout(9, between_items=2)
    guarded = stack(counting(), limits, listeners=[heard] if loud else [])(sources.source(script))

    async def main():
        await read(guarded())
        return figures()

    expected = {"success": (1, 0), "failure": (1, 1), "neutral": (0, 0)}
    assert run(main) == ("closed", *expected[learned])


def test_it_learns_nothing_before_the_end(run, sources):
    """While items pass, the permit is out and nothing is counted."""
    guarded = counting()(sources.source(["a", "b"]))

    async def main():
        return [figures()[1] async for _ in guarded()], figures()[1]

    assert run(main) == ([0, 0], 1)


@pytest.mark.parametrize("how", ["closed", "cancelled", "thrown in", "limit outside"])
def test_what_says_nothing_of_the_source_teaches_nothing(run, sources, read, how):
    """An early close, a cancellation, a thrown-in error and a limit outside are neutral."""
    policies = stack(timeout(20), counting()) if how == "limit outside" else counting()
    guarded = policies(sources.source(["a", 99.0, "b"]))

    async def main():
        if how == "limit outside":
            assert type((await read(guarded()))[1]).__name__ == "TimedOut"
        else:
            stream = guarded()
            await anext(stream)
            if how == "closed":
                await stream.aclose()
            elif how == "cancelled":
                with anyio.move_on_after(1):
                    await anext(stream)
            else:
                with pytest.raises(ConnectionError):
                    await stream.athrow(ConnectionError())
        return figures()

    assert run(main) == ("closed", 0, 0)


def test_a_cut_stream_opens_the_circuit_and_the_next_is_refused(run, sources, read, heard):
    """A failure after the commit counts as any; then nobody is asked."""
    guarded = stack(breaker(), listeners=[heard])(sources.source(["a", ConnectionError]))

    async def main():
        first = await read(guarded())
        return first, await read(guarded())

    (items, error), (nothing, refusal) = run(main)
    assert (items, type(error)) == (["a"], ConnectionError)
    assert (nothing, type(refusal), refusal.retry_after) == ([], CircuitOpen, 10)
    assert sources.calls == ["source"]
    told = [name for name in heard.names if name in {"StreamCut", "BreakerChanged", "AttemptEnded"}]
    # The circuit opens in the attempt that opened it.
    assert told == ["StreamCut", "BreakerChanged", "AttemptEnded"]
    assert heard.of(AttemptStarted)[0].breaker == "streams"
    assert heard.of(AttemptStarted)[0].breaker_state == "closed"


def test_a_stream_is_a_probe_until_it_ends(run, sources, read):
    """Half-open, a stream keeps its place while it goes on; its end closes the circuit."""
    guarded = breaker()(sources.source([ConnectionError], ["a", 3.0, "b"], ["c"]))

    async def main():
        await read(guarded())
        await anyio.sleep(10)
        async with aclosing(guarded()) as probe:
            assert await anext(probe) == "a"
            assert figures()[0] == "half_open"
            assert type((await read(guarded()))[1]) is CircuitOpen
            assert [item async for item in probe] == ["b"]
        assert figures()[0] == "closed"
        return await read(guarded())

    assert run(main) == (["c"], None)


def test_a_probe_that_is_closed_early_gives_its_place_back(run, sources, read):
    """An early close decides nothing: the next stream is the probe."""
    guarded = breaker()(sources.source([ConnectionError], ["a", "b"], ["c"]))

    async def main():
        await read(guarded())
        await anyio.sleep(10)
        stream = guarded()
        await anext(stream)
        await stream.aclose()
        assert figures()[0] == "half_open"
        assert await read(guarded()) == (["c"], None)
        return figures()[0]

    assert run(main) == "closed"


def test_a_probe_that_is_cut_opens_it_again(run, sources, read):
    """A probe that fails after its first item has failed."""
    guarded = breaker()(sources.source([ConnectionError], ["a", ConnectionError]))

    async def main():
        await read(guarded())
        await anyio.sleep(10)
        items, _ = await read(guarded())
        return items, figures()[0]

    assert run(main) == (["a"], "open")


def test_a_probe_that_goes_on_for_too_long_gives_its_place_back(run, sources, read):
    """After `probe_timeout` the place is free, and the late end changes nothing."""
    guarded = breaker(probe_timeout=5)(
        sources.source([ConnectionError], ["a", 9.0, ConnectionError], ["c"])
    )

    async def main():
        await read(guarded())
        await anyio.sleep(10)
        async with aclosing(guarded()) as slow:
            await anext(slow)
            await anyio.sleep(6)
            assert await read(guarded()) == (["c"], None)
            assert figures()[0] == "closed"
            with pytest.raises(ConnectionError):
                await anext(slow)
        return figures()

    assert run(main) == ("closed", 0, 0)


def test_a_bad_first_item_is_a_failure_at_once(run, sources, read):
    """`on_result` judges the first item; the stream goes on, and its end is no second lesson."""
    policy = circuit_breaker(
        "streams", trip=count_window(9, min_calls=9), on_result=lambda item: item == "bad"
    )
    guarded = policy(sources.source(["bad", "b"], ["good", "bad"]))

    async def main():
        seen = [figures()[1:] async for _ in guarded()]
        seen.append(figures()[1:])
        await read(guarded())
        return [*seen, figures()[1:]]

    assert run(main) == [(1, 1), (1, 1), (1, 1), (2, 1)]


def test_a_stream_is_slow_when_its_first_item_is(run, sources, read):
    """`slow_call` measures the time to the first item, which is the service's own."""
    trip = count_window(9, min_calls=9, slow_call=2, slow_rate=0.5)
    guarded = circuit_breaker("streams", trip=trip)(
        sources.source([1.0, "a", 60.0, "b"], [3.0, "a"])
    )

    async def main():
        seen = []
        for _ in range(2):
            async with aclosing(guarded()) as stream:
                async for _item in stream:
                    await anyio.sleep(60)
            seen.append(circuit_breaker("streams").snapshot().slow)
        return seen

    assert run(main) == [0, 1]


def test_it_counts_attempts_inside_a_retry(run, sources, read, heard):
    """Each opening that fails is a failure of its own."""
    guarded = stack(retry(attempts=3, backoff=[1]), counting())(
        sources.source([ConnectionError], [ConnectionError], ["a"])
    )

    async def main():
        found = await read(guarded())
        return found, figures()

    assert run(main) == ((["a"], None), ("closed", 3, 2))


def test_a_bad_item_that_a_retry_rejects_is_no_news(run, sources, read):
    """What the retry around it judges bad was closed, so the breaker inside has learned nothing."""
    policy = retry(attempts=2, backoff=[1], on_result=lambda item: item == "bad")
    guarded = stack(policy, counting())(sources.source(["bad"], ["good"]))

    async def main():
        found = await read(guarded())
        return found, figures()

    assert run(main) == ((["good"], None), ("closed", 1, 0))


def test_each_target_has_its_own(run, sources, read):
    """With restarts each target's breaker learns of its own stream; an open one is skipped."""
    manager = FallbackManager(
        [
            Target(name, sources.source(script, name=name), policies=policy)
            for name, script, policy in (
                ("a", ["a", ConnectionError], circuit_breaker("a", trip=consecutive(1))),
                ("b", ["b", ConnectionError], circuit_breaker("b", trip=consecutive(2))),
                ("c", ["c"], circuit_breaker("c", trip=consecutive(1))),
            )
        ],
        midstream="restart",
    )

    async def items():
        async with manager.stream() as stream:
            async for item in stream:
                yield item
        outcomes.append(stream.outcome)

    outcomes = []

    async def main():
        first = await read(items())
        states = [circuit_breaker(name).snapshot() for name in "abc"]
        second = await read(items())
        return first, second, [(one.state, one.failures) for one in states]

    first, second, states = run(main)
    assert first == (["a", Restarted("a", "b", 1), "b", Restarted("b", "c", 1), "c"], None)
    assert second == (["b", Restarted("b", "c", 1), "c"], None)
    assert states == [("open", 0), ("closed", 1), ("closed", 0)]
    assert [skip.reason for skip in outcomes[1].skipped] == ["breaker_open"]


def test_a_breaker_outside_of_a_restart_sees_one_stream(run, sources, read):
    """Around a fallback that restarts it learns how the whole ended."""
    restarts = fallback(to=[sources.source(["b"])], midstream="restart")
    guarded = stack(counting(), restarts)(sources.source(["a", ConnectionError]))

    async def main():
        items, error = await read(guarded())
        return len(items), error, figures()

    assert run(main) == (3, None, ("closed", 1, 0))


def test_a_predicate_that_fails_fails_the_stream(run, sources, read, heard):
    """The error of a user's predicate takes the place of the source's, for all further outside."""

    def broken(error):
        raise KeyError

    inner = circuit_breaker("inner", trip=consecutive(1), on=broken)
    outer = circuit_breaker("outer", trip=consecutive(1), on=KeyError)
    guarded = stack(outer, inner, listeners=[heard])(sources.source(["a", ConnectionError]))

    async def main():
        found = await read(guarded())
        return found, figures(inner)[0], figures(outer)[0]

    (items, error), inside, outside = run(main)
    assert (items, type(error)) == (["a"], KeyError)
    assert (inside, outside) == ("closed", "open")
    assert type(heard.events[-1].error) is KeyError
    assert len(heard.of(StreamCut)) == 1
    assert len(heard.of(AttemptEnded)) == 1


def test_an_observer_refuses_nothing(run, sources, read, heard):
    """`mode="observe"` lets every stream pass and says what it would have done."""
    policy = breaker(mode="observe")
    guarded = stack(policy, listeners=[heard])(sources.source(["a", ConnectionError], ["b"]))

    async def main():
        await read(guarded())
        return await read(guarded())

    assert run(main) == (["b"], None)
    assert [event.enforced for event in heard.of(BreakerChanged)] == [False]


def test_a_circuit_for_each_key(run, sources, read):
    """`key=` finds the circuit in the arguments of the stream."""
    source = sources.source(["a", ConnectionError], ["b"])

    @circuit_breaker("streams", trip=consecutive(1), key="shard")
    async def items(shard):
        async for item in source():
            yield item

    async def main():
        await read(items(1))
        return await read(items(2)), type((await read(items(1)))[1])

    assert run(main) == ((["b"], None), CircuitOpen)


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
def test_permits_come_back_from_many_streams_that_are_cancelled(run, sources, native):
    """A hundred probes cancelled between two items leave every place free."""
    if native and run.backend == "trio":
        return
    guarded = breaker(probes=100, successes=1)(sources.source([ConnectionError], ["a", 99.0]))

    async def consume():
        async with aclosing(guarded()) as stream:
            async for _ in stream:
                await anyio.sleep_forever()

    async def main():
        with suppress(ConnectionError):
            await consume()
        await anyio.sleep(10)
        if native:
            tasks = [asyncio.ensure_future(consume()) for _ in range(100)]
            await anyio.sleep(1)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        else:
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(consume)
                await anyio.sleep(1)
                group.cancel_scope.cancel()
        assert figures()[0] == "half_open"
        streams = [guarded() for _ in range(101)]
        for stream in streams[:100]:
            await anext(stream)
        with pytest.raises(CircuitOpen):
            await anext(streams[100])
        for stream in streams[:100]:
            await stream.aclose()

    run(main)
    assert sources.ends.count("GeneratorExit") == 200
