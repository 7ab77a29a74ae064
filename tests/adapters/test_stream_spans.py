"""The spans of streams: what was asked for, who served it, and never a word of it."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from resilient.telemetry import install
from resilient_openrouter import OpenRouter, OpenRouterError, clocks
from resilient_openrouter.emulator import Emulator

VIRTUAL = True
KEY = "sk-or-v1-0123456789abcdef"
PROMPT = "a question that nobody else may read"
MESSAGES = [{"role": "user", "content": PROMPT}]
FIRST, SECOND = "openai/gpt-4o", "anthropic/claude-sonnet-4.5"


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    install(tracer_provider=provider)
    yield exporter.get_finished_spans
    install()


async def streamed(scripts, **options):
    """Stream an answer of two scripted models to its end."""
    async with Emulator() as emulator, OpenRouter(KEY, base_url=emulator.url) as openrouter:
        for model, scenarios in zip((FIRST, SECOND), scripts, strict=True):
            emulator.script(model, scenarios)
        try:
            async with openrouter.manager(FIRST, SECOND, **options).stream(MESSAGES) as items:
                async for _ in items:
                    pass
        except OpenRouterError:
            pass


def clients(found):
    return {span.name: dict(span.attributes) for span in found if span.kind is SpanKind.CLIENT}


async def test_a_stream_has_the_span_of_a_client(spans):
    """Each model of a chain of streams has a CLIENT span that says how its stream ended."""
    await streamed([["s_err_roleonly"], ["ok_fallback_metadata"]], attempts=1)
    failed, served = (clients(spans())[f"chat {model}"] for model in (FIRST, SECOND))
    for attributes in (failed, served):
        assert attributes["gen_ai.request.stream"] is True
        assert attributes["gen_ai.operation.name"] == "chat"
    assert failed["error.type"] == "502"
    assert failed["http.response.status_code"] == 200
    assert failed["resilient.openrouter.error.class"] == "UpstreamError"
    assert failed["resilient.openrouter.cost"] == 0.00001255
    assert served["gen_ai.response.model"] == f"{SECOND}-20260317"
    assert served["gen_ai.response.finish_reasons"] == ("stop",)
    assert served["gen_ai.usage.output_tokens"] == 7
    assert served["resilient.openrouter.server_attempts"] == 2
    assert "error.type" not in served


async def test_several_attempts_are_below_one_client(spans):
    """With retries the model has one CLIENT span, and its attempts have none of its attributes."""
    await streamed([["s_trunc_early", "ok"], ["ok"]])
    (client,) = [span for span in spans() if span.kind is SpanKind.CLIENT]
    attempts = [span for span in spans() if span.name.startswith("attempt ")]
    assert [span.parent.span_id for span in attempts] == [client.context.span_id] * 2
    assert client.attributes["gen_ai.usage.output_tokens"] == 7
    assert not [key for span in attempts for key in span.attributes if key.startswith("gen_ai.")]


async def test_a_stall_names_its_clock(spans):
    """The span of a stream that stalled says which clock has expired, and after how long."""
    await streamed([["stall"], ["ok"]], attempts=1, timeout=clocks.interactive)
    stalled = clients(spans())[f"chat {FIRST}"]
    assert stalled["error.type"] == "first_item_timeout"
    assert stalled["resilient.openrouter.stalled_clock"] == "first_content"
    assert stalled["resilient.openrouter.cost.resolved"] is False


async def test_a_stream_that_is_left_has_ended_spans(spans):
    """Who stops reading ends the spans, and that is nobody's error."""
    async with Emulator() as emulator, OpenRouter(KEY, base_url=emulator.url) as openrouter:
        async with openrouter.manager("emu/disconnect_probe").stream(MESSAGES) as items:
            await anext(items)
        with anyio.move_on_after(1):
            async with openrouter.manager("emu/stall").stream(MESSAGES) as items:
                await anext(items)
    assert {span.name for span in spans()} >= {"chat emu/disconnect_probe", "chat emu/stall"}
    assert not [span for span in spans() if span.status.status_code.name == "ERROR"]


async def test_spans_of_streams_hold_nothing_private(spans):
    """Neither prompt nor answer, key or raw text is on any span of a stream."""
    await streamed([["s_err_mid"], ["ok"]], midstream="restart", attempts=1)
    await streamed([["err200"], ["filtered_finish"]], attempts=1)
    shown = "".join(span.to_json() for span in spans())
    for private in (PROMPT, KEY, "Hola", "I can tell", "something private", "user_x"):
        assert private not in shown
