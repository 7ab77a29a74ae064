"""From the bytes of an answer to a `Reply`, or to the error that they really are.

A status of 200 means that OpenRouter has accepted the call, not that anybody
answered it: it is sent before a provider has said a word. So a body is a
reply only if it is whole JSON, holds no error, and its choice ended well and
says something. Everything else is raised as what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter.classify import error_from
from resilient_openrouter.errors import (
    ContentFiltered,
    EmptyResponse,
    MalformedResponse,
    OutputLimit,
)
from resilient_openrouter.evidence import clean, decoded, is_success, mapping, read_evidence
from resilient_openrouter.hints import number
from resilient_openrouter.results import Reply, ToolCall, Usage
from resilient_openrouter.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter.errors import Billed, OpenRouterError
    from resilient_openrouter.rows import Row

__all__ = ("Answer",)

# What counts as an answer besides text. Reasoning alone does not: nobody was answered.
_CONTENT: Final = ("tool_calls", "refusal", "audio", "images")
_PAGE_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer as it came, and what is needed to judge it.

    Header names are in lower case. `secrets` are texts that no message may
    repeat; with `keep_raw` the body stays on the error.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    model: str
    table: tuple[Row, ...] = TABLE
    secrets: tuple[str, ...] = field(default=(), repr=False)
    keep_raw: bool = False

    def reply(self) -> Reply:
        """Return the reply, or raise the error that the answer holds instead."""
        payload = decoded(self.body)
        if not is_success(self.status):
            raise self._refusal(payload)
        if not isinstance(payload, dict):
            raise MalformedResponse(_what_is_wrong(self.body), **self._facts(payload))
        body = _unwrapped(mapping(cast("object", payload)))
        choices = _choices(body)
        error, partial = _error_in(body, choices)
        if error is not None:
            raise self._refusal(body, error=error, partial=partial, **_spent(body))
        if not choices:
            raise EmptyResponse(**self._facts(body))
        return self._judged(body, mapping(choices[0]))

    def _refusal(
        self,
        payload: object,
        *,
        error: object = None,
        **facts: Any,
    ) -> OpenRouterError:
        page = "" if payload is not None else self.body[:_PAGE_LIMIT].decode("utf-8", "replace")
        evidence = read_evidence(self.status, self.headers, payload, error=error, text=page)
        known = {
            "model": self.model,
            "generation_id": self._generation(mapping(payload)),
            "raw": self._raw(payload),
        }
        return error_from(evidence, table=self.table, secrets=self.secrets, **(known | facts))

    def _judged(self, body: Mapping[str, object], choice: Mapping[str, object]) -> Reply:
        """Return the reply of a choice that ended well and says something."""
        message = mapping(choice.get("message"))
        finish = choice.get("finish_reason")
        content = _text_of(message.get("content"))
        says_something = bool(content) or any(message.get(each) for each in _CONTENT)
        if finish == "content_filter":
            raise ContentFiltered(partial=content or None, **self._facts(body))
        if not says_something and finish == "length":
            raise OutputLimit(**self._facts(body))
        if not says_something:
            raise EmptyResponse(**self._facts(body))
        cached = self.headers.get("x-openrouter-cache-status", "").upper() == "HIT"
        spent: dict[str, Any] = {"cost": 0.0, "billed": "no"} if cached else _spent(body)
        return Reply(
            content=content,
            model=self.model,
            model_served=clean(body.get("model")),
            provider=clean(body.get("provider")),
            usage=_usage(mapping(body.get("usage"))),
            cost=spent.get("cost"),
            billed=spent.get("billed", "unknown"),
            finish_reason=finish if isinstance(finish, str) else None,
            tool_calls=_tool_calls(message.get("tool_calls")),
            reasoning=_text_of(message.get("reasoning")) or None,
            generation_id=self._generation(body),
            cached=cached,
            raw=body,
        )

    def _facts(self, payload: object) -> dict[str, Any]:
        """Return what the answer tells about an error of our own finding."""
        body = mapping(payload)
        return {
            "http_status": self.status,
            "model": self.model,
            "provider": clean(body.get("provider")),
            "generation_id": self._generation(body),
            "request_id": clean(self.headers.get("request-id")),
            "usage": mapping(body.get("usage")) or None,
            "raw": self._raw(payload),
            **_spent(body),
        }

    def _generation(self, body: Mapping[str, object]) -> str | None:
        return clean(self.headers.get("x-generation-id")) or clean(body.get("id"))

    def _raw(self, payload: object) -> object:
        if not self.keep_raw:
            return None
        return self.body if payload is None else payload


def _unwrapped(body: Mapping[str, object]) -> Mapping[str, object]:
    """Return the completion that some broken answers hold in the place of the provider's name."""
    inner = mapping(body.get("provider"))
    return inner if not body.get("choices") and inner.get("choices") else body


def _choices(body: Mapping[str, object]) -> list[object]:
    choices = body.get("choices")
    return cast("list[object]", choices) if isinstance(choices, list) else []


def _error_in(
    body: Mapping[str, object], choices: list[object]
) -> tuple[object | None, str | None]:
    """Return the error of a success and the text that came before it."""
    for choice in map(mapping, choices):
        if choice.get("error") or choice.get("finish_reason") == "error":
            partial = _text_of(mapping(choice.get("message")).get("content"))
            return body.get("error") or choice.get("error") or {"code": None}, partial or None
    return body.get("error") or None, None


def _spent(body: Mapping[str, object]) -> dict[str, Any]:
    """Return cost and `billed` as far as the usage tells; nothing where it does not."""
    usage = mapping(body.get("usage"))
    cost = number(usage.get("cost"))
    if cost is None:
        return {"billed": "no"} if _insured(usage, _choices(body)) else {}
    billed: Billed = "yes" if cost > 0 else "no"
    return {"cost": cost, "billed": billed}


def _insured(usage: Mapping[str, object], choices: list[object]) -> bool:
    """Tell whether OpenRouter charges nothing: no completion tokens and a blank finish reason."""
    blank = all(not mapping(choice).get("finish_reason") for choice in choices)
    return usage.get("completion_tokens") == 0 and blank


def _usage(usage: Mapping[str, object]) -> Usage | None:
    if not usage:
        return None
    prompt = mapping(usage.get("prompt_tokens_details"))
    completion = mapping(usage.get("completion_tokens_details"))
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        total_tokens=_count(usage.get("total_tokens")),
        cached_tokens=_count(prompt.get("cached_tokens")),
        reasoning_tokens=_count(completion.get("reasoning_tokens")),
    )


def _count(value: object) -> int | None:
    count = number(value)
    return None if count is None else int(count)


def _tool_calls(value: object) -> tuple[ToolCall, ...]:
    if not isinstance(value, list):
        return ()
    calls = cast("list[object]", value)
    return tuple(cast("ToolCall", call) for call in calls if isinstance(call, dict))


def _text_of(content: object) -> str:
    """Return the text of a content, which some providers send as a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (mapping(part).get("text") for part in cast("list[object]", content))
    return "".join(part for part in parts if isinstance(part, str))


def _what_is_wrong(body: bytes) -> str:
    if not body.strip():
        return "the answer is blank: only keep-alives came"
    if body.lstrip()[:1] == b"<":
        return "the answer is a page of HTML"
    return "the answer is not a whole JSON object"
