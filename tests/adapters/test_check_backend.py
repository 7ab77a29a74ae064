"""Both backends of this adapter are good ones, by the check that everybody's has to pass."""

from __future__ import annotations

import json
from functools import partial

import httpx
import pytest

from resilient import Target
from resilient.testing import Bad, Fail, check_backend
from resilient_openrouter import OpenAICompatible, OpenRouter
from resilient_openrouter._functions import streaming

QUESTION = [{"role": "user", "content": "a question that nobody else may read"}]
ANSWER = {
    "id": "gen-1",
    "model": "served",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.1},
}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "4"}}]},
    {"choices": [{"index": 0, "delta": {"content": "2"}, "finish_reason": "stop"}]},
]
STREAM = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n\n"


def refused(status, message="no", http_status=None, **error):
    body = {"error": {"code": status, "message": f"{message}: {QUESTION[0]['content']}", **error}}
    return http_status or status, body


FAILURES = [
    *(Bad(refused(status)) for status in (400, 401, 402, 403, 404, 408, 409, 413, 429, 500, 502)),
    *(Bad(refused(status)) for status in (503, 504, 520, 524, 529)),
    Bad(refused(502, http_status=200)),
    Bad((200, {"choices": []})),
    Bad((200, "<html></html>")),
    Bad((200, "")),
    *(
        Fail(partial(kind, f"no: {QUESTION[0]['content']}"))
        for kind in (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.ReadError,
            httpx.RemoteProtocolError,
            httpx.PoolTimeout,
        )
    ),
]


def client_of(service):
    """Return an HTTP client that asks the service where the network would be."""

    async def handle(request):
        status, body = await service(request.url.path)
        text = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(status, text=text)

    return httpx.AsyncClient(transport=httpx.MockTransport(handle))


def openrouter(service):
    made = OpenRouter("sk-or-v1-private", client=client_of(service))
    return made.target("openai/gpt-4o", policies=None, attempts=None, timeout=None, breaker=None)


def compatible(service):
    made = OpenAICompatible(
        "https://api.example.org/v1", api_key="sk-private", client=client_of(service)
    )
    return made.target("gpt-4o", attempts=None, timeout=None, breaker=None)


@pytest.mark.parametrize("build", [openrouter, compatible])
def test_an_answer_is_that_of_a_good_backend(build):
    """One request for a call, known failures, cancellable, nothing left, and nothing told."""
    check_backend(build, answer=(200, ANSWER), failures=FAILURES, args=[QUESTION])


@pytest.mark.parametrize("build", [openrouter, compatible])
def test_a_stream_is_that_of_a_good_backend(build):
    """The same holds for streams, cut ones included."""

    def streamed(service):
        return streaming(build(service))

    cut = STREAM.partition("data: [DONE]")[0].rpartition("data:")[0]
    failures = [*FAILURES, Bad((200, cut)), Bad((200, "data: [DONE]\n\n"))]
    check_backend(streamed, answer=(200, STREAM), failures=failures, args=[QUESTION])


def test_the_check_would_notice():
    """A backend of ours that hid its failures would not pass."""

    def hiding(service):
        inner = openrouter(service)

        async def ask(messages):
            try:
                return await inner.call(messages)
            except Exception as error:
                return error

        return Target("hiding", ask, scopes=inner.scopes)

    with pytest.raises(AssertionError, match="failure_is_raised"):
        check_backend(hiding, answer=(200, ANSWER), failures=FAILURES[:1], args=[QUESTION])
