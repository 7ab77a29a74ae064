"""Facts that no other test noticed when a line of the core was broken on purpose."""

from __future__ import annotations

from math import inf

import pytest

from resilient import any_of, consecutive, count_window, time_window
from resilient._core.backoff import constant
from resilient._core.breaker_policy import BreakerPolicy, lesson
from resilient._core.deadline import left
from resilient._core.faults import Fault
from resilient._core.last_good import Answers, LastGood
from resilient._core.transient import Table, transient

# How much time is left


@pytest.mark.parametrize(
    ("now", "deadlines", "seconds"),
    [(1, (4, 3), 2), (3, (3,), 0), (5, (4,), 0), (5, (), inf), (5, (inf,), inf), (2.5, (3,), 0.5)],
)
def test_left_is_the_nearest_and_never_negative(now, deadlines, seconds):
    """The time left is that to the nearest deadline, 0 when it is over, for ever without one."""
    assert left(now, *deadlines) == seconds


# The last good answer


def question(text):
    """Be a key."""
    return text


def test_a_last_good_answer_says_by_what_it_is_kept():
    """`explain` names the function of the key, where there is one."""
    kept = LastGood(max_age=3600, key=question, max_entries=1)
    assert kept.describe() == "the last good answer up to 1 h old, kept by question"
    one = LastGood(max_age=3600, key=None, max_entries=1)
    assert one.describe() == "the last good answer up to 1 h old"


def test_an_answer_takes_the_place_of_the_older_one():
    """A key that is answered again is as young as its newest answer, in both orders."""
    answers = Answers(max_age=10, max_entries=2)
    answers.put("a", 1, now=0)
    answers.put("b", 2, now=1)
    answers.put("a", 3, now=5)
    assert len(answers) == 2
    assert answers.find("a", now=10).value == 3
    assert answers.find("b", now=11) is None
    assert answers.find("a", now=14.9).value == 3


# What a breaker learns from a group


def policy(**options):
    """Return the policy of a breaker."""
    given = {"on": None, "on_result": None, "classify": None, "mode": "enforce", **options}
    return BreakerPolicy(
        trip=consecutive(5),
        open_for=constant(30),
        probes=1,
        successes=1,
        probe_timeout=30,
        **given,
    )


def classify(error):
    """Know one error, and no group."""
    return Fault(retryable=False, health="trip") if type(error) is KeyError else None


def test_the_members_of_a_group_are_asked_about_as_well():
    """The target's own answer about a member is the lesson of the group."""
    group = ExceptionGroup("two", [ConnectionError(), KeyError()])
    assert lesson(policy(), group) == ("failure", None)
    assert lesson(policy(), group, classify) == ("trip", None)


# A table as text

PAGE = """\
mine: accepts transient
short          transient  A, B (1 2)
a-long-module  throttled  Error00, Error01, Error02, Error03, Error04, Error05, Error06, Error07,
                          Error08, Error09, Error10, Error11
any other class, by its HTTP status (status_code, status or response.status_code)
               transient  408 425 500 502 503 504 529
               throttled  429
               permanent  400 to 499, but for those above
never, as they tell of a bug
                          ArithmeticError, AssertionError, AttributeError, BufferError, ImportError,
                          LookupError, NameError, NotImplementedError, RecursionError,
                          ReferenceError, StopAsyncIteration, StopIteration, SyntaxError,
                          SystemError, TypeError, ValueError, Warning
"""


def test_a_table_is_printed_as_it_should_be():
    """Libraries stand in their order, kinds below each other, and nothing is wider than a page."""
    names = [f"Error{number:02}" for number in range(12)]
    rows = {
        ("short", "B", 1): "transient",
        ("short", "B", 2): "transient",
        ("short", "A"): "transient",
        **{("a-long-module", name): "throttled" for name in names},
    }
    table = Table("mine", frozenset({"transient"}), rows)
    assert str(table) == PAGE.rstrip("\n")


def test_words_of_a_table_stay_whole():
    """A name that is wider than the page is not broken, and neither is one with a hyphen."""
    long = "E" * 90
    rows = {("m", long): "transient", ("m", f"{'F' * 60}-{'G' * 20}"): "transient"}
    lines = str(Table("mine", frozenset({"transient"}), rows)).splitlines()
    assert any(line.strip().rstrip(",").endswith(long) for line in lines)
    assert any(line.strip() == f"{'F' * 60}-{'G' * 20}" for line in lines)


@pytest.mark.parametrize("key", [7, ("m", "C", 1, 2), ("m", 7), ()])
def test_a_bad_row_is_told_from_the_start(key):
    """The message says what a row is, from its first word."""
    with pytest.raises(TypeError, match=r"^a row is an exception class or \(module root"):
        transient.extended({key: "transient"})


# Rules of a breaker


def test_any_of_is_all_of_its_rules():
    """It has the rules that it was given, as they are."""
    rules = consecutive(5), time_window(60, failure_rate=0.2)
    made = any_of(*rules)
    assert made.describe() == f"{rules[0].describe()}, or {rules[1].describe()}"


def test_any_of_takes_one_measure_of_slow():
    """One rule with a slow call, or two with the same, are fine; two different ones are not."""
    slow = count_window(10, slow_call=5, slow_rate=0.5)
    assert any_of(slow, consecutive(3)).slow_call == 5
    assert any_of(slow, time_window(10, slow_call=5, slow_rate=0.1)).slow_call == 5
    with pytest.raises(ValueError, match=r"^any_of\(\) takes one slow_call= .* not 5 and 6$"):
        any_of(slow, time_window(10, slow_call=6, slow_rate=0.1))


def test_any_of_says_what_it_needs():
    """No rule, and what is no rule, are refused with its name in front."""
    with pytest.raises(ValueError, match=r"^any_of\(\) needs at least one rule, .*\(5\)$"):
        any_of()
    with pytest.raises(TypeError, match=r"^any_of\(\) must be a rule"):
        any_of(consecutive(5), 7)
