"""Timeouts: a limit that was reported is one of ours, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._core.events import AttemptStarted, CallStarted, FellBack, RetryScheduled
from resilient._policies import Timeout
from resilient.errors import Rejected, ResilientError, TimedOut
from resilient.testing._invariants._common import (
    CLOSE,
    Broken,
    Found,
    called,
    calls_of,
    is_cancellation,
    kind,
    known,
    s,
    stubborn_seconds,
)
from resilient.testing._record import Raised

if TYPE_CHECKING:
    from resilient._core.events import TimeoutFired
    from resilient.testing._anatomy import Guarded
    from resilient.testing._record import TargetCall
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._story import Attempt, Story


def timeouts_are_ours(run: Run) -> Found:
    """`TimedOut` is a limit of the pipeline that expired; an error of the target stays itself."""
    fired = [event for story in called(run) for _, event in story.fired]
    for caller in run.callers:
        error = caller.result.error if isinstance(caller.result, Raised) else None
        if issubclass(type(error), TimedOut) and not _scheduled(run, error):
            yield from _expired(error, fired)
    for story, node in known(run):
        for _, event in story.fired:
            yield from _is_limit(run, story, node, event)
        for attempt in story.attempts:
            yield from _own_error(run, story, attempt)


def _scheduled(run: Run, error: BaseException | None) -> bool:
    return any(call.error is error for call in run.calls)


def _expired(error: BaseException | None, fired: list[TimeoutFired]) -> Found:
    after, limit = getattr(error, "after", None), getattr(error, "limit", None)
    if not any(event.after == after and event.limit == limit for event in fired):
        yield Broken(
            "TimedOut only where a limit has expired", f"a limit of {after} s ({limit}) did not"
        )


def _is_limit(run: Run, story: Story, node: Guarded, event: TimeoutFired) -> Found:
    limits = [part.policy for part in node.around("timeout")]
    lengths = {
        seconds
        for one in limits
        if isinstance(one, Timeout)
        for seconds in (one.seconds, one.first_item, one.between_items)
    }
    timed_chain = any(chain.policy.deadline < float("inf") for chain in node.choices)
    if event.after not in lengths and not timed_chain:
        yield Broken(f"a limit of the pipeline ({sorted(lengths)})", f"{s(event.after)} expired")
        return
    caller = run.callers[story.call.caller] if run.callers else None
    # What is the user's own may take its time to clean up: a target, or a middleware.
    late = run.details.real or bool(node.around("middleware"))
    late = late or (caller is not None and stubborn_seconds(calls_of(run, caller)) > 0)
    began = event.at - event.after
    if not late and not story.call.plan.stream and not _something_at(story, began):
        yield Broken(
            f"a limit of {s(event.after)} expires {s(event.after)} after something began",
            f"it expired at {s(event.at)}, and nothing began at {s(began)}",
        )


def _something_at(story: Story, at: float) -> bool:
    """Tell whether a scope can have begun then: with the call, an attempt, or behind a wait."""
    for noted in story.noted:
        event = noted.event
        instant = event.at
        if isinstance(event, RetryScheduled):
            instant = event.at + event.wait
        elif not isinstance(event, CallStarted | AttemptStarted | FellBack):
            continue
        if abs(instant - at) < CLOSE:
            return True
    return False


def _own_error(run: Run, story: Story, attempt: Attempt) -> Found:
    """Compare the error of an attempt with that of the call that it made."""
    if run.details.real or attempt.end is None or story.call.plan.stream:
        return
    made = [call for call in run.calls if _is_of(call, story, attempt)]
    error = made[-1].error if made else None
    if not isinstance(error, Exception) or is_cancellation(error):
        return
    fired = any(event.number == attempt.start.number for _, event in story.fired)
    ours = attempt.end.error is None or isinstance(attempt.end.error, ResilientError)
    if isinstance(error, Rejected) or not ours:
        return  # the error before a refusal, or that of a predicate of the user's
    if attempt.end.error is not error and not fired and not _has_middleware(run, story):
        yield Broken(
            f"the attempt fails with the target's own {kind(error)}",
            f"it failed with {kind(attempt.end.error)}",
        )


def _has_middleware(run: Run, story: Story) -> bool:
    node = run.details.node_of(story)
    return node is None or bool(node.around("middleware"))


def _is_of(call: TargetCall, story: Story, attempt: Attempt) -> bool:
    return call.within == story.call.number and call.attempt == attempt.start.number


def scope_clean_afterwards(run: Run) -> Found:
    """When a call is over, the caller's next await completes and no cancellation is left over."""
    for caller in run.callers:
        for trouble in caller.troubles:
            yield Broken(f"{_who(run, caller)} goes on as before the call", trouble)


def _who(run: Run, caller: CallerRun) -> str:
    return "the caller" if len(run.callers) == 1 else f"caller {caller.number + 1}"
