"""What the scenarios of a failover benchmark need beside those of the wire.

Their healthy answer is a text of many words, so what ends early is told from
what is whole by its words.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from resilient_openrouter.emulator.scenarios.refusals import refusal
from resilient_openrouter.emulator.scenarios.shape import Gap, Part, Scenario, Words
from resilient_openrouter.emulator.scenarios.streams import COMMENT, streamed
from resilient_openrouter.emulator.scenarios.successes import SUCCESSES

__all__ = ("FAILOVER",)

_OK: Final = SUCCESSES["ok"]
_TOKENS: Final = streamed(_OK.body)
_BAD_EVENT: Final = 'data: {"id":"gen-1","choi\n\n'


def _torn(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Put an event that is no JSON behind the ninth word; no word is lost."""
    at = next(place for place, part in enumerate(parts) if isinstance(part, Words))
    return (*parts[:at], Words(count=9), _BAD_EVENT, Words(skip=9), *parts[at + 1 :])


FAILOVER: Final[dict[str, Scenario]] = {
    "ok_no_done": Scenario(parts=_TOKENS[:-1]),
    "ok_no_prefill": replace(_OK, no_prefill="e400_prefill"),
    "slow_first": Scenario(parts=(Gap("$after"), *_TOKENS)),
    "s_malformed_whole": Scenario(parts=_torn(_TOKENS)),
    "s_stall_close": Scenario(
        parts=(COMMENT, Words(count="$tokens"), Gap("$after")), ending="close"
    ),
    "e400_prefill": refusal(
        400,
        "This model does not support assistant message prefill. The conversation must end with a"
        " user message.",
        {"error_type": "invalid_request"},
    ),
}
