"""What Hypothesis is told of the library, when it is imported and both are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._runtime.clock import process_random
from resilient.testing._schedule import FailureSchedule

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def register() -> None:
    """Make the waits of guarded functions part of what Hypothesis replays, and draw by type.

    The process's random source, which spreads waits, is seeded anew for each
    example: an example that fails fails again. Runs in virtual time have a
    source of their own. `st.from_type(FailureSchedule)` is `schedules()`.
    """
    from hypothesis import register_random, strategies  # noqa: PLC0415 - it is what imports this

    register_random(process_random)
    strategies.register_type_strategy(FailureSchedule, _schedules)


def _schedules(_: type[FailureSchedule]) -> SearchStrategy[FailureSchedule]:
    from resilient.testing._strategies import schedules  # noqa: PLC0415 - nobody may ever ask

    return schedules()
