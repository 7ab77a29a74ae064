"""Who takes the items of a stream: all of them, or so many, and at its own pace.

While the consumer has an item nothing of the call may be there: it is not the
current one, no span of it is, and none of its limits is armed. What the
consumer does then is its own business.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any

import anyio

from resilient._items import Items
from resilient._runtime.call import current_call
from resilient._runtime.clock import runtime
from resilient.testing._play import passed
from resilient.testing._record import current_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._core.outcome import Outcome
    from resilient.testing._record import Log


class Consumer:
    """Takes the items of a stream, at most `take` of them, and pauses with each."""

    def __init__(
        self, stream: Callable[[], Any], log: Log, take: int | None = None, pause: float = 0
    ) -> None:
        self._stream = stream
        self._log = log
        self._take = take
        self._pause = pause
        self.items: list[Any] = []
        self.orders: list[int] = []
        self.closed = False
        self.outcome: Outcome[Any] | None = None
        # A dictionary, as each item may show the same.
        self.troubles: dict[str, None] = {}

    async def consume(self) -> tuple[Any, ...]:
        """Take the items and return them; the stream is closed on the way out."""
        stream = self._stream()
        before = _surroundings()
        async with _closing(stream):
            async for item in stream:
                self.items.append(item)
                self.orders.append(self._log.next())
                self._look_around(before)
                await passed(self._pause)
                if len(self.items) == self._take:
                    self.closed = True
                    break
        if type(stream) is Items:
            self.outcome = stream.outcome
        return tuple(self.items)

    def _look_around(self, before: dict[str, object]) -> None:
        for what, found in _surroundings().items():
            if found != before[what]:
                self.troubles[f"while the consumer has an item {what}"] = None


def _surroundings() -> dict[str, object]:
    """Return what must be the same at each item as before the first."""
    return {
        "its call is the current one": current_call(),
        "a span of its call is the current one": current_span(),
        "a limit of its call is armed": _limits(),
    }


def _limits() -> tuple[float, int]:
    """Return the deadline of the scopes around this code, and how many limits this task has."""
    here = runtime()
    armed = 0
    if here.loop is not None:
        task = asyncio.current_task()
        tables = here.tables.values()
        armed = sum(limit.task is task for table in tables for limit in table.armed)
    return anyio.current_effective_deadline(), armed


def _closing(stream: Any) -> AbstractAsyncContextManager[Any]:  # noqa: ANN401
    if type(stream) is Items:
        return stream
    return aclosing(stream) if hasattr(stream, "aclose") else nullcontext()
