"""Which fault an answer is: one ordered table, the first row that matches wins.

A list of status codes cannot classify the errors of OpenRouter: a 402 may be
over in three seconds, a 403 may be a provider's outage, a 400 may wrap
somebody else's 429. So the rows look at signals, the strongest first:

    availability > limit source, reason, markers > error type
      > previous errors > provider's code > words of the message > status

A row of a stronger signal stands above every row of a weaker one, so stronger
evidence always wins. The last rows match everything: there is no answer
without a fault. What a row does not say, the class it names says.

The table is data: `OpenRouter(table=(Row(...), *TABLE))` puts a row of yours
before all others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from resilient_openrouter import errors as e
from resilient_openrouter.evidence import Evidence, clean
from resilient_openrouter.hints import Hint, read_hint, until_midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from resilient_openrouter.errors import Billed, Health, OpenRouterError

__all__ = (
    "classify",
    "error_from",
    "redact",
    "Row",
    "Signal",
    "TABLE",
    "TRANSPORT",
    "transport_error",
)

Signal = Literal[
    "availability",
    "limit",
    "error_type",
    "previous",
    "provider_code",
    "text",
    "page",
    "status",
    "anything",
]
"""Where a row looks, strongest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of fault: where to look, for what, and what it means.

    `any_of` are the values looked for (none: any value at all). `status` and
    `text`, where given, must fit as well. `least` is the shortest wait that
    makes sense, `cools` how long a target rests when the server names no time.
    """

    signal: Signal
    any_of: frozenset[str] = frozenset()
    status: frozenset[int] = frozenset()
    text: str = ""
    error: type[OpenRouterError]
    says: str | None = None
    scope: str | None = None
    retryable: bool | None = None
    health: Health | None = None
    billed: Billed | None = None
    least: float = 0.0
    cools: float | None = None

    def matches(self, evidence: Evidence) -> bool:
        """Tell whether this row speaks about such an answer."""
        if self.status and evidence.status not in self.status:
            return False
        if self.text and self.text not in evidence.text:
            return False
        found = _SIGNALS[self.signal](evidence)
        return not self.any_of.isdisjoint(found) if self.any_of else bool(found)


def _words(*words: str) -> frozenset[str]:
    return frozenset(words)


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


def _present(*values: str | None) -> frozenset[str]:
    return frozenset(value for value in values if value is not None)


_SIGNALS: Final[Mapping[Signal, Callable[[Evidence], frozenset[str]]]] = {
    "availability": lambda seen: _present(
        None if seen.availability is None else seen.availability.code or "unknown"
    ),
    "limit": lambda seen: _present(seen.limit_source, seen.reason) | seen.markers,
    "error_type": lambda seen: _present(seen.error_type),
    "previous": lambda seen: seen.previous,
    "provider_code": lambda seen: _present(seen.provider_code),
    "text": lambda seen: _present(seen.text or None),
    "page": lambda seen: _present(None if seen.is_json else "page"),
    "status": lambda seen: _present(None if seen.status is None else "status"),
    "anything": lambda _: _present("anything"),
}

# A model that is gone is asked again after a minute: long enough not to be asked by every
# call, short enough to notice a catalogue that changed.
_GONE: Final = 60.0
# The edge counts requests per address and says nothing about when it forgets them.
_EDGE: Final = 10.0

_SERVER: Final = frozenset(range(500, 600))
_EDGE_STATUS: Final = _codes(520, 521, 522, 523, 525, 526, 530)
_SERVER_WORDS: Final = frozenset(str(code) for code in _SERVER)

_NO_PROVIDER: Final = "no provider may serve this model for this request"
_AT_CAPACITY: Final = "the model's providers are at their limit"
_FREE_MINUTE: Final = "the free requests of the minute are used up"
_IMAGE: Final = "an image of the request cannot be used"

TABLE: Final[tuple[Row, ...]] = (
    # What OpenRouter itself knows about who could serve the request.
    Row(signal="availability", any_of=_words("model_not_found"), error=e.ModelNotFound),
    Row(signal="availability", any_of=_words("wrong_endpoint"), error=e.InvalidRequest),
    Row(
        signal="availability",
        any_of=_words("capacity_exhausted"),
        error=e.TooManyRequests,
        scope="model",
        says=_AT_CAPACITY,
    ),
    Row(signal="availability", any_of=_words("temporarily_unavailable"), error=e.Overloaded),
    Row(
        signal="availability",
        any_of=_words("region_restricted"),
        error=e.ModelUnavailable,
        says="the model is not offered in this region",
    ),
    Row(
        signal="availability",
        any_of=_words(
            "no_endpoints",
            "model_deprecated",
            "model_unavailable_upstream",
            "privacy_restricted",
            "constraint_filtered",
            "free_variant_ended",
        ),
        error=e.ModelUnavailable,
        health="cooldown",
        cools=_GONE,
    ),
    Row(signal="availability", error=e.ModelUnavailable, says=_NO_PROVIDER),
    # Whose limit it was.
    Row(signal="limit", any_of=_words("openrouter_free_tier_daily"), error=e.QuotaExhausted),
    Row(
        signal="limit",
        any_of=_words("openrouter_free_tier_per_minute"),
        error=e.TooManyRequests,
        scope="free",
        says=_FREE_MINUTE,
    ),
    Row(
        signal="limit",
        any_of=_words("upstream_provider_shared_pool"),
        error=e.TooManyRequests,
        scope="model",
        says=_AT_CAPACITY,
    ),
    Row(
        signal="limit",
        any_of=_words("openrouter_in_flight_budget", "in_flight_budget_exhausted"),
        error=e.AccountThrottled,
    ),
    Row(signal="limit", any_of=_words("weight_exceeds_budget"), error=e.CostTooHigh),
    Row(
        signal="limit",
        any_of=_words("openrouter_key_limit"),
        error=e.PaymentRequired,
        scope="credential",
        says="the key has reached its spending limit",
    ),
    Row(signal="limit", any_of=_words("openrouter_credits"), error=e.PaymentRequired),
    Row(
        signal="limit",
        any_of=_words("reasons", "flagged_input"),
        status=_codes(400, 403),
        error=e.ContentFiltered,
        billed="no",
    ),
    Row(
        signal="limit",
        any_of=_words("patterns"),
        status=_codes(400, 403),
        error=e.Forbidden,
        health="neutral",
        says="a guardrail of this key blocked the request",
    ),
    # What kind of error OpenRouter calls it; its words may refine the kind.
    Row(
        signal="error_type",
        any_of=_words("invalid_request"),
        text="is not a valid model id",
        error=e.ModelNotFound,
    ),
    Row(
        signal="error_type",
        any_of=_words("rate_limit_exceeded"),
        text="free-models-per-day",
        error=e.QuotaExhausted,
    ),
    Row(
        signal="error_type",
        any_of=_words("rate_limit_exceeded"),
        text="free-models-per-min",
        error=e.TooManyRequests,
        scope="free",
        says=_FREE_MINUTE,
    ),
    Row(
        signal="error_type",
        any_of=_words("context_length_exceeded", "string_too_long"),
        error=e.ContextTooLong,
        billed="no",
    ),
    Row(
        signal="error_type",
        any_of=_words("max_tokens_exceeded", "token_limit_exceeded"),
        error=e.OutputLimit,
    ),
    Row(
        signal="error_type",
        any_of=_words("content_policy_violation", "refusal"),
        error=e.ContentFiltered,
        billed="no",
    ),
    Row(
        signal="error_type",
        any_of=_words(
            "invalid_image",
            "image_too_large",
            "image_too_small",
            "unsupported_image_format",
            "image_download_failed",
            "image_not_found",
        ),
        error=e.InvalidRequest,
        says=_IMAGE,
    ),
    Row(
        signal="error_type",
        any_of=_words("invalid_request", "invalid_prompt", "precondition_failed", "unprocessable"),
        error=e.InvalidRequest,
    ),
    Row(
        signal="error_type",
        any_of=_words("payload_too_large"),
        error=e.InvalidRequest,
        scope="host",
        says="the request is too large for this host",
    ),
    Row(signal="error_type", any_of=_words("authentication"), error=e.AuthenticationFailed),
    Row(signal="error_type", any_of=_words("payment_required"), error=e.PaymentRequired),
    Row(
        signal="error_type",
        any_of=_words("permission_denied"),
        text="is only available on",
        error=e.ModelUnavailable,
    ),
    Row(
        signal="error_type",
        any_of=_words("permission_denied"),
        text="request blocked",
        error=e.Forbidden,
        health="neutral",
        says="a guardrail of this key blocked the request",
    ),
    Row(signal="error_type", any_of=_words("permission_denied"), error=e.Forbidden),
    Row(
        signal="error_type",
        any_of=_words("not_found"),
        error=e.ModelUnavailable,
        health="cooldown",
        cools=_GONE,
    ),
    Row(signal="error_type", any_of=_words("rate_limit_exceeded"), error=e.TooManyRequests),
    Row(signal="error_type", any_of=_words("server", "server_error"), error=e.ServerError),
    Row(signal="error_type", any_of=_words("unmapped"), error=e.ServerError),
    Row(signal="error_type", any_of=_words("provider_unavailable"), error=e.UpstreamError),
    Row(signal="error_type", any_of=_words("provider_overloaded"), error=e.Overloaded),
    Row(signal="error_type", any_of=_words("timeout"), error=e.UpstreamTimeout),
    # What the providers answered that were tried before.
    Row(
        signal="previous",
        any_of=_words("429", "rate_limit_exceeded", "capacity_exhausted"),
        error=e.TooManyRequests,
        says="a provider's rate limit was reached",
    ),
    Row(signal="previous", any_of=_SERVER_WORDS, error=e.UpstreamError),
    # What the provider calls it.
    Row(
        signal="provider_code",
        any_of=_words("context_length_exceeded", "string_too_long"),
        error=e.ContextTooLong,
        billed="no",
    ),
    Row(
        signal="provider_code",
        any_of=_words("engine_overloaded"),
        error=e.TooManyRequests,
        scope="model",
        says=_AT_CAPACITY,
    ),
    Row(
        signal="provider_code",
        any_of=_words("content_policy_violation", "content_filter"),
        error=e.ContentFiltered,
        billed="no",
    ),
    Row(signal="provider_code", any_of=_words("rate_limit_exceeded"), error=e.TooManyRequests),
    # Words, and only together with a status: a message may quote anything.
    Row(
        signal="text",
        text="is not a valid model id",
        status=_codes(400),
        error=e.ModelNotFound,
    ),
    Row(
        signal="text",
        text="maximum context length",
        status=_codes(400, 413),
        error=e.ContextTooLong,
        billed="no",
    ),
    Row(signal="text", text="token limit reached", status=_codes(400), error=e.OutputLimit),
    Row(
        signal="text",
        text="request blocked",
        status=_codes(403),
        error=e.Forbidden,
        health="neutral",
        says="a guardrail of this key blocked the request",
    ),
    Row(
        signal="text",
        text="is only available on",
        status=_codes(403),
        error=e.ModelUnavailable,
    ),
    Row(
        signal="text",
        text="free-models-per-day",
        status=_codes(429),
        error=e.QuotaExhausted,
    ),
    Row(
        signal="text",
        text="free-models-per-min",
        status=_codes(429),
        error=e.TooManyRequests,
        scope="free",
        says=_FREE_MINUTE,
    ),
    Row(
        signal="text",
        text="no available provider meets your routing requirements",
        status=_codes(503),
        error=e.ModelUnavailable,
    ),
    # A page instead of JSON: the edge answered, not OpenRouter.
    Row(
        signal="page",
        status=_codes(429),
        error=e.TooManyRequests,
        scope="host",
        health="failure",
        least=_EDGE,
        says="the edge counts too many requests from this address",
    ),
    # The status, where nothing else was said.
    Row(signal="status", status=_codes(400, 412, 422), error=e.InvalidRequest),
    Row(signal="status", status=_codes(401), error=e.AuthenticationFailed),
    Row(signal="status", status=_codes(402), error=e.PaymentRequired),
    Row(signal="status", status=_codes(403), error=e.Forbidden),
    Row(
        signal="status",
        status=_codes(404, 410),
        error=e.ModelUnavailable,
        health="cooldown",
        cools=_GONE,
    ),
    Row(signal="status", status=_codes(408), error=e.UpstreamTimeout),
    Row(signal="status", status=_codes(409, 425), error=e.Conflict),
    Row(
        signal="status",
        status=_codes(413),
        error=e.InvalidRequest,
        scope="host",
        says="the request is too large for this host",
    ),
    Row(signal="status", status=_codes(429), error=e.TooManyRequests),
    Row(signal="status", status=_codes(500), error=e.ServerError),
    Row(signal="status", status=_codes(502), error=e.UpstreamError),
    Row(signal="status", status=_codes(503, 529), error=e.Overloaded),
    Row(signal="status", status=_codes(504, 524), error=e.UpstreamTimeout),
    Row(signal="status", status=_EDGE_STATUS, error=e.EdgeError),
    Row(signal="status", status=_SERVER, error=e.ServerError),
    Row(
        signal="status",
        status=frozenset(range(300, 400)),
        error=e.EdgeError,
        retryable=False,
        billed="no",
        says="the host redirects, and the key does not travel: is base_url= right?",
    ),
    Row(signal="status", error=e.OpenRouterError, health="neutral", billed="no"),
    Row(signal="anything", error=e.UpstreamError, says="the answer holds an error without a name"),
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

_ROOTS: Final = frozenset({"httpx", "httpx2"})


def classify(evidence: Evidence, table: Iterable[Row] = TABLE) -> Row:
    """Return the first row that matches.

    >>> classify(Evidence(status=502)).error.__name__
    'UpstreamError'
    """
    return next((row for row in table if row.matches(evidence)), TABLE[-1])


def error_from(
    evidence: Evidence,
    *,
    table: Iterable[Row] = TABLE,
    secrets: Sequence[str] = (),
    **facts: Any,
) -> OpenRouterError:
    """Make the exception for a failed answer.

    `secrets` are texts that the server's message must not repeat, such as the
    prompt; `facts` are what only the caller knows: the model, the generation.
    """
    row = classify(evidence, table)
    hint = _hint(evidence, row)
    known: dict[str, Any] = {
        **_meaning(evidence, row, hint),
        "retry_after": None if hint is None else hint.seconds,
        "hint_source": None if hint is None else hint.source,
        "status_code": evidence.status,
        "http_status": evidence.http_status,
        "code": evidence.code,
        "error_type": evidence.error_type,
        "availability": evidence.availability,
        "limit_source": evidence.limit_source,
        "provider": evidence.provider,
        "request_id": clean(evidence.headers.get("request-id")),
        "openrouter_metadata": evidence.metadata,
    }
    message = redact(evidence.message, (*secrets, *evidence.private))
    return row.error(row.says, message=message, **(known | facts))


def transport_error(error: Exception) -> type[OpenRouterError] | None:
    """Return the class for an exception of httpx or httpx2, or `None` for what is a bug.

    They are told by the name of their class and of its package, so that
    neither package is imported, and either may be used.
    """
    for cls in type(error).__mro__:
        if cls.__module__.partition(".")[0] in _ROOTS and cls.__name__ in TRANSPORT:
            return TRANSPORT[cls.__name__]
    return None


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text in one bounded line, without keys, account ids and the given secrets."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if secret:
            text = text.replace(secret, _GONE_TEXT)
    text = _KEY.sub(_GONE_TEXT, text)
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_LIMIT else line[: _MESSAGE_LIMIT - 1] + "…"


_GONE_TEXT: Final = "[redacted]"
_KEY: Final = re.compile(r"\b(?:sk-[\w.-]+|(?:user|org)_\w+)", re.ASCII)
_MESSAGE_LIMIT: Final = 300


def _retryable(evidence: Evidence, row: Row) -> bool:
    if row.signal == "availability" and evidence.availability is not None:
        # One code may be over in a moment or for good: the flag beside it decides.
        said = evidence.availability.retryable
        if said is not None:
            return said
    return row.error.retryable if row.retryable is None else row.retryable


def _hint(evidence: Evidence, row: Row) -> Hint | None:
    daily = row.error is e.QuotaExhausted
    hint = read_hint(evidence.headers, evidence.error, quota=daily)
    if hint is None and daily:
        midnight = until_midnight(evidence.headers)
        hint = None if midnight is None else Hint(midnight, "midnight")
    if hint is None and row.cools is not None and not _retryable(evidence, row):
        hint = Hint(row.cools, "table")
    if row.least and (hint is None or hint.seconds < row.least):
        hint = Hint(row.least, "table")
    return hint


def _meaning(evidence: Evidence, row: Row, hint: Hint | None) -> dict[str, Any]:
    retryable = _retryable(evidence, row)
    health = row.health or row.error.health
    if health == "cooldown" and hint is None:
        # A rest without a length teaches nothing.
        health = "failure" if retryable else "neutral"
    return {
        "retryable": retryable,
        "scope": row.scope or row.error.scope,
        "health": health,
        "billed": row.billed or row.error.billed,
    }
