"""The driver of a fallback around streams: one walk, which may be taken up again.

Until a target has given its first item it is a walk like any other. Then the
chain is committed to that target. What fails later is an error, or with
`midstream="restart"` the walk goes on: a `Restarted` marker tells the consumer
that what it has got so far is void, and the next target's stream follows from
its start.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from resilient._core.faults import fault_of
from resilient._core.outcome import Restarted
from resilient._runtime.attempt import NotAwaitableError
from resilient._runtime.exact import count
from resilient._runtime.fallback import (
    advance,
    close_bad,
    conclude,
    failed,
    limit_of,
    point_at,
    rests_of,
    unasked,
)
from resilient._runtime.opened import Nothing, Opened, ask
from resilient._runtime.pause import check_cancelled
from resilient._runtime.stream import close_open
from resilient._runtime.stream_timeout import limit_items
from resilient._runtime.timeout import within
from resilient.errors import Rejected, Unacceptable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from resilient._core.fallback import Cursor
    from resilient._core.outcome import Verdict
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient._runtime.chain import Chain


def stream_fallback_layer(chain: Chain, runs: Sequence[Layer]) -> Layer:
    """Open the stream of the first target that gives an item, of which `runs` are the calls."""

    async def fallen_back(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Opened:
        walk = Walk(call, chain, runs, args, kwargs)
        try:
            opened = await walk.open()
        except BaseException:
            walk.leave()
            raise
        if chain.policy.midstream == "restart" and not opened.exhausted and not call.degraded:
            return Restarting(walk, opened).opened()
        opened.at_end(partial(_ended, call, chain, walk.index))
        walk.leave()
        return opened

    return fallen_back


class Walk:
    """The walk of one call through a chain."""

    __slots__ = ("args", "call", "chain", "cursor", "end", "index", "kwargs", "outer", "runs")

    def __init__(
        self,
        call: Call,
        chain: Chain,
        runs: Sequence[Layer],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.call = call
        self.chain = chain
        self.runs = runs
        self.args = args
        self.kwargs = kwargs
        self.end = call.resumed + chain.policy.deadline
        # Where the call stands in a chain around this one.
        self.outer = call.cursor
        self.cursor: Cursor | None = None
        self.index: int | None = None

    async def open(self) -> Opened:
        """Ask the targets that are left until one gives its first item; at last `degrade`."""
        call, chain = self.call, self.chain
        judge = chain.policy.on_result
        self.index = advance(call, chain, self.end)
        while self.index is not None:
            point_at(call, chain.places[self.index])
            try:
                opened = await self._ask(self.index)
            except NotAwaitableError:
                raise
            except Exception as error:
                goes_on = failed(call, chain, self.index, error, self.end)
            else:
                if opened.exhausted or judge is None or judge.decide(opened.first) is False:
                    return opened
                call.unacceptable = True
                bad = Unacceptable(opened.first)
                goes_on = failed(call, chain, self.index, bad, self.end)
                del bad
                await close_bad(call, opened, self.end)
            if goes_on:
                await check_cancelled(call)
            self.index = advance(call, chain, self.end)
        return Opened(Nothing(), await conclude(call, chain))

    async def _ask(self, index: int) -> Opened:
        call, run = self.call, self.runs[index]
        if self.end == inf:
            opened: Opened = await run(call, self.args, self.kwargs)
            return opened
        limit = limit_of(call, self.chain, index, self.end)
        opened = await within(call, limit, "total", run, self.args, self.kwargs)
        # Nobody else will be asked, so nothing is kept for anybody else.
        limit_items(call, opened, self.chain.policy.deadline, "total", self.end)
        return opened

    def rest(self) -> None:
        """Stand aside while items pass."""
        self.cursor, self.call.cursor = self.call.cursor, self.outer

    def resume(self) -> None:
        """Go on where the walk has stopped."""
        self.call.cursor = self.cursor

    def leave(self) -> None:
        """End the walk, and let go of its errors."""
        call = self.call
        cursor, self.cursor = self.cursor, None
        if cursor is None:  # it does not stand aside
            cursor, call.cursor = call.cursor, self.outer
        if cursor is not None and cursor is not self.outer:
            call.skipped += self.chain.placed(unasked(cursor))
            cursor.forget()


class Restarting:
    """A source that goes on with the next target when the one that gives the items fails."""

    __slots__ = ("_begins", "_opened", "_walk")

    def __init__(self, walk: Walk, opened: Opened) -> None:
        self._walk = walk
        self._opened = opened
        # Whether the first item of a target that has taken over is still to be given.
        self._begins = False
        walk.rest()

    def opened(self) -> Opened:
        """Return the stream that consists of all of theirs."""
        made = Opened(self, self._opened.first)
        made.at_end(self._ended)
        self._walk.call.opened = made
        return made

    def __anext__(self) -> Awaitable[Any]:
        """Give the next item, or a marker."""
        return self._step(None, None)

    def asend(self, value: Any, /) -> Awaitable[Any]:  # noqa: ANN401
        """Send a value in and give the next item, or a marker."""
        return self._step(value, None)

    def athrow(self, error: BaseException, /) -> Awaitable[Any]:
        """Throw an error in and give the next item."""
        return self._step(None, error)

    def aclose(self) -> Awaitable[Any]:
        """Close the stream of the target that gives the items."""
        return self._opened.source.aclose()

    async def _step(self, sent: Any, thrown: BaseException | None) -> Any:  # noqa: ANN401
        begins, self._begins = self._begins, False
        if begins and self._opened.exhausted:
            raise StopAsyncIteration
        if begins and thrown is None:
            item, self._opened.first = self._opened.first, None
            return item
        call = self._walk.call
        call.adopt()
        try:
            try:
                return await ask(self._opened.source, sent, thrown)
            except StopAsyncIteration:
                raise
            except Exception as error:
                if thrown is not None:
                    raise  # what became of the consumer's own error is the consumer's
                broken = error
            try:
                return await self._restart(call, broken)
            finally:
                del broken
        finally:
            call.task = thrown = None  # its traceback holds this frame

    async def _restart(self, call: Call, error: Exception) -> Restarted:
        """Open the next target's stream, and return the marker that announces it."""
        walk, chain = self._walk, self._walk.chain
        before = walk.index
        assert before is not None
        call.cut(error)
        if call.loud:
            call.leave()
        error = self._opened.ends.settle("failure", error) or error
        walk.resume()
        try:
            if failed(call, chain, before, error, walk.end):
                await check_cancelled(call)
            self._opened = await walk.open()
        except BaseException:
            walk.index = None
            await close_open(call)
            raise
        finally:
            walk.rest()
            del error  # its traceback holds this frame
        call.opened = None
        self._begins = True
        given = call.items
        marker = Restarted(
            chain.policy.targets[before].name,
            None if walk.index is None else chain.policy.targets[walk.index].name,
            given - call.items_before,
        )
        # A marker is no item, and it is about to be counted as one.
        call.items, call.items_before = given - 1, given
        if not self._opened.exhausted:
            call.commit()
        return marker

    def _ended(self, verdict: Verdict, error: Exception | None) -> None:
        walk = self._walk
        broken = self._opened.ends.settle(verdict, error)
        if broken is not None:
            verdict, error = "failure", broken
        _ended(walk.call, walk.chain, walk.index, verdict, error)
        walk.leave()
        if broken is not None:
            try:
                raise broken
            finally:
                del broken, error  # its traceback holds this frame


def _ended(
    call: Call, chain: Chain, index: int | None, verdict: Verdict, error: Exception | None
) -> None:
    """Learn how the stream of target `index` ended; `None` is the last resort."""
    if index is None:
        return
    if verdict == "success":
        count(chain.answered, index)
    elif error is not None:
        fault = None if isinstance(error, Rejected) else fault_of(error, chain.classify[index])
        if fault is not None and fault.retry_after is not None:
            call.hinted(fault.source)
        now = call.runtime.clock()
        rests = chain.learn(index, error, fault, now, call.runtime.clock)
        for event in rests_of(chain, index, error, fault, rests, now):
            call.report_behind(event)
