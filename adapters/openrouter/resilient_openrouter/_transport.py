"""One request over the wire: bounded, never repeated, its connection always given back.

The HTTP client belongs to an event loop, so each loop that uses the same
`OpenRouter` has its own, opened by the first request. A client that the
caller injected is used as it is and never closed.

The client's read timeout is off. Keep-alives would reset it for ever, so it
could only ever cut a healthy call: the policies of the caller bound the time.
The limits that are set only tell apart who is to blame, and stay below what
is left of the caller's time.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

from resilient import remaining
from resilient_openrouter._reach import reason_of, where
from resilient_openrouter.classify import transport_error
from resilient_openrouter.errors import ConnectFailed, MalformedResponse
from resilient_openrouter.hints import lower

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from resilient_openrouter._key import OpenRouterKey
    from resilient_openrouter._ledger import Record

__all__ = ("Sent", "Transport")

_POOL_SECONDS: Final = 10.0
# Of the time that is left: enough to make another attempt elsewhere.
_CONNECT_SHARE: Final = 0.9
_POOL_SHARE: Final = 0.5
_LEAST: Final = 0.001


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to one request, read to its end; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """The HTTP side of an `OpenRouter`."""

    def __init__(
        self,
        url: str,
        key: OpenRouterKey,
        *,
        client: httpx.AsyncClient | None,
        connect: float,
        max_body: int,
    ) -> None:
        self._url = url
        self._key = key
        self._injected = client
        self._connect = connect
        self._max_body = max_body

    async def post(
        self, body: bytes, headers: Mapping[str, str], *, model: str, record: Record
    ) -> Sent:
        """Send a request and read its answer, whatever its status."""
        client = self._client()
        request = client.build_request(
            "POST", self._url, content=body, headers=dict(headers), timeout=self._limits()
        )
        try:
            response = await client.send(
                request, stream=True, auth=self._key, follow_redirects=False
            )
            try:
                found = lower(response.headers)
                record.begun(found.get("x-generation-id"))
                read = await self._read(response, model, record)
            finally:
                # A connection that is not closed here is lost to the pool.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except Exception as error:
            kind = transport_error(error)
            if kind is None:
                raise
            why = reason_of(error) if kind is ConnectFailed else type(error).__name__
            raise kind(
                f"{kind.says}: {why} at {where(request.url)}",
                model=model,
                generation_id=record.call.generation_id,
            ) from error
        return Sent(response.status_code, found, read)

    async def aenter(self) -> None:
        """Open the client of this loop, and keep it open for one more user."""
        self._client()
        if self._injected is None:
            self._opened()[self].users += 1

    async def aexit(self) -> None:
        """Let go of the client of this loop; its last user closes it."""
        opened = self._opened().get(self)
        if opened is not None:
            opened.users -= 1
            if opened.users <= 0:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the client of this loop; an injected one stays open."""
        opened = self._opened().pop(self, None)
        if opened is not None:
            with anyio.CancelScope(shield=True):
                await opened.client.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._injected is not None:
            return self._injected
        opened = self._opened()
        if self not in opened:
            opened[self] = _Opened(self._new_client())
        return opened[self].client

    def _opened(self) -> WeakKeyDictionary[Transport, _Opened]:
        try:
            return _clients.get()
        except LookupError:
            found: WeakKeyDictionary[Transport, _Opened] = WeakKeyDictionary()
            _clients.set(found)
            return found

    def _new_client(self) -> httpx.AsyncClient:
        try:
            import httpx  # noqa: PLC0415 - importing the adapter does not need it
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'OpenRouter needs httpx: pip install "resilient-policies[openrouter]"',
                name="httpx",
            ) from error
        if self._url.startswith("https:"):
            return httpx.AsyncClient(follow_redirects=False)
        # Loopback: no proxy leads there, and no certificate is trusted, which is quicker to set up.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(follow_redirects=False, trust_env=False, verify=nobody)

    def _limits(self) -> tuple[float, None, float | None, float]:
        """Return the limits for connecting, reading, writing and waiting for a connection."""
        left = remaining()
        connect = max(_LEAST, min(self._connect, left * _CONNECT_SHARE))
        pool = max(_LEAST, min(_POOL_SECONDS, left * _POOL_SHARE))
        return connect, None, None if left == inf else max(_LEAST, left), pool

    async def _read(self, response: httpx.Response, model: str, record: Record) -> bytes:
        """Read a bounded body; leading keep-alives are counted and dropped as they come."""
        body = bytearray()
        too_large = False
        # A stream that is left early leaves iterators behind, which trio complains of; one that
        # is cancelled unwinds all of them.
        with anyio.CancelScope() as scope:
            async for piece in response.aiter_bytes():
                kept = piece if body else piece.lstrip()
                record.padded(len(piece) - len(kept))
                if too_large or len(body) + len(kept) > self._max_body:
                    too_large = True
                    scope.cancel()
                else:
                    body += kept
        if too_large:
            raise MalformedResponse(
                f"the answer is larger than max_body={self._max_body} bytes", model=model
            )
        return bytes(body)


@dataclass(slots=True)
class _Opened:
    client: httpx.AsyncClient
    users: int = 0


_clients: RunVar[WeakKeyDictionary[Transport, _Opened]] = RunVar("openrouter_clients")
"""The open clients of each event loop; they go with the loop or with their `OpenRouter`."""
