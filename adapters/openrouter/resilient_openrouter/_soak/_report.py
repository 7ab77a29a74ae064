"""What a load test found, as lines to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_openrouter._soak._result import ENOUGH
from resilient_openrouter._waterfall import dollars

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from resilient_openrouter._soak._plan import Plan
    from resilient_openrouter._soak._result import Result
    from resilient_openrouter._soak._tally import Held, Tally
    from resilient_openrouter._waterfall import Line

__all__ = ("report",)

_NAME: Final = 14
_SHARES: Final = (50, 90, 99)


def report(plan: Plan, result: Result) -> Iterator[Line]:
    """Say how the calls ended, what they took and cost, and which facts held."""
    tally = result.tally
    rate = tally.calls / max(result.elapsed, 1e-9)
    yield "", "plain"
    yield f"{tally.calls} calls in {result.elapsed:.1f} s, {rate:.0f} a second", "title"
    yield from _outcomes(tally)
    yield from _effort(tally)
    yield _row("tokens", f"{tally.prompt_tokens} in prompts, {tally.completion_tokens} in answers")
    yield _row("cost", _cost(plan, tally))
    yield _row("latency", _latency(tally))
    yield _row("connections", f"{result.pool.broken or 'none'} held between rounds")
    yield _row("memory", _memory(result))
    yield "", "plain"
    for held in result.held:
        yield _verdict(held)


def _outcomes(tally: Tally) -> Iterator[Line]:
    for target, count in tally.answered.most_common():
        yield _row("answered by", f"{target}  {_share(count, tally)}")
    if tally.degraded:
        yield _row("degraded", _share(tally.degraded, tally))
    for kind, count in tally.failed.most_common():
        yield _row("failed with", f"{kind}  {_share(count, tally)}")


def _effort(tally: Tally) -> Iterator[Line]:
    total = sum(number * count for number, count in tally.attempts.items())
    each = ", ".join(f"{count} with {number}" for number, count in sorted(tally.attempts.items()))
    yield _row("attempts", f"{total / max(tally.calls, 1):.2f} for each call: {each}")
    if tally.faults:
        yield _row("met", _counted(tally.faults))
    if tally.skips:
        yield _row("not asked", _counted(tally.skips))


def _cost(plan: Plan, tally: Tally) -> str:
    unknown = f" and {tally.unknown_costs} unknown" if tally.unknown_costs else ""
    charged = "" if plan.emulator is None else f"; the server charges ${dollars(tally.charged)}"
    return f"${dollars(tally.cost)}{unknown}{charged}"


def _latency(tally: Tally) -> str:
    took = sorted(tally.took)
    if not took:
        return "no call"
    shares = (f"{share} % within {took[len(took) * share // 100]:.3f} s" for share in _SHARES)
    return f"{', '.join(shares)}, all within {took[-1]:.3f} s"


def _memory(result: Result) -> str:
    if result.growth is None:
        rounds, calls = ENOUGH
        return f"not looked at: that takes {rounds} rounds of {calls} calls"
    return f"{max(result.growth, 0):.2f} blocks kept for each call after the first round"


def _verdict(held: Held) -> Line:
    if held.broken:
        found = f"broken {held.broken} of {held.checked} times, first in {held.first}"
        return f"  BROKEN  {held.says}: {found}", "bad"
    if not held.checked:
        return f"  -       {held.says} (no case of it)", "dim"
    return f"  holds   {held.says} ({held.checked})", "good"


def _row(name: str, told: str) -> Line:
    return f"  {name:<{_NAME}}{told}", "plain"


def _share(count: int, tally: Tally) -> str:
    return f"{count} ({100 * count / tally.calls:.1f} %)"


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.most_common())
