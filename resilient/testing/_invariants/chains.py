"""Fallbacks: who is asked after whom, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from resilient._core.events import (
    AttemptEnded,
    AttemptStarted,
    CallRejected,
    Degraded,
    TargetSkipped,
)
from resilient._core.fallback import REQUEST
from resilient._core.faults import fault_of
from resilient.errors import Rejected, Unacceptable
from resilient.testing._anatomy import places
from resilient.testing._invariants._common import (
    CLOSE,
    Broken,
    Found,
    asked_before,
    known,
    s,
    stories_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient.testing._anatomy import Choice, Guarded
    from resilient.testing._record import Noted
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._story import Story


@dataclass(slots=True)
class Walk:
    """One walk through a chain: who has failed or was skipped, and what that condemned."""

    handled: set[int] = field(default_factory=set[int])
    at: int = -1
    condemned: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    ended: str | None = None


def _walks(story: Story, node: Guarded) -> Iterator[tuple[Choice, Walk, int, Noted]]:
    """Go through the attempts of a call, chain by chain, with what was known in front of each."""
    for choice in node.choices:
        branches = [set(places(branch)) for branch in choice.branches]
        again = _may_begin_anew(node, choice)
        walk = Walk()
        for noted in story.noted:
            index = _branch(noted, branches)
            if index is None:
                continue
            if isinstance(noted.event, AttemptStarted):
                if index < walk.at and again:
                    walk = Walk()
                yield choice, walk, index, noted
                walk.at = index
            else:
                _learn(choice, walk, index, noted)


def _branch(noted: Noted, branches: list[set[int]]) -> int | None:
    event = noted.event
    if not isinstance(event, AttemptStarted | AttemptEnded | TargetSkipped):
        return None
    for index, found in enumerate(branches):
        if event.target_index in found:
            return index
    return None


def _may_begin_anew(node: Guarded, choice: Choice) -> bool:
    """Tell whether something outside of a chain may walk it again."""
    inside = places(choice)
    above = node.above(inside[0])
    for part in above:
        if isinstance(part, tuple):
            if part[0] is choice:
                return False
        elif part.policy.kind in {"retry", "middleware"}:
            return True
    return False


def _learn(choice: Choice, walk: Walk, index: int, noted: Noted) -> None:
    event = noted.event
    if isinstance(event, TargetSkipped):
        walk.handled.add(index)
        return
    if not isinstance(event, AttemptEnded) or event.verdict != "failure":
        return
    walk.handled.add(index)
    error = event.error
    if event.disposition == "retried" or not isinstance(error, Exception):
        return
    policy = choice.policy
    fault = None if isinstance(error, Rejected) else fault_of(error, choice.classify[index])
    if fault is not None and fault.scope == REQUEST:
        walk.ended = "the request itself is at fault"
    elif fault is not None and fault.scope is not None:
        key = policy.targets[index].scopes.get(fault.scope)
        if key is not None:
            walk.condemned.add((fault.scope, key))
    covered = policy.on is None or isinstance(error, Rejected | Unacceptable)
    if not covered and policy.on is not None and policy.on.decide(error) is False:
        walk.ended = f"on= does not move on for {type(error).__qualname__}"


def order_preserved(run: Run) -> Found:
    """A target is asked when every one before it has failed or was skipped for a reason."""
    for story, node in known(run):
        for choice, walk, index, noted in _walks(story, node):
            missing = [one for one in range(index) if one not in walk.handled]
            if missing or index < walk.at:
                names = choice.policy.targets
                after = names[walk.at if index < walk.at else missing[0]].name
                yield Broken(
                    f"{names[index].name} asked in its turn",
                    f"it was asked at {s(noted.event.at)},"
                    + (f" after {after}" if index < walk.at else f" and {after} had not failed"),
                )
        for _, skip in story.skipped:
            if not skip.reason:
                yield Broken(f"a reason why {skip.target} is not asked", "there is none")


def condemned_never_called(run: Run) -> Found:
    """What a failure condemned is not asked again in that call, nor anybody who shares it."""
    for story, node in known(run):
        for choice, walk, index, noted in _walks(story, node):
            target = choice.policy.targets[index]
            if walk.ended is not None and index > walk.at:
                yield Broken(f"nobody else is asked: {walk.ended}", f"{target.name} was asked")
            shared = walk.condemned & set(target.scopes.items())
            if shared and index != walk.at:
                scope, _ = min(shared)
                yield Broken(
                    f"{target.name} is not asked: its {scope} has failed for another target",
                    f"it was asked at {s(noted.event.at)}",
                )


def chain_within_deadline(run: Run) -> Found:
    """No target is asked when the time of its chain is up."""
    for story, node in known(run):
        for choice, _, index, noted in _walks(story, node):
            deadline = choice.policy.deadline
            if deadline == inf or story.start is None:
                continue
            end = story.start.at + deadline
            if noted.event.at > end - CLOSE:
                yield Broken(
                    f"nobody is asked after {s(end)}, the deadline of the chain",
                    f"{choice.policy.targets[index].name} was asked at {s(noted.event.at)}",
                )


def degraded_only_when_allowed(run: Run) -> Found:
    """The last resort answers only when every target has failed or was skipped."""
    for story, node in known(run):
        chains = [one for one in node.choices if one.policy.degrade is not None]
        for noted in story.events(Degraded):
            if not chains:
                yield Broken("no last resort: none was given", f"it answered at {noted.event.at} s")
            elif len(node.choices) == 1:
                yield from _allowed(story, chains[0], noted)
            caller = run.callers[story.call.caller] if run.callers else None
            if caller is not None and asked_before(caller, noted.order):
                yield Broken("no last resort for a cancelled call", "it answered")


def _allowed(story: Story, choice: Choice, noted: Noted) -> Found:
    branches = [set(places(branch)) for branch in choice.branches]
    walk = Walk()
    for one in story.noted:
        if one.order < noted.order:
            index = _branch(one, branches)
            if index is not None:
                _learn(choice, walk, index, one)
            elif isinstance(one.event, CallRejected) and one.event.enforced:
                walk.handled.add(max(walk.handled, default=-1) + 1)
    missing = [i for i in range(len(branches)) if i not in walk.handled]
    if missing and walk.ended is None:
        name = choice.policy.targets[missing[0]].name
        yield Broken("a last resort when everybody has failed", f"{name} has not")
    if walk.ended is not None:
        yield Broken(f"the error itself: {walk.ended}", "the last resort answered")


def outcome_consistent(run: Run) -> Found:
    """What an `Outcome` says is what happened."""
    for caller in run.callers:
        outcome = caller.outcome
        roots = [one for one in stories_of(run, caller) if one.call.parent is None]
        if outcome is None or len(roots) != 1:
            continue
        yield from _agrees(caller, roots[0])


def _agrees(caller: CallerRun, story: Story) -> Found:
    outcome, end = caller.outcome, story.end
    if outcome is None or end is None:
        return
    degraded = end.outcome == "degraded"
    target, index = end.target, end.target_index
    if caller.closed and story.attempts:
        # Nobody's success, but somebody has given the items.
        last = story.attempts[-1].start
        target, index, degraded = last.target, last.target_index, bool(story.degraded)
    said = {
        "attempts": (len(outcome.attempts), len(story.attempts)),
        "degraded": (outcome.degraded, degraded),
        "fallback_used": (outcome.fallback_used, bool(index) and not degraded),
        "target": (outcome.target, None if degraded else target),
    }
    for name, (told, was) in said.items():
        if told != was:
            yield Broken(f"Outcome.{name} of {was!r}", f"it says {told!r}")
    if abs(outcome.elapsed - end.elapsed) > CLOSE:
        yield Broken(f"Outcome.elapsed of {s(end.elapsed)}", f"it says {s(outcome.elapsed)}")
