"""The block form of `retry`: the body of a `with`, tried again."""

from __future__ import annotations

import anyio
import pytest

from resilient import Rejected, RetryBudget, current_call, retry, telemetry
from resilient._runtime.clock import now
from resilient.testing import virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NOW = [0]


@BACKENDS
def test_the_body_is_tried_until_it_ends_well(backend):
    """Two failures and a success are three attempts, numbered from 1, with the waits between."""
    seen = []

    async def main():
        async for attempt in retry(attempts=3, backoff=[1, 2]):
            with attempt:
                seen.append((attempt.number, current_call().attempt, now()))
                if attempt.number < 3:
                    raise ConnectionError
        assert current_call() is None

    virtual_time(main, backend=backend, check_leftovers=True)
    assert seen == [(1, 1, 0), (2, 2, 1), (3, 3, 3)]


@BACKENDS
def test_the_last_error_leaves_with_a_note(backend):
    """When the attempts are used up the very error of the body surfaces."""
    errors = []

    async def main():
        async for attempt in retry(attempts=2, backoff=NOW):
            with attempt:
                errors.append(ConnectionError())
                raise errors[-1]

    with pytest.raises(ConnectionError) as caught:
        virtual_time(main, backend=backend, check_leftovers=True)
    assert caught.value is errors[1]
    assert len(errors) == 2
    assert caught.value.__notes__ == [
        "resilient: gave up after 2 attempts in 0.00 s (waits 0.00 s)"
    ]


@BACKENDS
def test_a_return_inside_the_body_ends_the_block(backend):
    """The value is returned, and nothing is tried again."""
    calls = []

    async def main():
        async for attempt in retry(backoff=NOW):
            with attempt:
                calls.append(1)
                return "value"
        raise AssertionError

    assert virtual_time(main, backend=backend, check_leftovers=True) == "value"
    assert calls == [1]


@BACKENDS
def test_an_error_that_is_not_retryable_leaves_at_once(backend):
    """A ValueError of the body is one attempt."""
    calls = []

    async def main():
        async for attempt in retry(backoff=NOW):
            with attempt:
                calls.append(1)
                raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        virtual_time(main, backend=backend, check_leftovers=True)
    assert calls == [1]


@BACKENDS
def test_a_cancellation_leaves_the_block(backend):
    """A scope that is cancelled in the body or in the wait ends the block."""
    calls = []

    async def block():
        async for attempt in retry(attempts=9, backoff=[2]):
            with attempt:
                calls.append(now())
                await anyio.sleep(1)
                raise ConnectionError

    async def main(delay):
        async with anyio.create_task_group() as group:
            group.start_soon(block)
            await anyio.sleep(delay)
            group.cancel_scope.cancel()
        return now()

    assert virtual_time(main, 0.5, backend=backend, check_leftovers=True) == 0.5
    assert virtual_time(main, 2.5, backend=backend, check_leftovers=True) == 2.5
    assert calls == [0, 0]


@BACKENDS
def test_a_block_takes_tokens_of_its_budget(backend):
    """An empty budget lets the first error out at once."""
    calls = []
    empty = RetryBudget("block", ratio=0, reserve=0)

    async def main():
        async for attempt in retry(budget=empty):
            with attempt:
                calls.append(1)
                raise ConnectionError

    with pytest.raises(ConnectionError):
        virtual_time(main, backend=backend, check_leftovers=True)
    assert calls == [1]


@BACKENDS
def test_an_attempt_that_is_not_entered_is_an_error(backend):
    """A body without `with attempt:` would never be tried again: it is told so."""

    async def main():
        async for _ in retry():
            pass

    with pytest.raises(RuntimeError, match="with attempt:"):
        virtual_time(main, backend=backend)


@BACKENDS
def test_an_attempt_is_entered_once(backend):
    """Entering the same attempt twice is an error."""

    async def main():
        async for attempt in retry():
            with attempt:
                pass
            with attempt:
                pass

    with pytest.raises(RuntimeError, match="used once"):
        virtual_time(main, backend=backend)


@BACKENDS
def test_a_block_has_no_result_to_judge(backend):
    """`on_result` in a block is a TypeError that names it."""

    async def main():
        async for _ in retry(on_result=bool):
            pass

    with pytest.raises(TypeError, match="on_result"):
        virtual_time(main, backend=backend)


@BACKENDS
def test_a_refusal_does_not_take_the_place_of_the_last_error(backend):
    """An error and then a refusal: the error leaves the block, with a note and its own context."""
    lost = ConnectionError("lost")

    async def main():
        async for attempt in retry(backoff=NOW):
            with attempt:
                raise lost if attempt.number == 1 else Rejected("no place left", policy="test")

    with pytest.raises(ConnectionError) as caught:
        virtual_time(main, backend=backend, check_leftovers=True)
    assert caught.value is lost
    assert "no place left" in lost.__notes__[0]
    assert lost.__context__ is None


@BACKENDS
@pytest.mark.parametrize("option", ["on", "backoff"])
def test_a_predicate_that_fails_ends_the_block(backend, option):
    """Its error leaves the block, and the attempt and the call have each one end."""
    heard = []

    class Listener:
        def on_event(self, event, call):
            heard.append(type(event).__name__)

    def fails(_):
        raise LookupError

    async def main():
        async for attempt in retry(**{option: fails}):
            with attempt:
                raise ConnectionError

    telemetry.install(listeners=[Listener()])
    try:
        with pytest.raises(LookupError):
            virtual_time(main, backend=backend, check_leftovers=True)
    finally:
        telemetry.install()
    assert heard == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]


@BACKENDS
def test_two_blocks_of_one_policy_share_nothing(backend):
    """A policy is a value: tasks that use it at once count their own attempts."""
    policy = retry(attempts=3, backoff=[1])
    counts = {}

    async def block(name, failures):
        async for attempt in policy:
            with attempt:
                counts[name] = attempt.number
                if attempt.number <= failures:
                    raise ConnectionError

    async def main():
        async with anyio.create_task_group() as group:
            for failures in range(3):
                group.start_soon(block, failures, failures)

    virtual_time(main, backend=backend, check_leftovers=True)
    assert counts == {0: 1, 1: 2, 2: 3}
