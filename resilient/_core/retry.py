"""When to try again.

A `RetryPolicy` is the frozen configuration; a `RetryRun` is what one call of
it remembers. After each try the run is told how it ended and what time it is,
and answers `Wait` or `Stop`; it never waits itself.

Rule 1: a wait is taken whole or not at all. One that would reach the deadline
is refused, with the original error, at once.

Rule 2: a server's hint that is longer than the computed wait *is* the wait.
Nothing is added to it and nothing cuts it short; where it is too long to wait
for, there is no further attempt here.

Rule 3: a refusal by one of our own policies is no failure of the target. It
never takes the place of the last real error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resilient._core.deadline import ROUNDING

if TYPE_CHECKING:
    from resilient._core.backoff import Backoff
    from resilient._core.conditions import Condition, ResultCondition
    from resilient._core.events import RetryResult
    from resilient._core.faults import Classify
    from resilient._core.outcome import WaitSource


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, on what, and with which waits a call is tried again."""

    attempts: int | None
    on: Condition
    on_result: ResultCondition | None
    backoff: Backoff
    max_elapsed: float
    max_hint: float
    classify: Classify | None
    layered: Literal["allow", "warn"]


@dataclass(frozen=True, slots=True)
class Wait:
    """Try again after `seconds`; `source` says who asked for that wait."""

    seconds: float
    source: WaitSource


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not try again here; `wait` is the wait that was refused, if one was."""

    result: RetryResult
    wait: float | None = None


@dataclass(slots=True)
class RetryRun:
    """What one call of a retry remembers: its tries, its waits, when it began."""

    policy: RetryPolicy
    began: float
    tries: int = 0
    # Those of them that were refused before the target was called: no attempts.
    refused: int = 0
    waits: list[float] = field(default_factory=list[float])
    # The number of the next computed wait: a hint sets it back to the first.
    _retry: int = 1
    _previous: float | None = None

    def left(self, now: float, deadline: float) -> float:
        """Return the seconds that a wait must stay below."""
        return min(deadline, self.began + self.policy.max_elapsed) - now

    def after_error(
        self, error: Exception, hint: float | None, *, left: float, patience: float, rnd: float
    ) -> Wait | Stop:
        """Decide what follows a try that ended in `error`.

        `left` is the time to the nearest deadline, `patience` the longest
        wait that is taken while another target could be asked instead.
        """
        self.tries += 1
        return self._decide(self.policy.on.decide(error), hint, left, patience, rnd)

    def after_result(
        self,
        answer: bool | float,  # noqa: FBT001 - what the user's predicate said
        *,
        left: float,
        patience: float,
        rnd: float,
    ) -> Wait | Stop:
        """Decide what follows a try whose value `on_result` judged a failure."""
        self.tries += 1
        return self._decide(answer, None, left, patience, rnd)

    def _decide(
        self,
        answer: bool | float,  # noqa: FBT001 - what the user's predicate said
        hint: float | None,
        left: float,
        patience: float,
        rnd: float,
    ) -> Wait | Stop:
        policy = self.policy
        if answer is False:
            return Stop("not_retryable")
        if policy.attempts is not None and self.tries >= policy.attempts:
            return Stop("exhausted")
        wait = self._wait(answer, hint, rnd)
        # `>=`: a wait that ends with the deadline leaves no time for the attempt.
        if wait.seconds >= left - ROUNDING or wait.seconds > patience:
            return Stop("deadline", wait.seconds)
        if wait.source == "hint" and wait.seconds > policy.max_hint:
            return Stop("deadline", wait.seconds)
        self._took(wait)
        return wait

    def _wait(self, answer: bool | float, hint: float | None, rnd: float) -> Wait:  # noqa: FBT001
        if answer is not True:
            return Wait(answer, "predicate")
        computed = self.policy.backoff.wait(self._retry, rnd, self._previous)
        if hint is not None and hint > computed:
            return Wait(hint, "hint")
        return Wait(computed, "backoff")

    def _took(self, wait: Wait) -> None:
        self.waits.append(wait.seconds)
        if wait.source == "hint":
            # The server has spoken: what we computed before says nothing any more.
            self._retry, self._previous = 1, None
        elif wait.source == "backoff":
            self._retry += 1
            self._previous = wait.seconds

    def refund(self) -> None:
        """Forget the wait that was just decided: a budget refused it."""
        self.waits.pop()


_SHOWN = 10


def give_up_note(run: RetryRun, stop: Stop, elapsed: float, why: str | None = None) -> str | None:
    """Return the note for the error that surfaces, `None` where it would say nothing.

    An error that the first attempt raised and that is simply not retryable
    gets none, and neither does a refusal of the first: that is the normal case.
    """
    if run.tries <= 1 and stop.result in {"not_retryable", "exhausted", "rejected"}:
        return None
    made = run.tries - run.refused
    text = f"gave up after {made} attempt{'' if made == 1 else 's'} in {elapsed:.2f} s"
    if run.waits:
        shown = ", ".join(f"{wait:.2f}" for wait in run.waits[:_SHOWN])
        more = ", ..." if len(run.waits) > _SHOWN else ""
        text += f" (waits {shown}{more} s)"
    why = why or _why(stop)
    return f"{text}: {why}" if why else text


def _why(stop: Stop) -> str | None:
    if stop.result == "deadline" and stop.wait is not None:
        return f"the next wait of {stop.wait:.6g} s is longer than what is left or allowed"
    if stop.result == "not_retryable":
        return "the last error is not retryable"
    return None
