"""What a server asks: how long to wait before the next try.

A hint is a number of seconds above 0 and at most a day; anything else is no
hint, and reading one never raises whatever the exception is. It is read from
the exception itself or from the headers of its response.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from resilient._core.shape import attribute, botocore_part, entry, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY = 86_400.0
"""The longest hint that is believed, in seconds."""

MOST_HEADERS = 1000
LONGEST_HEADER = 64


def hint_of(error: BaseException) -> tuple[float, str] | None:
    """Return the server's hint in seconds and where it was read.

    The attribute `retry_after` (its origin is then `hint_source`, if the
    exception says so), else `retry-after-ms` or `Retry-After` of
    `response.headers` or `headers`, in any capitals: seconds, or an HTTP-date
    read against the `Date` of the same response. Without `Date` a date says
    nothing here, because nothing here can read a clock.
    """
    seconds = hint(attribute(error, "retry_after"))
    if seconds is not None:
        return seconds, text_of(attribute(error, "hint_source")) or "retry_after"
    for headers in (
        attribute(attribute(error, "response"), "headers"),
        attribute(error, "headers"),
        entry(botocore_part(error, "ResponseMetadata"), "HTTPHeaders"),
    ):
        found = _hint_of_headers(headers)
        if found is not None:
            return found
    return None


def hint(value: object) -> float | None:
    """Return a number of seconds that can be a hint: above 0 and at most a day.

    >>> hint(5), hint(0), hint(-1), hint(float("nan")), hint("5"), hint(86401)
    (5.0, None, None, None, None, None)
    """
    kind = type(value)
    try:
        if issubclass(kind, timedelta):
            seconds = timedelta.total_seconds(value)  # type: ignore[arg-type]
        elif issubclass(kind, (int, float)) and kind is not bool:
            seconds = float(value)  # type: ignore[arg-type]
        else:
            return None
    except Exception:  # noqa: BLE001 - too large for a float, or a subclass of its own mind
        return None
    # Written so that NaN fails it too.
    return seconds if 0 < seconds <= DAY else None


def _hint_of_headers(headers: object) -> tuple[float, str] | None:
    if headers is None:
        return None
    found = _wanted(headers)
    seconds = hint(_number(found.get("retry-after-ms"), 0.001))
    if seconds is not None:
        return seconds, "retry-after-ms"
    asked = found.get("retry-after")
    seconds = hint(_number(asked, 1))
    if seconds is None:
        seconds = hint(_between(found.get("date"), asked))
    return None if seconds is None else (seconds, "retry-after")


_WANTED = ("retry-after-ms", "retry-after", "date")


def _wanted(headers: object) -> dict[str, object]:
    """Return the headers that matter, by their names in small letters."""
    found: dict[str, object] = {}
    try:
        for pair in islice(_pairs(headers), MOST_HEADERS):
            name, value = pair
            name = _header(name).lower()
            if name in _WANTED:
                found.setdefault(name, value)
    except Exception:  # noqa: BLE001 - what was read before something raised still counts
        return found
    return found


def _pairs(headers: Any) -> Iterable[Any]:  # noqa: ANN401 - somebody else's object
    if issubclass(type(headers), (list, tuple)):
        pairs: Iterable[Any] = headers
        return pairs
    if hasattr(headers, "items"):
        items: Iterable[Any] = headers.items()
        return items
    spellings = [spelled for name in _WANTED for spelled in (name, name.title())]
    return ((name, value) for name in spellings if (value := headers.get(name)) is not None)


def _header(value: object) -> str:
    if issubclass(type(value), bytes):
        return bytes.decode(value, "latin-1")  # type: ignore[arg-type]
    return text_of(value) or ""


_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})\s*", re.ASCII)


def _number(value: object, unit: float) -> float | None:
    matched = _NUMBER.fullmatch(_header(value))
    if matched:
        return float(matched[1]) * unit
    plain = hint(value)
    return None if plain is None else plain * unit


def _between(start: object, end: object) -> float | None:
    begins, ends = _instant(_header(start)), _instant(_header(end))
    if begins is None or ends is None:
        return None
    return (ends - begins).total_seconds()


def _instant(text: str) -> datetime | None:
    if not text or len(text) > LONGEST_HEADER:
        return None
    # Only here: it brings a dozen modules, and few servers send dates.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        found = parsedate_to_datetime(text)
    except Exception:  # noqa: BLE001 - the parser promises nothing about odd texts
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
