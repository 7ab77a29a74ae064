"""From the bytes of an answer to a `Reply`, or to the error that they really are.

A status of 200 means that OpenRouter has accepted the call, not that anybody
answered it: it is sent before a provider has said a word. So a body is a
reply only if it is whole JSON, holds no error, and its choice ended well and
says something. Everything else is raised as what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter._fields import choices_of, spent, text_of, tool_calls_of, usage_of
from resilient_openrouter._head import Head
from resilient_openrouter.errors import (
    ContentFiltered,
    EmptyResponse,
    MalformedResponse,
    OutputLimit,
)
from resilient_openrouter.evidence import clean, decoded, is_success, mapping
from resilient_openrouter.results import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter.errors import OpenRouterError

__all__ = ("Answer", "judged", "reply_of")

# What counts as an answer besides text. Reasoning alone does not: nobody was answered.
_CONTENT: Final = ("tool_calls", "refusal", "audio", "images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Head):
    """A whole answer as it came, and what is needed to judge it."""

    body: bytes = field(repr=False)

    @classmethod
    def of(cls, head: Head, body: bytes) -> Answer:
        """Return the answer of a head and a body."""
        return cls(**{each.name: getattr(head, each.name) for each in fields(head)}, body=body)

    def payload(self) -> Mapping[str, object]:
        """Return the JSON object of a success, or raise what it is instead."""
        payload = decoded(self.body)
        if not is_success(self.status):
            raise self.refusal(payload, page=b"" if payload is not None else self.body)
        if not isinstance(payload, dict):
            raw = self.body if payload is None else payload
            raise MalformedResponse(_what_is_wrong(self.body), **self.facts({}, raw))
        return mapping(cast("object", payload))

    def reply(self) -> Reply:
        """Return the reply, or raise the error that the answer holds instead."""
        body = _unwrapped(self.payload())
        choices = choices_of(body)
        error, partial = _error_in(body, choices)
        if error is not None:
            raise self.refusal(body, error=error, partial=partial, **spent(body))
        if not choices and isinstance(body.get("provider"), dict):
            raise MalformedResponse(
                "the answer holds a part of a completion in the place of the provider's name",
                **self.facts(body, body),
            )
        if not choices:
            raise EmptyResponse(**self.facts(body, body))
        kind, partial = judged(mapping(choices[0]))
        if kind is not None:
            raise kind(partial=partial, **self.facts(body, body))
        return reply_of(self, body)


def judged(
    choice: Mapping[str, object],
) -> tuple[type[OpenRouterError] | None, str | None]:
    """Return what is wrong with a choice that ended without an error, and the text it holds.

    Nothing is wrong where it ended well and says something.
    """
    message = mapping(choice.get("message"))
    finish = choice.get("finish_reason")
    text = text_of(message.get("content"))
    if finish == "content_filter":
        return ContentFiltered, text or None
    if text or any(message.get(each) for each in _CONTENT):
        return None, None
    return (OutputLimit if finish == "length" else EmptyResponse), None


def reply_of(head: Head, body: Mapping[str, Any], **more: Any) -> Reply:
    """Return the reply that the first choice of a body is."""
    choice = mapping(choices_of(body)[0])
    message = mapping(choice.get("message"))
    finish = choice.get("finish_reason")
    spent = head.spent(body)
    return Reply(
        content=text_of(message.get("content")),
        model=head.model,
        model_served=clean(body.get("model")),
        provider=clean(body.get("provider")),
        usage=usage_of(body),
        cost=spent.get("cost"),
        billed=spent.get("billed", "unknown"),
        finish_reason=finish if isinstance(finish, str) else None,
        tool_calls=tool_calls_of(message.get("tool_calls")),
        reasoning=text_of(message.get("reasoning")) or None,
        generation_id=head.generation(body),
        cached=head.is_cached,
        raw=body,
        **more,
    )


def _unwrapped(body: Mapping[str, object]) -> Mapping[str, object]:
    """Return the completion that some broken answers hold in the place of the provider's name."""
    inner = mapping(body.get("provider"))
    return inner if not body.get("choices") and inner.get("choices") else body


def _error_in(
    body: Mapping[str, object], choices: list[object]
) -> tuple[object | None, str | None]:
    """Return the error of a success and the text that came before it."""
    for choice in map(mapping, choices):
        if choice.get("error") or choice.get("finish_reason") == "error":
            partial = text_of(mapping(choice.get("message")).get("content"))
            return body.get("error") or choice.get("error") or {"code": None}, partial or None
    return body.get("error") or None, None


def _what_is_wrong(body: bytes) -> str:
    if not body.strip():
        return "the answer is blank: only keep-alives came"
    if body.lstrip()[:1] == b"<":
        return "the answer is a page of HTML"
    return "the answer is not a whole JSON object"
