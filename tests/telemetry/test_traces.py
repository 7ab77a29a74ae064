"""Whole traces, as a reader of a trace view sees them.

Each case has two golden files, a page for people and JSON for programs.
`UPDATE_GOLDEN=1 python3 run.py test tests/telemetry/test_traces.py` writes
them anew; what changes in them is read in review.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from opentelemetry.trace import Link, SpanContext

from resilient import (
    CircuitOpen,
    FallbackManager,
    Fault,
    Target,
    circuit_breaker,
    consecutive,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient.telemetry import SpanDescription
from resilient.telemetry._spans import EPOCH
from resilient.testing import capture_spans, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GOLDEN = Path(__file__).with_name("golden")
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Unauthorized(Exception):
    """An error that brings its own name."""

    telemetry_error_type = "401"


class Chat:
    """An async callable that describes itself, as those of adapters do."""

    def __init__(self, model: str, error: type[Exception] | None = None) -> None:
        self.model = model
        self.error = error

    def describe(self) -> SpanDescription:
        return SpanDescription(
            f"chat {self.model}", attributes={"gen_ai.request.model": self.model}
        )

    async def __call__(self, prompt: str) -> str:
        await anyio.sleep(0.25)
        if self.error is not None:
            raise self.error(prompt)
        return prompt


def ours(fn):
    """Name a function as one of a module would be, wherever the tests are run from."""
    fn.__module__, fn.__qualname__ = "app", fn.__name__
    return fn


async def recovered() -> None:
    """Three failures of three kinds, and an answer."""
    todo = [(0.5, ConnectionError), (9, None), (1, ConnectionError), (2, None)]

    @stack(retry(attempts=4, backoff=[0.08, 0.15, 0.17]), timeout(8))
    @ours
    async def ask() -> str:
        seconds, error = todo.pop(0)
        await anyio.sleep(seconds)
        if error:
            raise error
        return "an answer"

    await ask()


async def fallback_with_skip() -> None:
    """A refused key takes the next target along, and a third one answers."""

    async def local(prompt: str) -> str:
        return prompt

    manager = FallbackManager(
        [
            Target(
                "gpt-4o",
                Chat("gpt-4o", Unauthorized),
                attempts=2,
                scopes={"credential": "A"},
                classify=lambda _: Fault(retryable=False, scope="credential"),
            ),
            Target("claude", Chat("claude"), scopes={"credential": "A"}),
            Target("local", local),
        ],
        name="answer",
    )
    await manager.run("hello")


async def cancelled_in_backoff() -> None:
    """The caller goes away while the call waits for its second attempt."""

    @retry(backoff=[10])
    @ours
    async def ask() -> None:
        await anyio.sleep(1)
        raise ConnectionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()


async def rejected() -> None:
    """An attempt opens the circuit, and the next call is refused."""

    @stack(circuit_breaker("openrouter", trip=consecutive(1), open_for=30), name="ask")
    @ours
    async def ask() -> None:
        await anyio.sleep(1)
        raise ConnectionError

    for _ in range(2):
        with contextlib.suppress(ConnectionError, CircuitOpen):
            await ask()


async def stream_cut_after_commit() -> None:
    """The second attempt of a stream gives two items and fails."""
    todo: list[Exception] = [ConnectionError(), OSError()]

    @stack(retry(attempts=3, backoff=[0.5]), timeout(60, first_item=8), name="ask")
    @ours
    async def ask() -> AsyncIterator[str]:
        error = todo.pop(0)
        if isinstance(error, ConnectionError):
            raise error
        for word in ("to", "be"):
            await anyio.sleep(1)
            yield word
        raise error

    with contextlib.suppress(OSError):
        async for _ in ask():
            await anyio.sleep(3)


async def timed_out() -> None:
    """The second attempt is cut by the limit of everything."""

    @stack(timeout(5), retry(backoff=[1]), timeout(3), name="ask")
    @ours
    async def ask() -> None:
        await anyio.sleep(9)

    with contextlib.suppress(TimeoutError):
        await ask()


async def degraded() -> None:
    """Two targets fail, and the last resort is returned."""

    @ours
    async def small() -> str:
        raise ConnectionError

    @stack(fallback(to=[small], degrade=value("sorry")), retry(attempts=2, backoff=[1]), name="ask")
    @ours
    async def ask() -> str:
        await anyio.sleep(0.5)
        raise ConnectionError

    await ask()


CASES = pytest.mark.parametrize(
    "case",
    [
        recovered,
        fallback_with_skip,
        rejected,
        stream_cut_after_commit,
        timed_out,
        degraded,
        cancelled_in_backoff,
    ],
)


@both
@CASES
def test_a_trace_is_the_golden_one(case, backend, spans):
    """T13: a trace is its golden files to the byte, in every run and on both backends."""
    virtual_time(case, backend=backend)
    for suffix, text in ((".txt", spans.page()), (".json", spans.to_json())):
        path = (GOLDEN / case.__name__).with_suffix(suffix)
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")


@both
@CASES
def test_two_runs_give_the_same_bytes(case, backend):
    """T13: what the SDK itself exports is the same to the byte in two runs of one schedule."""
    runs = []
    for _ in range(2):
        with capture_spans() as spans:
            virtual_time(case, backend=backend)
        runs.append([span.to_json() for span in spans])
    assert runs[0] == runs[1]
    assert '"start_time": "2000-01-01T00:00:00.000000Z"' in runs[0][0]


def test_there_is_no_golden_file_too_many():
    """Each golden file is that of a case."""
    cases = {case.__name__ for case in CASES.args[1]}
    assert {path.stem for path in GOLDEN.iterdir()} == cases


def test_what_is_open_and_linked_elsewhere_can_be_shown(spans):
    """A span that has not ended, and a link out of the capture, are said to be so."""
    tracer = spans.provider.get_tracer("test")
    elsewhere = SpanContext(1, 0xABC, is_remote=True)
    span = tracer.start_span("open", links=[Link(elsewhere)], start_time=EPOCH)
    assert spans.tree() == ["open  -> another span"]
    assert "+open" in spans.page()
    (shown,) = json.loads(spans.to_json())
    assert (shown["end"], shown["links"]) == (None, ["0000000000000abc"])
    span.end()
