"""What holds for the spans of every call: for each generated schedule, on both backends."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import logging
from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from resilient import FallbackManager, Target, current_call, fallback, retry, stack, timeout, value
from resilient._runtime.listeners import process
from resilient.errors import TimedOut
from resilient.events import AttemptStarted, RetryScheduled, TargetSkipped
from resilient.telemetry import names
from resilient.testing import Fail, Hang, Log, Ok, Stubborn, Tester, capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])

STEPS = st.one_of(
    st.builds(Ok, after=st.sampled_from([0, 1])),
    st.builds(
        Fail,
        st.sampled_from([ConnectionError, ValueError, KeyboardInterrupt]),
        after=st.sampled_from([0, 1]),
    ),
    st.builds(Fail, st.just(ConnectionError), hint=st.sampled_from([0.5, 2, 100])),
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
}
# Never at the instant of anything else: trio draws lots between tasks that are due together.
CANCELS = st.sampled_from([None, None, 0.3, 0.7, 1.1, 2.3, 3.3])


def attribute(span, name):
    return span.attributes.get(name)


def with_disposition(spans, *dispositions):
    return [span for span in spans if attribute(span, names.DISPOSITION) in dispositions]


def recorded(name, scripts, backend, cancel_at):
    """Run one schedule; return what the tester saw and the spans of it."""
    with capture_spans() as spans:
        (run,) = Tester(*STACKS[name]()).run(
            *scripts, cancel_at=cancel_at, backends=[backend], ways=["stack"]
        )
    return run, spans


@both
@pytest.mark.parametrize("name", STACKS)
@given(scripts=st.tuples(SCRIPTS, SCRIPTS, SCRIPTS), cancel_at=CANCELS)
def test_spans_are_right(name, backend, scripts, cancel_at):
    """T1 to T7: numbers, ends, parents, status, instants and names are right for every schedule."""
    run, spans = recorded(name, scripts, backend, cancel_at)
    assert_numbered(run, spans)
    assert_ended_once(spans)
    assert_parents(spans)
    assert_status(run, spans)
    assert_instants(run, spans)
    for span in spans:
        assert_declared(span)


def assert_numbered(run, spans):
    """T1 and T2: one span for each call of a target, one for each skip."""
    (call,) = [span for span in spans if span.parent is None]
    numbers = [attribute(span, names.NUMBER) for span in spans.attempts()]
    # A scripted function that was cancelled before its first step began was still called.
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == attribute(call, names.ATTEMPTS)
    assert len(numbers) == sum(isinstance(event, AttemptStarted) for event in run.events)
    assert len(run.calls) in (len(numbers), len(numbers) - 1)
    skips = [event.target for event in run.events if isinstance(event, TargetSkipped)]
    shown = [attribute(span, names.TARGET) for span in with_disposition(spans, "skipped")]
    assert shown == skips


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


def assert_status(run, spans):
    """T5: ERROR and `error.type` together, and only where something failed."""
    for span in spans:
        is_error = span.status.status_code is StatusCode.ERROR
        assert is_error == (names.ERROR_TYPE in span.attributes)
        assert span.status.status_code is not StatusCode.OK
        assert (span.status.description or "") != attribute(span, names.ERROR_TYPE)
        assert span.events == ()
    call, *_ = spans
    outcome = attribute(call, names.OUTCOME)
    assert (call.status.status_code is StatusCode.ERROR) == (outcome in {"failure", "rejected"})
    assert (outcome == "failure") == (isinstance(run.error, Exception) or bad(call))
    for span in with_disposition(spans, "retried", "fell_back", "raised"):
        assert span.status.status_code is StatusCode.ERROR
    for span in with_disposition(spans, "skipped", "cancelled"):
        assert span.status.status_code is StatusCode.UNSET


def bad(call) -> bool:
    return attribute(call, names.ERROR_TYPE) == "unacceptable_result"


def assert_instants(run, spans):
    """T6: spans do not end before they begin, lie inside the call, and waits are the gaps."""
    call, *others = spans
    for span in others:
        assert call.start_time <= span.start_time <= span.end_time <= call.end_time
    attempts = spans.attempts()
    waits = [attribute(span, names.DELAY) for span in with_disposition(spans, "retried")]
    assert waits == [event.wait for event in run.events if isinstance(event, RetryScheduled)]
    assert sum(waits) == pytest.approx(attribute(call, names.DELAY_TOTAL) or 0)
    for one, following in pairwise(attempts):
        if attribute(following, names.KIND) == "retry":
            gap = (following.start_time - one.end_time) / 1e9
            assert gap == pytest.approx(attribute(one, names.DELAY))


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
def test_e05_a_call_that_recovered_is_clean(backend, spans):
    """E05: only the failed attempt of a call that recovered is an ERROR."""
    Tester(stack(retry(attempts=2, backoff=[1]), name="ask")).run(
        "x.", backends=[backend], ways=["stack"]
    )
    assert [span.status.status_code.name for span in spans] == ["UNSET", "ERROR", "UNSET"]


@both
def test_e05_a_call_that_failed_is_an_error_throughout(backend, spans):
    """E05: a call that failed and all its attempts are ERRORs."""
    Tester(retry(attempts=2, backoff=[1])).run("x*", backends=[backend], ways=["stack"])
    assert [span.status.status_code.name for span in spans] == ["ERROR"] * 3


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
