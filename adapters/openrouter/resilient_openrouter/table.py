"""What OpenRouter's answers mean, as data: the first row that matches wins.

A list of status codes cannot classify the errors of OpenRouter: a 402 may be
over in three seconds, a 403 may be a provider's outage, a 400 may wrap
somebody else's 429. So the rows look at signals, the strongest first:

    availability > limit source, reason, markers > error type
      > previous errors > provider's code > words of the message > status

A row of a stronger signal stands above every row of a weaker one, so stronger
evidence always wins. The last rows match everything: there is no answer
without a fault. What a row does not say, the class it names says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Required, TypedDict, Unpack

from resilient_openrouter import errors as e
from resilient_openrouter.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resilient_openrouter.errors import Billed, Health, OpenRouterError
    from resilient_openrouter.rows import Signal

__all__ = ("TABLE", "TRANSPORT")


class _Meaning(TypedDict, total=False):
    """What several rows say alike."""

    error: Required[type[OpenRouterError]]
    says: str
    scope: str
    retryable: bool
    health: Health
    billed: Billed
    least: float
    cools: float


# A model that is gone is asked again after a minute: long enough not to be asked by every
# call, short enough to notice a catalogue that changed.
_GONE: Final[_Meaning] = {"error": e.ModelUnavailable, "health": "cooldown", "cools": 60.0}
_AT_CAPACITY: Final[_Meaning] = {
    "error": e.TooManyRequests,
    "scope": "model",
    "says": "the model's providers are at their limit",
}
_FREE_MINUTE: Final[_Meaning] = {
    "error": e.TooManyRequests,
    "scope": "free",
    "says": "the free requests of the minute are used up",
}
_FILTERED: Final[_Meaning] = {"error": e.ContentFiltered, "billed": "no"}
_GUARDRAIL: Final[_Meaning] = {
    "error": e.Forbidden,
    "health": "neutral",
    "says": "a guardrail of this key blocked the request",
}
_TOO_LARGE: Final[_Meaning] = {
    "error": e.InvalidRequest,
    "scope": "host",
    "says": "the request is too large for this host",
}


def _on(
    signal: Signal,
    *words: str,
    text: str = "",
    status: Iterable[int] = (),
    **meaning: Unpack[_Meaning],
) -> Row:
    return Row(
        signal=signal,
        any_of=frozenset(words),
        text=text,
        status=frozenset(status),
        **meaning,
    )


TABLE: Final[tuple[Row, ...]] = (
    # What OpenRouter itself knows about who could serve the request.
    _on("availability", "model_not_found", error=e.ModelNotFound),
    _on("availability", "wrong_endpoint", error=e.InvalidRequest),
    _on("availability", "capacity_exhausted", **_AT_CAPACITY),
    _on("availability", "temporarily_unavailable", error=e.Overloaded),
    _on(
        "availability",
        "region_restricted",
        error=e.ModelUnavailable,
        says="the model is not offered in this region",
    ),
    _on(
        "availability",
        "no_endpoints",
        "model_deprecated",
        "model_unavailable_upstream",
        "privacy_restricted",
        "constraint_filtered",
        "free_variant_ended",
        **_GONE,
    ),
    _on("availability", error=e.ModelUnavailable),
    # Whose limit it was.
    _on("limit", "openrouter_free_tier_daily", error=e.QuotaExhausted),
    _on("limit", "openrouter_free_tier_per_minute", **_FREE_MINUTE),
    _on("limit", "upstream_provider_shared_pool", **_AT_CAPACITY),
    _on(
        "limit",
        "openrouter_in_flight_budget",
        "in_flight_budget_exhausted",
        error=e.AccountThrottled,
    ),
    _on("limit", "weight_exceeds_budget", error=e.CostTooHigh),
    _on(
        "limit",
        "openrouter_key_limit",
        error=e.PaymentRequired,
        scope="credential",
        says="the key has reached its spending limit",
    ),
    _on("limit", "openrouter_credits", error=e.PaymentRequired),
    _on("limit", "reasons", "flagged_input", status=(400, 403), **_FILTERED),
    _on("limit", "patterns", status=(400, 403), **_GUARDRAIL),
    # What kind of error OpenRouter calls it; its words may refine the kind.
    _on("error_type", "invalid_request", text="is not a valid model id", error=e.ModelNotFound),
    _on("error_type", "rate_limit_exceeded", text="free-models-per-day", error=e.QuotaExhausted),
    _on("error_type", "rate_limit_exceeded", text="free-models-per-min", **_FREE_MINUTE),
    _on("error_type", "context_length_exceeded", "string_too_long", error=e.ContextTooLong),
    _on("error_type", "max_tokens_exceeded", "token_limit_exceeded", error=e.OutputLimit),
    _on("error_type", "content_policy_violation", "refusal", **_FILTERED),
    _on(
        "error_type",
        "invalid_image",
        "image_too_large",
        "image_too_small",
        "unsupported_image_format",
        "image_download_failed",
        "image_not_found",
        error=e.InvalidRequest,
        says="an image of the request cannot be used",
    ),
    _on(
        "error_type",
        "invalid_request",
        "invalid_prompt",
        "precondition_failed",
        "unprocessable",
        error=e.InvalidRequest,
    ),
    _on("error_type", "payload_too_large", **_TOO_LARGE),
    _on("error_type", "authentication", error=e.AuthenticationFailed),
    _on("error_type", "payment_required", error=e.PaymentRequired),
    _on("error_type", "permission_denied", text="is only available on", error=e.ModelUnavailable),
    _on("error_type", "permission_denied", text="request blocked", **_GUARDRAIL),
    _on("error_type", "permission_denied", error=e.Forbidden),
    _on("error_type", "not_found", **_GONE),
    _on("error_type", "rate_limit_exceeded", error=e.TooManyRequests),
    _on("error_type", "server", "server_error", error=e.ServerError),
    _on("error_type", "unmapped", error=e.ServerError),
    _on("error_type", "provider_unavailable", error=e.UpstreamError),
    _on("error_type", "provider_overloaded", error=e.Overloaded),
    _on("error_type", "timeout", error=e.UpstreamTimeout),
    # What the providers answered that were tried before.
    _on(
        "previous",
        "429",
        "rate_limit_exceeded",
        "capacity_exhausted",
        error=e.TooManyRequests,
        says="a provider's rate limit was reached",
    ),
    _on("previous", *map(str, range(500, 600)), error=e.UpstreamError),
    # What the provider calls it.
    _on("provider_code", "context_length_exceeded", "string_too_long", error=e.ContextTooLong),
    _on("provider_code", "engine_overloaded", **_AT_CAPACITY),
    _on("provider_code", "content_policy_violation", "content_filter", **_FILTERED),
    _on("provider_code", "rate_limit_exceeded", error=e.TooManyRequests),
    # Words, and only together with a status: a message may quote anything.
    _on("text", text="is not a valid model id", status=(400,), error=e.ModelNotFound),
    _on("text", text="maximum context length", status=(400, 413), error=e.ContextTooLong),
    _on("text", text="token limit reached", status=(400,), error=e.OutputLimit),
    _on("text", text="request blocked", status=(403,), **_GUARDRAIL),
    _on("text", text="is only available on", status=(403,), error=e.ModelUnavailable),
    _on("text", text="free-models-per-day", status=(429,), error=e.QuotaExhausted),
    _on("text", text="free-models-per-min", status=(429,), **_FREE_MINUTE),
    _on(
        "text",
        text="no available provider meets your routing requirements",
        status=(503,),
        error=e.ModelUnavailable,
    ),
    # A page instead of JSON: the edge answered, not OpenRouter. It counts requests per address
    # and says nothing about when it forgets them.
    _on(
        "page",
        status=(429,),
        error=e.TooManyRequests,
        scope="host",
        health="failure",
        least=10.0,
        says="the edge counts too many requests from this address",
    ),
    # A body that is none of the API's: a server is there, but not this one.
    _on(
        "address",
        status=(404, 405),
        error=e.EdgeError,
        retryable=False,
        billed="no",
        says="nothing at this address; base_url usually ends in /api/v1",
    ),
    # The status, where nothing else was said.
    _on("status", status=(400, 412, 422), error=e.InvalidRequest),
    _on("status", status=(401,), error=e.AuthenticationFailed),
    _on("status", status=(402,), error=e.PaymentRequired),
    _on("status", status=(403,), error=e.Forbidden),
    _on("status", status=(404, 410), **_GONE),
    _on("status", status=(408,), error=e.UpstreamTimeout),
    _on("status", status=(409, 425), error=e.Conflict),
    _on("status", status=(413,), **_TOO_LARGE),
    _on("status", status=(429,), error=e.TooManyRequests),
    _on("status", status=(500,), error=e.ServerError),
    _on("status", status=(502,), error=e.UpstreamError),
    _on("status", status=(503, 529), error=e.Overloaded),
    _on("status", status=(504, 524), error=e.UpstreamTimeout),
    _on("status", status=(520, 521, 522, 523, 525, 526, 530), error=e.EdgeError),
    _on("status", status=range(500, 600), error=e.ServerError),
    _on(
        "status",
        status=range(300, 400),
        error=e.EdgeError,
        retryable=False,
        billed="no",
        says="the host redirects, and the key does not travel: is base_url= right?",
    ),
    _on("status", error=e.OpenRouterError, health="neutral", billed="no"),
    _on("anything", error=e.UpstreamError, says="the answer holds an error without a name"),
)
"""The faults of OpenRouter, strongest signal first."""

TRANSPORT: Final[Mapping[str, type[OpenRouterError]]] = {
    "ConnectError": e.ConnectFailed,
    "ConnectTimeout": e.ConnectFailed,
    "ProxyError": e.ConnectFailed,
    "PoolTimeout": e.LocalSaturation,
    "ReadError": e.ConnectionLost,
    "WriteError": e.ConnectionLost,
    "CloseError": e.ConnectionLost,
    "ReadTimeout": e.ConnectionLost,
    "WriteTimeout": e.ConnectionLost,
    "RemoteProtocolError": e.ConnectionLost,
}
"""Exceptions of the HTTP client by the name of their class; all others are bugs and pass."""
