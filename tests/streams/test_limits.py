"""`timeout` on a stream: its first item, each further one, and all of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Target,
    TimedOut,
    current_call,
    remaining,
    retry,
    stack,
    timeout,
)
from resilient._runtime.clock import now
from resilient.events import AttemptEnded, StreamCut, TimeoutFired, TimeoutOverrun
from resilient.testing import FailureSchedule, Stubborn, simulate, virtual_time


def kinds(found):
    """Return items and instants, and of an error its limit."""
    return [(getattr(item, "limit", item), at) for item, at in found]


# script, consumer's seconds for each item, what comes out
ROWS = {
    "the first item in time": (timeout(first_item=5), [4.0, 1, 99.0, 2], 0, [(1, 4), (2, 103)]),
    "the first item late": (timeout(first_item=5), [6.0, 1], 0, [("first_item", 5)]),
    "no item at all in time": (timeout(first_item=5), [6.0], 0, [("first_item", 5)]),
    "each further item in time": (
        timeout(between_items=2),
        [60.0, 1, 1.5, 2, 1.5, 3, 1.5],
        0,
        [(1, 60), (2, 61.5), (3, 63)],
    ),
    "a stall between two items": (
        timeout(between_items=2),
        [1, 1.0, 2, 3.0, 3],
        0,
        [(1, 0), (2, 1), ("between_items", 3)],
    ),
    "a stall before the end": (
        timeout(between_items=2),
        [1, 3.0],
        0,
        [(1, 0), ("between_items", 2)],
    ),
    "a slow consumer is no stall": (
        timeout(first_item=1, between_items=2),
        [1, 1.0, 2, 1.0, 3],
        60,
        [(1, 0), (2, 61), (3, 122)],
    ),
    "the whole in time": (timeout(5), [1, 2.0, 2, 2.0, 3], 0, [(1, 0), (2, 2), (3, 4)]),
    "the whole late": (timeout(5), [1, 2.0, 2, 4.0, 3], 0, [(1, 0), (2, 2), ("attempt", 5)]),
    "the whole late before the first item": (timeout(5), [6.0, 1], 0, [("attempt", 5)]),
    "a slow consumer counts for the whole": (
        timeout(5),
        [1, 1.0, 2, 1.0, 3],
        3,
        [(1, 0), (2, 4), ("attempt", 7)],
    ),
    "a slow consumer, and items that wait for it": (
        timeout(5),
        [1, 2, 3, 4],
        3,
        [(1, 0), (2, 3), ("attempt", 6)],
    ),
    "the whole is over exactly when the next item is asked for": (
        timeout(6),
        [1, 2, 3],
        3,
        [(1, 0), (2, 3), ("attempt", 6)],
    ),
    "all three": (
        timeout(10, first_item=3, between_items=4),
        [2.0, 1, 3.5, 2, 3.5, 3, 3.5, 4],
        0,
        [(1, 2), (2, 5.5), (3, 9), ("attempt", 10)],
    ),
    "a total around a retry": (
        stack(timeout(5), retry()),
        [1, 6.0, 2],
        0,
        [(1, 0), ("total", 5)],
    ),
    "the nearest of several": (
        stack(timeout(50, between_items=3), timeout(20, between_items=9), timeout(15)),
        [1, 2.0, 2, 4.0, 3],
        0,
        [(1, 0), (2, 2), ("between_items", 5)],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_limits(run, sources, timed, row):
    """Items come at their instants, and a limit cuts at its own."""
    policy, script, busy, expected = ROWS[row]
    guarded = policy(sources.source(script))

    async def main():
        return kinds(await timed(guarded(), busy=busy))

    assert run(main) == expected


def test_the_error_says_which_limit_it_was(run, sources, timed):
    """`TimedOut` has the seconds and the name of its limit; it is a `TimeoutError`."""
    guarded = timeout(30, between_items=2)(sources.source([1, 3.0]))

    async def main():
        return (await timed(guarded()))[-1][0]

    error = run(main)
    assert isinstance(error, TimeoutError)
    assert (error.after, error.limit) == (2, "between_items")
    assert str(error) == "timed out after 2 s (limit between two items)"


def test_the_source_is_cancelled_and_cleans_up_first(run, timed):
    """When the error comes out, the source has unwound; what it raises meanwhile is its context."""
    story = []

    @timeout(between_items=2)
    async def source():
        try:
            yield 1
            await anyio.sleep(60)
        finally:
            story.append(now())
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            story.append(now())

    async def main():
        return kinds(await timed(source()))

    assert run(main) == [(1, 0), ("between_items", 2.5)]
    assert story == [2, 2.5]


def test_a_source_that_is_over_while_its_consumer_was_busy_is_closed(run, sources, timed, heard):
    """Nobody is interrupted when a total has passed between two items: the source is closed."""
    guarded = stack(timeout(5), listeners=[heard])(sources.source([1, 2]))

    async def main():
        return kinds(await timed(guarded(), busy=6))

    assert run(main) == [(1, 0), ("attempt", 6)]
    assert sources.ends == ["GeneratorExit"]
    assert [event.limit for event in heard.of(TimeoutFired)] == ["attempt"]
    assert [event.items for event in heard.of(StreamCut)] == [1]


@pytest.mark.parametrize("limits", [{"between_items": 2}, {"first_item": 2}])
def test_a_cancellation_that_is_taken_for_the_end_is_no_end(run, timed, limits):
    """A source that ends because our limit has cancelled it was cut: never a short success."""

    @timeout(60, **limits)
    async def source():
        if "between_items" in limits:
            yield 1
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep(9)
        return
        yield

    async def main():
        return kinds(await timed(source()))

    (limit,) = limits
    assert run(main) == [(1, 0), (limit, 2)][-1 if limit == "first_item" else 0 :]


def test_an_item_that_comes_late_all_the_same_is_given(run, timed, heard):
    """A source that swallows our cancellation has its item given, and the overrun is told."""

    @stack(timeout(between_items=2), listeners=[heard])
    async def source():
        yield 1
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep(9)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        yield 2
        yield 3

    async def main():
        return kinds(await timed(source()))

    assert run(main) == [(1, 0), (2, 3), (3, 3)]
    (late,) = heard.of(TimeoutOverrun)
    assert (late.limit, late.after, late.overrun) == ("between_items", 2, 1)
    assert heard.of(TimeoutFired) == []


def test_a_timeout_of_the_source_passes_through(run, sources, read):
    """A foreign `TimeoutError` between two items is the source's own."""
    error = TimeoutError("mine")
    guarded = timeout(60, between_items=9)(sources.source([1, error]))

    async def main():
        return await read(guarded())

    assert run(main) == ([1], error)


def test_remaining_inside_is_the_nearest_limit(run):
    """While the source works it is told how long it may; while the consumer does, nothing is."""
    told = []

    @stack(timeout(60), timeout(30, first_item=5, between_items=2))
    async def source():
        for _ in range(2):
            told.append(remaining())
            await anyio.sleep(1)
            told.append(remaining())
            yield

    async def main():
        async for _ in source():
            assert (remaining(), current_call()) == (float("inf"), None)
            await anyio.sleep(12)

    run(main)
    assert told == [5, 4, 2, 1]


def test_what_is_thrown_in_arrives_when_the_time_is_over(run):
    """An error of the consumer is not replaced by the limit that it has missed."""
    caught = []

    @asynccontextmanager
    @timeout(5)
    async def session():
        try:
            yield "session"
        except KeyError as error:
            caught.append(error)
            await anyio.sleep(1)
            raise

    async def main():
        async with session():
            await anyio.sleep(6)
            raise KeyError

    with pytest.raises(KeyError):
        run(main)
    assert len(caught) == 1


def test_remaining_inside_respects_a_total_that_is_near(run):
    """What is left of the whole counts on while the consumer is busy."""
    told = []

    @timeout(30, between_items=20)
    async def source():
        while True:
            told.append(remaining())
            yield

    async def main():
        async with aclosing(source()) as stream:
            for _ in range(4):
                await anext(stream)
                await anyio.sleep(8)

    run(main)
    assert told == [30, 20, 14, 6]


def test_the_limits_of_the_consumer_count_inside(run):
    """A limit around the consumer, wherever the stream was made, is told to the source."""
    told = []

    @retry
    async def source():
        while True:
            told.append(remaining())
            yield

    @timeout(9)
    async def consumer(stream):
        await anext(stream)
        await anyio.sleep(4)
        await anext(stream)

    async def main():
        async with aclosing(source()) as stream:
            await anext(stream)
            await consumer(stream)
            await anext(stream)

    run(main)
    assert told == [float("inf"), 9, 5, float("inf")]


def test_the_caller_wins_over_a_limit_at_the_same_instant(run, sources):
    """A caller who cancels when the limit strikes gets the cancellation."""
    guarded = timeout(between_items=2)(sources.source([1, 9.0, 2]))

    async def main():
        async with aclosing(guarded()) as stream:
            with anyio.move_on_after(2) as scope:
                async for _ in stream:
                    pass
        return scope.cancelled_caught

    assert run(main)


def test_following_awaits_work(run, sources, timed):
    """After a limit of a stream the task is as it was."""
    guarded = timeout(between_items=2)(sources.source([1, 9.0, 2]))

    async def main():
        await timed(guarded())
        if run.backend == "asyncio":
            assert asyncio.current_task().cancelling() == 0
        await anyio.sleep(1)
        return kinds(await timed(guarded()))

    assert run(main) == [(1, 3), ("between_items", 5)]


def test_each_item_may_be_asked_for_by_another_task(run, sources):
    """A limit cancels the task that waits, not the one that began."""
    guarded = timeout(60, between_items=2)(sources.source([1, 1.0, 2, 9.0, 3]))

    async def main():
        found = []
        stream = guarded()

        async def one():
            try:
                found.append(await anext(stream))
            except TimedOut as error:
                found.append(error.limit)

        for _ in range(3):
            async with anyio.create_task_group() as group:
                group.start_soon(one)
        return found

    assert run(main) == [1, 2, "between_items"]


def test_an_attempt_that_is_late_is_tried_again_until_the_first_item(run, sources, timed, heard):
    """`first_item` inside a retry is a failure of the attempt; `between_items` is the end."""
    guarded = stack(
        retry(attempts=3, backoff=[1]),
        timeout(60, first_item=5, between_items=2),
        listeners=[heard],
    )(sources.source([6.0, 1], [1.0, 1, 3.0]))

    async def main():
        return kinds(await timed(guarded()))

    assert run(main) == [(1, 7), ("between_items", 9)]
    assert [(one.disposition, one.timeout_limit) for one in heard.of(AttemptEnded)] == [
        ("retried", "first_item"),
        ("raised", "between_items"),
    ]


def test_a_slow_clean_up_is_cut_by_the_limit_outside(run, timed):
    """A limit outside ends the clean-up that the one inside has caused, as it does for a call."""

    @stack(timeout(5), timeout(between_items=2))
    async def source():
        yield 1
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            await anyio.sleep(60)
            raise

    async def main():
        return kinds(await timed(source()))

    # On asyncio the one outside waits a second for the one inside; on trio a
    # scope that is cancelled stays cancelled.
    expected = {"asyncio": ("attempt", 6), "trio": ("between_items", 2)}
    assert run(main) == [(1, 0), expected[run.backend]]


def test_many_items_arm_one_timer(sources):
    """The limit of the whole stream costs the loop one timer, however many items come."""
    guarded = timeout(60)(sources.source(range(100)))

    async def main():
        loop = asyncio.get_running_loop()
        seen = set()
        async for _ in guarded():
            seen |= {id(timer) for timer in loop._scheduled if not timer.cancelled()}
        # That of the run itself, that of the opening (which the next stream uses), and one.
        assert len(seen) == 3
        assert sum(not timer.cancelled() for timer in loop._scheduled) == 2

    virtual_time(main)


def test_limits_that_were_outlasted_keep_nothing():
    """A source that swallows two limits and a cancellation leaves no circle behind them."""

    async def stubborn(question):
        yield "never asked"

    async def other(question):
        yield "never asked"

    # A limit at 5 s, and one at 30 s that waits for the first and is sent all the same.
    chain = FallbackManager(
        [Target("a", timeout(5)(stubborn)), Target("b", other)], deadline=60, midstream="restart"
    )
    schedule = FailureSchedule([Stubborn(59.75)], cancel_at=1, cancel="task", pause=1)
    run = simulate(chain, schedule).check(only="no_cycles")
    assert (run.tries, len(run.calls)) == (1, 1)
    assert isinstance(run.error, AllTargetsFailed)
