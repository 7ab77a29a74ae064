"""One guarded call, while it lasts.

A `Call` belongs to one task and one call; nothing about a call is kept
anywhere else. What every call needs is in slots. What only a bad day needs
has its value on the class until somebody sets it, so that a call that succeeds
at once pays for none of it.

An attempt is *open* from the moment its target is called until somebody has
decided what follows: the retry (again), the fallback (another target) or the
end of the call. `decide` closes it, exactly once, and then its history and its
event are complete.
"""

from __future__ import annotations

import uuid
from asyncio import current_task, get_running_loop
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from sys import modules
from typing import TYPE_CHECKING, Any

import anyio

from resilient._core.deadline import left
from resilient._core.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    Event,
    TimeoutFired,
    TimeoutOverrun,
)
from resilient._core.names import error_type
from resilient._core.outcome import (
    Attempt,
    Disposition,
    Kind,
    SkippedTarget,
    Verdict,
    WaitSource,
)
from resilient._runtime.clock import last, runtime_of
from resilient._runtime.listeners import process, tell
from resilient.errors import Rejected

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from resilient._core.events import CallOutcome, RetryResult
    from resilient._core.fallback import Cursor
    from resilient._runtime.listeners import Listener


_REMEMBERED = 1000
"""Attempts that a call keeps; the oldest are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all calls of one pipeline have in common."""

    name: str
    function: str
    policies: tuple[str, ...]
    targets: tuple[str, ...]
    listeners: tuple[Listener, ...] = ()
    describes: tuple[Any, ...] = ()
    """For each target: an object with `describe()`, or `None`."""
    single: tuple[bool, ...] = ()
    """For each target: whether its policies allow one attempt only."""
    retries: bool = False


class _Seldom:
    """What only some calls set: everything here is a class attribute until then."""

    # Who is told of everything, as it was when the call began.
    listeners: tuple[Listener, ...] = ()
    # The attempts that somebody has decided about; complete where `loud`.
    history: list[Attempt] | None = None
    skipped: tuple[SkippedTarget, ...] = ()
    # The open attempt, and what is known of it.
    decided: int = 0
    attempt_started: float | None = None
    attempt_ended: float | None = None
    leave_attempt: Callable[[], None] | None = None
    fired: tuple[float, str] | None = None
    overrun: float | None = None
    hint_source: str | None = None
    unacceptable: bool = False
    # Where the chain stands.
    target_index: int = 0
    before_target: int = 0
    cursor: Cursor | None = None
    degraded: bool = False
    rejected: bool = False
    # What the retry did; the budgets that this call was counted in.
    deposited: tuple[str, ...] = ()
    waited: float = 0.0
    retry_result: RetryResult | None = None
    # Listeners keep what they need for the length of a call here.
    spans: Any = None
    _id: str | None = None


current: ContextVar[Call | None] = ContextVar("resilient_call", default=None)


class Call(_Seldom):
    """A guarded call: which attempt it is at, how long is left, who called it.

    `current_call()` returns the one that the code runs in. Arguments and
    results are not on it.
    """

    loud: Any
    """Whether anything is noted on the success path: somebody listens, or wants the history."""

    __slots__ = (
        "attempt",
        "cancelling",
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
        if process.watch is not None and "opentelemetry.trace" in modules:
            process.watch()
        self.loud = listeners = process.loud
        if listeners or plan.listeners:
            self.loud = self.listeners = plan.listeners + listeners
        self.started = self.resumed = runtime.clock()
        self.limit = inf
        self.attempt = 0

    # What user code may ask.

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self.plan.name

    @property
    def target(self) -> str:
        """The name of the target that is being asked."""
        return self.plan.targets[self.target_index]

    @property
    def on_target(self) -> int:
        """The number of the attempt on its target, from 1."""
        return self.attempt - self.before_target

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

    def remaining(self) -> float:
        """Return the seconds left: the least of our limits and of the caller's own scopes."""
        now = self.runtime.clock()
        return left(now, self.deadline, now + scopes_left())

    def __repr__(self) -> str:
        """Show names and numbers only."""
        return f"<Call {self.plan.name} attempt={self.attempt} target={self.target}>"

    # What the drivers report.

    def tell(self, event: Event) -> None:
        """Tell the listeners of everything."""
        tell(self.listeners, event, self)

    def report(self, event: Event) -> None:
        """Tell everybody: this is about something that went wrong."""
        tell(self.listeners, event, self)
        tell(process.quiet, event, self)

    def start(self) -> None:
        """Say that the call begins."""
        self.tell(CallStarted(self.started))

    @property
    def kind(self) -> Kind:
        """Why the attempt at hand is made."""
        if self.attempt == 1:
            return "initial"
        return "fallback" if self.on_target == 1 else "retry"

    def open_attempt(self) -> None:
        """Note that the target is about to be called (only where somebody listens)."""
        self.attempt_started = now = self.runtime.clock()
        self.attempt_ended = None
        if self.listeners:
            index = self.target_index
            self.tell(
                AttemptStarted(
                    now, self.attempt, self.on_target, self.kind, self.plan.targets[index], index
                )
            )

    def leave(self) -> None:
        """Note that the target has answered, in the task that asked it."""
        self.attempt_ended = self.runtime.clock()
        leave, self.leave_attempt = self.leave_attempt, None
        if leave is not None:
            leave()

    @property
    def is_open(self) -> bool:
        """Whether there is an attempt that nobody has decided about."""
        return self.attempt > self.decided

    def decide(
        self,
        verdict: Verdict,
        disposition: Disposition,
        error: BaseException | None = None,
        *,
        wait: float | None = None,
        source: WaitSource | None = None,
    ) -> None:
        """Close the open attempt, if there is one: this is what came of it."""
        if self.attempt == self.decided:
            return
        self.decided = self.attempt
        now = self.runtime.clock()
        began = self.resumed if self.attempt_started is None else self.attempt_started
        ended = now if self.attempt_ended is None else self.attempt_ended
        after, limit = self.fired or (None, None)
        index = self.target_index
        event = AttemptEnded(
            now,
            self.attempt,
            self.on_target,
            self.plan.targets[index],
            index,
            verdict,
            disposition,
            began,
            ended,
            error,
            self.unacceptable,
            wait,
            source,
            self.hint_source,
            after,
            limit,
            self.overrun,
        )
        history = self.history
        if history is None:
            history = self.history = []
        history.append(_attempt_of(event, self))
        del history[:-_REMEMBERED]
        if verdict == "failure" or self.overrun is not None:
            self.report(event)
        else:
            self.tell(event)
        self.fired = self.overrun = self.hint_source = None
        self.attempt_started = self.attempt_ended = None
        self.unacceptable = False

    def fire(self, after: float, limit: str) -> None:
        """Report that a limit of ours has expired and was left as `TimedOut`."""
        if self.is_open:  # a limit can also cut the clean-up between two attempts
            self.fired = (after, limit)
        self.report(TimeoutFired(self.runtime.clock(), limit, after, self.attempt))

    def outlast(self, after: float, limit: str, late: float) -> None:
        """Report that code swallowed our cancellation and came back `late` seconds late."""
        if late > 0:
            self.overrun = late
            self.report(TimeoutOverrun(self.runtime.clock(), limit, after, late, self.attempt))

    def end(self, error: BaseException | None) -> None:
        """Say how the call ended: always its last event."""
        outcome: CallOutcome
        if error is None:
            unacceptable = self.unacceptable
            self.decide("failure" if unacceptable else "success", "returned")
            outcome = self._answered(unacceptable=unacceptable)
        elif isinstance(error, Exception):
            self.decide("failure", "raised", error)
            refused = self.rejected or (isinstance(error, Rejected) and not self.attempt)
            outcome = "rejected" if refused else "failure"
        else:
            self.decide("neutral", "cancelled", error)
            outcome = "cancelled"
        answered = outcome in {"success", "fallback"}
        now = self.runtime.clock()
        event = CallEnded(
            now,
            outcome,
            self.attempt,
            now - self.started,
            error,
            self.retry_result if outcome != "cancelled" or not self.plan.retries else "cancelled",
            self.waited,
            self.target if answered else None,
            self.target_index if answered else None,
        )
        if outcome in {"failure", "rejected"}:
            self.report(event)
        else:
            self.tell(event)

    def _answered(self, *, unacceptable: bool) -> CallOutcome:
        if unacceptable:
            return "failure"
        if self.degraded:
            return "degraded"
        return "fallback" if self.target_index else "success"


def _attempt_of(event: AttemptEnded, call: Call) -> Attempt:
    return Attempt(
        number=event.number,
        on_target=event.on_target,
        target=event.target,
        target_index=event.target_index,
        kind=call.kind,
        started=event.started - call.started,
        duration=event.ended - event.started,
        verdict=event.verdict,
        disposition=event.disposition,
        error=_unacceptable(event) if event.error is None else error_type(event.error),
        wait=event.wait,
        wait_source=event.wait_source,
        hint_source=event.hint_source,
    )


def _unacceptable(event: AttemptEnded) -> str | None:
    return "unacceptable_result" if event.unacceptable else None


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


def scopes_left() -> float:
    """Return the seconds to the nearest anyio or trio scope of the caller.

    Without one, and for a scope that is cancelled already (its "deadline" is
    minus infinity; that is a cancellation, not a lack of time), `inf`.
    """
    try:
        deadline = anyio.current_effective_deadline()
        if deadline in (inf, -inf):
            return inf
        return deadline - anyio.current_time()  # noqa: TID251 - a difference, and not kept
    except RuntimeError:  # no async library runs here
        return inf
