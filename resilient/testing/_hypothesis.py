"""What Hypothesis is told of the library, when it is imported and both are installed."""

from __future__ import annotations

from resilient._runtime.clock import process_random


def register() -> None:
    """Make the waits of guarded functions part of what Hypothesis replays.

    The process's random source, which spreads waits, is seeded anew for each
    example: an example that fails fails again. Runs in virtual time have a
    source of their own.
    """
    from hypothesis import register_random  # noqa: PLC0415 - it is what imports this

    register_random(process_random)
