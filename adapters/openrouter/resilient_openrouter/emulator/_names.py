"""The names of scenarios, with their parameters: `e429_upstream_hint?seconds=3`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from resilient_openrouter.emulator._rendering import number_of, text_of
from resilient_openrouter.emulator.scenarios import PARAMETERS, SWITCHES
from resilient_openrouter.emulator.scenarios.shape import WORDY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter.emulator.scenarios import Scenario

__all__ = ("is_known", "parsed", "Switches")


def parsed(
    name: str, scenarios: Mapping[str, Scenario], where: str = ""
) -> tuple[str, dict[str, str]]:
    """Return a scenario's plain name and its parameters.

    A mistake is a `ValueError` that begins with `where`.
    """
    at = f"{where}: " if where else ""
    plain, _, query = name.partition("?")
    if plain not in scenarios and plain not in SWITCHES:
        near = get_close_matches(plain, [*scenarios, *SWITCHES], n=1)
        meant = f"; is {near[0]!r} meant?" if near else ""
        raise ValueError(f"{at}there is no scenario {plain!r}{meant} (--list prints all of them)")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    for each, value in parameters.items():
        if each not in PARAMETERS:
            raise ValueError(
                f"{at}scenario {plain!r} has no parameter {each!r}: {', '.join(sorted(PARAMETERS))}"
            )
        if each not in WORDY:
            _check_number(value, f"{at}parameter {each!r} of {plain!r}")
    if plain in SWITCHES:
        for side in (SWITCHES[plain].first, SWITCHES[plain].then):
            parsed(text_of(side, PARAMETERS | parameters), scenarios, where)
    return plain, parameters


def is_known(name: str, scenarios: Mapping[str, Scenario]) -> bool:
    """Tell whether there is a scenario of that name, and its parameters are some that it has."""
    try:
        parsed(name, scenarios)
    except ValueError:
        return False
    return True


class Switches:
    """Which side each switch is on: how often and since when its model was asked."""

    def __init__(self, scenarios: Mapping[str, Scenario]) -> None:
        self._scenarios = scenarios
        self._asked: dict[tuple[str, str], tuple[int, float]] = {}

    def turned(self, model: str, name: str, now: float) -> str:
        """Return the scenario that answers now, for a name that may be a switch."""
        plain, parameters = parsed(name, self._scenarios)
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


def _check_number(text: str, what: str) -> None:
    """Tell a mistake where the script is given, not where it is played."""
    try:
        is_fine = float(text) >= 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise ValueError(f"{what} is a number from 0 on, not {text!r}")
