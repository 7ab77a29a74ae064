"""`ModelManager.stream`, `collect` and streams as a transport: the next model takes over."""

from __future__ import annotations

import anyio
import pytest

from resilient import (
    FallbackManager,
    PolicyOrderWarning,
    Restarted,
    Target,
    breakers,
    circuit_breaker,
    explain,
    last_good,
    retry,
    stack,
    time_window,
    timeout,
)
from resilient_openrouter import (
    AllModelsFailed,
    AuthenticationFailed,
    Chunk,
    Clocks,
    EmptyResponse,
    OpenRouter,
    OpenRouterError,
    Reply,
    StreamStalled,
    StreamTruncated,
    clocks,
    collect,
    reply,
)
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.targets import ModelStream, ModelTarget

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "a question that nobody else may read"}]
FIRST, SECOND = "openai/gpt-4o", "anthropic/claude-sonnet-4.5"


def router(emulator, **options):
    return OpenRouter("sk-or-v1-0123456789abcdef", base_url=emulator.url, **options)


def now():
    return anyio.current_time()  # noqa: TID251 - one run has one origin


async def streamed(first, second=("ok",), models=(FIRST, SECOND), **options):
    """Stream an answer of a chain; return the items, the outcome or error, and who was asked."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(FIRST, first)
        emulator.script(SECOND, second)
        chat = openrouter.manager(*models, **options)
        items = []
        stream = chat.stream(MESSAGES)
        try:
            async with stream:
                async for item in stream:
                    items.append(item)  # noqa: PERF401 - what had come stays when it raises
        except (OpenRouterError, ExceptionGroup) as error:
            end = error
        else:
            end = stream.outcome
        await emulator.journal.settled()
        return items, end, emulator.journal


def text_of(items):
    return "".join(item.content for item in items)


class TestBeforeTheFirstWord:
    @pytest.mark.parametrize(
        "name",
        [
            "s_err_first", "s_err_roleonly", "s_trunc_early", "s_reset_early", "s_empty", "s_html",
            "err200", "null_choices", "whitespace_only", "e502", "e503", "e429_upstream_hint",
            "html_524", "reset", "close", "stall", "silence", "slow_ttft?after=60",
        ],
    )  # fmt: skip
    async def test_the_next_model_answers(self, name):
        """Whatever keeps the first model from its first word, the second one is heard alone."""
        items, outcome, journal = await streamed([name], attempts=1, timeout=clocks.interactive)
        assert text_of(items) == "Hola"
        assert [type(item) for item in items] == [Chunk] * 3
        assert (outcome.target, outcome.fallback_used) == (SECOND, True)
        assert items[-1].reply.model == SECOND
        assert journal.models == [FIRST, SECOND]

    async def test_a_momentary_failure_is_tried_again(self):
        """A stream that failed before its first word may be asked for again at the same model."""
        items, outcome, journal = await streamed(["s_err_roleonly", "ok"])
        assert (text_of(items), outcome.target) == ("Hola", FIRST)
        assert journal.models == [FIRST, FIRST]

    async def test_a_silent_route_is_not_tried_again(self):
        """A model that said nothing in time is left for the next one at once."""
        _, outcome, journal = await streamed(["stall"], timeout=clocks.interactive)
        assert journal.models == [FIRST, SECOND]
        assert outcome.attempts[0].error == "first_item_timeout"
        assert now() == 10

    async def test_a_dead_key_is_one_call(self):
        """A key that is refused is not tried on the next model, and its error surfaces."""
        items, error, journal = await streamed(["e401_badkey"])
        assert (items, type(error)) == ([], AuthenticationFailed)
        assert journal.models == [FIRST]

    async def test_nobody_answers(self):
        """Where every model fails, the group says what each call came to."""
        items, error, journal = await streamed(["s_err_roleonly"], ["e503"], attempts=1)
        assert (items, type(error)) == ([], AllModelsFailed)
        assert [type(each).__name__ for each in error.exceptions] == ["UpstreamError", "Overloaded"]
        assert (error.cost, error.unknown_costs) == (0.00001255, 0)
        assert [call.error_class for call in error.calls] == ["UpstreamError", "Overloaded"]
        assert journal.models == [FIRST, SECOND]

    async def test_the_last_resort_is_a_chunk(self):
        """A degraded answer comes in one chunk, which has the reply like any last one."""
        items, outcome, _ = await streamed(["e503"], ["e503"], attempts=1, degrade=reply("Later."))
        assert [type(item) for item in items] == [Chunk]
        assert (items[0].content, items[0].reply.content) == ("Later.", "Later.")
        assert (outcome.degraded, outcome.target, outcome.cost) == (True, None, 0)


class TestAfterTheFirstWord:
    @pytest.mark.parametrize("name", ["s_err_mid", "s_trunc_midline", "s_reset?tokens=1"])
    async def test_a_stream_that_breaks_off_is_an_error(self, name):
        """What was delivered is not asked for again: the error has it, and nobody else is asked."""
        items, error, journal = await streamed([f"{name}"])
        assert isinstance(error, OpenRouterError)
        assert (error.partial, error.committed) == (text_of(items), True)
        assert journal.models == [FIRST]

    async def test_it_may_be_begun_anew(self):
        """With `midstream="restart"` a marker says that what came is void, and the next begins."""
        items, outcome, journal = await streamed(["s_err_mid"], midstream="restart")
        at = next(i for i, item in enumerate(items) if isinstance(item, Restarted))
        assert text_of(items[:at]) == "ho"
        assert items[at] == Restarted(FIRST, SECOND, 1)
        assert text_of(items[at + 1 :]) == "Hola"
        assert (outcome.target, outcome.cost, outcome.unknown_costs) == (SECOND, 0.00001255, 1)
        assert journal.models == [FIRST, SECOND]

    async def test_a_stall_in_between_may_be_begun_anew(self):
        """A model that stops speaking is left after its idle clock."""
        items, outcome, _ = await streamed(
            ["stall_after_tokens_comments"], midstream="restart", timeout=clocks.interactive
        )
        assert (items[-1].reply.content, outcome.target, now()) == ("Hola", SECOND, 20)

    async def test_a_wrong_midstream_is_told_where_it_is_given(self):
        """There are two ways to go on."""
        with pytest.raises(ValueError, match="midstream must be 'error' or 'restart'"):
            OpenRouter("k").manager("m/m", midstream="resume")


class TestOutcome:
    async def test_it_knows_the_cost(self):
        """The outcome of a stream has target, attempts, calls and cost."""
        items, outcome, _ = await streamed(["ok"])
        assert (outcome.value, outcome.target, outcome.cost) == (None, FIRST, 0.00001255)
        assert [(call.target, call.billed) for call in outcome.calls] == [(FIRST, "yes")]
        assert items[-1].cost == outcome.cost

    async def test_leaving_early_closes_the_connection(self):
        """Who leaves the block has closed the connection, and the cost is unknown."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            chat = openrouter.manager("emu/disconnect_probe")
            async with chat.stream(MESSAGES) as items:
                assert (await anext(items)).content == "Hola "
            await emulator.journal.settled()
            assert emulator.journal[0].ended == "client_closed"
            assert (items.outcome.cost, items.outcome.unknown_costs) == (None, 1)

    async def test_it_is_not_known_before_the_end(self):
        """An outcome before the end is a `RuntimeError`."""
        async with (
            Emulator() as emulator,
            router(emulator) as openrouter,
            openrouter.manager("emu/ok").stream(MESSAGES) as items,
        ):
            with pytest.raises(RuntimeError, match="when it is over"):
                _ = items.outcome


class TestFunctions:
    async def plain(self, messages):
        await anyio.sleep(1)
        return f"plain {len(messages)}"

    async def words(self, messages):
        for word in ("a ", "b"):
            await anyio.sleep(1)
            yield word

    async def test_functions_of_both_kinds_take_part_in_both(self):
        """A plain function is a stream of one chunk, and a generator function is a whole answer."""
        chat = OpenRouter("k").manager(self.plain)
        async with chat.stream(MESSAGES) as items:
            found = [item async for item in items]
        assert [(chunk.content, chunk.reply.model) for chunk in found] == [("plain 1", "plain")]
        assert (await chat.run(MESSAGES)).value.content == "plain 1"
        chat = OpenRouter("k").manager(self.words)
        async with chat.stream(MESSAGES) as items:
            assert [item.content async for item in items] == ["a ", "b"]
        outcome = await chat.run(MESSAGES)
        assert (outcome.value.content, outcome.value.model) == ("a b", "words")

    async def test_targets_of_the_user_take_part_in_both(self):
        """A target with a function of the user's keeps its policies in both."""
        chat = OpenRouter("k").manager(
            Target("slow", self.plain, timeout=0.5), Target("words", self.words, timeout=5)
        )
        async with chat.stream(MESSAGES) as items:
            assert text_of([item async for item in items]) == "a b"
        assert items.outcome.target == "words"
        assert [attempt.error for attempt in items.outcome.attempts] == ["timeout", None]
        assert (await chat.run(MESSAGES)).value.content == "a b"

    async def test_the_client_s_own_stream_is_a_function_too(self):
        """`openrouter.stream` is a target of any manager of streams."""
        async with Emulator() as emulator, router(emulator) as openrouter:

            async def ask(messages):
                async for chunk in openrouter.stream("emu/ok", messages):
                    yield chunk

            async with FallbackManager([ask]).stream(MESSAGES) as items:
                assert text_of([item async for item in items]) == "Hola"

    async def test_an_answer_kept_is_for_calls(self):
        """`last_good` keeps whole answers, and a chain with it refuses to stream."""
        chat = OpenRouter("k").manager(self.plain, degrade=last_good())
        assert (await chat.run(MESSAGES)).value.content == "plain 1"
        with pytest.raises(TypeError, match="last_good"):
            chat.stream(MESSAGES)


class TestCollect:
    async def test_a_stream_is_collected(self):
        """The whole answer of a stream is its reply."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            found = await collect(openrouter.stream("emu/ok_stream_tools", MESSAGES))
            assert len(found.tool_calls) == 2
            chat = openrouter.manager("emu/s_err_mid", "emu/ok", midstream="restart")
            async with chat.stream(MESSAGES) as items:
                assert (await collect(items)).content == "Hola"

    async def test_what_a_stream_raises_leaves(self):
        """A stream that is cut is no answer, collected or not."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            with pytest.raises(StreamTruncated):
                await collect(openrouter.stream("emu/s_trunc", MESSAGES))

    @pytest.mark.parametrize(
        ("items", "text"),
        [
            (["a", "b"], "ab"),
            ([Chunk(content="a"), "b"], "ab"),
            (["a", Restarted("x", "y", 1), "b"], "b"),
            ([Chunk(content="a", reply=Reply(content="a")), Restarted("x", "y", 1), "b"], "b"),
            ([Reply(content="whole")], "whole"),
            ([""], ""),
        ],
    )
    async def test_texts_and_markers_are_items(self, items, text):
        """Plain texts are joined, and behind a marker everything begins anew."""
        assert (await collect(given(items))).content == text

    async def test_nothing_is_no_answer(self):
        """A stream that gives nothing, or nothing after a marker, is empty."""
        for items in ([], ["a", Restarted("x", "y", 1)]):
            with pytest.raises(EmptyResponse):
                await collect(given(items))

    async def test_what_is_no_chunk_is_refused(self):
        """Items of another kind are a `TypeError` that names it."""
        with pytest.raises(TypeError, match="not int"):
            await collect(given([3]))


async def given(items):
    for item in items:
        await anyio.lowlevel.checkpoint()
        yield item


class TestTransport:
    async def test_a_whole_answer_may_travel_as_a_stream(self):
        """`transport="stream"` sends a request for a stream and returns the reply of it."""
        async with Emulator() as emulator, router(emulator, transport="stream") as openrouter:
            replies = [
                await openrouter.chat("emu/ok", MESSAGES),
                (await openrouter.manager("emu/ok").run(MESSAGES)).value,
                await openrouter.chat("emu/ok", MESSAGES, transport="plain"),
                (await openrouter.manager("emu/ok", transport="plain").run(MESSAGES)).value,
            ]
            assert {found.content for found in replies} == {"Hola"}
            assert {found.cost for found in replies} == {0.00001255}
            asked = [entry.body.get("stream", False) for entry in emulator.journal]
            assert asked == [True, True, False, False]
            assert {entry.connection for entry in emulator.journal} == {1}

    @pytest.mark.parametrize(
        ("name", "asked"),
        [
            ("s_trunc", [FIRST, FIRST, SECOND]),
            ("s_close", [FIRST, FIRST, SECOND]),
            ("s_err_mid", [FIRST, FIRST, SECOND]),
            ("s_reset", [FIRST, FIRST, SECOND]),
            ("stall_after_tokens", [FIRST, FIRST, SECOND]),
            ("stall", [FIRST, SECOND]),
            ("silence", [FIRST, SECOND]),
        ],
    )
    async def test_a_collected_answer_commits_at_its_end(self, name, asked):
        """Nobody has seen a part of it, so a stream that breaks off is a failure like any other."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, [name])
            chat = openrouter.manager(FIRST, SECOND, transport="stream", timeout=clocks.interactive)
            outcome = await chat.run(MESSAGES)
            assert (outcome.value.content, outcome.target) == ("Hola", SECOND)
            assert emulator.journal.models == asked

    async def test_its_errors_are_not_committed(self):
        """An error of a collected answer says that nothing was delivered, and has what had come."""
        async with Emulator() as emulator, router(emulator, transport="stream") as openrouter:
            with pytest.raises(StreamTruncated) as caught:
                await openrouter.chat("emu/s_trunc_midline", MESSAGES)
            assert (caught.value.committed, caught.value.partial) == (False, "ho")

    async def test_a_cancelled_call_has_closed_its_connection(self):
        """A call that is given up is seen by the server at that very moment."""
        async with Emulator() as emulator, router(emulator, transport="stream") as openrouter:
            with anyio.move_on_after(3):
                await openrouter.chat("emu/disconnect_probe", MESSAGES)
            await emulator.journal.settled()
            assert (emulator.journal[0].ended, emulator.journal[0].finished) == ("client_closed", 3)

    @pytest.mark.parametrize("give", [OpenRouter, OpenRouter("k").target])
    def test_a_wrong_transport_is_told_where_it_is_given(self, give):
        """There are two ways for an answer to travel."""
        with pytest.raises(ValueError, match="transport must be 'plain' or 'stream'"):
            give("m/m", transport="pigeon")


class TestClocksOfTargets:
    @pytest.mark.parametrize(
        ("name", "clock", "at"),
        [
            ("silence", "first_byte", 2),
            ("stall?every=0.5", "first_content", 5),
            ("slow?after=4", None, 4),
        ],
    )
    async def test_a_plain_answer_has_clocks_too(self, name, clock, at):
        """Keep-alives before a body of JSON are no content, and its first byte is."""
        limits = Clocks(first_byte=2, first_content=5, idle_any=3)
        if clock is None:
            limits = Clocks(first_byte=5, first_content=5)
        async with Emulator() as emulator, router(emulator) as openrouter:
            chat = openrouter.manager(f"emu/{name}", timeout=limits)
            try:
                await chat.run(MESSAGES)
            except StreamStalled as error:
                assert error.clock == clock
            assert now() == at

    async def test_models_may_have_clocks_by_pattern(self):
        """A mapping gives each model its own limits, and the usual ones to the others."""
        openrouter = OpenRouter("k")
        chat = openrouter.manager(
            "openai/o3",
            "openai/gpt-4o",
            "meta/llama",
            timeout={"openai/o*": clocks.reasoning, "openai/*": 8},
        )
        seconds = [target.policies.policies[-1].seconds for target in chat.targets]
        inner = [target.call.asked.clocks for target in chat.targets]
        assert seconds == [600, 8, 120]
        assert inner[0].first_content == 120
        assert inner[0].total is None
        assert inner[1:] == [Clocks(), Clocks()]

    def test_a_stream_thinks_as_long_as_it_may(self):
        """Where nobody says how long, an answer has 120 s in all and a stream its clocks."""
        target = OpenRouter("k").target("m/m")
        assert isinstance(target.call, ModelTarget)
        twin = target.call.twin
        assert isinstance(twin.call, ModelStream)
        assert (target.bound.seconds, twin.bound.seconds) == (300, 1260)
        assert twin.call.asked.clocks.first_content == 120
        assert (twin.name, twin.scopes) == (target.name, target.scopes)

    def test_policies_leave_room_for_clocks(self):
        """Own policies stand for the total, the attempts and the breaker, and not for clocks."""
        openrouter = OpenRouter("k")
        mine = stack(retry(attempts=3), timeout(9))
        target = openrouter.target("m/m", policies=mine, timeout=Clocks(first_content=4))
        assert (target.policies, target.call.asked.clocks) == (mine, Clocks(first_content=4))
        for wrong in ({"timeout": 3}, {"attempts": 2}, {"breaker": None}):
            with pytest.raises(ValueError, match="policies="):
                openrouter.target("m/m", policies=mine, **wrong)


class TestBreakers:
    async def test_a_model_that_is_down_is_left_alone(self):
        """After five failures in a row the model is not asked, and after 20 s it is asked again."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, ["e503"])
            chat = openrouter.manager(FIRST, SECOND, attempts=1)
            for _ in range(8):
                await chat.run(MESSAGES)
            assert emulator.journal.models.count(FIRST) == 5
            skipped = (await chat.run(MESSAGES)).skipped
            assert [(each.target, each.reason) for each in skipped] == [(FIRST, "breaker_open")]
            emulator.script(FIRST, ["ok"])
            await anyio.sleep(20)
            assert (await chat.run(MESSAGES)).target == FIRST

    async def test_answers_and_streams_share_it(self):
        """What calls have learned of a model its streams know, and the other way round."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, ["e503"])
            chat = openrouter.manager(FIRST, SECOND, attempts=1)
            for _ in range(5):
                await chat.run(MESSAGES)
            async with chat.stream(MESSAGES) as items:
                assert text_of([item async for item in items]) == "Hola"
            assert emulator.journal.models.count(FIRST) == 5

    async def test_it_learns_nothing_from_a_key(self):
        """A key that is refused opens no breaker of a model: another key may ask the same."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.script(FIRST, ["e401_badkey"])
            with pytest.raises(AuthenticationFailed):
                await openrouter.manager(FIRST).run(MESSAGES)
            (circuit,) = breakers().values()
            assert circuit.state == "closed"

    def test_it_is_named_after_the_model(self):
        """Each model has a breaker of its own, named after host and model, that `explain` shows."""
        told = explain(OpenRouter("k").target("openai/gpt-4o").policies)
        assert '"openrouter.ai/openai/gpt-4o": closed; opens at 5 failures in a row' in told
        assert "probes after 20 s" in told
        local = OpenRouter("k", base_url="http://127.0.0.1:8080/api/v1").target("m/m")
        assert '"127.0.0.1:8080/m/m"' in explain(local.policies)

    def test_it_may_be_another_or_none(self):
        """`breaker=` takes one of the user's, or `None` for none."""
        openrouter = OpenRouter("k")
        mine = circuit_breaker("mine", open_for=10)
        assert '"mine"' in explain(openrouter.target("m/m", breaker=mine, timeout=9).policies)
        assert "circuit" not in explain(openrouter.target("m/m", breaker=None).policies)
        with pytest.raises(TypeError, match="breaker="):
            openrouter.target("m/m", breaker=True)

    def test_a_breaker_of_the_user_s_is_looked_at(self):
        """A window of the user's that is shorter than two attempts is warned of."""
        short = circuit_breaker("short", trip=time_window(30))
        with pytest.warns(PolicyOrderWarning, match="looks back 30 s"):
            OpenRouter("k").target("m/m", breaker=short)
