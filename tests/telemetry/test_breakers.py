"""What spans, points and lines say of circuit breakers: real ones, opened and closed by calls."""

from __future__ import annotations

import contextlib

import anyio
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN_CONTEXT, StatusCode

from resilient import (
    CircuitOpen,
    FallbackManager,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    retry,
    stack,
    telemetry,
    time_window,
)
from resilient._core import events
from resilient._runtime.call import Call
from resilient._runtime.plan import Plan
from resilient.telemetry import names
from resilient.testing import capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def flaky(*ends):
    """Return a function whose calls end as told: an error class, or an answer; then they answer."""
    todo = list(ends)

    async def ask():
        end = todo.pop(0) if todo else None
        if end is not None:
            raise end

    return ask


async def several(ask, times):
    """Call so many times, whatever comes of it."""
    for _ in range(times):
        with contextlib.suppress(Exception):
            await ask()


def dispositions(spans):
    return [span.attributes.get(names.DISPOSITION) for span in spans if span.parent]


def told(spans):
    return [(line.levelname, line.getMessage()) for line in spans.logs]


@both
def test_a_refusal_has_a_link_to_the_attempt_that_opened_the_circuit(backend, spans):
    """A refused call is a rejected attempt of no length that leads to the one which is to blame."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(2), open_for=30)
        ask = stack(breaker, name="ask")(flaky(OSError, ConnectionError))
        await several(ask, 3)

    virtual_time(caller, backend=backend)
    _, _, _, culprit, call, refused = spans
    assert spans.tree()[-2:] == [
        "ask ERROR circuit_open",
        "  attempt ask (rejected) ERROR circuit_open  -> attempt ask #1",
    ]
    assert dict(refused.attributes) == {
        names.TARGET: "flaky.<locals>.ask",
        names.TARGET_INDEX: 0,
        names.BREAKER: "db",
        names.BREAKER_STATE: "open",
        names.VERDICT: "neutral",
        names.DISPOSITION: "rejected",
        names.ERROR_TYPE: "circuit_open",
    }
    assert [link.context for link in refused.links] == [culprit.context]
    assert refused.start_time == refused.end_time
    assert refused.status.description == 'circuit "db" is open; next try in 30 s'
    assert call.attributes[names.OUTCOME] == "rejected"
    assert (call.attributes[names.ATTEMPTS], call.status.status_code) == (0, StatusCode.ERROR)


@both
def test_attempts_name_the_breaker_that_let_them_pass(backend, spans):
    """An attempt says which circuit breaker it passed and in which state that was."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=5)
        ask = stack(breaker, name="ask")(flaky(ConnectionError))
        await several(ask, 1)
        await anyio.sleep(5)
        await several(ask, 2)

    virtual_time(caller, backend=backend)
    states = [span.attributes[names.BREAKER_STATE] for span in spans.attempts()]
    assert states == ["closed", "half_open", "closed"]
    assert {span.attributes[names.BREAKER] for span in spans.attempts()} == {"db"}


@both
def test_each_opening_has_its_own_culprit(backend, spans):
    """After a probe has failed, refusals lead to that probe and no longer to the first failure."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=5)
        ask = stack(breaker, name="ask")(flaky(OSError, ConnectionError))
        await several(ask, 2)
        await anyio.sleep(5)
        await several(ask, 2)

    virtual_time(caller, backend=backend)
    first, probe = spans.attempts()
    links = [link.context for span in spans for link in span.links]
    assert links == [first.context, probe.context]


@both
def test_a_chain_skips_whom_a_breaker_refuses(backend, spans):
    """In a chain a refusal is one skipped attempt: nothing failed, and it has the link as well."""

    async def caller():
        manager = FallbackManager(
            [
                Target(
                    "a",
                    flaky(ConnectionError),
                    policies=circuit_breaker("a", trip=consecutive(1), open_for=30),
                ),
                Target("b", flaky()),
            ],
            name="ask",
        )
        await several(manager.run, 2)

    virtual_time(caller, backend=backend)
    assert spans.tree() == [
        "ask",
        "  attempt ask #1 ERROR ConnectionError",
        "  attempt ask #2",
        "ask",
        "  attempt ask (skipped)  -> attempt ask #1",
        "  attempt ask #1",
    ]
    skipped = list(spans)[4]
    assert skipped.attributes[names.SKIP_REASON] == "breaker_open"
    assert skipped.attributes[names.BREAKER] == "a"
    assert skipped.status.status_code is StatusCode.UNSET
    assert told(spans) == [
        (
            "ERROR",
            'breaker "a" opened: 1 of 1 call failed with ConnectionError; probes after 30 s',
        ),
        ("WARNING", "ask: a failed: ConnectionError; asking b"),
        ("INFO", "ask: a was not asked: its circuit breaker is open"),
    ]


@both
def test_a_refused_retry_is_rejected_behind_its_attempts(backend, spans):
    """A retry that a breaker refuses is a rejected attempt, with the wait before the next one."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=5)
        policies = retry(attempts=3, backoff=[1], on=(ConnectionError, CircuitOpen)), breaker
        ask = stack(*policies, name="ask")(flaky(ConnectionError))
        await several(ask, 1)

    virtual_time(caller, backend=backend)
    assert dispositions(spans) == ["retried", "rejected", "returned"]
    _, culprit, refused, answered = spans
    assert [link.context for link in refused.links] == [culprit.context]
    # The wait is as long as the circuit stays open.
    assert refused.attributes[names.DELAY] == 4
    assert refused.attributes[names.DELAY_SOURCE] == "hint"
    assert (answered.start_time - refused.end_time) / 1e9 == 4


@both
def test_a_breaker_that_only_observes_refuses_nobody(backend, spans):
    """Where a breaker observes no attempt is rejected, and a point says which would have been."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=30, mode="observe")
        await several(stack(breaker, name="ask")(flaky(ConnectionError)), 2)

    virtual_time(caller, backend=backend)
    assert dispositions(spans) == ["raised", "returned"]
    (point,) = spans.metrics[names.REJECTIONS].points
    assert point.attributes == {
        names.POLICY: "db",
        names.ERROR_TYPE: "circuit_open",
        names.ENFORCED: False,
    }
    assert told(spans)[0][1].endswith("probes after 30 s (it only observes)")


def test_a_context_that_leads_nowhere_is_no_link(spans):
    """What is remembered of the culprit becomes a link only if it is the context of a span."""

    async def refused(context):
        call = Call(Plan(name="ask", function="app.ask", policies=(), targets=("ask",)))
        call.start()
        origin = events.Origin(context)
        call.report(events.CallRejected(0, "circuit_breaker", None, None, name="db", origin=origin))
        call.end(None)

    for context in (None, "a context of somebody's own", INVALID_SPAN_CONTEXT):
        virtual_time(refused, context)
    assert [span.links for span in spans if span.parent] == [()] * 3


def test_an_unsampled_culprit_is_linked_to_all_the_same():
    """The link is there whenever the span of the culprit has a context, and else it is not."""

    async def caller(*, listens):
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=30)
        ask = stack(breaker, name="ask")(flaky(ConnectionError))
        with capture_spans(ALWAYS_OFF) if listens else contextlib.nullcontext():
            await several(ask, 1)
        with capture_spans() as spans:
            await several(ask, 1)
        (_, refused) = spans
        return [link.context.is_valid for link in refused.links]

    telemetry.install(spans=False, metrics=False)
    assert virtual_time(lambda: caller(listens=True)) == [True]
    assert virtual_time(lambda: caller(listens=False)) == []


@both
def test_a_breaker_used_by_hand_blames_nobody(backend, spans):
    """A circuit that a permit by hand opened has no attempt to lead to, and the log tells of it."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=30)
        with contextlib.suppress(ConnectionError), breaker.acquire():
            raise ConnectionError
        await several(stack(breaker, name="ask")(flaky()), 1)

    virtual_time(caller, backend=backend)
    _, refused = spans
    assert refused.links == ()
    assert told(spans)[0][1].startswith('breaker "db" opened: 1 of 1 call failed')


TRIPS = [
    (consecutive(3), [OSError] * 3, "3 of 3 calls failed, the last with OSError"),
    (
        count_window(4, min_calls=4),
        [OSError, None, None, ConnectionError],
        "2 of 4 calls failed, the last with ConnectionError",
    ),
    (time_window(30, min_calls=2), [None, OSError], "1 of 2 calls failed in 30 s with OSError"),
    (
        time_window(30, min_calls=2, slow_call=2, failure_rate=1),
        ["slow", "slow"],
        "2 of 2 calls were slow in 30 s",
    ),
    (
        time_window(30, min_calls=2, slow_call=2, failure_rate=1),
        [OSError, "slow"],
        "1 of 2 calls failed and 1 was slow in 30 s",
    ),
]


@both
@pytest.mark.parametrize(("trip", "ends", "said"), TRIPS)
def test_the_line_says_what_the_rule_has_seen(trip, ends, said, backend, spans):
    """When a circuit opens, one ERROR says how many calls failed or were slow, of how many."""
    todo = list(ends)

    async def ask():
        end = todo.pop(0)
        if end == "slow":
            await anyio.sleep(3)
        elif end is not None:
            raise end

    async def caller():
        await several(
            stack(circuit_breaker("db", trip=trip, on=Exception, open_for=30))(ask), len(ends)
        )

    virtual_time(caller, backend=backend)
    opened = [line for line in told(spans) if "breaker" in line[1]]
    assert opened == [("ERROR", f'breaker "db" opened: {said}; probes after 30 s')]


@both
def test_the_life_of_a_breaker_is_a_line_for_each_change(backend, spans):
    """Half-open, opened again and closed are one line each, as are those by hand."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1, slow_call=2), open_for=5)
        ask = stack(breaker, name="ask")(flaky(ConnectionError, ConnectionError))
        for _ in range(3):
            await several(ask, 1)
            await anyio.sleep(5)
        with breaker.isolate():
            await several(ask, 5)
        breaker.disable()
        breaker.enable()

    virtual_time(caller, backend=backend)
    changes = [line for line in told(spans) if line[1].startswith("breaker")]
    assert changes == [
        (
            "ERROR",
            'breaker "db" opened: 1 of 1 call failed with ConnectionError; probes after 5 s',
        ),
        ("WARNING", 'breaker "db" half-open: it lets probes pass'),
        (
            "ERROR",
            'breaker "db" opened again: a probe failed with ConnectionError; probes after 5 s',
        ),
        ("WARNING", 'breaker "db" half-open: it lets probes pass'),
        ("INFO", 'breaker "db" closed: its probes succeeded'),
        ("WARNING", 'breaker "db" isolated by hand: nothing passes until it is released'),
        ("INFO", 'breaker "db" closed: it is no longer isolated'),
        ("WARNING", 'breaker "db" disabled by hand: everything passes, and it learns nothing'),
        ("INFO", 'breaker "db" closed: it is enabled again'),
    ]
    states = [
        (point.attributes[names.BREAKER_FROM], point.attributes[names.BREAKER_TO], point.sum)
        for point in spans.metrics[names.TRANSITIONS].points
    ]
    assert sorted(states) == [
        ("closed", "disabled", 1),
        ("closed", "isolated", 1),
        ("closed", "open", 1),
        ("disabled", "closed", 1),
        ("half_open", "closed", 1),
        ("half_open", "open", 1),
        ("isolated", "closed", 1),
        ("open", "half_open", 2),
    ]


def test_a_slow_probe_is_told_as_slow(spans):
    """A circuit that opens again because a probe was slow says so."""

    async def ask():
        await anyio.sleep(3)

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1, slow_call=2), open_for=5)
        for _ in range(2):
            await several(stack(breaker)(ask), 1)
            await anyio.sleep(5)

    virtual_time(caller)
    assert told(spans) == [
        ("ERROR", 'breaker "db" opened: 1 of 1 call failed or was slow; probes after 5 s'),
        ("WARNING", 'breaker "db" half-open: it lets probes pass'),
        ("ERROR", 'breaker "db" opened again: a probe was too slow; probes after 5 s'),
    ]


@both
def test_refusals_have_no_line(backend, spans):
    """A thousand refusals are one line: that the circuit opened."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=30)
        await several(stack(breaker, name="ask")(flaky(ConnectionError)), 1001)

    virtual_time(caller, backend=backend)
    assert [line.getMessage() for line in spans.logs] == [
        'breaker "db" opened: 1 of 1 call failed with ConnectionError; probes after 30 s',
        "ask: failed after 1 attempt in 0 s: ConnectionError",
    ]
    assert spans.metrics[names.REJECTIONS].sum == 1000


@both
def test_the_line_is_correlated_with_the_attempt(backend, spans):
    """The line that a circuit opened has the ids of the attempt that did it."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=30)
        await several(stack(breaker, name="ask")(flaky(ConnectionError)), 1)

    virtual_time(caller, backend=backend)
    (attempt,) = spans.attempts()
    facts = vars(spans.logs[0])
    assert facts[names.SPAN_ID] == f"{attempt.context.span_id:016x}"
    assert facts[names.NUMBER] == 1
    assert facts[names.BREAKER] == "db"
    assert facts[names.RETRY_AFTER] == 30
    assert (facts[names.BREAKER_CALLS], facts[names.BREAKER_FAILURES]) == (1, 1)
    assert facts[names.ERROR_TYPE] == "ConnectionError"


def test_a_line_about_no_attempt_names_none(spans):
    """That a circuit is half open is nobody's doing, also where it is a retry that finds it so."""

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=5)
        policies = retry(attempts=3, backoff=[1], on=(ConnectionError, CircuitOpen)), breaker
        await several(stack(*policies, name="ask")(flaky(ConnectionError)), 1)

    virtual_time(caller)
    numbers = {
        vars(line)[names.EVENT]: vars(line).get(names.NUMBER)
        for line in spans.logs
        if names.BREAKER in vars(line)
    }
    assert numbers == {
        names.BREAKER_OPENED: 1,
        names.BREAKER_HALF_OPENED: None,
        names.BREAKER_CLOSED: 2,
    }


def test_states_are_counted_by_name_and_never_by_key(spans):
    """A keyed breaker is a census of its circuits under one name."""

    async def ask(tenant):
        if tenant == "bad":
            raise ConnectionError

    async def caller():
        breaker = circuit_breaker("db", trip=consecutive(1), open_for=30, key="tenant")
        guarded = stack(breaker, name="ask")(ask)
        for tenant in ("good", "better", "bad"):
            await several(lambda tenant=tenant: guarded(tenant), 1)
        return spans.metrics[names.STATES].points

    points = virtual_time(caller)
    assert {point.attributes[names.BREAKER] for point in points} == {"db"}
    counted = {point.attributes[names.BREAKER_STATE]: point.sum for point in points}
    assert counted == {"closed": 2, "open": 1, "half_open": 0, "isolated": 0, "disabled": 0}
