"""Invariants that need another run of the same schedule to compare with.

A second run, with spans, metrics, the log and a listener that always fails,
shows whether the first was determined by its schedule, and what is told of it.
A third one, on the other backend and
with nobody listening, shows that neither matters. A fourth goes on when
everything is well again, and shows that the pipeline recovers; the garbage
collector stands still in it, so an error that only the collector would free
is found as well.
"""

from __future__ import annotations

import re
import traceback
import warnings
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from resilient._runtime.linked import linked
from resilient.testing._invariants._common import Broken, Found, is_cancellation, its_own, kind
from resilient.testing._invariants.recovering import recovery
from resilient.testing._invariants.watching import leaked
from resilient.testing._record import Raised
from resilient.testing._virtual_run import Stuck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient.testing._engine import Listening
    from resilient.testing._record import Result
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._virtual import Backend


def deterministic(run: Run) -> Found:
    """The same schedule gives the same events at the same instants, whenever it is run."""
    again = rerun(run, "told")
    if isinstance(again, str):
        yield Broken("the same run again", again)
        return
    if again is None or story_of(again) == story_of(run):
        return
    with_log = rerun(run, "log")
    if isinstance(with_log, str) or with_log is None or story_of(with_log) != story_of(run):
        yield _difference("the same events in every run", story_of(run), story_of(again))


def telemetry_neutral(run: Run) -> Found:
    """Who listens changes nothing: neither a listener that always fails nor nobody at all."""
    again = rerun(run, "told")
    if again is not None and not isinstance(again, str) and outcome_of(again) != outcome_of(run):
        log = rerun(run, "log")
        if log is not None and not isinstance(log, str) and outcome_of(log) == outcome_of(run):
            yield _difference(
                "the same with a listener that fails", outcome_of(run), outcome_of(again)
            )
    # Where several may be first, one backend is as good as the other, but not the same.
    other = run.backend if _has_ties(run) else _elsewhere(run)
    silent = rerun(run, "nobody", other)
    if its_own(run) and not isinstance(silent, str | None) and _needs_its_loop(silent):
        other = run.backend
        silent = rerun(run, "nobody", other)
    if silent is None or isinstance(silent, str) or outcome_of(silent) == outcome_of(run):
        return
    loud = rerun(run, "log", other)
    if loud is not None and not isinstance(loud, str) and outcome_of(loud) == outcome_of(run):
        yield _difference("the same when nobody listens", outcome_of(run), outcome_of(silent))


def nothing_logged(run: Run) -> Found:
    """No argument, value or text of an error is in a metric or a line of the log."""
    again = rerun(run, "told")
    if again is not None and not isinstance(again, str):
        yield from leaked(_logged(again))


def _logged(run: Run) -> Iterator[tuple[str, str]]:
    for metric in () if run.spans is None else run.spans.metrics.values():
        yield f"the metric {metric.name!r}", repr([point.attributes for point in metric.points])
    for line in run.details.lines:
        yield "a line of the log", repr(vars(line))


def backend_agnostic(run: Run) -> Found:
    """Asyncio and trio tell the same story."""
    other = _elsewhere(run)
    if other == run.backend or _has_ties(run):
        return
    if its_own(run) and not run.schedule.cooperative:
        return  # trio cancels again at the await behind a call that has swallowed it
    again = rerun(run, "nobody", other)
    if isinstance(again, str):
        yield Broken(f"the same on {other}", again)
    elif again is not None and outcome_of(again) != outcome_of(run):
        if its_own(run) and (_needs_its_loop(again) or _has_ties(run, again)):
            return
        loud = rerun(run, "log", other)
        if isinstance(loud, str) or loud is None or outcome_of(loud) != outcome_of(run):
            yield _difference(f"the same on {other}", outcome_of(run), outcome_of(again))


def recovers(run: Run) -> Found:
    """When every call is answered again, so are the callers, and every circuit closes."""
    found = recovery(run)
    if found is not None:
        yield from found.broken


def no_cycles(run: Run) -> Found:
    """No error is kept when its call is over: nothing refers to it in a circle."""
    found = recovery(run)
    for name in () if found is None else found.kept:
        yield Broken("every error freed with its call", f"{name} is kept by a reference cycle")


def rerun(run: Run, listening: Listening, backend: Backend | None = None) -> Run | str | None:
    """Run the same schedule again; what kept it from ending is a text."""
    again, kept = run.details.again, run.details.kept
    if again is None:
        return None
    where = run.backend if backend is None else backend
    key = listening, where
    if key not in kept:
        try:
            kept[key] = again(listening=listening, backend=where)
        except Stuck as stuck:
            kept[key] = str(stuck).splitlines()[0]
    found: Run | str = kept[key]
    return found


def _elsewhere(run: Run) -> Backend:
    """Return the other backend, where a schedule means the same there."""
    if run.schedule.cancel == "task" and run.schedule.cancel_at is not None:
        return run.backend
    return "trio" if run.backend == "asyncio" and _has_trio() else "asyncio"


def _needs_its_loop(run: Run) -> bool:
    """Tell whether code of the user's has asked the other library for its loop."""
    errors = [
        error
        for one in run.results
        if isinstance(one, Raised)
        for error in linked(one.error, contexts=True)
        if isinstance(error, RuntimeError | TypeError) and _NEEDS_ITS_LOOP.search(str(error))
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        for error in errors:
            # Coroutines that were given to what cannot run here.
            traceback.clear_frames(error.__traceback__)
    return bool(errors)


# What asyncio's functions say on trio, what trio says of them, and what its own say on asyncio.
_NEEDS_ITS_LOOP = re.compile("no (running|current) event loop|asyncio|from async context")


def _has_trio() -> bool:
    return find_spec("trio") is not None


def _difference(expected: str, first: list[Any], second: list[Any]) -> Broken:
    for one, other in zip(first, second, strict=False):
        if one != other:
            return Broken(f"{expected}: {_told(one)}", _told(other))
    more = "more" if len(second) > len(first) else "less"
    return Broken(expected, f"{more} happened: {len(second)} things, not {len(first)}")


def _told(one: tuple[Any, ...]) -> str:
    return ", ".join(str(part) for part in one if part is not None)


def story_of(run: Run) -> list[Any]:
    """Return every event of a run as plain values, errors by their class."""
    return [
        (type(noted.event).__name__, noted.call.number, noted.call.caller, *_plain(noted.event))
        for noted in run.details.noted
    ] + outcome_of(run)


def _plain(event: object) -> Iterator[Any]:
    for one in fields(event):  # type: ignore[arg-type]  # every event is a dataclass
        value = getattr(event, one.name)
        if one.name == "origin":
            continue
        if isinstance(value, BaseException):
            value = kind(value)
        yield round(value, 6) if isinstance(value, float) else value


def outcome_of(run: Run) -> list[Any]:
    """Return what was called and what came of it, as plain values."""
    calls = [
        ("call", call.target, call.caller, round(call.started, 6), _rounded(call.ended))
        for call in run.calls
    ]
    ends = [
        ("caller", one.number, _name(one.result), round(one.ended, 6), _items(one))
        for one in run.callers
    ]
    return calls + ends


def _items(caller: CallerRun) -> str | None:
    return None if caller.items is None else f"{len(caller.items)} items"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _name(result: Result) -> str:
    return kind(result.error) if isinstance(result, Raised) else type(result).__name__


def _has_ties(*runs: Run) -> bool:
    """Tell whether several tasks have something to do at one instant: either may be first."""
    wakes: dict[float, set[object]] = {}

    def wake(at: float, who: object) -> None:
        wakes.setdefault(round(at, 6), set()).add(who)

    for run in runs:
        for call in run.calls:
            if call.ended is not None and call.ended > call.started:
                # The user's code may make it in a task of its own: then a limit is another's.
                apart = its_own(run) and not is_cancellation(call.error)
                wake(call.ended, ("call", call.number) if apart else call.caller)
        for story in run.details.stories.values():
            for _, event in story.scheduled:
                wake(event.at + event.wait, story.call.caller)
            for _, fired in story.fired:
                wake(fired.at, story.call.caller)
        for number, at in enumerate(run.schedule.arrivals):
            wake(at, ("arrival", number) if at else number)
        if run.schedule.cancel_at is not None:
            wake(run.schedule.cancel_at, "cancel")
    return any(len(found) > 1 for at, found in wakes.items() if at)
