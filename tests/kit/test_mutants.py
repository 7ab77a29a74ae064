"""The tester tested: bugs planted on purpose, each found by what is meant to find it.

For each bug a schedule is searched that breaks the invariant that is about
this bug, within 500 examples, and shrunk: it has no more than three steps. The
library as it is breaks none.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hunting import HUNT, hunted
from hypothesis import given, settings

from resilient import exponential, retry, timeout
from resilient.testing import schedules_for, simulate, spread_at_cap

spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
planted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(planted)
BUGS, CALLERS, careless = planted.BUGS, planted.CALLERS, planted.careless


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)  # a hunt is many runs, and this machine may have other work
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, monkeypatch):
    """`check()` fails for the right reason, on at most three steps."""
    what, plant, invariant = BUGS[bug]
    strategy = schedules_for(what, callers=CALLERS.get(bug))
    plant(monkeypatch)
    hunted(strategy, what, invariant)


@pytest.mark.parametrize(
    "plant", [careless.jitter_comes_before_the_cap, careless.no_jitter_at_the_cap]
)
def test_waits_that_clump_at_the_cap_are_found(plant, monkeypatch):
    """Jitter that comes before the cap, or ends there, shows over many seeds."""
    policy = retry(attempts=12, backoff=exponential(base=0.1, cap=1))
    spread_at_cap(policy)
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="waits spread below the cap of 1 s"):
        spread_at_cap(policy)


def test_waits_above_the_cap_are_found(monkeypatch):
    """Jitter that goes above the cap shows over many seeds as well."""
    careless.jitter_goes_above_the_cap(monkeypatch)
    with pytest.raises(AssertionError, match="no wait above 1 s"):
        spread_at_cap(retry(attempts=12, backoff=exponential(base=0.1, cap=1)))


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (retry(backoff=[1]), "no single retry with full or equal jitter"),
        (timeout(3), "no single retry with full or equal jitter"),
        (retry(attempts=3), "too few attempts to get to its cap of 20 s"),
    ],
)
def test_waits_that_cannot_be_spread_are_refused(policy, complaint):
    """Without a jitter, or without waits at the cap, there is nothing to look at."""
    with pytest.raises(ValueError, match=complaint):
        spread_at_cap(policy)


SOUND = {id(what): (what, bug) for bug, (what, _, _) in BUGS.items()}


@pytest.mark.parametrize(("what", "bug"), SOUND.values(), ids=[bug for _, bug in SOUND.values()])
def test_the_library_itself_breaks_nothing(what, bug):
    """Without the bug the same schedules break no invariant, reruns included."""
    callers = CALLERS.get(bug)

    @settings(HUNT, max_examples=40)
    @given(schedules_for(what, callers=callers))
    def holds(schedule):
        simulate(what, schedule).check()

    holds()
