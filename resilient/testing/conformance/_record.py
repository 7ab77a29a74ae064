"""What a case came to, noted while it ran."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from resilient._runtime.clock import now
from resilient.testing._play import play
from resilient.testing.conformance._build import Items

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from resilient._core.breaker_snapshot import BreakerSnapshot
    from resilient._core.events import Event
    from resilient._runtime.call import Call
    from resilient.testing._record import Result
    from resilient.testing.conformance._build import Script

caller: ContextVar[int | None] = ContextVar("resilient.testing.conformance", default=None)
"""The number of the call, among those that the case makes, that this code is part of."""


@dataclass(slots=True, eq=False)
class Entered:
    """One entry into the function of a target; `order` is its place in all that happened."""

    number: int
    target: str
    caller: int | None
    at: float
    order: int
    value: Any = None
    error: BaseException | None = None
    ended: bool = False


@dataclass(slots=True)
class Made:
    """One call that the case made."""

    began: float
    ended: float | None = None
    result: Result | None = None
    items: list[Any] | None = None
    cancelled_order: int | None = None


@dataclass(slots=True)
class Found:
    """All that came of one run of a case."""

    entered: list[Entered] = field(default_factory=list[Entered])
    events: list[tuple[int | None, Event]] = field(default_factory=list[tuple[int | None, Any]])
    made: list[Made] = field(default_factory=list[Made])
    looks: list[BreakerSnapshot] = field(default_factory=list[Any])
    granted: list[int] = field(default_factory=list[int])
    asked: list[float] = field(default_factory=list[float])
    warned: list[str] = field(default_factory=list[str])
    states: dict[str, str] = field(default_factory=dict[str, str])
    tokens: dict[str, float] = field(default_factory=dict[str, float])
    left: list[str] = field(default_factory=list[str])
    illegal: int = 0
    refused: Exception | None = None
    listened: bool = True
    over: bool = False
    """Whether what happens now is no part of the case any more."""
    order: int = 0

    def next(self) -> int:
        """Return the place of what happens now."""
        self.order += 1
        return self.order

    def on_event(self, event: Event, call: Call, /) -> None:  # noqa: ARG002 - the listener's signature
        """Note an event, with the call that it belongs to."""
        if self.over:
            return
        self.next()
        self.events.append((caller.get(), event))

    def target(self, name: str, answers: Script) -> Callable[..., Any]:
        """Return an async function that follows a script and notes each entry."""
        mine = 0
        if answers.streams:
            return self._stream(name, answers)

        async def function(*_args: object, **_kwargs: object) -> object:
            nonlocal mine
            mine += 1
            step: Any = answers.step(mine)
            entry = Entered(len(self.entered) + 1, name, caller.get(), now(), self.next())
            self.entered.append(entry)
            try:
                entry.value = await play(step, entry.number)
            except BaseException as error:
                entry.error = error
                raise
            finally:
                entry.ended = True
            return entry.value

        function.__name__ = function.__qualname__ = name
        return function

    def _stream(self, name: str, answers: Script) -> Callable[..., AsyncGenerator[Any, None]]:
        """Return an async generator function that does the same."""
        mine = 0

        async def function(*_args: object, **_kwargs: object) -> AsyncGenerator[Any, None]:
            nonlocal mine
            mine += 1
            step: Any = answers.step(mine)
            entry = Entered(len(self.entered) + 1, name, caller.get(), now(), self.next())
            self.entered.append(entry)
            try:
                if not isinstance(step, Items):
                    step = Items((), then=step)
                await anyio.sleep(step.after)
                for place, item in enumerate(step.items):
                    if place:
                        await anyio.sleep(step.gap)
                    yield item
                if step.then is not None:
                    await play(step.then, entry.number)
            except BaseException as error:
                entry.error = error
                raise
            finally:
                entry.ended = True

        function.__name__ = function.__qualname__ = name
        return function
