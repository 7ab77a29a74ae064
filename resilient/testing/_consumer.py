"""Who takes the items of a stream: all of them, or so many, and at its own pace.

While the consumer has an item nothing of the call may be there: it is not the
current one, no span of it is, and none of its limits is armed. What the
consumer does then is its own business.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from math import inf
from typing import TYPE_CHECKING, Any, cast

import anyio

from resilient._runtime.call import current_call
from resilient._runtime.clock import runtime
from resilient.testing._play import passed
from resilient.testing._record import current_span
from resilient.typing import Items

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._core.outcome import Outcome
    from resilient.testing._record import Log


class Consumer:
    """Takes the items of a stream, at most `take` of them, and pauses with each for `pause` s."""

    def __init__(self, stream: Callable[[], Any], log: Log) -> None:
        self._stream = stream
        self._log = log
        self.take: int | None = None
        self.pause = 0.0
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
                await passed(self.pause)
                if len(self.items) == self.take:
                    self.closed = True
                    break
        if issubclass(type(stream), Items):
            with suppress(RuntimeError):  # it says that it has failed, and has raised nothing
                self.outcome = stream.outcome
        return tuple(self.items)

    def _look_around(self, before: dict[str, object]) -> None:
        for what, found in _surroundings().items():
            # Of a scope that is cancelled nobody can say what its deadline was.
            if found not in (before[what], -inf):
                self.troubles[f"while the consumer has an item {what}"] = None


def _surroundings() -> dict[str, object]:
    """Return what must be the same at each item as before the first."""
    return {
        "its call is the current one": current_call(),
        "a span of its call is the current one": current_span(),
        "a limit of its call is armed": _armed(),
        "a scope of its call is open": anyio.current_effective_deadline(),
    }


def _armed() -> int:
    """Return how many limits are armed for the task that runs this."""
    here = runtime()
    if here.loop is None:
        return 0
    task = asyncio.current_task()
    return sum(limit.task is task for table in here.tables.values() for limit in table.armed)


def _closing(stream: Any) -> AbstractAsyncContextManager[Any]:  # noqa: ANN401
    if issubclass(type(stream), Items):
        return cast("Items[Any]", stream)
    return aclosing(stream) if hasattr(stream, "aclose") else nullcontext()
