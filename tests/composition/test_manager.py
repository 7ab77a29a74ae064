"""`FallbackManager`: targets and their options, time, routes, scopes, what a chain remembers."""

from __future__ import annotations

import dataclasses
import threading
from functools import partial

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Fault,
    Skipped,
    Target,
    TimedOut,
    Unacceptable,
    explain,
    retry,
    stack,
    timeout,
    value,
)
from resilient._runtime.clock import now
from resilient.events import FellBack, TargetSkipped
from resilient.note import ModelConfig, call_with_fallback
from resilient.testing import Bad, Fail, Hang, Log, Ok, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Down(Exception):
    """Something is broken."""


class Filtered(Exception):
    """An answer that was not given."""


def fails(**fault):
    """Return the options of a target whose every error is this fault."""
    return {"classify": lambda error: Fault(**({"retryable": False} | fault))}


def failing(manager, *args, backend="asyncio"):
    """Run a manager that fails and return the error."""

    async def main():
        try:
            await manager.run(*args)
        except Exception as error:
            return error

    return virtual_time(main, backend=backend, check_leftovers=True)


def asked(log):
    """Return the names of the targets that were called, in order."""
    return [call.target for call in log.calls]


def skipped(outcome):
    """Return what was skipped, as (name, reason, scope, seconds)."""
    return [(skip.target, skip.reason, skip.scope, skip.retry_after) for skip in outcome.skipped]


class TestTargets:
    @BACKENDS
    def test_a_lower_priority_is_asked_first(self, backend):
        """Targets are asked by priority, and equal ones in the order in which they stand."""
        log = Log()
        priorities = {"a": 2, "b": 1, "c": 2, "d": 0.5, "e": -1}
        manager = FallbackManager(
            [
                Target(name, log.scripted("x", name), priority=priority)
                for name, priority in priorities.items()
            ]
        )
        failing(manager, backend=backend)
        assert asked(log) == ["e", "d", "b", "a", "c"]
        assert [target.name for target in manager.targets] == asked(log)

    @BACKENDS
    def test_a_timeout_is_for_each_attempt(self, backend):
        """`timeout=` and `attempts=` are a retry around a timeout."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted("~ ~", "a"), timeout=8, attempts=2),
                Target("b", log.scripted("~", "b"), timeout=3),
            ]
        )
        error = failing(manager, backend=backend)
        assert asked(log) == ["a", "a", "b"]
        assert [(each.after, each.limit) for each in error.exceptions] == [
            (8, "attempt"),
            (3, "attempt"),
        ]

    def test_timeout_and_attempts_are_the_same_as_policies(self):
        """A target says the same in either spelling."""
        short = Target("a", Log().scripted("."), timeout=8, attempts=2)
        long = Target("a", short.call, policies=stack(retry(attempts=2), timeout(8)))
        assert short.policies == long.policies
        assert short.bound == long.bound

    @BACKENDS
    def test_a_guarded_callable_keeps_its_policies(self, backend):
        """The policies of a target stand around those of its function."""
        log = Log()
        call = retry(attempts=2, backoff=[0])(log.scripted("x*", "a"))
        manager = FallbackManager([Target("a", call, attempts=3, timeout=9)])
        assert manager.bound.calls == 6
        failing(manager, backend=backend)
        assert len(log.calls) == 6

    @BACKENDS
    def test_plain_functions_are_targets_by_their_name(self, backend):
        """An async function in the list is a target, `#2` on a repeat."""
        log = Log()
        manager = FallbackManager([log.scripted("x", "ask"), log.scripted(".", "ask")])
        outcome = virtual_time(manager.run, backend=backend)
        assert [target.name for target in manager.targets] == ["ask", "ask#2"]
        assert outcome.target == "ask#2"

    @BACKENDS
    def test_a_target_that_is_switched_off_is_not_asked(self, backend):
        """`enabled=` is a bool, or a function that is asked once before each call."""
        log, questions = Log(), []

        def enabled():
            questions.append(1)
            return len(questions) > 1

        manager = FallbackManager(
            [
                Target("a", log.scripted("..", "a"), enabled=False),
                Target("b", log.scripted("x", "b")),
                Target("c", log.scripted(".", "c"), enabled=enabled),
                Target("d", log.scripted("..", "d")),
            ]
        )

        async def main():
            return [await manager.run(), len(questions), await manager.run(), len(questions)]

        first, once, second, twice = virtual_time(main, backend=backend)
        assert (first.target, once) == ("d", 1)
        assert skipped(first) == [("a", "disabled", None, None), ("c", "disabled", None, None)]
        assert (second.target, twice) == ("b", 1)

    def test_an_error_of_enabled_is_the_error_of_the_call(self):
        """A function that decides may fail the call with its own error."""

        def enabled():
            raise LookupError("no such flag")

        manager = FallbackManager([Target("a", Log().scripted("."), enabled=enabled)])
        assert isinstance(failing(manager), LookupError)

    def test_a_target_is_frozen(self):
        """A target cannot be changed, its scopes included, and equal ones are equal."""
        call = Log().scripted(".")
        scopes = {"host": "h"}
        target = Target("a", call, scopes=scopes)
        with pytest.raises(dataclasses.FrozenInstanceError):
            target.name = "b"
        with pytest.raises(TypeError):
            target.scopes["host"] = "other"
        scopes["host"] = "other"
        assert target.scopes == {"host": "h"}
        assert target == Target("a", call, scopes={"host": "h"})
        assert hash(target) == hash(Target("a", call, scopes={"host": "h"}))

    @BACKENDS
    def test_the_arguments_of_run_are_those_of_the_target(self, backend):
        """Each target gets the caller's own arguments, keywords included."""
        seen = []

        async def ask(*args, **kwargs):
            seen.append((args, kwargs))
            if len(seen) == 1:
                raise Down

        manager = FallbackManager([Target("a", ask), Target("b", ask)])
        virtual_time(partial(manager.run, 1, self=2, name="n"), backend=backend)
        assert seen == [((1,), {"self": 2, "name": "n"})] * 2


class TestTime:
    @BACKENDS
    def test_the_chain_ends_at_its_deadline(self, backend):
        """The running attempt ends as `TimedOut` of the total, later targets are skipped."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(Down, 5)], "a")),
                Target("b", log.scripted("~", "b")),
                Target("c", log.scripted(".", "c")),
            ],
            deadline=8,
            reserve=0,
        )
        error = failing(manager, backend=backend)
        assert asked(log) == ["a", "b"]
        assert [type(each) for each in error.exceptions] == [Down, TimedOut, Skipped]
        assert (error.exceptions[1].limit, error.exceptions[1].after) == ("total", 3)
        assert error.exceptions[2].reason == "deadline"
        assert log.calls[1].ended == 8

    @BACKENDS
    def test_a_reserve_is_kept_for_each_later_target(self, backend):
        """Of 20 s with a reserve of 4 s each, three targets that hang have 12, 4 and 4 s."""
        log = Log()
        manager = FallbackManager(
            [Target(name, log.scripted("~", name)) for name in "abc"], deadline=20, reserve=4
        )
        failing(manager, backend=backend)
        assert [call.started for call in log.calls] == [0, 12, 16]
        assert log.calls[-1].ended == 20

    @BACKENDS
    def test_a_target_with_a_short_timeout_needs_no_more(self, backend):
        """By default a later target keeps what its own timeout says, at most its share."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted("~", "a")),
                Target("b", log.scripted("~", "b"), timeout=2),
                Target("c", log.scripted("~", "c"), timeout=50),
            ],
            deadline=30,
        )
        failing(manager, backend=backend)
        assert [call.started for call in log.calls] == [0, 18, 20]
        assert log.calls[-1].ended == 30

    @BACKENDS
    def test_nothing_is_kept_for_a_target_that_is_switched_off(self, backend):
        """A target that will not be asked keeps no share of the deadline."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted("~", "a")),
                Target("b", log.scripted("~", "b"), enabled=False),
            ],
            deadline=10,
        )
        error = failing(manager, backend=backend)
        assert isinstance(error, TimedOut)
        assert log.calls[0].ended == 10

    @BACKENDS
    def test_a_retry_does_not_wait_past_its_share(self, backend):
        """A wait that would reach what is kept for the others is not begun."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted("x*", "a"), policies=retry(attempts=5, backoff=[2.5])),
                Target("b", log.scripted(".", "b")),
            ],
            deadline=6,
            reserve=3,
        )
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert asked(log) == ["a", "a", "b"]
        assert outcome.elapsed == 2.5

    @BACKENDS
    def test_a_caller_s_own_limit_is_seen(self, backend):
        """An outer timeout that is shorter ends the chain as the caller's."""
        log = Log()
        manager = FallbackManager(
            [Target("a", log.scripted("~", "a")), Target("b", log.scripted("."))]
        )
        with pytest.raises(TimedOut) as caught:
            virtual_time(timeout(4)(manager.run), backend=backend, check_leftovers=True)
        assert caught.value.after == 4
        assert asked(log) == ["a"]


class TestSwitching:
    @BACKENDS
    def test_a_long_wait_is_not_taken_while_another_target_is_free(self, backend):
        """A hint above `switch_after` moves on at once, and the target rests until then."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(ConnectionError, hint=10)], "a"), attempts=3),
                Target("b", log.scripted("..", "b")),
            ]
        )

        async def main():
            first = await manager.run()
            await anyio.sleep(9)
            second = await manager.run()
            await anyio.sleep(1)
            third = await manager.run()
            return first, second, third

        first, second, third = virtual_time(main, backend=backend, check_leftovers=True)
        assert (first.target, first.elapsed) == ("b", 0)
        assert skipped(second) == [("a", "cooldown", None, 1)]
        assert third.target == "a"
        assert asked(log) == ["a", "b", "b", "a"]

    @BACKENDS
    def test_a_short_wait_is_taken(self, backend):
        """A hint of at most `switch_after` is waited for, and the target does not rest."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(ConnectionError, hint=3)], "a"), attempts=2),
                Target("b", log.scripted(".", "b")),
            ]
        )
        outcome = virtual_time(manager.run, backend=backend)
        assert (outcome.target, outcome.elapsed, len(log.calls)) == ("a", 3, 2)

    @BACKENDS
    @pytest.mark.parametrize(
        "options",
        [
            {"routes": {ConnectionError: []}},
            {"on": TimeoutError},
            {"switch_after": 20},
        ],
        ids=["routed to nobody", "not covered", "patient"],
    )
    def test_a_long_wait_is_taken_where_nobody_else_would_be_asked(self, backend, options):
        """With no other target for this error, the retry waits as it would alone."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(ConnectionError, hint=10)], "a"), attempts=2),
                Target("b", log.scripted(".", "b")),
            ],
            **options,
        )
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert (outcome.target, outcome.elapsed) == ("a", 10)

    @BACKENDS
    def test_the_last_target_waits(self, backend):
        """Nobody is left after the last target, so its retry waits."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted("x", "a")),
                Target("b", log.scripted([Fail(ConnectionError, hint=10)], "b"), attempts=2),
            ]
        )
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert (outcome.target, outcome.elapsed) == ("b", 10)

    @BACKENDS
    def test_a_later_target_that_rests_is_nobody(self, backend):
        """While the only other target rests, the retry waits as if it were alone."""
        log = Log()
        script = [Fail(Down), Fail(ConnectionError, hint=10), Ok()]
        manager = FallbackManager(
            [
                Target("a", log.scripted(script, "a"), attempts=2),
                Target(
                    "b", log.scripted([Fail(Down)], "b"), **fails(retry_after=99, health="cooldown")
                ),
            ],
        )

        async def main():
            with pytest.raises(AllTargetsFailed):
                await manager.run()
            return await manager.run()

        outcome = virtual_time(main, backend=backend, check_leftovers=True)
        assert (outcome.target, outcome.elapsed) == ("a", 10)

    @BACKENDS
    def test_a_trip_shuts_the_scope_for_later_calls(self, backend):
        """A fault that trips its scope keeps every target with that key shut for `trip_for`."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(Down)], "a"), scopes={"credential": "A"},
                       **fails(scope="credential", health="trip")),
                Target("b", log.scripted("..", "b"), scopes={"credential": "A"}),
                Target("c", log.scripted("...", "c"), scopes={"credential": "C"}),
            ],
            trip_for=20,
        )  # fmt: skip

        async def main():
            first = await manager.run()
            await anyio.sleep(15)
            second = await manager.run()
            await anyio.sleep(5)
            return first, second, await manager.run()

        first, second, third = virtual_time(main, backend=backend, check_leftovers=True)
        assert skipped(first) == [("b", "scope_condemned", "credential", None)]
        assert skipped(second) == [
            ("a", "scope_condemned", "credential", 5),
            ("b", "scope_condemned", "credential", 5),
        ]
        assert third.target == "a"
        assert asked(log) == ["a", "c", "c", "a"]

    @BACKENDS
    def test_two_managers_share_nothing(self, backend):
        """What one manager has learned is its own."""
        log = Log()
        broken = Target("a", log.scripted("x.", "a"), **fails(retry_after=60, health="cooldown"))
        managers = [FallbackManager([broken, Target("b", log.scripted(".."))]) for _ in range(2)]

        async def main():
            return [(await manager.run()).target for manager in managers]

        assert virtual_time(main, backend=backend) == ["b", "a"]

    def test_threads_and_loops_share_what_a_manager_has_learned(self):
        """Counts are exact and a cool-down holds across event loops in threads."""
        calls, threads = 50, 4
        down = threading.Event()

        async def first():
            if down.is_set():
                raise Down
            return 1

        async def second():
            return 2

        manager = FallbackManager(
            [Target("a", first, **fails(retry_after=1000, health="cooldown")), Target("b", second)]
        )

        def work():
            async def main():
                for _ in range(calls):
                    await manager.run()

            anyio.run(main)

        def everywhere():
            workers = [threading.Thread(target=work) for _ in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

        everywhere()
        down.set()
        everywhere()

        health = manager.health()
        assert health["a"].answered == calls * threads
        assert health["b"].answered == calls * threads
        assert 1 <= health["a"].failed <= threads
        assert health["a"].failed + health["a"].skipped == calls * threads
        assert 900 < health["a"].blocked_for <= 1000


class TestRoutes:
    @BACKENDS
    def test_an_error_is_sent_to_its_targets(self, backend):
        """Only the named targets follow, to the end of the chain."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(Filtered)], "a")),
                Target("b", log.scripted(".", "b")),
                Target("c", log.scripted("x", "c")),
                Target("d", log.scripted(".", "d")),
                Target("e", log.scripted(".", "e")),
            ],
            routes={Filtered: ["c", "e"]},
        )
        outcome = virtual_time(manager.run, backend=backend)
        assert asked(log) == ["a", "c", "e"]
        assert skipped(outcome) == [
            ("b", "routed_away", None, None),
            ("d", "routed_away", None, None),
        ]

    @BACKENDS
    def test_an_error_that_is_sent_to_nobody_surfaces_itself(self, backend):
        """With an empty route nobody is asked, and the error is raised with one note."""
        log = Log()
        manager = FallbackManager(
            [Target("a", log.scripted([Fail(Filtered)])), Target("b", log.scripted("."))],
            routes={Filtered: []},
        )
        error = failing(manager, backend=backend)
        assert error is log.calls[0].error
        (note,) = error.__notes__
        assert note.startswith("resilient: b was not asked: ")

    @BACKENDS
    def test_an_empty_route_is_degraded_all_the_same(self, backend):
        """A route chooses among targets; the last resort is for whoever nobody answered."""
        manager = FallbackManager(
            [Target("a", Log().scripted([Fail(Filtered)])), Target("b", Log().scripted("."))],
            routes={Filtered: []},
            degrade=value(7),
        )
        assert virtual_time(manager.run, backend=backend).value == 7

    @BACKENDS
    def test_an_error_that_on_does_not_cover_ends_the_chain(self, backend):
        """It surfaces itself, nobody else is asked, and nothing is degraded."""
        log = Log()
        manager = FallbackManager(
            [Target("a", log.scripted([Fail(Down)])), Target("b", log.scripted("."))],
            on=(ConnectionError, TimeoutError),
            degrade=value(7),
        )
        error = failing(manager, backend=backend)
        assert error is log.calls[0].error
        assert len(log.calls) == 1

    def test_an_error_of_the_predicate_is_the_error_of_the_call(self):
        """A predicate that fails is no failure of the target: nobody hides it."""

        def on(error):
            raise LookupError("predicate")

        manager = FallbackManager(
            [Target("a", Log().scripted("x")), Target("b", Log().scripted("."))],
            on=on,
            degrade=value(7),
        )
        error = failing(manager)
        assert isinstance(error, LookupError)
        assert isinstance(error.__context__, ConnectionError)


class TestResults:
    @BACKENDS
    def test_a_bad_answer_is_a_failure(self, backend):
        """A value that `on_result` rejects moves on, and its resource is closed."""
        closed = []

        class Response:
            text = ""

            async def aclose(self):
                closed.append(self)

        bad = Response()
        log = Log()
        manager = FallbackManager(
            [Target("a", log.scripted([Bad(bad)])), Target("b", log.scripted([Ok("good")]))],
            on_result=lambda answer: answer is bad,
        )
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert (outcome.value, outcome.target) == ("good", "b")
        assert outcome.attempts[0].error == "unacceptable_result"
        assert outcome.attempts[0].verdict == "failure"
        assert closed == [bad]

    @BACKENDS
    def test_a_bad_answer_of_the_last_target_is_an_error_that_has_it(self, backend):
        """Nobody else answers: `Unacceptable` holds the value, open, and shows it nowhere."""
        closed = []

        class Response:
            def close(self):
                closed.append(self)

            def __repr__(self):
                return "secret"

        response = Response()
        manager = FallbackManager(
            [Target("a", Log().scripted([Bad(response)]))], on_result=lambda answer: True
        )
        error = failing(manager, backend=backend)
        assert type(error) is Unacceptable
        assert error.result is response
        assert closed == []
        assert "secret" not in f"{error} {error!r}"

    @BACKENDS
    def test_a_bad_answer_that_is_degraded_is_closed(self, backend):
        """Nobody will see it, so it is closed before the last resort answers."""
        closed = []

        class Response:
            def close(self):
                closed.append(self)

        manager = FallbackManager(
            [Target("a", Log().scripted([Bad(Response())]))],
            on_result=lambda answer: isinstance(answer, Response),
            degrade=value(7),
        )
        assert virtual_time(manager.run, backend=backend).value == 7
        assert len(closed) == 1

    @BACKENDS
    def test_a_predicate_that_fails_is_the_error_of_the_call(self, backend):
        """An error of `on_result` is no failure of the target: nobody hides it."""

        def on_result(answer):
            return answer["text"] == ""

        log = Log()
        manager = FallbackManager(
            [Target("a", log.scripted([Ok({})])), Target("b", log.scripted("."))],
            on_result=on_result,
            degrade=value(7),
        )
        assert isinstance(failing(manager, backend=backend), KeyError)
        assert len(log.calls) == 1


class TestRunning:
    @BACKENDS
    def test_run_with_gives_the_name_to_the_caller_s_function(self, backend):
        """Targets without a callable are asked by `call(name, *args, **kwargs)`."""
        seen = []

        async def call(name, question, *, temperature):
            seen.append((name, question, temperature))
            if name == "large":
                raise Down
            return name.upper()

        manager = FallbackManager([Target("large"), Target("small", timeout=3)])
        outcome = virtual_time(
            partial(manager.run_with, call, "why?", temperature=0), backend=backend
        )
        assert seen == [("large", "why?", 0), ("small", "why?", 0)]
        assert (outcome.value, outcome.target) == ("SMALL", "small")

    @BACKENDS
    def test_run_with_awaits_what_a_plain_function_returns(self, backend):
        """A plain function that returns an awaitable is awaited, anything else is a TypeError."""

        async def answer(name):
            return name

        def hand_on(name):
            return answer(name)

        manager = FallbackManager([Target("a"), Target("b")], degrade=value(7))
        outcome = virtual_time(partial(manager.run_with, hand_on), backend=backend)
        assert outcome.value == "a"
        with pytest.raises(TypeError, match="returned str, which cannot be awaited"):
            virtual_time(partial(manager.run_with, lambda name: name), backend=backend)

    def test_the_way_of_running_must_fit_the_targets(self):
        """`run` needs targets with callables, `run_with` targets without."""
        named = FallbackManager([Target("a")])
        callable_ = FallbackManager([Target("a", Log().scripted("."))])
        with pytest.raises(TypeError, match=r"have no callable: use run_with"):
            virtual_time(named.run)
        with pytest.raises(TypeError, match=r"callables of their own: use run\("):
            virtual_time(partial(callable_.run_with, Log().scripted(".")))
        with pytest.raises(TypeError, match="takes an async function, not an instance of int"):
            virtual_time(partial(named.run_with, 3))

    @BACKENDS
    def test_the_shape_of_the_design_note(self, backend):
        """`call_with_fallback` gives result, model, and whether it was a fallback."""

        async def call(model, data):
            if model in data:
                raise Down
            return f"{model} answers"

        manager = FallbackManager(
            [
                ModelConfig("b", timeout=30, retry_count=2, priority=2),
                ModelConfig("a", timeout=30, priority=1),
            ],
            degrade=value("nobody answers"),
        )

        async def main():
            ask = partial(manager.call_with_fallback, call)
            return [await ask([]), await ask(["a"]), await ask(["a", "b"])]

        assert virtual_time(main, backend=backend) == [
            {"result": "a answers", "model": "a", "fallback": False},
            {"result": "b answers", "model": "b", "fallback": True},
            {"result": "nobody answers", "model": None, "fallback": True},
        ]
        models = [ModelConfig("a", timeout=30)]
        result = virtual_time(call_with_fallback, models, call, [], backend=backend)
        assert result == {"result": "a answers", "model": "a", "fallback": False}

    def test_retry_count_is_the_number_of_attempts(self):
        """As in the design note, `retry_count` counts attempts."""
        assert ModelConfig("a", timeout=30, retry_count=1).bound.calls == 1
        assert ModelConfig("a", timeout=30, retry_count=2).bound.calls == 2
        with pytest.raises(ValueError, match="attempts"):
            ModelConfig("a", timeout=30, retry_count=0)

    @BACKENDS
    def test_an_outcome_says_how_it_came_about(self, backend):
        """Value, target, attempts, skips and time, and none of it can be changed."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(ConnectionError, 1)] * 2, "a"), policies=retry(
                    attempts=2, backoff=[0.5])),
                Target("b", log.scripted("."), enabled=False),
                Target("c", log.scripted([Ok("answer", 2)], "c")),
            ]
        )  # fmt: skip
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert (outcome.value, outcome.target, outcome.elapsed) == ("answer", "c", 4.5)
        assert [
            (a.number, a.on_target, a.target, a.kind, a.started, a.duration, a.error, a.wait)
            for a in outcome.attempts
        ] == [
            (1, 1, "a", "initial", 0, 1, "ConnectionError", 0.5),
            (2, 2, "a", "retry", 1.5, 1, "ConnectionError", None),
            (3, 1, "c", "fallback", 2.5, 2, None, None),
        ]
        for thing in (outcome, outcome.attempts[0], outcome.skipped[0]):
            with pytest.raises(dataclasses.FrozenInstanceError):
                thing.target = "other"
        assert isinstance(outcome.attempts, tuple)
        assert "answer" not in repr(outcome)

    @BACKENDS
    def test_concurrent_calls_do_not_mix(self, backend):
        """A hundred calls at once each have their own attempts, skips and answer."""

        async def first(number):
            await anyio.sleep(number % 7)
            if number % 3 == 0:
                raise Down
            return number

        async def second(number):
            await anyio.sleep(number % 5)
            return -number

        manager = FallbackManager([Target("a", first), Target("b", second)])

        async def main():
            outcomes = {}

            async def call(number):
                outcomes[number] = await manager.run(number)

            async with anyio.create_task_group() as group:
                for number in range(1, 101):
                    group.start_soon(call, number)
            return outcomes

        outcomes = virtual_time(main, backend=backend, check_leftovers=True)
        for number, outcome in outcomes.items():
            fell_back = number % 3 == 0
            assert outcome.value == (-number if fell_back else number)
            assert len(outcome.attempts) == 1 + fell_back
            assert outcome.elapsed == number % 7 + fell_back * (number % 5)

    @BACKENDS
    def test_listeners_are_told(self, backend):
        """A listener of the manager hears of each skip and each step."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted("x"), scopes={"host": "h"}, **fails(scope="host")),
                Target("b", log.scripted("."), scopes={"host": "h"}),
                Target("c", log.scripted(".")),
            ],
            listeners=[log],
        )
        virtual_time(manager.run, backend=backend)
        (moved,) = [event for event in log.events if isinstance(event, FellBack)]
        assert (moved.from_target, moved.to_target) == ("a", "c")
        (skip,) = [event for event in log.events if isinstance(event, TargetSkipped)]
        assert (skip.target, skip.target_index, skip.reason, skip.scope) == (
            "b",
            1,
            "scope_condemned",
            "host",
        )


class TestHealth:
    @BACKENDS
    def test_it_counts_what_became_of_each_target(self, backend):
        """Answers, failures, skips, the last error and how long a target still rests."""
        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted([Fail(Down)], "a"), **fails(
                    retry_after=10, health="cooldown")),
                Target("b", log.scripted("x..", "b")),
            ],
            degrade=value(7),
        )  # fmt: skip

        async def main():
            for _ in range(2):
                await manager.run()
            await anyio.sleep(4)
            resting = manager.health()
            await anyio.sleep(6)
            await manager.run()
            return resting, manager.health()

        resting, health = virtual_time(main, backend=backend)
        a, b = resting["a"], resting["b"]
        assert (a.answered, a.failed, a.skipped, a.blocked_for) == (0, 1, 1, 6)
        assert a.last_error == f"{Down.__module__}.Down"
        assert (b.answered, b.failed, b.skipped, b.blocked_for) == (1, 1, 0, 0)
        assert b.last_error == "ConnectionError"
        assert (health["a"].answered, health["a"].blocked_for) == (1, 0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            a.answered = 3

    def test_it_can_be_read_outside_of_a_loop(self):
        """Health is read by whoever asks, in whatever thread."""
        manager = FallbackManager([Target("a"), Target("b")])
        health = manager.health()
        assert list(health) == ["a", "b"]
        assert health["a"].last_error is None
        assert health["a"].blocked_for == 0


class TestExplaining:
    def test_it_says_what_it_asks(self):
        """`explain` of a manager is a table of its targets, and the worst case."""
        manager = FallbackManager(
            [
                Target("large", Log().scripted("."), timeout=8, attempts=2),
                Target("small", Log().scripted(".")),
            ],
            deadline=60,
            degrade=value("sorry"),
            name="chat",
        )
        assert explain(manager).splitlines()[0] == "chat: 2 targets, in this order"
        assert explain(manager) == manager.explain()
        assert repr(manager) == "<FallbackManager chat: large, small>"

    def test_the_bound_is_the_sum_and_the_deadline(self):
        """Calls add up over the targets, and the deadline is for all of them."""
        manager = FallbackManager(
            [
                Target("a", Log().scripted("."), timeout=8, attempts=2),
                Target("b", Log().scripted("."), timeout=3),
            ]
        )
        assert manager.bound.calls == 3
        assert manager.bound.seconds == 2 * 8 + 60 + 3
        with_deadline = FallbackManager(manager.targets, deadline=20)
        assert (with_deadline.bound.calls, with_deadline.bound.seconds) == (3, 20)


@BACKENDS
def test_hanging_targets_end_in_time(backend):
    """Whatever hangs, a chain with a deadline is over at its deadline."""
    manager = FallbackManager(
        [Target(name, Log().scripted([Hang()]), timeout=7, attempts=3) for name in "abcd"],
        deadline=10,
    )

    async def main():
        with pytest.raises(AllTargetsFailed):
            await manager.run()
        return now()

    assert virtual_time(main, backend=backend, check_leftovers=True) == pytest.approx(10)
