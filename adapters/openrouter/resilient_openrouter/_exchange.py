"""One request and its answer over the wire, however far it is read.

Nothing is repeated here, and a connection that was taken is given back or
closed on every path. What the HTTP client raises leaves as the error that it
means; a mistake in the program leaves as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient_openrouter._reach import reason_of, where
from resilient_openrouter._resent import stamp
from resilient_openrouter.classify import transport_error
from resilient_openrouter.errors import ConnectFailed
from resilient_openrouter.hints import lower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import httpx

    from resilient_openrouter._key import Key
    from resilient_openrouter._ledger import Record
    from resilient_openrouter.errors import OpenRouterError

__all__ = ("Exchange",)

_TCP: Final = "connect_tcp.complete"
_TLS: Final = "start_tls.complete"
_BEGUN: Final = "send_request_headers.started"
_SENT: Final = "send_request_body.complete"


class Exchange:
    """One request; `status` and `headers` are there once `send` has returned."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        request: httpx.Request,
        key: Key,
        record: Record,
    ) -> None:
        self._client = client
        self._request = request
        self._key = key
        self._record = record
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._is_read = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def send(
        self, *, connected: Callable[[], None], sent: Callable[[], None] | None = None
    ) -> None:
        """Send the request and wait for the headers of the answer.

        `connected` is called when there is a new connection, `sent` when the
        last byte is out, by transports that tell.
        """
        self._request.extensions["trace"] = _tracer(
            {_TCP: connected, _TLS: connected, _BEGUN: stamp(), _SENT: sent}
        )
        try:
            response = await self._client.send(
                self._request, stream=True, auth=self._key, follow_redirects=False
            )
        except Exception as error:
            kind = transport_error(error)
            if kind is None:
                raise
            raise self._lost(kind, error) from error
        finally:
            # The rest is told to nobody, and leads from the request back to its reader.
            del self._request.extensions["trace"]
        self._response = response
        self.status = response.status_code
        self.headers = lower(response.headers)
        self._pieces = response.aiter_bytes()

    async def read(self) -> bytes:
        """Return the next bytes of the body, none at its end."""
        if self._pieces is None or self._is_read:
            return b""
        try:
            async for piece in self._pieces:  # where it went on, and it stays there
                return piece
        except Exception as error:
            self._is_read = True
            kind = transport_error(error)
            if kind is None:
                raise
            raise self._lost(kind, error) from error
        self._is_read = True
        return b""

    async def aclose(self) -> None:
        """Give the connection back: to the pool if the body was read, else close it."""
        if self._response is None:
            return
        # A connection that is not closed here is lost to the pool.
        with anyio.CancelScope(shield=True):
            if not self._is_read:
                await self._unwound()
            await self._response.aclose()

    async def _unwound(self) -> None:
        """End the iterators of the body, which trio complains of when they are left behind.

        They stand inside one another, and closing the outer one ends no other.
        A cancellation does: it comes up through all of them.
        """
        # Nobody is left to be told what goes wrong on the way out.
        with anyio.CancelScope() as scope, suppress(Exception):
            scope.cancel()
            while await self.read():
                pass

    def _lost(self, kind: type[OpenRouterError], error: Exception) -> OpenRouterError:
        why = reason_of(error) if kind is ConnectFailed else type(error).__name__
        return kind(
            f"{kind.says}: {why} at {where(self._request.url)}",
            model=self._record.model,
            generation_id=self.headers.get("x-generation-id"),
        )


def _tracer(
    told: Mapping[str, Callable[[], None] | None],
) -> Callable[[str, Any], Awaitable[None]]:
    async def trace(event: str, _info: Any) -> None:  # noqa: ANN401 - as the client calls it
        tell = told.get(event.partition(".")[2])  # behind who tells: the connection, HTTP/1.1
        if tell is not None:
            tell()

    return trace
