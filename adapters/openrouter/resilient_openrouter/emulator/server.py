"""A server that fails on request: OpenRouter's wire over a real socket on loopback.

Each model has a script, a list of scenarios; every request for it takes the
next one, and the last one repeats. A model without a script gets the default
scenario, and `emu/<scenario>` is a model that answers with that scenario.
Whatever the scenario, the server notices when the client goes away, and
writes down who ended the answer.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from anyio.abc import SocketAttribute

from resilient_openrouter.emulator._lookups import Lookups
from resilient_openrouter.emulator._names import Switches, is_known, parsed
from resilient_openrouter.emulator._player import Player
from resilient_openrouter.emulator.http import BadRequest, Connection, Request
from resilient_openrouter.emulator.journal import Entry, Journal, Labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import SocketStream

__all__ = ("Emulator",)

LOOKUP: Final = "lookup"
LAST_PORT: Final = 65535
NO_PATH: Final = "e404_address"
_PREFIX: Final = "/api/v1"
_OWN: Final = "emu/"


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
        self.lookups = Lookups(self.journal, _PREFIX)
        self._player = Player(self._now)
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

        A scenario may have parameters: `"e429_upstream_hint?seconds=3"`. The
        path of another endpoint may stand for the model: `"/generation"`.
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
        name = self._next(model, request, body)
        if name != LOOKUP:
            name = self._switches.turned(model, name, self._now())
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
        if name == LOOKUP:
            found = self.lookups.answer(request.path.removeprefix(_PREFIX))
            return await self._player.give_json(connection, entry, *found) and request.keeps_alive
        return await self._player.play(connection, entry, name) and request.keeps_alive

    def _next(self, model: str, request: Request, body: Mapping[str, Any]) -> str:
        """Return the name of the scenario that answers this request."""
        path = request.path.removeprefix(_PREFIX)
        is_lookup = request.method == "GET" and self.lookups.serves(path)
        if not is_lookup and (request.method, request.path) != (
            "POST",
            f"{_PREFIX}/chat/completions",
        ):
            return NO_PATH
        if is_lookup and not self.lookups.needs_key(path):
            return self._scripted(path.partition("?")[0]) or LOOKUP
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return "e401_nokey"
        if self._labels.is_refused(key):
            return "e401_badkey"
        if is_lookup:
            return self._scripted(path.partition("?")[0]) or LOOKUP
        if not isinstance(body.get("messages"), list):
            return "e400_invalid"
        scripted = self._scripted(model)
        if scripted is not None:
            return scripted
        if not model.startswith(_OWN):
            return self._default
        own = model.removeprefix(_OWN)
        return own if is_known(own) else "e400_model"

    def _scripted(self, model: str) -> str | None:
        """Return the next scenario of a script, of a model or of the path of a lookup."""
        script = self._scripts.get(model)
        if script is None:
            return None
        name = script.pop(0) if len(script) > 1 else script[0]
        return LOOKUP if name == "ok" and model.startswith("/") else name

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
