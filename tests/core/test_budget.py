"""The retry budget as a pure state, held against naive lists of what happened."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from resilient._core.budget import SLOTS, TOKEN, Budget


def granted(budget: Budget, asked: int, now: float) -> int:
    """Ask for some tokens at one instant and count those that were given."""
    return sum(budget.withdraw(now) for _ in range(asked))


class Lists:
    """What a budget is, said the long way: every deposit and withdrawal with its instant.

    Instants are whole eighths of a second and tokens whole billionths, so
    nothing here is rounded.
    """

    def __init__(self, ratio: int, reserve: int, ttl: int) -> None:
        self.ratio, self.reserve, self.ttl = ratio, reserve * TOKEN, 8 * ttl
        self.latest: int | None = None
        self.deposits: list[int] = []
        self.withdrawals: list[tuple[int, int]] = []

    def slot(self, at: int) -> int:
        return at * SLOTS // self.ttl

    def look(self, now: int) -> int:
        """Move on to an instant: one that lags counts as the latest, unless it lags by a ttl."""
        if self.latest is None or self.slot(self.latest) - self.slot(now) > SLOTS:
            self.deposits, self.withdrawals, self.latest = [], [], now
        self.latest = max(self.latest, now)
        return self.latest

    @property
    def left(self) -> int:
        """Add up what no slot has forgotten."""
        newest = self.slot(self.latest)
        earned = sum(self.slot(at) + SLOTS > newest for at in self.deposits)
        spent = sum(place + SLOTS > newest for _, place in self.withdrawals)
        return self.reserve + self.ratio * earned - TOKEN * spent

    def deposit(self, now: int) -> None:
        at = self.look(now)
        self.deposits.append(at)

    def withdraw(self, now: int) -> None:
        at = self.look(now)
        newest = self.slot(at)
        at_the_start = now * SLOTS == newest * self.ttl
        self.withdrawals.append((at, newest if at_the_start else newest + 1))

    def spent(self, tenths: int) -> int:
        """Add up the withdrawals of the last tenths of a ttl."""
        return TOKEN * sum(self.within(at, tenths) for at, _ in self.withdrawals)

    def earned(self, tenths: int) -> int:
        """Add up the deposits of the last tenths of a ttl."""
        return self.ratio * sum(self.within(at, tenths) for at in self.deposits)

    def within(self, at: int, tenths: int) -> bool:
        return 10 * (self.latest - at) < tenths * self.ttl


class BudgetMachine(RuleBasedStateMachine):
    """A budget next to the lists, on a clock that ticks, jumps, lags and is exchanged."""

    @initialize(
        ratio=st.sampled_from([0, 0.0001, 0.1, 0.2, 0.333333333, 1, 2.5]),
        reserve=st.integers(0, 5),
        ttl=st.sampled_from([1, 4, 10, 60]),
        now=st.integers(-100, 10**6),
    )
    def make(self, ratio: float, reserve: int, ttl: int, now: int) -> None:
        self.now, self.ttl = now, 8 * ttl
        self.budget = Budget(ratio, reserve, ttl)
        self.lists = Lists(round(ratio * TOKEN), reserve, ttl)

    @rule(hundredths=st.integers(0, 150))
    def tick(self, hundredths: int) -> None:
        self.now += self.ttl * hundredths // 100

    @rule(tenths=st.integers(0, 12))
    def tick_to_the_start_of_a_slot(self, tenths: int) -> None:
        self.now = (self.now * SLOTS // self.ttl + tenths) * self.ttl // SLOTS

    @rule(ttls=st.integers(2, 1000))
    def exchange_the_clock(self, ttls: int) -> None:
        self.now -= ttls * self.ttl

    @rule(count=st.integers(1, 20), lag=st.sampled_from([0, 0, 0, 5, 60, 100]))
    def deposit(self, count: int, lag: int) -> None:
        now = self.now - self.ttl * lag // 100
        for _ in range(count):
            self.budget.deposit(now / 8)
            self.lists.deposit(now)

    @rule(count=st.integers(1, 10), lag=st.sampled_from([0, 0, 0, 5, 60, 100]))
    def withdraw(self, count: int, lag: int) -> None:
        now, lists = self.now - self.ttl * lag // 100, self.lists
        for _ in range(count):
            lists.look(now)
            expected = lists.left >= TOKEN
            assert self.budget.withdraw(now / 8) is expected
            if expected:
                lists.withdraw(now)
                # Never more than the rule says, of the ttl before any retry.
                assert lists.spent(10) <= lists.reserve + lists.earned(10)
            else:
                # And none is lost, but by the rounding to a tenth of a ttl.
                assert lists.reserve + lists.earned(9) - lists.spent(11) < TOKEN

    @invariant()
    def available_is_what_the_lists_say(self) -> None:
        if self.lists.latest is not None:
            found = self.budget.available(self.lists.latest / 8)
            assert found == max(0, self.lists.left) / TOKEN


def test_a_budget_is_its_lists() -> None:
    """A budget grants exactly what the lists of all deposits and withdrawals allow."""
    run_state_machine_as_test(BudgetMachine)


def test_the_reserve_is_there_without_any_call() -> None:
    """The reserve can be withdrawn before anything was deposited."""
    assert granted(Budget(0.2, 3, 10), 5, now=0) == 3


def test_the_reserve_comes_back_after_a_ttl() -> None:
    """A withdrawal is forgotten a ttl later, and not a moment before."""
    budget = Budget(0, 10, 10)
    assert granted(budget, 20, now=0) == 10
    assert granted(budget, 20, now=9.999) == 0
    assert granted(budget, 20, now=10) == 10


def test_a_withdrawal_within_a_slot_counts_to_its_end() -> None:
    """A withdrawal lives for at least a ttl: it is rounded up to the next tenth."""
    budget = Budget(0, 1, 10)
    assert budget.withdraw(0.5)
    assert not budget.withdraw(10.5)
    assert not budget.withdraw(10.999)
    assert budget.withdraw(11)


def test_a_deposit_lives_for_at_most_a_ttl() -> None:
    """A deposit lives for at most a ttl: it is rounded down to the last tenth."""
    budget = Budget(1, 0, 10)
    budget.deposit(0.9)
    assert budget.available(9.999) == 1
    assert budget.available(10) == 0


def test_a_withdrawal_outlives_the_deposit_that_paid_for_it() -> None:
    """What was earned early and spent late is not earned again: the window holds both or less."""
    budget = Budget(1, 0, 10)
    budget.deposit(0)
    assert budget.withdraw(9)
    budget.deposit(10)
    assert budget.available(10) == 0
    assert not budget.withdraw(10)
    budget.deposit(10)
    assert budget.withdraw(10)


def test_ten_deposits_of_a_tenth_are_a_token() -> None:
    """Shares of a token add up without rounding errors."""
    for ratio, calls, tokens in ((0.1, 10, 1), (0.29, 100, 29), (0.0001, 10_000, 1), (2.5, 2, 5)):
        budget = Budget(ratio, 0, 10)
        for _ in range(calls - 1):
            budget.deposit(0)
        assert budget.available(0) < tokens
        budget.deposit(0)
        assert budget.available(0) == tokens
        assert granted(budget, 100, now=0) == tokens


def test_a_refusal_costs_nothing() -> None:
    """A withdrawal that is refused leaves the budget as it was."""
    budget = Budget(0.5, 0, 10)
    budget.deposit(0)
    assert granted(budget, 1000, now=0) == 0
    budget.deposit(0)
    assert granted(budget, 2, now=0) == 1


def test_a_clock_that_lags_counts_as_the_newest() -> None:
    """An instant up to a ttl earlier loses nothing and gives nothing back."""
    budget = Budget(1, 2, 10)
    budget.deposit(100)
    assert budget.withdraw(95)
    assert budget.available(90) == 2
    budget.deposit(91)
    assert budget.available(100) == 3
    assert granted(budget, 9, now=92) == 3
    assert budget.available(110.9) == 0, "what was taken on the clock that lags is as new"
    assert budget.available(111) == 2


@pytest.mark.parametrize("now", [0.0, -1e9, 88.9])
def test_a_clock_from_another_time_starts_afresh(now: float) -> None:
    """An instant more than a ttl earlier belongs to another loop: the budget is as new."""
    budget = Budget(1, 2, 10)
    budget.deposit(100)
    assert granted(budget, 9, now=100) == 3
    assert budget.available(now) == 2
    assert granted(budget, 9, now=now) == 2


def test_a_long_pause_forgets_everything() -> None:
    """After more than a ttl without a call the budget is as new, however long the pause was."""
    for pause in (11, 20, 1e15):
        budget = Budget(1, 2, 10)
        budget.deposit(0.5)
        assert granted(budget, 9, now=0.5) == 3
        assert budget.available(0.5 + pause) == 2
        assert granted(budget, 9, now=0.5 + pause) == 2
