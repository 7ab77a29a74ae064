"""What the tests of streams share: sources that note what becomes of them, and consumers."""

from __future__ import annotations

import itertools
from contextlib import aclosing

import anyio
import pytest

from resilient._runtime.clock import now
from resilient.testing import virtual_time


class Sources:
    """Makes async generator functions that follow scripts; knows of each of their streams.

    Each call follows the next script, the last one again and again. A step is
    a float, to let so many seconds pass, an exception to raise, or anything
    else: an item.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ends: list[str] = []
        self.got: list[object] = []

    @property
    def running(self) -> int:
        """How many streams have begun and not come to an end."""
        return len(self.calls) - len(self.ends)

    def source(self, *scripts, name="source"):
        """Return an async generator function of these scripts."""
        turns = itertools.chain(scripts, itertools.repeat(scripts[-1]))

        async def source(*_args, **_kwargs):
            self.calls.append(name)
            end = "ended"
            try:
                for step in next(turns):
                    if isinstance(step, float):
                        await anyio.sleep(step)
                    elif isinstance(step, BaseException | type):
                        raise step
                    else:
                        self.got.append((yield step))
            except BaseException as error:
                end = type(error).__name__
                raise
            finally:
                self.ends.append(end)

        source.__name__ = source.__qualname__ = name
        return source


class Heard:
    """A listener that notes events."""

    def __init__(self) -> None:
        self.events = []

    def on_event(self, event, call) -> None:
        self.events.append(event)

    @property
    def names(self):
        """The kinds of the events, in order."""
        return [type(event).__name__ for event in self.events]

    def of(self, kind):
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def sources():
    """Return a maker of sources; none of them may be left open."""
    made = Sources()
    yield made
    assert made.running == 0, f"{made.calls} began, {made.ends} ended"


@pytest.fixture
def heard():
    """Return a listener."""
    return Heard()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request):
    """Return the name of a backend."""
    return request.param


@pytest.fixture
def run(backend):
    """Return a function that runs an async one in virtual time, and checks that nothing is left."""

    def runs(main, *args):
        return virtual_time(main, *args, backend=backend, check_leftovers=True)

    runs.backend = backend
    return runs


@pytest.fixture
def read():
    """Return a function that reads a stream: its items, and the error with which it ended."""

    async def reads(stream):
        items = []
        try:
            async with aclosing(stream):
                async for item in stream:
                    items.append(item)  # noqa: PERF401 - those before an error count
        except Exception as error:
            return items, error
        return items, None

    return reads


@pytest.fixture
def timed():
    """Return a function that reads a stream as pairs of an item, or an error, and its instant.

    The consumer is `busy` for so many seconds after each item.
    """

    async def reads(stream, *, busy=0):
        found = []
        try:
            async with aclosing(stream):
                async for item in stream:
                    found.append((item, round(now(), 9)))
                    await anyio.sleep(busy)
        except Exception as error:
            found.append((error, round(now(), 9)))
        return found

    return reads
