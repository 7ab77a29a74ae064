"""How a scripted function does what its step says."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import anyio

from resilient._runtime.clock import now
from resilient.testing._steps import FRESH, Bad, Fail, Hang, Ok, Stubborn

if TYPE_CHECKING:
    from resilient.testing._steps import Step


SCHEDULED = "scheduled"
"""What the texts of errors begin with that a schedule has made."""


class Answer:
    """What a call returns when its step names no value: equal to nothing but itself."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        """Name the call."""
        return f"<answer of call {self.number}>"


async def play(step: Step, number: int) -> object:
    """Play `step` in call `number`: return, raise or hang."""
    match step:
        case Ok(value, after) | Bad(value, after):
            await _pass(after)
            return Answer(number) if value is FRESH else value
        case Fail(_, after):
            await _pass(after)
            raise _named(step.make(), number)
        case Stubborn(after):
            await _outlast(now() + after)
        case Hang():
            await anyio.sleep_forever()
        case _:
            assert_never(step)
    return Answer(number)


def _named(error: BaseException, number: int) -> BaseException:
    """Give an error that says nothing a text, so that it is seen where it should not be."""
    if not error.args:
        error.args = (f"{SCHEDULED} in call {number}",)
    return error


async def _pass(seconds: float) -> None:
    if seconds:  # a step of no duration does not even suspend
        await anyio.sleep(seconds)


async def _outlast(end: float) -> None:
    """Wait until `end` and swallow each cancellation that arrives, of either kind."""
    cancelled = anyio.get_cancelled_exc_class()
    try:
        await _pass(end - now())
    except cancelled:
        # A level-triggered cancellation comes back at every await but behind a shield;
        # behind one, only native ones arrive, and each once.
        with anyio.CancelScope(shield=True):
            while now() < end:
                try:
                    await anyio.sleep(end - now())
                except cancelled:
                    continue
