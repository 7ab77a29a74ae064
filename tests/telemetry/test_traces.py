"""Whole traces, as a reader of a trace view sees them."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from resilient import FallbackManager, Fault, Target, retry, stack, timeout
from resilient.telemetry import SpanDescription
from resilient.testing import virtual_time
from resilient.testing._spans import capture_spans

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


@both
@pytest.mark.parametrize("case", [recovered, fallback_with_skip, cancelled_in_backoff])
def test_a_trace_is_the_golden_one(case, backend, spans):
    """A trace is its golden file, instants and attributes included, on both backends."""
    virtual_time(case, backend=backend)
    page = spans.page()
    path = GOLDEN / f"{case.__name__}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(page, encoding="utf-8")
    assert page == path.read_text(encoding="utf-8")


@both
@pytest.mark.parametrize("case", [recovered, fallback_with_skip, cancelled_in_backoff])
def test_two_runs_give_the_same_bytes(case, backend):
    """T13: the JSON of all spans is the same to the byte in two runs of one schedule."""
    runs = []
    for _ in range(2):
        with capture_spans() as spans:
            virtual_time(case, backend=backend)
        runs.append([span.to_json() for span in spans])
    assert runs[0] == runs[1]
    assert '"start_time": "2000-01-01T00:00:00.000000Z"' in runs[0][0]
