"""How long the server asks us to wait, and where it said so.

A hint can stand in eight places, and which of them are filled depends on who
refused: OpenRouter, its edge, or a provider behind it. `SOURCES` lists the
places in the order of trust; the first *valid* one wins and keeps its name.

Valid means more than 0 and at most a day: zero and the past would be a tight
loop, and nobody means a week. Dates and resets are read against the answer's
own `Date`, so a wrong local clock changes nothing, and without a `Date` they
are no hint. Any bytes and any JSON give a hint or `None`, never an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ("DAY", "Hint", "lower", "number", "read_hint", "SOURCES", "until_midnight")

DAY: Final = 86400.0

_NUMBER = re.compile(r"\s*[+]?\d{1,32}(?:\.\d{0,32})?\s*", re.ASCII)
_EPOCH_SECONDS: Final = 1e9  # below: a difference in seconds, since 2001 is no reset
_EPOCH_MILLISECONDS: Final = 1e11  # above: milliseconds, since the year 5138 is no reset


@dataclass(frozen=True, slots=True)
class Hint:
    """A wait in seconds, and the name of the place where it was read."""

    seconds: float
    source: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """The parts of an answer that hints are read from; header names in lower case."""

    headers: Mapping[str, str]
    availability: Mapping[str, object]
    metadata: Mapping[str, object]
    echoed: Mapping[str, str]
    date: float | None


def _delta(value: object, _date: float | None) -> float | None:
    return number(value)


def _milliseconds(value: object, _date: float | None) -> float | None:
    wait = number(value)
    return None if wait is None else wait / 1000


def _delta_or_date(value: object, date: float | None) -> float | None:
    wait = number(value)
    if wait is None and date is not None and isinstance(value, str):
        at = _http_date(value)
        wait = None if at is None else at - date
    return wait


def _reset(value: object, date: float | None) -> float | None:
    at = number(value)
    if at is None or at < _EPOCH_SECONDS:
        return at
    if date is None:
        return None
    return (at / 1000 if at > _EPOCH_MILLISECONDS else at) - date


SOURCES: Final[
    tuple[
        tuple[str, Callable[[_Answer], object], Callable[[object, float | None], float | None]], ...
    ]
] = (
    ("retry-after-ms", lambda a: a.headers.get("retry-after-ms"), _milliseconds),
    ("retry-after", lambda a: a.headers.get("retry-after"), _delta_or_date),
    ("availability.retry_after", lambda a: a.availability.get("retry_after"), _delta),
    (
        "metadata.retry_after_seconds_raw",
        lambda a: a.metadata.get("retry_after_seconds_raw"),
        _delta,
    ),
    ("metadata.retry_after_seconds", lambda a: a.metadata.get("retry_after_seconds"), _delta),
    ("metadata.headers.retry-after", lambda a: a.echoed.get("retry-after"), _delta_or_date),
    ("x-ratelimit-reset", lambda a: a.headers.get("x-ratelimit-reset"), _reset),
    ("metadata.headers.x-ratelimit-reset", lambda a: a.echoed.get("x-ratelimit-reset"), _reset),
)
"""(name, where it stands, how it is read), most trusted first."""


def read_hint(
    headers: Mapping[str, str], error: Mapping[str, object], *, quota: bool = False
) -> Hint | None:
    """Return the first valid hint of an answer whose `error` object is given.

    For a daily `quota` only the resets count: providers have been seen to ask
    for half a minute when the day's requests were gone.

    >>> read_hint({"Retry-After": "26"}, {})
    Hint(seconds=26.0, source='retry-after')
    """
    answer = _answer(headers, error)
    return next(_hints(answer, quota=quota), None)


def until_midnight(headers: Mapping[str, str]) -> float | None:
    """Return the seconds from the answer's `Date` to 00:00 UTC, when daily quotas start anew."""
    date = _http_date(lower(headers).get("date"))
    return None if date is None else DAY - date % DAY


def lower(headers: object) -> dict[str, str]:
    """Return the text entries of a mapping with their names in lower case."""
    if not hasattr(headers, "items"):
        return {}
    items = cast("Mapping[object, object]", headers).items()
    return {str(name).lower(): str(value) for name, value in items if _is_plain(value)}


def number(value: object) -> float | None:
    """Return a plain non-negative number, also from text, or `None`."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Integers of JSON can be too large for a float, and NaN compares as false.
    return float(value) if 0 <= value <= _LARGEST else None


_LARGEST: Final = 1e18


def _hints(answer: _Answer, *, quota: bool) -> Iterator[Hint]:
    for name, find, read in SOURCES:
        if quota and not name.endswith("reset"):
            continue
        wait = read(find(answer), answer.date)
        if wait is not None and 0 < wait <= DAY:
            yield Hint(wait, name)


def _answer(headers: Mapping[str, str], error: Mapping[str, object]) -> _Answer:
    plain = lower(headers)
    metadata = _object(error.get("metadata"))
    return _Answer(
        headers=plain,
        availability=_object(error.get("availability")),
        metadata=metadata,
        echoed=lower(metadata.get("headers")),
        date=_http_date(plain.get("date")),
    )


def _http_date(text: str | None) -> float | None:
    if text is None or len(text) > _LONGEST_DATE:
        return None
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


_LONGEST_DATE: Final = 64


def _object(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or number(value) is not None
