"""Chains of models over a real socket: who is asked or skipped, what surfaces, what it costs."""

from __future__ import annotations

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from resilient import (
    FallbackManager,
    Fault,
    Skipped,
    Target,
    TimedOut,
    constant,
    retry,
    stack,
    timeout,
)
from resilient.telemetry import install
from resilient_openrouter import (
    AllModelsFailed,
    AuthenticationFailed,
    ContentFiltered,
    InvalidRequest,
    MissingKey,
    ModelNotFound,
    OpenRouter,
    OpenRouterError,
    QuotaExhausted,
    Reply,
    TooManyRequests,
    reply,
)
from resilient_openrouter._plan import ANSWER, ATTEMPTS
from resilient_openrouter.emulator import Emulator

GPT, CLAUDE, LLAMA = "openai/gpt-4o", "anthropic/claude-sonnet-4.5", "meta/llama:free"
PROMPT = "a question that nobody else may read"
MESSAGES = [{"role": "user", "content": PROMPT}]
KEY, OTHER = "sk-or-v1-first", "sk-or-v1-second"


async def local(messages):
    """Answer without any network."""
    return "from here"


def router(emulator, key=KEY, **options):
    return OpenRouter(key, base_url=emulator.url, **options)


def reasons(outcome):
    return [(skip.target, skip.reason, skip.scope) for skip in outcome.skipped]


async def test_the_first_model_answers():
    """When nothing fails, the first model answers and its cost is the cost."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        outcome = await openrouter.manager(GPT, CLAUDE).run(MESSAGES)
        assert (outcome.value.content, outcome.target) == ("Hola", GPT)
        assert (outcome.fallback_used, outcome.degraded, len(outcome.attempts)) == (
            False,
            False,
            1,
        )
        assert (outcome.cost, outcome.unknown_costs) == (0.00001255, 0)
        assert emulator.journal.models == [GPT]


FALLS_BACK = [
    "err200", "err200_nulls_524", "err200_string_code", "choice_error", "null_choices",
    "empty_choices", "missing_choices", "empty_content", "whitespace_only", "truncated_json",
    "html_200", "html_502", "html_524", "e400_wraps_429", "e400_context", "e400_model",
    "e400_output", "e402_weight", "e403_region", "e403_harness", "e404_noendpoints", "e404_legacy",
    "e408", "e409", "e410", "e429_upstream_hint", "e429_body_hint", "e429_nohint",
    "e429_availability", "e500", "e502", "e503", "e503_hint", "e503_routing", "e504", "e524",
    "e529", "reset", "close", "reset_in_body", "close_in_body", "stall?every=0.02", "silence",
    "slow?after=60", "ok_length_empty",
]  # fmt: skip


@pytest.mark.parametrize("scenario", FALLS_BACK)
async def test_a_failing_model_hands_over(scenario):
    """Whatever the primary fails with, the next model on the same key gives the right answer."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(GPT, [scenario])
        # Little patience with silence alone: a busy machine is slow at everything.
        silent = scenario.partition("?")[0] in {"stall", "silence", "slow"}
        first = openrouter.target(GPT, attempts=1, timeout=1 if silent else 60)
        chain = openrouter.manager(first, CLAUDE, attempts=1, timeout=60)
        outcome = await chain.run(MESSAGES)
        assert (outcome.value.content, outcome.target) == ("Hola", CLAUDE)
        assert outcome.value.model_served == f"{CLAUDE}-20260317"
        assert emulator.journal.models == [GPT, CLAUDE]


@pytest.mark.parametrize(
    ("scenario", "error"),
    [
        ("e400_invalid", InvalidRequest),
        ("e400_zod", InvalidRequest),
        ("e422", InvalidRequest),
        ("e400_policy", ContentFiltered),
        ("e403_moderation", ContentFiltered),
        ("filtered_finish", ContentFiltered),
    ],
)
async def test_a_fault_of_the_request_ends_the_chain(scenario, error):
    """What no model can serve, or what a policy refused, is one call and surfaces as it is."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(GPT, [scenario])
        chain = openrouter.manager(GPT, CLAUDE, local, degrade=reply("no"))
        with pytest.raises(error):
            await chain.run(MESSAGES)
        assert emulator.journal.models == [GPT]


async def test_who_decides_so_may_ask_elsewhere():
    """A refusal of content moves on where a target's own `classify` says so."""

    def elsewhere(error):
        refused = isinstance(error, ContentFiltered)
        return Fault(retryable=False, health="neutral") if refused else None

    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(GPT, ["e400_policy"])
        first = openrouter.target(GPT, classify=elsewhere)
        outcome = await openrouter.manager(first, CLAUDE).run(MESSAGES)
        assert outcome.target == CLAUDE


class TestScopes:
    async def test_a_401_on_a_shared_key_is_one_call(self):
        """With all models on one key, a 401 is exactly one call and surfaces as the 401."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.refuse_key(KEY)
            with pytest.raises(AuthenticationFailed) as caught:
                await openrouter.manager(GPT, CLAUDE).run(MESSAGES)
            assert caught.value.status_code == 401
            assert emulator.journal.models == [GPT]

    async def test_another_credential_answers(self):
        """With another credential behind it, a 401 skips the key's other models and falls back."""
        async with (
            Emulator() as emulator,
            router(emulator) as first,
            router(emulator, OTHER) as second,
        ):
            emulator.refuse_key(KEY)
            chain = first.manager(GPT, CLAUDE, second.target("openai/gpt-4.1", attempts=1))
            outcome = await chain.run(MESSAGES)
            assert outcome.target == "openai/gpt-4.1"
            assert reasons(outcome) == [(CLAUDE, "scope_condemned", "credential")]
            assert emulator.journal.models == [GPT, "openai/gpt-4.1"]
            keys = [entry.headers["authorization"] for entry in emulator.journal]
            assert keys == ["Bearer <key 1>", "Bearer <key 2>"]

    async def test_the_next_call_does_not_ask_a_dead_key(self):
        """A key that was refused is left alone by the calls that follow."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.refuse_key(KEY)
            chain = openrouter.manager(GPT, CLAUDE, local)
            for _ in range(3):
                assert (await chain.run(MESSAGES)).value.content == "from here"
            assert emulator.journal.models == [GPT]

    async def test_the_same_label_is_the_same_key(self):
        """Two clients whose keys have one label share its fate."""
        async with (
            Emulator() as emulator,
            router(emulator, label="team") as first,
            router(emulator, label="team") as second,
        ):
            emulator.refuse_key(KEY)
            chain = first.manager(GPT, second.target(CLAUDE))
            with pytest.raises(AuthenticationFailed):
                await chain.run(MESSAGES)
            assert emulator.journal.models == [GPT]

    async def test_an_empty_account_skips_its_other_keys(self):
        """Without credit, every key of the account is skipped and another account answers."""
        async with (
            Emulator() as emulator,
            router(emulator, account="acme") as first,
            router(emulator, OTHER, account="acme") as second,
        ):
            emulator.script(GPT, ["e402_credits"])
            outcome = await first.manager(GPT, second.target(CLAUDE), local).run(MESSAGES)
            assert outcome.target == "local"
            assert reasons(outcome) == [(CLAUDE, "scope_condemned", "account")]

    async def test_a_host_that_is_down_is_not_asked_again(self):
        """When the host cannot be reached, its other models are skipped at once."""
        async with Emulator() as emulator:
            dead = emulator.url
        async with OpenRouter(KEY, base_url=dead) as openrouter:
            outcome = await openrouter.manager(GPT, CLAUDE, local, attempts=1).run(MESSAGES)
            assert outcome.target == "local"
            assert reasons(outcome) == [(CLAUDE, "scope_condemned", "host")]
            assert (outcome.cost, outcome.unknown_costs) == (0.0, 0)

    async def test_a_daily_quota_skips_all_free_models(self):
        """When the free requests of the day are gone, free models are skipped and paid ones not."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(LLAMA, ["e429_free_day"])
            outcome = await openrouter.manager(LLAMA, "other/small:free", GPT).run(MESSAGES)
            assert outcome.target == GPT
            assert reasons(outcome) == [("other/small:free", "scope_condemned", "free")]
            assert emulator.journal.models == [LLAMA, GPT]

    async def test_an_endpoint_is_shared_by_who_pins_it(self):
        """A provider that fails skips targets pinned to it with that model, and no others."""
        async with Emulator() as emulator, router(emulator) as first, router(emulator) as second:
            pinned = {"provider": {"only": ["azure"]}}
            emulator.script(GPT, ["e502", "ok"])
            chain = first.manager(
                first.target(GPT, pinned, attempts=1),
                second.target(GPT, pinned, name="the same, pinned"),
                second.target(GPT, name="anywhere"),
            )
            outcome = await chain.run(MESSAGES)
            assert outcome.target == "anywhere"
            assert reasons(outcome) == [("the same, pinned", "scope_condemned", "endpoint")]

    async def test_a_missing_key_surfaces(self):
        """Without any key, nobody is called and the error says which variable to set."""
        async with Emulator() as emulator:
            openrouter = OpenRouter(base_url=emulator.url)
            with pytest.raises(MissingKey, match="OPENROUTER_API_KEY"):
                await openrouter.manager(GPT, CLAUDE).run(MESSAGES)
            assert len(emulator.journal) == 0

    async def test_nothing_hides_a_missing_key(self, monkeypatch):
        """A missing key surfaces past other targets and a last resort, until somebody sets it."""
        async with (
            Emulator() as emulator,
            OpenRouter(base_url=emulator.url) as openrouter,
            router(emulator, OTHER) as second,
        ):
            behind = (second.target(CLAUDE), local)
            chain = openrouter.manager(GPT, *behind, degrade=reply("No answer now."))
            for _ in range(2):
                with pytest.raises(MissingKey, match="OPENROUTER_API_KEY"):
                    await chain.run(MESSAGES)
            assert len(emulator.journal) == 0
            monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
            assert (await chain.run(MESSAGES)).target == GPT


class TestRetries:
    async def test_a_momentary_failure_is_retried(self):
        """One failure of the provider is retried on the same model, which then answers."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e502", "ok"])
            outcome = await openrouter.manager(GPT, CLAUDE).run(MESSAGES)
            assert (outcome.target, outcome.fallback_used) == (GPT, False)
            assert [attempt.error for attempt in outcome.attempts] == ["502", None]

    async def test_a_long_hint_is_not_waited_for(self):
        """A hint of 26 s is not waited for while another model is free, and this one cools down."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e429_upstream_hint?seconds=26"])
            chain = openrouter.manager(GPT, CLAUDE)
            first, second = await chain.run(MESSAGES), await chain.run(MESSAGES)
            assert (first.target, first.attempts[0].hint_source) == (CLAUDE, "retry-after")
            assert reasons(second) == [(GPT, "cooldown", None)]
            assert 20 < second.skipped[0].retry_after <= 26
            assert emulator.journal.models == [GPT, CLAUDE, CLAUDE]

    async def test_a_short_hint_is_honoured(self):
        """A hint that is short is the wait, from the header of the answer."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e429_upstream_hint?seconds=0.1", "ok"])
            outcome = await openrouter.manager(GPT, CLAUDE).run(MESSAGES)
            first = outcome.attempts[0]
            assert (first.wait, first.wait_source, first.hint_source) == (
                0.1,
                "hint",
                "retry-after",
            )
            assert outcome.target == GPT

    async def test_policies_stand_for_timeout_and_attempts(self):
        """A target can have policies of its own instead of the two numbers."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e502", "e502", "ok"])
            patient = stack(retry(attempts=3, backoff=constant(0.01)), timeout(5))
            target = openrouter.target(GPT, policies=patient)
            outcome = await openrouter.manager(target, CLAUDE).run(MESSAGES)
            assert (outcome.target, len(outcome.attempts)) == (GPT, 3)

    def test_the_defaults_are_those_of_the_page(self):
        """A model is asked twice at most, for 120 s each, unless it is told otherwise."""
        openrouter = OpenRouter(KEY)
        plain = openrouter.target(GPT).bound
        assert (ATTEMPTS, ANSWER.total) == (2, 120)
        assert plain.calls == 2
        assert plain.seconds >= 240
        assert openrouter.target(GPT, timeout=None, attempts=None).bound.calls == 1
        assert openrouter.target(GPT, policies=timeout(5)).bound.seconds == 5
        with pytest.raises(ValueError, match="give one"):
            openrouter.target(GPT, policies=timeout(5), attempts=2)


class TestChains:
    async def test_a_plain_function_answers(self):
        """A plain async function stands in the chain, and the text it returns is a `Reply`."""
        async with Emulator(default="e503") as emulator, router(emulator) as openrouter:
            outcome = await openrouter.manager(GPT, local, attempts=1).run(MESSAGES)
            assert outcome.value == Reply(content="from here", model="local", cost=0.0, billed="no")
            assert (outcome.target, outcome.cost, outcome.unknown_costs) == ("local", 0.0, 0)

    async def test_a_function_may_return_a_reply(self):
        """What a function returns that is no text passes as it is."""

        async def mine(messages):
            return Reply(content="mine", model="mine")

        async with Emulator(default="e503") as emulator, router(emulator) as openrouter:
            outcome = await openrouter.manager(GPT, mine, attempts=1).run(MESSAGES)
            assert outcome.value.model == "mine"

    async def test_fields_reach_every_model_given_by_name(self):
        """Fields of a manager reach its models by name, those of a target itself, a call's all."""
        async with Emulator(default="e503") as emulator, router(emulator) as openrouter:
            emulator.script(CLAUDE, ["ok"])
            target = openrouter.target(CLAUDE, {"temperature": 1, "seed": 7})
            chain = openrouter.manager(GPT, target, attempts=1, temperature=0, top_p=0.5)
            await chain.run(MESSAGES, seed=8)
            first, second = ({**entry.body} for entry in emulator.journal)
            assert (first["temperature"], first["top_p"], first["seed"]) == (0, 0.5, 8)
            assert (second["temperature"], second.get("top_p"), second["seed"]) == (1, None, 8)

    async def test_the_order_may_be_a_priority(self):
        """A lower priority is asked first, and names tell two targets of one model apart."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            late = openrouter.target(GPT, {"temperature": 1}, priority=2, name="hot")
            early = openrouter.target(GPT, priority=1, name="cold")
            chain = openrouter.manager(late, early)
            outcome = await chain.run(MESSAGES)
            assert (outcome.target, outcome.value.model) == ("cold", GPT)
            assert outcome.calls[0].target == "cold"

    async def test_a_result_may_be_a_failure(self):
        """A reply that `on_result` rejects is its model's failure, and the next one is asked."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["shim_text"])
            chain = openrouter.manager(
                GPT, CLAUDE, on_result=lambda found: found.content.startswith("Connect timeout")
            )
            outcome = await chain.run(MESSAGES)
            assert (outcome.value.content, outcome.target) == ("Hola", CLAUDE)

    async def test_targets_work_in_a_manager_of_the_library(self):
        """A target of a model stands in a plain `FallbackManager` beside targets of any kind."""
        async with Emulator(default="e503") as emulator, router(emulator) as openrouter:
            manager = FallbackManager([openrouter.target(GPT, attempts=1), Target("local", local)])
            assert (await manager.run(MESSAGES)).value == "from here"

    def test_a_target_shows_its_name(self):
        """The callable of a target shows the target's name, and no parameter."""
        target = OpenRouter(KEY).target(GPT, {"user": "private"}, name="first")
        assert repr(target.call) == "ModelTarget('first')"

    @pytest.mark.parametrize(
        ("models", "error"),
        [((), ValueError), ((7,), TypeError), (("",), TypeError), ((GPT, GPT), ValueError)],
    )
    def test_wrong_models_are_refused(self, models, error):
        """A chain of nothing, of no model, or of one name twice is refused at construction."""
        with pytest.raises(error):
            OpenRouter(KEY).manager(*models)


class TestNobodyAnswers:
    async def test_all_failed_is_one_error(self):
        """When every model failed, one error holds each of theirs, as a group and as ours."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e429_upstream_hint?seconds=20"])
            emulator.script(CLAUDE, ["stall?every=0.02"])
            first = openrouter.target(GPT, attempts=1, timeout=60)
            chain = openrouter.manager(first, CLAUDE, attempts=1, timeout=0.3)
            with pytest.raises(OpenRouterError) as caught:
                await chain.run(MESSAGES)
        error = caught.value
        assert type(error) is AllModelsFailed
        assert [type(each) for each in error.exceptions] == [TooManyRequests, TimedOut]
        assert (error.status_code, error.retry_after) == (503, 20)
        assert (error.cost, error.unknown_costs) == (0.0, 1)
        assert [call.status_code for call in error.calls] == [429, None]
        assert str(error).startswith("[503] chat: 2 targets failed")

    async def test_a_deadline_is_the_same_error(self):
        """When the chain's time is up it is the same error, with the models that were not asked."""
        async with Emulator(default="stall?every=0.02") as emulator, router(emulator) as openrouter:
            chain = openrouter.manager(GPT, CLAUDE, attempts=1, deadline=0.3, reserve=0)
            with pytest.raises(AllModelsFailed) as caught:
                await chain.run(MESSAGES)
        first, second = caught.value.exceptions
        assert (type(first), first.limit) == (TimedOut, "total")
        assert (type(second), second.reason) == (Skipped, "deadline")

    async def test_the_last_resort_is_a_reply(self):
        """With a last resort the call never breaks code that reads the content."""
        async with Emulator(default="e503") as emulator, router(emulator) as openrouter:
            chain = openrouter.manager(GPT, CLAUDE, attempts=1, degrade=reply("No answer now."))
            outcome = await chain.run(MESSAGES)
            assert (outcome.value.content, outcome.target, outcome.degraded) == (
                "No answer now.",
                None,
                True,
            )
            assert (outcome.cost, outcome.unknown_costs) == (0.0, 0)
            assert "No answer now." in repr(outcome.value.content)
            assert "No answer now." not in repr(outcome)

    async def test_one_model_alone_surfaces_its_error(self):
        """A chain of one model raises that model's own error."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e400_model"])
            with pytest.raises(ModelNotFound):
                await openrouter.manager(GPT).run(MESSAGES)

    async def test_a_quota_says_when_it_is_over(self):
        """A quota that is used up is the error of a chain of one free model, with its hint."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(LLAMA, ["e429_free_day"])
            with pytest.raises(QuotaExhausted) as caught:
                await openrouter.manager(LLAMA).run(MESSAGES)
            assert 0 < caught.value.retry_after <= 86400


async def test_runs_at_once_keep_their_own_ledgers():
    """Two runs at the same time each know their own calls and costs."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(GPT, ["slow?after=0.05"])
        emulator.script(CLAUDE, ["e503"])
        found = {}

        async def one(name, *models):
            chain = openrouter.manager(*models, attempts=1)
            found[name] = await chain.run(MESSAGES)

        async with anyio.create_task_group() as group:
            group.start_soon(one, "first", GPT)
            group.start_soon(one, "second", CLAUDE, local)
        assert [call.model for call in found["first"].calls] == [GPT]
        assert [call.model for call in found["second"].calls] == [CLAUDE]
        assert (found["first"].cost, found["second"].cost) == (0.00001255, 0.0)


async def test_a_cancelled_run_leaves_nothing():
    """A run that is cancelled ends as cancelled, and the server sees the client go."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(GPT, ["stall?every=0.02"])
        scope = anyio.CancelScope()

        async def run():
            with scope:
                await openrouter.manager(GPT, local, attempts=1).run(MESSAGES)

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await emulator.journal.begun()
            scope.cancel()
        assert scope.cancelled_caught
        await emulator.journal.settled()
        assert [entry.ended for entry in emulator.journal] == ["client_closed"]


class TestSpans:
    @pytest.fixture
    def spans(self):
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        install(tracer_provider=provider)
        yield exporter.get_finished_spans
        install()

    async def test_a_target_has_the_span_of_a_client(self, spans):
        """Each model asked has a CLIENT span `chat {model}` with the conventions' attributes."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e429_nohint"])
            emulator.script(CLAUDE, ["ok_fallback_metadata"])
            await openrouter.manager(GPT, CLAUDE, attempts=1).run(MESSAGES)
            port = int(emulator.url.split(":")[2].partition("/")[0])
        clients = {span.name: span for span in spans() if span.kind is SpanKind.CLIENT}
        failed, served = (dict(clients[f"chat {model}"].attributes) for model in (GPT, CLAUDE))
        start = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openrouter",
            "server.address": "127.0.0.1",
            "server.port": port,
        }
        assert start.items() <= failed.items()
        assert start.items() <= served.items()
        assert failed["error.type"] == "429"
        assert failed["http.response.status_code"] == 429
        assert failed["resilient.openrouter.error.class"] == "TooManyRequests"
        assert served["gen_ai.request.model"] == CLAUDE
        assert served["gen_ai.response.model"] == f"{CLAUDE}-20260317"
        assert served["gen_ai.usage.output_tokens"] == 7
        assert served["gen_ai.response.finish_reasons"] == ("stop",)
        assert served["resilient.openrouter.strategy"] == "fallback"
        assert served["resilient.openrouter.server_attempts"] == 2
        assert served["resilient.openrouter.cost"] == 0.00001255

    async def test_spans_hold_nothing_private(self, spans):
        """Neither prompt nor answer, key or raw text is on any span."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(GPT, ["e403_harness", "err200", "e403_moderation"])
            chain = openrouter.manager(GPT, CLAUDE, attempts=1)
            for _ in range(2):
                await chain.run(MESSAGES)
        shown = "".join(span.to_json() for span in spans())
        for private in (PROMPT, KEY, "Hola", "something private", "user_x"):
            assert private not in shown
