"""Which clock of an attempt expires next: arithmetic over instants, without a timer.

Each method takes the instant at which something happened. Before the headers
have come the connection and the first byte count, after them the idle clocks;
what is fixed from the start (`first_content`, `total`) counts all along.

A watch that is told that nothing more has to come (`closing`) gives what is
left a short grace: then its end is no failure.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_openrouter.clocks import Clocks

__all__ = ("GRACE", "Watch")

GRACE = "grace"
"""The name of the clock that ends what is complete already."""


class Watch:
    """The clocks of one attempt, set back as things happen."""

    __slots__ = ("_clocks", "_closing", "_content", "_headers", "_heard", "_sent", "_started")

    def __init__(self, clocks: Clocks, now: float) -> None:
        self._clocks = clocks
        self._started = now
        # A transport that does not tell when a request is sent has to connect first.
        self._sent = now + (clocks.connect or 0)
        self._headers: float | None = None
        self._heard = now
        self._content: float | None = None
        self._closing = inf

    @property
    def clocks(self) -> Clocks:
        """The limits of the clocks."""
        return self._clocks

    def sent(self, now: float) -> None:
        """Note that the request is out."""
        self._sent = now

    def begun(self, now: float) -> None:
        """Note that the headers came."""
        self._headers = self._heard = now

    def heard(self, now: float) -> None:
        """Note bytes of any kind."""
        self._heard = now

    def spoken(self, now: float) -> None:
        """Note content."""
        self._heard = self._content = now

    def resumed(self, now: float) -> None:
        """Note that somebody waits again: the idle clocks stood still until now."""
        self._heard = now
        if self._content is not None:
            self._content = now

    def closing(self, now: float, grace: float) -> None:
        """Give what is left so many seconds; the earliest end of several counts."""
        self._closing = min(self._closing, now + grace)

    def next(self) -> tuple[float, str]:
        """Return the instant at which the next clock expires, and its name.

        Of several at the same instant, the one that says most about the fault.
        """
        at, name = self._closing, GRACE
        clocks = self._clocks
        for since, limit, other in (
            (self._sent if self._headers is None else None, clocks.first_byte, "first_byte"),
            (self._started, clocks.total, "total"),
            (self._content, clocks.idle_content, "idle_content"),
            (None if self._headers is None else self._heard, clocks.idle_any, "idle_any"),
            (
                self._started if self._content is None else None,
                clocks.first_content,
                "first_content",
            ),
        ):
            if since is not None and limit is not None and since + limit < at:
                at, name = since + limit, other
        return at, name
