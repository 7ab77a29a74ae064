"""`@fallback`: who answers for a decorated function, at last what, and what surfaces."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from contextlib import suppress
from functools import partial

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Fault,
    Rejected,
    Target,
    TimedOut,
    fallback,
    manager_of,
    not_a_bug,
    retry,
    stack,
    timeout,
    value,
)
from resilient.events import AttemptEnded, BugServed, CallEnded
from resilient.testing import Bad, Fail, Log, Tester, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class E1(Exception):
    """A failure."""


class E2(Exception):
    """Another failure."""


async def fails(*args, **kwargs):
    """Fail."""
    raise E1


async def fails_too(*args, **kwargs):
    """Fail in another way."""
    raise E2


def error_of(call, *args, backend="asyncio"):
    """Return the error that a call ends with."""

    async def main():
        try:
            await call(*args)
        except Exception as error:
            return error

    return virtual_time(main, backend=backend, check_leftovers=True)


class TestTargets:
    @BACKENDS
    def test_the_functions_of_to_get_the_caller_s_arguments(self, backend):
        """Positional and keyword arguments are handed on as they are."""
        seen = []

        async def other(question, /, *, size=1):
            seen.append((question, size))
            return question * size

        @fallback(to=[other])
        async def ask(question, /, *, size=1):
            raise E1

        assert virtual_time(partial(ask, "a", size=3), backend=backend) == "aaa"
        assert seen == [("a", 3)]

    @BACKENDS
    def test_a_method_hands_on_self(self, backend):
        """A fallback of a method is a method, or any function that takes the object."""

        class Client:
            def __init__(self, name):
                self.name = name

            async def small(self, question):
                return f"{self.name}: {question}"

            @fallback(to=[small])
            @retry(attempts=2, backoff=[0])
            async def ask(self, question):
                raise ConnectionError

            @fallback(degrade=value("sorry"))
            async def degraded(self, question):
                raise E1

        client = Client("c")

        async def main():
            outcome = await manager_of(client.ask).run("why?")
            of_the_class = await manager_of(Client.ask).run(client, "why?")
            return await client.ask("why?"), outcome, of_the_class, await client.degraded("?")

        answer, outcome, of_the_class, sorry = virtual_time(main, backend=backend)
        assert answer == outcome.value == of_the_class.value == "c: why?"
        assert outcome.target.endswith("Client.small")
        assert sorry == "sorry"

    @BACKENDS
    def test_a_guarded_fallback_keeps_its_own_policies(self, backend):
        """A function of `to` with policies is called with them, as a call of its own."""
        log = Log()
        other = stack(retry(attempts=3, backoff=[1]), listeners=[log])(log.scripted("x x ."))
        ask = fallback(to=[other])(fails)
        outcome = virtual_time(manager_of(ask).run, backend=backend, check_leftovers=True)
        assert (len(log.calls), outcome.elapsed, len(outcome.attempts)) == (3, 2, 2)
        assert sum(isinstance(event, CallEnded) for event in log.events) == 1

    @BACKENDS
    def test_names_are_told_apart(self, backend):
        """A repeated name gets a number, so that each target is its own."""
        log = Log()
        ask = fallback(to=[log.scripted("x", "ask"), log.scripted(".", "ask")])(
            log.scripted("x", "ask")
        )
        manager = manager_of(ask)
        assert [target.name for target in manager.targets] == ["ask", "ask#2", "ask#3"]
        assert virtual_time(manager.run, backend=backend).target == "ask#3"

    def test_routes_name_the_functions(self):
        """`routes=` works on a decorator as on a manager, and knows its targets' names."""
        log = Log()
        policy = fallback(
            to=[log.scripted(".", "b"), log.scripted(".", "c")], routes={E1: ["c"], E2: []}
        )
        ask = policy(log.scripted([Fail(E1)], "a"))
        virtual_time(ask)
        assert [call.target for call in log.calls] == ["a", "c"]
        with pytest.raises(
            ValueError, match=r"^fallback\(routes=\) sends E1 to d, which is no target; there are a"
        ):
            fallback(to=[log.scripted(".", "b")], routes={E1: ["d"]})(log.scripted("x", "a"))

    @BACKENDS
    @pytest.mark.filterwarnings("ignore:.*fallback inside retry")
    def test_fallbacks_nest(self, backend):
        """The targets of inner and outer fallback are numbered over the whole pipeline."""
        log = Log()

        @fallback(to=[log.scripted("x", "d"), log.scripted(".", "e")])
        @retry(attempts=2, backoff=[1])
        @fallback(to=[log.scripted("x x", "b"), log.scripted("x x", "c")])
        @stack(listeners=[log])
        async def a():
            raise ConnectionError

        outcome = virtual_time(manager_of(a).run, backend=backend, check_leftovers=True)
        assert outcome.target == "e"
        assert [(each.target_index, each.on_target, each.number) for each in outcome.attempts] == [
            *[(0, 1, 1), (1, 1, 2), (2, 1, 3)],
            *[(0, 2, 4), (1, 2, 5), (2, 2, 6)],
            *[(3, 1, 7), (4, 1, 8)],
        ]
        kinds = [each.kind for each in outcome.attempts]
        assert kinds == [
            *["initial", "fallback", "fallback"],
            *["retry", "retry", "retry"],
            *["fallback", "fallback"],
        ]
        assert outcome.elapsed == 1
        began = [event.number for event in log.events if isinstance(event, AttemptEnded)]
        assert began == list(range(1, 9))

    @BACKENDS
    def test_a_nested_chain_leaves_the_outer_one_as_it_was(self, backend):
        """What the outer chain has condemned is still condemned after an inner chain has ended."""
        log = Log()

        def unauthorized(error):
            return Fault(retryable=False, scope="credential")

        inner = fallback(to=[log.scripted("x", "inner")])
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(E1)], "a"), scopes={"credential": "A"},
                       classify=unauthorized),
                Target("b", log.scripted("x", "b"), policies=inner),
                Target("c", log.scripted(".", "c"), scopes={"credential": "A"}),
                Target("d", log.scripted(".", "d")),
            ]
        )  # fmt: skip
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert [call.target for call in log.calls] == ["a", "b", "inner", "d"]
        assert [(skip.target, skip.reason) for skip in outcome.skipped] == [
            ("c", "scope_condemned")
        ]

    def test_there_is_no_manager_without_a_fallback(self):
        """`manager_of` says that there is none."""
        with pytest.raises(TypeError, match="fails has no fallback: there is no manager"):
            manager_of(fails)
        with pytest.raises(TypeError, match="fails has no fallback"):
            manager_of(retry(fails))
        with pytest.raises(TypeError, match="callables of its own"):
            virtual_time(partial(manager_of(fallback(degrade=value(1))(fails)).run_with, fails))

    @BACKENDS
    def test_the_manager_behind_a_function_is_one(self, backend):
        """Calls of the function and of its manager share what they have learned."""
        log = Log()
        ask = fallback(to=[log.scripted("...", "b")])(
            log.scripted([Fail(ConnectionError, hint=60)], "a")
        )

        async def main():
            await ask()
            health = manager_of(ask).health()
            return health, await manager_of(ask).run(), manager_of(ask).health()

        before, outcome, after = virtual_time(main, backend=backend)
        assert (before["a"].failed, before["a"].blocked_for) == (1, 60)
        assert [skip.reason for skip in outcome.skipped] == ["cooldown"]
        assert after["b"].answered == 2


class TestLastResort:
    @BACKENDS
    def test_a_mutable_answer_is_never_handed_out_twice(self, backend):
        """Each call gets a copy: changes of it, or of the original, are seen by nobody else."""
        answer = {"items": []}
        ask = fallback(degrade=value(answer))(fails)

        async def main():
            first = await ask()
            first["items"].append(1)
            answer["items"].append(2)
            return first, await ask()

        first, second = virtual_time(main, backend=backend)
        assert first == {"items": [1]}
        assert second == {"items": []}

    @BACKENDS
    def test_a_factory_makes_each_answer(self, backend):
        """A factory, plain or async, is called for each degraded call and for no other."""
        made = []

        def factory():
            made.append(1)
            return len(made)

        async def slow():
            await anyio.sleep(1)
            return "slow"

        answers = fallback(degrade=value(factory=factory))(Log().scripted(". x x"))
        slowly = fallback(degrade=value(factory=slow))(fails)

        async def main():
            await answers()
            return await answers(), await answers(), await slowly()

        assert virtual_time(main, backend=backend, check_leftovers=True) == (1, 2, "slow")

    @pytest.mark.parametrize("falsy", [None, 0, "", False, []], ids=repr)
    def test_a_falsy_last_resort_is_one(self, falsy):
        """`value(None)` is an answer, and not the lack of one."""
        outcome = virtual_time(manager_of(fallback(degrade=value(falsy))(fails)).run)
        assert outcome.value == falsy
        assert (outcome.degraded, outcome.target, outcome.fallback_used) == (True, None, False)

    @BACKENDS
    def test_an_error_of_the_factory_is_the_error_of_the_call(self, backend):
        """What the last resort raises surfaces as it is."""

        def factory():
            raise LookupError("nothing cached")

        error = error_of(fallback(degrade=value(factory=factory))(fails), backend=backend)
        assert isinstance(error, LookupError)

    @pytest.mark.parametrize("cancel", ["scope", "task"])
    def test_a_cancellation_is_never_degraded(self, cancel):
        """A cancelled call has no last resort."""
        runs = Tester(fallback(degrade=value(7)))
        runs.run("~", cancel_at=1, cancel=cancel).asserts(
            tries=1, calls=1, result="cancelled", elapsed=1
        )

    @BACKENDS
    def test_a_degraded_answer_that_is_rejected_outside_is_forgotten(self, backend):
        """The flag is of the answer that came out, and not of one before it."""
        log = Log()
        inner = fallback(degrade=value("sorry"))
        manager = FallbackManager(
            [
                Target("a", log.scripted("x"), policies=inner),
                Target("b", log.scripted([Bad("real")])),
            ],
            on_result=lambda answer: answer == "sorry",
        )
        outcome = virtual_time(manager.run, backend=backend)
        assert (outcome.value, outcome.target, outcome.degraded) == ("real", "b", False)

    def test_what_cannot_be_copied_is_refused_at_once(self):
        """`value(x)` copies when it is made, so that the bad day brings no surprise."""
        with pytest.raises(TypeError, match=r"value\(\) copies .* cannot be copied: give factory="):
            value(item for item in ())

    @pytest.mark.parametrize("made", [value("secret"), value(factory=lambda: "secret")], ids=repr)
    def test_it_shows_nothing_of_the_answer(self, made):
        """The answer is in neither `repr` nor `explain`."""
        assert "secret" not in repr(made)
        assert "secret" not in made.describe()


class TestErrors:
    @BACKENDS
    def test_the_group_has_everything(self, backend):
        """Members, attempts, skips and the least hint, and `except*` and `derive` keep them."""
        manager = FallbackManager(
            [
                Target("a", fails, attempts=2, classify=lambda error: Fault(False, retry_after=9)),
                Target("b", fails_too, classify=lambda error: Fault(True, 7, "host"),
                       scopes={"host": "h"}),
                Target("c", fails, scopes={"host": "h"}),
            ]
        )  # fmt: skip
        error = error_of(manager.run, backend=backend)
        assert type(error) is AllTargetsFailed
        assert str(error) == "manager: 2 targets failed, 1 not asked (3 sub-exceptions)"
        assert [type(each).__name__ for each in error.exceptions] == ["E1", "E2", "Skipped"]
        assert [each.number for each in error.attempts] == [1, 2]
        assert [each.disposition for each in error.attempts] == ["fell_back", "raised"]
        assert [skip.target for skip in error.skipped] == ["c"]
        assert error.retry_after == 7

        try:
            raise error
        except* E2 as part:
            kept = part
        except* Exception as rest:
            others = rest
        for group in (kept, others, error.derive([E1()]), pickle.loads(pickle.dumps(error))):
            assert type(group) is AllTargetsFailed
            assert (group.attempts, group.skipped, group.retry_after) == (
                error.attempts,
                error.skipped,
                error.retry_after,
            )
        assert copy.copy(error).attempts == error.attempts

    @BACKENDS
    def test_one_failure_in_a_group_is_one_target(self, backend):
        """The text counts: one failed and one not asked."""
        log = Log()
        manager = FallbackManager(
            [Target("a", log.scripted("x*", "a"), classify=lambda error: Fault(True, 60)),
             Target("b", log.scripted("x*", "b"))],
            name="chat",
        )  # fmt: skip

        async def main():
            errors = []
            for _ in range(2):
                try:
                    await manager.run()
                except AllTargetsFailed as error:
                    errors.append(error.message)
            return errors

        assert virtual_time(main, backend=backend) == [
            "chat: 2 targets failed",
            "chat: 1 target failed, 1 not asked",
        ]

    @BACKENDS
    def test_a_group_of_another_class(self, backend):
        """`group=` makes the group, with the same history."""

        class AllModelsFailed(AllTargetsFailed):
            """A backend's own class."""

        manager = FallbackManager(
            [Target("a", fails), Target("b", fails_too)], group=AllModelsFailed
        )
        error = error_of(manager.run, backend=backend)
        assert type(error) is AllModelsFailed
        assert len(error.attempts) == 2

    @BACKENDS
    @pytest.mark.parametrize("raises", ["first", "last"])
    def test_one_error_is_raised_where_one_is_chosen(self, backend, raises):
        """`raises=` gives one member itself, and the group where nobody failed."""
        manager = FallbackManager(
            [Target("a", fails), Target("b", fails_too)],
            raises=raises,
        )
        assert type(error_of(manager.run, backend=backend)) is {"first": E1, "last": E2}[raises]
        off = FallbackManager([Target("a", fails, enabled=False)], raises=raises)
        assert type(error_of(off.run, backend=backend)) is AllTargetsFailed

    @BACKENDS
    def test_the_same_error_twice_is_not_its_own_cause(self, backend):
        """Where both targets raise one object, nothing points at itself."""
        shared = E1()

        async def raises_shared():
            raise shared

        ask = fallback(to=[raises_shared], raises="last")(raises_shared)
        error = error_of(ask, backend=backend)
        assert error is shared
        assert error.__cause__ is None

    @BACKENDS
    def test_there_is_exactly_one_note(self, backend):
        """What was tried and who was not asked is one note, also after further calls."""
        shared = ConnectionError("down")

        async def raises_shared():
            raise shared

        manager = FallbackManager(
            [
                Target("a", raises_shared, policies=retry(attempts=2, backoff=[1]),
                       scopes={"host": "h"}, classify=lambda error: Fault(True, scope="host")),
                Target("b", fails, scopes={"host": "h"}),
            ]
        )  # fmt: skip
        for _ in range(2):
            assert error_of(manager.run, backend=backend) is shared
            (note,) = shared.__notes__
            assert note == (
                "resilient: gave up after 2 attempts in 1.00 s (waits 1.00 s);"
                " b was not asked: its host is condemned"
            )

    @BACKENDS
    def test_a_refusal_of_every_target_is_a_rejection(self, backend):
        """Where every target refused, the call's outcome is `rejected`, and no attempt was made."""
        log = Log()

        class Refusing:
            """A policy that refuses, made by hand."""

            def __init__(self, after):
                self.after = after

            async def __call__(self):
                raise Rejected("full", policy="bulkhead", retry_after=self.after)

        manager = FallbackManager(
            [Target("a", Refusing(5)), Target("b", Refusing(3))], listeners=[log]
        )
        error = error_of(manager.run, backend=backend)
        assert [type(each) for each in error.exceptions] == [Rejected, Rejected]
        assert error.retry_after == 3
        assert log.events[-1].outcome == "rejected"
        assert manager.health()["a"].failed == 0
        assert manager.health()["a"].skipped == 1

    @BACKENDS
    @pytest.mark.parametrize("degrade", [None, value(7)], ids=["raised", "degraded"])
    def test_nothing_of_a_failed_call_stays_alive(self, backend, degrade):
        """With the collector off, errors and what their frames held are freed at once."""

        class Held:
            """What only the failing frame refers to."""

        alive = weakref.WeakSet()

        async def failing():
            held = Held()
            alive.add(held)
            raise E1

        manager = FallbackManager(
            [Target("a", failing), Target("b", failing, attempts=2)], degrade=degrade
        )
        single = fallback(to=[failing], raises="last")(failing)

        async def main():
            for call in (manager.run, single):
                with suppress(Exception):
                    await call()
            return len(alive)

        gc.collect()
        gc.disable()
        try:
            assert virtual_time(main, backend=backend) == 0
        finally:
            gc.enable()

    def test_no_error_and_no_traceback_is_kept(self):
        """A chain remembers names and numbers: no exception object is reachable from it."""
        manager = FallbackManager([Target("a", fails), Target("b", fails_too)], degrade=value(7))
        ask = fallback(to=[fails_too], degrade=value(7))(fails)
        virtual_time(manager.run)
        virtual_time(ask)
        seen, queue = set(), [manager._chain, ask._self_inside.compiled.chains[0]]
        while queue:
            thing = queue.pop()
            if id(thing) in seen or isinstance(thing, type | type(sys)) or callable(thing):
                continue
            seen.add(id(thing))
            assert not isinstance(thing, BaseException)
            queue += gc.get_referents(thing)


def raises_a_bug():
    """Fail as a program does that is wrong."""
    return None.missing


class TestBugs:
    @BACKENDS
    def test_a_bug_behind_a_fallback_is_said_once(self, backend, caplog):
        """Once for each target and class, with the file and the line where it was raised."""
        log = Log()

        async def buggy(kind):
            if kind == "type":
                raise TypeError("secret text")
            raises_a_bug()

        async def answers(kind):
            return 7

        manager = FallbackManager(
            [Target("a", buggy, attempts=2), Target("b", buggy), Target("c", answers)],
            listeners=[log],
        )

        async def main():
            for kind in ("type", "type", "attribute", "type"):
                await manager.run(kind)

        virtual_time(main, backend=backend)
        told = [event for event in log.events if isinstance(event, BugServed)]
        assert [(event.target, event.error_type) for event in told] == [
            ("a", "TypeError"),
            ("b", "TypeError"),
            ("a", "AttributeError"),
            ("b", "AttributeError"),
        ]
        assert {event.file for event in told} == {__file__}
        assert told[2].line == raises_a_bug.__code__.co_firstlineno + 2
        assert manager.health()["a"].bugs == 4
        assert manager.health()["c"].bugs == 0
        errors = [each for each in caplog.records if each.levelname == "ERROR"]
        assert len(errors) == 4
        assert all("test_fallback.py" in each.getMessage() for each in errors)
        assert "secret text" not in caplog.text

    def test_a_bug_that_surfaces_is_not_said_again(self):
        """Where nobody answers for it the error itself surfaces, and that is enough."""
        log = Log()

        async def buggy():
            raises_a_bug()

        ask = fallback(to=[buggy])(stack(listeners=[log])(buggy))
        assert isinstance(error_of(ask), AllTargetsFailed)
        told = [event for event in log.events if isinstance(event, BugServed)]
        assert [event.target for event in told] == [ask.__qualname__]

    def test_a_call_that_does_not_bind_has_no_line_of_ours(self):
        """An error in the arguments has no frame of the user's, and none of ours is shown."""
        log = Log()

        async def takes_nothing():
            """Take nothing."""

        manager = FallbackManager([Target("a", takes_nothing)], degrade=value(7), listeners=[log])
        virtual_time(partial(manager.run, "argument"))
        (told,) = [event for event in log.events if isinstance(event, BugServed)]
        assert (told.file, told.line) == ("unknown", 0)

    @BACKENDS
    @pytest.mark.parametrize(
        "bug", [TypeError, AttributeError, NameError, AssertionError, NotImplementedError]
    )
    def test_a_strict_chain_lets_bugs_surface(self, backend, bug):
        """With `on=not_a_bug` a bug ends the chain, and other errors move on as before."""
        log = Log()
        ask = fallback(to=[log.scripted(".")], degrade=value(7), on=not_a_bug)(
            log.scripted([Fail(bug), Fail(KeyError)])
        )
        assert type(error_of(ask, backend=backend)) is bug
        assert len(log.calls) == 1
        assert error_of(ask, backend=backend) is None
        assert len(log.calls) == 3


def test_a_timeout_around_everything_is_for_all_targets():
    """A limit outside of the fallback cuts whoever is being asked."""
    runs = Tester(timeout(5), lambda other: fallback(to=[other])).run([Fail(E1, 3)], "~")
    runs.asserts(tries=2, calls=2, error=TimedOut, elapsed=5, calls_at=[0, 3])
