"""What a scenario can say about one answer of the emulated server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ("Ending", "PARAMETERS", "Scenario")

Ending = Literal["whole", "stall", "silence", "reset", "close"]
"""How an answer ends.

`whole`: as HTTP wants it. `stall`: keep-alives for ever. `silence`: nothing
more, and the connection stays open. `reset`: RST. `close`: FIN.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One answer of the emulated server.

    `pause` is the time before the first byte, `padding` the number of
    keep-alives before the body, `status=None` an answer without a byte.
    A `body` that is text is sent as it is, anything else as JSON.
    """

    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: Any = ""
    padding: int = 0
    pause: float | str = 0.0
    every: float | str = "$every"
    ending: Ending = "whole"


PARAMETERS: Final[dict[str, str]] = {
    "text": "Hola",
    "seconds": "26",
    "after": "2",
    "every": "0.2",
}
