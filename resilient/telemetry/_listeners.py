"""Two small listeners: one that picks events for another, one that remembers the last ones."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from resilient._core import options
from resilient._core.events import Event
from resilient._core.names import error_type
from resilient._runtime.listeners import check_listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient._runtime.listeners import Listener
    from resilient.telemetry._call import Call


def only(listener: Listener, /, *event_types: type[Event]) -> Listener:
    """Return a listener that hands on events of these types and drops all others.

    >>> from resilient.events import CallEnded
    >>> only(Recent(10), CallEnded)
    only(Recent(0 of 10 events), CallEnded)
    """
    check_listener(listener, "only(listener)")
    if not event_types:
        raise ValueError("only() needs at least one type of event")
    for kind in cast("tuple[object, ...]", event_types):
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError("only() takes classes of resilient.events")
    return _Only(listener, event_types)


class _Only:
    __slots__ = ("_kinds", "_listener")

    def __init__(self, listener: Listener, kinds: tuple[type[Event], ...]) -> None:
        self._listener = listener
        self._kinds = kinds

    def on_event(self, event: Event, call: Any, /) -> None:  # noqa: ANN401 - handed on as it is
        if isinstance(event, self._kinds):
            self._listener.on_event(event, call)

    def __repr__(self) -> str:
        kinds = ", ".join(kind.__name__ for kind in self._kinds)
        return f"only({self._listener!r}, {kinds})"


@dataclass(frozen=True, slots=True)
class Noted:
    """An event that was remembered, the pipeline it happened in, and the type of its error."""

    pipeline: str
    event: Event
    error_type: str | None


class Recent:
    """A listener that keeps the last events of all calls, for debugging.

    Iterate over it: oldest first, each with its pipeline. The exceptions are
    taken off and only their types kept, so that nothing of a call stays alive.

    >>> recent = Recent(100)
    >>> len(recent), list(recent)
    (0, [])
    """

    def __init__(self, size: int = 1000, /) -> None:
        self._noted: deque[Noted] = deque(maxlen=options.whole(size, "Recent(size)"))

    def on_event(self, event: Event, call: Call, /) -> None:
        """Remember `event` and forget the oldest one beyond the size."""
        error: BaseException | None = getattr(event, "error", None)
        kept = replace(event)
        if error is not None:
            kept.error = None  # type: ignore[attr-defined]  # only events with an error get here
        kind = None if error is None else error_type(error)
        self._noted.append(Noted(call.plan.name, kept, kind))

    def clear(self) -> None:
        """Forget everything."""
        self._noted.clear()

    def __iter__(self) -> Iterator[Noted]:
        """Iterate over what is remembered now, oldest first."""
        return iter(tuple(self._noted))

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._noted)

    def __repr__(self) -> str:
        """Show how full it is."""
        return f"Recent({len(self)} of {self._noted.maxlen} events)"
