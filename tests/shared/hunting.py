"""How a planted bug is hunted: a search for the shortest schedule on which `check()` fails."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from resilient.testing import RERUNS, InvariantBroken, Stuck, simulate

HUNT = settings(
    max_examples=500,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


def broken(what, schedule, invariant):
    """Return the names of the invariants that a run of `schedule` breaks."""
    # A run of its own for each is spared where it is not what finds the bug.
    skip = RERUNS - {invariant}
    try:
        simulate(what, schedule).check(skip=skip)
    except InvariantBroken as found:
        return {finding.invariant for finding in found.findings}
    except Stuck:
        return {"Stuck"}
    return set()


def hunted(strategy, what, invariant):
    """Find the shortest schedule that shows a bug, and compare what is said about it."""
    try:
        shortest = find(strategy, lambda one: bool(broken(what, one, invariant)), settings=HUNT)
    except NoSuchExample:
        pytest.fail("nothing was found")
    names = broken(what, shortest, invariant)
    assert invariant in names, f"{shortest!r} breaks {sorted(names)}"
    assert shortest.size <= 3, shortest
    return shortest
