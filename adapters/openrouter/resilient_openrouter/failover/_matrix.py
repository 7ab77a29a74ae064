"""The table of faults: what a chain makes of each, as a whole answer and as a stream.

The primary fails, the fallback is healthy. `F` is a right answer of the
fallback, `E` a typed error; whoever reads a stream as it comes has heard its
beginning, so a cut after the first word is an error with what was said, while
a collected stream falls back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from resilient.testing import virtual_time
from resilient_openrouter import clocks
from resilient_openrouter.errors import OpenRouterError
from resilient_openrouter.failover._bench import FALLBACK, MESSAGES, OK, PRIMARY, TEXT, started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient_openrouter.client import OpenRouter
    from resilient_openrouter.failover._bench import Bench
    from resilient_openrouter.managers import ModelManager

__all__ = ("Row", "RowResult", "ROWS", "run_row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault, what is asked for (an answer, a stream, or both), and the right end."""

    fault: str
    primary: str
    expected: str
    asks: Callable[[Bench], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What a chain made of a row."""

    fault: str
    expected: str
    found: str

    @property
    def is_right(self) -> bool:
        """Whether that is what it should be."""
        return self.found == self.expected


def run_row(row: Row, *, backend: Literal["asyncio", "trio"] = "asyncio") -> RowResult:
    """Play a row in virtual time."""
    return virtual_time(_played, row, backend=backend)


async def _played(row: Row) -> RowResult:
    async with started(_chain, [row.primary], [OK]) as bench:
        found = await row.asks(bench)
    return RowResult(fault=row.fault, expected=row.expected, found=found)


def _chain(openrouter: OpenRouter) -> ModelManager[Any]:
    return openrouter.manager(PRIMARY, FALLBACK, attempts=2, timeout=clocks.interactive)


async def _answer(bench: Bench) -> str:
    """Ask for an answer."""
    call = await bench.call()
    if call.is_hanging:
        return "hang"
    if call.is_rescued and call.target == FALLBACK:
        return "F"
    if call.content is not None:
        return "ok" if call.is_rescued else "part of an answer as a success"
    calls = len(call.entries)
    kind = "E" if call.is_clean else call.error_class
    return f"{kind}, {calls} call{'' if calls == 1 else 's'}"


async def _after_hint(bench: Bench) -> str:
    """Ask for an answer where the server asks for a second of patience."""
    found = await _answer(bench)
    first, *rest = [entry.began for entry in bench.emulator.journal if entry.model == PRIMARY]
    honoured = bool(rest) and rest[0] - first >= 1
    return f"honours, then {found}" if honoured else found


async def _cooled(bench: Bench) -> str:
    """Ask for two answers where the server asks for more patience than there is."""
    first = await bench.call()
    second = await bench.call()
    at_once = first.target == FALLBACK and len(first.primary) == 1
    at_once = at_once and first.fallback[0].began == first.began
    rests = second.target == FALLBACK and not second.primary
    return f"{'F at once' if at_once else 'late'}, {'cooldown' if rests else 'asked again'}"


async def _stream(bench: Bench) -> str:
    """Ask for a stream, and read it as it comes."""
    said = ""
    try:
        async with bench.chain.stream(MESSAGES) as items:
            async for chunk in items:
                said += chunk.content
    except OpenRouterError as error:
        return "E with partial" if error.partial and said == error.partial else "E"
    if said != TEXT:
        return "part of an answer as a success"
    return "F" if items.outcome.target == FALLBACK else "ok"


async def _both(bench: Bench) -> str:
    """Ask for a stream, and for an answer that is collected from one."""
    delivered = await _stream(bench)
    async with started(_collecting, ["s_err_first"], [OK]) as other:
        other.emulator.script(PRIMARY, [bench.emulator.journal[0].scenario])
        collected = await _answer(other)
    return delivered if delivered == collected else f"{delivered}; {collected} when collected"


def _collecting(openrouter: OpenRouter) -> ModelManager[Any]:
    return openrouter.manager(
        PRIMARY, FALLBACK, attempts=2, timeout=clocks.interactive, transport="stream"
    )


_SAID: Final = "E with partial; F when collected"


def _row(
    fault: str, primary: str, expected: str = "F", asks: Callable[[Bench], Awaitable[str]] = _answer
) -> Row:
    return Row(fault=fault, primary=primary, expected=expected, asks=asks)


ROWS: Final = (
    _row('200 + `{"error":502}`', "err200"),
    _row("200 + nulls + error 524", "err200_nulls_524"),
    _row("choice-level error, partial text", "choice_error"),
    _row("`choices:null`, no error", "null_choices"),
    _row("`choices:[]`", "empty_choices"),
    _row("empty content, finish null", "empty_content"),
    _row("whitespace-only 200", "whitespace_only"),
    _row("HTML 524", "html_524"),
    _row("429 (Retry-After 1)", "e429_upstream_hint?seconds=1", "honours, then F", _after_hint),
    _row("502", "e502"),
    _row("503 Retry-After 90", "e503_hint?seconds=90", "F at once, cooldown", _cooled),
    _row("TCP drop before headers", "reset"),
    _row("401", "e401_badkey", "E, 1 call"),
    _row("400", "e400_invalid", "E, 1 call"),
    _row("keep-alive stall, non-stream", "stall"),
    _row("keep-alive stall, stream", "stall", "F", _both),
    _row("stream: error event first", "s_err_first", "F", _both),
    _row("stream: role-only chunk then error", "s_err_roleonly", "F", _both),
    _row("stream: error after text", "s_err_mid", _SAID, _both),
    _row("stream: error, string code", "s_err_mid_strcode", _SAID, _both),
    _row("stream: truncated, clean EOF", "s_trunc", _SAID, _both),
    _row("stream: TCP reset after text", "s_reset", _SAID, _both),
    _row("stream=True but JSON error under 200", "err200", "F", _both),
)
