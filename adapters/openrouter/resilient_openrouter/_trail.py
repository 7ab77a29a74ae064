"""How a call went that came to nothing: its attempts, its skipped targets and its cost.

An answer comes with its outcome. Where an error is raised instead, one that
stands for the whole chain perhaps, what led to it is kept here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient.events import CallEnded
from resilient_openrouter._ledger import calls_so_far
from resilient_openrouter.results import OpenRouterOutcome, known_cost, unknown_costs

if TYPE_CHECKING:
    from resilient.events import Event
    from resilient.typing import Call

__all__ = ("outcome_of", "Trail")


class Trail:
    """A listener that keeps how the last call of its chain went; `None` before it has ended."""

    def __init__(self) -> None:
        self.outcome: OpenRouterOutcome[None] | None = None

    def on_event(self, event: Event, call: Call, /) -> None:
        """Take down what there is when a call ends."""
        if isinstance(event, CallEnded):
            self.outcome = outcome_of(event, call)


def outcome_of(event: CallEnded, call: Call) -> OpenRouterOutcome[None]:
    """Return how a call went that has just ended, well or not; it has no value."""
    calls = calls_so_far()
    return OpenRouterOutcome(
        value=None,
        target=event.target,
        fallback_used=event.outcome == "fallback",
        degraded=event.outcome == "degraded",
        attempts=tuple(call.history or ()),
        skipped=call.skipped,
        elapsed=event.elapsed,
        cost=known_cost(calls),
        unknown_costs=unknown_costs(calls),
        calls=calls,
    )
