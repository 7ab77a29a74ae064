"""Who is told what happens: one tuple for everything, one for failures only.

`loud` listeners get every event of a call; where there is none, the calls that
succeed make no event at all. `quiet` listeners (the log is one) get the events
of what went wrong and are not asked on a clean call. `watch` is a function
that looks whether somebody has begun to listen (an OpenTelemetry provider that
was set after import); each call asks it while it is there.

A listener observes. What it raises is logged once for each listener and type,
and dropped; only `Exception` is caught.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from resilient._core import options

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resilient._core.events import Event
    from resilient._runtime.call import Call

log = logging.getLogger("resilient")


class Listener(Protocol):
    """What is told about the events of calls.

    Called synchronously, between awaits, in the order in which things
    happened. Never keep `event.error`: its traceback holds the call's frames.
    """

    def on_event(self, event: Event, call: Call, /) -> None:
        """Take note of `event`, which happened in `call`."""


def check_listener(listener: object, option: str) -> None:
    """Raise a `TypeError` if `listener` cannot be told of events."""
    if isinstance(listener, type) or not callable(getattr(listener, "on_event", None)):
        shown = options.shown(listener)
        raise TypeError(f"{option} takes an object with on_event(event, call), not {shown}")


class Process:
    """The listeners of the whole process; `telemetry.install` sets them."""

    __slots__ = ("loud", "quiet", "watch")

    def __init__(self) -> None:
        self.loud: tuple[Listener, ...] = ()
        self.quiet: tuple[Listener, ...] = ()
        self.watch: Callable[[], None] | None = None


process = Process()


def tell(listeners: tuple[Listener, ...], event: Event, call: Call) -> None:
    """Hand `event` to each of `listeners`; their exceptions change nothing."""
    for listener in listeners:
        try:
            listener.on_event(event, call)
        except Exception as error:  # an observer never changes an outcome
            once(
                ("listener", type(listener), type(error)),
                "listener %s failed with %s; its errors are dropped",
                type(listener).__qualname__,
                type(error).__qualname__,
            )


_said: set[Any] = set()
_SAID_AT_MOST = 1024


def once(key: Any, message: str, *values: object, level: int = logging.ERROR) -> None:  # noqa: ANN401
    """Log `message` unless that was done for `key` before."""
    if key in _said or len(_said) >= _SAID_AT_MOST:
        return
    _said.add(key)
    with suppress(Exception):  # a log handler that fails is an observer as well
        log.log(level, message, *values)


@contextmanager
def unheard() -> Generator[None]:
    """Let the code inside say nothing to the log, nor count as said what it would have said."""
    before, disabled = _said.copy(), log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = disabled
        _said.clear()
        _said.update(before)
