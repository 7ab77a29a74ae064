"""How the waits of many callers are spread, so that they do not come back together.

The random number is an argument, so the same inputs give the same wait.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from resilient._core.growth import LARGEST

Jitter = Literal["full", "equal", "decorrelated", "none"]
"""How the waits of many callers are spread."""

JITTERS: Final[tuple[Jitter, ...]] = get_args(Jitter)

SPREAD: Final[dict[Jitter, str]] = {
    "full": "full jitter",
    "equal": "equal jitter",
    "decorrelated": "decorrelated jitter",
    "none": "waits",
}
"""What `explain` calls them."""


def spread(longest: float, jitter: Jitter, rnd: float) -> float:
    """Return a wait of at most `longest`, which the cap has cut already."""
    if jitter == "full":
        return rnd * longest
    if jitter == "equal":
        # Not twice the half: half of the smallest float is rounded to nothing.
        half = longest / 2
        return half + rnd * (longest - half)
    return longest


def decorrelated(base: float, cap: float, rnd: float, previous: float | None) -> float:
    """Return min(cap, U(base, 3 * previous)), previous being the base at first."""
    low = min(base, cap)
    before = low if previous is None else previous
    high = max(low, min(LARGEST, 3 * before))
    return min(cap, low + rnd * (high - low))
