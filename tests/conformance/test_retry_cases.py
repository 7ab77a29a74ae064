"""The R cases of the conformance list: how often, on what, and how it ends."""

from __future__ import annotations

import logging

import anyio
import pytest

from resilient import (
    Rejected,
    RetryBudget,
    current_call,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient._runtime.budgets import fresh_budgets
from resilient._runtime.clock import now
from resilient.errors import PolicyOrderWarning
from resilient.events import AttemptEnded, AttemptStarted, RetryScheduled, RetryStopped
from resilient.testing import Bad, Fail, Hang, Ok, Tester, virtual_time

BACKENDS = ("asyncio", "trio")
NOW = [0]


class E1(Exception):
    """A failure."""


class E2(Exception):
    """Another failure."""


def stops(run):
    """Return the reasons why the retry of a run stopped."""
    return [event.result for event in run.events if isinstance(event, RetryStopped)]


def notes(run):
    """Return the notes on the error that a run ended with."""
    return getattr(run.error, "__notes__", [])


def test_R01_the_third_failure_of_a_default_retry_surfaces_as_it_is():
    """Three calls are made and the third exception surfaces, same object, with one note."""
    runs = Tester(retry()).run("x*").asserts(tries=3, calls=3, error=ConnectionError, from_call=3)
    for run in runs:
        assert sum(isinstance(event, RetryScheduled) for event in run.events) == 2
        assert len(notes(run)) == 1
        assert notes(run)[0].startswith("resilient: gave up after 3 attempts in ")


def test_R04_retry_events_carry_the_number_of_the_attempt_that_failed():
    """Six failing attempts give retry events 1 to 5 and one give-up event, number 6."""
    runs = Tester(retry(attempts=6, backoff=NOW)).run("x*")
    for run in runs.asserts(tries=6, calls=6, error=ConnectionError):
        retried = [event.number for event in run.events if isinstance(event, RetryScheduled)]
        stopped = [event.number for event in run.events if isinstance(event, RetryStopped)]
        assert (retried, stopped) == ([1, 2, 3, 4, 5], [6])


def test_R07_an_error_that_on_does_not_name_ends_the_retry():
    """E1, E1, E2 with on=E1 is three calls, and E2 surfaces."""
    script = [Fail(E1), Fail(E1), Fail(E2)]
    runs = Tester(retry(attempts=5, on=E1, backoff=NOW)).run(script)
    for run in runs.asserts(tries=3, calls=3, error=E2, from_call=3):
        assert stops(run) == ["not_retryable"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_R09_the_traceback_still_ends_in_the_raising_line(backend):
    """An error that is not retryable has one call, no note, and its own traceback."""

    @retry(on=E1)
    async def fails():
        raise E2  # the raising line

    with pytest.raises(E2) as caught:
        virtual_time(fails, backend=backend, check_leftovers=True)
    assert caught.traceback[-1].name == "fails"
    assert not hasattr(caught.value, "__notes__")


def test_R10_a_bad_result_is_returned_when_the_attempts_are_used_up():
    """With on_result, the last bad value is returned and no exception is invented."""
    policy = retry(attempts=3, on_result=lambda answer: answer == 500, backoff=NOW)
    runs = Tester(policy).run([Bad(500), Bad(500), Bad(500)])
    for run in runs.asserts(tries=3, calls=3, value=500):
        assert stops(run) == ["exhausted"]


def test_R12_no_wait_ends_after_max_elapsed():
    """Calls at 0 and 55 ms; at 95 ms the next wait would pass the limit of 100 ms."""
    policy = retry(attempts=None, max_elapsed=0.1, backoff=[0.015])
    runs = Tester(policy).run([Fail(ConnectionError, 0.04)] * 5)
    runs.asserts(
        tries=2, calls=2, error=ConnectionError, from_call=2, elapsed=0.095, calls_at=[0, 0.055]
    )
    assert all(stops(run) == ["deadline"] for run in runs)


@pytest.mark.parametrize("wait", [0.05, 0.02], ids=["longer", "equal"])
@pytest.mark.parametrize("outer", ["max_elapsed", "timeout"])
def test_R14_a_wait_that_reaches_the_deadline_is_not_begun(wait, outer):
    """After 80 of 100 ms a wait of 50 or exactly 20 ms is refused, and the error surfaces."""
    policies = (
        [retry(max_elapsed=0.1, backoff=[wait])]
        if outer == "max_elapsed"
        else [timeout(0.1), retry(backoff=[wait])]
    )
    runs = Tester(*policies).run([Fail(ConnectionError, 0.08)])
    for run in runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0.08):
        assert stops(run) == ["deadline"]
        assert "TimeoutFired" not in run.event_names


@pytest.mark.parametrize("backend", BACKENDS)
def test_R14_the_callers_own_scope_is_a_deadline_as_well(backend):
    """Of 100 ms of an anyio scope 80 have passed: a wait of 50 ms is not begun."""
    calls = []

    @retry(backoff=[0.05])
    async def fails():
        calls.append(1)
        await anyio.sleep(0.08)
        raise ConnectionError

    async def main():
        with pytest.raises(ConnectionError), anyio.move_on_after(0.1):
            await fails()
        return now()

    assert virtual_time(main, backend=backend, check_leftovers=True) == 0.08
    assert calls == [1]


@pytest.mark.parametrize("cancel", ["scope", "task"])
def test_R17_a_cancellation_in_the_wait_surfaces_at_once(cancel):
    """Cancelled at 0.4 s of a wait of 1 s: one call, and not the last error."""
    runs = Tester(retry(backoff=[1])).run("x*", cancel_at=0.4, cancel=cancel)
    runs.asserts(tries=2, calls=1, result="cancelled", elapsed=0.4)


@pytest.mark.parametrize(
    ("answer", "calls", "wait"),
    [(True, 2, 0.25), (False, 1, None), (None, 1, None), (0, 2, 0), (0.7, 2, 0.7)],
    ids=repr,
)
def test_R20_a_predicate_says_whether_and_how_long(answer, calls, wait):
    """True takes the computed wait, False and None stop, a number is the wait."""
    policy = retry(attempts=2, on=lambda _: answer, backoff=[0.25])
    runs = Tester(policy).run("x .")
    if calls == 1:
        runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0)
    else:
        runs.asserts(tries=2, calls=2, from_call=2, waits=[wait], elapsed=wait)


@pytest.mark.parametrize("option", ["on", "backoff"])
def test_R20_a_negative_wait_is_an_error_that_names_who_gave_it(option):
    """A predicate or a backoff function that answers -1 raises a ValueError naming it."""

    def minus_one(_):
        return -1

    runs = Tester(retry(**{option: minus_one})).run("x")
    for run in runs.asserts(tries=1, calls=1, error=ValueError):
        assert "minus_one" in str(run.error)


def test_R20_a_backoff_function_gives_the_wait():
    """A backoff function that answers 0.7 makes the retry wait 0.7 s."""
    runs = Tester(retry(backoff=lambda _: 0.7)).run("x .")
    runs.asserts(tries=2, calls=2, from_call=2, waits=[0.7])


def test_R21_a_hint_is_taken_whole_or_not_at_all():
    """Above max_hint there is no sleep and no retry; below it, the cap does not apply."""
    policy = retry(backoff=[2], max_hint=10)
    too_long = Tester(policy).run([Fail(ConnectionError, hint=60)])
    for run in too_long.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0):
        assert run.error.retry_after == 60
        assert stops(run) == ["deadline"]
    lawful = Tester(policy).run([Fail(ConnectionError, hint=5), Ok()])
    lawful.asserts(tries=2, calls=2, from_call=2, waits=[5])
    chosen = Tester(retry(on=lambda _: 60, max_hint=10)).run("x .")
    chosen.asserts(tries=2, calls=2, from_call=2, waits=[60])


@pytest.mark.parametrize("backend", BACKENDS)
def test_R22_attempts_count_from_one_everywhere(backend):
    """Call, events and history number the attempts 1, 2, 3."""
    seen = {"call": [], "predicate": [], "events": []}

    class Listener:
        def on_event(self, event, call):
            if isinstance(event, AttemptStarted):
                seen["events"].append(event.number)

    def always(_):
        seen["predicate"].append(current_call().attempt)
        return True

    policy = stack(retry(attempts=3, on=always, backoff=NOW), listeners=[Listener()])

    async def fails():
        seen["call"].append(current_call().attempt)
        if current_call().attempt < 3:
            raise ConnectionError

    outcome = virtual_time(policy.run, fails, backend=backend, check_leftovers=True)
    assert seen == {"call": [1, 2, 3], "predicate": [1, 2], "events": [1, 2, 3]}
    assert [attempt.number for attempt in outcome.attempts] == [1, 2, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_R23_the_order_of_one_failing_turn(backend):
    """Predicate, wait, token, event, discarded result closed, wait, next attempt: in this order."""
    trace = []

    class Result:
        async def aclose(self):
            trace.append("closed")

    class Listener:
        def on_event(self, event, call):
            if isinstance(event, (AttemptStarted, RetryScheduled)):
                trace.append(type(event).__name__)

    class Budget(RetryBudget):
        def withdraw(self, now):
            trace.append("token")
            return super().withdraw(now)

    def waits(_):
        trace.append("wait computed")
        return 1.0

    def judge(value):
        trace.append("predicate")
        return isinstance(value, Result)

    answers = [Result(), 7]

    async def answers_badly():
        return answers.pop(0)

    with fresh_budgets():
        policy = stack(
            retry(on_result=judge, backoff=waits, budget=Budget("R23")), listeners=[Listener()]
        )
        assert virtual_time(policy.call, answers_badly, backend=backend, check_leftovers=True) == 7
    assert trace == [
        "AttemptStarted",
        "predicate",
        "wait computed",
        "token",
        "RetryScheduled",
        "closed",
        "AttemptStarted",
        "predicate",
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_R24_a_listener_that_raises_changes_nothing(backend, caplog):
    """Its error is logged once and dropped; every attempt that began has one end."""
    calls, ends = [], []

    class Raises:
        def on_event(self, event, call):
            if isinstance(event, (AttemptStarted, AttemptEnded)):
                ends.append((type(event).__name__, event.number))
            if isinstance(event, RetryScheduled):
                raise LookupError(backend)

    async def fails_twice():
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return "value"

    Raises.__qualname__ = f"Raises on {backend}"
    policy = stack(retry(backoff=NOW), listeners=[Raises()])
    with caplog.at_level(logging.ERROR, logger="resilient"):
        assert virtual_time(policy.call, fails_twice, backend=backend) == "value"
    assert len(calls) == 3
    assert sorted(ends) == sorted(
        (name, number) for name in ("AttemptStarted", "AttemptEnded") for number in (1, 2, 3)
    )
    assert len([record for record in caplog.records if "listener" in record.message]) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_R25_what_is_no_exception_is_never_shown_to_a_predicate(error, backend):
    """KeyboardInterrupt and SystemExit pass through unchanged after one call."""
    asked, calls = [], []

    def always(given):
        asked.append(given)
        return True

    @retry(on=always, backoff=NOW)
    async def raises():
        calls.append(1)
        raise error

    with pytest.raises(error):
        virtual_time(raises, backend=backend)
    assert (asked, calls) == ([], [1])


def test_R25_a_cancellation_is_never_shown_to_a_predicate():
    """A predicate that accepts everything does not retry a cancellation."""
    runs = Tester(retry(on=lambda _: True, backoff=NOW)).run([Hang()], cancel_at=1)
    runs.asserts(tries=1, calls=1, result="cancelled", elapsed=1)


def test_R28_nested_retries_multiply_and_say_so():
    """Three around three is nine calls, and decoration warned of it."""
    with pytest.warns(PolicyOrderWarning, match="3 x 3 = 9 calls"):
        both = stack(retry(attempts=3, backoff=NOW), retry(attempts=3, backoff=NOW))
    runs = Tester(both).run("x*", ways=["stack"])
    for run in runs.asserts(tries=9, calls=9, error=ConnectionError, from_call=9):
        assert len(notes(run)) == 1


@pytest.mark.filterwarnings("ignore::resilient.PolicyOrderWarning")
def test_R28_nested_retries_share_a_budget():
    """Three around three with five tokens is at most six calls."""
    for backend in BACKENDS:
        with fresh_budgets():
            budget = RetryBudget("R28", ratio=0, reserve=5)
            policy = retry(attempts=3, backoff=NOW, budget=budget)
            runs = Tester(policy, policy).run("x*", backends=[backend], ways=["stack"])
            (run,) = runs
            assert len(run.calls) <= 6
            assert run.leftovers == ()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (".", "first_try"),
        ("x.", "recovered"),
        ("x*", "exhausted"),
        ([Fail(E1)], "not_retryable"),
        ([Fail(ConnectionError, hint=1000)], "deadline"),
        ([Fail(lambda: Rejected("no", policy="test"))], "rejected"),
    ],
    ids=["first_try", "recovered", "exhausted", "not_retryable", "deadline", "rejected"],
)
def test_R31_a_call_under_retry_has_exactly_one_end_reason(script, reason):
    """The last event of the call says how the retry ended."""
    for run in Tester(retry(backoff=NOW)).run(script):
        assert run.events[-1].retry_result == reason
        assert len(stops(run)) <= 1


def test_R31_budget_and_cancelled_are_end_reasons():
    """An empty budget ends with `budget`, a cancelled call with `cancelled`."""
    empty = RetryBudget("R31 empty", ratio=0, reserve=0)
    for run in Tester(retry(budget=empty)).run("x"):
        assert run.events[-1].retry_result == "budget"
    for run in Tester(retry()).run("~", cancel_at=1):
        assert run.events[-1].retry_result == "cancelled"


@pytest.mark.parametrize("backend", BACKENDS)
def test_R34_the_callers_own_arguments_are_passed_on_unchanged(backend):
    """Every attempt gets the same objects that the caller gave."""
    given, seen = [1], []

    @retry(backoff=NOW)
    async def mutates(argument, *, option):
        seen.append((argument, option))
        argument.append(2)
        if len(seen) < 3:
            raise ConnectionError

    async def main():
        await mutates(given, option=given)

    virtual_time(main, backend=backend, check_leftovers=True)
    assert all(argument is given and option is given for argument, option in seen)
    assert len(seen) == 3


def test_a_refusal_never_takes_the_place_of_the_last_real_error():
    """An error and then a refusal: the error surfaces, with a note that names the refusal."""
    script = [Fail(ConnectionError), Fail(lambda: Rejected("no place left", policy="test"))]
    runs = Tester(retry(backoff=NOW)).run(script)
    for run in runs.asserts(tries=2, calls=2, error=ConnectionError, from_call=1):
        assert len(notes(run)) == 1
        assert "no place left" in notes(run)[0]
        assert stops(run) == ["rejected"]
        assert run.error.__context__ is None


def test_a_fallback_value_under_a_retry_is_the_value():
    """Fallback outside, retry inside: the attempts are used up, then the value is returned."""
    runs = Tester(fallback(degrade=value(7)), retry(backoff=NOW)).run("x*")
    runs.asserts(tries=3, calls=3, value=7)
