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
cancellation is in flight at a time.** A limit that expires while another one
is still unwinding only marks itself, and is delivered when that one's scope is
left. Two nested `asyncio.timeout`s that fire within a millisecond of each
other pierce the shielded clean-up of an HTTP client and leave its connection
checked out for ever. Only when the unwinding outlasts `CLEANUP_GRACE` is the
other cancellation delivered all the same. A limit that the clean-up itself
sets is none of these: it was armed after the cancellation was sent, is meant
to end the clean-up, and does.
"""

from __future__ import annotations

from asyncio import CancelledError
from contextvars import Context
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

MANY_TABLES = 256
"""Lengths of limit on one loop beyond which the idle ones are given up."""


class Limit:
    """One armed limit of one task."""

    __slots__ = ("asked", "before", "cancelling", "deadline", "grace", "state", "task", "waiting")

    # Set when it expires, which most limits never do.
    waiting: list[Limit]
    """Those that expired while it was unwinding."""
    before: Limit | None
    """The one that was unwinding when it was sent all the same."""
    grace: asyncio.TimerHandle
    """Ends its patience with the one that it waits for, if it has to."""
    asked: int
    """How many cancellations its task had been asked for when it was sent, its own included."""

    def __init__(self, task: asyncio.Task[Any], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        # Without it a cancellation that was there before us would be taken for ours.
        self.cancelling = task.cancelling()
        self.state = ARMED

    def expire(self) -> None:
        """Prepare to be sent or to wait."""
        self.waiting = []
        self.before = None


class Table:
    """The limits of one duration on one loop, oldest first."""

    __slots__ = ("after", "armed", "context", "handle", "loop", "runtime")

    def __init__(self, runtime: Runtime, after: float) -> None:
        assert runtime.loop is not None
        self.runtime = runtime
        self.loop: asyncio.AbstractEventLoop = runtime.loop
        self.after = after
        self.armed: dict[Limit, None] = {}
        self.handle: asyncio.TimerHandle | None = None
        # An empty one: the timer outlives the call that armed it, and the context
        # of that call would keep everything alive that the caller has put there.
        self.context = Context()

    def arm(self, limit: Limit) -> None:
        """Wait for the deadline of `limit`; for a table whose timer does not run."""
        self.armed[limit] = None
        self._wait_for(limit)

    def leave(self, limit: Limit, error: BaseException | None) -> bool:
        """Leave the scope of `limit` with `error`; tell whether this is its `TimedOut`."""
        state, limit.state = limit.state, LEFT
        if state == ARMED:
            del self.armed[limit]
            return False
        if state == DEFERRED:
            limit.grace.cancel()
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
        self.handle = self.loop.call_later(max(0.0, delay), self._tick, context=self.context)

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
            oldest.expire()
            self._strike(oldest)

    def _strike(self, limit: Limit) -> None:
        unwinding = self.runtime.in_flight.get(limit.task)
        if unwinding is None or limit.cancelling >= unwinding.asked:
            # Nothing is in flight, or what is was sent before `limit` was armed:
            # then it is the clean-up that is limited.
            self._send(limit)
            return
        limit.state = DEFERRED
        unwinding.waiting.append(limit)
        late = self._send_late
        limit.grace = self.loop.call_later(CLEANUP_GRACE, late, limit, context=self.context)

    def _send_late(self, limit: Limit) -> None:
        del limit.grace  # it keeps the limit, which would be a circle
        self._send(limit)

    def _send(self, limit: Limit) -> None:
        in_flight = self.runtime.in_flight
        limit.state = SENT
        limit.before = in_flight.get(limit.task)
        in_flight[limit.task] = limit
        limit.task.cancel()
        limit.asked = limit.task.cancelling()

    def _land(self, limit: Limit) -> None:
        """Take the cancellation of `limit` as over: those that waited for it are next."""
        in_flight = self.runtime.in_flight
        if in_flight.get(limit.task) is limit:
            before = limit.before
            while before is not None and before.state != SENT:
                before = before.before
            if before is None:
                del in_flight[limit.task]
            else:
                in_flight[limit.task] = before
        # Those that were sent in the end know it as the one before them: no circle here either.
        waiting, limit.waiting = limit.waiting, []
        for other in waiting:
            if other.state == DEFERRED and not self.loop.is_closed():
                other.grace.cancel()
                # Not at once: code that leaves now and asks for the time left
                # finds none, and needs no cancellation.
                self.loop.call_soon(self._strike_again, other, context=self.context)

    def _strike_again(self, limit: Limit) -> None:
        if limit.state == DEFERRED:
            self._strike(limit)


def table_of(runtime: Runtime, after: float) -> Table:
    """Make the table of a duration that the loop has none for.

    Durations are constants of policies, but a policy can be made for one call.
    So the idle tables go when there are many.
    """
    tables = runtime.tables
    # At powers of two: to look for idle tables costs little for each that is made.
    if len(tables) >= MANY_TABLES and not len(tables) & (len(tables) - 1):
        for idle in [table for table in tables.values() if not table.armed]:
            idle.close()
            del tables[idle.after]
    made = tables[after] = Table(runtime, after)
    return made
