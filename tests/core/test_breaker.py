"""The circuit breaker as a pure machine, held against the long way of saying it.

The model keeps every call of a period in a list and asks the whole list each
time. Instants are eighths of a second, so nothing in the machine is rounded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from math import inf
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from window_model import Rows, policy

from resilient import (
    any_of,
    consecutive,
    count_window,
    exponential,
    time_window,
)
from resilient._core.breaker import (
    TRANSITIONS,
    Breaker,
    Cause,
    IllegalTransitionError,
    Permit,
    Refusal,
    Result,
    seconds_until,
)
from resilient._core.breaker_states import Reason, State
from resilient._core.evidence import Figures

RULES = {
    "row": (consecutive(3), [Rows("row", 3)]),
    "a row of one": (consecutive(1), [Rows("row", 1)]),
    "a row of slow ones": (consecutive(3, slow_call=2), [Rows("row", 3, minds_slow=True)]),
    "count": (
        count_window(6, min_calls=3, failure_rate=0.5),
        [Rows("count", 6, 0.5, 3)],
    ),
    "count with slow ones": (
        count_window(6, min_calls=4, failure_rate=0.75, slow_call=2, slow_rate=0.5),
        [Rows("count", 6, 0.75, 4, 0.5, minds_slow=True)],
    ),
    "time": (time_window(10, min_calls=3, failure_rate=0.5), [Rows("time", 10, 0.5, 3)]),
    "time with slow ones": (
        time_window(20, min_calls=4, failure_rate=0.5, slow_call=2, slow_rate=1.0),
        [Rows("time", 20, 0.5, 4, 1.0, minds_slow=True)],
    ),
    "several": (
        any_of(
            consecutive(4),
            count_window(8, min_calls=4, failure_rate=0.75, slow_call=2),
            time_window(5, min_calls=2, failure_rate=1.0),
        ),
        [
            Rows("row", 4),
            Rows("count", 8, 0.75, 4, 0.5, minds_slow=True),
            Rows("time", 5, 1.0, 2),
        ],
    ),
}

VERDICTS = st.sampled_from(["success", "failure", "failure", "neutral"])
RESULT = {
    "verdict": VERDICTS,
    "seconds": st.sampled_from([0, 0, 1.875, 2, 3]),
    "hint": st.sampled_from([None, None, 1, 20, 100]),
    "trips": st.sampled_from([False, False, False, False, True]),
}


@dataclass(eq=False)
class Admission:
    """What the model knows of a permit."""

    permit: Permit
    period: int
    until: float = inf
    settled: bool = False


@dataclass
class Model:
    """The breaker, said the long way."""

    rules: list[Rows]
    probes: int
    successes: int
    lease: float
    slow_call: float
    state: str = "closed"
    period: int = 0
    calls: list[tuple[float, bool, bool]] = field(default_factory=list)
    running: list[Admission] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    open_until: float = inf
    openings: int = 0
    holders: int = 0

    def go(self, state: str) -> None:
        self.state = state
        self.period += 1
        self.calls, self.running = [], []
        self.succeeded = self.failed = 0
        if state == "closed":
            self.openings = 0

    def open(self, now: float, hint: float | None) -> None:
        self.go("open")
        self.openings += 1
        self.open_until = now + max(min(8 * 2 ** (self.openings - 1), 64), hint or 0)

    def expire(self, now: float) -> None:
        self.running = [one for one in self.running if one.until > now]

    @property
    def free(self) -> int:
        return self.probes - len(self.running) - self.succeeded - self.failed

    def retry_after(self, now: float) -> float | None:
        if self.state == "open":
            return max(0, self.open_until - now)
        if self.state == "half_open" and not self.free:
            return max(0, min(one.until for one in self.running) - now)
        return None if self.state == "isolated" else 0

    def admits(self, now: float) -> bool:
        if self.state == "open" and now >= self.open_until:
            self.go("half_open")
        self.expire(now)
        return self.state in {"closed", "disabled"} or (self.state == "half_open" and self.free > 0)

    def settle(self, one: Admission, result: Result) -> None:
        self.expire(result.now)
        if one.period != self.period:
            return
        failed = result.verdict == "failure"
        slow = result.duration >= self.slow_call
        if self.state == "half_open":
            if one not in self.running:
                return
            self.running.remove(one)
            if result.verdict == "neutral":
                return
            self.failed += failed or slow
            self.succeeded += not (failed or slow)
            if self.succeeded >= self.successes:
                self.go("closed")
            elif self.failed + self.successes > self.probes or (failed and result.trips):
                self.open(result.now, result.hint)
        elif self.state == "closed" and result.verdict != "neutral":
            self.calls.append((result.now, failed, slow))
            opens = any(rows.opens(self.calls, result.now) for rows in self.rules)
            if opens or (failed and result.trips):
                self.open(result.now, result.hint)

    def figures(self, now: float) -> Figures:
        if self.state != "closed":
            return Figures()
        found = [rows.figures(self.calls, now) for rows in self.rules]
        return max(found, key=lambda figures: figures.calls)


class BreakerMachine(RuleBasedStateMachine):
    """The breaker next to its model, through everything that can be done to it."""

    permits = Bundle("permits")
    used = Bundle("used")

    rule_name: str

    @initialize(
        probes=st.integers(1, 4),
        missing=st.integers(0, 3),
        lease=st.sampled_from([4, 8, 30]),
        now=st.integers(0, 8000),
    )
    def make(self, probes: int, missing: int, lease: float, now: int) -> None:
        trip, rules = RULES[self.rule_name]
        successes = max(1, probes - missing)
        made = policy(
            trip=trip,
            probes=probes,
            successes=successes,
            probe_timeout=lease,
            open_for=exponential(base=8, cap=64, jitter="none"),
        )
        self.breaker = Breaker(made)
        self.model = Model(rules, probes, successes, lease, trip.slow_call)
        self.now = now / 8

    def observed(self) -> tuple[Any, ...]:
        breaker = self.breaker
        half_open = breaker.half_open
        places = () if half_open is None else tuple(half_open.places)
        return (
            breaker.state,
            breaker.figures(self.now),
            breaker.retry_after(self.now),
            breaker.open_until,
            breaker.openings,
            breaker.holders,
            breaker.cause,
            places,
        )

    def changed(self, before: str, change: Any) -> None:
        """Check a reported transition: one of the table, from and to where it says."""
        if change is None:
            assert self.breaker.state == before
            return
        assert TRANSITIONS[change.from_state, change.reason] == change.to_state
        assert (change.from_state, change.to_state) == (before, self.breaker.state)
        if change.to_state == "open":
            assert change.open_for >= 8
            assert change.cause is self.breaker.cause is not None
            assert change.origin is self.breaker.origin is not None
        else:
            assert change.open_for is None

    @rule(eighths=st.integers(0, 40))
    def tick(self, eighths: int) -> None:
        self.now += eighths / 8

    @rule(before=st.sampled_from([0, 0.125]))
    def tick_to_what_comes_next(self, before: float) -> None:
        model = self.model
        instants = [one.until for one in model.running]
        instants += [model.open_until] if model.state == "open" else []
        self.now = max(self.now, min(instants, default=self.now) - before)

    @rule(target=permits, times=st.integers(1, 5))
    def acquire_some(self, times: int) -> Any:
        return self.acquire(times)

    def acquire(self, times: int) -> Any:
        found = [self.admitted() for _ in range(times)]
        return multiple(*[one for one in found if one is not None])

    def admitted(self) -> Admission | None:
        before = self.breaker.state
        found, change = self.breaker.admit(self.now)
        admitted = self.model.admits(self.now)
        self.changed(before, change)
        assert isinstance(found, Permit) == admitted
        if isinstance(found, Refusal):
            self.is_true(found.retry_after)
            assert found.retry_after == self.model.retry_after(self.now)
            assert found.isolated == (self.breaker.state == "isolated")
            return None
        assert found.granted == self.now
        made = Admission(found, self.model.period)
        if self.model.state == "half_open":
            made.until = self.now + self.model.lease
            self.model.running.append(made)
        return made

    def is_true(self, retry_after: float | None) -> None:
        """A call made that many seconds later is admitted: nobody takes the place meanwhile."""
        if retry_after is not None:
            found, _ = copy.deepcopy(self.breaker).admit(self.now + retry_after)
            assert isinstance(found, Permit)

    @rule(target=used, one=consumes(permits), **RESULT)
    def settle(self, one: Admission, verdict, seconds, hint, trips) -> Any:
        self.settled(one, verdict, seconds, hint, trips)
        return one

    @rule(times=st.integers(1, 6), **RESULT)
    def call(self, times: int, verdict, seconds, hint, trips) -> None:
        """Make calls that end at once, all in the same way."""
        for _ in range(times):
            one = self.admitted()
            if one is not None:
                self.settled(one, verdict, seconds, hint, trips)

    @precondition(lambda self: self.model.state in {"closed", "half_open"})
    @rule(target=permits, more=st.integers(0, 3))
    def open_and_wait(self, more: int) -> Any:
        """Make calls of which one fails so badly that it opens, and wait until it is due."""
        others = self.acquire(more)
        one = self.admitted()
        if one is not None:
            self.settled(one, "failure", 0, None, True)
            self.now = max(self.now, self.model.open_until)
        return others

    def settled(self, one: Admission, verdict, seconds, hint, trips) -> None:
        cause = Cause("ConnectionError") if verdict == "failure" else None
        result = Result(
            verdict=verdict,
            now=self.now,
            duration=seconds,
            hint=hint,
            trips=trips,
            cause=cause,
        )
        before, observed = self.breaker.state, self.observed()
        stale = one.period != self.model.period or one.until <= self.now
        change = self.breaker.settle(one.permit, result)
        self.model.settle(one, result)
        self.changed(before, change)
        if stale or (verdict == "neutral" and before != "half_open"):
            assert change is None
            # A lease may have expired at this instant: nothing else may have changed.
            assert self.observed()[:2] == observed[:2]
        if change is not None and change.to_state == "open":
            assert self.breaker.cause == (cause or Cause("slow_call"))

    @rule(one=used, verdict=VERDICTS)
    def settle_twice(self, one: Admission, verdict) -> None:
        before = self.observed()
        with pytest.raises(IllegalTransitionError):
            self.breaker.settle(one.permit, Result(verdict=verdict, now=self.now))
        assert self.observed() == before

    @rule(one=consumes(permits))
    def forget(self, one: Admission) -> None:
        """Never settle it: the caller has lost it."""

    @rule(what=st.sampled_from(["isolate", "release", "disable", "enable", "close"]))
    def by_hand(self, what: str) -> None:
        state, holders = self.model.state, self.model.holders
        legal = {
            "release": holders > 0,
            "disable": state != "isolated",
            "close": state not in {"isolated", "disabled"},
        }.get(what, True)
        before, observed = self.breaker.state, self.observed()
        if not legal:
            with pytest.raises(IllegalTransitionError):
                getattr(self.breaker, what)()
            assert self.observed() == observed
            return
        change = getattr(self.breaker, what)()
        goes = {
            "isolate": not holders and "isolated",
            "release": holders == 1 and "closed",
            "disable": state != "disabled" and "disabled",
            "enable": state == "disabled" and "closed",
            "close": "closed",
        }[what]
        assert (change is not None) == bool(goes)
        self.changed(before, change)
        if goes:
            self.model.go(goes)
        self.model.holders += (what == "isolate") - (what == "release")

    @rule(
        state=st.sampled_from(get_args(State)),
        reason=st.sampled_from(get_args(Reason)),
    )
    def illegal_event(self, state: str, reason: str) -> None:
        if (self.breaker.state, reason) in TRANSITIONS:
            return
        before = self.observed()
        with pytest.raises(IllegalTransitionError):
            self.breaker._go(reason)
        assert self.observed() == before

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        breaker, model = self.breaker, self.model
        assert breaker.state == model.state
        assert breaker.figures(self.now) == model.figures(self.now)
        assert breaker.openings == model.openings
        assert breaker.holders == model.holders
        found = breaker.retry_after(self.now)
        assert found == model.retry_after(self.now)
        assert found is None or found >= 0
        half_open = breaker.half_open
        assert (half_open is not None) == (model.state == "half_open")
        if half_open is not None:
            # A lease that has expired is taken back when somebody asks.
            model.expire(self.now)
            places = [one for one, until in half_open.places.items() if until > self.now]
            assert places == [one.permit for one in model.running]
            assert half_open.taken <= model.probes
            assert (half_open.succeeded, half_open.failed) == (model.succeeded, model.failed)


@pytest.mark.parametrize("name", RULES)
def test_Q32_a_breaker_is_its_model(name: str) -> None:
    """Whatever is done to it, a breaker is what the list of its calls says, permit by permit."""
    machine = type("Machine", (BreakerMachine,), {"rule_name": name})
    run_state_machine_as_test(machine)


def opened(**options) -> tuple[Breaker, float]:
    """Return a breaker that has just opened for 8 s, and when it is due."""
    breaker = Breaker(policy(trip=consecutive(1), open_for=8, **options))
    permit, _ = breaker.admit(0)
    assert breaker.settle(permit, Result(verdict="failure", now=0)).to_state == "open"
    return breaker, 8.0


@given(
    st.floats(0, 1e9, allow_subnormal=False),
    st.floats(0.001, 1e5, allow_subnormal=False),
    st.floats(0, 1),
)
def test_who_waits_as_long_as_a_refusal_says_is_not_refused_again(began, lasts, share) -> None:
    """However the instants are rounded, `retry_after` is never too short, nor long by much."""
    due = began + lasts
    now = began + share * (due - began)
    wait = seconds_until(due, now)
    assert now + wait >= due
    assert 0 <= wait <= max(0.0, due - now) * (1 + 1e-15)


@pytest.mark.parametrize("verdict", ["success", "failure", "neutral"])
def test_a_probe_of_an_earlier_half_open_period_changes_nothing(verdict) -> None:
    """Of two probes one opens the circuit again; in the next period the other one is stale."""
    breaker, now = opened(probes=2)
    late, fails = breaker.admit(now)[0], breaker.admit(now)[0]
    breaker.settle(fails, Result(verdict="failure", now=now))
    probe = breaker.admit(16)[0]
    assert breaker.settle(late, Result(verdict=verdict, now=16)) is None
    half_open = breaker.half_open
    assert (half_open.succeeded, half_open.failed, [*half_open.places]) == (0, 0, [probe])


@pytest.mark.parametrize("verdict", ["success", "failure", "neutral"])
def test_a_probe_that_ends_too_late_changes_nothing_though_nobody_else_came(verdict) -> None:
    """A result at the end of its lease or later is stale, and the place is free."""
    breaker, now = opened(probe_timeout=4)
    probe, _ = breaker.admit(now)
    assert breaker.retry_after(now + 1) == 3
    assert breaker.settle(probe, Result(verdict=verdict, now=now + 4)) is None
    assert (breaker.state, breaker.half_open.taken, breaker.retry_after(now + 4)) == (
        "half_open",
        0,
        0,
    )


def test_a_slow_probe_is_a_failure() -> None:
    """Where slow calls count, a probe that succeeds too late opens the circuit again."""
    breaker = Breaker(policy(trip=consecutive(1, slow_call=2), open_for=8))
    permit, _ = breaker.admit(0)
    breaker.settle(permit, Result(verdict="success", now=2, duration=2))
    assert breaker.cause == Cause("slow_call")
    probe, _ = breaker.admit(10)
    change = breaker.settle(probe, Result(verdict="success", now=12, duration=2))
    assert (change.reason, change.cause) == ("relapsed", Cause("slow_call"))


@pytest.mark.parametrize("by_hand", ["isolate", "disable", "close"])
def test_what_is_done_by_hand_forgets_what_had_opened_it(by_hand) -> None:
    """A circuit that somebody has set has no cause any more."""
    breaker, _ = opened(probes=1)
    assert breaker.cause is not None
    getattr(breaker, by_hand)()
    assert (breaker.cause, breaker.origin) == (None, None)


STATES = get_args(State)
BY_HAND = {"isolate": "isolated", "disable": "disabled", "close": "reset"}


def in_state(state: str) -> Breaker:
    """Return a breaker in a state."""
    breaker = Breaker(policy(trip=consecutive(1), open_for=8))
    if state in {"open", "half_open"}:
        permit, _ = breaker.admit(0)
        breaker.settle(permit, Result(verdict="failure", now=0))
        if state == "half_open":
            breaker.admit(8)
    elif state != "closed":
        getattr(breaker, {"isolated": "isolate", "disabled": "disable"}[state])()
    assert breaker.state == state
    return breaker


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("reason", get_args(Reason))
def test_only_what_the_table_has_can_happen(state, reason) -> None:
    """A transition of the table leads where it says; any other raises and changes nothing."""
    breaker = in_state(state)
    if (state, reason) in TRANSITIONS:
        change = breaker._go(reason)
        assert breaker.state == change.to_state == TRANSITIONS[state, reason]
        return
    before = (breaker.evidence, breaker.half_open, breaker.open_until, breaker.cause)
    with pytest.raises(IllegalTransitionError, match=f"that is {state} cannot be {reason}"):
        breaker._go(reason)
    after = (breaker.evidence, breaker.half_open, breaker.open_until, breaker.cause)
    assert (breaker.state, after) == (state, before)


def test_every_state_has_a_way_in_and_a_way_out() -> None:
    """No state of the table is a dead end, and none is unreachable."""
    assert {state for state, _ in TRANSITIONS} == set(STATES) == set(TRANSITIONS.values())
    assert {reason for _, reason in TRANSITIONS} == set(get_args(Reason))


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated", "none"])
def test_open_for_grows_with_jitter_and_begins_anew_after_a_close(jitter) -> None:
    """Each opening waits as its backoff says for that number, and a close is a new beginning."""
    backoff = exponential(base=4, cap=100, jitter=jitter)
    breaker = Breaker(policy(trip=consecutive(1), open_for=backoff))
    for _ in range(2):
        now, previous = 0.0, None
        for number in range(1, 6):
            permit, _ = breaker.admit(now)
            change = breaker.settle(permit, Result(verdict="failure", now=now, rnd=0.75))
            previous = backoff.wait(number, 0.75, previous)
            assert change.open_for == previous
            now += change.open_for
        permit, _ = breaker.admit(now)
        assert breaker.settle(permit, Result(verdict="success", now=now)).to_state == "closed"


def test_a_fault_that_trips_opens_it_whatever_the_rule_says() -> None:
    """One failure of health `trip` opens a closed circuit, and a half-open one with places left."""
    breaker = Breaker(policy(trip=consecutive(100), open_for=8, probes=4, successes=1))
    trips = Result(verdict="failure", now=0, trips=True)
    permit, _ = breaker.admit(0)
    assert breaker.settle(permit, trips).to_state == "open"
    permits = [breaker.admit(8)[0] for _ in range(4)]
    assert breaker.settle(permits[0], Result(verdict="failure", now=8)) is None
    assert breaker.settle(permits[1], trips).reason == "relapsed"


def test_a_cause_shows_no_message_of_the_service() -> None:
    """What the service said is in no repr."""
    assert repr(Cause("ConnectionError", "secret")) == "Cause('ConnectionError')"
