"""What happened in one run, in the order in which it happened.

Calls and events share one counter, because two things at the same virtual
instant can be told apart only by which came first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient._core.events import CallStarted, Event, FellBack, RetryScheduled
from resilient._runtime.clock import now
from resilient.testing._play import play
from resilient.testing._schedule import FailureSchedule, schedule_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from resilient._runtime.call import Call
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
    happened in the run.
    """

    number: int
    target: str
    step: Step
    started: float
    order: int
    ended: float | None = None
    ended_order: int | None = None
    value: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        """Describe the call on one line."""
        end = "still running" if self.ended is None else f"{self.ended:.6g} s"
        came = type(self.error).__name__ if self.error is not None else repr(self.value)
        return f"call {self.number} of {self.target}: {self.started:.6g} s .. {end}, {came}"


@dataclass(slots=True)
class Log:
    """Takes notes during a run: a listener of the calls, and the scripted functions' own book."""

    calls: list[TargetCall] = field(default_factory=list[TargetCall])
    events: list[Event] = field(default_factory=list[Event])
    count: int = 0

    def next(self) -> int:
        """Return the place of what happens now."""
        self.count += 1
        return self.count

    def on_event(self, event: Event, call: Call, /) -> None:  # noqa: ARG002 - the listener's signature
        """Note an event."""
        self.next()
        self.events.append(event)

    def scripted(
        self, what: str | Iterable[Step] | FailureSchedule, name: str = "target"
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return an async function that follows a script and notes each call."""
        answers = schedule_of(what)
        mine = 0

        async def function(*_args: object, **_kwargs: object) -> object:
            nonlocal mine
            mine += 1
            step = answers.step(mine)
            call = TargetCall(len(self.calls) + 1, name, step, now(), self.next())
            self.calls.append(call)
            try:
                call.value = await play(step, call.number)
            except BaseException as error:
                call.error = error
                raise
            finally:
                call.ended, call.ended_order = now(), self.next()
            return call.value

        function.__name__ = function.__qualname__ = name
        return function


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One call of a pipeline around scripted functions, and all that came of it."""

    backend: str
    way: str
    calls: tuple[TargetCall, ...]
    events: tuple[Event, ...]
    result: Result
    elapsed: float
    leftovers: tuple[str, ...]
    cancelled_at: float | None = None
    cancelled_order: int | None = None

    @property
    def origin(self) -> int | None:
        """The number of the call whose very value or error came out; `None` where none did."""
        for call in reversed(self.calls):
            if self.error is not None and self.error is call.error:
                return call.number
            if isinstance(self.result, Returned) and not call.error and self.value is call.value:
                return call.number
        return None

    @property
    def tries(self) -> int:
        """Turns of the retry loops, refused ones included; without a retry each target has one."""
        started = any(isinstance(event, CallStarted) for event in self.events)
        turns = sum(isinstance(event, RetryScheduled | FellBack) for event in self.events)
        return started + turns

    @property
    def waits(self) -> list[float]:
        """The seconds between an attempt and the next, in order."""
        return [event.wait for event in self.events if isinstance(event, RetryScheduled)]

    @property
    def calls_at(self) -> list[float]:
        """The instants at which the scripted functions were called."""
        return [call.started for call in self.calls]

    @property
    def value(self) -> Any:  # noqa: ANN401 - what the call returned
        """The value that was returned; `None` where none was."""
        return self.result.value if isinstance(self.result, Returned) else None

    @property
    def error(self) -> BaseException | None:
        """The error that was raised; `None` where none was."""
        return self.result.error if isinstance(self.result, Raised) else None

    @property
    def event_names(self) -> list[str]:
        """The kinds of the events, in order."""
        return [type(event).__name__ for event in self.events]

    def __str__(self) -> str:
        """Show the calls, the events and the result, a line each."""
        lines = [str(call) for call in self.calls]
        lines += [f"{type(event).__name__} at {event.at:.6g} s" for event in self.events]
        lines.append(f"{self.result!r} after {self.elapsed:.6g} s")
        return "\n".join(f"  {line}" for line in lines)
