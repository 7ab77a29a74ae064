"""Answers that are good, and larger or odder in form than usual."""

from __future__ import annotations

from typing import Final

from resilient_openrouter.emulator.scenarios.shape import Scenario, Words
from resilient_openrouter.emulator.scenarios.streams import COMMENT, ended
from resilient_openrouter.emulator.scenarios.successes import completion

__all__ = ("SIZES",)

SIZES: Final[dict[str, Scenario]] = {
    "huge_json": Scenario(padding=2, body=completion({"content": "$filler"}), is_plain=True),
    "long_stream": Scenario(parts=(COMMENT, Words(count="$tokens"), *ended())),
    "slow_drip": Scenario(parts=(COMMENT, Words(gap=1.0), *ended())),
    "gzip": Scenario(body=completion({"content": "$text"}), is_plain=True, is_zipped=True),
    "many_headers": Scenario(
        headers={f"x-noise-{number}": "x" * 20 for number in range(90)},
        body=completion({"content": "$text"}),
    ),
}
