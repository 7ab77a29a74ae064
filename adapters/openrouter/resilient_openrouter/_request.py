"""A request of a completion, checked where the server's own complaint would mislead.

Everything passes through untouched, in the order in which it was given, and
equal requests give equal bytes. Only three mistakes are caught here: messages
that are a text, a stream where one answer is awaited, and a misspelt
routing preference, which the server refuses as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypeAlias, cast

__all__ = ("Messages", "encoded", "texts")

Messages: TypeAlias = Sequence[Mapping[str, Any]]
"""A conversation: `[{"role": "user", "content": "..."}]`."""

_PROVIDER: Final = frozenset(
    {
        "allow_fallbacks",
        "data_collection",
        "enforce_distillable_text",
        "ignore",
        "max_price",
        "only",
        "order",
        "preferred_max_latency",
        "preferred_min_throughput",
        "quantizations",
        "require_parameters",
        "sort",
        "zdr",
    }
)
# A shorter text is no secret: taking it out of a message would make the message unreadable.
_SECRET_LENGTH: Final = 8
_MOST_TEXTS: Final = 256


def encoded(
    model: str,
    messages: Messages,
    fields: Mapping[str, Any],
    *,
    stream: bool = False,
    routing: bool = True,
) -> bytes:
    """Return the bytes of a request, for one answer or for a stream of it.

    With `routing` the field `provider` holds preferences of routing.
    """
    if not isinstance(model, str):
        raise TypeError(f"the model must be a name, not {type(model).__qualname__}")
    if isinstance(messages, str | bytes | Mapping):
        raise TypeError(
            'messages must be a list such as [{"role": "user", "content": "..."}],'
            f" not a {type(messages).__qualname__}"
        )
    if stream:
        fields = {"stream": True} | dict(fields) | {"stream": True}
    elif fields.get("stream"):
        raise ValueError("stream=True: one answer is collected here; stream(...) opens one")
    if routing:
        _check_provider(fields.get("provider"))
    body = {"model": model, "messages": list(messages), **fields}
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def texts(messages: Messages) -> tuple[str, ...]:
    """Return the texts of a conversation that no message of an error may repeat."""
    found: list[str] = []
    rest: list[object] = list(messages)
    while rest and len(found) < _MOST_TEXTS:
        part = rest.pop()
        if isinstance(part, str) and len(part) >= _SECRET_LENGTH:
            found.append(part)
        elif isinstance(part, Mapping):
            rest.extend(cast("Mapping[object, object]", part).values())
        elif isinstance(part, list | tuple):
            rest.extend(cast("Sequence[object]", part))
    return tuple(found)


def _check_provider(provider: object) -> None:
    if not isinstance(provider, Mapping):
        return
    for key in cast("Mapping[object, object]", provider):
        if key not in _PROVIDER:
            near = get_close_matches(str(key), _PROVIDER, n=1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            raise ValueError(f"provider has no preference {key!r}{hint}")
