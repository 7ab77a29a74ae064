"""The second backend: what speaks as OpenAI does, beside OpenRouter in one chain."""

from __future__ import annotations

import pickle
from contextlib import aclosing, asynccontextmanager

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient import breakers
from resilient.telemetry import install
from resilient_openrouter import (
    AllModelsFailed,
    AuthenticationFailed,
    ConnectionLost,
    ContentFiltered,
    ContextTooLong,
    EdgeError,
    EmptyResponse,
    InvalidRequest,
    MalformedResponse,
    MissingKey,
    ModelNotFound,
    ModelUnavailable,
    OpenAICompatible,
    OpenRouter,
    OpenRouterError,
    Overloaded,
    PaymentRequired,
    ServerError,
    StreamTruncated,
    TooManyRequests,
    UpstreamError,
    collect,
)
from resilient_openrouter.emulator import Emulator

VIRTUAL = True
GPT, CLAUDE, LLAMA = "openai/gpt-4o", "anthropic/claude-sonnet-4.5", "llama3.2:3b"
PROMPT = "a question that nobody else may read"
MESSAGES = [{"role": "user", "content": PROMPT}]
KEY, OTHER = "sk-or-v1-first", "sk-proj-second"


@asynccontextmanager
async def both(**options):
    """Run an emulator with a backend for each of its two APIs."""
    async with (
        Emulator(port=None) as emulator,
        emulator.client() as client,
        OpenRouter(KEY, base_url=emulator.url, client=client) as router,
        OpenAICompatible(
            emulator.openai.url, client=client, **({"api_key": OTHER} | options)
        ) as openai,
    ):
        yield emulator, router, openai


async def test_it_answers():
    """A chat has the text, the dated model, the tokens and the id of the request."""
    async with both(label="openai") as (emulator, _, openai):
        reply = await openai.chat("gpt-4o", MESSAGES, temperature=0)
        assert (reply.content, reply.model, reply.model_served) == (
            "Hola",
            "gpt-4o",
            "gpt-4o-2026-03-17",
        )
        assert (reply.provider, reply.finish_reason, reply.usage.total_tokens) == (None, "stop", 26)
        assert reply.generation_id.startswith("chatcmpl-")
        entry = emulator.journal[0]
        assert (entry.service, entry.path) == ("openai", "/v1/chat/completions")
        assert entry.body == {"model": "gpt-4o", "messages": MESSAGES, "temperature": 0}
        assert "x-openrouter-metadata" not in entry.headers


FAULTS = [
    ("e400_invalid", InvalidRequest, "request", False),
    ("e400_context", ContextTooLong, "model", False),
    ("e400_parameter", InvalidRequest, "model", False),
    ("e400_policy", ContentFiltered, "request", False),
    ("e400_filter", ContentFiltered, "request", False),
    ("filtered_finish", ContentFiltered, "request", False),
    ("e401_nokey", AuthenticationFailed, "credential", False),
    ("e401_badkey", AuthenticationFailed, "credential", False),
    ("e403_region", ModelUnavailable, "host", False),
    ("e404_model", ModelNotFound, "model", False),
    ("e404_not_pulled", ModelNotFound, "model", False),
    ("e404_vllm", ModelNotFound, "model", False),
    ("e404_address", EdgeError, "host", False),
    ("e429_rate", TooManyRequests, "endpoint", True),
    ("e429_nohint", TooManyRequests, "endpoint", True),
    ("e429_quota", PaymentRequired, "account", False),
    ("e500", ServerError, None, True),
    ("e502", UpstreamError, "endpoint", True),
    ("e503", Overloaded, "model", True),
    ("e503_loading", Overloaded, "model", True),
    ("empty_content", EmptyResponse, "endpoint", True),
    ("html_200", MalformedResponse, "endpoint", True),
    ("reset", ConnectionLost, None, True),
]


@pytest.mark.parametrize(("scenario", "error", "scope", "retryable"), FAULTS)
async def test_each_fault_is_what_it_is(scenario, error, scope, retryable):
    """Each answer of such a server has its class, its scope, and whether to try it again."""
    async with both() as (emulator, _, openai):
        emulator.openai.script("gpt-4o", [f"{scenario}"])
        with pytest.raises(OpenRouterError) as caught:
            await openai.chat("gpt-4o", MESSAGES)
        found = caught.value
        assert (type(found), found.scope, found.retryable) == (error, scope, retryable)
        assert len(emulator.journal) == 1


async def test_a_hint_is_honoured():
    """`Retry-After` of a rate limit is the hint, and the request has its id."""
    async with both() as (emulator, _, openai):
        emulator.openai.script("gpt-4o", ["e429_rate?seconds=7"])
        with pytest.raises(TooManyRequests) as caught:
            await openai.chat("gpt-4o", MESSAGES)
        assert (caught.value.retry_after, caught.value.hint_source) == (7, "retry-after")
        assert caught.value.request_id.startswith("chatcmpl-")


class TestScopes:
    async def test_a_401_of_openrouter_skips_its_models_alone(self):
        """A dead key of one backend skips that key's other models, and the other one answers."""
        async with both() as (emulator, router, openai):
            emulator.refuse_key(KEY)
            chain = router.manager(GPT, CLAUDE, openai.target("gpt-4o"))
            outcome = await chain.run(MESSAGES)
            assert outcome.target == "gpt-4o"
            assert [(s.target, s.scope) for s in outcome.skipped] == [(CLAUDE, "credential")]
            assert emulator.journal.models == [GPT, "gpt-4o"]

    async def test_a_401_of_the_other_skips_its_models_alone(self):
        """The same the other way round."""
        async with both() as (emulator, router, openai):
            emulator.refuse_key(OTHER)
            chain = openai.manager("gpt-4o", "gpt-4o-mini", router.target(GPT))
            outcome = await chain.run(MESSAGES)
            assert outcome.target == GPT
            assert [(s.target, s.scope) for s in outcome.skipped] == [("gpt-4o-mini", "credential")]

    async def test_the_next_call_still_asks_the_other_one(self):
        """A key that was refused is left alone by later calls; the other backend is asked."""
        async with both() as (emulator, router, openai):
            emulator.refuse_key(KEY)
            chain = router.manager(GPT, openai.target("gpt-4o"))
            for _ in range(3):
                assert (await chain.run(MESSAGES)).target == "gpt-4o"
            assert emulator.journal.models == [GPT, *["gpt-4o"] * 3]

    async def test_an_empty_account_is_that_backends(self):
        """A quota that is used up skips the account's models here, and none elsewhere."""
        async with both(account="acme") as (emulator, router, openai):
            emulator.openai.script("gpt-4o", ["e429_quota"])
            chain = openai.manager("gpt-4o", "gpt-4o-mini", router.target(GPT))
            outcome = await chain.run(MESSAGES)
            assert outcome.target == GPT
            assert [(s.target, s.scope) for s in outcome.skipped] == [("gpt-4o-mini", "account")]

    async def test_a_model_of_the_same_name_elsewhere_is_another_one(self):
        """A model without capacity here is asked at the other backend under the same name."""
        async with both() as (emulator, router, openai):
            emulator.openai.script(GPT, ["e503"])
            elsewhere = router.target(GPT, name="the same, elsewhere")
            outcome = await openai.manager(GPT, elsewhere, attempts=1).run(MESSAGES)
            assert outcome.target == "the same, elsewhere"
            assert not outcome.skipped

    async def test_a_server_that_is_down_is_skipped_alone(self):
        """Where one server cannot be reached, its models are skipped and the other one answers."""
        async with both() as (_, router, _):
            gone = Emulator()
            async with gone:
                dead = OpenAICompatible(gone.openai.url, label="gone")
            async with dead:
                chain = dead.manager("a", "b", router.target(GPT), attempts=1)
                outcome = await chain.run(MESSAGES)
            assert outcome.target == GPT
            assert [(s.target, s.scope) for s in outcome.skipped] == [("b", "host")]

    async def test_a_parameter_that_one_model_does_not_take_ends_no_chain(self):
        """A parameter unknown to one model is a matter of that model: the next one is asked."""
        async with both() as (emulator, router, openai):
            emulator.openai.script("o1", ["e400_parameter"])
            outcome = await openai.manager("o1", router.target(GPT)).run(MESSAGES)
            assert (outcome.target, len(emulator.journal)) == (GPT, 2)

    def test_scopes_are_named_after_the_backend(self):
        """Host with port, credential, account and model of a backend are its own."""
        made = OpenAICompatible("http://localhost:8000/v1", "VLLM_KEY", "vllm")
        assert dict(made.target("m").scopes) == {
            "host": "localhost:8000",
            "model": "vllm/m",
            "credential": "vllm/VLLM_KEY",
            "account": "vllm/VLLM_KEY",
            "endpoint": "m",
        }
        local = OpenAICompatible("http://localhost:11434/v1")
        assert dict(local.target(LLAMA).scopes) == {
            "host": "localhost:11434",
            "model": f"localhost:11434/v1/{LLAMA}",
            "endpoint": LLAMA,
        }


class TestKeys:
    async def test_a_server_of_ones_own_is_asked_without_a_key(self):
        """Without a key no header is sent, and a missing key is no error."""
        async with both(api_key=None) as (emulator, _, openai):
            emulator.openai.needs_key = False
            assert (await openai.chat(LLAMA, MESSAGES)).content == "Hola"
            assert "authorization" not in emulator.journal[0].headers

    async def test_a_missing_key_names_its_variable(self, monkeypatch):
        """A variable that is not set is told by its name at the first use, and then read."""
        monkeypatch.delenv("OTHER_KEY", raising=False)
        async with both(api_key=None, api_key_env="OTHER_KEY") as (emulator, router, openai):
            chain = openai.manager("gpt-4o", router.target(GPT))
            with pytest.raises(MissingKey, match="set OTHER_KEY or"):
                await chain.run(MESSAGES)
            assert len(emulator.journal) == 0
            monkeypatch.setenv("OTHER_KEY", OTHER)
            assert (await chain.run(MESSAGES)).target == "gpt-4o"
            assert emulator.journal[0].headers["authorization"] == "Bearer <key 1>"

    async def test_nothing_private_is_told(self):
        """Neither key nor prompt nor organisation is in what is shown of client and error."""
        async with both() as (emulator, _, openai):
            emulator.openai.script("gpt-4o", ["e429_rate"])
            with pytest.raises(TooManyRequests) as caught:
                await openai.chat("gpt-4o", MESSAGES)
            shown = f"{caught.value!r} {caught.value} {caught.value.message} {openai!r}"
            for secret in (OTHER, PROMPT, "org-abcdefghijklmnop"):
                assert secret not in shown
        assert "/v1', key=key-" in repr(openai)

    def test_it_is_not_pickled(self):
        """A backend holds a key and connections, and so refuses to be pickled."""
        with pytest.raises(TypeError, match="OpenAICompatible is not pickled or copied"):
            pickle.dumps(OpenAICompatible("http://localhost:1/v1"))


class TestStreams:
    async def test_usage_is_asked_for(self):
        """A stream asks for its usage and has it on its last chunk; one's own options win."""
        async with both() as (emulator, _, openai):
            for options in ({}, {"stream_options": {"include_usage": False}}):
                async with aclosing(openai.stream("gpt-4o", MESSAGES, **options)) as stream:
                    chunks = [chunk async for chunk in stream]
                assert "".join(chunk.content for chunk in chunks) == "Hola"
                usage = chunks[-1].usage
                assert (usage is None) == bool(options)
            assert emulator.journal[0].body["stream_options"] == {"include_usage": True}

    @pytest.mark.parametrize(
        ("scenario", "error"),
        [
            ("s_err_first", ServerError),
            ("s_err_mid", ServerError),
            ("s_trunc", StreamTruncated),
            ("s_close", StreamTruncated),
            ("s_reset", StreamTruncated),
        ],
    )
    async def test_a_stream_that_fails_is_an_error(self, scenario, error):
        """An error inside a stream, a cut and a reset are what they are."""
        async with both() as (_, _, openai):
            with pytest.raises(error) as caught:
                await collect(openai.stream(f"emu/{scenario}", MESSAGES))
            assert caught.value.in_stream

    async def test_a_chain_of_both_streams(self):
        """Where the first backend fails before its first word, the other one is heard."""
        async with both() as (emulator, router, openai):
            emulator.openai.script("gpt-4o", ["s_err_first"])
            chain = openai.manager("gpt-4o", router.target(GPT), attempts=1)
            async with chain.stream(MESSAGES) as items:
                said = "".join([chunk.content async for chunk in items])
            assert (said, items.outcome.target) == ("Hola", GPT)

    async def test_an_answer_may_travel_as_a_stream(self):
        """With `transport="stream"` a whole answer is collected, usage included."""
        async with both(transport="stream") as (emulator, _, openai):
            reply = await openai.chat("gpt-4o", MESSAGES)
            assert (reply.content, reply.usage.total_tokens) == ("Hola", 26)
            assert emulator.journal[0].body["stream"] is True

    async def test_reasoning_is_heard(self):
        """Reasoning under the name that such servers use is reasoning."""
        async with both() as (_, _, openai):
            async with aclosing(openai.stream("emu/ok_reasoning", MESSAGES)) as stream:
                chunks = [chunk async for chunk in stream]
            assert "".join(chunk.reasoning for chunk in chunks) == "The user greets; greet back."


class TestCosts:
    async def test_a_local_server_costs_nothing(self):
        """On this machine nothing costs anything, answered or failed."""
        async with both() as (emulator, _, openai):
            emulator.openai.script("gpt-4o", ["e500", "ok"])
            outcome = await openai.manager("gpt-4o").run(MESSAGES)
            assert (outcome.cost, outcome.unknown_costs) == (0.0, 0)
            assert (outcome.value.cost, outcome.value.billed) == (0.0, "no")
            emulator.openai.script("gpt-4o", ["e500"])
            with pytest.raises(OpenRouterError) as caught:
                await openai.manager("gpt-4o", "gpt-4o-mini", attempts=1, on=ValueError).run(
                    MESSAGES
                )
            assert isinstance(caught.value, ServerError | AllModelsFailed)

    async def test_a_function_says_what_it_costs(self):
        """A price is worked out from the reply, streamed or not, and adds up with OpenRouter's."""

        def cost(reply):
            return reply.usage.total_tokens / 1e6

        async with both(cost=cost) as (emulator, router, openai):
            emulator.script(GPT, ["e404_noendpoints"])
            outcome = await router.manager(GPT, openai.target("gpt-4o")).run(MESSAGES)
            assert (outcome.cost, outcome.unknown_costs) == (26e-6, 0)
            assert outcome.value.billed == "yes"
            async with aclosing(openai.stream("gpt-4o", MESSAGES)) as stream:
                assert [chunk.cost async for chunk in stream][-1] == 26e-6

    async def test_what_nobody_knows_is_unknown(self):
        """A price that cannot be told leaves the cost unknown, and so does a failure."""
        async with both(cost=lambda reply: None) as (emulator, _, openai):
            emulator.openai.script("gpt-4o", ["e502", "ok"])
            outcome = await openai.manager("gpt-4o").run(MESSAGES)
            assert (outcome.cost, outcome.unknown_costs) == (None, 2)
            assert (outcome.value.cost, outcome.value.billed) == (None, "unknown")


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    install(tracer_provider=provider)
    yield exporter.get_finished_spans
    install()


async def test_a_span_names_the_backend(spans):
    """The span of a target has the backend's label as its provider, and its own address."""
    async with both(label="vllm") as (_, router, openai):
        await openai.manager("m", router.target(GPT), attempts=1).run(MESSAGES)
    (span,) = [each for each in spans() if each.name == "chat m"]
    assert span.attributes["gen_ai.provider.name"] == "vllm"
    assert span.attributes["server.address"] == "127.0.0.1"
    assert span.attributes["gen_ai.response.model"] == "m-2026-03-17"


async def test_each_backend_has_circuits_of_its_own():
    """A model has one circuit at each backend, named after host and model."""
    for label, name in ((None, f"127.0.0.1:1/v1/{GPT}"), ("vllm", f"vllm/{GPT}")):
        async with both(label=label) as (emulator, router, openai):
            emulator.openai.script(GPT, ["e503"])
            chain = openai.manager(GPT, router.target(GPT, name="elsewhere"), attempts=1)
            for _ in range(5):
                await chain.run(MESSAGES)
            states = {name: seen.state for name, seen in breakers().items()}
            assert (states[name], states[f"127.0.0.1:1/{GPT}"]) == ("open", "closed")


@pytest.mark.parametrize(
    ("url", "options", "kind", "message"),
    [
        ("http://10.0.0.7:8000/v1", {"api_key": "k"}, ValueError, "the key would travel"),
        ("ftp://localhost/v1", {}, ValueError, "an https address"),
        ("http://localhost/v1", {"api_key": "k", "api_key_env": "K"}, ValueError, "give one"),
        ("http://localhost/v1", {"api_key_env": 3}, TypeError, "the name of a variable, not 3"),
        ("http://localhost/v1", {"api_key_env": ""}, TypeError, "the name of a variable, not ''"),
        ("http://localhost/v1", {"cost": 2}, TypeError, "a function of the reply, or 0, not 2"),
        ("http://localhost/v1", {"connect": 0}, ValueError, "connect must be above 0"),
    ],
)
def test_bad_options_are_refused(url, options, kind, message):
    """A wrong option is an error where it is given, with what is accepted."""
    with pytest.raises(kind, match=message):
        OpenAICompatible(url, **options)


def test_without_a_key_any_host_may_be_asked():
    """A server of the same network needs no TLS where there is no key to give away."""
    made = OpenAICompatible("http://10.0.0.7:8000/v1/")
    assert repr(made) == "OpenAICompatible('http://10.0.0.7:8000/v1', key=none)"
