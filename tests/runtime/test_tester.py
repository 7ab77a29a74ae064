"""The tester: scripts are read as written, runs are recorded, and wrong expectations fail."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import FrozenInstanceError, replace

import anyio
import pytest

from resilient import RetryBudget, fallback, retry, timeout
from resilient.errors import TimedOut
from resilient.testing import (
    Bad,
    Cancelled,
    Fail,
    Hang,
    Log,
    Ok,
    Raised,
    Run,
    Stubborn,
    Tester,
    virtual_time,
)

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Busy(Exception):
    """An error of a test's own, unknown to every table."""


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (Ok(), "Ok()"),
        (Ok(7), "Ok(value=7)"),
        (Ok(after=1.5), "Ok(after=1.5)"),
        (Fail(ConnectionError), "Fail(ConnectionError)"),
        (Fail(Busy, after=2, hint=60), "Fail(Busy, after=2, hint=60)"),
        (Hang(), "Hang()"),
        (Bad(500), "Bad(500)"),
        (Bad("", after=1), "Bad('', after=1)"),
        (Stubborn(3), "Stubborn(3)"),
    ],
)
def test_a_step_s_repr_is_its_code(step, code):
    """The `repr` of a step makes an equal step, and leaves defaults out."""
    assert repr(step) == code
    assert eval(code) == step  # noqa: S307 - that it can be evaluated is the subject
    assert hash(step) == hash(eval(code))  # noqa: S307


def test_the_default_answer_has_a_name():
    """The signature of `Ok` says that its value is fresh."""
    assert str(inspect.signature(Ok)).startswith("(value: 'Any' = FRESH,")


def test_steps_are_frozen():
    """A step cannot be changed."""
    with pytest.raises(FrozenInstanceError):
        Ok().after = 1


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
@pytest.mark.parametrize("step", ["Ok(after=", "Fail(Busy, after=", "Bad(1, after=", "Stubborn("])
def test_seconds_of_steps_are_checked(step, seconds):
    """A step takes a finite number of seconds, zero or more."""
    option = step.replace("Busy, ", "").replace("1, ", "")
    with pytest.raises(ValueError, match="must be a number of at least 0") as caught:
        eval(f"{step}seconds)")  # noqa: S307 - the code is the parameter above
    assert str(caught.value).startswith(option)


def test_an_error_instance_is_refused():
    """`Fail` wants a class or a function, because one instance would be raised twice."""
    with pytest.raises(TypeError, match="not the instance Busy"):
        Fail(Busy())


@both
def test_each_call_fails_with_an_error_of_its_own(backend):
    """`Fail` makes a fresh error for each call, and puts its hint on it."""

    async def twice() -> list[Exception]:
        function = Log().scripted([Fail(Busy, hint=3), Fail(Busy)])
        errors = []
        for _ in range(2):
            with pytest.raises(Busy) as caught:
                await function()
            errors.append(caught.value)
        return errors

    first, second = virtual_time(twice, backend=backend)
    assert first is not second
    assert (first.retry_after, hasattr(second, "retry_after")) == (3, False)


@both
def test_each_answer_is_its_own(backend):
    """`Ok()` returns a value that no other call returns."""

    async def twice() -> list[object]:
        function = Log().scripted("..")
        return [await function(), await function()]

    first, second = virtual_time(twice, backend=backend)
    assert first != second
    assert (repr(first), repr(second)) == ("<answer of call 1>", "<answer of call 2>")


@both
def test_a_step_of_no_duration_does_not_suspend(backend):
    """A scripted call without seconds ends without an await, like the cheapest function."""

    async def call() -> bool:
        with pytest.raises(StopIteration):
            Log().scripted(".")().send(None)
        return True

    assert virtual_time(call, backend=backend)


@pytest.mark.parametrize(
    ("backend", "cancel"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
def test_a_stubborn_step_swallows_every_cancellation(backend, cancel):
    """`Stubborn` returns at its instant, whatever kind of cancellation arrives, and how often."""

    async def in_scope(log: Log) -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(_later, 1, scope.cancel)
                await log.scripted("!5")()

    async def in_task(log: Log) -> None:
        task = asyncio.get_running_loop().create_task(log.scripted("!5")())
        for at in (1, 2):
            asyncio.get_running_loop().call_at(at, task.cancel)
        await asyncio.wait([task])
        assert not task.cancelled()

    log = Log()
    virtual_time(in_task if cancel == "task" else in_scope, log, backend=backend)
    assert [(call.ended, call.error) for call in log.calls] == [(5, None)]


async def _later(seconds, act):
    await anyio.sleep(seconds)
    act()


def test_three_lines_make_a_test():
    """A script, a stack and what is expected: both numbers, and whose value came out."""
    runs = Tester(retry(attempts=3), timeout(8)).run("x x .")
    runs.asserts(tries=3, calls=3, from_call=3)
    assert [(run.backend, run.way) for run in runs] == [
        ("asyncio", "decorators"),
        ("asyncio", "stack"),
        ("trio", "decorators"),
        ("trio", "stack"),
    ]


def test_everything_about_a_run_can_be_asserted():
    """Waits, instants, the events in order, the result and the time it took."""
    Tester(retry(attempts=3, backoff=[0.12, 0.43]), timeout(8)).run("x ~ .1").asserts(
        tries=3,
        calls=3,
        from_call=3,
        waits=[0.12, 0.43],
        calls_at=[0, 0.12, 8.55],
        elapsed=9.55,
        events=[
            "CallStarted",
            "AttemptStarted",
            "AttemptEnded",
            "RetryScheduled",
            "AttemptStarted",
            "TimeoutFired",
            "AttemptEnded",
            "RetryScheduled",
            "AttemptStarted",
            "AttemptEnded",
            "CallEnded",
        ],
    )


def test_a_given_value_is_compared():
    """`value=` is compared with what the call returned."""
    Tester(retry()).run([Fail(ConnectionError), Ok(7)]).asserts(
        tries=2, calls=2, value=7, from_call=2
    )


def test_an_error_is_asserted_by_its_class():
    """`error=` is the class of what came out, `from_call` whose error it is."""
    Tester(retry(attempts=2)).run("x*").asserts(
        tries=2, calls=2, error=ConnectionError, from_call=2
    )
    Tester(timeout(2)).run("~").asserts(tries=1, calls=1, error=TimedOut, elapsed=2)
    namesake = type("ConnectionError", (Exception,), {})
    with pytest.raises(AssertionError, match=r"'.*\.ConnectionError' and is 'ConnectionError'"):
        Tester(retry(attempts=1)).run("x").asserts(tries=1, calls=1, error=namesake)


def test_a_seed_decides_the_waits():
    """The same seed gives the same waits, another one others."""
    waits = [Tester(retry()).run("xx.", seed=seed).runs[0].waits for seed in (1, 1, 2)]
    assert waits[0] == waits[1] != waits[2]


@pytest.mark.parametrize("cancel", ["scope", "task"])
def test_a_caller_can_be_cancelled(cancel):
    """`cancel_at` cancels the caller at that instant, by a scope or by `task.cancel()`."""
    runs = Tester(retry(attempts=2, backoff=[1])).run("x*", cancel_at=0.4, cancel=cancel)
    runs.asserts(tries=2, calls=1, result="cancelled", elapsed=0.4)
    assert {run.cancelled_at for run in runs} == {0.4}
    assert {run.backend for run in runs} == (
        {"asyncio"} if cancel == "task" else {"asyncio", "trio"}
    )


@pytest.mark.parametrize("cancel", ["scope", "task"])
def test_a_cancellation_after_the_end_does_nothing(cancel):
    """A call that is over before `cancel_at` was never cancelled."""
    runs = Tester(retry()).run(".1", cancel_at=4, cancel=cancel)
    runs.asserts(tries=1, calls=1, from_call=1, elapsed=1)
    assert {(run.cancelled_at, run.cancelled_order) for run in runs} == {(None, None)}


def test_a_caller_may_be_cancelled_before_it_begins():
    """`cancel_at=0` cancels before the call: its first await raises."""
    Tester(retry()).run(".1", cancel_at=0).asserts(tries=1, calls=1, result="cancelled", elapsed=0)


def test_a_cancellation_that_a_step_raises_is_a_result():
    """A target that raises the cancellation of its library ends its call as cancelled."""

    async def cancelled() -> Run:
        step = Fail(anyio.get_cancelled_exc_class())
        return step.make()

    assert isinstance(virtual_time(cancelled), asyncio.CancelledError)
    Tester(retry()).run([Fail(asyncio.CancelledError)], backends=["asyncio"]).asserts(
        tries=1, calls=1, result="cancelled"
    )


def test_policies_may_be_made_for_each_run():
    """A function that makes a policy is called for each run, with the further targets."""
    made = []

    def policy(other):
        made.append(other)
        return fallback(to=[other])

    runs = Tester(policy, retry(attempts=2)).run("x*", ".1")
    runs.asserts(tries=3, calls=3, from_call=3)
    assert [call.target for call in runs.runs[0].calls] == ["target", "target", "other_1"]
    assert len({id(other) for other in made}) == 4


def test_a_script_is_missing_for_a_policy():
    """A policy that wants more functions than there are scripts is a `ValueError`."""
    with pytest.raises(ValueError, match=r"made from 1 further functions.*the scripts of 0"):
        Tester(lambda other: fallback(to=[other])).run("x")


def test_budgets_are_full_in_every_run():
    """What one run spends of a named budget, the next one has again."""
    budget = RetryBudget("tester", ratio=0, reserve=1)
    Tester(retry(attempts=5, budget=budget)).run("x*").asserts(
        tries=2, calls=2, error=ConnectionError, from_call=2
    )


def test_an_unknown_delivery_is_refused():
    """`cancel` is one of two words."""
    with pytest.raises(ValueError, match="cancel must be 'scope' or 'task', not 'thread'"):
        Tester(retry()).run(".", cancel="thread")


@pytest.mark.parametrize(
    ("expected", "complaint"),
    [
        ({"tries": 3}, "tries should be 3 and is 2"),
        ({"calls": 1}, "calls should be 1 and is 2"),
        ({"value": 7}, "value should be 7 and is <answer of call 2>"),
        ({"error": OSError}, "result should be 'OSError' and is 'returned'"),
        ({"result": "cancelled"}, "result should be 'cancelled' and is 'returned'"),
        ({"from_call": 1}, "from_call should be 1 and is 2"),
        ({"elapsed": 2.001}, r"elapsed should be \[2.001\] and is \[2.0\]"),
        ({"waits": [2]}, r"waits should be \[2\] and is \[1.0\]"),
        ({"calls_at": [0]}, r"calls_at should be \[0\] and is \[0.0, 1.0\]"),
        ({"events": []}, "events should be .* and is .'CallStarted'"),
        ({"leftovers": ["a task"]}, r"leftovers should be \['a task'\] and is \[\]"),
    ],
)
def test_a_wrong_expectation_fails(expected, complaint):
    """Each thing that can be expected is compared, and the failure shows the whole run."""
    runs = Tester(retry(attempts=2, backoff=[1])).run("x .1")
    with pytest.raises(AssertionError, match=complaint) as caught:
        runs.asserts(**{"tries": 2, "calls": 2, **expected})
    assert str(caught.value).startswith("asyncio, decorators: ")
    assert "  call 1 of target: 0 s .. 0 s, ConnectionError\n" in str(caught.value)
    assert "  AttemptStarted at 1 s\n" in str(caught.value)


def test_what_is_left_behind_fails_the_test():
    """A run that leaves a task running fails, unless the test says that it may."""

    class Leaves(list):
        def close(self) -> None:
            self.append(asyncio.get_running_loop().create_task(anyio.sleep_forever()))

    tester = Tester(retry(attempts=2, backoff=[0], on_result=lambda value: value != 1))
    runs = tester.run([Bad(Leaves()), Ok(1)], backends=["asyncio"], ways=["stack"])
    with pytest.raises(AssertionError, match="'a task still runs: sleep_forever'"):
        runs.asserts(tries=2, calls=2)
    runs.asserts(tries=2, calls=2, leftovers=None)
    runs.asserts(tries=2, calls=2, leftovers=["a task still runs: sleep_forever"])


def test_a_cancellation_that_is_not_taken_back_fails_the_test():
    """A run after which `task.cancelling()` is not what it was fails."""

    class Cancels:
        def close(self) -> None:
            asyncio.current_task().cancel()

    tester = Tester(retry(attempts=2, backoff=[0], on_result=lambda value: value != 1))
    runs = tester.run([Bad(Cancels()), Ok(1)], backends=["asyncio"], ways=["stack"])
    runs.asserts(tries=2, calls=1, result="cancelled", leftovers=["task.cancelling() is 1, not 0"])


def test_runs_that_differ_fail():
    """Runs of one test must tell the same story, whatever the backend and the spelling."""
    seen = []

    def policy():
        seen.append(len(seen))
        return retry(attempts=2, backoff=[len(seen)])

    runs = Tester(policy).run("x .")
    with pytest.raises(AssertionError, match="asyncio, decorators and asyncio, stack differ"):
        runs.asserts(tries=2, calls=2)


def some_run(**changes) -> Run:
    (run, *_) = Tester(retry(backoff=[1])).run("x .")
    return replace(run, **changes)


def test_a_run_shows_its_result():
    """A run offers its value or its error, and shows either in its text."""
    run = some_run()
    assert (run.value, run.error) == (run.calls[1].value, None)
    assert str(run).endswith("Returned(value=<answer of call 2>) after 1 s")
    failed = replace(run, result=Raised(Busy("no")))
    assert (failed.value, repr(failed.error), failed.origin) == (None, "Busy('no')", None)
    assert (replace(run, result=Cancelled()).origin, run.origin) == (None, 2)


def test_a_run_in_the_middle_of_a_call_shows_it():
    """A call that has not ended is shown as still running."""

    async def begin() -> str:
        log = Log()
        async with anyio.create_task_group() as group:
            group.start_soon(log.scripted("~"))
            await anyio.sleep(1)
            group.cancel_scope.cancel()
            return str(log.calls[0])

    assert virtual_time(begin) == "call 1 of target: 0 s .. still running, None"
