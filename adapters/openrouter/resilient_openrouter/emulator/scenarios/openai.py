"""Answers of OpenAI, and of servers that speak like it: Azure, vLLM, Ollama, llama.cpp.

No provider, no cost, no keep-alives. An error has a `type` and a `code` that
is a word or `null`. A stream tells its usage to who asked for it, in a last
event without choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_openrouter.emulator.scenarios.connections import CONNECTIONS
from resilient_openrouter.emulator.scenarios.shape import Event, Part, Scenario, Words
from resilient_openrouter.emulator.scenarios.streams import DONE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("chunked", "OPENAI")

_USAGE: Final = {
    "prompt_tokens": 19,
    "completion_tokens": 7,
    "total_tokens": 26,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_CHUNK: Final = {
    "id": "$id",
    "object": "chat.completion.chunk",
    "created": 1777319808,
    "model": "$served",
    "service_tier": "default",
    "system_fingerprint": "fp_000000000a",
}


def chunked(body: dict[str, Any], asked: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the stream that a whole answer would have come as."""
    choice = body["choices"][0]
    message = choice["message"]
    parts: list[Part] = [_delta({"role": "assistant", "content": "", "refusal": None})]
    if message.get("reasoning_content"):
        parts.append(_delta({"reasoning_content": message["reasoning_content"]}))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        opener = {"index": 0} | call | {"function": function | {"arguments": ""}}
        rest = {"index": 0, "function": {"arguments": function["arguments"]}}
        parts += [_delta({"tool_calls": [opener]}), _delta({"tool_calls": [rest]})]
    if message.get("content"):
        parts.append(Words(message["content"], event=_delta))
    parts.append(_delta({}, choice.get("finish_reason")))
    options = asked.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):  # pyright: ignore[reportUnknownMemberType] - what a client sent
        parts.append(Event(_CHUNK | {"choices": [], "usage": body.get("usage")}))
    return (*parts, DONE)


def _completion(message: dict[str, Any], *, finish: str = "stop") -> dict[str, Any]:
    """Return the body of a success."""
    return {
        "id": "$id",
        "object": "chat.completion",
        "created": 1777319808,
        "model": "$served",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, "annotations": []} | message,
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_000000000a",
    }


def _refusal(
    status: int,
    message: str,
    kind: str | None = "invalid_request_error",
    code: str | int | None = None,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Scenario:
    error = {"message": message, "type": kind, "param": param, "code": code} | more
    return Scenario(status=status, headers=headers or {}, body={"error": error})


def _delta(said: dict[str, Any], finish: str | None = None) -> Event:
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}
    return Event(_CHUNK | {"choices": [choice]})


_HOLA: Final[tuple[Part, ...]] = (
    _delta({"role": "assistant", "content": "", "refusal": None}),
    _delta({"content": "Ho"}),
    _delta({"content": "la"}),
    _delta({}, "stop"),
)
_DIED: Final = {
    "error": {
        "message": "The server had an error while processing your request. Sorry about that!",
        "type": "server_error",
        "param": None,
        "code": None,
    }
}

_SUCCESSES: Final[dict[str, Scenario]] = {
    "ok": Scenario(body=_completion({"content": "$text"})),
    "slow": Scenario(pause="$after", body=_completion({"content": "$text"})),
    "ok_tools": Scenario(
        body=_completion(
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"location":"Florence"}'},
                    }
                ],
            },
            finish="tool_calls",
        )
    ),
    "ok_reasoning": Scenario(
        body=_completion({"content": "$text", "reasoning_content": "The user greets; greet back."})
    ),
    "filtered_finish": Scenario(
        body=_completion({"content": "I can tell"}, finish="content_filter")
    ),
    "empty_content": Scenario(body=_completion({"content": ""})),
    "html_200": Scenario(headers={"content-type": "text/html"}, body="<html></html>"),
}

_REFUSALS: Final[dict[str, Scenario]] = {
    "e400_invalid": _refusal(
        400,
        "Missing required parameter: 'messages'.",
        code="missing_required_parameter",
        param="messages",
    ),
    "e400_context": _refusal(
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in"
        " 9000 tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    ),
    "e400_parameter": _refusal(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        code="unsupported_parameter",
        param="max_tokens",
    ),
    "e400_policy": _refusal(
        400, "Your request was rejected by the safety system.", code="content_policy_violation"
    ),
    "e400_filter": _refusal(  # Azure
        400,
        "The response was filtered due to the prompt triggering the content management policy.",
        None,
        "content_filter",
        param="prompt",
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
    ),
    "e401_nokey": _refusal(401, "You didn't provide an API key."),
    "e401_badkey": _refusal(
        401, "Incorrect API key provided: sk-proj-12345678.", code="invalid_api_key"
    ),
    "e403_region": _refusal(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "e404_model": _refusal(
        404,
        "The model `$model` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
    "e404_not_pulled": _refusal(  # Ollama
        404, 'model "$model" not found, try pulling it first', "not_found_error"
    ),
    "e404_vllm": Scenario(
        status=404,
        body={
            "object": "error",
            "message": "The model `$model` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
    ),
    "e404_address": Scenario(status=404, body={"detail": "Not Found"}),
    "e429_rate": _refusal(
        429,
        "Rate limit reached for $model in organization org-abcdefghijklmnop on tokens per min.",
        "tokens",
        "rate_limit_exceeded",
        headers={"retry-after": "$seconds", "x-ratelimit-remaining-tokens": "0"},
    ),
    "e429_nohint": _refusal(429, "Too many requests", "requests", "rate_limit_exceeded"),
    "e429_quota": _refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "e500": Scenario(status=500, body=_DIED),
    "e502": Scenario(
        status=502, headers={"content-type": "text/html"}, body="<html>502 Bad Gateway</html>"
    ),
    "e503": _refusal(
        503, "The engine is currently overloaded, please try again later", "server_error"
    ),
    "e503_loading": _refusal(503, "Loading model", "unavailable_error", 503),  # llama.cpp
}

_STREAMS: Final[dict[str, Scenario]] = {
    "ok_stream": Scenario(parts=(*_HOLA, DONE)),
    "s_err_first": Scenario(parts=(Event(_DIED),)),
    "s_err_mid": Scenario(parts=(*_HOLA[:2], Event(_DIED))),
    "s_trunc": Scenario(parts=(Words(count="$tokens", event=_delta),)),
    "s_close": Scenario(parts=(Words(count="$tokens", event=_delta),), ending="close"),
    "s_reset": Scenario(parts=(Words(count="$tokens", event=_delta),), ending="reset"),
    "stall_after_tokens": Scenario(parts=(Words(count="$tokens", event=_delta),), ending="silence"),
}

OPENAI: Final[dict[str, Scenario]] = _SUCCESSES | _REFUSALS | _STREAMS | CONNECTIONS
