"""`OpenRouter.stream` over a real socket: what is yielded, what is raised, and what is closed."""

from __future__ import annotations

import inspect
import ssl
from contextlib import aclosing

import anyio
import httpx
import pytest

from resilient.testing import leftovers
from resilient_openrouter import (
    Clocks,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    EmptyResponse,
    MalformedResponse,
    MissingKey,
    OpenRouter,
    OpenRouterError,
    OutputLimit,
    Reply,
    ServerError,
    StreamStalled,
    StreamTruncated,
    TooManyRequests,
    UpstreamError,
    clocks,
)
from resilient_openrouter._ledger import ledger
from resilient_openrouter._reading import _is_plain
from resilient_openrouter.emulator import Emulator

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "a question that nobody else may read"}]
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def router(emulator, **options):
    return OpenRouter("sk-or-v1-0123456789abcdef", base_url=emulator.url, **options)


def now():
    return anyio.current_time()  # noqa: TID251 - one run has one origin


async def read(stream):
    """Read a stream; return its chunks, and the error or the reply that it ended with."""
    chunks = []
    try:
        async for chunk in stream:
            chunks.append(chunk)  # noqa: PERF401 - what had come stays when it raises
    except OpenRouterError as error:
        return chunks, error
    return chunks, chunks[-1].reply


async def asked(name, **options):
    """Ask an emulated model for a stream; return its chunks, its end and the journal's entry."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        chunks, end = await read(openrouter.stream(f"emu/{name}", MESSAGES, **options))
        await emulator.journal.settled()
        return chunks, end, emulator.journal[0]


def text_of(chunks):
    return "".join(chunk.content for chunk in chunks)


async def test_an_answer_comes_in_pieces():
    """The pieces of the text are yielded as they come, and the last chunk has the reply."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        stream = openrouter.stream("openai/gpt-4o", MESSAGES, temperature=0)
        chunks, reply = await read(stream)
        assert [chunk.content for chunk in chunks] == ["Ho", "la", ""]
        assert (reply.content, reply.model, reply.model_served) == (
            "Hola",
            "openai/gpt-4o",
            "openai/gpt-4o-20260317",
        )
        assert (reply.finish_reason, reply.cost, reply.billed) == ("stop", 0.00001255, "yes")
        assert emulator.journal[0].body == {
            "model": "openai/gpt-4o",
            "messages": MESSAGES,
            "stream": True,
            "temperature": 0,
        }


def test_it_is_an_async_generator_function():
    """`stream` is what a target can be: an async generator function."""
    assert inspect.isasyncgenfunction(OpenRouter("k").stream)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ok_stream", "Hola"),
        ("ok_stream_empty_choices_usage", "Hola"),
        ("ok_stream_bytes", "Hola"),
        ("ok_stream_crlf", "Hola"),
        ("ok_stream_cr", "Hola"),
        ("ok_stream_folded", "Hola"),
        ("ok_stream_fields", "Hola"),
        ("ok_stream_no_done", "Hola"),
        ("ok_stream_debug", "Hola"),
        ("ok_stream_roleonly_slow?gap=1", "Hola"),
        ("ok_reasoning", "Hola"),
        ("ok_fallback_metadata", "Hola"),
        ("ok_cached", "Hola"),
        ("ok?text=two words&gap=1", "two words"),
        ("s_json_body", "Hola"),
        ("s_malformed?text=ho", "ho " * 9),
        ("slow?after=9", "Hola"),
        ("slow_ttft?after=9", "Hola"),
        ("slow_ttft_comments?gap=0.9", "Hola"),
    ],
)
async def test_every_good_stream_is_an_answer(name, text):
    """Whatever form a whole stream has, it is the same answer, under the clocks as without."""
    for limits in (None, clocks.interactive):
        chunks, reply, entry = await asked(name, clocks=limits)
        assert isinstance(reply, Reply)
        assert text_of(chunks) == reply.content == text
        assert [chunk.reply for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert reply.generation_id.startswith("gen-")
        assert entry.ended == "completed"


@pytest.mark.parametrize(
    ("name", "kind", "text", "more"),
    [
        ("s_err_first", TooManyRequests, "", {"status_code": 429, "billed": "no"}),
        ("s_err_roleonly", UpstreamError, "", {"billed": "yes", "cost": 0.00001255}),
        ("s_err_mid", UpstreamError, "ho", {"status_code": 502, "billed": "unknown"}),
        ("s_err_mid_strcode", ServerError, "ho", {"status_code": None, "code": "server_error"}),
        ("s_err_after_length", OutputLimit, "", {"committed": True, "billed": "no"}),
        ("s_err_choice", UpstreamError, "ho", {}),
        ("s_err_emptychoices", UpstreamError, "ho", {}),
        ("s_trunc?text=ho&tokens=2", StreamTruncated, "ho ho ", {"in_stream": True}),
        ("s_trunc_early", StreamTruncated, "", {}),
        ("s_trunc_midline", StreamTruncated, "ho", {}),
        ("s_trunc_tool", StreamTruncated, "", {"committed": True}),
        ("s_trunc_done", StreamTruncated, "ho", {}),
        ("s_close?text=ho&tokens=1", StreamTruncated, "ho ", {}),
        ("s_reset?text=ho&tokens=1", StreamTruncated, "ho ", {}),
        ("s_reset_early", ConnectionLost, "", {}),
        ("s_done_only", EmptyResponse, "", {}),
        ("s_malformed_trunc?text=ho", StreamTruncated, "ho " * 9, {}),
        ("s_empty", EmptyResponse, "", {"billed": "no"}),
        ("s_html", MalformedResponse, "", {}),
        ("choice_error", UpstreamError, "partial", {}),
        ("filtered_finish", ContentFiltered, "I can tell", {}),
        ("ok_length_empty", OutputLimit, "", {}),
        ("empty_content", EmptyResponse, "", {"billed": "no"}),
        ("err200", UpstreamError, "", {"in_stream": False}),
        ("null_choices", EmptyResponse, "", {}),
        ("whitespace_only", MalformedResponse, "", {}),
        ("e429_upstream_hint?seconds=3", TooManyRequests, "", {"retry_after": 3}),
        ("html_502", UpstreamError, "", {}),
        ("reset", ConnectionLost, "", {}),
        ("close", ConnectionLost, "", {}),
    ],
)
async def test_every_bad_stream_is_an_error(name, kind, text, more):
    """A stream that is no answer raises what it is, and has as `partial` what had come."""
    for limits in (None, clocks.interactive):
        chunks, error, entry = await asked(name, clocks=limits)
        assert type(error) is kind
        assert text_of(chunks) == text
        assert [chunk.reply for chunk in chunks] == [None] * len(chunks)
        facts = {"partial": text or None, "committed": bool(text)} | more
        assert {fact: getattr(error, fact) for fact in facts} == facts
        assert error.model == f"emu/{name}"
        assert MESSAGES[0]["content"] not in f"{error} {error!r} {error.message}"
        assert entry.ended != "open"


async def test_nothing_is_yielded_before_content():
    """Role, comments and empty deltas pass while the first chunk is awaited."""
    async with (
        Emulator() as emulator,
        router(emulator) as openrouter,
        aclosing(openrouter.stream("emu/ok_stream_roleonly_slow?gap=1", MESSAGES)) as stream,
    ):
        delta = (await anext(stream)).raw["choices"][0]["delta"]
        assert (now(), delta["content"]) == (6, "")
        assert delta["reasoning_details"]


async def test_reasoning_may_wait_for_the_answer():
    """With `reasoning_commits=False` an error behind reasoning is one before the first chunk."""
    chunks, error, _ = await asked("s_err_after_length", reasoning_commits=False)
    assert (chunks, type(error), error.committed) == ([], OutputLimit, False)


async def test_a_missing_key_is_told_at_the_first_item():
    """A stream without a key is `MissingKey`, and nothing is sent."""
    async with Emulator() as emulator, OpenRouter(base_url=emulator.url) as openrouter:
        with pytest.raises(MissingKey):
            await anext(openrouter.stream("m/m", MESSAGES))
        assert len(emulator.journal) == 0


async def test_wrong_clocks_are_told_at_the_first_item():
    """Clocks that are none are refused before anything is sent."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        with pytest.raises(ValueError, match="clocks must be seconds"):
            await anext(openrouter.stream("m/m", MESSAGES, clocks=-1))
        assert len(emulator.journal) == 0


class TestClocks:
    @pytest.mark.parametrize(
        ("name", "limits", "clock", "at"),
        [
            ("silence", Clocks(first_byte=3), "first_byte", 3),
            ("stall?every=0.1", Clocks(first_content=3), "first_content", 3),
            (
                "stall?every=0.1",
                Clocks(first_byte=1, first_content=3, idle_any=2),
                "first_content",
                3,
            ),
            ("ok_stream_roleonly_slow?gap=1", Clocks(first_content=5), "first_content", 5),
            ("slow_ttft?after=60", Clocks(idle_any=4, first_content=9), "idle_any", 4),
            ("stall_after_tokens", Clocks(idle_any=4, idle_content=7), "idle_any", 4),
            ("stall_after_tokens", Clocks(idle_content=7), "idle_content", 7),
            ("stall_after_tokens_comments", Clocks(idle_any=4, idle_content=7), "idle_content", 7),
            ("disconnect_probe?every=1", Clocks(idle_content=2, total=9.5), "total", 9.5),
            ("ok?text=a b c&gap=3", Clocks(idle_any=2), "idle_any", 2),
        ],
    )
    async def test_each_clock_ends_what_it_is_for(self, name, limits, clock, at):
        """A stall ends at the instant of its clock, and the server sees the client go."""
        chunks, error, entry = await asked(name, clocks=limits)
        assert type(error) is StreamStalled
        assert isinstance(error, TimeoutError)
        assert (error.clock, error.after, now()) == (clock, getattr(limits, clock), at)
        assert (error.partial or "", error.committed) == (text_of(chunks), bool(chunks))
        assert error.billed == "unknown"
        assert (entry.ended, entry.finished) == ("client_closed", at)

    @pytest.mark.parametrize(
        ("name", "limits"),
        [
            ("ok?text=a b c&gap=1.5", Clocks(idle_any=2, idle_content=2, first_content=1)),
            ("slow?after=2", Clocks(first_byte=3, first_content=3)),
            ("slow_ttft_comments?gap=1", Clocks(idle_any=2, first_content=11)),
        ],
    )
    async def test_what_comes_in_time_is_not_cut(self, name, limits):
        """Each clock is set back by what it waits for."""
        _, reply, entry = await asked(name, clocks=limits)
        assert isinstance(reply, Reply)
        assert entry.ended == "completed"

    @pytest.mark.parametrize(
        ("limits", "texts", "lasts"),
        [
            (Clocks(idle_any=9, idle_content=9), ["a ", "b ", "c", ""], 40),
            (Clocks(total=25), ["a ", "b ", "c"], 30),
        ],
    )
    async def test_a_slow_reader_is_no_stall(self, limits, texts, lasts):
        """The idle clocks stand still while the reader has the turn; the total does not."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            stream, found = (
                openrouter.stream("emu/ok?text=a b c&gap=8", MESSAGES, clocks=limits),
                [],
            )
            try:
                async for chunk in stream:
                    found.append(chunk.content)
                    await anyio.sleep(10)
            except StreamStalled as error:
                assert error.clock == "total"
            assert (found, now()) == (texts, lasts)

    async def test_the_route_that_was_silent_is_not_tried_again(self):
        """A stall from the start is not worth another try at the same place; one in between is."""
        for name, limits, retryable in (
            ("silence", Clocks(first_byte=1), False),
            ("stall", Clocks(first_content=1), False),
            ("stall_after_tokens", Clocks(idle_any=1), True),
        ):
            _, error, _ = await asked(name, clocks=limits)
            assert error.retryable is retryable

    async def test_the_connection_has_a_clock_too(self):
        """A host that takes no connection in time is `ConnectFailed`."""
        async with Emulator() as emulator:
            url = emulator.url.replace("http:", "https:")  # nobody there speaks TLS
            async with OpenRouter("k", base_url=url) as openrouter:
                with pytest.raises(ConnectFailed, match="timed out"):
                    await anext(openrouter.stream("m/m", MESSAGES, clocks=Clocks(connect=2)))
                assert now() == 2

    async def test_a_complete_answer_waits_for_nothing(self):
        """A server that does not close behind the end of an answer costs three seconds."""
        chunks, reply, entry = await asked("ok_stream_open", clocks=Clocks(idle_any=60))
        assert (text_of(chunks), reply.cost, now()) == ("Hola", 0.00001255, 3)
        assert entry.ended == "client_closed"

    async def test_an_error_waits_a_moment_for_the_usage(self):
        """Behind an error event the rest is read for a quarter of a second."""
        _, error, _ = await asked("s_err_open")
        assert (type(error), now()) == (UpstreamError, 0.25)


class TestClosing:
    async def test_closing_early_closes_the_connection(self):
        """Who stops reading closes the connection by it, and the server sees it."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            async with aclosing(openrouter.stream("emu/disconnect_probe", MESSAGES)) as stream:
                assert (await anext(stream)).content == "Hola "
            await emulator.journal.settled()
            entry = emulator.journal[0]
            assert (entry.ended, entry.finished) == ("client_closed", now())

    async def test_a_cancelled_reader_closes_the_connection(self):
        """A reader that is cancelled while it waits has closed the connection by then."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            with anyio.move_on_after(5) as scope:
                await read(openrouter.stream("emu/stall_after_tokens", MESSAGES))
            assert scope.cancelled_caught
            await emulator.journal.settled()
            entry = emulator.journal[0]
            assert (entry.ended, entry.finished, now()) == ("client_closed", 5, 5)

    async def test_an_error_of_the_reader_closes_the_connection(self):
        """What the reader raises leaves as it is, and the stream is closed behind it."""
        async with Emulator() as emulator, router(emulator) as openrouter:

            async def fail():
                async with aclosing(openrouter.stream("emu/disconnect_probe", MESSAGES)) as stream:
                    async for _ in stream:
                        raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fail()
            await emulator.journal.settled()
            assert emulator.journal[0].ended == "client_closed"

    async def test_nothing_is_held_while_the_reader_has_the_turn(self):
        """Each item may be taken by another task: no scope of time spans two of them."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            stream = openrouter.stream("emu/ok?text=a b c&gap=1", MESSAGES, clocks=clocks.reasoning)
            taken = []

            async def take():
                taken.append((await anext(stream)).content)

            for _ in range(4):
                with anyio.CancelScope():
                    async with anyio.create_task_group() as group:
                        group.start_soon(take)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            assert taken == ["a ", "b ", "c", ""]

    async def test_a_whole_stream_gives_its_connection_back(self):
        """After a stream that was read to its end the connection serves the next one."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            for name in ("ok_stream", "ok_stream_no_done", "s_json_body", "ok", "s_err_roleonly"):
                await read(openrouter.stream(f"emu/{name}", MESSAGES))
            assert {entry.connection for entry in emulator.journal} == {1}

    @pytest.mark.parametrize(
        "name",
        [
            "s_err_first", "s_err_mid", "s_trunc_early", "s_trunc_midline", "s_close?tokens=1",
            "s_reset?tokens=1",
            "s_reset_early", "s_html", "err200", "e503", "reset", "close", "stall?every=1",
            "silence", "stall_after_tokens?tokens=1", "disconnect_probe?every=1", "ok_stream_open",
            "left early", "cancelled",
        ],
    )  # fmt: skip
    async def test_a_pool_of_two_survives_a_hundred_failures(self, name):
        """Whatever ends a stream, its connection goes back: two of them serve them all."""
        model = "disconnect_probe?every=1" if name in {"left early", "cancelled"} else name
        async with (
            Emulator() as emulator,
            httpx.AsyncClient(verify=NOBODY, limits=httpx.Limits(max_connections=2)) as client,
        ):
            openrouter = router(emulator, client=client)
            for _ in range(100):
                stream = openrouter.stream(f"emu/{model}", MESSAGES, clocks=clocks.interactive)
                if name == "left early":
                    await anext(stream)
                    await stream.aclose()
                elif name == "cancelled":
                    with anyio.move_on_after(3):
                        await read(stream)
                else:
                    await read(stream)
            began = now()
            _, reply = await read(openrouter.stream("emu/ok", MESSAGES))
            assert (reply.content, now() - began) == ("Hola", 0)
        assert leftovers() == []


async def test_a_stream_is_bounded():
    """A stream larger than `max_body` is malformed, after what came before."""
    async with Emulator() as emulator, router(emulator, max_body=4000) as openrouter:
        chunks, error = await read(openrouter.stream("emu/s_trunc?text=ho&tokens=50", MESSAGES))
        assert type(error) is MalformedResponse
        assert "max_total=4000" in str(error)
        assert error.partial == text_of(chunks)
        assert 0 < len(chunks) < 50


async def test_the_ledger_knows_what_a_stream_cost():
    """Each stream is one record: known when it ended, unknown where it was left."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        with ledger([]) as records:
            await read(openrouter.stream("emu/ok", MESSAGES))
            await read(openrouter.stream("emu/s_err_mid", MESSAGES))
            async with aclosing(openrouter.stream("emu/disconnect_probe", MESSAGES)) as stream:
                await anext(stream)
        assert [(each.call.billed, each.call.cost, each.call.error_class) for each in records] == [
            ("yes", 0.00001255, None),
            ("unknown", None, "UpstreamError"),
            ("unknown", None, None),
        ]
        assert all(each.call.generation_id for each in records)


@pytest.mark.parametrize(
    ("kind", "first", "plain"),
    [
        ("text/event-stream", b": x", False),
        ("text/event-stream", b"data: {}", False),
        ("text/event-stream", b"", False),
        ("text/event-stream", b'{"error": 1}', True),
        ("text/event-stream; charset=utf-8", b"<html>", True),
        ("application/json", b'{"id": 1}', True),
        ("application/json", b"", True),
        ("application/json", b": x", False),
        ("application/json", b"data: {}", False),
        ("", b"data: {}", False),
        ("text/plain", b"upstream failed", True),
        ("text/html", b"<html>", True),
    ],
)
def test_a_stream_is_told_from_a_plain_answer(kind, first, plain):
    """The first bytes decide where the type of the content is wrong."""
    assert _is_plain(kind, first) is plain
