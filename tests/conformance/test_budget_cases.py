"""Conformance group B: the figures of a retry budget, on the state and on the shared handle.

What a retry does with a refusal (B18) and what nested retries make of a
shared budget (B23) stands with the engine's cases.
"""

from __future__ import annotations

import contextvars
import sys
import threading

import anyio
import anyio.lowlevel
import pytest

from resilient import RetryBudget
from resilient._core.budget import Budget
from resilient._runtime.budgets import fresh_budgets
from resilient.testing import virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def _fresh():
    with fresh_budgets():
        yield


def retries(budget, calls: int, *, attempts: int, ttl: float) -> int:
    """Let calls fail at each attempt, spread over one ttl; count the retries."""
    made = 0
    for call in range(calls):
        now = ttl * call / calls
        budget.deposit(now)
        for _ in range(attempts - 1):
            if not budget.withdraw(now):
                break
            made += 1
    return made


@pytest.mark.parametrize("ratio", [0.0001, 0.001, 0.01, 0.1, 0.2, 0.99, 2.0])
@pytest.mark.parametrize("handle", [False, True], ids=["state", "handle"])
def test_B10_retries_are_the_ratio_of_calls(ratio: float, handle):
    """Of 10 000 calls that always fail the retries are the ratio, to one."""
    budget = RetryBudget("b10", ratio=ratio, reserve=0) if handle else Budget(ratio, 0, 10)
    assert abs(retries(budget, 10_000, attempts=4, ttl=10) - 10_000 * ratio) <= 1


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0.999}, {"ttl": 60.001}, {"ttl": 0}, {"ttl": -1}, {"ratio": -0.01}, {"reserve": -1}],
    ids=str,
)
def test_B12_wrong_options_are_refused(options):
    """A ttl outside 1 to 60 s, a negative ratio and a negative reserve are a `ValueError`."""
    ((option, value),) = options.items()
    with pytest.raises(ValueError, match=rf"^{option} must be .*, not {value}"):
        RetryBudget("b12", **options)


def test_B12_the_ends_of_the_ttl_are_legal():
    """A ttl of exactly 1 s or 60 s is accepted."""
    assert RetryBudget("b12 shortest", ttl=1).ttl == 1
    assert RetryBudget("b12 longest", ttl=60).ttl == 60


def test_B12_a_budget_of_nothing_refuses_everything():
    """With ratio 0 and reserve 0 a budget is legal and refuses every withdrawal."""
    budget = RetryBudget("b12 nothing", ratio=0, reserve=0)
    assert retries(budget, 1000, attempts=4, ttl=10) == 0


def test_B13_deposits_expire():
    """A deposit is gone three ttls later, and is there before its ttl is over."""
    late = RetryBudget("b13 late", ttl=1, reserve=0, ratio=1)
    late.deposit(0)
    assert not late.withdraw(3)
    early = RetryBudget("b13 early", ttl=1, reserve=0, ratio=1)
    early.deposit(0)
    assert early.withdraw(0.9)


@both
def test_B24_a_thousand_tasks_get_exactly_the_tokens(backend):
    """Of 1000 tasks that withdraw at once exactly 100 get one of the 100 tokens."""

    async def main() -> int:
        budget, given = RetryBudget("b24", ratio=0, reserve=100), []

        async def task() -> None:
            await anyio.lowlevel.checkpoint()
            given.append(budget.withdraw(0))

        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(task)
        assert len(given) == 1000
        return sum(given)

    assert virtual_time(main, backend=backend) == 100


def test_B24_eight_threads_get_exactly_the_tokens():
    """Of 1000 withdrawals from 8 threads exactly 100 get one of the 100 tokens."""
    budget, given = RetryBudget("b24", ratio=0, reserve=100), []
    start = threading.Barrier(8)

    def thread() -> None:
        start.wait()
        given.extend([budget.withdraw(0) for _ in range(125)])

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(thread,)) for _ in range(8)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(interval)
    assert (len(given), sum(given)) == (1000, 100)
