"""What is measured of calls: which points, with which attributes, in which span."""

from __future__ import annotations

import contextlib
import gc
import types
import weakref

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from resilient import (
    FallbackManager,
    Rejected,
    RetryBudget,
    Target,
    fallback,
    retry,
    stack,
    telemetry,
    timeout,
    value,
)
from resilient._core import events
from resilient._runtime.budgets import fresh_budgets
from resilient._runtime.call import Call
from resilient._runtime.plan import Plan
from resilient.telemetry import _instruments, _observed, names
from resilient.testing import CapturedSpans, capture_spans, simulate, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
OBSERVED = {names.STATES, names.TOKENS}


def recorded(captured):
    """Return what was recorded by calls, as {name: [(attributes, sum, count)]}."""
    return {
        name: [(point.attributes, pytest.approx(point.sum), point.count) for point in metric.points]
        for name, metric in captured.metrics.items()
        if name not in OBSERVED
    }


def failing(*ends):
    """Return a function whose calls end as told: seconds of sleep, an error class, or at once."""
    todo = list(ends)

    async def ask():
        end = todo.pop(0) if todo else None
        if isinstance(end, float):
            await anyio.sleep(end)
        elif end is not None:
            raise end

    return ask


def run(fn, *policies, backend="asyncio"):
    with contextlib.suppress(Exception):
        virtual_time(stack(*policies, name="ask")(fn), backend=backend)


PIPELINE = {names.PIPELINE: "ask"}
TARGET = PIPELINE | {names.TARGET: "failing.<locals>.ask"}
FIRST = TARGET | {names.KIND: "initial"}
AGAIN = TARGET | {names.KIND: "retry"}


@both
def test_a_call_that_answers_at_once_records_two_points(backend, spans):
    """A successful call is one point for the call and one for its attempt, and nothing else."""
    run(failing(0.25), retry(), timeout(3), backend=backend)
    assert recorded(spans) == {
        names.ATTEMPT_DURATION: [(FIRST, 0.25, 1)],
        names.CALL_DURATION: [
            (PIPELINE | {names.OUTCOME: "success", names.RETRY_RESULT: "first_try"}, 0.25, 1)
        ],
    }


@both
def test_without_a_retry_there_is_no_retry_result(backend, spans):
    """A pipeline without a retry says nothing of how one ended."""
    run(failing(0.25), timeout(3), backend=backend)
    assert recorded(spans)[names.CALL_DURATION] == [
        (PIPELINE | {names.OUTCOME: "success"}, 0.25, 1)
    ]


@both
def test_a_call_that_failed_says_with_what(backend, spans):
    """Call and attempts of a failure have the `error.type` of their spans, each its own."""
    run(failing(9.0, ValueError), retry(attempts=2, backoff=[1]), timeout(3), backend=backend)
    found = recorded(spans)
    assert found[names.CALL_DURATION] == [
        (
            PIPELINE
            | {
                names.OUTCOME: "failure",
                names.RETRY_RESULT: "not_retryable",
                names.ERROR_TYPE: "ValueError",
            },
            4,
            1,
        )
    ]
    assert found[names.ATTEMPT_DURATION] == [
        (FIRST | {names.ERROR_TYPE: "timeout"}, 3, 1),
        (AGAIN | {names.ERROR_TYPE: "ValueError"}, 0, 1),
    ]


@both
def test_a_value_judged_bad_is_a_failure_too(backend, spans):
    """Attempts whose value `on_result` judged bad, and the call that returns one, say so."""
    policy = retry(attempts=2, backoff=[1], on_result=lambda _: True)
    run(failing(), policy, backend=backend)
    for name in (names.CALL_DURATION, names.ATTEMPT_DURATION):
        for attributes, _, _ in recorded(spans)[name]:
            assert attributes[names.ERROR_TYPE] == "unacceptable_result"


@both
def test_a_cancelled_call_is_a_point_without_an_error(backend, spans):
    """A call that its caller gave up is measured, as is its attempt, and nobody failed."""
    ask = stack(retry(), name="ask")(failing(9.0))

    async def caller():
        with anyio.move_on_after(2):
            await ask()

    virtual_time(caller, backend=backend)
    outcome = {names.OUTCOME: "cancelled", names.RETRY_RESULT: "cancelled"}
    assert recorded(spans) == {
        names.ATTEMPT_DURATION: [(FIRST, 2, 1)],
        names.CALL_DURATION: [(PIPELINE | outcome, 2, 1)],
    }


@both
def test_very_many_retries_are_all_counted(backend, spans):
    """Retries are counted beyond the attempts that a call remembers."""
    run(failing(*[ConnectionError] * 1500), retry(attempts=2000, backoff=[0]), backend=backend)
    assert recorded(spans)[names.CALL_RETRIES] == [(PIPELINE, 1500, 1)]


def target(name, *ends, **options):
    return Target(name, failing(*ends), **options)


@both
def test_who_answered_is_counted(backend, spans):
    """Where there are several targets, each answer counts for the one that gave it."""
    manager = FallbackManager([target("a", None, ConnectionError), target("b")], name="ask")

    async def caller():
        await manager.run()
        await manager.run()

    virtual_time(caller, backend=backend)
    found = recorded(spans)
    assert found[names.SELECTIONS] == [
        (PIPELINE | {names.TARGET: "a", names.TARGET_INDEX: 0}, 1, 1),
        (PIPELINE | {names.TARGET: "b", names.TARGET_INDEX: 1}, 1, 1),
    ]
    kinds = [(a[names.TARGET], a[names.KIND]) for a, _, _ in found[names.ATTEMPT_DURATION]]
    assert kinds == [("a", "initial"), ("a", "initial"), ("b", "fallback")]
    assert names.CALL_RETRIES not in found


@both
def test_retries_of_several_targets_add_up(backend, spans):
    """The first attempt on each target is no retry, every further one is."""
    manager = FallbackManager(
        [
            target("a", ConnectionError, ConnectionError, attempts=2),
            target("b", ConnectionError, attempts=3),
        ],
        name="ask",
    )
    virtual_time(manager.run, backend=backend)
    found = recorded(spans)
    assert found[names.CALL_RETRIES] == [(PIPELINE, 2, 1)]
    waited = sum(span.attributes.get(names.DELAY, 0) for span in spans.attempts())
    assert found[names.CALL_RETRY_DELAY] == [(PIPELINE, waited, 1)]


@both
def test_nobody_answered_selects_nobody(backend, spans):
    """The last resort is a call with its own outcome, and selects no target."""
    run(
        failing(ConnectionError),
        fallback(to=[failing(ConnectionError)], degrade=value(1)),
        backend=backend,
    )
    found = recorded(spans)
    assert names.SELECTIONS not in found
    assert found[names.CALL_DURATION] == [(PIPELINE | {names.OUTCOME: "degraded"}, 0, 1)]


@both
def test_targets_that_are_not_asked_are_counted(backend, spans):
    """A target that is skipped counts with the reason."""
    manager = FallbackManager([target("a", enabled=False), target("b")], name="ask")
    virtual_time(manager.run, backend=backend)
    assert recorded(spans)[names.SKIPS] == [
        (PIPELINE | {names.TARGET: "a", names.SKIP_REASON: "disabled"}, 1, 1)
    ]


@both
def test_swallowed_cancellations_are_counted(backend, spans):
    """Code that comes back late counts once, and its attempt is as long as it was."""

    async def stubborn():
        try:
            await anyio.sleep(9)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

    run(stubborn, timeout(3), backend=backend)
    found = recorded(spans)
    assert found[names.OVERRUNS] == [(PIPELINE, 1, 1)]
    assert [seconds for _, seconds, _ in found[names.ATTEMPT_DURATION]] == [4]


@both
def test_a_refused_retry_is_a_rejection(backend, spans):
    """A budget without a token counts as a rejection by its name."""
    with fresh_budgets():
        budget = RetryBudget("db", ratio=0, reserve=0)
        run(failing(ConnectionError), retry(budget=budget, backoff=[1]), backend=backend)
    refusal = {names.POLICY: "db", names.ERROR_TYPE: "budget_exhausted", names.ENFORCED: True}
    assert recorded(spans)[names.REJECTIONS] == [(refusal, 1, 1)]


def in_a_call(*told):
    """Tell the listeners of events, as drivers would in a call."""

    async def caller():
        plan = Plan(name="ask", function="app.ask", policies=(), targets=("large",))
        call = Call(plan)
        call.start()
        for event in told:
            call.report(event)
        call.end(None)

    virtual_time(caller)


@pytest.mark.parametrize("enforced", [True, False])
@pytest.mark.parametrize(
    ("error", "kind"),
    [(Rejected("no", policy="bulkhead"), "resilient.errors.Rejected"), (None, "bulkhead")],
)
def test_rejections_are_counted_by_policy(enforced, error, kind, spans):
    """Every refusal counts under the name of its policy, one that only would have been as well."""
    refused = events.CallRejected(0, "bulkhead", None, error, enforced, name="db")
    in_a_call(refused, refused)
    refusal = {names.POLICY: "db", names.ERROR_TYPE: kind, names.ENFORCED: enforced}
    assert recorded(spans)[names.REJECTIONS] == [(refusal, 2, 1)]


def test_transitions_of_circuit_breakers_are_counted(spans):
    """Each change of state counts with where it came from and where it went."""
    in_a_call(
        events.BreakerChanged(0, "db", "closed", "open", "failures"),
        events.BreakerChanged(0, "db", "open", "half_open", "time"),
        events.BreakerChanged(0, "db", "closed", "open", "failures"),
    )
    names_of = {names.BREAKER: "db", names.BREAKER_FROM: "closed", names.BREAKER_TO: "open"}
    other = {names.BREAKER: "db", names.BREAKER_FROM: "open", names.BREAKER_TO: "half_open"}
    assert recorded(spans)[names.TRANSITIONS] == [(names_of, 2, 1), (other, 1, 1)]


def test_an_attempt_is_as_long_as_its_target_took(spans):
    """What predicates take after the target has ended is no part of its attempt."""
    in_a_call(events.AttemptEnded(9, 1, 1, "large", 0, "success", "returned", started=1, ended=3))
    (point,) = spans.metrics[names.ATTEMPT_DURATION].points
    assert point.sum == 2


def test_the_first_item_of_a_stream_is_measured(spans):
    """The time to the first item is a point of its own."""
    in_a_call(events.StreamCommitted(0, 1, 0.75))
    expected = (PIPELINE | {names.TARGET: "large"}, 0.75, 1)
    assert recorded(spans)[names.FIRST_ITEM_DURATION] == [expected]


def test_buckets_are_as_declared(spans):
    """A histogram asks for the buckets of the table."""
    run(failing(ConnectionError), retry(attempts=2, backoff=[1]))
    in_a_call(events.StreamCommitted(0, 1, 0.75))
    for metric in names.METRICS:
        if metric.instrument == "histogram":
            (point, *_) = spans.metrics[metric.name].points
            assert point.bounds == metric.buckets
            assert spans.metrics[metric.name].unit == metric.unit


@both
def test_exemplars_lead_to_the_span(backend, spans):
    """The point of an attempt is recorded in its span, that of a call in the call's."""
    run(failing(ConnectionError, None), retry(attempts=2, backoff=[1]), backend=backend)
    call, *attempts = (span.context.span_id for span in spans)
    metrics = spans.metrics
    assert [point.exemplars for point in metrics[names.ATTEMPT_DURATION].points] == [
        (attempt,) for attempt in attempts
    ]
    for name in (names.CALL_DURATION, names.CALL_RETRIES, names.CALL_RETRY_DELAY):
        assert [point.exemplars for point in metrics[name].points] == [(call,)]


def test_unsampled_calls_leave_no_exemplar():
    """Where no span is recorded there is no exemplar, and the points are the same."""
    with capture_spans(ALWAYS_OFF) as spans:
        run(failing(), retry())
    (point,) = spans.metrics[names.CALL_DURATION].points
    assert (point.count, point.exemplars) == (1, ())


def test_without_spans_the_caller_s_span_is_the_exemplar():
    """With a meter provider only, a point is recorded in the caller's own span."""
    captured = CapturedSpans()
    telemetry.install(meter_provider=captured.meter_provider)

    async def caller():
        with captured.provider.get_tracer("caller").start_as_current_span("request"):
            await stack(retry(), name="ask")(failing())()

    virtual_time(caller)
    (request,) = captured
    measured = captured.metrics
    for name in (names.CALL_DURATION, names.ATTEMPT_DURATION):
        assert [point.exemplars for point in measured[name].points] == [(request.context.span_id,)]


def test_the_65th_type_of_a_pipeline_is_other(spans):
    """Spans and points of a pipeline share one count of 64 types; all further ones are `_OTHER`."""
    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(66)]
    for kind in kinds:
        run(failing(kind), retry(attempts=1))
    on_spans = [span.attributes[names.ERROR_TYPE] for span in spans.named("ask")]
    points = recorded(spans)[names.CALL_DURATION]
    counted = {attributes[names.ERROR_TYPE]: count for attributes, _, count in points}
    assert len(counted) == names.DISTINCT_ERRORS + 1
    assert counted == {kind: on_spans.count(kind) for kind in on_spans}
    assert counted[names.OTHER] == 2


def observed(captured, name):
    metric = captured.metrics.get(name)
    return (
        {}
        if metric is None
        else {tuple(point.attributes.values()): point.sum for point in metric.points}
    )


def test_tokens_of_budgets_are_observed(spans):
    """Each budget says how many retries it would pay for, and to ask it changes nothing."""

    async def caller():
        budget = RetryBudget("db", ratio=0.5, reserve=2)
        RetryBudget("mail", reserve=1)
        budget.deposit(0)
        seen = [observed(spans, names.TOKENS)]
        assert budget.withdraw(0)
        return [*seen, observed(spans, names.TOKENS), observed(spans, names.TOKENS)]

    assert virtual_time(caller) == [
        {("db",): 2.5, ("mail",): 1},
        {("db",): 1.5, ("mail",): 1},
        {("db",): 1.5, ("mail",): 1},
    ]


def test_another_clock_does_not_forget_a_budget(spans):
    """A reader whose thread has another clock than the calls sees a budget and leaves it alone."""
    with fresh_budgets():
        budget = RetryBudget("db", ratio=0, reserve=2)
        assert budget.withdraw(now=1e9)
        assert observed(spans, names.TOKENS) == {("db",): 2}
        assert [budget.withdraw(now=1e9), budget.withdraw(now=1e9)] == [True, False]


def test_states_are_a_census(spans, monkeypatch):
    """Each name of a breaker has a series for each state, also for those that none is in."""
    monkeypatch.setattr(
        _observed,
        "census",
        lambda _: [
            ("db", "open", 2),
            ("db", "closed", 1),
            ("db", "open", 1),
            ("mail", "closed", 1),
        ],
    )
    found = observed(spans, names.STATES)
    assert found["db", "open"] == 3
    assert {key: count for key, count in found.items() if count} == {
        ("db", "open"): 3,
        ("db", "closed"): 1,
        ("mail", "closed"): 1,
    }
    assert len(found) == 2 * 5


def test_a_snapshot_that_fails_is_logged_once(spans, monkeypatch, lines):
    """A reader gets all other metrics when one snapshot fails, and the log says so once."""

    def census(_):
        raise RuntimeError("sentinel")

    monkeypatch.setattr(_observed, "census", census)
    run(failing(), retry())
    for _ in range(2):
        assert names.CALL_DURATION in spans.metrics
        assert names.STATES not in spans.metrics
    assert [line.getMessage() for line in lines()] == ["no snapshot for a metric: RuntimeError"]


def test_what_is_not_installed_observes_nothing():
    """A provider is told of breakers and budgets only while its metrics are installed, and once."""
    captured = CapturedSpans()
    with fresh_budgets():
        RetryBudget("db", reserve=2)
        for _ in range(2):
            telemetry.install(meter_provider=captured.meter_provider)
        assert observed(captured, names.TOKENS) == {("db",): 2}
        telemetry.uninstall()
        assert observed(captured, names.TOKENS) == {}


def test_instruments_live_as_long_as_their_provider():
    """Nothing of a provider is kept once it is gone, and one that cannot be noted works as well."""
    provider = CapturedSpans().meter_provider
    assert _instruments.instruments_of(provider) is _instruments.instruments_of(provider)
    gone = weakref.ref(_instruments.instruments_of(provider))
    del provider
    gc.collect()
    assert gone() is None

    class Slotted:
        __slots__ = ("get_meter",)

    slotted = Slotted()
    slotted.get_meter = CapturedSpans().meter_provider.get_meter
    telemetry.install(meter_provider=slotted)
    run(failing(), retry())


DECLARED = {metric.name: metric for metric in names.METRICS}
LABELS = {one.name: one for one in names.LABELS}
TYPES = {"str": str, "bool": bool, "int": int}


def test_every_point_is_declared(spans, monkeypatch):
    """T7: each metric is in the table with its unit, each attribute with its type and value."""
    monkeypatch.setattr(_observed, "census", lambda _: [("db", "open", 2)])
    refused = Rejected("no", policy="bulkhead")
    in_a_call(
        events.CallRejected(0, "bulkhead", None, refused, name="db"),
        events.BreakerChanged(0, "db", "closed", "open", "failures"),
        events.TargetSkipped(0, "large", 0, "cooldown"),
        events.TimeoutOverrun(0, "attempt", 1, 2, 1),
        events.StreamCommitted(0, 1, 0.75),
        events.BudgetRefused(0, "db", 1),
    )
    run(
        failing(ConnectionError, ValueError),
        fallback(to=[failing()]),
        retry(attempts=2, backoff=[1]),
    )
    telemetry.count(names.COST, 0.25, {names.TARGET: "large", names.COST_RESOLVED: True})
    with fresh_budgets():
        RetryBudget("db")
        metrics = spans.metrics
    assert metrics.keys() == DECLARED.keys()
    for name, metric in metrics.items():
        declared = DECLARED[name]
        assert metric.unit == declared.unit
        for point in metric.points:
            assert set(declared.attributes) <= point.attributes.keys()
            assert point.attributes.keys() <= {*declared.attributes, *declared.sometimes}
            for key, found in point.attributes.items():
                label = LABELS[key]
                assert type(found) is TYPES[label.type], f"{key} is {found!r}"
                assert not label.values or found in label.values, f"{key} is {found!r}"


def test_no_span_is_made_for_metrics_alone():
    """With a meter provider only, the target sees the span of its caller."""
    captured = CapturedSpans()
    telemetry.install(meter_provider=captured.meter_provider, spans=False)
    seen = []

    @retry
    async def ask():
        seen.append(trace.get_current_span())

    virtual_time(ask)
    assert seen == [trace.INVALID_SPAN]
    assert captured.metrics[names.CALL_DURATION].count == 1


def test_a_meter_of_somebody_s_own_is_asked_by_the_api_s_names():
    """What the listener needs of a meter is what the API says that it has, and no more."""
    made = []

    def make(kind):
        def create(name, callbacks=(), unit="", description="", **options):
            made.append((kind, name, unit, options.get("explicit_bucket_boundaries_advisory")))
            return types.SimpleNamespace(record=None, add=None)

        return create

    kinds = ("histogram", "counter", "observable_gauge", "observable_up_down_counter")
    meter = types.SimpleNamespace(**{f"create_{kind}": make(kind) for kind in kinds})
    provider = types.SimpleNamespace(get_meter=lambda *_, **__: meter)
    telemetry.install(meter_provider=provider)
    assert made == [
        (one.instrument, one.name, one.unit, one.buckets or None) for one in names.METRICS
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("script", "calls"), [("~", 1), ("x ~", 2), ("x x ~", 3)])
def test_a_retry_that_the_total_limit_cuts_says_so(script, calls, backend):
    """Whichever attempt the limit for everything ends, the result of the retry is `deadline`."""
    run = simulate(stack(timeout(5), retry(attempts=3, backoff=[1])), script, backend=backend)
    assert (run.tries, len(run.calls)) == (calls, calls)
    assert run.events[-1].retry_result == "deadline"
    (point,) = run.metrics["resilient.call.duration"].points
    assert point.attributes[names.RETRY_RESULT] == "deadline"
