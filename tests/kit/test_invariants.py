"""Each invariant by itself: a run that breaks it, with a planted bug, and one that does not.

The searches in test_mutants.py find such schedules; here they are written down.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from resilient import Fault, retry
from resilient.testing import (
    INVARIANTS,
    Fail,
    FailureSchedule,
    Hang,
    Interruption,
    InvariantBroken,
    Items,
    Ok,
    simulate,
)


def load(name):
    """Import a file beside this one: the folder is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


planted, careless_streams = load("planted"), load("careless_streams")


@retry(attempts=3, backoff=[1])
async def words(prompt: str):
    yield "never asked"


BUGS = planted.BUGS | {
    "a short success": (words, careless_streams.a_failure_is_the_end, "stream_prefix")
}

FAILS = FailureSchedule(then=Fail(ConnectionError))
BAD_REQUEST = Fail(Fault(retryable=False, scope="request"))
BAD_KEY = Fail(Fault(retryable=False, scope="key"))

BREAKS = {
    "attempts_bounded": ("attempts plus one", FAILS),
    "backend_agnostic": ("one backend only", FAILS),
    "backoff_lawful": ("jitter above the cap", FAILS),
    "budget_respected": ("a token after the wait", FAILS),
    "cancellation_honoured": (
        "swallowed cancellation",
        FailureSchedule([Ok(after=1)], cancel_at=1, cancel="task"),
    ),
    "chain_within_deadline": (
        "a chain that goes on when its time is up",
        FailureSchedule([Fail(ConnectionError, after=9)]),
    ),
    "condemned_never_called": ("a condemned scope asked", FailureSchedule(then=BAD_KEY)),
    "degraded_only_when_allowed": (
        "a last resort for a bad request",
        FailureSchedule([BAD_REQUEST]),
    ),
    "deterministic": ("another clock", FAILS),
    "every_attempt_spanned": ("a span left open", FailureSchedule([Ok(after=2)], cancel_at=1)),
    "explained": ("a policy not explained", FailureSchedule()),
    "gives_up_for_a_reason": ("attempts minus one", FAILS),
    "neutral_teaches_nothing": (
        "a cancelled probe closes",
        FailureSchedule([Ok(after=2)], cancel_at=1),
    ),
    "no_call_while_open": (
        "all are probes",
        FailureSchedule([Fail(ConnectionError), Ok(after=1)], arrivals=[0, 0, 10, 10]),
    ),
    "no_cycles": ("an error kept in a frame", FAILS),
    "nothing_invented": ("an overflow", FAILS),
    "nothing_left_running": ("a task left running", FAILS),
    "nothing_logged": ("a text in the log", FAILS),
    "nothing_recorded": ("a text in a note", FAILS),
    "nothing_swallowed": ("an error of another caller", FAILS),
    "one_end_per_attempt": ("an end told twice", FailureSchedule()),
    "only_retryable_retried": (
        "a BaseException tried again",
        FailureSchedule([Fail(Interruption)]),
    ),
    "order_preserved": ("everybody asked", FailureSchedule()),
    "outcome_consistent": ("an outcome that hides the fallback", FAILS),
    "permits_balanced": ("a lost permit", FailureSchedule([Ok(after=2)], cancel_at=1)),
    "probes_decide": (
        "evidence kept",
        FailureSchedule([Fail(ConnectionError), Fail(ConnectionError)], arrivals=[0, 0, 0, 10]),
    ),
    "recovers": ("no probes", FailureSchedule([Fail(ConnectionError)])),
    "retry_after_true": (
        "open for too short",
        FailureSchedule([Fail(ConnectionError)], arrivals=[0, 0]),
    ),
    "scope_clean_afterwards": (
        "a cancellation left on the task",
        FailureSchedule(then=Hang()),
    ),
    "stale_ignored": (
        "a stale result",
        FailureSchedule([Ok(after=1)], then=Fail(ConnectionError), arrivals=[0, 0]),
    ),
    "stream_prefix": ("a short success", FailureSchedule([Items(1, then=Fail(ConnectionError))])),
    "telemetry_neutral": ("a listener that fails the call", FailureSchedule()),
    "time_bounded": (
        "a chain without an end",
        FailureSchedule([Ok(after=3)], fallbacks=[[Hang()]]),
    ),
    "timeouts_are_ours": (
        "a foreign TimeoutError claimed",
        FailureSchedule(then=Fail(TimeoutError)),
    ),
    "transitions_lawful": (
        "another reason than the table's",
        FailureSchedule([Fail(ConnectionError)]),
    ),
}


def test_none_is_left_out():
    """There is a run that breaks each of the invariants, and a bug behind it that is about it."""
    assert set(BREAKS) == set(INVARIANTS)
    assert {name: BUGS[bug][2] for name, (bug, _) in BREAKS.items()} == {
        name: name for name in BREAKS
    }


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", BREAKS)
def test_it_is_reported_by_name_and_silent_without_the_bug(name, monkeypatch):
    """With the bug `check` reports the invariant, with both sides; without it the run passes."""
    bug, schedule = BREAKS[name]
    what, plant, _ = BUGS[bug]
    simulate(what, schedule).check()
    plant(monkeypatch)
    with pytest.raises(InvariantBroken) as caught:
        simulate(what, schedule).check(only=[name])
    (finding, *_) = caught.value.findings
    assert finding.invariant == name
    assert finding.expected
    assert finding.happened
    assert f"\n{name}\n  expected  " in str(caught.value)
