"""asyncio's own task groups inside of guarded functions: what they leave on the task.

On Python 3.11 and 3.12 a group whose child fails while the group waits leaves
`task.cancelling()` one too high; the facts hold on every Python.
"""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from resilient import fallback, middleware, retry, stack, timeout
from resilient._runtime.task_groups import take_back
from resilient.testing import virtual_time


class Service:
    """Fails as often as it is told to, and notes who asks."""

    def __init__(self, failures):
        self.failures, self.calls = failures, 0

    async def child(self):
        self.calls += 1
        await anyio.sleep(1)
        if self.calls <= self.failures:
            raise ConnectionError

    async def ask(self):
        """Ask in a child of a task group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.child())
        return "answer"


@pytest.fixture
def balanced():
    """Run a function in virtual time; the caller's count of cancellations stays as it was."""

    def run(make):
        async def main():
            try:
                return await make()
            finally:
                assert asyncio.current_task().cancelling() == 0
                await anyio.lowlevel.checkpoint()

        return virtual_time(main)

    return run


@middleware(calls=3)
async def stubborn(call, proceed):
    while True:
        try:
            return await proceed()
        except* ConnectionError:
            pass


async def spare():
    return "spare"


async def block(ask):
    async for attempt in retry(attempts=3, backoff=[1]):
        with attempt:
            return await ask()
    raise AssertionError("the block has ended without an answer")


@pytest.mark.parametrize(
    ("policies", "calls", "answer"),
    [
        (retry(attempts=3, backoff=[1]), 3, "answer"),
        (stack(timeout(30), retry(attempts=3, backoff=[1]), timeout(8)), 3, "answer"),
        (stubborn, 3, "answer"),
        (fallback(to=[spare], on=Exception), 1, "spare"),
        (lambda ask: lambda: block(ask), 3, "answer"),
    ],
    ids=["retry", "stack", "middleware", "fallback", "block"],
)
def test_a_failed_task_group_is_no_cancellation(policies, calls, answer, balanced):
    """What follows a failure follows it, also where a task group has cancelled its own task."""
    service = Service(failures=2)
    assert balanced(policies(service.ask)) == answer
    assert service.calls == calls


def test_a_failure_behind_that_of_a_task_group_is_none_either(balanced):
    """The group is found also where its error was the context or the cause of another."""
    service = Service(failures=2)

    async def translated():
        try:
            return await service.ask()
        except* ConnectionError as group:
            raise OSError from group

    assert balanced(retry(attempts=3, backoff=[1], on=OSError)(translated)) == "answer"
    assert service.calls == 3


def test_a_cancellation_that_a_task_group_met_is_one(balanced):
    """Whoever is cancelled stays so: no more is taken back than the group has asked for."""
    service = Service(failures=9)

    async def swallows():
        try:
            await anyio.sleep(60)
        except asyncio.CancelledError:
            return await service.ask()

    async def main():
        task = asyncio.create_task(retry(attempts=3, backoff=[1])(swallows)())
        await anyio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelling()

    assert balanced(main) >= 1
    assert service.calls == 1


def test_a_group_that_was_left_by_an_error_is_balanced(balanced):
    """One that cancels its block takes that back itself, so nothing is taken back twice."""

    async def in_a_block():
        async with asyncio.TaskGroup() as group:
            group.create_task(Service(failures=1).child())
            await anyio.sleep(9)

    async def main():
        task = asyncio.current_task()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anyio.lowlevel.checkpoint()
        assert task.cancelling() == 1
        with pytest.raises(ExceptionGroup) as caught:
            await in_a_block()
        count = task.cancelling()
        take_back(task, 0, caught.value)
        assert task.cancelling() == count == 1
        task.uncancel()

    balanced(main)
