"""What is told: spans for every attempt, nothing of the user's data, and an honest `explain`."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from resilient._core.events import (
    AttemptStarted,
    CallRejected,
    CallStarted,
    Origin,
    RetryStopped,
    TargetSkipped,
)
from resilient._pipeline import say_bound
from resilient.telemetry import names
from resilient.testing._invariants._common import Broken, Found, called
from resilient.testing._play import SCHEDULED
from resilient.testing._record import Raised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resilient.testing._run import Run
    from resilient.testing._story import Story

SECRETS = ("<answer of call", "<item ", f"{SCHEDULED} in call", "the argument of the kit")
"""Texts that only values, errors and arguments of a simulated run have."""


def every_attempt_spanned(run: Run) -> Found:
    """There is a span for each call, attempt, refusal and skip, and every one of them has ended."""
    spans = run.spans
    if spans is None:
        return
    started = list(spans)
    open_ones = [span.name for span in started if span.end_time is None]
    if open_ones:
        yield Broken("every span ended", f"still open: {', '.join(open_ones)}")
    if len(spans.ended) != len(started) - len(open_ones):
        yield Broken(f"{len(started)} spans ended once", f"{len(spans.ended)} ends")
    count = sum(isinstance(one.event, AttemptStarted) for one in run.details.noted)
    if len(spans.attempts()) != count:
        yield Broken(f"{count} attempts, a span for each", f"{len(spans.attempts())} spans")
    dispositions = [(span.attributes or {}).get(names.DISPOSITION) for span in started]
    refused = sum(_refused(story) for story in run.details.stories.values())
    if dispositions.count("rejected") != refused:
        yield Broken(f"{refused} refusals, a span for each", f"{dispositions.count('rejected')}")
    skipped = sum(isinstance(noted.event, TargetSkipped) for noted in run.details.noted)
    if dispositions.count("skipped") != skipped:
        yield Broken(f"{skipped} skips, a span for each", f"{dispositions.count('skipped')}")
    ids = {_id(span) for span in started}
    orphans = [one.name for one in started if one.parent and one.parent.span_id not in ids]
    calls = sum(isinstance(one.event, CallStarted) for one in run.details.noted)
    if orphans or sum(span.parent is None for span in started) > calls:
        yield Broken("attempts below their calls", f"{', '.join(orphans) or 'some'} are not")
    yield from _statuses(run)


def _refused(story: Story) -> int:
    """Count the refusals that no chain has taken for a target that it does not ask."""
    told = [one.event for one in story.noted if not isinstance(one.event, RetryStopped)]
    return sum(
        isinstance(event, CallRejected)
        and event.enforced
        and not isinstance(following, TargetSkipped)
        for event, following in pairwise([*told, None])
    )


def _statuses(run: Run) -> Found:
    assert run.spans is not None
    failed = [
        attempt.end.verdict == "failure"
        for story in called(run)
        for attempt in story.attempts
        if attempt.end is not None
    ]
    marked = [span.status.status_code.name == "ERROR" for span in run.spans.attempts()]
    if len(failed) == len(marked) and sum(failed) != sum(marked):
        yield Broken(f"{sum(failed)} spans of failed attempts", f"{sum(marked)} are marked so")


def _id(span: Any) -> int:  # noqa: ANN401 - a span of the SDK
    return int(span.get_span_context().span_id)


def nothing_recorded(run: Run) -> Found:
    """No argument, value or text of an error is in an event, a span or a note."""
    yield from leaked(_told(run))


def leaked(told: Iterable[tuple[str, str]]) -> Found:
    """Look for the user's data in what was told, of which each text comes with its place."""
    for where, text in told:
        for secret in SECRETS:
            if secret in text:
                yield Broken(f"no user's data in {where}", f"{secret!r} is in it")
                return


def _told(run: Run) -> Iterator[tuple[str, str]]:
    for noted in run.details.noted:
        event = noted.event
        said = [
            getattr(event, one.name)
            for one in fields(event)
            if not isinstance(getattr(event, one.name), BaseException | Origin)
        ]
        yield f"a {type(event).__name__}", repr(said)
    for result in run.results:
        if isinstance(result, Raised):
            yield "a note on the error", repr(getattr(result.error, "__notes__", None))
    if run.spans is not None:
        for span in run.spans:
            said = [span.name, dict(span.attributes or {}), span.status.description]
            yield f"the span {span.name!r}", repr(said)


def explained(run: Run) -> Found:
    """`explain` names every policy in order, and the worst case that holds."""
    text, node = run.details.explanation, run.details.anatomy
    if text is None or node is None:
        return
    heads = [line.split()[0] for line in text.splitlines()[1:] if line.strip()]
    kinds = [policy.kind for policy in node.policies]
    if heads[: len(kinds)] != kinds:
        yield Broken(f"the policies in order: {', '.join(kinds)}", f"it says {', '.join(heads)}")
    promised = say_bound(node.policies) if node.policies else str(node.bound)
    if promised not in text:
        yield Broken(f"the worst case: {promised}", f"it says {text.splitlines()[-1].strip()}")
