"""What a server answers: `HttpReply`, and which reply or error of the network a step comes to."""

from __future__ import annotations

import json as json_
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, cast

from resilient._core.faults import Fault
from resilient._core.options import number, shown, whole
from resilient.testing._given import several
from resilient.testing._steps import FRESH, LISTED, BadStepError, Shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from resilient.testing._steps import Fail

    Body = bytes | str | Iterable[bytes | str]


class IncompleteError(Exception):
    """Stands for an answer that breaks off, which each library has a class of its own for."""


_LIBRARIES: Final = frozenset({"httpx", "httpx2"})


CONNECTING: Final = frozenset({"ConnectError", "ConnectTimeout", "ProxyError"})
"""Errors of a client library that come before there is a connection."""

_NETWORK: Final[Mapping[type[BaseException], str]] = {
    ConnectionError: "ConnectError",
    ConnectionRefusedError: "ConnectError",
    OSError: "ConnectError",
    ConnectionResetError: "ReadError",
    ConnectionAbortedError: "ReadError",
    BrokenPipeError: "WriteError",
    TimeoutError: "ReadTimeout",
    IncompleteError: "RemoteProtocolError",
}
"""What the client libraries make of what the operating system raises."""


_STATUS: Final[Mapping[str | None, int]] = {
    "request": 400,
    "credential": 401,
    "account": 402,
    "model": 404,
}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HttpReply(Shown):
    """What a server answers to one request: the value of an `Ok` or `Bad` of a transport.

    The body is `json`, written as JSON, or `content`: a text, bytes, or a list
    of pieces, each of which comes `gap` seconds after what came before it.
    `headers` are a mapping or pairs. With `complete=False` the connection
    breaks behind the content: the client raises its `RemoteProtocolError`.

    A status that is no number from 100 to 599, a negative `gap`, and a reply
    with both `json` and `content` are a `ValueError`; what no JSON can be
    written of (a NaN is such), headers that are neither a mapping nor pairs of
    texts, and a `complete` that is no bool are a `TypeError`.

    >>> HttpReply(429, headers={"Retry-After": "30"})
    HttpReply(status=429, headers={'Retry-After': '30'})
    >>> HttpReply(json={"answer": 42}, complete=False)
    HttpReply(json={'answer': 42}, complete=False)
    """

    status: int = 200
    json: Any = field(default=FRESH, kw_only=True)
    content: bytes | str | tuple[bytes | str, ...] = field(
        default=(), kw_only=True, metadata=LISTED
    )
    headers: Mapping[str, str] = field(default_factory=dict[str, str], kw_only=True)
    gap: float = field(default=0, kw_only=True)
    complete: bool = field(default=True, kw_only=True)

    if TYPE_CHECKING:
        # Any list of pieces and any pairs will do.
        def __init__(
            self,
            status: int = 200,
            *,
            json: Any = ...,  # noqa: ANN401 - whatever JSON can be written of
            content: Body = (),
            headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
            gap: float = 0,
            complete: bool = True,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Check everything."""
        put = object.__setattr__
        whole(self.status, "HttpReply(status)", least=100)
        if self.status > 599:  # noqa: PLR2004 - the last status that HTTP has
            raise ValueError(f"HttpReply(status) must be at most 599, not {self.status}")
        put(self, "content", _content(self.content))
        put(self, "headers", _headers(self.headers))
        number(self.gap, "HttpReply(gap=)", least=0)
        if not isinstance(cast("object", self.complete), bool):
            raise TypeError(
                f"HttpReply(complete=) must be True or False, not {shown(self.complete)}"
            )
        if self.json is FRESH:
            return
        if self.content:
            raise ValueError("HttpReply takes json= or content=, not both")
        written(self.json, "HttpReply(json=)")

    def __hash__(self) -> int:
        """Be equal to what it equals; the values of JSON cannot be hashed."""
        return hash((self.status, self.content, tuple(self.headers.items()), self.gap))


def reply_of(value: Any, number: int) -> HttpReply:  # noqa: ANN401 - what a step answers with
    """Return the reply to request `number` that a value of a step stands for."""
    if isinstance(value, HttpReply):
        return value
    if isinstance(value, bytes):
        return HttpReply(content=value)
    return HttpReply(json={"answer": number} if value is FRESH else value)


def refusal_of(step: Fail) -> HttpReply | None:
    """Return the reply that says what a failure says; `None` where no server answers at all."""
    error = step.error
    if isinstance(error, Fault):
        hint = error.retry_after if step.hint is None else step.hint
        return HttpReply(_status(error), headers=_retry_after(hint))
    if step.hint is not None and error in _NETWORK:
        return HttpReply(503, headers=_retry_after(step.hint))
    return None


def name_of_error(step: Fail) -> str | None:
    """Return the name of the client library's error that a step stands for, if it is one."""
    error = step.error
    if not isinstance(error, type):
        return None
    root = error.__module__.partition(".")[0]
    return error.__name__ if root in _LIBRARIES else _NETWORK.get(error)


def network_error(library: ModuleType, name: str, text: str) -> BaseException:
    """Return an error of a client library by its name."""
    return cast("BaseException", getattr(library, name)(text))


def written(value: Any, option: str) -> bytes:  # noqa: ANN401 - as above
    """Write a value as JSON."""
    try:
        return json_.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError):
        raise BadStepError(
            f"{option} takes what JSON can be written of, not {shown(value)}:"
            " write an HttpReply with the content"
        ) from None


def _status(fault: Fault) -> int:
    if fault.retryable:
        return 429 if fault.health == "cooldown" else 503
    return _STATUS.get(fault.scope, 403)


def _retry_after(hint: float | None) -> dict[str, str]:
    if hint is None:
        return {}
    whole = isfinite(hint) and hint == int(hint)
    return {"Retry-After": str(int(hint) if whole else hint)}


def _content(content: Any) -> bytes | str | tuple[bytes | str, ...]:  # noqa: ANN401 - whatever was written
    if isinstance(content, bytes | str):
        return content
    try:
        pieces = tuple(content)
    except TypeError:
        pieces = (content,)
    for piece in pieces:
        if not isinstance(piece, bytes | str):
            raise TypeError(
                f"HttpReply(content=) takes text, bytes or a list of such, not {shown(piece)}"
            )
    return pieces


def _headers(headers: Any) -> dict[str, str]:  # noqa: ANN401 - as above
    given = cast("Mapping[str, str]", headers)
    pairs = given.items() if isinstance(headers, Mapping) else headers
    accepted = "a mapping, or pairs of texts"
    made: dict[str, str] = {}
    for pair in several(pairs, "HttpReply(headers=)", accepted):
        parts = _pair(pair)
        if parts is None:
            raise TypeError(f"HttpReply(headers=) takes {accepted}, not {shown(pair)} in it")
        for one in parts:
            if not isinstance(one, str):
                raise TypeError(
                    f"HttpReply(headers=) takes names and values as text, not {shown(one)}"
                )
        name, value = parts
        made[name] = value
    return made


def _pair(pair: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - as above
    if not isinstance(pair, tuple | list):
        return None
    parts = tuple(cast("Iterable[Any]", pair))
    return parts if len(parts) == 2 else None  # noqa: PLR2004 - name and value
