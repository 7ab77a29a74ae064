"""One run: a fresh world, the callers in it, and what is noted of both."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio

from resilient._runtime.budgets import fresh_budgets
from resilient._runtime.clock import now, runtime
from resilient._runtime.listeners import Process, process, unheard
from resilient._runtime.world import World
from resilient.telemetry._logs import LogListener
from resilient.testing._backend import running
from resilient.testing._book import Book, NotingBudgets
from resilient.testing._caller import Caller
from resilient.testing._consumer import Consumer
from resilient.testing._details import Details
from resilient.testing._leftovers import leftovers
from resilient.testing._lines import noting_alone
from resilient.testing._record import Log
from resilient.testing._run import CallerRun, Run
from resilient.testing._spans import SpansOfARun
from resilient.testing._steps import BadStepError
from resilient.testing._tasks import all_blocked
from resilient.testing._virtual import virtual_time
from resilient.testing._virtual_run import Stuck, one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from logging import LogRecord

    from resilient._runtime.listeners import Listener
    from resilient.testing._schedule import FailureSchedule
    from resilient.testing._subject import Ready
    from resilient.testing._virtual import Backend

Listening = Literal["all", "log", "nobody", "told"]
"""Who listens to a run: its log and spans, its log alone, nobody, its log and a listener that
always raises, or everybody: spans, metrics and the lines of the library's log as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where and how a schedule is played out."""

    backend: Backend = "asyncio"
    horizon: float = 1e6
    listening: Listening = "all"
    way: str = "simulated"
    # Whether the listeners of the process stay: a test of policies may have its own.
    others: bool = False
    # The schedule that the one to be played is a variation of.
    original: FailureSchedule | None = None


def run_once(
    make: Callable[[Log], Ready],
    schedule: FailureSchedule,
    scene: Scene,
) -> Run:
    """Play `schedule` out once; `make` compiles what the callers await, inside of the run."""
    log = Log(original=scene.original, playing=schedule)
    main = partial(_main, make, schedule, scene, log)
    try:
        with one_at_a_time:
            return virtual_time(
                main, backend=scene.backend, seed=schedule.jitter_seed, horizon=scene.horizon
            )
    except Stuck as stuck:
        _refuse_bad_steps(log)
        for call in log.calls:
            if (call.ended or 0) >= scene.horizon:  # it was given up, and has not come to an end
                call.ended = call.error = None
        story = "\n".join(f"  {call}" for call in log.calls)
        raise Stuck(f"{stuck}\n{schedule!r} on {scene.backend}\n{story}") from None


def _refuse_bad_steps(log: Log) -> None:
    """Raise what a step cannot do, whatever the function under test has made of it."""
    for call in log.calls:
        if isinstance(call.error, BadStepError):
            raise call.error.with_traceback(None)


async def _main(
    make: Callable[[Log], Ready], schedule: FailureSchedule, scene: Scene, log: Log
) -> Run:
    book, spans = Book(log), _spans() if scene.listening in {"all", "told"} else None
    lines: list[LogRecord] = []
    runtime().world = World(book.circuit)
    token = running.set(log)
    try:
        listeners = _listeners(scene, log, spans)
        with fresh_budgets(NotingBudgets(book)), _told(listeners, scene, lines):
            ready = make(log)
            callers = await _all_callers(ready, schedule, log)
            left = leftovers()
            if spans is not None and scene.listening == "told":
                # While its breakers and budgets are those that are looked at.
                spans._freeze()  # noqa: SLF001 - of the kit
    finally:
        running.reset(token)
    _refuse_bad_steps(log)
    first = callers[0]
    return Run(
        backend=scene.backend,
        way=scene.way,
        calls=tuple(log.calls),
        events=tuple(log.events),
        result=first.result,
        elapsed=first.elapsed,
        leftovers=(*left, *(trouble for one in callers for trouble in one.troubles)),
        cancelled_at=first.cancelled_at,
        cancelled_order=first.cancelled_order,
        schedule=schedule,
        callers=tuple(callers),
        admissions=tuple(book.admissions),
        spans=spans,
        details=Details(
            noted=tuple(log.noted),
            guarded=tuple(log.guarded),
            budgets=tuple(book.budgets),
            circuits=tuple(book.circuits),
            anatomy=ready.anatomy,
            name=ready.name,
            real=ready.real,
            explanation=ready.explanation,
            over=now(),
            lines=tuple(line for line in lines if not _is_ours(line)),
        ),
    )


async def _all_callers(ready: Ready, schedule: FailureSchedule, log: Log) -> Sequence[CallerRun]:
    ended: dict[int, CallerRun] = {}

    async def caller(number: int, at: float) -> None:
        cancel_at = schedule.cancel_at if number == 0 else None
        call = ready.call
        consumer = None
        if ready.stream:
            consumer = Consumer(call, log)
            if number == 0:
                consumer.take, consumer.pause = schedule.take, schedule.pause
            call = consumer.consume
        one = Caller(call, log, number, consumer)
        ended[number] = await one.run(at, cancel_at, schedule.cancel)

    if len(schedule.arrivals) == 1:
        await caller(0, schedule.arrivals[0])
    else:
        async with anyio.create_task_group() as group:
            for at, number in sorted((at, n) for n, at in enumerate(schedule.arrivals)):
                if at > now():
                    await anyio.sleep(at - now())
                group.start_soon(caller, number, at)
                # One after the other, also at one instant: trio would shuffle them.
                await all_blocked()
    found = [ended[number] for number in sorted(ended)]
    # The frames of `caller`, which the errors in there keep, keep what it closes over.
    ended.clear()
    return found


def _listeners(scene: Scene, log: Log, spans: SpansOfARun | None) -> tuple[Listener, ...]:
    if scene.listening == "nobody":
        return ()
    traced = () if spans is None else (spans._tracer(),)  # noqa: SLF001 - as above
    if scene.listening != "told":
        return (log, *traced)
    measured = () if spans is None else spans.listeners()
    return (log, _Failing(), *measured, LogListener({}))


class _Failing:
    """A listener that always fails."""

    def on_event(self, *_: object) -> None:
        """Fail."""
        raise _ListenerError


class _ListenerError(Exception):
    """What a listener failed with; it reaches nobody."""


def _is_ours(line: LogRecord) -> bool:
    """Tell whether a line is about the listener that fails."""
    return isinstance(line.args, tuple) and line.args[:1] == (_Failing.__qualname__,)


@contextmanager
def _told(listeners: tuple[Listener, ...], scene: Scene, lines: list[LogRecord]) -> Generator[None]:
    """Let `listeners` hear every call; those of the process hear nothing of a simulated run."""
    here, audience = runtime(), Process()
    audience.loud = listeners
    if scene.others:
        audience.loud += process.loud
        audience.quiet, audience.watch = process.quiet, process.watch
    here.audience = audience
    try:
        with _logged(scene, lines):
            yield
    finally:
        # The log keeps errors, their frames keep calls, and those keep the runtime: a circle.
        here.audience = process


def _logged(scene: Scene, lines: list[LogRecord]) -> AbstractContextManager[None]:
    if scene.others:
        return nullcontext()
    return noting_alone(lines) if scene.listening == "told" else unheard()


def _spans() -> SpansOfARun | None:
    """Return what captures spans, where the SDK is installed."""
    try:
        return SpansOfARun()
    except ImportError:
        return None
