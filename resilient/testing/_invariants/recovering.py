"""A run that goes on when everything is well again: who is answered then, and what is freed."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from resilient._core.faults import fault_of
from resilient._core.hints import hint
from resilient.errors import AllTargetsFailed, ResilientError, Unacceptable
from resilient.testing._invariants._common import Broken, Found, calls_of, its_own, kind, s
from resilient.testing._record import Cancelled, Raised, Returned
from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import Fail, Items, Ok
from resilient.testing._virtual_run import Stuck, one_at_a_time

if TYPE_CHECKING:
    from types import FrameType

    from resilient._core.events import AttemptEnded
    from resilient.testing._anatomy import Guarded
    from resilient.testing._record import TargetCall
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._steps import Step


def recovery(run: Run) -> Recovery | None:
    """Return what came of going on, which two invariants ask for."""
    kept = run.details.kept
    if "recovery" not in kept:
        kept["recovery"] = _recovery_of(run)
    found: Recovery | None = kept["recovery"]
    return found


class Recovery:
    """What came of going on when everything is well again."""

    def __init__(self, broken: list[Broken], kept: list[str]) -> None:
        self.broken = broken
        self.kept = kept


def _recovery_of(run: Run) -> Recovery | None:
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
    # Not by a name of ours: whoever keeps this frame would keep the run.
    return run.details.again(schedule, listening="log", horizon=arrivals[-1] + 1e6)


def _opens_late(run: Run, since: float) -> bool:
    """Tell whether a circuit that was closed has opened although everything was well.

    A rate is of all calls of some time: one that goes well may be the last that it took.
    """
    return any(
        (move.change.from_state, move.change.to_state) == ("closed", "open") and move.at >= since
        for circuit in run.details.circuits
        for move in circuit.moves
    )


_A_MOMENT = 1e-3


def _later(run: Run) -> float:
    """Return an instant from which on a call must be answered, if everything is well."""
    opens = [one.breaker.open_until for one in run.details.circuits if one.breaker.state == "open"]
    rests = [hint(call.step.hint) or 0.0 for call in run.calls if isinstance(call.step, Fail)]
    faults = [fault_of(call.error) for call in run.calls if call.error is not None]
    rests += [fault.retry_after or 0.0 for fault in faults if fault is not None]
    nodes = _everything(run)
    trips = [chain.policy.trip_for for one in nodes for chain in one.choices]
    rests += [trip for trip in trips if any(f is not None and f.health == "trip" for f in faults)]
    # Who is cancelled at that very instant, or works in a thread, may still hold a place.
    tie = run.schedule.cancel_at is not None or its_own(run)
    return max([run.details.over, *opens]) + max(rests, default=0.0) + (_A_MOMENT if tie else 0.0)


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
    for step in known:
        if isinstance(step, Items) and isinstance(step.n, tuple) and step.n:
            return Items(step.n[:1])
        if isinstance(step, Ok):
            return replace(step, after=0)
    return Ok()


def _answered(run: Run, before: int) -> Found:
    for caller in run.callers[before:]:
        result, mine = caller.result, calls_of(run, caller)
        if isinstance(result, Raised) and _is_judged(result.error):
            return  # a predicate rejects the answer, and nobody knows a better one
        if not isinstance(result, Returned):
            came = "Cancelled" if isinstance(result, Cancelled) else kind(result.error)
            yield Broken(
                f"a call at {s(caller.started)}, when everything is well again, is answered", came
            )
            return
        answered = run.details.real or any(_is_from(caller, result, call) for call in mine)
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


def _is_judged(error: BaseException) -> bool:
    members = error.exceptions if isinstance(error, AllTargetsFailed) else (error,)
    return any(isinstance(one, Unacceptable) for one in members)


def _is_from(caller: CallerRun, result: Returned, call: TargetCall) -> bool:
    if caller.items is None:
        return call.value is result.value
    return call.items is not None and call.error is None


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
_ASYNCIO = f"{Path(asyncio.__file__).parent}{os.sep}"


def _clear_our_frames(error: BaseException) -> None:
    """Empty the frames of the kit under `error`: they refer to the record that refers to it.

    A frame in a traceback keeps the one that called it, from Python 3.12 on
    also where that was a coroutine's, and so the loop that the run was made
    in. That circle is ours, not the user's, whose frames are left as they are.
    So are those of `asyncio.TaskGroup` and `asyncio.wait_for`, which keep the
    error that they raise, asyncio's own.
    """
    trace = error.__traceback__
    while trace is not None:
        frame: FrameType | None = trace.tb_frame
        outside = False
        while frame is not None:
            file = frame.f_code.co_filename
            outside |= file == _CALLER  # what calls the caller is the run, and its loop
            asyncios = frame is trace.tb_frame and file.startswith(_ASYNCIO)
            if outside or asyncios or file.startswith(_HERE):
                with suppress(RuntimeError):  # it is running: this call is one of those
                    frame.clear()
            frame = frame.f_back
        trace = trace.tb_next


_thaws = count(1)
_A_FEW = 128


class _Collector:
    """The garbage collector, which stands still meanwhile and then says what it has found."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._marks: dict[int, type] = {}

    def watch(self, marks: dict[int, type]) -> None:
        """Look for these objects."""
        self._marks = marks

    def __enter__(self) -> Self:
        one_at_a_time.acquire()
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
            # What was frozen is old when it thaws, and would be looked at almost never again: the
            # records of earlier runs, each a circle by its errors, would pile up.
            if next(_thaws) % _A_FEW == 0:
                gc.collect()
            if self._enabled:
                gc.enable()
            one_at_a_time.release()

    def _is_marked(self, one: object) -> bool:
        return self._marks.get(id(one)) is type(one)
