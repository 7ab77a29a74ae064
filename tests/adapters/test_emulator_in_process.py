"""The emulated server without sockets: the same wire, on a clock that jumps, and no port."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest

from resilient_openrouter import OpenRouter
from resilient_openrouter.emulator import SCENARIOS, Emulator

VIRTUAL = True
GPT, CLAUDE = "openai/gpt-4o", "anthropic/claude-sonnet-4.5"
MESSAGES = [{"role": "user", "content": "Hello there"}]
KEY = {"Authorization": "Bearer any"}
QUICK = [
    name
    for name, scenario in SCENARIOS.items()
    if scenario.status is not None and scenario.ending == "whole" and name != "disconnect_probe"
]


def question(model, **fields):
    return {"model": model, "messages": MESSAGES, **fields}


async def ask(emulator, client, model, **fields):
    return await client.post(
        f"{emulator.url}/chat/completions", json=question(model, **fields), headers=KEY
    )


@pytest.mark.parametrize("name", QUICK)
async def test_it_answers_as_over_a_socket(name):
    """Every scenario has the same status, headers and bytes in process as over a socket."""
    told = []
    for port in (0, None):
        async with (
            Emulator(port=port) as emulator,
            emulator.client() if port is None else httpx.AsyncClient(trust_env=False) as client,
        ):
            response = await ask(emulator, client, f"emu/{name}")
            headers = {k: v for k, v in response.headers.items() if k not in {"date", "location"}}
            told.append((response.status_code, headers, response.content))
    assert told[0] == told[1]


async def test_time_is_virtual():
    """An answer that takes an hour takes an hour of the clock, to the second."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        before = emulator._now()
        await ask(emulator, client, "emu/slow?after=3600")
        assert emulator._now() - before == 3600


async def test_an_adapter_runs_over_it():
    """A chain with this client retries, falls back and keeps its connection, without a port."""
    async with (
        Emulator(port=None) as emulator,
        emulator.client() as client,
        OpenRouter("any-key", base_url=emulator.url, client=client) as openrouter,
    ):
        emulator.script(GPT, ["e502", "reset", "e429_upstream_hint?seconds=26"])
        for _ in range(2):
            outcome = await openrouter.manager(GPT, CLAUDE, attempts=2).run(MESSAGES)
            assert (outcome.value.content, outcome.target) == ("Hola", CLAUDE)
        assert [entry.model for entry in emulator.journal] == [GPT, GPT, CLAUDE, GPT, CLAUDE]
        assert [entry.connection for entry in emulator.journal] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("model", ["emu/stall?every=0.5", "emu/silence", "emu/slow?after=60"])
async def test_a_client_that_leaves_is_noticed(model):
    """A request that is given up is closed by the client, at that very instant."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        with anyio.move_on_after(7):
            await ask(emulator, client, model)
        await emulator.journal.settled()
        assert (emulator.journal[0].ended, emulator.journal[0].finished) == ("client_closed", 7)


@pytest.mark.parametrize(
    ("name", "error", "ended"),
    [
        ("reset", httpx.ReadError, "reset_by_us"),
        ("close", httpx.RemoteProtocolError, "closed_by_us"),
        ("reset_in_body", httpx.ReadError, "reset_by_us"),
        ("close_in_body", httpx.RemoteProtocolError, "closed_by_us"),
    ],
)
async def test_a_broken_connection_is_broken(name, error, ended):
    """A reset and an early close are what they are over a socket, and the next request is fine."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        with pytest.raises(error):
            await ask(emulator, client, f"emu/{name}")
        assert emulator.journal[0].ended == ended
        assert (await ask(emulator, client, "emu/ok")).status_code == 200


async def test_limits_of_the_client_hold():
    """A read timeout of the HTTP client is that of httpx."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(
                f"{emulator.url}/chat/completions",
                json=question("emu/silence"),
                headers=KEY,
                timeout=3,
            )
        assert emulator._now() == 3


async def test_words_come_as_they_are_sent():
    """A stream is read piece by piece, each at its instant."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        body = json.dumps(question("emu/ok?text=one two three&gap=2", stream=True)).encode()
        url = f"{emulator.url}/chat/completions"
        async with client.stream("POST", url, content=body, headers=KEY) as response:
            seen = [
                emulator._now()
                async for line in response.aiter_lines()
                if line.startswith("data: {")
            ]
        assert seen == [0, 2, 4, 6, 6]


async def test_nobody_is_there_when_it_has_stopped():
    """A server that has stopped, or does not run yet, refuses connections."""
    emulator = Emulator(port=None)
    client = emulator.client()
    async with emulator:
        url = emulator.url
    async with client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_stopping_ends_what_is_open():
    """A server that stops ends the answers that it is giving, and the client is told."""
    emulator = Emulator(port=None)
    async with emulator.client() as client, anyio.create_task_group() as group:

        async def one():
            with pytest.raises(httpx.HTTPError):
                await ask(emulator, client, "emu/stall")

        async with emulator:
            group.start_soon(one)
            await emulator.journal.begun()
        assert emulator.journal[0].ended == "closed_by_us"
