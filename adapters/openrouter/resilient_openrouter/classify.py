"""From the evidence of a failed answer to the exception that it is.

The table says which fault it is, the hint how long to wait, and both together
what follows from it. What the server said is kept in one bounded line,
without keys, account ids and whatever the caller calls secret.

The table is data: `OpenRouter(table=(Row(...), *TABLE))` puts a row of yours
before all others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from resilient_openrouter.errors import QuotaExhausted
from resilient_openrouter.evidence import Evidence, request_id
from resilient_openrouter.hints import Hint, read_hint, until_midnight
from resilient_openrouter.rows import Row, Signal
from resilient_openrouter.table import TABLE, TRANSPORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resilient_openrouter.errors import OpenRouterError

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
        "request_id": request_id(evidence.headers),
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
_KEY: Final = re.compile(r"\b(?:sk-[\w.-]+|(?:user|org)_\w+|org-\w{8,})", re.ASCII)
_MESSAGE_LIMIT: Final = 300


def _retryable(evidence: Evidence, row: Row) -> bool:
    if row.signal == "availability" and evidence.availability is not None:
        # One code may be over in a moment or for good: the flag beside it decides.
        said = evidence.availability.retryable
        if said is not None:
            return said
    return row.error.retryable if row.retryable is None else row.retryable


def _hint(evidence: Evidence, row: Row) -> Hint | None:
    daily = row.error is QuotaExhausted
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
