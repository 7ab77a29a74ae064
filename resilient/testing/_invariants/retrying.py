"""Retries: what is tried again, after which wait, and why no more."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, cast

from resilient._core.backoff import Schedule
from resilient._core.conditions import AnyOf, Named, with_classify
from resilient._core.events import (
    AttemptStarted,
    CallEnded,
    CallRejected,
    FellBack,
    TargetSkipped,
    TimeoutFired,
)
from resilient._core.faults import fault_of
from resilient._core.shape import is_group
from resilient._core.transient import transient
from resilient.errors import Rejected
from resilient.testing._anatomy import Around
from resilient.testing._invariants._common import (
    CLOSE,
    Broken,
    Found,
    asked_before,
    called,
    calls_of,
    is_cancellation,
    is_plain,
    its_own,
    kind,
    known,
    parts,
    s,
)
from resilient.testing._record import Raised
from resilient.testing._steps import Fail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient._core.conditions import Condition
    from resilient._core.events import RetryScheduled, RetryStopped
    from resilient._core.retry import RetryPolicy
    from resilient._policies import Retry
    from resilient.testing._anatomy import Guarded
    from resilient.testing._record import Noted, TargetCall
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._story import Story


def only_retryable_retried(run: Run) -> Found:
    """What is tried again is a failure that a retry acts on; never a cancellation, never a bug."""
    for story, node in known(run):
        retries = node.around("retry")
        for _, event in story.scheduled:
            if not any(_acts_on(retry, event.error) for retry in retries):
                yield Broken(
                    f"{kind(event.error)} is not tried again: on= does not accept it",
                    f"attempt {event.number} of {story.name} was followed by another",
                )
    for caller in run.callers:
        calls = calls_of(run, caller)
        for before, after in _pairs(calls):
            yield from _judged_again(run, before, after)


def _pairs(calls: Sequence[TargetCall]) -> Iterator[tuple[TargetCall, TargetCall]]:
    """Go through pairs of calls of the same function by the same caller, one after the other."""
    last: dict[object, TargetCall] = {}
    for call in calls:
        before = last.get((call.index, call.function))
        if before is not None and (before.ended_order or inf) < call.order:
            yield before, call
        last[call.index, call.function] = call


def _judged_again(run: Run, before: TargetCall, after: TargetCall) -> Found:
    error = before.error
    if isinstance(error, GeneratorExit):
        return  # a stream that nobody wanted was closed
    if error is not None and not isinstance(error, Exception):
        if is_cancellation(error) and _cut_off(run, before, after):
            return
        yield Broken(
            f"nothing is called after a {kind(error)}", f"the function was called again: {after}"
        )
    elif run.details.anatomy is None and before.within is None and _is_permanent(error):
        yield Broken(
            f"{kind(error)} is not tried again: it says that the call itself is wrong",
            f"the function was called again: {after}",
        )


def _is_permanent(error: Exception | None) -> bool:
    return error is not None and transient.knows(error) and not transient(error)


def _cut_off(run: Run, before: TargetCall, after: TargetCall) -> bool:
    """Tell whether a call may have been cancelled by what stands around it, and not for good."""
    if its_own(run) or not run.details.noted:
        # A limit that is written by hand says nothing, nor does one that nobody heard.
        return not (isinstance(before.step, Fail) and before.step.error is type(before.error))
    return any(
        isinstance(noted.event, TimeoutFired) and before.order < noted.order < after.order
        for noted in run.details.noted
    )


def gives_up_for_a_reason(run: Run) -> Found:
    """A retry that stops says why, and it is true."""
    for story, node in known(run):
        retries = node.around("retry")
        if len(retries) != 1 or story.call.plan.stream:
            continue
        for noted, event in story.stopped:
            yield from _reason(story, node, retries[0], noted, event)
        error = None if story.end is None else story.end.error
        said = bool(story.stopped or node.choices or not story.attempts)
        its_own = any(call.error is error for call in run.calls)
        if its_own and not said and isinstance(error, Exception) and _acts_on(retries[0], error):
            limits = any(isinstance(noted.event, TimeoutFired) for noted in story.noted)
            if not limits and not isinstance(error, Rejected):
                yield Broken(f"a reason for not trying again after {kind(error)}", "none was given")


def _reason(story: Story, node: Guarded, retry: Around, noted: Noted, event: RetryStopped) -> Found:
    policy = _policy(retry)
    if event.result == "exhausted" and not _is_used_up(story, node, retry, noted):
        tries = _tries(story, noted)
        yield Broken(f"{policy.attempts} attempts before they are used up", f"it was {tries}")
    elif event.result == "not_retryable" and event.error is not None:
        if _acts_on(retry, event.error):
            yield Broken(f"{kind(event.error)} is tried again", "it was called not retryable")
    elif event.result == "deadline" and not _may_stop_for_time(story, node, retry, event):
        yield Broken("another attempt: no limit of time is in force", "it stopped for one")
    elif event.result == "rejected" and not isinstance(event.error, Rejected):
        yield Broken(f"another attempt after {kind(event.error)}", "it was called a refusal")


def _is_used_up(story: Story, node: Guarded, retry: Around, stopped: Noted) -> bool:
    tries, most = _tries(story, stopped), _policy(retry).attempts
    if any(getattr(part.policy, "times", 1) > 1 for part in _around(node, retry)):
        # A middleware may have begun anew after a retry that went well, which says nothing.
        return most is not None and tries >= most
    return tries == most


def _tries(story: Story, stopped: Noted) -> int:
    """Count the attempts of a retry that stopped, from where one has stopped before it."""
    before = [one.order for one, _ in story.stopped if one.order < stopped.order]
    since = max(before, default=0)
    return 1 + sum(since < one.order < stopped.order for one, _ in story.scheduled)


def _may_stop_for_time(story: Story, node: Guarded, retry: Around, event: RetryStopped) -> bool:
    policy = _policy(retry)
    hint = _hint(retry, event.error)
    outside = any(part.policy.kind in {"timeout", "middleware"} for part in _around(node, retry))
    elsewhere = bool(node.choices) or story.call.parent is not None
    return outside or elsewhere or policy.max_elapsed < inf or (hint or 0) > policy.max_hint


def _around(node: Guarded, retry: Around) -> list[Around]:
    for spot in node.spots:
        above = [part for part in node.above(spot.place) if isinstance(part, Around)]
        if retry in above:
            return above[: above.index(retry)]
    return []


def backoff_lawful(run: Run) -> Found:
    """Each wait is one that backoff or hint allows, is taken whole, and ends before a limit."""
    for story, node in known(run):
        for noted, event in story.scheduled:
            yield from _length(node.around("retry"), event)
            yield from _taken(run, story, node, noted, event)
        yield from _ranges(story, node)
    for story in called(run):
        total = sum(event.wait for _, event in story.scheduled)
        if story.end is not None and abs(story.end.waited - total) > CLOSE:
            yield Broken(
                f"waited {s(total)}, the sum of the waits", f"it says {s(story.end.waited)}"
            )
    yield from _nothing_idle(run)


def _length(retries: list[Around], event: RetryScheduled) -> Found:
    wait = event.wait
    if not (isfinite(wait) and wait >= 0):
        yield Broken("a wait of seconds from 0 on", f"it is {wait}")
        return
    if not retries or event.source == "predicate":
        return
    hints = [hint for retry in retries if (hint := _hint(retry, event.error)) is not None]
    hint = max(hints, default=None)
    cap = max(_policy(retry).backoff.cap for retry in retries)
    longest = max(_policy(retry).max_hint for retry in retries)
    if event.source == "hint":
        if hint is None or abs(wait - hint) > CLOSE or wait > longest + CLOSE:
            asked = "nothing" if hint is None else s(hint)
            yield Broken(f"the hint itself ({asked}), up to {s(longest)}", f"a wait of {s(wait)}")
        return
    if wait > cap + CLOSE:
        yield Broken(f"no wait longer than the cap of {s(cap)}", f"a wait of {s(wait)}")
    if hint is not None and wait < hint - CLOSE:
        yield Broken(f"at least the {s(hint)} that the error asks for", f"a wait of {s(wait)}")


def _taken(run: Run, story: Story, node: Guarded, noted: Noted, event: RetryScheduled) -> Found:
    after = next((one for one in story.noted if one.order > noted.order and _moves_on(one)), None)
    caller = run.callers[story.call.caller] if run.callers else None
    if after is None or caller is None or asked_before(caller, after.order):
        return
    gap = after.event.at - event.at
    if isinstance(after.event, AttemptStarted | CallRejected):
        # Closing a bad result may take time, and so may a middleware before it proceeds.
        takes_time = event.error is None or _leads_to_middleware(node)
        if gap < event.wait - CLOSE or (gap > event.wait + CLOSE and not takes_time):
            yield Broken(f"the next attempt {s(event.wait)} later", f"it came after {s(gap)}")
    elif node.around("middleware") and gap >= event.wait - CLOSE:
        return  # it may have ended by itself what was to be tried again
    elif isinstance(after.event, TimeoutFired | CallEnded | FellBack) and event.error is not None:
        yield Broken(
            f"no wait of {s(event.wait)} where a limit ends it: the error at once",
            f"it slept, and was cut after {s(gap)}",
        )


def _leads_to_middleware(node: Guarded) -> bool:
    """Tell whether a middleware stands between a retry and a target."""
    inner = [part for retry in node.around("retry") for part in parts(retry.inner)]
    return any(isinstance(part, Around) and part.policy.kind == "middleware" for part in inner)


def _moves_on(noted: Noted) -> bool:
    moves = AttemptStarted | CallRejected | TimeoutFired | CallEnded | FellBack | TargetSkipped
    return isinstance(noted.event, moves)


def _ranges(story: Story, node: Guarded) -> Found:
    """Compare computed waits with the formula, where it is known which retry they are of."""
    retries = node.around("retry")
    if len(retries) != 1 or node.around("middleware"):
        return  # it may begin anew, and nothing says when
    backoff = _policy(retries[0]).backoff
    if not isinstance(backoff, Schedule) or backoff.jitter == "decorrelated":
        return
    number = 0
    for _, event in story.scheduled:
        number = 0 if event.source == "hint" else number + (event.source == "backoff")
        if event.source != "backoff":
            continue
        try:
            longest = min(backoff.cap, backoff.growth.grown(backoff.base, number))
        except OverflowError:
            yield Broken(f"a wait before retry {number} that a float can hold", "it overflows")
            return
        least = {"none": longest, "equal": longest / 2, "full": 0.0}[backoff.jitter]
        if not least - CLOSE <= event.wait <= longest + CLOSE:
            span = s(longest) if least == longest else f"{s(least)} to {s(longest)}"
            yield Broken(f"a wait of {span} before retry {number}", f"a wait of {s(event.wait)}")


def _nothing_idle(run: Run) -> Found:
    """Every second of a call is one in which something is called, or a wait that was announced."""
    if run.details.real and run.details.anatomy is not None:
        return
    for caller in run.callers:
        if caller.cancelled_order is not None or (run.schedule.pause and caller.items):
            continue  # cut short, or what is neither is the consumer's
        if run.details.anatomy is None:
            yield from _idle_end(run, caller)
        elif is_plain(run.details.anatomy) and not _awaits_more(run.details.anatomy):
            yield from _gaps(run, caller)


def _idle_end(run: Run, caller: CallerRun) -> Found:
    calls = calls_of(run, caller)
    ended = max((call.ended or 0.0 for call in calls), default=caller.ended)
    if isinstance(caller.result, Raised) and caller.ended > ended + CLOSE:
        yield Broken(
            f"the error at once, when the last call has failed at {s(ended)}",
            f"it came {s(caller.ended - ended)} later: that wait was for nothing",
        )


def _gaps(run: Run, caller: CallerRun) -> Found:
    busy = [(call.started, call.ended or call.started) for call in calls_of(run, caller)]
    for story in run.details.stories.values():
        if story.call.caller == caller.number:
            busy += [(event.at, event.at + event.wait) for _, event in story.scheduled]
    covered = caller.started
    for start, end in sorted([*busy, (caller.ended, caller.ended)]):
        if start > covered + CLOSE:
            yield Broken(
                "every second a call, or a wait that was announced",
                f"{s(start - covered)} from {s(covered)} on were neither",
            )
        covered = max(covered, end)


def _awaits_more(node: Guarded) -> bool:
    """Tell whether something else than targets and waits may take time: a last resort, a close."""
    chains = [chain.policy for one in node.everything for chain in one.choices]
    judged = any(_policy(one).on_result for g in node.everything for one in g.around("retry"))
    return judged or any(
        chain.on_result is not None or getattr(chain.degrade, "may_wait", False) for chain in chains
    )


def _acts_on(retry: Around, error: BaseException | None) -> bool:
    policy = _policy(retry)
    if error is None:
        return policy.on_result is not None
    on = policy.on
    if policy.classify is None and retry.classify is not None:
        on = with_classify(on, retry.classify)
    return accepts(on, error)


def accepts(on: Condition, error: BaseException) -> bool:
    """Tell whether `on` acts on an error; types are compared here, and not by whom is tested."""
    if not isinstance(error, Exception):
        return False
    if isinstance(on, AnyOf):
        return any(accepts(part, error) for part in on.parts)
    if isinstance(on, Named) and not is_group(error) and not isinstance(error, Rejected):
        return isinstance(error, on.types)
    try:
        return on.decide(error) is not False
    except Exception:  # noqa: BLE001 - a predicate of the user's that fails has failed the call
        return True


def _hint(retry: Around, error: Exception | None) -> float | None:
    if error is None:
        return None
    if isinstance(error, Rejected):
        return error.retry_after
    fault = fault_of(error, _policy(retry).classify or retry.classify)
    return None if fault is None else fault.retry_after


def _policy(part: Around) -> RetryPolicy:
    return cast("Retry", part.policy).policy
