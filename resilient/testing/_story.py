"""The story of one guarded call, put together from what was noted of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resilient._core.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallRejected,
    CallStarted,
    Degraded,
    RetryScheduled,
    RetryStopped,
    TargetSkipped,
    TimeoutFired,
    TimeoutOverrun,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resilient._core.events import Event
    from resilient.testing._record import GuardedCall, Noted


@dataclass(slots=True, eq=False)
class Attempt:
    """An attempt that started: its two events, and their places in the order of things."""

    start: AttemptStarted
    order: int
    end: AttemptEnded | None = None
    ended_order: int | None = None
    ends: int = 0


@dataclass(slots=True, eq=False)
class Story:
    """What was noted of one guarded call, in order."""

    call: GuardedCall
    noted: list[Noted] = field(default_factory=list["Noted"])
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    start: CallStarted | None = None
    end: CallEnded | None = None
    starts: int = 0
    ends: int = 0

    def note(self, noted: Noted) -> None:
        """Take the next event."""
        self.noted.append(noted)
        event = noted.event
        if isinstance(event, CallStarted):
            self.start, self.starts = event, self.starts + 1
        elif isinstance(event, CallEnded):
            self.end, self.ends = event, self.ends + 1
        elif isinstance(event, AttemptStarted):
            self.attempts.append(Attempt(event, noted.order))
        elif isinstance(event, AttemptEnded):
            self._end_attempt(event, noted.order)

    def _end_attempt(self, event: AttemptEnded, order: int) -> None:
        for attempt in self.attempts:
            if attempt.start.number == event.number:
                attempt.ends += 1
                attempt.end, attempt.ended_order = event, order
                return
        # Nobody has seen it start: an end too many.
        unknown = AttemptStarted(
            event.started, event.number, 0, "initial", event.target, event.target_index
        )
        self.attempts.append(Attempt(unknown, order, event, order, ends=2))

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self.call.plan.name

    @property
    def is_call(self) -> bool:
        """Whether it is a call at all: a breaker worked by hand has a stand-in."""
        return self.start is not None or bool(self.attempts) or self.end is not None

    def events(self, *kinds: type[Event]) -> Iterator[Noted]:
        """Go through what was noted of these kinds."""
        return (noted for noted in self.noted if isinstance(noted.event, kinds))

    @property
    def scheduled(self) -> list[tuple[Noted, RetryScheduled]]:
        """The waits that were decided."""
        return [(n, n.event) for n in self.noted if isinstance(n.event, RetryScheduled)]

    @property
    def stopped(self) -> list[tuple[Noted, RetryStopped]]:
        """Where a retry said that it goes no further."""
        return [(n, n.event) for n in self.noted if isinstance(n.event, RetryStopped)]

    @property
    def rejected(self) -> list[tuple[Noted, CallRejected]]:
        """The refusals of other policies."""
        return [(n, n.event) for n in self.noted if isinstance(n.event, CallRejected)]

    @property
    def skipped(self) -> list[tuple[Noted, TargetSkipped]]:
        """The targets that were not asked."""
        return [(n, n.event) for n in self.noted if isinstance(n.event, TargetSkipped)]

    @property
    def fired(self) -> list[tuple[Noted, TimeoutFired]]:
        """The limits that expired."""
        return [(n, n.event) for n in self.noted if isinstance(n.event, TimeoutFired)]

    @property
    def overran(self) -> list[TimeoutOverrun]:
        """The limits that were outlasted."""
        return [n.event for n in self.noted if isinstance(n.event, TimeoutOverrun)]

    @property
    def degraded(self) -> list[Noted]:
        """Where the last resort was used."""
        return [n for n in self.noted if isinstance(n.event, Degraded)]


def stories_of(noted: Iterable[Noted]) -> dict[int, Story]:
    """Return the story of each guarded call, by its number, in the order in which they began."""
    found: dict[int, Story] = {}
    for one in noted:
        story = found.get(one.call.number)
        if story is None:
            story = found[one.call.number] = Story(one.call)
        story.note(one)
    return found
