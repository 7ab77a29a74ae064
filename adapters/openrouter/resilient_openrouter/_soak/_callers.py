"""The callers: each asks one question after the other as long as there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from resilient_openrouter._soak._course import Course, current

if TYPE_CHECKING:
    from resilient_openrouter.managers import ModelManager

__all__ = ("asked_by", "now", "question")


async def asked_by(
    callers: int, chain: ModelManager[Any], numbers: range, *, streams: bool
) -> list[Course]:
    """Let so many callers ask the questions of these numbers; return what each came to."""
    courses = [Course(number) for number in numbers]
    waiting = iter(courses)
    ask = _listen if streams else _ask

    async def caller() -> None:
        for course in waiting:
            current.set(course)
            began = now()
            try:
                await ask(chain, course)
            except Exception as error:  # noqa: BLE001 - what leaves is what is judged
                course.error = error
            course.took = now() - began

    async with anyio.create_task_group() as group:
        for _ in range(min(callers, len(courses))):
            group.start_soon(caller)
    return courses


async def _ask(chain: ModelManager[Any], course: Course) -> None:
    outcome = await chain.run([question(course.number)])
    course.reply = outcome.value


async def _listen(chain: ModelManager[Any], course: Course) -> None:
    async with chain.stream([question(course.number)]) as items:
        async for chunk in items:
            course.heard += chunk.content
            course.reply = chunk.reply or course.reply


def question(number: int) -> dict[str, str]:
    """Return the message by which the server's requests are told apart."""
    return {"role": "user", "content": f"{number}: why is the sky blue?"}


def now() -> float:
    """Return the time of this run."""
    return anyio.current_time()  # noqa: TID251 - one run has one origin
