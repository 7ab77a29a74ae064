"""The one standard attribute about retries, on the span of the HTTP client.

Whoever instruments the HTTP client has a span for each request, below that of
the attempt, and nothing tells it that the request was sent before. This does,
from inside the request: only there is that span the current one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from resilient import current_call

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("stamp",)

_COUNT: Final = "http.request.resend_count"
_TRACE: Final = "opentelemetry.trace"


def stamp() -> Callable[[], None] | None:
    """Return what writes the count on the span of the client, `None` for a first request.

    It leaves the span alone that is current now: that is no client's.
    """
    call = current_call()
    # A first request to the next target sends nothing again.
    again = 0 if call is None else call.on_target - 1
    trace: Any = sys.modules.get(_TRACE)  # nobody has a span who has not loaded it
    if again <= 0 or trace is None:
        return None
    outside = trace.get_current_span()

    def write() -> None:
        span = trace.get_current_span()
        if span is not outside:
            span.set_attribute(_COUNT, again)

    return write
