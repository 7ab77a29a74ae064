"""The sums of a load test: how calls ended, what they took and cost, and which facts broke."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resilient_openrouter._soak._invariants import INVARIANTS, MISSING

if TYPE_CHECKING:
    from resilient_openrouter._soak._course import Course
    from resilient_openrouter._soak._invariants import Terms

__all__ = ("Held", "Tally")


@dataclass(slots=True)
class Held:
    """How often a fact was looked for, how often it did not hold, and the first such time."""

    says: str
    checked: int = 0
    broken: int = 0
    first: str | None = None

    def note(self, wrong: str | None, where: str) -> None:
        """Count one look; `wrong` is what was found, if anything."""
        self.checked += 1
        if wrong is not None:
            self.broken += 1
            self.first = self.first or f"{where}: {wrong}"


@dataclass(slots=True)
class Tally:
    """What all calls so far came to; nothing of a single one is kept."""

    answered: Counter[str] = field(default_factory=Counter[str])
    degraded: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    attempts: Counter[int] = field(default_factory=Counter[int])
    faults: Counter[str] = field(default_factory=Counter[str])
    skips: Counter[str] = field(default_factory=Counter[str])
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unknown_costs: int = 0
    requests: int = 0
    charged: float = 0.0
    took: array[float] = field(default_factory=lambda: array("d"))
    held: list[Held] = field(default_factory=lambda: [Held(each.says) for each in INVARIANTS])

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return len(self.took)

    def add(self, course: Course, terms: Terms) -> None:
        """Count a call, and look for every fact."""
        self.took.append(course.took)
        self.requests += len(course.requests)
        self.charged += sum(entry.cost for entry in course.requests)
        if course.error is not None:
            self.failed[type(course.error).__name__] += 1
        elif course.way is not None and course.way.degraded:
            self.degraded += 1
        elif course.way is not None:
            self.answered[str(course.way.target)] += 1
        self._add_way(course)
        for invariant, held in zip(INVARIANTS, self.held, strict=True):
            wrong = invariant.check(course, terms)
            if wrong is not MISSING:
                held.note(wrong, f"call {course.number}")

    def _add_way(self, course: Course) -> None:
        way = course.way
        if way is None:
            return
        self.attempts[len(way.attempts)] += 1
        self.faults.update(attempt.error for attempt in way.attempts if attempt.error is not None)
        self.skips.update(skip.reason for skip in way.skipped)
        self.cost += way.cost or 0.0
        self.unknown_costs += way.unknown_costs
        if way.usage is not None:
            self.prompt_tokens += way.usage.prompt_tokens or 0
            self.completion_tokens += way.usage.completion_tokens or 0
