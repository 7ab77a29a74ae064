"""The B cases of the conformance list that need a retry around a function."""

from __future__ import annotations

import pytest

from resilient import RetryBudget, retry, stack
from resilient._runtime.budgets import fresh_budgets
from resilient.events import BudgetRefused, RetryStopped
from resilient.testing import Tester, virtual_time

BACKENDS = ("asyncio", "trio")


def test_B18_an_empty_budget_refuses_before_the_wait():
    """One call, the original error with a note, one budget event, no sleep."""
    empty = RetryBudget("B18", ratio=0, reserve=0)
    runs = Tester(retry(attempts=3, backoff=[1], budget=empty)).run("x*")
    for run in runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0):
        assert sum(isinstance(event, BudgetRefused) for event in run.events) == 1
        (stopped,) = [event for event in run.events if isinstance(event, RetryStopped)]
        assert stopped.result == "budget"
        (note,) = run.error.__notes__
        assert 'budget "B18" exhausted' in note


@pytest.mark.parametrize("backend", BACKENDS)
def test_B22_retries_of_two_functions_stay_within_one_budget(backend):
    """1000 calls of two functions against a dead backend: extras <= ratio x firsts + reserve."""
    calls = 0

    async def dead():
        nonlocal calls
        calls += 1
        raise ConnectionError

    async def main():
        budget = RetryBudget("B22", ratio=0.1, reserve=5)
        one = retry(attempts=4, backoff=[0], budget=budget)(dead)
        two = retry(attempts=2, backoff=[0], budget=budget)(dead)
        for number in range(1000):
            with pytest.raises(ConnectionError):
                await (two if number % 2 else one)()

    with fresh_budgets():
        virtual_time(main, backend=backend, check_leftovers=True)
    assert 1000 < calls <= 1000 + 0.1 * 1000 + 5


@pytest.mark.filterwarnings("ignore::resilient.PolicyOrderWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_B23_three_layers_share_one_budget(backend):
    """Three layers of retry(4) make no more extra calls than the budget has tokens, never 64."""
    calls = 0

    async def dead():
        nonlocal calls
        calls += 1
        raise ConnectionError

    async def main():
        policy = retry(attempts=4, backoff=[0], budget=RetryBudget("B23", ratio=0, reserve=7))
        with pytest.raises(ConnectionError):
            await stack(policy, policy, policy).call(dead)

    with fresh_budgets():
        virtual_time(main, backend=backend, check_leftovers=True)
    assert calls == 1 + 7
