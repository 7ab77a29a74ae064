"""Six limits of time for one request, because one cannot tell a slow model from a dead one.

| clock | runs from | until | finds |
|---|---|---|---|
| `connect` | the start of the attempt | there is a connection | a host out of reach |
| `first_byte` | the request was sent | the headers come | a server that says nothing |
| `first_content` | the start of the attempt | the first content | a queue behind keep-alives |
| `idle_any` | the last byte | any byte | a dead connection |
| `idle_content` | the last content | more content | a model that has stopped |
| `total` | the start of the attempt | the end | everything |

Content is text, reasoning, a tool call; in a body of JSON any byte but the
blanks before it. Keep-alives, empty deltas and whitespace are none. The idle
clocks stand still while nobody waits for the next item.

`interactive` is for a person who waits, `reasoning` for models that think for
minutes. Both are starting values, to be tuned to what you call.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from resilient_openrouter._options import seconds

__all__ = ("Clocks", "interactive", "reasoning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Limits in seconds (a number or a `timedelta`); each may be left out.

    A value that is no duration above 0 is a `ValueError` or `TypeError` here.

    >>> Clocks(first_content=10, idle_content=20)
    Clocks(first_content=10.0, idle_content=20.0)
    """

    connect: float | None = None
    first_byte: float | None = None
    first_content: float | None = None
    idle_any: float | None = None
    idle_content: float | None = None
    total: float | None = None

    def __post_init__(self) -> None:
        for name in NAMES:
            given: object = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, seconds(given, name))

    def __repr__(self) -> str:
        """Show the clocks that are set."""
        given = {name: getattr(self, name) for name in NAMES}
        shown = (f"{name}={value}" for name, value in given.items() if value is not None)
        return f"Clocks({', '.join(shown)})"


NAMES: Final = tuple(field.name for field in fields(Clocks))

interactive: Final = Clocks(
    connect=5,  # a handshake round the world takes less than one
    first_byte=10,
    first_content=10,
    idle_any=15,
    idle_content=20,
    total=30,
)
"""For a person who waits."""

reasoning: Final = Clocks(
    connect=5,
    first_byte=15,
    first_content=120,  # minutes of comments alone are normal for a model that thinks
    idle_any=30,
    idle_content=60,
    total=600,
)
"""For models that think for minutes before they speak."""
