"""The six clocks: what each one is, and which one expires next."""

from __future__ import annotations

from datetime import timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_openrouter import clocks
from resilient_openrouter._timeouts import chosen, clocks_of
from resilient_openrouter._watch import GRACE, Watch
from resilient_openrouter.clocks import NAMES, Clocks

limits = st.none() | st.floats(0.001, 1000)
EVENTS = ("sent", "begun", "heard", "spoken", "resumed")


def test_a_clock_that_is_not_set_is_not_there():
    """Without a clock nothing ever expires."""
    watch = Watch(Clocks(), 0)
    watch.begun(1)
    watch.spoken(2)
    assert watch.next()[0] == inf


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("first_byte", [], [("begun", 1)]),
        ("first_content", [("begun", 1), ("heard", 2)], [("spoken", 3)]),
        ("idle_any", [("begun", 1)], []),
        ("idle_content", [("begun", 1), ("spoken", 1)], []),
        ("total", [("begun", 1), ("spoken", 2)], []),
    ],
)
def test_each_clock_runs_in_its_part_of_an_attempt(name, before, after):
    """A clock is armed by what comes before it, and ends with what it waits for."""
    watch = Watch(Clocks(**{name: 10}), 0)
    for what, now in before:
        getattr(watch, what)(now)
    at, found = watch.next()
    assert found == name
    assert 10 <= at <= 11
    for what, now in after:
        getattr(watch, what)(now)
    assert (watch.next()[0] == inf) is bool(after)


def test_keep_alives_set_back_one_clock_alone():
    """Bytes without content set back `idle_any`, and neither of the clocks of content."""
    watch = Watch(Clocks(first_content=10, idle_any=3, idle_content=5), 0)
    watch.begun(1)
    watch.heard(8)
    assert watch.next() == (10, "first_content")
    watch.spoken(9)
    watch.heard(13)
    assert watch.next() == (14, "idle_content")


def test_the_idle_clocks_stand_still_while_nobody_waits():
    """A slow reader is no stall, and the total counts all the same."""
    watch = Watch(Clocks(idle_any=3, idle_content=5, total=100), 0)
    watch.begun(1)
    watch.spoken(2)
    watch.resumed(50)
    assert watch.next() == (53, "idle_any")
    watch.resumed(99)
    assert watch.next() == (100, "total")


def test_the_first_byte_counts_from_where_the_request_is_out():
    """Connecting is not counted against the server, also where nobody tells when it was done."""
    watch = Watch(Clocks(connect=5, first_byte=10), 0)
    assert watch.next() == (15, "first_byte")
    watch.sent(2)
    assert watch.next() == (12, "first_byte")


def test_a_grace_ends_what_is_complete():
    """The earliest grace counts, if no clock expires before it."""
    watch = Watch(Clocks(total=10), 0)
    watch.closing(1, 3)
    watch.closing(2, 3)
    assert watch.next() == (4, GRACE)
    watch = Watch(Clocks(total=2), 0)
    watch.closing(1, 3)
    assert watch.next() == (2, "total")


def test_silence_is_the_server_s_fault_first():
    """Where several clocks expire at once, the name is the one that says most."""
    watch = Watch(Clocks(first_byte=10, first_content=10, total=10), 0)
    assert watch.next() == (10, "first_byte")


@given(
    st.builds(Clocks, **dict.fromkeys(NAMES, limits)),
    st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 100)), max_size=20),
)
def test_the_next_end_is_never_before_what_was_heard_last(given_clocks, events):
    """No event brings an end nearer than the limit that it is measured by, from that event on."""
    watch, now = Watch(given_clocks, 0), 0.0
    for what, later in events:
        now += later
        getattr(watch, what)(now)
        at, name = watch.next()
        if name == "idle_any":
            assert at == pytest.approx(now + given_clocks.idle_any) or what == "sent"
        if name in {"total", "first_content"}:
            assert at == getattr(given_clocks, name)


def test_clocks_are_durations():
    """A limit is a number of seconds or a `timedelta`, and is kept as seconds."""
    assert Clocks(total=timedelta(minutes=1), idle_any=3) == Clocks(total=60.0, idle_any=3.0)
    assert repr(Clocks(total=60)) == "Clocks(total=60.0)"


@pytest.mark.parametrize("value", [0, -1, float("nan"), inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_limit_that_is_none_is_refused(name, value):
    """A limit that is no time above 0 is a `ValueError` that names it."""
    with pytest.raises(ValueError, match=f"^{name} must be seconds above 0"):
        Clocks(**{name: value})


@pytest.mark.parametrize("value", ["3", True, [3]])
def test_a_limit_of_a_wrong_type_is_refused(value):
    """A limit that is no number is a `TypeError`."""
    with pytest.raises(TypeError, match=r"^total must be seconds"):
        Clocks(total=value)


def test_what_a_user_may_give_for_clocks():
    """Seconds are the total, clocks are themselves, and nothing is no limit."""
    assert clocks_of(8) == Clocks(total=8)
    assert clocks_of(clocks.interactive) is clocks.interactive
    assert clocks_of(None) == Clocks()
    with pytest.raises(TypeError, match=r"^timeout must be seconds"):
        clocks_of("8")


def test_a_pattern_chooses_the_clocks_of_a_model():
    """The first pattern that fits counts, and `...` says that none does."""
    patterns = {"openai/o*": clocks.reasoning, "openai/*": 10, "x/*": None}
    assert chosen("openai/o3", patterns) is clocks.reasoning
    assert chosen("openai/gpt-4o", patterns) == 10
    assert chosen("x/y", patterns) is None
    assert chosen("anthropic/claude", patterns) is ...


def test_the_presets_find_what_they_are_for():
    """A person is answered by somebody else in time, and a model may think for two minutes."""
    assert clocks.interactive.first_byte <= 12
    assert clocks.interactive.first_content <= 12
    assert clocks.reasoning.first_content >= 120
    for preset in (clocks.interactive, clocks.reasoning):
        assert None not in [getattr(preset, name) for name in NAMES]
        assert preset.idle_any < preset.idle_content < preset.total
