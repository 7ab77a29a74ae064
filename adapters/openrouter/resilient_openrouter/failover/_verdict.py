"""From what the calls of a scenario came to, to the benchmark's verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from resilient.testing import virtual_time
from resilient_openrouter.failover._bench import OK, PRIMARY, started, system

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_openrouter.failover._bench import Call, System
    from resilient_openrouter.failover._scenarios import Scenario

__all__ = ("Result", "run", "Verdict")

Verdict = Literal["pass", "partial", "safe", "fail"]

_MOST: Final = 3
"""More attempts at the primary make no single call better."""

_HEALTHY: Final = 10.0
"""After every fault a healthy call must succeed in this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a chain fared: `seconds` is the longest call, `findings` what was not as it should be."""

    id: str
    fault: str
    verdict: Verdict
    calls: int
    primary: int
    fallback: int
    seconds: float
    findings: tuple[str, ...]


def run(
    scenario: Scenario, *, backend: Literal["asyncio", "trio"] = "asyncio", make: System = system
) -> Result:
    """Play a scenario in virtual time; return how the chain fared that `make` makes."""
    return virtual_time(_played, scenario, make, backend=backend)


async def _played(scenario: Scenario, make: System) -> Result:
    async with started(make, scenario.primary, scenario.fallback) as bench:
        calls = await scenario.drive(bench)
        bench.emulator.script(PRIMARY, [OK])
        after = await bench.call(limit=_HEALTHY)
    findings = [*_required(calls), *scenario.judge(calls)]
    if not after.is_rescued:
        findings.append("a healthy call afterwards did not succeed")
    return Result(
        id=scenario.id,
        fault=scenario.fault,
        verdict=_verdict(scenario, calls, findings),
        calls=len(calls),
        primary=sum(len(call.primary) for call in calls),
        fallback=sum(len(call.fallback) for call in calls),
        seconds=max(call.elapsed for call in calls),
        findings=tuple(findings),
    )


def _required(calls: Sequence[Call]) -> Iterator[str]:
    """Yield what holds for every scenario."""
    if any(call.is_hanging for call in calls):
        yield "a call hung"
    if any(call.content is not None and not call.is_rescued for call in calls):
        yield "part of an answer was passed off as the whole"
    if any(not call.is_clean for call in calls):
        yield "an error of another kind than the client's own"
    if any(len(call.primary) > _MOST for call in calls):
        yield f"more than {_MOST} attempts at the primary in one call"


def _verdict(scenario: Scenario, calls: Sequence[Call], findings: Sequence[str]) -> Verdict:
    if any(not found.startswith("(a)") for found in findings):
        return "fail"
    if scenario.wants is not None and all(call.error_class == scenario.wants for call in calls):
        return "partial" if findings else "pass"
    if not all(call.is_rescued for call in calls):
        return "safe"
    return "partial" if findings or scenario.wants is not None else "pass"
