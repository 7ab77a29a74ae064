"""What a load test found, and whether its memory grew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from resilient_openrouter._soak._tally import Held, Tally

__all__ = ("ENOUGH", "Result")

ENOUGH: Final = 3, 25
"""How many rounds, of how many calls, show whether memory grows."""

_NOISE: Final = 500, 2.0
"""Blocks of memory, in all and for each call, by which caches and buffers may move."""


@dataclass(slots=True)
class Result:
    """The sums, how long it took, and the memory in use (`blocks`) behind each round."""

    tally: Tally = field(default_factory=Tally)
    elapsed: float = 0.0
    sizes: list[int] = field(default_factory=list[int])
    blocks: list[int] = field(default_factory=list[int])
    in_flight: Held = field(default_factory=lambda: Held("nothing is in flight between rounds"))
    pool: Held = field(default_factory=lambda: Held("every connection is back in the pool"))
    memory: Held = field(default_factory=lambda: Held("memory does not grow from round to round"))

    @property
    def growth(self) -> float | None:
        """Blocks of memory that each call behind the first round left, `None` after too few."""
        rounds, calls = ENOUGH
        if len(self.sizes) < rounds or min(self.sizes) < calls:
            return None
        return (self.blocks[-1] - self.blocks[0]) / sum(self.sizes[1:])

    @property
    def held(self) -> list[Held]:
        """All facts and what was found of them."""
        return [*self.tally.held, self.in_flight, self.pool, self.memory]

    @property
    def is_sound(self) -> bool:
        """Whether every fact held."""
        return not any(each.broken for each in self.held)

    def judge_memory(self) -> None:
        """Look whether memory grew, if there is enough to see it by."""
        growth = self.growth
        if growth is not None:
            at_once, each = _NOISE
            is_noise = growth <= each + at_once / sum(self.sizes[1:])
            wrong = None if is_noise else f"each call leaves {growth:.1f} blocks behind"
            self.memory.note(wrong, "the rounds behind the first")
