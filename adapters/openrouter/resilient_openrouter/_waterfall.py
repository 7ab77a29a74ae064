"""The story of one call as text: who was asked, for how long, and why the chain went on.

Everything is read from the outcome: its attempts, its skipped targets, and
the record of each call of a model. A `Line` is a text and what it means, so
that one story serves a terminal with colours and a file without.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resilient import Attempt
    from resilient_openrouter.results import ModelCall, OpenRouterOutcome

__all__ = (
    "Bar",
    "Line",
    "bars_of",
    "cost_of",
    "dollars",
    "drawn",
    "seconds",
    "summary_of",
    "total_bar",
)

Style: TypeAlias = Literal["plain", "title", "good", "bad", "dim"]
Line: TypeAlias = tuple[str, Style]
"""A text and what it means."""

WIDTH: Final = 26
_LABEL: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of the waterfall: a stretch of time, how it ended, and why it went on."""

    label: str
    started: float
    ended: float
    verdict: str
    style: Style
    reason: str | None = None
    asked: bool = True


def bars_of(outcome: OpenRouterOutcome[Any]) -> list[Bar]:
    """Return a row for each attempt and each target that was not asked, in order."""
    records = {name: iter(calls) for name, calls in _by_target(outcome.calls).items()}
    last = outcome.attempts[-1].number if outcome.attempts else 0
    placed: list[tuple[int, int, Bar]] = []
    for attempt in outcome.attempts:
        record = next(records.get(attempt.target, iter(())), None)
        nobody_left = outcome.degraded and attempt.number == last
        bar = Bar(
            label=f"{attempt.number} {attempt.target}",
            started=attempt.started,
            ended=attempt.started + attempt.duration,
            verdict=attempt.error or "answered",
            style="good" if attempt.error is None else "bad",
            reason=_reason(attempt, record, nobody_left=nobody_left),
        )
        placed.append((attempt.target_index, attempt.number, bar))
    for skip in outcome.skipped:
        told = _SKIPPED.get(skip.reason, skip.reason)
        if skip.reason == "scope_condemned":
            told = f"{_SHARED.get(skip.scope or '', f'shares the {skip.scope}')}: no call"
        bar = Bar(
            label=f"- {skip.target}",
            started=0,
            ended=0,
            verdict="not asked",
            style="dim",
            reason=told,
            asked=False,
        )
        placed.append((skip.target_index, 0, bar))
    return [bar for _, _, bar in sorted(placed, key=lambda each: each[:2])]


def total_bar(name: str, outcome: OpenRouterOutcome[Any]) -> Bar:
    """Return the row of the whole call."""
    verdict = "degraded" if outcome.degraded else "fallback" if outcome.fallback_used else "answer"
    return Bar(label=name, started=0, ended=outcome.elapsed, verdict=verdict, style="plain")


def drawn(bars: Iterable[Bar], total: float, *, block: str = "█") -> Iterator[Line]:
    """Draw the rows below each other; `total` seconds are as wide as the picture."""
    scale = WIDTH / max(total, 1e-9)
    for bar in bars:
        start = min(int(bar.started * scale), WIDTH - 1)
        length = max(1, min(round(bar.ended * scale), WIDTH) - start) if bar.asked else 0
        picture = (" " * start + block * length).ljust(WIDTH)
        took = seconds(bar.ended - bar.started) if bar.asked else ""
        yield f"  {bar.label[:_LABEL]:<{_LABEL}} {picture} {took:>7}  {bar.verdict}", bar.style
        if bar.reason is not None:
            yield f"      {bar.reason}", "dim"


def summary_of(outcome: OpenRouterOutcome[Any]) -> str:
    """Say in one line who answered, what it took and what it cost."""
    failed = sum(attempt.error is not None for attempt in outcome.attempts)
    waited = sum(attempt.wait or 0 for attempt in outcome.attempts)
    if outcome.degraded:
        told = f"nobody answered in {failed} attempts: the last resort stands in"
    else:
        told = f"answered by {outcome.target}" + (f", {failed} failed before it" if failed else "")
    return f"{told}; waited {waited:.2g} s; cost {cost_of(outcome)}"


def cost_of(outcome: OpenRouterOutcome[Any]) -> str:
    """Say what it cost, and of how many calls nobody knows.

    Money is shown to a millionth of a cent and never in powers of ten.
    """
    known = None if outcome.cost is None else f"${dollars(outcome.cost)}"
    unknown = f"{outcome.unknown_costs} unknown" if outcome.unknown_costs else None
    return " and ".join(part for part in (known, unknown) if part is not None)


def seconds(value: float) -> str:
    """Show a duration."""
    return f"{value:.2f} s"


_SHARED: Final = {
    "credential": "shares the key that failed",
    "account": "shares the account that failed",
    "host": "is on the host that failed",
    "model": "is the model that failed",
    "free": "shares the free quota that is used up",
    "request": "would get the request that is at fault",
}
_SKIPPED: Final = {
    "cooldown": "still rests from an earlier failure",
    "deadline": "no time was left",
    "routed_away": "the failure before it goes elsewhere",
    "disabled": "is switched off",
}


def _by_target(calls: Sequence[ModelCall]) -> dict[str, list[ModelCall]]:
    found: dict[str, list[ModelCall]] = {}
    for call in calls:
        found.setdefault(call.target, []).append(call)
    return found


def _reason(attempt: Attempt, record: ModelCall | None, *, nobody_left: bool) -> str | None:
    """Say why the chain did what it did after an attempt; nothing needs saying of an answer."""
    if attempt.error is None:
        return None
    what = _what(attempt, record)
    if attempt.disposition == "retried":
        told = ", as it asked" if attempt.wait_source == "hint" else ""
        return f"{what}: once more after {seconds(attempt.wait or 0)}{told}"
    if nobody_left:
        return f"{what}: nobody is left"
    return f"{what}: next" if attempt.disposition == "fell_back" else what


def _what(attempt: Attempt, record: ModelCall | None) -> str:
    if attempt.error in {"timeout", "deadline_exceeded"}:
        came = "keep-alives, but" if record is not None and record.padding else ""
        # A limit is left a little after it expired: the tenths are the limit's.
        limit = floor(attempt.duration * 10) / 10 or attempt.duration
        return f"{came} no answer within {limit:.3g} s".strip()
    if attempt.error == "unacceptable_result":
        return "its answer was judged a failure"
    if record is None or record.says is None:
        return "it failed"
    if record.retry_after is not None and attempt.disposition == "fell_back":
        return f"asks for {record.retry_after:.4g} s; another target is free"
    return record.says


def dollars(amount: float) -> str:
    return f"{amount:.8f}".rstrip("0").rstrip(".") or "0"
