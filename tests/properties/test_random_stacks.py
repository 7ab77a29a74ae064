"""What the library promises, of any stack of its policies and any schedule of failures."""

from __future__ import annotations

from hypothesis import given, note, settings
from hypothesis import strategies as st
from random_stacks import anything, managers

from resilient import explain
from resilient.events import AttemptStarted, TargetSkipped
from resilient.testing import Stubborn, fresh_breakers, schedules_for, simulate

# A stack with its schedule is dear: 20 examples of each fact by default, 80 in CI.
some = settings(max_examples=max(10, settings.default.max_examples * 2 // 5))
Judged = AttemptStarted | TargetSkipped
backends = st.sampled_from(["asyncio", "trio"])


@st.composite
def played(draw, things=None, *, alone=False):
    """Draw something guarded, and a schedule of what matters to it; `alone` for one caller only."""
    what = draw(anything() if things is None else things)
    with fresh_breakers():
        note(explain(what))
    options = {"callers": 1, "cancellation": False} if alone else {}
    return what, draw(schedules_for(what, **options))


def trace(run):
    """Return what happened in a run, for comparison with another one."""
    calls = [(call.target, call.caller, round(call.started, 6)) for call in run.calls]
    ends = [(type(result), type(getattr(result, "error", None))) for result in run.results]
    return calls, ends, [round(caller.ended, 6) for caller in run.callers]


def events(run):
    """Return what was told of a run."""
    return [(type(event).__name__, round(event.at, 6)) for event in run.events]


@some
@given(played(), backends)
def test_every_invariant_holds(case, backend):
    """No run of any stack breaks one of the invariants that users check theirs with."""
    what, schedule = case
    simulate(what, schedule, backend=backend).check()


@some
@given(played(), backends)
def test_the_bound_is_never_exceeded(case, backend):
    """No caller of any stack causes more calls, or waits longer, than its bound says."""
    what, schedule = case
    run = simulate(what, schedule, backend=backend)
    stubborn = sum(
        call.ended - call.started for call in run.calls if isinstance(call.step, Stubborn)
    )
    for caller in run.callers:
        mine = [call for call in run.calls if call.caller == caller.number]
        assert len(mine) <= what.bound.calls
        assert caller.elapsed <= what.bound.seconds + stubborn + 1e-6


@some
@given(played(alone=True))
def test_both_backends_tell_the_same_story(case):
    """One caller has the same calls, events and instants on asyncio and on trio."""
    what, schedule = case
    runs = [simulate(what, schedule, backend=backend) for backend in ("asyncio", "trio")]
    assert trace(runs[0]) == trace(runs[1])
    assert events(runs[0]) == events(runs[1])


@some
@given(played(), backends)
def test_who_listens_changes_nothing(case, backend):
    """The calls and what they come to are the same with every listener and with none."""
    what, schedule = case
    run = simulate(what, schedule, backend=backend)
    for listening in ("nobody", "told"):
        assert trace(run.details.again(listening=listening)) == trace(run)


@some
@given(played(managers(), alone=True), backends)
def test_targets_are_asked_in_order(case, backend):
    """A manager asks its targets in the order of their priority, and none before its turn."""
    manager, schedule = case
    run = simulate(manager, schedule, backend=backend)
    order = [event.target_index for event in run.events if isinstance(event, Judged)]
    # A target may be a chain itself with a retry around it, and begins anew then.
    assert list(dict.fromkeys(order)) == list(range(max(order, default=-1) + 1))


@some
@given(played(), backends)
def test_it_recovers_when_the_faults_stop(case, backend):
    """After the faults, and after what it was told to wait for, every call is answered."""
    what, schedule = case
    simulate(what, schedule, backend=backend).check(only=["recovers"])
