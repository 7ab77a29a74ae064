"""The options of a circuit breaker, and what it learns from a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resilient._core.conditions import AnyOf, Judged
from resilient._core.faults import fault_of
from resilient._core.transient import transient
from resilient.errors import Rejected

if TYPE_CHECKING:
    from resilient._core.backoff import Backoff
    from resilient._core.breaker_states import Mode
    from resilient._core.conditions import Condition, ResultCondition
    from resilient._core.faults import Classify, Fault
    from resilient._core.trips import Trip


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a circuit opens, for how long, and how it closes."""

    trip: Trip
    on: Condition | None
    """Which errors count; `None` means all but those that are the caller's own fault."""
    on_result: ResultCondition | None
    classify: Classify | None
    open_for: Backoff
    probes: int
    successes: int
    probe_timeout: float
    mode: Mode


Lesson = Literal["failure", "neutral", "trip"]
"""What a breaker learns from an error."""


def lesson(policy: BreakerPolicy, error: Exception) -> tuple[Lesson, float | None]:
    """Return what `error` teaches, and the seconds that the server asked for.

    A refusal never counts: nobody has heard from the service. Neither does one
    that says when to come back (429): it is well. What an error says of the
    caller (permanent: not found, invalid) or of the program (a bug) is no news
    about the service either. What nobody knows counts.
    """
    if issubclass(type(error), Rejected):
        return "neutral", None
    fault = fault_of(error, policy.classify)
    hint = None if fault is None else fault.retry_after
    if not _counts(policy.on, error, fault):
        return "neutral", hint
    return ("trip" if fault is not None and fault.health == "trip" else "failure"), hint


def _counts(on: Condition | None, error: Exception, fault: Fault | None) -> bool:
    well = fault is not None and fault.health in {"neutral", "cooldown"}
    if on is None:
        return not well and (fault is not None or not transient.knows(error))
    if on.decide(error) is False:
        return False
    # A class or predicate that was named counts whatever is known of the error;
    # the table alone takes it from the fault.
    return not well or any(
        part.decide(error) is not False for part in _parts(on) if not isinstance(part, Judged)
    )


def _parts(on: Condition) -> tuple[Condition, ...]:
    return on.parts if isinstance(on, AnyOf) else (on,)
