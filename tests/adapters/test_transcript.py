"""What a stream has said, event by event: when it begins, what it adds up to, when it is one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_openrouter import (
    Chunk,
    ContentFiltered,
    EmptyResponse,
    OpenRouterError,
    OutputLimit,
    Reply,
    StreamTruncated,
    TooManyRequests,
    UpstreamError,
    Usage,
)
from resilient_openrouter._head import Head
from resilient_openrouter._transcript import Transcript
from resilient_openrouter.emulator._rendering import chunks_of
from resilient_openrouter.emulator.scenarios import PARAMETERS
from resilient_openrouter.emulator.scenarios.streams import STREAMS
from resilient_openrouter.sse import Decoder

HEAD = Head(status=200, headers={"x-generation-id": "gen-header"}, model="openai/gpt-4o")
USAGE = {"prompt_tokens": 19, "completion_tokens": 7, "total_tokens": 26, "cost": 0.25}
PLACES = PARAMETERS | {
    "id": "gen-1",
    "model": "openai/gpt-4o",
    "served": "openai/gpt-4o-20260317",
    "provider": "OpenAI",
    "midnight": "0",
}
NAMES = [name for name, each in STREAMS.items() if each.parts and name != "disconnect_probe"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


def event(delta=None, finish=None, index=0, **top):
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return json.dumps({"id": "gen-body", "provider": "OpenAI", "choices": [choice]} | top)


def told(*events, **options):
    """Return a transcript that has taken the events, and the chunks that left."""
    script = Transcript(options.pop("head", HEAD), **options)
    return script, [chunk for each in events for chunk in script.take(each)]


def transcript(name):
    """Return the bytes of a stream of the emulator."""
    scenario = STREAMS[name]
    pieces = chunks_of(scenario.parts, scenario.wire, PLACES)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def read(data, **options):
    """Decode a whole stream; return its chunks and the error or the reply that it ends with."""
    script, decoder = Transcript(HEAD, **options), Decoder()
    chunks = []
    for text in decoder.feed(data):
        chunks += script.take(text)
        if script.is_done:
            break
    failure = script.failure(is_inside=decoder.is_inside)
    return chunks, failure or script.last().reply


def text_of(chunks):
    return "".join(chunk.content for chunk in chunks)


class TestCommit:
    @pytest.mark.parametrize(
        "delta",
        [
            {},
            {"role": "assistant"},
            {"role": "assistant", "content": ""},
            {"content": None},
            {"content": "", "reasoning": None, "reasoning_details": []},
            {"tool_calls": []},
            {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]},
            {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {}}]},
            {"refusal": None, "annotations": [], "images": []},
        ],
    )
    def test_what_says_nothing_never_leaves(self, delta):
        """A role, empty text and fragments of nothing are no chunk, before content or after it."""
        script, chunks = told(event(delta), event({"content": "a"}), event(delta))
        assert [chunk.content for chunk in chunks] == ["a"]
        assert script.is_committed

    @pytest.mark.parametrize(
        "delta",
        [
            {"content": "a"},
            {"content": " "},
            {"content": [{"type": "text", "text": "a"}]},
            {"reasoning": "a"},
            {"reasoning_content": "a"},
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
            {"refusal": "no"},
            {"audio": {"data": "x"}},
            {"images": [{}]},
            {"annotations": [{}]},
        ],
    )
    def test_content_commits(self, delta):
        """Text, reasoning, a named tool call, arguments, a refusal and media are content."""
        script, chunks = told(event({"role": "assistant"}), event(delta))
        assert (len(chunks), script.is_committed) == (1, True)

    def test_reasoning_may_wait_for_the_answer(self):
        """With `reasoning_commits=False` reasoning is held, and leaves in order with the answer."""
        thinks = event({"reasoning": "hm"})
        script, chunks = told(thinks, thinks, reasoning_commits=False)
        assert (chunks, script.is_committed) == ([], False)
        released = script.take(event({"content": "a"}))
        assert [(chunk.reasoning, chunk.content) for chunk in released] == [
            ("hm", ""),
            ("hm", ""),
            ("", "a"),
        ]

    def test_what_nobody_knows_is_held_and_delivered(self):
        """Unknown parts of a delta and events without choices commit nothing and are kept."""
        unknown, debug = event({"thought": "x"}), json.dumps({"choices": [], "debug": {"a": 1}})
        script, chunks = told(unknown, debug)
        assert (chunks, script.is_committed) == ([], False)
        assert [chunk.raw.get("debug") for chunk in script.take(event({"content": "a"}))] == [
            None,
            {"a": 1},
            None,
        ]

    @pytest.mark.parametrize(("count", "size"), [(65, 1), (3, 200_000)])
    def test_what_is_held_is_bounded(self, count, size):
        """Too many held events, or too many bytes of them, commit."""
        thinks = event({"reasoning": "x" * size})
        script, chunks = told(*[thinks] * (count - 1), reasoning_commits=False)
        if count > 3:
            assert chunks == []
        chunks += script.take(thinks)
        assert (len(chunks), script.is_committed) == (count, True)


class TestEnds:
    def test_the_end_and_the_usage_leave_together(self):
        """However often the reason comes, one last chunk has it, with usage, cost and reply."""
        for usage_choices in ([], None):
            last = event({"content": ""}, "stop", usage=USAGE)
            if usage_choices is not None:
                last = json.dumps({"choices": usage_choices, "usage": USAGE})
            script, chunks = told(event({"content": "Hola"}), event({}, "stop"), last)
            assert [chunk.finish_reason for chunk in chunks] == [None]
            assert script.is_complete
            assert script.failure() is None
            end = script.last()
            assert (end.content, end.finish_reason, end.cost) == ("", "stop", 0.25)
            assert end.usage == Usage(prompt_tokens=19, completion_tokens=7, total_tokens=26)
            assert (end.reply.content, end.reply.billed) == ("Hola", "yes")
            assert end.reply.generation_id == "gen-header"

    def test_text_in_the_event_of_the_end_is_no_less_delivered(self):
        """A provider that sends its last words with the reason of the end loses none of them."""
        script, chunks = told(event({"content": "Ho"}), event({"content": "la"}, "stop"))
        assert text_of(chunks) == "Hola"
        assert script.last().reply.content == "Hola"

    @pytest.mark.parametrize(
        ("events", "kind"),
        [
            ([], StreamTruncated),
            ([event({"content": "a"})], StreamTruncated),
            ([event({"role": "assistant"})], StreamTruncated),
            (["[DONE]"], EmptyResponse),
            ([event({"role": "assistant"}), "[DONE]"], EmptyResponse),
            ([event({"content": "a"}), "[DONE]"], StreamTruncated),
            ([event({}, "stop")], EmptyResponse),
            ([event({"reasoning": "hm"}), event({}, "stop")], EmptyResponse),
            ([event({}, "length")], OutputLimit),
            ([event({"content": "a"}), event({}, "content_filter")], ContentFiltered),
            ([event({"content": "a"}, "stop"), event({"content": "b"}, index=1)], StreamTruncated),
            ([event({}, "error")], UpstreamError),
            ([event({}, error={"code": 429})], TooManyRequests),
            ([event({}, error="it broke")], UpstreamError),
            ([event({"content": "a"}, "stop"), event({}, error={"code": 502})], UpstreamError),
        ],
    )
    def test_what_is_no_answer(self, events, kind):
        """A stream that ends otherwise than well is the error that it is."""
        script, _ = told(*events)
        assert type(script.failure()) is kind

    def test_an_error_outranks_what_was_said_before(self):
        """An error after the reason of the end wins, keeps the usage, and has the text so far."""
        script, chunks = told(
            event({"content": "par"}),
            event({"content": "tial"}, "length"),
            event({"content": ""}, error={"code": 400, "message": "Token limit reached"}),
            event({}, usage=USAGE),
        )
        error = script.failure()
        assert isinstance(error, OutputLimit)
        assert (error.partial, error.committed, error.in_stream) == ("partial", True, True)
        assert (error.usage["total_tokens"], error.cost, error.billed) == (26, 0.25, "yes")
        assert text_of(chunks) == "partial"
        assert not script.is_complete

    def test_who_has_worked_may_have_to_be_paid(self):
        """An error that usually costs nothing is of unknown cost where content had come."""
        limit = event({}, error={"code": 429})
        assert told(limit)[0].failure().billed == "no"
        assert told(event({"content": "a"}), limit)[0].failure().billed == "unknown"

    def test_an_event_that_is_no_json_is_skipped_and_counted(self):
        """A stream that completes in spite of a broken event is an answer that says so."""
        script, _ = told(event({"content": "a"}), '{"id":"gen', "[1]", event({}, "stop"))
        assert script.last().reply.malformed_events == 2
        cut, _ = told("{", event({"content": "a"}))
        assert "events that are no JSON: 1" in str(cut.failure())

    def test_a_cached_answer_costs_nothing(self):
        """A stream from the cache is free, whatever its usage says."""
        head = Head(status=200, headers={"x-openrouter-cache-status": "HIT"}, model="m")
        script, _ = told(event({"content": "a"}, "stop", usage=USAGE), head=head)
        found = script.last().reply
        assert (found.cached, found.cost, found.billed) == (True, 0.0, "no")

    def test_an_error_names_the_generation_before_any_event(self):
        """What the headers told is on the error of a stream that said nothing."""
        error = told()[0].failure()
        assert (error.generation_id, error.model, error.http_status) == (
            "gen-header",
            "openai/gpt-4o",
            200,
        )


class TestTools:
    def test_calls_are_put_together_from_fragments(self):
        """Interleaved fragments become whole calls, told apart by their index."""
        _, found = read(transcript("ok_stream_tools"))
        assert found.tool_calls == (
            {
                "index": 0,
                "id": "call_0",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"location": "Florence"}'},
            },
            {
                "index": 1,
                "id": "call_1",
                "type": "function",
                "function": {"name": "time", "arguments": '{"zone": "CET"}'},
            },
        )
        assert (found.finish_reason, found.content, found.bad_tool_calls) == ("tool_calls", "", ())

    def test_arguments_that_are_no_json_are_flagged(self):
        """A call with broken arguments is delivered as it is, and told by `bad_tool_calls`."""
        call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":'}}
        script, _ = told(event({"tool_calls": [call]}), event({}, "tool_calls"))
        found = script.last().reply
        assert found.tool_calls[0]["function"]["arguments"] == '{"a":'
        assert found.bad_tool_calls == found.tool_calls

    @pytest.mark.parametrize("arguments", [None, "", "{}", '{"a": 1}'])
    def test_arguments_may_be_missing(self, arguments):
        """A function without parameters needs none."""
        call = {"index": 0, "function": {"name": "f", "arguments": arguments}}
        script, _ = told(event({"tool_calls": [call]}, "tool_calls"))
        assert script.last().reply.bad_tool_calls == ()
        assert script.last().reply.tool_calls[0]["function"]["arguments"] == arguments

    def test_a_name_that_is_repeated_is_one_name(self):
        """Servers that send the name with every fragment name the call once."""
        again = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
        script, _ = told(event({"tool_calls": [again]}), event({}, "tool_calls"))
        assert script.last().reply.tool_calls[0]["function"]["name"] == "f"


def test_the_body_is_what_a_whole_answer_would_have_been():
    """`raw` has the shape of a completion, with the unknown fields of events and deltas."""
    script, _ = told(
        event({"role": "assistant", "content": "Ho", "thought": {"a": 1}}),
        event({"content": "la"}, "stop", usage=USAGE, service_tier="x"),
    )
    assert script.last().raw == {
        "id": "gen-body",
        "provider": "OpenAI",
        "object": "chat.completion",
        "service_tier": "x",
        "usage": USAGE,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hola", "thought": {"a": 1}},
            }
        ],
    }


def test_a_chunk_shows_no_word_of_the_answer():
    """The `repr` of a chunk counts what it holds."""
    chunk = Chunk(content="a secret", reasoning="hm", reply=Reply(content="a secret"))
    assert "secret" not in repr(chunk)
    assert repr(chunk).startswith("Chunk(characters=8, reasoning=2, tool_calls=0, reply=Reply(")


VARIANTS = [name for name in NAMES if name.startswith("ok_stream_") and name[10:] in {
    "bytes", "crlf", "cr", "folded", "fields", "no_done", "empty_choices_usage",
}]  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_every_form_of_a_stream_says_the_same(name):
    """Line ends, folded data, a byte order mark and other fields change nothing."""
    chunks, found = read(transcript(name))
    expected, reply = read(transcript("ok_stream"))
    assert len(VARIANTS) == 7
    assert [chunk.content for chunk in chunks] == [chunk.content for chunk in expected]
    assert (found.content, found.usage, found.cost) == (reply.content, reply.usage, reply.cost)


@given(st.sampled_from(NAMES), st.data())
def test_a_stream_that_is_cut_is_never_a_short_answer(name, data):
    """Cut before the last reason of the end, a stream gives a prefix, and an error with it."""
    whole = transcript(name)
    chunks, ending = read(whole)
    cut = data.draw(st.integers(0, len(whole)))
    some, found = read(whole[:cut])
    assert text_of(chunks).startswith(text_of(some))
    if isinstance(found, Reply):
        assert b'"finish_reason":"' in whole[:cut].replace(b'": "', b'":"')
        assert found.content == text_of(some)
        assert not isinstance(ending, Reply) or found.content == ending.content
    else:
        assert found.partial == (text_of(some) or None)


@given(st.lists(json_values | st.text(max_size=20), max_size=6), st.booleans())
def test_no_event_is_an_error_of_ours(values, reasoning_commits):
    """Events of any JSON, or of none, end in an answer or in an error of the tree."""
    events = [value if isinstance(value, str) else json.dumps(value) for value in values]
    script, _ = told(*events, reasoning_commits=reasoning_commits)
    failure = script.failure()
    assert failure is None or isinstance(failure, OpenRouterError)


deltas = st.dictionaries(
    st.sampled_from(["role", "content", "reasoning", "tool_calls", "refusal", "x"]), json_values
)
choices = st.fixed_dictionaries(
    {},
    optional={
        "index": json_values,
        "delta": deltas | json_values,
        "finish_reason": json_values | st.sampled_from(["stop", "error", "length"]),
        "error": json_values,
    },
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "choices": st.lists(choices, max_size=2) | json_values,
                "usage": json_values,
                "error": json_values,
                "provider": json_values,
            },
        ),
        max_size=5,
    )
)
def test_no_shape_of_an_event_is_an_error_of_ours(bodies):
    """Known fields with values of any kind end in an answer or in an error of the tree."""
    script, chunks = told(*map(json.dumps, bodies))
    failure = script.failure()
    if failure is None:
        assert script.last().reply.content == text_of(chunk for chunk in chunks if chunk.index == 0)
    else:
        assert isinstance(failure, OpenRouterError)
        assert str(failure)
