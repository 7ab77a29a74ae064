"""How a scripted function does what its step says."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import anyio

from resilient._runtime.clock import now
from resilient.testing._steps import (
    FRESH,
    Bad,
    BadStepError,
    Cut,
    CutError,
    Fail,
    Hang,
    Items,
    Ok,
    Stubborn,
    values_of,
)

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


class Item:
    """An item of a stream whose step names none: equal to nothing but itself."""

    __slots__ = ("call", "number")

    def __init__(self, call: int, number: int) -> None:
        self.call = call
        self.number = number

    def __repr__(self) -> str:
        """Name the call and the place in its stream."""
        return f"<item {self.number} of call {self.call}>"


async def play(step: Step, number: int) -> object:
    """Play `step` in call `number`: return, raise or hang."""
    match step:
        case Items():
            raise BadStepError(
                f"{step!r} is for streams: async generator functions, FaultyBackend(...).stream,"
                " and transports"
            )
        case Ok(value, after) | Bad(value, after):
            await passed(after)
            return Answer(number) if value is FRESH else value
        case Fail(_, after):
            await passed(after)
            raise failure(step, number)
        case Stubborn(after):
            await outlast(now() + after)
        case Hang():
            await anyio.sleep_forever()
        case _:
            assert_never(step)
    return Answer(number)


def items_of(step: Step, number: int) -> list[object]:
    """Return the items that a stream gives in call `number`: of other steps their one value."""
    match step:
        case Items():
            found = enumerate(values_of(step), start=1)
            return [Item(number, place) if one is FRESH else one for place, one in found]
        case Ok(value) | Bad(value):
            return [Item(number, 1) if value is FRESH else value]
        case Stubborn():
            return [Item(number, 1)]
        case Fail() | Hang():
            return []


async def before_item(step: Step, place: int) -> None:
    """Wait for the item at `place`, counted from 0."""
    if isinstance(step, Stubborn):
        await outlast(now() + step.after)
    elif isinstance(step, Items):
        await passed(step.gap if place else step.after)
    else:
        await passed(getattr(step, "after", 0))


async def end_of_stream(step: Step, number: int) -> None:
    """Wait for the end of a stream behind its last item; raise or hang where it ends so."""
    if isinstance(step, Items):
        if not values_of(step):
            await passed(step.after)
        step = ending_of(step)
        if isinstance(step, Ok):
            await passed(step.after)
    match step:
        case Fail():
            await passed(step.after)
            raise failure(step, number)
        case Hang():
            await anyio.sleep_forever()
        case _:
            pass


def ending_of(step: Items) -> Ok | Fail | Hang:
    """Return how a stream ends where a source that knows its end marker was cut."""
    return Fail(CutError) if isinstance(step.then, Cut) else step.then


def failure(step: Fail, number: int) -> BaseException:
    """Return the error of a step; one that says nothing has a text, to be seen where it leaks."""
    text = f"{SCHEDULED} in call {number}"
    error = step.make(text)
    if not error.args:
        error.args = (text,)
    return error


async def passed(seconds: float) -> None:
    """Let `seconds` pass."""
    if seconds:  # a step of no duration does not even suspend
        await anyio.sleep(seconds)


async def outlast(end: float) -> None:
    """Wait until `end` and swallow each cancellation that arrives, of either kind."""
    cancelled = anyio.get_cancelled_exc_class()
    try:
        await passed(end - now())
    except cancelled:
        # A level-triggered cancellation comes back at every await but behind a shield;
        # behind one, only native ones arrive, and each once.
        with anyio.CancelScope(shield=True):
            while now() < end:
                try:
                    await anyio.sleep(end - now())
                except cancelled:
                    continue
