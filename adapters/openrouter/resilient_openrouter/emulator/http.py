"""Just enough HTTP/1.1 to answer a client over a byte stream.

Requests have a length, answers are chunked or have a length, connections are
kept alive. Everything that is read is bounded: a request that is not HTTP, or
too large, ends its connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import ByteStream, ObjectStream

__all__ = ("BadRequest", "chunk", "Connection", "head", "LAST_CHUNK", "Request")

_HEAD_LIMIT: Final = 64 * 1024
_BODY_LIMIT: Final = 64 * 1024 * 1024
_LENGTH = re.compile(r"[0-9]{1,12}")
_REQUEST_LINE = re.compile(r"(?P<method>[^ ]*) (?P<path>[^ ]*) HTTP/1\.[^ ]*")
LAST_CHUNK: Final = b"0\r\n\r\n"


class BadRequest(Exception):
    """The client does not speak the HTTP that this server understands."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def keeps_alive(self) -> bool:
        """Tell whether the client wants the connection to stay open."""
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """The requests of one client, read from a stream one after the other.

    `reset` closes it so that the client's next read or write fails at once.
    """

    def __init__(
        self,
        stream: ByteStream | ObjectStream[bytes],
        number: int,
        reset: Callable[[], Awaitable[None]],
    ) -> None:
        self.stream = stream
        self.number = number
        self.reset = reset
        self._read = bytearray()

    async def request(self) -> Request | None:
        """Read the next request; `None` when the client is gone."""
        try:
            return await self._request()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return None

    async def gone(self) -> None:
        """Return when the client has closed; keep what it sends before."""
        try:
            while True:
                await self._fill()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        except BadRequest:  # a client that sends without end does not listen
            return

    async def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        await self.stream.send(data)

    async def _request(self) -> Request:
        method, path, headers = _parse_head(await self._until(b"\r\n\r\n"))
        length = headers.get("content-length", "0")
        if not _LENGTH.fullmatch(length) or int(length) > _BODY_LIMIT:
            raise BadRequest("content-length")
        if "transfer-encoding" in headers:
            raise BadRequest("transfer-encoding")
        if headers.get("expect", "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Request(method, path, headers, await self._exactly(int(length)))

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._read.find(mark)) < 0:
            if len(self._read) > _HEAD_LIMIT:
                raise BadRequest("too many headers")
            await self._fill()
        return self._take(at + len(mark))

    async def _exactly(self, count: int) -> bytes:
        while len(self._read) < count:
            await self._fill()
        return self._take(count)

    async def _fill(self) -> None:
        if len(self._read) > _HEAD_LIMIT + _BODY_LIMIT:
            raise BadRequest("too many bytes")
        self._read += await self.stream.receive()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._read[:count])
        del self._read[:count]
        return taken


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and the headers."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:  # 520 to 530 and 529 are nobody's standard
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _parse_head(data: bytes) -> tuple[str, str, dict[str, str]]:
    first, *rest = data.decode("latin-1").split("\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise BadRequest("request line")
    pairs = (line.partition(":") for line in rest if line)
    headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
    return line["method"], line["path"], headers
