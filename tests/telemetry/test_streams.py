"""What spans, points and lines say of streams, and whose span is current when."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import logging

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from resilient import fallback, retry, stack, telemetry, timeout
from resilient.telemetry import names
from resilient.testing import CapturedSpans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def words(*, fails=False):
    """Give three words, a second each; fail behind the second where told."""
    for word in ("to", "be", "or"):
        await anyio.sleep(1)
        if fails and word == "or":
            raise ConnectionError
        yield word


def attribute(span, name):
    return span.attributes.get(name)


async def read(stream, seconds=0):
    """Read a stream to its end, and be busy for a while with each item."""
    async with contextlib.aclosing(stream):
        async for _ in stream:
            await anyio.sleep(seconds)


@both
def test_a_stream_says_how_many_items_and_when_the_first(backend, spans):
    """The call has the items, the attempt the seconds to the first one, and so has a point."""
    ask = stack(retry(), name="ask")(words)
    virtual_time(lambda: read(ask(), seconds=10), backend=backend)
    call, attempt = spans
    assert attribute(call, names.ITEMS) == 3
    assert attribute(call, names.OUTCOME) == "success"
    assert attribute(attempt, names.FIRST_ITEM) == 1.0
    # Three items of a second, and the consumer's own time between them.
    assert (attempt.end_time - attempt.start_time) / 1e9 == 33
    (point,) = spans.metrics[names.FIRST_ITEM_DURATION].points
    assert (point.sum, point.count) == (1, 1)
    assert point.attributes == {names.PIPELINE: "ask", names.TARGET: "words"}
    assert point.exemplars == (attempt.context.span_id,)
    assert spans.logs == []


@both
def test_a_stream_without_items_has_no_first(backend, spans):
    """A stream that ends at once has given nothing, and nothing is said of a first item."""

    async def nothing():
        for item in ():
            yield item

    virtual_time(lambda: read(stack(retry())(nothing)()), backend=backend)
    call, attempt = spans
    assert attribute(call, names.ITEMS) == 0
    assert names.FIRST_ITEM not in attempt.attributes
    assert names.FIRST_ITEM_DURATION not in spans.metrics


@both
def test_the_attempt_is_current_only_while_an_item_is_made(backend, spans):
    """T9: the source sees its attempt, and the consumer between items its own span."""
    inside, between = [], []

    @retry
    async def ask():
        for item in range(3):
            inside.append(trace.get_current_span())
            await anyio.sleep(1)
            inside.append(trace.get_current_span())
            yield item
        inside.append(trace.get_current_span())

    async def consumer():
        tracer = spans.provider.get_tracer("consumer")
        with tracer.start_as_current_span("request") as request:
            async for _ in ask():
                between.append(trace.get_current_span())
                await anyio.sleep(1)
                between.append(trace.get_current_span())
            assert trace.get_current_span() is request
        return request

    request = virtual_time(consumer, backend=backend)
    (attempt,) = spans.attempts()
    assert inside == [attempt] * 7
    assert between == [request] * 6


@both
def test_each_item_may_be_asked_for_in_another_task(backend, spans, caplog):
    """A stream that wanders from task to task is one attempt, and each task keeps its own span."""
    caplog.set_level(logging.WARNING)
    seen = []

    @retry
    async def ask():
        while True:
            seen.append(trace.get_current_span())
            yield None

    async def consumer():
        stream = ask()

        async def one():
            await anext(stream)
            assert trace.get_current_span() is trace.INVALID_SPAN

        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.aclose)

    virtual_time(consumer, backend=backend)
    (attempt,) = spans.attempts()
    assert seen == [attempt] * 3
    assert attempt.end_time is not None
    assert caplog.records == []


@both
def test_what_is_sent_and_thrown_in_finds_the_attempt(backend, spans):
    """Also behind `asend` and `athrow` the source sees its attempt."""
    seen = []

    @retry
    async def ask():
        for _ in range(3):
            with contextlib.suppress(KeyError):
                yield
            seen.append(trace.get_current_span())

    async def consumer():
        async with contextlib.aclosing(ask()) as stream:
            await anext(stream)
            await stream.asend(1)
            await stream.athrow(KeyError())
            assert trace.get_current_span() is trace.INVALID_SPAN

    virtual_time(consumer, backend=backend)
    assert seen == spans.attempts() * 2


@both
def test_a_consumer_that_leaves_early_has_cancelled(backend, spans):
    """A stream that is closed early is cancelled, without an error, and its items are counted."""
    ask = stack(retry(), name="ask")(words)

    async def consumer():
        async with contextlib.aclosing(ask()) as stream:
            await anext(stream)

    virtual_time(consumer, backend=backend)
    call, attempt = spans
    assert (attribute(call, names.OUTCOME), attribute(call, names.ITEMS)) == ("cancelled", 1)
    assert attribute(attempt, names.DISPOSITION) == "cancelled"
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
    assert spans.logs == []


@both
def test_a_stream_that_is_cut_is_one_error(backend, spans):
    """A stream that fails after its first item is ERROR on both spans, and a line says when."""
    ask = stack(retry(), name="ask")(words)
    with pytest.raises(ConnectionError):
        virtual_time(lambda: read(ask(fails=True)), backend=backend)
    call, attempt = spans
    assert attribute(call, names.ITEMS) == 2
    assert attribute(call, names.RETRY_RESULT) == "not_retryable"
    assert attribute(attempt, names.FIRST_ITEM) == 1.0
    assert {attribute(span, names.ERROR_TYPE) for span in spans} == {"ConnectionError"}
    cut, failed = spans.logs
    assert (cut.levelname, cut.getMessage()) == (
        "ERROR",
        "ask: the stream was cut after 2 items: ConnectionError",
    )
    assert vars(cut)[names.ITEMS] == 2
    assert vars(cut)[names.SPAN_ID] == f"{attempt.context.span_id:016x}"
    assert failed.getMessage().startswith("ask: failed after 1 attempt in 3 s")


@both
@pytest.mark.parametrize(
    ("limit", "kind", "scope"),
    [
        ({"first_item": 0.5}, "first_item_timeout", "first_item"),
        ({"between_items": 0.5}, "between_items_timeout", "between_items"),
    ],
)
def test_limits_of_streams_have_names_of_their_own(limit, kind, scope, backend, spans):
    """A limit of a stream that expired says which of the two it was."""

    async def slow():
        if "first_item" in limit:
            await anyio.sleep(1)
        yield 1
        await anyio.sleep(1)
        yield 2

    ask = stack(timeout(9, **limit), name="ask")(slow)
    with pytest.raises(TimeoutError):
        virtual_time(lambda: read(ask()), backend=backend)
    _, attempt = spans
    assert attribute(attempt, names.ERROR_TYPE) == kind
    assert attribute(attempt, names.TIMEOUT_SCOPE) == scope


@both
def test_a_retry_before_the_first_item_is_an_attempt_of_its_own(backend, spans):
    """Until the first item a stream is retried like any call, and each attempt is a span."""
    todo = [ConnectionError]

    async def flaky():
        if todo:
            raise todo.pop()
        yield 1

    ask = stack(retry(attempts=2, backoff=[1]), name="ask")(flaky)
    virtual_time(lambda: read(ask()), backend=backend)
    assert spans.tree() == ["ask", "  attempt ask #1 ERROR ConnectionError", "  attempt ask #2"]
    assert spans.metrics[names.CALL_RETRIES].sum == 1


@both
def test_a_restart_has_two_attempts_that_were_both_committed(backend, spans):
    """A stream that another target takes over has an attempt for each, and the items of both."""
    flaky = iter([True, False])

    async def once():
        async for word in words(fails=next(flaky)):
            yield word

    ask = stack(fallback(to=[once], midstream="restart"), name="ask")(once)
    virtual_time(lambda: read(ask()), backend=backend)
    call, first, second = spans
    assert spans.tree() == ["ask", "  attempt ask #1 ERROR ConnectionError", "  attempt ask #2"]
    assert attribute(call, names.ITEMS) == 5
    assert [attribute(one, names.FIRST_ITEM) for one in (first, second)] == [1.0, 1.0]


@both
def test_a_nested_stream_is_below_the_attempt_that_reads_it(backend, spans):
    """A guarded stream that a guarded stream reads is a child of its attempt, item by item."""
    inner = stack(retry(), name="inner")(words)

    async def outer():
        async for word in inner():
            yield word

    virtual_time(lambda: read(stack(retry(), name="outer")(outer)()), backend=backend)
    assert spans.tree() == [
        "outer",
        "  attempt outer #1",
        "    inner",
        "      attempt inner #1",
    ]


def test_a_stream_that_is_collected_ends_its_spans_in_silence(spans, caplog):
    """What the garbage collector closes ends its spans; nothing is attached and nothing said."""
    ask = retry(words)

    async def consumer():
        stream = ask()
        # Begin it in a context of its own, and drop it here.
        await contextvars.copy_context().run(anext, stream)
        before = trace.get_current_span()
        del stream
        gc.collect()
        await anyio.sleep(1)
        assert trace.get_current_span() is before

    caplog.set_level(logging.WARNING)
    virtual_time(consumer)
    call, attempt = spans
    assert call.end_time == attempt.end_time is not None
    assert attribute(call, names.OUTCOME) == "cancelled"
    assert [record for record in caplog.records if "detach" in record.getMessage()] == []


@both
def test_without_spans_no_item_pays(backend):
    """With a meter provider only, or nothing, no context is attached for an item."""
    captured = CapturedSpans()
    telemetry.install(spans=False, meter_provider=captured.meter_provider)
    seen = []

    @retry
    async def ask():
        seen.append(trace.get_current_span())
        yield 1
        seen.append(trace.get_current_span())

    virtual_time(lambda: read(ask()), backend=backend)
    assert seen == [trace.INVALID_SPAN] * 2
    assert captured.metrics[names.FIRST_ITEM_DURATION].count == 1
