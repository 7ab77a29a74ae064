"""Backoffs: what their options accept, how they describe themselves, and their limits."""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import pickle
import random
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._core.backoff import (
    Backoff,
    backoff_of,
    constant,
    exponential,
    fibonacci,
    linear,
)
from resilient._core.growth import FIBONACCI_LIMIT, LARGEST, fibonacci_number

PAGE = Path(__file__).parents[2] / "docs" / "backoff.md"
FORMULAS = (
    "min(cap, base * factor ** (n - 1))",
    "min(cap, wait)",
    "min(cap, base * n)",
    "min(cap, base * F(n))",
    "U(0, d)",
    "d/2 + U(0, d/2)",
    "min(cap, U(base, 3 * previous))",
)


class Tenths:
    """A backoff as a user might write one."""

    cap = 1.0

    def wait(self, retry: int, rnd: float, previous: float | None) -> float:
        return 2.0 - retry + rnd + (previous or 0.0)

    def describe(self) -> str:
        return "tenths"


def waits(backoff: Backoff, count: int, rnd: float = 0.5) -> list[float]:
    """Ask for the first waits, each with the one before."""
    found: list[float] = []
    for retry in range(1, count + 1):
        found.append(backoff.wait(retry, rnd, found[-1] if found else None))
    return found


def test_the_defaults_are_as_documented() -> None:
    """By default the waits double from 0.1 s up to 20 s and carry full jitter."""
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]
    assert waits(exponential(), 10, rnd=1.0) == expected
    assert waits(exponential(), 10, rnd=0.0) == [0.0] * 10


def test_durations_may_be_timedeltas() -> None:
    """Every duration is a number of seconds or a timedelta."""
    second = timedelta(seconds=1)
    assert exponential(second, cap=2 * second) == exponential(1, cap=2)
    assert constant(second, cap=second / 2) == constant(1, cap=0.5)
    assert waits(backoff_of([second, 2]), 2) == [1, 2]
    assert backoff_of(lambda _: second).wait(1, 0.5, None) == 1


def test_a_base_of_zero_means_no_wait() -> None:
    """With a base of 0 every backoff with every jitter never waits."""
    for made in (exponential, linear, fibonacci):
        for jitter in ("full", "equal", "decorrelated", "none"):
            backoff = made(0, jitter=jitter)
            assert waits(backoff, 50, rnd=1.0) == [0.0] * 50
            assert backoff.wait(10**400, 1.0, 0.0) == 0
            assert backoff.describe() == "no wait"
    assert constant(0).describe() == "no wait"


def test_a_cap_of_zero_means_no_wait() -> None:
    """A cap of 0 is legal and leaves no wait."""
    backoff = exponential(1, cap=0)
    assert waits(backoff, 3, rnd=1.0) == [0, 0, 0]
    assert backoff.describe() == "no wait"


def test_a_factor_of_one_never_grows() -> None:
    """A factor of 1 is legal: the base each time, however late the retry."""
    backoff = exponential(0.3, factor=1, jitter="none")
    for retry in (1, 2, 10**6, 10**400):
        assert backoff.wait(retry, 0.5, None) == 0.3
    assert backoff.describe() == "waits 0.3 s"


@pytest.mark.parametrize(
    "retry", [1100, 10**6, 10**18, 10**400], ids=["1100", "1e6", "1e18", "1e400"]
)
@pytest.mark.parametrize("made", [exponential, linear, fibonacci])
def test_a_late_retry_waits_for_the_cap(made, retry: int) -> None:
    """A retry so late that no float holds the uncapped wait still gets the cap."""
    late = max(retry, 10**400) if made is linear else retry
    assert made(1e300, cap=LARGEST, jitter="none").wait(late, 0.5, None) == LARGEST


def test_a_wait_at_the_end_of_the_floats_is_exact() -> None:
    """The largest float is a legal base, cap and previous wait of every backoff."""
    for made in (exponential, linear, fibonacci):
        for jitter in ("full", "equal", "decorrelated", "none"):
            assert waits(made(LARGEST, cap=LARGEST, jitter=jitter), 4, rnd=1.0) == [LARGEST] * 4


def test_equal_jitter_is_exact_for_the_smallest_floats() -> None:
    """Equal jitter of the smallest float neither exceeds it nor falls below its half."""
    tiny = 3 * 5e-324
    assert constant(tiny, jitter="equal").wait(1, 1.0, None) == tiny
    assert constant(tiny, jitter="equal").wait(1, 0.0, None) >= tiny / 2


def test_decorrelated_jitter_starts_at_the_base() -> None:
    """The first decorrelated wait is between the base and three times the base."""
    backoff = exponential(1, cap=20, jitter="decorrelated")
    assert [backoff.wait(1, rnd, None) for rnd in (0, 0.5, 1)] == [1, 2, 3]
    assert [backoff.wait(2, rnd, 3.0) for rnd in (0, 0.5, 1)] == [1, 5, 9]
    assert backoff.wait(3, 1.0, 9.0) == 20


def test_decorrelated_jitter_starts_afresh_from_a_base_above_the_cap() -> None:
    """A base above the cap is capped before it is used."""
    backoff = linear(30, cap=20, jitter="decorrelated")
    assert waits(backoff, 3, rnd=0.0) == [20, 20, 20]


def test_decorrelated_jitter_never_falls_below_its_base() -> None:
    """A wait before that was shorter than a third of the base changes nothing."""
    backoff = exponential(3, jitter="decorrelated")
    assert [backoff.wait(2, rnd, 0.5) for rnd in (0, 0.5, 1)] == [3, 3, 3]


def test_decorrelated_waits_clump_at_the_cap_as_documented() -> None:
    """In a long outage about three decorrelated waits in ten equal the cap, and no full one."""
    source = random.Random(1)
    clumped = {"decorrelated": 0, "full": 0}
    for jitter in clumped:
        backoff, previous = exponential(jitter=jitter), None
        for retry in range(1, 10_001):
            previous = backoff.wait(retry, source.random(), previous)
            clumped[jitter] += previous == 20
    assert 2800 < clumped["decorrelated"] < 3100
    assert clumped["full"] == 0


def test_a_constant_with_decorrelated_jitter_needs_a_cap() -> None:
    """Decorrelated waits grow, so a constant must say how far they may."""
    with pytest.raises(ValueError, match=r"^jitter must be .* without a cap, not 'decorrelated'$"):
        constant(1, jitter="decorrelated")
    assert waits(constant(1, cap=20, jitter="decorrelated"), 4, rnd=1.0) == [3, 9, 20, 20]


def test_the_cap_of_a_constant_is_no_more_than_its_wait() -> None:
    """The cap of a constant is the longest wait that it can give."""
    assert (constant(1).cap, constant(1, cap=20).cap, constant(5, cap=2).cap) == (1, 1, 2)
    assert constant(1, cap=20, jitter="decorrelated").cap == 20


@pytest.mark.parametrize("made", [exponential, linear, fibonacci])
@pytest.mark.parametrize("option", ["base", "cap"])
def test_a_wrong_duration_names_its_option(made, option: str) -> None:
    """A duration of a wrong type is refused by its name, with what is accepted."""
    with pytest.raises(TypeError, match=rf"^{option} must be seconds from 0 on .*, not 'soon'$"):
        made(**{option: "soon"})


def test_an_unknown_jitter_names_the_known_ones() -> None:
    """A refused jitter lists the four that exist."""
    known = r"^jitter must be 'full', 'equal', 'decorrelated' or 'none', not 'fuzzy'$"
    for make in (exponential, linear, fibonacci, functools.partial(constant, 1)):
        with pytest.raises(ValueError, match=known):
            make(jitter="fuzzy")


@pytest.mark.parametrize(
    ("backoff", "line"),
    [
        (exponential(), "full jitter 0.1 s .. 20 s"),
        (exponential(base=30), "full jitter 20 s"),
        (linear(1, cap=5, jitter="equal"), "equal jitter 1 s .. 5 s"),
        (fibonacci(jitter="none"), "waits 0.1 s .. 20 s"),
        (constant(1.5), "waits 1.5 s"),
        (constant(1, cap=9, jitter="decorrelated"), "decorrelated jitter 1 s .. 9 s"),
        (backoff_of([0.5]), "waits 0.5 s"),
        (backoff_of((1, 2, 3, 4, 5)), "waits 1, 2, 3, 4, 5 s"),
        (backoff_of((1, 2, 3, 4, 5, 6)), "waits 1, 2, 3, 4, 5, ... s"),
        (backoff_of(math.sqrt), "waits from sqrt"),
        (backoff_of(functools.partial(max, 1)), "waits from max"),
        (backoff_of(Tenths()), "tenths"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_backoff_describes_itself_in_one_line(backoff: Backoff, line: str) -> None:
    """`describe` says which jitter and which waits, for `explain`."""
    assert backoff.describe() == line


@pytest.mark.parametrize("made", [exponential, linear, fibonacci, functools.partial(constant, 1)])
def test_a_backoff_is_a_value(made) -> None:
    """Backoffs with the same options are equal, hash alike, are frozen, pickle and copy."""
    one, other = made(), made()
    assert one == other
    assert hash(one) == hash(other)
    assert one != made(jitter="equal")
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    with pytest.raises(AttributeError):
        one.cap = 1
    assert isinstance(one, Backoff)


def test_what_is_a_backoff_already_stays_the_same_object() -> None:
    """`backoff_of` gives back every backoff of our own as it is."""
    for made in (
        exponential(),
        constant(1),
        backoff_of([1]),
        backoff_of(abs),
        backoff_of(Tenths()),
    ):
        assert backoff_of(made) is made


def test_a_list_is_taken_as_it_was() -> None:
    """A list that changes after the decoration changes no wait."""
    written = [1, 2]
    backoff = backoff_of(written)
    written.clear()
    assert waits(backoff, 3) == [1, 2, 2]
    assert (backoff.cap, backoff_of([1, 9, 2]).cap) == (2, 9)


def test_a_wrong_list_names_the_place() -> None:
    """An empty list is refused, and a wrong wait in a list is named with its place."""
    with pytest.raises(ValueError, match=r"^backoff must be at least one wait in seconds"):
        backoff_of([])
    with pytest.raises(ValueError, match=r"^open_for\[1\] must be seconds from 0 on .*, not -1$"):
        backoff_of((0, -1), "open_for")
    with pytest.raises(TypeError, match=r"^backoff\[0\] must be seconds .*, not 'x'$"):
        backoff_of(["x"])


def test_a_function_is_asked_for_the_number_of_the_retry() -> None:
    """A function gets the retry's number, from 1 on, and nothing bounds its answers."""
    asked: list[int] = []
    backoff = backoff_of(lambda retry: asked.append(retry) or retry / 10)
    assert waits(backoff, 3) == [0.1, 0.2, 0.3]
    assert asked == [1, 2, 3]
    assert backoff.cap == math.inf


@pytest.mark.parametrize("answer", [-1, -0.5, math.nan, math.inf])
def test_a_wrong_answer_of_a_function_names_it(answer: float) -> None:
    """A function that answers below 0, NaN or infinity fails the call with its name."""

    def backwards(_retry: int) -> float:
        return answer

    with pytest.raises(ValueError, match=r"^the answer of .*backwards must be seconds .*, not "):
        backoff_of(backwards).wait(1, 0.5, None)


@pytest.mark.parametrize("answer", [None, True, "1", [1]])
def test_an_answer_that_is_no_duration_names_the_function(answer: object) -> None:
    """A function that forgets its `return`, or answers no number, is a `TypeError`."""

    def forgetful(_retry: int) -> object:
        return answer

    with pytest.raises(TypeError, match=r"forgetful must .*, not "):
        backoff_of(forgetful).wait(1, 0.5, None)


def test_an_error_of_the_function_leaves_as_it_is() -> None:
    """A function may fail the call with its own error."""
    with pytest.raises(ZeroDivisionError):
        backoff_of(lambda retry: retry / 0).wait(1, 0.5, None)


def test_a_users_backoff_is_asked_with_everything_and_checked() -> None:
    """A backoff that a user wrote gets the retry, the random number and the wait before."""
    backoff = backoff_of(Tenths())
    assert (backoff.wait(1, 0.25, None), backoff.wait(1, 0.25, 0.5)) == (1.25, 1.75)
    assert backoff.cap == 1.0
    with pytest.raises(ValueError, match=r"^the answer of the backoff Tenths must be seconds"):
        backoff.wait(9, 0.5, None)


async def later(retry: int) -> float:
    return float(retry)


class Later:
    async def __call__(self, retry: int) -> float:
        return float(retry)


@pytest.mark.parametrize("function", [later, functools.partial(later), Later()])
def test_an_async_function_is_refused_at_once(function) -> None:
    """A wait is computed, not awaited: an async function is a `TypeError` at construction."""
    with pytest.raises(TypeError, match=r"^backoff must be a plain function, not the async "):
        backoff_of(function)
    answer = function(1)
    assert asyncio.iscoroutine(answer)
    answer.close()


@pytest.mark.parametrize("made", [exponential, constant, linear, fibonacci])
def test_a_backoff_that_was_not_called_is_refused(made) -> None:
    """`backoff=exponential` without the brackets says what is missing."""
    name = made.__name__
    with pytest.raises(TypeError, match=rf"must be what {name}\(\) returns, not the function"):
        backoff_of(made)


@pytest.mark.parametrize("value", [1.5, None, "full", {1: 2}, {1}, object()], ids=repr)
def test_what_is_no_backoff_is_a_type_error(value: object) -> None:
    """Anything else is refused with what is accepted; one number is `constant(number)`."""
    with pytest.raises(TypeError, match=r"^backoff must be a backoff such as .*constant\(1\)"):
        backoff_of(value)


def test_fibonacci_numbers_are_exact() -> None:
    """The numbers are those of the definition, up to the last that a float can hold."""
    here, following = 0, 1
    for n in range(FIBONACCI_LIMIT + 1):
        assert fibonacci_number(n) == here
        here, following = following, here + following
    assert math.isfinite(float(fibonacci_number(FIBONACCI_LIMIT)))
    with pytest.raises(OverflowError):
        float(fibonacci_number(FIBONACCI_LIMIT + 1))


@given(
    base=st.floats(0, 1e6),
    factor=st.floats(1, 10),
    cap=st.floats(0, 1e6),
    retry=st.integers(1, 60),
)
def test_an_exponential_wait_is_the_formula(base, factor, cap, retry) -> None:
    """Without jitter the wait is min(cap, base * factor ** (retry - 1)), up to rounding."""
    exact = min(Fraction(cap), Fraction(base) * Fraction(factor) ** (retry - 1))
    found = exponential(base, factor, cap, jitter="none").wait(retry, 0.5, None)
    assert found == pytest.approx(float(exact), rel=1e-12, abs=1e-300)


@given(retry=st.integers(1, 10**7), made=st.sampled_from([exponential, linear, fibonacci]))
def test_waits_without_jitter_never_shrink(retry, made) -> None:
    """Without jitter no wait is shorter than the one before."""
    backoff = made(jitter="none")
    assert backoff.wait(retry, 0.5, None) <= backoff.wait(retry + 1, 0.5, None)


@pytest.mark.parametrize("formula", FORMULAS)
def test_docstring_and_page_show_the_same_formulas(formula: str) -> None:
    """Each formula stands in the docstrings exactly as on the page."""
    docstrings = " ".join(str(made.__doc__) for made in (exponential, constant, linear, fibonacci))
    assert formula in " ".join(docstrings.split())
    assert formula in PAGE.read_text("utf-8")
