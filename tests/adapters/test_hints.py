"""Retry hints: where they are read, which of them count, and that nothing breaks the reader."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_openrouter.hints import DAY, SOURCES, Hint, number, read_hint, until_midnight

DATE = {"Date": "Tue, 24 Nov 2026 16:00:00 GMT"}
NOON = 1795536000  # the same instant in seconds since the epoch

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("headers", "error", "seconds", "source"),
    [
        ({"retry-after-ms": "250"}, {}, 0.25, "retry-after-ms"),
        ({"Retry-After": "26"}, {}, 26, "retry-after"),
        ({}, {"availability": {"retry_after": 40}}, 40, "availability.retry_after"),
        (
            {},
            {"metadata": {"retry_after_seconds_raw": 25.917}},
            25.917,
            "metadata.retry_after_seconds_raw",
        ),
        ({}, {"metadata": {"retry_after_seconds": 26}}, 26, "metadata.retry_after_seconds"),
        (
            {},
            {"metadata": {"headers": {"RETRY-AFTER": "7"}}},
            7,
            "metadata.headers.retry-after",
        ),
        ({"X-RateLimit-Reset": "30"}, {}, 30, "x-ratelimit-reset"),
        (
            {},
            {"metadata": {"headers": {"X-RateLimit-Reset": 31}}},
            31,
            "metadata.headers.x-ratelimit-reset",
        ),
    ],
    ids=[name for name, _, _ in SOURCES],
)
def test_each_source_is_read_and_named(headers, error, seconds, source):
    """A hint is found in each of the eight places, and says which one it was."""
    assert read_hint(headers, error) == Hint(seconds, source)


def test_earlier_sources_win():
    """The first source of the table that holds a valid hint wins over all later ones."""
    headers = {"retry-after-ms": "250", "Retry-After": "26", "X-RateLimit-Reset": "30"}
    error = {"availability": {"retry_after": 40}, "metadata": {"retry_after_seconds": 50}}
    found = []
    for name in ("retry-after-ms", "Retry-After"):
        found.append(read_hint(headers, error).source)
        del headers[name]
    found.append(read_hint(headers, error).source)
    assert found == ["retry-after-ms", "retry-after", "availability.retry_after"]


def test_an_invalid_hint_makes_room_for_the_next():
    """A hint that is no hint does not hide a valid one behind it."""
    found = read_hint({"Retry-After": "0"}, {"metadata": {"retry_after_seconds": 5}})
    assert found == Hint(5, "metadata.retry_after_seconds")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2),
        ("1.5", 1.5),
        ("Tue, 24 Nov 2026 16:00:10 GMT", 10),
        ("Tue, 24 Nov 2026 15:59:50 GMT", None),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("86400", DAY),
        ("86401", None),
        ("1_0", None),
        ("soon", None),
        ("", None),
    ],
)
def test_forms_of_retry_after(text, seconds):
    """Seconds, fractions and dates count; zero, the past, more than a day and garbage do not."""
    found = read_hint(DATE | {"Retry-After": text}, {})
    assert (found and found.seconds) == seconds


def test_a_date_needs_the_date_of_the_answer():
    """Without the answer's own `Date` an HTTP-date is no hint: the local clock is never asked."""
    assert read_hint({"Retry-After": "Tue, 24 Nov 2026 16:00:10 GMT"}, {}) is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("60", 60),
        (str(NOON + 60), 60),
        (str((NOON + 60) * 1000), 60),
        (str(NOON - 60), None),
    ],
)
def test_units_of_a_reset(reset, seconds):
    """A reset is a difference, seconds or milliseconds since the epoch, told by its size."""
    found = read_hint(DATE | {"X-RateLimit-Reset": reset}, {})
    assert (found and found.seconds) == seconds


def test_a_reset_of_the_epoch_needs_the_date_of_the_answer():
    """Without the answer's own `Date` a reset in seconds since the epoch is no hint."""
    assert read_hint({"X-RateLimit-Reset": str(NOON + 60)}, {}) is None


def test_a_daily_quota_believes_resets_only():
    """A daily quota does not come back in half a minute, whatever `Retry-After` says."""
    headers = DATE | {"Retry-After": "34", "X-RateLimit-Reset": str((NOON + 28800) * 1000)}
    assert read_hint(headers, {}, quota=True) == Hint(28800, "x-ratelimit-reset")
    assert read_hint({"Retry-After": "34"}, {}, quota=True) is None


def test_midnight_is_counted_from_the_answer():
    """The day ends at 00:00 UTC, eight hours after an answer given at 16:00."""
    assert until_midnight(DATE) == 8 * 3600
    assert until_midnight({}) is None


@given(
    headers=st.dictionaries(
        st.sampled_from(["Date", "Retry-After", "retry-after-ms", "X-RateLimit-Reset"]), st.text()
    ),
    error=st.fixed_dictionaries(
        {},
        optional={
            "availability": json_values,
            "metadata": st.fixed_dictionaries(
                {},
                optional={
                    "retry_after_seconds": json_values,
                    "retry_after_seconds_raw": json_values,
                    "headers": json_values,
                },
            )
            | json_values,
        },
    ),
)
def test_any_answer_gives_a_hint_or_none(headers, error):
    """Whatever stands where hints are read, the result is `None` or above 0 and at most a day."""
    found = read_hint(headers, error)
    assert found is None or (0 < found.seconds <= DAY and found.source)
    until_midnight(headers)


@given(json_values)
def test_numbers_are_plain(value):
    """What counts as a number is finite and not negative."""
    found = number(value)
    assert found is None or (found >= 0 and math.isfinite(found))
