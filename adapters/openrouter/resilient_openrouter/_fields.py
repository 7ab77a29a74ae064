"""What the parts of a completion say, whatever shape they came in: text, tools, tokens, money.

Reading is total: a part that is missing, or not what it should be, says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from resilient_openrouter.evidence import mapping
from resilient_openrouter.hints import number
from resilient_openrouter.results import ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter.errors import Billed

__all__ = ("choices_of", "spent", "text_of", "tool_calls_of", "usage_of")


def choices_of(body: Mapping[str, object]) -> list[object]:
    """Return the choices of a body."""
    return list_of(body.get("choices"))


def list_of(value: object) -> list[object]:
    """Return a JSON array, or an empty one for anything else."""
    return cast("list[object]", value) if isinstance(value, list) else []


def text_of(content: object) -> str:
    """Return the text of a content, which some providers send as a list of parts."""
    if isinstance(content, str):
        return content
    parts = (mapping(part).get("text") for part in list_of(content))
    return "".join(part for part in parts if isinstance(part, str))


def tool_calls_of(value: object) -> tuple[ToolCall, ...]:
    """Return tool calls, or fragments of them, as they are."""
    return tuple(cast("ToolCall", call) for call in list_of(value) if isinstance(call, dict))


def usage_of(body: Mapping[str, object]) -> Usage | None:
    """Return the tokens that a body counts."""
    usage = mapping(body.get("usage"))
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


def spent(body: Mapping[str, object]) -> dict[str, Any]:
    """Return cost and `billed` as far as the usage tells; nothing where it does not."""
    usage = mapping(body.get("usage"))
    cost = number(usage.get("cost"))
    if cost is None:
        return {"billed": "no"} if _insured(usage, choices_of(body)) else {}
    billed: Billed = "yes" if cost > 0 else "no"
    return {"cost": cost, "billed": billed}


def _insured(usage: Mapping[str, object], choices: list[object]) -> bool:
    """Tell whether OpenRouter charges nothing: no completion tokens and a blank finish reason."""
    blank = all(not mapping(choice).get("finish_reason") for choice in choices)
    return usage.get("completion_tokens") == 0 and blank


def _count(value: object) -> int | None:
    count = number(value)
    return None if count is None else int(count)
