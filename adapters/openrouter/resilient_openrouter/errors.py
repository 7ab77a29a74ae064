"""What a call of OpenRouter can fail with.

The class says what happened, and four attributes say what follows from it:
`retryable` (may the same call be made again here), `retry_after` (the
server's own hint), `scope` (what is broken, hence which other targets share
the fault) and `health` (what a manager or a breaker learns). `resilient`
reads exactly these four and knows nothing of HTTP.

OpenRouterError(Exception)
├── InvalidRequest               the request itself is wrong; nobody can serve it
├── ModelNotFound                no model has this name
├── ModelUnavailable             the model exists, but not for this request, account or region
├── ContextTooLong               the messages do not fit into the model's context
├── OutputLimit                  the answer did not fit into the tokens allowed for it
├── ContentFiltered              a policy refused the content
├── AuthenticationFailed         the key is not accepted
├── Forbidden                    the key may not do this
├── PaymentRequired              the account or the key has no credit left
├── AccountThrottled             too much of the account's money is in flight at once
├── CostTooHigh                  this one request may cost more than the account allows
├── QuotaExhausted               the free requests of the day are used up
├── TooManyRequests              a rate limit, of the provider or of OpenRouter
├── Conflict                     the server was not ready for this request (409, 425)
├── Overloaded                   the model has no capacity right now
├── UpstreamError                the provider behind OpenRouter failed
├── UpstreamTimeout              the provider behind OpenRouter took too long
├── ServerError                  OpenRouter itself failed
├── EdgeError                    the network in front of OpenRouter failed
├── EmptyResponse                an answer without a completion
├── MalformedResponse            an answer that is not the JSON it should be
├── ConnectFailed                the host could not be reached; nothing was sent
├── ConnectionLost               the connection broke; the request may have been executed
├── LocalSaturation              our own connection pool had no place
├── MissingKey(ValueError)       there is no key to call with
└── AllModelsFailed(AllTargetsFailed)   every target failed

`str()` is one line of our own words, names and numbers. What the server said
is in `message`, without keys, account ids and prompts, and is in neither
`str()` nor `repr()`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from resilient.errors import AllTargetsFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_openrouter.results import ModelCall

__all__ = (
    "AccountThrottled",
    "AllModelsFailed",
    "AuthenticationFailed",
    "Availability",
    "Billed",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "ContentFiltered",
    "ContextTooLong",
    "CostTooHigh",
    "EdgeError",
    "EmptyResponse",
    "Forbidden",
    "Health",
    "InvalidRequest",
    "LocalSaturation",
    "MalformedResponse",
    "MissingKey",
    "ModelNotFound",
    "ModelUnavailable",
    "OpenRouterError",
    "OutputLimit",
    "Overloaded",
    "PaymentRequired",
    "QuotaExhausted",
    "ServerError",
    "TooManyRequests",
    "UpstreamError",
    "UpstreamTimeout",
)

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

    >>> str(TooManyRequests(status_code=429, retry_after=26, provider="Venice"))
    '[429] TooManyRequests: a rate limit was reached (Venice); asks for 26 s'
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


class InvalidRequest(OpenRouterError):
    """The request itself is wrong: no target can serve it."""

    says = "the request is not valid"
    scope = "request"
    health = "neutral"
    billed = "no"


class ModelNotFound(OpenRouterError):
    """No model has this name."""

    says = "no model has this name"
    scope = "model"
    health = "neutral"
    billed = "no"


class ModelUnavailable(OpenRouterError):
    """The model exists, but nobody serves it for this request, account or region."""

    says = "no provider may serve this model for this request"
    scope = "model"
    health = "neutral"
    billed = "no"


class ContextTooLong(OpenRouterError):
    """The messages do not fit into the context of this model; another may have a larger one."""

    says = "the messages do not fit into the model's context"
    scope = "model"
    health = "neutral"
    billed = "no"


class OutputLimit(OpenRouterError):
    """The answer did not fit into the tokens allowed for it."""

    says = "the answer does not fit into the tokens allowed for it"
    scope = "model"
    health = "neutral"


class ContentFiltered(OpenRouterError):
    """A content policy refused; no other target is asked, because that would be a way round it."""

    says = "a content policy refused"
    scope = "request"
    health = "neutral"


class AuthenticationFailed(OpenRouterError):
    """The key is not accepted: no target that uses it is asked."""

    says = "the key is not accepted"
    scope = "credential"
    health = "trip"
    billed = "no"


class Forbidden(OpenRouterError):
    """The key may not do this; another credential may."""

    says = "this key may not do this"
    scope = "credential"
    health = "trip"
    billed = "no"


class PaymentRequired(OpenRouterError):
    """The account (or the key) has no credit left; models that cost nothing fail as well."""

    says = "there is no credit left"
    scope = "account"
    health = "trip"
    billed = "no"


class AccountThrottled(OpenRouterError):
    """Too much of the account's money is in flight at once: a moment later there is room."""

    says = "too much of the account's budget is in flight at once"
    retryable = True
    scope = "account"
    health = "neutral"
    billed = "no"


class CostTooHigh(OpenRouterError):
    """The request may cost more than the account allows; a cheaper target may serve it."""

    says = "this request may cost more than the account allows"
    health = "neutral"
    billed = "no"


class QuotaExhausted(OpenRouterError):
    """The free requests of the day are used up, for every `:free` model of the account."""

    says = "the free requests of the day are used up"
    scope = "free"
    health = "cooldown"
    billed = "no"


class TooManyRequests(OpenRouterError):
    """A rate limit was reached, the provider's or OpenRouter's."""

    says = "a rate limit was reached"
    retryable = True
    scope = "endpoint"
    health = "cooldown"
    billed = "no"


class Conflict(OpenRouterError):
    """The server was not ready for this request."""

    says = "the server was not ready for this request"
    retryable = True
    health = "neutral"
    billed = "no"


class Overloaded(OpenRouterError):
    """The model has no capacity right now, at any of its providers."""

    says = "the model has no capacity right now"
    retryable = True
    scope = "model"
    billed = "no"


class UpstreamError(OpenRouterError):
    """The provider behind OpenRouter failed; the next try may go to another provider."""

    says = "the provider failed"
    retryable = True
    scope = "endpoint"


class UpstreamTimeout(OpenRouterError):
    """The provider behind OpenRouter took too long, and may have worked all that time."""

    says = "the provider took too long"
    retryable = True
    scope = "endpoint"


class ServerError(OpenRouterError):
    """OpenRouter itself failed; it does not say where."""

    says = "the server failed"
    retryable = True


class EdgeError(OpenRouterError):
    """The network in front of OpenRouter failed, for every model behind it."""

    says = "the network in front of the server failed"
    retryable = True
    scope = "host"


class EmptyResponse(OpenRouterError):
    """A success that holds no completion."""

    says = "the answer holds no completion"
    retryable = True
    scope = "endpoint"


class MalformedResponse(OpenRouterError):
    """A success that is not the JSON it should be: cut off, blank, a page of HTML, too large."""

    says = "the answer is not a JSON completion"
    retryable = True
    scope = "endpoint"


class ConnectFailed(OpenRouterError):
    """The host could not be reached. Nothing was sent, so another try cannot do anything twice."""

    says = "the host could not be reached"
    retryable = True
    scope = "host"
    billed = "no"


class ConnectionLost(OpenRouterError):
    """The connection broke after it was made: the request may have been executed and billed.

    It condemns nothing but its own target: one broken connection does not
    prove that a host is down.
    """

    says = "the connection broke before the answer was complete"
    retryable = True


class LocalSaturation(OpenRouterError):
    """Our own connection pool had no place in time: nobody else is to blame."""

    says = "our own connection pool had no place in time"
    retryable = True
    health = "neutral"
    billed = "no"


class MissingKey(OpenRouterError, ValueError):
    """There is no key to call with. Raised by the first call, never by an import."""

    says = "there is no API key"
    scope = "credential"
    health = "neutral"
    billed = "no"

    def _line(self) -> str:
        return self.says


class AllModelsFailed(AllTargetsFailed, OpenRouterError):
    """Every target failed or was skipped; the errors are the members, in order.

    Both `except OpenRouterError` and `except*` catch it. `status_code` is
    503, what a service that stands before its users answers then; `cost` is
    the sum of what is known, `unknown_costs` counts the calls whose cost is
    not, and `calls` says what each call of a model did.
    """

    status_code = 503
    unknown_costs: int = 0
    calls: tuple[ModelCall, ...] = ()

    def __init__(self, message: str, exceptions: Sequence[Exception], /) -> None:
        from resilient import transient  # noqa: PLC0415 - only a failed call needs it

        super().__init__(message, exceptions)
        self.retryable = all(transient(error) for error in exceptions)

    @property
    def telemetry_error_type(self) -> str:
        """The same as of every other group of failed targets."""
        return "all_targets_failed"

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]  # typeshed: BaseException
        """Make a group of fewer members with the same history and costs."""
        made = super().derive(excs)
        made.cost, made.unknown_costs, made.calls = self.cost, self.unknown_costs, self.calls
        return made

    def __str__(self) -> str:
        return f"[{self.status_code}] {super().__str__()}"


_FACTS = frozenset(OpenRouterError.__annotations__) - {"says"}


def _rebuild(
    cls: type[OpenRouterError], args: tuple[Any, ...], state: dict[str, Any]
) -> OpenRouterError:
    made = cls.__new__(cls, *args)
    made.args = args
    made.__dict__.update(state)
    return made
