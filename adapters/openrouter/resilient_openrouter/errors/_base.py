"""What every error of a call is: a class that says what happened, and facts about this one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Billed = Literal["yes", "no", "unknown"]
"""Whether the attempt costs money: `unknown` where it was sent and no usage came back."""

Health = Literal["failure", "neutral", "cooldown", "trip"]
"""What a breaker and a manager learn from a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """What OpenRouter says about who could have served the request.

    `fallback_models` is a hint to read, never followed by itself: the other
    model may cost more.
    """

    code: str | None = None
    retryable: bool | None = None
    requested_models: tuple[str, ...] = ()
    affected_providers: tuple[str, ...] = ()
    excluded_by: tuple[str, ...] = ()
    fallback_models: tuple[str, ...] = ()


class OpenRouterError(Exception):
    """A call of OpenRouter failed; also the class of an answer that the table does not know.

    `says` is our own sentence about it, `message` the server's.
    `status_code` is the status that counts: the HTTP status or, where a 200
    carried an error, the code inside it. `http_status` is the one on the
    wire. `billed` says whether the attempt costs money, `cost` how much
    (`None` when nobody knows). `raw` stays `None` unless the client was made
    with `keep_raw=True`.
    """

    says: str = "the server refused the request"

    retryable: bool = False
    retry_after: float | None = None
    scope: str | None = None
    health: Health = "failure"
    hint_source: str | None = None

    status_code: int | None = None
    http_status: int | None = None
    code: int | str | None = None
    error_type: str | None = None
    availability: Availability | None = None
    limit_source: str | None = None
    model: str | None = None
    provider: str | None = None
    generation_id: str | None = None
    request_id: str | None = None

    billed: Billed = "unknown"
    cost: float | None = None
    usage: Mapping[str, Any] | None = None
    partial: str | None = None
    in_stream: bool = False
    committed: bool = False
    openrouter_metadata: Mapping[str, Any] | None = None
    raw: object = None

    def __init__(
        self,
        says: str | None = None,
        *,
        message: str | None = None,
        **facts: Any,
    ) -> None:
        """Take the facts that are known, each the name of an attribute of this class."""
        for name, fact in facts.items():
            if name not in _FACTS:
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, fact)
        if says is not None:
            self.says = says
        super().__init__(self._line())
        self._message = message or self.says

    @property
    def message(self) -> str:
        """What the server said, without keys, account ids and prompts, in one line."""
        return self._message

    @property
    def telemetry_error_type(self) -> str:
        """The `error.type` of spans and metrics: the status, else the class in snake case."""
        if self.status_code is not None:
            return str(self.status_code)
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: the constructor takes keywords that `args` does not hold."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def _line(self) -> str:
        details = (self.model, self.error_type, self.provider, self.generation_id)
        known = ", ".join(each for each in details if each)
        line = f"[{self.telemetry_error_type}] {type(self).__name__}: {self.says}"
        if known:
            line += f" ({known})"
        if self.retry_after is not None:
            # A rest that nobody asked for is our own table's.
            verb = "rests" if self.hint_source == "table" else "asks for"
            line += f"; {verb} {self.retry_after:.6g} s"
        return line


_FACTS = frozenset(OpenRouterError.__annotations__) - {"says"}


def _rebuild(
    cls: type[OpenRouterError], args: tuple[Any, ...], state: dict[str, Any]
) -> OpenRouterError:
    made = cls.__new__(cls, *args)
    made.args = args
    made.__dict__.update(state)
    return made
