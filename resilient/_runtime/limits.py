"""Timers on asyncio: limits that cost a dictionary store to arm.

Arming a timer of its own for each call is the dearest part of a guarded call.
But all limits of one duration expire in the order in which they were armed, so
one `Table` for each duration and loop holds them in that order, with a single
`call_later` outstanding for the oldest. Arming is a store, disarming a delete.

What a limit does is what `asyncio.timeout` does: it cancels the task, and when
the scope is left with that cancellation and nobody else has asked for one
(`uncancel` is back at its value at entry), it is a `TimedOut`. Code that
swallows the cancellation runs on.

With one difference, on purpose. **Of our own limits in one task, one
cancellation is in flight at a time.** An outer limit that expires while an
inner one is still unwinding only marks itself, and is delivered when the inner
scope is left. Two nested `asyncio.timeout`s that fire within a millisecond of
each other pierce the shielded clean-up of an HTTP client and leave its
connection checked out for ever. Only when the unwinding outlasts
`CLEANUP_GRACE` is the outer cancellation delivered all the same.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from resilient._runtime.clock import Runtime

CLEANUP_GRACE = 1.0
"""Seconds that the unwinding of an inner limit may hold an outer one back."""

EARLY = 1e-9
"""asyncio itself runs timers that much before their time; sums of floats err less."""

ARMED = 0
"""The limit waits for its deadline."""
DEFERRED = 1
"""It expired while another limit of ours was being unwound in the same task."""
SENT = 2
"""It expired and the task was cancelled."""
LEFT = 3
"""Its scope is over."""


class Limit:
    """One armed limit of one task."""

    __slots__ = ("cancelling", "deadline", "deferred", "grace", "state", "task")

    def __init__(self, task: asyncio.Task[Any], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        # Without it a cancellation that was there before us would be taken for ours.
        self.cancelling = task.cancelling()
        self.state = ARMED
        self.grace: asyncio.TimerHandle | None = None
        self.deferred: list[Limit] | None = None


class Table:
    """The limits of one duration on one loop, oldest first."""

    __slots__ = ("after", "armed", "handle", "loop", "runtime")

    def __init__(self, runtime: Runtime, after: float) -> None:
        assert runtime.loop is not None
        self.runtime = runtime
        self.loop: asyncio.AbstractEventLoop = runtime.loop
        self.after = after
        self.armed: dict[Limit, None] = {}
        self.handle: asyncio.TimerHandle | None = None

    def arm(self, limit: Limit) -> None:
        """Wait for the deadline of `limit`, which is the latest of this table."""
        self.armed[limit] = None
        if self.handle is None:
            self._wait_for(limit)

    def leave(self, limit: Limit, error: BaseException | None) -> bool:
        """Leave the scope of `limit` with `error`; tell whether this is its `TimedOut`."""
        state, limit.state = limit.state, LEFT
        if state == ARMED:
            del self.armed[limit]
            return False
        if limit.grace is not None:
            limit.grace.cancel()
        if state == DEFERRED:
            return False
        # Taken back whatever happens next: following awaits must work.
        others = limit.task.uncancel() > limit.cancelling
        self._land(limit)
        return isinstance(error, CancelledError) and not others

    def close(self) -> None:
        """Give up the idle timer of a table that is not used again."""
        if self.handle is not None and not self.armed:
            self.handle.cancel()
            self.handle = None

    def _wait_for(self, limit: Limit) -> None:
        delay = limit.deadline - self.runtime.clock()
        self.handle = self.loop.call_later(max(0.0, delay), self._tick)

    def _tick(self) -> None:
        self.handle = None
        due = self.runtime.clock() + EARLY
        while self.armed:
            oldest = next(iter(self.armed))
            if oldest.deadline > due:
                # Also where the loop's timer was early against the Clock (uvloop).
                self._wait_for(oldest)
                return
            del self.armed[oldest]
            self._expire(oldest)

    def _expire(self, limit: Limit) -> None:
        unwinding = self.runtime.in_flight.get(limit.task)
        if unwinding is None:
            self._send(limit)
            return
        limit.state = DEFERRED
        if unwinding.deferred is None:
            unwinding.deferred = []
        unwinding.deferred.append(limit)
        limit.grace = self.loop.call_later(CLEANUP_GRACE, self._deliver, limit)

    def _deliver(self, limit: Limit) -> None:
        if limit.state == DEFERRED:
            self._send(limit)

    def _send(self, limit: Limit) -> None:
        limit.state = SENT
        self.runtime.in_flight[limit.task] = limit
        limit.task.cancel()

    def _land(self, limit: Limit) -> None:
        """The cancellation of `limit` is over: those that it held back are next."""
        in_flight = self.runtime.in_flight
        if in_flight.get(limit.task) is limit:
            del in_flight[limit.task]
        for outer in limit.deferred or ():
            if outer.state == SENT:  # its grace was over before ours was
                in_flight[outer.task] = outer
            elif outer.state == DEFERRED:
                # Not at once: code that leaves now and asks for the time left
                # finds none, and needs no cancellation.
                if outer.grace is not None:
                    outer.grace.cancel()
                outer.grace = None
                self.loop.call_soon(self._expire_again, outer)

    def _expire_again(self, limit: Limit) -> None:
        if limit.state == DEFERRED:
            self._expire(limit)
