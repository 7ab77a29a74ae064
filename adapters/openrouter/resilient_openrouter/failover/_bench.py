"""One world for one scenario: an emulated server, a chain over it, and what its calls came to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from resilient_openrouter import clocks
from resilient_openrouter.client import OpenRouter
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.errors import OpenRouterError
from resilient_openrouter.managers import ModelManager

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from resilient_openrouter.emulator import Entry

__all__ = ("Bench", "Call", "FALLBACK", "OK", "PRIMARY", "started", "System", "system", "TEXT")

System: TypeAlias = Callable[[OpenRouter], ModelManager[Any]]
"""What is tested: a function that makes a chain of `PRIMARY` and `FALLBACK`."""

PRIMARY: Final = "bench/primary"
FALLBACK: Final = "bench/fb-ok"
TEXT: Final = " ".join(f"word{number}" for number in range(1, 61))
"""The healthy answer: sixty words, compared exactly."""

OK: Final = f"ok?text={TEXT}&gap=0.015"
"""The healthy answer as it comes: 15 ms between its words."""

MESSAGES: Final = [{"role": "user", "content": "Say sixty words."}]
_HANG: Final = 130.0
"""A call that takes longer hangs."""


def system(openrouter: OpenRouter) -> ModelManager[Any]:
    """Return the chain that is tested, which is what the pages recommend."""
    return openrouter.manager(
        PRIMARY,
        FALLBACK,
        attempts=2,
        timeout=clocks.interactive,
        transport="stream",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What came of one call, and the requests that it made."""

    began: float
    elapsed: float
    content: str | None = None
    target: str | None = None
    has_usage: bool = False
    error: str | None = None
    error_class: str | None = None
    is_clean: bool = True
    is_hanging: bool = False
    entries: Sequence[Entry] = ()

    @property
    def is_rescued(self) -> bool:
        """Whether the whole answer came."""
        return self.content == TEXT

    @property
    def primary(self) -> list[Entry]:
        """The requests for the primary model."""
        return [entry for entry in self.entries if entry.model == PRIMARY]

    @property
    def fallback(self) -> list[Entry]:
        """The requests for the other one."""
        return [entry for entry in self.entries if entry.model == FALLBACK]


class Bench:
    """The world of one scenario."""

    def __init__(self, emulator: Emulator, chain: ModelManager[Any]) -> None:
        self.emulator = emulator
        self.chain = chain
        self._began = _now()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return _now() - self._began

    async def call(self, limit: float = _HANG) -> Call:
        """Make one call; whatever comes of it is returned."""
        began, before = self.now, len(self.emulator.journal)
        told: dict[str, Any] = {}
        with anyio.move_on_after(limit) as scope:
            try:
                outcome = await self.chain.run(MESSAGES)
            except Exception as error:  # noqa: BLE001 - what leaves is what is judged
                told = {
                    "error": str(error),
                    "error_class": type(error).__name__,
                    "is_clean": isinstance(error, OpenRouterError),
                }
            else:
                told = {
                    "content": outcome.value.content,
                    "target": outcome.target,
                    "has_usage": outcome.value.usage is not None,
                }
        return Call(
            began=began,
            elapsed=self.now - began,
            is_hanging=scope.cancelled_caught,
            entries=tuple(self.emulator.journal)[before:],
            **told,
        )


@asynccontextmanager
async def started(
    make: System, primary: Sequence[str], fallback: Sequence[str]
) -> AsyncGenerator[Bench]:
    """Start an emulator with these scripts, and a chain over it."""
    async with (
        Emulator(port=None) as emulator,
        emulator.client() as client,
        OpenRouter("any-key", base_url=emulator.url, client=client) as openrouter,
    ):
        emulator.script(PRIMARY, list(primary))
        emulator.script(FALLBACK, list(fallback))
        yield Bench(emulator, make(openrouter))


def _now() -> float:
    return anyio.current_time()  # noqa: TID251 - one run has one origin
