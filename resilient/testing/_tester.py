"""Three lines for each test of how policies behave together.

    Tester(retry(attempts=3), timeout(8)).run("x x .").asserts(tries=3, calls=3, from_call=3)

A `Tester` is a stack; `run` calls a fresh scripted function through it in
virtual time, on both backends and in both spellings (decorators, `stack`), and
`asserts` compares every run with what is expected. What must hold always is
compared without being asked for: nothing is left behind, nothing is called
after a cancellation, every attempt that began has ended once, and the runs
tell the same story.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, assert_never, cast, get_args

import anyio

from resilient._core.events import AttemptEnded, AttemptStarted, CallEnded, CallStarted
from resilient._core.options import choice
from resilient._runtime.clock import now, runtime
from resilient._stack import Pipeline, stack
from resilient.testing._leftovers import leftovers
from resilient.testing._record import Cancelled, Log, Raised, Result, Returned, Run
from resilient.testing._script import Script, script
from resilient.testing._virtual import Backend, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from resilient.testing._steps import Step

Way = Literal["decorators", "stack"]
Delivery = Literal["scope", "task"]
ANY: Any = object()
"""Stands for "whatever it is"."""


class Tester:
    """A stack of policies, outermost first, to be run against scripts.

    A policy may also be given as a function that makes it: called for each
    run, it gets fresh state. Its parameters are the further scripted
    functions, so `lambda other: fallback(to=[other])` falls back to one.
    """

    __test__ = False  # its name is a noun, not a class of tests

    def __init__(self, *policies: Pipeline | Callable[..., Pipeline]) -> None:
        self._policies = policies

    def run(
        self,
        first: str | Iterable[Step] | Script,
        /,
        *others: str | Iterable[Step] | Script,
        cancel_at: float | None = None,
        cancel: Delivery = "scope",
        backends: Sequence[Backend] = ("asyncio", "trio"),
        ways: Sequence[Way] = ("decorators", "stack"),
        seed: int = 0,
        horizon: float = 1e6,
    ) -> Runs:
        """Call a function that follows the script `first` through the policies.

        `others` are the scripts of further functions, for factories of
        policies. `cancel_at` cancels the caller at that instant, with an
        anyio scope or (asyncio only) with `task.cancel()`.
        """
        scripts = [script(one) for one in (first, *others)]
        choice(cancel, "cancel", get_args(Delivery))
        if cancel == "task":
            backends = [backend for backend in backends if backend == "asyncio"]
        return Runs(
            tuple(
                virtual_time(
                    partial(self._run, scripts, backend, way, cancel_at, cancel),
                    backend=backend,
                    seed=seed,
                    horizon=horizon,
                )
                for backend in backends
                for way in ways
            )
        )

    async def _run(
        self,
        scripts: Sequence[Script],
        backend: Backend,
        way: Way,
        cancel_at: float | None,
        cancel: Delivery,
    ) -> Run:
        log = Log()
        guarded = self._guarded(log, scripts, way)
        caller = _Caller(guarded, log)
        began = now()
        result = await caller.call(cancel_at, cancel)
        return Run(
            backend=backend,
            way=way,
            calls=tuple(log.calls),
            events=tuple(log.events),
            result=result,
            elapsed=now() - began,
            leftovers=(*leftovers(), *caller.unbalanced),
            cancelled_at=cancel_at if caller.cancelled_order else None,
            cancelled_order=caller.cancelled_order,
        )

    def _guarded(
        self, log: Log, scripts: Sequence[Script], way: Way
    ) -> Callable[[], Awaitable[Any]]:
        target, *others = [
            log.scripted(one, "target" if number == 0 else f"other_{number}")
            for number, one in enumerate(scripts)
        ]
        policies = [_made(policy, others) for policy in self._policies]
        if way == "stack":
            return stack(*policies, listeners=[log])(target)
        for policy in reversed(policies):
            target = policy(target)
        return stack(listeners=[log])(target)


def _made(policy: Pipeline | Callable[..., Pipeline], others: Sequence[Any]) -> Pipeline:
    if isinstance(policy, Pipeline):
        return policy
    wanted = len(inspect.signature(policy).parameters)
    if wanted > len(others):
        raise ValueError(
            f"a policy is made from {wanted} further functions, and run() was given the scripts"
            f" of {len(others)}: write one more script for each"
        )
    return policy(*others[:wanted])


class _Caller:
    """Awaits the guarded function once, and may be cancelled while it does."""

    def __init__(self, guarded: Callable[[], Awaitable[Any]], log: Log) -> None:
        self._guarded = guarded
        self._log = log
        self.cancelled_order: int | None = None
        self.unbalanced: list[str] = []

    async def call(self, cancel_at: float | None, delivery: Delivery) -> Result:
        if cancel_at is not None and delivery == "task":
            return await self._in_task(cancel_at)
        task = asyncio.current_task() if runtime().backend == "asyncio" else None
        before = 0 if task is None else task.cancelling()
        try:
            if cancel_at is None:
                return await self._outcome()
            return await self._in_scope(cancel_at)
        except anyio.get_cancelled_exc_class():
            return Cancelled()  # not by us: a step raised it
        finally:
            self._balance(before, 0 if task is None else task.cancelling())

    async def _outcome(self) -> Result:
        try:
            return Returned(await self._guarded())
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
            return Raised(error)

    async def _in_scope(self, cancel_at: float) -> Result:
        result: Result = Cancelled()
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if cancel_at == 0:
                    self._cancel(scope.cancel)
                else:
                    group.start_soon(self._cancel_later, cancel_at, scope.cancel)
                result = await self._outcome()
            group.cancel_scope.cancel()
        return result

    async def _in_task(self, cancel_at: float) -> Result:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._outcome())
        alarm = loop.call_at(cancel_at, self._cancel, task.cancel)
        await asyncio.wait([task])
        alarm.cancel()
        self._balance(0 if self.cancelled_order is None else 1, task.cancelling())
        return Cancelled() if task.cancelled() else task.result()

    async def _cancel_later(self, at: float, cancel: Callable[[], object]) -> None:
        await anyio.sleep(at - now())
        self._cancel(cancel)

    def _cancel(self, cancel: Callable[[], object]) -> None:
        self.cancelled_order = self._log.next()
        cancel()

    def _balance(self, expected: int, found: int) -> None:
        if found != expected:
            self.unbalanced.append(f"task.cancelling() is {found}, not {expected}")


@dataclass(frozen=True, slots=True)
class Runs:
    """The same call on each backend and in each spelling."""

    runs: tuple[Run, ...]

    def __iter__(self) -> Iterator[Run]:
        """Go through the runs."""
        return iter(self.runs)

    def asserts(
        self,
        *,
        tries: int,
        calls: int,
        value: object = ANY,
        error: type[BaseException] | None = None,
        result: Literal["returned", "cancelled"] = "returned",
        from_call: int | None = None,
        elapsed: float | None = None,
        waits: Sequence[float] | None = None,
        calls_at: Sequence[float] | None = None,
        events: Sequence[str] | None = None,
        leftovers: Sequence[str] | None = (),
    ) -> Self:
        """Compare every run with what is expected, and with what must hold always.

        `tries` counts turns of retry loops, refused ones included, `calls`
        what reached a scripted function. The call must have returned, unless
        `error` (the exact class) or `result="cancelled"` says otherwise;
        `from_call=3` says that the very value or error of call 3 came out.
        Times are exact. `events` are the names of all events, in order;
        `leftovers=None` allows whatever was left behind.
        """
        for run in self.runs:
            expected: dict[str, tuple[Any, Any]] = {
                "tries": (tries, run.tries),
                "calls": (calls, len(run.calls)),
                "result": (error.__qualname__ if error else result, _result_of(run.result)),
            }
            if value is not ANY:
                expected["value"] = (value, run.value)
            if from_call is not None:
                expected["from_call"] = (from_call, run.origin)
            if elapsed is not None:
                expected["elapsed"] = (_Times([elapsed]), [run.elapsed])
            if waits is not None:
                expected["waits"] = (_Times(waits), run.waits)
            if calls_at is not None:
                expected["calls_at"] = (_Times(calls_at), run.calls_at)
            if events is not None:
                expected["events"] = (list(events), run.event_names)
            if leftovers is not None:
                expected["leftovers"] = (list(leftovers), list(run.leftovers))
            wrong = [
                f"{name} should be {wanted!r} and is {found!r}"
                for name, (wanted, found) in expected.items()
                if wanted != found
            ]
            wrong += broken_rules(run)
            if wrong:
                raise AssertionError(_report(run, wrong))
        self._tell_the_same_story()
        return self

    def _tell_the_same_story(self) -> None:
        first = self.runs[0]
        for run in self.runs[1:]:
            if _story(run) != _story(first):
                raise AssertionError(
                    f"{_label(first)} and {_label(run)} differ:\n{first}\nand\n{run}"
                )


def broken_rules(run: Run) -> list[str]:
    """Say which of the rules that hold for every run this one breaks."""
    wrong: list[str] = []
    if run.cancelled_order is not None:
        # A function that is called by someone who is cancelled already does begin.
        late = [call for call in run.calls if call.order > run.cancelled_order and call.number > 1]
        wrong += [f"called after the cancellation: {call}" for call in late]
    began = [event.number for event in run.events if isinstance(event, AttemptStarted)]
    ended = [event.number for event in run.events if isinstance(event, AttemptEnded)]
    if sorted(began) != sorted(ended):
        wrong.append(f"attempts {began} began and {ended} ended")
    ends = [isinstance(event, CallEnded) for event in run.events]
    starts = sum(isinstance(event, CallStarted) for event in run.events)
    if starts and (sum(ends) != starts or not ends[-1]):
        wrong.append("the last event of the call is not its one CallEnded")
    return wrong


class _Times:
    """Instants or durations, equal to others up to the rounding of float addition."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = list(times)

    def __eq__(self, other: object) -> bool:
        found = cast("list[float]", other)
        return len(found) == len(self._times) and all(
            math.isclose(a, b, abs_tol=1e-9) for a, b in zip(self._times, found, strict=True)
        )

    def __repr__(self) -> str:
        return repr(self._times)

    __hash__ = None  # type: ignore[assignment]


def _result_of(result: Result) -> str:
    match result:
        case Returned():
            return "returned"
        case Raised(error):
            return type(error).__qualname__
        case Cancelled():
            return "cancelled"
        case _:
            assert_never(result)


def _story(run: Run) -> object:
    return (
        [(type(event).__name__, round(event.at, 6)) for event in run.events],
        [(call.target, round(call.started, 6)) for call in run.calls],
        _result_of(run.result),
    )


def _label(run: Run) -> str:
    return f"{run.backend}, {run.way}"


def _report(run: Run, wrong: Sequence[str]) -> str:
    return "\n".join([f"{_label(run)}: " + "; ".join(wrong), str(run)])
