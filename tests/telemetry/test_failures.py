"""What spans and lines say of errors, and what nothing ever says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import types
import weakref

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from resilient import (
    AllTargetsFailed,
    CircuitIsolated,
    CircuitOpen,
    Fault,
    Rejected,
    Skipped,
    TimedOut,
    Unacceptable,
    fallback,
    retry,
    stack,
    telemetry,
    timeout,
    value,
)
from resilient._core.names import error_status, error_type
from resilient._runtime.call import Call
from resilient._runtime.listeners import process
from resilient._runtime.plan import Plan
from resilient.events import CallRejected, CallStarted
from resilient.telemetry import annotate, names
from resilient.testing import CapturedSpans, capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Busy(Exception):
    pass


class Weird(Exception):
    @property
    def telemetry_error_type(self):
        raise RuntimeError("sentinel")


class Coded(Exception):
    telemetry_error_type = "429"


def raising(error):
    async def ask():
        raise error

    return ask


def types_of(captured):
    return [span.attributes.get(names.ERROR_TYPE) for span in captured]


def failed(*errors, **options):
    """Let a call of one pipeline fail with each of `errors`; return the spans."""
    captured = CapturedSpans()
    telemetry.install(tracer_provider=captured.provider, **options)
    for error in errors:
        with contextlib.suppress(type(error)):
            virtual_time(stack(retry(attempts=1), name="ask")(raising(error)))
    return captured


OURS = {
    '`TimedOut`, limit `"attempt"`': TimedOut(8, "attempt"),
    '`TimedOut`, limit `"total"`': TimedOut(8, "total"),
    '`TimedOut`, limit `"first_item"`': TimedOut(8, "first_item"),
    '`TimedOut`, limit `"between_items"`': TimedOut(8, "between_items"),
    "`CircuitOpen`": CircuitOpen("db", retry_after=4),
    "`CircuitIsolated`": CircuitIsolated("db"),
    "`AllTargetsFailed`": AllTargetsFailed("ask: 1 target failed", [ValueError()]),
    "`Unacceptable`, or a value that `on_result` judged a failure": Unacceptable("sentinel"),
    "`Skipped`": Skipped("small", "disabled"),
}


def test_the_table_of_our_errors_is_complete():
    """`error.type` of the library's own errors is what the table says, for each of them."""
    assert {source: error_type(error) for source, error in OURS.items()} == dict(names.ERROR_TYPES)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError(), "ConnectionError"),
        (TimeoutError(), "TimeoutError"),
        (ExceptionGroup("both", [ValueError()]), "ExceptionGroup"),
        (asyncio.QueueFull(), "asyncio.queues.QueueFull"),
        (Busy(), f"{__name__}.Busy"),
        (Coded(), "429"),
        (Weird(), f"{__name__}.Weird"),
        (Rejected("no", policy="bulkhead"), "resilient.errors.Rejected"),
        *((OURS[source], kind) for source, kind in names.ERROR_TYPES),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_error_type_is_the_same_on_call_and_attempt(error, kind):
    """A builtin is its bare name, others have their module, and an error may bring its own name."""
    captured = failed(error)
    assert types_of(captured) == [kind, kind]
    assert [span.status.status_code for span in captured] == [StatusCode.ERROR] * 2


class Answered(Exception):
    """An error of an HTTP client, with whatever it carries."""

    def __init__(self, **attributes):
        super().__init__("sentinel")
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Answered(status_code=503), 503),
        (Answered(status=404), 404),
        (Answered(response=types.SimpleNamespace(status_code=429)), 429),
        (Answered(status_code=600), None),
        (Answered(status_code="503"), None),
        (Answered(status_code=503, telemetry_error_type="overloaded"), None),
        (ConnectionError(), None),
        (TimedOut(8, "attempt"), None),
    ],
)
def test_a_foreign_error_shows_its_status_on_the_attempt(error, status):
    """An HTTP status that an error carries is on its attempt, unless the error names itself."""
    call, attempt = failed(error)
    assert attempt.attributes.get(names.STATUS) == status
    assert names.STATUS not in call.attributes


def test_an_error_of_ours_has_no_status():
    """What is set on an error of the library is no answer of a server."""
    refused = Rejected("no", policy="bulkhead")
    refused.status_code = 503
    assert (error_status(refused), error_status(None)) == (None, None)
    cancelled = KeyboardInterrupt()
    cancelled.status_code = 503
    assert error_status(cancelled) is None


def test_the_65th_type_of_a_pipeline_is_other():
    """A pipeline has at most 64 values of `error.type`; each further one is `_OTHER`."""
    errors = [type(f"Error{number}", (Exception,), {})() for number in range(66)]
    captured = failed(*errors, errors[0])
    kinds = types_of(captured.named("ask"))
    assert len(set(kinds)) == names.DISTINCT_ERRORS + 1
    assert kinds[64:] == [names.OTHER, names.OTHER, kinds[0]]
    assert types_of(captured.attempts()) == kinds


def test_a_cancellation_is_no_failure_whatever_was_judged():
    """What was cancelled did not fail, also where the value before it was judged bad."""
    failures = telemetry._failures.Failures(None)
    assert failures.of("ask", KeyboardInterrupt(), unacceptable=True) is None
    assert failures.of("ask", None, unacceptable=True) == "unacceptable_result"
    assert failures.of("ask", ValueError(), unacceptable=True) == "ValueError"


def test_other_pipelines_have_their_own_count():
    """What one pipeline used up does not count for another, until there are thousands."""
    failures = telemetry._failures.Failures(None)
    for number in range(64):
        failures.bounded("full", str(number))
    assert failures.bounded("full", "one more") == names.OTHER
    assert failures.bounded("other", "one more") == "one more"
    for number in range(5000):
        failures.bounded(f"pipeline {number}", "x")
    assert failures.bounded("one pipeline more", "x") == names.OTHER


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Busy("sentinel"), None),
        (Rejected("sentinel", policy="mine"), None),
        (TimedOut(8, "attempt"), "timed out after 8 s (limit of one attempt)"),
        (Skipped("small", "disabled"), "small was not asked: it is switched off"),
        (CircuitOpen("db", retry_after=4), 'circuit "db" is open; next try in 4 s'),
        (CircuitIsolated("db"), 'circuit "db" is isolated'),
    ],
)
def test_only_our_own_messages_are_shown(error, text):
    """The description of a status is the message of a library error, and empty for all others."""
    assert [span.status.description for span in failed(error)] == [text] * 2


@both
def test_describe_error_opts_in(backend):
    """`describe_error` makes the text of a foreign error, and where it fails there is none."""

    def describe(error):
        return f"busy {error}" if isinstance(error, Busy) else error.nothing

    captured = failed(Busy("line"), ValueError("sentinel"), describe_error=describe)
    assert [span.status.description for span in captured.named("ask")] == ["busy line", None]


def test_exceptions_are_recorded_nowhere_by_default():
    """Without an option no span has an event."""
    assert [span.events for span in failed(Busy("sentinel"))] == [(), ()]


@both
def test_an_exception_is_recorded_once_on_the_innermost_span(backend):
    """With `exceptions="span"` the error that leaves is an event of the span that it left first."""
    captured = CapturedSpans()
    telemetry.install(tracer_provider=captured.provider, exceptions="span")

    @stack(retry(attempts=2, on=Busy, backoff=[1]), name="inner")
    async def inner():
        raise Busy("inside")

    @stack(retry(attempts=1), name="outer")
    async def outer():
        await inner()

    with pytest.raises(Busy):
        virtual_time(outer, backend=backend)
    recorded = [(span.name, len(span.events)) for span in captured if span.events]
    assert recorded == [("attempt inner", 1)]
    (event,) = [event for span in captured for event in span.events]
    assert event.attributes["exception.message"] == "inside"
    assert captured.attempts()[-1].attributes[names.NUMBER] == 2


@both
def test_an_error_of_no_attempt_is_recorded_on_the_call(backend):
    """An error that only the call raises, such as a group, is an event of the call span."""
    captured = CapturedSpans()
    telemetry.install(tracer_provider=captured.provider, exceptions="span")
    ask = stack(fallback(to=[raising(Busy("2"))]), name="ask")(raising(Busy("1")))
    with pytest.raises(AllTargetsFailed):
        virtual_time(ask, backend=backend)
    assert len(captured.named("ask")[0].events) == 1


@both
def test_a_handled_error_is_not_recorded(backend):
    """An error that another attempt or target made up for is an event of no span."""
    captured = CapturedSpans()
    telemetry.install(tracer_provider=captured.provider, exceptions="span")
    ask = stack(fallback(degrade=value(1)), retry(attempts=2, on=Busy))(raising(Busy()))
    assert virtual_time(ask, backend=backend) == 1
    assert [span.events for span in captured] == [()] * 3


def test_no_exception_is_kept(spans):
    """An error can be collected as soon as the caller has dropped it."""
    errors = []

    async def ask():
        error = Busy()
        errors.append(weakref.ref(error))
        raise error

    async def caller():
        with contextlib.suppress(Busy):
            await retry(attempts=1)(ask)()
        gc.collect()
        return errors[0]()

    assert virtual_time(caller) is None


@pytest.mark.parametrize(("enforced", "expected"), [(True, 1), (False, 0)])
def test_a_refusal_is_a_span_of_no_length(enforced, expected, spans):
    """A policy that refused leaves a zero-length ERROR; one that only watches leaves nothing."""

    async def refuse():
        plan = Plan(name="ask", function="app.ask", policies=("bulkhead",), targets=("ask",))
        call = Call(plan)
        call.tell(CallStarted(call.started))
        error = Rejected("no", policy="bulkhead")
        call.report(CallRejected(1.0, "bulkhead", None, error, enforced))
        call.rejected = True
        call.end(error)

    virtual_time(refuse)
    call, *refused = spans
    assert call.attributes[names.OUTCOME] == "rejected"
    assert len(refused) == len(spans.ended) - 1 == expected
    for span in refused:
        assert span.start_time == span.end_time
        assert span.status.status_code is StatusCode.ERROR
        assert dict(span.attributes) == {
            names.TARGET: "ask",
            names.TARGET_INDEX: 0,
            names.VERDICT: "neutral",
            names.DISPOSITION: "rejected",
            names.ERROR_TYPE: "resilient.errors.Rejected",
        }


SENTINEL = "sentinel-7f3a"


class Noting:
    def __init__(self):
        self.said = []

    def on_event(self, event, call, /):
        self.said += [repr(call), repr(call.plan.name)]
        self.said += [
            f"{name}={field!r}"
            for name in event.__slots__
            if name != "error" and (field := getattr(event, name)) is not event
        ]


@both
@pytest.mark.parametrize("last", [Busy, KeyError, None])
def test_nothing_of_the_user_s_is_anywhere(backend, last, spans, lines):
    """T8: arguments, results and exception messages are in no span, line, event field or note."""
    noting = Noting()
    todo = [Busy, TypeError, None, "slow", last]

    async def ask(prompt, *, key):
        error = todo.pop(0)
        annotate({"app.object": {prompt: key}})
        if error == "slow":
            raise TimeoutError(prompt)
        if error is not None:
            raise error(prompt, key)
        return prompt

    async def other(prompt, *, key):
        raise Busy(key)

    policies = (
        fallback(to=[other], on_result=lambda _: True),
        retry(
            attempts=5,
            backoff=[0.1],
            on=Exception,
            on_result=lambda _: True,
            classify=lambda error: Fault(retryable=True, retry_after=0.5, source="retry-after"),
        ),
        timeout(3),
    )
    guarded = stack(*policies, listeners=[noting], name="ask")(ask)

    async def caller():
        try:
            return await guarded(SENTINEL, key=SENTINEL)
        except Exception as error:
            return [note for one in leaves(error) for note in getattr(one, "__notes__", ())]

    notes = virtual_time(caller, backend=backend)
    told = [span.to_json() for span in spans]
    told += [f"{vars(line)} {line.getMessage()}" for line in lines()]
    told += noting.said
    told += [note for note in notes if note != SENTINEL] if isinstance(notes, list) else []
    assert len(told) > 20
    assert [text for text in told if SENTINEL in text] == []


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        yield error
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def test_the_current_span_may_be_gone(spans):
    """Where a target has left its own context attached, the caller's is current again after it."""

    @retry
    async def ask():
        from opentelemetry import context  # noqa: PLC0415

        context.attach(context.set_value("app", 1))

    async def caller():
        await ask()
        return trace.get_current_span()

    assert virtual_time(caller) is trace.INVALID_SPAN


def test_a_context_of_somebody_s_own_is_detached_through_the_api(monkeypatch):
    """A token that is no `contextvars.Token` is handed back to OpenTelemetry."""
    from resilient.telemetry import _spans  # noqa: PLC0415

    detached = []
    monkeypatch.setattr(_spans.otel, "detach", detached.append)
    _spans.detach("token")
    assert detached == ["token"]


def test_captured_spans_leave_the_process_as_it_was():
    """After `capture_spans` the listeners are those from before."""
    before = process.loud, process.watch
    with capture_spans():
        assert process.loud != before[0]
    assert (process.loud, process.watch) == before
