"""A transport for httpx and httpx2: requests go to a schedule instead of a network.

Neither library is imported. A request that arrives is an object of one of
them, and what goes back is made with the same one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Self, assert_never

from resilient._core.options import shown, text
from resilient._runtime.clock import now
from resilient.testing._backend import running
from resilient.testing._body import Answered, Wire, body_class, sent, stream_of
from resilient.testing._play import outlast
from resilient.testing._record import Log
from resilient.testing._reply import HttpReply, reply_of, written
from resilient.testing._steps import FRESH, Bad, Fail, Hang, Items, Ok, Stubborn

if TYPE_CHECKING:
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

    def __init__(
        self,
        schedule: FailureSchedule,
        name: str,
        answer: Any,  # noqa: ANN401 - whatever JSON can be written of
        item: Any,  # noqa: ANN401 - as above
        end: bytes,
    ) -> None:
        self.schedule = schedule
        self._name = text(name, "transport(name=)")
        self._answer = answer
        self._item = item
        if not isinstance(end, bytes):
            raise TypeError(f"transport(end=) takes bytes, not {shown(end)}")
        self._end = end
        if answer is not FRESH and not isinstance(answer, HttpReply | bytes):
            written(answer, "transport(answer=)")
        if item is not FRESH and not isinstance(item, bytes):
            written(item, "transport(item=)")
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
            answer = await self._head(step, call.number, wire)
        except BaseException as error:
            log.over(call, error)
            raise
        call.value = answer.reply
        call.items = [] if answer.is_stream else None
        body = body_class(wire.library)(answer, wire, log, call)
        return wire.library.Response(answer.reply.status, headers=answer.headers, stream=body)

    async def _head(self, step: Step, number: int, wire: Wire) -> Answered:
        """Wait for the head of the answer; raise where there is none."""
        match step:
            case Ok(value, after) | Bad(value, after):
                await wire.read(after)
                return self._good(number) if value is FRESH else sent(reply_of(value, number))
            case Items():
                await wire.read(0)
                return stream_of(step, self._item, self._end)
            case Fail():
                return sent(await wire.fails(step, number))
            case Stubborn(after):
                await outlast(now() + after)
            case Hang():
                await wire.read(inf)
            case _:
                assert_never(step)
        return self._good(number)

    def _good(self, number: int) -> Answered:
        """Return the answer of a step that names none."""
        if self._item is not FRESH and self._answer is FRESH:
            return stream_of(Items(1), self._item, self._end)
        return sent(reply_of(self._answer, number))

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
