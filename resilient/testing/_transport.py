"""A transport for httpx and httpx2: requests go to a schedule instead of a network.

Neither library is imported. A request that arrives is an object of one of
them, and what goes back is made with the same one.
"""

from __future__ import annotations

import sys
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Self, assert_never

from resilient._core.options import text
from resilient._runtime.clock import now
from resilient.testing._backend import running
from resilient.testing._play import SCHEDULED, failure, outlast, passed
from resilient.testing._record import Log
from resilient.testing._reply import (
    CONNECTING,
    HttpReply,
    name_of_error,
    network_error,
    pieces_of,
    refusal_of,
    reply_of,
)
from resilient.testing._steps import FRESH, Bad, Fail, Hang, Ok, Stubborn

if TYPE_CHECKING:
    from types import ModuleType

    from resilient.testing._record import TargetCall
    from resilient.testing._schedule import FailureSchedule
    from resilient.testing._steps import Step

    # Which library's base class it would have depends on who uses it.
    _Base = Any
else:
    _Base = object


class ScheduledTransport(_Base):  # type: ignore[misc]  # that is what `Any` is for
    """A transport whose server does what a schedule says: `FailureSchedule.transport()`.

    In a `simulate` run its calls are part of that run, and each run begins
    with the first step. Elsewhere it goes on from request to request; `calls`
    has all of them. A call lasts until its response is closed.
    """

    def __init__(self, schedule: FailureSchedule, name: str, answer: Any) -> None:  # noqa: ANN401
        self.schedule = schedule
        self._name = text(name, "transport(name=)")
        self._answer = answer
        reply_of(answer, 0)
        self._log = Log()

    @property
    def calls(self) -> list[TargetCall]:
        """The requests so far, in this run or the last one."""
        return [call for call in self._log.calls if call.function is self]

    async def handle_async_request(self, request: Any) -> Any:  # noqa: ANN401 - of either library
        """Do what the step of this request says."""
        log = running.get() or self._log
        self._log = log
        schedule, index = log.script(self.schedule, 0)
        step = schedule.step(log.turn(self))
        call = log.begun(step, self._name, index, self)
        wire = Wire(request)
        try:
            reply = await self._head(step, call.number, wire)
        except BaseException as error:
            log.over(call, error)
            raise
        call.value = reply
        return _response(reply, wire, log, call)

    async def _head(self, step: Step, number: int, wire: Wire) -> HttpReply:
        """Wait for the head of the answer; raise where there is none."""
        match step:
            case Ok(value, after) | Bad(value, after):
                await wire.read(after)
                return reply_of(self._answer if value is FRESH else value, number)
            case Fail():
                return await wire.fails(step, number)
            case Stubborn(after):
                await outlast(now() + after)
            case Hang():
                await wire.read(inf)
            case _:
                assert_never(step)
        return reply_of(self._answer, number)

    async def __aenter__(self) -> Self:
        """Return itself: nothing has to be opened."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: there is no connection to close."""

    async def aclose(self) -> None:
        """Do nothing: there is no connection to close."""

    def __repr__(self) -> str:
        """Return the code that makes it."""
        name = "" if self._name == "server" else f"name={self._name!r}"
        return f"{self.schedule!r}.transport({name})"


class Wire:
    """One request on its way: how long its client waits, and which errors it knows.

    Where the limit and what it waits for come at the same instant the limit wins.
    """

    def __init__(self, request: Any) -> None:  # noqa: ANN401 - as above
        limits: dict[str, float | None] = request.extensions.get("timeout") or {}
        self.library: ModuleType = sys.modules[type(request).__module__.partition(".")[0]]
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

    def error(self, name: str, said: str) -> BaseException:
        """Return an error of the client's library."""
        return network_error(self.library, name, said)

    async def _within(self, seconds: float, limit: float | None, kind: str) -> None:
        if limit is not None and limit <= seconds:
            await passed(limit)
            raise self.error(kind, "")
        await passed(seconds)


class _Body:
    """The body of an answer; the call is over when it has been read or closed."""

    def __init__(self, reply: HttpReply, wire: Wire, log: Log, call: TargetCall) -> None:
        self._pieces = list(reversed(pieces_of(reply)))
        self._reply, self._wire = reply, wire
        self._log, self._call = log, call

    def __aiter__(self) -> Self:
        """Return itself: a body is read once."""
        return self

    async def __anext__(self) -> bytes:
        """Give the next piece."""
        try:
            if self._call.ended is None and self._pieces:
                await self._wire.read(self._reply.gap)
                return self._pieces.pop()
            if self._call.ended is None and not self._reply.complete:
                raise self._wire.error(  # noqa: TRY301 - it ends the call like any other
                    "RemoteProtocolError",
                    "peer closed connection without sending complete message body",
                )
        except BaseException as error:
            self._log.over(self._call, error)
            raise
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Be done with it."""
        self._log.over(self._call)


def _response(reply: HttpReply, wire: Wire, log: Log, call: TargetCall) -> Any:  # noqa: ANN401
    headers = {} if reply.json is FRESH else {"Content-Type": "application/json"}
    body = _body_class(wire.library)(reply, wire, log, call)
    return wire.library.Response(reply.status, headers=headers | dict(reply.headers), stream=body)


@cache
def _body_class(library: ModuleType) -> Any:  # noqa: ANN401
    """Return the class of bodies that a library takes for its own."""
    return type("Body", (_Body, library.AsyncByteStream), {})
