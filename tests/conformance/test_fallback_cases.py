"""The F cases of the conformance list: who is asked next, and what it means when nobody answered.

F15 and F17 arrive with streams, F21 with weights.
"""

from __future__ import annotations

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    CircuitOpen,
    FallbackManager,
    Fault,
    Skipped,
    Target,
    circuit_breaker,
    consecutive,
    fallback,
    value,
)
from resilient._runtime.clock import now
from resilient.events import AttemptEnded
from resilient.testing import Bad, Fail, Hang, Log, Tester, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class E1(Exception):
    """A failure."""


class E2(Exception):
    """Another failure."""


class Targets:
    """Targets that answer or fail as they are told, and the order in which they were asked."""

    def __init__(self):
        self.asked = []

    def target(self, name, *answers, **options):
        """Make a target that goes through `answers`, the last for ever."""
        left = list(answers)

        async def call(*_):
            self.asked.append(name)
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, type) and issubclass(answer, BaseException):
                raise answer
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return Target(name, call, **options)


@pytest.mark.parametrize("kept", [0, None, ""], ids=repr)
def test_F01_a_falsy_value_is_an_answer(kept):
    """A failing primary gives the degrade value; a falsy answer is kept."""
    degraded = Tester(fallback(degrade=value(7))).run("x")
    degraded.asserts(tries=1, calls=1, value=7)
    answered = Tester(fallback(degrade=value(7))).run([Bad(kept)])
    answered.asserts(tries=1, calls=1, value=kept)
    assert all("Degraded" in run.event_names for run in degraded)
    assert all("Degraded" not in run.event_names for run in answered)


def test_F04_all_failed_is_a_group_in_order():
    """By default AllTargetsFailed holds E1 and E2 in this order."""
    runs = Tester(lambda other: fallback(to=[other])).run([Fail(E1)], [Fail(E2)])
    for run in runs.asserts(tries=2, calls=2, error=AllTargetsFailed):
        assert [type(error) for error in run.error.exceptions] == [E1, E2]
        assert run.error.exceptions == tuple(call.error for call in run.calls)


@pytest.mark.parametrize(("raises", "number"), [("first", 1), ("last", 2)])
def test_F04_first_and_last_surface_as_they_are(raises, number):
    """`raises="first"` is E1, `raises="last"` is E2 with E1 as its cause."""
    runs = Tester(lambda other: fallback(to=[other], raises=raises)).run([Fail(E1)], [Fail(E2)])
    runs.asserts(tries=2, calls=2, error=(E1, E2)[number - 1], from_call=number)
    for run in runs:
        assert run.error.__cause__ is (run.calls[0].error if raises == "last" else None)


def test_F04_a_cause_of_the_users_own_is_kept():
    """`raises="last"` leaves a `__cause__` that the error has already."""
    mine = LookupError()

    def caused():
        error = E2()
        error.__cause__ = mine
        return error

    runs = Tester(lambda other: fallback(to=[other], raises="last")).run([Fail(E1)], [Fail(caused)])
    for run in runs.asserts(tries=2, calls=2, error=E2, from_call=2):
        assert run.error.__cause__ is mine


@BACKENDS
def test_F07_a_caller_who_is_cancelled_already_asks_nobody(backend):
    """A run in a cancelled scope calls no target."""
    targets = Targets()
    manager = FallbackManager([targets.target("a", 1), targets.target("b", 2)])

    async def main():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.run()
        return scope.cancelled_caught

    assert virtual_time(main, backend=backend, check_leftovers=True) is True
    assert targets.asked == []


@pytest.mark.parametrize("cancel", ["scope", "task"])
def test_F07_a_cancellation_while_the_fallback_runs_ends_it(cancel):
    """Nothing further is tried, and no degrade value hides the cancellation."""
    policy = lambda second, third: fallback(to=[second, third], degrade=value(7))  # noqa: E731
    runs = Tester(policy).run("x", "~", ".", cancel_at=1, cancel=cancel)
    runs.asserts(tries=2, calls=2, result="cancelled", elapsed=1)


@BACKENDS
def test_F08_attempts_are_numbered_over_the_targets(backend):
    """A and B fail, C returns: attempts (1, 0), (2, 1), (3, 2), and a fallback was used."""
    targets = Targets()
    chain = [targets.target("a", E1), targets.target("b", E2), targets.target("c", "answer")]
    outcome = virtual_time(FallbackManager(chain).run, backend=backend, check_leftovers=True)
    assert outcome.value == "answer"
    assert [(a.number, a.target_index) for a in outcome.attempts] == [(1, 0), (2, 1), (3, 2)]
    assert (outcome.target, outcome.fallback_used, outcome.degraded) == ("c", True, False)
    assert targets.asked == ["a", "b", "c"]


@pytest.mark.parametrize("cancel", ["scope", "task"])
def test_F11_a_cancelled_target_ends_the_chain(cancel):
    """The attempt ends once, neutral; no further target is asked."""
    runs = Tester(lambda other: fallback(to=[other])).run([Hang()], ".", cancel_at=1, cancel=cancel)
    for run in runs.asserts(tries=1, calls=1, result="cancelled", elapsed=1):
        (ended,) = [event for event in run.events if isinstance(event, AttemptEnded)]
        assert (ended.verdict, ended.disposition) == ("neutral", "cancelled")


@BACKENDS
def test_F11_a_keyboard_interrupt_ends_the_chain(backend):
    """KeyboardInterrupt propagates unchanged, and nobody else is asked."""
    targets = Targets()
    stop = KeyboardInterrupt()
    manager = FallbackManager([targets.target("a", stop), targets.target("b", 2)])
    with pytest.raises(KeyboardInterrupt) as caught:
        virtual_time(manager.run, backend=backend)
    assert caught.value is stop
    assert targets.asked == ["a"]


@BACKENDS
def test_F12_a_target_that_cannot_be_called_has_failed(backend):
    """A target whose arguments do not bind counts as failed, and the next one answers."""

    async def takes_nothing():
        return "never"

    async def takes_one(argument):
        return argument

    manager = FallbackManager([Target("none", takes_nothing), Target("one", takes_one)])
    outcome = virtual_time(manager.run, "argument", backend=backend, check_leftovers=True)
    assert (outcome.value, outcome.target) == ("argument", "one")
    assert [attempt.error for attempt in outcome.attempts] == ["TypeError", None]


@BACKENDS
def test_F18_a_target_whose_breaker_is_open_is_skipped_without_an_attempt(backend):
    """Target 0 is not called, gets no attempt number, and says why it was skipped."""
    targets = Targets()

    async def main():
        breaker = circuit_breaker("a", trip=consecutive(1), open_for=30)
        first = targets.target("a", E1, policies=breaker)
        manager = FallbackManager([first, targets.target("b", "other")])
        outcomes = [await manager.run(), await manager.run()]
        return *outcomes, manager.health()["a"], breaker.snapshot()

    first, second, health, snapshot = virtual_time(main, backend=backend, check_leftovers=True)
    assert targets.asked == ["a", "b", "b"]
    assert [(a.number, a.target) for a in first.attempts] == [(1, "a"), (2, "b")]
    assert (second.value, second.fallback_used) == ("other", True)
    assert [(a.number, a.target_index) for a in second.attempts] == [(1, 1)]
    assert [(s.target, s.reason, s.retry_after) for s in second.skipped] == [
        ("a", "breaker_open", 30)
    ]
    assert (health.failed, health.skipped, snapshot.refused) == (1, 1, 1)


@BACKENDS
def test_F18_when_all_breakers_are_open_the_error_lists_each_and_the_least_wait(backend):
    """Each `CircuitOpen` is a member, `retry_after` is the smallest, nobody is called."""
    targets, log = Targets(), Log()

    async def main():
        chain = [
            targets.target(
                name, E1, policies=circuit_breaker(name, trip=consecutive(1), open_for=open_for)
            )
            for name, open_for in (("a", 30), ("b", 10), ("c", 20))
        ]
        manager = FallbackManager(chain, listeners=[log])
        with pytest.raises(AllTargetsFailed):
            await manager.run()
        del log.events[:]
        with pytest.raises(AllTargetsFailed) as caught:
            await manager.run()
        return caught.value

    error = virtual_time(main, backend=backend, check_leftovers=True)
    assert targets.asked == ["a", "b", "c"]
    assert [type(member) for member in error.exceptions] == [CircuitOpen] * 3
    assert [member.breaker for member in error.exceptions] == ["a", "b", "c"]
    assert [member.retry_after for member in error.exceptions] == [30, 10, 20]
    assert (error.retry_after, error.attempts) == (10, ())
    assert [skip.reason for skip in error.skipped] == ["breaker_open"] * 3
    assert log.events[-1].outcome == "rejected"
    assert not any(isinstance(event, AttemptEnded) for event in log.events)


def cooling(seconds):
    """Return a classifier that lets a target rest."""
    return lambda _: Fault(False, retry_after=seconds, health="cooldown")


@BACKENDS
def test_F18_a_target_that_rests_is_skipped_without_an_attempt(backend):
    """The next call does not ask it, and gives it no attempt number."""
    targets = Targets()
    resting = targets.target("a", E1, "answer", classify=cooling(10))
    manager = FallbackManager([resting, targets.target("b", "other")])

    async def main():
        outcomes = [await manager.run(), await manager.run()]
        await anyio.sleep(10)
        return [*outcomes, await manager.run()]

    first, second, third = virtual_time(main, backend=backend, check_leftovers=True)
    assert targets.asked == ["a", "b", "b", "a"]
    assert [(a.number, a.target) for a in first.attempts] == [(1, "a"), (2, "b")]
    assert [(a.number, a.target) for a in second.attempts] == [(1, "b")]
    assert [(s.target, s.reason, s.retry_after) for s in second.skipped] == [("a", "cooldown", 10)]
    assert third.target == "a"


@BACKENDS
def test_F18_when_all_rest_the_error_lists_each_and_the_least_wait(backend):
    """All skipped: each rejection is a member, `retry_after` is the smallest, nobody is called."""
    targets = Targets()
    manager = FallbackManager(
        [
            targets.target("a", E1, classify=cooling(10)),
            targets.target("b", E2, classify=cooling(4)),
        ]
    )

    async def main():
        with pytest.raises(AllTargetsFailed) as first:
            await manager.run()
        with pytest.raises(AllTargetsFailed) as second:
            await manager.run()
        return first.value, second.value

    first, second = virtual_time(main, backend=backend, check_leftovers=True)
    assert [type(error) for error in first.exceptions] == [E1, E2]
    assert [type(error) for error in second.exceptions] == [Skipped, Skipped]
    assert [error.retry_after for error in second.exceptions] == [10, 4]
    assert second.retry_after == 4
    assert (second.attempts, targets.asked) == ((), ["a", "b"])


@BACKENDS
def test_F20_a_fault_of_the_request_asks_nobody_else(backend):
    """That error surfaces, no other target is called, and degrade is not used."""
    targets = Targets()
    bad = E1("bad request")
    manager = FallbackManager(
        [
            targets.target("a", bad, classify=lambda _: Fault(False, scope="request")),
            targets.target("b", 2),
        ],
        degrade=value("degraded"),
    )
    with pytest.raises(E1) as caught:
        virtual_time(manager.run, backend=backend, check_leftovers=True)
    assert caught.value is bad
    assert targets.asked == ["a"]
    assert len(caught.value.__notes__) == 1


@BACKENDS
def test_a_401_on_one_key_is_one_call_and_on_another_key_the_fallback_answers(backend):
    """A condemned credential skips whoever shares it, and nobody else."""

    def chain(*keys):
        targets = Targets()
        made = [
            targets.target(
                f"model-{number}",
                E1("401") if key == "A" else "answer",
                scopes={"credential": key},
                attempts=3,
                classify=lambda _: Fault(False, scope="credential"),
            )
            for number, key in enumerate(keys)
        ]
        return targets, FallbackManager(made)

    targets, manager = chain("A", "A")
    with pytest.raises(E1, match="401"):
        virtual_time(manager.run, backend=backend, check_leftovers=True)
    assert targets.asked == ["model-0"]

    targets, manager = chain("A", "A", "B")
    outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
    assert targets.asked == ["model-0", "model-2"]
    assert [(s.target, s.reason, s.scope) for s in outcome.skipped] == [
        ("model-1", "scope_condemned", "credential")
    ]


@BACKENDS
def test_a_slow_first_target_leaves_time_for_the_others(backend):
    """With a deadline of 9 s and three targets, one that hangs is cut at 3 s."""
    asked_at = []

    async def hangs():
        asked_at.append(now())
        await anyio.sleep_forever()

    manager = FallbackManager(
        [Target("a", hangs), Target("b", hangs), Target("c", hangs)], deadline=9
    )

    async def main():
        with pytest.raises(AllTargetsFailed) as caught:
            await manager.run()
        return caught.value, now()

    error, ended = virtual_time(main, backend=backend, check_leftovers=True)
    assert asked_at == [0, 3, 6]
    assert ended == 9
    assert [failure.limit for failure in error.exceptions] == ["total"] * 3
