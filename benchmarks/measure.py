"""Interleaved rounds: every contender and the baseline take turns.

A shared machine changes its speed from second to second. So each round runs a
chunk of the baseline before and after each contender's chunk, and the ratio
is taken within the round; the median over the rounds is what counts. CPU time
of the process is measured, not the clock on the wall.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How often the baseline's cost a contender costs: the median, and the middle half."""

    middle: float
    low: float
    high: float


async def ratios(
    baseline: Call, contenders: Mapping[str, Call], *, rounds: int, chunk: int
) -> tuple[dict[str, Ratio], float]:
    """Return the ratio of each contender to `baseline`, and the baseline's cost in ns."""
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    bare: list[float] = []
    for call in (baseline, *contenders.values()):
        await _spend(call, chunk)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            before = await _spend(baseline, chunk)
            for name, call in contenders.items():
                spent = await _spend(call, chunk)
                after = await _spend(baseline, chunk)
                seen[name].append(2 * spent / (before + after))
                bare.append(after)
                before = after
            gc.collect()
    finally:
        gc.enable()
    return {name: _ratio(values) for name, values in seen.items()}, median(bare) / chunk * 1e9


async def _spend(call: Call, chunk: int) -> float:
    began = time.process_time()
    for _ in range(chunk):
        await call()
    return time.process_time() - began


def _ratio(values: list[float]) -> Ratio:
    low, middle, high = quantiles(values, n=4)
    return Ratio(middle, low, high)
