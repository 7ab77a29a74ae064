"""The options of a circuit breaker, and what it learns from a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from resilient._core.conditions import AnyOf, Judged, with_classify
from resilient._core.custom_backoff import Computed, Foreign
from resilient._core.fallback import REQUEST
from resilient._core.faults import classified, fault_of
from resilient._core.shape import is_group, leaves, own_retryable
from resilient._core.transient import transient
from resilient.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

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

    @property
    def asks(self) -> bool:
        """Whether a function of the user's says for how long it opens."""
        return isinstance(self.open_for, Computed | Foreign)


Lesson = Literal["failure", "neutral", "trip"]
"""What a breaker learns from an error."""

# From the mildest to the one that nothing may hide.
_SEVERITY: Final[tuple[Lesson, ...]] = ("neutral", "failure", "trip")


def lesson(
    policy: BreakerPolicy, error: Exception, classify: Classify | None = None
) -> tuple[Lesson, float | None]:
    """Return what `error` teaches, and the seconds that the server asked for.

    A refusal never counts: nobody has heard from the service. Neither does one
    that says when to come back (429): it is well. What an error says of the
    caller (permanent: not found, invalid) or of the program (a bug) is no news
    about the service either. What nobody knows counts, and of a group the
    worst member. `classify` is the target's own answer, where the breaker has
    none.
    """
    if issubclass(type(error), Rejected):
        return "neutral", None
    classify = policy.classify or classify
    answer = None if classify is None else classified(error, classify)
    if policy.on is None and answer is None and is_group(error) and own_retryable(error) is None:
        members = leaves(error)
        if members is not None:
            return _lesson_of_all(policy, members, classify)
    # Of a group `classify` may know the members.
    fault = answer or fault_of(error, classify if is_group(error) else None)
    hint = None if fault is None else fault.retry_after
    if not _counts(policy.on, error, fault, classify):
        return "neutral", hint
    return ("trip" if fault is not None and fault.health == "trip" else "failure"), hint


def _lesson_of_all(
    policy: BreakerPolicy, members: Iterable[BaseException], classify: Classify | None
) -> tuple[Lesson, float | None]:
    found = [
        lesson(policy, member, classify) for member in members if isinstance(member, Exception)
    ]
    worst = max((_SEVERITY.index(taught) for taught, _ in found), default=0)
    return _SEVERITY[worst], max((hint for _, hint in found if hint is not None), default=None)


def _counts(
    on: Condition | None, error: Exception, fault: Fault | None, classify: Classify | None
) -> bool:
    # A fault of the request is the caller's, whatever its health says.
    well = fault is not None and (fault.health in {"neutral", "cooldown"} or fault.scope == REQUEST)
    if on is None:
        return not well and (fault is not None or not transient.knows(error))
    if classify is not None:
        on = with_classify(on, classify)
    if on.decide(error) is False:
        return False
    # A class or predicate that was named counts whatever is known of the error;
    # the table alone takes it from the fault.
    return not well or any(
        part.decide(error) is not False for part in _parts(on) if not isinstance(part, Judged)
    )


def _parts(on: Condition) -> tuple[Condition, ...]:
    return on.parts if isinstance(on, AnyOf) else (on,)
