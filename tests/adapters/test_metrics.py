"""What the client adds to the telemetry of calls: what they cost, and which requests came again."""

from __future__ import annotations

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from resilient.telemetry import count, names
from resilient.testing import capture_spans
from resilient_openrouter import OpenAICompatible, OpenRouter, OpenRouterError
from resilient_openrouter.emulator import Emulator

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
COST = 0.00001255


def router(emulator, client, **options):
    return OpenRouter("any-key", base_url=emulator.url, client=client, **options)


def costs(spans):
    """Return the points of the cost: dollars by target and whether they are known."""
    found = spans.metrics.get(names.COST)
    if found is None:
        return {}
    return {
        (point.attributes[names.TARGET], point.attributes[names.COST_RESOLVED]): point.sum
        for point in found.points
    }


async def test_what_calls_cost_is_counted_by_target():
    """Known costs of answers and failures add up by target; what is nothing is not counted."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        emulator.script("a/first", ["e503", "s_err_roleonly"])
        emulator.script("a/second", ["ok"])
        chain = router(emulator, client).manager("a/first", "a/second", transport="stream")
        with capture_spans() as spans:
            outcome = await chain.run(MESSAGES)
        assert len(outcome.attempts) == 3
        assert outcome.cost == pytest.approx(2 * COST)
        assert costs(spans) == pytest.approx({("a/first", True): COST, ("a/second", True): COST})
        assert spans.metrics[names.COST].unit == "{USD}"


async def test_what_nobody_told_is_counted_as_it_was_estimated():
    """A call that is cut off counts by its estimate, apart, once prices are known."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        emulator.script("openai/gpt-4o", ["stall"])
        openrouter = router(emulator, client)
        chain = openrouter.manager("openai/gpt-4o", attempts=1, timeout=1)
        with capture_spans() as unknown, pytest.raises(TimeoutError):
            await chain.run(MESSAGES)
        assert costs(unknown) == {}
        await openrouter.models()
        with capture_spans() as estimated, pytest.raises(TimeoutError):
            await chain.run(MESSAGES)
        ((key, dollars),) = costs(estimated).items()
        assert key == ("openai/gpt-4o", False)
        assert 0 < dollars < 0.001


async def test_streams_and_single_calls_are_counted_as_well():
    """A stream counts at its end, a call without any chain by the name of its model."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        openrouter = router(emulator, client)
        with capture_spans() as spans:
            async with openrouter.manager("a/b").stream(MESSAGES) as items:
                assert [chunk async for chunk in items]
            await openrouter.chat("c/d", MESSAGES)
        assert costs(spans) == pytest.approx({("a/b", True): COST, ("c/d", True): COST})


async def test_what_costs_nothing_makes_no_point():
    """A refused key and a server of one's own add nothing."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        local = OpenAICompatible(emulator.openai.url, api_key="k", client=client)
        with capture_spans() as spans:
            await local.chat("llama3.2", MESSAGES)
            with pytest.raises(OpenRouterError):
                await router(emulator, client).chat("emu/e401_badkey", MESSAGES)
        assert emulator.journal.count == 2
        assert costs(spans) == {}


LABELS = {names.TARGET: "a/b", names.COST_RESOLVED: True}


@pytest.mark.parametrize(
    ("name", "number", "attributes", "complaint"),
    [
        ("app.cost", 1, LABELS, r"count\(name\) must be resilient\.openrouter\.cost, not 'app"),
        (names.COST, -1, LABELS, r"number\) must be at least 0, not -1"),
        (names.COST, float("nan"), LABELS, r"number\) must be at least 0, not nan"),
        (names.COST, 1, {}, r"has the attributes .*resolved, resilient\.target\.name, not none"),
    ],
)
def test_what_no_counter_takes_is_refused(name, number, attributes, complaint):
    """Another counter, a number below nothing or other attributes are refused by name."""
    with pytest.raises(ValueError, match=complaint):
        count(name, number, attributes)


class Instrumented(httpx.AsyncBaseTransport):
    """A transport with a client span around each request, as instrumentation of httpx has it."""

    def __init__(self, inner, tracer):
        self._inner = inner
        self._tracer = tracer

    async def handle_async_request(self, request):
        with self._tracer.start_as_current_span("POST", kind=SpanKind.CLIENT):
            return await self._inner.handle_async_request(request)


def resends(spans):
    return [span.attributes.get("http.request.resend_count") for span in spans]


async def test_the_span_of_the_client_says_how_often_a_request_came_again():
    """The second and third request on a target are resends, the first on the next one is none."""
    async with Emulator(port=None) as emulator, emulator.client() as plain:
        emulator.script("a/first", ["e503"])
        with capture_spans() as spans:
            tracer = spans.provider.get_tracer("httpx")
            client = httpx.AsyncClient(transport=Instrumented(plain._transport, tracer))
            chain = router(emulator, client).manager("a/first", "a/second", attempts=3)
            await chain.run(MESSAGES)
        assert emulator.journal.models == ["a/first"] * 3 + ["a/second"]
        assert resends(spans.named("POST")) == [None, 1, 2, None]
        assert set(resends(span for span in spans if span.name != "POST")) == {None}


async def test_without_a_span_of_the_client_nothing_is_stamped():
    """Where nobody instruments the client, the spans of attempts stay as they are."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        emulator.script("a/first", ["e503", "ok"])
        with capture_spans() as spans:
            await router(emulator, client).manager("a/first").run(MESSAGES)
        assert emulator.journal.count == 2
        assert set(resends(spans)) == {None}
        assert trace.get_current_span().get_span_context().is_valid is False
