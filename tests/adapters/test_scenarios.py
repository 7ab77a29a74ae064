"""The 64 scenarios of the emulated wire, each as a chain of two models lives through it.

Both models share a host, a key and an account, and each may be tried twice. A
row says how often the first one is asked, what that comes to, which scope it
condemns, and who answers in the end.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import anyio
import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from resilient.testing import capture_spans
from resilient_openrouter import Chunk, OpenRouter, OpenRouterError, clocks, errors
from resilient_openrouter._trail import Trail
from resilient_openrouter.emulator import SCENARIOS, SWITCHES, Emulator
from resilient_openrouter.emulator.scenarios.failover import FAILOVER

VIRTUAL = True
MESSAGES = [{"role": "user", "content": "a question that nobody else may read"}]
FIRST, SECOND = "openai/gpt-4o", "anthropic/claude-sonnet-4.5"
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PLAIN, STREAM, COLLECTED = "plain", "stream", "collected"
EVERY = (PLAIN, STREAM, COLLECTED)
STREAMS = (STREAM, COLLECTED)


@dataclass(frozen=True)
class Case:
    """What becomes of one scenario; `number` is its place in the list of all scenarios."""

    number: int
    name: str
    modes: tuple[str, ...]
    error: str | None = None
    tries: int = 1
    end: str = FIRST
    scope: str | None = None


def good(number, names, modes=EVERY, tries=1):
    return [Case(number, name, modes, None, tries, FIRST) for name in names.split()]


def tried_twice(number, names, error, scope, modes=EVERY):
    """Tell of what may be over in a moment: two tries, then the next model."""
    return [Case(number, name, modes, error, 2, SECOND, scope) for name in names.split()]


def left(number, names, error, scope, modes=EVERY):
    """Tell of what the next model may not share: one try, then the next model."""
    return [Case(number, name, modes, error, 1, SECOND, scope) for name in names.split()]


def ends(number, names, error, scope, modes=EVERY, tries=1):
    """Tell of what every model would share: the error itself, and nobody else is asked."""
    return [Case(number, name, modes, error, tries, error, scope) for name in names.split()]


def broken_off(number, names, error, scope):
    """Tell of a stream that fails after its first word: an error, unless it is collected."""
    told = [Case(number, name, (STREAM,), error, 1, error, scope) for name in names.split()]
    return told + tried_twice(number, names, error, scope, (COLLECTED,))


ROWS = [
    *good(1, "ok"),
    *good(2, "ok_tools ok_tools_null_arguments"),
    *good(3, "ok_reasoning"),
    *good(4, "ok_stream", STREAMS),
    *good(5, "ok_stream_empty_choices_usage", STREAMS),
    *good(6, "ok_stream_tools", STREAMS),
    *good(7, "ok_stream_roleonly_slow?gap=1", STREAMS),
    *good(8, "ok_stream_bytes ok_stream_crlf ok_stream_cr ok_stream_folded", STREAMS),
    *good(8, "ok_stream_fields ok_stream_debug", STREAMS),
    *good(9, "ok_stream_no_done ok_stream_open", STREAMS),
    *good(10, "ok_cached"),
    *good(11, "ok_fallback_metadata"),
    *left(12, "ok_length_empty", "OutputLimit", "model"),
    *ends(13, "filtered_finish", "ContentFiltered", "request"),
    *tried_twice(14, "err200 err200_bare_string", "UpstreamError", "endpoint"),
    *tried_twice(14, "err200_string_code", "ServerError", None),
    *tried_twice(15, "err200_nulls_524", "UpstreamTimeout", "endpoint"),
    *tried_twice(16, "choice_error", "UpstreamError", "endpoint", (PLAIN, COLLECTED)),
    *ends(16, "choice_error", "UpstreamError", "endpoint", (STREAM,)),
    *tried_twice(17, "null_choices empty_choices missing_choices", "EmptyResponse", "endpoint"),
    *good(18, "nested_provider"),
    *tried_twice(18, "nested_provider_cut", "MalformedResponse", "endpoint"),
    *tried_twice(19, "empty_content", "EmptyResponse", "endpoint"),
    *tried_twice(
        20, "whitespace_only truncated_json html_200", "MalformedResponse", "endpoint"
    ),
    *good(21, "shim_text"),
    *left(22, "e400_model e400_model_availability", "ModelNotFound", "model"),
    *left(23, "e400_context e400_context_raw", "ContextTooLong", "model"),
    *left(23, "e400_output", "OutputLimit", "model"),
    *tried_twice(24, "e400_wraps_429", "TooManyRequests", "endpoint"),
    *ends(25, "e400_zod e400_invalid", "InvalidRequest", "request"),
    *ends(26, "e400_policy e400_refusal", "ContentFiltered", "request"),
    *ends(27, "e401_nokey e401_badkey e401_noheader", "AuthenticationFailed", "credential"),
    *ends(28, "e402_credits", "PaymentRequired", "account"),
    *ends(28, "e402_keylimit", "PaymentRequired", "credential"),
    *ends(28, "e402_inflight", "AccountThrottled", "account", tries=2),
    *left(28, "e402_weight", "CostTooHigh", None),
    *ends(29, "e403_moderation", "ContentFiltered", "request"),
    *ends(30, "e403_guardrail e403_management", "Forbidden", "credential"),
    *left(31, "e403_region e403_harness", "ModelUnavailable", "model"),
    *left(32, "e404_noendpoints e404_privacy e404_free_ended", "ModelUnavailable", "model"),
    *left(32, "e404_deprecated e404_legacy e404_legacy_tools", "ModelUnavailable", "model"),
    *left(32, "e410 e503_routing", "ModelUnavailable", "model"),
    *tried_twice(32, "e404_retryable", "ModelUnavailable", "model"),
    *ends(32, "e404_address redirect", "EdgeError", "host"),
    *tried_twice(33, "e408 e504", "UpstreamTimeout", "endpoint"),
    *tried_twice(33, "e409", "Conflict", None),
    *ends(33, "e413", "InvalidRequest", "host"),
    *ends(33, "e422", "InvalidRequest", "request"),
    *left(33, "e499", "OpenRouterError", None),
    *left(34, "e429_free_day", "QuotaExhausted", "free"),
    *left(35, "e429_free_min", "TooManyRequests", "free"),
    *left(36, "e429_upstream_hint", "TooManyRequests", "model"),
    *left(36, "e429_body_hint", "TooManyRequests", "endpoint"),
    *tried_twice(37, "e429_nohint", "TooManyRequests", "endpoint"),
    *left(38, "e429_availability", "TooManyRequests", "model"),
    *tried_twice(39, "e429_retry_after e429_retry_after_ms", "TooManyRequests", "endpoint"),
    *tried_twice(40, "e500", "ServerError", None),
    *tried_twice(40, "e502", "UpstreamError", "endpoint"),
    *tried_twice(40, "e503 e503_availability e529", "Overloaded", "model"),
    *left(40, "e503_hint", "Overloaded", "model"),
    *tried_twice(41, "html_524 e524", "UpstreamTimeout", "endpoint"),
    *tried_twice(41, "html_502", "UpstreamError", "endpoint"),
    *ends(41, "html_520", "EdgeError", "host", tries=2),
    *ends(41, "html_1015", "TooManyRequests", "host", tries=2),
    *good(42, "flaky?times=1", tries=2),
    *good(42, "flaky?times=1&fault=s_err_roleonly", STREAMS, tries=2),
    *tried_twice(43, "flap?seconds=60", "Overloaded", "model"),
    *tried_twice(44, "s_err_first", "TooManyRequests", "endpoint", STREAMS),
    *tried_twice(45, "s_err_roleonly", "UpstreamError", "endpoint", STREAMS),
    *broken_off(46, "s_err_mid s_err_open", "UpstreamError", "endpoint"),
    *broken_off(47, "s_err_mid_strcode", "ServerError", None),
    *ends(48, "s_err_after_length", "OutputLimit", "model", (STREAM,)),
    *left(48, "s_err_after_length", "OutputLimit", "model", (COLLECTED,)),
    *broken_off(49, "s_err_choice", "UpstreamError", "endpoint"),
    *broken_off(50, "s_err_emptychoices", "UpstreamError", "endpoint"),
    *broken_off(51, "s_trunc s_trunc_midline s_trunc_tool", "StreamTruncated", "endpoint"),
    *broken_off(51, "s_trunc_done s_close s_reset", "StreamTruncated", "endpoint"),
    *tried_twice(51, "s_trunc_early", "StreamTruncated", "endpoint", STREAMS),
    *tried_twice(51, "s_reset_early", "ConnectionLost", None, STREAMS),
    *tried_twice(51, "s_done_only s_empty", "EmptyResponse", "endpoint", STREAMS),
    *good(52, "s_malformed", STREAMS),
    *broken_off(52, "s_malformed_trunc", "StreamTruncated", "endpoint"),
    *good(53, "s_json_body"),
    *tried_twice(53, "s_html", "MalformedResponse", "endpoint"),
    *left(54, "stall?every=0.1", "StreamStalled", "endpoint"),
    *broken_off(55, "stall_after_tokens stall_after_tokens_comments", "StreamStalled", "endpoint"),
    *good(56, "slow_ttft?after=9 slow_ttft_comments?gap=0.9", STREAMS),
    *good(56, "slow?after=9"),
    *left(56, "slow_ttft?after=11", "StreamStalled", "endpoint", STREAMS),
    *left(57, "silence", "StreamStalled", "endpoint"),
    *tried_twice(58, "reset close", "ConnectionLost", None),
    *tried_twice(58, "reset_in_body close_in_body", "ConnectionLost", None),
    *good(59, "slow_drip?text=a%20b%20c", STREAMS),
    *good(63, "huge_json gzip many_headers long_stream", STREAMS),
]  # fmt: skip
RUNS = [pytest.param(row, mode, id=f"{row.number:02}-{row.name}-{mode}")
        for row in ROWS for mode in row.modes]  # fmt: skip
PLAYED = {row.name.partition("?")[0] for row in ROWS}


def now():
    return anyio.current_time()  # noqa: TID251 - one run has one origin


def router(emulator, **options):
    return OpenRouter("sk-or-v1-0123456789abcdef", base_url=emulator.url, **options)


def chain(openrouter, mode, **options):
    transport = "stream" if mode == COLLECTED else "plain"
    options = {"timeout": clocks.interactive} | options
    return openrouter.manager(FIRST, SECOND, transport=transport, **options)


async def lived_through(chat, mode):
    """Ask a chain once; return who answered or the class of the error, its calls and the error."""
    try:
        if mode != STREAM:
            outcome = await chat.run(MESSAGES)
            assert outcome.value.content or outcome.value.tool_calls
            return outcome.target, outcome, None
        async with chat.stream(MESSAGES) as items:
            found = [item async for item in items]
        assert all(isinstance(item, Chunk) for item in found)
        assert found[-1].reply.content == "".join(item.content for item in found)
        return items.outcome.target, items.outcome, None
    except OpenRouterError as error:
        return type(error).__name__, None, error


def skipped(trail):
    return [(skip.target, skip.reason, skip.scope) for skip in trail.outcome.skipped]


def skipped_by(row, error):
    """Return who is not asked because of what a row condemns; a stream that spoke asks nobody."""
    is_shared = row.end == row.error and row.scope in {"request", "credential", "account", "host"}
    return [(SECOND, "scope_condemned", row.scope)] if is_shared and not error.committed else []


def clients(spans):
    """Return the spans of calls of models, and whether each says that it failed."""
    found = [span for span in spans if span.kind is SpanKind.CLIENT]
    return [(span.name, span.status.status_code is StatusCode.ERROR) for span in found]


def clients_of(row):
    """Return the spans that a row should have: one for each model that was asked."""
    first = (f"chat {FIRST}", row.error is not None)
    return [first, (f"chat {SECOND}", False)] if row.end == SECOND else [first]


@pytest.mark.parametrize(("row", "mode"), RUNS)
async def test_each_scenario_ends_as_it_should(row, mode):
    """Outcome, tries, class, scope, skips, spans and connections of one scenario are its row's."""
    async with (
        Emulator() as emulator,
        httpx.AsyncClient(verify=NOBODY, limits=httpx.Limits(max_connections=2)) as client,
        router(emulator, client=client) as openrouter,
    ):
        emulator.script(FIRST, [row.name])
        emulator.script(SECOND, ["ok"])
        trail = Trail()
        with capture_spans() as spans:
            chat = chain(openrouter, mode, listeners=[trail])
            end, outcome, error = await lived_through(chat, mode)
        assert skipped(trail) == skipped_by(row, error)
        assert clients(spans) == clients_of(row)
        assert len(spans.attempts()) == row.tries + (row.end == SECOND)
        assert len(spans.ended) == len(spans)
        assert MESSAGES[0]["content"] not in spans.to_json()
        assert (emulator.journal.models.count(FIRST), end) == (row.tries, row.end)
        assert emulator.journal.models.count(SECOND) == (row.end == SECOND)
        if row.error is not None and outcome is not None:
            first = outcome.calls[0]
            assert (first.error_class, first.scope) == (row.error, row.scope)
            assert outcome.attempts[0].error is not None
        elif error is not None:
            assert (type(error).__name__, error.scope) == (row.error, row.scope)
            assert isinstance(error, getattr(errors, row.error))
        # Both connections are free: two calls at once are answered at once.
        began = now()
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(openrouter.chat, "emu/ok", MESSAGES)
        assert now() == began
        await emulator.journal.settled()
        assert {entry.ended for entry in emulator.journal} <= {
            "completed", "client_closed", "reset_by_us", "closed_by_us",
        }  # fmt: skip


def test_every_scenario_is_played():
    """Each scenario of the emulator stands in the table, or has a test of its own."""
    alone = {"disconnect_probe"} | set(FAILOVER)  # those are played by test_failover.py
    assert {*SCENARIOS, *SWITCHES} - PLAYED - alone == set()
    # 61 and 62 are other endpoints than that of completions: test_lookups.py.
    numbers = {row.number for row in ROWS} | {58, 60, 61, 62, 64}
    assert numbers == set(range(1, 65))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2),
        ("1.5", 1.5),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("a while", None),
        ("", None),
        ("Fri, 01 Jan 2021 00:00:00 GMT", None),
    ],
)
async def test_39_every_form_of_a_hint(value, seconds):
    """Seconds are taken as they are; zero, the past and nonsense are no hint."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        with pytest.raises(errors.TooManyRequests) as caught:
            await openrouter.chat(f"emu/e429_retry_after?value={quote(value)}", MESSAGES)
        assert caught.value.retry_after == seconds


async def test_39_a_date_and_milliseconds():
    """A date counts against the answer's own, and milliseconds are milliseconds."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
        with pytest.raises(errors.TooManyRequests) as caught:
            await openrouter.chat(f"emu/e429_retry_after?value={quote(date)}", MESSAGES)
        assert 590 <= caught.value.retry_after <= 600
        with pytest.raises(errors.TooManyRequests) as caught:
            await openrouter.chat("emu/e429_retry_after_ms?value=250", MESSAGES)
        assert (caught.value.retry_after, caught.value.hint_source) == (0.25, "retry-after-ms")


@pytest.mark.parametrize("mode", EVERY)
async def test_42_a_model_that_is_well_again(mode):
    """A model that failed a few times answers as soon as it can, within its attempts."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(FIRST, ["flaky?times=2&fault=e502"])
        end, outcome, _ = await lived_through(chain(openrouter, mode, attempts=3), mode)
        assert (end, [each.error for each in outcome.attempts]) == (FIRST, ["502", "502", None])


@pytest.mark.parametrize("mode", EVERY)
async def test_43_an_outage_of_a_minute(mode):
    """Every call is answered during an outage, and soon after it the first model is back."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        emulator.script(FIRST, ["flap?seconds=60"])
        emulator.script(SECOND, ["ok"])
        chat, ends_ = chain(openrouter, mode), []
        for _ in range(20):
            began = now()
            ends_.append((began, (await lived_through(chat, mode))[0]))
            await anyio.sleep(4 - (now() - began))
        assert {end for at, end in ends_ if at < 60} == {SECOND}
        back = next(at for at, end in ends_ if end == FIRST)
        assert 60 <= back <= 80
        assert {end for at, end in ends_ if at >= back} == {FIRST}
        asked = [entry.began for entry in emulator.journal if entry.model == FIRST]
        assert len([at for at in asked if at < 60]) <= 8  # 5 to open, one probe each 20 s


@pytest.mark.parametrize("mode", EVERY)
async def test_58_a_host_that_is_not_there(mode):
    """Nobody listens: the host is tried twice, and no other model of it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    openrouter = OpenRouter("k", base_url=f"http://127.0.0.1:{port}/api/v1")
    async with openrouter:
        end, _, error = await lived_through(chain(openrouter, mode), mode)
        assert (end, error.scope, error.billed) == ("ConnectFailed", "host", "no")


@pytest.mark.parametrize("mode", EVERY)
async def test_60_a_caller_who_goes_away(mode, monkeypatch):
    """A cancelled call closes its connection before it returns: before all that its caller does."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        journal, order = emulator.journal, []
        append = journal.append
        monkeypatch.setattr(
            journal, "append", lambda entry: order.append(("began", entry.model)) or append(entry)
        )
        journal.ended = lambda entry: order.append((entry.ended, entry.model))
        emulator.script(FIRST, ["disconnect_probe" if mode != PLAIN else "stall"])
        with anyio.move_on_after(3) as scope:
            await lived_through(chain(openrouter, mode), mode)
        assert scope.cancelled_caught
        await openrouter.chat("emu/ok", MESSAGES)  # whatever comes next
        assert order == [
            ("began", FIRST),
            ("client_closed", FIRST),
            ("began", "emu/ok"),
            ("completed", "emu/ok"),
        ]
        assert emulator.journal[0].finished == 3


async def test_63_a_huge_answer():
    """Twenty megabytes of JSON are an answer, and so are thousands of words of a stream."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        found = await openrouter.chat("emu/huge_json?size=20", MESSAGES)
        assert len(found.content) == 20_000_000
        count = 0
        async for chunk in openrouter.stream("emu/long_stream?tokens=3000", MESSAGES):
            count += bool(chunk.content)
            last = chunk
        assert (count, len(last.reply.content)) == (3_000, 15_000)


async def test_64_many_calls_at_once_over_mixed_faults():
    """Hundreds of calls over every kind of fault each end as an answer or an error of the tree."""
    names = [row.name for row in ROWS if row.number not in {54, 55, 57, 63}]
    async with Emulator() as emulator, router(emulator) as openrouter:
        chats = []
        for number, name in enumerate(names):
            emulator.script(f"a/{number}", [name, "ok"])
            chats.append(openrouter.manager(f"a/{number}", "b/spare", timeout=clocks.interactive))
        found = []

        async def one(chat, mode):
            found.append((await lived_through(chat, mode))[0])

        async with anyio.create_task_group() as group:
            for number in range(150):
                mode = (PLAIN, STREAM)[number % 2]
                group.start_soon(one, chats[number % len(chats)], mode)
        assert len(found) == 150
        await emulator.journal.settled()
        assert "open" not in {entry.ended for entry in emulator.journal}
