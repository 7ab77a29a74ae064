"""How one scenario is played to one client, while somebody watches for the client to leave."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from resilient_openrouter.emulator._bill import bill_of
from resilient_openrouter.emulator._names import parsed
from resilient_openrouter.emulator._rendering import body_of, chunks_of, number_of, text_of
from resilient_openrouter.emulator.http import LAST_CHUNK, chunk, head
from resilient_openrouter.emulator.scenarios import PARAMETERS, Scenario
from resilient_openrouter.evidence import mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_openrouter.emulator._dialects import Dialect
    from resilient_openrouter.emulator.http import Connection
    from resilient_openrouter.emulator.journal import Entry

__all__ = ("as_asked", "places_of", "Player")

PADDING: Final = b"\n         \n"
_PROVIDERS: Final = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Google"}


class Player:
    """Gives answers; `now` tells the time of the journal."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    async def play(self, connection: Connection, entry: Entry, dialect: Dialect) -> bool:
        """Give one answer while watching for the client to go away."""
        kept = False
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, connection, entry, group.cancel_scope)
                kept = await self._give(connection, entry, dialect)
                group.cancel_scope.cancel()
        except* (anyio.BrokenResourceError, anyio.ClosedResourceError):
            entry.end("client_closed", self.now())
        finally:
            # Only a server that is being shut down leaves an answer open.
            entry.end("closed_by_us", self.now())
        return kept and entry.ended == "completed"

    async def give_json(
        self,
        connection: Connection,
        entry: Entry,
        dialect: Dialect,
        found: tuple[int, dict[str, Any]],
    ) -> bool:
        """Give an answer that is no scenario."""
        status, body = found
        entry.status = status
        data = body_of(body, {})
        headers = _headers(dialect, None, datetime.now(UTC), is_stream=False)
        headers["content-length"] = str(len(data))
        entry.headed = entry.first_byte = self.now()
        entry.end("completed", self.now())
        await self._send(connection, entry, head(status, headers) + data)
        return True

    async def _watch(self, connection: Connection, entry: Entry, scope: anyio.CancelScope) -> None:
        await connection.gone()
        entry.end("client_closed", self.now())
        scope.cancel()

    async def _give(self, connection: Connection, entry: Entry, dialect: Dialect) -> bool:
        plain, parameters = parsed(entry.scenario, dialect.scenarios)
        scenario = as_asked(dialect.scenarios[plain], entry.body, dialect)
        now = datetime.now(UTC)
        places = places_of(entry, dialect, now) | parameters
        entry.generation = places["id"]
        if dialect.bills:
            entry.bill = bill_of(
                scenario, places["provider"], is_stream=entry.body.get("stream") is True
            )
        await anyio.sleep(number_of(scenario.pause, places))
        if scenario.status is not None:
            entry.status = scenario.status
            usual = _headers(dialect, places["id"], now, is_stream=scenario.parts is not None)
            scenario = replace(scenario, headers=usual | scenario.headers)
            await self._give_bytes(connection, entry, scenario, places)
        if scenario.ending == "stall":
            every = number_of(scenario.every, places)
            alive = PADDING if scenario.parts is None else dialect.comment.encode()
            while True:
                await self._send(connection, entry, chunk(alive))
                await anyio.sleep(every)
        if scenario.ending == "silence":
            await anyio.sleep_forever()
        if scenario.ending == "reset":
            entry.end("reset_by_us", self.now())
            await connection.reset()
        if scenario.ending == "close":
            entry.end("closed_by_us", self.now())
        return scenario.ending == "whole"

    async def _give_bytes(
        self,
        connection: Connection,
        entry: Entry,
        scenario: Scenario,
        places: Mapping[str, str],
    ) -> None:
        is_stream = scenario.parts is not None
        body = body_of(scenario.body, places)
        if scenario.is_zipped:
            body = gzip.compress(body)
        chunked = is_stream or scenario.status == HTTPStatus.OK or scenario.ending != "whole"
        headers = {name: text_of(text, places) for name, text in scenario.headers.items()}
        if scenario.is_zipped:
            headers["content-encoding"] = "gzip"
        headers |= (
            {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        )
        first = head(cast("int", scenario.status), headers)
        entry.headed = self.now()
        if not chunked:
            entry.first_byte = entry.headed
            entry.end("completed", entry.headed)
            await self._send(connection, entry, first + body)
            return
        await connection.send(first)
        entry.sent += len(first)
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
            entry.end("completed", self.now())
            await self._send(connection, entry, (chunk(last) if last else b"") + LAST_CHUNK)
        elif last:
            await self._send(connection, entry, chunk(last))

    async def _send(self, connection: Connection, entry: Entry, data: bytes) -> None:
        if entry.first_byte is None:
            entry.first_byte = self.now()
        await connection.send(data)
        entry.sent += len(data)


def places_of(entry: Entry, dialect: Dialect, now: datetime) -> dict[str, str]:
    """Return what stands for the places of a scenario in one answer."""
    author = entry.model.partition("/")[0]
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return PARAMETERS | {
        "id": dialect.id.format(number=1777319808 + entry.number),
        "model": entry.model,
        "served": dialect.served.format(model=entry.model.partition(":")[0]),
        "provider": _PROVIDERS.get(author, author.title()),
        "midnight": str(int(midnight.timestamp() * 1000)),
    }


def as_asked(scenario: Scenario, asked: Mapping[str, Any], dialect: Dialect) -> Scenario:
    """Return the scenario as it answers a request: a completion, or a stream of it."""
    if scenario.no_prefill is not None and _ends_with_assistant(asked):
        scenario = dialect.scenarios[scenario.no_prefill]
    if scenario.parts is not None or scenario.is_plain or asked.get("stream") is not True:
        return scenario
    if scenario.ending == "stall" and not scenario.body:
        return replace(scenario, parts=(), padding=0)
    body = scenario.body
    if not isinstance(body, dict) or not cast("dict[str, Any]", body).get("choices"):
        return scenario
    parts = dialect.streamed(cast("dict[str, Any]", body), asked)
    return replace(scenario, body="", parts=parts, padding=0)


def _ends_with_assistant(asked: Mapping[str, Any]) -> bool:
    messages = cast("list[Any]", asked["messages"])
    return bool(messages) and mapping(messages[-1]).get("role") == "assistant"


def _headers(
    dialect: Dialect, generation: str | None, now: datetime, *, is_stream: bool
) -> dict[str, str]:
    kind = {"content-type": "application/json"}
    if is_stream:
        kind = {"content-type": "text/event-stream", "cache-control": "no-cache"}
    return {
        "date": format_datetime(now, usegmt=True),
        **kind,
        **({} if generation is None else {dialect.id_header: generation}),
        **dialect.headers,
    }
