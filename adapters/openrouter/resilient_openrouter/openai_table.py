"""What the answers of OpenAI mean, and of servers that speak as it does: Azure, vLLM, Ollama.

Their codes are words of their own, so their rows stand before those of
OpenRouter, which know the rest: what a status says, what a connection does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_openrouter import errors as e
from resilient_openrouter.rows import Row
from resilient_openrouter.table import TABLE

if TYPE_CHECKING:
    from resilient_openrouter.errors import OpenRouterError

__all__ = ("OPENAI_TABLE",)


def _code(*words: str, error: type[OpenRouterError], says: str | None = None) -> Row:
    return Row(signal="error_type", any_of=frozenset(words), error=error, says=says)


OPENAI_TABLE: Final[tuple[Row, ...]] = (
    _code("invalid_api_key", "account_deactivated", error=e.AuthenticationFailed),
    _code(
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        error=e.PaymentRequired,
    ),
    Row(signal="type", any_of=frozenset({"insufficient_quota"}), error=e.PaymentRequired),
    _code("model_not_found", error=e.ModelNotFound),
    Row(
        signal="error_type",
        any_of=frozenset({"content_filter"}),
        error=e.ContentFiltered,
        billed="no",
    ),
    # Another model, or another server, may know the parameter: the request is not to blame.
    Row(
        signal="error_type",
        any_of=frozenset({"unknown_parameter", "unsupported_parameter", "unsupported_value"}),
        error=e.InvalidRequest,
        scope="model",
        says="the model does not take a parameter of the request",
    ),
    Row(
        signal="error_type",
        any_of=frozenset({"unsupported_country_region_territory"}),
        error=e.ModelUnavailable,
        scope="host",
        says="this server does not serve the region",
    ),
    Row(
        signal="text",
        text="does not exist",
        status=frozenset({404}),
        error=e.ModelNotFound,
    ),
    Row(
        signal="text",
        text="try pulling it first",
        status=frozenset({404}),
        error=e.ModelNotFound,
        says="the server does not have this model yet",
    ),
    Row(
        signal="address",
        status=frozenset({404, 405}),
        error=e.EdgeError,
        retryable=False,
        billed="no",
        says="nothing at this address; base_url usually ends in /v1",
    ),
    *TABLE[:-1],
    # Behind all that a status says: inside a stream there is none.
    Row(signal="type", any_of=frozenset({"server_error"}), error=e.ServerError),
    TABLE[-1],
)
"""The faults of OpenAI and its like, strongest signal first."""
