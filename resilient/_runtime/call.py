"""One guarded call, while it lasts.

A `Call` belongs to one task and one call; nothing about a call is kept
anywhere else. What every call needs is looked up once, when it begins, and is
in slots. What it notes of its attempts is in its `Ledger`.
"""

from __future__ import annotations

import uuid
from asyncio import current_task, get_running_loop
from contextvars import ContextVar
from math import inf
from sys import modules
from typing import TYPE_CHECKING, Any

from resilient._core.deadline import left
from resilient._runtime.clock import Runtime, last, runtime, runtime_of
from resilient._runtime.ledger import Ledger
from resilient._runtime.plan import Plan
from resilient._runtime.scopes import scopes_left

if TYPE_CHECKING:
    import asyncio


current: ContextVar[Call | None] = ContextVar("resilient_call", default=None)


class Call(Ledger):
    """A guarded call: which attempt it is at, how long is left, who called it.

    `current_call()` returns the one that the code runs in. Arguments and
    results are not on it.
    """

    loud: Any
    """Whether anything is noted on the success path: somebody listens, or wants the history."""

    __slots__ = (
        "attempt",
        "cancelling",
        "items",
        "limit",
        "loud",
        "parent",
        "plan",
        "resumed",
        "runtime",
        "started",
        "task",
    )

    def __init__(self, plan: Plan) -> None:
        # All that a call has to look up is looked up here: a frame of its own
        # for each question would cost more than the answers.
        self.plan = plan
        loop: asyncio.AbstractEventLoop | None = None
        task: asyncio.Task[Any] | None = None
        try:
            loop = get_running_loop()
            task = current_task(loop)
        except RuntimeError:
            pass  # not asyncio: `runtime_of` asks trio
        runtime = last.runtime
        if task is None or runtime is None or runtime.loop is not loop:
            runtime = runtime_of(loop, task)
        self.task = task
        # What was asked before us is not ours to act on.
        self.cancelling = 0 if task is None else task.cancelling()
        self.runtime = runtime
        self.parent = current.get()
        audience = runtime.audience
        if audience.watch is not None and "opentelemetry.context" in modules:
            audience.watch()
        self.loud = listeners = audience.loud
        if listeners or plan.listeners:
            self.loud = self.listeners = plan.listeners + listeners
        self.started = self.resumed = runtime.clock()
        self.limit = inf
        self.attempt = 0

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self.plan.name

    @property
    def deadline(self) -> float:
        """The nearest limit of ours in force, as an instant of the Clock; `inf` without one."""
        parent = self.parent
        return self.limit if parent is None else min(self.limit, parent.deadline)

    @property
    def id(self) -> str:
        """A random name of this call, the same for every attempt; made on first use."""
        if self._id is None:
            self._id = str(uuid.UUID(int=self.runtime.random.getrandbits(128), version=4))
        return self._id

    def now(self) -> float:
        """Read the Clock of this call."""
        return self.runtime.clock()

    def adopt(self) -> None:
        """Go on in the task that runs now: each item of a stream may be asked for in another."""
        task = None if self.runtime.loop is None else current_task(self.runtime.loop)
        self.task = task
        self.cancelling = 0 if task is None else task.cancelling()

    def remaining(self) -> float:
        """Return the seconds left: the least of our limits and of the caller's own scopes."""
        now = self.runtime.clock()
        return left(now, self.deadline, now + scopes_left())

    def __repr__(self) -> str:
        """Show names and numbers only."""
        return f"<Call {self.plan.name} attempt={self.attempt} target={self.target}>"


def current_call() -> Call | None:
    """Return the guarded call that this code runs in, `None` outside of one.

    Its `attempt` counts from 1, its `id` is the same for every attempt, and
    `on_target - 1` is what HTTP calls the resend count.

    >>> current_call() is None
    True
    """
    return current.get()


def remaining() -> float:
    """Return the seconds left to the nearest limit in force; `math.inf` without one.

    Limits are all timeouts and deadlines of this library around the code, also
    those of outer calls, and the caller's own anyio or trio scopes. A bare
    `asyncio.timeout` around us cannot be seen. Give a client this as its socket
    timeout and it never outlives the call.

    >>> remaining()
    inf
    """
    call = current.get()
    if call is not None:
        return call.remaining()
    return max(0.0, scopes_left())


def call_at_hand(name: str) -> Call:
    """Return the call that this code runs in, or a stand-in that is called `name`.

    What is done by hand to a breaker is reported like all else, and listeners
    are told in which call it happened; outside of calls this is one.
    """
    found = current.get()
    if found is not None:
        return found
    made = Call.__new__(Call)
    try:
        made.runtime = runtime()
    except RuntimeError:  # no loop runs here
        made.runtime = _nowhere
    made.plan = Plan(name=name, function=name, policies=("circuit_breaker",), targets=(name,))
    made.task, made.cancelling, made.parent = None, 0, None
    made.loud = made.listeners = made.runtime.audience.loud
    made.started = made.resumed = made.runtime.clock()
    made.limit = inf
    made.attempt = 0
    return made


_nowhere = Runtime("asyncio", None)
"""Stands for the process where no loop runs."""
