"""What a closed breaker remembers, held against lists of all calls; options of its rules."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from window_model import Rows, policy

from resilient import any_of, circuit_breaker, consecutive, count_window, exponential, time_window
from resilient._core.evidence import (
    FAILED,
    SLOW,
    Figures,
    LastCalls,
    LastSeconds,
    Rates,
    Row,
    Several,
)

instants = st.lists(
    st.tuples(st.floats(0, 3, allow_subnormal=False), st.booleans(), st.booleans()), max_size=60
)


def added_up(steps):
    """Turn steps of time into instants."""
    now, calls = 1000.0, []
    for step, failed, slow in steps:
        now += step
        calls.append((now, failed, slow))
    return calls


def fill(evidence, calls, rows):
    """Write calls into evidence, successes the short way, and compare after each."""
    for number, (now, failed, slow) in enumerate(calls, 1):
        what = failed * FAILED | (slow and rows.minds_slow) * SLOW
        if what or number % 2:
            opens = evidence.add(now, what)
            assert opens == rows.opens(calls[:number], now)
        else:
            evidence.success(now)
        assert evidence.figures(now) == rows.figures(calls[:number], now)


@given(instants, st.sampled_from([0.103, 1, 2.5, 10, 30]), st.booleans())
def test_a_time_window_is_its_list(steps, window, minds_slow) -> None:
    """At any instants a time window holds what its buckets still cover, and costs ten buckets."""
    slow_rate = 0.5 if minds_slow else None
    rows = Rows("time", window, 0.5, 3, slow_rate, minds_slow)
    evidence = LastSeconds(window, Rates(0.5, 3, slow_rate))
    calls = added_up(steps)
    fill(evidence, calls, rows)
    assert len(evidence.buckets) <= 10 + 1
    for later in (0.0, window / 3, window * 0.999, window * 1.1):
        now = calls[-1][0] + later if calls else later
        assert evidence.figures(now) == rows.figures(calls, now)


@given(instants, st.integers(1, 20), st.booleans())
def test_a_count_window_is_its_list(steps, size, minds_slow) -> None:
    """A count window holds the last calls, whenever they were."""
    slow_rate, least = (0.5 if minds_slow else None), max(1, size // 2)
    rows = Rows("count", size, 0.5, least, slow_rate, minds_slow)
    fill(LastCalls(size, Rates(0.5, least, slow_rate)), added_up(steps), rows)


@given(instants, st.integers(1, 5), st.booleans())
def test_a_row_is_the_end_of_its_list(steps, most, minds_slow) -> None:
    """A row counts the failures since the last success."""
    fill(Row(most), added_up(steps), Rows("row", most, minds_slow=minds_slow))


@given(instants)
def test_several_rules_are_each_its_list(steps) -> None:
    """Each of several rules sees all calls, and slow ones only where it minds them."""
    calls = added_up(steps)
    rules = [
        Rows("row", 3),
        Rows("count", 5, 0.8, 2, 0.6, minds_slow=True),
        Rows("time", 10, 0.5, 4),
    ]
    parts = (
        (Row(3), False),
        (LastCalls(5, Rates(0.8, 2, 0.6)), True),
        (LastSeconds(10, Rates(0.5, 4, None)), False),
    )
    evidence = Several(parts)
    for number, (now, failed, slow) in enumerate(calls, 1):
        so_far = calls[:number]
        if failed or slow:
            opens = evidence.add(now, failed * FAILED | slow * SLOW)
            assert opens == any(rows.opens(so_far, now) for rows in rules)
        else:
            evidence.success(now)
        found = [part.figures(now) for part, _ in parts]
        assert found == [rows.figures(so_far, now) for rows in rules]
        assert evidence.figures(now) == max(found, key=lambda one: one.calls)


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 3.0, 25.0])
def test_a_time_window_costs_ten_buckets_however_many_calls(step) -> None:
    """Thousands of calls over many windows leave no more than what the window covers."""
    evidence = LastSeconds(10, Rates(0.5, 10, None))
    for number in range(2000):
        evidence.success(number * step)
        assert len(evidence.buckets) <= 10


def test_a_success_is_put_into_the_right_bucket() -> None:
    """`1.0 // 0.1` is 9, and the bucket of the instant 1.0 is the tenth."""
    window = LastSeconds(1, Rates(0.5, 1, None))
    window.success(1.0)
    window.add(1.0, FAILED)
    assert [*window.buckets] == [10]
    assert [window.figures(now).calls for now in (1.95, 2.0)] == [2, 0]


def test_threads_whose_clocks_differ_lose_no_call() -> None:
    """An instant that lags a little is counted in its own bucket, which is still there."""
    window = LastSeconds(10, Rates(0.5, 1, None))
    for now in (20.0, 19.5, 20.1, 18.0, 20.2):
        window.add(now, FAILED)
    assert window.figures(20.2) == Figures(5, 5, 0, 1)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (consecutive(1), "at 1 failure"),
        (consecutive(5), "at 5 failures in a row"),
        (consecutive(1, slow_call=2.5), "at 1 failure or call of 2.5 s"),
        (consecutive(3, slow_call=2), "at 3 failures or calls of 2 s in a row"),
        (
            count_window(50, failure_rate=0.25, min_calls=20),
            "at 25 % failures of at least 20 of the last 50 calls",
        ),
        (
            time_window(60, slow_call=5),
            "at 50 % failures or 50 % calls of 5 s and more of at least 10 calls in 60 s",
        ),
        (
            any_of(consecutive(2), time_window(9, failure_rate=1 / 3)),
            "at 2 failures in a row, or at 33.3333 % failures of at least 10 calls in 9 s",
        ),
    ],
)
def test_a_rule_says_itself_in_words(rule, words) -> None:
    """`explain` has a sentence for every rule."""
    assert rule.describe() == words


BAD = [
    (lambda: consecutive(0), ValueError, "consecutive(failures)", "0"),
    (lambda: consecutive(2.5), ValueError, "consecutive(failures)", "2.5"),
    (lambda: consecutive("3"), TypeError, "consecutive(failures)", "'3'"),
    (lambda: consecutive(True), TypeError, "consecutive(failures)", "True"),
    (lambda: consecutive(3, slow_call=0), ValueError, "consecutive(slow_call=)", "0"),
    (lambda: consecutive(3, slow_call=inf), ValueError, "consecutive(slow_call=)", "inf"),
    (lambda: count_window(0), ValueError, "count_window(size)", "0"),
    (lambda: count_window(100_001), ValueError, "count_window(size)", "100001"),
    (lambda: count_window(5.0), ValueError, "count_window(size)", "5.0"),
    (lambda: count_window(5), ValueError, "count_window(min_calls=)", "10"),
    (lambda: count_window(failure_rate=0), ValueError, "count_window(failure_rate=)", "0"),
    (lambda: count_window(failure_rate=1.01), ValueError, "count_window(failure_rate=)", "1.01"),
    (lambda: count_window(failure_rate="half"), TypeError, "(failure_rate=)", "'half'"),
    (lambda: count_window(failure_rate=None), ValueError, "(failure_rate=)", "None"),
    (lambda: count_window(failure_rate=True), TypeError, "(failure_rate=)", "True"),
    (lambda: count_window(failure_rate=float("nan")), ValueError, "(failure_rate=)", "nan"),
    (lambda: count_window(slow_rate=0.5), ValueError, "count_window(slow_rate=)", "slow_call="),
    (lambda: count_window(slow_call=1, slow_rate=0), ValueError, "count_window(slow_rate=)", "0"),
    (lambda: count_window(slow_call=-1), ValueError, "count_window(slow_call=)", "-1"),
    (lambda: time_window(0), ValueError, "time_window(window)", "0"),
    (lambda: time_window(None), ValueError, "time_window(window)", "None"),
    (lambda: time_window("30"), TypeError, "time_window(window)", "'30'"),
    (lambda: time_window(min_calls=0), ValueError, "time_window(min_calls=)", "0"),
    (any_of, ValueError, "any_of()", "at least one"),
    (lambda: any_of(consecutive), TypeError, "any_of()", "consecutive"),
    (lambda: any_of(5), TypeError, "any_of()", "5"),
    (
        lambda: any_of(consecutive(2, slow_call=1), time_window(slow_call=2)),
        ValueError,
        "any_of()",
        "1 and 2",
    ),
    (lambda: policy(trip=5), TypeError, "circuit_breaker(trip=)", "5"),
    (lambda: policy(trip=time_window), TypeError, "circuit_breaker(trip=)", "time_window"),
    (lambda: policy(open_for=-1), ValueError, "circuit_breaker(open_for=)", "-1"),
    (lambda: policy(open_for="30"), TypeError, "(open_for=) must be seconds, a backoff", "'30'"),
    (lambda: policy(open_for=[]), ValueError, "circuit_breaker(open_for=)", "empty"),
    (lambda: policy(open_for=exponential), TypeError, "circuit_breaker(open_for=)", "exponential"),
    (lambda: policy(open_for=lambda _: -1), ValueError, "<lambda>", "-1"),
    (lambda: policy(probes=0), ValueError, "circuit_breaker(probes=)", "0"),
    (lambda: policy(successes=0), ValueError, "circuit_breaker(successes=)", "0"),
    (lambda: policy(probes=2, successes=3), ValueError, "circuit_breaker(successes=)", "3"),
    (lambda: policy(probe_timeout=0), ValueError, "circuit_breaker(probe_timeout=)", "0"),
    (lambda: policy(mode="off"), ValueError, "circuit_breaker(mode=)", "'off'"),
    (lambda: policy(mode=""), ValueError, "circuit_breaker(mode=)", "''"),
    (lambda: policy(mode=3), TypeError, "circuit_breaker(mode=)", "3"),
    (lambda: policy(key=5), TypeError, "circuit_breaker(key=)", "5"),
    (lambda: policy(key=""), ValueError, "circuit_breaker(key=)", "''"),
    (lambda: policy(key="a b"), ValueError, "circuit_breaker(key=)", "'a b'"),
    (lambda: policy(key=str), TypeError, "circuit_breaker(key=)", "type"),
    (lambda: policy(per="class"), ValueError, "circuit_breaker(per=)", "'class'"),
    (lambda: policy(key="a", per="instance"), ValueError, "circuit_breaker(key=)", "per="),
    (lambda: policy(on=BaseException), ValueError, "circuit_breaker(on=)", "BaseException"),
    (lambda: policy(on=()), ValueError, "circuit_breaker(on=)", "empty"),
    (lambda: policy(on=ValueError()), TypeError, "circuit_breaker(on=)", "ValueError"),
    (lambda: policy(on_result=bool), TypeError, "circuit_breaker(on_result=)", "type"),
    (lambda: policy(classify=5), TypeError, "circuit_breaker(classify=)", "5"),
    (lambda: circuit_breaker(""), ValueError, "circuit_breaker(name)", "''"),
    (lambda: circuit_breaker(5), TypeError, "circuit_breaker(name)", "5"),
]


@pytest.mark.parametrize(("make", "kind", "option", "value"), BAD)
def test_a_bad_option_is_named_with_its_value(make, kind, option, value) -> None:
    """A wrong value is a ValueError, a wrong type a TypeError, and both say which and what."""
    with pytest.raises(kind) as caught:
        make()
    assert type(caught.value) is kind
    assert option in str(caught.value)
    assert value in str(caught.value)


@pytest.mark.parametrize("option", ["classify", "on", "on_result", "key", "open_for"])
def test_what_decides_cannot_be_async(option) -> None:
    """An async function is refused where an answer is needed at once."""

    async def decides(*_):
        """Decide too late."""

    with pytest.raises(TypeError, match="must be a plain function, not the async"):
        policy(**{option: decides})


def test_the_defaults_are_those_of_the_documentation() -> None:
    """30 s, half of at least 10 calls, open for 30 s, one probe of 30 s."""
    made = policy(probes=1)
    assert made.trip == time_window(30, failure_rate=0.5, min_calls=10)
    assert (made.probes, made.successes, made.probe_timeout, made.mode) == (1, 1, 30, "enforce")
    assert made.open_for.wait(1, 0.7, None) == made.open_for.wait(9, 0.1, 30) == 30
    assert (made.on, made.on_result, made.classify) == (None, None, None)


@pytest.mark.parametrize(
    ("open_for", "lease"),
    [(5, 5), (0, 30), ([3, 9], 3), (exponential(base=2, jitter="full"), 2), (lambda _: 7, 7)],
    ids=["a number", "zero", "a list", "a backoff", "a function"],
)
def test_a_probe_has_the_first_open_for(open_for, lease) -> None:
    """`probe_timeout` is the longest first `open_for`, and 30 s where that is nothing."""
    assert policy(open_for=open_for).probe_timeout == lease
