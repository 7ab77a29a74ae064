"""Answers that are answers, and those that look like one: a 200 with a whole completion."""

from __future__ import annotations

from typing import Any, Final

from resilient_openrouter.emulator.scenarios.shape import Scenario

__all__ = ("completion", "NO_USAGE", "SUCCESSES", "USAGE")

USAGE: Final = {
    "prompt_tokens": 19,
    "completion_tokens": 7,
    "total_tokens": 26,
    "cost": 0.00001255,
    "is_byok": False,
    "cost_details": {
        "upstream_inference_cost": 0.00001255,
        "upstream_inference_prompt_cost": 0.0000038,
        "upstream_inference_completions_cost": 0.00000875,
    },
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}

NO_USAGE: Final = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "cost": 0,
    "is_byok": False,
}


def completion(
    message: dict[str, Any],
    *,
    finish: str | None = "stop",
    native: str | None = "completed",
    usage: dict[str, Any] = USAGE,
    **fields: Any,
) -> dict[str, Any]:
    """Return the body of a success, in the shape and order of the real one."""
    choice = {
        "index": 0,
        "logprobs": None,
        "finish_reason": finish,
        "native_finish_reason": native,
        "message": {"role": "assistant", "refusal": None, "reasoning": None} | message,
    }
    return {
        "id": "$id",
        "object": "chat.completion",
        "created": 1777319808,
        "model": "$served",
        "provider": "$provider",
        "system_fingerprint": None,
        "service_tier": "default",
        "choices": [choice],
        "usage": usage,
    } | fields


def _tool_call(name: str, arguments: str | None) -> dict[str, Any]:
    """Return the body of a success that says nothing and wants a function to be called."""
    call = {
        "id": "call_1",
        "type": "function",
        "index": 0,
        "function": {"name": name, "arguments": arguments},
    }
    return completion(
        {"content": None, "tool_calls": [call]}, finish="tool_calls", native="tool_use"
    )


SUCCESSES: Final[dict[str, Scenario]] = {
    "ok": Scenario(padding=2, body=completion({"content": "$text"})),
    "slow": Scenario(padding=0, pause="$after", body=completion({"content": "$text"})),
    "ok_tools": Scenario(padding=2, body=_tool_call("weather", '{"location":"Florence"}')),
    "ok_tools_null_arguments": Scenario(body=_tool_call("now", None)),
    "ok_reasoning": Scenario(
        body=completion(
            {
                "content": "$text",
                "reasoning": "The user greets; greet back.",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "The user greets; greet back.",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                        "signature": "c2lnbmVk",
                    }
                ],
            }
        ),
    ),
    "ok_cached": Scenario(
        headers={
            "X-OpenRouter-Cache-Status": "HIT",
            "X-OpenRouter-Cache-Age": "12",
            "X-OpenRouter-Cache-TTL": "288",
            "X-OpenRouter-Cache-Source-Id": "gen-1777319700-aaaaaaaaaaaaaaaaaaaa",
        },
        body=completion({"content": "$text"}, usage=NO_USAGE),
    ),
    "ok_fallback_metadata": Scenario(
        body=completion(
            {"content": "$text"},
            openrouter_metadata={
                "requested": "$model",
                "strategy": "fallback",
                "region": "iad",
                "summary": "available=2, selected=Anthropic",
                "attempt": 2,
                "is_byok": False,
                "endpoints": {
                    "total": 2,
                    "available": [
                        {"provider": "OpenAI", "model": "$model", "selected": False},
                        {"provider": "Anthropic", "model": "$served", "selected": True},
                    ],
                },
                "attempts": [
                    {"provider": "OpenAI", "model": "$model", "status": 503},
                    {"provider": "Anthropic", "model": "$served", "status": 200},
                ],
            },
        ),
    ),
    "ok_length_empty": Scenario(
        body=completion({"content": ""}, finish="length", native="max_tokens"),
    ),
    "filtered_finish": Scenario(
        body=completion(
            {"content": "I can tell", "refusal": "I cannot help with that."},
            finish="content_filter",
            native="content_filter",
        ),
    ),
    "shim_text": Scenario(
        body=completion({"content": "Connect timeout, please try again later."}, usage=NO_USAGE),
    ),
}
