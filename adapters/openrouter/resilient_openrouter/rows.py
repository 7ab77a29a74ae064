"""One row of the table of faults: where to look in an answer, for what, and what it means.

A row is data and looks at one signal of the evidence. It says nothing about
its place among other rows: that is the table's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_openrouter.errors import Billed, Health, OpenRouterError
    from resilient_openrouter.evidence import Evidence

__all__ = ("Row", "Signal")

Signal = Literal[
    "availability",
    "limit",
    "error_type",
    "previous",
    "provider_code",
    "text",
    "page",
    "address",
    "type",
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
    "address": lambda seen: _present("stranger" if seen.is_stranger else None),
    "type": lambda seen: _present(seen.kind),
    "status": lambda seen: _present(None if seen.status is None else "status"),
    "anything": lambda _: _present("anything"),
}
