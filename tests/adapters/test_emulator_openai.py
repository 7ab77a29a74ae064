"""The second API of the emulated server: what OpenAI says, and what it does not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from resilient_openrouter.emulator import Emulator
from resilient_openrouter.emulator.scenarios.openai import OPENAI

VIRTUAL = True
KEY = {"Authorization": "Bearer sk-private"}
QUICK = [
    name
    for name, scenario in OPENAI.items()
    if scenario.status is not None and scenario.ending == "whole"
]


async def ask(emulator, client, model="gpt-4o", headers=KEY, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return await client.post(f"{emulator.openai.url}/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("name", QUICK)
async def test_each_scenario_is_an_http_answer(name):
    """Every scenario is read to its end with its status, and names a request, not a generation."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        response = await ask(emulator, client, f"emu/{name}")
        assert response.status_code == OPENAI[name].status
        assert response.headers["x-request-id"].startswith("chatcmpl-")
        assert "x-generation-id" not in response.headers
        assert "$" not in response.text
        assert (emulator.journal[0].service, emulator.journal[0].ended) == ("openai", "completed")


async def test_a_success_is_plain():
    """A success has no padding, no provider and no cost, and its model is a dated one."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        response = await ask(emulator, client)
        assert response.content.startswith(b"{")
        found = response.json()
        assert (found["id"][:9], found["model"]) == ("chatcmpl-", "gpt-4o-2026-03-17")
        assert found["choices"][0]["message"]["content"] == "Hola"
        assert "provider" not in found
        assert "cost" not in found["usage"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_of_a_stream_is_told_on_request(wanted):
    """A stream ends with `[DONE]`, and tells its usage in an event without choices if asked to."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        options = {"stream_options": {"include_usage": True}} if wanted else {}
        response = await ask(emulator, client, stream=True, **options)
        lines = [line for line in response.text.splitlines() if line]
        assert lines[-1] == "data: [DONE]"
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        said = "".join(
            choice["delta"].get("content", "") for event in events for choice in event["choices"]
        )
        assert said == "Hola"
        assert [event["usage"]["total_tokens"] for event in events if not event["choices"]] == (
            [26] if wanted else []
        )


async def test_the_two_apis_know_nothing_of_each_others_scripts():
    """A model has one script at each API, and a refused key is refused at both."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        emulator.openai.script("gpt-4o", ["e503", "ok"])
        emulator.script("gpt-4o", ["e502"])
        assert [(await ask(emulator, client)).status_code for _ in range(2)] == [503, 200]
        other = await client.post(
            f"{emulator.url}/chat/completions",
            json={"model": "gpt-4o", "messages": []},
            headers=KEY,
        )
        assert other.status_code == 502
        emulator.refuse_key("sk-private")
        assert (await ask(emulator, client)).json()["error"]["code"] == "invalid_api_key"


async def test_a_server_of_ones_own_asks_for_no_key():
    """Without a key it is a 401, unless the server is said to need none."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        assert (await ask(emulator, client, headers={})).status_code == 401
        emulator.openai.needs_key = False
        assert (await ask(emulator, client, headers={})).status_code == 200
        assert emulator.journal[1].headers.get("authorization") is None


async def test_an_unknown_model_of_the_emulator_is_not_found():
    """`emu/<nothing>` is a model that does not exist, as this API says it."""
    async with Emulator(port=None) as emulator, emulator.client() as client:
        response = await ask(emulator, client, "emu/e402_credits")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_the_page_lists_them_all():
    """The page of the emulator names every scenario of this API, and no other."""
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    table = page.partition("## The API that speaks as OpenAI does")[2].partition("| scenarios")[2]
    assert sorted(re.findall(r"`(\w+)(?:\?[^`]*)?`", table)) == sorted(OPENAI)
