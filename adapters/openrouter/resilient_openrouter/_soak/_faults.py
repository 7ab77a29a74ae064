"""The faults of a load test that brings no script: mixed, and the first model is the illest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_openrouter.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("MODELS", "mixed")

MODELS: Final = ("openai/gpt-4o", "anthropic/claude-sonnet-4.5", "google/gemini-2.5-pro")
"""The models that are asked where nobody names any; all of them are emulated."""

_ILLNESS: Final = (0.3, 0.15, 0.05)
"""How much of what each model is asked goes wrong; the last is for all others."""

_EITHER: Final = {
    "e503": 6,
    "e502": 4,
    "e500": 2,
    "e429_nohint": 4,
    "e429_upstream_hint?seconds=1": 2,
    "html_524": 2,
    "reset": 3,
    "close": 2,
    "stall": 1,
    "silence": 1,
    "err200": 3,
}
_ANSWERS: Final = _EITHER | {
    "choice_error": 2,
    "null_choices": 3,
    "empty_content": 2,
    "whitespace_only": 2,
    "truncated_json": 2,
    "reset_in_body": 2,
}
_STREAMS: Final = _EITHER | {
    "s_err_first": 3,
    "s_err_roleonly": 2,
    "s_err_mid": 2,
    "s_trunc?tokens=3": 2,
    "s_trunc_early": 2,
    "s_reset?tokens=3": 2,
    "s_empty": 2,
    "s_malformed_trunc": 1,
}


def mixed(
    models: Sequence[str], *, seed: int, streams: bool, illness: float | None = None
) -> Emulator:
    """Return an emulator whose models fail by chance; each of them speaks words of its own.

    `illness` is the share of all requests that goes wrong, the same for every model.
    """
    emulator = Emulator(seed=seed)
    weights = _STREAMS if streams else _ANSWERS
    total = sum(weights.values())
    for place, model in enumerate(models):
        share = _ILLNESS[min(place, len(_ILLNESS) - 1)] if illness is None else illness
        steps = {name: share * weight / total for name, weight in weights.items()}
        said = f"ok?text=Model {place + 1} says that air scatters blue light more than red."
        emulator.script(model, steps | {said: 1 - share})
    return emulator
