"""The spans of attempts that were not made: of no length, with the reason and the cause.

A refusal becomes a span when it is known what came of it. Where a chain takes
it for a target that was not asked, nothing failed, and it is a skipped attempt;
else it is a rejected one. Either has a link to the attempt that opened the
circuit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import Link, SpanContext, SpanKind

from resilient.telemetry._attributes import of_refusal, of_rejection, of_skip, of_wait
from resilient.telemetry._spans import fail, finish

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from resilient._core import events
    from resilient.telemetry._attributes import Attributes
    from resilient.telemetry._call import Call
    from resilient.telemetry._failures import Failures
    from resilient.telemetry._spans import CallSpans


class Unasked:
    """Makes the spans of attempts that were not made."""

    __slots__ = ("_failures", "_tracer")

    def __init__(self, tracer: Tracer, failures: Failures) -> None:
        self._tracer = tracer
        self._failures = failures

    def refused(self, spans: CallSpans, event: events.CallRejected, call: Call) -> None:
        """Keep a refusal until it is known what comes of it."""
        self.settle(spans, call)
        if event.enforced:
            spans.refused = event

    def scheduled(self, spans: CallSpans, event: events.RetryScheduled, call: Call) -> None:
        """Say on a rejected attempt which wait follows; another attempt says so at its end."""
        self.settle(spans, call, of_wait(event.wait, event.source))

    def settle(self, spans: CallSpans, call: Call, wait: Attributes | None = None) -> None:
        """Make a rejected attempt of the refusal, if there is one: no chain has taken it."""
        event, spans.refused = spans.refused, None
        if event is None:
            return
        attributes = of_rejection(event, call) | (wait or {})
        span = self._begin(spans, call, event.at, attributes, _links(event))
        if span.is_recording() and event.error is not None:
            kind = self._failures.type_of(call.plan.name, event.error)
            fail(span, kind, self._failures.text_of(event.error))
        finish(span, spans.times.ns(event.at))

    def skipped(self, spans: CallSpans, event: events.TargetSkipped, call: Call) -> None:
        """Make a skipped attempt; a refusal that led to it is a part of it."""
        attributes = of_skip(event)
        links: tuple[Link, ...] = ()
        refused, spans.refused = spans.refused, None
        if refused is not None:
            attributes |= of_refusal(refused)
            links = _links(refused)
        span = self._begin(spans, call, event.at, attributes, links)
        finish(span, spans.times.ns(event.at))

    def _begin(
        self,
        spans: CallSpans,
        call: Call,
        at: float,
        attributes: Attributes,
        links: tuple[Link, ...],
    ) -> Span:
        return self._tracer.start_span(
            f"attempt {call.plan.name}",
            spans.context,
            SpanKind.INTERNAL,
            attributes,
            links,
            start_time=spans.times.ns(at),
        )


def _links(event: events.CallRejected) -> tuple[Link, ...]:
    """Return a link to the attempt that opened the circuit, if its span is known."""
    found = None if event.origin is None else event.origin.context
    return (Link(found),) if isinstance(found, SpanContext) and found.is_valid else ()
