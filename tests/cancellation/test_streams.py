"""A consumer of a stream interrupted at each of its awaits, inside the source and between items.

As for calls: the interruption comes out as it is, nobody is asked after it,
each source that began is closed, every attempt and the call have their end.
"""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from opentelemetry import trace

from resilient import (
    FallbackManager,
    Target,
    circuit_breaker,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient._runtime.clock import now
from resilient.testing import Ok, cancel_at_every_await, capture_spans
from resilient.testing._record import TargetCall


class Exit(BaseException):
    """Nothing that any policy may handle."""


@pytest.fixture(
    params=[
        ("asyncio", "scope"),
        ("asyncio", "task"),
        ("trio", "scope"),
        *((backend, kind) for backend in ("asyncio", "trio") for kind in (KeyboardInterrupt, Exit)),
    ],
    ids=lambda one: f"{one[0]}-{getattr(one[1], '__name__', one[1])}",
)
def interruption(request):
    """Return a backend and a way to interrupt there; a `GeneratorExit` is none.

    Python does not hand one that is thrown into a consumer on to the generator
    that it waits for: to close a bare one fails as well after that.
    """
    return request.param


class Streams:
    """Makes sources that follow scripts, in a run's log; notes how many are open."""

    def __init__(self, log) -> None:
        self.log = log
        self.open = 0

    def source(self, *scripts, name="source"):
        """Return an async generator function; a float waits, an exception is raised."""
        turns = iter(scripts)

        async def source(*_):
            script = next(turns, scripts[-1])
            log = self.log
            call = TargetCall(len(log.calls) + 1, name, Ok(), now(), log.next())
            log.calls.append(call)
            self.open += 1
            try:
                for step in script:
                    if isinstance(step, float):
                        await anyio.sleep(step)
                    elif isinstance(step, type):
                        raise step
                    else:
                        yield step
            except BaseException as error:
                call.error = error
                if not isinstance(error, Exception):
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.125)
                raise
            finally:
                call.ended, call.ended_order = now(), log.next()
                self.open -= 1

        source.__name__ = source.__qualname__ = name
        return source


def consumer(guarded, streams):
    """Return a function that reads a stream, and works on each item."""

    async def reads():
        try:
            async with aclosing(guarded()) as stream:
                async for _ in stream:
                    await anyio.sleep(0.25)
        except anyio.get_cancelled_exc_class():
            raise
        except Exception:
            await anyio.sleep(0.25)
        finally:
            assert streams.open == 0

    return reads


async def instead():
    await anyio.sleep(0.25)
    return "instead"


def a_retry(log):
    streams = Streams(log)
    source = streams.source([1.0, ConnectionError], [1.0, "a", 1.0, "b"])
    return consumer(retry(backoff=[2])(source), streams)


def a_cut(log):
    streams = Streams(log)
    source = streams.source(["a", 1.0, ConnectionError])
    return consumer(retry(backoff=[2])(source), streams)


def a_retry_of_bad_first_items(log):
    streams = Streams(log)
    source = streams.source(["bad", 1.0], [1.0, "good", 1.0, "b"])
    policy = retry(backoff=[2], on_result=lambda item: item == "bad")
    return consumer(policy(source), streams)


def limits(log):
    streams = Streams(log)
    source = streams.source([9.0], [1.0, "a", 1.0, "b", 9.0])
    policies = stack(
        timeout(60),
        retry(backoff=[1]),
        circuit_breaker("streams"),
        timeout(40, first_item=2, between_items=3),
        timeout(30),
    )
    return consumer(policies(source), streams)


def a_total_that_passes_between_two_items(log):
    streams = Streams(log)
    source = streams.source(["a", 1.0, "b", 1.0, "c", 1.0, "d"])
    return consumer(timeout(2.3)(source), streams)


def a_fallback(log):
    streams = Streams(log)
    other = streams.source([1.0, "b", 1.0], name="other")
    policies = fallback(to=[other], degrade=value("sorry"))
    return consumer(policies(streams.source([1.0, ConnectionError])), streams)


def a_last_resort(log):
    streams = Streams(log)
    policies = fallback(degrade=value(factory=instead))
    return consumer(policies(streams.source([1.0, ConnectionError])), streams)


def a_restart(log):
    streams = Streams(log)
    others = [
        streams.source([1.0, ConnectionError], name="second"),
        streams.source([1.0, "c", 1.0, ConnectionError], name="third"),
        streams.source([1.0, "d", 1.0, "e"], name="fourth"),
    ]
    policies = stack(timeout(60, between_items=9), fallback(to=others, midstream="restart"))
    return consumer(policies(streams.source(["a", 1.0, ConnectionError])), streams)


def a_manager(log):
    streams = Streams(log)
    manager = FallbackManager(
        [
            Target("a", streams.source(["a", 9.0]), policies=timeout(30, between_items=2)),
            Target("b", streams.source([1.0, ConnectionError]), attempts=2),
            Target("c", streams.source([1.0, "c", 99.0]), scopes={"host": "c"}),
        ],
        deadline=40,
        midstream="restart",
    )

    async def items():
        async with manager.stream() as stream:
            async for item in stream:
                yield item

    return consumer(items, streams)


def a_stream_in_a_stream(log):
    streams = Streams(log)
    inner = stack(retry(backoff=[1]), timeout(between_items=9))(
        streams.source([1.0, ConnectionError], [1.0, "a", 1.0, "b"])
    )

    @stack(timeout(60), retry(backoff=[1]))
    async def outer():
        async with aclosing(inner()) as stream:
            async for item in stream:
                await anyio.sleep(0.5)
                yield item

    return consumer(outer, streams)


def a_stream_in_a_call(log):
    return stack(timeout(60), retry(backoff=[1]))(a_retry(log))


READS = [
    (a_retry, 6),
    (a_cut, 3),
    (a_retry_of_bad_first_items, 6),
    (limits, 10),
    (a_total_that_passes_between_two_items, 6),
    (a_fallback, 4),
    (a_last_resort, 3),
    (a_restart, 12),
    (a_manager, 12),
    (a_stream_in_a_stream, 8),
    (a_stream_in_a_call, 6),
]


@pytest.mark.parametrize(("make", "awaits"), READS, ids=lambda one: getattr(one, "__name__", ""))
def test_an_interruption_is_the_last_thing_that_happens_to_a_stream(everywhere, make, awaits):
    """At every await an interruption comes out unchanged, and leaves no source open."""
    found = everywhere(make)
    assert len(found) >= awaits
    assert {one.of for one in found} == {len(found)}


@pytest.mark.parametrize("make", [limits, a_restart, a_stream_in_a_stream])
def test_every_span_of_a_stream_has_ended(interruption, make):
    """At every await an interruption ends every span that began, and none is current any more."""
    backend, delivery = interruption
    with capture_spans() as spans:
        for found in cancel_at_every_await(make, backend=backend, delivery=delivery):
            assert found.run.calls == () or len(spans.attempts())
            assert len(spans.ended) == len(spans.started)
            assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
def test_a_limit_and_a_cancellation_at_the_same_instant(cancelled, native):
    """A caller who cancels at the instant of a limit gets the cancellation, and one end."""

    def make(log, canceller):
        streams = Streams(log)
        return consumer(timeout(between_items=2)(streams.source(["a", 9.0])), streams)

    story = cancelled(make, at=2.25)
    assert story.calls == ["source"]
