"""An HTTP client that counts the connections which somebody has taken and not given back."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ("Pool",)


class Pool(httpx.AsyncBaseTransport):
    """A transport with a connection for every caller; `in_use` is how many are taken now.

    A caller that finds none has lost one.
    """

    def __init__(self, connections: int, *, is_local: bool) -> None:
        self.in_use = 0
        self._limits = httpx.Limits(max_connections=connections, max_keepalive_connections=20)
        # As the adapter's own: what leads to this machine needs no certificates.
        self._verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_local else True
        self._inner = self._new()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its connection is in use until the answer is closed."""
        self.in_use += 1
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            self.in_use -= 1
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - narrows the type
        return httpx.Response(
            status_code=response.status_code,
            headers=response.headers,
            stream=_Body(response.stream, self),
            extensions=response.extensions,
        )

    async def renew(self) -> None:
        """Close all connections and begin anew."""
        await self._inner.aclose()
        self._inner = self._new()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    def _new(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(limits=self._limits, verify=self._verify)


class _Body(httpx.AsyncByteStream):
    """A body that says when its connection is given back."""

    def __init__(self, body: httpx.AsyncByteStream, pool: Pool) -> None:
        self._body = body
        self._pool = pool
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._pool.in_use -= not self._is_closed
            self._is_closed = True
