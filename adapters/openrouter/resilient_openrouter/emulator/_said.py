"""What an answer of the emulated server says, read from its scenario and not from the wire.

It is what a load test holds the client's answers against: the whole text where
the scenario is an answer, and the words it begins with where it breaks off.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter.emulator._dialects import OPENROUTER
from resilient_openrouter.emulator._names import parsed
from resilient_openrouter.emulator._player import as_asked, places_of
from resilient_openrouter.emulator._rendering import filled, text_of, words_of
from resilient_openrouter.emulator.scenarios.shape import Event, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resilient_openrouter.emulator.journal import Entry
    from resilient_openrouter.emulator.scenarios.shape import Part, Scenario

__all__ = ("begins_with", "whole_answer")

_ENDS: Final = frozenset({"stop", "length", "tool_calls"})


def whole_answer(entry: Entry) -> str | None:
    """Return the text of an answer of OpenRouter, `None` where the scenario is no whole answer."""
    scenario, places = _played(entry)
    if scenario.status != HTTPStatus.OK or not _is_whole(scenario, entry):
        return None
    return "".join(_pieces(scenario, places))


def begins_with(entry: Entry, text: str) -> bool:
    """Tell whether what was said is the beginning of what this answer says."""
    scenario, places = _played(entry)
    left = text
    for piece in _pieces(scenario, places):
        if not left.startswith(piece):
            return piece.startswith(left)
        left = left[len(piece) :]
    return not left


def _played(entry: Entry) -> tuple[Scenario, Mapping[str, str]]:
    plain, parameters = parsed(entry.scenario, OPENROUTER.scenarios)
    scenario = as_asked(OPENROUTER.scenarios[plain], entry.body, OPENROUTER)
    return scenario, places_of(entry, OPENROUTER, datetime.now(UTC)) | parameters


def _is_whole(scenario: Scenario, entry: Entry) -> bool:
    if scenario.parts is None:
        choices = _choices(_completion(scenario.body))
        return scenario.ending == "whole" and bool(choices) and _ends_well(choices[0])
    if entry.body.get("stream") is not True:
        return False  # nobody has asked for a stream
    bodies = [part.body for part in scenario.parts if isinstance(part, Event)]
    choices = [choice for body in bodies for choice in _choices(body)]
    failed = any(body.get("error") for body in bodies) or any(map(_has_failed, choices))
    return not failed and any(map(_ends_well, choices))


def _pieces(scenario: Scenario, places: Mapping[str, str]) -> Iterator[str]:
    """Yield the pieces of the text, which may be without an end."""
    if scenario.parts is None:
        choices = _choices(_completion(scenario.body))
        message = cast("dict[str, Any]", choices[0]["message"] if choices else {})
        yield cast("str", filled(message.get("content") or "", places))
        return
    for part in scenario.parts:
        yield from _pieces_of(part, places)


def _pieces_of(part: Part, places: Mapping[str, str]) -> Iterator[str]:
    if isinstance(part, Words):
        for word in words_of(part, places):
            yield word["content"]
    elif isinstance(part, Event):
        for choice in _choices(part.body):
            yield text_of(choice.get("delta", {}).get("content") or "", places)


def _completion(body: object) -> dict[str, Any]:
    """Return a body as a completion; some answers hold it in the place of the provider."""
    found = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner = found.get("provider")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else found


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return body.get("choices") or []


def _ends_well(choice: Mapping[str, Any]) -> bool:
    return choice.get("finish_reason") in _ENDS and not _has_failed(choice)


def _has_failed(choice: Mapping[str, Any]) -> bool:
    return bool(choice.get("error")) or choice.get("finish_reason") == "error"
