"""An httpx transport whose connections end in this process, without any socket.

Nothing is simulated but the cable. The bytes are those of the wire, the pool
of connections is the HTTP library's own, and a client that goes away is
noticed by the server. Nothing waits for the operating system, so a run on
virtual time is exact.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Generator, Iterable

    from resilient_openrouter.emulator._memory import Wire

__all__ = ("InProcess",)


class InProcess(httpx.AsyncBaseTransport):
    """An httpx transport whose connections are made by `connect`."""

    def __init__(self, connect: Callable[[], Wire]) -> None:
        # The limits are httpx's own defaults.
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_Backend(connect),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the head of its answer."""
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - narrows the type
        with _as_httpx():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - httpcore says no more
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, with the errors of httpx."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for piece in self._response.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        with _as_httpx():
            await self._response.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    """Where the pool gets its connections from."""

    def __init__(self, connect: Callable[[], Wire]) -> None:
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - all addresses are here
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002 - it takes no time
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        await anyio.lowlevel.checkpoint()
        try:
            return _Stream(self._connect())
        except ConnectionRefusedError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection, as the pool sees it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        # A piece may be larger than was asked for: the parser takes what comes.
        with _limit(timeout, httpcore.ReadTimeout), _broken(httpcore.ReadError):
            try:
                return await self._wire.receive()
            except anyio.EndOfStream:
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            with _limit(timeout, httpcore.WriteTimeout), _broken(httpcore.WriteError):
                await self._wire.send(buffer)

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002
        server_hostname: str | None = None,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        return self  # nobody listens in between

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as in the base class
        # What an idle connection is asked before it is used again.
        return self._wire.has_news if info == "is_readable" else None


@contextmanager
def _broken(kind: type[Exception]) -> Generator[None]:
    try:
        yield
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise kind from error


@contextmanager
def _limit(seconds: float | None, kind: type[Exception]) -> Generator[None]:
    with anyio.CancelScope() as scope:
        if seconds is not None:
            scope.deadline = anyio.current_time() + seconds  # noqa: TID251 - the end of a scope
        yield
    if scope.cancelled_caught:
        raise kind


@contextmanager
def _as_httpx() -> Generator[None]:
    """Raise what the pool raises as httpx does: both have one name for each kind of error."""
    try:
        yield
    except Exception as error:
        kind = getattr(httpx, type(error).__name__, None)
        if type(error).__module__.startswith("httpcore") and kind is not None:
            raise kind(str(error)) from error
        raise
