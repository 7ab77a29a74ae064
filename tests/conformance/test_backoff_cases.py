"""Conformance group J: backoff and jitter, on fixed random numbers.

The waits are pure functions of the retry, the random number and the wait
before, so nothing is awaited here and no clock is read. The optional cases
(proportional and smoothed jitter, combinations, limits, grids) have no
counterpart in the library, so they bind nothing.
"""

from __future__ import annotations

import math
import random
import sys
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient._core.backoff import (
    Backoff,
    backoff_of,
    constant,
    exponential,
    fibonacci,
    linear,
)
from resilient._core.jitter import JITTERS
from resilient._core.options import whole

DAY = 86_400.0
LARGEST = sys.float_info.max
GROWING = (exponential, linear, fibonacci)


def waits(backoff: Backoff, count: int, rnd: float = 0.5) -> list[float]:
    """Ask for the first waits with one random number, each with the wait before."""
    found: list[float] = []
    for retry in range(1, count + 1):
        found.append(backoff.wait(retry, rnd, found[-1] if found else None))
    return found


def drawn(backoff: Backoff, count: int, seed: int) -> list[float]:
    """Ask for the first waits with the random numbers of a seed."""
    source, found = random.Random(seed), list[float]()
    for retry in range(1, count + 1):
        found.append(backoff.wait(retry, source.random(), found[-1] if found else None))
    return found


def test_J02_linear_waits() -> None:
    """Linear waits are the base times the number of the retry."""
    assert waits(linear(1, jitter="none"), 3) == [1, 2, 3]
    assert waits(linear(2, jitter="none"), 3) == [2, 4, 6]


@pytest.mark.parametrize(("base", "cap"), [(1, 0.123), (10, 1)])
@pytest.mark.parametrize("made", [constant, linear, exponential])
def test_J05_a_cap_below_the_base_is_every_wait(made, base: float, cap: float) -> None:
    """A cap below the base is legal, and is then every wait."""
    assert waits(made(base, cap=cap, jitter="none"), 20) == [cap] * 20


def test_J06_late_retries_get_the_cap() -> None:
    """Wait 1000 and wait 10**6 are the cap, or a finite number, and never an exception."""
    backoff = exponential(DAY, cap=2 * DAY, jitter="none")
    assert [backoff.wait(retry, 0.5, None) for retry in (1000, 10**6)] == [2 * DAY] * 2
    for jitter in JITTERS:
        for made in GROWING:
            endless = made(DAY, cap=LARGEST, jitter=jitter)
            for retry in (1000, 10**6):
                for previous in (None, DAY, LARGEST):
                    assert math.isfinite(endless.wait(retry, 1.0, previous))


def test_J10_exponential_waits() -> None:
    """Exponential waits double from the base up to the cap, exactly."""
    expected = [0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384, 30, 30, 30]
    assert waits(exponential(0.128, factor=2, cap=30, jitter="none"), 11) == expected


def test_J13_the_last_wait_of_a_list_repeats() -> None:
    """A list gives its waits in order, then the last one for ever."""
    assert waits(backoff_of([3, 6, 9]), 4) == [3, 6, 9, 9]
    assert backoff_of([3, 6, 9]).wait(10**6, 0.5, 9) == 9


def test_J19_jitter_comes_after_the_cap() -> None:
    """Far past the cap full jitter still spreads over all of [0, cap], without a clump at it."""
    source = random.Random(19)
    backoff = exponential(cap=10, jitter="full")
    found = [backoff.wait(1000 + draw, source.random(), 10.0) for draw in range(10_000)]
    assert max(found) <= 10
    assert sum(wait == 10 for wait in found) < 0.05 * len(found)
    tenths = [sum(low <= wait < low + 1 for wait in found) for low in range(10)]
    assert all(850 < count < 1150 for count in tenths)


@pytest.mark.parametrize("value", [-1, -0.001, math.nan])
@pytest.mark.parametrize("made", GROWING)
def test_J21_a_wrong_duration_is_refused_at_construction(made, value: float) -> None:
    """A base or cap below 0 or NaN names option, value and what is accepted."""
    for option in ("base", "cap"):
        with pytest.raises(
            ValueError, match=rf"^{option} must be seconds from 0 on .*, not {value}$"
        ):
            made(**{option: value})
    with pytest.raises(ValueError, match=rf"^wait must be seconds from 0 on .*, not {value}$"):
        constant(value)
    with pytest.raises(ValueError, match=rf"^cap must be seconds from 0 on .*, not {value}$"):
        constant(1, cap=value)
    with pytest.raises(ValueError, match=rf"^backoff\[1\] must be .*, not {value}$"):
        backoff_of([1, value])


@pytest.mark.parametrize("factor", [0.99, 0, -2, math.nan, math.inf])
def test_J21_a_shrinking_factor_is_refused_at_construction(factor: float) -> None:
    """A factor below 1, NaN or infinite names option, value and what is accepted."""
    expected = rf"^factor must be a number of at least 1, not {factor}$"
    with pytest.raises(ValueError, match=expected):
        exponential(factor=factor)


@pytest.mark.parametrize("attempts", [0, -1, math.nan])
def test_J21_a_wrong_number_of_attempts_is_refused(attempts: float) -> None:
    """A number of attempts below 1 names option, value and what is accepted."""
    expected = rf"^attempts must be a whole number of at least 1, not {attempts}$"
    with pytest.raises(ValueError, match=expected):
        whole(attempts, "attempts")


def test_J21_a_base_of_zero_is_legal() -> None:
    """A base of 0 means no wait."""
    for made in GROWING:
        for jitter in JITTERS:
            assert waits(made(0, jitter=jitter), 10, rnd=1.0) == [0] * 10
    assert waits(constant(0), 10) == [0] * 10


def test_J22_full_jitter_at_its_long_end() -> None:
    """With the random number 1 full jitter is the capped wait itself."""
    assert waits(exponential(1, jitter="full"), 4, rnd=1.0) == [1, 2, 4, 8]
    assert waits(exponential(1, cap=3, jitter="full"), 4, rnd=1.0) == [1, 2, 3, 3]
    assert exponential(1).wait(33, 1.0, None) == 20


@pytest.mark.parametrize("rnd", [0, 0.25, 0.5, 1])
def test_J25_the_jitters_are_their_formulas(rnd: float) -> None:
    """Full is U(0, v), equal v/2 + U(0, v/2), decorrelated min(cap, U(b, 3p))."""
    for retry, value in ((1, 1), (2, 2), (3, 4), (4, 8), (6, 20)):
        assert exponential(1, jitter="full").wait(retry, rnd, 1) == rnd * value
        assert exponential(1, jitter="equal").wait(retry, rnd, 1) == value / 2 + rnd * value / 2
    for made in GROWING:
        backoff = made(1, jitter="decorrelated")
        for previous in (1, 2, 5, 20):
            for retry in (2, 9):
                expected = min(20, 1 + rnd * (3 * previous - 1))
                assert backoff.wait(retry, rnd, previous) == expected


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("made", GROWING)
def test_J33_the_same_seed_gives_the_same_waits(made, jitter: str) -> None:
    """The same schedule with the same seed gives the same waits, bit for bit."""
    one, other = drawn(made(jitter=jitter), 200, seed=33), drawn(made(jitter=jitter), 200, seed=33)
    assert [wait.hex() for wait in one] == [wait.hex() for wait in other]
    if jitter != "none":
        assert one != drawn(made(jitter=jitter), 200, seed=34)


durations = st.one_of(
    st.sampled_from([0.0, 5e-324, sys.float_info.min, 0.1, 1.0, 20.0, 1e300, LARGEST]),
    st.floats(0, LARGEST),
    st.floats(0, 100),
)
factors = st.one_of(st.sampled_from([1.0, math.nextafter(1, 2), 2.0, LARGEST]), st.floats(1, 10))
rnds = st.one_of(st.sampled_from([0.0, 5e-324, math.nextafter(1, 0), 1.0]), st.floats(0, 1))
retries = st.one_of(st.sampled_from([1, 1024, 1476, 1477, 10**6]), st.integers(1, 10**6))


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    """Draw a backoff of every kind, with every jitter, base and cap."""
    base, cap, jitter = draw(durations), draw(durations), draw(st.sampled_from(JITTERS))
    kind = draw(st.sampled_from(("exponential", "linear", "fibonacci", "constant", "list")))
    if kind == "exponential":
        return exponential(base, draw(factors), cap, jitter)
    if kind == "constant":
        return constant(base, cap=cap, jitter=jitter)
    if kind == "list":
        return backoff_of(draw(st.lists(durations, min_size=1, max_size=9)))
    return {"linear": linear, "fibonacci": fibonacci}[kind](base, cap=cap, jitter=jitter)


@given(backoff=backoffs(), start=retries, draws=st.lists(rnds, min_size=1, max_size=12))
@example(backoff=constant(3 * 5e-324, jitter="equal"), start=1, draws=[1.0])
@example(backoff=exponential(LARGEST, cap=LARGEST, jitter="decorrelated"), start=1, draws=[0, 1, 1])
def test_J34_every_wait_is_from_zero_to_the_cap(
    backoff: Backoff, start: int, draws: list[float]
) -> None:
    """For every backoff, jitter, base, cap, retry and random number: 0 <= wait <= cap."""
    previous: float | None = None
    for retry, rnd in enumerate(draws, start):
        previous = backoff.wait(retry, rnd, previous)
        assert 0 <= previous <= backoff.cap


@given(backoff=backoffs(), retry=retries, ends=st.lists(rnds, min_size=2, max_size=5))
def test_J34_a_greater_random_number_never_gives_a_shorter_wait(
    backoff: Backoff, retry: int, ends: list[float]
) -> None:
    """The random number 0 is the short end of every jitter and 1 the long one."""
    found = [backoff.wait(retry, rnd, None) for rnd in sorted(ends)]
    assert all(shorter <= longer for shorter, longer in pairwise(found))
