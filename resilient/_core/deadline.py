"""How much time is left: the nearest of the limits in force."""

from __future__ import annotations

from math import inf


def left(now: float, *deadlines: float) -> float:
    """Return the seconds to the nearest deadline, never negative; `inf` without one."""
    return max(0.0, min(deadlines, default=inf) - now)
