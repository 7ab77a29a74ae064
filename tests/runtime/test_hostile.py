"""What others do to us: errors that lie, observers that fail, clean-up that hangs."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import typing
import weakref

import anyio
import anyio.lowlevel
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Fault,
    Rejected,
    RetryBudget,
    Target,
    fallback,
    manager_of,
    pipeline_of,
    retry,
    stack,
    telemetry,
    timeout,
    value,
)
from resilient._runtime.budgets import fresh_budgets
from resilient._runtime.clock import now
from resilient.testing import virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NOW = [0]


class Lying(ConnectionError):
    """An error whose every other attribute raises."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __bool__(self):
        raise RuntimeError

    def __len__(self):
        raise RuntimeError


class Bare(Rejected):
    """A refusal that calls no constructor of ours."""

    def __init__(self):
        Exception.__init__(self, "bare")


@BACKENDS
@pytest.mark.parametrize("kind", [Lying, Bare])
def test_an_error_that_lies_is_still_the_error(kind, backend):
    """It surfaces as it is, a fallback answers for it, and the history names its class."""

    async def fails():
        raise kind

    async def main():
        for policy in (retry(backoff=NOW), timeout(5), stack(timeout(5), retry(backoff=NOW))):
            with pytest.raises(kind):
                await policy.call(fails)
        return await manager_of(fallback(degrade=value(7))(fails)).run()

    outcome = virtual_time(main, backend=backend, check_leftovers=True)
    assert (outcome.value, outcome.degraded) == (7, True)
    assert outcome.attempts[0].error == f"{__name__}.{kind.__name__}"


@BACKENDS
def test_a_log_handler_that_raises_changes_nothing(backend, monkeypatch):
    """The value is returned although every log line fails."""

    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError

    monkeypatch.setattr(logging.getLogger("resilient"), "handlers", [Broken()])
    calls = []

    @stack(retry(backoff=NOW))
    async def recovers():
        calls.append(1)
        if len(calls) < 2:
            raise ConnectionError
        return "value"

    assert virtual_time(recovers, backend=backend, check_leftovers=True) == "value"
    assert len(calls) == 2


class Slow:
    """An answer that takes its time to close."""

    async def aclose(self):
        await anyio.sleep(50)


@BACKENDS
def test_closing_a_bad_answer_counts_against_the_deadline_of_the_chain(backend):
    """With a deadline of 1 s, an answer that closes for 50 s does not outlast it."""

    async def slow():
        return Slow()

    manager = FallbackManager(
        [Target("a", slow), Target("b", slow)],
        deadline=1,
        on_result=lambda answer: isinstance(answer, Slow),
    )

    async def main():
        with pytest.raises(AllTargetsFailed):
            await manager.run()
        return now()

    assert virtual_time(main, backend=backend, check_leftovers=True) == 1
    assert manager.bound.seconds == 1


def asks_for_rest(*, retryable, health="failure"):
    """Return a classifier whose hint is a day."""
    return lambda _: Fault(retryable, retry_after=86000, health=health)


@BACKENDS
def test_a_hint_on_an_error_that_no_wait_cures_lets_nobody_rest(backend):
    """A permanent error with `Retry-After` does not shut the target for later calls."""
    calls = []

    async def fails():
        calls.append(1)
        raise LookupError

    target = Target("a", fails, classify=asks_for_rest(retryable=False, health="neutral"))
    manager = FallbackManager([target], degrade=value(None))

    async def main():
        await manager.run()
        await manager.run()

    virtual_time(main, backend=backend, check_leftovers=True)
    assert len(calls) == 2


@BACKENDS
def test_a_target_that_begins_to_rest_is_said_once_at_warning(backend, caplog):
    """One line says who rests, for how long and why; while it rests there is no other."""

    class Throttled(Exception):
        """An error of a response."""

        status_code = 429
        retry_after = 30

    async def throttled():
        raise Throttled

    async def other():
        return "other"

    manager = FallbackManager([Target("a", throttled), Target("b", other)], name="ask")

    async def main():
        return [await manager.run() for _ in range(3)]

    with caplog.at_level(logging.WARNING, "resilient"):
        outcomes = virtual_time(main, backend=backend, check_leftovers=True)
    rests = [line for line in caplog.messages if "rests" in line]
    assert len(rests) == 1
    assert rests[0].startswith("ask: a rests 30 s (")
    assert rests[0].endswith(" 429, as the server asks)")
    assert outcomes[0].attempts[0].status == 429
    assert [outcome.target for outcome in outcomes] == ["b", "b", "b"]
    assert [len(outcome.attempts) for outcome in outcomes] == [2, 1, 1]


@BACKENDS
def test_a_shorter_rest_does_not_cut_a_longer_one(backend):
    """Of two calls that fail at once with hints of 30 and 5 s, the target rests 30 s."""
    hints = [30, 5]

    async def throttled():
        hint = hints.pop(0)
        await anyio.sleep(1)
        error = ConnectionError()
        error.retry_after = hint
        raise error

    manager = FallbackManager(
        [Target("a", throttled, classify=None)], degrade=value(None), switch_after=0
    )

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(manager.run)
            group.start_soon(manager.run)
        return manager.health()["a"].blocked_for

    assert virtual_time(main, backend=backend, check_leftovers=True) == 30


@BACKENDS
def test_a_degraded_answer_is_no_fallback(backend):
    """After two targets have failed, the last resort is flagged as degraded and nothing else."""

    async def fails():
        raise ConnectionError

    manager = FallbackManager([Target("a", fails), Target("b", fails)], degrade=value(7))
    outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
    assert (outcome.value, outcome.degraded) == (7, True)
    assert (outcome.fallback_used, outcome.target) == (False, None)


def test_a_limit_of_one_call_leaves_no_timer_behind():
    """The limit of a chain's deadline has its timer given up, after a value and after an error."""

    async def answers():
        return 1

    async def fails():
        raise ConnectionError

    async def main():
        manager = FallbackManager([Target("a", fails), Target("b", answers)], deadline=50)
        await manager.run()
        loop = asyncio.get_running_loop()
        return [timer for timer in loop._scheduled if not timer.cancelled() and timer.when() <= 60]

    assert virtual_time(main) == []


@BACKENDS
def test_the_listeners_of_a_stack_are_told_before_those_of_the_process(backend):
    """Both hear every event of the call, the stack's own first."""
    heard = []

    class Hears:
        def __init__(self, name):
            self.name = name

        def on_event(self, event, call):
            heard.append((type(event).__name__, self.name))

    @stack(timeout(5), listeners=[Hears("stack")])
    async def fn():
        """Answer."""

    telemetry.install(listeners=[Hears("process")])
    try:
        virtual_time(fn, backend=backend, check_leftovers=True)
    finally:
        telemetry.install()
    names = ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]
    assert heard == [(name, who) for name in names for who in ("stack", "process")]


def test_a_rest_of_one_clock_means_nothing_to_another():
    """What rests in a run of virtual time is asked in the next run."""
    calls = []

    async def fails():
        calls.append(1)
        raise LookupError

    target = Target("a", fails, classify=asks_for_rest(retryable=False, health="cooldown"))
    manager = FallbackManager([target], degrade=value(None))

    async def main():
        await manager.run()
        await manager.run()

    for backend in ("asyncio", "trio", "asyncio"):
        virtual_time(main, backend=backend, check_leftovers=True)
    assert len(calls) == 3


def test_a_bound_promises_nothing_of_what_no_limit_covers():
    """Closing bad answers without a deadline, and an async last resort, have no bound of time."""

    async def fn():
        """Answer."""

    async def made():
        """Make the last resort."""

    closes = fallback(to=[fn], on_result=lambda _: False)(timeout(1)(fn))
    makes = fallback(degrade=value(factory=made))(timeout(1)(fn))
    fixed = fallback(degrade=value(factory=list))(timeout(1)(fn))
    assert pipeline_of(closes).bound.seconds == float("inf")
    assert pipeline_of(makes).bound.seconds == float("inf")
    assert pipeline_of(fixed).bound.seconds == 1


def test_a_number_of_attempts_that_nobody_counts_is_unlimited():
    """`attempts=10**400` has a bound that can be said."""
    assert pipeline_of(retry(attempts=10**400)).bound.calls == float("inf")


@BACKENDS
def test_guards_around_guards_are_one_first_call_for_their_budget(backend):
    """Functions that call each other, each with a retry on one budget, deposit once a call."""
    calls = 0

    async def main():
        retried = retry(attempts=4, budget=RetryBudget("guards", ratio=1, reserve=0), backoff=NOW)

        @retried
        async def innermost():
            nonlocal calls
            calls += 1
            raise ConnectionError

        @retried
        async def middle():
            await innermost()

        @retried
        async def outermost():
            await middle()

        for _ in range(10):
            with pytest.raises(ConnectionError):
                await outermost()

    with fresh_budgets():
        virtual_time(main, backend=backend, check_leftovers=True)
    assert calls == 20


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.filterwarnings("ignore::resilient.PolicyOrderWarning")
@BACKENDS
def test_layers_of_retries_are_one_first_call_for_their_budget(layers, backend):
    """Ten calls deposit ten tokens, however many retries around each share the budget."""
    calls = 0

    async def fails():
        nonlocal calls
        calls += 1
        raise ConnectionError

    async def main():
        budget = RetryBudget("layers", ratio=1, reserve=0)
        fn = fails
        for _ in range(layers):
            fn = retry(attempts=4, budget=budget, backoff=NOW)(fn)
        for _ in range(10):
            with pytest.raises(ConnectionError):
                await fn()

    with fresh_budgets():
        virtual_time(main, backend=backend, check_leftovers=True)
    assert calls == 20


def test_a_task_that_ends_in_an_error_is_no_cycle():
    """With the collector off, what a failed task held is freed with the task."""

    class Held:
        """Something in the frame of the target."""

    dead = []

    async def fails():
        held = Held()
        dead.append(weakref.ref(held))
        raise ConnectionError

    async def other():
        raise LookupError

    guarded = [
        timeout(5)(fails),
        retry(attempts=2, backoff=NOW)(fails),
        fallback(to=[other])(fails),
        FallbackManager([Target("a", fails, timeout=1), Target("b", other)], deadline=5).run,
    ]

    async def main():
        for call in guarded:
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it ends with
                await asyncio.create_task(call())
            await anyio.lowlevel.checkpoint()
            assert [ref for ref in dead if ref() is not None] == []

    gc.collect()
    gc.disable()
    try:
        virtual_time(main)
    finally:
        gc.enable()


class Holder:
    """What is no function is no method, guarded or not."""

    @staticmethod
    async def _add(*args):
        return args

    class Adder:
        """A callable object."""

        async def __call__(self, *args):
            return args

    partial = retry(functools.partial(_add.__func__, 1))
    instance = retry(Adder())
    bound = retry(Adder().__call__)


@BACKENDS
def test_what_does_not_bind_unguarded_does_not_bind_guarded(backend):
    """A partial, a callable object and a bound method on a class get no instance."""

    async def main():
        held = Holder()
        return [await held.partial(2), await held.instance(2), await held.bound(2)]

    found = virtual_time(main, backend=backend, check_leftovers=True)
    assert found == [(1, 2), (2,), (2,)]


def test_a_guarded_function_keeps_its_annotations():
    """`__annotations__` and `get_type_hints` are the function's own."""

    @retry
    async def ask(question: str, *, size: int = 1) -> bytes:
        return question.encode() * size

    hints = {"question": str, "size": int, "return": bytes}
    assert typing.get_type_hints(ask) == hints
    assert set(ask.__annotations__) == set(hints)
