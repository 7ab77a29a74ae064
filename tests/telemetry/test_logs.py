"""The log: silent on success, one line for each thing that went wrong, nothing of the user's."""

from __future__ import annotations

import contextlib
import logging
import re
import types

import anyio
import httpx
import pytest
from opentelemetry import trace

from resilient import (
    AllTargetsFailed,
    Attempt,
    FallbackManager,
    Fault,
    Rejected,
    Target,
    fallback,
    retry,
    stack,
    telemetry,
    timeout,
    value,
)
from resilient._core import events
from resilient._runtime.listeners import process
from resilient.telemetry import _logs, names
from resilient.testing import virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
DECLARED = {one.name: one for one in names.FIELDS}
TYPES = {"str": str, "int": int, "float": float}


def told(lines):
    return [(line.levelname, line.getMessage()) for line in lines()]


def facts(line):
    return {key: found for key, found in vars(line).items() if "." in key}


def ask_of(*ends):
    """Return a function whose calls end as told: an error class, seconds of sleep, or a value."""
    todo = list(ends)

    async def ask(*_):
        end = todo.pop(0)
        if isinstance(end, type):
            raise end
        if isinstance(end, float):
            await anyio.sleep(end)
        return end

    return ask


def run(fn, *policies, backend="asyncio", name="ask"):
    with contextlib.suppress(Exception):
        return virtual_time(stack(*policies, name=name)(fn), backend=backend)


async def local(*_):
    return "local"


def raising(error):
    """Return a function whose calls all raise this very error."""

    async def ask():
        raise error

    return ask


@both
def test_success_says_nothing(backend, lines, spans):
    """A call that answers at once has no line, not even at DEBUG."""
    run(ask_of("yes"), retry(attempts=3), timeout(8), backend=backend)
    assert told(lines) == []


@both
def test_a_retried_failure_is_a_warning(backend, lines):
    """An attempt that failed and is followed by another is one WARNING that says which."""
    run(ask_of(ConnectionError, "yes"), retry(attempts=3, backoff=[0.15]), backend=backend)
    assert told(lines) == [
        ("WARNING", "ask: attempt 1 of 3 failed: ConnectionError; next try in 0.15 s")
    ]
    assert facts(lines()[0]) == {
        "event.name": "resilient.retry.scheduled",
        "resilient.pipeline.name": "ask",
        "resilient.attempt.number": 1,
        "resilient.attempt.disposition": "retried",
        "resilient.target.name": "ask_of.<locals>.ask",
        "resilient.retry.attempts": 3,
        "resilient.retry.delay": 0.15,
        "resilient.retry.delay.source": "backoff",
        "error.type": "ConnectionError",
    }


@both
def test_a_status_stands_behind_the_name_of_the_error(backend, lines):
    """An HTTP status that the error carries is in the sentence and in a field."""
    response = httpx.Response(503, request=httpx.Request("GET", "http://127.0.0.1/secret"))
    run(
        raising(httpx.HTTPStatusError("secret", request=response.request, response=response)),
        retry(attempts=2, backoff=[1]),
        backend=backend,
    )
    assert told(lines) == [
        ("WARNING", "ask: attempt 1 of 2 failed: httpx.HTTPStatusError 503; next try in 1 s"),
        (
            "ERROR",
            "ask: failed after 2 attempts in 1 s: httpx.HTTPStatusError 503 (attempts are used up)",
        ),
    ]
    for line in lines():
        assert facts(line)["error.type"] == "httpx.HTTPStatusError"
        assert facts(line)["http.response.status_code"] == 503


def test_each_target_is_told_with_its_status(lines):
    """The line about every target says the status that each failed with."""
    call = FakeCall()
    call.history = [attempt(0, "large", "httpx.HTTPStatusError", 503), attempt(1, "small", "429")]
    process.quiet[0].on_event(events.Degraded(1), call)
    assert told(lines)[0][1] == (
        "ask: no target answered (large: httpx.HTTPStatusError 503, small: 429);"
        " the last resort is returned"
    )


def attempt(index, target, error, status=None):
    return Attempt(
        number=index + 1,
        on_target=1,
        target=target,
        target_index=index,
        kind="initial",
        started=0,
        duration=1,
        verdict="failure",
        disposition="fell_back",
        error=error,
        status=status,
    )


@both
def test_an_error_that_leaves_is_one_error_line(backend, lines):
    """The last failure is one ERROR when its error leaves the call."""
    ask = ask_of(ConnectionError, 9.0)
    run(ask, retry(attempts=2, backoff=[0.15]), timeout(8), backend=backend)
    assert told(lines)[1:] == [
        (
            "ERROR",
            "ask: failed after 2 attempts in 8.15 s: timeout after 8 s (attempts are used up)",
        )
    ]
    assert facts(lines()[1]) == {
        "event.name": "resilient.call.failed",
        "resilient.pipeline.name": "ask",
        "resilient.call.outcome": "failure",
        "resilient.call.attempts": 2,
        "resilient.call.elapsed": 8.15,
        "resilient.retry.result": "exhausted",
        "resilient.timeout": 8.0,
        "resilient.timeout.scope": "attempt",
        "error.type": "timeout",
    }


@both
def test_a_failure_that_a_fallback_takes_over_is_a_warning(backend, lines):
    """The last failure is a WARNING when the next target is asked."""
    run(ask_of(ConnectionError), fallback(to=[local]), backend=backend)
    assert told(lines) == [
        ("WARNING", "ask: ask_of.<locals>.ask failed: ConnectionError; asking local")
    ]
    (line,) = lines()
    assert facts(line)["resilient.attempt.number"] == 1
    assert facts(line)["resilient.attempt.disposition"] == "fell_back"
    assert facts(line)["resilient.fallback.to"] == "local"


@both
def test_a_limit_is_as_loud_as_what_follows(backend, lines):
    """A limit of an attempt is a WARNING where another follows, a total one an ERROR."""
    ask = ask_of(3.0, 9.0)
    run(ask, timeout(8), retry(attempts=2, backoff=[1]), timeout(2), backend=backend)
    run(ask_of(9.0), timeout(4), retry(attempts=2), backend=backend)
    assert told(lines) == [
        ("WARNING", "ask: attempt 1 of 2 failed: timeout after 2 s; next try in 1 s"),
        ("ERROR", "ask: failed after 2 attempts in 5 s: timeout after 2 s (attempts are used up)"),
        ("ERROR", "ask: failed after 1 attempt in 4 s: the limit of 4 s for everything is reached"),
    ]


@pytest.mark.parametrize("severity", ["DEBUG", "INFO", "WARNING", "ERROR"])
@pytest.mark.parametrize("line", names.LINES, ids=lambda line: line.name)
def test_every_severity_can_be_overridden(line, severity, lines):
    """`severities` makes any line as loud as it says, also one that is off by default."""
    telemetry.install(severities={line.name: severity})
    call = FakeCall()
    for event in EVENTS[line.name]:
        process.quiet[0].on_event(event, call)
    written = [found.levelname for found in lines() if facts(found)["event.name"] == line.name]
    assert written == [severity] * len(EVENTS[line.name])


@pytest.mark.parametrize("line", names.LINES, ids=lambda line: line.name)
def test_the_default_severities_are_the_declared_ones(line, lines):
    """Without `severities` a line is as loud as the table says, or is not written."""
    call = FakeCall()
    for event in EVENTS[line.name]:
        process.quiet[0].on_event(event, call)
    expected = [] if line.severity is None else [line.severity] * len(EVENTS[line.name])
    assert [found.levelname for found in lines()] == expected
    for found in lines():
        assert_declared(found)


def assert_declared(line):
    """Compare the fields of a line with the table."""
    assert facts(line)["event.name"] in {one.name for one in names.LINES}
    for key, found in facts(line).items():
        declared = DECLARED[key]
        assert type(found) is TYPES[declared.type], f"{key} is {found!r}"
        assert not declared.values or found in declared.values, f"{key} is {found!r}"


class FakeCall:
    """A call of which a listener is told."""

    plan = types.SimpleNamespace(name="ask", targets=("large", "small"))
    spans = None
    attempt = 2
    on_target = 2
    target = "large"
    target_index = 0
    history = ()
    skipped = ()


ERROR = ConnectionError("sentinel")
EVENTS = {
    names.SCHEDULED: [
        events.RetryScheduled(1, 2, 4, 0.5, "backoff", ERROR),
        events.RetryScheduled(1, 2, None, 0.5, "hint", ERROR),
        events.RetryScheduled(1, 2, 1, 2, "predicate", None),
    ],
    names.STOPPED: [events.RetryStopped(1, 2, "exhausted", None, leaves=True)],
    names.BUDGET_EXHAUSTED: [events.BudgetRefused(1, "db", 2)],
    names.TIMEOUT_FIRED: [
        events.TimeoutFired(1, "attempt", 8, 2),
        events.TimeoutFired(1, "total", 30, 0),
    ],
    names.TIMEOUT_OVERRUN: [events.TimeoutOverrun(1, "attempt", 8, 0.5, 2)],
    names.SKIPPED: [
        events.TargetSkipped(1, "small", 1, "scope_condemned", "credential", 30),
        events.TargetSkipped(1, "small", 1, "disabled"),
    ],
    names.RESTS: [
        events.TargetRests(1, "large", 0, 30, None, ERROR, asked=True),
        events.TargetRests(1, "large", 0, 30, "credential", ERROR),
    ],
    names.FELL_BACK: [events.FellBack(1, "large", "small", ERROR)],
    names.BUG_SERVED: [events.BugServed(1, "large", "TypeError", "app.py", 7, 1)],
    names.DEGRADED_ANSWER: [events.Degraded(1)],
    names.CUT: [events.StreamCut(1, 2, 1, ERROR), events.StreamCut(1, 2, 7, None)],
    names.BREAKER_OPENED: [
        events.BreakerChanged(1, "db", "closed", "open", "tripped", 30, "OSError"),
        events.BreakerChanged(
            1, "db", "half_open", "open", "relapsed", 60, "OSError", enforced=False
        ),
    ],
    names.BREAKER_HALF_OPENED: [events.BreakerChanged(1, "db", "open", "half_open", "due")],
    names.BREAKER_CLOSED: [
        events.BreakerChanged(1, "db", "half_open", "closed", "recovered"),
        events.BreakerChanged(1, "db", "isolated", "closed", "released"),
        events.BreakerChanged(1, "db", "disabled", "closed", "enabled"),
        events.BreakerChanged(1, "db", "open", "closed", "reset"),
    ],
    names.BREAKER_ISOLATED: [events.BreakerChanged(1, "db", "closed", "isolated", "isolated")],
    names.BREAKER_DISABLED: [events.BreakerChanged(1, "db", "closed", "disabled", "disabled")],
    names.REJECTED: [
        events.CallEnded(1, "rejected", 0, 0.0, Rejected("no", policy="bulkhead", retry_after=2))
    ],
    names.FAILED: [
        events.CallEnded(1, "failure", 2, 0.5, ERROR, "not_retryable"),
        events.CallEnded(1, "failure", 2, 0.5, AllTargetsFailed("ask: 1 failed", [ERROR])),
    ],
    names.ATTEMPT_ENDED: [
        events.AttemptEnded(1, 2, 2, "large", 0, "failure", "retried", 0, 1, ERROR),
        events.AttemptEnded(1, 2, 2, "large", 0, "success", "returned", 0, 1),
        events.AttemptEnded(1, 2, 2, "large", 0, "failure", "returned", 0, 1, unacceptable=True),
    ],
}


@pytest.mark.parametrize(
    "event",
    [
        events.CallStarted(1),
        events.AttemptStarted(1, 1, 1, "initial", "large", 0),
        events.RetryStopped(1, 2, "exhausted", ERROR, leaves=True),
        events.RetryStopped(1, 2, "exhausted", None, leaves=False),
        events.CallEnded(1, "success", 1, 0.5, None),
        events.CallEnded(1, "cancelled", 1, 0.5, KeyboardInterrupt()),
        events.CallEnded(1, "failure", 1, 0.5, None),
    ],
    ids=["started", "attempt", "error stays", "inside", "success", "cancelled", "value"],
)
def test_what_another_line_says_has_none(event, lines):
    """A fact that another line tells has none, nor has a success or a cancellation."""
    process.quiet[0].on_event(event, FakeCall())
    assert told(lines) == []


@both
def test_a_target_that_is_left_has_its_own_attempts_counted(lines, backend):
    """The line that leaves the second target counts its attempts, not those of the chain."""

    async def fails():
        raise ConnectionError

    async def answers():
        return 1

    twice = retry(attempts=2, backoff=[0])
    targets = [Target(name, fails, policies=twice) for name in "ab"]
    manager = FallbackManager([*targets, Target("c", answers)], name="ask")
    virtual_time(manager.run, backend=backend, check_leftovers=True)
    left = [message for _, message in told(lines) if "asking" in message]
    assert left == [
        "ask: a failed after 2 attempts: ConnectionError; asking b",
        "ask: b failed after 2 attempts: ConnectionError; asking c",
    ]


@both
def test_a_chain_tells_what_came_of_each_target(backend, lines):
    """Where nobody answered, one ERROR says what came of each target."""
    manager = FallbackManager(
        [
            Target(
                "large",
                ask_of(ConnectionError),
                scopes={"key": "A"},
                classify=lambda _: Fault(retryable=False, scope="key"),
            ),
            Target("twin", local, scopes={"key": "A"}),
            Target("small", ask_of(ValueError)),
        ],
        name="answer",
    )
    with pytest.raises(AllTargetsFailed):
        virtual_time(manager.run, backend=backend)
    assert told(lines) == [
        ("INFO", "answer: twin was not asked: its key is condemned"),
        ("WARNING", "answer: large failed: ConnectionError; asking small"),
        (
            "ERROR",
            (
                "answer: failed after 2 attempts in 0 s: every target"
                " (large: ConnectionError, twin was not asked, small: ValueError)"
            ),
        ),
    ]


@both
def test_a_degraded_answer_is_an_error_line(backend, lines):
    """The last resort is one ERROR that says why it was needed."""
    run(ask_of(ConnectionError), fallback(degrade=value("sorry")), backend=backend)
    assert told(lines) == [
        (
            "ERROR",
            (
                "ask: no target answered (ask_of.<locals>.ask: ConnectionError);"
                " the last resort is returned"
            ),
        )
    ]


@both
def test_a_bug_behind_a_fallback_is_shown(backend, lines):
    """An error that looks like a bug and that a fallback hides is an ERROR with file and line."""

    async def ask():
        return "a" + 1

    run(ask, fallback(to=[local]), backend=backend)
    run(ask, fallback(to=[local]), backend=backend)
    bug, *others = [line for line in lines() if line.levelname == "ERROR"]
    assert re.fullmatch(
        r"ask: \S+ask failed with TypeError at .*test_logs\.py:\d+,"
        r" which looks like a bug; the fallback hides it",
        bug.getMessage(),
    )
    assert facts(bug)["code.line.number"] == ask.__code__.co_firstlineno + 1
    assert len(others) == 1  # another function's chain: another bug


@both
def test_a_bad_value_that_is_returned_is_an_error_line(backend, lines, spans):
    """A value that `on_result` judged bad and that is returned all the same is one ERROR."""
    policy = retry(attempts=2, backoff=[1], on_result=lambda result: result == "bad")
    for listening in (True, False):
        if not listening:
            process.loud = ()
        assert run(ask_of("bad", "bad"), policy, backend=backend) == "bad"
    once = [
        ("WARNING", "ask: attempt 1 of 2 failed: an unacceptable result; next try in 1 s"),
        (
            "ERROR",
            (
                "ask: attempt 2 returned an unacceptable result,"
                " and it is what the call returns (attempts are used up)"
            ),
        ),
    ]
    assert told(lines) == once * 2


@both
def test_an_overrun_is_a_warning(backend, lines):
    """Code that swallows our cancellation has a WARNING that says how late it was."""

    async def ask():
        with contextlib.suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep(9)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(2)
        return "late"

    assert run(ask, timeout(3), backend=backend) == "late"
    assert told(lines) == [
        (
            "WARNING",
            (
                "ask: attempt 1 came back 2 s after its limit of 3 s:"
                " something in it swallows cancellation"
            ),
        )
    ]


def test_a_target_that_begins_to_rest_is_a_warning(lines):
    """A rest says who, for how long, after what, and whether the server asked for it."""
    for event in EVENTS[names.RESTS]:
        process.quiet[0].on_event(event, FakeCall())
    assert told(lines) == [
        ("WARNING", "ask: large rests 30 s (ConnectionError, as the server asks)"),
        ("WARNING", "ask: the credential of large rests 30 s (ConnectionError)"),
    ]
    assert facts(lines()[1]) == {
        "event.name": "resilient.target.rests",
        "resilient.pipeline.name": "ask",
        "resilient.attempt.number": 2,
        "resilient.target.name": "large",
        "resilient.skip.scope": "credential",
        "resilient.retry_after": 30.0,
        "error.type": "ConnectionError",
    }


def test_a_refused_call_is_an_error_line(lines):
    """A call that a policy refused says which and when to come back."""
    (event,) = EVENTS[names.REJECTED]
    process.quiet[0].on_event(event, FakeCall())
    assert told(lines) == [("ERROR", "ask: refused: resilient.errors.Rejected")]
    assert facts(lines()[0])["resilient.policy.name"] == "bulkhead"
    assert facts(lines()[0])["resilient.retry_after"] == 2.0


@both
def test_a_line_has_the_ids_of_its_attempt(backend, lines, spans):
    """A line carries the ids of the attempt it is about, else of the call, and they are current."""
    current = []

    class Bridge(logging.Handler):
        def emit(self, record):
            current.append(trace.get_current_span().get_span_context().span_id)

    bridge = Bridge()
    logging.getLogger("resilient").addHandler(bridge)
    try:
        run(ask_of(ConnectionError, ValueError), retry(backoff=[1]), backend=backend)
    finally:
        logging.getLogger("resilient").removeHandler(bridge)
    call, first, _ = spans
    assert [facts(line)["resilient.span_id"] for line in lines()] == [
        trace.format_span_id(first.context.span_id),
        trace.format_span_id(call.context.span_id),
    ]
    assert current == [first.context.span_id, call.context.span_id]
    assert {facts(line)["resilient.trace_id"] for line in lines()} == {
        trace.format_trace_id(call.context.trace_id)
    }
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_no_field_can_collide_with_a_record():
    """Every field has a dot in its name, which no attribute of a `LogRecord` has."""
    assert [one.name for one in names.FIELDS if "." not in one.name] == []


def test_a_switched_off_logger_costs_no_line(lines):
    """Below the logger's level nothing is written."""
    logging.getLogger("resilient").setLevel(logging.CRITICAL)
    run(ask_of(ConnectionError), retry(attempts=1))
    assert told(lines) == []


def test_levels_are_those_of_logging():
    """The severities are the standard levels."""
    assert {logging.getLevelName(level) for level in _logs.LEVELS.values()} == set(_logs.LEVELS)
