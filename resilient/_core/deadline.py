"""How much time is left: the nearest of the limits in force, up to the rounding of floats."""

from __future__ import annotations

from math import inf
from typing import Final

ROUNDING: Final = 1e-9
"""Sums of seconds that mean the same instant differ by less."""


def left(now: float, *deadlines: float) -> float:
    """Return the seconds to the nearest deadline, never negative; `inf` without one."""
    return max(0.0, min(deadlines, default=inf) - now)
