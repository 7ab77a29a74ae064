"""What a call leaves behind: its attempts, the targets that were not asked, the outcome.

All three are immutable and hold names and numbers. An error is kept as its
type's name: an exception object with a traceback would keep the frames of a
failed call alive for as long as somebody keeps its history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Verdict = Literal["success", "failure", "neutral"]
"""What the policies learned from an attempt."""

Kind = Literal["initial", "retry", "fallback"]
"""Why an attempt was made."""

WaitSource = Literal["backoff", "hint", "predicate"]
"""Who asked for a wait."""

Disposition = Literal[
    "returned",
    "retried",
    "fell_back",
    "raised",
    "rejected",
    "skipped",
    "cancelled",
]
"""What happened next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of a target that started.

    `number` counts from 1 over the whole call, `on_target` from 1 on its
    target. `started` is in seconds since the call began. `wait` is the pause
    that followed (`None` where none did) and `wait_source` who asked for it:
    `backoff`, `hint` or `predicate`. `hint_source` says where a server's hint
    was read. `error` is the type of what it raised, as in `error.type`;
    `status` is the HTTP status that a foreign exception carries.
    """

    number: int
    on_target: int
    target: str
    target_index: int
    kind: Kind
    started: float
    duration: float
    verdict: Verdict
    disposition: Disposition
    error: str | None = None
    wait: float | None = None
    wait_source: WaitSource | None = None
    hint_source: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class SkippedTarget:
    """A target that was not asked, and why."""

    target: str
    target_index: int
    reason: str
    scope: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Restarted:
    """A marker among the items of a stream: what came before it is void.

    With `midstream="restart"` a stream that fails after its first item goes on
    with another target, from the start. `items` is how many items
    `from_target` had given (since the marker before, if there was one);
    `to_target` gives those that follow, and is `None` where that is the
    `degrade=` value.

    >>> Restarted("large", "small", 3)
    Restarted(from_target='large', to_target='small', items=3)
    """

    from_target: str
    to_target: str | None
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What a call came to: the value, and how it came about.

    `target` is the name of the target that answered (`None` when the answer
    is the `degrade=` value or a middleware's own), `fallback_used` whether it
    was not the first, `elapsed` the seconds that all of it took. `age` is how
    many seconds before the end the answer of `last_good` came; `None` where
    the answer is no such one.
    """

    value: T
    target: str | None
    fallback_used: bool
    degraded: bool
    attempts: tuple[Attempt, ...]
    skipped: tuple[SkippedTarget, ...]
    elapsed: float
    age: float | None = None

    def __repr__(self) -> str:
        """Leave the value out: it is the user's, and a `repr` ends in logs."""
        return (
            f"Outcome(target={self.target!r}, fallback_used={self.fallback_used},"
            f" degraded={self.degraded}, attempts={len(self.attempts)},"
            f" skipped={len(self.skipped)}, elapsed={self.elapsed:.6g})"
        )
