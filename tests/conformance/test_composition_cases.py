"""The X cases of the conformance list: outer, then inner.

A circuit breaker stands in X02, X03, X10 and X12; until there is one, a
function that refuses by itself takes its place where that says the same.
"""

from __future__ import annotations

import warnings

import pytest

from resilient import (
    PolicyOrderWarning,
    Rejected,
    TimedOut,
    explain,
    fallback,
    pipeline_of,
    retry,
    stack,
    standard,
    timeout,
    value,
)
from resilient.events import RetryScheduled, RetryStopped
from resilient.testing import Bad, Fail, Ok, Tester

NOW = [0]


def refusal(after=None):
    """Return a step that refuses as a policy would, and says for how long."""
    return Fail(
        lambda: Rejected('circuit "x" is open', policy="circuit_breaker", retry_after=after)
    )


def result(run):
    """Return why the retry of a run stopped."""
    (stopped,) = [event for event in run.events if isinstance(event, RetryStopped)]
    return stopped.result


def test_X02_a_refusal_is_not_retried_and_hides_no_error():
    """By default the refusal ends the retry, and the ConnectionError surfaces with a note."""
    runs = Tester(retry(backoff=NOW)).run([Fail(ConnectionError), refusal(30)])
    for run in runs.asserts(tries=2, calls=2, error=ConnectionError, from_call=1, elapsed=0):
        (note,) = run.error.__notes__
        assert 'circuit "x" is open' in note
        assert result(run) == "rejected"


def test_X02_a_refusal_that_on_names_is_waited_for_like_any_hint():
    """With on=(ConnectionError, Rejected) the refusal's retry_after is the wait."""
    policy = retry(attempts=3, on=(ConnectionError, Rejected), backoff=NOW)
    runs = Tester(policy).run([Fail(ConnectionError), refusal(30), Fail(ConnectionError)])
    runs.asserts(tries=3, calls=3, error=ConnectionError, from_call=3, elapsed=30, waits=[0, 30])
    assert all('circuit "x" is open' in run.error.__notes__[0] for run in runs)
    recovers = Tester(policy).run([Fail(ConnectionError), refusal(30), Ok()])
    recovers.asserts(tries=3, calls=3, from_call=3, elapsed=30)


def test_X02_a_refusal_for_longer_than_max_hint_ends_the_retry():
    """120 s is above max_hint: no wait, and the ConnectionError surfaces."""
    policy = retry(attempts=3, on=(ConnectionError, Rejected), backoff=NOW)
    runs = Tester(policy).run([Fail(ConnectionError), refusal(120)])
    runs.asserts(tries=2, calls=2, error=ConnectionError, from_call=1, elapsed=0)


def test_X02_a_bad_result_in_between_does_not_hide_the_error_either():
    """An error, a bad result and then a refusal: the error surfaces."""
    policy = retry(attempts=5, on_result=lambda answer: answer == "bad", backoff=NOW)
    runs = Tester(policy).run([Fail(ConnectionError), Bad("bad"), refusal(30)])
    for run in runs.asserts(tries=3, calls=3, error=ConnectionError, from_call=1, elapsed=0):
        assert 'circuit "x" is open' in run.error.__notes__[0]


def test_X05_a_fallback_inside_a_retry_leaves_it_nothing_to_do():
    """One call, the fallback value, no retry; decoration warned that the failures are hidden."""
    with pytest.warns(PolicyOrderWarning, match="hides the failures"):
        both = stack(retry(backoff=NOW), fallback(degrade=value(7)))
    runs = Tester(both).run("x*", ways=["stack"])
    for run in runs.asserts(tries=1, calls=1, value=7):
        assert not any(isinstance(event, RetryScheduled) for event in run.events)


def test_X10_a_fallback_around_a_retry_answers_when_the_attempts_are_used_up():
    """Three calls, then the fallback value."""
    runs = Tester(fallback(degrade=value(7)), retry(attempts=3, backoff=NOW)).run("x*")
    runs.asserts(tries=3, calls=3, value=7)


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
    ],
    ids=["retry around retry", "inner timeout longer", "inner timeout equal"],
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
