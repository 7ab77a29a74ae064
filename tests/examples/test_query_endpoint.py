"""Each bad day of the endpoint, in virtual time and without a network."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from resilient.testing import virtual_time
from resilient_openrouter import OpenRouter

FILE = Path(__file__).parents[2] / "examples" / "query_endpoint" / "service.py"
SPEC = importlib.util.spec_from_file_location("query_endpoint", FILE)
service = importlib.util.module_from_spec(SPEC)
sys.modules["query_endpoint"] = service  # where FastAPI looks up the annotations
SPEC.loader.exec_module(service)

CONFIG = service.load_config(FILE.with_name("config.toml"))
FIRST, SECOND = CONFIG.models
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def answering(**answers):
    """Return a router that gives each model its answer: a text, a status, or `"hangs"`."""
    asked = []

    async def handle(request):
        model = next(name for name in (FIRST, SECOND) if f'"{name}"' in request.content.decode())
        asked.append(model)
        answer = answers["first" if model == FIRST else "second"]
        if answer == "hangs":
            await anyio.sleep(3600)
        if isinstance(answer, str):
            message = {"role": "assistant", "content": answer}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return httpx.Response(200, json={"id": "gen-1", "model": model, "choices": [choice]})
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        error = {"code": status, "message": "no"}
        return httpx.Response(status, json={"error": error}, headers=headers)

    return httpx.MockTransport(handle), asked


async def found(question):
    return ["the sky scatters blue light"]


async def lost(question):
    raise ConnectionError


async def small(messages):
    return "something about light"


async def broken(messages):
    raise ConnectionError


def ask(backend, answers, *, search=found, local=small, strict=False):
    """Ask the service one question; return its response and which models were asked."""

    async def run():
        transport, asked = answering(**answers)
        async with httpx.AsyncClient(transport=transport) as models:
            app = service.create_app(OpenRouter("key", client=models), search, local, CONFIG)
            inside = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=inside, base_url="http://service") as caller:
                question = {"question": "Why is the sky blue?", "strict": strict}
                return await caller.post("/query", json=question), asked

    return virtual_time(run, backend=backend)


@BACKENDS
def test_on_a_good_day_the_first_model_answers(backend):
    """The answer has its context and its model, and is not degraded."""
    response, asked = ask(backend, {"first": "It scatters.", "second": "No."})
    told = response.json()
    assert response.status_code == 200
    assert (told["answer"], told["model"], told["degraded"]) == ("It scatters.", FIRST, False)
    assert told["context"] == ["the sky scatters blue light"]
    assert told["latency_ms"] >= 0
    assert asked == [FIRST]


@BACKENDS
@pytest.mark.parametrize("failure", [401, 500, 503, "hangs"])
def test_the_second_model_answers_for_the_first(backend, failure):
    """Whatever the first one does, unless the fault is in the key that both share."""
    response, asked = ask(backend, {"first": failure, "second": "It scatters."})
    told = response.json()
    if failure == 401:  # the key is the same: the next who can answer needs none
        assert (told["answer"], told["model"]) == ("something about light", "small")
        assert asked == [FIRST]
    else:
        assert (told["answer"], told["model"]) == ("It scatters.", SECOND)
        assert asked == [FIRST, FIRST, SECOND]
    assert told["degraded"] is False


@BACKENDS
def test_the_small_model_answers_for_the_router(backend):
    """Where no model of the router answers, one in the process does."""
    response, asked = ask(backend, {"first": 503, "second": 503})
    assert response.json()["answer"] == "something about light"
    assert set(asked) == {FIRST, SECOND}


@BACKENDS
def test_the_default_reply_is_the_last_level(backend):
    """Nobody answered: the caller is told so in words, with a 200."""
    response, _ = ask(backend, {"first": 503, "second": 503}, local=broken)
    told = response.json()
    assert response.status_code == 200
    assert (told["answer"], told["model"]) == (CONFIG.default_reply, None)
    assert told["degraded"] is True


@BACKENDS
def test_a_failed_search_costs_the_context_and_not_the_answer(backend):
    """The model is asked without context."""
    response, _ = ask(backend, {"first": "It scatters.", "second": "No."}, search=lost)
    assert (response.json()["answer"], response.json()["context"]) == ("It scatters.", [])


@BACKENDS
def test_a_strict_caller_is_told_when_to_come_back(backend):
    """A 503 whose Retry-After is the least that a model has asked for."""
    busy = {"first": (429, {"Retry-After": "40"}), "second": (429, {"Retry-After": "26"})}
    response, _ = ask(backend, busy, strict=True)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "26")
    assert response.json() == {"detail": "no model could answer"}


@BACKENDS
def test_a_question_that_is_none_is_the_callers_mistake(backend):
    """The models are not asked."""

    async def run():
        app = service.create_app(OpenRouter("key"), found, small, CONFIG)
        inside = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=inside, base_url="http://service") as caller:
            return await caller.post("/query", json={"question": ""})

    assert virtual_time(run, backend=backend).status_code == 422
