"""Options: what is accepted, and what a refusal says."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from resilient._core.options import choice, number, seconds, shown, text, whole

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTIONS: dict[str, Callable[[object], object]] = {
    "seconds": lambda value: seconds(value, "option"),
    "whole": lambda value: whole(value, "option"),
    "number": lambda value: number(value, "option", least=0),
    "bounded number": lambda value: number(value, "option", least=0, most=1),
    "choice": lambda value: choice(value, "option", ("full", "none")),
    "text": lambda value: text(value, "option"),
}


class Secret:
    """A user's object that gives away what it holds when it is printed."""

    def __repr__(self) -> str:
        return "password"

    __str__ = __repr__


def test_seconds_takes_numbers_and_timedeltas() -> None:
    """Seconds are ints, floats or timedeltas, and come out as a float."""
    for value, expected in ((2, 2.0), (0.5, 0.5), (timedelta(milliseconds=20), 0.02)):
        found = seconds(value, "timeout")
        assert (found, type(found)) == (expected, float)


@pytest.mark.parametrize("value", [0, 0.0, timedelta(0)])
def test_seconds_takes_zero_only_where_it_is_allowed(value: object) -> None:
    """Zero seconds are refused unless the option says that they mean something."""
    assert seconds(value, "base", zero=True) == 0
    with pytest.raises(ValueError, match=r"^timeout must be seconds above 0 .*, not "):
        seconds(value, "timeout")


def test_minus_zero_becomes_zero() -> None:
    """Minus zero is zero, so that no sum of waits is ever printed as -0."""
    assert math.copysign(1, seconds(-0.0, "base", zero=True)) == 1
    assert math.copysign(1, number(-0.0, "ratio", least=0)) == 1


@pytest.mark.parametrize("name", ["seconds", "number", "bounded number", "whole"])
@pytest.mark.parametrize("value", [-1, -0.1, math.nan, math.inf, -math.inf, None, -(10**400)])
def test_a_wrong_value_is_a_value_error_that_names_the_option(name: str, value: object) -> None:
    """A number out of range, NaN, infinity and None are wrong values."""
    with pytest.raises(ValueError, match=r"^option must be a?.*, not "):
        FUNCTIONS[name](value)


@pytest.mark.parametrize("name", ["seconds", "number"])
def test_a_number_beyond_the_floats_is_a_value_error(name: str) -> None:
    """An int that no float can hold is refused without being written out."""
    with pytest.raises(ValueError, match=r"not a number of more than 40 digits$"):
        FUNCTIONS[name](10**5000)


@pytest.mark.parametrize("name", ["seconds", "number", "bounded number", "whole"])
@pytest.mark.parametrize("value", [True, False, "three", b"3", [3], Secret(), 1j])
def test_what_is_no_number_is_a_type_error(name: str, value: object) -> None:
    """A bool, a text or any other object is no number."""
    with pytest.raises(TypeError, match=r"^option must be a?.*, not "):
        FUNCTIONS[name](value)


def test_whole_takes_only_ints_from_the_least_on() -> None:
    """A count is an int of at least the least one; 2.0 is not a count."""
    assert whole(1, "attempts") == 1
    assert whole(0, "reserve", least=0) == 0
    assert whole(10**400, "attempts") == 10**400
    with pytest.raises(ValueError, match=r"^attempts must be a whole number of at least 1, not 0$"):
        whole(0, "attempts")
    with pytest.raises(ValueError, match=r"not 2\.0$"):
        whole(2.0, "attempts")


def test_number_has_both_ends_included() -> None:
    """The least and the most number are accepted, what is past them is not."""
    assert number(1, "ttl", least=1, most=60) == 1
    assert number(60, "ttl", least=1, most=60) == 60
    assert number(1e300, "factor", least=1) == 1e300
    for value in (0.99, 60.01):
        with pytest.raises(ValueError, match=rf"^ttl must be a number from 1 to 60, not {value}$"):
            number(value, "ttl", least=1, most=60)


def test_choice_names_everything_that_is_allowed() -> None:
    """A refused choice lists the texts that are accepted."""
    assert choice("full", "jitter", ("full", "none")) == "full"
    with pytest.raises(ValueError, match=r"^jitter must be 'a', 'b' or 'c', not 'd'$"):
        choice("d", "jitter", ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"^mode must be 'a', not ''$"):
        choice("", "mode", ("a",))


@pytest.mark.parametrize("name", ["choice", "text"])
def test_what_is_no_text_is_refused(name: str) -> None:
    """None is a wrong value and an object of another class a wrong type."""
    with pytest.raises(ValueError, match=r"not None$"):
        FUNCTIONS[name](None)
    with pytest.raises(TypeError, match=r"not 3$"):
        FUNCTIONS[name](3)


def test_text_is_not_empty() -> None:
    """A name has at least one character."""
    assert text("openrouter", "name") == "openrouter"
    with pytest.raises(ValueError, match=r"^name must be a text that is not empty, not ''$"):
        text("", "name")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_message_never_prints_a_users_object(name: str) -> None:
    """Of an object only the class is shown: what it holds may be a secret."""
    with pytest.raises(TypeError, match=r"not a Secret$"):
        FUNCTIONS[name](Secret())


def test_subclasses_cannot_bring_their_own_repr() -> None:
    """A number or a text of a subclass is shown as what it is."""

    class LoudInt(int):
        __repr__ = Secret.__repr__

    class LoudFloat(float):
        __repr__ = Secret.__repr__

    class LoudText(str):
        __slots__ = ()
        __repr__ = Secret.__repr__

    assert [shown(LoudInt(3)), shown(LoudFloat(0.5)), shown(LoudText("x"))] == ["3", "0.5", "'x'"]


def test_a_long_text_is_not_shown() -> None:
    """A text of more than 40 characters is only named: it is no slip of the pen."""
    assert shown("x" * 40) == repr("x" * 40)
    assert shown("x" * 41) == "a str"


def test_a_class_is_named_with_its_article() -> None:
    """The article fits the name of the class."""
    assert (shown(OSError()), shown([])) == ("an OSError", "a list")
    assert shown(timedelta(seconds=-2)) == "a timedelta of -2 s"
