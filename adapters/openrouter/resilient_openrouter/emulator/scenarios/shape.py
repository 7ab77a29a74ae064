"""What a scenario can say about one answer of the emulated server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "Ending",
    "Event",
    "Gap",
    "PARAMETERS",
    "Part",
    "Scenario",
    "Switch",
    "Wire",
    "Words",
    "WORDY",
)

Ending = Literal["whole", "stall", "silence", "reset", "close"]
"""How an answer ends.

`whole`: as HTTP wants it. `stall`: keep-alives for ever. `silence`: nothing
more, and the connection stays open. `reset`: RST. `close`: FIN.
"""

Number: TypeAlias = float | str
"""A number, or the name of a parameter that is one: `"$seconds"`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; `body` is its JSON."""

    body: Any


@dataclass(frozen=True, slots=True)
class Words:
    """The words of an answer, an event each, with a gap behind every one.

    `count=None` is the whole text, in two halves where it is a single word; a
    count goes round and round in it; `skip` leaves out the first ones. `event`
    makes the event of a delta, in the shape of OpenRouter where it is not given.
    """

    text: str = "$text"
    count: Number | None = None
    gap: Number = "$gap"
    skip: int = 0
    event: Callable[[dict[str, Any]], Event] | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nothing is sent."""

    seconds: Number = "$gap"


Part: TypeAlias = str | Event | Words | Gap
"""A part of a stream, one HTTP chunk: text as it is, an event, words, a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How the lines of a stream are written, and where its bytes are cut.

    `newline` ends each line; `colon` is what follows the name of a field;
    with `is_folded` the JSON of an event stands on several lines of `data`;
    `before` comes before everything and `around` before each event. `cut` is
    the size of the HTTP chunks in bytes (`None`: a part is a chunk).
    """

    newline: str = "\n"
    colon: str = ": "
    is_folded: bool = False
    before: str = ""
    around: str = ""
    cut: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One answer of the emulated server.

    `pause` is the time before the first byte, `padding` the number of
    keep-alives before the body, `status=None` an answer without a byte.
    A `body` that is text is sent as it is, anything else as JSON; with `parts`
    the answer is a stream instead. A completion is streamed to whoever asks
    for a stream, unless it `is_plain`. With `is_zipped` a body goes as gzip.
    `no_prefill` names the scenario that answers in its place where the last
    message is the assistant's.
    """

    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: Any = ""
    parts: tuple[Part, ...] | None = None
    wire: Wire = field(default_factory=Wire)
    is_plain: bool = False
    is_zipped: bool = False
    padding: int = 0
    pause: Number = 0.0
    every: Number = "$every"
    ending: Ending = "whole"
    no_prefill: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A model that answers with one scenario at first, and then with another.

    The first one is for so many requests of the model, or for so many seconds
    from its first request on.
    """

    first: str = "$fault"
    then: str = "$then"
    times: Number | None = None
    seconds: Number | None = None


PARAMETERS: Final[dict[str, str]] = {
    "text": "Hola",
    "seconds": "26",
    "after": "2",
    "every": "0.2",
    "gap": "0",
    "tokens": "20",
    "times": "2",
    "size": "1",
    "fault": "e503",
    "then": "ok",
    "value": "2",
}
"""The parameters of scenarios, and what each is without being given."""

WORDY: Final = frozenset({"text", "fault", "then", "value"})
"""Those that are no numbers."""
