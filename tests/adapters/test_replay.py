"""`replay_cache=True`: an answer that was lost on its way is had again for nothing."""

from __future__ import annotations

import hashlib
import json

import httpx
import pytest

from resilient import retry
from resilient_openrouter import OpenRouter
from resilient_openrouter.emulator import Emulator

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


class Keeping(httpx.AsyncBaseTransport):
    """A server that keeps whole answers as OpenRouter does, and loses the first ones on their way.

    The key is what the provider documents: the API key, the model, the kind,
    and the exact bytes of the request.
    """

    def __init__(self, lost=1):
        self.lost = lost
        self.requests = []
        self.worked = 0
        self._kept = {}

    async def handle_async_request(self, request):
        self.requests.append(request)
        body = json.loads(request.content)
        key = (
            request.headers["authorization"],
            body["model"],
            body.get("stream", False),
            hashlib.sha256(request.content).digest(),
        )
        headers = {"x-openrouter-cache-status": "HIT" if key in self._kept else "MISS"}
        if key not in self._kept:
            self.worked += 1
            answer = answered(f"answer {self.worked}", stream=body.get("stream", False))
            if request.headers.get("x-openrouter-cache") == "true":
                self._kept[key] = answer
        else:
            answer = self._kept[key]
        if self.lost:
            self.lost -= 1
            raise httpx.ReadError("the connection broke", request=request)
        return httpx.Response(200, headers=headers, content=answer)


def answered(text, *, stream):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.5}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "delta" if stream else "message": message}
    body = json.dumps({"id": "gen-1", "choices": [choice], "usage": usage})
    return f"data: {body}\n\ndata: [DONE]\n\n".encode() if stream else body.encode()


def router(server, **options):
    client = httpx.AsyncClient(transport=server)
    return OpenRouter("key", client=client, **({"replay_cache": True} | options))


@pytest.mark.parametrize("transport", ["plain", "stream"])
async def test_a_lost_answer_is_had_again(transport):
    """The second attempt gets the answer of the first one, and pays nothing for it."""
    server = Keeping()
    chain = router(server, transport=transport).manager("a/b", "c/d")
    outcome = await chain.run(MESSAGES)
    assert (outcome.value.content, outcome.value.cached) == ("answer 1", True)
    assert (server.worked, len(server.requests), len(outcome.attempts)) == (1, 2, 2)
    assert (outcome.calls[1].billed, outcome.calls[1].cost) == ("no", 0)


async def test_it_is_asked_for():
    """Without the option nothing is kept, nothing is added, and the model works twice."""
    server = Keeping()
    outcome = await router(server, replay_cache=False).manager("a/b").run(MESSAGES)
    assert (outcome.value.content, outcome.value.cached) == ("answer 2", False)
    assert [each for each in server.requests if "x-openrouter-cache" in each.headers] == []
    assert [json.loads(each.content).get("metadata") for each in server.requests] == [None, None]


async def test_the_first_attempt_asks_for_it_as_well():
    """Rule a: what was not asked for by the first attempt would not be there for the second."""
    server = Keeping(lost=0)
    await router(server).manager("a/b").run(MESSAGES)
    assert [each.headers["x-openrouter-cache"] for each in server.requests] == ["true"]


async def test_attempts_of_a_call_are_the_same_to_the_byte():
    """Rules b and d: every attempt sends the same bytes, the kind of answer included."""
    server = Keeping(lost=2)
    fields = {"temperature": 0, "metadata": {"team": "blue"}}
    chain = router(server).manager("a/b", attempts=3, breaker=None, **fields)
    await chain.run(MESSAGES, max_tokens=5)
    assert len(server.requests) == 3
    assert len({each.content for each in server.requests}) == 1
    server.lost = 2
    async with chain.stream(MESSAGES, max_tokens=5) as items:
        assert [chunk async for chunk in items][-1].reply.cached
    streams = [json.loads(each.content)["stream"] for each in server.requests[3:]]
    assert streams == [True] * 3


async def test_two_calls_never_share_an_answer():
    """Rule c: the id of the call is in the request, so the same question is answered anew."""
    server = Keeping(lost=0)
    chain = router(server).manager("a/b", metadata={"team": "blue"})
    first, second = [(await chain.run(MESSAGES)).value for _ in range(2)]
    assert (first.content, second.content) == ("answer 1", "answer 2")
    told = [json.loads(each.content)["metadata"] for each in server.requests]
    assert [each["team"] for each in told] == ["blue", "blue"]
    assert len({each["resilient_call"] for each in told}) == 2


async def test_a_retry_of_ones_own_replays_as_well():
    """Whoever retries `chat` by hand gets the lost answer; outside of any call nothing is kept."""
    server = Keeping()
    openrouter = router(server)

    @retry(attempts=2)
    async def ask():
        return await openrouter.chat("a/b", MESSAGES)

    assert (await ask()).cached
    await openrouter.chat("a/b", MESSAGES)
    assert "x-openrouter-cache" not in server.requests[-1].headers
    assert "metadata" not in json.loads(server.requests[-1].content)


async def test_lookups_keep_nothing():
    """What is looked up is no completion, and asks for nothing to be kept."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        openrouter = OpenRouter("k", base_url=emulator.url, client=client, replay_cache=True)

        @retry(attempts=2)
        async def look():
            return await openrouter.models()

        assert await look()
        assert "x-openrouter-cache" not in emulator.journal[0].headers


async def test_a_full_metadata_has_no_place_for_the_id():
    """Sixteen pairs are all that the server takes, so one of them has to be left."""
    server = Keeping(lost=0)
    chain = router(server).manager("a/b")
    with pytest.raises(ValueError, match="needs one of the 16 pairs of metadata"):
        await chain.run(MESSAGES, metadata={str(each): "" for each in range(16)})
    await chain.run(MESSAGES, metadata={str(each): "" for each in range(15)})
    with pytest.raises(TypeError, match="metadata must be a mapping, not list"):
        await chain.run(MESSAGES, metadata=["team"])
    assert len(server.requests) == 1


def test_it_is_a_switch():
    """Anything but true and false is refused by name."""
    with pytest.raises(TypeError, match="replay_cache must be True or False, not int"):
        OpenRouter("key", replay_cache=300)
