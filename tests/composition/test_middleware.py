"""`middleware`: a user's own coroutine function as a policy like any other."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import warnings
import weakref
from contextlib import suppress
from math import inf

import anyio
import anyio.lowlevel
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    PolicyOrderWarning,
    Target,
    TimedOut,
    current_call,
    explain,
    fallback,
    manager_of,
    middleware,
    pipeline_of,
    retry,
    stack,
    timeout,
    value,
)
from resilient._core.bound import Bound
from resilient._runtime.clock import now
from resilient.events import AttemptEnded, CallEnded
from resilient.testing import Bad, Fail, Log, Tester, capture_spans, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class E1(Exception):
    """A failure that no policy acts on unless it is told to."""


@middleware
async def tag(call, proceed):
    """Pass everything on."""
    return await proceed()


@middleware(calls=2)
async def twice(call, proceed):
    """Ask a second time where the first failed."""
    try:
        return await proceed()
    except Exception:
        return await proceed()


@middleware(calls=2)
async def second(call, proceed):
    """Ask twice, and return the second answer."""
    await proceed()
    return await proceed()


@middleware
async def sorry(call, proceed):
    """Answer where the target does not."""
    try:
        return await proceed()
    except Exception:
        return "sorry"


async def ask(question):
    return question.upper()


def ends(run):
    """Return what was said of each attempt."""
    return [
        (event.number, event.verdict, event.disposition)
        for event in run.events
        if isinstance(event, AttemptEnded)
    ]


class TestAsAPolicy:
    def test_decorators_and_a_stack_are_the_same(self):
        """Between two policies it is one of them, in either spelling and on either backend."""
        runs = Tester(timeout(30), tag, retry(attempts=3, backoff=[1]), timeout(8)).run("x ~ .1")
        runs.asserts(tries=3, calls=3, from_call=3, elapsed=11, waits=[1, 1])

    def test_it_flattens_into_the_one_guard(self):
        """Decorators above and below it stand around one pipeline."""
        guarded = timeout(30)(tag(retry()(ask)))
        kinds = [policy.kind for policy in pipeline_of(guarded).policies]
        assert kinds == ["timeout", "middleware", "retry"]
        assert guarded.__wrapped__.__wrapped__ is ask

    def test_explain_names_it_and_what_it_may_do(self):
        """A line each: its name, how often it may ask, and that it sees arguments."""

        @middleware(calls=3, expose_args=True)
        async def sees(call, proceed, question):
            return await proceed()

        name = "TestAsAPolicy.test_explain_names_it_and_what_it_may_do.<locals>.sees"
        assert explain(stack(tag, sees, timeout(8))(ask)).splitlines() == [
            "ask: 3 policies, outermost first",
            "  middleware        tag",
            f"  middleware        {name}, which may run what is inside 3 times; sees the arguments",
            "  timeout           8 s per attempt",
            "  bound             at most 3 calls and no limit of time",
        ]

    @pytest.mark.parametrize(
        ("policy", "bound"),
        [
            (stack(tag, timeout(8)), Bound(1, inf)),
            (stack(timeout(8), tag), Bound(1, 8)),
            (stack(timeout(8), twice), Bound(2, 8)),
            (stack(timeout(60), retry(attempts=3), twice, timeout(8)), Bound(6, 60)),
            (stack(timeout(60), twice, retry(attempts=3)), Bound(6, 60)),
            (stack(middleware(calls=10**400)(tag.policies[0].handler)), Bound(inf, inf)),
        ],
    )
    def test_the_bound_multiplies_the_calls(self, policy, bound):
        """Calls multiply by `calls=`; how long the middleware itself takes nobody knows."""
        assert policy.bound == bound
        assert explain(policy)

    def test_a_limit_around_two_runs_is_a_total(self):
        """A timeout is for everything inside where a middleware may ask twice, else per attempt."""
        for inner, limit in ((tag, "attempt"), (twice, "total")):
            (run, *_) = Tester(timeout(1), inner).run("~", ways=["stack"])
            assert (type(run.error), run.error.limit) == (TimedOut, limit)

    def test_a_retry_around_it_sees_its_error(self):
        """What it raises is tried again, or not, like any error; the attempt failed with it."""

        @middleware
        async def raises(call, proceed):
            await proceed()
            if call.attempt < 3:
                raise E1

        (run, *_) = (
            Tester(retry(attempts=4, on=E1, backoff=[1]), raises)
            .run("...")
            .asserts(tries=3, calls=3, elapsed=2)
        )
        assert ends(run) == [
            (1, "failure", "retried"),
            (2, "failure", "retried"),
            (3, "success", "returned"),
        ]
        Tester(retry(attempts=4, backoff=[1]), raises).run("...").asserts(
            tries=1, calls=1, error=E1, elapsed=0
        )

    @BACKENDS
    def test_a_fallback_around_it_moves_on(self, backend):
        """What it raises is the failure of its target."""

        @middleware
        async def refuses(call, proceed):
            raise E1

        log = Log()
        manager = FallbackManager(
            [
                Target("a", log.scripted(".", "a"), policies=refuses),
                Target("b", log.scripted(".", "b"), policies=stack(tag, timeout(3))),
            ]
        )
        outcome = virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert (outcome.target, outcome.fallback_used) == ("b", True)
        assert [call.target for call in log.calls] == ["b"]
        assert manager.health()["a"].last_error.endswith("E1")

    def test_an_error_without_an_attempt_is_a_try(self):
        """A middleware that fails before it asks is tried again, and no attempt began."""
        failed = []

        def failing():
            @middleware
            async def fails_once(call, proceed):
                if len(failed) % 2 == 0:
                    failed.append(call.attempt)
                    raise E1
                failed.append(call.attempt)
                return await proceed()

            return fails_once

        Tester(retry(on=E1, backoff=[1]), failing).run(".").asserts(
            tries=2, calls=1, from_call=1, elapsed=1
        )
        assert set(failed) == {0}

    @BACKENDS
    def test_call_is_the_current_call(self, backend):
        """It sees the name, the attempts so far and the time left, and no arguments."""
        seen = []

        @middleware
        async def sees(call, proceed):
            assert call is current_call()
            seen.append((call.name, call.attempt, call.remaining(), call.now()))
            try:
                return await proceed()
            finally:
                seen.append((call.name, call.attempt, call.remaining(), call.now()))

        async def slow(question):
            await anyio.sleep(1)
            return current_call()

        call = virtual_time(stack(timeout(30), sees, name="llm").call, slow, "q", backend=backend)
        assert seen == [("llm", 0, 30, 0), ("llm", 1, 29, 1)]
        assert not hasattr(call, "args")
        assert "q" not in repr(call)

    @BACKENDS
    def test_what_is_inside_begins_when_it_is_asked(self, backend):
        """A limit and a retry inside count from `proceed()`, not from the call."""

        @middleware
        async def waits(call, proceed):
            await anyio.sleep(5)
            return await proceed()

        async def slow():
            await anyio.sleep(2)
            return now()

        assert virtual_time(stack(waits, timeout(3)).call, slow, backend=backend) == 7
        runs = Tester(waits, retry(attempts=None, max_elapsed=3, backoff=[1])).run("x1 .1")
        runs.asserts(tries=2, calls=2, elapsed=8)

    @BACKENDS
    def test_it_stands_around_every_kind_of_callable(self, backend):
        """Methods, static and class methods in either order, partials and objects."""

        class Service:
            @tag
            async def method(self):
                return self

            @staticmethod
            @tag
            async def static_below(it):
                return it

            @tag
            @classmethod
            async def class_above(cls, it):
                return it

            async def __call__(self):
                return self

        service = Service()

        async def main():
            return [
                await service.method(),
                await service.static_below(service),
                await Service.class_above(service),
                await tag(service)(),
                await tag(functools.partial(Service.static_below, service))(),
                await tag.call(service.method),
            ]

        assert virtual_time(main, backend=backend, check_leftovers=True) == [service] * 6

    @BACKENDS
    def test_any_kind_of_coroutine_function_is_a_middleware(self, backend):
        """A bound method, a partial and an object with an async `__call__` are."""

        class Tags:
            async def method(self, call, proceed):
                return [self, await proceed()]

            async def __call__(self, call, proceed):
                return await self.method(call, proceed)

        async def partly(text, call, proceed):
            return [text, await proceed()]

        tags = Tags()
        policy = stack(
            middleware(tags.method), middleware(tags), middleware(functools.partial(partly, "p"))
        )
        answer = virtual_time(policy.call, ask, "q", backend=backend)
        assert answer == [tags, [tags, ["p", "Q"]]]
        told = [line.split()[1] for line in explain(policy).splitlines()[1:4]]
        assert told == [it.__qualname__ for it in (Tags.method, Tags, partly)]


class TestProceed:
    def test_a_second_run_counts_its_attempts_on(self):
        """Attempts are numbered over both runs, and each has one end."""
        (run, *_) = (
            Tester(twice, retry(attempts=2, backoff=[1]))
            .run("x x x .1")
            .asserts(tries=3, calls=4, from_call=4, elapsed=3, waits=[1, 1])
        )
        assert ends(run) == [
            (1, "failure", "retried"),
            (2, "failure", "retried"),
            (3, "failure", "retried"),
            (4, "success", "returned"),
        ]

    @pytest.mark.parametrize(
        ("policy", "script", "expected", "outcome"),
        [
            (tag, ".", [(1, "success", "returned")], "success"),
            (tag, "x", [(1, "failure", "raised")], "failure"),
            (sorry, "x", [(1, "failure", "fell_back")], "success"),
            (twice, "x.", [(1, "failure", "retried"), (2, "success", "returned")], "success"),
            (twice, "xx", [(1, "failure", "retried"), (2, "failure", "raised")], "failure"),
            (second, "..", [(1, "success", "returned"), (2, "success", "returned")], "success"),
            (second, ".x", [(1, "success", "returned"), (2, "failure", "raised")], "failure"),
            (
                stack(sorry, twice),
                "xx",
                [(1, "failure", "retried"), (2, "failure", "fell_back")],
                "success",
            ),
        ],
    )
    def test_each_attempt_has_one_end(self, policy, script, expected, outcome):
        """What is said of an attempt is what came of it, whoever made up for it."""
        for run in Tester(policy).run(script):
            assert ends(run) == expected
            assert run.events[-1].outcome == outcome

    def test_a_first_answer_that_is_kept_past_a_failure(self):
        """The failed attempt ends as made up for, and the answer is the target's."""

        @middleware(calls=2)
        async def compares(call, proceed):
            first = await proceed()
            with suppress(ConnectionError):
                await proceed()
            return first

        for run in Tester(compares).run(".x"):
            assert ends(run) == [(1, "success", "returned"), (2, "failure", "fell_back")]
            assert (run.origin, run.events[-1].target) == (1, "target")

    @pytest.mark.parametrize(("answers", "outcome"), [(True, "success"), (False, "failure")])
    def test_a_rejected_result_is_made_up_for_or_not(self, answers, outcome):
        """A value that `on_result` rejected inside is a failure, unless another is returned."""

        @middleware
        async def replaces(call, proceed):
            found = await proceed()
            return "fine" if answers else found

        policy = stack(replaces, retry(attempts=1, on_result=lambda it: it == "bad"))
        for run in Tester(policy).run([Bad("bad")]):
            assert run.events[-1].outcome == outcome
            assert ends(run) == [(1, "failure", "fell_back" if answers else "returned")]
            assert run.events[-1].target is None

    @pytest.mark.parametrize(
        ("policy", "calls", "text"),
        [
            (tag, 1, r"tag may call proceed\(\) once: write @middleware\(calls=2\)"),
            (twice, 2, r"twice may call proceed\(\) 2 times: write @middleware\(calls=3\)"),
        ],
    )
    @BACKENDS
    def test_one_too_many_is_a_runtime_error(self, backend, policy, calls, text):
        """Past `calls=` nothing is asked, and the error says what to write."""
        (part,) = policy.policies
        log = Log()

        async def asks(call, proceed):
            for _ in range(calls + 1):
                found = await proceed()
            return found

        asks.__qualname__ = part.handler.__qualname__
        guarded = middleware(calls=calls)(asks)(log.scripted("...."))
        with pytest.raises(RuntimeError, match=text):
            virtual_time(guarded, backend=backend, check_leftovers=True)
        assert len(log.calls) == calls

    @BACKENDS
    def test_an_answer_without_a_target(self, backend):
        """A middleware may answer without asking: nobody is named, and no fallback was used."""

        @middleware
        async def cached(call, proceed):
            return "cached"

        log = Log()
        policy = stack(fallback(to=[log.scripted(".", "b")]), cached, listeners=[log])
        outcome = virtual_time(policy.run, log.scripted("."), backend=backend)
        assert (outcome.value, outcome.target, outcome.attempts) == ("cached", None, ())
        assert not outcome.fallback_used
        assert log.calls == []
        (ended,) = [event for event in log.events if isinstance(event, CallEnded)]
        assert (ended.outcome, ended.attempts, ended.target) == ("success", 0, None)

    @BACKENDS
    def test_who_answered_is_known_past_it(self, backend):
        """With an answer of its own nobody is named; with a target's, changed or not, that one."""

        @middleware
        async def changes(call, proceed):
            return (await proceed()) * 2

        log = Log()
        other = log.scripted("x x .", "b")
        inner = fallback(to=[other])(log.scripted("x x x", "a"))

        async def main():
            own = await manager_of(sorry(inner)).run()
            failing = await manager_of(stack(twice, tag)(inner)).run()
            return own, failing

        own, failing = virtual_time(main, backend=backend)
        assert (own.value, own.target, own.fallback_used) == ("sorry", None, False)
        assert (failing.target, failing.fallback_used) == ("b", True)
        doubled = virtual_time(stack(changes).run, ask, "q", backend=backend)
        assert (doubled.value, doubled.target) == ("QQ", "ask")

    @BACKENDS
    def test_a_bad_answer_of_its_own_is_forgotten(self, backend):
        """When a fallback or a retry outside rejects its own answer, who answers later is named."""
        log = Log()

        @middleware
        async def bad_first(call, proceed):
            return await proceed() if call.attempt else "bad"

        policy = fallback(to=[log.scripted(".", "b")], on_result=lambda it: it == "bad")
        outcome = virtual_time(policy(bad_first(ask)), "q", backend=backend)
        found = virtual_time(
            manager_of(policy(bad_first(log.scripted(".", "a")))).run, backend=backend
        )
        assert outcome
        assert (found.target, found.fallback_used) == ("b", True)

    @pytest.mark.parametrize("asks", [True, False])
    def test_an_answer_that_a_retry_rejects_is_not_that_of_the_next_attempt(self, asks):
        """A bad answer of a middleware ends with its own attempt, or with none."""

        @middleware
        async def bad_first(call, proceed):
            if call.attempt > 1 or (not asks and now()):
                return await proceed()
            if asks:
                with suppress(ConnectionError):
                    await proceed()
            return "bad" if call.attempt < 2 else "good"

        policy = stack(retry(attempts=3, on_result=lambda it: it == "bad", backoff=[1]), bad_first)
        (run, *_) = (
            Tester(policy).run("x." if asks else ".").asserts(tries=2, calls=1 + asks, elapsed=1)
        )
        assert (run.events[-1].outcome, run.events[-1].target) == ("success", "target")
        assert ends(run)[-1][1:] == ("success", "returned")

    @BACKENDS
    def test_arguments_are_the_caller_s(self, backend):
        """Both runs get them as they were, and the middleware only if it asked for them."""
        seen = []

        @middleware(calls=2, expose_args=True)
        async def sees(call, proceed, question, /, *, size=1):
            seen.append((question, size))
            await proceed()
            return await proceed()

        async def asked(question, /, *, size=1):
            seen.append((question, size))

        virtual_time(lambda: stack(tag, sees).call(asked, "q", size=2), backend=backend)
        assert seen == [("q", 2)] * 3

        class Service:
            @sees
            async def method(self, *, size):
                seen.append((self, size))

        service = Service()
        virtual_time(lambda: service.method(size=3), backend=backend)
        assert seen[3:] == [(service, 3)] * 3

    @BACKENDS
    def test_a_call_that_its_parameters_refuse_is_an_error_of_the_call(self, backend):
        """With `expose_args` a wrong argument is a `TypeError`, as of the function itself."""

        @middleware(expose_args=True)
        async def sees(call, proceed, question):
            return await proceed()

        with pytest.raises(TypeError, match="sees"):
            virtual_time(lambda: sees.call(ask, "q", "too many"), backend=backend)


class TestWhoseProceedItIs:
    @BACKENDS
    @pytest.mark.parametrize("policy", [tag, twice])
    def test_not_after_the_middleware_has_ended(self, backend, policy):
        """A `proceed` that was kept refuses, whether the middleware returned or raised."""
        log, kept = Log(), []

        async def keeps(call, proceed):
            kept.append(proceed)
            return await proceed()

        guarded = middleware(calls=5)(keeps)(log.scripted(".x."))

        async def main():
            await guarded()
            with pytest.raises(ConnectionError):
                await guarded()
            for proceed in kept:
                with pytest.raises(RuntimeError, match="keeps was called after that had ended"):
                    await proceed()

        virtual_time(main, backend=backend, check_leftovers=True)
        assert len(log.calls) == 2
        assert repr(kept[0]).startswith("<proceed() of TestWhose")

    @BACKENDS
    def test_not_in_another_task(self, backend):
        """In a child task it refuses before anything is asked, and says where it belongs."""
        log = Log()

        @middleware(calls=2)
        async def hedges(call, proceed):
            async with anyio.create_task_group() as group:
                group.start_soon(proceed)

        guarded = hedges(log.scripted("."))

        async def main():
            with pytest.raises(ExceptionGroup) as caught:
                await guarded()
            return caught.value

        (error,) = virtual_time(main, backend=backend, check_leftovers=True).exceptions
        assert type(error) is RuntimeError
        assert "hedges was called in another task" in str(error)
        assert log.calls == []

    def test_not_in_a_task_that_asyncio_makes(self):
        """`gather` and `wait_for` on 3.11 run it in a task, and it says so."""
        log = Log()

        @middleware(calls=2)
        async def gathers(call, proceed):
            return await asyncio.gather(proceed(), proceed())

        with pytest.raises(RuntimeError, match="in another task"):
            virtual_time(gathers(log.scripted("..")), check_leftovers=True)
        assert log.calls == []

    @BACKENDS
    def test_not_while_it_runs(self, backend):
        """What is inside can not run itself."""
        kept = []

        async def keeps(call, proceed):
            kept.append(proceed)
            return await proceed()

        async def recurses():
            return await kept[0]()

        with pytest.raises(RuntimeError, match="keeps was called while it was running"):
            virtual_time(middleware(calls=2)(keeps).call, recurses, backend=backend)

    @BACKENDS
    def test_a_task_of_its_own_may_run_beside(self, backend):
        """Child tasks are fine as long as `proceed` stays in the middleware's own task."""
        log = Log()

        @middleware
        async def watches(call, proceed):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 2)
                found = await proceed()
                group.cancel_scope.cancel()
            return found

        guarded = stack(retry(attempts=2, backoff=[1]), watches, timeout(9))(log.scripted("x1 .1"))

        virtual_time(guarded, backend=backend, check_leftovers=True)
        assert len(log.calls) == 2

    @BACKENDS
    def test_a_scope_of_its_own_limits_it(self, backend):
        """`move_on_after` around `proceed()` works as anywhere: the cancellation is its own."""
        log = Log()

        @middleware
        async def patient(call, proceed):
            with anyio.move_on_after(2):
                return await proceed()
            return "late"

        policy = stack(timeout(30), retry(attempts=3), patient, timeout(9), listeners=[log])
        guarded = policy(log.scripted("~ .1"))

        async def main():
            first = await guarded()
            await anyio.lowlevel.checkpoint()
            return first, now(), await guarded() != "late"

        assert virtual_time(main, backend=backend, check_leftovers=True) == ("late", 2, True)
        first, _ = [event for event in log.events if isinstance(event, AttemptEnded)]
        assert (first.verdict, first.disposition) == ("neutral", "cancelled")
        assert [e.outcome for e in log.events if isinstance(e, CallEnded)] == ["success"] * 2

    @BACKENDS
    def test_after_a_scope_of_its_own_it_may_ask_again(self, backend):
        """A run that the middleware has cut is over, and another may begin."""
        log = Log()

        @middleware(calls=2)
        async def impatient(call, proceed):
            with anyio.move_on_after(2):
                return await proceed()
            return await proceed()

        policy = stack(impatient, listeners=[log])
        virtual_time(policy(log.scripted("~ .1")), backend=backend, check_leftovers=True)
        found = [(e.number, e.verdict) for e in log.events if isinstance(e, AttemptEnded)]
        assert found == [(1, "neutral"), (2, "success")]

    def test_a_timeout_of_asyncio_limits_it(self):
        """`asyncio.timeout` around `proceed()` raises its `TimeoutError`, which is retried."""
        log = Log()

        @middleware
        async def patient(call, proceed):
            async with asyncio.timeout(2):
                return await proceed()

        guarded = stack(retry(attempts=2, backoff=[1]), patient)(log.scripted("~ .1"))

        async def main():
            await guarded()
            return now(), asyncio.current_task().cancelling()

        assert virtual_time(main, check_leftovers=True) == (4, 0)
        assert len(log.calls) == 2


class Closable:
    """A result that notes when it is closed."""

    def __init__(self, closed, name, *, fails=False):
        self.closed, self.name, self.fails = closed, name, fails

    async def aclose(self):
        await anyio.sleep(1)
        self.closed.append((self.name, now()))
        if self.fails:
            raise LookupError


@BACKENDS
class TestDiscarded:
    def closed_by(self, backend, handler, *, names="ab", calls=2, fails=False, policy=None):
        """Return what the call came to and what was closed, with the instants."""
        closed, left = [], iter(names)

        async def opens():
            name = next(left)
            if name == "x":
                raise E1
            return Closable(closed, name, fails=fails)

        guarded = middleware(calls=calls)(handler)(opens)
        if policy is not None:
            guarded = policy(guarded)

        async def main():
            try:
                found = await guarded()
            except Exception as error:
                found = error
            return found, now()

        found, _ = virtual_time(main, backend=backend, check_leftovers=True)
        return getattr(found, "name", found), closed

    def test_the_one_that_is_returned_is_not_closed(self, backend):
        """Of two results the one that is not returned is closed, before the call returns."""

        async def first(call, proceed):
            found = await proceed()
            await proceed()
            return found

        async def last(call, proceed):
            await proceed()
            return await proceed()

        assert self.closed_by(backend, first) == ("a", [("b", 1)])
        assert self.closed_by(backend, last) == ("b", [("a", 1)])

    def test_what_is_replaced_is_closed(self, backend):
        """A middleware that returns something else has discarded the result."""

        async def replaces(call, proceed):
            return [await proceed()].pop().name

        assert self.closed_by(backend, replaces) == ("a", [("a", 1)])

    def test_one_that_came_twice_is_closed_once(self, backend):
        """The same object from both runs is one result."""
        shared = Closable([], "a")

        async def opens():
            return shared

        @middleware(calls=2)
        async def drops(call, proceed):
            await proceed()
            await proceed()

        virtual_time(drops.call, opens, backend=backend)
        assert shared.closed == [("a", 1)]

    def test_it_is_closed_where_the_middleware_raises(self, backend):
        """Nobody will see the result of a middleware that failed after it."""

        async def raises(call, proceed):
            await proceed()
            await proceed()

        found, closed = self.closed_by(backend, raises, names="ax")
        assert (type(found), closed) == (E1, [("a", 1)])

    def test_an_error_of_closing_is_dropped(self, backend, caplog):
        """It is logged once and changes nothing."""

        async def last(call, proceed):
            await proceed()
            return await proceed()

        with caplog.at_level(logging.WARNING, "resilient"):
            found, _ = self.closed_by(backend, last, fails=True)
        assert found == "b"

    def test_closing_counts_against_the_limits_outside(self, backend):
        """A result that takes longer to close than there is time ends with the limit."""

        async def drops(call, proceed):
            await proceed()

        found, closed = self.closed_by(backend, drops, policy=timeout(0.5))
        assert (type(found), closed) == (TimedOut, [])


class TestConstruction:
    @pytest.mark.parametrize(
        ("make", "error", "text"),
        [
            (lambda: middleware(calls=0), ValueError, r"middleware\(calls=\) must be .* not 0"),
            (lambda: middleware(calls=True), TypeError, r"middleware\(calls=\)"),
            (lambda: middleware(calls=1.5), ValueError, r"middleware\(calls=\)"),
            (lambda: middleware(expose_args=1), TypeError, r"middleware\(expose_args=\) must be a"),
            (lambda: middleware(5), TypeError, "not an instance of int"),
            (lambda: middleware(lambda call, proceed: None), TypeError, "a coroutine function"),
            (lambda: middleware(Closable), TypeError, "not the class Closable"),
            (lambda: middleware(tag), TypeError, "not an instance of Pipeline"),
        ],
    )
    def test_a_bad_option_is_refused_at_once(self, make, error, text):
        """The message names the option, the value and what is accepted."""
        with pytest.raises(error, match=text):
            make()

    def test_what_cannot_take_its_two_parameters_is_refused(self):
        """A method that was forgotten to be bound, or a function of the arguments, is an error."""

        async def none(): ...

        async def three(self, call, proceed): ...

        async def one(call): ...

        async def required(call, proceed, *, size): ...

        for fn in (none, three, one, required):
            with pytest.raises(TypeError, match=r"a middleware takes \(call, proceed\), and .*"):
                middleware(fn)
        with pytest.raises(TypeError, match=r"takes \(call, proceed, \*args, \*\*kwargs\)"):
            middleware(expose_args=True)(one)
        middleware(expose_args=True)(three)
        middleware(expose_args=True)(required)

    def test_a_signature_that_is_hidden_is_not_asked_for(self):
        """A callable that shows no signature is taken at its word."""

        class Hidden:
            __signature__ = 5

            async def __call__(self, call, proceed):
                return await proceed()

        with pytest.raises(TypeError):
            inspect.signature(Hidden())
        assert virtual_time(middleware(Hidden()).call, ask, "q") == "Q"

    def test_around_a_generator_it_is_a_type_error(self):
        """An async generator function is refused at decoration, in every place of a stack."""

        async def numbers():
            yield 1

        for policy in (tag, stack(timeout(9), tag), stack(tag, retry())):
            with pytest.raises(TypeError, match="numbers"):
                policy(numbers)

    def test_lints_look_through_it(self):
        """A pair in a wrong order is wrong as well with a middleware in between."""
        with pytest.warns(PolicyOrderWarning, match="3 x 3 = 9 calls"):
            stack(retry(), tag, retry())
        with pytest.warns(PolicyOrderWarning, match="the inner timeout of 8 s never expires"):
            timeout(5)(tag(timeout(8)(ask)))
        with pytest.warns(PolicyOrderWarning, match="fallback inside retry"):
            stack(retry(), tag, fallback(degrade=value(1)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            stack(tag, fallback(degrade=value(1)), tag, timeout(9), twice, retry(), tag, timeout(3))


class TestSeen:
    @BACKENDS
    def test_the_spans_of_both_runs(self, backend):
        """Each run has its attempt spans, one after the other and below the call."""
        with capture_spans() as spans:
            policy = stack(timeout(30), twice, retry(attempts=2, backoff=[1]))
            virtual_time(policy(Log().scripted("x x .")), backend=backend)
        assert [span.attributes["resilient.attempt.number"] for span in spans.attempts()] == [
            1,
            2,
            3,
        ]
        (call,) = [span for span in spans if span.parent is None]
        assert call.attributes["resilient.policies"] == ("timeout", "middleware", "retry")
        assert len(spans.ended) == len(spans.started) == 4

    @BACKENDS
    def test_a_target_that_may_be_asked_twice_has_a_span_of_its_own(self, backend):
        """A target that describes itself is folded into its attempt only if it has one."""

        class Described:
            def __init__(self):
                self.script = Log().scripted("x .")

            def describe(self):
                raise AssertionError

            async def __call__(self):
                return await self.script()

        for policy, single in ((tag, (True,)), (twice, (False,)), (stack(twice, tag), (False,))):
            assert policy.compile(Described()).plan.single == single

    @BACKENDS
    def test_no_event_is_made_where_nobody_listens(self, backend, monkeypatch):
        """A call through a middleware that succeeds tells nobody anything."""
        monkeypatch.setattr("resilient._runtime.listeners.process.loud", ())
        seen = []

        @middleware
        async def sees(call, proceed):
            found = await proceed()
            seen.append((call.loud, call.history, call.attempt))
            return found

        virtual_time(sees.call, ask, "q", backend=backend)
        assert seen == [((), None, 1)]


@BACKENDS
def test_no_reference_cycle_keeps_a_failed_frame_alive(backend):
    """With the collector off, what the frames of a failed run held is freed with its error."""
    dead, kept = [], []

    class Held:
        pass

    async def fails():
        held = Held()
        dead.append(weakref.ref(held))
        raise E1

    async def keeps(call, proceed):
        kept.append(proceed)
        return await proceed()

    async def raises_another(call, proceed):
        with suppress(E1):
            await proceed()
        raise LookupError

    async def cut(call, proceed):
        with anyio.move_on_after(1):
            await proceed()

    async def insists(call, proceed):
        for _ in range(2):
            with suppress(BaseException):
                await proceed()

    async def hangs():
        held = Held()
        dead.append(weakref.ref(held))
        await anyio.sleep_forever()

    async def exits():
        held = Held()
        dead.append(weakref.ref(held))
        raise SystemExit

    policies = [
        tag,
        middleware(calls=3)(insists),
        twice,
        sorry,
        middleware(keeps),
        middleware(raises_another),
        middleware(cut),
        stack(middleware(keeps), retry(attempts=2, on=E1, backoff=[1]), twice),
    ]

    async def main():
        for policy in policies:
            for fn in (fails, hangs, exits):
                with suppress(Exception, SystemExit), anyio.move_on_after(60):
                    await policy.call(fn)

    gc.collect()
    gc.disable()
    try:
        virtual_time(main, backend=backend, check_leftovers=True)
        assert [reference() for reference in dead if reference() is not None] == []
        assert len(dead) > len(policies)
    finally:
        gc.enable()


@BACKENDS
def test_a_kept_proceed_holds_nothing(backend):
    """What a middleware keeps past its end holds no argument, no result and no error."""
    kept = []

    async def keeps(call, proceed):
        kept.append(proceed)
        return await proceed()

    class Held:
        pass

    async def main():
        held, answer = Held(), Held()
        dead = weakref.ref(held), weakref.ref(answer)

        async def asks(it, given):
            return given.pop()

        policy = middleware(keeps)
        await policy.call(asks, held, [answer])
        del held, answer
        gc.collect()
        return [reference() for reference in dead]

    assert virtual_time(main, backend=backend) == [None, None]


@BACKENDS
def test_all_failed_is_the_group_as_ever(backend):
    """A chain inside a middleware fails as it does without one."""
    log = Log()
    inner = fallback(to=[log.scripted([Fail(E1)], "b")])(log.scripted([Fail(E1)], "a"))
    with pytest.raises(AllTargetsFailed) as caught:
        virtual_time(tag(inner), backend=backend, check_leftovers=True)
    assert [attempt.target for attempt in caught.value.attempts] == ["a", "b"]


def test_a_task_that_ends_with_an_error_is_no_cycle():
    """A task keeps the error that it ends with, and nothing of the error keeps the task."""
    dead = []

    class Boom(ConnectionError):
        """One that can be held weakly."""

    @middleware
    async def through(call, proceed):
        return await proceed()

    async def fails():
        await anyio.sleep(1)
        error = Boom()
        dead.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def main():
        task = asyncio.get_running_loop().create_task(stack(through)(fails)())
        await asyncio.wait([task])
        assert type(task.exception()) is Boom

    gc.disable()
    try:
        virtual_time(main)
        assert dead[0]() is None
    finally:
        gc.enable()
