"""A run as a picture: one row for each call and each attempt, on one axis of time.

    ask           ████████████████████████████████████████   11.90 s  ok
      attempt 1   ██                                          0.50 s  OSError → retry in 0.08 s
      attempt 2     ██████████████████████████████████████   11.32 s  ok

Rows are made of events, so what a listener has heard in production can be
drawn as well. A plain function has no events: its rows are the calls that it
made.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilient._core.events import (
    AttemptStarted,
    BreakerChanged,
    CallRejected,
    StreamCut,
    TargetSkipped,
)
from resilient.errors import Skipped, TimedOut
from resilient.testing._picture import Picture, Row, on_one_line
from resilient.testing._record import Cancelled, Raised
from resilient.testing._story import stories_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resilient.testing._picture import Tone
    from resilient.testing._record import Noted, Result, TargetCall
    from resilient.testing._run import CallerRun
    from resilient.testing._story import Attempt, Story


def picture_of(
    noted: Iterable[Noted],
    calls: Sequence[TargetCall] = (),
    callers: Sequence[CallerRun] = (),
    name: str = "",
) -> Picture:
    """Return the picture of what was noted."""
    noted = list(noted)
    stories = stories_of(noted)
    rows: list[Row] = []
    if callers:
        for caller in callers:
            rows += _of_caller(caller, stories, calls, name, many=len(callers) > 1)
    else:
        roots = [story for story in stories.values() if story.call.parent is None]
        rows += [row for story in roots for row in _of_call(story, stories, 0)]
    rows += [_changed(one) for one in noted if isinstance(one.event, BreakerChanged)]
    rows = [
        replace(row, label=on_one_line(row.label), verdict=on_one_line(row.verdict))
        for row in _in_order(rows)
    ]
    begins = min((row.started for row in rows), default=0.0)
    ends = max((row.started if row.ended is None else row.ended for row in rows), default=0.0)
    return Picture(tuple(rows), begins, ends - begins)


def _in_order(rows: list[Row]) -> list[Row]:
    """Put the changes of breakers, which come last, behind what they followed."""
    made = [row for row in rows if row.depth >= 0]
    for change in (row for row in rows if row.depth < 0):
        place = max((i for i, row in enumerate(made) if row.order < change.order), default=-1)
        depth = made[place].depth if place >= 0 else 0
        made.insert(place + 1, replace(change, depth=max(depth, 1)))
    return made


def _of_caller(
    caller: CallerRun,
    stories: dict[int, Story],
    calls: Sequence[TargetCall],
    name: str,
    *,
    many: bool,
) -> Iterator[Row]:
    mine = [story for story in stories.values() if story.call.caller == caller.number]
    roots = [story for story in mine if story.call.parent is None and story.is_call]
    loose = [one for one in calls if one.within is None and one.caller == caller.number]
    which = f" ({caller.number + 1})" if many else ""
    if len(roots) == 1 and not loose:
        first, *others = _of_call(roots[0], stories, 0)
        yield replace(first, label=first.label + which)
        yield from others
        return
    verdict, tone = _came(caller.result)
    yield Row(
        label=(name or "caller") + which,
        depth=0,
        started=caller.started,
        ended=caller.ended,
        verdict=verdict,
        tone=tone,
        order=caller.order,
    )
    inside = [row for story in roots for row in _of_call(story, stories, 1)]
    inside += [_of_target(one) for one in loose]
    yield from sorted(inside, key=lambda row: row.order)


def _of_call(story: Story, stories: dict[int, Story], depth: int) -> Iterator[Row]:
    if not story.is_call:
        return
    end, started = story.end, story.start.at if story.start is not None else story.noted[0].event.at
    verdict = "still running"
    tone: Tone = "neutral"
    if end is not None:
        verdict = _outcomes.get(end.outcome, end.outcome)
        tone = _tones[end.outcome]
        if end.error is not None and end.outcome != "cancelled":
            verdict = _error(end.error)
        verdict += _count(end.items)
    yield Row(
        label=story.name,
        depth=depth,
        started=started,
        ended=None if end is None else end.at,
        verdict=verdict,
        tone=tone,
        order=story.noted[0].order,
    )
    attempts = iter(story.attempts)
    nested = [one for one in stories.values() if one.call.parent == story.call.number]
    for noted in story.noted:
        if isinstance(noted.event, AttemptStarted):
            attempt = next(attempts)
            yield _of_attempt(attempt, story, depth + 1)
            last = attempt.ended_order
            for inner in nested:
                if noted.order < inner.noted[0].order < (last or inner.noted[0].order + 1):
                    yield from _of_call(inner, stories, depth + 2)
        elif isinstance(noted.event, TargetSkipped):
            yield _not_asked(noted, noted.event, depth + 1)
        elif isinstance(noted.event, CallRejected):
            yield _refused(noted, noted.event, depth + 1)


def _of_attempt(attempt: Attempt, story: Story, depth: int) -> Row:
    several = len(story.call.plan.targets) > 1
    start, end = attempt.start, attempt.end
    label = f"{start.target} {start.on_target}" if several else f"attempt {start.number}"
    verdict = "still running"
    tone: Tone = "neutral"
    if end is not None:
        verdict, tone = "ok", "good"
        if end.disposition == "cancelled":
            verdict, tone = "cancelled", "neutral"
        elif end.verdict != "success":
            verdict = "unacceptable result" if end.error is None else _error(end.error)
            tone = "bad"
        verdict += _begun(attempt, story)
        if end.disposition == "retried":
            verdict += f" → retry in {end.wait or 0:.2f} s"
        elif end.disposition == "fell_back":
            verdict += " → next"
    return Row(
        label=label,
        depth=depth,
        started=start.at,
        ended=None if end is None else end.ended,
        verdict=verdict,
        tone=tone,
        order=attempt.order,
    )


def _begun(attempt: Attempt, story: Story) -> str:
    """Say of an attempt at a stream when its items came, or how many where it was cut."""
    end = attempt.end
    if end is None or end.first_item is None:
        return ""
    for noted in story.noted:
        if isinstance(noted.event, StreamCut) and noted.event.number == attempt.start.number:
            return _count(noted.event.items)
    return f", first item after {end.first_item:.2f} s"


def _count(items: int | None) -> str:
    if items is None:
        return ""
    return f", {items} item{'' if items == 1 else 's'}"


def _of_target(call: TargetCall) -> Row:
    verdict = "ok"
    tone: Tone = "good"
    if call.ended is None:
        verdict, tone = "still running", "neutral"
    elif call.error is not None:
        verdict = _error(call.error)
        tone = "bad" if isinstance(call.error, Exception) else "neutral"
        if isinstance(call.error, GeneratorExit):
            verdict = "closed"
    verdict += _count(None if call.items is None else len(call.items))
    return Row(
        label=f"{call.target} {call.number}",
        depth=1,
        started=call.started,
        ended=call.ended,
        verdict=verdict,
        tone=tone,
        order=call.order,
    )


def _not_asked(noted: Noted, event: TargetSkipped, depth: int) -> Row:
    why = str(Skipped(event.target, event.reason, scope=event.scope)).partition(": ")[2]
    return _mark(noted, f"{event.target} skipped", why, depth)


def _refused(noted: Noted, event: CallRejected, depth: int) -> Row:
    label = "refused" if event.enforced else "would refuse"
    return _mark(noted, label, str(event.error or event.policy), depth)


def _changed(noted: Noted) -> Row:
    event = noted.event
    assert isinstance(event, BreakerChanged)
    text = f"{event.from_state} → {event.to_state}"
    if event.open_for is not None:
        text += f" for {event.open_for:.6g} s"
    return _mark(noted, f'circuit "{event.name}"', text, -1)


def _mark(noted: Noted, label: str, verdict: str, depth: int) -> Row:
    at = noted.event.at
    return Row(
        label=label,
        depth=depth,
        started=at,
        ended=at,
        verdict=verdict,
        tone="none",
        order=noted.order,
    )


_outcomes = {"success": "ok", "fallback": "ok (fallback)"}
_tones: dict[str, Tone] = {
    "success": "good",
    "fallback": "good",
    "degraded": "bad",
    "failure": "bad",
    "rejected": "bad",
    "cancelled": "neutral",
}


def _came(result: Result) -> tuple[str, Tone]:
    if isinstance(result, Raised):
        return _error(result.error), "bad"
    return ("cancelled", "neutral") if isinstance(result, Cancelled) else ("ok", "good")


def _error(error: BaseException) -> str:
    name = type(error).__qualname__
    if issubclass(type(error), TimedOut):
        return f"{name} after {getattr(error, 'after', 0):.6g} s"
    return "cancelled" if name in {"CancelledError", "Cancelled"} else name
