"""Scripts: step i answers call i.

A script is written as a list of steps or as a line of text, one symbol a call:

    x   fails with ConnectionError      .   answers
    ~   hangs                           !   answers, and swallows cancellation

Digits after a symbol are the whole seconds before its outcome (`x2` fails
after 2 s), `*` at the end repeats the last symbol for ever, blanks are for the
reader. Every call after the last step answers at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from resilient.testing._steps import Fail, Hang, Ok, Step, Stubborn

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYMBOL = re.compile(r"([x~.!])(\d*)")


@dataclass(frozen=True, slots=True)
class Script:
    """What the calls of one function come to, in order, and `then` for ever."""

    steps: tuple[Step, ...] = ()
    then: Step = Ok()  # noqa: RUF009 - a frozen value

    def step(self, number: int) -> Step:
        """Return the step that answers call `number`, counted from 1."""
        return self.steps[number - 1] if number <= len(self.steps) else self.then


def script(what: str | Iterable[Step] | Script) -> Script:
    """Make a script of a line of text, of steps, or of a script."""
    if isinstance(what, Script):
        return what
    if isinstance(what, str):
        return _parse(what)
    steps = tuple(what)
    for step in steps:
        if not isinstance(step, get_args(Step)):
            raise TypeError(
                f"a script is made of steps such as Ok() or Fail(OSError), not {step!r}"
            )
    return Script(steps)


def _parse(text: str) -> Script:
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
        return Script(tuple(steps))
    if not steps:
        raise _malformed(text, "has nothing that `*` could repeat")
    return Script(tuple(steps[:-1]), steps[-1])


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


def _malformed(text: str, what: str) -> ValueError:
    return ValueError(
        f"the script {text!r} {what}: write x (fail), ~ (hang), . (ok) or ! (stubborn), seconds"
        " as digits after a symbol, and * at the end to repeat the last one"
    )
