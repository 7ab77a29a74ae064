"""The log: one sentence for each thing that went wrong, on the logger `resilient`.

Nothing is written on success, and no fact twice. A failed attempt is told by
the line of what followed it:

    another attempt     `RetryScheduled`   WARNING
    another target      `FellBack`         WARNING
    the last resort     `Degraded`         ERROR
    nothing: an error   `CallEnded`        ERROR, once for each call
    nothing: a value    `RetryStopped`     ERROR, a value that `on_result` judged bad is returned

So `AttemptEnded`, `TimeoutFired` and a `RetryStopped` with an error have no
line of their own; `severities` can give the first two one. Facts of their own
are `TargetSkipped` (INFO), `TargetRests`, `BudgetRefused` and `TimeoutOverrun`
(WARNING), `BugServed` (ERROR), which says where a bug is that a fallback hides,
`StreamCut` (ERROR), and `BreakerChanged`, whose severity is that of the state.
What an open circuit refuses is told by that line and by no other.

The facts of the sentence are also in `extra`, under the names that spans use.
They have dots in them, so none can be an attribute of a `LogRecord`. No
argument, no result and no text of a foreign exception is in either.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from resilient._core import events
from resilient._core.names import error_status, error_type
from resilient._runtime.listeners import log
from resilient.errors import AllTargetsFailed, CircuitOpen, Rejected, Skipped, TimedOut
from resilient.telemetry import names
from resilient.telemetry._breaker_lines import changed
from resilient.telemetry._words import each, limit_reached, on, say, seconds, why

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient.telemetry._call import Call
    from resilient.telemetry.names import Severity

    Facts = dict[str, Any]
    Told = tuple[str, str, Facts]
    """The name of the line, the sentence, the facts."""

LEVELS: dict[str, int] = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
}


class LogListener:
    """Writes the lines, as loud as `severities` says or the defaults do."""

    __slots__ = ("_levels", "_loudest")

    def __init__(self, severities: Mapping[str, Severity]) -> None:
        chosen = {line.name: line.severity for line in names.LINES} | dict(severities)
        self._levels = {name: LEVELS[loud] for name, loud in chosen.items() if loud is not None}
        self._loudest = max(self._levels.values(), default=0)

    def on_event(self, event: events.Event, call: Call, /) -> None:
        """Write a line, if the event is worth one."""
        if not log.isEnabledFor(self._loudest):
            return  # before a sentence is made that nobody would read
        tell = _TOLD.get(type(event))
        told = None if tell is None else tell(event, call)
        if told is None:
            return
        name, sentence, facts = told
        level = self._levels.get(name)
        if level is not None and log.isEnabledFor(level):
            facts = {
                names.EVENT: name,
                names.PIPELINE: call.plan.name,
                **{key: value for key, value in facts.items() if value is not None},
            }
            about_attempt = names.NUMBER in facts
            if names.BREAKER not in facts:  # a circuit breaker may be that of many pipelines
                sentence = f"{call.plan.name}: {sentence}"
            _write(call, level, sentence, facts, attempt=about_attempt)


def _write(call: Call, level: int, sentence: str, facts: Facts, *, attempt: bool) -> None:
    spans = call.spans
    if spans is None:
        log.log(level, sentence, extra=facts)
        return
    # Current while the line is written: whatever bridges logs then finds the right span by itself.
    ids, token = spans.correlate(attempt=attempt)
    try:
        log.log(level, sentence, extra=facts | ids)
    finally:
        spans.uncorrelate(token)


def _scheduled(event: events.RetryScheduled, call: Call) -> Told:
    # The number within the target: that is what the limit of its retry counts.
    mine = call.on_target
    limit = event.attempts if event.attempts is not None and mine <= event.attempts else None
    of = "" if limit is None else f" of {limit}"
    asked = {"hint": " (as the server asks)", "predicate": " (as on= asks)"}.get(event.source, "")
    sentence = (
        f"attempt {mine}{of}{on(call, call.target)} failed: {say(event.error)};"
        f" next try in {seconds(event.wait)}{asked}"
    )
    facts = {
        names.NUMBER: event.number,
        names.DISPOSITION: "retried",
        names.TARGET: call.target,
        names.LIMIT: event.attempts,
        names.DELAY: float(event.wait),
        names.DELAY_SOURCE: event.source,
        **_failure(event.error),
    }
    return names.SCHEDULED, sentence, facts


def _stopped(event: events.RetryStopped, call: Call) -> Told | None:
    if event.error is not None or not event.leaves:
        return None
    sentence = (
        f"attempt {event.number}{on(call, call.target)} returned an unacceptable result,"
        f" and it is what the call returns ({why(event.result)})"
    )
    facts = {
        names.NUMBER: event.number,
        names.DISPOSITION: "returned",
        names.TARGET: call.target,
        names.RETRY_RESULT: event.result,
        **_failure(None),
    }
    return names.STOPPED, sentence, facts


def _budget(event: events.BudgetRefused, call: Call) -> Told:
    sentence = f'no retry after attempt {event.number}: budget "{event.budget}" is exhausted'
    facts = {names.NUMBER: event.number, names.BUDGET: event.budget, names.TARGET: call.target}
    return names.BUDGET_EXHAUSTED, sentence, facts


def _overrun(event: events.TimeoutOverrun, call: Call) -> Told:
    sentence = (
        f"attempt {event.number}{on(call, call.target)} came back {seconds(event.overrun)} after"
        f" its limit of {seconds(event.after)}: something in it swallows cancellation"
    )
    facts = {
        names.NUMBER: event.number,
        names.TARGET: call.target,
        names.TIMEOUT: float(event.after),
        names.TIMEOUT_SCOPE: event.limit,
        names.OVERRUN: event.overrun,
    }
    return names.TIMEOUT_OVERRUN, sentence, facts


def _fired(event: events.TimeoutFired, call: Call) -> Told:
    sentence = f"{limit_reached(event.after, event.limit)}{on(call, call.target)}"
    facts = {
        names.NUMBER: event.number or None,
        names.TARGET: call.target,
        names.TIMEOUT: float(event.after),
        names.TIMEOUT_SCOPE: event.limit,
    }
    return names.TIMEOUT_FIRED, sentence, facts


def _skipped(event: events.TargetSkipped, _call: Call) -> Told:
    sentence = f"{Skipped(event.target, event.reason, scope=event.scope)}"
    facts = {
        names.TARGET: event.target,
        names.DISPOSITION: "skipped",
        names.SKIP_REASON: event.reason,
        names.SKIP_SCOPE: event.scope,
        names.RETRY_AFTER: _float(event.retry_after),
    }
    return names.SKIPPED, sentence, facts


def _rests(event: events.TargetRests, call: Call) -> Told:
    who = event.target if event.scope is None else f"the {event.scope} of {event.target}"
    asked = ", as the server asks" if event.asked else ""
    sentence = f"{who} rests {seconds(event.seconds)} ({say(event.error)}{asked})"
    facts = {
        names.NUMBER: call.attempt or None,
        names.TARGET: event.target,
        names.SKIP_SCOPE: event.scope,
        names.RETRY_AFTER: float(event.seconds),
        **_failure(event.error),
    }
    return names.RESTS, sentence, facts


def _fell_back(event: events.FellBack, call: Call) -> Told | None:
    if isinstance(event.error, Rejected):
        return None  # it was not asked, as the line before says
    after = f" after {call.on_target} attempts" if call.on_target > 1 else ""
    sentence = f"{event.from_target} failed{after}: {say(event.error)}; asking {event.to_target}"
    facts = {
        names.NUMBER: call.attempt or None,
        names.DISPOSITION: "fell_back",
        names.TARGET: event.from_target,
        names.NEXT_TARGET: event.to_target,
        **_failure(event.error),
    }
    return names.FELL_BACK, sentence, facts


def _bug(event: events.BugServed, call: Call) -> Told:
    sentence = (
        f"{event.target} failed with {event.error_type} at {event.file}:{event.line},"
        " which looks like a bug; the fallback hides it"
    )
    facts = {
        names.NUMBER: call.attempt or None,
        names.TARGET: event.target,
        names.ERROR_TYPE: event.error_type,
        names.FILE: event.file,
        names.LINE: event.line,
    }
    return names.BUG_SERVED, sentence, facts


def _degraded(event: events.Degraded, call: Call) -> Told:
    del event
    sentence = f"no target answered ({each(call)}); the last resort is returned"
    facts = {names.OUTCOME: "degraded", names.ATTEMPTS: call.attempt}
    return names.DEGRADED_ANSWER, sentence, facts


def _cut(event: events.StreamCut, call: Call) -> Told:
    items = f"{event.items} item{'' if event.items == 1 else 's'}"
    sentence = f"the stream{on(call, call.target)} was cut after {items}: {say(event.error)}"
    facts = {
        names.NUMBER: event.number,
        names.TARGET: call.target,
        names.ITEMS: event.items,
        **_failure(event.error),
    }
    return names.CUT, sentence, facts


def _ended(event: events.CallEnded, call: Call) -> Told | None:
    error = event.error
    if error is None or event.outcome not in {"failure", "rejected"}:
        return None
    if event.outcome == "rejected" and isinstance(error, CircuitOpen):
        return None  # that its circuit opened has been said
    facts = {
        names.OUTCOME: event.outcome,
        names.ATTEMPTS: event.attempts,
        names.ELAPSED: event.elapsed,
        names.RETRY_RESULT: event.retry_result,
        **_failure(error),
    }
    if event.outcome == "rejected":
        facts[names.POLICY] = getattr(error, "policy", None)
        facts[names.RETRY_AFTER] = _float(getattr(error, "retry_after", None))
        return names.REJECTED, f"refused: {say(error)}", facts
    attempts = f"{event.attempts} attempt{'' if event.attempts == 1 else 's'}"
    sentence = f"failed after {attempts} in {seconds(event.elapsed)}: "
    if isinstance(error, AllTargetsFailed):
        sentence += f"every target ({each(call)})"
    else:
        sentence += say(error)
        cut = isinstance(error, TimedOut) and error.limit == "total"  # and says so itself
        if event.retry_result is not None and not cut:
            sentence += f" ({why(event.retry_result)})"
    return names.FAILED, sentence, facts


def _attempt(event: events.AttemptEnded, call: Call) -> Told:
    sentence = (
        f"attempt {event.number}{on(call, event.target)} ended after"
        f" {seconds(event.ended - event.started)}: {event.disposition}"
    )
    facts = {
        names.NUMBER: event.number,
        names.DISPOSITION: event.disposition,
        names.TARGET: event.target,
    }
    if event.error is not None or event.unacceptable:
        sentence += f", {say(event.error)}"
        facts |= _failure(event.error)
    return names.ATTEMPT_ENDED, sentence, facts


_TOLD: dict[type[events.Event], Callable[[Any, Call], Told | None]] = {
    events.RetryScheduled: _scheduled,
    events.RetryStopped: _stopped,
    events.BudgetRefused: _budget,
    events.TimeoutFired: _fired,
    events.TimeoutOverrun: _overrun,
    events.TargetSkipped: _skipped,
    events.TargetRests: _rests,
    events.FellBack: _fell_back,
    events.BugServed: _bug,
    events.Degraded: _degraded,
    events.BreakerChanged: changed,
    events.StreamCut: _cut,
    events.CallEnded: _ended,
    events.AttemptEnded: _attempt,
}


def _failure(error: BaseException | None) -> Facts:
    facts: Facts = {names.ERROR_TYPE: "unacceptable_result" if error is None else error_type(error)}
    facts[names.STATUS] = error_status(error)
    if isinstance(error, TimedOut):
        facts[names.TIMEOUT] = float(error.after)
        facts[names.TIMEOUT_SCOPE] = error.limit
    return facts


def _float(number: float | None) -> float | None:
    return None if number is None else float(number)
