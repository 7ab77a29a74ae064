"""Orders that are almost surely wrong: who warns, of what, how often and where."""

from __future__ import annotations

import functools
import inspect
import warnings
from math import inf

import pytest

from resilient import (
    FallbackManager,
    PolicyOrderWarning,
    Target,
    circuit_breaker,
    consecutive,
    fallback,
    retry,
    stack,
    standard,
    time_window,
    timeout,
    value,
)


async def ask(): ...


async def small(): ...


def here():
    """Return the number of the line that calls this."""
    return inspect.currentframe().f_back.f_lineno


def foreign(fn):
    @functools.wraps(fn)
    async def wrapper():
        return await fn()

    return wrapper


@pytest.fixture
def heard():
    """Return the warnings that are given in a test: all of them, not each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@pytest.fixture
def _no_warning():
    """Make every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def texts(heard):
    assert {warning.category for warning in heard} <= {PolicyOrderWarning}
    return [str(warning.message) for warning in heard]


def plan(attempts):
    if attempts == inf:
        return retry(attempts=None, max_elapsed=60)
    return retry(attempts=attempts)


MULTIPLIES = "retry around retry multiplies: {}; keep one of them, or share a budget"
NEVER = "the inner timeout of {} s never expires inside one of {} s; make the inner one shorter"
HIDES = (
    "fallback inside retry hides the failures from it, so nothing is tried again;"
    " put the fallback outside"
)

WRONG = {
    "3 x 4": (retry(), retry(attempts=4), MULTIPLIES.format("3 x 4 = 12 calls")),
    "4 x 3": (retry(attempts=4), retry(), MULTIPLIES.format("4 x 3 = 12 calls")),
    "10 x 10": (plan(10), plan(10), MULTIPLIES.format("10 x 10 = 100 calls")),
    "8 in 5": (timeout(5), timeout(8), NEVER.format("8", "5")),
    "equal": (timeout(5), timeout(5), NEVER.format("5", "5")),
    "parts": (timeout(0.05), timeout(0.1), NEVER.format("0.1", "0.05")),
    "degrade": (retry(), fallback(degrade=value(1)), HIDES),
    "to": (retry(), fallback(to=[small]), HIDES),
}
RIGHT = {
    "timeouts": (timeout(5), timeout(4.999)),
    "total": (timeout(5), retry()),
    "attempt": (retry(), timeout(5)),
    "retry in a fallback": (fallback(to=[small]), retry()),
    "timeout in a fallback": (fallback(to=[small]), timeout(5)),
    "fallback in a timeout": (timeout(5), fallback(to=[small])),
    "fallbacks": (fallback(degrade=value(1)), fallback(to=[small])),
}
PAIRS = pytest.mark.parametrize("pair", WRONG)


@PAIRS
def test_decorators_in_a_wrong_order_warn_once_where_the_pair_is_complete(pair, heard):
    """The outer decorator warns, once, on its own line and with the arithmetic."""
    outer, inner, message = WRONG[pair]
    guarded = inner(ask)
    outer(ask)
    assert texts(heard) == []
    outer(guarded)
    line = here() - 1
    assert texts(heard) == [f"ask: {message}"]
    assert (heard[0].filename, heard[0].lineno) == (__file__, line)


@PAIRS
def test_a_decorated_definition_warns_on_the_line_of_the_decorator(pair, heard):
    """The line is that of the outer decorator and not of the function or the inner one."""
    outer, inner, message = WRONG[pair]
    line = here() + 2

    @outer
    @inner
    async def fetch(): ...

    assert texts(heard) == [f"{fetch.__qualname__}: {message}"]
    assert (heard[0].filename, heard[0].lineno) == (__file__, line)


@PAIRS
def test_a_stack_in_a_wrong_order_warns_once_where_it_is_built(pair, heard):
    """`stack` warns once, on the user's line, and says its name."""
    outer, inner, message = WRONG[pair]
    line = here() + 1
    stack(outer, inner)
    stack(outer, inner, name="llm")
    assert texts(heard) == [f"stack: {message}", f"llm: {message}"]
    places = [(warning.filename, warning.lineno) for warning in heard]
    assert places == [(__file__, line), (__file__, line + 1)]


@PAIRS
def test_what_stands_between_does_not_hide_the_pair(pair, heard):
    """The lint looks at everything inside, not only at the next policy."""
    outer, inner, message = WRONG[pair]
    between = stack(name="between")
    stack(outer, between, inner)
    stack(outer, fallback(to=[small]) if outer.policies[0].kind != "retry" else timeout(99), inner)
    assert texts(heard) == [f"stack: {message}"] * 2


@PAIRS
def test_a_stack_that_has_warned_says_nothing_more(pair, heard):
    """It decorates, calls and is put into other stacks without a word."""
    outer, inner, _ = WRONG[pair]
    warned = stack(outer, inner)
    heard.clear()
    warned(ask)
    warned(small)
    stack(warned)
    stack(warned, name="again")(ask)
    stack(fallback(to=[small]), warned)
    Target("ask", ask, policies=warned)
    assert texts(heard) == []


@PAIRS
def test_a_function_that_has_warned_says_nothing_more(pair, heard):
    """Another decorator around it speaks only of its own pairs."""
    outer, inner, _ = WRONG[pair]
    warned = outer(inner(ask))
    heard.clear()
    fallback(to=[small])(warned)
    FallbackManager([Target("ask", warned)])
    assert texts(heard) == []


@pytest.mark.usefixtures("_no_warning")
@PAIRS
def test_the_lint_does_not_look_across_a_foreign_decorator(pair):
    """What a foreign decorator holds is not seen by the policies around it."""
    outer, inner, _ = WRONG[pair]
    outer(foreign(inner(ask)))
    outer(functools.partial(inner(ask)))


@pytest.mark.usefixtures("_no_warning")
@PAIRS
def test_the_lint_looks_inward_only(pair):
    """The other order, the targets of a manager and those of `to=` are no pairs."""
    outer, inner, _ = WRONG[pair]
    fallback(to=[outer(ask), inner(ask)])(small)
    FallbackManager([Target("a", inner(ask), policies=outer)])
    if outer.policies[0].kind != inner.policies[0].kind:
        stack(inner, outer)


@pytest.mark.usefixtures("_no_warning")
@pytest.mark.parametrize("pair", RIGHT)
def test_a_right_order_does_not_warn(pair):
    """Neither do decorators nor a stack."""
    outer, inner = RIGHT[pair]
    stack(outer, inner)
    outer(inner(ask))


@pytest.mark.usefixtures("_no_warning")
def test_defaults_do_not_warn():
    """The plain use of everything, and the good order of it all, is silent."""
    retry(ask)
    stack(fallback(to=[small], degrade=value(1)), timeout(30), retry(), timeout(8))(ask)
    standard("prices")(ask)
    standard("prices", attempts=5, to=[small], degrade=value(1))
    standard("prices", timeout=None)
    standard("prices", attempt_timeout=None)
    Target("ask", ask, timeout=8, attempts=2)


def test_each_pair_of_three_warns_once(heard):
    """Three retries are three pairs, for decorators and for a stack."""
    two, three, four = (retry(attempts=number) for number in (2, 3, 4))
    expected = ["3 x 4 = 12", "2 x 3 = 6", "2 x 4 = 8"]
    stack(two, three, four)
    built = [text.partition("multiplies: ")[2].partition(" calls")[0] for text in texts(heard)]
    assert sorted(built) == sorted(expected)
    heard.clear()
    two(three(four(ask)))
    made = [text.partition("multiplies: ")[2].partition(" calls")[0] for text in texts(heard)]
    assert made == expected


def test_one_decorator_warns_of_each_kind(heard):
    """A stack around a function warns of the pairs that it completes, and of no others."""
    inner = timeout(9)(fallback(degrade=value(1))(retry(attempts=2)(ask)))
    assert texts(heard) == []
    stack(timeout(4), retry())(inner)
    assert texts(heard) == [
        f"ask: {NEVER.format('9', '4')}",
        f"ask: {HIDES}",
        f"ask: {MULTIPLIES.format('3 x 2 = 6 calls')}",
    ]


def test_bare_retry_warns_on_the_users_line(heard):
    """Without its parentheses the decorator points at the same place."""
    line = here() + 2

    @retry
    @retry(attempts=2)
    async def fetch(): ...

    assert texts(heard) == [
        f"{fetch.__qualname__}: {MULTIPLIES.format('3 x 2 = 6 calls')}",
    ]
    assert (heard[0].filename, heard[0].lineno) == (__file__, line)


def test_methods_warn_on_the_users_line(heard):
    """Above a static or class method and around a bound one, the line is the user's."""
    first = here() + 4

    class Service:
        @staticmethod
        @timeout(4)
        @timeout(9)
        async def static_below(): ...

        @timeout(4)
        @staticmethod
        @timeout(9)
        async def static_above(): ...

        @timeout(4)
        @classmethod
        @timeout(9)
        async def class_above(cls): ...

        @timeout(9)
        async def method(self): ...

    timeout(4)(Service().method)
    bound = here() - 1
    assert all(NEVER.format("9", "4") in text for text in texts(heard))
    assert {warning.filename for warning in heard} == {__file__}
    assert [warning.lineno for warning in heard] == [first, first + 4, first + 9, bound]


def test_standard_warns_on_the_users_line(heard):
    """A limit for each attempt that is longer than the one for all is warned of by its name."""
    standard("prices", timeout=5, attempt_timeout=8)
    line = here() - 1
    assert texts(heard) == [f"prices: {NEVER.format('8', '5')}"]
    assert (heard[0].filename, heard[0].lineno) == (__file__, line)


def test_a_target_warns_on_the_users_line(heard):
    """What is given to `policies=` has warned where it was written."""
    target = Target("ask", ask, policies=stack(timeout(5), timeout(8)))
    line = here() - 1
    FallbackManager([target])
    assert len(heard) == 1
    assert (heard[0].filename, heard[0].lineno) == (__file__, line)


def test_a_warning_can_be_made_an_error():
    """Under `-W error` the wrong order is refused where it is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", PolicyOrderWarning)
        with pytest.raises(PolicyOrderWarning, match="3 x 3 = 9 calls"):
            stack(retry(), retry())


def test_no_limit_of_attempts_has_no_product(heard):
    """With `attempts=None` the product is unlimited."""
    stack(plan(inf), plan(3))
    [text] = texts(heard)
    assert "unlimited x 3 = unlimited calls" in text
    assert "inf" not in text


class TestBreakers:
    """Breakers at a place where they see, or stop, other than what was meant."""

    @pytest.mark.parametrize("spelling", ["stack", "decorators"])
    def test_a_breaker_around_a_retry_counts_calls(self, spelling):
        """It sees one failure where four attempts have failed."""
        told = r"counts calls, not attempts: up to 4 attempts are one failure"
        made = {
            "stack": lambda: stack(circuit_breaker("x"), retry(attempts=4)),
            "decorators": lambda: circuit_breaker("x")(retry(attempts=4)(ask)),
        }
        with pytest.warns(PolicyOrderWarning, match=told) as caught:
            made[spelling]()
        assert len(caught) == 1
        assert caught[0].filename == __file__

    def test_a_window_that_forgets_between_two_timeouts_is_reported(self):
        """Both figures are named, and the least window that would do."""
        told = r"looks back 15 s and an attempt may take 8 s.*at least 16 s"
        with pytest.warns(PolicyOrderWarning, match=told):
            stack(circuit_breaker("x", trip=time_window(15)), timeout(8))

    @pytest.mark.parametrize(
        "breaker",
        [
            {"trip": time_window(16)},
            {"trip": consecutive(5)},
            {"open_for": 10},
            {},
        ],
        ids=["long enough", "no window", "the default window", "a reference"],
    )
    def test_a_window_that_was_not_given_is_not_reported(self, breaker):
        """A default never warns, nor does a rule without time."""
        stack(circuit_breaker("x", **breaker), timeout(8))
        stack(retry(), circuit_breaker("y", **breaker), timeout(5))

    @pytest.mark.parametrize("given", [{"open_for": 8}, {"probe_timeout": 8}])
    def test_a_probe_that_loses_its_place_before_its_timeout_is_reported(self, given):
        """Both figures are named: the timeout of a hanging probe would be a stale result."""
        told = r"keeps its place for 8 s and an attempt may take 8 s.*longer than 8 s"
        with pytest.warns(PolicyOrderWarning, match=told):
            stack(circuit_breaker("x", **given), timeout(8))

    @pytest.mark.parametrize(
        "given",
        [{"open_for": 8.001}, {"open_for": 8, "probe_timeout": 8.001}, {}],
        ids=["long enough", "a patience of its own", "the default"],
    )
    def test_a_probe_that_keeps_its_place_is_not_reported(self, given):
        """A default never warns, nor does a probe that has the time for its timeout."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            stack(circuit_breaker("x", **given), timeout(8))
            stack(circuit_breaker("y"), timeout(60))

    def test_targets_with_nothing_in_common_but_a_breaker_are_reported(self):
        """One breaker over several keys turns a partial outage into a total one."""
        shared = circuit_breaker("shared")
        eu = Target("eu", ask, policies=shared, scopes={"host": "eu.example.org"})
        us = Target("us", ask, policies=shared, scopes={"host": "us.example.org"})
        told = r'^manager: eu and us share the circuit breaker "shared" and none of their scopes'
        with pytest.warns(PolicyOrderWarning, match=told) as caught:
            FallbackManager([eu, us])
        assert len(caught) == 1

    def test_targets_that_fail_together_may_share_a_breaker(self):
        """Two models on one host, targets that say nothing, and keyed breakers are no mistake."""

        async def asks(question: str) -> None:
            """Answer."""

        shared, keyed = circuit_breaker("shared"), circuit_breaker("keyed", key="question")
        eu = {"host": "eu.example.org"}
        one = Target("one", ask, policies=shared, scopes={**eu, "model": "a"})
        two = Target("two", ask, policies=shared, scopes={**eu, "model": "b"})
        three = Target("three", ask, policies=shared)
        four = Target("four", asks, policies=keyed, scopes=eu)
        five = Target("five", asks, policies=keyed, scopes={"host": "us.example.org"})
        FallbackManager([one, two, three, four, five])


OF_ITEMS_WRONG = {
    "first item": (timeout(5), timeout(first_item=8), NEVER.format("8", "5")),
    "between items": (timeout(5), timeout(between_items=5), NEVER.format("5", "5")),
    "total": (timeout(5), timeout(8, first_item=2), NEVER.format("8", "5")),
}
OF_ITEMS_RIGHT = {
    "shorter": (timeout(5), timeout(first_item=4, between_items=4)),
    "without a total": (timeout(first_item=5), timeout(60)),
    "two of items": (timeout(between_items=2), timeout(between_items=3)),
    "a window of twice the first item": (
        circuit_breaker("items", trip=time_window(10)),
        timeout(first_item=5, between_items=1),
    ),
    "a window and a stream without end": (
        circuit_breaker("items", trip=time_window(10)),
        timeout(between_items=9),
    ),
}


@pytest.mark.parametrize("pair", OF_ITEMS_WRONG)
def test_limits_of_items_that_never_expire_are_told(pair, heard):
    """A limit of items that is no shorter than one around it warns as any other."""
    outer, inner, message = OF_ITEMS_WRONG[pair]
    stack(outer, inner)
    assert texts(heard) == [f"stack: {message}"]


@pytest.mark.usefixtures("_no_warning")
@pytest.mark.parametrize("pair", OF_ITEMS_RIGHT)
def test_limits_of_items_that_can_expire_are_fine(pair):
    """A limit that was not given is not compared with anything."""
    outer, inner = OF_ITEMS_RIGHT[pair]
    stack(outer, inner)
