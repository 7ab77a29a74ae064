"""What a stream says while it goes on: one attempt, from its first item asked for to its end."""

from __future__ import annotations

from contextlib import aclosing, suppress

import anyio
import pytest

from resilient import current_call, fallback, retry, stack, timeout, value
from resilient._runtime.clock import now
from resilient._runtime.listeners import process
from resilient.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    StreamCommitted,
    StreamCut,
)

CALL = ["CallStarted", "AttemptStarted"]
END = ["AttemptEnded", "CallEnded"]


@pytest.fixture
def told(heard, sources, timed, run):
    """Return a function that reads a stream and returns the names of its events."""

    def tells(*scripts, policy, busy=0):
        guarded = stack(policy, listeners=[heard])(sources.source(*scripts))
        run(lambda: timed(guarded(), busy=busy))
        return heard.names

    return tells


def the_attempt(heard):
    """Return the one attempt that ended."""
    (ended,) = heard.of(AttemptEnded)
    return ended


def the_call(heard):
    """Return how the one call ended."""
    (ended,) = heard.of(CallEnded)
    return ended


def test_a_stream_that_ends(told, heard):
    """An attempt lasts to the last item; its time to the first one is told, and the items."""
    names = told([1.0, "a", 2.0, "b"], policy=retry(), busy=4)
    assert names == [*CALL, "StreamCommitted", *END]
    (committed,) = heard.of(StreamCommitted)
    assert (committed.at, committed.number, committed.after) == (1, 1, 1)
    attempt, call = the_attempt(heard), the_call(heard)
    assert (attempt.verdict, attempt.disposition, attempt.error) == ("success", "returned", None)
    assert (attempt.started, attempt.ended, attempt.first_item) == (0, 11, 1)
    assert (call.outcome, call.items, call.attempts) == ("success", 2, 1)
    assert call.retry_result == "first_try"


def test_a_stream_without_items(told, heard):
    """An empty stream is a success that has committed to nothing."""
    assert told([1.0], policy=retry()) == [*CALL, *END]
    assert the_attempt(heard).first_item is None
    assert (the_call(heard).outcome, the_call(heard).items) == ("success", 0)


def test_a_stream_that_is_cut(told, heard):
    """A failure after the commit is a cut, the end of the attempt and of the call."""
    names = told([1.0, "a", 2.0, "b", 3.0, ConnectionError], policy=retry())
    assert names == [*CALL, "StreamCommitted", "StreamCut", *END]
    (cut,) = heard.of(StreamCut)
    assert (cut.at, cut.number, cut.items, type(cut.error)) == (6, 1, 2, ConnectionError)
    attempt, call = the_attempt(heard), the_call(heard)
    assert (attempt.verdict, attempt.disposition) == ("failure", "raised")
    assert (attempt.error, attempt.ended, attempt.first_item) == (cut.error, 6, 1)
    assert (call.outcome, call.items, call.error) == ("failure", 2, cut.error)
    assert call.retry_result == "not_retryable"


def test_a_stream_that_stalls(told, heard):
    """A limit that cuts a stream is said before the cut."""
    names = told(["a", 9.0, "b"], policy=timeout(60, between_items=2))
    assert names == [*CALL, "StreamCommitted", "TimeoutFired", "StreamCut", *END]
    assert the_attempt(heard).timeout_limit == "between_items"
    assert the_attempt(heard).timeout == 2


def test_a_stream_that_fails_before_its_first_item(told, heard):
    """Until the commit the events are those of any call."""
    names = told([1.0, ConnectionError], [1.0, "a"], policy=retry(backoff=[1]))
    assert names == [
        *CALL,
        "AttemptEnded",
        "RetryScheduled",
        "AttemptStarted",
        "StreamCommitted",
        *END,
    ]
    first, second = heard.of(AttemptEnded)
    assert (first.disposition, first.first_item, first.ended) == ("retried", None, 1)
    assert (second.disposition, second.first_item, second.started) == ("returned", 1, 2)
    assert [one.kind for one in heard.of(AttemptStarted)] == ["initial", "retry"]
    assert the_call(heard).retry_result == "recovered"


def test_a_first_item_that_is_bad(told, heard):
    """`on_result` judges the first item: a bad one is a failure before the commit."""
    policy = retry(backoff=[1], on_result=lambda item: item == "bad")
    names = told(["bad", "x"], ["good", "bad"], policy=policy)
    assert names.count("StreamCommitted") == 1
    first, second = heard.of(AttemptEnded)
    assert (first.disposition, first.unacceptable, first.first_item) == ("retried", True, None)
    assert (second.disposition, second.unacceptable, second.first_item) == ("returned", False, 0)
    assert the_call(heard).items == 2


def test_the_last_bad_stream_is_given(told, heard, sources):
    """When the attempts are used up, the last stream is given as it is, and is a failure."""
    policy = retry(attempts=2, backoff=[1], on_result=lambda item: item == "bad")
    names = told(["bad", "x"], policy=policy)
    assert names[-3:] == ["StreamCommitted", *END]
    last = heard.of(AttemptEnded)[-1]
    assert (last.verdict, last.disposition, last.unacceptable) == ("failure", "returned", True)
    assert (the_call(heard).outcome, the_call(heard).items) == ("failure", 2)
    assert sources.ends == ["GeneratorExit", "ended"]


def test_a_stream_without_items_has_nothing_to_judge(told, heard):
    """`on_result` is not asked about an empty stream."""
    policy = retry(attempts=2, backoff=[1], on_result=lambda item: True)
    assert told([], policy=policy) == [*CALL, *END]
    assert the_call(heard).outcome == "success"


def test_a_degraded_stream(told, heard):
    """The last resort is the one item of its stream, which no attempt gave."""
    names = told([ConnectionError], policy=fallback(degrade=value("sorry")))
    assert names == [*CALL, "AttemptEnded", "Degraded", "CallEnded"]
    assert (the_call(heard).outcome, the_call(heard).items) == ("degraded", 1)


@pytest.mark.parametrize("how", ["closed", "thrown in", "thrown in and swallowed", "cancelled"])
def test_what_the_consumer_does_is_no_failure(run, sources, heard, how):
    """An early close, a thrown-in error and a cancellation are neutral, and no error is told."""

    @stack(retry(), listeners=[heard])
    async def source():
        with suppress(KeyError if how == "thrown in and swallowed" else BufferError):
            yield 1
            await anyio.sleep(9)
            yield 2

    async def main():
        async with aclosing(source()) as stream:
            await anext(stream)
            if how == "cancelled":
                with anyio.move_on_after(1):
                    await anext(stream)
            elif how == "thrown in":
                with pytest.raises(KeyError):
                    await stream.athrow(KeyError())
            elif how == "thrown in and swallowed":
                with pytest.raises(StopAsyncIteration):
                    await stream.athrow(KeyError())

    run(main)
    assert heard.names == [*CALL, "StreamCommitted", *END]
    attempt, call = the_attempt(heard), the_call(heard)
    if how == "thrown in and swallowed":  # the source has ended, as it chose to
        assert (attempt.verdict, attempt.disposition, call.outcome) == (
            "success",
            "returned",
            "success",
        )
    else:
        assert (attempt.verdict, attempt.disposition, call.outcome) == (
            "neutral",
            "cancelled",
            "cancelled",
        )
    assert not isinstance(attempt.error, Exception)
    assert not isinstance(call.error, Exception)
    assert call.items == 1
    assert call.retry_result == ("first_try" if call.outcome == "success" else "cancelled")


def test_what_the_source_makes_of_a_thrown_in_error_is_its_own(run, heard):
    """An error that the source raises in answer to one that was thrown in is a failure."""

    @stack(retry(), listeners=[heard])
    async def source():
        try:
            yield 1
        except KeyError:
            raise ConnectionError from None

    async def main():
        stream = source()
        await anext(stream)
        with pytest.raises(ConnectionError):
            await stream.athrow(KeyError())

    run(main)
    assert the_attempt(heard).verdict == "failure"
    assert len(heard.of(StreamCut)) == 1


def test_who_only_hears_of_failures_hears_of_a_cut(run, sources, heard, read, monkeypatch):
    """A stream that nobody listens to makes no event until it is cut."""
    monkeypatch.setattr(process, "loud", ())
    monkeypatch.setattr(process, "watch", None)
    monkeypatch.setattr(process, "quiet", (heard,))
    source = sources.source([1, 2], [1, 2, ConnectionError])
    guarded = stack(timeout(9), retry())(source)

    async def main():
        await read(guarded())
        assert heard.events == []
        await read(guarded())

    run(main)
    assert heard.names == ["StreamCut", *END]
    assert heard.of(StreamCut)[0].items == 2
    assert the_call(heard).items == 2


class Hooked:
    """A listener that makes something current while the source works, as spans are."""

    def __init__(self) -> None:
        self.story = []

    def on_event(self, event, call) -> None:
        if isinstance(event, AttemptStarted):
            self.story.append(f"enter {event.number}")
            call.leave_attempt = lambda: self.story.append(f"leave {event.number}")
            call.enter_item = lambda: self.entered(event.number)

    def entered(self, number):
        self.story.append(f"enter {number}")
        return lambda: self.story.append(f"leave {number}")


def test_what_a_listener_makes_current_is_so_for_the_source_alone(run, sources, read):
    """It enters and leaves around each item, in pairs, and not to close a stream."""
    hooked = Hooked()

    @stack(retry(backoff=[0]), listeners=[hooked])
    async def source():
        hooked.story.append("works")
        if hooked.story.count("works") == 1:
            raise ConnectionError
        try:
            yield 1
            hooked.story.append("works")
            yield 2
        except KeyError:
            hooked.story.append("caught")
            yield 3
        finally:
            hooked.story.append("closes")

    async def main():
        stream = source()
        for _ in range(2):
            await anext(stream)
            hooked.story.append("consumed")
        await stream.athrow(KeyError())
        await stream.aclose()

    run(main)
    item = ["enter 2", "works", "leave 2", "consumed"]
    first = ["enter 1", "works", "leave 1"]
    assert hooked.story == [*first, *item, *item, "enter 2", "caught", "leave 2", "closes"]


def test_a_hook_is_for_the_attempt_that_set_it(run, sources, read):
    """What a listener sets for the items of an attempt is gone when the next one starts."""
    hooked = Hooked()

    class Once(Hooked):
        def on_event(self, event, call):
            if not isinstance(event, AttemptStarted) or event.number == 1:
                hooked.on_event(event, call)

    other = sources.source([2, 3])
    guarded = stack(fallback(to=[other], midstream="restart"), listeners=[Once()])(
        sources.source([1, ConnectionError])
    )

    async def main():
        return await read(guarded())

    items, error = run(main)
    assert (len(items), error) == (4, None)
    assert hooked.story == ["enter 1", "leave 1", "enter 1", "leave 1"]


def test_the_call_is_current_for_the_source_alone(run):
    """`current_call()` is the stream's inside, also what runs in other tasks; never outside."""
    inside = []

    @retry
    async def source():
        while True:
            inside.append(current_call())
            yield len(inside)

    async def main():
        async with aclosing(source()) as stream:
            async with aclosing(source()) as other:
                for _ in range(2):
                    await anext(stream)
                    assert current_call() is None
                    await anext(other)
                    assert current_call() is None
            async with anyio.create_task_group() as group:
                group.start_soon(stream.__anext__)

    run(main)
    assert len({id(call) for call in inside}) == 2
    assert inside[0] is inside[2] is inside[4]
    assert inside[1] is inside[3]


def test_a_stream_in_a_call_has_that_call_for_its_parent(run):
    """A stream that a guarded function reads is inside it; what it reads itself is inside of it."""
    seen = []

    @retry
    async def inner():
        seen.append(current_call())
        yield 1

    @retry
    async def outer():
        seen.append(current_call())
        async for item in inner():
            assert current_call() is seen[-2]
            yield item

    @retry
    async def reads():
        seen.append(current_call())
        return [item async for item in outer()]

    assert run(reads) == [1]
    reader, middle, last = seen
    assert (last.parent, middle.parent, reader.parent) == (middle, reader, None)


def test_starts_and_ends_are_instants_of_the_stream(run, sources, heard):
    """A stream begins when its first item is asked for, not when it is made."""
    guarded = stack(retry(), listeners=[heard])(sources.source([1.0, 1]))

    async def main():
        stream = guarded()
        await anyio.sleep(5)
        async for _ in stream:
            await anyio.sleep(1)
        assert now() == 7

    run(main)
    assert [event.at for event in heard.events] == [5, 5, 6, 7, 7]
    assert isinstance(heard.events[0], CallStarted)
