"""The OpenRouter adapter beside raw httpx: calls over one socket, and events of a stream.

The emulator is a process of its own, so what is measured is the client alone.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import httpx

from resilient_openrouter import OpenRouter
from resilient_openrouter.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.measure import Call

MODELS = ("openai/gpt-4o", "anthropic/claude-sonnet-4.5")
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
EVENTS = 200


@contextmanager
def served() -> Iterator[str]:
    """Run the emulator in a process of its own; give its address."""
    program = [sys.executable, "-u", "-m", "resilient_openrouter.emulator", "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        first = process.stdout.readline()
        # It says a line for each answer, and waits for somebody to read them.
        Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield first.strip().rpartition(" ")[2]
        finally:
            process.terminate()


@asynccontextmanager
async def calls(url: str) -> AsyncIterator[dict[str, Call]]:
    """Give calls that answer at once, all over the connections of one client."""
    async with (
        httpx.AsyncClient(headers={"Authorization": "Bearer key"}) as client,
        OpenRouter("key", base_url=url, client=client) as openrouter,
    ):
        body = {"model": MODELS[0], "messages": MESSAGES}
        chain = openrouter.manager(*MODELS, deadline=60)

        async def raw() -> object:
            response = await client.post(f"{url}/chat/completions", json=body)
            response.raise_for_status()
            return response.json()["choices"][0]["message"]["content"]

        async def chat() -> object:
            return await openrouter.chat(MODELS[0], MESSAGES)

        async def manager() -> object:
            return await chain.run(MESSAGES)

        yield {
            f"raw httpx {httpx.__version__}": raw,
            "openrouter.chat": chat,
            "openrouter.manager: fallback, retry, breaker, timeout": manager,
        }


def events() -> dict[str, Call]:
    """Return readers of the same bytes: a stream of small events as they come."""
    delta = '{"id":"gen-1","choices":[{"index":0,"delta":{"content":" blue"}}]}'
    chunk = f": OPENROUTER PROCESSING\n\ndata: {delta}\n\n".encode()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(EVENTS):
            yield chunk

    async def lines() -> object:
        response = httpx.Response(200, content=body())
        return [line[6:] async for line in response.aiter_lines() if line.startswith("data: ")]

    async def decoder() -> object:
        response, decode = httpx.Response(200, content=body()), Decoder()
        return [data async for part in response.aiter_raw() for data in decode.feed(part)]

    return {f"httpx {httpx.__version__}, aiter_lines": lines, "our decoder": decoder}
