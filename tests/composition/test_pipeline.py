"""A `Pipeline` as a value: what it shows, what `standard` makes, and calls without decorating."""

from __future__ import annotations

import copy
import functools
import gc
import re
import warnings
import weakref

import pytest

from resilient import (
    FallbackManager,
    Outcome,
    Target,
    circuit_breaker,
    explain,
    fallback,
    manager_of,
    pipeline_of,
    retry,
    stack,
    standard,
    timeout,
    value,
)
from resilient.testing import Log, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def ask(question: str) -> str:
    """Answer."""
    return question.upper()


class Busy(Exception):
    """An error that says when to come back."""

    retryable, retry_after, health = True, 30, "cooldown"


asked = []


async def busy(question: str) -> str:
    """Ask to be left alone."""
    asked.append(question)
    raise Busy


async def asynchronous(*args):
    """Stand where a plain function is asked."""


class TestAsAValue:
    def test_it_shows_its_kinds(self):
        """The `repr` names the policies, outermost first."""
        assert repr(stack(timeout(9), retry(), name="llm")) == "<Pipeline llm(timeout, retry)>"

    def test_a_target_is_its_own_copy(self):
        """Nothing of a target can change, so a deep copy of what holds one holds the same."""
        target = Target("a", ask, scopes={"host": "h"})
        assert copy.deepcopy([target])[0] is target

    def test_a_guard_reduces_to_its_name(self):
        """What asks a guarded function how to pickle it hears its name, as of any function."""
        guarded = retry(ask)
        assert guarded.__reduce__() == guarded.__reduce_ex__(2) == "ask"

    def test_the_object_of_a_static_method_is_explained_as_well(self):
        """A `staticmethod` or `classmethod` object is what it holds."""
        made = fallback(degrade=value("sorry"))(staticmethod(ask))
        assert explain(made).splitlines()[0] == "ask: 1 policy, outermost first"
        assert pipeline_of(made).policies[0].kind == "fallback"
        assert manager_of(made).targets[0].name == "ask"

    def test_an_endless_chain_of_wrappers_ends(self):
        """`explain` looks through foreign wrappers, and not for ever."""

        async def wrapper(): ...

        wrapper.__wrapped__ = wrapper
        assert "guarded itself" not in explain(retry(wrapper))

    def test_a_target_that_is_guarded_is_explained_as_such(self):
        """The table of a manager names a function with policies of its own."""
        guarded = retry(attempts=2)(ask)
        manager = FallbackManager([Target("plain", guarded), Target("limited", guarded, timeout=3)])
        _, plain, limited, _ = explain(manager).splitlines()
        assert plain.split(maxsplit=1) == ["plain", "then ask, which is guarded itself"]
        assert limited.endswith("; then ask, which is guarded itself")
        assert "no policies of its own" not in explain(manager)


class TestCalling:
    @BACKENDS
    def test_call_and_run_need_no_decorator(self, backend):
        """`call` returns the value and `run` the outcome, with the caller's arguments."""
        llm = stack(timeout(9), retry(attempts=2, backoff=[1]), name="llm")
        log = Log()
        scripted = log.scripted("x. x.")

        async def main():
            return (
                await llm.call(ask, "why?"),
                await llm.call(scripted),
                await llm.run(scripted),
            )

        answer, value_, outcome = virtual_time(main, backend=backend, check_leftovers=True)
        assert answer == "WHY?"
        assert value_ is log.calls[1].value
        assert isinstance(outcome, Outcome)
        assert (len(outcome.attempts), outcome.elapsed) == (2, 1)

    @BACKENDS
    def test_a_partial_can_be_called(self, backend):
        """What is called need not be a function."""
        llm = stack(retry())
        call = functools.partial(llm.call, functools.partial(ask, "why?"))
        assert virtual_time(call, backend=backend) == "WHY?"


class TestStandard:
    @pytest.mark.parametrize("limit", [5, 10, 0.5])
    def test_a_short_timeout_alone_warns_of_nothing(self, limit):
        """An attempt limit that nobody wrote gives way to a timeout that is not longer."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = standard("prices", timeout=limit)
        assert [policy.kind for policy in made.policies] == ["timeout", "retry", "circuit_breaker"]

    def test_a_long_timeout_keeps_the_attempt_limit(self):
        """With more than 10 s for everything each attempt has at most 10 s."""
        made = standard("prices", timeout=10.5)
        kinds = [policy.kind for policy in made.policies]
        assert kinds == ["timeout", "retry", "circuit_breaker", "timeout"]

    def test_limits_are_left_out(self):
        """`None` leaves a limit out."""
        made = standard("prices", timeout=None, attempt_timeout=None)
        assert [policy.kind for policy in made.policies] == ["retry", "circuit_breaker"]

    def test_the_breaker_is_the_one_that_was_given(self):
        """`breaker` stands where the default one would."""
        mine = circuit_breaker("mine")
        made = standard("prices", breaker=mine)
        assert made.policies[2] is mine.policies[0]

    @pytest.mark.parametrize("wrong", [True, "prices", retry()], ids=repr)
    def test_a_breaker_that_is_none_is_refused(self, wrong):
        """The message names the option and what it takes."""
        with pytest.raises(TypeError, match=r"^standard\(breaker=\) must be a circuit_breaker"):
            standard("prices", breaker=wrong)

    @pytest.mark.parametrize("to", [None, 0, "", False], ids=repr)
    def test_a_wrong_list_is_refused_also_where_it_is_falsy(self, to):
        """A `to` that is no list is no empty list."""
        with pytest.raises(TypeError, match=r"^standard\(to=\) must be a list of async functions"):
            standard("prices", to=to)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: retry(classify=asynchronous), "retry(classify=)"),
        (lambda: Target("a", ask, classify=asynchronous), "Target(classify=)"),
        (lambda: Target("a", ask, enabled=asynchronous), "Target(enabled=)"),
    ],
    ids=["retry", "target", "enabled"],
)
def test_an_async_function_that_decides_is_refused(make, option):
    """Where a plain function decides, an async one would always say yes."""
    told = f"{option} must be a plain function, not the async {__name__}.asynchronous"
    with pytest.raises(TypeError, match=f"^{re.escape(told)}$"):
        make()


def test_a_refusal_shows_nothing_of_what_it_was_given():
    """A wrong argument is named by its kind, and its own text is not asked for."""

    class Telling:
        """Something that tells a secret, or fails to."""

        def __repr__(self):
            raise ValueError("secret")

    for wrong in (
        lambda: retry(Telling()),
        lambda: stack(Telling()),
        lambda: fallback(to=[Telling()]),
        lambda: fallback(degrade=Telling()),
        lambda: FallbackManager([Telling()]),
        lambda: FallbackManager([Target("a", ask)], routes=Telling()),
        lambda: Target("a", Telling()),
        lambda: Target("a", ask, policies=Telling()),
    ):
        with pytest.raises(TypeError, match="Telling"):
            wrong()


class Answering:
    """A method to call through a pipeline."""

    async def ask(self, question: str) -> tuple[object, str]:
        return self, question


class TestCallingWithoutDecorating:
    """`call` and `run` of the same function share what calls of a decorated one share."""

    @BACKENDS
    def test_a_target_that_rests_rests_for_later_calls(self, backend):
        """The second call does not ask who has asked for 30 s of rest."""
        asked.clear()
        pipeline = fallback(to=[ask])

        async def both():
            return [await pipeline.call(busy, "why?") for _ in range(2)]

        assert virtual_time(both, backend=backend) == ["WHY?", "WHY?"]
        assert asked == ["why?"]

    def test_a_function_that_lasts_is_compiled_once(self):
        """A method is compiled for its class, and gets its instance as an argument."""
        pipeline, one, two = stack(retry()), Answering(), Answering()

        async def both():
            return [await pipeline.call(one.ask, "a"), (await pipeline.run(two.ask, "b")).value]

        assert virtual_time(both) == [(one, "a"), (two, "b")]
        assert list(vars(pipeline)["_known"]) == [Answering.ask]

    def test_a_function_made_in_a_function_is_not_kept(self):
        """Neither it nor what it has closed over lives longer than its call."""
        pipeline, kept = stack(retry()), Answering()
        gone = weakref.ref(kept)

        async def call():
            held = gone()

            async def inner():
                return held

            return await pipeline.call(inner)

        assert virtual_time(call) is kept
        del kept
        gc.collect()
        assert gone() is None

    def test_a_pipeline_that_was_called_can_be_copied(self):
        """What was compiled is no part of the copy."""
        pipeline = stack(fallback(to=[ask]), retry())
        virtual_time(pipeline.call, ask, "a")
        assert copy.deepcopy(pipeline).policies[1] == pipeline.policies[1]
        assert copy.copy(pipeline) == pipeline
