"""How a server sends its answer: the pieces of a body, when each comes, and how it ends."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Final, Self

from resilient.testing._play import SCHEDULED, failure, passed
from resilient.testing._reply import (
    CONNECTING,
    HttpReply,
    IncompleteError,
    name_of_error,
    network_error,
    refusal_of,
    written,
)
from resilient.testing._steps import FRESH, Cut, Fail, Hang, Ok, values_of
from resilient.testing._virtual_run import leave_to

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from resilient.testing._record import Log, TargetCall
    from resilient.testing._steps import Ending, Items

_JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a body, and whether they are the end marker of a stream."""

    text: bytes
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as it is sent: pieces, each so many seconds after the one before, and an end."""

    reply: HttpReply
    headers: Mapping[str, str]
    pieces: list[tuple[float, Piece]]
    ending: Ending
    is_stream: bool = False


def sent(reply: HttpReply) -> Answered:
    """Return how a reply is sent."""
    content, headers = reply.content, {}
    if reply.json is not FRESH:
        content, headers = written(reply.json, "HttpReply(json=)"), _JSON
    parts = (content,) if isinstance(content, bytes | str) else content
    texts = [part.encode() if isinstance(part, str) else part for part in parts]
    ending = Ok() if reply.complete else Fail(IncompleteError)
    pieces = [(reply.gap, Piece(text)) for text in texts]
    return Answered(reply, {**headers, **reply.headers}, pieces, ending)


def stream_of(step: Items, item: Any, end: bytes) -> Answered:  # noqa: ANN401 - as above
    """Return how a stream is sent: an event for each item, and the end marker if it has one."""
    values = enumerate(values_of(step), start=1)
    events = [event_of(item if one is FRESH else one, place) for place, one in values]
    pieces = [(step.gap if n else step.after, Piece(text)) for n, text in enumerate(events)]
    ending = step.then
    if isinstance(ending, Ok):
        wait = ending.after + (0 if events else step.after)
        pieces.append((wait, Piece(end, ends=True)))
    headers = {"Content-Type": "text/event-stream"}
    return Answered(HttpReply(), headers, pieces, ending, is_stream=True)


def event_of(value: Any, place: int) -> bytes:  # noqa: ANN401 - as above
    """Return the event that carries an item: bytes as they are, anything else as JSON."""
    if isinstance(value, bytes):
        return value
    text = written({"item": place} if value is FRESH else value, "an item of a transport")
    return b"data: " + text + b"\n\n"


class Wire:
    """One request on its way: how long its client waits, and which errors it knows.

    Where the limit and what it waits for come at the same instant the limit wins.
    """

    def __init__(self, request: Any) -> None:  # noqa: ANN401 - as above
        root = type(request).__module__.partition(".")[0]
        # A client library has generators around generators around a body. When the
        # response is closed they hold nothing, and its user cannot close all of them.
        leave_to(root)
        self.library: ModuleType = sys.modules[root]
        limits: dict[str, float | None] = request.extensions.get("timeout") or {}
        self._connect = limits.get("connect")
        self._read = limits.get("read")

    async def read(self, seconds: float) -> None:
        """Wait until something comes after `seconds`, for as long as the client waits for that."""
        await self._within(seconds, self._read, "ReadTimeout")

    async def fails(self, step: Fail, number: int) -> HttpReply:
        """Fail as a step says: with a status, with an error of the network, or as it is."""
        refusal, name = refusal_of(step), name_of_error(step)
        if refusal is None and name in CONNECTING:
            await self._within(step.after, self._connect, "ConnectTimeout")
        else:
            await self.read(step.after)
        if refusal is not None:
            return refusal
        if name is None:
            raise failure(step, number)
        raise network_error(self.library, name, f"{SCHEDULED} in call {number}")

    async def ends(self, ending: Ending, number: int) -> None:
        """End the body as a stream does; a status that would say why has been sent before."""
        if isinstance(ending, Hang):
            await self.read(inf)
        if isinstance(ending, Fail):
            await self.read(ending.after)
            name = name_of_error(ending)
            if refusal_of(ending) or name in CONNECTING:  # there is a connection, and it breaks
                name = "ReadError"
            if name is None:
                raise failure(ending, number)
            raise network_error(self.library, name, f"{SCHEDULED} in call {number}")

    async def _within(self, seconds: float, limit: float | None, kind: str) -> None:
        if limit is not None and limit <= seconds:
            await passed(limit)
            raise network_error(self.library, kind, "")
        await passed(seconds)


class _Body:
    """The body of an answer; the call is over when it has been read or closed."""

    def __init__(self, answer: Answered, wire: Wire, log: Log, call: TargetCall) -> None:
        self._pieces = list(reversed(answer.pieces))
        self._ending, self._wire = answer.ending, wire
        self._log, self._call = log, call

    def __aiter__(self) -> Self:
        """Return itself: a body is read once."""
        return self

    async def __anext__(self) -> bytes:
        """Give the next piece."""
        call = self._call
        try:
            if call.ended is None and self._pieces:
                seconds, piece = self._pieces.pop()
                await self._wire.read(seconds)
                if call.items is not None and not piece.ends:
                    call.items.append(piece.text)
                return piece.text
            if call.ended is None:
                call.cut = isinstance(self._ending, Cut)
                await self._wire.ends(self._ending, call.number)
        except BaseException as error:
            self._log.over(call, error)
            raise
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Be done with it."""
        self._log.over(self._call)


@cache
def body_class(library: ModuleType) -> Any:  # noqa: ANN401
    """Return the class of bodies that a library takes for its own."""
    return type("Body", (_Body, library.AsyncByteStream), {})
