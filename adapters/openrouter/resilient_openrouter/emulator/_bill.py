"""What the emulated server charges for an answer, whether or not anybody reads it.

A completion is charged whole. A stream whose reader goes away stops the work,
and the bill, where the provider can; others go on to the end. An answer in
one piece always goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter.emulator.scenarios.shape import Event, Words
from resilient_openrouter.emulator.scenarios.successes import USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter.emulator.scenarios.shape import Part, Scenario

__all__ = ("Bill", "bill_of")

_PRICE: Final = cast("float", USAGE["cost"])
_STOP: Final = frozenset(
    {
        "AnyScale", "Anthropic", "Avian", "Azure", "Chutes", "Cloudflare", "Cohere", "DeepInfra",
        "DeepSeek", "Fireworks", "Friendli", "Hyperbolic", "Infermatic", "Lepton", "Liquid",
        "Mancer", "Nineteen", "Novita", "OctoAI", "OpenAI", "Recursal", "SFCompute", "Together",
        "xAI",
    }
)  # fmt: skip
"""Providers that stop working when the reader of a stream goes away."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of an answer that is read to its end, and of one whose reader goes away."""

    whole: float
    given_up: float


def bill_of(scenario: Scenario, provider: str, *, is_stream: bool) -> Bill:
    """Return what an answer is charged."""
    if scenario.status not in {None, HTTPStatus.OK}:
        return Bill(0, 0)
    told = _told(scenario)
    speaks = told is not None or _speaks(scenario)
    waits = scenario.ending in {"stall", "silence"}
    whole = told if told is not None else _PRICE if speaks or waits else 0
    if not (is_stream and provider in _STOP):
        return Bill(whole, whole)
    return Bill(whole, whole / 2 if speaks else 0)


def _told(scenario: Scenario) -> float | None:
    """Return the cost that the answer itself tells."""
    bodies: list[Any] = [scenario.body]
    bodies += [part.body for part in scenario.parts or () if isinstance(part, Event)]
    for body in bodies:
        if isinstance(body, dict):
            usage = cast("Mapping[str, Any]", body).get("usage")
            if usage is not None:
                return float(usage["cost"])
    return None


def _speaks(scenario: Scenario) -> bool:
    return any(map(_is_said, scenario.parts or ()))


def _is_said(part: Part) -> bool:
    if not isinstance(part, Event):
        return isinstance(part, Words)
    choices: list[dict[str, Any]] = part.body.get("choices") or [{}]
    delta: dict[str, Any] = choices[0].get("delta") or {}
    return any(delta.get(name) for name in ("content", "reasoning", "tool_calls"))
