"""What a span says, as attributes: from events and calls, without OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._core.names import error_status
from resilient.telemetry import names

if TYPE_CHECKING:
    from resilient._core import events
    from resilient._core.breaker_states import State
    from resilient._core.outcome import WaitSource
    from resilient.telemetry._call import Call

Attributes = dict[str, Any]


def of_call(call: Call) -> Attributes:
    """Say what is known of a call when it begins."""
    plan = call.plan
    parent: Call | None = call.parent
    attributes: Attributes = {names.PIPELINE: plan.name, names.POLICIES: plan.policies}
    if plan.function != plan.name:
        attributes[names.FUNCTION] = plan.function
    if parent is not None and parent.attempt:
        attributes[names.PARENT_ATTEMPT] = parent.attempt
    return attributes


def of_target(event: events.AttemptStarted | events.TargetSkipped) -> Attributes:
    """Say which target an event is about."""
    return {names.TARGET: event.target, names.TARGET_INDEX: event.target_index}


def of_attempt(event: events.AttemptStarted) -> Attributes:
    """Say what is known of an attempt when it begins."""
    attributes = {names.NUMBER: event.number, names.KIND: event.kind, **of_target(event)}
    if event.breaker is not None:
        attributes |= of_breaker(event.breaker, event.breaker_state)
    return attributes


def of_breaker(name: str | None, state: State | None) -> Attributes:
    """Say which circuit breaker stood before a target, and how."""
    found = {names.BREAKER: name, names.BREAKER_STATE: state}
    return {key: value for key, value in found.items() if value is not None}


def of_skip(event: events.TargetSkipped) -> Attributes:
    """Say why a target was not asked."""
    attributes = {
        **of_target(event),
        names.VERDICT: "neutral",
        names.DISPOSITION: "skipped",
        names.SKIP_REASON: event.reason,
    }
    if event.scope is not None:
        attributes[names.SKIP_SCOPE] = event.scope
    return attributes


def of_rejection(event: events.CallRejected, call: Call) -> Attributes:
    """Say which target a policy kept from being asked."""
    attributes: Attributes = {
        names.TARGET: call.target,
        names.TARGET_INDEX: call.target_index,
        names.VERDICT: "neutral",
        names.DISPOSITION: "rejected",
    }
    return attributes | of_refusal(event)


def of_refusal(event: events.CallRejected) -> Attributes:
    """Say which circuit breaker refused, if it was one."""
    return of_breaker(event.name, event.state) if event.policy == "circuit_breaker" else {}


def of_attempt_end(event: events.AttemptEnded) -> Attributes:
    """Say what came of an attempt."""
    attributes: Attributes = {
        names.VERDICT: event.verdict,
        names.DISPOSITION: event.disposition,
    }
    if event.wait is not None and event.wait_source is not None:
        attributes |= of_wait(event.wait, event.wait_source)
    if event.hint_source is not None:
        attributes[names.HINT_SOURCE] = event.hint_source
    if event.timeout is not None and event.timeout_limit is not None:
        attributes[names.TIMEOUT] = float(event.timeout)
        attributes[names.TIMEOUT_SCOPE] = event.timeout_limit
    if event.overrun is not None:
        attributes[names.OVERRUN] = event.overrun
    if event.first_item is not None:
        attributes[names.FIRST_ITEM] = float(event.first_item)
    status = error_status(event.error)
    if status is not None:
        attributes[names.STATUS] = status
    return attributes


def of_wait(seconds: float, source: WaitSource) -> Attributes:
    """Say which wait follows an attempt, and who asked for it."""
    return {names.DELAY: float(seconds), names.DELAY_SOURCE: source}


def of_call_end(event: events.CallEnded, call: Call) -> Attributes:
    """Say what came of a call."""
    attributes: Attributes = {names.OUTCOME: event.outcome, names.ATTEMPTS: event.attempts}
    if call.plan.retries and event.retry_result is not None:
        attributes[names.RETRY_RESULT] = event.retry_result
    if event.waited > 0:
        attributes[names.DELAY_TOTAL] = float(event.waited)
    if event.target is not None and event.target_index is not None:
        attributes[names.TARGET] = event.target
        attributes[names.TARGET_INDEX] = event.target_index
    if event.outcome == "degraded":
        attributes[names.DEGRADED] = True
    if event.items is not None:
        attributes[names.ITEMS] = event.items
    return attributes
