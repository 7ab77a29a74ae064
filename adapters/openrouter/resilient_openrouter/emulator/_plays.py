"""What a model answers, request after request: a sequence, a throw of dice, or both.

A step is the name of a scenario, or a table of scenarios and how likely each
one is; what these leave is the default. A sequence stays at its last step.
Each model throws dice of its own, seeded by its name, so what a model answers
does not depend on what others are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import fsum
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from resilient_openrouter.emulator._names import parsed

if TYPE_CHECKING:
    from resilient_openrouter.emulator.scenarios.shape import Scenario

__all__ = ("checked", "checked_step", "Play", "Step", "Steps")

Step: TypeAlias = str | Mapping[str, float]
"""A scenario, or scenarios with their probabilities."""

Steps: TypeAlias = Sequence[Step] | Mapping[str, float]
"""One step for each request, the last one repeats; a table alone is a step for all of them."""

_ROUNDING: Final = 1e-9


class Play:
    """The answers of one model, one after the other."""

    def __init__(self, steps: Sequence[Step], otherwise: Callable[[], str], seed: str) -> None:
        self._steps = list(steps)
        self._otherwise = otherwise
        self._dice = Random(seed)

    def next(self) -> str:
        """Return the name of the next scenario."""
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, str):
            return step
        thrown = self._dice.random()
        for name, probability in step.items():
            thrown -= probability
            if thrown < 0:
                return name
        return self._otherwise()


def checked(steps: object, scenarios: Mapping[str, Scenario], where: str) -> list[Step]:
    """Return the steps of a play; a mistake is a `ValueError` that begins with `where`."""
    if isinstance(steps, Mapping):
        return [checked_step(cast("object", steps), scenarios, where)]
    listed: Sequence[object] = ()
    shown = _shown(steps)
    if isinstance(steps, list | tuple):
        listed = cast("Sequence[object]", steps)
    if not listed:
        raise ValueError(
            f"{where}: a list with at least one scenario is needed,"
            f" or a table of scenarios and probabilities, not {shown}"
        )
    several = len(listed) > 1
    return [
        checked_step(step, scenarios, f"{where}[{place}]" if several else where)
        for place, step in enumerate(listed)
    ]


def checked_step(step: object, scenarios: Mapping[str, Scenario], where: str) -> Step:
    """Return one step; a mistake is a `ValueError` that begins with `where`."""
    if isinstance(step, str):
        parsed(step, scenarios, where)
        return step
    if not isinstance(step, Mapping):
        raise ValueError(  # noqa: TRY004 - whatever is wrong with a script is one kind of mistake
            f"{where}: the name of a scenario is needed, or a table of scenarios and"
            f" probabilities, not {_shown(step)}"
        )
    table = cast("Mapping[str, Any]", step)
    for name, probability in table.items():
        parsed(name, scenarios, where)
        is_number = isinstance(probability, int | float) and not isinstance(probability, bool)
        if not is_number or not 0 <= probability <= 1:
            raise ValueError(
                f"{where}.{name}: a probability is a number from 0 to 1, not {_shown(probability)}"
            )
    total = fsum(table.values())
    if total > 1 + _ROUNDING:
        raise ValueError(f"{where}: the probabilities add up to {total:.6g}, more than 1")
    return dict(table)


def _shown(value: object) -> str:
    if isinstance(value, str | int | float | bool):
        return repr(value)
    return "an empty list" if value == [] else type(value).__name__
