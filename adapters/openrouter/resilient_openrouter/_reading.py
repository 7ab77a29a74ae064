"""How an answer is read under the clocks of its attempt.

Each step is one scope of time: it is entered when somebody waits and left
before anything is handed out, so no scope is open while the caller has the
turn. Inside a step every byte and every piece of content sets clocks back,
and the end of the scope moves with them.

What is complete does not wait for ever for what may still come: the usage
behind the reason of the end, what follows an error, and the end of the body
behind `[DONE]` have a short grace each, and its end is no failure.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from resilient_openrouter._answer import Answer
from resilient_openrouter._head import Head
from resilient_openrouter._transcript import Transcript
from resilient_openrouter._watch import GRACE, Watch
from resilient_openrouter.collecting import as_chunk
from resilient_openrouter.errors import (
    ConnectionLost,
    MalformedResponse,
    NotFound,
    OpenRouterError,
    StreamStalled,
)
from resilient_openrouter.evidence import decoded, is_success
from resilient_openrouter.sse import Decoder, TooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient_openrouter._exchange import Exchange
    from resilient_openrouter._ledger import Record
    from resilient_openrouter.clocks import Clocks
    from resilient_openrouter.results import Chunk, Reply
    from resilient_openrouter.rows import Row

__all__ = ("Reading",)

T = TypeVar("T")

# The usage comes in the next event; a server that never closes is not waited for.
_AFTER_FINISH: Final = 3.0
_AFTER_ERROR: Final = 0.25
# A new connection takes about as long, so it pays to wait for this one to be free again.
_AFTER_DONE: Final = 0.25
_PLAIN: Final = (b"{", b"[", b"<")
_EVENTS: Final = (b":", b"data", b"event", b"id", b"retry")


class Reading:
    """One answer, read to its end or as far as somebody wants it.

    Use `reply` for a plain answer, `next` for the chunks of a stream and
    `collected` for the whole of one; then `aclose`.
    """

    def __init__(
        self,
        exchange: Exchange,
        record: Record,
        clocks: Clocks,
        *,
        max_body: int,
        table: tuple[Row, ...],
        secrets: tuple[str, ...],
        keep_raw: bool,
        price: Callable[[Reply], Reply],
        reasoning_commits: bool = True,
    ) -> None:
        self._exchange = exchange
        self._record = record
        self._clocks = clocks
        self._max_body = max_body
        self._judge: dict[str, Any] = {"table": table, "secrets": secrets, "keep_raw": keep_raw}
        self._price = price
        self._reasoning_commits = reasoning_commits
        self._began = _now()
        self._watch = Watch(clocks, self._began)
        self._scope: anyio.CancelScope | None = None
        self._decoder = Decoder(max_total=max_body)
        self._head: Head | None = None
        self._transcript: Transcript | None = None
        self._overflow: str | None = None
        self._is_silent = True  # no event so far, at most keep-alives
        self._is_ending = False
        self._is_over = False

    async def reply(self) -> Reply:
        """Send the request and return the answer, which comes in one piece."""
        reply = await self._within(self._answered, self._began)
        assert reply is not None  # noqa: S101 - only a stream that is complete has a grace
        return reply

    async def payload(self) -> Mapping[str, object]:
        """Send the request and return the JSON object that answers it."""
        payload = await self._within(self._looked_up, self._began)
        assert payload is not None  # noqa: S101 - as above
        return payload

    async def collected(self) -> Reply:
        """Read a stream to its end and return what it adds up to."""
        reply: Reply | None = None
        try:
            while chunks := await self.next():
                reply = chunks[-1].reply
        except OpenRouterError as error:
            error.committed = False  # nobody has seen any of it
            raise
        assert reply is not None  # noqa: S101 - without it a stream ends with an error
        return reply

    async def next(self) -> list[Chunk]:
        """Return the chunks that come next, none when the answer is over.

        The first call sends the request.
        """
        if self._is_over:
            await self._drained()
            return []
        now = _now()
        self._watch.resumed(now)
        while not self._is_ending:
            chunks = await self._within(self._more, now)
            if chunks:
                return chunks
            now = _now()
        return self._ended()

    async def aclose(self) -> None:
        """Give the connection back."""
        self._record.closed(_now() - self._began)
        await self._exchange.aclose()

    async def _within(self, work: Callable[[], Awaitable[T]], now: float) -> T | None:
        """Do some work until the next clock expires; return `None` where that is no failure."""
        until, _ = self._watch.next()
        if until == inf:
            return await work()
        if until > now:  # who comes back too late finds it over
            self._scope = anyio.CancelScope(deadline=until)
            try:
                with self._scope:
                    return await work()
            finally:
                self._scope = None
        _, clock = self._watch.next()
        if clock == GRACE:
            self._is_ending = True
            return None
        raise StreamStalled(clock=clock, after=getattr(self._clocks, clock), **self._facts())

    def _moved(self) -> None:
        """Move the end of the step to where the clocks stand now."""
        if self._scope is not None:
            self._scope.deadline = self._watch.next()[0]

    async def _sent(self) -> Head:
        """Send the request; return the head of the answer."""
        await self._exchange.send(
            connected=self._connected, sent=self._noted if self._clocks.first_byte else None
        )
        now = _now()
        self._watch.begun(now)
        self._record.begun(self._exchange.headers.get("x-generation-id"), now - self._began)
        self._moved()
        self._head = Head(
            status=self._exchange.status,
            headers=self._exchange.headers,
            model=self._record.model,
            **self._judge,
        )
        return self._head

    def _connected(self) -> None:
        self._record.connected(_now() - self._began)

    def _noted(self) -> None:
        self._watch.sent(_now())
        self._moved()

    async def _answered(self) -> Reply:
        return await self._plain(await self._sent(), b"")

    async def _looked_up(self) -> Mapping[str, object]:
        head = await self._sent()
        answer = Answer.of(head, await self._whole(head, b""))
        if head.status == HTTPStatus.NOT_FOUND and isinstance(decoded(answer.body), dict):
            raise NotFound(status_code=head.status, **head.facts({}))
        return answer.payload()

    async def _plain(self, head: Head, first: bytes) -> Reply:
        reply = self._price(Answer.of(head, await self._whole(head, first)).reply())
        self._record.answered(reply)
        return reply

    async def _whole(self, head: Head, first: bytes) -> bytes:
        """Read a bounded body of JSON; keep-alives before it are counted and dropped."""
        body = bytearray()
        piece = first or await self._exchange.read()
        while piece:
            kept = piece if body else piece.lstrip()
            self._record.padded(len(piece) - len(kept))
            if len(body) + len(kept) > self._max_body:
                raise MalformedResponse(
                    f"the answer is larger than max_body={self._max_body} bytes", **head.facts({})
                )
            body += kept
            self._heard(spoken=bool(kept))
            self._moved()
            piece = await self._exchange.read()
        return bytes(body)

    async def _more(self) -> list[Chunk]:
        """Read until there is something to hand out, or nothing more to come."""
        chunks: list[Chunk] = []
        if self._transcript is None:
            chunks = await self._begun(await self._sent())
        while not (chunks or self._is_ending):
            chunks = self._taken(await self._piece())
            if self._scope is None and self._watch.next()[0] != inf:
                break  # a grace has begun, which needs a scope
        return chunks

    async def _begun(self, head: Head) -> list[Chunk]:
        """Tell a stream from a plain answer, which may come in its place."""
        first = b""
        if is_success(head.status):
            while not first.strip() and (piece := await self._exchange.read()):
                first += piece
                self._heard()
                self._moved()
            if not _is_plain(head.headers.get("content-type", ""), first.lstrip()):
                self._transcript = Transcript(head, reasoning_commits=self._reasoning_commits)
                return self._taken(first)
        reply = await self._plain(head, first)
        self._is_ending = self._is_over = True
        return [as_chunk(reply)]

    async def _piece(self) -> bytes:
        """Return the next bytes; a connection that breaks may be the end of them, or an error."""
        script = self._script
        try:
            return await self._exchange.read()
        except ConnectionLost as error:
            if script.is_complete or script.has_failed:
                return b""
            if script.is_committed:
                raise script.truncated("because the connection broke") from error
            raise

    def _taken(self, data: bytes) -> list[Chunk]:
        """Take the next bytes of a stream; return the chunks that leave now."""
        script = self._script
        self._is_ending = not data
        chunks: list[Chunk] = []
        try:
            for event in self._decoder.feed(data):
                self._is_silent = False
                chunks += script.take(event)
                if script.is_done:
                    break
        except TooLarge as error:
            self._overflow = str(error)
        if self._is_silent:
            self._record.padded(len(data))
        now = self._heard(spoken=bool(chunks))
        if script.has_failed:
            self._watch.closing(now, _AFTER_ERROR)
        elif script.is_complete:
            self._watch.closing(now, _AFTER_FINISH)
        self._is_ending = not data or script.is_done or self._overflow is not None
        if not (chunks or self._is_ending):  # else this step is over
            self._moved()
        return chunks

    def _heard(self, *, spoken: bool = False) -> float:
        """Set back the clocks; return the time."""
        now = _now()
        if spoken:
            self._watch.spoken(now)
            self._record.spoken(now - self._began)
        else:
            self._watch.heard(now)
        return now

    def _ended(self) -> list[Chunk]:
        """Return the last chunk, or raise what keeps this stream from being an answer."""
        script = self._script
        if self._overflow is not None:
            raise MalformedResponse(self._overflow, **script.facts())
        failure = script.failure(is_inside=self._decoder.is_inside)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
        self._is_over = True
        last = script.last()
        assert last.reply is not None  # noqa: S101 - that is what makes it the last
        last.reply = self._price(last.reply)
        self._record.answered(last.reply)
        return [last]

    async def _drained(self) -> None:
        """Read what is behind the end of a stream, so that its connection can be used again."""
        with anyio.move_on_after(_AFTER_DONE), suppress(OpenRouterError):
            while await self._exchange.read():
                pass

    @property
    def _script(self) -> Transcript:
        assert self._transcript is not None  # noqa: S101 - a stream has begun
        return self._transcript

    def _facts(self) -> dict[str, Any]:
        if self._transcript is not None:
            return self._transcript.facts()
        if self._head is not None:
            return self._head.facts({})
        return {"model": self._record.model}


def _is_plain(content_type: str, first: bytes) -> bool:
    """Tell by its type, and then by its first bytes, whether an answer is no stream."""
    if first.startswith(_PLAIN):
        return True
    if "event-stream" in content_type.lower():
        return False
    return not first.startswith(_EVENTS)


def _now() -> float:
    return anyio.current_time()  # noqa: TID251 - what a scope's end is measured by, in one run
