"""Functions that swallow a cancellation: it was asked for all the same.

The function fails in a way that could be tried again, or answers with what
nobody wants. No wait, no attempt and nobody else's answer follows; the
cancellation surfaces.
"""

from __future__ import annotations

import asyncio

import anyio
import pytest

from resilient import FallbackManager, Target, TimedOut, fallback, retry, stack, timeout, value
from resilient._runtime.clock import now
from resilient.testing import Log, leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def swallowing(log, name="target", answer=ConnectionError):
    """Return a function whose first call turns a cancellation into `answer`."""
    target = log.scripted(".9 .", name)

    async def swallows():
        try:
            return await target()
        except anyio.get_cancelled_exc_class():
            if isinstance(answer, type):
                raise answer from None
            return answer

    return swallows


def a_retry(log):
    return retry(attempts=3, backoff=[0])(swallowing(log))


def a_retry_that_waits(log):
    return retry(attempts=3, backoff=[2])(swallowing(log))


def a_retry_of_bad_results(log):
    policy = retry(attempts=3, on_result=lambda answer: answer == "bad", backoff=[2])
    return policy(swallowing(log, answer="bad"))


def a_block(log):
    target = swallowing(log)

    async def runs_a_block():
        async for attempt in retry(attempts=3, backoff=[0]):
            with attempt:
                return await target()
        raise AssertionError

    return runs_a_block


def a_fallback(log):
    return fallback(to=[log.scripted(".", "other")])(swallowing(log))


def a_fallback_for_bad_results(log):
    other = log.scripted(".", "other")
    policy = fallback(to=[other], on_result=lambda answer: answer == "bad")
    return policy(swallowing(log, answer="bad"))


def a_last_resort(log):
    return fallback(degrade=value(7))(swallowing(log))


def a_manager(log):
    first = Target("target", swallowing(log), attempts=1)
    return FallbackManager([first, Target("other", log.scripted(".", "other"))], deadline=60).run


def a_retry_in_a_fallback(log):
    other = log.scripted(".", "other")
    return stack(fallback(to=[other]), retry(attempts=3, backoff=[2]))(swallowing(log))


def a_retry_around_a_guard(log):
    inner = retry(attempts=1)(swallowing(log))

    async def calls_it():
        return await inner()

    return retry(attempts=3, backoff=[2])(calls_it)


def limits_around_and_inside(log):
    return stack(timeout(60), retry(attempts=3, backoff=[2]), timeout(30))(swallowing(log))


MAKERS = [
    a_retry,
    a_retry_that_waits,
    a_retry_of_bad_results,
    a_block,
    a_fallback,
    a_fallback_for_bad_results,
    a_last_resort,
    a_manager,
    a_retry_in_a_fallback,
    a_retry_around_a_guard,
    limits_around_and_inside,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_R16_the_cancellation_surfaces_after_one_call(cancelled, make):
    """A function that swallows a cancellation and fails is called once, and it surfaces."""
    story = cancelled(lambda log, _: make(log), at=1)
    assert (story.calls, story.took) == (["target"], 1)
    assert story.events.count("RetryScheduled") <= 1
    assert story.events[-1] == "CallEnded"


def test_R16_the_retry_event_fires_once(cancelled):
    """The failure is one that is retried, and that is said once; then the call is cancelled."""
    story = cancelled(lambda log, _: a_retry_that_waits(log), at=1)
    assert story.events == [
        "CallStarted",
        "AttemptStarted",
        "AttemptEnded",
        "RetryScheduled",
        "CallEnded",
    ]
    assert story.verdicts == ["failure"]
    assert story.log.events[4].outcome == "cancelled"
    assert story.log.events[4].retry_result == "cancelled"


@both
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_R16_nothing_follows_a_limit_that_is_swallowed(backend, make):
    """If what was swallowed is a limit around it all, there is one call and the caller is clean."""
    log = Log()

    async def main():
        guarded = make(log)

        async def calls_it():
            return await guarded()

        answer = None
        try:
            answer = await timeout(1)(calls_it)()
        except (ConnectionError, TimedOut) as error:
            answer = type(error)
        at = now()
        await anyio.sleep(9)
        return answer, at, leftovers()

    # A retry finds no time left and lets out what the function came to, as it
    # would without a limit; a chain, which might still answer, is timed out.
    chain = make in (a_fallback, a_fallback_for_bad_results, a_last_resort, a_manager)
    chain = chain or make is a_retry_in_a_fallback
    own = "bad" if make is a_retry_of_bad_results else ConnectionError
    assert virtual_time(main, backend=backend) == (TimedOut if chain else own, 1, [])
    assert [call.target for call in log.calls] == ["target"]


@both
def test_R16_the_total_of_the_same_stack_is_no_different(backend):
    """A total limit of the stack that the function swallows ends the retry after one call."""
    log = Log()

    async def main():
        policies = stack(timeout(1), retry(attempts=3, backoff=[0]), listeners=[log])
        with pytest.raises(ConnectionError):
            await policies(swallowing(log))()
        return now(), leftovers()

    assert virtual_time(main, backend=backend) == (1, [])
    assert len(log.calls) == 1


@both
def test_a_swallowed_limit_of_an_attempt_is_a_failure_like_any_other(backend):
    """If the attempt's own limit is swallowed, nobody else has asked: the retry goes on."""
    log = Log()

    async def main():
        policies = stack(retry(attempts=3, backoff=[2]), timeout(1), listeners=[log])
        await policies(swallowing(log))()
        return now(), leftovers()

    assert virtual_time(main, backend=backend) == (3, [])
    assert len(log.calls) == 2


def test_a_swallowed_cancellation_before_the_call_is_not_held_against_it():
    """A task that was cancelled before, and went on, retries as ever."""

    async def main():
        log = Log()
        task = asyncio.current_task()
        task.cancel()
        with pytest.raises(anyio.get_cancelled_exc_class()):
            await anyio.sleep(1)
        assert task.cancelling() == 1
        await retry(attempts=2, backoff=[1])(log.scripted("x ."))()
        return len(log.calls), task.cancelling(), leftovers()

    assert virtual_time(main) == (2, 1, [])
