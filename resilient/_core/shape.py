"""What an exception shows, read without trusting it.

An exception is somebody else's object: its properties may raise, it may be a
mock that answers everything, its class may lie about itself. The functions
here never raise whatever they are given and never take a value of the wrong
type for an answer: what cannot be read is not there.
"""

from __future__ import annotations

import errno
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_LEAVES = 1000
"""The largest exception group that is looked through."""

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
    lambda error: entry(botocore_part(error, "ResponseMetadata"), "HTTPStatusCode"),
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
    yield text_of(entry(botocore_part(error, "Error"), "Code"))
    yield _code(attribute(error, "code"))
    yield text_of(attribute(error, "type"))
    yield text_of(entry(entry(attribute(error, "body"), "error"), "type"))
    yield from _errno(error)
    yield status_of(error)


def botocore_part(error: BaseException, part: str) -> object:
    """Return a part of the `dict` that botocore's errors have as their `response`."""
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
