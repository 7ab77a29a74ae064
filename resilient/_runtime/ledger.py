"""What a call notes of its attempts, and what it reports.

An attempt is *open* from the moment its target is called until somebody has
decided what follows: the retry (again), the fallback (another target) or the
end of the call. `decide` closes it, exactly once, and then its history and its
event are complete.

What only a bad day needs has its value on the class until somebody sets it,
so that a call that succeeds at once pays for none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from resilient._core.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    Event,
    StreamCommitted,
    StreamCut,
    TimeoutFired,
    TimeoutOverrun,
)
from resilient._core.names import error_status, error_type
from resilient._core.outcome import (
    Attempt,
    Disposition,
    Kind,
    SkippedTarget,
    Verdict,
    WaitSource,
)
from resilient._runtime.listeners import tell
from resilient.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from resilient._core.breaker_states import State
    from resilient._core.events import CallOutcome, RetryResult
    from resilient._core.fallback import Cursor
    from resilient._runtime.call import Call
    from resilient._runtime.clock import Runtime
    from resilient._runtime.listeners import Listener
    from resilient._runtime.opened import Opened
    from resilient._runtime.plan import Plan

_REMEMBERED = 1000
"""Attempts that a call keeps; the oldest are forgotten."""


class Ledger:
    """The book of one call; `Call` is the only one that keeps it."""

    # What `Call` looks up when it begins.
    attempt: int
    items: int  # what a stream has given; nothing else has any
    plan: Plan
    resumed: float
    runtime: Runtime
    started: float

    # From here on: class attributes until a call sets its own.

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
    enter_item: Callable[[], Callable[[], None]] | None = None
    first_item: float | None = None
    fired: tuple[float, str] | None = None
    overrun: float | None = None
    hint_source: str | None = None
    unacceptable: bool = False
    # What is to be said behind the end of the open attempt.
    behind: tuple[Event, ...] = ()
    # Where the chain stands.
    target_index: int = 0
    before_target: int = 0
    cursor: Cursor | None = None
    degraded: bool = False
    rejected: bool = False
    # The breaker that let the attempt at hand pass, and its state then (where `loud`).
    breaker_state: tuple[str, State] | None = None
    # How old the answer is that was given in the end; the attempt in which a
    # guarded call inside was given one. The key under which a chain keeps its own.
    age: float | None = None
    degraded_in: int | None = None
    memory_key: Hashable = None
    # Whether a middleware gave an answer of its own, so that no target did.
    by_middleware: bool = False
    # Of a stream: those of its items that came before the attempt at hand, and
    # what was opened and not yet taken.
    items_before: int = 0
    opened: Opened | None = None
    # What the retry did; the budgets that this call was counted in.
    deposited: tuple[str, ...] = ()
    waited: float = 0.0
    retry_result: RetryResult | None = None
    # Listeners keep what they need for the length of a call here.
    spans: Any = None
    _id: str | None = None

    @property
    def target(self) -> str:
        """The name of the target that is being asked."""
        return self.plan.targets[self.target_index]

    @property
    def answered_by(self) -> int | None:
        """The index of the target that answered, once somebody has; `None` where none did."""
        return None if self.degraded or self.by_middleware else self.target_index

    @property
    def on_target(self) -> int:
        """The number of the attempt on its target, from 1."""
        return self.attempt - self.before_target

    def tell(self, event: Event) -> None:
        """Tell the listeners of everything."""
        tell(self.listeners, event, cast("Call", self))

    def report(self, event: Event) -> None:
        """Tell everybody: this is about something that went wrong."""
        self.tell(event)
        tell(self.runtime.audience.quiet, event, cast("Call", self))

    def report_behind(self, event: Event) -> None:
        """Report `event`, which is a consequence of how the open attempt ends, behind that."""
        if self.is_open:
            self.behind += (event,)
        else:
            self.report(event)

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
        self.enter_item = None
        if self.listeners:
            index = self.target_index
            breaker, state = self.breaker_state or (None, None)
            self.tell(
                AttemptStarted(
                    now,
                    self.attempt,
                    self.on_target,
                    self.kind,
                    self.plan.targets[index],
                    index,
                    breaker,
                    state,
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
            self.unacceptable = False  # an answer without an attempt, of a middleware
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
            self.first_item,
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
        behind, self.behind = self.behind, ()
        for later in behind:
            self.report(later)
        self.fired = self.overrun = self.hint_source = None
        self.attempt_started = self.attempt_ended = self.first_item = None
        self.unacceptable = False

    def commit(self) -> None:
        """Note that the stream of the open attempt has its first item, and is committed to it."""
        began, came = self.attempt_started, self.attempt_ended
        if self.is_open and began is not None and came is not None:
            self.first_item = came - began
            self.tell(StreamCommitted(self.runtime.clock(), self.attempt, self.first_item))

    def cut(self, error: Exception) -> None:
        """Report that the stream of the open attempt has failed after its first item."""
        if self.is_open:
            items = self.items - self.items_before
            self.report(StreamCut(self.runtime.clock(), self.attempt, items, error))

    def hinted(self, source: str | None) -> None:
        """Note where the hint of the open attempt's error was read."""
        if self.is_open:
            self.hint_source = self.hint_source or source

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
        index = self.answered_by if outcome in {"success", "fallback"} else None
        now = self.runtime.clock()
        event = CallEnded(
            now,
            outcome,
            self.attempt,
            now - self.started,
            error,
            self.retry_result if outcome != "cancelled" or not self.plan.retries else "cancelled",
            self.waited,
            None if index is None else self.target,
            index,
            self.items if self.plan.stream else None,
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
        return "fallback" if self.answered_by else "success"


def _attempt_of(event: AttemptEnded, call: Ledger) -> Attempt:
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
        status=error_status(event.error),
    )


def _unacceptable(event: AttemptEnded) -> str | None:
    return "unacceptable_result" if event.unacceptable else None
