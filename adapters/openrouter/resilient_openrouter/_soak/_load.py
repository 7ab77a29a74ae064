"""The load itself: rounds of calls, and a look between them.

All calls of a round are over before the next one begins. In between nothing
may be left: no connection that somebody holds, no answer that is still being
given, no object that the round before had not left as well.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from resilient_openrouter._address import is_loopback
from resilient_openrouter._plan import DEFAULT
from resilient_openrouter._soak._callers import asked_by, now, question
from resilient_openrouter._soak._course import Course, Noting
from resilient_openrouter._soak._invariants import Terms
from resilient_openrouter._soak._memory import blocks_in_use
from resilient_openrouter._soak._pool import Pool
from resilient_openrouter._soak._result import Result
from resilient_openrouter.client import OpenRouter
from resilient_openrouter.results import reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient.typing import Listener
    from resilient_openrouter._soak._plan import Plan
    from resilient_openrouter.managers import ModelManager

__all__ = ("soak",)

_PATIENCE: Final = 10.0
"""Seconds for what is left of a round to end."""


async def soak(
    plan: Plan,
    *,
    said: Callable[[str], object] = lambda _line: None,
    listeners: Sequence[Listener] = (),
) -> Result:
    """Make the calls of a plan and return what was found; `said` gets a line behind each round."""
    began = now()
    async with AsyncExitStack() as stack:
        if plan.emulator is not None:
            await stack.enter_async_context(plan.emulator)
        url = plan.url if plan.emulator is None else plan.emulator.url
        assert url is not None  # noqa: S101 - a plan has one of both
        pool = Pool(plan.callers, is_local=is_loopback(urlsplit(url).hostname or ""))
        client = await stack.enter_async_context(httpx.AsyncClient(transport=pool, timeout=None))  # noqa: S113 - as the adapter's own
        openrouter = OpenRouter(plan.key, base_url=url, client=client)
        load = _Load(plan, pool, _chain(plan, openrouter, listeners))
        for number, size in enumerate(plan.rounds, 1):
            told = await load.round(f"round {number}", size)
            said(f"round {number} of {len(plan.rounds)}: {told}")
            await load.measure(size)
    load.result.judge_memory()
    load.result.elapsed = now() - began
    return load.result


def _chain(plan: Plan, openrouter: OpenRouter, listeners: Sequence[Listener]) -> ModelManager[Any]:
    return openrouter.manager(
        *plan.models,
        timeout=plan.timeout,
        attempts=plan.attempts,
        deadline=plan.deadline,
        degrade=None if plan.degrade is None else reply(plan.degrade),
        name="soak",
        listeners=[Noting(), *listeners],
        breaker=DEFAULT if plan.breaks else None,
    )


class _Load:
    """A chain under load, and what was found so far."""

    def __init__(self, plan: Plan, pool: Pool, chain: ModelManager[Any]) -> None:
        self.result = Result()
        self._plan = plan
        self._pool = pool
        self._chain = chain
        self._terms = Terms(plan=plan, scopes={each.name: each.scopes for each in chain.targets})
        self._next = 1

    async def round(self, name: str, size: int) -> str:
        """Make so many calls and judge each; return in words how they went."""
        began = now()
        numbers = range(self._next, self._next + size)
        self._next += size
        plan, result = self._plan, self.result
        courses = await asked_by(plan.callers, self._chain, numbers, streams=plan.streams)
        held = self._pool.in_use
        result.pool.note(f"{held} are not" if held else None, name)
        await self._settle(courses, name)
        for course in courses:
            result.tally.add(course, self._terms)
        failed = sum(course.error is not None for course in courses)
        return f"{size} calls, {failed} failed, {now() - began:.1f} s"

    async def measure(self, size: int) -> None:
        """Note how much memory is in use when nothing is going on."""
        await self._pool.renew()
        if self._plan.emulator is not None:
            with anyio.move_on_after(_PATIENCE):
                await self._plan.emulator.left()
        self.result.blocks.append(await blocks_in_use())
        self.result.sizes.append(size)

    async def _settle(self, courses: list[Course], name: str) -> None:
        """Wait until the server is through with a round, and hand out what it saw."""
        if self._plan.emulator is None:
            return
        journal = self._plan.emulator.journal
        with anyio.move_on_after(_PATIENCE):
            await journal.settled()
        entries = journal.taken()
        given = sum(entry.ended == "open" for entry in entries)
        wrong = f"the server still gives {given} answers" if given else None
        self.result.in_flight.note(wrong, name)
        by_question = {question(course.number)["content"]: course for course in courses}
        for entry in entries:
            by_question[entry.body["messages"][0]["content"]].requests.append(entry)
