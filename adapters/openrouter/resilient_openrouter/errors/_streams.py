"""An answer that broke off, or stopped coming."""

from __future__ import annotations

from typing import Any, Final

from resilient_openrouter.errors._base import OpenRouterError


class StreamTruncated(OpenRouterError):
    """A stream that ended before its answer was complete, however cleanly.

    `partial` is the text that had come, `committed` whether any of it was
    delivered.
    """

    says = "the stream ended before the answer was complete"
    retryable = True
    scope = "endpoint"


class StreamStalled(OpenRouterError, TimeoutError):
    """One of the six clocks of an attempt expired; also a builtin `TimeoutError`.

    `clock` is its name and `after` its limit in seconds. A route that was
    silent from the start is not tried again: the time is better spent on the
    next target.

    >>> str(StreamStalled(clock="first_content", after=10.0))
    '[first_item_timeout] StreamStalled: no content within 10 s'
    """

    says = "nothing came in time"
    retryable = True
    scope = "endpoint"

    clock: str | None
    after: float | None

    def __init__(
        self,
        says: str | None = None,
        *,
        clock: str | None = None,
        after: float | None = None,
        **facts: Any,
    ) -> None:
        self.clock = clock
        self.after = after
        if clock in _SAYS and after is not None:
            says = says or _SAYS[clock].format(after)
        if clock in _SILENT:
            facts = {"retryable": False} | facts
        super().__init__(says, **facts)

    @property
    def telemetry_error_type(self) -> str:
        """The name that limits of this kind have on spans and metrics."""
        return _KINDS.get(self.clock or "", "stream_stalled")


_SAYS: Final = {
    "first_byte": "no byte of an answer within {:.6g} s",
    "first_content": "no content within {:.6g} s",
    "idle_any": "no byte for {:.6g} s",
    "idle_content": "no content for {:.6g} s",
    "total": "the answer was not complete within {:.6g} s",
}
_SILENT: Final = frozenset({"first_byte", "first_content"})
_KINDS: Final = {
    "first_content": "first_item_timeout",
    "idle_content": "between_items_timeout",
    "total": "timeout",
}
