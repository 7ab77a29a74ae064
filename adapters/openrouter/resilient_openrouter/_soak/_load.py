"""The load itself: callers that ask one after the other, in rounds, and a look between them.

All calls of a round are over before the next one begins. In between nothing
may be left: no connection that somebody holds, no answer that is still being
given, no object that the round before had not left as well.
"""

from __future__ import annotations

import gc
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from resilient_openrouter._address import is_loopback
from resilient_openrouter._soak._course import Course, Noting, current
from resilient_openrouter._soak._invariants import Terms
from resilient_openrouter._soak._pool import Pool
from resilient_openrouter._soak._tally import Held, Tally
from resilient_openrouter.client import OpenRouter
from resilient_openrouter.results import reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_openrouter._soak._plan import Plan
    from resilient_openrouter.managers import ModelManager

__all__ = ("Result", "soak")

_PATIENCE: Final = 10.0
"""Seconds for what is left of a round to end."""

_NOISE: Final = 2.0
"""Blocks of memory for each call that caches, buffers and the like may move by."""

_SETTLED: Final = 2
"""How many rounds besides the first one show whether memory grows."""


@dataclass(slots=True)
class Result:
    """What a load test found."""

    tally: Tally = field(default_factory=Tally)
    began: float = 0.0
    elapsed: float = 0.0
    blocks: list[int] = field(default_factory=list[int])
    sizes: list[int] = field(default_factory=list[int])
    in_flight: Held = field(default_factory=lambda: Held("nothing is in flight between rounds"))
    pool: Held = field(default_factory=lambda: Held("every connection is back in the pool"))
    memory: Held = field(default_factory=lambda: Held("memory does not grow from round to round"))

    @property
    def growth(self) -> float | None:
        """Blocks of memory that each call leaves behind, `None` after too few rounds.

        What a leak leaves behind, it leaves in every round, so the least counts.
        """
        grown = [
            (later - sooner) / size
            for sooner, later, size in zip(
                self.blocks, self.blocks[1:], self.sizes[1:], strict=False
            )
        ]
        return min(grown) if len(grown) >= _SETTLED else None

    @property
    def held(self) -> list[Held]:
        """All facts and what was found of them."""
        return [*self.tally.held, self.in_flight, self.pool, self.memory]

    @property
    def is_sound(self) -> bool:
        """Whether every fact held."""
        return not any(each.broken for each in self.held)


async def soak(
    plan: Plan, *, said: Callable[[str], object] = lambda _line: None, **options: Any
) -> Result:
    """Make the calls of a plan and return what was found; `options` are those of `manager`.

    `said` gets a line behind each round.
    """
    result = Result(began=_now())
    async with AsyncExitStack() as stack:
        if plan.emulator is not None:
            await stack.enter_async_context(plan.emulator)
        url = plan.url if plan.emulator is None else plan.emulator.url
        assert url is not None  # noqa: S101 - a plan has one of both
        pool = Pool(plan.callers, is_local=is_loopback(urlsplit(url).hostname or ""))
        client = await stack.enter_async_context(httpx.AsyncClient(transport=pool, timeout=None))  # noqa: S113 - as the adapter's own
        openrouter = OpenRouter(plan.key, base_url=url, client=client)
        chain = _chain(plan, openrouter, options)
        terms = Terms(plan=plan, scopes={each.name: each.scopes for each in chain.targets})
        first = 1
        for number, size in enumerate(plan.rounds, 1):
            began = _now()
            courses = await _round(plan, chain, range(first, first + size))
            first += size
            await _settle(plan, pool, courses, result, f"round {number}")
            for course in courses:
                result.tally.add(course, terms)
            failed = sum(course.error is not None for course in courses)
            del courses
            await _measure(plan, pool, result, size)
            took = _now() - began
            said(f"round {number} of {len(plan.rounds)}: {size} calls, {failed} failed, {took:.1f} s")
    growth = result.growth
    if growth is not None:
        wrong = None if growth <= _NOISE else f"each call leaves {growth:.1f} blocks behind"
        result.memory.note(wrong, "after the first round")
    result.elapsed = _now() - result.began
    return result


def _chain(plan: Plan, openrouter: OpenRouter, options: dict[str, Any]) -> ModelManager[Any]:
    given: dict[str, Any] = {} if plan.breaks else {"breaker": None}
    return openrouter.manager(
        *plan.models,
        timeout=plan.timeout,
        attempts=plan.attempts,
        deadline=plan.deadline,
        degrade=None if plan.degrade is None else reply(plan.degrade),
        name="soak",
        listeners=[Noting()],
        **(given | options),
    )


async def _round(plan: Plan, chain: ModelManager[Any], numbers: range) -> list[Course]:
    """Let every caller ask as long as there are questions."""
    courses = [Course(number) for number in numbers]
    waiting = iter(courses)
    async with anyio.create_task_group() as group:
        for _ in range(min(plan.callers, len(courses))):
            group.start_soon(_caller, chain, waiting, plan.streams)
    return courses


async def _caller(chain: ModelManager[Any], waiting: Iterator[Course], streams: bool) -> None:  # noqa: FBT001 - a task takes no keywords
    for course in waiting:
        current.set(course)
        messages = [{"role": "user", "content": f"{course.number}: why is the sky blue?"}]
        began = _now()
        try:
            if streams:
                await _listen(chain, messages, course)
            else:
                course.reply = (await chain.run(messages)).value
        except Exception as error:  # noqa: BLE001 - what leaves is what is judged
            course.error = error
        course.took = _now() - began


async def _listen(chain: ModelManager[Any], messages: list[dict[str, str]], course: Course) -> None:
    async with chain.stream(messages) as items:
        async for chunk in items:
            course.heard += chunk.content
            course.reply = chunk.reply or course.reply


async def _settle(
    plan: Plan, pool: Pool, courses: list[Course], result: Result, where: str
) -> None:
    """Wait until the server is through with a round, and hand out what it saw."""
    held = pool.in_use
    result.pool.note(f"{held} are not" if held else None, where)
    if plan.emulator is None:
        return
    with anyio.move_on_after(_PATIENCE) as scope:
        await plan.emulator.journal.settled()
    entries = plan.emulator.journal.taken()
    open_ = sum(entry.ended == "open" for entry in entries)
    wrong = f"the server still gives {open_} answers" if scope.cancelled_caught else None
    result.in_flight.note(wrong, where)
    by_number = {str(course.number): course for course in courses}
    for entry in entries:
        asked = entry.body["messages"][0]["content"].partition(":")[0]
        by_number[asked].requests.append(entry)


async def _measure(plan: Plan, pool: Pool, result: Result, size: int) -> None:
    """Note how much memory is in use when nothing is going on."""
    await pool.renew()
    if plan.emulator is not None:
        with anyio.move_on_after(_PATIENCE):
            await plan.emulator.left()
    gc.collect()
    result.blocks.append(sys.getallocatedblocks())
    result.sizes.append(size)


def _now() -> float:
    return anyio.current_time()  # noqa: TID251 - one run has one origin
