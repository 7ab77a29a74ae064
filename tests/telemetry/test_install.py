"""Who listens, since when, and what it takes for spans to be made."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import sys
import threading
import time

import pytest
from opentelemetry import context, metrics, trace
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from resilient import retry, stack, telemetry
from resilient._runtime.clock import runtime
from resilient._runtime.listeners import process
from resilient.telemetry import _providers, _version, names
from resilient.telemetry._otel import OtelListener
from resilient.testing import CapturedSpans, capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])

REMOTE = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
UNSAMPLED = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(0))


@retry(attempts=2, backoff=[1])
async def ask():
    """Return the span context that an attempt sees."""
    return trace.get_current_span().get_span_context()


async def below(parent: SpanContext):
    """Ask with a remote parent as the current span."""
    token = context.attach(set_span_in_context(NonRecordingSpan(parent)))
    try:
        return await ask()
    finally:
        context.detach(token)


class Note:
    def __init__(self):
        self.events = []

    def on_event(self, event, call, /):
        self.events.append(type(event).__name__)


def kinds(listeners):
    return [type(listener).__name__ for listener in listeners]


@both
def test_a_provider_set_after_decoration_is_used(backend):
    """A global provider that is set after decoration and a first call is seen by the next call."""
    virtual_time(ask, backend=backend)
    assert process.loud == ()
    captured = CapturedSpans()
    trace.set_tracer_provider(captured.provider)
    virtual_time(ask, backend=backend)
    assert captured.tree() == ["ask", "  attempt ask #1"]
    assert kinds(process.loud) == ["OtelListener"]
    virtual_time(ask, backend=backend)
    assert len(captured) == 4


@both
def test_a_meter_provider_set_after_decoration_is_used(backend):
    """A global meter provider is seen by the next call, also where there is no tracer provider."""
    virtual_time(ask, backend=backend)
    captured = CapturedSpans()
    metrics.set_meter_provider(captured.meter_provider)
    virtual_time(ask, backend=backend)
    assert kinds(process.loud) == ["MetricsListener"]
    assert captured.metrics[names.CALL_DURATION].count == 1
    assert len(captured) == 0


@both
@pytest.mark.parametrize("first", ["spans", "metrics"])
def test_providers_may_come_one_after_the_other(backend, first):
    """Whichever provider comes first, both listen in the end, spans first, and nobody looks on."""
    captured = CapturedSpans()
    setters = {
        "spans": lambda: trace.set_tracer_provider(captured.provider),
        "metrics": lambda: metrics.set_meter_provider(captured.meter_provider),
    }
    setters.pop(first)()
    virtual_time(ask, backend=backend)
    (alone,) = process.loud
    assert process.watch is not None
    setters.popitem()[1]()
    virtual_time(ask, backend=backend)
    assert kinds(process.loud) == ["OtelListener", "MetricsListener"]
    assert alone in process.loud
    assert process.watch is None


def lookout():
    """Return what lets spans and metrics listen as soon as their providers turn up."""
    cells = [cell.cell_contents for cell in process.watch.__closure__]
    return next(found.__self__ for found in cells if getattr(found, "__name__", "") == "look")


def test_two_looks_at_once_lose_no_provider():
    """A look that another one overtakes, which finds the other provider, keeps what that found."""
    captured, look, overtaken = CapturedSpans(), lookout().look, []

    def find_late():
        provider = find()
        if not overtaken:
            overtaken.append(True)
            metrics.set_meter_provider(captured.meter_provider)
            look()
        return provider

    (part, _) = look.__self__._parts
    find, part._find = part._find, find_late
    trace.set_tracer_provider(captured.provider)
    look()
    assert kinds(process.loud) == ["OtelListener", "MetricsListener"]
    assert process.watch is None


def test_without_a_provider_nothing_is_made(monkeypatch):
    """With the API alone no listener is there, no span is begun and nothing is measured."""
    monkeypatch.setattr(trace.NoOpTracer, "start_span", None)
    monkeypatch.setattr(trace.ProxyTracer, "start_span", None)
    monkeypatch.setattr(metrics.NoOpMeter, "create_histogram", None)
    assert virtual_time(ask) == trace.INVALID_SPAN_CONTEXT
    assert (process.loud, process.watch is None) == ((), False)


def test_without_a_provider_a_remote_parent_passes_through():
    """With the API alone a target sees the caller's remote span."""
    assert virtual_time(below, REMOTE) == REMOTE


def test_without_the_api_nobody_looks(monkeypatch):
    """While the API is not imported, a call does not even look for a provider."""
    monkeypatch.delitem(sys.modules, "opentelemetry.context")
    looked = []
    process.watch = lambda: looked.append(1)

    @retry
    async def count():
        return len(looked)

    assert virtual_time(count) == 0


def test_importing_imports_no_opentelemetry(fresh_python):
    """`import resilient` and `install()` leave opentelemetry alone until a call finds it."""
    program = """
import sys, asyncio, resilient, resilient.telemetry as telemetry
telemetry.install(severities={"resilient.call.failed": "INFO"})
telemetry.annotate({"a": 1})
@resilient.retry
async def ask(): return 1
asyncio.run(ask())
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
    assert fresh_python(program) == "[]"


KINDS = pytest.mark.parametrize(
    ("api", "variable", "ask_for", "found"),
    [
        (trace, "_TRACER_PROVIDER", "get_tracer_provider", _providers.tracer_provider),
        (metrics_api, "_METER_PROVIDER", "get_meter_provider", _providers.meter_provider),
    ],
    ids=["spans", "metrics"],
)


@KINDS
def test_the_private_variable_may_go(api, variable, ask_for, found, monkeypatch):
    """Where the API's variable does not exist, its public function says if there is a provider."""
    looks = []
    look = _providers.until_any_is_set(lambda: looks.append(1))
    look()
    placeholder, provider = getattr(api, ask_for)(), object()
    monkeypatch.delattr(api, variable)
    look()
    assert looks == [1]
    monkeypatch.setattr(api, ask_for, lambda: placeholder)
    assert found() is None
    monkeypatch.setattr(api, ask_for, lambda: provider)
    assert found() is provider


@KINDS
def test_a_half_imported_api_has_no_provider(api, variable, ask_for, found, monkeypatch):
    """A module that another thread is importing right now is no provider and no error."""
    monkeypatch.setitem(sys.modules, api.__name__, type(sys)(api.__name__))
    assert found() is None
    monkeypatch.delitem(sys.modules, api.__name__)
    assert found() is None


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
def test_an_unsampled_call_passes_its_own_context_on(sampler):
    """Nothing is recorded of an unsampled call, and its target sees a span of that trace."""
    with capture_spans(sampler) as spans:
        seen = virtual_time(below, UNSAMPLED)
    assert len(spans) == 0
    assert seen.trace_id == UNSAMPLED.trace_id
    assert not seen.trace_flags.sampled
    assert seen.span_id not in (UNSAMPLED.span_id, 0)


def test_a_remote_parent_is_the_parent(spans):
    """The call span is a child of the remote span that was current."""
    seen = virtual_time(below, REMOTE)
    call, attempt = spans
    assert call.parent == REMOTE
    assert attempt.parent.span_id == call.context.span_id
    assert seen == attempt.context
    assert seen.trace_id == REMOTE.trace_id


def test_a_disabled_sdk_measures_nothing(monkeypatch, lines):
    """With `OTEL_SDK_DISABLED` a meter provider is taken, and nothing is measured or said."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    captured = CapturedSpans()
    metrics.set_meter_provider(captured.meter_provider)
    virtual_time(ask)
    assert kinds(process.loud) == ["MetricsListener"]
    assert captured.metrics == {}
    assert lines() == []


@pytest.mark.parametrize("parent", [REMOTE, trace.INVALID_SPAN_CONTEXT])
def test_a_disabled_sdk_changes_nothing(monkeypatch, parent):
    """With `OTEL_SDK_DISABLED` no span is made, and the caller's context stays in place."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    assert virtual_time(below, parent) == parent
    assert kinds(process.loud) == ["OtelListener"]


def test_a_provider_can_be_passed_in():
    """`install(tracer_provider=)` uses that one, and the global one is not looked at."""
    captured, other = CapturedSpans(), CapturedSpans()
    trace.set_tracer_provider(other.provider)
    telemetry.install(tracer_provider=captured.provider)
    virtual_time(ask)
    assert (len(captured), len(other)) == (2, 0)
    scope = captured.started[0].instrumentation_scope
    assert (scope.name, scope.schema_url) == (names.SCOPE, names.SCHEMA_URL)


def test_a_provider_that_makes_nothing_costs_one_span(monkeypatch):
    """After a call span that is only its parent again, no attempt span is begun."""
    begun = []
    start_span = trace.NoOpTracer.start_span

    def counted(*args, **kwargs):
        begun.append(args[1])
        return start_span(*args, **kwargs)

    monkeypatch.setattr(trace.NoOpTracer, "start_span", counted)
    telemetry.install(tracer_provider=NoOpTracerProvider())
    virtual_time(ask)
    assert begun == ["ask"]


def test_the_last_install_wins():
    """`install` is idempotent: each call replaces what the one before set."""
    first, second = Note(), Note()
    telemetry.install(listeners=[first])
    telemetry.install(listeners=[second])
    telemetry.install(listeners=[second])
    virtual_time(ask)
    assert first.events == []
    assert second.events == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]
    assert kinds(process.quiet) == ["LogListener"]


def test_every_part_can_be_left_out():
    """Without spans and metrics nobody looks for a provider; `logs=False` writes no line."""
    captured = CapturedSpans()
    trace.set_tracer_provider(captured.provider)
    metrics.set_meter_provider(captured.meter_provider)
    telemetry.install(spans=False, metrics=False, logs=False)
    virtual_time(ask)
    assert (process.loud, process.quiet, process.watch) == ((), (), None)
    telemetry.install(spans=False)
    virtual_time(ask)
    assert kinds(process.loud) == ["MetricsListener"]
    telemetry.install(metrics=False)
    virtual_time(ask)
    assert kinds(process.loud) == ["OtelListener"]


def test_a_late_provider_joins_the_listeners():
    """When a provider turns up, the listeners of `install` stay, behind the spans."""
    note = Note()
    telemetry.install(listeners=[note])
    trace.set_tracer_provider(CapturedSpans().provider)
    virtual_time(ask)
    assert kinds(process.loud) == ["OtelListener", "Note"]
    assert note.events[0] == "CallStarted"


def test_uninstall_leaves_nobody():
    """After `uninstall` there is no listener of the process; those of a pipeline stay."""
    trace.set_tracer_provider(CapturedSpans().provider)
    virtual_time(ask)
    telemetry.uninstall()
    note = Note()

    async def target():
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        virtual_time(stack(retry(), listeners=[note])(target))
    assert (process.loud, process.quiet, process.watch) == ((), (), None)
    assert note.events[-1] == "CallEnded"


def test_a_provider_that_fails_fails_no_call(lines):
    """A global provider that makes nothing is logged once, and calls go on without it."""
    trace.set_tracer_provider(object())
    metrics.set_meter_provider(metrics_api._ProxyMeterProvider())
    metrics_api._METER_PROVIDER.get_meter = None
    for _ in range(2):
        assert virtual_time(ask) == trace.INVALID_SPAN_CONTEXT
    assert [line.getMessage() for line in lines()] == [
        "no spans: the provider failed with AttributeError",
        "no metrics: the provider failed with TypeError",
    ]
    assert (process.loud, process.watch) == ((), None)


def test_a_watch_that_was_replaced_sets_nothing():
    """A look for a provider that was under way when `install` was called changes nothing."""
    watch = process.watch
    telemetry.uninstall()
    trace.set_tracer_provider(CapturedSpans().provider)
    watch()
    assert process.loud == ()


@both
def test_calls_in_flight_keep_their_listeners(backend):
    """A call ends with the listeners that it began with, whatever is installed meanwhile."""
    note = Note()
    telemetry.install(listeners=[note])

    @retry
    async def target():
        telemetry.uninstall()

    virtual_time(target, backend=backend)
    assert note.events == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]


def test_a_listener_may_install_another():
    """A listener that installs one while it is told changes nothing for the call at hand."""
    late = Note()

    class Installing:
        def on_event(self, event, call, /):
            telemetry.install(listeners=[late])

    telemetry.install(listeners=[Installing()])
    virtual_time(ask)
    assert late.events == []
    virtual_time(ask)
    assert len(late.events) == 4


def test_two_event_loops_have_their_own_traces(spans):
    """Calls of one function in two loops of two threads are two traces, in real time."""
    began = time.time_ns()
    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls, attempts = spans.named("ask"), spans.attempts()
    assert len({call.context.trace_id for call in calls}) == 2
    assert {a.parent.span_id for a in attempts} == {call.context.span_id for call in calls}
    for call in calls:
        assert began <= call.start_time <= call.end_time <= time.time_ns()


def test_another_clock_has_its_own_anchor(spans):
    """A nested call on another Clock than the one around it takes no instant from it."""

    @retry
    async def outer():
        runtime().clock = lambda: 7.0
        return await ask()

    asyncio.run(outer())
    assert spans.named("ask")[0].start_time == 946_684_807_000_000_000


def test_times_are_anchored_once_per_call(spans, monkeypatch):
    """A wall clock that is set back during a call does not bend the spans of the calls in it."""

    @retry
    async def outer():
        monkeypatch.setattr(time, "time_ns", lambda: 5)
        return await ask()

    asyncio.run(outer())
    outermost, *others = spans
    for span in others:
        assert outermost.start_time <= span.start_time <= span.end_time <= outermost.end_time


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"exceptions": "all"}, ValueError, "exceptions"),
        ({"tracer_provider": object()}, TypeError, "tracer_provider"),
        ({"meter_provider": object()}, TypeError, "meter_provider"),
        ({"listeners": [print]}, TypeError, "listeners"),
        ({"listeners": [Note]}, TypeError, "listeners"),
        ({"describe_error": "str"}, TypeError, "describe_error"),
        ({"severities": {"nothing": "INFO"}}, ValueError, "no line 'nothing'; there are"),
        ({"severities": {names.FAILED: "LOUD"}}, ValueError, "'DEBUG', 'INFO', 'WARNING'"),
    ],
)
def test_a_wrong_option_is_refused(options, error, complaint):
    """A bad option raises, names itself, and leaves everything as it was."""
    before = process.loud, process.quiet, process.watch
    with pytest.raises(error, match=complaint):
        telemetry.install(**options)
    assert (process.loud, process.quiet, process.watch) == before


def test_an_exporter_that_fails_ends_no_call(lines):
    """A span processor that raises is logged once, and every span ends all the same."""
    begun = []

    class Broken(SpanProcessor):
        def on_start(self, span, parent_context=None):
            begun.append(span)

        def on_end(self, span):
            raise OSError("the collector is gone")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    telemetry.install(tracer_provider=provider)
    virtual_time(ask)
    virtual_time(ask)
    assert len(begun) == 4
    assert all(span.end_time for span in begun)
    (line,) = lines()
    assert (line.levelno, line.getMessage()) == (logging.ERROR, "ending a span failed with OSError")


@pytest.mark.parametrize("found", ["1.2.3", ""])
def test_the_scope_has_the_version_of_the_distribution(found, monkeypatch):
    """The version of the scope is that of the distribution, or empty in a bare source tree."""

    def version(name):
        if not found:
            raise importlib.metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    _version.version.cache_clear()
    captured = CapturedSpans()
    telemetry.install(tracer_provider=captured.provider)
    assert isinstance(process.loud[0], OtelListener)
    virtual_time(ask)
    assert captured.started[0].instrumentation_scope.version == found
    _version.version.cache_clear()
