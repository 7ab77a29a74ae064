"""The names of scenarios, with their parameters: `e429_upstream_hint?seconds=3`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from resilient_openrouter.emulator._rendering import number_of, text_of
from resilient_openrouter.emulator.scenarios import PARAMETERS, SCENARIOS, SWITCHES
from resilient_openrouter.emulator.scenarios.shape import WORDY

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("is_known", "parsed", "Switches")


def parsed(name: str) -> tuple[str, dict[str, str]]:
    """Return a scenario's plain name and its parameters; a mistake is a `ValueError`."""
    plain, _, query = name.partition("?")
    if not is_known(name):
        near = get_close_matches(plain, [*SCENARIOS, *SWITCHES], n=1)
        hint = f"; is {near[0]!r} meant?" if near else ""
        raise ValueError(f"there is no scenario {plain!r}{hint}")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for each, value in parameters.items():
        if each not in PARAMETERS:
            raise ValueError(
                f"scenario {plain!r} has no parameter {each!r}: {', '.join(sorted(PARAMETERS))}"
            )
        if each not in WORDY:
            float(value)
    if plain in SWITCHES:
        for each in (SWITCHES[plain].first, SWITCHES[plain].then):
            parsed(text_of(each, PARAMETERS | parameters))
    return plain, parameters


def is_known(name: str) -> bool:
    """Tell whether there is a scenario of that name."""
    plain = name.partition("?")[0]
    return plain in SCENARIOS or plain in SWITCHES


class Switches:
    """Which side each switch is on: how often and since when its model was asked."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], tuple[int, float]] = {}

    def turned(self, model: str, name: str, now: float) -> str:
        """Return the scenario that answers now, for a name that may be a switch."""
        plain, parameters = parsed(name)
        switch = SWITCHES.get(plain)
        if switch is None:
            return name
        places: Mapping[str, Any] = PARAMETERS | parameters
        count, since = self._asked.get((model, name), (0, now))
        self._asked[model, name] = count + 1, since
        is_over = (switch.times is not None and count >= number_of(switch.times, places)) or (
            switch.seconds is not None and now - since >= number_of(switch.seconds, places)
        )
        return self.turned(model, text_of(switch.then if is_over else switch.first, places), now)
