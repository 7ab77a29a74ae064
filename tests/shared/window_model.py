"""A rule that opens circuits, said the long way: over the list of all calls."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Any

from resilient import circuit_breaker
from resilient._core.evidence import Figures


def policy(**options: Any):
    """Return the policy that `circuit_breaker` makes of these options."""
    return circuit_breaker("core", **options)._part.options.policy


@dataclass
class Rows:
    """A rule said the long way, over the list of all calls: (instant, failed, slow)."""

    kind: str
    size: float = 0
    rate: float = 1
    least: int = 1
    slow_rate: float | None = None
    minds_slow: bool = False

    def figures(self, calls: list[tuple[float, bool, bool]], now: float) -> Figures:
        held = [(failed, slow and self.minds_slow) for at, failed, slow in self.live(calls, now)]
        if self.kind == "row":
            row = 0
            while row < len(held) and any(held[-1 - row]):
                row += 1
            return Figures(row, row)
        failures, slows = (sum(one[place] for one in held) for place in (0, 1))
        return Figures(len(held), failures, slows, self.least)

    def live(self, calls, now):
        if self.kind == "time":
            width = self.size / 10
            return [one for one in calls if floor(one[0] / width) + 10 > floor(now / width)]
        return calls[-int(self.size) :] if self.kind == "count" else calls

    def opens(self, calls, now) -> bool:
        failed = calls[-1][1]
        found = self.figures(calls, now)
        if self.kind == "row":
            return found.calls >= self.size
        if not failed and self.slow_rate is None:
            return False
        if found.calls < self.least:
            return False
        too_slow = self.slow_rate is not None and found.slow / found.calls >= self.slow_rate
        return found.failures / found.calls >= self.rate or too_slow
