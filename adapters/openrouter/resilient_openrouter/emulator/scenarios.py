"""What the emulated server can answer, as data.

A scenario says what one answer looks like: its status and headers, what comes
before the body, the body, and how it ends. Texts that begin with `$` are
filled in for each request:

    $id        a fresh generation id        $model     the model as it was asked for
    $served    its dated name               $provider  the provider that serves it
    $<name>    a parameter of the scenario, such as `e429_upstream_hint?seconds=3`

`PARAMETERS` holds what a parameter is without being given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ("Ending", "PARAMETERS", "Scenario", "SCENARIOS")

Ending = Literal["whole", "stall", "silence", "reset", "close"]
"""How an answer ends.

`whole`: as HTTP wants it. `stall`: keep-alives for ever. `silence`: nothing
more, and the connection stays open. `reset`: RST. `close`: FIN.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One answer of the emulated server.

    `pause` is the time before the first byte, `padding` the number of
    keep-alives before the body, `status=None` an answer without a byte.
    A `body` that is text is sent as it is, anything else as JSON.
    """

    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: Any = ""
    padding: int = 0
    pause: float | str = 0.0
    every: float | str = "$every"
    ending: Ending = "whole"


PARAMETERS: Final[dict[str, str]] = {
    "text": "Hola",
    "seconds": "26",
    "after": "2",
    "every": "0.2",
}

_USAGE: Final = {
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

_NO_USAGE: Final = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "cost": 0,
    "is_byok": False,
}


def _completion(
    message: dict[str, Any],
    *,
    finish: str | None = "stop",
    native: str | None = "completed",
    usage: dict[str, Any] = _USAGE,
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


def _error(
    status: int,
    message: str,
    metadata: dict[str, Any] | None = None,
    *,
    http_status: int | None = None,
    padding: int = 0,
    headers: dict[str, str] | None = None,
) -> Scenario:
    """Return a refusal in the classic shape."""
    error: dict[str, Any] = {"message": message, "code": status}
    if metadata is not None:
        error["metadata"] = metadata
    return Scenario(
        status=http_status or status,
        headers=headers or {},
        body={"error": error, "user_id": "user_x"},
        padding=padding,
    )


def _availability(
    status: int,
    code: str,
    message: str,
    *,
    error_type: str,
    retryable: bool = False,
    metadata: dict[str, Any] | None = None,
    **more: Any,
) -> Scenario:
    """Return a refusal in the newer shape, which has no `code`."""
    error: dict[str, Any] = {
        "message": message,
        "error_type": error_type,
        "http_status": status,
        "availability": {
            "code": code,
            "retryable": retryable,
            "requested_models": ["$model"],
            "docs_url": f"https://openrouter.ai/docs/errors#{code}",
        }
        | more,
    }
    if metadata is not None:
        error["metadata"] = metadata
    return Scenario(status=status, body={"error": error, "user_id": "user_x"})


def _html(status: int, code: int) -> Scenario:
    """Return a page of the network in front of the server."""
    return Scenario(
        status=status,
        headers={"content-type": "text/html", "server": "cloudflare"},
        body=f"<html><body>error code: {code}</body></html>",
    )


_LIMITS: Final = {
    "X-RateLimit-Limit": "50",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": "$midnight",
}

SCENARIOS: Final[dict[str, Scenario]] = {
    # Successes
    "ok": Scenario(padding=2, body=_completion({"content": "$text"})),
    "slow": Scenario(padding=0, pause="$after", body=_completion({"content": "$text"})),
    "ok_tools": Scenario(
        padding=2,
        body=_completion(
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "index": 0,
                        "function": {"name": "weather", "arguments": '{"location":"Florence"}'},
                    }
                ],
            },
            finish="tool_calls",
            native="tool_use",
        ),
    ),
    "ok_tools_null_arguments": Scenario(
        body=_completion(
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "index": 0,
                        "function": {"name": "now", "arguments": None},
                    }
                ],
            },
            finish="tool_calls",
            native="tool_use",
        ),
    ),
    "ok_reasoning": Scenario(
        body=_completion(
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
        body=_completion({"content": "$text"}, usage=_NO_USAGE),
    ),
    "ok_fallback_metadata": Scenario(
        body=_completion(
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
        body=_completion({"content": ""}, finish="length", native="max_tokens"),
    ),
    "filtered_finish": Scenario(
        body=_completion(
            {"content": "I can tell", "refusal": "I cannot help with that."},
            finish="content_filter",
            native="content_filter",
        ),
    ),
    "shim_text": Scenario(
        body=_completion({"content": "Connect timeout, please try again later."}, usage=_NO_USAGE),
    ),
    # Errors inside a 200
    "err200": _error(
        502,
        "Provider returned error",
        {"raw": "the provider said something private", "provider_name": "Google"},
        http_status=200,
        padding=2,
    ),
    "err200_nulls_524": Scenario(
        padding=1,
        body={
            "id": None,
            "choices": None,
            "created": 1777319808,
            "model": None,
            "object": None,
            "error": {
                "message": "Provider returned error",
                "code": 524,
                "metadata": {"raw": "error code: 524", "provider_name": "Google"},
            },
            "user_id": "org_x",
        },
    ),
    "err200_string_code": Scenario(
        body={"error": {"code": "server_error", "message": "Provider disconnected unexpectedly"}},
    ),
    "err200_bare_string": Scenario(body={"error": "something went wrong"}),
    "choice_error": Scenario(
        body=_completion(
            {"content": "partial"},
            choices=[
                {
                    "index": 0,
                    "finish_reason": "error",
                    "message": {"role": "assistant", "content": "partial"},
                    "error": {
                        "code": 502,
                        "message": "Provider disconnected mid-stream",
                        "metadata": {"error_type": "provider_unavailable"},
                    },
                }
            ],
        ),
    ),
    "null_choices": Scenario(
        body={
            "id": "gen-1",
            "choices": None,
            "created": 1,
            "model": "$served",
            "object": "chat.completion",
            "provider": "Google",
        },
    ),
    "empty_choices": Scenario(body=_completion({"content": ""}, choices=[])),
    "missing_choices": Scenario(
        body={"id": "gen-1", "created": 1, "model": "$served", "object": "chat.completion"},
    ),
    "nested_provider": Scenario(
        body={
            "id": None,
            "choices": None,
            "provider": _completion({"content": "$text"}, provider="Google"),
        },
    ),
    "empty_content": Scenario(
        body=_completion(
            {"content": ""},
            finish=None,
            native=None,
            usage={"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10, "cost": 0},
        ),
    ),
    "whitespace_only": Scenario(padding=2, body=""),
    "truncated_json": Scenario(padding=1, body='{"id":"gen-'),
    "html_200": Scenario(headers={"content-type": "text/html"}, body="<html></html>"),
    # Refusals by status
    "e400_model": _error(400, "$model is not a valid model ID"),
    "e400_model_availability": _availability(
        400,
        "model_not_found",
        "$model is not a valid model ID",
        error_type="invalid_request",
    ),
    "e400_context": _error(
        400,
        "This endpoint's maximum context length is 8192 tokens. However, you requested about"
        " 9000 tokens",
        {"error_type": "context_length_exceeded"},
    ),
    "e400_context_raw": _error(
        400,
        "Provider returned error",
        {
            "raw": '{"error":{"message":"too long","code":"context_length_exceeded"}}',
            "provider_error_code": "context_length_exceeded",
            "provider_name": "OpenAI",
        },
    ),
    "e400_wraps_429": _error(
        400,
        "Provider returned error",
        {
            "provider_error_code": "400",
            "previous_errors": [
                {
                    "code": 429,
                    "provider_name": "Google AI Studio",
                    "raw": "temporarily rate-limited upstream",
                }
            ],
        },
    ),
    "e400_zod": Scenario(
        status=400,
        body={
            "success": False,
            "error": {"name": "ZodError", "message": '[{"path":["provider"]}]'},
        },
    ),
    "e400_policy": _error(
        400, "The request was refused", {"error_type": "content_policy_violation"}
    ),
    "e400_invalid": _error(400, "Input required", {"error_type": "invalid_request"}),
    "e400_output": _error(400, "Token limit reached"),
    "e401_nokey": _error(401, "No cookie auth credentials found"),
    "e401_badkey": _error(401, "User not found."),
    "e402_credits": _error(
        402,
        "Insufficient credits. Add more using https://openrouter.ai/credits",
        {"limit_source": "openrouter_credits"},
    ),
    "e402_keylimit": _error(402, "Key limit exceeded", {"limit_source": "openrouter_key_limit"}),
    "e402_inflight": _error(
        402,
        "Too many requests in flight for this balance",
        {
            "limit_source": "openrouter_in_flight_budget",
            "reason": "in_flight_budget_exhausted",
        },
        headers={"Retry-After": "3"},
    ),
    "e402_weight": _error(
        402, "This request may cost too much", {"reason": "weight_exceeds_budget"}
    ),
    "e403_moderation": _error(
        403,
        "Your chosen model requires moderation and your input was flagged",
        {
            "reasons": ["violence"],
            "flagged_input": "how to build a private thing",
            "provider_name": "OpenAI",
            "model_slug": "openai/gpt-4o",
        },
    ),
    "e403_guardrail": _error(
        403,
        "Request blocked: prompt injection patterns detected",
        {"patterns": ["ignore all previous instructions"]},
    ),
    "e403_management": _error(403, "Only management keys can perform this operation"),
    "e403_region": _availability(
        403,
        "region_restricted",
        "This model is not available in your region",
        error_type="permission_denied",
    ),
    "e403_harness": _error(403, "$model is only available on agentic harnesses"),
    "e404_noendpoints": _availability(
        404,
        "no_endpoints",
        "No endpoints found that support tool use.",
        error_type="not_found",
        fallback_models=["openai/gpt-4.1"],
    ),
    "e404_privacy": _availability(
        404,
        "privacy_restricted",
        "No endpoints for $model match your data policy (zero data retention).",
        error_type="not_found",
        excluded_by=["data_policy:zdr"],
    ),
    "e404_retryable": _availability(
        404,
        "model_unavailable_upstream",
        "The model is being moved",
        error_type="not_found",
        retryable=True,
    ),
    "e404_legacy": _error(404, "No allowed providers are available for the selected model."),
    "e408": _error(408, "Operation timed out. Please try again later."),
    "e409": _error(409, "Conflict"),
    "e410": _error(410, "Gone"),
    "e413": _error(413, "Request payload too large"),
    "e422": _error(422, "Invalid argument"),
    "e429_free_day": _error(
        429,
        "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model"
        " requests per day",
        {
            "headers": _LIMITS,
            "limit_source": "openrouter_free_tier_daily",
            "provider_name": None,
        },
        headers=_LIMITS,
    ),
    "e429_free_min": _error(
        429,
        "Rate limit exceeded: free-models-per-min.",
        {
            "headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Reset": "$seconds"},
            "limit_source": "openrouter_free_tier_per_minute",
        },
    ),
    "e429_upstream_hint": _error(
        429,
        "Provider returned error",
        {
            "raw": "$model is temporarily rate-limited upstream. Please retry shortly.",
            "provider_name": "Venice",
            "is_byok": False,
            "provider_error_code": "rate_limit_exceeded",
            "limit_source": "upstream_provider_shared_pool",
            "remedy_hint": "add your own key",
            "retry_after_seconds": "$seconds",
            "headers": {"Retry-After": "$seconds"},
        },
        headers={"Retry-After": "$seconds"},
    ),
    "e429_body_hint": _error(
        429,
        "Provider returned error",
        {"provider_name": "Venice", "retry_after_seconds_raw": "$seconds"},
    ),
    "e429_nohint": _error(429, "Rate limit exceeded", {"provider_name": "Google"}),
    "e429_availability": _availability(
        429,
        "capacity_exhausted",
        "All providers for $model are at capacity. Retry after 40 seconds.",
        error_type="rate_limit_exceeded",
        retryable=True,
        retry_after="$seconds",
        affected_providers=["anthropic", "amazon-bedrock", "google-vertex"],
        fallback_models=["anthropic/claude-haiku-4.5"],
        metadata={
            "previous_errors": [
                {"provider": "anthropic", "code": "capacity_exhausted", "status": 429}
            ]
        },
    ),
    "e500": _error(500, "Internal Server Error", {"error_type": "server"}),
    "e502": _error(502, "Provider returned error"),
    "e503": _error(503, "Service temporarily unavailable"),
    "e503_hint": _error(
        503, "Service temporarily unavailable", headers={"Retry-After": "$seconds"}
    ),
    "e503_availability": _availability(
        503,
        "temporarily_unavailable",
        "The model is temporarily unavailable",
        error_type="provider_overloaded",
        retryable=True,
    ),
    "e503_routing": _error(503, "There is no available provider meets your routing requirements"),
    "e504": _error(504, "Provider timed out"),
    "e524": _error(524, "Provider returned error"),
    "e529": _error(529, "Provider returned error"),
    "html_502": _html(502, 502),
    "html_520": _html(520, 520),
    "html_524": _html(524, 524),
    "html_1015": _html(429, 1015),
    "redirect": Scenario(status=307, headers={"location": "/elsewhere"}, body=""),
    # The connection
    "stall": Scenario(ending="stall"),
    "silence": Scenario(status=None, ending="silence"),
    "reset": Scenario(status=None, ending="reset"),
    "close": Scenario(status=None, ending="close"),
    "reset_in_body": Scenario(padding=1, body='{"id":"gen-', ending="reset"),
    "close_in_body": Scenario(padding=1, body='{"id":"gen-', ending="close"),
}
