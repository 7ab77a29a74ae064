"""From a scenario to the bytes of one answer: places filled in, streams cut into chunks."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Final, cast

from resilient_openrouter.emulator.scenarios.shape import PARAMETERS, WORDY, Event, Gap, Words
from resilient_openrouter.emulator.scenarios.streams import delta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resilient_openrouter.emulator.scenarios.shape import Number, Part, Wire

__all__ = ("body_of", "chunks_of", "filled", "number_of", "text_of", "words_of")

_NUMERIC: Final = frozenset(PARAMETERS) - WORDY
_FILLER: Final = "$filler"
_PLACE = re.compile(r"\$([a-z]+)")


def number_of(value: Number, places: Mapping[str, str]) -> float:
    """Return a number, or what stands in its place."""
    return float(places[value.removeprefix("$")]) if isinstance(value, str) else value


def text_of(template: str, places: Mapping[str, str]) -> str:
    """Fill the places of a text."""
    return _PLACE.sub(lambda found: places.get(found[1], found[0]), template)


def body_of(body: object, places: Mapping[str, str]) -> bytes:
    """Return the bytes of a body: text as it is, anything else as JSON."""
    whole = filled(body, places)
    return whole.encode() if isinstance(whole, str) else _json(whole).encode()


def chunks_of(
    parts: tuple[Part, ...], wire: Wire, places: Mapping[str, str]
) -> Iterator[bytes | float]:
    """Yield the chunks of a stream, and between them the seconds in which nothing is sent."""
    before = wire.before
    for piece in _pieces(parts, wire, places):
        if not isinstance(piece, str):
            yield piece
            continue
        data = (before + piece).replace("\n", wire.newline).encode()
        before = ""
        size = wire.cut or len(data)
        for at in range(0, len(data), size):
            yield data[at : at + size]


def _pieces(
    parts: tuple[Part, ...], wire: Wire, places: Mapping[str, str]
) -> Iterator[str | float]:
    for part in parts:
        if isinstance(part, Gap):
            yield number_of(part.seconds, places)
        elif isinstance(part, Words):
            gap, event = number_of(part.gap, places), part.event or delta
            for word in words_of(part, places):
                yield _event(event(word), wire, places)
                yield gap
        elif isinstance(part, Event):
            yield _event(part, wire, places)
        else:
            yield text_of(part, places)


def words_of(words: Words, places: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the deltas of a text; the first one has the role."""
    text = text_of(words.text, places)
    pieces = [word + " " for word in text.split(" ")]
    found: Iterator[str]
    if words.count is not None:
        found = itertools.islice(itertools.cycle(pieces), int(number_of(words.count, places)))
    elif len(pieces) == 1:
        half = len(text) // 2
        found = iter((text[:half], text[half:]))
    else:
        found = itertools.islice((*pieces[:-1], pieces[-1][:-1]), words.skip, None)
    for number, piece in enumerate(found):
        yield {"content": piece} if number else {"role": "assistant", "content": piece}


def _event(event: Event, wire: Wire, places: Mapping[str, str]) -> str:
    whole = filled(event.body, places)
    text = json.dumps(whole, ensure_ascii=False, indent=1) if wire.is_folded else _json(whole)
    lines = (f"data{wire.colon}{line}\n" for line in text.split("\n"))
    return f"{wire.around}{''.join(lines)}\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def filled(value: object, places: Mapping[str, str], *, plain: bool = False) -> object:
    """Fill the places of a template; a place for a number becomes one, except in headers."""
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {
            name: filled(each, places, plain=plain or name == "headers") for name, each in items
        }
    if isinstance(value, list):
        return [filled(each, places, plain=plain) for each in cast("list[object]", value)]
    if not isinstance(value, str):
        return value
    if value == _FILLER:
        return "x" * int(float(places["size"]) * 1_000_000)
    if value.startswith("$") and value[1:] in _NUMERIC and not plain:
        number = float(places[value[1:]])
        return int(number) if number.is_integer() else number
    return text_of(value, places)
