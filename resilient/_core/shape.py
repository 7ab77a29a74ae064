"""What an exception shows, read without trusting it.

An exception is somebody else's object: its properties may raise, it may be a
mock that answers everything, its class may lie about itself. The functions
here never raise whatever they are given and never take a value of the wrong
type for an answer: what cannot be read is not there.
"""

from __future__ import annotations

import errno
import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DAY = 86_400.0
"""The longest hint that is believed, in seconds."""

MOST_LEAVES = 1000
"""The largest exception group that is looked through."""

MOST_HEADERS = 1000
LONGEST_HEADER = 64

CONNECT_FAILED = "connect failed"
"""The code of an `OSError` that tells of several refused addresses and so has no `errno`."""

# asyncio, anyio and trio: the text is all that these errors carry.
_CONNECT_TEXTS = ("Multiple exceptions: ", "All connection attempts failed", "all attempts to conn")

_members: Callable[[BaseException], tuple[BaseException, ...]]
_members = vars(BaseExceptionGroup)["exceptions"].__get__

_arguments: Callable[[BaseException], tuple[object, ...]] = vars(BaseException)["args"].__get__


def attribute(thing: object, name: str) -> Any:  # noqa: ANN401 - somebody else's object
    """Return an attribute, `None` where there is none or reading it fails."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None


def entry(mapping: object, key: str) -> Any:  # noqa: ANN401 - somebody else's object
    """Return what a `dict` holds under `key`, `None` for anything that is no `dict`."""
    try:
        return cast("Any", mapping).get(key) if issubclass(type(mapping), dict) else None
    except Exception:  # noqa: BLE001 - a subclass may raise anything
        return None


def text_of(value: object) -> str | None:
    """Return a plain text, `None` for anything else and for the empty one."""
    return str.__str__(cast("Any", value)) or None if issubclass(type(value), str) else None


def whole_of(value: object) -> int | None:
    """Return a plain whole number, `None` for anything else; `True` is none."""
    kind = type(value)
    if kind is bool or not issubclass(kind, int):
        return None
    return int.__int__(value)  # type: ignore[arg-type]


def is_group(error: BaseException) -> bool:
    """Say whether an exception really is a group: `isinstance` believes `__class__`."""
    return issubclass(type(error), BaseExceptionGroup)


def leaves(group: BaseException) -> list[BaseException] | None:
    """Return the exceptions of a group that are no groups, in order, each once.

    `None` for a group of more than `MOST_LEAVES`. The members are read from
    the group itself and not from an attribute that a subclass can replace:
    they were there before the group was, so no walk comes back to its start.
    """
    found: list[BaseException] = []
    seen = {id(group)}
    waiting = [group]
    while waiting:
        error = waiting.pop()
        if is_group(error):
            members = [member for member in _members(error) if id(member) not in seen]
            seen.update(map(id, members))
            # A list of many references to one exception is one leaf.
            waiting += {id(member): member for member in reversed(members)}.values()
        else:
            found.append(error)
        if len(seen) > MOST_LEAVES:
            return None
    return found


def own_retryable(error: BaseException) -> bool | None:
    """Return what the exception itself says about another try."""
    found = attribute(error, "retryable")
    return found if type(found) is bool else None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception carries, in one of the usual places."""
    for read in _STATUSES:
        found = whole_of(read(error))
        if found is not None and 100 <= found < 600:  # noqa: PLR2004 - what HTTP defines
            return found
    return None


_STATUSES: tuple[Callable[[BaseException], object], ...] = (
    lambda error: attribute(error, "status_code"),
    lambda error: attribute(error, "status"),
    lambda error: attribute(attribute(error, "response"), "status_code"),
    lambda error: entry(_botocore(error, "ResponseMetadata"), "HTTPStatusCode"),
)


def codes_of(error: BaseException) -> Iterator[str | int | None]:
    """Give the codes of an exception, the most telling first; `None` alone if it has none.

    In this order: SQLSTATE (whole, then its class of two characters), the
    error code of botocore, `code` (a value, or a method as in gRPC), `type`
    (as in openai and anthropic), `errno` (name, then number), HTTP status.
    """
    any_code = False
    for code in _codes(error):
        if code is not None:
            any_code = True
            yield code
    if not any_code:
        yield None


def _codes(error: BaseException) -> Iterator[str | int | None]:
    sqlstate = text_of(attribute(error, "sqlstate"))
    if sqlstate:
        yield sqlstate
        yield sqlstate[:2]
    yield text_of(entry(_botocore(error, "Error"), "Code"))
    yield _code(attribute(error, "code"))
    yield text_of(attribute(error, "type"))
    yield text_of(entry(entry(attribute(error, "body"), "error"), "type"))
    yield from _errno(error)
    yield status_of(error)


def _botocore(error: BaseException, part: str) -> object:
    return entry(attribute(error, "response"), part)


def _code(found: object) -> str | int | None:
    if callable(found) and not issubclass(type(found), type):
        try:
            found = found()
        except Exception:  # noqa: BLE001 - somebody else's method
            return None
        if type(found) is CoroutineType:
            found.close()  # nobody awaits here
            return None
    whole = whole_of(found)
    return whole if whole is not None else text_of(found) or text_of(attribute(found, "name"))


def _errno(error: BaseException) -> Iterator[str | int | None]:
    if not issubclass(type(error), OSError):
        return
    number = whole_of(attribute(error, "errno"))
    if number is not None:
        yield errno.errorcode.get(number)
        yield number
        return
    arguments = _arguments(error)
    text = text_of(arguments[0]) if arguments else None
    if text and text.startswith(_CONNECT_TEXTS):
        yield CONNECT_FAILED


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
        entry(_botocore(error, "ResponseMetadata"), "HTTPHeaders"),
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
