"""What a load test is to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_openrouter.emulator import Emulator

__all__ = ("Plan", "ROUNDS")

ROUNDS: Final = 4
"""The first one warms up, and the growth of memory is looked for in the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """So many calls by so many callers, over these models, against an emulator or a server.

    With an `emulator` what the client says is held against what the server
    saw; without one `url` is asked. `breaks` leaves the models their circuit
    breakers.
    """

    models: Sequence[str]
    callers: int
    requests: int
    timeout: float
    attempts: int = 2
    deadline: float | None = None
    degrade: str | None = None
    streams: bool = False
    breaks: bool = True
    emulator: Emulator | None = None
    url: str | None = None
    key: str | None = None

    @property
    def rounds(self) -> list[int]:
        """How many calls are made in each round; each caller makes at least one."""
        count = max(1, min(ROUNDS, self.requests // self.callers))
        each, more = divmod(self.requests, count)
        return [each + (place < more) for place in range(count)]
