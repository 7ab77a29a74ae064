"""Options are checked once, at the edge, and never again.

Each function takes what a user wrote and the name of the option, and returns
the value in the one form that the rest of the library knows: seconds are a
`float`, counts an `int`. A wrong type is a `TypeError`, a wrong value a
`ValueError` (`None`, NaN and infinity are wrong values, `True` is a wrong
type). Both messages name the option, what it was and what is accepted. Only
numbers, `None` and short texts are shown as they are; of anything else only
the type, because a user's object may hold what must not be printed.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Seconds = float | int | timedelta
"""A duration: a number of seconds or a `timedelta`."""

SHORT = 40
"""The longest text that a message shows."""


def seconds(value: object, option: str, *, zero: bool = False) -> float:
    """Return a duration as seconds: finite and above 0, or from 0 on with `zero`.

    >>> seconds(timedelta(minutes=1), "timeout")
    60.0
    >>> seconds(-1, "timeout")
    Traceback (most recent call last):
    ValueError: timeout must be seconds above 0 (a number or a timedelta), not -1
    """
    accepted = f"seconds {'from 0 on' if zero else 'above 0'} (a number or a timedelta)"
    if isinstance(value, timedelta):
        duration = value.total_seconds()
    else:
        duration = _float(value, option, accepted)
    # Written so that NaN fails it too.
    if not (0 < duration < math.inf or (zero and duration == 0)):
        raise ValueError(_message(option, accepted, value))
    return duration + 0.0  # -0.0 becomes 0.0


def whole(value: object, option: str, *, least: int = 1) -> int:
    """Return a count: a whole number of at least `least`.

    >>> whole(0, "attempts")
    Traceback (most recent call last):
    ValueError: attempts must be a whole number of at least 1, not 0
    """
    accepted = f"a whole number of at least {least}"
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= least:
            return int(value)
        raise ValueError(_message(option, accepted, value))
    # 0.5 and NaN are numbers, only not whole ones.
    error = ValueError if value is None or isinstance(value, float) else TypeError
    raise error(_message(option, accepted, value))


def number(value: object, option: str, *, least: float, most: float = math.inf) -> float:
    """Return a finite number of at least `least` and, where given, at most `most`.

    >>> number(0.5, "factor", least=1)
    Traceback (most recent call last):
    ValueError: factor must be a number of at least 1, not 0.5
    """
    bounds = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
    accepted = f"a number {bounds}"
    found = _float(value, option, accepted)
    if not (math.isfinite(found) and least <= found <= most):
        raise ValueError(_message(option, accepted, value))
    return found + 0.0


def choice(value: object, option: str, allowed: Sequence[str]) -> str:
    """Return one of the texts that are allowed.

    >>> choice("fuzzy", "jitter", ("full", "none"))
    Traceback (most recent call last):
    ValueError: jitter must be 'full' or 'none', not 'fuzzy'
    """
    accepted = either(map(repr, allowed))
    found = _text(value, option, accepted)
    if found not in allowed:
        raise ValueError(_message(option, accepted, value))
    return found


def text(value: object, option: str) -> str:
    """Return a text that is not empty, a name for instance."""
    accepted = "a text that is not empty"
    found = _text(value, option, accepted)
    if not found:
        raise ValueError(_message(option, accepted, value))
    return found


def either(names: Iterable[str]) -> str:
    """Return names as a choice: `a`, `a or b`, `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: object) -> str:
    """Return what a message may show of a value.

    >>> shown(0.5), shown(None), shown("fuzzy"), shown({"key": "secret"})
    ('0.5', 'None', "'fuzzy'", 'a dict')
    """
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return _shown_int(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, timedelta):
        return f"a timedelta of {value.total_seconds():g} s"
    if isinstance(value, str) and len(value) <= SHORT:
        return str.__repr__(value)
    name = type(value).__qualname__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _shown_int(value: int) -> str:
    # Past some thousand digits an int has no decimal form at all.
    return int.__repr__(value) if abs(value) < 10**SHORT else "a number of more than 40 digits"


def _float(value: object, option: str, accepted: str) -> float:
    if value is None:
        raise ValueError(_message(option, accepted, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(_message(option, accepted, value))
    try:
        return float(value)
    except OverflowError:
        raise ValueError(_message(option, accepted, value)) from None


def _text(value: object, option: str, accepted: str) -> str:
    if value is None:
        raise ValueError(_message(option, accepted, value))
    if not isinstance(value, str):
        raise TypeError(_message(option, accepted, value))
    return value


def _message(option: str, accepted: str, value: object) -> str:
    return f"{option} must be {accepted}, not {shown(value)}"
