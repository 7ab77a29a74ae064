"""What one call of a load test came to, as the client tells it and as the server saw it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resilient.events import CallEnded
from resilient_openrouter._trail import outcome_of

if TYPE_CHECKING:
    from resilient.events import Event
    from resilient.typing import Call
    from resilient_openrouter.emulator import Entry
    from resilient_openrouter.results import OpenRouterOutcome, Reply

__all__ = ("Course", "current", "Noting")


@dataclass(slots=True)
class Course:
    """One call: its answer or its error, how it came about, and the requests that it made.

    `heard` is the text that a stream gave on its way.
    """

    number: int
    reply: Reply | None = None
    heard: str = ""
    error: Exception | None = None
    way: OpenRouterOutcome[None] | None = None
    took: float = 0.0
    requests: list[Entry] = field(default_factory=list["Entry"])

    @property
    def entry(self) -> Entry | None:
        """The request whose answer is the answer of this call."""
        wanted = None if self.reply is None else self.reply.generation_id
        return next((each for each in self.requests if each.generation == wanted), None)


current: ContextVar[Course] = ContextVar("soak_course")
"""The call that this task makes."""


class Noting:
    """A listener that writes on each course how its call went, also where an error left it."""

    def on_event(self, event: Event, call: Call, /) -> None:
        """Take down what there is when a call ends."""
        if isinstance(event, CallEnded):
            current.get().way = outcome_of(event, call)
