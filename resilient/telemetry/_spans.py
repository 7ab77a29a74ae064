"""The spans of one call, from its start to its end.

They hang on the call and nowhere else, so concurrent calls cannot meet. The
call's own span is never made current: only an attempt's is, while its target
runs, in the task that runs it.

All times come from the Clock. Each call ties it once to the wall clock, a
nested call to the same instant as the one around it, so that children lie
inside their parents whatever the wall clock does meanwhile. In virtual time
the Clock's zero is the year 2000.
"""

from __future__ import annotations

import contextlib
import time
from contextvars import Token
from typing import TYPE_CHECKING

from opentelemetry import context as otel
from opentelemetry.trace import (
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
)

from resilient._runtime.listeners import once
from resilient.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from resilient._core.events import CallRejected
    from resilient.telemetry._call import Call

EPOCH = 946_684_800_000_000_000
"""2000-01-01T00:00:00Z in nanoseconds: zero of virtual time (exporters take 0 for "unknown")."""


class Times:
    """Turns instants of the Clock into nanoseconds since 1970."""

    __slots__ = ("_at", "_wall")

    def __init__(self, wall: int, at: float) -> None:
        self._wall = wall
        self._at = at

    def ns(self, at: float) -> int:
        """Return the wall time of `at`."""
        return self._wall + round((at - self._at) * 1e9)


def times_of(call: Call) -> Times:
    """Tie the Clock of `call` to the wall clock, as the call around it did."""
    parent: Call | None = call.parent
    if parent is not None and parent.spans is not None and not parent.spans.ended:
        around: CallSpans = parent.spans
        if around.clock is call.runtime.clock:
            return around.times
    clock: Callable[[], float] = call.runtime.clock
    if clock is not time.monotonic:
        return Times(EPOCH, 0.0)
    return Times(time.time_ns(), clock())


class Attempt:
    """The span of an attempt, and the one that describes its target."""

    __slots__ = ("described", "span")

    def __init__(self, span: Span, described: Span) -> None:
        self.span = span
        self.described = described


class CallSpans:
    """What a call has open: its own span, a target's, an attempt's."""

    __slots__ = (
        "attempt",
        "attempt_context",
        "base",
        "call",
        "clock",
        "context",
        "ended",
        "interrupted",
        "recorded",
        "refused",
        "target",
        "times",
    )

    def __init__(
        self, call: Call, span: Span, base: Context, context: Context, times: Times
    ) -> None:
        self.clock = call.runtime.clock
        self.times = times
        self.base = base
        self.call = span
        self.context = context
        self.attempt: Span | None = None
        self.attempt_context: Context | None = None
        self.target: Span | None = None
        # The type of the limit of ours that expired between two attempts on a target.
        self.interrupted: str | None = None
        # Which exception is on a span already; its id, for it must not be kept.
        self.recorded: int | None = None
        # A refusal of which it is not known yet whether a chain goes on.
        self.refused: CallRejected | None = None
        self.ended = False

    def correlate(self, *, attempt: bool) -> tuple[dict[str, str], Token[Context]]:
        """Make the last attempt's span current for a log line, or the call's; return its ids."""
        context = self.attempt_context if attempt and self.attempt_context else self.context
        found = get_current_span(context).get_span_context()
        ids = {
            names.TRACE_ID: format_trace_id(found.trace_id),
            names.SPAN_ID: format_span_id(found.span_id),
        }
        return ids, otel.attach(context)

    @staticmethod
    def uncorrelate(token: Token[Context]) -> None:
        """Undo it."""
        detach(token)


def fail(span: Span, kind: str, text: str | None) -> None:
    """Say that what `span` is about has failed, and with what."""
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, text))


def finish(span: Span, end: int) -> None:
    """End `span`; an exporter that fails here keeps no other span from ending."""
    try:
        span.end(end)
    except Exception as error:  # noqa: BLE001 - an observer never changes an outcome
        once(("end", type(error)), "ending a span failed with %s", type(error).__qualname__)


def enter(context: Context) -> Callable[[], None]:
    """Make `context` current in this task; return what undoes it there."""
    token = otel.attach(context)
    return lambda: detach(token)


def detach(token: Token[Context]) -> None:
    """Leave the context that was attached."""
    own: object = token
    if not isinstance(own, Token):  # a context implementation of somebody's own
        otel.detach(token)
        return
    # Closed by the garbage collector, in another context: `otel.detach` would log an error.
    with contextlib.suppress(ValueError):
        token.var.reset(token)
