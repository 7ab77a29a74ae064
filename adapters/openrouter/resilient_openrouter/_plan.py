"""The policies of one model, from what a user gave and from what is good where nothing was.

An answer and a stream of the same model differ in their limits of time alone.
What one request is limited by goes to the adapter (the clocks), what limits
the attempt as a whole is a policy like any other (`timeout`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal, TypeAlias, cast

from resilient import (
    CircuitBreaker,
    Fault,
    Pipeline,
    any_of,
    circuit_breaker,
    consecutive,
    retry,
    stack,
    time_window,
    timeout,
)
from resilient.typing import Seconds
from resilient_openrouter._timeouts import chosen, clocks_of
from resilient_openrouter.clocks import Clocks, reasoning
from resilient_openrouter.errors import OpenRouterError

__all__ = ("collects", "DEFAULT", "Default", "Plan", "Planned", "Timeout", "Travels")

Timeout: TypeAlias = Seconds | Clocks | Mapping[str, Seconds | Clocks | None]
"""Seconds for everything, clocks, or patterns of models with either."""

Travels: TypeAlias = Literal["plain", "stream"]
"""How a whole answer travels: as one body, or as a stream that is collected."""


class Default(Enum):
    """The default of an option that may also be `None`."""

    DEFAULT = "default"


DEFAULT: Final = Default.DEFAULT

ANSWER: Final = Clocks(total=120)  # the router itself gives up on a provider after 100 to 125 s
STREAM: Final = reasoning  # what nobody says is fast may think
ATTEMPTS: Final = 2  # one more try, which may go to another provider; then the next model
# A small application never makes ten calls in half a minute, and with a call every four
# seconds a model that is well again is asked again within half a minute.
TRIP: Final = any_of(consecutive(5), time_window(30, failure_rate=0.5, min_calls=5))
OPEN_FOR: Final = 20.0


@dataclass(frozen=True, slots=True)
class Planned:
    """Policies around a request, and the clocks inside it."""

    policies: Pipeline
    clocks: Clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a user wants around a model."""

    model: str
    where: str
    timeout: Timeout | Default | None
    attempts: int | Default | None
    breaker: CircuitBreaker | Default | None
    policies: Pipeline | None

    def of_answer(self) -> Planned:
        """Return what is around an answer that comes in one piece."""
        return self._planned(ANSWER)

    def of_stream(self) -> Planned:
        """Return what is around a stream."""
        return self._planned(STREAM)

    def _planned(self, usual: Clocks) -> Planned:
        if self.policies is not None:
            return self._given(self.policies)
        clocks = self._clocks(usual)
        parts: list[Pipeline] = []
        attempts = ATTEMPTS if self.attempts is DEFAULT else self.attempts
        if attempts is not None and attempts != 1:
            parts.append(retry(attempts=attempts))
        breaker = self._breaker()
        if breaker is not None:
            parts.append(breaker)
        if clocks.total is not None:
            parts.append(timeout(clocks.total))
        if self.breaker is not DEFAULT:
            return Planned(stack(*parts), replace(clocks, total=None))
        # Not by `stack`, which warns of a window shorter than two attempts: what the window
        # forgets, the row of five remembers.
        policies = tuple(policy for part in parts for policy in part.policies)
        return Planned(Pipeline(policies=policies), replace(clocks, total=None))

    def _given(self, policies: Pipeline) -> Planned:
        """Return policies of the user's, which leave room for the clocks of a request alone."""
        clocks = self._clocks(Clocks())
        others = self.attempts is not DEFAULT or self.breaker is not DEFAULT
        if others or clocks.total is not None:
            raise ValueError(
                "target(policies=) stands for timeout=, attempts= and breaker=: give one of them"
            )
        return Planned(policies, clocks)

    def _clocks(self, usual: Clocks) -> Clocks:
        wanted: object = self.timeout
        if isinstance(wanted, Mapping):
            wanted = chosen(self.model, wanted)
        if wanted is DEFAULT or wanted is ...:
            return usual
        return clocks_of(cast("Seconds | Clocks | None", wanted))

    def _breaker(self) -> CircuitBreaker | None:
        if self.breaker is not DEFAULT:
            if self.breaker is None or isinstance(self.breaker, CircuitBreaker):
                return self.breaker
            raise TypeError(
                "target(breaker=) must be a circuit_breaker(...) or None,"
                f" not {type(self.breaker).__qualname__}"
            )
        return circuit_breaker(
            f"{self.where}/{self.model}", trip=TRIP, open_for=OPEN_FOR, classify=_of_model
        )


_ELSEWHERE: Final = frozenset({"request", "credential", "account", "free"})


def _of_model(error: Exception) -> Fault | None:
    """Let the breaker of a model learn nothing from a key or an account that failed.

    Another key may ask the same model.
    """
    if isinstance(error, OpenRouterError) and error.scope in _ELSEWHERE:
        return Fault(error.retryable, health="neutral")
    return None


def collects(transport: object) -> bool:
    """Tell whether a whole answer is collected from a stream.

    >>> collects("stream"), collects("plain")
    (True, False)
    """
    if transport not in ("plain", "stream"):
        raise ValueError(f"transport must be 'plain' or 'stream', not {transport!r}")
    return transport == "stream"
