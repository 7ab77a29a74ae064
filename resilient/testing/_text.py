"""The short form of a schedule: one symbol for each call.

    x   fails with ConnectionError      .   answers
    ~   hangs                           !   answers, and swallows cancellation

Digits after a symbol are the whole seconds before its outcome (`x2` fails
after 2 s), `*` at the end repeats the last symbol for ever, blanks are for the
reader. Every call after the last step answers at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resilient.testing._steps import Fail, Hang, Ok, Stubborn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient.testing._steps import Step

_SYMBOL = re.compile(r"([x~.!])(\d*)")


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
            raise _malformed(text, f"cannot be read at {symbols[position:]!r}")
        steps.append(_step(found[1], found[2], text))
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


def _step(symbol: str, digits: str, text: str) -> Step:
    after = int(digits or 0)
    match symbol:
        case "x":
            return Fail(ConnectionError, after)
        case ".":
            return Ok(after=after)
        case "!":
            return Stubborn(after)
        case _:
            if digits:
                raise _malformed(text, "gives a number to `~`, which never ends")
            return Hang()


def _symbol(step: Step) -> str | None:
    if step == Hang():
        return "~"
    after = getattr(step, "after", None)
    if after is None or after != int(after):
        return None
    digits = str(int(after)) if after else ""
    for symbol in "x.!":
        if step == _step(symbol, digits, ""):
            return symbol + digits
    return None


def _malformed(text: str, what: str) -> ValueError:
    return ValueError(
        f"the schedule {text!r} {what}: write x (fail), ~ (hang), . (ok) or ! (stubborn), seconds"
        " as digits after a symbol, and * at the end to repeat the last one"
    )
