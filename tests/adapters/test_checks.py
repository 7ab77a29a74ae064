"""What is refused before it is sent: too dear, beyond a model, or a list without a price."""

from __future__ import annotations

import pytest

from resilient_openrouter import (
    AllModelsFailed,
    ContextTooLong,
    CostTooHigh,
    ModelUnavailable,
    OpenRouter,
)
from resilient_openrouter._checks import estimate
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.lookups import ModelInfo

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "a question that nobody else may read"}]
FIRST, SECOND = "openai/gpt-4o", "anthropic/claude-sonnet-4.5"
FREE = "meta-llama/llama-3.3-70b-instruct:free"
PRICE = 0.00001255
TOOL = [{"type": "function", "function": {"name": "weather"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}


def router(emulator):
    return OpenRouter("sk-or-v1-0123456789abcdef", base_url=emulator.url)


class TestCost:
    async def test_a_run_stops_where_its_money_is_spent(self):
        """Without prices a run ends when what it has cost reaches its limit."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, ["s_err_roleonly"])
            chat = openrouter.manager(FIRST, SECOND, max_cost=PRICE, transport="stream")
            with pytest.raises(AllModelsFailed) as caught:
                await chat.run(MESSAGES)
            assert emulator.journal.models == [FIRST]
            kinds = [call.error_class for call in caught.value.calls]
            assert kinds == ["UpstreamError", "CostTooHigh", "CostTooHigh"]
            assert caught.value.cost == PRICE

    async def test_what_would_go_beyond_is_not_sent(self):
        """With the catalogue a request whose answer may cost too much goes to a cheaper model."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            await openrouter.models()
            chat = openrouter.manager("openai/gpt-4", FIRST, max_cost=0.05, max_tokens=1000)
            outcome = await chat.run(MESSAGES)
            assert (outcome.target, emulator.journal.models[1:]) == (FIRST, [FIRST])
            refused = outcome.calls[0]
            assert (refused.error_class, refused.cost) == ("CostTooHigh", 0)
            assert "it may cost $0.06" in refused.error

    async def test_an_unknown_cost_counts_as_it_was_estimated(self):
        """A call of which nobody told the cost is not taken for nothing."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            await openrouter.models()
            emulator.script(FIRST, ["e502"])
            chat = openrouter.manager(FIRST, max_cost=0.015, max_tokens=1000)
            with pytest.raises(CostTooHigh):
                await chat.run(MESSAGES)
            assert emulator.journal.models[1:] == [FIRST]

    async def test_a_free_model_is_asked_with_nothing_left(self):
        """What costs nothing is asked when the money is spent."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            await openrouter.models()
            emulator.script(FIRST, ["s_err_roleonly"])
            chat = openrouter.manager(FIRST, FREE, max_cost=PRICE, transport="stream", attempts=1)
            assert (await chat.run(MESSAGES)).target == FREE

    async def test_streams_have_the_same_limit(self):
        """A chain of streams stops as well, and each run begins anew."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, ["s_err_roleonly"])
            chat = openrouter.manager(FIRST, SECOND, max_cost=PRICE, attempts=1)
            for count in (1, 2):
                with pytest.raises(AllModelsFailed):
                    async with chat.stream(MESSAGES) as items:
                        await anext(items)
                assert emulator.journal.models == [FIRST] * count

    @pytest.mark.parametrize(
        ("value", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError)]
    )
    def test_a_wrong_limit_is_refused(self, value, error):
        """A limit is a number of dollars above 0."""
        with pytest.raises(error, match="max_cost"):
            OpenRouter("k").manager("m/m", max_cost=value)

    def test_the_estimate(self):
        """A byte is a third of a token, the answer counts with its limit, a request its price."""
        info = ModelInfo(id="m", prompt_price=3.0, completion_price=2.0, request_price=1.0)
        assert estimate(300, {}, info) == 301
        assert estimate(300, {"max_tokens": 10}, info) == 321
        assert estimate(300, {"max_completion_tokens": 5, "max_tokens": 10}, info) == 311
        assert estimate(300, {"max_tokens": "10"}, ModelInfo(id="m")) == 0
        assert estimate(300, {}, None) == 0


class TestAbilities:
    @pytest.mark.parametrize("fields", [{"tools": TOOL}, {"response_format": SCHEMA}])
    async def test_what_a_model_cannot_do_is_not_asked_of_it(self, fields):
        """With the catalogue a model without tools or schemas is passed over without a request."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            chat = openrouter.manager("openai/gpt-4", FIRST)
            assert (await chat.run(MESSAGES, **fields)).target == "openai/gpt-4"
            await openrouter.models()
            outcome = await chat.run(MESSAGES, **fields)
            assert (outcome.target, outcome.calls[0].error_class) == (FIRST, "ModelUnavailable")
            assert emulator.journal.models == ["openai/gpt-4", "", FIRST]
            with pytest.raises(ModelUnavailable):
                await openrouter.chat("openai/gpt-4", MESSAGES, **fields)

    async def test_nothing_special_is_asked_of_anybody(self):
        """Plain requests, empty lists of tools and JSON objects go to every model."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            await openrouter.models()
            for fields in ({}, {"tools": []}, {"response_format": {"type": "json_object"}}):
                assert (await openrouter.chat("openai/gpt-4", MESSAGES, **fields)).content

    async def test_a_context_that_is_no_larger_is_not_tried(self):
        """After messages that did not fit, only a model with a larger context is asked."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, ["e400_context"])
            chat = openrouter.manager(FIRST, "openai/gpt-4", FREE, "google/gemini-2.5-pro")
            assert (await chat.run(MESSAGES)).target == "openai/gpt-4"
            await openrouter.models()
            outcome = await chat.run(MESSAGES)
            assert outcome.target == "google/gemini-2.5-pro"
            assert emulator.journal.models[-2:] == [FIRST, "google/gemini-2.5-pro"]
            assert [call.error_class for call in outcome.calls] == ["ContextTooLong"] * 3 + [None]

    async def test_nobody_larger_is_left(self):
        """Where no model has a larger context, all say so after one request."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            await openrouter.models()
            emulator.script(FIRST, ["e400_context"])
            with pytest.raises(AllModelsFailed) as caught:
                await openrouter.manager(FIRST, "openai/gpt-4").run(MESSAGES)
            assert [type(error) for error in caught.value.exceptions] == [ContextTooLong] * 2
            assert emulator.journal.models == ["", FIRST]


class TestServerFallback:
    async def test_a_list_of_models_needs_a_price(self):
        """Models for the server to choose from are sent only together with a cap on their price."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            with pytest.raises(ValueError, match="max_price"):
                await openrouter.chat(FIRST, MESSAGES, models=[FIRST, SECOND])
            capped = {"max_price": {"prompt": 3, "completion": 15}}
            await openrouter.chat(FIRST, MESSAGES, models=[FIRST, SECOND], provider=capped)
            assert emulator.journal[0].body["models"] == [FIRST, SECOND]
