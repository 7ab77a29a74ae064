"""What an adapter says of its own spans: a description before, attributes after.

A target describes itself once; what it learns while it runs it adds by
`annotate`. Neither can change a call: what is wrong in them is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping  # noqa: TC003 - for whoever asks for the type hints
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, cast, get_args

from resilient._core.options import choice, text

AttributeValue: TypeAlias = str | bool | int | float | tuple[str, ...]

Kind = Literal["internal", "client", "server", "producer", "consumer"]

_64_BITS = 1 << 63


@dataclass(frozen=True, slots=True)
class SpanDescription:
    """What the span of a target is called, its kind, and what is known before it begins.

    An object that stands for a target (the callable of a `Target`, a function
    of `to=`) may have a method `describe()` that returns one. It is asked when
    an attempt begins, while somebody records. Where the target's policies
    allow one attempt only, the description goes onto the span of that attempt;
    else a span of its own is put around all attempts.

    Values are strings, numbers, booleans or tuples of strings; anything else
    is a `TypeError` here.

    >>> SpanDescription("chat small", attributes={"gen_ai.request.model": "small"}).kind
    'client'
    """

    name: str
    kind: Kind = "client"
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict[str, AttributeValue])

    def __post_init__(self) -> None:
        text(self.name, "SpanDescription(name)")
        choice(self.kind, "SpanDescription(kind=)", get_args(Kind))
        for key, value in self.attributes.items():
            if not is_attribute(key, value):
                raise TypeError(
                    f"SpanDescription(attributes=) has {key!r} with a {type(value).__qualname__}:"
                    " names are strings; values strings, numbers, booleans or tuples of strings"
                )
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))


def is_attribute(key: object, value: object) -> bool:
    """Tell whether a span can hold `value` under `key`."""
    if not isinstance(key, str):
        return False
    if isinstance(value, tuple):
        return all(isinstance(part, str) for part in cast("tuple[object, ...]", value))
    if isinstance(value, int):
        # One number beyond 64 bits makes an exporter lose the whole batch.
        return -_64_BITS <= value < _64_BITS
    return isinstance(value, (str, float))


def annotate(attributes: Mapping[str, AttributeValue | None], /) -> None:
    """Add what the code of a target has learned to the span that describes it.

    Called inside an attempt, before it returns or raises: usage, a status
    code, who really answered. The attributes go onto the target's span where
    it has one, else onto the attempt's; with several attempts the last values
    stay. `None` is left out, so that what may be unknown can be passed.

    Nothing happens where nobody records, and it never raises: a value that a
    span cannot hold, or a name that the library sets itself, is dropped, and
    the log says so once, without the value.

    >>> annotate({"http.response.status_code": 429, "gen_ai.response.id": None})
    """
    targets = sys.modules.get("resilient.telemetry._targets")
    if targets is not None:
        targets.annotate(attributes)
