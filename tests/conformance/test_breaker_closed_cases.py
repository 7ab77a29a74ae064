"""The C cases of the conformance list: what a closed circuit breaker remembers, and when it opens.

S, F and N are a success, a failure and a neutral outcome. Most cases are
arithmetic on the pure machine, which takes its instants as numbers.
"""

from __future__ import annotations

import asyncio

import anyio
import pytest

from resilient import (
    CircuitOpen,
    any_of,
    circuit_breaker,
    consecutive,
    count_window,
    time_window,
)
from resilient._core.breaker import Breaker, Permit, Result
from resilient._runtime.clock import now
from resilient.testing import leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])

VERDICTS = {"S": "success", "F": "failure", "N": "neutral"}


class Machine:
    """The pure machine, fed with letters."""

    def __init__(self, trip, **options):
        policy = circuit_breaker("machine", trip=trip, **options)._part.options.policy
        self.breaker = Breaker(policy)

    def call(self, letter, at=0.0, took=0.0):
        """Make a call that ends as `letter` at the instant `at`; return the state then."""
        permit, _ = self.breaker.admit(at - took)
        assert isinstance(permit, Permit)
        self.breaker.settle(permit, Result(verdict=VERDICTS[letter], now=at, duration=took))
        return self.breaker.state

    def calls(self, letters, at=0.0):
        """Make several calls at one instant; return the state after each, as initials."""
        return "".join(self.call(letter, at)[0] for letter in letters)

    def held(self, at=0.0):
        return self.breaker.figures(at)


def test_C01_a_time_window_opens_at_its_least_number_of_calls():
    """Nine failures leave it closed, the tenth opens it."""
    machine = Machine(time_window(10, failure_rate=0.5, min_calls=10), open_for=1)
    assert machine.calls("F" * 10) == "ccccccccco"
    assert machine.breaker.open_until == 1


def test_C03_a_success_opens_nothing_that_only_failures_can_open():
    """F, F, F, S, S is 60 % and closed, no rate before the fifth call, and the next F opens it."""
    machine = Machine(time_window(20, min_calls=5, failure_rate=0.5))
    assert machine.calls("FFFS") == "cccc"
    assert machine.held().failure_rate is None
    assert machine.calls("S") == "c"
    assert machine.held().failure_rate == 0.6
    assert machine.calls("F") == "o"


def test_C03_with_a_rate_of_slow_calls_a_success_is_looked_at():
    """The same calls open it at the fifth, a success, where a slow-call rate is set."""
    trip = time_window(20, min_calls=5, failure_rate=0.5, slow_call=9, slow_rate=1.0)
    assert Machine(trip).calls("FFFSS") == "cccco"


@both
def test_C03_a_refused_call_is_one_rejection(backend):
    """Six calls open it, and the seventh is counted as refused and does not run."""
    trip = time_window(20, min_calls=5, failure_rate=0.5)
    answers, calls = list("FFFSSF."), []

    async def main():
        breaker = circuit_breaker("C03", trip=trip)

        @breaker
        async def function():
            calls.append(answers[len(calls)])
            if calls[-1] == "F":
                raise ConnectionError

        rates = []
        for letter in answers:
            error = {"F": ConnectionError, ".": CircuitOpen}.get(letter)
            if error is None:
                await function()
            else:
                with pytest.raises(error):
                    await function()
            rates.append(breaker.snapshot().failure_rate)
        return rates, breaker.snapshot()

    rates, snapshot = virtual_time(main, backend=backend, check_leftovers=True)
    assert rates == [None, None, None, None, 0.6, None, None]
    assert (snapshot.state, snapshot.refused) == ("open", 1)
    assert "".join(calls) == "FFFSSF"


def test_C05_slow_calls_open_it_on_a_success():
    """The fifth call is a slow success: 60 % are slow, 40 % failed, and it opens."""
    machine = Machine(time_window(30, min_calls=5, failure_rate=0.5, slow_call=4.0, slow_rate=0.5))
    calls = [("F", 5), ("S", 5), ("F", 0.1), ("S", 0.1)]
    assert [machine.call(letter, 10, took) for letter, took in calls] == ["closed"] * 4
    permit, _ = machine.breaker.admit(5)
    change = machine.breaker.settle(permit, Result(verdict="success", now=10, duration=5))
    assert change.to_state == "open"
    assert (change.figures.calls, change.figures.slow) == (5, 3)
    assert (change.figures.slow_rate, change.figures.failure_rate) == (0.6, 0.4)
    assert change.cause.error == "slow_call"


def test_C06_a_count_window_holds_the_last_calls():
    """F, S, S, S, S in a window of four: 100, 50, 33.3, 25 and 0 %."""
    window = count_window(4, min_calls=1).evidence()
    found = []
    for failed in (1, 0, 0, 0, 0):
        window.add(0, failed)
        held = window.figures(0)
        found.append((held.calls, round(held.failure_rate, 3)))
    assert found == [(1, 1), (2, 0.5), (3, 0.333), (4, 0.25), (4, 0)]


def test_C10_a_time_window_forgets_by_tenths():
    """A window of 5 s holds 1 to 7 calls, then 5, 5 and 1; failures go with their tenth."""
    machine = Machine(time_window(5, min_calls=100))
    calls = [("F", 0), ("S", 0.1), ("S", 0.2), ("S", 1.2), ("S", 2.2), ("F", 3.2), ("S", 4.2)]
    calls += [("S", 5.2), ("S", 6.2), ("S", 11.2)]
    held = []
    for letter, at in calls:
        machine.call(letter, at)
        held.append(machine.held(at))
    assert [one.calls for one in held] == [1, 2, 3, 4, 5, 6, 7, 5, 5, 1]
    assert [one.failures for one in held[-4:]] == [2, 1, 1, 0]


def test_C12_a_call_is_gone_when_one_window_has_passed():
    """One S per second: 9 at 10 s, 8 at 11 s; one alone is there at 9.999 s and gone at 10.0 s."""
    machine = Machine(time_window(10))
    for second in range(10):
        machine.call("S", second)
    assert (machine.held(10).calls, machine.held(11).calls) == (9, 8)
    alone = Machine(time_window(10))
    alone.call("S", 0)
    assert [alone.held(at).calls for at in (9.999, 10.0, 10.001)] == [1, 0, 0]


def test_C14_a_success_ends_a_row():
    """F, S, F, F then F opens a row of three; alternating calls never open a row of two."""
    assert Machine(consecutive(3)).calls("FSFFF") == "cccco"
    assert set(Machine(consecutive(2)).calls("SF" * 20)) == {"c"}


@pytest.mark.parametrize(
    ("letters", "states"),
    [
        ("F" * 49, "c" * 49),
        ("S" * 25 + "F" * 25, "c" * 49 + "o"),
        ("S" * 24 + "F" * 26, "c" * 49 + "o"),
    ],
    ids=["too few", "exactly half", "more than half"],
)
def test_C18_thresholds_are_reached_at_equality(letters, states):
    """Of at least 50 calls exactly 50 % open it."""
    assert Machine(count_window(100, failure_rate=0.5, min_calls=50)).calls(letters) == states


def test_C20_what_is_too_slow_for_the_window_never_opens_it():
    """A failure every 0.5 s never makes 15 in 5 s; one every 0.334 s does at the fifteenth."""
    machine = Machine(time_window(5, failure_rate=0.5, min_calls=15))
    most = 0
    for number in range(40):
        assert machine.call("F", number * 0.5) == "closed"
        most = max(most, machine.held(number * 0.5).calls)
    assert most == 10
    machine = Machine(time_window(5, failure_rate=0.5, min_calls=15))
    states = [machine.call("F", number * 0.334) for number in range(15)]
    assert states == ["closed"] * 14 + ["open"]


def test_C21_a_window_that_does_not_divide_well_is_not_rounded():
    """In a window of 0.103 s a call is there after 0.102 s and gone after 0.104 s."""
    machine = Machine(time_window(0.103))
    machine.call("S", 0)
    assert [machine.held(at).calls for at in (0.102, 0.104)] == [1, 0]


def test_C21_a_bucket_is_not_missed_by_a_rounding():
    """`1.0 // 0.1` is 9, and yet a call at 1.0 is held for all of its window of 1 s."""
    machine = Machine(time_window(1))
    machine.call("S", 1.0)
    assert [machine.held(at).calls for at in (1.85, 1.9, 1.99, 2.0)] == [1, 1, 1, 0]


@pytest.mark.parametrize("window", [0.103, 1, 5, 7.3, 10, 30, 60])
def test_C21_a_call_is_held_for_nine_tenths_of_the_window_and_never_longer(window):
    """Wherever in its tenth a call ends, it is there for 9/10 of the window, then gone."""
    for step in range(400):
        began = step * window / 37
        machine = Machine(time_window(window))
        machine.call("S", began)
        # A billionth of a window: the sum of the two instants is itself rounded.
        assert machine.held(began + window * (0.9 - 1e-9)).calls == 1, began
        assert machine.held(began + window * (1 + 1e-9)).calls == 0, began


def test_C23_a_row_begins_anew_after_a_success():
    """5 F, S, 5 F stays closed, the next F opens it, and nothing is remembered then."""
    machine = Machine(consecutive(6))
    assert machine.calls("FFFFFSFFFFF") == "c" * 11
    assert machine.held().failures == 5
    assert machine.calls("F") == "o"
    assert machine.breaker.evidence is None
    assert machine.held().calls == 0


RULES = {
    "row": consecutive(3),
    "count": count_window(10, min_calls=4, failure_rate=0.5),
    "time": time_window(10, min_calls=4, failure_rate=0.5),
    "several": any_of(consecutive(3), count_window(10, min_calls=4, failure_rate=0.5)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(20))
def test_C26_neutral_outcomes_are_nowhere(rule, seed):
    """With N in between, states and figures are those of the same calls without any N."""
    letters = [("S", "F", "F")[(seed * 7 + place * place) % 3] for place in range(12)]
    mixed, pure = Machine(RULES[rule]), Machine(RULES[rule])
    for letter in letters:
        for _ in range((seed + len(letter)) % 3 + 1):
            mixed.call("N")
        assert mixed.call(letter) == pure.call(letter)
        assert mixed.held() == pure.held()
        if pure.breaker.state == "open":
            break


def test_C26_neutral_outcomes_reach_no_least_number_of_calls():
    """Three failures and any number of N are three calls."""
    machine = Machine(RULES["time"])
    machine.calls("FFF" + "N" * 50)
    assert (machine.held().calls, machine.breaker.state) == (3, "closed")


@pytest.mark.parametrize("window", [count_window, time_window])
def test_C28_a_success_at_the_threshold_is_looked_at_only_where_slow_calls_count(window):
    """Four of five failed and the fifth call is a success: closed without a slow-call rate."""
    only_failures = Machine(window(20, min_calls=5, failure_rate=0.8))
    assert only_failures.calls("FFFFS") == "ccccc"
    slow_as_well = Machine(window(20, min_calls=5, failure_rate=0.8, slow_call=9, slow_rate=0.9))
    assert slow_as_well.calls("FFFFS") == "cccco"


@both
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(
    "trip", [consecutive(2), time_window(30, slow_call=1)], ids=["row", "slow"]
)
def test_C30_what_is_no_exception_teaches_nothing(backend, kind, trip):
    """KeyboardInterrupt and SystemExit propagate unchanged and leave the counts as they were."""
    stop, calls, snapshots = kind(), [], []

    async def main():
        breaker = circuit_breaker("C30", trip=trip)

        @breaker
        async def function(error):
            calls.append(error)
            await anyio.sleep(2)
            if error is not None:
                raise error

        with pytest.raises(ConnectionError):
            await function(ConnectionError())
        snapshots.append(breaker.snapshot())
        try:
            await function(stop)
        except BaseException as error:
            assert error is stop
        snapshots.append(breaker.snapshot())
        assert leftovers() == []

    virtual_time(main, backend=backend)
    assert (len(calls), snapshots[0].failures) == (2, 1)
    assert snapshots[0] == snapshots[1]


@pytest.mark.parametrize(
    ("backend", "delivery"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
@pytest.mark.parametrize(
    "trip", [consecutive(2), time_window(30, slow_call=1)], ids=["row", "slow"]
)
def test_C30_a_cancelled_call_teaches_nothing(backend, delivery, trip):
    """Cancelled after 2 s, a call is neither a failure nor a slow call."""

    async def main():
        breaker = circuit_breaker("C30", trip=trip)
        function = breaker(anyio.sleep)
        if delivery == "task":
            task = asyncio.get_running_loop().create_task(function(9))
            await anyio.sleep(2)
            task.cancel()
            await asyncio.wait([task])
            cancelled = task.cancelled()
        else:
            with anyio.move_on_after(2) as scope:
                await function(9)
            cancelled = scope.cancelled_caught
        assert now() == 2
        await function(0)
        return cancelled, breaker.snapshot()

    cancelled, snapshot = virtual_time(main, backend=backend, check_leftovers=True)
    assert cancelled
    assert (snapshot.state, snapshot.failures, snapshot.slow) == ("closed", 0, 0)


@pytest.mark.parametrize(
    ("make", "option", "value", "accepted"),
    [
        (lambda: time_window(30, failure_rate=0), "failure_rate", "0", "above 0 and up to 1"),
        (lambda: time_window(30, failure_rate=-0.1), "failure_rate", "-0.1", "up to 1"),
        (lambda: count_window(30, failure_rate=1.1), "failure_rate", "1.1", "up to 1"),
        (lambda: count_window(30, min_calls=0), "min_calls", "0", "at least 1"),
        (lambda: count_window(5, min_calls=6), "min_calls", "6", "at most the size"),
        (lambda: time_window(0), "window", "0", "above 0"),
        (lambda: time_window(-1), "window", "-1", "above 0"),
        (lambda: consecutive(0), "failures", "0", "at least 1"),
        (lambda: circuit_breaker("C32", probes=0), "probes", "0", "at least 1"),
        (lambda: circuit_breaker("C32", open_for=-1), "open_for", "-1", "from 0 on"),
    ],
)
def test_C32_a_value_that_cannot_be_is_refused_at_construction(make, option, value, accepted):
    """The ValueError names the option, the value and what is accepted."""
    with pytest.raises(ValueError, match=option) as caught:
        make()
    assert value in str(caught.value)
    assert accepted in str(caught.value)


def test_C32_a_failure_rate_of_one_is_legal():
    """With failure_rate=1.0 it opens when all of the calls that it holds have failed."""
    machine = Machine(count_window(4, failure_rate=1.0, min_calls=4))
    assert machine.calls("SFFFF") == "cccco"


@both
@pytest.mark.parametrize(
    "trip",
    [time_window(10, min_calls=2), any_of(consecutive(9), time_window(10, min_calls=2))],
    ids=["time", "several"],
)
def test_C33_all_expiry_follows_the_injected_clock(backend, trip):
    """Failures 10 virtual seconds apart never meet in the window, and it opens when they do."""
    calls = []

    async def main():
        breaker = circuit_breaker("C33", trip=trip, open_for=3600)

        @breaker
        async def function():
            calls.append(now())
            raise ConnectionError

        for _ in range(5):
            with pytest.raises(ConnectionError):
                await function()
            await anyio.sleep(10)
        assert breaker.snapshot().state == "closed"
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await function()
        assert breaker.snapshot().state == "open"
        await anyio.sleep(3600)
        assert breaker.snapshot().retry_after == 0
        with pytest.raises(ConnectionError):
            await function()

    virtual_time(main, backend=backend, check_leftovers=True)
    assert calls == [0, 10, 20, 30, 40, 50, 50, 3650]
