"""Nested limits and the connection pool of an HTTP client.

An HTTP client gives a connection back behind a shield. A second cancellation
that arrives just then pierces it on asyncio, and the connection stays checked
out: with a pool of one, every later request waits for ever. So of our own
limits in one task, one cancellation is in flight at a time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from resilient import TimedOut, stack, timeout
from resilient._runtime.clock import runtime
from resilient.testing import leftovers, virtual_time


def one_stack(outer, inner, fn):
    """Put both limits into one stack."""
    return stack(timeout(outer), timeout(inner))(fn)


def a_guard_in_a_guard(outer, inner, fn):
    """Put the limits around two functions, the outer one further away."""
    limited = timeout(inner)(fn)

    async def calls_it():
        return await limited()

    return timeout(outer)(calls_it)


def the_outer_one_nearer(outer, inner, fn):
    """Let the limit of the outer function strike first."""
    return a_guard_in_a_guard(inner, outer, fn)


SHAPES = [one_stack, a_guard_in_a_guard, the_outer_one_nearer]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)


class Service:
    """A service on loopback: `/` answers, `/hang` never does."""

    def __init__(self) -> None:
        self.hanging = asyncio.Event()  # noqa: TID251 - asyncio is the subject
        self.handlers: list[Any] = []

    async def serve(self, reader, writer) -> None:
        """Answer the requests of one connection."""
        self.handlers.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"/hang" in head:
                    self.hanging.set()
                    await reader.read()  # until the client has gone
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def a_pool_of_one():
    """Give a service and a client that has one connection to it."""
    service = Service()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            limits=httpx.Limits(max_connections=1),
            timeout=httpx.Timeout(None, pool=0.5),
            trust_env=False,
        ) as client:
            # The connection is open before a limit can strike: one cancellation
            # in the middle of opening it can wedge a pool without any limit of ours.
            assert not await is_wedged(client)
            yield service, client
        await asyncio.gather(*service.handlers)


async def is_wedged(client):
    """Ask whether the one connection is checked out for ever."""
    try:
        response = await client.get("/")
    except httpx.PoolTimeout:
        return True
    assert response.text == "ok"
    return False


@shapes
@pytest.mark.parametrize("turns", range(7))
def test_a_second_limit_some_turns_later_wedges_no_pool(shape, turns):
    """A limit that strikes in any turn of the loop after another one leaves the pool usable."""

    async def main():
        time, here = [0.0], runtime()
        here.clock = lambda: time[0]
        async with a_pool_of_one() as (service, client):

            async def hang():
                await client.get("/hang")

            task = asyncio.get_running_loop().create_task(shape(1.2, 1, hang)())
            await service.hanging.wait()
            strike(here, time, 1)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            strike(here, time, 1.2)
            with pytest.raises(TimedOut):
                await task
            assert task.cancelling() == 0
            assert not here.in_flight
            return await is_wedged(client)

    assert asyncio.run(main()) is False


def strike(here, time, after) -> None:
    """Let the time of a limit come."""
    time[0] = after
    table = here.tables[after]
    table.handle.cancel()
    table._tick()


@shapes
def test_limits_a_millisecond_apart_wedge_no_pool(shape, caplog):
    """In real time, of limits 0.1 to 1.5 ms apart none leaves the pool unusable."""
    caplog.set_level(logging.CRITICAL, "resilient")

    async def main():
        wedged = []
        for tenths in range(1, 16):
            apart = tenths / 10_000
            async with a_pool_of_one() as (_, client):

                async def hang(client=client):
                    await client.get("/hang")

                with pytest.raises(TimedOut):
                    await shape(0.02 + apart, 0.02, hang)()
                if await is_wedged(client):
                    wedged.append(apart)
        return wedged

    assert asyncio.run(main()) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_shielded_clean_up_is_whole(backend):
    """On either backend, a clean-up behind a shield that two limits meet in is finished."""
    seen = []

    async def closes():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
                seen.append("given back")

    async def main():
        for shape in SHAPES:
            with pytest.raises(TimedOut):
                await shape(1.001, 1, closes)()
        return leftovers()

    assert virtual_time(main, backend=backend) == []
    assert seen == ["given back"] * 3
