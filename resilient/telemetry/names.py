"""Every name that telemetry emits, as data.

Span attributes and their values, patterns of span names, the log lines with
their severities and fields, and what `error.type` says of the library's own
errors. Code takes its names from here, a test compares them with the tables of
the published page, and another with what is really emitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from resilient._core.events import CallOutcome, RetryResult
from resilient._core.outcome import Disposition, Kind, Verdict, WaitSource

__all__ = ("Attribute", "Line", "Severity", "Span", "Type")

Type: TypeAlias = Literal["str", "bool", "int", "float", "str[]"]
"""The type of a value; `float` holds seconds."""

Severity: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
"""How loud a log line is."""

SpanKind: TypeAlias = Literal["call", "attempt", "target"]

SCOPE = "resilient"
DISTRIBUTION = "resilient-policies"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# Attributes of spans; log lines use the same names for the same facts.
FUNCTION = "code.function.name"
PIPELINE = "resilient.pipeline.name"
POLICIES = "resilient.policies"
PARENT_ATTEMPT = "resilient.parent.attempt"
OUTCOME = "resilient.call.outcome"
ATTEMPTS = "resilient.call.attempts"
RETRY_RESULT = "resilient.retry.result"
DELAY_TOTAL = "resilient.retry.delay.total"
DEGRADED = "resilient.degraded"
NUMBER = "resilient.attempt.number"
KIND = "resilient.attempt.kind"
VERDICT = "resilient.attempt.verdict"
DISPOSITION = "resilient.attempt.disposition"
TARGET = "resilient.target.name"
TARGET_INDEX = "resilient.target.index"
DELAY = "resilient.retry.delay"
DELAY_SOURCE = "resilient.retry.delay.source"
HINT_SOURCE = "resilient.retry.hint.source"
TIMEOUT = "resilient.timeout"
TIMEOUT_SCOPE = "resilient.timeout.scope"
OVERRUN = "resilient.timeout.overrun"
SKIP_REASON = "resilient.skip.reason"
SKIP_SCOPE = "resilient.skip.scope"
ERROR_TYPE = "error.type"
STATUS = "http.response.status_code"

# Only in log lines.
EVENT = "event.name"
TRACE_ID = "resilient.trace_id"
SPAN_ID = "resilient.span_id"
ELAPSED = "resilient.call.elapsed"
LIMIT = "resilient.retry.attempts"
BUDGET = "resilient.retry.budget.name"
NEXT_TARGET = "resilient.fallback.to"
POLICY = "resilient.policy.name"
RETRY_AFTER = "resilient.retry_after"
FILE = "code.file.path"
LINE = "code.line.number"

# Log lines.
SCHEDULED = "resilient.retry.scheduled"
STOPPED = "resilient.retry.stopped"
BUDGET_EXHAUSTED = "resilient.retry.budget_exhausted"
TIMEOUT_FIRED = "resilient.timeout.fired"
TIMEOUT_OVERRUN = "resilient.timeout.overrun"
SKIPPED = "resilient.target.skipped"
RESTS = "resilient.target.rests"
FELL_BACK = "resilient.fallback.activated"
BUG_SERVED = "resilient.fallback.bug_served"
DEGRADED_ANSWER = "resilient.fallback.degraded"
REJECTED = "resilient.call.rejected"
FAILED = "resilient.call.failed"
ATTEMPT_ENDED = "resilient.attempt.ended"


@dataclass(frozen=True, slots=True)
class Span:
    """A span: its name, where `{pipeline}` stands for the pipeline's, and its OpenTelemetry kind.

    `None` where a target's own description says it.
    """

    of: SpanKind
    name: str | None
    kind: Literal["internal"] | None


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute: its type, the spans that carry it, all its values if it has a closed set."""

    name: str
    type: Type
    spans: tuple[SpanKind, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A log line: its event name and how loud it is; `None` is not written unless asked for."""

    name: str
    severity: Severity | None


SPANS = (
    Span("call", "{pipeline}", "internal"),
    Span("attempt", "attempt {pipeline}", "internal"),
    Span("target", None, None),
)

_DISPOSITIONS = get_args(Disposition)
_OUTCOMES = get_args(CallOutcome)
_RETRY_RESULTS = get_args(RetryResult)
_WAIT_SOURCES = get_args(WaitSource)
_LIMITS = ("attempt", "total")
_SKIPS = ("scope_condemned", "cooldown", "deadline", "routed_away", "disabled")

ATTRIBUTES = (
    Attribute(FUNCTION, "str", ("call",)),
    Attribute(PIPELINE, "str", ("call",)),
    Attribute(POLICIES, "str[]", ("call",)),
    Attribute(PARENT_ATTEMPT, "int", ("call",)),
    Attribute(OUTCOME, "str", ("call",), _OUTCOMES),
    Attribute(ATTEMPTS, "int", ("call",)),
    Attribute(RETRY_RESULT, "str", ("call",), _RETRY_RESULTS),
    Attribute(DELAY_TOTAL, "float", ("call",)),
    Attribute(DEGRADED, "bool", ("call",)),
    Attribute(NUMBER, "int", ("attempt",)),
    Attribute(KIND, "str", ("attempt",), get_args(Kind)),
    Attribute(TARGET, "str", ("call", "attempt", "target")),
    Attribute(TARGET_INDEX, "int", ("call", "attempt", "target")),
    Attribute(VERDICT, "str", ("attempt",), get_args(Verdict)),
    Attribute(DISPOSITION, "str", ("attempt",), _DISPOSITIONS),
    Attribute(DELAY, "float", ("attempt",)),
    Attribute(DELAY_SOURCE, "str", ("attempt",), _WAIT_SOURCES),
    Attribute(HINT_SOURCE, "str", ("attempt",)),
    Attribute(TIMEOUT, "float", ("attempt",)),
    Attribute(TIMEOUT_SCOPE, "str", ("attempt",), _LIMITS),
    Attribute(OVERRUN, "float", ("attempt",)),
    Attribute(SKIP_REASON, "str", ("attempt",), _SKIPS),
    Attribute(SKIP_SCOPE, "str", ("attempt",)),
    Attribute(ERROR_TYPE, "str", ("call", "attempt", "target")),
    Attribute(STATUS, "int", ("attempt",)),
)

FIELDS = (
    Attribute(EVENT, "str"),
    Attribute(PIPELINE, "str"),
    Attribute(TRACE_ID, "str"),
    Attribute(SPAN_ID, "str"),
    Attribute(NUMBER, "int"),
    Attribute(DISPOSITION, "str", values=_DISPOSITIONS),
    Attribute(TARGET, "str"),
    Attribute(NEXT_TARGET, "str"),
    Attribute(ERROR_TYPE, "str"),
    Attribute(STATUS, "int"),
    Attribute(LIMIT, "int"),
    Attribute(DELAY, "float"),
    Attribute(DELAY_SOURCE, "str", values=_WAIT_SOURCES),
    Attribute(RETRY_RESULT, "str", values=_RETRY_RESULTS),
    Attribute(RETRY_AFTER, "float"),
    Attribute(BUDGET, "str"),
    Attribute(TIMEOUT, "float"),
    Attribute(TIMEOUT_SCOPE, "str", values=_LIMITS),
    Attribute(OVERRUN, "float"),
    Attribute(SKIP_REASON, "str", values=_SKIPS),
    Attribute(SKIP_SCOPE, "str"),
    Attribute(POLICY, "str"),
    Attribute(OUTCOME, "str", values=_OUTCOMES),
    Attribute(ATTEMPTS, "int"),
    Attribute(ELAPSED, "float"),
    Attribute(FILE, "str"),
    Attribute(LINE, "int"),
)

LINES = (
    Line(SCHEDULED, "WARNING"),
    Line(FELL_BACK, "WARNING"),
    Line(SKIPPED, "INFO"),
    Line(RESTS, "WARNING"),
    Line(BUG_SERVED, "ERROR"),
    Line(DEGRADED_ANSWER, "ERROR"),
    Line(FAILED, "ERROR"),
    Line(REJECTED, "ERROR"),
    Line(STOPPED, "ERROR"),
    Line(BUDGET_EXHAUSTED, "WARNING"),
    Line(TIMEOUT_OVERRUN, "WARNING"),
    Line(TIMEOUT_FIRED, None),
    Line(ATTEMPT_ENDED, None),
)

OTHER = "_OTHER"
"""What `error.type` says past the last of the distinct values of a pipeline."""

DISTINCT_ERRORS = 64

ERROR_TYPES = (
    ('`TimedOut`, limit `"attempt"`', "timeout"),
    ('`TimedOut`, limit `"total"`', "deadline_exceeded"),
    ("`AllTargetsFailed`", "all_targets_failed"),
    ("`Unacceptable`, or a value that `on_result` judged a failure", "unacceptable_result"),
    ("`Skipped`", "skipped"),
)
"""What `error.type` says of the library's own errors."""
