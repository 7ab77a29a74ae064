"""What an answer says about its failure, gathered from all the places where it may say so.

Errors of OpenRouter come in seven shapes: the classic body with its status;
the same body under a 200; an error inside a choice; an `error.code` that is
text, or an `error` that is; the availability envelope; a validation error of
the request schema; and bytes that are not JSON at all. All of them end here
as one flat value, `Evidence`, which the classification table reads.

Reading is total: any status, headers and body give evidence, never an error.
Texts of the provider may repeat the prompt, so they are looked into and
forgotten: `text` serves the table and reaches no message, log or span.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter.errors import Availability
from resilient_openrouter.hints import lower, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("clean", "decoded", "Evidence", "is_success", "mapping", "read_evidence", "request_id")

_RAW_LIMIT: Final = 64 * 1024
_RAW_LEVELS: Final = 3
_TEXT_LIMIT: Final = 4 * 1024
_LIST_LIMIT: Final = 32
_SUCCESSES: Final = range(200, 300)
_FAILURES: Final = range(400, 1000)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/()+@-]{0,79}", re.ASCII)
_NO_PATH: Final = frozenset({"not found", "resource not found"})
_MARKERS: Final = ("reasons", "flagged_input", "patterns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The signals of one failed answer, from the strongest to the weakest.

    `status` is the status that counts: the HTTP status or, under a 200, the
    code inside the error. `kind` is the error's `type`, a word that is weaker than
    its code. `is_stranger` says that the body is none of the
    API's: something else may be at this address. `error` is the error object
    itself, for the hints.
    """

    status: int | None = None
    http_status: int | None = None
    code: int | str | None = None
    availability: Availability | None = None
    limit_source: str | None = None
    reason: str | None = None
    markers: frozenset[str] = frozenset()
    error_type: str | None = None
    kind: str | None = None
    previous: frozenset[str] = frozenset()
    provider_code: str | None = None
    text: str = field(default="", repr=False)
    is_json: bool = True
    is_stranger: bool = False
    provider: str | None = None
    message: str = field(default="", repr=False)
    private: tuple[str, ...] = field(default=(), repr=False)
    error: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)


def read_evidence(
    http_status: int | None,
    headers: Mapping[str, str],
    payload: object,
    *,
    error: object = None,
    text: str = "",
) -> Evidence:
    """Gather what an answer says about its failure.

    `payload` is the decoded body (`None` where it is not JSON, and then
    `text` is the body itself), `error` the error object where it is not
    simply `payload["error"]`: the one of a choice.
    """
    body = mapping(payload)
    found = _error_object(error or body.get("error") or _bare_error(body))
    metadata = mapping(found.get("metadata"))
    availability = mapping(found.get("availability"))
    code = _code(found.get("code"))
    said = _text(found.get("message"))
    raw = _raw(metadata.get("raw"))
    return Evidence(
        status=_status(http_status, found),
        http_status=http_status,
        code=code,
        availability=_availability(availability) if availability else None,
        limit_source=_symbol(metadata.get("limit_source")),
        reason=_symbol(metadata.get("reason")),
        markers=frozenset(name for name in _MARKERS if metadata.get(name)),
        error_type=_error_type(found, metadata, code),
        kind=_symbol(found.get("type")),
        previous=frozenset(_previous(metadata.get("previous_errors"))),
        provider_code=_provider_code(metadata, raw),
        text=" ".join((said, *_texts(raw), text))[:_TEXT_LIMIT].lower(),
        is_json=payload is not None,
        is_stranger=_is_stranger(http_status, found),
        provider=clean(metadata.get("provider_name")) or clean(body.get("provider")),
        message=said,
        private=tuple(_private(metadata, body)),
        error=found,
        headers=lower(headers),
        metadata=_router_metadata(body.get("openrouter_metadata")),
    )


def is_success(status: int) -> bool:
    """Tell whether a status of HTTP says that all went well."""
    return status in _SUCCESSES


def decoded(body: bytes | str) -> object:
    """Return what a body holds as JSON, or `None`: blank, cut off, HTML, not Unicode, too deep."""
    try:
        return cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return None


def mapping(value: object) -> Mapping[str, object]:
    """Return a JSON object, or an empty one for anything else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def clean(value: object) -> str | None:
    """Return a name of the server's if it looks like one; it may stand in messages then."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id that the server gave to a request, whichever of its names has it."""
    return clean(headers.get("request-id")) or clean(headers.get("x-request-id"))


def _error_object(error: object) -> Mapping[str, object]:
    if isinstance(error, str):
        return {"message": error}
    found = mapping(error)
    if found.get("name") == "ZodError":
        # The message lists the fields and may quote them: only the class is read.
        return {"error_type": "invalid_request", "http_status": 400}
    return found


def _bare_error(body: Mapping[str, object]) -> object:
    """Return the body itself where it is the error, as some servers send it."""
    return body if body.get("object") == "error" else None


def _is_stranger(http_status: int | None, error: Mapping[str, object]) -> bool:
    """Tell whether a body is none of the API's, or one that knows nothing but a missing path."""
    if http_status is None or is_success(http_status):
        return False
    says_more = any(error.get(name) for name in ("metadata", "availability", "error_type"))
    says = _text(error.get("message")).strip(" .").lower()
    return not error or (says in _NO_PATH and not says_more)


def _status(http_status: int | None, error: Mapping[str, object]) -> int | None:
    if http_status is not None and not is_success(http_status):
        return http_status
    for inside in (error.get("code"), error.get("http_status")):
        status = number(inside)
        if status is not None and status == int(status) and int(status) in _FAILURES:
            return int(status)
    return None


def _code(code: object) -> int | str | None:
    as_number = number(code)
    if as_number is not None and as_number == int(as_number):
        return int(as_number)
    return _symbol(code)


def _error_type(
    error: Mapping[str, object], metadata: Mapping[str, object], code: int | str | None
) -> str | None:
    for candidate in (error.get("error_type"), metadata.get("error_type"), code):
        name = _symbol(candidate)
        if name is not None:
            return name
    return None


def _availability(found: Mapping[str, object]) -> Availability:
    retryable = found.get("retryable")
    return Availability(
        code=_symbol(found.get("code")),
        retryable=retryable if isinstance(retryable, bool) else None,
        requested_models=_names(found.get("requested_models")),
        affected_providers=_names(found.get("affected_providers")),
        excluded_by=_names(found.get("excluded_by")),
        fallback_models=_names(found.get("fallback_models")),
    )


def _previous(errors: object) -> Iterator[str]:
    for entry in _list(errors):
        for key in ("code", "status"):
            code = _code(mapping(entry).get(key))
            if code is not None:
                yield str(code)


def _provider_code(metadata: Mapping[str, object], raw: Mapping[str, object]) -> str | None:
    inner = mapping(raw.get("error")) or raw
    candidates = (
        metadata.get("provider_code"),
        metadata.get("provider_error_code"),
        inner.get("code"),
        inner.get("type"),
    )
    for candidate in candidates:
        code = _code(candidate)
        if code is not None:
            return str(code)
    return None


def _raw(value: object) -> Mapping[str, object]:
    """Return what the provider answered: JSON in a string, sometimes in a string again."""
    for _ in range(_RAW_LEVELS):
        if not isinstance(value, str):
            break
        if len(value) > _RAW_LIMIT:
            return {}
        inner = decoded(value)
        if inner is None:
            return {"message": value}
        value = inner
    return mapping(value)


def _texts(raw: Mapping[str, object]) -> Iterator[str]:
    yield _text(raw.get("message"))
    error = raw.get("error")
    yield _text(error) if isinstance(error, str) else _text(mapping(error).get("message"))


def _private(metadata: Mapping[str, object], body: Mapping[str, object]) -> Iterator[str]:
    """Yield what must not be repeated, even where the server's message quotes it."""
    for value in (metadata.get("raw"), metadata.get("flagged_input"), body.get("user_id")):
        if isinstance(value, str) and value:
            yield value
    for value in _list(metadata.get("patterns")):
        if isinstance(value, str) and value:
            yield value


def _router_metadata(value: object) -> Mapping[str, Any] | None:
    """Return `openrouter_metadata` without the data of its pipeline, which quotes prompts."""
    if not isinstance(value, dict):
        return None
    kept = dict(cast("dict[str, Any]", value))
    pipeline = kept.get("pipeline")
    if pipeline is not None:
        kept["pipeline"] = [
            {key: each for key, each in mapping(step).items() if key != "data"}
            for step in _list(pipeline)
        ]
    return kept


def _names(value: object) -> tuple[str, ...]:
    return tuple(name for each in _list(value) if (name := clean(each)) is not None)


def _list(value: object) -> list[object]:
    return cast("list[object]", value)[:_LIST_LIMIT] if isinstance(value, list) else []


def _symbol(value: object) -> str | None:
    name = clean(value)
    return name.lower() if name is not None and " " not in name else None


def _text(value: object) -> str:
    return value[:_TEXT_LIMIT] if isinstance(value, str) else ""
