"""The E cases of the conformance list: what is said of a call, how loud, and what is measured."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from resilient import RetryBudget, circuit_breaker, consecutive, fallback, retry, stack, timeout
from resilient import telemetry as telemetry_of
from resilient._runtime.listeners import process
from resilient.events import AttemptEnded, BudgetRefused, RetryStopped
from resilient.telemetry import names
from resilient.testing import Log, Tester, capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def _default_listeners():
    """Begin with the listeners that a process has by default."""
    before = process.loud, process.quiet, process.watch
    telemetry_of.install()
    yield
    process.loud, process.quiet, process.watch = before


async def answer(*_):
    """Answer at once."""


def once(policies, script, backend):
    """Run a scripted function through policies; return what is captured, and the events."""
    with capture_spans() as spans:
        (run,) = Tester(*policies).run(script, backends=[backend], ways=["stack"])
    return spans, run.events


def severities(spans):
    return [line.levelname for line in spans.logs]


def ends(events):
    return [(e.number, e.disposition) for e in events if isinstance(e, AttemptEnded)]


@both
@pytest.mark.parametrize(
    ("policies", "script", "loud", "attempts"),
    [
        ([retry(attempts=3)], ".", [], [(1, "returned")]),
        (
            [retry(attempts=3, backoff=[1])],
            "x .",
            ["WARNING"],
            [(1, "retried"), (2, "returned")],
        ),
        (
            [retry(attempts=3, backoff=[1])],
            "x*",
            ["WARNING", "WARNING", "ERROR"],
            [(1, "retried"), (2, "retried"), (3, "raised")],
        ),
        (
            [fallback(to=[answer]), retry(attempts=2, backoff=[1])],
            "x*",
            ["WARNING", "WARNING"],
            [(1, "retried"), (2, "fell_back"), (3, "returned")],
        ),
    ],
    ids=["success", "retried", "it leaves", "a fallback takes over"],
)
def test_E01_a_failed_attempt_is_as_loud_as_what_follows_it(
    policies, script, loud, attempts, backend
):
    """Success is silent, another attempt or target a WARNING, an error that leaves one ERROR."""
    spans, events = once(policies, script, backend)
    assert severities(spans) == loud
    assert ends(events) == attempts
    assert [span.attributes[names.NUMBER] for span in spans.attempts()] == [n for n, _ in attempts]


@both
def test_E01_a_successful_attempt_has_no_line(backend):
    """Also where the line of each attempt is asked for, at DEBUG, a success has none."""
    telemetry_of.install(severities={names.ATTEMPT_ENDED: "DEBUG"})
    spans, _ = once([retry(attempts=3, backoff=[1])], "x .", backend)
    assert severities(spans) == ["DEBUG", "WARNING"]
    assert {vars(line)[names.NUMBER] for line in spans.logs} == {1}


@both
def test_E02_the_severities_of_a_breaker(backend):
    """A circuit that opens is an ERROR, half-open a WARNING, closed INFO; all can be changed."""

    async def life():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=5)
        todo = [ConnectionError]

        async def ask():
            if todo:
                raise todo.pop()

        guarded = stack(breaker)(ask)
        with contextlib.suppress(ConnectionError):
            await guarded()
        await anyio.sleep(5)
        await guarded()

    def loud():
        with capture_spans() as spans:
            virtual_time(life, backend=backend)
        return [
            (vars(line)[names.EVENT], line.levelname)
            for line in spans.logs
            if names.BREAKER in vars(line)
        ]

    assert loud() == [
        (names.BREAKER_OPENED, "ERROR"),
        (names.BREAKER_HALF_OPENED, "WARNING"),
        (names.BREAKER_CLOSED, "INFO"),
    ]
    telemetry_of.install(
        severities={
            names.BREAKER_OPENED: "WARNING",
            names.BREAKER_HALF_OPENED: "DEBUG",
            names.BREAKER_CLOSED: "ERROR",
        }
    )
    assert [severity for _, severity in loud()] == ["WARNING", "DEBUG", "ERROR"]


@both
@pytest.mark.parametrize(
    ("policies", "script", "loud"),
    [
        ([timeout(4), retry(backoff=[9])], "~", ["ERROR"]),
        ([retry(attempts=2, backoff=[1]), timeout(4)], "~ .", ["WARNING"]),
        ([fallback(to=[answer]), timeout(4)], "~", ["WARNING"]),
    ],
    ids=["of everything", "of an attempt that is retried", "of a target that has a successor"],
)
def test_E02_the_severities_of_limits(policies, script, loud, backend):
    """A limit of everything is an ERROR, that of an attempt that something follows a WARNING."""
    spans, _ = once(policies, script, backend)
    assert severities(spans) == loud


@both
@pytest.mark.parametrize(
    ("script", "statuses"),
    [("x .", ["UNSET", "ERROR", "UNSET"]), ("x*", ["ERROR", "ERROR", "ERROR"])],
)
def test_E05_only_what_failed_is_an_error(script, statuses, backend):
    """A call that recovered is clean above its failed attempt; one that failed is all ERROR."""
    spans, _ = once([retry(attempts=2, backoff=[1])], script, backend)
    assert [span.status.status_code.name for span in spans] == statuses


@both
def test_E07_retries_and_the_time_slept_are_measured(backend):
    """Two retries with waits of 0.1 and 0.2 s are 2 retries and 0.3 s, which is the time slept."""
    spans, _ = once([retry(attempts=3, backoff=[0.1, 0.2])], "x x .", backend)
    retries, delay = (spans.metrics[name] for name in (names.CALL_RETRIES, names.CALL_RETRY_DELAY))
    assert (retries.sum, retries.count) == (2, 1)
    assert (delay.sum, delay.count) == (pytest.approx(0.3), 1)
    assert spans.metrics[names.CALL_DURATION].sum == pytest.approx(0.3)


@both
def test_E07_a_call_without_retries_reports_neither(backend):
    """A call whose first attempt answers has no point of retries and none of waits."""
    spans, _ = once([retry(attempts=3, backoff=[0.1])], ".", backend)
    assert names.CALL_RETRIES not in spans.metrics
    assert names.CALL_RETRY_DELAY not in spans.metrics


@both
def test_E08_a_refusal_of_the_budget_is_an_event_of_its_own(backend):
    """A retry without a token is its own event, line and point, and the end reason is `budget`."""
    log = Log()

    async def ask():
        raise ConnectionError

    async def call():
        budget = RetryBudget("db", ratio=0, reserve=0)
        await stack(retry(attempts=3, backoff=[1], budget=budget), listeners=[log])(ask)()

    with capture_spans() as spans, pytest.raises(ConnectionError):
        virtual_time(call, backend=backend)
    assert [e.budget for e in log.events if isinstance(e, BudgetRefused)] == ["db"]
    assert [e.result for e in log.events if isinstance(e, RetryStopped)] == ["budget"]
    assert next(iter(spans)).attributes[names.RETRY_RESULT] == "budget"
    assert [(vars(line)[names.EVENT], line.levelname) for line in spans.logs] == [
        (names.BUDGET_EXHAUSTED, "WARNING"),
        (names.FAILED, "ERROR"),
    ]
    (point,) = spans.metrics[names.REJECTIONS].points
    assert (point.attributes[names.POLICY], point.sum) == ("db", 1)
