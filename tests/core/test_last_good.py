"""The book of the newest good answers: what it gives, and what it forgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._core.last_good import Answers, LastGood


def test_the_newest_answer_of_a_key_is_given():
    """A later answer takes the place of an earlier one, and keys do not mix."""
    book = Answers(max_age=60, max_entries=9)
    book.put("a", 1, now=0)
    book.put("b", 2, now=1)
    book.put("a", 3, now=2)
    assert (book.find("a", 5).value, book.find("a", 5).at) == (3, 2)
    assert book.find("b", 5).value == 2
    assert book.find("c", 5) is None


def test_an_answer_is_gone_when_exactly_its_age_has_passed():
    """It is given up to just before `max_age`, and then neither given nor kept."""
    book = Answers(max_age=10, max_entries=9)
    book.put("a", 1, now=5)
    assert book.find("a", 14.999) is not None
    assert book.find("a", 15) is None
    assert len(book) == 0


def test_what_is_too_old_is_forgotten_by_whoever_comes_next():
    """Another key's answer or question is enough for it to go."""
    book = Answers(max_age=10, max_entries=9)
    book.put("a", 1, now=0)
    book.put("b", 2, now=10)
    assert len(book) == 1
    book.find("c", 20)
    assert len(book) == 0


def test_the_least_recently_used_makes_room():
    """An answer that was handed out or renewed lately stays."""
    book = Answers(max_age=60, max_entries=3)
    for number, key in enumerate("abc"):
        book.put(key, key, number)
    book.find("a", 3)
    book.put("b", "b", 4)
    book.put("d", "d", 5)
    assert [key for key in "abcd" if book.find(key, 6)] == ["a", "b", "d"]


def test_a_clock_that_goes_back_keeps_answers():
    """An answer from the future is not old."""
    book = Answers(max_age=10, max_entries=3)
    book.put("a", 1, now=100)
    assert book.find("a", 50).value == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "find"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.5, 1.0, 4.0, 9.0, 10.0]),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 4))
def test_it_is_a_bounded_cache_of_the_newest(steps, most):
    """Checked against a slow model after every step: what is given, and how many there are."""
    book, model, now = Answers(max_age=10, max_entries=most), [], 0.0
    for number, (step, key, passed) in enumerate(steps):
        now += passed
        model = [one for one in model if now - one[2] < 10]
        mine = next((one for one in model if one[0] == key), None)
        if step == "put":
            model = [one for one in model if one[0] != key]
            model = (
                [*model[-(most - 1) :], (key, number, now)] if most > 1 else [(key, number, now)]
            )
            book.put(key, number, now)
        else:
            found = book.find(key, now)
            assert (found and (key, found.value, found.at)) == mine
            if mine:
                model = [*(one for one in model if one is not mine), mine]
        assert len(book) == len(model) <= most


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3600, "1 h"), (7200, "2 h"), (60, "1 min"), (5400, "90 min"), (90, "90 s"), (0.5, "0.5 s")],
)
def test_it_says_how_old_an_answer_may_be(seconds, text):
    """Whole hours and minutes are said as such."""
    assert LastGood(seconds, None, 1).describe() == f"the last good answer up to {text} old"
    assert not LastGood(seconds, None, 1).may_wait
