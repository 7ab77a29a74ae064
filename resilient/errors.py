"""What `resilient` itself raises.

Blame is in the type: a `Rejected` never reached the target, a `TimedOut` is
one of our own limits, and everything else is the target's own error,
untouched.

ResilientError(Exception)
├── Rejected                     the call never ran; .policy .retry_after
│   ├── CircuitOpen              a circuit breaker refused; .breaker .opened_by
│   │   └── CircuitIsolated      somebody has opened it by hand
│   └── Skipped                  a target that was not asked; .target .reason .scope
├── TimedOut(TimeoutError)       one of our limits expired; .after .limit
├── Unacceptable                 a returned value that `on_result` judged a failure; .result
└── AllTargetsFailed(ExceptionGroup)   every target's error; .attempts .skipped .retry_after

Messages hold names and numbers, never arguments or results.
All of them pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient._core.breaker import Cause
    from resilient._core.outcome import Attempt, SkippedTarget

__all__ = (
    "AllTargetsFailed",
    "CircuitIsolated",
    "CircuitOpen",
    "PolicyOrderWarning",
    "Rejected",
    "ResilientError",
    "Skipped",
    "TimedOut",
    "Unacceptable",
)

Limit = Literal["attempt", "total", "first_item", "between_items"]


class ResilientError(Exception):
    """The base class of everything that the library itself raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: the constructors take keywords that `args` does not hold."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class Rejected(ResilientError):
    """The call never ran: one of the policies refused it.

    `policy` is the kind of policy that refused, `retry_after` the seconds
    after which another try makes sense (>= 0, or `None` when nobody knows).

    >>> Rejected("no place left", policy="bulkhead", retry_after=2).retry_after
    2
    """

    # The defaults are for subclasses that do not call this constructor.
    policy: str = "unknown"
    retry_after: float | None = None

    def __init__(self, message: str, *, policy: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.policy = policy
        self.retry_after = None if retry_after is None else max(0, retry_after)


class CircuitOpen(Rejected):
    """A circuit breaker refused the call: what it guards has failed too often.

    `breaker` is its name. `opened_by` says what opened it: `opened_by.error`
    is the type of the failure and `opened_by.message` its text, which is in
    neither the text nor the `repr` of this error; `None` where it was opened
    by hand. `retry_after` are the seconds after which the next call may pass.

    >>> str(CircuitOpen("prices", retry_after=12))
    'circuit "prices" is open; next try in 12 s'
    """

    policy = "circuit_breaker"
    breaker: str
    opened_by: Cause | None

    def __init__(
        self,
        breaker: str,
        *,
        retry_after: float | None = None,
        opened_by: Cause | None = None,
    ) -> None:
        # Neither through `Rejected` nor with its text: it is made by the thousand and read rarely.
        Exception.__init__(self, breaker)
        if retry_after is not None:
            self.retry_after = max(0, retry_after)
        self.breaker = breaker
        self.opened_by = opened_by

    def __str__(self) -> str:
        """Say which circuit is open, and for how long."""
        text = f'circuit "{self.breaker}" is open'
        after = self.retry_after
        return text if after is None else f"{text}; next try in {after:.6g} s"

    def __repr__(self) -> str:
        """Show the sentence, as other errors do."""
        return f"{type(self).__qualname__}({str(self)!r})"


class CircuitIsolated(CircuitOpen):
    """A circuit that was opened by hand, with `isolate()`, and stays so until it is released.

    >>> str(CircuitIsolated("prices"))
    'circuit "prices" is isolated'
    """

    def __str__(self) -> str:
        """Say which circuit it is; nobody knows for how long."""
        return f'circuit "{self.breaker}" is isolated'


class Skipped(Rejected):
    """A fallback target that was not asked.

    `reason` says why: `scope_condemned`, `cooldown`, `deadline`,
    `routed_away`, `disabled` and, from other policies, `breaker_open`,
    `capability`, `cost`. `scope` is the name of the condemned scope.

    >>> str(Skipped("claude", "scope_condemned", scope="credential"))
    'claude was not asked: its credential is condemned'
    """

    target: str
    reason: str
    scope: str | None

    def __init__(
        self,
        target: str,
        reason: str,
        *,
        scope: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            f"{target} was not asked: {_why_skipped(reason, scope)}",
            policy="fallback",
            retry_after=retry_after,
        )
        self.target = target
        self.reason = reason
        self.scope = scope


class TimedOut(ResilientError, TimeoutError):
    """One of our own limits expired; also a builtin `TimeoutError`.

    `after` is the limit in seconds, `limit` which one it was: `"attempt"`,
    or `"total"` when a retry or a fallback stands inside it; of a stream
    also `"first_item"` or `"between_items"`.

    >>> str(TimedOut(8, "attempt"))
    'timed out after 8 s (limit of one attempt)'
    """

    after: float
    limit: Limit

    def __init__(self, after: float, limit: Limit) -> None:
        super().__init__(f"timed out after {after:.6g} s ({_LIMITS[limit]})")
        self.after = after
        self.limit = limit


class Unacceptable(ResilientError):
    """A returned value that `on_result` judged a failure, where an exception is needed.

    The value is on `result`, and in neither the text nor the `repr`.

    >>> Unacceptable({"answer": ""})
    Unacceptable('the returned value was judged a failure (on_result)')
    """

    result: Any

    def __init__(self, result: Any) -> None:  # noqa: ANN401 - any value can be returned
        super().__init__("the returned value was judged a failure (on_result)")
        self.result = result


class AllTargetsFailed(ResilientError, ExceptionGroup[Exception]):
    """Every target of a fallback failed or was skipped; the errors are the members, in order.

    `attempts` are the attempts that started, `skipped` the targets that
    were not asked, `retry_after` is the least of the members' (`None` when
    no member has one). `split`, `subgroup` and `except*` keep all three.

    >>> failed = AllTargetsFailed("ask: 1 target failed", [ValueError("no")])
    >>> failed.exceptions, failed.retry_after
    ((ValueError('no'),), None)
    """

    attempts: tuple[Attempt, ...] = ()
    skipped: tuple[SkippedTarget, ...] = ()
    retry_after: float | None = None

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]  # typeshed: BaseException
        """Make a group of fewer members with the same history."""
        made = type(self)(self.message, excs)
        made.__dict__.update(self._history())
        return made

    def _history(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "skipped": self.skipped,
            "retry_after": self.retry_after,
        }


class PolicyOrderWarning(UserWarning):
    """Two policies that work, in an order that is almost surely not what was meant."""


_LIMITS = {
    "attempt": "limit of one attempt",
    "total": "limit of the whole call",
    "first_item": "limit of the first item",
    "between_items": "limit between two items",
}

_REASONS = {
    "cooldown": "it is cooling down",
    "deadline": "no time was left",
    "routed_away": "the failure before it ends the chain or is routed elsewhere",
    "disabled": "it is switched off",
    "breaker_open": "its circuit breaker is open",
    "capability": "it cannot do what the call needs",
    "cost": "it would cost too much",
}


def _why_skipped(reason: str, scope: str | None) -> str:
    if scope == "request":
        return "the request itself is at fault"
    if reason == "scope_condemned":
        return f"its {scope} is condemned"
    return _REASONS.get(reason, reason)


def _rebuild(cls: type[ResilientError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:  # noqa: ANN401
    made = cls.__new__(cls, *args)
    made.args = args
    made.__dict__.update(state)
    return made
