"""What the drivers report: one small object a fact, past tense.

Events carry names, numbers and, for the length of the callback only, the
exception. Never an argument, a result or an item. `at` is an instant of the
Clock in seconds. They are slotted and not frozen, because a frozen one costs
three times as much to make; nobody may change one.

Two facts hold on every path, cancellation included: each `AttemptStarted` has
exactly one `AttemptEnded`, and each `CallStarted` exactly one `CallEnded`,
which is the last event of its call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from resilient._core.breaker_states import Reason, State
    from resilient._core.outcome import Disposition, Kind, Verdict, WaitSource

CallOutcome = Literal["success", "fallback", "degraded", "failure", "rejected", "cancelled"]
RetryResult = Literal[
    "first_try",
    "recovered",
    "exhausted",
    "not_retryable",
    "deadline",
    "budget",
    "rejected",
    "cancelled",
]


@dataclass(slots=True)
class Event:
    """Something that happened in a call; `at` is when, in seconds of the Clock."""

    at: float


@dataclass(slots=True)
class CallStarted(Event):
    """A guarded call began."""


@dataclass(slots=True)
class AttemptStarted(Event):
    """A target is about to be called; `breaker` is the circuit breaker that let it pass."""

    number: int
    on_target: int
    kind: Kind
    target: str
    target_index: int
    breaker: str | None = None
    breaker_state: State | None = None


@dataclass(slots=True)
class AttemptEnded(Event):
    """An attempt has ended and what happens next is decided.

    Emitted at the decision (`at`), which may be later than the attempt's own
    end (`ended`) by what predicates took; nothing is awaited in between.
    """

    number: int
    on_target: int
    target: str
    target_index: int
    verdict: Verdict
    disposition: Disposition
    started: float
    ended: float
    error: BaseException | None = None
    unacceptable: bool = False
    wait: float | None = None
    wait_source: WaitSource | None = None
    hint_source: str | None = None
    timeout: float | None = None
    timeout_limit: str | None = None
    overrun: float | None = None
    first_item: float | None = None


@dataclass(slots=True)
class RetryScheduled(Event):
    """Another attempt will be made after `wait` seconds; `number` is the attempt that failed."""

    number: int
    attempts: int | None
    wait: float
    source: WaitSource
    error: Exception | None


@dataclass(slots=True)
class RetryStopped(Event):
    """No further attempt will be made here; `result` says why.

    `number` is the attempt that failed last. `leaves` tells whether the error
    leaves the call (nothing stands outside that might still answer).
    """

    number: int
    result: RetryResult
    error: Exception | None
    leaves: bool


@dataclass(slots=True)
class BudgetRefused(Event):
    """A retry budget had no token left."""

    budget: str
    number: int


@dataclass(slots=True)
class TimeoutFired(Event):
    """One of our limits expired and its scope was left with `TimedOut`."""

    limit: str
    after: float
    number: int


@dataclass(slots=True)
class TimeoutOverrun(Event):
    """Code swallowed our cancellation and came back `overrun` seconds after its limit."""

    limit: str
    after: float
    overrun: float
    number: int


@dataclass(slots=True)
class TargetSkipped(Event):
    """A fallback target was not asked."""

    target: str
    target_index: int
    reason: str
    scope: str | None = None
    retry_after: float | None = None


@dataclass(slots=True)
class TargetRests(Event):
    """From now on a target is not asked for `seconds`, nor is whoever shares its `scope`.

    Emitted once, by the failure that began it; `scope` is `None` where the
    target alone rests, and `asked` says whether the server asked for that time.
    """

    target: str
    target_index: int
    seconds: float
    scope: str | None
    error: Exception | None
    asked: bool = False


@dataclass(slots=True)
class FellBack(Event):
    """The chain moved on from a failed target to the next one."""

    from_target: str
    to_target: str
    error: Exception | None


@dataclass(slots=True)
class BugServed(Event):
    """A target failed with what looks like a bug, and another one answered for it.

    Emitted once per target and class of error; `file` and `line` are where it
    was raised, `count` how often that has happened so far.
    """

    target: str
    error_type: str
    file: str
    line: int
    count: int


@dataclass(slots=True)
class Degraded(Event):
    """No target answered; the `degrade=` value is returned, `age` seconds old if it was kept."""

    age: float | None = None


@dataclass(slots=True)
class CallRejected(Event):
    """A policy refused: the target was not called.

    `policy` is its kind and `name` its own name. `enforced` is false where a
    policy only observes and the call went on. `origin` belongs to the opening
    of the circuit that refused, `state` is that of the circuit then.
    """

    policy: str
    retry_after: float | None
    error: Exception | None
    enforced: bool = True
    name: str | None = None
    origin: Origin | None = None
    state: State | None = None


@dataclass(slots=True)
class Origin:
    """What a listener remembers of the call that opened a circuit; new for each opening."""

    context: Any = None


@dataclass(slots=True)
class BreakerChanged(Event):
    """A circuit breaker went from one state to another.

    `reason` is the event of its transition table. `open_for` are the seconds
    for which it now refuses, `opened_by` is the type of the failure that
    opened it. `enforced` is false where the breaker only observes. Outside of
    a guarded call (`isolate()`, a permit by hand) the listener's `call` is a
    stand-in that has the breaker's name and no attempt.

    Where its rule opened it, `calls`, `failures` and `slow` are what it knew
    then, of the last `window` seconds if time matters to the rule.
    """

    name: str
    from_state: State
    to_state: State
    reason: Reason
    open_for: float | None = None
    opened_by: str | None = None
    enforced: bool = True
    origin: Origin | None = None
    calls: int | None = None
    failures: int | None = None
    slow: int | None = None
    window: float | None = None


@dataclass(slots=True)
class StreamCommitted(Event):
    """A stream has given its first item, `after` seconds after its attempt began."""

    number: int
    after: float


@dataclass(slots=True)
class StreamCut(Event):
    """A stream that had given `items` items failed; what was delivered stays delivered."""

    number: int
    items: int
    error: Exception | None


@dataclass(slots=True)
class CallEnded(Event):
    """A guarded call is over; always its last event."""

    outcome: CallOutcome
    attempts: int
    elapsed: float
    error: BaseException | None
    retry_result: RetryResult | None = None
    waited: float = 0.0
    target: str | None = None
    target_index: int | None = None
    items: int | None = None
