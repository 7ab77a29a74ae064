"""What is noted while a run goes on, in the order in which it happens.

Calls and events share one counter, because two things at the same virtual
instant can be told apart only by which came first.
"""

from __future__ import annotations

import sys
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, overload
from weakref import WeakKeyDictionary

from resilient._core.events import Event
from resilient._runtime.call import current_call
from resilient._runtime.clock import now
from resilient.testing._play import before_item, end_of_stream, items_of, play
from resilient.testing._schedule import FailureSchedule, schedule_of
from resilient.testing._steps import is_cut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable

    from resilient._runtime.call import Call
    from resilient._runtime.plan import Plan
    from resilient.testing._steps import Step


@dataclass(frozen=True, slots=True)
class Returned:
    """The call returned a value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The call raised an error that is no cancellation."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The call was cancelled, and the cancellation left it."""


Result = Returned | Raised | Cancelled


@dataclass(slots=True, eq=False)
class TargetCall:
    """One call that reached a scripted function.

    `order` and `ended_order` are places in the order of everything that
    happened in the run. `index` is the place of the function among all
    targets, `caller` the number of the caller, `within` that of the guarded
    call that it was made in, and `attempt` the number of the attempt there.
    `items` are those that a stream has given so far (`None` of what is none),
    and `cut` says that it came to a `Cut()`.
    """

    number: int
    target: str
    step: Step
    started: float
    order: int
    index: int = 0
    caller: int = 0
    within: int | None = None
    attempt: int = 0
    ended: float | None = None
    ended_order: int | None = None
    value: Any = None
    error: BaseException | None = None
    function: object = None
    items: list[Any] | None = None
    cut: bool = False

    def __str__(self) -> str:
        """Describe the call on one line."""
        end = "still running" if self.ended is None else f"{self.ended:.6g} s"
        came = repr(self.value) if self.items is None else f"{len(self.items)} items"
        if self.error is not None:
            came = type(self.error).__name__ + ("" if self.items is None else f" after {came}")
        return f"call {self.number} of {self.target}: {self.started:.6g} s .. {end}, {came}"


@dataclass(frozen=True, slots=True, eq=False)
class GuardedCall:
    """One guarded call of a run: its pipeline, and the guarded call around it."""

    number: int
    plan: Plan
    caller: int
    parent: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """An event, with its place in the order of things and the guarded call it belongs to."""

    order: int
    call: GuardedCall
    event: Event


who: ContextVar[int] = ContextVar("resilient_caller", default=0)
"""The number of the caller that this code runs for."""


def current_span() -> object:
    """Return the current span; before anybody has loaded the API there is none."""
    trace = cast("Any", sys.modules.get("opentelemetry.trace"))
    return None if trace is None else trace.get_current_span()


@dataclass(slots=True, eq=False, weakref_slot=True)
class Log:
    """Takes notes during a run: a listener of the calls, and the scripted functions' own book.

    `playing` is the schedule of the run, `original` the one that it is a
    variation of, where an invariant or a search for a shorter one made it.
    """

    calls: list[TargetCall] = field(default_factory=list[TargetCall])
    events: list[Event] = field(default_factory=list[Event])
    noted: list[Noted] = field(default_factory=list[Noted])
    guarded: list[GuardedCall] = field(default_factory=list[GuardedCall])
    original: FailureSchedule | None = None
    playing: FailureSchedule | None = None
    count: int = 0
    _known: WeakKeyDictionary[Call, GuardedCall] = field(
        default_factory=WeakKeyDictionary["Call", GuardedCall]
    )
    _turns: dict[object, int] = field(default_factory=dict[object, int])

    def next(self) -> int:
        """Return the place of what happens now."""
        self.count += 1
        return self.count

    def on_event(self, event: Event, call: Call, /) -> None:
        """Note an event."""
        self.events.append(event)
        self.noted.append(Noted(self.next(), self.known(call), event))

    def known(self, call: Call) -> GuardedCall:
        """Return what is noted of a guarded call."""
        found = self._known.get(call)
        if found is None:
            parent = None if call.parent is None else self.known(call.parent).number
            found = GuardedCall(len(self.guarded) + 1, call.plan, who.get(), parent)
            self._known[call] = found
            self.guarded.append(found)
        return found

    def waterfall(self, width: int = 40) -> str:
        """Draw what this listener has heard, as `Run.waterfall` does."""
        from resilient.testing._waterfall import picture_of  # noqa: PLC0415 - it draws records

        return picture_of(self.noted).text(width)

    def turn(self, function: object) -> int:
        """Count the calls of a scripted function in this run; return the number of this one."""
        self._turns[function] = number = self._turns.get(function, 0) + 1
        return number

    def script(self, schedule: FailureSchedule, index: int) -> tuple[FailureSchedule, int]:
        """Return what somebody who holds `schedule` follows in this run, and as which target.

        Who was made from a schedule before the run, or from a part of it,
        follows the run's when that is another one.
        """
        if self.original is None or self.playing is None or schedule is self.playing:
            return schedule, index
        parts = [self.original, *self.original.fallbacks]
        same = [place for place, part in enumerate(parts) if part is schedule]
        said = schedule.steps, schedule.then
        same += [place for place, part in enumerate(parts) if (part.steps, part.then) == said]
        return (self.playing.of(same[0]), same[0] or index) if same else (schedule, index)

    @overload
    def scripted(
        self,
        what: str | Iterable[Step] | FailureSchedule,
        name: str = "target",
        *,
        index: int = 0,
        stream: Literal[False] = False,
    ) -> Callable[..., Coroutine[Any, Any, Any]]: ...

    @overload
    def scripted(
        self,
        what: str | Iterable[Step] | FailureSchedule,
        name: str = "target",
        *,
        index: int = 0,
        stream: bool,
    ) -> Callable[..., Any]: ...

    def scripted(
        self,
        what: str | Iterable[Step] | FailureSchedule,
        name: str = "target",
        *,
        index: int = 0,
        stream: bool = False,
    ) -> Callable[..., Any]:
        """Return an async (generator) function that follows a schedule and notes each call."""
        answers = schedule_of(what)
        mine = object()

        async def function(*_args: object, **_kwargs: object) -> object:
            return await self.played(answers.step(self.turn(mine)), name, index)

        async def items(*_args: object, **_kwargs: object) -> AsyncGenerator[object]:
            played = self.streamed(answers.step(self.turn(mine)), name, index)
            async with aclosing(played) as found:
                async for item in found:
                    yield item

        made = items if stream else function
        made.__name__ = made.__qualname__ = name
        return made

    async def played(self, step: Step, name: str, index: int, function: object = None) -> object:
        """Do what a step says, and note the call."""
        call = self.begun(step, name, index, function)
        try:
            call.value = await play(step, call.number)
        except BaseException as error:
            self.over(call, error)
            raise
        self.over(call)
        return call.value

    async def streamed(
        self, step: Step, name: str, index: int, function: object = None
    ) -> AsyncGenerator[object]:
        """Give the items of a step, and note the call."""
        call = self.begun(step, name, index, function)
        call.items = []
        try:
            for place, item in enumerate(items_of(step, call.number)):
                await before_item(step, place)
                call.items.append(item)
                yield item
            call.cut = is_cut(step)
            await end_of_stream(step, call.number)
        except BaseException as error:
            self.over(call, error)
            raise
        self.over(call)

    def begun(self, step: Step, name: str, index: int, function: object = None) -> TargetCall:
        """Note a call that begins now."""
        within = current_call()
        call = TargetCall(
            number=len(self.calls) + 1,
            target=name,
            step=step,
            started=now(),
            order=self.next(),
            index=index,
            caller=who.get(),
            within=None if within is None else self.known(within).number,
            attempt=0 if within is None else within.attempt,
            function=function,
        )
        self.calls.append(call)
        return call

    def over(self, call: TargetCall, error: BaseException | None = None) -> None:
        """Note that a call has ended now; only its first end counts."""
        if call.ended is None:
            call.error, call.ended, call.ended_order = error, now(), self.next()
