"""The listener that makes OpenTelemetry spans of events.

One span for each guarded call, one child for each attempt, one around the
attempts of a target that describes itself; zero-length ones for targets that
were not asked and for refusals. Spans are started and ended by hand, with the
instants of the events. Status says whether that very operation failed: a
call that recovered is clean, with failed attempts below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context

from resilient._core import events
from resilient._core.names import error_type
from resilient.errors import TimedOut
from resilient.telemetry import names
from resilient.telemetry._attributes import (
    of_attempt,
    of_attempt_end,
    of_call,
    of_call_end,
    of_target,
)
from resilient.telemetry._spans import Attempt, CallSpans, enter, fail, finish, times_of
from resilient.telemetry._targets import ATTEMPT, description_of, kind_of
from resilient.telemetry._unasked import Unasked
from resilient.telemetry._version import version

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

    from resilient.telemetry._call import Call
    from resilient.telemetry._describe import SpanDescription
    from resilient.telemetry._failures import Failures

_INTERNAL = SpanKind.INTERNAL
_TELLS_OF_A_REFUSAL = {events.TargetSkipped, events.RetryScheduled}


class OtelListener:
    """Makes spans with the tracer of one provider."""

    __slots__ = ("_failures", "_hooks", "_record", "_tracer", "_unasked")

    def __init__(
        self,
        provider: TracerProvider,
        failures: Failures,
        *,
        exceptions: Literal["off", "span"] = "off",
    ) -> None:
        self._tracer = provider.get_tracer(names.SCOPE, version(), schema_url=names.SCHEMA_URL)
        self._record = exceptions == "span"
        self._failures = failures
        self._unasked = Unasked(self._tracer, failures)
        self._hooks: dict[type[events.Event], Callable[[CallSpans, Any, Call], None]] = {
            events.AttemptStarted: self._attempt_started,
            events.AttemptEnded: self._attempt_ended,
            events.TimeoutFired: self._timeout_fired,
            events.TargetSkipped: self._unasked.skipped,
            events.CallRejected: self._unasked.refused,
            events.RetryScheduled: self._unasked.scheduled,
            events.BreakerChanged: self._breaker_changed,
            events.FellBack: self._fell_back,
            events.Degraded: self._degraded,
            events.CallEnded: self._call_ended,
        }

    def on_event(self, event: events.Event, call: Call, /) -> None:
        """Start or end a span, if the event says so."""
        if type(event) is events.CallStarted:
            self._call_started(event, call)
            return
        spans: CallSpans | None = call.spans
        hook = self._hooks.get(type(event))
        if hook is None or spans is None or spans.ended:
            return
        if spans.refused is not None and type(event) not in _TELLS_OF_A_REFUSAL:
            self._unasked.settle(spans, call)
        hook(spans, event, call)

    def _call_started(self, event: events.CallStarted, call: Call) -> None:
        base = otel.get_current()
        times = times_of(call)
        span = self._tracer.start_span(
            call.plan.name, base, _INTERNAL, of_call(call), start_time=times.ns(event.at)
        )
        if span.get_span_context() == get_current_span(base).get_span_context():
            # Without an SDK a span is its parent again: there is nothing to pass on.
            # (An unsampled one has a context of its own, and children must have it.)
            return
        call.spans = CallSpans(call, span, base, set_span_in_context(span, base), times)

    def _attempt_started(self, spans: CallSpans, event: events.AttemptStarted, call: Call) -> None:
        described = description_of(call, event.target_index)
        attributes = of_attempt(event)
        name, kind = f"attempt {call.plan.name}", _INTERNAL
        start = spans.times.ns(event.at)
        above = spans.context
        if described is not None:
            if call.plan.single[event.target_index]:
                name, kind = described.name, kind_of(described)
                attributes = {**described.attributes, **attributes}
            else:
                above = self._enter_target(spans, described, event, start)
        span = self._tracer.start_span(name, above, kind, attributes, start_time=start)
        spans.attempt = span
        # Above what is current here: somebody between the call and its target may have added to it.
        context = set_span_in_context(span)
        shown = Attempt(span, span if spans.target is None else spans.target)
        spans.attempt_context = context = otel.set_value(ATTEMPT, shown, context)
        call.leave_attempt = enter(context)
        if call.plan.stream:
            # The consumer may ask for each item in another task: every time anew.
            call.enter_item = lambda: enter(context)

    def _enter_target(
        self, spans: CallSpans, described: SpanDescription, event: events.AttemptStarted, start: int
    ) -> Context:
        if spans.target is None:
            attributes = {**described.attributes, **of_target(event)}
            spans.target = self._tracer.start_span(
                described.name, spans.context, kind_of(described), attributes, start_time=start
            )
        return set_span_in_context(spans.target, spans.base)

    def _attempt_ended(self, spans: CallSpans, event: events.AttemptEnded, call: Call) -> None:
        span, spans.attempt = spans.attempt, None
        if span is None:
            return
        end = spans.times.ns(event.ended)
        failed = self._failures.of(call.plan.name, event.error, unacceptable=event.unacceptable)
        if span.is_recording():
            span.set_attributes(of_attempt_end(event))
            if failed is not None:
                fail(span, failed, self._failures.text_of(event.error))
                if event.disposition == "raised":
                    self._record_once(spans, span, event.error, end)
        finish(span, end)
        if event.disposition != "retried":
            self._end_target(spans, end, failed, event.error)

    def _timeout_fired(self, spans: CallSpans, event: events.TimeoutFired, call: Call) -> None:
        # While an attempt is open its end will say so. Between two, nobody else will.
        if spans.attempt is None and spans.target is not None:
            limit: Any = event.limit
            kind = error_type(TimedOut(event.after, limit))
            spans.interrupted = self._failures.bounded(call.plan.name, kind)

    def _breaker_changed(self, spans: CallSpans, event: events.BreakerChanged, _call: Call) -> None:
        # Whoever is refused from now on has a link to this attempt. Numbers only: no span is kept.
        if event.origin is not None and spans.attempt is not None:
            event.origin.context = spans.attempt.get_span_context()

    def _fell_back(self, spans: CallSpans, event: events.FellBack, call: Call) -> None:
        failed = self._failures.of(call.plan.name, event.error)
        self._end_target(spans, spans.times.ns(event.at), failed, event.error)

    def _degraded(self, spans: CallSpans, event: events.Degraded, _call: Call) -> None:
        self._end_target(spans, spans.times.ns(event.at), None)

    def _call_ended(self, spans: CallSpans, event: events.CallEnded, call: Call) -> None:
        end = spans.times.ns(event.at)
        unacceptable = event.outcome == "failure" and event.error is None
        failed = self._failures.of(call.plan.name, event.error, unacceptable=unacceptable)
        self._end_target(spans, end, failed, event.error)
        span = spans.call
        spans.ended = True
        if span.is_recording():
            span.set_attributes(of_call_end(event, call))
            if failed is not None:
                fail(span, failed, self._failures.text_of(event.error))
                self._record_once(spans, span, event.error, end)
        parent: Call | None = call.parent
        if spans.recorded is not None and parent is not None and parent.spans is not None:
            parent.spans.recorded = spans.recorded
        finish(span, end)

    def _end_target(
        self,
        spans: CallSpans,
        end: int,
        failed: str | None,
        error: BaseException | None = None,
    ) -> None:
        target, spans.target = spans.target, None
        interrupted, spans.interrupted = spans.interrupted, None
        if target is None:
            return
        if target.is_recording():
            if interrupted is not None:
                fail(target, interrupted, None)
            elif failed is not None:
                fail(target, failed, self._failures.text_of(error))
        finish(target, end)

    def _record_once(
        self, spans: CallSpans, span: Span, error: BaseException | None, at: int
    ) -> None:
        if self._record and error is not None and spans.recorded != id(error):
            spans.recorded = id(error)
            span.record_exception(error, timestamp=at)
