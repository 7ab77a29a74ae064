"""`standard`: the policies that most services need, in the good order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from resilient._breaker import CircuitBreaker, circuit_breaker
from resilient._core import options
from resilient._core.chain_options import last_resort
from resilient._core.options import shown
from resilient._decorators import fallback, retry
from resilient._kinds import functions_to_call
from resilient._policies import Timeout
from resilient._stack import Pipeline, stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient._core.options import Seconds
    from resilient._runtime.chain import LastResort

_ATTEMPT: Final = float(10)
"""The default limit of an attempt in seconds; its identity tells that nobody gave one."""


def standard(
    name: str,
    /,
    *,
    attempts: int = 3,
    timeout: Seconds | None = 30,
    attempt_timeout: Seconds | None = _ATTEMPT,
    breaker: CircuitBreaker | None = None,
    to: Sequence[Callable[..., Awaitable[Any]]] = (),
    degrade: LastResort | None = None,
) -> Pipeline:
    """Return the good order: fallback, total timeout, retry, circuit breaker, attempt timeout.

    `timeout` limits everything, `attempt_timeout` each attempt (10 s; where
    that is not shorter than `timeout` and was not given, there is none; `None`
    leaves a limit out). `breaker` is `circuit_breaker(name)` by default. `to`
    and `degrade` are those of `fallback`.

    >>> print(explain(standard("prices", attempts=4)))
    prices: 4 policies, outermost first
      timeout           30 s for everything inside
      retry             4 attempts on transient errors; full jitter 0.1 s .. 20 s
      circuit_breaker   "prices": closed; opens at 50 % failures of at least 10 calls in 30 s, probes after 30 s
      timeout           10 s per attempt
      bound             at most 4 calls and 30 s
    """  # noqa: E501 - a line of `explain` is as long as it is
    parts: list[Pipeline] = []
    options.text(name, "standard(name)")
    options.whole(attempts, "standard(attempts=)")
    others = functions_to_call(to, "standard(to=)")
    if others or degrade is not None:
        last_resort(degrade, "standard(degrade=)")
        parts.append(fallback(to=others, degrade=cast("Any", degrade)))
    if timeout is not None:
        parts.append(_timeout(timeout, "standard(timeout=)"))
        if attempt_timeout is _ATTEMPT and options.seconds(timeout, "timeout") <= _ATTEMPT:
            attempt_timeout = None
    parts.append(retry(attempts=attempts))
    parts.append(circuit_breaker(name) if breaker is None else _breaker(breaker))
    if attempt_timeout is not None:
        parts.append(_timeout(attempt_timeout, "standard(attempt_timeout=)"))
    return stack(*parts, name=name)


def _timeout(seconds: Seconds, option: str) -> Pipeline:
    return Pipeline(policies=(Timeout(options.seconds(seconds, option)),))


def _breaker(breaker: object) -> CircuitBreaker:
    if not isinstance(breaker, CircuitBreaker):
        raise TypeError(f"standard(breaker=) must be a circuit_breaker(...), not {shown(breaker)}")
    return breaker
