"""The listener that measures: a point for each call, one for each attempt, and what went wrong.

A call that answers at once records exactly these two, and a third where it
had several targets to choose from: which one answered. Every point is recorded
in the context of the span that it is about, so an exemplar leads from the
number to the trace; nothing is attached for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._core import events
from resilient.telemetry import names
from resilient.telemetry._instruments import instruments_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider

    from resilient.telemetry._attributes import Attributes
    from resilient.telemetry._call import Call
    from resilient.telemetry._failures import Failures


class MetricsListener:
    """Measures with the instruments of one provider."""

    __slots__ = ("_failures", "_hooks", "_put", "instruments")

    def __init__(self, provider: MeterProvider, failures: Failures) -> None:
        self.instruments = instruments_of(provider)
        self._put = self.instruments.puts()
        self._failures = failures
        self._hooks: dict[type[events.Event], Callable[[Any, Call], None]] = {
            events.AttemptEnded: self._attempt_ended,
            events.StreamCommitted: self._stream_committed,
            events.CallRejected: self._call_rejected,
            events.BudgetRefused: self._budget_refused,
            events.TargetSkipped: self._target_skipped,
            events.TimeoutOverrun: self._timeout_overrun,
            events.BreakerChanged: self._breaker_changed,
            events.CallEnded: self._call_ended,
        }

    def on_event(self, event: events.Event, call: Call, /) -> None:
        """Record what the event says, if it is measured."""
        hook = self._hooks.get(type(event))
        if hook is not None:
            hook(event, call)

    def add(self, name: str, number: float, attributes: Attributes) -> None:
        """Add to a counter that is no event's, in the context of whoever does."""
        self._put[name](number, attributes)

    def _attempt_ended(self, event: events.AttemptEnded, call: Call) -> None:
        attributes = {**_of_target(call, event.target), names.KIND: call.kind}
        failed = self._failures.of(call.plan.name, event.error, unacceptable=event.unacceptable)
        if failed is not None:
            attributes[names.ERROR_TYPE] = failed
        self._record(
            names.ATTEMPT_DURATION, event.ended - event.started, attributes, _attempt(call)
        )

    def _stream_committed(self, event: events.StreamCommitted, call: Call) -> None:
        attributes = _of_target(call, call.target)
        self._record(names.FIRST_ITEM_DURATION, event.after, attributes, _attempt(call))

    def _call_rejected(self, event: events.CallRejected, call: Call) -> None:
        error = event.error
        kind = event.policy if error is None else self._failures.type_of(call.plan.name, error)
        self._refused(event.name or event.policy, kind, call, enforced=event.enforced)

    def _budget_refused(self, event: events.BudgetRefused, call: Call) -> None:
        self._refused(event.budget, names.BUDGET_REFUSED, call, enforced=True)

    def _refused(self, policy: str, kind: str, call: Call, *, enforced: bool) -> None:
        attributes = {names.POLICY: policy, names.ERROR_TYPE: kind, names.ENFORCED: enforced}
        self._count(names.REJECTIONS, attributes, _call(call))

    def _target_skipped(self, event: events.TargetSkipped, call: Call) -> None:
        attributes = {**_of_target(call, event.target), names.SKIP_REASON: event.reason}
        self._count(names.SKIPS, attributes, _call(call))

    def _timeout_overrun(self, event: events.TimeoutOverrun, call: Call) -> None:
        del event
        self._count(names.OVERRUNS, _of_pipeline(call), _attempt(call))

    def _breaker_changed(self, event: events.BreakerChanged, call: Call) -> None:
        attributes = {
            names.BREAKER: event.name,
            names.BREAKER_FROM: event.from_state,
            names.BREAKER_TO: event.to_state,
        }
        self._count(names.TRANSITIONS, attributes, _attempt(call))

    def _call_ended(self, event: events.CallEnded, call: Call) -> None:
        context = _call(call)
        attributes = {**_of_pipeline(call), names.OUTCOME: event.outcome}
        if call.plan.retries and event.retry_result is not None:
            attributes[names.RETRY_RESULT] = event.retry_result
        unacceptable = event.outcome == "failure" and event.error is None
        failed = self._failures.of(call.plan.name, event.error, unacceptable=unacceptable)
        if failed is not None:
            attributes[names.ERROR_TYPE] = failed
        self._record(names.CALL_DURATION, event.elapsed, attributes, context)
        if event.attempts > 1:
            self._retried(event, call, context)
        if event.waited > 0:
            self._record(names.CALL_RETRY_DELAY, event.waited, _of_pipeline(call), context)
        if event.target is not None and len(call.plan.targets) > 1:
            who = {**_of_target(call, event.target), names.TARGET_INDEX: event.target_index}
            self._count(names.SELECTIONS, who, context)

    def _retried(self, event: events.CallEnded, call: Call, context: Context | None) -> None:
        # The oldest of very many attempts are forgotten, and the first attempt of all with them.
        firsts = sum(attempt.on_target == 1 for attempt in call.history or ())
        retries = event.attempts - max(1, firsts)
        if retries:
            self._record(names.CALL_RETRIES, retries, _of_pipeline(call), context)

    def _record(
        self, name: str, number: float, attributes: Attributes, context: Context | None
    ) -> None:
        self._put[name](number, attributes, context=context)

    def _count(self, name: str, attributes: Attributes, context: Context | None) -> None:
        self._put[name](1, attributes, context=context)


def _of_pipeline(call: Call) -> Attributes:
    return {names.PIPELINE: call.plan.name}


def _of_target(call: Call, target: str) -> Attributes:
    return {names.PIPELINE: call.plan.name, names.TARGET: target}


def _call(call: Call) -> Context | None:
    """Return the context of the call's span; without one the caller's is the right one."""
    spans = call.spans
    return None if spans is None else spans.context


def _attempt(call: Call) -> Context | None:
    """Return the context of the last attempt's span, before the first one the call's."""
    spans = call.spans
    return None if spans is None else spans.attempt_context or spans.context
