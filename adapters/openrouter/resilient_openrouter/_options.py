"""Options are checked where they are given, and the message names the option."""

from __future__ import annotations

from datetime import timedelta
from math import inf

__all__ = ("flag", "positive", "seconds")


def seconds(value: object, option: str) -> float:
    """Return a duration as seconds: finite and above 0.

    >>> seconds(timedelta(minutes=1), "total")
    60.0
    """
    duration = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(
            f"{option} must be seconds above 0 (a number or a timedelta),"
            f" not {type(value).__qualname__}"
        )
    if not 0 < duration < inf:
        raise ValueError(
            f"{option} must be seconds above 0 (a number or a timedelta), not {duration}"
        )
    return float(duration)


def positive(value: float, option: str) -> float:
    """Return a number above 0.

    >>> positive(5, "connect")
    5
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be a number, not {type(value).__qualname__}")
    if not 0 < value < inf:
        raise ValueError(f"{option} must be above 0 and finite, not {value!r}")
    return value


def flag(value: object, option: str) -> bool:
    """Return a switch that is on or off.

    >>> flag(True, "replay_cache")
    True
    """
    if not isinstance(value, bool):
        raise TypeError(f"{option} must be True or False, not {type(value).__qualname__}")
    return value
