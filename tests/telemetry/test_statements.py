"""What holds for the telemetry of every call: for each generated schedule, on both backends.

T1 to T14 are the statements of the design. Those that a stream can break are
held for streams as well, with a consumer that reads on, or closes early.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import gc
import logging
from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from resilient import (
    CircuitOpen,
    FallbackManager,
    Restarted,
    Target,
    circuit_breaker,
    consecutive,
    current_call,
    fallback,
    retry,
    stack,
    timeout,
    transient,
    value,
)
from resilient._runtime.clock import now
from resilient._runtime.listeners import process
from resilient.errors import TimedOut
from resilient.events import (
    AttemptStarted,
    BreakerChanged,
    BudgetRefused,
    CallRejected,
    RetryScheduled,
    StreamCommitted,
    TargetSkipped,
    TimeoutOverrun,
)
from resilient.telemetry import names
from resilient.testing import (
    Fail,
    Hang,
    Log,
    Ok,
    Stubborn,
    Tester,
    capture_spans,
    virtual_time,
)

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])

SENTINEL = "sentinel-7f3a"
"""What a user's values and messages hold; telemetry never does."""

ERRORS = [
    lambda: ConnectionError(SENTINEL),
    lambda: ValueError(SENTINEL, {SENTINEL: SENTINEL}),
    lambda: ExceptionGroup(SENTINEL, [OSError(SENTINEL)]),
    lambda: KeyboardInterrupt(SENTINEL),
]
STEPS = st.one_of(
    st.builds(Ok, st.just(SENTINEL), after=st.sampled_from([0, 1])),
    st.builds(Fail, st.sampled_from(ERRORS), after=st.sampled_from([0, 1])),
    st.builds(Fail, st.just(ERRORS[0]), hint=st.sampled_from([0.5, 2, 100])),
    st.just(Hang()),
    st.builds(Stubborn, st.sampled_from([1, 5])),
)
SCRIPTS = st.lists(STEPS, max_size=4)
STACKS = {
    "retry": lambda: [retry(attempts=3, backoff=[0.5, 1]), timeout(3)],
    "deadline": lambda: [timeout(4), retry(attempts=3, backoff=[0.5, 1]), timeout(3)],
    "results": lambda: [
        retry(attempts=2, backoff=[0.5], on_result=lambda _: True),
        timeout(3),
    ],
    "fallback": lambda: [
        timeout(20),
        lambda one, other: fallback(to=[one, other]),
        retry(attempts=2, backoff=[0.5]),
        timeout(3),
    ],
    "degrade": lambda: [
        timeout(20),
        lambda one: fallback(to=[one], degrade=value(None)),
        timeout(3),
    ],
    "breaker": lambda: [
        retry(attempts=5, backoff=[0.5, 1, 0.5, 2], on=(transient, CircuitOpen)),
        circuit_breaker("db", trip=consecutive(2), open_for=1.2, probe_timeout=4, on=Exception),
        timeout(3),
    ],
    "breaker in a chain": lambda: [
        timeout(20),
        lambda one, other: fallback(to=[one, other]),
        retry(attempts=3, backoff=[0.5]),
        circuit_breaker("db", trip=consecutive(1), open_for=0.8, probe_timeout=4, on=Exception),
        timeout(3),
    ],
    "breaker that observes": lambda: [
        retry(attempts=3, backoff=[0.5]),
        circuit_breaker("db", trip=consecutive(1), open_for=5, mode="observe", on=Exception),
        timeout(3),
    ],
}
# Never at the instant of anything else: trio draws lots between tasks that are due together.
CANCELS = st.sampled_from([None, None, 0.3, 0.7, 1.1, 2.3, 3.3])


def attribute(span, name):
    return span.attributes.get(name)


def with_disposition(spans, *dispositions):
    return [span for span in spans if attribute(span, names.DISPOSITION) in dispositions]


def recorded(name, scripts, backend, cancel_at, cancel="scope"):
    """Run one schedule; return what the tester saw and the spans of it."""
    with capture_spans() as spans:
        (run,) = Tester(*STACKS[name]()).run(
            *scripts, cancel_at=cancel_at, cancel=cancel, backends=[backend], ways=["stack"]
        )
    return run, spans


BACKENDS = pytest.mark.parametrize(
    ("backend", "cancel"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)


@BACKENDS
@pytest.mark.parametrize("name", STACKS)
@settings(max_examples=settings().max_examples // 2)
@given(scripts=st.tuples(SCRIPTS, SCRIPTS, SCRIPTS), cancel_at=CANCELS)
def test_spans_and_points_are_right(name, backend, cancel, scripts, cancel_at):
    """T1 to T8, T12: spans and points are right, complete, declared, and hold nothing secret."""
    run, spans = recorded(name, scripts, backend, cancel_at, cancel)
    assert_right(run.events, run.error, spans)
    # A scripted function that was cancelled before its first step began was still called.
    assert len(run.calls) in (len(spans.attempts()), len(spans.attempts()) - 1)


def assert_right(events, error, spans):
    """Hold everything that can be told from what happened in one call."""
    assert_numbered(events, spans)
    assert_ended_once(spans)
    assert_parents(spans)
    assert_status(error, spans)
    assert_instants(events, spans)
    assert_measured(events, spans)
    for span in spans:
        assert_declared(span)
    assert_points_declared(spans)
    assert_nothing_secret(events, error, spans)


def assert_numbered(events, spans):
    """T1 and T2: one span for each call of a target, one for each refusal or skip."""
    (call,) = [span for span in spans if span.parent is None]
    numbers = [attribute(span, names.NUMBER) for span in spans.attempts()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == attribute(call, names.ATTEMPTS)
    assert len(numbers) == sum(isinstance(event, AttemptStarted) for event in events)
    skips = [event.target for event in events if isinstance(event, TargetSkipped)]
    skipped = with_disposition(spans, "skipped")
    assert [attribute(span, names.TARGET) for span in skipped] == skips
    # What a chain took for a target that was not asked is one span, and that a skipped one.
    refusals = [event for event in events if isinstance(event, CallRejected) and event.enforced]
    taken = [span for span in skipped if attribute(span, names.SKIP_REASON) == "breaker_open"]
    assert len(with_disposition(spans, "rejected")) + len(taken) == len(refusals)
    for span in (*with_disposition(spans, "rejected"), *taken):
        assert attribute(span, names.BREAKER) == "db"
        (link,) = span.links
        assert link.context.span_id in {one.context.span_id for one in spans.attempts()}


def assert_ended_once(spans):
    """T3: what began has ended, once."""
    began, ended = ([s.context.span_id for s in part] for part in (spans.started, spans.ended))
    assert began == sorted(ended)
    assert all(span.end_time is not None for span in spans)


def assert_parents(spans):
    """T4: the call span is above every other."""
    call, *others = spans
    assert call.parent is None
    assert {span.parent.span_id for span in others} <= {call.context.span_id}


def assert_status(error, spans):
    """T5: ERROR and `error.type` together, and only where something failed."""
    for span in spans:
        is_error = span.status.status_code is StatusCode.ERROR
        assert is_error == (names.ERROR_TYPE in span.attributes)
        assert span.status.status_code is not StatusCode.OK
        assert (span.status.description or "") != attribute(span, names.ERROR_TYPE)
        assert span.events == ()
    call, *_ = spans
    failed = attribute(call, names.OUTCOME) in {"failure", "rejected"}
    assert (call.status.status_code is StatusCode.ERROR) == failed
    assert failed == (isinstance(error, Exception) or bad(call))
    for span in with_disposition(spans, "retried", "fell_back", "raised", "rejected"):
        assert span.status.status_code is StatusCode.ERROR
    for span in with_disposition(spans, "skipped", "cancelled"):
        assert span.status.status_code is StatusCode.UNSET


def bad(call) -> bool:
    return attribute(call, names.ERROR_TYPE) == "unacceptable_result"


def assert_instants(events, spans):
    """T6: spans do not end before they begin, lie inside the call, and waits are the gaps."""
    call, *others = spans
    for span in others:
        assert call.start_time <= span.start_time <= span.end_time <= call.end_time
    waits = [attribute(span, names.DELAY) for span in others if names.DELAY in span.attributes]
    assert waits == [event.wait for event in events if isinstance(event, RetryScheduled)]
    assert sum(waits) == pytest.approx(attribute(call, names.DELAY_TOTAL) or 0)
    for one, following in pairwise(others):
        if names.DELAY in one.attributes:
            gap = (following.start_time - one.end_time) / 1e9
            assert gap == pytest.approx(attribute(one, names.DELAY))


def assert_measured(events, spans):
    """T5 and T12: the points say what the spans say."""
    call, *_ = spans
    metrics = spans.metrics
    assert_same(metrics, names.CALL_DURATION, [call], call)
    assert_same(metrics, names.ATTEMPT_DURATION, spans.attempts(), call)
    retries = [span for span in spans.attempts() if attribute(span, names.KIND) == "retry"]
    refused = [event for event in events if isinstance(event, CallRejected | BudgetRefused)]
    skips = [event for event in events if isinstance(event, TargetSkipped)]
    overruns = [event for event in events if isinstance(event, TimeoutOverrun)]
    changes = [event for event in events if isinstance(event, BreakerChanged)]
    committed = [event.after for event in events if isinstance(event, StreamCommitted)]
    assert total(metrics, names.CALL_RETRIES) == len(retries)
    waited = attribute(call, names.DELAY_TOTAL) or 0
    assert total(metrics, names.CALL_RETRY_DELAY) == pytest.approx(waited)
    assert total(metrics, names.REJECTIONS) == len(refused)
    assert total(metrics, names.SKIPS) == len(skips)
    assert total(metrics, names.OVERRUNS) == len(overruns)
    assert total(metrics, names.TRANSITIONS) == len(changes)
    assert total(metrics, names.FIRST_ITEM_DURATION) == pytest.approx(sum(committed))


def total(metrics, name):
    return metrics[name].sum if name in metrics else 0


def assert_same(metrics, name, spans, call):
    """Compare the points of a metric with the spans that they are about."""
    declared = next(one for one in names.METRICS if one.name == name)
    expected = {}
    for span in spans:
        known = dict(call.attributes.items() & {(names.PIPELINE, call.name)}) | dict(
            span.attributes
        )
        key = frozenset(
            (label, known[label])
            for label in (*declared.attributes, *declared.sometimes)
            if label in known
        )
        expected.setdefault(key, []).append((span.end_time - span.start_time) / 1e9)
    points = metrics[name].points if spans else ()
    found = {frozenset(point.attributes.items()): (point.count, point.sum) for point in points}
    assert found == {
        key: (len(seconds), pytest.approx(sum(seconds))) for key, seconds in expected.items()
    }


TYPES = {"str": str, "bool": bool, "int": int, "float": float, "str[]": tuple}
DECLARED = {one.name: one for one in names.ATTRIBUTES}


def assert_declared(span):
    """T7: a span is named as declared, and so is all that it carries, in type and value."""
    pipeline = attribute(span, names.PIPELINE)
    of = "attempt" if pipeline is None else "call"
    if of == "attempt":
        assert span.name.startswith("attempt ")
    else:
        assert span.name == pipeline
    for name, found in span.attributes.items():
        declared = DECLARED[name]
        assert of in declared.spans, f"{name} is on a span of a {of}"
        assert type(found) is TYPES[declared.type], f"{name} is {found!r}"
        assert not declared.values or found in declared.values, f"{name} is {found!r}"


LABELS = {one.name: one for one in names.LABELS}
METRICS = {one.name: one for one in names.METRICS}


def assert_points_declared(spans):
    """T7: so is each metric, and what its points carry."""
    for name, metric in spans.metrics.items():
        declared = METRICS[name]
        for point in metric.points:
            assert set(declared.attributes) <= point.attributes.keys()
            assert point.attributes.keys() <= {*declared.attributes, *declared.sometimes}
            for key, found in point.attributes.items():
                label = LABELS[key]
                assert type(found) is TYPES[label.type], f"{key} is {found!r}"
                assert not label.values or found in label.values, f"{key} is {found!r}"


def assert_nothing_secret(events, error, spans):
    """T8: what the user passes, gets and raises is in no span, point, line, event or note."""
    texts = told(events, error, spans)
    assert texts
    assert [text for text in texts if SENTINEL in text] == []


def told(events, error, spans):
    """Return every text that telemetry has made of a call."""
    texts = [span.to_json() for span in spans]
    texts += [spans.to_json(), spans.page(), *spans.tree(), repr(spans.metrics)]
    texts += [f"{vars(line)} {line.getMessage()}" for line in spans.logs]
    texts += [
        f"{field}={getattr(event, field)!r}"
        for event in events
        for field in (f.name for f in dataclasses.fields(event))
        if field != "error"
    ]
    return texts + [note for one in leaves(error) for note in getattr(one, "__notes__", ())]


def leaves(error):
    """Yield an error, those that it is made of, and those that it comes from."""
    if error is not None:
        yield error
        yield from leaves(error.__cause__)
        for one in getattr(error, "exceptions", ()):
            yield from leaves(one)


@both
@pytest.mark.parametrize("name", STACKS)
@settings(max_examples=settings().max_examples // 4)
@given(scripts=st.tuples(SCRIPTS, SCRIPTS, SCRIPTS), cancel_at=CANCELS)
def test_two_runs_give_the_same_bytes(name, backend, scripts, cancel_at):
    """T13: the spans of two runs of one schedule are the same to the byte."""
    _, one = recorded(name, scripts, backend, cancel_at)
    _, other = recorded(name, scripts, backend, cancel_at)
    assert one.to_json() == other.to_json()


@dataclasses.dataclass(frozen=True)
class Part:
    """What a source does when it is asked: so many items, each after a while, and how it ends."""

    items: int
    gap: float
    end: str


PARTS = st.lists(
    st.builds(
        Part,
        st.integers(0, 2),
        st.sampled_from([0, 0.5, 3]),
        st.sampled_from(["ends", "fails", "fails", "hangs"]),
    ),
    max_size=3,
)
LIMITS = {"first_item": 2, "between_items": 2}
STREAMS = {
    "retry": lambda _: [retry(attempts=3, backoff=[0.5]), timeout(30, **LIMITS)],
    "fallback": lambda other: [fallback(to=[other]), timeout(30, **LIMITS)],
    "restart": lambda other: [
        timeout(60),
        fallback(to=[other], midstream="restart"),
        timeout(30, **LIMITS),
    ],
    "breaker": lambda _: [
        retry(attempts=4, backoff=[0.5]),
        circuit_breaker("db", trip=consecutive(1), open_for=0.8, probe_timeout=31, on=Exception),
        timeout(30, **LIMITS),
    ],
}


def source(parts):
    """Return an async generator function that does what its parts say, one for each call."""
    todo = list(parts)

    async def words():
        part = todo.pop(0) if todo else Part(1, 0.5, "ends")
        for _ in range(part.items):
            await anyio.sleep(part.gap)
            yield SENTINEL
        if part.end == "hangs":
            await anyio.sleep(20)
        if part.end == "fails":
            raise ConnectionError(SENTINEL)

    return words


async def consume(stream, most, given):
    """Take at most so many items, look whose span is current in between, and close."""
    async with contextlib.aclosing(stream):
        async for item in stream:
            assert trace.get_current_span() is trace.INVALID_SPAN
            if not isinstance(item, Restarted):
                given.append(item)
            await anyio.sleep(0.25)
            if len(given) == most:
                break
    assert trace.get_current_span() is trace.INVALID_SPAN


def streamed(name, parts, others, most, backend):
    """Run one stream; return its events, its error, how many items it gave, and the spans."""
    log, given, error = Log(), [], None
    with capture_spans() as spans:
        ask = stack(*STREAMS[name](source(others)), listeners=[log], name="ask")(source(parts))
        try:
            virtual_time(lambda: consume(ask(), most, given), backend=backend)
        except Exception as failed:
            error = failed
    return log.events, error, len(given), spans


@both
@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=settings().max_examples // 2)
@given(parts=PARTS, others=PARTS, most=st.sampled_from([1, 2, 100]))
def test_streams_are_right_as_well(name, backend, parts, others, most):
    """T1 to T9, T12: it all holds for streams, and between items the consumer's span is current."""
    events, error, given, spans = streamed(name, parts, others, most, backend)
    assert_right(events, error, spans)
    call, *_ = spans
    assert attribute(call, names.ITEMS) == given
    committed = [event.after for event in events if isinstance(event, StreamCommitted)]
    firsts = [attribute(span, names.FIRST_ITEM) for span in spans.attempts()]
    assert [first for first in firsts if first is not None] == committed


@both
@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=settings().max_examples // 4)
@given(parts=PARTS, others=PARTS, most=st.sampled_from([1, 2, 100]))
def test_two_runs_of_a_stream_give_the_same_bytes(name, backend, parts, others, most):
    """T13: so are the spans of two runs of one stream."""
    one, other = (streamed(name, parts, others, most, backend)[-1] for _ in range(2))
    assert one.to_json() == other.to_json()


class Raising:
    """A listener that fails at everything."""

    def on_event(self, event, call, /):
        raise RuntimeError(f"cannot stand {type(event).__name__}")


@both
@pytest.mark.parametrize("name", STACKS)
@given(scripts=st.tuples(SCRIPTS, SCRIPTS, SCRIPTS), cancel_at=CANCELS)
def test_a_listener_changes_nothing(name, backend, scripts, cancel_at):
    """T10: results and times are the same with no listener, one, spans, or one that raises."""

    def story():
        (run,) = Tester(*STACKS[name]()).run(
            *scripts, cancel_at=cancel_at, backends=[backend], ways=["decorators"]
        )
        calls = [(call.target, call.started, call.ended) for call in run.calls]
        return type(run.result), type(run.error), run.elapsed, calls

    bare = story()
    for listener in (Log(), Raising()):
        before = process.loud
        process.loud = (listener,)
        try:
            assert story() == bare
        finally:
            process.loud = before
    with capture_spans():
        assert story() == bare


@both
@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=settings().max_examples // 4)
@given(parts=PARTS, others=PARTS, most=st.sampled_from([1, 2, 100]))
def test_a_listener_changes_no_stream(name, backend, parts, others, most):
    """T10: nor does one change what a stream gives, how it ends and when."""

    def story():
        given, ended = [], []

        async def caller():
            ask = stack(*STREAMS[name](source(others)), name="ask")(source(parts))
            try:
                await consume(ask(), most, given)
            except Exception as error:
                ended.append(type(error))
            ended.append(now())

        virtual_time(caller, backend=backend)
        return given, ended

    bare = story()
    for listener in (Log(), Raising()):
        before = process.loud
        process.loud = (listener,)
        try:
            assert story() == bare
        finally:
            process.loud = before
    with capture_spans():
        assert story() == bare


@both
def test_a_clean_call_without_a_listener_is_the_same_too(backend, spans):
    """T10: a call that nobody at all listens to returns the same value."""

    @retry(attempts=2)
    async def ask():
        return current_call().attempt

    with_spans = virtual_time(ask, backend=backend)
    process.loud = ()
    assert virtual_time(ask, backend=backend) == with_spans == 1
    assert len(spans) == 2


@both
def test_the_current_span_is_as_before(backend, spans):
    """T9: inside the target its attempt is current, and after the call what was current before."""
    seen = []

    @retry(attempts=3, backoff=[1])
    async def ask(*, fails):
        seen.append(trace.get_current_span())
        await anyio.sleep(1)
        seen.append(trace.get_current_span())
        if fails:
            raise ConnectionError

    async def caller():
        tracer = spans.provider.get_tracer("caller")
        with tracer.start_as_current_span("request") as request:
            for fails in (False, True):
                with contextlib.suppress(ConnectionError):
                    await ask(fails=fails)
                assert trace.get_current_span() is request
        assert trace.get_current_span() is trace.INVALID_SPAN

    virtual_time(caller, backend=backend)
    assert seen[::2] == seen[1::2] == spans.attempts()
    request, *_ = spans
    assert {s.parent.span_id for s in spans if s.name.endswith("ask") and s.name[0] != "a"} == {
        request.context.span_id
    }


@both
def test_between_attempts_the_caller_s_span_is_current(backend, spans):
    """T9: what runs between two attempts sees the span of the caller, not that of an attempt."""
    seen = []

    def on(error):
        seen.append(trace.get_current_span())
        return isinstance(error, ConnectionError)

    @retry(attempts=2, on=on, backoff=[1])
    async def ask():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        virtual_time(ask, backend=backend)
    assert seen == [trace.INVALID_SPAN] * 2


@both
def test_a_call_cancelled_in_backoff_leaves_nothing_to_the_next(backend, spans):
    """T11: a call cancelled between two attempts has ended spans, and the next call its own."""

    @stack(retry(backoff=[10]), name="ask")
    async def ask(*, fails):
        if fails:
            raise ConnectionError

    async def caller():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: ask(fails=True))
            await anyio.sleep(5)
            tasks.cancel_scope.cancel()
        await ask(fails=False)

    virtual_time(caller, backend=backend)
    assert_ended_once(spans)
    assert spans.tree() == [
        "ask",
        "  attempt ask #1 ERROR ConnectionError",
        "ask",
        "  attempt ask #1",
    ]
    assert [attribute(span, names.OUTCOME) for span in spans.named("ask")] == [
        "cancelled",
        "success",
    ]


@both
def test_concurrent_calls_do_not_meet(backend, spans):
    """T14: fifty concurrent calls of one function have fifty traces, each with its own attempts."""
    failed = set()

    @stack(retry(attempts=3, backoff=[0.5]), name="ask")
    async def ask(number):
        span = trace.get_current_span()
        await anyio.sleep(number % 7)
        assert trace.get_current_span() is span
        if number % 3 == 0 and number not in failed:
            failed.add(number)
            raise ConnectionError

    async def caller():
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, number)

    virtual_time(caller, backend=backend)
    calls = spans.named("ask")
    assert len(calls) == 50
    attempts = {}
    for span in spans.attempts():
        attempts.setdefault(span.parent.span_id, []).append(span)
        assert span.context.trace_id != 0
    for call in calls:
        mine = attempts[call.context.span_id]
        assert [attribute(span, names.NUMBER) for span in mine] == [1, 2][: len(mine)]
        assert len(mine) == attribute(call, names.ATTEMPTS)
        assert {span.context.trace_id for span in mine} == {call.context.trace_id}
    assert sum(attribute(call, names.ATTEMPTS) == 2 for call in calls) == 17


@both
def test_a_target_that_is_switched_off_is_a_span_of_no_length(backend, spans):
    """A target that is not asked leaves a zero-length span with the reason and no number."""

    async def local():
        return 1

    manager = FallbackManager([Target("off", local, enabled=False), Target("local", local)])
    virtual_time(manager.run, backend=backend)
    (skipped,) = with_disposition(spans, "skipped")
    assert skipped.start_time == skipped.end_time
    assert dict(skipped.attributes) == {
        names.TARGET: "off",
        names.TARGET_INDEX: 0,
        names.VERDICT: "neutral",
        names.DISPOSITION: "skipped",
        names.SKIP_REASON: "disabled",
    }


@both
def test_a_swallowed_cancellation_is_seen(backend, spans):
    """An attempt that came back after its limit is clean and says by how much it was late."""
    Tester(timeout(3)).run("!5", backends=[backend], ways=["stack"])
    call, attempt = spans
    assert attempt.status.status_code is call.status.status_code is StatusCode.UNSET
    assert attribute(attempt, names.OVERRUN) == pytest.approx(2)
    assert names.TIMEOUT not in attempt.attributes


@both
def test_a_limit_that_fired_is_on_its_attempt(backend, spans):
    """An attempt that a limit cut says which and how long, and the message is the library's own."""

    async def ask():
        await anyio.sleep(9)

    with pytest.raises(TimedOut):
        virtual_time(timeout(3)(ask), backend=backend)
    call, attempt = spans
    assert (attribute(attempt, names.TIMEOUT), attribute(attempt, names.TIMEOUT_SCOPE)) == (
        3.0,
        "attempt",
    )
    for span in (call, attempt):
        assert attribute(span, names.ERROR_TYPE) == "timeout"
        assert span.status.description == "timed out after 3 s (limit of one attempt)"


@both
def test_a_nested_call_is_below_the_attempt_that_made_it(backend, spans):
    """A guarded function inside another is a child of its attempt and names it."""

    @stack(retry(attempts=2, backoff=[1]), name="inner")
    async def inner():
        if current_call().parent.attempt == 1:
            raise ConnectionError

    @stack(retry(attempts=2, backoff=[1]), name="outer")
    async def outer():
        await inner()

    virtual_time(outer, backend=backend)
    assert spans.tree() == [
        "outer",
        "  attempt outer #1 ERROR ConnectionError",
        "    inner ERROR ConnectionError",
        "      attempt inner #1 ERROR ConnectionError",
        "      attempt inner #2 ERROR ConnectionError",
        "  attempt outer #2",
        "    inner",
        "      attempt inner #1",
    ]
    assert [attribute(span, names.PARENT_ATTEMPT) for span in spans.named("inner")] == [1, 2]
    assert names.PARENT_ATTEMPT not in spans.named("outer")[0].attributes


@both
def test_the_block_form_has_spans_as_well(backend, spans):
    """Each attempt of a retry block is current inside its `with`, below one call span."""

    async def block():
        async for attempt in retry(attempts=2, backoff=[1]):
            with attempt:
                seen = trace.get_current_span()
                assert seen.attributes[names.NUMBER] == attempt.number
                if attempt.number == 1:
                    raise ConnectionError
        assert trace.get_current_span() is trace.INVALID_SPAN

    virtual_time(block, backend=backend)
    assert_ended_once(spans)
    assert [line.split(".")[-1].strip() for line in spans.tree()][1:] == [
        "block (block) #1 ERROR ConnectionError",
        "block (block) #2",
    ]


def test_a_call_that_is_collected_ends_its_spans_in_silence(spans, caplog):
    """A coroutine that the garbage collector closes, in another context, ends its spans."""

    @retry
    async def ask():
        await anyio.sleep(1)

    async def caller():
        coroutine = ask()
        # Begin it in a context of its own, and drop it here.
        contextvars.copy_context().run(coroutine.send, None)
        del coroutine
        gc.collect()

    caplog.set_level(logging.WARNING)
    with contextlib.suppress(RuntimeError):
        virtual_time(caller)
    assert_ended_once(spans)
    assert len(spans) == 2
    assert [record for record in caplog.records if "detach" in record.getMessage()] == []
