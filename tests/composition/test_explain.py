"""What `explain` says, word for word, and the worst cases that it computes."""

from __future__ import annotations

import functools
from datetime import timedelta
from math import inf

import pytest

from resilient import (
    FallbackManager,
    RetryBudget,
    Target,
    constant,
    explain,
    exponential,
    fallback,
    manager_of,
    not_a_bug,
    pipeline_of,
    retry,
    stack,
    standard,
    timeout,
    transient,
    unsent,
    value,
)


class Busy(Exception):
    """An error of the user's own."""


def looks_busy(error):
    return True


def is_empty(result):
    return not result


def waits(number):
    return number


async def ask(question): ...


async def small(question): ...


@timeout(8)
async def medium(question): ...


@retry(attempts=2, backoff=[1])
@timeout(5)
async def large(question): ...


def foreign(fn):
    @functools.wraps(fn)
    async def wrapper(*args):
        return await fn(*args)

    return wrapper


def lines(*rows):
    return "\n".join(f"  {head:<17} {text}" for head, text in rows)


def golden(title, *rows):
    return f"{title}\n{lines(*rows)}"


JITTER = "full jitter 0.1 s .. 20 s"
ONE_CALL = "at most 1 call and no limit of time"
THREE_CALLS = "at most 3 calls and no limit of time"

SINGLE = {
    "retry": (retry(), f"3 attempts on transient errors; {JITTER}", THREE_CALLS),
    "one attempt": (
        retry(attempts=1),
        f"1 attempt on transient errors; {JITTER}",
        ONE_CALL,
    ),
    "constant": (
        retry(attempts=4, backoff=constant(2)),
        "4 attempts on transient errors; waits 2 s",
        "at most 4 calls and no limit of time",
    ),
    "listed": (
        retry(backoff=[1, 2.5]),
        "3 attempts on transient errors; waits 1, 2.5 s",
        THREE_CALLS,
    ),
    "a long list": (
        retry(backoff=[1, 2, 3, 4, 5, 6]),
        "3 attempts on transient errors; waits 1, 2, 3, 4, 5, ... s",
        THREE_CALLS,
    ),
    "computed": (
        retry(backoff=waits),
        "3 attempts on transient errors; waits from waits",
        THREE_CALLS,
    ),
    "decorrelated": (
        retry(backoff=exponential(jitter="decorrelated")),
        "3 attempts on transient errors; decorrelated jitter 0.1 s .. 20 s",
        THREE_CALLS,
    ),
    "no wait": (
        retry(backoff=exponential(base=0)),
        "3 attempts on transient errors; no wait",
        THREE_CALLS,
    ),
    "max_elapsed": (
        retry(max_elapsed=30),
        (
            f"3 attempts on transient errors; {JITTER};"
            " no new attempt after 30 s (a running one may finish)"
        ),
        THREE_CALLS,
    ),
    "attempts=None": (
        retry(attempts=None, max_elapsed=30),
        (
            f"any number of attempts on transient errors; {JITTER};"
            " no new attempt after 30 s (a running one may finish)"
        ),
        "unbounded",
    ),
    "budget": (
        retry(budget=RetryBudget("explained")),
        f'3 attempts on transient errors; {JITTER}; budget "explained"',
        THREE_CALLS,
    ),
    "type": (
        retry(on=ConnectionError),
        f"3 attempts on ConnectionError; {JITTER}",
        THREE_CALLS,
    ),
    "types": (
        retry(on=(ConnectionError, Busy, OSError)),
        f"3 attempts on ConnectionError, {__name__}.Busy or OSError; {JITTER}",
        THREE_CALLS,
    ),
    "predicate": (
        retry(on=looks_busy),
        f"3 attempts on errors chosen by looks_busy; {JITTER}",
        THREE_CALLS,
    ),
    "several": (
        retry(on=(transient, KeyError, looks_busy)),
        f"3 attempts on transient errors, KeyError or errors chosen by looks_busy; {JITTER}",
        THREE_CALLS,
    ),
    "not_a_bug": (
        retry(on=not_a_bug),
        f"3 attempts on errors that are no bugs; {JITTER}",
        THREE_CALLS,
    ),
    "unsent": (retry(on=unsent), f"3 attempts on unsent errors; {JITTER}", THREE_CALLS),
    "on_result": (
        retry(on_result=is_empty),
        f"3 attempts on transient errors and on results that on_result rejects; {JITTER}",
        THREE_CALLS,
    ),
    "timeout": (timeout(8), "8 s per attempt", "at most 1 call and 8 s"),
    "part of a second": (timeout(0.25), "0.25 s per attempt", "at most 1 call and 0.25 s"),
    "timedelta": (
        timeout(timedelta(hours=1)),
        "3600 s per attempt",
        "at most 1 call and 3600 s",
    ),
    "fallback": (
        fallback(to=[small]),
        "small",
        f"{ONE_CALL}, then one fallback call (unbounded: small has no timeout)",
    ),
    "guarded fallbacks": (
        fallback(to=[medium, large, small], degrade=value("secret")),
        "medium, then large, then small, then a fixed value",
        (
            f"{ONE_CALL}, then at most 1 call and 8 s of medium,"
            " then at most 2 calls and 70 s of large,"
            " then one fallback call (unbounded: small has no timeout)"
        ),
    ),
    "degrade": (fallback(degrade=value("secret")), "a fixed value", ONE_CALL),
    "factory": (fallback(degrade=value(factory=list)), "a value made by list", ONE_CALL),
}


@pytest.mark.parametrize("case", SINGLE)
def test_one_policy_is_explained(case):
    """A function under one policy has a line for it and one for the worst case."""
    policy, text, bound = SINGLE[case]
    [kind] = [policy.kind for policy in policy.policies]
    expected = golden("ask: 1 policy, outermost first", (kind, text), ("bound", bound))
    assert explain(policy(ask)) == expected


@pytest.mark.parametrize("case", SINGLE)
def test_a_bare_policy_is_explained_without_a_name(case):
    """A policy around nothing is called a pipeline, and says the same."""
    policy, text, bound = SINGLE[case]
    [kind] = [policy.kind for policy in policy.policies]
    expected = golden("a pipeline: 1 policy, outermost first", (kind, text), ("bound", bound))
    assert explain(policy) == expected


README = """\
price: 4 policies, outermost first
  fallback          small, then a fixed value
  timeout           10 s for everything inside
  retry             3 attempts on transient errors; full jitter 0.1 s .. 20 s
  timeout           3 s per attempt
  bound             at most 3 calls and 10 s, then one fallback call (unbounded: small has no timeout)\
"""  # noqa: E501 - a golden text


def test_the_stack_of_the_readme_is_explained():
    """Decorators, a stack around the function and a named stack alone print the README's table."""
    policies = (
        fallback(to=[small], degrade=value(None)),
        timeout(10),
        retry(attempts=3),
        timeout(3),
    )

    async def price(sku): ...

    price.__qualname__ = "price"
    decorated = price
    for policy in reversed(policies):
        decorated = policy(decorated)
    assert explain(decorated) == README
    assert explain(stack(*policies)(price)) == README
    assert explain(stack(*policies, name="price")(ask)) == README
    assert explain(stack(*policies, name="price")) == README


WINDOW = "at 50 % failures of at least 10 calls in 30 s"


def test_the_standard_stack_is_explained():
    """`standard` has its name and its defaults."""
    assert explain(standard("prices")) == golden(
        "prices: 4 policies, outermost first",
        ("timeout", "30 s for everything inside"),
        ("retry", f"3 attempts on transient errors; {JITTER}"),
        (
            "circuit_breaker",
            f'"prices": closed; opens {WINDOW}, probes after 30 s',
        ),
        ("timeout", "10 s per attempt"),
        ("bound", "at most 3 calls and 30 s"),
    )


def test_an_empty_stack_is_explained():
    """No policy leaves one call, for as long as it takes."""
    expected = golden("ask: 0 policies, outermost first", ("bound", ONE_CALL))
    assert explain(stack()(ask)) == expected


def test_a_fallback_that_is_not_outermost_is_in_the_sum():
    """Inside a timeout the fallback's calls are counted with the others."""
    assert explain(stack(timeout(20), fallback(to=[large]))(ask)) == golden(
        "ask: 2 policies, outermost first",
        ("timeout", "20 s for everything inside"),
        ("fallback", "large"),
        ("bound", "at most 3 calls and 20 s"),
    )


def test_two_fallbacks_are_explained():
    """A last resort around a fallback adds no call."""
    policy = stack(fallback(degrade=value(1)), fallback(to=[large]), timeout(2))
    assert explain(policy(ask)) == golden(
        "ask: 3 policies, outermost first",
        ("fallback", "a fixed value"),
        ("fallback", "large"),
        ("timeout", "2 s per attempt"),
        ("bound", "at most 3 calls and 72 s"),
    )


@pytest.mark.parametrize("outermost", [0, 1])
def test_the_name_of_the_outermost_named_stack_counts(outermost):
    """A function under two named stacks has the outer name, under one the only one."""
    names = ["outer", "inner"][outermost:]
    fn = ask
    for name in reversed(names):
        fn = stack(timeout(5 if name == "inner" else 6), name=name)(fn)
    assert explain(fn).startswith(f"{names[0]}: {len(names)} polic")


@pytest.mark.parametrize("wrap", [foreign, functools.partial], ids=["wraps", "partial"])
def test_a_foreign_wrapper_around_a_guard_is_explained(wrap):
    """What stands under the wrapper is named, not unfolded."""
    assert explain(timeout(9)(wrap(large))) == golden(
        "large: 1 policy, outermost first",
        ("timeout", "9 s per attempt"),
        ("then", "large, which is guarded itself"),
        ("bound", "at most 1 call and 9 s"),
    )


def test_a_foreign_wrapper_around_no_guard_is_not_mentioned():
    """Without a guard inside there is no such line."""
    expected = golden(
        "ask: 1 policy, outermost first",
        ("timeout", "9 s per attempt"),
        ("bound", "at most 1 call and 9 s"),
    )
    assert explain(timeout(9)(foreign(foreign(ask)))) == expected


def test_a_manager_is_explained():
    """Each target has a line, and so have the last resort, the deadline and the worst case."""
    manager = FallbackManager(
        [
            Target("first", ask, timeout=8, attempts=2),
            Target("second", small, timeout=10),
            Target("third", small),
        ],
        deadline=60,
        degrade=value("secret"),
        name="llm",
    )
    assert explain(manager) == golden(
        "llm: 3 targets, in this order",
        ("first", f"retry: 2 attempts on transient errors; {JITTER}; timeout: 8 s per attempt"),
        ("second", "timeout: 10 s per attempt"),
        ("third", "no policies of its own"),
        ("at last", "a fixed value"),
        ("deadline", "60 s for the whole chain"),
        ("bound", "at most 4 calls and 60 s"),
    )
    assert manager.explain() == explain(manager)


def test_the_smallest_manager_is_explained():
    """One target without policies, and no more than is there."""
    assert explain(FallbackManager([small])) == golden(
        "manager: 1 target, in this order",
        ("small", "no policies of its own"),
        ("bound", ONE_CALL),
    )


def test_a_manager_is_explained_in_the_order_of_priority():
    """The target with the lower priority stands first."""
    manager = FallbackManager([Target("late", small, priority=2), Target("early", ask)])
    assert [line.split()[0] for line in explain(manager).splitlines()[1:3]] == ["early", "late"]


def test_a_target_with_a_stack_of_its_own_is_explained():
    """Its policies stand in one line, outermost first."""
    policies = stack(timeout(30), retry(), timeout(8))
    assert explain(FallbackManager([Target("only", ask, policies=policies)])) == golden(
        "manager: 1 target, in this order",
        (
            "only",
            (
                "timeout: 30 s for everything inside;"
                f" retry: 3 attempts on transient errors; {JITTER}; timeout: 8 s per attempt"
            ),
        ),
        ("bound", "at most 3 calls and 30 s"),
    )


def test_the_manager_behind_a_function_explains_the_function():
    """`manager_of` says what `explain` says of the function, and has its worst case."""
    fn = fallback(to=[large])(timeout(9)(ask))
    assert explain(manager_of(fn)) == explain(fn)
    assert manager_of(fn).bound == pipeline_of(fn).bound


def test_explaining_a_method_needs_no_instance():
    """A guarded method is explained bound and unbound, by its qualified name."""

    class Service:
        @timeout(3)
        async def ask(self): ...

        @timeout(3)
        @classmethod
        async def of_class(cls): ...

    expected = "test_explaining_a_method_needs_no_instance.<locals>.Service.ask: 1 policy"
    assert explain(Service.ask).startswith(expected)
    assert explain(Service().ask) == explain(Service.ask)
    assert explain(Service.of_class) == explain(Service().of_class)


# What there is nothing to say of.

UNGUARDED = {
    "function": (ask, "ask"),
    "lambda": (lambda: None, "<lambda>"),
    "foreign wrapper": (foreign(medium), "medium"),
    "partial": (functools.partial(medium, 1), "medium"),
    "class": (Busy, "Busy"),
    "class of managers": (FallbackManager, "FallbackManager"),
    "decorator": (retry, "retry"),
    "None": (None, "NoneType"),
    "number": (3, "int"),
    "text": ("secret", "str"),
}


@pytest.mark.parametrize("case", UNGUARDED)
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (explain, "is not guarded: there is nothing to explain"),
        (pipeline_of, "is not guarded: no policy decorates it"),
        (manager_of, "has no fallback: there is no manager behind it"),
    ],
    ids=["explain", "pipeline_of", "manager_of"],
)
def test_what_is_not_guarded_is_a_type_error(asked, message, case):
    """The error names the function, or the type of what is none."""
    thing, name = UNGUARDED[case]
    with pytest.raises(TypeError) as caught:
        asked(thing)
    assert str(caught.value).endswith(f"{name} {message}")


def test_there_is_no_manager_without_a_fallback():
    """`manager_of` of a function with other policies is a `TypeError` that names it."""
    with pytest.raises(TypeError, match=r"^medium has no fallback: there is no manager behind it$"):
        manager_of(medium)


def test_there_is_no_pipeline_of_a_manager():
    """`pipeline_of` of a manager is a `TypeError`."""
    with pytest.raises(TypeError, match=r"^FallbackManager is not guarded"):
        pipeline_of(FallbackManager([small]))


def test_the_pipeline_of_a_pipeline_is_itself():
    """`pipeline_of` takes a bare pipeline as well."""
    policy = stack(timeout(9), retry())
    assert pipeline_of(policy) is policy
    assert pipeline_of(policy(ask)) is policy


# The worst case, in figures.

BOUNDS = {
    "nothing": (stack(), 1, inf),
    "timeout": (timeout(8), 1, 8),
    "shorter timeout inside": (stack(timeout(30), timeout(8)), 1, 8),
    "retry": (retry(attempts=4), 4, inf),
    "hints of up to 60 s": (stack(retry(), timeout(8)), 3, 3 * 8 + 2 * 60),
    "smaller hints": (stack(retry(max_hint=30), timeout(8)), 3, 3 * 8 + 2 * 30),
    "no hints, cap of 20 s": (stack(retry(max_hint=0), timeout(8)), 3, 3 * 8 + 2 * 20),
    "no hints, list": (stack(retry(max_hint=0, backoff=[1, 5]), timeout(8)), 3, 3 * 8 + 2 * 5),
    "waits above any hint": (stack(retry(backoff=[90]), timeout(8)), 3, 3 * 8 + 2 * 90),
    "unknown waits": (stack(retry(backoff=waits), timeout(8)), 3, inf),
    "predicate that may wait": (stack(retry(on=looks_busy), timeout(8)), 3, inf),
    "result that may wait": (stack(retry(on_result=is_empty), timeout(8)), 3, inf),
    "one attempt": (stack(retry(attempts=1), timeout(8)), 1, 8),
    "max_elapsed": (stack(retry(max_elapsed=30), timeout(8)), 3, 38),
    "max_elapsed that is no limit": (stack(retry(max_elapsed=999), timeout(8)), 3, 144),
    "any number": (stack(retry(attempts=None, max_elapsed=30), timeout(5)), inf, 35),
    "total": (stack(timeout(30), retry(), timeout(8)), 3, 30),
    "fallback": (stack(fallback(to=[large]), timeout(9)), 1 + 2, 9 + 70),
    "two fallbacks": (stack(fallback(to=[medium, large]), timeout(9)), 1 + 1 + 2, 9 + 8 + 70),
    "unlimited fallback": (stack(fallback(to=[small]), timeout(9)), 2, inf),
    "degrade": (stack(fallback(degrade=value(1)), timeout(9)), 1, 9),
    "standard": (standard("x", attempts=5, timeout=None), 5, 5 * 10 + 4 * 60),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_the_worst_case_is_computed(case):
    """Calls multiply and add up, seconds too with the waits, and a timeout caps them."""
    policy, calls, seconds = BOUNDS[case]
    bound = pipeline_of(policy(ask)).bound
    assert (bound.calls, bound.seconds) == (calls, seconds)
    assert policy.bound == bound


def test_retries_around_retries_multiply():
    """Three attempts around four are twelve calls."""
    with pytest.warns(UserWarning, match="12 calls"):
        policy = stack(retry(), retry(attempts=4))
    assert policy.bound.calls == 12


def test_the_worst_case_of_a_manager_adds_up_to_its_deadline():
    """Targets add up, with the policies of a guarded callable inside those of its target."""
    targets = [
        Target("first", ask, timeout=8, attempts=2),
        Target("second", large),
        Target("third", large, timeout=20),
    ]
    bound = FallbackManager(targets).bound
    assert (bound.calls, bound.seconds) == (2 + 2 + 2, (2 * 8 + 60) + 70 + 20)
    assert FallbackManager(targets, deadline=60).bound.seconds == 60
