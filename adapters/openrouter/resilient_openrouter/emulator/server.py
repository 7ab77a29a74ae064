"""A server that fails on request: OpenRouter's wire over a real socket on loopback.

Each model has a script, a list of scenarios; every request for it takes the
next one, and the last one repeats. A model without a script gets the default
scenario, and `emu/<scenario>` is a model that answers with that scenario.
Whatever the scenario, the server notices when the client goes away, and
writes down who ended the answer.
"""

from __future__ import annotations

import json
import socket
import struct
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from anyio.abc import SocketAttribute

from resilient_openrouter.emulator._dialects import OPENAI_DIALECT, OPENROUTER
from resilient_openrouter.emulator._lookups import Lookups
from resilient_openrouter.emulator._memory import pair
from resilient_openrouter.emulator._player import Player
from resilient_openrouter.emulator.http import BadRequest, Connection, Request
from resilient_openrouter.emulator.journal import Entry, Journal, Labels
from resilient_openrouter.emulator.service import LOOKUP, Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType
    from typing import Self

    import httpx
    from anyio.abc import ObjectStream, SocketStream, TaskGroup

    from resilient_openrouter.emulator._memory import Wire
    from resilient_openrouter.emulator._plays import Step, Steps

__all__ = ("Emulator",)

LAST_PORT: Final = 65535
NOWHERE: Final = 1  # nobody listens there: without a port, a client that is not ours finds nobody
_ABORT: Final = struct.pack("ii", 1, 0)


class Emulator:
    """An emulated OpenRouter, in an `async with` block or as `python -m`.

    It listens on a free `port` of loopback (0), on the given one, or with
    `port=None` on none at all: then `client()` is the way in, also on a clock
    that jumps. `default` is what models answer that have no script: a
    scenario, or scenarios with their probabilities, whose dice `seed` throws.
    `keep` is how many requests the journal remembers (`None`: all of them).

    At `openai.url` it also serves an API that speaks as OpenAI does.

    >>> async def main():
    ...     async with Emulator() as emulator:
    ...         emulator.script("openai/gpt-4o", ["e503", "ok"])
    ...         async with OpenRouter("any-key", base_url=emulator.url) as openrouter:
    ...             ...
    """

    def __init__(
        self,
        *,
        port: int | None = 0,
        default: Step = "ok",
        seed: int = 0,
        keep: int | None = None,
    ) -> None:
        if port is not None and not 0 <= port <= LAST_PORT:
            raise ValueError(f"port must be from 0 to {LAST_PORT}, not {port}")
        self.journal = Journal(keep)
        self._port = port
        self.lookups = Lookups(self.journal, OPENROUTER.prefix)
        self._player = Player(self._now)
        self._labels = Labels()
        self.openrouter = Service(
            OPENROUTER,
            self._labels,
            self._root,
            default=default,
            seed=seed,
            lookups=self.lookups,
        )
        self.openai = Service(OPENAI_DIALECT, self._labels, self._root, seed=seed)
        self._stack = AsyncExitStack()
        self._address: tuple[str, int] | None = None
        self._group: TaskGroup | None = None
        self._began = 0.0
        self._connections = 0
        self._open = 0
        self._idle: anyio.Event | None = None

    @property
    def url(self) -> str:
        """The base URL of the API: `http://127.0.0.1:<port>/api/v1`."""
        return self.openrouter.url

    def _root(self) -> str:
        if self._address is None:
            raise RuntimeError("the emulator is not running: use it in an `async with` block")
        host, port = self._address
        return f"http://{host}:{port}"

    def script(self, model: str, scenarios: Steps) -> None:
        """Say how a model of OpenRouter answers: as `Service.script`."""
        self.openrouter.script(model, scenarios)

    def client(self) -> httpx.AsyncClient:
        """Return an HTTP client whose connections end here, without any socket.

        Whoever asks for it closes it. It runs on virtual time as well.
        """
        import httpx  # noqa: PLC0415 - a server needs no client

        from resilient_openrouter.emulator._transport import InProcess  # noqa: PLC0415 - as httpx

        return httpx.AsyncClient(transport=InProcess(self._connect), timeout=None)  # noqa: S113 - as the adapter's own

    def refuse_key(self, key: str) -> None:
        """Answer every request with this key with 401."""
        self._labels.refuse(key)

    async def left(self) -> None:
        """Wait until no connection is open."""
        while self._open:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()

    async def __aenter__(self) -> Self:
        self._began = anyio.current_time()  # noqa: TID251 - one run has one origin
        if self._port is None:
            self._group = await self._serving()
            self._address = ("127.0.0.1", NOWHERE)
            return self
        try:
            listener = await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=self._port, backlog=512
            )
        except OSError as error:
            told = error.strerror or str(error)
            raise OSError(error.errno, f"port {self._port} of 127.0.0.1: {told}") from error
        await self._stack.enter_async_context(listener)
        self._group = await self._serving()
        self._group.start_soon(listener.serve, self._accept, self._group)
        self._address = cast(
            "tuple[str, int]",
            listener.extra(SocketAttribute.local_address),  # noqa: S610 - no SQL
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._address = self._group = None
        if isinstance(error, Exception):
            # The server's own task group would wrap what the block raised.
            await self._stack.aclose()
        else:
            await self._stack.__aexit__(kind, error, trace)

    async def _serving(self) -> TaskGroup:
        """Open the task group of all connections; it is cancelled at the end."""
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(group.cancel_scope.cancel)
        return group

    def _connect(self) -> Wire:
        """Return a client's end of a new connection without a socket."""
        if self._group is None:
            raise ConnectionRefusedError("the emulator is not running")
        mine, theirs = pair()
        self._group.start_soon(self._serve, mine, mine.reset)
        return theirs

    async def _accept(self, stream: SocketStream) -> None:
        await self._serve(stream, partial(_reset, stream))

    async def _serve(
        self, stream: ObjectStream[bytes] | SocketStream, reset: Callable[[], Awaitable[None]]
    ) -> None:
        """Answer the requests of one client."""
        self._connections += 1
        self._open += 1
        connection = Connection(stream, self._connections, reset)
        try:
            async with stream:
                await self._converse(connection)
        finally:
            self._closed()

    async def _converse(self, connection: Connection) -> None:
        try:
            while (request := await connection.request()) is not None:
                if not await self._answer(connection, request):
                    return
        except (BadRequest, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def _closed(self) -> None:
        self._open -= 1
        if self._open == 0 and self._idle is not None:
            self._idle.set()
            self._idle = None

    async def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; return whether the connection stays open."""
        body = _json_object(request.body)
        model = str(body.get("model", ""))
        service = self.openrouter
        if request.path.startswith(f"{self.openai.dialect.prefix}/"):
            service = self.openai
        dialect = service.dialect
        name = service.next(model, request, body, self._now())
        entry = Entry(
            number=self.journal.count + 1,
            connection=connection.number,
            service=dialect.name,
            path=request.path,
            model=model,
            scenario=name,
            began=self._now(),
            headers=self._shown(request.headers),
            body=body,
        )
        self.journal.append(entry)
        if name == LOOKUP:
            found = self.lookups.answer(request.path.removeprefix(dialect.prefix))
            kept = await self._player.give_json(connection, entry, dialect, found)
        else:
            kept = await self._player.play(connection, entry, dialect)
        return kept and request.keeps_alive

    def _shown(self, headers: Mapping[str, str]) -> dict[str, str]:
        shown = dict(headers)
        if "authorization" in shown:
            scheme, _, key = shown["authorization"].partition(" ")
            shown["authorization"] = f"{scheme} <{self._labels.label(key)}>"
        return shown

    def _now(self) -> float:
        return anyio.current_time() - self._began  # noqa: TID251 - one run has one origin


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}


async def _reset(stream: SocketStream) -> None:
    """Close with RST: the client's next read or write fails at once."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no SQL
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    await anyio.aclose_forcefully(stream)
