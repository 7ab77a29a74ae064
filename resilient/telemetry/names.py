"""Every name that telemetry emits, as data.

Span attributes and their values, patterns of span names, the metrics, the log
lines with their severities and fields, and what `error.type` says of the
library's own errors. Code takes its names from here, a test compares them with the tables of
the published page, and another with what is really emitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from resilient._core.breaker_states import Reason, State
from resilient._core.events import CallOutcome, RetryResult
from resilient._core.outcome import Disposition, Kind, Verdict, WaitSource

__all__ = ("Attribute", "Line", "Metric", "Severity", "Span", "Type")

Type: TypeAlias = Literal["str", "bool", "int", "float", "str[]"]
"""The type of a value; `float` holds seconds."""

Severity: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
"""How loud a log line is."""

SpanKind: TypeAlias = Literal["call", "attempt", "target"]

Instrument: TypeAlias = Literal[
    "histogram", "counter", "observable_up_down_counter", "observable_gauge"
]
"""What a metric is measured with."""

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

BREAKER = "resilient.circuit_breaker.name"
BREAKER_STATE = "resilient.circuit_breaker.state"
ITEMS = "resilient.stream.items"
FIRST_ITEM = "resilient.stream.first_item"

# Only on metrics.
ENFORCED = "resilient.rejection.enforced"
COST_RESOLVED = "resilient.openrouter.cost.resolved"

# On metrics and in log lines.
BREAKER_FROM = "resilient.circuit_breaker.state.from"
BREAKER_TO = "resilient.circuit_breaker.state.to"
BUDGET = "resilient.budget.name"
POLICY = "resilient.policy.name"

# Only in log lines.
EVENT = "event.name"
TRACE_ID = "resilient.trace_id"
SPAN_ID = "resilient.span_id"
ELAPSED = "resilient.call.elapsed"
LIMIT = "resilient.retry.attempts"
NEXT_TARGET = "resilient.fallback.to"
RETRY_AFTER = "resilient.retry_after"
BREAKER_REASON = "resilient.circuit_breaker.reason"
BREAKER_CALLS = "resilient.circuit_breaker.calls"
BREAKER_FAILURES = "resilient.circuit_breaker.failures"
BREAKER_SLOW = "resilient.circuit_breaker.slow"
FILE = "code.file.path"
LINE = "code.line.number"

# Metrics.
CALL_DURATION = "resilient.call.duration"
ATTEMPT_DURATION = "resilient.attempt.duration"
CALL_RETRIES = "resilient.call.retries"
CALL_RETRY_DELAY = "resilient.call.retry_delay"
FIRST_ITEM_DURATION = "resilient.stream.first_item.duration"
REJECTIONS = "resilient.rejections"
SELECTIONS = "resilient.fallback.selections"
SKIPS = "resilient.target.skips"
OVERRUNS = "resilient.timeout.overruns"
TRANSITIONS = "resilient.circuit_breaker.transitions"
STATES = "resilient.circuit_breaker.state"
TOKENS = "resilient.retry.budget.available"
COST = "resilient.openrouter.cost"

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
BREAKER_OPENED = "resilient.circuit_breaker.opened"
BREAKER_HALF_OPENED = "resilient.circuit_breaker.half_opened"
BREAKER_CLOSED = "resilient.circuit_breaker.closed"
BREAKER_ISOLATED = "resilient.circuit_breaker.isolated"
BREAKER_DISABLED = "resilient.circuit_breaker.disabled"
CUT = "resilient.stream.cut"
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


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: what it is measured with, its unit, what it says, its attributes.

    Those of `sometimes` are left out where they do not apply. `buckets` are
    the upper bounds that a histogram asks for; a view may have others.
    """

    name: str
    instrument: Instrument
    unit: str
    says: str
    attributes: tuple[str, ...]
    sometimes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SPANS = (
    Span("call", "{pipeline}", "internal"),
    Span("attempt", "attempt {pipeline}", "internal"),
    Span("target", None, None),
)

_DISPOSITIONS = get_args(Disposition)
_OUTCOMES = get_args(CallOutcome)
_RETRY_RESULTS = get_args(RetryResult)
_WAIT_SOURCES = get_args(WaitSource)
_STATES = get_args(State)
_LIMITS = ("attempt", "total", "first_item", "between_items")

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
    Attribute(ITEMS, "int", ("call",)),
    Attribute(NUMBER, "int", ("attempt",)),
    Attribute(KIND, "str", ("attempt",), get_args(Kind)),
    Attribute(TARGET, "str", ("call", "attempt", "target")),
    Attribute(TARGET_INDEX, "int", ("call", "attempt", "target")),
    Attribute(BREAKER, "str", ("attempt",)),
    Attribute(BREAKER_STATE, "str", ("attempt",), _STATES),
    Attribute(VERDICT, "str", ("attempt",), get_args(Verdict)),
    Attribute(DISPOSITION, "str", ("attempt",), _DISPOSITIONS),
    Attribute(DELAY, "float", ("attempt",)),
    Attribute(DELAY_SOURCE, "str", ("attempt",), _WAIT_SOURCES),
    Attribute(HINT_SOURCE, "str", ("attempt",)),
    Attribute(TIMEOUT, "float", ("attempt",)),
    Attribute(TIMEOUT_SCOPE, "str", ("attempt",), _LIMITS),
    Attribute(OVERRUN, "float", ("attempt",)),
    Attribute(FIRST_ITEM, "float", ("attempt",)),
    Attribute(SKIP_REASON, "str", ("attempt",)),
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
    Attribute(SKIP_REASON, "str"),
    Attribute(SKIP_SCOPE, "str"),
    Attribute(BREAKER, "str"),
    Attribute(BREAKER_FROM, "str", values=_STATES),
    Attribute(BREAKER_TO, "str", values=_STATES),
    Attribute(BREAKER_REASON, "str", values=get_args(Reason)),
    Attribute(BREAKER_CALLS, "int"),
    Attribute(BREAKER_FAILURES, "int"),
    Attribute(BREAKER_SLOW, "int"),
    Attribute(ITEMS, "int"),
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
    Line(CUT, "ERROR"),
    Line(FAILED, "ERROR"),
    Line(REJECTED, "ERROR"),
    Line(STOPPED, "ERROR"),
    Line(BUDGET_EXHAUSTED, "WARNING"),
    Line(BREAKER_OPENED, "ERROR"),
    Line(BREAKER_HALF_OPENED, "WARNING"),
    Line(BREAKER_CLOSED, "INFO"),
    Line(BREAKER_ISOLATED, "WARNING"),
    Line(BREAKER_DISABLED, "WARNING"),
    Line(TIMEOUT_OVERRUN, "WARNING"),
    Line(TIMEOUT_FIRED, None),
    Line(ATTEMPT_ENDED, None),
)

# The list of the HTTP conventions, and as far again for answers that are thought about.
DURATIONS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80),
)
COUNTS = (1, 2, 3, 4, 5)

METRICS = (
    Metric(
        CALL_DURATION,
        "histogram",
        "s",
        "How long a guarded call took, one point for each",
        (PIPELINE, OUTCOME),
        (RETRY_RESULT, ERROR_TYPE),
        DURATIONS,
    ),
    Metric(
        ATTEMPT_DURATION,
        "histogram",
        "s",
        "How long a target took, one point for each attempt",
        (PIPELINE, TARGET, KIND),
        (ERROR_TYPE,),
        DURATIONS,
    ),
    Metric(
        CALL_RETRIES,
        "histogram",
        "{retry}",
        "How many retries a call made, of those that made any",
        (PIPELINE,),
        buckets=COUNTS,
    ),
    Metric(
        CALL_RETRY_DELAY,
        "histogram",
        "s",
        "How long a call waited between its attempts, of those that waited",
        (PIPELINE,),
        buckets=DURATIONS,
    ),
    Metric(
        FIRST_ITEM_DURATION,
        "histogram",
        "s",
        "How long an attempt took to give the first item of a stream",
        (PIPELINE, TARGET),
        buckets=DURATIONS,
    ),
    Metric(
        REJECTIONS,
        "counter",
        "{rejection}",
        "Times that a policy refused",
        (POLICY, ERROR_TYPE, ENFORCED),
    ),
    Metric(
        SELECTIONS,
        "counter",
        "{call}",
        "Calls that a target answered, where there are several",
        (PIPELINE, TARGET, TARGET_INDEX),
    ),
    Metric(
        SKIPS,
        "counter",
        "{skip}",
        "Times that a target was not asked",
        (PIPELINE, TARGET, SKIP_REASON),
    ),
    Metric(
        OVERRUNS,
        "counter",
        "{overrun}",
        "Times that code swallowed a cancellation and came back late",
        (PIPELINE,),
    ),
    Metric(
        TRANSITIONS,
        "counter",
        "{transition}",
        "Times that a circuit breaker changed its state",
        (BREAKER, BREAKER_FROM, BREAKER_TO),
    ),
    Metric(
        STATES,
        "observable_up_down_counter",
        "1",
        "How many circuit breakers of a name are in a state",
        (BREAKER, BREAKER_STATE),
    ),
    Metric(
        TOKENS,
        "observable_gauge",
        "{token}",
        "How many retries a budget would pay for now",
        (BUDGET,),
    ),
    Metric(
        COST,
        "counter",
        "{USD}",
        "What calls of models cost; where nobody told, what they were estimated at",
        (TARGET, COST_RESOLVED),
    ),
)

LABELS = (
    Attribute(PIPELINE, "str"),
    Attribute(OUTCOME, "str", values=_OUTCOMES),
    Attribute(RETRY_RESULT, "str", values=_RETRY_RESULTS),
    Attribute(ERROR_TYPE, "str"),
    Attribute(TARGET, "str"),
    Attribute(TARGET_INDEX, "int"),
    Attribute(KIND, "str", values=get_args(Kind)),
    Attribute(SKIP_REASON, "str"),
    Attribute(POLICY, "str"),
    Attribute(ENFORCED, "bool"),
    Attribute(BREAKER, "str"),
    Attribute(BREAKER_STATE, "str", values=_STATES),
    Attribute(BREAKER_FROM, "str", values=_STATES),
    Attribute(BREAKER_TO, "str", values=_STATES),
    Attribute(BUDGET, "str"),
    Attribute(COST_RESOLVED, "bool"),
)
"""The attributes of metrics."""

OTHER = "_OTHER"
"""What `error.type` says past the last of the distinct values of a pipeline."""

DISTINCT_ERRORS = 64

SLOW_CALL = "slow_call"
"""What opened a circuit where no call failed."""

BUDGET_REFUSED = "budget_exhausted"
"""What `error.type` says where a budget has no token for a retry."""

ERROR_TYPES = (
    ('`TimedOut`, limit `"attempt"`', "timeout"),
    ('`TimedOut`, limit `"total"`', "deadline_exceeded"),
    ('`TimedOut`, limit `"first_item"`', "first_item_timeout"),
    ('`TimedOut`, limit `"between_items"`', "between_items_timeout"),
    ("`CircuitOpen`", "circuit_open"),
    ("`CircuitIsolated`", "circuit_isolated"),
    ("`AllTargetsFailed`", "all_targets_failed"),
    ("`Unacceptable`, or a value that `on_result` judged a failure", "unacceptable_result"),
    ("`Skipped`", "skipped"),
)
"""What `error.type` says of the library's own errors."""
