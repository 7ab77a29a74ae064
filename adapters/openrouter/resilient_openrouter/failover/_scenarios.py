"""The sixteen faults, and what is asked of a chain that meets them.

A judge yields what was not as it should be. Findings that begin with `(a)`
are the benchmark's advisory checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from resilient_openrouter.failover._bench import FALLBACK, OK, PRIMARY, TEXT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from resilient_openrouter.failover._bench import Bench, Call

    Judge = Callable[[Sequence[Call]], Iterator[str]]

__all__ = ("Scenario", "SCENARIOS")

_WORDS: Final = f"text={TEXT}&gap=0.015"
_OUTAGE: Final = 60.0
_EVERY: Final = 4.0
_REQUESTS: Final = 20


async def _one(bench: Bench) -> list[Call]:
    return [await bench.call()]


async def _outage(bench: Bench) -> list[Call]:
    """Make a call every 4 s; the primary is well again after a minute."""
    calls: list[Call] = []
    for number in range(_REQUESTS):
        await anyio.sleep(max(0.0, number * _EVERY - bench.now))
        if bench.now >= _OUTAGE:
            bench.emulator.script(PRIMARY, [OK])
        calls.append(await bench.call(limit=30))
    return calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One fault: what the primary answers, how it is called, and what is asked of the chain."""

    id: str
    fault: str
    primary: Sequence[str]
    judge: Judge
    fallback: Sequence[str] = (OK,)
    drive: Callable[[Bench], Awaitable[list[Call]]] = _one
    wants: str | None = None
    """The class of the error that is the best end; without one it is the whole answer."""


def _patient(calls: Sequence[Call]) -> Iterator[str]:
    times = [entry.began for entry in calls[0].primary]
    if len(times) < 2:  # noqa: PLR2004 - the first and another one
        yield "(a) fewer than two attempts at the primary"
    elif times[1] - times[0] < 1.8:  # noqa: PLR2004 - of the 2 s that were asked for
        yield "(a) the hint was not waited for"
    if sum(at - calls[0].began <= 1.5 for at in times) > 2:  # noqa: PLR2004 - a burst
        yield "more than two attempts in the first 1.5 s"


def _gentle(calls: Sequence[Call]) -> Iterator[str]:
    times = [entry.began - calls[0].began for entry in calls[0].primary]
    if sum(at <= 3 for at in times) > 4:  # noqa: PLR2004 - as the benchmark says
        yield "more than four attempts at the primary in 3 s"
    yield from _at_most(6)(calls)


def _at_most(most: int) -> Judge:
    def judge(calls: Sequence[Call]) -> Iterator[str]:
        if len(calls[0].primary) > most:
            yield f"more than {most} attempts at the primary"

    return judge


def _retried(calls: Sequence[Call]) -> Iterator[str]:
    if len(calls[0].primary) < 2:  # noqa: PLR2004 - the first and another one
        yield "(a) the primary was not tried again"


def _nothing(calls: Sequence[Call]) -> Iterator[str]:
    del calls
    yield from ()


def _silent(calls: Sequence[Call]) -> Iterator[str]:
    if calls[0].elapsed > 100:  # noqa: PLR2004 - as the benchmark says
        yield "no end within 100 s"
    if calls[0].target != FALLBACK:
        yield "not answered by the fallback"
    if len(calls[0].primary) != 1:
        yield "(a) a silent route was tried again"


def _slow(calls: Sequence[Call]) -> Iterator[str]:
    if calls[0].elapsed > 15 or calls[0].target != FALLBACK:  # noqa: PLR2004 - as the benchmark says
        yield "(a) not answered through the fallback within 15 s"


def _within(seconds: float) -> Judge:
    def judge(calls: Sequence[Call]) -> Iterator[str]:
        if calls[0].elapsed > seconds:
            yield f"no end within {seconds:g} s"

    return judge


def _in_place(calls: Sequence[Call]) -> Iterator[str]:
    if (calls[0].target, len(calls[0].primary)) != (PRIMARY, 1):
        yield "(a) not recovered in place"


def _finalised(calls: Sequence[Call]) -> Iterator[str]:
    yield from _within(8)(calls)
    if not calls[0].has_usage:
        yield "(a) no usage"


def _once(calls: Sequence[Call]) -> Iterator[str]:
    if len(calls[0].primary) != 1:
        yield "the same request was sent again"


def _refused(calls: Sequence[Call]) -> Iterator[str]:
    yield from _once(calls)
    if calls[0].fallback:
        yield "(a) went round a refusal of content"


def _no_prefill(calls: Sequence[Call]) -> Iterator[str]:
    if any(entry.scenario == "e400_prefill" or entry.status == 400 for entry in calls[0].entries):  # noqa: PLR2004 - as the server says it
        yield "the fallback was asked to go on with an answer"


def _named(calls: Sequence[Call]) -> Iterator[str]:
    if calls[0].target != FALLBACK:
        yield "the reported model is not the fallback's"
    if not calls[0].has_usage:
        yield "(a) no usage"
    yield from _at_most(6)(calls)


def _came_back(calls: Sequence[Call]) -> Iterator[str]:
    during = [call for call in calls if call.began < _OUTAGE]
    if not all(call.is_rescued for call in during):
        yield "a request of the outage was not served"
    back = [call.began - _OUTAGE for call in calls if call.target == PRIMARY]
    if not back or back[0] > 30:  # noqa: PLR2004 - as the benchmark says
        yield "the primary was not used within 30 s of its return"
    tries = [entry.began for call in during for entry in call.primary]
    opened = tries[_TRIPS - 1] if len(tries) >= _TRIPS else 0.0
    late = sum(at > opened for at in tries)
    if late > 2 * (_OUTAGE - opened) / 20:
        yield f"{late} attempts at the primary behind an open circuit"


_TRIPS: Final = 5
"""So many failures open the circuit of a model."""

SCENARIOS: Final = (
    Scenario(
        id="S01",
        fault="429 with Retry-After: 2, once",
        primary=("e429_upstream_hint?seconds=2", OK),
        judge=_patient,
    ),
    Scenario(id="S02", fault="429 for ever, no hint", primary=("e429_nohint",), judge=_gentle),
    Scenario(id="S03", fault="500, once", primary=("e500", OK), judge=_retried),
    Scenario(id="S04", fault="503 for ever", primary=("e503",), judge=_at_most(6)),
    Scenario(id="S05", fault="reset before headers, once", primary=("reset", OK), judge=_nothing),
    Scenario(
        id="S06", fault="accepts, silent for 120 s", primary=("slow?after=120",), judge=_silent
    ),
    Scenario(
        id="S07",
        fault="headers at once, first token after 20 s",
        primary=(f"slow_first?after=20&{_WORDS}",),
        judge=_slow,
    ),
    Scenario(
        id="S08",
        fault="stream cut after 40 of 60 tokens",
        primary=(f"s_close?tokens=40&{_WORDS}",),
        judge=_nothing,
    ),
    Scenario(
        id="S09",
        fault="20 tokens, 30 s of silence, close",
        primary=(f"s_stall_close?tokens=20&after=30&{_WORDS}",),
        judge=_within(45),
    ),
    Scenario(
        id="S10",
        fault="the tenth event is no JSON",
        primary=(f"s_malformed_whole?{_WORDS}",),
        judge=_in_place,
    ),
    Scenario(
        id="S11",
        fault="complete stream without [DONE]",
        primary=(f"ok_no_done?{_WORDS}",),
        judge=_finalised,
    ),
    Scenario(id="S12", fault="400 context_length_exceeded", primary=("e400_context",), judge=_once),
    Scenario(
        id="S13",
        fault="400 content_policy_violation",
        primary=("e400_policy",),
        judge=_refused,
        wants="ContentFiltered",
    ),
    Scenario(
        id="S14",
        fault="cut after 40; the fallback takes no prefill",
        primary=(f"s_close?tokens=40&{_WORDS}",),
        fallback=(f"ok_no_prefill?{_WORDS}",),
        judge=_no_prefill,
    ),
    Scenario(
        id="S15",
        fault="503 for 60 s; a call every 4 s",
        primary=("e503",),
        judge=_came_back,
        drive=_outage,
    ),
    Scenario(id="S16", fault="503 for ever, who answered?", primary=("e503",), judge=_named),
)
