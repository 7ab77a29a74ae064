"""`check_middleware` finds what is wrong with a middleware, and nothing where all is right."""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest

from resilient import middleware, stack
from resilient._runtime.clock import runtime
from resilient.testing import (
    Bad,
    Fail,
    FailureSchedule,
    InvariantBroken,
    Ok,
    check_middleware,
    simulate,
)


class Mine(Exception):
    """An error of a middleware's own."""


def broken(policy, **options):
    """Return the names of what a middleware breaks, in the order of the report."""
    try:
        check_middleware(policy, **options)
    except InvariantBroken as error:
        return [finding.invariant for finding in error.findings]
    return []


class TestWhatIsRight:
    def test_one_that_passes_everything_on(self, capsys):
        """A middleware that only looks on has no finding, and what it prints is not shown."""

        @middleware
        async def timed(call, proceed):
            started = call.now()
            try:
                return await proceed()
            finally:
                print(f"{call.name} took {call.now() - started} s")  # noqa: T201 - on purpose

        assert broken(timed) == []
        assert capsys.readouterr().out == ""

    def test_one_that_asks_twice_and_says_so(self):
        """With `calls=2` a second `proceed()` is lawful, around a retry as well."""

        @middleware(calls=2)
        async def once_more(call, proceed):
            try:
                return await proceed()
            except Exception:
                return await proceed()

        assert broken(once_more) == []

    def test_one_that_says_what_it_does(self):
        """Values of its own are lawful where that is declared; a function makes a fresh one."""

        def made():
            known = {}

            @middleware(expose_args=True)
            async def cached(call, proceed, question, *, fresh):
                if question not in known:
                    known[question] = await proceed()
                return known[question]

            return cached

        given = {"kwargs": {"fresh": True}}
        assert broken(made, answers=True, **given) == []
        assert broken(made, **given) == ["calls_are_independent"]
        assert broken(made, skip="calls_are_independent", **given) == []

    @pytest.mark.parametrize("given", ["q", "rest"])
    def test_an_argument_that_is_given_by_its_name(self, given):
        """What the caller gives by its name is given once, and the rest still stands in."""
        seen = set()

        @middleware(expose_args=True)
        async def asks(call, proceed, q, rest):
            seen.add((q, rest))
            return await proceed()

        assert broken(asks, kwargs={given: "1"}) == []
        other = f"the argument of the kit {'rest' if given == 'q' else 'q'}"
        assert seen == {("1", other) if given == "q" else (other, "1")}

    def test_a_limit_of_its_own(self):
        """A scope that it opens itself is its own to end."""

        @middleware
        async def limited(call, proceed):
            with anyio.move_on_after(4):
                return await proceed()
            raise Mine

        assert broken(limited, raises=Mine) == []
        assert broken(limited) == ["error_passes"]

    def test_answers_of_a_kind(self):
        """What is inside answers and fails as the caller of the check says."""

        @middleware
        async def needs_text(call, proceed):
            value = await proceed()
            if value == "busy":
                raise Mine
            assert value.upper() == "YES"
            return value

        assert broken(needs_text, answer="yes", failures=[Bad("busy")], raises=Mine) == []

    @pytest.mark.parametrize("seconds", [0, 0.5, 7])
    @pytest.mark.parametrize(
        "where", ["before", "behind", "clean-up", "shielded", "shielded before"]
    )
    def test_one_that_takes_its_time(self, where, seconds):
        """A middleware may await before `proceed()` and behind it, and clean up behind a shield."""

        @middleware
        async def takes_time(call, proceed):
            if "before" in where:
                with anyio.CancelScope(shield=where == "shielded before"):
                    await anyio.sleep(seconds)
            try:
                value = await proceed()
                if where == "behind":
                    await anyio.sleep(seconds)
                return value
            finally:
                if where in {"clean-up", "shielded"}:
                    with anyio.CancelScope(shield=where == "shielded"):
                        await anyio.sleep(seconds)

        check_middleware(takes_time)

    def test_limits_of_how_many(self):
        """A limiter and a token that is fetched once are lawful; calls that wait say so."""

        def limited(most):
            def made():
                free = anyio.Semaphore(most)

                @middleware
                async def limiter(call, proceed):
                    async with free:
                        return await proceed()

                return limiter

            return made

        def fetching():
            lock, tokens = anyio.Lock(), []

            @middleware
            async def with_token(call, proceed):
                async with lock:
                    if not tokens:
                        await anyio.sleep(0.3)
                        tokens.append("token")
                return await proceed()

            return with_token

        assert broken(limited(10)) == broken(fetching) == []
        assert broken(limited(1)) == ["calls_are_independent"]
        assert broken(limited(1), skip="calls_are_independent") == []


class TestWhatIsWrong:
    def test_an_eaten_cancellation(self):
        """A cancellation that is eaten is found, although the library raises it again."""

        @middleware
        async def greedy(call, proceed):
            try:
                return await proceed()
            except anyio.get_cancelled_exc_class():
                return None

        assert simulate(greedy, ".2", cancel_at=1).check().result
        with pytest.raises(InvariantBroken) as caught:
            check_middleware(greedy)
        assert "cancellation_passes\n  expected  CancelledError passed on" in str(caught.value)
        assert {one.invariant for one in caught.value.findings} == {"cancellation_passes"}

    def test_an_eaten_cancellation_of_its_own_await(self):
        """So is one that comes to an await of the middleware's own."""

        @middleware
        async def deaf(call, proceed):
            value = await proceed()
            try:
                await anyio.sleep(1)
            except BaseException:
                return value
            return value

        assert broken(deaf) == ["cancellation_passes"]

    def test_an_eaten_interruption(self):
        """What is no `Exception` is not a middleware's to handle."""

        @middleware
        async def careless(call, proceed):
            try:
                return await proceed()
            except (Exception, anyio.get_cancelled_exc_class()):
                raise
            except BaseException as error:
                raise Mine from error

        assert broken(careless, raises=Mine) == ["cancellation_passes"]

    def test_a_late_cancellation(self):
        """What is inside is not kept from a cancellation."""

        @middleware
        async def shields(call, proceed):
            with anyio.CancelScope(shield=True):
                return await proceed()

        schedule = FailureSchedule([Ok(after=2)], cancel_at=1)
        with pytest.raises(InvariantBroken) as caught:
            check_middleware(shields)
        assert caught.value.findings[0].invariant == "cancellation_honoured"
        assert simulate(shields, schedule).elapsed == 2

    def test_a_swallowed_error(self):
        """An error is handed on."""

        @middleware
        async def silent(call, proceed):
            try:
                return await proceed()
            except Exception:
                return None

        assert broken(silent) == ["error_passes"]

    def test_an_error_of_its_own(self):
        """An error is that of `proceed()`, or is raised from it."""

        @middleware
        async def translates(call, proceed):
            try:
                return await proceed()
            except ValueError as error:
                raise Mine from error

        @middleware
        async def hides(call, proceed):
            try:
                return await proceed()
            except Exception as error:
                failed = isinstance(error, ValueError)
            raise Mine if failed else KeyError

        assert broken(translates) == []
        assert broken(hides)[0] == "error_passes"

    @pytest.mark.parametrize("openly", [True, False])
    def test_a_second_call_that_is_not_declared(self, openly):
        """A second `proceed()` needs `calls=2`, also where the refusal is hidden."""

        @middleware
        async def again(call, proceed):
            try:
                return await proceed()
            except Exception as error:
                try:
                    return await proceed()
                except RuntimeError:
                    if openly:
                        raise
                    raise error from None

        assert broken(again)[0] == "proceeds_as_declared"

    def test_proceed_in_another_task(self):
        """`proceed` stays in the task of the middleware."""

        @middleware
        async def spread(call, proceed):
            async with anyio.create_task_group() as group:
                group.start_soon(proceed)

        assert "proceeds_as_declared" in broken(spread)

    def test_an_invented_value(self):
        """A value is one that `proceed()` gave."""

        @middleware
        async def answers(call, proceed):
            await proceed()
            return 42

        with pytest.raises(InvariantBroken) as caught:
            check_middleware(answers)
        assert [one.invariant for one in caught.value.findings] == ["value_passes"]
        said = str(caught.value).splitlines()
        assert said[0].endswith("answers does not hold:")
        assert said[2:5] == [
            "value_passes",
            "  expected  a value that proceed() gave",
            "  happened  it returned a value of its own, of type int",
        ]
        assert said[5].endswith("answers, on asyncio")
        assert said[6] == "  schedule  FailureSchedule()"
        assert said[7].startswith("target")
        assert broken(answers, answers=True) == []

    def test_a_lock_that_is_never_let_go(self):
        """A call that was cancelled lets go of what the next one waits for."""

        def made():
            lock = anyio.Lock()

            @middleware
            async def forgetful(call, proceed):
                with anyio.move_on_after(10):
                    await lock.acquire()
                    value = await proceed()
                    lock.release()
                    return value
                raise Mine

            return forgetful

        assert "next_call_works" in broken(made, raises=Mine, skip="calls_are_independent")

    def test_a_task_that_is_left_running(self):
        """Nothing is left running behind a call."""
        tasks = []

        @middleware
        async def leaves(call, proceed):
            if runtime().backend == "asyncio":
                tasks[:] = [asyncio.create_task(anyio.sleep(100))]
            return await proceed()

        assert broken(leaves)[0] == "nothing_left_running"

    def test_state_of_one_call_on_the_object(self):
        """What belongs to one call is not on the object that all calls share."""

        class Keeps:
            async def __call__(self, call, proceed):
                self.value = await proceed()
                await anyio.sleep(1)
                return self.value

        class Counts:
            async def __call__(self, call, proceed):
                self.tries = 0
                while True:
                    try:
                        return await proceed()
                    except Exception:
                        self.tries += 1
                        if self.tries >= 2:
                            raise

        assert broken(middleware(Keeps())) == ["calls_are_independent", "nothing_kept"]
        assert "proceeds_as_declared" in broken(middleware(calls=2)(Counts()))

    def test_an_error_that_is_kept(self):
        """A call that is over is let go of, with all that its error refers to."""
        last = []

        @middleware
        async def remembers(call, proceed):
            try:
                return await proceed()
            except Exception as error:
                last[:] = [error]
                raise

        assert broken(remembers) == ["nothing_kept"]

    @pytest.mark.parametrize("way", ["log", "print", "note"])
    def test_a_recorded_argument(self, way):
        """An argument is in no log, in no note, and is not printed."""

        @middleware(expose_args=True)
        async def tells(call, proceed, question):
            if way == "log":
                logging.getLogger("mine").debug("asked %s", question)
            elif way == "print":
                print(question)  # noqa: T201 - on purpose
            try:
                return await proceed()
            except Exception as error:
                if way == "note":
                    error.add_note(question)
                raise

        assert broken(tells) == ["nothing_recorded"]
        if way == "log":
            assert broken(tells, args=["4711"]) == ["nothing_recorded"]
            assert broken(tells, args=[4711]) == []

    def test_one_backend_only(self):
        """A middleware works on asyncio and on trio."""

        @middleware
        async def bound(call, proceed):
            await asyncio.sleep(0)  # noqa: TID251 - on purpose
            return await proceed()

        assert {"error_passes", "backend_agnostic"} <= set(broken(bound))

    def test_the_outer_of_two(self):
        """Of several in a stack each is judged by itself."""

        @middleware
        async def honest(call, proceed):
            return await proceed()

        @middleware
        async def answers(call, proceed):
            await proceed()
            return 42

        for policies in ([honest, answers], [answers, honest]):
            assert broken(stack(*policies)) == ["value_passes"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (((7,), {}), TypeError, "takes what @middleware made, not 7"),
        (((lambda: 7,), {}), TypeError, "or a function that returns that, not 7"),
        (((stack(),), {}), TypeError, "or a function that returns that, not a Pipeline"),
        ((None, {"failures": [Fail]}), TypeError, r"failures=\) takes Fail\(...\) and Bad"),
        ((None, {"failures": []}), ValueError, r"failures=\) must have at least one step"),
        ((None, {"skip": "nonsense"}), ValueError, r"skip=\) has no invariant 'nonsense'"),
    ],
)
def test_bad_options_are_refused(given, error, text):
    """A bad option is named, with what is accepted."""

    @middleware
    async def tag(call, proceed):
        return await proceed()

    args, options = given
    with pytest.raises(error, match=text):
        check_middleware(*(args or (tag,)), **options)
