"""Bad options are refused where they are written, by a message that says what is accepted.

Every row of the tables below is one option: how to give it, its name in the
message, what the message says is accepted, and the values that are refused.
"""

from __future__ import annotations

import math
import threading
from datetime import timedelta

import pytest

from resilient import FallbackManager, Target, fallback, retry, stack, standard, timeout, value

NAN, INF = math.nan, math.inf
LESS = timedelta(seconds=-1)
SECONDS = "seconds above 0 (a number or a timedelta)"
FROM_0 = "seconds from 0 on (a number or a timedelta)"
COUNT = "a whole number of at least 1"
TEXT = "a text that is not empty"
CONDITION = "an exception class"
RESULT = "a predicate on the returned value"
RAISES = "'group', 'first' or 'last'"
LISTENERS = "on_event(event, call)"


async def ask(question): ...


async def judge(error): ...


class Telling:
    """An object whose repr must not be printed."""

    def __repr__(self):
        return "secret"


class NoListener:
    """Has an `on_event` that cannot be called."""

    on_event = 3


BAD_SECONDS = [0, 0.0, -1, -0.5, NAN, INF, -INF, True, False, "8", "", [8], Telling(), LESS]
BAD_SECONDS += [timedelta(0), 10**400]
BAD_FROM_0 = [bad for bad in BAD_SECONDS if bad not in (0, timedelta(0)) or bad is False] + [None]
BAD_COUNT = [0, -1, 2.0, 0.5, NAN, INF, True, False, "3", "", [3], Telling()]
BAD_TEXT = ["", 3, True, False, 0, NAN, [], ["name"], b"name", Telling()]
BAD_CONDITION = [3, True, NAN, "", "ConnectionError", [ConnectionError], {}, object(), int, object]
BAD_CONDITION += [ValueError(), (ValueError, 3), ((ValueError, ("",)),)]
BAD_RESULT = [3, True, NAN, "", [], bool, ValueError, Telling()]
NO_FUNCTION = [3, 0, True, False, NAN, "", "judge", [], {}, Telling()]
NO_LIST = [3, 0, True, False, NAN, "", "ask", {}, {"ask": ask}, {1}, Telling()]
BAD_LISTENERS = [[3], [None], [print], [NoListener()]]
BAD_RAISES = [None, "", "all", "Group", 3, True, NAN, [], ("group",)]
NO_LAST_RESORT = [3, 0, True, False, NAN, "", "answer", [], {}, Telling(), value, str]
BAD_ROUTES = [3, True, NAN, "", [], [ValueError], {3: ["a"]}, {"ValueError": ["a"]}, {None: []}]
BAD_ROUTES += [{int: ["a"]}, {BaseException: ["a"]}, {KeyboardInterrupt: []}, {(ValueError,): []}]
BAD_NAMES = [{ValueError: "a"}, {ValueError: None}, {ValueError: 3}, {ValueError: {"a"}}]


def giving(make, option, **others):
    """Return how to give one option by its keyword."""
    return lambda bad: make(**others, **{option: bad})


def manager(**options):
    return FallbackManager([ask], **options)


def target(**options):
    return Target("name", **options)


def last(**options):
    return fallback(degrade=value(1), **options)


def prices(**options):
    return standard("prices", **options)


RETRY = [
    ("retry(attempts=)", giving(retry, "attempts"), COUNT, BAD_COUNT),
    ("retry(attempts=None)", giving(retry, "attempts"), "max_elapsed=", [None]),
    ("retry(on=)", giving(retry, "on"), CONDITION, [*BAD_CONDITION, None]),
    ("retry(on=)", giving(retry, "on"), "name an error or a predicate", [(), (ValueError, ())]),
    ("retry(on=)", giving(retry, "on"), "name an Exception", [BaseException, KeyboardInterrupt]),
    ("retry(on=)", giving(retry, "on"), "a plain function", [judge, (ValueError, judge)]),
    ("retry(on_result=)", giving(retry, "on_result"), RESULT, BAD_RESULT),
    ("retry(on_result=)", giving(retry, "on_result"), "a plain function", [judge]),
    (
        "retry(backoff=)",
        giving(retry, "backoff"),
        "a backoff such as exponential() or constant(1), a list of seconds, or a function",
        [3, 0, True, False, NAN, "", "full", {}, {1}, Telling()],
    ),
    ("retry(backoff=)", giving(retry, "backoff"), "at least one wait in seconds", [[], ()]),
    ("retry(backoff=)", giving(retry, "backoff"), "a plain function", [judge]),
    ("retry(backoff=)[1]", lambda bad: retry(backoff=[0, bad]), FROM_0, BAD_FROM_0),
    ("retry(max_elapsed=)", giving(retry, "max_elapsed"), SECONDS, BAD_SECONDS),
    ("retry(max_hint=)", giving(retry, "max_hint"), FROM_0, BAD_FROM_0),
    ("retry(budget=)", giving(retry, "budget"), "a RetryBudget", NO_FUNCTION),
    ("retry(classify=)", giving(retry, "classify"), "a function", NO_FUNCTION),
    (
        "retry(layered=)",
        giving(retry, "layered"),
        "'allow' or 'warn'",
        [None, "", "deny", "Allow", 3, True, NAN, []],
    ),
    ("retry()", retry, "options by keyword", [3, 0, True, NAN, [], "", ValueError()]),
]

TIMEOUT = [
    ("timeout(seconds)", timeout, SECONDS, [*BAD_SECONDS, None]),
    ("timeout", timeout, "@timeout(8)", [ask, len, Telling]),
    ("timeout(first_item=)", giving(timeout, "first_item"), SECONDS, BAD_SECONDS),
    ("timeout(between_items=)", giving(timeout, "between_items"), SECONDS, BAD_SECONDS),
    (
        "timeout(first_item=)",
        lambda bad: timeout(8, first_item=bad),
        "less than the 8 s for the whole stream",
        [8, 8.5, timedelta(seconds=8)],
    ),
    (
        "timeout(between_items=)",
        lambda bad: timeout(8, between_items=bad),
        "less than the 8 s for the whole stream",
        [8, 9],
    ),
]


def chain(name, make):
    """Return the rows of the options that a chain has in both of its spellings."""

    def row(option, accepted, bad):
        return f"{name}({option}=)", giving(make, option), accepted, bad

    return [
        row("on", CONDITION, BAD_CONDITION),
        row("on", "name an error or a predicate", [(), (ValueError, ())]),
        row("on", "name an Exception", [BaseException, KeyboardInterrupt]),
        row("on", "a plain function", [judge]),
        row("on_result", RESULT, BAD_RESULT),
        row("on_result", "a plain function", [judge]),
        row("routes", "exception classes", BAD_ROUTES),
        row("routes", "a list of target names", BAD_NAMES),
        row("routes", TEXT, [{ValueError: [bad]} for bad in [*BAD_TEXT, None]]),
        row("switch_after", FROM_0, BAD_FROM_0),
        row("raises", RAISES, BAD_RAISES),
    ]


FALLBACK = [
    *chain("fallback", last),
    ("fallback(to=)", giving(fallback, "to"), "a list of async functions", [*NO_LIST, None, ask]),
    ("fallback(to=)", lambda bad: fallback(to=[bad]), "an async function", [*NO_FUNCTION, None]),
    ("fallback(degrade=)", giving(fallback, "degrade"), "value(...)", NO_LAST_RESORT),
    ("fallback()", giving(fallback, "to"), "to= or degrade=", [[], ()]),
    ("fallback()", giving(fallback, "degrade"), "to= or degrade=", [None]),
    ("fallback", fallback, "to= or degrade=", [ask, 3, None, [ask], value(1)]),
    (
        "fallback(routes=)",
        lambda bad: last(routes={ValueError: [bad]})(ask),
        "there are ask",
        ["other", "ask#2"],
    ),
]

STACK = [
    (
        "stack()",
        stack,
        "policies such as retry() or timeout(8)",
        [None, 3, True, NAN, "", "retry", [], [retry()], ask, retry, timeout, Telling()],
    ),
    ("stack(name=)", giving(stack, "name"), TEXT, BAD_TEXT),
    ("stack(listeners=)", giving(stack, "listeners"), "a list of listeners", [*NO_LIST, None]),
    ("stack(listeners=)", giving(stack, "listeners"), LISTENERS, BAD_LISTENERS),
]

STANDARD = [
    ("standard(name)", standard, TEXT, [*BAD_TEXT, None]),
    ("(attempts=)", giving(prices, "attempts"), COUNT, BAD_COUNT),
    ("standard(timeout=)", giving(prices, "timeout"), SECONDS, BAD_SECONDS),
    ("standard(attempt_timeout=)", giving(prices, "attempt_timeout"), SECONDS, BAD_SECONDS),
    (
        "(to=)",
        giving(prices, "to"),
        "a list of async functions",
        [ask, *(bad for bad in NO_LIST if bad)],
    ),
    ("(to=)", lambda bad: prices(to=[bad]), "an async function", [*NO_FUNCTION, None]),
    ("(degrade=)", giving(prices, "degrade"), "value(...)", NO_LAST_RESORT),
]

VALUE = [
    ("value(factory=)", giving(value, "factory"), "a function", NO_FUNCTION),
    ("value()", lambda bad: value(bad, factory=list), "either an answer or factory=", [1, None]),
    ("value()", lambda bad: value(**bad), "either an answer or factory=", [{}, {"factory": None}]),
    (
        "value()",
        value,
        "give factory=",
        [threading.Lock(), (n for n in ()), {"a": [threading.Lock()]}],
    ),
]

TARGET = [
    ("Target(name)", Target, TEXT, [*BAD_TEXT, None]),
    ("Target('a', call)", lambda bad: Target("a", bad), "an async function", NO_FUNCTION),
    ("Target('a', call)", lambda bad: Target("a", bad), "async function", [[ask], (ask,)]),
    ("Target(timeout=)", giving(target, "timeout"), SECONDS, BAD_SECONDS),
    ("Target(attempts=)", giving(target, "attempts"), COUNT, BAD_COUNT),
    ("Target(policies=)", giving(target, "policies"), "a policy or a stack", NO_FUNCTION),
    (
        "Target(policies=)",
        giving(target, "policies"),
        "a policy or a stack",
        [retry, timeout, ask, [retry()]],
    ),
    (
        "Target(policies=)",
        lambda bad: Target("a", policies=retry(), **bad),
        "give one",
        [{"timeout": 8}, {"attempts": 2}, {"timeout": 8, "attempts": 2}],
    ),
    (
        "Target(scopes=)",
        giving(target, "scopes"),
        "map names to keys",
        [3, 0, True, NAN, "", "host", ["host"], [("host", "a")], {"host"}, Telling()],
    ),
    ("Target(scopes=)", lambda bad: target(scopes={bad: "key"}), TEXT, [None, "", 3, True, NAN]),
    (
        "Target(scopes=) for 'host'",
        lambda bad: target(scopes={"host": bad}),
        TEXT,
        [*BAD_TEXT, None],
    ),
    (
        "Target(scopes=)",
        lambda bad: target(scopes={bad: "key"}),
        "the chain itself uses that name",
        ["request", "target"],
    ),
    (
        "Target(priority=)",
        giving(target, "priority"),
        "number",
        [None, True, False, NAN, INF, -INF, "1", "", [], Telling()],
    ),
    ("Target(classify=)", giving(target, "classify"), "a function", NO_FUNCTION),
    (
        "Target(enabled=)",
        giving(target, "enabled"),
        "a bool or a function",
        [None, 0, 1, NAN, "", "no", [], Telling()],
    ),
]

MANAGER = [
    *chain("FallbackManager", manager),
    (
        "FallbackManager(targets)",
        FallbackManager,
        "a list of Targets or async functions",
        [*NO_LIST, None, ask, Target("a", ask)],
    ),
    ("FallbackManager(targets)", FallbackManager, "at least one target", [[], ()]),
    (
        "FallbackManager(targets)",
        lambda bad: FallbackManager([bad]),
        "an async function",
        [*NO_FUNCTION, None, (ask,)],
    ),
    (
        "FallbackManager(targets)",
        FallbackManager,
        "names tell targets apart",
        [[Target("a", ask), Target("a", ask)], [Target("ask", ask), Target("ask", judge)]],
    ),
    (
        "FallbackManager(targets)",
        FallbackManager,
        "either every target has a callable or none has",
        [[Target("a", ask), Target("b")], [ask, Target("b")]],
    ),
    (
        "FallbackManager(routes=)",
        lambda bad: manager(routes={ValueError: [bad]}),
        "there are ask",
        ["other", "ask#2"],
    ),
    ("FallbackManager(deadline=)", giving(manager, "deadline"), SECONDS, BAD_SECONDS),
    (
        "FallbackManager(reserve=)",
        giving(manager, "reserve"),
        FROM_0,
        [bad for bad in BAD_FROM_0 if bad is not None],
    ),
    ("FallbackManager(trip_for=)", giving(manager, "trip_for"), SECONDS, [*BAD_SECONDS, None]),
    ("FallbackManager(degrade=)", giving(manager, "degrade"), "value(...)", NO_LAST_RESORT),
    ("FallbackManager(group=)", giving(manager, "group"), "a class of group", [*NO_FUNCTION, None]),
    ("FallbackManager(name=)", giving(manager, "name"), TEXT, [*BAD_TEXT, None]),
    (
        "FallbackManager(listeners=)",
        giving(manager, "listeners"),
        "a list of listeners",
        [*NO_LIST, None],
    ),
    ("FallbackManager(listeners=)", giving(manager, "listeners"), LISTENERS, BAD_LISTENERS),
]


ROWS = [*RETRY, *TIMEOUT, *FALLBACK, *STACK, *STANDARD, *VALUE, *TARGET, *MANAGER]
CASES = [
    pytest.param(*row, bad, id=f"{row[0]} {number}.{place} {type(bad).__name__}")
    for number, (*row, values) in enumerate(ROWS)
    for place, bad in enumerate(values)
]


@pytest.mark.parametrize(("option", "make", "accepted", "bad"), CASES)
def test_a_bad_option_is_refused_where_it_is_written(option, make, accepted, bad):
    """The error names the option and what is accepted, and shows no object of the user's."""
    with pytest.raises((ValueError, TypeError)) as caught:
        make(bad)
    message = str(caught.value)
    assert type(caught.value) in {ValueError, TypeError}
    assert option in message
    assert accepted in message
    assert "secret" not in message
    assert "\n" not in message


CALLS = {
    "retry(tries=3)": lambda: retry(tries=3),
    "timeout()": timeout,
    "timeout(8, 9)": lambda: timeout(8, 9),
    "timeout(seconds=8)": lambda: timeout(seconds=8),
    "fallback(after=3)": lambda: fallback(to=[ask], after=3),
    "fallback(deadline=3)": lambda: fallback(to=[ask], deadline=3),
    "stack(retries=3)": lambda: stack(retries=3),
    "standard()": standard,
    "value(1, 2)": lambda: value(1, 2),
    "Target()": Target,
    "Target('a', ask, 8)": lambda: Target("a", ask, 8),
    "FallbackManager()": FallbackManager,
    "FallbackManager([ask], 60)": lambda: FallbackManager([ask], 60),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_or_missing_option_is_a_type_error(call):
    """Options are given by their keyword, and none is guessed."""
    with pytest.raises(TypeError):
        CALLS[call]()


VALUES = {
    "timeout(None)": lambda: timeout(None),
    "timeout(nan)": lambda: timeout(NAN),
    "timeout(0)": lambda: timeout(0),
    "attempts=0": lambda: retry(attempts=0),
    "attempts=1.5": lambda: retry(attempts=1.5),
    "name=''": lambda: stack(name=""),
    "priority=nan": lambda: Target("a", priority=NAN),
}
TYPES = {
    "timeout('8')": lambda: timeout("8"),
    "timeout(True)": lambda: timeout(True),
    "attempts='3'": lambda: retry(attempts="3"),
    "name=3": lambda: stack(name=3),
    "priority='1'": lambda: Target("a", priority="1"),
}


@pytest.mark.parametrize("call", VALUES)
def test_what_is_out_of_range_is_a_value_error(call):
    """NaN, `None` for a number, zero and an empty text are values and no types."""
    with pytest.raises(ValueError, match="must be"):
        VALUES[call]()


@pytest.mark.parametrize("call", TYPES)
def test_what_is_of_another_type_is_a_type_error(call):
    """A text or a bool is no number, and a number is no text."""
    with pytest.raises(TypeError, match="must be"):
        TYPES[call]()


GOOD = {
    "retry": lambda: retry(attempts=1, max_hint=0, backoff=[0], layered="warn"),
    "no number of attempts": lambda: retry(attempts=None, max_elapsed=timedelta(seconds=1)),
    "nothing given": lambda: retry(max_elapsed=None, on_result=None, backoff=None, budget=None),
    "timeout": lambda: [timeout(1), timeout(0.001), timeout(timedelta(days=1))],
    "fallback": lambda: fallback(to=(ask,), switch_after=0, routes={}, raises="last"),
    "routes to nobody": lambda: last(routes={ValueError: []})(ask),
    "stack": lambda: stack(name=None, listeners=()),
    "standard": lambda: standard("a", timeout=None, attempt_timeout=None, to=[], degrade=None),
    "value": lambda: [value(None), value(False), value(factory=list)],
    "Target": lambda: Target("a", scopes=None, priority=-1.5, enabled=bool, attempts=1),
    "manager": lambda: manager(deadline=None, reserve=0, trip_for=0.1, routes={OSError: ["ask"]}),
}


@pytest.mark.parametrize("case", GOOD)
def test_values_at_the_edge_are_accepted(case):
    """The smallest values, and `None` where it means the default, are good."""
    assert GOOD[case]()
