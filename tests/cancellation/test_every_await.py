"""Calls interrupted at every await of every policy, and of policies in policies.

Wherever it happens: the interruption comes out unchanged, nothing is called
and nothing is said to have failed after it, each attempt ends once, no task,
limit or generator is left, `cancelling()` is balanced, and the next call works.
"""

from __future__ import annotations

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from resilient import (
    FallbackManager,
    RetryBudget,
    Target,
    TimedOut,
    fallback,
    last_good,
    middleware,
    retry,
    stack,
    timeout,
    value,
)
from resilient.testing import Bad, Fail, Hang, Ok, cancel_at_every_await, capture_spans


class Closable:
    """A result that takes two awaits to close."""

    async def aclose(self) -> None:
        await anyio.sleep(0.25)
        await anyio.sleep(0.25)


async def instead():
    """Make a last resort, which takes a while."""
    await anyio.sleep(1)
    await anyio.sleep(1)
    return "instead"


def is_bad(answer) -> bool:
    return isinstance(answer, Closable)


def cleaning_up(target):
    """Return `target` with a clean-up behind a shield."""

    async def cleans_up():
        try:
            answer = await target()
        except GeneratorExit:
            raise  # a coroutine that is closed may not wait any more
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.125)
            raise
        return answer

    return cleans_up


def a_retry(log):
    return retry(attempts=3, backoff=[2])(log.scripted("x1 x1 .1"))


def a_retry_without_waits(log):
    return retry(attempts=3, backoff=[0])(log.scripted("x1 x1 .1"))


def a_retry_of_bad_results(log):
    script = [Bad(Closable(), after=1), Bad(Closable()), Ok(after=1)]
    return retry(attempts=3, on_result=is_bad, backoff=[2])(log.scripted(script))


def a_retry_with_a_budget(log):
    policy = retry(attempts=3, backoff=[2], budget=RetryBudget("every await"))
    return policy(log.scripted("x1 x1 .1"))


def a_timeout(log):
    return timeout(5)(cleaning_up(log.scripted(".1")))


def a_timeout_that_strikes(log):
    limited = timeout(1)(cleaning_up(log.scripted("~")))

    async def forgives():
        try:
            return await limited()
        except TimedOut:
            return await instead()

    return forgives


def limits_in_limits(log):
    inner = timeout(1)(cleaning_up(log.scripted("~ .1")))

    async def middle():
        try:
            return await inner()
        except TimedOut:
            return await inner()

    return timeout(5)(timeout(4)(middle))


def total_retry_attempt(log):
    policies = stack(timeout(30), retry(attempts=4, backoff=[2]), timeout(3))
    return policies(cleaning_up(log.scripted("x1 ~ x .1")))


def a_fallback(log):
    others = [log.scripted("x1", "second"), log.scripted(".1", "third")]
    return fallback(to=others)(log.scripted("x1"))


def a_fallback_for_bad_results(log):
    other = log.scripted(".1", "second")
    return fallback(to=[other], on_result=is_bad)(log.scripted([Bad(Closable(), after=1)]))


def a_last_resort(log):
    return fallback(degrade=value(factory=instead))(log.scripted("x1"))


def a_last_good_answer(log):
    run = fallback(to=[log.scripted(". x1", "second")], degrade=last_good())(
        log.scripted("x x1 x x")
    )

    async def keeps_and_gives():
        if not log.calls:
            await run()
        await anyio.sleep(0.5)
        return await run()

    return keeps_and_gives


def everything(log):
    script = [Hang(), Bad(Closable(), after=1), Hang(), Hang()]
    other = retry(attempts=2, backoff=[1])(log.scripted("x1 x1", "second"))
    policies = stack(
        fallback(to=[other], degrade=value(factory=instead)),
        timeout(9),
        retry(attempts=3, on_result=is_bad, backoff=[1]),
        timeout(2),
    )
    return policies(cleaning_up(log.scripted(script)))


def a_guard_in_a_guard(log):
    inner = stack(retry(attempts=2, backoff=[1]), timeout(2))(log.scripted("x1 ~ .1"))

    async def calls_it():
        await anyio.sleep(0.5)
        return await inner()

    return stack(timeout(20), retry(attempts=2, backoff=[1]))(calls_it)


def a_manager(log):
    manager = FallbackManager(
        [
            Target("first", log.scripted("~ x1", "first"), timeout=2, attempts=2),
            Target("second", log.scripted("x1", "second"), scopes={"host": "b"}),
            Target("third", log.scripted(".1", "third"), timeout=3),
        ],
        deadline=30,
    )
    return manager.run


def a_manager_of_names(log):
    asked = log.scripted("x1 .1")

    async def ask(name, data):
        return await asked()

    manager = FallbackManager([Target("first", timeout=4), Target("second", timeout=4)])

    async def run():
        return await manager.call_with_fallback(ask, "data")

    return run


def a_manager_whose_deadline_strikes(log):
    slow = cleaning_up(log.scripted("~ .1", "first"))
    manager = FallbackManager([Target("first", slow)], deadline=3, degrade=value(factory=instead))
    return manager.run


def a_block(log):
    target = log.scripted("x1 x1 .1")

    async def runs_a_block():
        async for attempt in retry(attempts=3, backoff=[2]):
            with attempt:
                await anyio.sleep(0.5)
                return await target()
        raise AssertionError

    return runs_a_block


def a_block_in_a_guard(log):
    return stack(timeout(20), retry(attempts=2))(a_block(log))


@middleware
async def passes_on(call, proceed):
    """Wait before and after."""
    await anyio.sleep(0.25)
    try:
        return await proceed()
    finally:
        await anyio.sleep(0.25)


@middleware(calls=2)
async def asks_twice(call, proceed):
    """Ask again where the first run failed."""
    try:
        return await proceed()
    except ConnectionError:
        await anyio.sleep(0.25)
        return await proceed()


@middleware(calls=2)
async def swallows(call, proceed):
    """Handle what it must not, in every place."""
    try:
        await anyio.sleep(0.25)
        found = await proceed()
    except BaseException as error:
        if isinstance(error, GeneratorExit):
            return "swallowed"  # a coroutine that is closed may not wait any more
        found = await answers_anyway(proceed)
    await anyio.sleep(0.25)
    return found


async def answers_anyway(proceed):
    """Ask again, and answer whatever comes of that."""
    try:
        return await proceed()
    except BaseException:
        return "swallowed"


@middleware
async def raises_instead(call, proceed):
    """Turn everything into an error."""
    try:
        return await proceed()
    except BaseException:
        raise LookupError from None


@middleware
async def closes(call, proceed):
    """Return something else than what it got, which has to be closed."""
    await proceed()
    return "closed"


def a_middleware(log):
    return passes_on(log.scripted(".1"))


def a_middleware_in_a_stack(log):
    policies = stack(
        fallback(to=[log.scripted(".1", "second")]),
        timeout(30),
        passes_on,
        retry(attempts=3, backoff=[1]),
        asks_twice,
        timeout(3),
    )
    return policies(cleaning_up(log.scripted("x1 ~ x x x x1")))


def a_middleware_that_swallows(log):
    return swallows(log.scripted("x1 .1"))


def one_that_swallows_in_a_stack(log):
    policies = stack(
        fallback(to=[log.scripted(".1", "second")]),
        timeout(30),
        retry(attempts=2, backoff=[1]),
        swallows,
        raises_instead,
        timeout(3),
    )
    return policies(cleaning_up(log.scripted("x1 ~ x x x x1")))


def one_that_swallows_with_a_last_resort(log):
    policies = stack(fallback(degrade=value(factory=instead)), swallows)
    return policies(log.scripted("x1 x1"))


def a_middleware_that_closes(log):
    policies = stack(timeout(30), closes, retry(attempts=2, backoff=[1]))
    return policies(log.scripted([Fail(ConnectionError), Ok(Closable(), after=1)]))


async def again(guarded):
    """Call once more, and once more where the script goes on failing."""
    for _ in range(3):
        try:
            return await guarded()
        except Exception:
            await anyio.sleep(60)
    return await guarded()


CALLS = [
    (a_retry, 5),
    (a_retry_without_waits, 3),
    (a_retry_of_bad_results, 8),
    (a_retry_with_a_budget, 5),
    (a_timeout, 1),
    (a_timeout_that_strikes, 4),
    (limits_in_limits, 4),
    (total_retry_attempt, 9),
    (a_fallback, 3),
    (a_fallback_for_bad_results, 4),
    (a_last_resort, 3),
    (a_last_good_answer, 3),
    (everything, 14),
    (a_guard_in_a_guard, 5),
    (a_manager, 5),
    (a_manager_of_names, 2),
    (a_manager_whose_deadline_strikes, 4),
    (a_block, 8),
    (a_block_in_a_guard, 8),
    (a_middleware, 3),
    (a_middleware_in_a_stack, 14),
    (a_middleware_that_swallows, 4),
    (one_that_swallows_in_a_stack, 6),
    (one_that_swallows_with_a_last_resort, 4),
    (a_middleware_that_closes, 4),
]


@pytest.mark.parametrize(("make", "awaits"), CALLS, ids=lambda one: getattr(one, "__name__", ""))
def test_an_interruption_is_the_last_thing_that_happens(everywhere, make, awaits):
    """At every await an interruption comes out unchanged, ends everything and leaves nothing."""
    found = everywhere(make, after=again)
    assert len(found) >= awaits
    assert {one.of for one in found} == {len(found)}


SPANS = [
    a_middleware_in_a_stack,
    everything,
    a_guard_in_a_guard,
    a_manager,
    a_manager_whose_deadline_strikes,
    a_block,
]


@pytest.mark.parametrize("make", SPANS, ids=lambda make: make.__name__)
def test_every_span_has_ended(interruption, make):
    """At every await an interruption ends every span that began, and none is current any more."""
    backend, delivery = interruption
    with capture_spans() as spans:
        awaits = 0
        for found in cancel_at_every_await(make, backend=backend, delivery=delivery, after=again):
            awaits += 1
            assert found.run.calls == () or len(spans.attempts())
            assert len(spans.ended) == len(spans.started)
            assert not trace.get_current_span().get_span_context().is_valid
    assert awaits
    assert {span.status.status_code for span in spans} >= {StatusCode.UNSET}
