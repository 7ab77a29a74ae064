"""Answers that never come to an end, or not to a good one."""

from __future__ import annotations

from typing import Final

from resilient_openrouter.emulator.scenarios.shape import Scenario, Switch

__all__ = ("CONNECTIONS", "SWITCHES")

CONNECTIONS: Final[dict[str, Scenario]] = {
    "stall": Scenario(ending="stall"),
    "silence": Scenario(status=None, ending="silence"),
    "reset": Scenario(status=None, ending="reset"),
    "close": Scenario(status=None, ending="close"),
    "reset_in_body": Scenario(padding=1, body='{"id":"gen-', ending="reset"),
    "close_in_body": Scenario(padding=1, body='{"id":"gen-', ending="close"),
}

SWITCHES: Final[dict[str, Switch]] = {
    "flaky": Switch(times="$times"),
    "flap": Switch(seconds="$seconds"),
}
"""Models that are well again after a while."""
