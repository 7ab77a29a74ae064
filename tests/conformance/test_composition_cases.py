"""The X cases of the conformance list: outer, then inner."""

from __future__ import annotations

import warnings

import anyio
import pytest

from resilient import (
    CircuitOpen,
    PolicyOrderWarning,
    Rejected,
    TimedOut,
    circuit_breaker,
    consecutive,
    count_window,
    explain,
    fallback,
    pipeline_of,
    retry,
    stack,
    standard,
    time_window,
    timeout,
    value,
)
from resilient.events import BreakerChanged, RetryScheduled, RetryStopped
from resilient.testing import Bad, Fail, Log, Ok, Tester, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NOW = [0]


def opens_at_once(open_for):
    return circuit_breaker("x", trip=consecutive(1), open_for=open_for)


def changes(run):
    """Return the names and new states of the circuits of a run, in order."""
    events = [event for event in run.events if isinstance(event, BreakerChanged)]
    return [(event.name, event.to_state) for event in events]


def result(run):
    """Return why the retry of a run stopped."""
    (stopped,) = [event for event in run.events if isinstance(event, RetryStopped)]
    return stopped.result


def test_X02_a_refusal_is_not_retried_and_hides_no_error():
    """By default the refusal ends the retry, and the ConnectionError surfaces with a note."""
    runs = Tester(retry(backoff=NOW), opens_at_once(30)).run("x*")
    for run in runs.asserts(tries=2, calls=1, error=ConnectionError, from_call=1, elapsed=0):
        (note,) = run.error.__notes__
        assert note.startswith("resilient: gave up after 1 attempt in")
        assert 'circuit "x" is open' in note
        assert result(run) == "rejected"
        assert changes(run) == [("x", "open")]


@both
def test_X02_a_call_that_is_refused_at_once_gave_nothing_up(backend):
    """No attempt was made, so the refusal has no note of attempts."""

    async def main():
        breaker = opens_at_once(30)
        with breaker.isolate(), pytest.raises(CircuitOpen) as refused:
            await stack(retry(backoff=NOW), breaker).call(anyio.sleep, 0)
        assert not hasattr(refused.value, "__notes__")

    virtual_time(main, backend=backend, check_leftovers=True)


def test_X02_a_refusal_that_on_names_is_waited_for_like_any_hint():
    """With on=(ConnectionError, Rejected) the refusal's retry_after is the wait."""
    policy = retry(attempts=3, on=(ConnectionError, Rejected), backoff=NOW)
    runs = Tester(policy, opens_at_once(30)).run("x*")
    runs.asserts(tries=3, calls=2, error=ConnectionError, from_call=2, elapsed=30, waits=[0, 30])
    for run in runs:
        assert 'circuit "x" is open' in run.error.__notes__[0]
        assert changes(run) == [("x", "open"), ("x", "half_open"), ("x", "open")]
    recovers = Tester(policy, opens_at_once(30)).run("x .")
    recovers.asserts(tries=3, calls=2, from_call=2, elapsed=30)


def test_X02_a_refusal_for_longer_than_max_hint_ends_the_retry():
    """120 s is above max_hint: no wait, and the ConnectionError surfaces."""
    policy = retry(attempts=3, on=(ConnectionError, Rejected), backoff=NOW)
    runs = Tester(policy, opens_at_once(120)).run("x*")
    runs.asserts(tries=2, calls=1, error=ConnectionError, from_call=1, elapsed=0)
    assert all('circuit "x" is open' in run.error.__notes__[0] for run in runs)


def test_X02_a_bad_result_in_between_does_not_hide_the_error_either():
    """An error, a bad result and then a refusal: the error surfaces."""
    policy = retry(attempts=5, on_result=lambda answer: answer == "bad", backoff=NOW)
    breaker = circuit_breaker("x", trip=consecutive(2), on_result=lambda answer: answer == "bad")
    runs = Tester(policy, breaker).run([Fail(ConnectionError), Bad("bad")])
    for run in runs.asserts(tries=3, calls=2, error=ConnectionError, from_call=1, elapsed=0):
        assert 'circuit "x" is open' in run.error.__notes__[0]


def test_X02_a_function_that_refuses_by_itself_is_no_other_story():
    """What the function raises as `Rejected` is taken like the refusal of a policy."""
    refusal = Fail(lambda: Rejected("no place", policy="mine", retry_after=30))
    runs = Tester(retry(backoff=NOW)).run([Fail(ConnectionError), refusal])
    runs.asserts(tries=2, calls=2, error=ConnectionError, from_call=1, elapsed=0)
    policy = retry(attempts=3, on=(ConnectionError, Rejected), backoff=NOW)
    runs = Tester(policy).run([Fail(ConnectionError), refusal, Ok()])
    runs.asserts(tries=3, calls=3, from_call=3, elapsed=30, waits=[0, 30])


@both
def test_X03_a_breaker_around_a_retry_counts_calls(backend):
    """Three attempts are one failure and it stays closed; decoration warned of that."""
    calls = []

    async def fails():
        calls.append(1)
        raise ConnectionError

    async def main():
        breaker = circuit_breaker("x", trip=consecutive(3))
        with pytest.warns(PolicyOrderWarning, match="counts calls, not attempts"):
            function = stack(breaker, retry(attempts=3, backoff=NOW))(fails)
        snapshots = []
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await function()
            snapshots.append(breaker.snapshot())
        with pytest.raises(CircuitOpen):
            await function()
        return [(snapshot.state, snapshot.failures) for snapshot in snapshots]

    found = virtual_time(main, backend=backend, check_leftovers=True)
    assert found == [("closed", 1), ("closed", 2), ("open", 0)]
    assert len(calls) == 9


def test_X05_a_fallback_inside_a_retry_leaves_it_nothing_to_do():
    """One call, the fallback value, no retry; decoration warned that the failures are hidden."""
    with pytest.warns(PolicyOrderWarning, match="hides the failures"):
        both = stack(retry(backoff=NOW), fallback(degrade=value(7)))
    runs = Tester(both).run("x*", ways=["stack"])
    for run in runs.asserts(tries=1, calls=1, value=7):
        assert not any(isinstance(event, RetryScheduled) for event in run.events)


@both
def test_X10_a_fallback_around_a_retry_around_a_breaker(backend):
    """Three calls, three failures of the breaker, which stays closed, and the fallback value."""

    def policies():
        breaker = circuit_breaker("x", trip=consecutive(5))
        return fallback(degrade=value(7)), retry(attempts=3, backoff=NOW), breaker

    for run in Tester(*policies()).run("x*").asserts(tries=3, calls=3, value=7):
        assert changes(run) == []

    async def main():
        log = Log()
        *outside, breaker = policies()
        function = stack(*outside, breaker)(log.scripted("x*"))
        assert await function() == 7
        first = breaker.snapshot()
        assert await function() == 7
        second = breaker.snapshot()
        assert await function() == 7
        return len(log.calls), first, second

    calls, first, second = virtual_time(main, backend=backend, check_leftovers=True)
    assert (first.state, first.failures) == ("closed", 3)
    # The fifth failure opens it: the sixth attempt and all of the third call are refused.
    assert (second.state, second.refused, calls) == ("open", 1, 5)


class E1(Exception):
    """A failure of one kind."""


class E2(Exception):
    """A failure of another kind."""


@pytest.mark.parametrize("outer", ["one", "two"])
def test_X12_each_of_two_breakers_opens_for_its_own_error(outer):
    """The function raises E1: only the breaker of E1 opens, whichever is outside."""
    one = circuit_breaker("one", trip=consecutive(1), on=E1)
    two = circuit_breaker("two", trip=consecutive(1), on=E2)
    order = [one, two] if outer == "one" else [two, one]
    runs = Tester(*order).run([Fail(E1)])
    for run in runs.asserts(tries=1, calls=1, error=E1, from_call=1):
        assert changes(run) == [("one", "open")]


@both
@pytest.mark.parametrize("outer", ["one", "two"])
def test_X12_for_the_other_breaker_it_is_neutral(backend, outer):
    """The other breaker has counted nothing, also not the refusal of the one inside."""
    calls = []

    async def main():
        one = circuit_breaker("one", trip=consecutive(1), on=E1)
        two = circuit_breaker("two", trip=count_window(9, min_calls=1), on=(E2, Rejected))

        @stack(*([one, two] if outer == "one" else [two, one]))
        async def function():
            calls.append(1)
            raise E1

        with pytest.raises(E1):
            await function()
        with pytest.raises(CircuitOpen):
            await function()
        return one.snapshot().state, two.snapshot()

    state, other = virtual_time(main, backend=backend, check_leftovers=True)
    assert (state, len(calls)) == ("open", 1)
    assert (other.state, other.calls, other.failures) == ("closed", 0, 0)


def test_X14_a_fallback_around_a_timeout_answers_when_time_is_over():
    """The function blocks: the fallback's answer comes at 0.05 s."""
    runs = Tester(lambda other: fallback(to=[other]), timeout(0.05)).run("~", ".")
    runs.asserts(tries=2, calls=2, from_call=2, elapsed=0.05, calls_at=[0, 0.05])


def test_X14_a_timeout_around_a_fallback_ends_it_with_the_function():
    """The function blocks: TimedOut at 0.05 s, and the inner fallback is not called."""
    runs = Tester(timeout(0.05), lambda other: fallback(to=[other])).run("~", ".")
    for run in runs.asserts(tries=1, calls=1, error=TimedOut, elapsed=0.05):
        assert run.error.limit == "total"


def test_X16_the_standard_stack_is_in_the_good_order():
    """Fallback, total timeout, retry, circuit breaker, attempt timeout."""
    made = standard("x", to=[], degrade=value(1))
    kinds = [line.split()[0] for line in explain(made).splitlines()[1:]]
    assert kinds == ["fallback", "timeout", "retry", "circuit_breaker", "timeout", "bound"]


@pytest.mark.parametrize(
    ("policies", "arithmetic"),
    [
        ([retry(attempts=3), retry(attempts=4)], "3 x 4 = 12 calls"),
        ([timeout(5), timeout(8)], "8 s never expires inside one of 5 s"),
        ([timeout(5), retry(), timeout(5)], "5 s never expires inside one of 5 s"),
        ([circuit_breaker("x"), retry(attempts=4)], "up to 4 attempts are one failure"),
        ([circuit_breaker("x", trip=time_window(10)), timeout(8)], "at least 16 s"),
    ],
    ids=[
        "retry around retry",
        "inner timeout longer",
        "inner timeout equal",
        "breaker around retry",
        "window shorter than two timeouts",
    ],
)
def test_X18_a_wrong_order_is_reported_with_the_arithmetic(policies, arithmetic):
    """Decoration warns once, naming both figures, in both spellings."""
    with pytest.warns(PolicyOrderWarning, match=arithmetic) as caught:
        stack(*policies)
    assert len(caught) == 1

    async def fn():
        """Do nothing."""

    *outside, innermost = policies
    fn = innermost(fn)
    for policy in reversed(outside[1:]):
        fn = policy(fn)
    with pytest.warns(PolicyOrderWarning, match=arithmetic) as caught:
        outside[0](fn)
    assert len(caught) == 1


def test_X20_decorators_and_a_stack_are_the_same():
    """The same policies in the same order give one pipeline and the same explanation."""
    policies = [fallback(degrade=value(1)), timeout(30), retry(attempts=4), timeout(8)]

    async def ask():
        """Answer."""

    async def ask_through_a_stack():
        """Answer."""

    ask_through_a_stack.__name__ = ask_through_a_stack.__qualname__ = ask.__qualname__
    decorated = ask
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for policy in reversed(policies):
            decorated = policy(decorated)
        stacked = stack(*policies)(ask_through_a_stack)
    assert pipeline_of(decorated).policies == pipeline_of(stacked).policies
    assert explain(decorated) == explain(stacked)
    # `Tester` holds that both give the same events, on both backends.
    Tester(*policies).run("x x .").asserts(tries=3, calls=3, from_call=3)
