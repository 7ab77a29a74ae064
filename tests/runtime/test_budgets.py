"""Budgets by name: who shares one, what a conflict says, and that no thread gets one too many."""

from __future__ import annotations

import contextvars
import copy
import math
import pickle
import sys
import threading
from datetime import timedelta
from functools import partial

import anyio
import pytest

from resilient import RetryBudget
from resilient._core import budget as pure
from resilient._runtime import budgets
from resilient._runtime.budgets import fresh_budgets
from resilient.testing import virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def _fresh():
    with fresh_budgets():
        yield


def granted(budget: RetryBudget, asked: int, now: float = 0.0) -> int:
    """Ask for some tokens at one instant and count those that were given."""
    return sum(budget.withdraw(now) for _ in range(asked))


def test_the_defaults_are_as_documented():
    """A budget has a fifth of the calls, ten in addition and a memory of ten seconds."""
    budget = RetryBudget("api")
    assert (budget.name, budget.ratio, budget.reserve, budget.ttl) == ("api", 0.2, 10, 10.0)
    assert repr(budget) == "RetryBudget(name='api', ratio=0.2, reserve=10, ttl=10.0)"
    for _ in range(50):
        budget.deposit(0)
    assert granted(budget, 1000) == 20


def test_the_same_name_and_options_are_the_same_budget():
    """Budgets of one name share their tokens wherever they are made."""
    one, other = RetryBudget("api", reserve=3), RetryBudget("api", reserve=3, ttl=timedelta(0, 10))
    assert one == other
    assert hash(one) == hash(other)
    assert (granted(one, 2), granted(other, 2), granted(one, 2)) == (2, 1, 0)


def test_another_name_is_another_budget():
    """Budgets of two names share nothing."""
    one, other = RetryBudget("api", reserve=1), RetryBudget("db", reserve=1)
    assert one != other
    assert (granted(one, 2), granted(other, 2)) == (1, 1)


@pytest.mark.parametrize("option", [{"ratio": 0.5}, {"reserve": 3}, {"ttl": 20}], ids=str)
def test_the_same_name_with_other_options_shows_both(option):
    """A second budget of a name with other options is refused with both sets of options."""
    RetryBudget("api")
    with pytest.raises(ValueError, match=r'^budget "api" has .* already, not .*another name$') as e:
        RetryBudget("api", **option)
    assert "ratio=0.2, reserve=10, ttl=10 already" in str(e.value)
    ((name, value),) = option.items()
    assert f"{name}={value}" in str(e.value).partition("not ")[2]


def test_a_refused_budget_changes_nothing():
    """A budget that is refused leaves the one of that name as it was."""
    budget = RetryBudget("api", reserve=3)
    granted(budget, 1)
    with pytest.raises(ValueError, match="already"):
        RetryBudget("api", reserve=4)
    assert granted(budget, 9) == 2


def test_a_wrong_option_takes_no_name():
    """A budget that was refused for its options has not taken the name."""
    with pytest.raises(ValueError, match=r"^reserve must be"):
        RetryBudget("api", reserve=-1)
    RetryBudget("api", reserve=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ratio": -0.1}, ValueError, "ratio must be a number from 0 to 1000, not -0.1"),
        ({"ratio": math.nan}, ValueError, "ratio must be a number from 0 to 1000, not nan"),
        ({"ratio": 1001}, ValueError, "ratio must be a number from 0 to 1000, not 1001"),
        ({"ratio": "half"}, TypeError, "ratio must be a number from 0 to 1000, not 'half'"),
        ({"reserve": -1}, ValueError, "reserve must be a whole number of at least 0, not -1"),
        ({"reserve": 0.5}, ValueError, "reserve must be a whole number of at least 0, not 0.5"),
        ({"reserve": True}, TypeError, "reserve must be a whole number of at least 0, not True"),
        ({"ttl": 0.99}, ValueError, "ttl must be a number from 1 to 60, not 0.99"),
        ({"ttl": timedelta(minutes=2)}, ValueError, "ttl must be a number from 1 to 60, not 120.0"),
        ({"ttl": None}, ValueError, "ttl must be seconds from 0 on"),
        ({"ttl": "1 s"}, TypeError, "ttl must be seconds from 0 on"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options, error, message):
    """Each option is checked at construction and named with what is accepted."""
    with pytest.raises(error) as refused:
        RetryBudget("api", **options)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (None, ValueError), (3, TypeError)])
def test_a_budget_needs_a_name(name, error):
    """The name is a text that is not empty, and is given by position."""
    with pytest.raises(error, match=r"^name must be a text that is not empty"):
        RetryBudget(name)
    with pytest.raises(TypeError):
        RetryBudget(name="api")


def test_a_budget_is_immutable():
    """The options of a budget cannot change under the functions that share it."""
    budget = RetryBudget("api")
    with pytest.raises(AttributeError):
        budget.ratio = 1


def test_a_copy_is_the_same_budget():
    """A copied or pickled budget takes from the same tokens, also in a registry without it."""
    budget = RetryBudget("api", reserve=3)
    data = pickle.dumps(budget)
    for same in (copy.copy(budget), copy.deepcopy(budget), pickle.loads(data)):
        assert same == budget
        assert granted(same, 1) == 1
    assert granted(budget, 1) == 0
    with fresh_budgets():
        assert granted(pickle.loads(data), 9) == 3
        with pytest.raises(ValueError, match="already"):
            RetryBudget("api")


def test_fresh_budgets_start_untouched_and_leave_no_trace():
    """Inside `fresh_budgets` a budget counts from nothing; outside it is as it was before."""
    budget = RetryBudget("api", reserve=3)
    assert granted(budget, 2) == 2
    with fresh_budgets():
        assert granted(budget, 9) == 3
        assert granted(RetryBudget("other", reserve=1), 9) == 1
        with fresh_budgets():
            RetryBudget("api", reserve=5)
    assert granted(budget, 9) == 1
    RetryBudget("other", reserve=2)


def test_fresh_budgets_end_with_an_error():
    """An error that leaves `fresh_budgets` puts the registry back."""
    budget = RetryBudget("api", reserve=1)
    with pytest.raises(TypeError), fresh_budgets():
        granted(budget, granted(budget, 1) and "one more")
    assert granted(budget, 9) == 1


def test_a_thread_of_its_own_context_sees_the_process():
    """A plain thread knows nothing of `fresh_budgets`; one that inherits the context does."""
    budget, counts = RetryBudget("only in test_budgets", reserve=2), []
    assert granted(budget, 1) == 1
    for run in (contextvars.copy_context().run, contextvars.Context().run):
        thread = threading.Thread(target=run, args=(lambda: counts.append(granted(budget, 9)),))
        thread.start()
        thread.join()
    assert counts == [1, 2]


@both
def test_available_is_read_at_the_clock(backend):
    """`available` tells what is left at this moment of the loop's own clock."""

    async def main():
        budget = RetryBudget("api", ratio=0.5, reserve=1)
        budget.deposit(0)
        seen = [budget.available]
        assert budget.withdraw(0)
        seen.append(budget.available)
        await anyio.sleep(10)
        return [*seen, budget.available]

    assert virtual_time(main, backend=backend) == [1.5, 0.5, 1.0]


def test_available_needs_no_loop():
    """Outside of any event loop `available` is read at the clock of the process."""
    assert RetryBudget("api", reserve=4).available == 4


class Stepper:
    """Runs a function in two threads, one line of the budget's code at a time.

    Only one thread runs at any moment, and which one is decided here: so every
    place where a thread could be interrupted can be tried, with the same
    result each time. It stands in for the lock itself, because it must know
    who waits for whom; without `locks` it keeps nobody out.
    """

    FILES = frozenset({pure.__file__, budgets.__file__})

    def __init__(self, *, locks: bool) -> None:
        self.locks = locks
        self.back = threading.Semaphore(0)
        self.go = [threading.Semaphore(0), threading.Semaphore(0)]
        self.waiting = {0, 1}
        self.blocked: set[int] = set()
        self.owner: int | None = None
        self.here = threading.local()
        self.interrupted = False

    def run(self, function, after: int) -> None:
        """Let one thread run for so many lines, then the other to its end, then the first."""
        context = contextvars.copy_context
        threads = [
            threading.Thread(target=context().run, args=(self.thread, number, function))
            for number in (0, 1)
        ]
        for thread in threads:
            thread.start()
        steps = 0
        while self.waiting:
            order = (0, 1) if steps < after else (1, 0)
            self.interrupted |= order == (1, 0) and self.waiting == {0, 1}
            number = next(n for n in order if n in self.waiting - self.blocked)
            self.go[number].release()
            self.back.acquire()
            steps += 1
        for thread in threads:
            thread.join()

    def thread(self, number: int, function) -> None:
        self.here.number = number
        self.go[number].acquire()
        sys.settrace(self.trace)
        try:
            function()
        finally:
            sys.settrace(None)
            self.waiting.discard(number)
            self.back.release()

    def trace(self, frame, event, _arg):
        if frame.f_code.co_filename not in self.FILES:
            return None
        if event == "line":
            self.pause()
        return self.trace

    def pause(self) -> None:
        self.back.release()
        self.go[self.here.number].acquire()

    def __enter__(self) -> None:
        number = getattr(self.here, "number", None)  # none: the test itself, when all is over
        while self.locks and self.owner is not None:
            self.blocked.add(number)
            self.pause()
        self.owner = number

    def __exit__(self, *_: object) -> None:
        self.owner = None
        self.blocked.clear()


def interleaved(monkeypatch, *, locks: bool, step, check) -> list[bool]:
    """Try every place where one step may be interrupted by another; tell where it went well."""
    outcomes: list[bool] = []
    for after in range(200):
        stepper = Stepper(locks=locks)
        monkeypatch.setattr(budgets, "Lock", lambda stepper=stepper: stepper)
        with fresh_budgets():
            budget = RetryBudget("api", ratio=1, reserve=1)
            answers: list[object] = []
            stepper.run(partial(answer, step, budget, answers), after)
            outcomes.append(check(budget, answers))
        if not stepper.interrupted:
            return outcomes
    raise AssertionError("a step of a budget has no end")


def answer(step, budget: RetryBudget, answers: list[object]) -> None:
    answers.append(step(budget))


def withdraw(budget: RetryBudget) -> bool:
    return budget.withdraw(0.0)


def one_was_granted(_budget: RetryBudget, answers: list[object]) -> bool:
    return sorted(map(bool, answers)) == [False, True]


def test_no_interruption_grants_a_token_twice(monkeypatch):
    """Wherever one thread is interrupted by another, a budget of one token grants one."""
    outcomes = interleaved(monkeypatch, locks=True, step=withdraw, check=one_was_granted)
    assert len(outcomes) > 10
    assert all(outcomes)


def test_without_the_lock_an_interruption_would_grant_a_token_twice(monkeypatch):
    """The same interruptions find a budget that reads, is interrupted, and writes."""
    outcomes = interleaved(monkeypatch, locks=False, step=withdraw, check=one_was_granted)
    assert not all(outcomes)


def test_no_interruption_makes_two_budgets_of_a_name(monkeypatch):
    """Wherever two threads make the budget of a name at once, both get the same one."""

    def make(_budget: RetryBudget) -> bool:
        return RetryBudget("new", ratio=0, reserve=1).withdraw(0.0)

    outcomes = interleaved(monkeypatch, locks=True, step=make, check=one_was_granted)
    assert len(outcomes) > 20
    assert all(outcomes)


def test_no_interruption_loses_a_deposit(monkeypatch):
    """Wherever one thread is interrupted by another, both of their deposits count."""

    def deposit(budget: RetryBudget) -> None:
        budget.deposit(5.0)

    def both_count(budget: RetryBudget, _answers: list[object]) -> bool:
        return granted(budget, 9, now=5.0) == 3

    outcomes = interleaved(monkeypatch, locks=True, step=deposit, check=both_count)
    assert len(outcomes) > 10
    assert all(outcomes)
