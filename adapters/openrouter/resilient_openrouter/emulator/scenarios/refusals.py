"""Answers whose status says that they are none: of OpenRouter, and of the network before it."""

from __future__ import annotations

from typing import Any, Final

from resilient_openrouter.emulator.scenarios.shape import Scenario

__all__ = ("refusal", "REFUSALS")


def refusal(
    status: int,
    message: str,
    metadata: dict[str, Any] | None = None,
    *,
    http_status: int | None = None,
    padding: int = 0,
    headers: dict[str, str] | None = None,
    router: dict[str, Any] | None = None,
) -> Scenario:
    """Return a refusal in the classic shape; `router` is what the router tells of itself."""
    error: dict[str, Any] = {"message": message, "code": status}
    if metadata is not None:
        error["metadata"] = metadata
    return Scenario(
        status=http_status or status,
        headers=headers or {},
        body={"error": error, "user_id": "user_x"}
        | ({} if router is None else {"openrouter_metadata": router}),
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


_ROUTER: Final = {
    "requested": "$model",
    "strategy": "direct",
    "region": "iad",
    "summary": "available=1",
    "attempt": 1,
    "is_byok": False,
    "endpoints": {
        "total": 1,
        "available": [{"provider": "OpenAI", "model": "$model", "selected": False}],
    },
}
_LIMITS: Final = {
    "X-RateLimit-Limit": "50",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": "$midnight",
}

REFUSALS: Final[dict[str, Scenario]] = {
    "e400_model": refusal(400, "$model is not a valid model ID"),
    "e400_model_availability": _availability(
        400,
        "model_not_found",
        "$model is not a valid model ID",
        error_type="invalid_request",
    ),
    "e400_context": refusal(
        400,
        "This endpoint's maximum context length is 8192 tokens. However, you requested about"
        " 9000 tokens",
        {"error_type": "context_length_exceeded"},
    ),
    "e400_context_raw": refusal(
        400,
        "Provider returned error",
        {
            "raw": '{"error":{"message":"too long","code":"context_length_exceeded"}}',
            "provider_error_code": "context_length_exceeded",
            "provider_name": "OpenAI",
        },
    ),
    "e400_wraps_429": refusal(
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
    "e400_policy": refusal(
        400, "The request was refused", {"error_type": "content_policy_violation"}
    ),
    "e400_refusal": refusal(400, "The model declined", {"error_type": "refusal"}),
    "e400_invalid": refusal(400, "Input required", {"error_type": "invalid_request"}),
    "e400_output": refusal(400, "Token limit reached"),
    "e401_nokey": refusal(401, "No cookie auth credentials found"),
    "e401_badkey": refusal(401, "User not found."),
    "e401_noheader": refusal(401, "Missing Authentication header"),
    "e402_credits": refusal(
        402,
        "Insufficient credits. Add more using https://openrouter.ai/credits",
        {"limit_source": "openrouter_credits"},
    ),
    "e402_keylimit": refusal(402, "Key limit exceeded", {"limit_source": "openrouter_key_limit"}),
    "e402_inflight": refusal(
        402,
        "Too many requests in flight for this balance",
        {
            "limit_source": "openrouter_in_flight_budget",
            "reason": "in_flight_budget_exhausted",
        },
        headers={"Retry-After": "3"},
    ),
    "e402_weight": refusal(
        402, "This request may cost too much", {"reason": "weight_exceeds_budget"}
    ),
    "e403_moderation": refusal(
        403,
        "Your chosen model requires moderation and your input was flagged",
        {
            "reasons": ["violence"],
            "flagged_input": "how to build a private thing",
            "provider_name": "OpenAI",
            "model_slug": "openai/gpt-4o",
        },
    ),
    "e403_guardrail": refusal(
        403,
        "Request blocked: prompt injection patterns detected",
        {"patterns": ["ignore all previous instructions"]},
        router=_ROUTER
        | {
            "pipeline": [
                {
                    "type": "guardrail",
                    "name": "regex_pi_detection",
                    "guardrail_id": "grd_abc123",
                    "guardrail_scope": "api-key",
                    "summary": "Blocked: prompt injection detected (1 pattern matched)",
                    "data": {
                        "action": "blocked",
                        "detected": True,
                        "engines": ["regex"],
                        "patterns": ["ignore all previous instructions"],
                    },
                }
            ]
        },
    ),
    "e403_management": refusal(403, "Only management keys can perform this operation"),
    "e403_region": _availability(
        403,
        "region_restricted",
        "This model is not available in your region",
        error_type="permission_denied",
    ),
    "e403_harness": refusal(403, "$model is only available on agentic harnesses"),
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
    "e404_free_ended": _availability(
        404,
        "free_variant_ended",
        "The free period of $model has ended",
        error_type="not_found",
        fallback_models=["openai/gpt-4.1"],
    ),
    "e404_deprecated": _availability(
        404,
        "model_deprecated",
        "$model is deprecated. Use openai/gpt-4.1 instead.",
        error_type="not_found",
        fallback_models=["openai/gpt-4.1"],
    ),
    "e404_retryable": _availability(
        404,
        "model_unavailable_upstream",
        "The model is being moved",
        error_type="not_found",
        retryable=True,
    ),
    "e404_legacy": refusal(
        404,
        "No allowed providers are available for the selected model.",
        router=_ROUTER | {"attempt": 0},
    ),
    "e404_legacy_tools": refusal(404, "No endpoints found that support tool use."),
    "e404_address": refusal(404, "Resource not found"),
    "e408": refusal(408, "Operation timed out. Please try again later."),
    "e409": refusal(409, "Conflict"),
    "e410": refusal(410, "Gone"),
    "e413": refusal(413, "Request payload too large"),
    "e499": refusal(499, "Client closed the request"),
    "e422": refusal(422, "Invalid argument"),
    "e429_free_day": refusal(
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
    "e429_free_min": refusal(
        429,
        "Rate limit exceeded: free-models-per-min.",
        {
            "headers": {"X-RateLimit-Limit": "20", "X-RateLimit-Reset": "$seconds"},
            "limit_source": "openrouter_free_tier_per_minute",
        },
    ),
    "e429_upstream_hint": refusal(
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
    "e429_body_hint": refusal(
        429,
        "Provider returned error",
        {"provider_name": "Venice", "retry_after_seconds_raw": "$seconds"},
    ),
    "e429_nohint": refusal(
        429,
        "Provider returned error",
        {
            "provider_name": "Google",
            "raw": "$model is temporarily rate-limited upstream. Please retry shortly.",
        },
    ),
    "e429_retry_after": refusal(
        429,
        "Rate limit exceeded",
        {"error_type": "rate_limit_exceeded"},
        headers={"Retry-After": "$value"},
    ),
    "e429_retry_after_ms": refusal(
        429,
        "Rate limit exceeded",
        {"error_type": "rate_limit_exceeded"},
        headers={"retry-after-ms": "$value"},
    ),
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
    "e500": refusal(500, "Internal Server Error", {"error_type": "server"}),
    "e502": refusal(502, "Provider returned error"),
    "e503": refusal(503, "Service temporarily unavailable"),
    "e503_hint": refusal(
        503, "Service temporarily unavailable", headers={"Retry-After": "$seconds"}
    ),
    "e503_availability": _availability(
        503,
        "temporarily_unavailable",
        "The model is temporarily unavailable",
        error_type="provider_overloaded",
        retryable=True,
    ),
    "e503_routing": refusal(503, "There is no available provider meets your routing requirements"),
    "e504": refusal(504, "Provider timed out"),
    "e524": refusal(524, "Provider returned error"),
    "e529": refusal(529, "Provider returned error"),
    "html_502": _html(502, 502),
    "html_520": _html(520, 520),
    "html_524": _html(524, 524),
    "html_1015": _html(429, 1015),
    "redirect": Scenario(status=307, headers={"location": "/elsewhere"}, body=""),
}
