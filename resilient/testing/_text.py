"""The short form of a schedule: one symbol for each call.

    x   fails with ConnectionError      .   answers
    ~   hangs                           !   answers, and swallows cancellation

In front of the symbol that a stream ends with, `:` is an item, and `/` ends it
without its end marker.

Digits after a symbol are the whole seconds before its outcome (`x2` fails
after 2 s; `~2` has none, and hangs as `~` does), `*` at the end repeats the
last symbol for ever, blanks are for the reader. Every call after the last step
answers at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resilient.testing._steps import Cut, Fail, Hang, Items, Ok, Stubborn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resilient.testing._steps import Step

_SYMBOL = re.compile(r"((?::\d*)*)([x~.!/])(\d*)")
_ITEM = re.compile(r":(\d*)")
_MOST_DIGITS: Final = 309
"""Digits of the largest float."""
_MOST_SHOWN: Final = 200
"""Characters of a text that its error shows."""


def parse(text: str) -> tuple[list[Step], Step | None]:
    """Return the steps of a text, and the one that is repeated for ever if it says so."""
    packed = "".join(text.split())
    repeats = packed.endswith("*")
    symbols = packed.removesuffix("*")
    steps: list[Step] = []
    position = 0
    while position < len(symbols):
        found = _SYMBOL.match(symbols, position)
        if found is None:
            raise _malformed(text, f"cannot be read at {_quoted(symbols[position:])}")
        items = [_seconds(digits, text) for digits in _ITEM.findall(found[1])]
        steps.append(_step(items, found[2], found[3], text))
        position = found.end()
    if not repeats:
        return steps, None
    if not steps:
        raise _malformed(text, "has nothing that `*` could repeat")
    return steps[:-1], steps[-1]


def written(steps: Sequence[Step], then: Step) -> str | None:
    """Return the text of these steps, `None` where it has no symbol for one of them."""
    ends = [] if then == Ok() else [then]
    symbols = [_symbol(step) for step in (*steps, *ends)]
    if None in symbols:
        return None
    return "".join(symbol or "" for symbol in symbols) + "*" * len(ends)


def _seconds(digits: str, text: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _malformed(text, f"has a number of {len(digits)} digits")
    return int(digits or 0)


def _step(items: list[int], symbol: str, digits: str, text: str) -> Step:
    after = _seconds(digits, text)
    if symbol == "/" and digits:
        raise _malformed(text, "gives a number to `/`, which ends at once")
    if items or symbol == "/":
        return _stream(items, symbol, after, text)
    return _SYMBOLS[symbol](after)


_SYMBOLS: Final[Mapping[str, Callable[[int], Fail | Ok | Stubborn | Hang]]] = {
    "x": lambda after: Fail(ConnectionError, after),
    ".": lambda after: Ok(after=after),
    "!": Stubborn,
    "~": Hang,
}


def _stream(items: list[int], symbol: str, after: int, text: str) -> Items:
    ending = Cut() if symbol == "/" else _SYMBOLS[symbol](after)
    if isinstance(ending, Stubborn):
        raise _malformed(text, "has `!` behind items, and a stream cannot end so")
    gaps = set(items[1:])
    if len(gaps) > 1:
        raise _malformed(text, f"has several gaps between items ({sorted(gaps)}): one for all")
    return Items(len(items), max(gaps, default=0), ending, items[0] if items else 0)


def _symbol(step: Step) -> str | None:
    if isinstance(step, Items):
        return _items(step)
    after = getattr(step, "after", None)
    if after is None or after != int(after):
        return None
    for symbol in _SYMBOLS:
        if step == _SYMBOLS[symbol](int(after)):
            return f"{symbol}{int(after) or ''}"
    return None


def _items(step: Items) -> str | None:
    count, seconds = step.n, (step.after, step.gap)
    if not isinstance(count, int) or any(one != int(one) for one in seconds):
        return None
    ending = "/" if isinstance(step.then, Cut) else _symbol(step.then)
    first, gap = (f":{int(one) or ''}" for one in seconds)
    items = first + gap * (count - 1) if count else ""
    # A gap that stands nowhere cannot be read back, nor can a stream of nothing that just ends.
    lost = (step.gap and count < 2) or (step.after and not count)  # noqa: PLR2004 - between two
    plain = not count and ending != "/"
    return None if ending is None or lost or plain else items + ending


def _malformed(text: str, what: str) -> ValueError:
    return ValueError(
        f"the schedule {_quoted(text)} {what}: write x (fail), ~ (hang), . (ok) or ! (stubborn),"
        " seconds as digits after a symbol, and * at the end to repeat the last one; for a stream :"
        " for each item before x, ~, . or / (cut)"
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
