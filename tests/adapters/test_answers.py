"""What the body of a success is: a reply with its circumstances, or the error it really holds."""

from __future__ import annotations

import json

import pytest

from resilient_openrouter import (
    ContentFiltered,
    EmptyResponse,
    MalformedResponse,
    OutputLimit,
    Reply,
    UpstreamError,
    Usage,
    reply,
)
from resilient_openrouter._answer import Answer
from resilient_openrouter._request import encoded, texts
from resilient_openrouter.results import ModelCall, known_cost, unknown_costs

USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 7,
    "total_tokens": 26,
    "cost": 0.25,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def completion(message=None, finish="stop", **fields):
    choice = {"index": 0, "finish_reason": finish, "message": message or {"content": "Hola"}}
    return {
        "id": "gen-body",
        "model": "openai/gpt-4o-2024-08-06",
        "provider": "OpenAI",
        "choices": [choice],
        "usage": USAGE,
    } | fields


def answer(payload, headers=None, **options):
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Answer(
        status=200, headers=headers or {}, body=data, model="openai/gpt-4o", **options
    ).reply()


def test_a_reply_has_its_circumstances():
    """A reply says who was asked, who served, through whom, and what it took."""
    found = answer(completion(), {"x-generation-id": "gen-header"})
    assert found == Reply(
        content="Hola",
        model="openai/gpt-4o",
        model_served="openai/gpt-4o-2024-08-06",
        provider="OpenAI",
        usage=Usage(
            prompt_tokens=19,
            completion_tokens=7,
            total_tokens=26,
            cached_tokens=3,
            reasoning_tokens=2,
        ),
        cost=0.25,
        billed="yes",
        finish_reason="stop",
        generation_id="gen-header",
        raw=completion(),
    )


def test_padding_is_no_part_of_the_answer():
    """Keep-alives before the JSON change nothing."""
    padded = b"\n         \n" * 38 + json.dumps(completion()).encode()
    assert answer(padded) == answer(completion())


def test_the_id_of_the_body_serves_where_the_header_is_missing():
    """Without the header, the generation has the id of the body."""
    assert answer(completion()).generation_id == "gen-body"


def test_tool_calls_are_kept_as_they_are():
    """Tool calls come as the server sent them, null arguments included, and content is empty."""
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": None}}
    found = answer(completion({"content": None, "tool_calls": [call]}, "tool_calls"))
    assert (found.content, found.tool_calls, found.finish_reason) == ("", (call,), "tool_calls")


def test_content_in_parts_is_joined():
    """Content that comes as a list of parts is their text."""
    parts = [{"type": "text", "text": "Ho"}, {"type": "image"}, {"type": "text", "text": "la"}]
    assert answer(completion({"content": parts})).content == "Hola"


def test_reasoning_is_beside_the_content():
    """Reasoning has its own place."""
    found = answer(completion({"content": "Hola", "reasoning": "greet"}))
    assert (found.content, found.reasoning) == ("Hola", "greet")


def test_a_cached_answer_costs_nothing():
    """An answer from the cache is free and says so."""
    found = answer(completion(), {"x-openrouter-cache-status": "HIT"})
    assert (found.cached, found.cost, found.billed) == (True, 0.0, "no")


@pytest.mark.parametrize(
    ("usage", "cost", "billed"),
    [
        ({"cost": 0.5}, 0.5, "yes"),
        ({"cost": 0}, 0.0, "no"),
        ({"cost": None}, None, "unknown"),
        ({"cost": -1}, None, "unknown"),
        ({"cost": True}, None, "unknown"),
        (None, None, "unknown"),
    ],
)
def test_a_cost_is_known_or_unknown(usage, cost, billed):
    """A cost that is missing or no number is unknown, and never nothing."""
    found = answer(completion(usage=usage))
    assert (found.cost, found.billed) == (cost, billed)


@pytest.mark.parametrize("choices", [None, [], "none", 7])
def test_no_choices_are_an_empty_response(choices):
    """A success without choices is an empty response."""
    with pytest.raises(EmptyResponse):
        answer(completion(choices=choices))


@pytest.mark.parametrize("finish", [None, "stop"])
@pytest.mark.parametrize("content", ["", None, []])
def test_no_content_is_an_empty_response(finish, content):
    """A choice that says nothing and calls nothing is an empty response, reasoned or not."""
    with pytest.raises(EmptyResponse):
        answer(completion({"content": content, "reasoning": "hm"}, finish))


def test_an_empty_answer_is_insured():
    """An answer with no completion token and no finish reason is not charged."""
    with pytest.raises(EmptyResponse) as caught:
        answer(completion({"content": ""}, None, usage={"completion_tokens": 0}))
    assert caught.value.billed == "no"


def test_a_used_up_budget_is_an_output_limit():
    """Nothing but a finish reason of `length` is an output limit, and is not retried."""
    with pytest.raises(OutputLimit) as caught:
        answer(completion({"content": ""}, "length"))
    assert (caught.value.retryable, caught.value.cost) == (False, 0.25)


def test_a_short_answer_is_an_answer():
    """Content that ends at the limit is a success whose finish reason says so."""
    assert answer(completion({"content": "Ho"}, "length")).finish_reason == "length"


def test_filtered_content_is_refused():
    """A finish reason of `content_filter` is a refusal, with what came before as `partial`."""
    with pytest.raises(ContentFiltered) as caught:
        answer(completion({"content": "I can"}, "content_filter"))
    assert (caught.value.partial, caught.value.scope) == ("I can", "request")


def test_a_refusal_in_words_is_an_answer():
    """A model that refuses in words has answered."""
    assert answer(completion({"content": "", "refusal": "No."})).content == ""


def test_an_error_in_a_choice_is_an_error():
    """An error inside a choice is raised, with the text before it as `partial` and the cost."""
    choice = {
        "finish_reason": "error",
        "message": {"content": "part"},
        "error": {"code": 502, "message": "gone"},
    }
    with pytest.raises(UpstreamError) as caught:
        answer(completion(choices=[choice]))
    assert (caught.value.partial, caught.value.cost, caught.value.status_code) == (
        "part",
        0.25,
        502,
    )


def test_a_finish_reason_of_error_is_enough():
    """A choice that ended in an error is one even where the error is not told."""
    with pytest.raises(UpstreamError):
        answer(completion({"content": "part"}, "error"))


@pytest.mark.parametrize("data", [b"", b" \n \n", b'{"id":"gen-', b"<html></html>", b"[]", b"7"])
def test_what_is_no_object_is_malformed(data):
    """Blank, cut off, HTML and JSON that is no object are malformed."""
    with pytest.raises(MalformedResponse) as caught:
        answer(data)
    assert caught.value.status_code is None


def test_a_completion_in_the_wrong_place_is_found():
    """A whole completion in the place of the provider's name is the answer."""
    broken = {"id": None, "choices": None, "provider": completion()}
    assert answer(broken).content == "Hola"


def test_raw_is_kept_only_on_request():
    """An error holds what the server sent only with `keep_raw`."""
    payload = {"error": {"code": 502, "message": "x"}}
    for keep, raw in ((False, None), (True, payload)):
        with pytest.raises(UpstreamError) as caught:
            answer(payload, keep_raw=keep)
        assert caught.value.raw == raw


def test_a_reply_shows_no_answer():
    """The `repr` of a reply holds names and numbers, never the answer."""
    assert "Hola" not in repr(answer(completion()))


def test_a_last_resort_is_new_each_time():
    """`reply` makes a new `Reply` for each use, without a model and for nothing."""
    resort = reply("No answer right now.")
    one, two = resort.produce(), resort.produce()
    assert one == two == Reply(content="No answer right now.", cost=0.0, billed="no")
    assert one is not two


class TestRequests:
    def test_equal_requests_have_equal_bytes(self):
        """The order of the fields is the order of the bytes, and nothing is added."""
        messages = [{"role": "user", "content": "¿Qué?"}]
        data = encoded("m", messages, {"temperature": 0, "tools": []})
        assert data == encoded("m", messages, {"temperature": 0, "tools": []})
        assert data.decode() == (
            '{"model":"m","messages":[{"role":"user","content":"¿Qué?"}],"temperature":0,"tools":[]}'
        )

    @pytest.mark.parametrize("messages", ["hello", b"bytes", {"role": "user"}])
    def test_messages_are_a_list(self, messages):
        """A text where a conversation belongs is a `TypeError` that shows what it looks like."""
        with pytest.raises(TypeError, match="messages must be a list"):
            encoded("m", messages, {})

    def test_a_stream_is_not_collected_by_accident(self):
        """`stream=True` has no place in a call that collects one answer."""
        with pytest.raises(ValueError, match="stream=True"):
            encoded("m", [], {"stream": True})
        assert b'"stream":true' in encoded("m", [], {}, stream=True)

    def test_a_misspelt_preference_is_named(self):
        """A routing preference that does not exist is a `ValueError` with the one that is meant."""
        with pytest.raises(ValueError, match="'allow_fallbacks' meant"):
            encoded("m", [], {"provider": {"allow_fallback": False}})

    def test_preferences_that_exist_pass(self):
        """Routing preferences that exist pass as they are, and so does what is no object."""
        for provider in ({"order": ["OpenAI"], "zdr": True}, None, "auto"):
            data = json.loads(encoded("m", [], {"provider": provider}))
            assert data["provider"] == provider

    def test_a_model_is_a_name(self):
        """A model that is no text is a `TypeError`."""
        with pytest.raises(TypeError, match="model must be a name"):
            encoded(7, [], {})

    def test_the_texts_of_a_conversation_are_found(self):
        """Every longer text of the messages counts as private, wherever it stands."""
        part = [{"type": "text", "text": "a longer text"}, {"image_url": {"url": "data:image"}}]
        found = texts([{"role": "user", "content": part}])
        assert set(found) == {"a longer text", "data:image"}


class TestMoney:
    def test_costs_add_up(self):
        """Known costs add up, and unknown ones are counted instead."""
        calls = [
            ModelCall(target="a", model="a", billed="no", cost=0.0),
            ModelCall(target="b", model="b", billed="yes", cost=0.5),
            ModelCall(target="c", model="c"),
        ]
        assert (known_cost(calls), unknown_costs(calls)) == (0.5, 1)

    def test_nothing_known_is_not_nothing(self):
        """A chain of which nothing is known has no cost, and one without a call has one of zero."""
        assert known_cost([ModelCall(target="a", model="a")]) is None
        assert known_cost([]) == 0
