"""The circuit of each model as it comes: when it opens, what it learns from, when it asks again."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from resilient import breakers
from resilient_openrouter import AllModelsFailed, OpenAICompatible, OpenRouter
from resilient_openrouter.emulator import Emulator

VIRTUAL = True
GPT, CLAUDE = "openai/gpt-4o", "anthropic/claude-sonnet-4.5"
MESSAGES = [{"role": "user", "content": "Hello there"}]


@asynccontextmanager
async def started():
    async with (
        Emulator(port=None) as emulator,
        emulator.client() as client,
        OpenRouter("k", base_url=emulator.url, client=client) as openrouter,
    ):
        yield emulator, openrouter, client


def states():
    return {name.partition("/")[2]: seen.state for name, seen in breakers().items()}


@pytest.mark.parametrize(
    ("script", "opens"),
    [
        (["e503", "ok", "e503", "ok", "e503"], True),  # half of five, never two in a row
        (["ok", "ok", "ok", "e503", "e503"], False),
        (["e503", "e503", "e503", "e503"], False),  # neither five calls nor five in a row
        (["e503"] * 5, True),
        (["e429_upstream_hint?seconds=1"] * 5, False),  # who says when to come back is not down
        (["e400_context"] * 6, False),
        (["e404_noendpoints"], False),
        (["e401_badkey"] * 6, False),
    ],
)
async def test_it_opens_at_half_of_five_or_five_in_a_row(script, opens):
    """A model's circuit opens at half of at least five calls in 30 s, or at five in a row."""
    async with started() as (emulator, openrouter, _):
        emulator.script(GPT, script)
        chain = openrouter.manager(GPT, CLAUDE, _local, attempts=1)
        for _ in script:
            await chain.run(MESSAGES)
            await anyio.sleep(2)
        assert (states()[GPT] == "open") is opens


async def _local(messages):
    return "from here"


async def test_five_in_a_row_may_take_a_day():
    """A small application's five failures in a row open it, however far apart they are."""
    async with started() as (emulator, openrouter, _):
        emulator.script(GPT, ["e502"])
        chain = openrouter.manager(GPT, CLAUDE, attempts=1)
        for _ in range(5):
            await chain.run(MESSAGES)
            await anyio.sleep(3600)
        assert emulator.journal.models.count(GPT) == 5
        assert breakers()[f"127.0.0.1:1/{GPT}"].opened_by is not None


async def test_who_is_well_again_is_asked_again():
    """With a call every 4 s, few ask a model that is down; it is used 24 s after its return."""
    async with started() as (emulator, openrouter, _):
        emulator.script(GPT, ["e503"])
        chain = openrouter.manager(GPT, CLAUDE, attempts=1)
        answered = []
        for second in range(0, 120, 4):
            if second == 60:
                emulator.script(GPT, ["ok"])
            outcome = await chain.run(MESSAGES)
            answered.append((second, outcome.target))
            assert outcome.elapsed < 1
            await anyio.sleep(4)
        during = [entry for entry in emulator.journal if entry.model == GPT and entry.began < 60]
        back = next(second for second, target in answered if target == GPT)
        assert len(during) <= 8
        assert back - 60 <= 24
        assert all(target == GPT for second, target in answered if second > back)


async def test_a_skip_says_why():
    """A model whose circuit is open is skipped as such, in the outcome and where nobody answers."""
    async with started() as (emulator, openrouter, _):
        emulator.script(GPT, ["e503"])
        emulator.script(CLAUDE, ["e503"])
        chain = openrouter.manager(GPT, CLAUDE, attempts=1)
        for _ in range(5):
            with pytest.raises(AllModelsFailed):
                await chain.run(MESSAGES)
        with pytest.raises(AllModelsFailed) as caught:
            await chain.run(MESSAGES)
        skipped = [(each.target, each.reason) for each in caught.value.skipped]
        assert skipped == [(GPT, "breaker_open"), (CLAUDE, "breaker_open")]
        assert caught.value.retry_after == 20
        assert len(emulator.journal) == 10


async def test_two_keys_of_one_host_share_what_is_known_of_a_model():
    """A model that is down for one client is down for another of the same host, and only there."""
    async with started() as (emulator, openrouter, client):
        second = OpenRouter("other", base_url=emulator.url, client=client)
        elsewhere = OpenAICompatible(emulator.openai.url, client=client)
        emulator.openai.needs_key = False
        emulator.script(GPT, ["e503"])
        for _ in range(5):
            await openrouter.manager(GPT, _local, attempts=1).run(MESSAGES)
        outcome = await second.manager(GPT, elsewhere.target(GPT, name="elsewhere")).run(MESSAGES)
        assert (outcome.target, outcome.skipped[0].reason) == ("elsewhere", "breaker_open")
        assert len([entry for entry in emulator.journal if entry.service == "openrouter"]) == 5


async def test_without_it_every_call_asks():
    """With `breaker=None` a model that is down is asked by every call."""
    async with started() as (emulator, openrouter, _):
        emulator.script(GPT, ["e503"])
        chain = openrouter.manager(GPT, CLAUDE, attempts=1, breaker=None)
        for _ in range(9):
            await chain.run(MESSAGES)
        assert emulator.journal.models.count(GPT) == 9
        assert "circuit_breaker" not in chain.explain()


def test_explain_shows_it():
    """What a chain amounts to names each model's circuit, its rule and its time."""
    told = OpenRouter("k").manager(GPT, CLAUDE).explain()
    for model in (GPT, CLAUDE):
        assert (
            f'circuit_breaker: "openrouter.ai/{model}": closed; opens at 5 failures in a row'
            ", or at 50 % failures of at least 5 calls in 30 s, probes after 20 s"
        ) in told
