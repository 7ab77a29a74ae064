"""What is measured by looking: the states of circuit breakers, the tokens of budgets.

Each function takes a snapshot and changes nothing. It holds no breaker and no
budget: their registries do, and a breaker that is gone is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, get_args

from resilient._core.breaker_states import State
from resilient._runtime import budgets
from resilient._runtime.clock import world
from resilient._runtime.world import census
from resilient.telemetry import names

Observe: TypeAlias = Callable[[], Iterable[tuple[float, dict[str, Any]]]]


_STATES: tuple[State, ...] = get_args(State)


def states() -> Iterable[tuple[float, dict[str, Any]]]:
    """Count the breakers of each name in each state; a state that none is in counts 0."""
    counted: dict[str, dict[State, int]] = {}
    for name, state, count in census(world()):
        of_name = counted.setdefault(name, dict.fromkeys(_STATES, 0))
        of_name[state] += count
    for name, of_name in counted.items():
        for state, count in of_name.items():
            yield count, {names.BREAKER: name, names.BREAKER_STATE: state}


def tokens() -> Iterable[tuple[float, dict[str, Any]]]:
    """Say how many tokens each budget has."""
    for name, left in budgets.snapshot():
        yield left, {names.BUDGET: name}


OBSERVED: dict[str, Observe] = {names.STATES: states, names.TOKENS: tokens}
