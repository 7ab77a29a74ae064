"""The P cases of the conformance list: what a server says about the next try."""

from __future__ import annotations

import math

import pytest

from resilient import exponential, retry, timeout
from resilient.events import AttemptEnded, RetryStopped
from resilient.testing import Fail, Ok, Tester


class Busy(ConnectionError):
    """An error of a response, with its headers."""

    def __init__(self, **headers):
        super().__init__("busy")
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def plain(seconds=0.25):
    """Return a retry with a computed wait that is easy to tell from a hint."""
    return retry(backoff=[seconds])


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "10"}, 10),
        (
            {
                "Retry_After": "Tue, 01 Jan 2030 00:00:10 GMT",
                "Date": "Tue, 01 Jan 2030 00:00:00 GMT",
            },
            10,
        ),
        (
            {
                "Retry_After": "Tue, 01 Jan 2030 00:00:00 GMT",
                "Date": "Tue, 01 Jan 2030 00:00:10 GMT",
            },
            0.25,
        ),
        ({}, 0.25),
    ],
    ids=["seconds", "date", "date in the past", "no header"],
)
def test_P01_a_hint_is_read_against_the_responses_own_date(headers, wait):
    """Seconds and dates are hints; a date in the past and no header leave the computed wait."""
    runs = Tester(plain()).run([Fail(lambda: Busy(**headers)), Ok()])
    runs.asserts(tries=2, calls=2, from_call=2, waits=[wait], elapsed=wait)


def test_P02_after_a_hint_the_computed_waits_start_again():
    """Waits 0.1, 5 (hint), 0.1, 0.2: the hint sets the backoff back to its base."""
    policy = retry(attempts=5, backoff=exponential(base=0.1, jitter="none"))
    script = [
        Fail(ConnectionError),
        Fail(ConnectionError, hint=5),
        Fail(ConnectionError),
        Fail(ConnectionError),
        Ok(),
    ]
    runs = Tester(policy).run(script)
    runs.asserts(tries=5, calls=5, from_call=5, waits=[0.1, 5, 0.1, 0.2])
    for run in runs:
        ended = [event for event in run.events if isinstance(event, AttemptEnded)]
        sources = [event.wait_source for event in ended]
        assert sources == ["backoff", "hint", "backoff", "backoff", None]
        assert ended[1].hint_source == "retry_after"


@pytest.mark.parametrize(
    ("hint", "wait"), [("1.5", 1.5), ("0", 0.05), ("10", 10), ("abc", 0.05), ("-100", 0.05)]
)
def test_P04_only_a_valid_hint_replaces_the_wait(hint, wait):
    """Zero, negative and unreadable hints leave the computed wait; others are not squeezed."""
    policy = retry(backoff=[0.05], max_hint=20)
    runs = Tester(policy).run([Fail(lambda: Busy(Retry_After=hint)), Ok()])
    runs.asserts(tries=2, calls=2, from_call=2, waits=[wait])


@pytest.mark.parametrize("hint", [math.nan, math.inf, -1.0, 0.0, 86401.0])
def test_P04_an_absurd_hint_of_an_attribute_is_ignored(hint):
    """NaN, infinite, negative, zero and more than a day are no hints."""
    runs = Tester(plain()).run([Fail(ConnectionError, hint=hint), Ok()])
    runs.asserts(tries=2, calls=2, from_call=2, waits=[0.25])


def test_P06_a_hint_beyond_the_deadline_is_not_waited_for():
    """A hint of 120 s with 30 s left: no sleep, the original error, which shows the hint."""
    runs = Tester(timeout(30), retry(max_hint=300)).run([Fail(ConnectionError, hint=120)])
    for run in runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0):
        assert run.error.retry_after == 120
        (stopped,) = [event for event in run.events if isinstance(event, RetryStopped)]
        assert stopped.result == "deadline"


def test_P10_a_predicate_that_says_stop_is_obeyed():
    """With attempts, time and budget left, False ends the retry with the original error."""
    runs = Tester(timeout(30), retry(attempts=9, on=lambda _: False)).run("x*")
    runs.asserts(tries=1, calls=1, error=ConnectionError, from_call=1, elapsed=0)
