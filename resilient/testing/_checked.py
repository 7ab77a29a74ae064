"""A middleware that is checked: everything that is done to it, and what that shows."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient.testing._cancellation import broken_by, cancel_at_every_await
from resilient.testing._check import Finding, asked, findings_of
from resilient.testing._invariants import INVARIANTS, RERUNS
from resilient.testing._invariants._common import CLOSE, kind
from resilient.testing._record import Raised
from resilient.testing._schedule import FailureSchedule
from resilient.testing._shorter import shortest
from resilient.testing._simulate import simulate
from resilient.testing._spied import RULES as OF_THE_END
from resilient.testing._stacks import Stack, alike, schedules, stacks
from resilient.testing._stand_ins import Argument
from resilient.testing._virtual import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from resilient.testing._cancellation import Delivery, Guarded
    from resilient.testing._record import Log
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._spied import Spy
    from resilient.testing._steps import Bad, Fail, Ok
    from resilient.testing._virtual import Backend

RULES: Final = (*OF_THE_END, "calls_are_independent", "next_call_works", "nothing_kept")
"""The names of what is asked of a middleware besides the invariants of every run."""

_BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")
_CANCELLATIONS: Final[tuple[tuple[Backend, Delivery], ...]] = (
    ("asyncio", "scope"),
    ("asyncio", "task"),
    ("trio", "scope"),
)
_ALONE: Final = Stack((), ())
_LEGIBLE: Final = 4
"""A text that is shorter than this is in any other by chance."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A finding, and where it was found."""

    finding: Finding
    where: str
    run: Run

    def __str__(self) -> str:
        """Say what, where, and by which schedule, and draw the run."""
        where = f"  in        {self.where}\n  schedule  {self.run.schedule!r}"
        return f"{self.finding}\n{where}\n{self.run.waterfall()}"


@dataclass(slots=True)
class Checked:
    """The middleware that is checked, and how it is called."""

    spy: Spy
    name: str
    good: Ok
    bad: tuple[Fail | Bad, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    skip: frozenset[str]
    heard: Callable[[], str] = str
    """Returns what was logged and printed since it was asked last."""

    def broken(self) -> list[Broken]:
        """Return what does not hold, each invariant once, where it is first seen."""
        found: dict[str, Broken] = {}
        for one in (*self._everywhere(), *self._together(), *self._kept()):
            found.setdefault(one.finding.invariant, one)
        return [self._shortened(one) for one in found.values()]

    def _everywhere(self) -> list[Broken]:
        for stack in stacks():
            found = [*self._played(stack), *self._cancelled(stack)]
            if found:  # the other stacks would show it once more
                return found
        return []

    def _played(self, stack: Stack) -> Iterator[Broken]:
        for schedule in schedules(self.good, self.bad, limited=stack.limited):
            task = schedule.cancel == "task"  # asyncio only
            again = stack.thorough and schedule.cancel_at is None
            for backend in _BACKENDS[: 1 if again or task else 2]:
                run = self._run(stack, schedule, backend)
                yield from self._found(stack, run, self._findings(run, again=stack.thorough))

    def _together(self) -> Iterator[Broken]:
        """Compare callers at the same time with one that is alone."""
        for stack in stacks()[:3]:
            for schedule in alike(self.good, self.bad):
                alone = self._run(stack, replace(schedule, arrivals=(0,)), "asyncio")
                run = self._run(stack, schedule, "asyncio")
                wanted = alone.callers[0]
                others = [_fate(one) for one in run.callers if _is_worse(one, wanted)]
                expected = f"each of {len(run.callers)} calls as when it is alone: {_fate(wanted)}"
                found = [Finding("calls_are_independent", expected, one) for one in others[:1]]
                yield from self._found(stack, run, [*found, *self._findings(run, again=False)])

    def _cancelled(self, stack: Stack) -> Iterator[Broken]:
        steps = [replace(self.bad[0], after=1), replace(self.good, after=1)]
        script = Script(FailureSchedule(steps, then=self.good))
        if not stack.kinds <= {"retry", "timeout"}:
            return  # a chain and a breaker await what is inside of them, and nothing else

        def make(log: Log) -> Guarded:
            guarded = stack.around(self.spy.middlewares())(script.target(log))
            return partial(guarded, *self.args, **self.kwargs)

        for backend, delivery in _CANCELLATIONS:
            everywhere = cancel_at_every_await(
                make, backend=backend, delivery=delivery, after=script.next_call
            )
            with suppress(ValueError):  # one that never awaits anything cannot be cancelled
                for one in everywhere:
                    by = "task.cancel()" if delivery == "task" else "a scope"
                    how = f", cancelled by {by} at await {one.at} of {one.of}"
                    run = replace(one.run, schedule=script.schedule)
                    yield from self._found(stack, run, [*self.spy.taken(), *broken_by(one)], how)

    def _kept(self) -> Iterator[Broken]:
        """Let go of a call, and see whether it is gone."""
        for step in (self.good, self.bad[0]):
            schedule = FailureSchedule([step], then=self.good)
            left = self._left_of(schedule)
            expected = "nothing of a call kept when it is over"
            happened = [f"{what} of one is still there" for what in left]
            found = [Finding("nothing_kept", expected, one) for one in happened]
            yield from self._found(_ALONE, self._run(_ALONE, schedule, "asyncio"), found)

    def _left_of(self, schedule: FailureSchedule) -> list[str]:
        """Return what is left of a run that nobody has kept."""
        refs: list[tuple[str, weakref.ref[Any]]] = []

        def watch(what: str, one: object) -> None:
            with suppress(TypeError):  # not everything can be held weakly
                refs.append((what, weakref.ref(one)))

        self._run_watched(schedule, watch)
        self.spy.forget()
        virtual_time(anyio.sleep, 0)  # the library lets go of a loop when it sees the next one
        gc.collect()
        return [*dict.fromkeys(what for what, ref in refs if ref() is not None)]

    def _run_watched(self, schedule: FailureSchedule, watch: Callable[[str, object], None]) -> None:
        mine, self.args = self.args, tuple(map(_copied, self.args))
        self.spy.watch = watch
        try:
            run = self._run(_ALONE, schedule, "asyncio")
            for argument in self.args:
                if isinstance(argument, Argument):
                    watch("an argument", argument)
        finally:
            self.args, self.spy.watch = mine, None
        if not self.spy.answers:
            for call in run.calls:
                watch("the result", call.value)

    def _run(self, stack: Stack, schedule: FailureSchedule, backend: Backend) -> Run:
        self.spy.taken()
        pipeline = stack.around(self.spy.middlewares())
        return simulate(pipeline, schedule, backend=backend, args=self.args, kwargs=self.kwargs)

    def _findings(self, run: Run, only: str | None = None, *, again: bool) -> list[Finding]:
        """Return what the middleware did wrong in a run, and then what the run shows."""
        names = None if only is None else {only}.intersection(INVARIANTS)
        # Behind a shield the two differ: on trio a cancellation comes out that nobody heard of.
        shielded = () if run.schedule.cancel_at is None else ("backend_agnostic",)
        shown = list(findings_of(run, asked((), names, shielded if again else RERUNS)))
        found = [*self.spy.taken(), *self._recorded(), *shown]
        return [one for one in found if only in {None, one.invariant}]

    def _recorded(self) -> Iterator[Finding]:
        said = self.heard()
        given = [one for one in (*self.args, *self.kwargs.values()) if isinstance(one, str)]
        expected = "no argument and no result in the log, and none printed"
        if any(len(one) >= _LEGIBLE and one in said for one in given):
            yield Finding("nothing_recorded", expected, "an argument is there")
        if "<answer of call" in said:
            yield Finding("nothing_recorded", expected, "a result is there")

    def _found(
        self, stack: Stack, run: Run, findings: list[Finding], how: str = ""
    ) -> Iterator[Broken]:
        where = f"{stack.named(self.name)}, on {run.backend}{how}"
        for one in findings:
            if one.invariant not in self.skip:
                yield Broken(one, where, run)

    def _shortened(self, one: Broken) -> Broken:
        """Return the finding with the shortest schedule that shows it, where there is a choice."""
        name = one.finding.invariant
        self.spy.taken()
        self.heard()
        better = shortest(one.run, lambda run: bool(self._findings(run, name, again=True)))
        if better is None or one.run.details.again is None:
            return one
        return replace(one, run=one.run.details.again(better))


class Script:
    """What a call that is interrupted meets; the next one meets nothing but answers."""

    def __init__(self, schedule: FailureSchedule) -> None:
        self.schedule = schedule
        self._is_over = False

    def target(self, log: Log) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return the function to guard in one run."""
        self._is_over = False
        first = log.scripted(self.schedule)
        then = log.scripted(FailureSchedule(then=self.schedule.then))

        async def target(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            return await (then if self._is_over else first)(*args, **kwargs)

        return target

    async def next_call(self, guarded: Guarded) -> Any:  # noqa: ANN401
        """Make the call after the one that was interrupted."""
        self._is_over = True
        return await guarded()


def _is_worse(one: CallerRun, alone: CallerRun) -> bool:
    """Tell whether a call ended otherwise than one that was alone, or later."""
    return _came(one) != _came(alone) or one.elapsed > alone.elapsed + CLOSE


def _fate(caller: CallerRun) -> str:
    return f"one {_came(caller)} after {caller.elapsed:.6g} s"


def _came(caller: CallerRun) -> str:
    result = caller.result
    return f"raised {kind(result.error)}" if isinstance(result, Raised) else "returned"


def _copied(one: Any) -> Any:  # noqa: ANN401
    return Argument(one) if isinstance(one, Argument) else one
