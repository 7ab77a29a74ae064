"""A scheduled server that streams its answer, and what reads it: plain httpx and the adapter."""

from __future__ import annotations

from contextlib import aclosing

import httpx
import pytest

from resilient import (
    TimedOut,
    retry,
    stack,
    timeout,
)
from resilient.testing import (
    Cut,
    CutError,
    Fail,
    FailureSchedule,
    FaultyBackend,
    Hang,
    HttpReply,
    InvariantBroken,
    Items,
    Ok,
    Raised,
    simulate,
)
from resilient_openrouter import OpenRouter, StreamTruncated

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])

ITEM = {"choices": [{"index": 0, "delta": {"content": "so"}}]}
END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


async def lines(client: httpx.AsyncClient):
    async with client.stream("GET", "http://server/words") as response:
        async for line in response.aiter_lines():
            if line:
                yield line


@both
@pytest.mark.parametrize(
    ("step", "items", "came", "elapsed"),
    [
        (Items(2), ['data: {"item": 1}', 'data: {"item": 2}', "data: [DONE]"], None, 0),
        (Items([b"data: so\n\n"], then=Ok(after=1)), ["data: so", "data: [DONE]"], None, 1),
        (Items(["so"], then=Cut(), after=1), ['data: "so"'], None, 1),
        (Items(0, after=1), ["data: [DONE]"], None, 1),
        (Items(1, then=Fail(ConnectionError, after=1)), ['data: {"item": 1}'], httpx.ReadError, 1),
        (Items(1, then=Fail(OSError, hint=1)), ['data: {"item": 1}'], httpx.ReadError, 0),
        (Items(1, then=Fail(KeyError)), ['data: {"item": 1}'], KeyError, 0),
        (Items(1, then=Hang()), ['data: {"item": 1}'], httpx.ReadTimeout, 4),
        (Items(2, gap=5), ['data: {"item": 1}'], httpx.ReadTimeout, 4),
        (Ok(HttpReply(content=["a\n", "b\n"], gap=1)), ["a", "b"], None, 2),
    ],
    ids=repr,
)
def test_a_server_may_stream(step, items, came, elapsed, backend):
    """`Items` are server-sent events with an end marker, unless the answer is cut or breaks."""
    schedule = FailureSchedule([step])
    client = httpx.AsyncClient(transport=schedule.transport(), timeout=4)
    run = simulate(lines, schedule, args=(client,), target="real", backend=backend)
    assert (run.tries, len(run.calls)) == (0, 1)
    assert (list(run.items), run.elapsed, run.leftovers) == (items, elapsed, ())
    assert (type(run.error) if run.error else None) is came
    if step.then == Cut() if isinstance(step, Items) else False:
        with pytest.raises(InvariantBroken, match="an error, as the stream was cut before its end"):
            run.check(only="stream_prefix")
    else:
        run.check(only="stream_prefix")


@both
def test_a_response_may_be_closed_early(backend):
    """A consumer that leaves closes the response, and nothing is left behind."""
    schedule = FailureSchedule([Items(3, gap=1)], take=1)
    client = httpx.AsyncClient(transport=schedule.transport())
    run = simulate(lines, schedule, args=(client,), target="real", backend=backend).check()
    assert (run.tries, len(run.calls), len(run.items)) == (0, 1, 1)
    assert run.calls[0].ended == 0


@both
@pytest.mark.parametrize(
    ("text", "tries", "came", "items"),
    [
        ("x ::.", 2, None, 2),
        ("/ ::.", 2, None, 2),
        ("::/", 1, StreamTruncated, 2),
        ("::x", 1, StreamTruncated, 2),
        (":~", 1, TimedOut, 1),
        (".", 1, None, 1),
    ],
)
def test_the_adapter_streams_over_a_scheduled_network(text, tries, came, items, backend):
    """The adapter's own reader meets cuts, breaks and hangs, and names each of them."""
    schedule = FailureSchedule.parse(text)
    transport = schedule.transport(item=ITEM, end=END)
    openrouter = OpenRouter("sk-or-v1-secret", client=httpx.AsyncClient(transport=transport))

    @stack(retry(attempts=2, backoff=[1]), timeout(100, between_items=20))
    async def answer(question):
        chunks = openrouter.stream("openai/gpt-4o", [{"role": "user", "content": question}])
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.content:
                    yield chunk.content

    run = simulate(answer, schedule, args=("why?",), target="real", backend=backend).check()
    assert (run.tries, len(run.calls), run.items) == (tries, tries, ("so",) * items)
    assert (type(run.error) if run.error else None) is came


@both
def test_the_same_cut_at_each_level(backend):
    """One schedule cuts the policies' source, a backend and a server's answer alike."""
    schedule = FailureSchedule.parse("x ::/")
    transport = schedule.transport(item=ITEM, end=END)
    openrouter = OpenRouter("sk-or-v1-secret", client=httpx.AsyncClient(transport=transport))

    @retry(attempts=2, backoff=[1])
    async def answer(stream, *args):
        async with aclosing(stream(*args)) as chunks:
            async for chunk in chunks:
                yield chunk

    question = ("openai/gpt-4o", [{"role": "user", "content": "why?"}])
    service = FaultyBackend(schedule)
    runs = [
        simulate(answer, schedule, backend=backend),
        simulate(answer, schedule, args=(service.stream,), target="real", backend=backend),
        simulate(
            answer, schedule, args=(openrouter.stream, *question), target="real", backend=backend
        ),
    ]
    for run in runs:
        assert (run.tries, len(run.calls), len(run.items), run.elapsed) == (2, 2, 2, 1)
        assert isinstance(run.check().result, Raised)
    assert [type(run.error) for run in runs] == [CutError, CutError, StreamTruncated]
