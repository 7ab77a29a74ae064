"""Models, endpoints, keys and bills; and a ledger that knows what it does not know."""

from __future__ import annotations

from contextlib import aclosing, suppress

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_openrouter import (
    AllModelsFailed,
    EdgeError,
    Forbidden,
    ModelCall,
    NotFound,
    OpenRouter,
    OpenRouterError,
    Overloaded,
    Usage,
    clocks,
)
from resilient_openrouter._ledger import ledger
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.emulator._transport import _Backend
from resilient_openrouter.lookups import Account, EndpointInfo, Generation, KeyInfo, ModelInfo
from resilient_openrouter.results import known_cost, total_usage, unknown_costs

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "a question that nobody else may read"}]
PRICE = 0.00001255
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)

inner_values = st.dictionaries(st.sampled_from(["prompt", "p50"]), json_values)
FIELDS = [
    "id", "name", "pricing", "top_provider", "supported_parameters", "context_length", "limit",
    "label", "is_free_tier", "status", "latency_last_30m", "total_cost", "cancelled",
    "native_tokens_prompt", "total_credits",
]  # fmt: skip


def router(emulator, key="sk-or-v1-0123456789abcdef", **options):
    return OpenRouter(key, base_url=emulator.url, **options)


def now():
    return anyio.current_time()  # noqa: TID251 - one run has one origin


async def read(stream):
    """Read a stream as far as it comes."""
    with suppress(OpenRouterError):
        async for _ in stream:
            pass


class TestCatalogue:
    async def test_models_come_page_by_page(self):
        """All pages of the catalogue are read, with prices, abilities and unknown fields."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.lookups.page = 2
            models = {model.id: model for model in await openrouter.models()}
            assert len(emulator.journal) == 3
            small = models["openai/gpt-4"]
            assert (small.context_length, small.max_completion_tokens) == (8192, 4096)
            assert (small.prompt_price, small.completion_price) == (0.00003, 0.00006)
            assert small.supported_parameters == {"temperature", "top_p", "max_tokens"}
            assert small.raw["expiration_date"] is None
            assert models["meta-llama/llama-3.3-70b-instruct:free"].prompt_price == 0
            assert "tools" in models["openai/gpt-4o"].supported_parameters

    @pytest.mark.parametrize(
        "link",
        [
            "https://elsewhere.example/models?offset=2",
            "//elsewhere.example/api/v1/models?offset=2",
            "/elsewhere?offset=2",
            "/api/v1/models",
            3,
            None,
        ],
    )
    def test_no_page_leads_elsewhere(self, link):
        """A next page that is none of ours is not read: the key does not travel."""
        body = {"data": [{}], "total_count": 9, "links": {"next": link}}
        assert OpenRouter("k")._next_page(body, 1) is None

    def test_no_catalogue_is_endless(self):
        """A page without models, or behind the last one, is not followed."""
        link = {"next": "/api/v1/models?offset=2"}
        openrouter = OpenRouter("k")
        assert openrouter._next_page({"data": [], "links": link}, 0) is None
        assert openrouter._next_page({"data": [{}], "total_count": 2, "links": link}, 2) is None
        assert openrouter._next_page({"data": [{}], "links": link}, 2) == "/models?offset=2"

    async def test_endpoints_say_how_they_do(self):
        """The endpoints of a model have uptime, latency and throughput."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            (found,) = await openrouter.endpoints("openai/gpt-4")
            assert (found.provider, found.status, found.uptime_30m) == ("OpenAI", 0, 99.5)
            assert (found.latency["p99"], found.throughput["p50"]) == (0.85, 45.2)
            with pytest.raises(NotFound) as caught:
                await openrouter.endpoints("no/such")
            assert (caught.value.status_code, caught.value.scope) == (404, None)

    async def test_a_key_and_its_account(self):
        """What may be spent is told, and no label of a key is shown."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            key = await openrouter.key()
            assert (key.limit, key.limit_remaining, key.limit_reset) == (100, 74.5, "monthly")
            assert "sk-or" not in repr(key)
            assert await openrouter.account() == Account(
                credits=100.5, usage=25.75, raw={"total_credits": 100.5, "total_usage": 25.75}
            )

    @pytest.mark.parametrize(
        ("scenario", "kind"),
        [("e503", Overloaded), ("e403_management", Forbidden), ("html_520", EdgeError)],
    )
    async def test_a_lookup_fails_as_a_call_does(self, scenario, kind):
        """An error of another endpoint is classified by the same table, and not retried."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            for path in ("/key", "/credits", "/models"):
                emulator.script(path, [scenario])
            for call in (openrouter.key, openrouter.account, openrouter.models):
                with pytest.raises(kind):
                    await call()
            assert len(emulator.journal) == 3

    async def test_the_catalogue_needs_no_key_of_anybody(self):
        """The emulated catalogue is open; the others refuse a key that is none."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.refuse_key("sk-or-v1-0123456789abcdef")
            assert await openrouter.models()

    @given(st.dictionaries(st.sampled_from(FIELDS), json_values | inner_values))
    def test_any_answer_is_read(self, body):
        """Fields of any kind are read, or left out, and never an error."""
        for kind in (ModelInfo, EndpointInfo, KeyInfo, Account, Generation):
            assert kind.of(body).raw == body


class TestLedger:
    async def test_every_call_has_its_tokens_and_times(self):
        """Failed calls are in the ledger as well, with tokens and cost as far as told."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script("a/first", ["s_err_roleonly"])
            emulator.script("b/second", ["slow_ttft?after=2"])
            chat = openrouter.manager("a/first", "b/second", attempts=1)
            async with chat.stream(MESSAGES) as items:
                async for _ in items:
                    pass
            outcome = items.outcome
            first, second = outcome.calls
            assert (first.usage.total_tokens, first.cost, first.billed) == (26, PRICE, "yes")
            assert (first.headers_after, first.content_after, first.took) == (0, None, 0)
            assert (second.headers_after, second.content_after, second.took) == (0, 2, 2)
            assert outcome.usage == Usage(
                prompt_tokens=38, completion_tokens=14, total_tokens=52,
                cached_tokens=0, reasoning_tokens=0,
            )  # fmt: skip
            assert outcome.cost == 2 * PRICE
            assert first.credential.startswith("key-")

    async def test_a_new_connection_has_its_time(self, monkeypatch):
        """The seconds to a connection are those of the call that made it; others had it already."""
        connect = _Backend.connect_tcp

        async def far_away(*args, **options):
            await anyio.sleep(2)
            return await connect(*args, **options)

        monkeypatch.setattr(_Backend, "connect_tcp", far_away)
        async with (
            Emulator(port=None) as emulator,
            emulator.client() as client,
            router(emulator, client=client) as openrouter,
        ):
            emulator.script("a/first", ["e503", "ok"])
            outcome = await openrouter.manager("a/first").run(MESSAGES)
            first, second = outcome.calls
            assert (first.connected_after, first.headers_after) == (2, 2)
            assert (second.connected_after, second.headers_after) == (None, 0)

    def test_unknown_is_not_nothing(self):
        """What nobody told is counted, and neither tokens nor dollars are made up."""
        calls = [
            ModelCall(target="a", model="a"),
            ModelCall(target="b", model="b", cost=0.5, usage=Usage(total_tokens=3)),
        ]
        assert (known_cost(calls), unknown_costs(calls)) == (0.5, 1)
        assert total_usage(calls) == Usage(total_tokens=3)
        assert total_usage(calls[:1]) is None

    @pytest.mark.parametrize(
        ("name", "billed", "cost"),
        [
            ("ok", "yes", PRICE),
            ("ok_cached", "no", 0),
            ("empty_content", "no", 0),
            ("e503", "no", 0),
            ("e401_badkey", "no", 0),
            ("e429_upstream_hint", "no", 0),
            ("e400_zod", "no", 0),
            ("e502", "unknown", None),
            ("e524", "unknown", None),
            ("e408", "unknown", None),
            ("silence", "unknown", None),
            ("stall", "unknown", None),
            ("reset_in_body", "unknown", None),
            ("s_trunc", "unknown", None),
            ("s_err_mid", "unknown", None),
        ],
    )
    async def test_what_was_billed(self, name, billed, cost):
        """Refused is not billed, told is what it costs, and everything else is unknown."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            with ledger([]) as records:
                await read(openrouter.stream(f"emu/{name}", MESSAGES, clocks=clocks.interactive))
            assert (records[0].call.billed, records[0].call.cost) == (billed, cost)


class TestReconcile:
    async def test_unknown_costs_become_known(self):
        """A call that was given up is looked up until the server knows what it cost."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script("openai/gpt-4o", ["s_err_mid"])
            with ledger([]) as records:
                await read(openrouter.stream("openai/gpt-4o", MESSAGES))
            call = records[0].call
            assert (call.billed, call.cost) == ("unknown", None)
            began = now()
            (settled,) = await openrouter.reconcile([call])
            assert (settled.billed, settled.cost) == ("yes", PRICE)
            assert settled.usage.total_tokens == 35
            assert now() - began == 0.5 + 1  # two lookups were too early
            assert emulator.journal.models[-3:] == [""] * 3

    async def test_our_ledger_is_the_server_s(self):
        """Once reconciled, the sum of a chain is what the server charges."""
        names = ["s_err_mid", "s_trunc", "reset_in_body", "e502", "e503", "stall", "ok"]
        async with Emulator() as emulator, router(emulator) as openrouter:
            models = [f"openai/{number}" for number in range(len(names))]
            for model, name in zip(models, names, strict=True):
                emulator.script(model, [name])
            chat = openrouter.manager(
                *models, attempts=1, midstream="restart", timeout=clocks.interactive
            )
            async with chat.stream(MESSAGES) as items:
                async for _ in items:
                    pass
            outcome = items.outcome
            assert (outcome.cost, outcome.unknown_costs) == (PRICE, 5)
            settled = outcome.with_calls(await openrouter.reconcile(outcome.calls))
            charged = sum(entry.cost for entry in emulator.journal)
            assert (settled.cost, settled.unknown_costs) == (pytest.approx(charged), 0)
            assert settled.target == outcome.target

    async def test_what_nobody_knows_stays_unknown(self):
        """A generation that is never known costs an unknown amount, after a minute of asking."""
        free = "meta-llama/llama-3.3-70b-instruct:free"
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(free, ["s_trunc_early"])
            chat = openrouter.manager(free, "emu/e503", attempts=1, transport="stream")
            with pytest.raises(AllModelsFailed) as caught:
                await chat.run(MESSAGES)
            began = now()
            calls = await openrouter.reconcile(caught.value.calls)
            assert [call.cost for call in calls] == [None, 0]
            assert 50 <= now() - began <= 60

    async def test_only_own_calls_are_looked_up(self):
        """Calls of another key, calls without a name and known costs cost no lookup."""
        async with Emulator() as emulator, router(emulator, label="mine") as openrouter:
            calls = (
                ModelCall(target="a", model="a", generation_id="gen-1", credential="another"),
                ModelCall(target="b", model="b", credential="mine"),
                ModelCall(target="c", model="c", generation_id="g", credential="mine", cost=0.5),
            )
            assert await openrouter.reconcile(calls) == calls
            assert len(emulator.journal) == 0

    async def test_a_broken_lookup_is_no_error(self):
        """A server that cannot answer lookups leaves a cost unknown, and raises nothing."""
        async with Emulator() as emulator, router(emulator, label="mine") as openrouter:
            emulator.script("/generation", ["e401_badkey"])
            call = ModelCall(target="a", model="a", generation_id="gen-1", credential="mine")
            assert await openrouter.reconcile([call]) == (call,)
            assert now() == 0

    async def test_a_reader_who_leaves_stops_the_bill(self):
        """A stream that is left costs less than a whole answer, where the provider can stop."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            with ledger([]) as records:
                for model in ("openai/probe", "mistral/probe"):
                    emulator.script(model, ["disconnect_probe"])
                    async with aclosing(openrouter.stream(model, MESSAGES)) as stream:
                        await anext(stream)
            await emulator.journal.settled()
            calls = await openrouter.reconcile([record.call for record in records])
            assert [call.cost for call in calls] == [PRICE / 2, PRICE]
