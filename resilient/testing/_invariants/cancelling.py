"""Cancellation: it comes out, nothing begins after it, and nothing is left running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._core.events import Degraded, TimeoutFired
from resilient.testing._invariants._common import (
    CLOSE,
    Broken,
    Found,
    called,
    calls_of,
    is_cancellation,
    kind,
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
        if cooperative and caller.ended > at + CLOSE:
            yield Broken(f"over at {s(at)}, with the cancellation", f"over at {s(caller.ended)}")


def nothing_called_afterwards(run: Run) -> Found:
    """After a cancellation nothing is called, at that very instant neither."""
    for caller in run.callers:
        order, at = caller.cancelled_order, caller.cancelled_at
        if order is None or at is None or _went_on(caller, order):
            continue
        # A function that is called by someone who is cancelled already does begin.
        late = [call for call in calls_of(run, caller)[1:] if call.order > order]
        if late[_may_begin(run, caller) :]:
            again = ", ".join(f"{call.started:.6g}" for call in late)
            yield Broken(f"cancelled at {s(at)}: nothing is called any more", f"calls at {again} s")


def _may_begin(run: Run, caller: CallerRun) -> int:
    """Return how many calls may begin in front of the await that a cancellation comes to.

    The library looks before each attempt whether it is cancelled; a function
    of the user's learns of it at its next await.
    """
    its_own = run.details.anatomy is None or run.details.real
    return int(caller.cancelled_awake and its_own)


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
    if last is not None and isinstance(last.step, Stubborn):
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
    ended = last.ended == caller.cancelled_at and not is_cancellation(last.error)
    return ended and _may_begin(run, caller) > 0


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
