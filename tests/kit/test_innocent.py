"""Functions that do nothing wrong, in styles that are easily taken for it: `check` is silent."""

from __future__ import annotations

import asyncio
import gc

import anyio
import anyio.lowlevel
import pytest

from resilient import middleware, retry, stack, timeout
from resilient.testing import (
    Fail,
    FailureSchedule,
    FaultyBackend,
    Ok,
    Stubborn,
    simulate,
)

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
STEADY = retry(attempts=3, backoff=[1, 2])
LIMITED = stack(timeout(30), STEADY, timeout(8))


async def limited(be):
    """Have a limit of one's own."""
    with anyio.fail_after(5):  # noqa: TID251 - as users do
        return await be(1)


async def fan(be):
    """Ask twice at one time."""
    async with anyio.create_task_group() as group:
        group.start_soon(be, 1)
        group.start_soon(be, 2)


async def hedged(be):
    """Ask again after two seconds, and take whoever is first."""
    answers = []

    async def one(number):
        answers.append(await be(number))
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(one, 1)
        await anyio.sleep(2)
        group.start_soon(one, 2)
    return answers[0]


async def block(be):
    """Retry as a block, around a limit of one's own."""
    async for attempt in STEADY:
        with attempt:
            return await limited(be)
    raise AssertionError("the block has ended without an answer")


async def two(be):
    """Ask for one thing after the other."""
    await be(1)
    return await be(2)


async def tidy(be):
    """Await something behind the call, as every `async with` does."""
    try:
        return await be(1)
    finally:
        await anyio.lowlevel.checkpoint()


async def child(be):
    """Ask in a task of its own."""
    answers = []

    async def ask():
        answers.append(await be(1))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
    return answers[0]


def of(*steps, **options):
    return FailureSchedule(steps, **options)


@middleware
async def looks_on(call, proceed):
    return await proceed()


INNOCENT = {
    "a limit of its own in a retry": (STEADY(limited), "~", 2),
    "two at one time": (timeout(30)(fan), ".3 x1", 2),
    "a hedge": (timeout(30)(hedged), "~ .", 2),
    "a limit of its own in a block": (block, "~", 2),
    "cancelled before its first call": (two, of(cancel_at=0), 2),
    "guarded, cancelled before its first call": (STEADY(two), of(cancel_at=0), 2),
    "a call that swallows the cancellation": (STEADY(two), of(Stubborn(4), cancel_at=2), 2),
    "an await behind a stubborn call": (timeout(8)(tidy), "!9", 1),
    "an await behind a stubborn call, tried again": (LIMITED(tidy), "!9", None),
    "a child that ends as a limit does": (LIMITED(child), of(Fail(OSError, after=8)), None),
    "a middleware around what failed at once": (
        stack(looks_on, STEADY)(two),
        of(then=Fail(ConnectionError), cancel_at=1),
        None,
    ),
    "cancelled before it arrives": (two, of(Ok(after=1), arrivals=[5], cancel_at=3), 1),
}


@BACKENDS
@pytest.mark.parametrize("name", INNOCENT)
def test_it_is_not_blamed(name, backend):
    """No invariant is broken, and the target was called as often as the function meant to."""
    function, schedule, calls = INNOCENT[name]
    if isinstance(schedule, str):
        schedule = FailureSchedule.parse(schedule)
    its_own = function in {two, block}
    target = {} if its_own else {"target": "real", "args": [FaultyBackend(schedule)]}
    run = simulate(function, schedule, backend=backend, **target).check()
    # At the instant of a limit either may be first.
    assert calls is None or len(run.calls) == calls


@pytest.mark.parametrize("policies", [STEADY, LIMITED])
@pytest.mark.parametrize(
    "schedule",
    [
        of(Fail(ConnectionError), Ok(after=1), cancel_at=2),
        of(Fail(ConnectionError, after=1), Ok(after=1), cancel_at=3),
    ],
)
@pytest.mark.parametrize(
    ("backend", "cancel"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
def test_a_value_at_the_instant_of_the_cancellation_is_none(policies, schedule, backend, cancel):
    """Either may be first, also for a guarded function whose second call brings the value."""
    run = simulate(policies, schedule, backend=backend, cancel=cancel).check()
    assert (run.tries, len(run.calls)) == (2, 2)


async def waits_for(be):
    return await asyncio.wait_for(be(1), 5)  # noqa: TID251 - as users do


async def groups(be):
    async with asyncio.timeout(9):
        return await asyncio.gather(be(1), be(2))


async def naps(be):
    await asyncio.sleep(0.1)  # noqa: TID251 - as users do
    return await be(1)


@pytest.mark.parametrize("function", [waits_for, groups, naps])
@pytest.mark.parametrize("schedule", [".", "x", "x*", "x1"])
@pytest.mark.parametrize("guarded", [True, False])
def test_a_function_for_asyncio_alone_is_not_held_to_trio(function, schedule, guarded):
    """It has asked for a loop of asyncio's; no coroutine is left that nobody has awaited."""
    schedule = FailureSchedule.parse(schedule)
    if guarded:
        backend = FaultyBackend(schedule)
        run = simulate(LIMITED(function), schedule, target="real", args=[backend]).check()
    else:
        run = simulate(function, schedule).check()
    assert len(run.calls) >= 1
    del run
    gc.collect()
