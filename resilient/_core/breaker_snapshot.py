"""A circuit breaker at one instant, as users see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient._core.breaker import Cause
    from resilient._core.breaker_states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSnapshot:
    """A circuit breaker at one instant.

    `calls`, `failures` and `slow` are what its closed period remembers, so
    they are 0 in every other state; of fewer than `min_calls` calls no share
    is taken. `retry_after` are the seconds after which
    the next call may pass, `None` if nobody knows (it is isolated). `refused`
    counts the calls that were refused so far, or would have been where it only
    observes. `keys` is the number of circuits of a family, whose figures are
    sums and whose state is the worst of theirs.
    """

    name: str
    state: State
    calls: int
    failures: int
    slow: int
    retry_after: float | None
    opened_by: Cause | None
    refused: int
    min_calls: int = 1
    keys: int | None = None

    @property
    def failure_rate(self) -> float | None:
        """The share of calls that failed; `None` where they are too few to say."""
        return None if self.calls < self.min_calls else self.failures / self.calls
