"""A server that fails on request: OpenRouter's wire over a real socket on loopback.

Each model has a script, a list of scenarios; every request for it takes the
next one, and the last one repeats. A model without a script gets the default
scenario, and `emu/<scenario>` is a model that answers with that scenario.
Whatever the scenario, the server notices when the client goes away, and
writes down who ended the answer.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from anyio.abc import SocketAttribute

from resilient_openrouter.emulator._names import Switches, is_known, parsed
from resilient_openrouter.emulator._rendering import body_of, chunks_of, number_of, text_of
from resilient_openrouter.emulator.http import (
    LAST_CHUNK,
    BadRequest,
    Connection,
    Request,
    chunk,
    head,
)
from resilient_openrouter.emulator.journal import Entry, Journal, Labels
from resilient_openrouter.emulator.scenarios import PARAMETERS, SCENARIOS, Scenario
from resilient_openrouter.emulator.scenarios.streams import COMMENT, streamed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import SocketStream

__all__ = ("Emulator",)

PADDING: Final = b"\n         \n"
LAST_PORT: Final = 65535
NO_PATH: Final = "e404_address"
_PREFIX: Final = "/api/v1"
_OWN: Final = "emu/"
_PROVIDERS: Final = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Google"}
_ABORT: Final = struct.pack("ii", 1, 0)


class Emulator:
    """An emulated OpenRouter, in an `async with` block or as `python -m`.

    >>> async def main():
    ...     async with Emulator() as emulator:
    ...         emulator.script("openai/gpt-4o", ["e503", "ok"])
    ...         async with OpenRouter("any-key", base_url=emulator.url) as openrouter:
    ...             ...
    """

    def __init__(self, *, port: int = 0, default: str = "ok") -> None:
        """Listen on a free port of loopback, or on the given one; `default` names a scenario."""
        if not 0 <= port <= LAST_PORT:
            raise ValueError(f"port must be from 0 to {LAST_PORT}, not {port}")
        parsed(default)
        self.journal = Journal()
        self._port = port
        self._default = default
        self._scripts: dict[str, list[str]] = {}
        self._switches = Switches()
        self._labels = Labels()
        self._stack = AsyncExitStack()
        self._address: tuple[str, int] | None = None
        self._began = 0.0
        self._connections = 0

    @property
    def url(self) -> str:
        """The base URL of the API: `http://127.0.0.1:<port>/api/v1`."""
        if self._address is None:
            raise RuntimeError("the emulator is not running: use it in an `async with` block")
        host, port = self._address
        return f"http://{host}:{port}{_PREFIX}"

    def script(self, model: str, scenarios: Sequence[str]) -> None:
        """Say how a model answers: one scenario for each request, the last one repeats.

        A scenario may have parameters: `"e429_upstream_hint?seconds=3"`.
        """
        is_list = isinstance(scenarios, list | tuple)
        if not is_list or not scenarios or not all(isinstance(each, str) for each in scenarios):
            raise ValueError(f"scenarios of {model}: a list with at least one name is needed")
        for name in scenarios:
            parsed(name)
        self._scripts[model] = list(scenarios)

    def refuse_key(self, key: str) -> None:
        """Answer every request with this key with 401."""
        self._labels.refuse(key)

    async def __aenter__(self) -> Self:
        self._began = anyio.current_time()  # noqa: TID251 - one run has one origin
        try:
            listener = await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=self._port, backlog=512
            )
        except OSError as error:
            told = error.strerror or str(error)
            raise OSError(error.errno, f"port {self._port} of 127.0.0.1: {told}") from error
        await self._stack.enter_async_context(listener)
        group = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(group.cancel_scope.cancel)
        group.start_soon(listener.serve, self._serve, group)
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
        self._address = None
        if isinstance(error, Exception):
            # The server's own task group would wrap what the block raised.
            await self._stack.aclose()
        else:
            await self._stack.__aexit__(kind, error, trace)

    async def _serve(self, stream: SocketStream) -> None:
        """Answer the requests of one client."""
        self._connections += 1
        connection = Connection(stream, self._connections)
        async with stream:
            try:
                while (request := await connection.request()) is not None:
                    if not await self._answer(connection, request):
                        return
            except (BadRequest, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; return whether the connection stays open."""
        body = _json_object(request.body)
        model = str(body.get("model", ""))
        name = self._switches.turned(model, self._next(model, request, body), self._now())
        entry = Entry(
            number=len(self.journal) + 1,
            connection=connection.number,
            path=request.path,
            model=model,
            scenario=name,
            began=self._now(),
            headers=self._shown(request.headers),
            body=body,
        )
        self.journal.append(entry)
        return await self._play(connection, entry, name) and request.keeps_alive

    def _next(self, model: str, request: Request, body: Mapping[str, Any]) -> str:
        """Return the name of the scenario that answers this request."""
        if (request.method, request.path) != ("POST", f"{_PREFIX}/chat/completions"):
            return NO_PATH
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return "e401_nokey"
        if self._labels.is_refused(key):
            return "e401_badkey"
        if not isinstance(body.get("messages"), list):
            return "e400_invalid"
        script = self._scripts.get(model)
        if script is not None:
            return script.pop(0) if len(script) > 1 else script[0]
        if not model.startswith(_OWN):
            return self._default
        own = model.removeprefix(_OWN)
        return own if is_known(own) else "e400_model"

    async def _play(self, connection: Connection, entry: Entry, name: str) -> bool:
        """Give one answer while watching for the client to go away."""
        kept = False
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, connection, entry, group.cancel_scope)
                kept = await self._give(connection, entry, name)
                group.cancel_scope.cancel()
        except* (anyio.BrokenResourceError, anyio.ClosedResourceError):
            entry.end("client_closed", self._now())
        finally:
            # Only a server that is being shut down leaves an answer open.
            entry.end("closed_by_us", self._now())
        return kept and entry.ended == "completed"

    async def _watch(self, connection: Connection, entry: Entry, scope: anyio.CancelScope) -> None:
        await connection.gone()
        entry.end("client_closed", self._now())
        scope.cancel()

    async def _give(self, connection: Connection, entry: Entry, name: str) -> bool:
        plain, parameters = parsed(name)
        scenario = _as_asked(SCENARIOS[plain], entry.body)
        now = datetime.now(UTC)
        places = self._places(entry, now) | parameters
        await anyio.sleep(number_of(scenario.pause, places))
        if scenario.status is not None:
            entry.status = scenario.status
            await self._give_bytes(connection, entry, scenario, places, now)
        if scenario.ending == "stall":
            every = number_of(scenario.every, places)
            alive = PADDING if scenario.parts is None else COMMENT.encode()
            while True:
                await anyio.sleep(every)
                await self._send(connection, entry, chunk(alive))
        if scenario.ending == "silence":
            await anyio.sleep_forever()
        if scenario.ending == "reset":
            entry.end("reset_by_us", self._now())
            await _reset(connection)
        if scenario.ending == "close":
            entry.end("closed_by_us", self._now())
        return scenario.ending == "whole"

    async def _give_bytes(
        self,
        connection: Connection,
        entry: Entry,
        scenario: Scenario,
        places: Mapping[str, str],
        now: datetime,
    ) -> None:
        is_stream = scenario.parts is not None
        body = body_of(scenario.body, places)
        if scenario.is_zipped:
            body = gzip.compress(body)
        chunked = is_stream or scenario.status == HTTPStatus.OK or scenario.ending != "whole"
        headers = _headers(places["id"], now, is_stream=is_stream) | {
            name: text_of(text, places) for name, text in scenario.headers.items()
        }
        if scenario.is_zipped:
            headers["content-encoding"] = "gzip"
        headers |= (
            {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        )
        first = head(cast("int", scenario.status), headers)
        if not chunked:
            entry.end("completed", self._now())
            await self._send(connection, entry, first + body)
            return
        await self._send(connection, entry, first)
        for _ in range(scenario.padding):
            await self._send(connection, entry, chunk(PADDING))
        last = body
        for piece in chunks_of(scenario.parts or (), scenario.wire, places):
            if last:
                await self._send(connection, entry, chunk(last))
            last = b""
            if isinstance(piece, bytes):
                last = piece
            elif piece:
                await anyio.sleep(piece)
        if scenario.ending == "whole":
            # Noted before the last byte, so that whoever has read it finds it noted.
            entry.end("completed", self._now())
            await self._send(connection, entry, (chunk(last) if last else b"") + LAST_CHUNK)
        elif last:
            await self._send(connection, entry, chunk(last))

    async def _send(self, connection: Connection, entry: Entry, data: bytes) -> None:
        await connection.send(data)
        entry.sent += len(data)

    def _places(self, entry: Entry, now: datetime) -> dict[str, str]:
        author = entry.model.partition("/")[0]
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return PARAMETERS | {
            "id": f"gen-{1777319808 + entry.number}-n1Y7aaaaaaaaaaaaaaaa",
            "model": entry.model,
            "served": f"{entry.model.partition(':')[0]}-20260317",
            "provider": _PROVIDERS.get(author, author.title()),
            "midnight": str(int(midnight.timestamp() * 1000)),
        }

    def _shown(self, headers: Mapping[str, str]) -> dict[str, str]:
        shown = dict(headers)
        if "authorization" in shown:
            scheme, _, key = shown["authorization"].partition(" ")
            shown["authorization"] = f"{scheme} <{self._labels.label(key)}>"
        return shown

    def _now(self) -> float:
        return anyio.current_time() - self._began  # noqa: TID251 - one run has one origin


def _as_asked(scenario: Scenario, asked: Mapping[str, Any]) -> Scenario:
    """Return the scenario as it answers a request: a completion, or a stream of it."""
    if scenario.parts is not None or scenario.is_plain or asked.get("stream") is not True:
        return scenario
    if scenario.ending == "stall" and not scenario.body:
        return replace(scenario, parts=(), padding=0)
    body = scenario.body
    if not isinstance(body, dict) or not cast("dict[str, Any]", body).get("choices"):
        return scenario
    return replace(scenario, body="", parts=streamed(cast("dict[str, Any]", body)), padding=0)


def _headers(generation: str, now: datetime, *, is_stream: bool) -> dict[str, str]:
    kind = {"content-type": "application/json"}
    if is_stream:
        kind = {"content-type": "text/event-stream", "cache-control": "no-cache"}
    return {
        "date": format_datetime(now, usegmt=True),
        **kind,
        "x-generation-id": generation,
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "X-Generation-Id, X-Provider-Name, request-id, cf-ray",
        "vary": "Accept-Encoding",
        "cf-ray": "8f0000000000aaaa-IAD",
    }


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}


async def _reset(connection: Connection) -> None:
    """Close with RST: the client's next read or write fails at once."""
    raw = connection.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no SQL
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    await anyio.aclose_forcefully(connection.stream)
