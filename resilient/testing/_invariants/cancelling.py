"""Cancellation: it comes out, nothing begins after it, and nothing is left running."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from resilient._core.events import Degraded, TimeoutFired
from resilient.testing._invariants._common import (
    CLOSE,
    Broken,
    Found,
    called,
    calls_of,
    is_cancellation,
    its_own,
    kind,
    may_delay,
    over_at,
    s,
    stories_of,
)
from resilient.testing._record import Cancelled, Raised, Returned
from resilient.testing._steps import Stubborn

if TYPE_CHECKING:
    from resilient.testing._record import TargetCall
    from resilient.testing._run import CallerRun, Run


def cancellation_honoured(run: Run) -> Found:
    """After a cancellation nothing is called, and the cancellation comes out at once."""
    yield from nothing_called_afterwards(run)
    for caller in run.callers:
        order, at = caller.cancelled_order, caller.cancelled_at
        if order is None or at is None:
            continue
        calls = calls_of(run, caller)
        yield from _came_out(run, caller, calls, order)
        cooperative = not any(isinstance(call.step, Stubborn) for call in calls)
        due = max(at, caller.started)
        over = _over_inside(calls, due) if may_delay(run) else caller.ended
        if cooperative and over > due + CLOSE:
            yield Broken(f"over at {s(due)}, with the cancellation", f"over at {s(over)}")


def _over_inside(calls: list[TargetCall], due: float) -> float:
    """Return until when a call went on that should have been over at `due`."""
    ends = ((over_at(call), max(due, call.started)) for call in calls)
    return max((end for end, start in ends if end > start + CLOSE), default=due)


def nothing_called_afterwards(run: Run) -> Found:
    """After a cancellation nothing is called, at that very instant neither."""
    for caller in run.callers:
        order, at = caller.cancelled_order, caller.cancelled_at
        if order is None or at is None or _went_on(caller, order):
            continue
        calls = calls_of(run, caller)
        if its_own(run) and _eaten(calls, order):
            continue  # by a call, and then nobody can know of it
        # A function that is called by someone who is cancelled already does begin.
        late = [call for call in calls[1:] if _knows(run, caller, calls, order, call)]
        if late:
            again = ", ".join(f"{call.started:.6g}" for call in late)
            yield Broken(f"cancelled at {s(at)}: nothing is called any more", f"calls at {again} s")


def _knows(
    run: Run, caller: CallerRun, calls: list[TargetCall], order: int, call: TargetCall
) -> bool:
    """Tell whether who makes a call knows of the cancellation.

    The library looks before each attempt whether it is cancelled. A function
    of the user's that was about to go on learns of it at its next await: what
    it calls in front of that, at the same instant, is no defiance.
    """
    if call.order < order:
        return False
    if not _unaware(run, caller) or call.started > _asked_at(caller) + CLOSE:
        return True
    told = (one.ended_order or inf for one in calls if _is_told(one.error))
    return min((one for one in told if one > order), default=inf) < call.order


def _is_told(error: BaseException | None) -> bool:
    """Tell a cancellation, or what is raised in its place."""
    return error is not None and not isinstance(error, Exception)


def _unaware(run: Run, caller: CallerRun) -> bool:
    """Tell whether the user's code went on when it was cancelled, until its next await."""
    return its_own(run) and caller.cancelled_awake


def _had_begun(caller: CallerRun) -> bool:
    return caller.started < (caller.cancelled_at or 0.0)


def _asked_at(caller: CallerRun) -> float:
    """Return the instant of the cancellation: who is cancelled before it begins, does begin."""
    return max(caller.cancelled_at or 0.0, caller.started)


def _eaten(calls: list[TargetCall], order: int) -> bool:
    """Tell whether a call was there to take the cancellation, and swallowed it."""
    return any(
        isinstance(call.step, Stubborn) and (call.ended_order or inf) > order for call in calls
    )


def _went_on(caller: CallerRun, order: int) -> bool:
    """Tell whether an item came after the cancellation: swallowed by then, it is the consumer's."""
    return any(one > order for one in caller.items_at)


def _paused_until(run: Run, caller: CallerRun) -> bool:
    """Tell whether a consumer's pause ended as it was cancelled: either may be first."""
    paused = run.schedule.pause and caller.items and caller.number == 0
    return bool(paused) and caller.ended <= (caller.cancelled_at or 0) + CLOSE


def _came_out(run: Run, caller: CallerRun, calls: list[TargetCall], order: int) -> Found:
    result = caller.result
    if isinstance(result, Cancelled) or _went_on(caller, order):
        return
    last = calls[-1] if calls else None
    eaten = its_own(run) and _eaten(calls, order)
    if eaten or (last is not None and isinstance(last.step, Stubborn)):
        return  # it was swallowed inside, and what is returned late is still an answer
    # So does one that ends without an await: there is nowhere to deliver it.
    at_once = len(calls) == 1 and last is not None and last.ended == last.started
    at_once = at_once or (last is not None and _came_awake(run, caller, last))
    before = last is None or at_once or (last.ended_order or order + 1) < order
    before = before or _paused_until(run, caller)
    for story in stories_of(run, caller):
        decided = story.events(Degraded, TimeoutFired)
        before = before or any(noted.order < order for noted in decided)
    if not before:
        came = "a value" if isinstance(result, Returned) else kind(_error(result))
        yield Broken("the cancellation comes out", f"{came} did")


def _came_awake(run: Run, caller: CallerRun, last: TargetCall) -> bool:
    """Tell whether the last call was over before the first await behind the cancellation."""
    ended = last.ended == _asked_at(caller) and not is_cancellation(last.error)
    return ended and caller.cancelled_awake and (its_own(run) or _had_begun(caller))


def _error(result: object) -> BaseException | None:
    return result.error if isinstance(result, Raised) else None


def nothing_left_running(run: Run) -> Found:
    """When the callers are done no task, limit, generator or call is left."""
    troubles = {trouble for caller in run.callers for trouble in caller.troubles}
    for one in run.leftovers:
        if one not in troubles:
            yield Broken("nothing left behind", one)
    for call in run.calls:
        if call.ended is None:
            yield Broken("no call left running", str(call))


def one_end_per_attempt(run: Run) -> Found:
    """Each attempt and each call that began has exactly one end, and that of the call is last."""
    for story in called(run):
        for attempt in story.attempts:
            if attempt.ends != 1:
                yield Broken(
                    f"one end of attempt {attempt.start.number} of {story.name}",
                    f"it has {attempt.ends}",
                )
        last = story.noted[-1].event is story.end
        if (story.starts, story.ends) != (1, 1) or not last:
            yield Broken(
                f"one end of the call of {story.name}, behind everything else",
                f"{story.starts} beginnings and {story.ends} ends"
                + ("" if last else ", and something came behind"),
            )
