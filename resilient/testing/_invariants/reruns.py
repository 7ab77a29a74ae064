"""Invariants that need another run of the same schedule to compare with.

A second run, in front of a listener that always fails, shows whether the
first was determined by its schedule. A third one, on the other backend and
with nobody listening, shows that neither matters. A fourth goes on when
everything is well again, and shows that the pipeline recovers; the garbage
collector stands still in it, so an error that only the collector would free
is found as well.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from resilient._core.faults import fault_of
from resilient._core.hints import hint
from resilient.errors import ResilientError
from resilient.testing._invariants._common import Broken, Found, calls_of, kind, s
from resilient.testing._record import Cancelled, Raised, Returned
from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import Fail, Ok
from resilient.testing._virtual_run import Stuck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from resilient._core.events import AttemptEnded
    from resilient.testing._anatomy import Guarded
    from resilient.testing._engine import Listening
    from resilient.testing._record import Result
    from resilient.testing._run import Run
    from resilient.testing._steps import Step
    from resilient.testing._virtual import Backend


def deterministic(run: Run) -> Found:
    """The same schedule gives the same events at the same instants, whenever it is run."""
    again = rerun(run, "failing")
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
    again = rerun(run, "failing")
    if again is not None and not isinstance(again, str) and outcome_of(again) != outcome_of(run):
        log = rerun(run, "log")
        if log is not None and not isinstance(log, str) and outcome_of(log) == outcome_of(run):
            yield _difference(
                "the same with a listener that fails", outcome_of(run), outcome_of(again)
            )
    # Where several may be first, one backend is as good as the other, but not the same.
    other = run.backend if _has_ties(run) else _elsewhere(run)
    silent = rerun(run, "nobody", other)
    if silent is None or isinstance(silent, str) or outcome_of(silent) == outcome_of(run):
        return
    loud = rerun(run, "log", other)
    if loud is not None and not isinstance(loud, str) and outcome_of(loud) == outcome_of(run):
        yield _difference("the same when nobody listens", outcome_of(run), outcome_of(silent))


def backend_agnostic(run: Run) -> Found:
    """Asyncio and trio tell the same story."""
    other = _elsewhere(run)
    if other == run.backend or _has_ties(run):
        return
    again = rerun(run, "nobody", other)
    if isinstance(again, str):
        yield Broken(f"the same on {other}", again)
    elif again is not None and outcome_of(again) != outcome_of(run):
        loud = rerun(run, "log", other)
        if isinstance(loud, str) or loud is None or outcome_of(loud) != outcome_of(run):
            yield _difference(f"the same on {other}", outcome_of(run), outcome_of(again))


def recovers(run: Run) -> Found:
    """When every call is answered again, so are the callers, and every circuit closes."""
    found = _recovery(run)
    if found is not None:
        yield from found.broken


def no_cycles(run: Run) -> Found:
    """No error is kept when its call is over: nothing refers to it in a circle."""
    found = _recovery(run)
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
    ends = [("caller", one.number, _name(one.result), round(one.ended, 6)) for one in run.callers]
    return calls + ends


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _name(result: Result) -> str:
    return kind(result.error) if isinstance(result, Raised) else type(result).__name__


def _has_ties(run: Run) -> bool:
    """Tell whether several tasks have something to do at one instant: either may be first."""
    wakes: dict[float, set[object]] = {}

    def wake(at: float, who: object) -> None:
        wakes.setdefault(round(at, 6), set()).add(who)

    for call in run.calls:
        if call.ended is not None and call.ended > call.started:
            wake(call.ended, call.caller)
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


def _recovery(run: Run) -> Recovery | None:
    """Return what came of going on, which two invariants ask for."""
    kept = run.details.kept
    if "recovery" not in kept:
        kept["recovery"] = recovery_of(run)
    found: Recovery | None = kept["recovery"]
    return found


class Recovery:
    """What came of going on when everything is well again."""

    def __init__(self, broken: list[Broken], kept: list[str]) -> None:
        self.broken = broken
        self.kept = kept


def recovery_of(run: Run) -> Recovery | None:
    """Run the schedule again, then call on with a target that always answers."""
    if run.details.again is None:
        return None
    more = _more(run)
    first = [_later(run) + number for number in range(more)]
    with _Collector() as collector:
        try:
            found = _well_run(run, first)
            if _opens_late(found, first[0]):
                # By what it still knew of before; after that it knows nothing any more.
                second = [_later(found) + number for number in range(more)]
                found = _well_run(run, [*first, *second])
        except Stuck as stuck:
            return Recovery([Broken("calls that are answered", str(stuck).splitlines()[0])], [])
        except Exception as error:  # noqa: BLE001 - what happens in a run is its result
            return Recovery([Broken("a run that comes to its end", kind(error))], [])
        broken = list(_answered(found, len(found.callers) - more))
        collector.watch(_let_go(found))
        del found
    return Recovery(broken, collector.kept)


def _well_run(run: Run, arrivals: list[float]) -> Run:
    """Run the schedule of `run` again, with answers only for callers that come after it."""
    assert run.details.again is not None
    schedule = _well_again(run, arrivals)
    found: Run = run.details.again(schedule, listening="log", horizon=arrivals[-1] + 1e6)
    return found


def _opens_late(run: Run, since: float) -> bool:
    """Tell whether a circuit that was closed has opened although everything was well.

    A rate is of all calls of some time: one that goes well may be the last that it took.
    """
    return any(
        (move.change.from_state, move.change.to_state) == ("closed", "open") and move.at >= since
        for circuit in run.details.circuits
        for move in circuit.moves
    )


def _later(run: Run) -> float:
    """Return an instant from which on a call must be answered, if everything is well."""
    opens = [one.breaker.open_until for one in run.details.circuits if one.breaker.state == "open"]
    rests = [hint(call.step.hint) or 0.0 for call in run.calls if isinstance(call.step, Fail)]
    faults = [fault_of(call.error) for call in run.calls if call.error is not None]
    rests += [fault.retry_after or 0.0 for fault in faults if fault is not None]
    nodes = _everything(run)
    trips = [chain.policy.trip_for for one in nodes for chain in one.choices]
    rests += [trip for trip in trips if any(f is not None and f.health == "trip" for f in faults)]
    return max([run.details.over, *opens]) + max(rests, default=0.0)


def _more(run: Run) -> int:
    """Return how many calls it takes to close every circuit."""
    return 1 + max((one.policy.successes for one in run.details.circuits), default=0)


def _well_again(run: Run, arrivals: list[float]) -> FailureSchedule:
    """Return the schedule of `run`, and then answers only."""
    schedule = run.schedule
    well = _good(schedule)
    size = 1 + max([len(schedule.fallbacks), *(call.index for call in run.calls)])
    parts = [
        [schedule.of(index).step(number + 1) for number in range(_count(run, index))]
        for index in range(size)
    ]
    first, *others = [FailureSchedule(steps, then=well) for steps in parts]
    return replace(
        schedule,
        steps=first.steps,
        then=well,
        fallbacks=tuple(others),
        arrivals=(*schedule.arrivals, *arrivals),
    )


def _count(run: Run, index: int) -> int:
    return sum(call.index == index for call in run.calls)


def _good(schedule: FailureSchedule) -> Step:
    """Return an answer that the schedule knows to be good."""
    known = [schedule.then, *schedule.steps, *(one.then for one in schedule.fallbacks)]
    found = next((step for step in known if isinstance(step, Ok)), Ok())
    return replace(found, after=0)


def _answered(run: Run, before: int) -> Found:
    for caller in run.callers[before:]:
        result, mine = caller.result, calls_of(run, caller)
        if not isinstance(result, Returned):
            came = "Cancelled" if isinstance(result, Cancelled) else kind(result.error)
            yield Broken(
                f"a call at {s(caller.started)}, when everything is well again, is answered", came
            )
            return
        answered = run.details.real or any(call.value is result.value for call in mine)
        if not answered and not any(one.around("middleware") for one in _everything(run)):
            yield Broken(f"a call at {s(caller.started)} is answered by a target", "it was not")
            return
    since = run.callers[before].order
    for circuit in run.details.circuits:
        later = [one for one in run.admissions if one.circuit is circuit]
        asked = sum(one.order > since for one in later) >= circuit.policy.successes
        if asked and circuit.breaker.state in {"open", "half_open"} and not circuit.observes:
            yield Broken(
                f'"{circuit.name}" closed after {circuit.policy.successes} successes',
                f"it is {circuit.breaker.state}",
            )


def _everything(run: Run) -> list[Guarded]:
    anatomy = run.details.anatomy
    return [] if anatomy is None else anatomy.everything


def _let_go(run: Run) -> dict[int, type]:
    """Forget the errors of a run, which its records hold; return which they were."""
    marks: dict[int, type] = {}

    def mark(error: BaseException | None) -> None:
        if error is not None:
            _clear_our_frames(error)
        if error is not None and (isinstance(error, ResilientError) or id(error) in scheduled):
            marks[id(error)] = type(error)

    scheduled = {id(call.error) for call in run.calls if isinstance(call.error, Exception)}
    for call in run.calls:
        mark(call.error)
        call.error = call.value = None
    for event in run.events:
        mark(getattr(event, "error", None))
        if hasattr(event, "error"):
            cast("AttemptEnded", event).error = None  # or another that has one
    for result in run.results:
        mark(result.error if isinstance(result, Raised) else None)
    return marks


_KIT = Path(__file__).parents[1]
_HERE = f"{_KIT}{os.sep}"
_CALLER = str(_KIT / "_caller.py")


def _clear_our_frames(error: BaseException) -> None:
    """Empty the frames of the kit under `error`: they refer to the record that refers to it.

    A frame in a traceback keeps the one that called it, from Python 3.12 on
    also where that was a coroutine's, and so the loop that the run was made
    in. That circle is ours, not the user's, whose frames are left as they are.
    """
    trace = error.__traceback__
    while trace is not None:
        frame: FrameType | None = trace.tb_frame
        outside = False
        while frame is not None:
            file = frame.f_code.co_filename
            outside |= file == _CALLER  # what calls the caller is the run, and its loop
            if outside or file.startswith(_HERE):
                with suppress(RuntimeError):  # it is running: this call is one of those
                    frame.clear()
            frame = frame.f_back
        trace = trace.tb_next


class _Collector:
    """The garbage collector, which stands still meanwhile and then says what it has found."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._marks: dict[int, type] = {}

    def watch(self, marks: dict[int, type]) -> None:
        """Look for these objects."""
        self._marks = marks

    def __enter__(self) -> Self:
        self._enabled = gc.isenabled()
        gc.disable()
        gc.freeze()  # nothing that was there before is looked at
        return self

    def __exit__(self, *_: object) -> None:
        flags, found = gc.get_debug(), len(gc.garbage)
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            self.kept = sorted(
                {type(one).__qualname__ for one in gc.garbage[found:] if self._is_marked(one)}
            )
        finally:
            gc.set_debug(flags)
            del gc.garbage[found:]
            gc.unfreeze()
            if self._enabled:
                gc.enable()

    def _is_marked(self, one: object) -> bool:
        return self._marks.get(id(one)) is type(one)
