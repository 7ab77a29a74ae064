"""How waits grow from one retry to the next, before cap and jitter.

Each growth maps the base and the number of the retry to seconds. None of them
overflows: past the largest float only the cap matters, so they stay there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, Protocol

LARGEST: Final = sys.float_info.max

FIBONACCI_LIMIT: Final = 1476
"""The last Fibonacci number that a float can hold is this one."""


class Growth(Protocol):
    """How waits grow from one retry to the next."""

    def grown(self, base: float, retry: int) -> float:
        """Return the wait before retry number `retry`: finite, at least 0."""
        ...


@dataclass(frozen=True, slots=True)
class Same:
    """The base each time."""

    def grown(self, base: float, retry: int) -> float:  # noqa: ARG002 - the same for all
        """Return the base."""
        return base


@dataclass(frozen=True, slots=True)
class Powers:
    """The base times a power of the factor."""

    factor: float

    def grown(self, base: float, retry: int) -> float:
        """Return base * factor ** (retry - 1)."""
        if base == 0 or self.factor == 1:
            return base
        try:
            return min(LARGEST, base * self.factor ** (retry - 1))
        except OverflowError:
            return LARGEST


@dataclass(frozen=True, slots=True)
class Multiples:
    """The base times the number of the retry."""

    def grown(self, base: float, retry: int) -> float:
        """Return base * retry."""
        return _times(base, retry)


@dataclass(frozen=True, slots=True)
class FibonacciNumbers:
    """The base times a Fibonacci number."""

    def grown(self, base: float, retry: int) -> float:
        """Return base * F(retry)."""
        return _times(base, fibonacci_number(min(retry, FIBONACCI_LIMIT)))


def fibonacci_number(n: int) -> int:
    """Return F(n), exactly, by doubling: F(2k) and F(2k+1) from F(k) and F(k+1)."""
    here, following = 0, 1
    for bit in f"{n:b}":
        here, following = here * (2 * following - here), here * here + following * following
        if bit == "1":
            here, following = following, here + following
    return here


def _times(base: float, count: int) -> float:
    try:
        return min(LARGEST, base * count)
    except OverflowError:  # the count alone is beyond the floats
        return LARGEST if base else 0.0
