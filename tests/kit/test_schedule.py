"""Failure schedules: data that is checked, compared by value, and written as its own code."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import Fault
from resilient.testing import (
    Bad,
    Cut,
    Fail,
    FailureSchedule,
    FaultError,
    Hang,
    Items,
    Ok,
    Stubborn,
)
from resilient.testing._schedule import schedule_of


class Busy(Exception):
    """An error of a test's own."""


class Arr:
    """A value whose comparison is no answer, as that of arrays is none."""

    __eq__ = __ne__ = lambda self, other: self
    __hash__ = object.__hash__

    def __bool__(self):
        """Fail as an array of several does."""
        raise ValueError("ambiguous")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", FailureSchedule()),
        (".", FailureSchedule([Ok()])),
        ("x.", FailureSchedule([Fail(ConnectionError), Ok()])),
        ("x2 x10 .", FailureSchedule([Fail(ConnectionError, 2), Fail(ConnectionError, 10), Ok()])),
        ("~ !5", FailureSchedule([Hang(), Stubborn(5)])),
        # What never ends has no outcome to wait for: the number is the reader's.
        (
            "xx~2.",
            FailureSchedule([Fail(ConnectionError), Fail(ConnectionError), Hang(after=2), Ok()]),
        ),
        ("x*", FailureSchedule(then=Fail(ConnectionError))),
        (
            "x.1 x3 *",
            FailureSchedule([Fail(ConnectionError), Ok(after=1)], then=Fail(ConnectionError, 3)),
        ),
        ("~*", FailureSchedule(then=Hang())),
        # A point is an answer, never a decimal.
        ("x1.5.5", FailureSchedule([Fail(ConnectionError, 1), Ok(after=5), Ok(after=5)])),
        # In front of an end, `:` is an item.
        ("::.", FailureSchedule([Items(2)])),
        (
            ":5:2:2x1 /",
            FailureSchedule([Items(3, 2, Fail(ConnectionError, 1), 5), Items(0, 0, Cut())]),
        ),
        (":~ ::/*", FailureSchedule([Items(1, then=Hang())], then=Items(2, then=Cut()))),
        (":3.4", FailureSchedule([Items(1, then=Ok(after=4), after=3)])),
    ],
)
def test_text_is_one_symbol_a_call(text, expected):
    """The text of a schedule is one symbol a call, seconds after it, and `*` for ever."""
    assert FailureSchedule.parse(text) == schedule_of(text) == expected
    assert str(expected) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("xy", "cannot be read at 'y'"),
        ("2x", "cannot be read at '2x'"),
        ("x*.", r"cannot be read at '\*\.'"),
        ("*", "has nothing that `\\*` could repeat"),
        ("::", "cannot be read at '::'"),
        ("/3", "gives a number to `/`, which ends at once"),
        (f"x{'9' * 5000}", "has a number of 5000 digits"),
        (f":{'9' * 310}.", "has a number of 310 digits"),
        (":!", "has `!` behind items, and a stream cannot end so"),
        (":1:2:3.", r"has several gaps between items \(\[2, 3\]\): one for all"),
    ],
)
def test_text_that_is_no_schedule_is_refused(text, complaint):
    """What cannot be read is a `ValueError` that shows the text and the alphabet."""
    with pytest.raises(ValueError, match=complaint) as caught:
        FailureSchedule.parse(text)
    assert str(caught.value).startswith(f"the schedule {text[:200]!r}"[:200])
    assert len(str(caught.value)) < 500
    assert "write x (fail), ~ (hang), . (ok) or ! (stubborn)" in str(caught.value)


def test_steps_make_a_schedule_as_well():
    """Steps are a schedule, and every call after the last one answers at once."""
    made = schedule_of([Fail(Busy, after=1), Hang()])
    assert [made.step(number) for number in (1, 2, 3, 10**6)] == [
        Fail(Busy, after=1),
        Hang(),
        Ok(),
        Ok(),
    ]
    assert schedule_of(made) is made


seconds = st.sampled_from([0, 0.5, 1, 2, 10])
steps = st.one_of(
    st.builds(Ok, after=seconds),
    st.builds(Ok, st.sampled_from([7, "seven"])),
    st.builds(
        Fail,
        st.sampled_from([ConnectionError, Busy, Fault(retryable=True), Fault(False, scope="key")]),
        after=seconds,
        hint=st.sampled_from([None, 0, -1, 7.5, math.nan, float("nan"), math.inf]),
    ),
    st.just(Hang()),
    st.builds(Bad, st.sampled_from([None, 503])),
    st.builds(Stubborn, seconds),
    st.builds(
        Items,
        st.integers(0, 3) | st.lists(st.sampled_from([7, "seven"])),
        seconds,
        st.sampled_from([Ok(), Ok(after=2), Fail(Busy), Fail(ConnectionError, 1), Hang(), Cut()]),
        seconds,
    ),
)
plain = st.builds(FailureSchedule, st.lists(steps), then=steps)
whole = st.builds(
    FailureSchedule,
    st.lists(steps),
    then=steps,
    fallbacks=st.lists(plain, max_size=2),
    arrivals=st.lists(seconds, min_size=1),
    cancel_at=st.none() | seconds,
    cancel=st.sampled_from(["scope", "task"]),
    jitter_seed=st.integers(0, 9),
    take=st.none() | st.integers(1, 3),
    pause=seconds,
)


@given(whole)
def test_the_repr_is_the_code(schedule):
    """Evaluating the `repr` of a schedule gives an equal one with an equal hash."""
    again = eval(repr(schedule))  # noqa: S307 - that it can be evaluated is the subject
    assert (again, hash(again), repr(again)) == (schedule, hash(schedule), repr(schedule))


@pytest.mark.parametrize(
    "step",
    [
        Ok((200, "ok")),
        Ok(()),
        Ok([1, (2, math.inf), {"three": (math.nan,)}]),
        Bad((1,)),
        Bad(float("nan")),
        Items([(1, 2), 3, math.nan]),
        Items((), then=Cut()),
    ],
    ids=repr,
)
def test_the_repr_is_the_code_of_any_plain_value(step):
    """Tuples, lists and dictionaries, and a NaN in them, come back as they were."""
    again = eval(repr(FailureSchedule([step])))  # noqa: S307 - as above
    assert again == FailureSchedule([step])
    assert repr(again) == repr(FailureSchedule([step]))
    value = getattr(step, "value", None)
    assert type(getattr(again.steps[0], "value", None)) is type(value)


def test_a_nan_is_equal_to_another():
    """Steps with a NaN are equal and have equal hashes, also with one inside of a tuple."""
    steps = [(Ok(float("nan")), Ok((float("nan"),)), Items([float("nan")])) for _ in range(2)]
    assert steps[0] == steps[1]
    assert hash(steps[0]) == hash(steps[1])


def test_a_value_in_a_circle_has_a_repr():
    """A list that is in itself is shown as Python shows it."""
    circle = [1]
    circle.append(circle)
    assert repr(Ok(circle)) == "Ok(value=[1, ...])"


def test_a_value_that_cannot_be_compared_is_equal_to_itself_alone():
    """A value whose `==` gives no answer, as that of an array, can be shown and compared."""
    one, other = Ok(Arr()), Ok(Arr())
    schedule = FailureSchedule([one], then=other)
    assert repr(one).startswith("Ok(value=<")
    assert str(schedule) == repr(schedule)
    assert one == Ok(one.value)
    assert one != other
    assert one != Ok()
    assert Ok([one.value]) != Ok([other.value])


@given(whole)
def test_the_text_is_read_back_where_there_is_one(schedule):
    """`str` gives the text that `parse` reads, or else the code."""
    text = str(schedule)
    if text != repr(schedule):
        assert FailureSchedule.parse(text) == schedule
    else:
        assert text.startswith("FailureSchedule(")


def test_what_is_the_default_is_not_said():
    """The `repr` leaves out what nobody has chosen, and writes whole seconds as such."""
    assert repr(FailureSchedule()) == "FailureSchedule()"
    assert repr(FailureSchedule([], then=Hang(), arrivals=[0.0, 2.0])) == (
        "FailureSchedule(then=Hang(), arrivals=[0, 2])"
    )
    assert repr(FailureSchedule([Fail(Fault(False, scope="key"))])) == (
        "FailureSchedule([Fail(Fault(retryable=False, scope='key'))])"
    )
    assert repr(Fail(Busy, hint=math.nan)) == "Fail(Busy, hint=float('nan'))"


def test_a_schedule_is_frozen():
    """A schedule cannot be changed, only copied with a change."""
    with pytest.raises(FrozenInstanceError):
        FailureSchedule().cancel_at = 1
    assert replace(FailureSchedule.parse("x"), cancel_at=1) == FailureSchedule(
        [Fail(ConnectionError)], cancel_at=1
    )


@pytest.mark.parametrize(
    ("code", "error", "complaint"),
    [
        ("FailureSchedule(['x'])", TypeError, r"steps such as Ok\(\) or Fail\(OSError\), not 'x'"),
        ("FailureSchedule('x.')", TypeError, r"'x.' is a text: FailureSchedule.parse\(text\)"),
        ("FailureSchedule(then=Ok)", TypeError, "not a type"),
        ("FailureSchedule(fallbacks='x')", TypeError, "one schedule for each further target, not"),
        ("FailureSchedule(arrivals=[])", ValueError, "at least one instant: who calls"),
        ("FailureSchedule(arrivals=[-1])", ValueError, r"arrivals=\) must be a number of at least"),
        ("FailureSchedule(cancel_at=-1)", ValueError, r"cancel_at=\) must be a number of at least"),
        ("FailureSchedule(cancel='kill')", ValueError, "must be 'scope' or 'task', not 'kill'"),
        ("FailureSchedule(jitter_seed=1.5)", ValueError, "must be a whole number of at least 0"),
        ("FailureSchedule(take=0)", ValueError, r"take=\) must be a whole number of at least 1"),
        ("FailureSchedule(pause=-1)", ValueError, r"pause=\) must be a number of at least 0"),
        ("Fail(Busy())", TypeError, r"Fail\(error\) takes a class or a function, not the instance"),
        ("Fail(int)", TypeError, r"Fail\(error\) takes an exception class, .* not the class int"),
        ("Fail(Fault)", TypeError, r"Fail\(error\) takes .* or a Fault, not the class Fault"),
        ("Fail(Busy, hint='7')", TypeError, r"Fail\(hint=\) must be a number, .* None, not '7'"),
        (
            "Fail(Busy, hint=[7])",
            TypeError,
            r"Fail\(hint=\) must be a number, .* None, not a list",
        ),
        (
            "Fail(Busy, hint=True)",
            TypeError,
            r"Fail\(hint=\) must be a number, .* None, not True",
        ),
        ("Hang(-1)", ValueError, r"Hang\(after=\) must be a number of at least 0, not -1"),
        ("Items(-1)", ValueError, r"Items\(n\) must be a whole number of at least 0"),
        ("Items('abc')", TypeError, r"Items\(n\) takes a number or a list of items, not 'abc'"),
        ("Items(1.5)", TypeError, r"Items\(n\) takes a number or a list of items, not 1.5"),
        ("Items(1, gap=-1)", ValueError, r"Items\(gap=\) must be"),
        ("Items(1, after=-1)", ValueError, r"Items\(after=\) must be"),
        ("Items(1, then=Bad(1))", TypeError, r"Ok\(\), Fail\(...\), Hang\(\) or Cut\(\), not"),
        ("Items(1, then=Ok(7))", ValueError, "an Ok without a value: a stream ends with none"),
    ],
)
def test_a_wrong_schedule_is_refused(code, error, complaint):
    """What a schedule cannot mean is refused when it is made, by option and value."""
    with pytest.raises(error, match=complaint):
        eval(code)  # noqa: S307 - the code is the parameter above


def test_further_targets_have_schedules_of_their_own():
    """`of` gives the schedule of a target, and one that nobody has written always answers."""
    made = FailureSchedule.parse("x*")
    both = replace(made, fallbacks=["~x"])
    assert (both.of(0), both.of(1), both.of(2)) == (
        both,
        FailureSchedule.parse("~x"),
        FailureSchedule(),
    )
    assert both.size == 2


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (FailureSchedule.parse("x~."), True),
        (FailureSchedule.parse("!1"), False),
        (FailureSchedule(then=Stubborn(1)), False),
        (FailureSchedule(fallbacks=[FailureSchedule.parse("!")]), False),
    ],
)
def test_a_stubborn_step_makes_a_schedule_uncooperative(schedule, expected):
    """A schedule is cooperative when no step of any target swallows cancellation."""
    assert schedule.cooperative is expected


def test_a_fault_is_an_error_that_says_so_itself():
    """`Fail(Fault(...))` raises an error of which just that is known."""
    fault = Fault(retryable=False, retry_after=3, scope="credential", health="trip")
    error = Fail(fault).make()
    assert isinstance(error, FaultError)
    assert (error.retryable, error.retry_after, error.scope, error.health) == (
        False,
        3,
        "credential",
        "trip",
    )
    assert Fail(fault, hint=9).make().retry_after == 9
