"""`capture_spans`: what it shows, what it leaves as it was, and what it needs."""

from __future__ import annotations

import logging
import sys

import pytest
from opentelemetry import trace

import resilient.testing
from resilient import retry, stack, telemetry
from resilient._runtime.listeners import log, process
from resilient.telemetry import names
from resilient.testing import CapturedSpans, capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@stack(retry(attempts=2, backoff=[0.5]), name="ask")
async def ask():
    """Fail on every attempt."""
    raise ConnectionError


def fail(backend="asyncio"):
    with pytest.raises(ConnectionError):
        virtual_time(ask, backend=backend)


@both
def test_spans_metrics_and_lines_are_captured(backend):
    """A capture has the spans, the metrics and the log lines of the calls inside, and no others."""
    fail(backend)
    with capture_spans() as spans:
        fail(backend)
    fail(backend)
    assert len(spans) == 3
    assert len(spans.named("attempt ask")) == len(spans.attempts()) == 2
    assert spans.metrics[names.CALL_DURATION].count == 1
    assert [line.levelname for line in spans.logs] == ["WARNING", "ERROR"]


def test_everything_is_as_before_afterwards():
    """Listeners, the log's level and its handlers are those from before, also behind an error."""
    log.setLevel(logging.ERROR)
    before = process.loud, process.quiet, process.watch, log.level, list(log.handlers)
    inside = []

    def body():
        with capture_spans():
            inside.append((process.loud == before[0], log.level))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert inside == [(False, logging.DEBUG)]
    assert before == (process.loud, process.quiet, process.watch, log.level, list(log.handlers))
    log.setLevel(logging.NOTSET)


def test_other_listeners_stay():
    """Who was told before is told inside as well; the installed spans and metrics are not."""

    class Note:
        told = 0

        def on_event(self, event, call, /):
            self.told += 1

    note, outer = Note(), CapturedSpans()
    telemetry.install(
        tracer_provider=outer.provider, meter_provider=outer.meter_provider, listeners=[note]
    )
    with capture_spans() as spans:
        fail()
    assert (note.told > 0, len(spans), len(outer)) == (True, 3, 0)
    assert names.CALL_DURATION not in outer.metrics


def test_captures_may_be_nested():
    """The inner capture sees its calls, and the outer one goes on behind it."""
    with capture_spans() as outer:
        with capture_spans() as inner:
            fail()
        fail()
    assert (len(outer), len(inner)) == (3, 3)


@both
def test_other_spans_are_in_the_tree(backend):
    """Spans of somebody else's that come from the provider stand where they belong."""

    async def caller(tracer):
        with tracer.start_as_current_span("request"):
            await ask()

    with capture_spans() as spans, pytest.raises(ConnectionError):
        virtual_time(caller, spans.provider.get_tracer("app"), backend=backend)
    assert spans.tree()[:3] == [
        "request ERROR",
        "  ask ERROR ConnectionError",
        "    attempt ask #1 ERROR ConnectionError",
    ]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_the_sdk_is_loaded_by_a_capture_only(fresh_python):
    """`import resilient.testing` loads no OpenTelemetry, so that tests without it stay quick."""
    program = """
import sys, resilient.testing
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
    assert fresh_python(program) == "[]"


def test_without_the_sdk_it_says_what_is_missing(monkeypatch):
    """Where the SDK is not installed the error names the extra that brings it."""
    monkeypatch.delattr(resilient.testing, "_sdk", raising=False)
    monkeypatch.setitem(sys.modules, "resilient.testing._sdk", None)
    with pytest.raises(ImportError, match=r"resilient-policies\[testing\]"), capture_spans():
        pass
