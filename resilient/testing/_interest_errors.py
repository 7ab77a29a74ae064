"""Which errors are worth trying against a pipeline: those that its policies tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient._breaker_part import CircuitBreakerPart
from resilient._core.conditions import AnyOf, Condition, Named, with_classify
from resilient._core.fallback import REQUEST
from resilient._core.faults import Fault
from resilient._policies import Retry
from resilient.testing._steps import Fail, Interruption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resilient.testing._anatomy import Around, Choice

Error = Any
"""What `Fail` takes: a class, a function or a `Fault`."""

_COMMON: Final[tuple[type[Exception], ...]] = (
    ConnectionError,
    TimeoutError,
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    LookupError,
    ArithmeticError,
)


def errors_of(around: list[Around], choices: list[Choice]) -> list[Error]:
    """Return errors that somebody around tells apart: first those that are tried again."""
    conditions = [condition for part in around if (condition := _on(part)) is not None]
    conditions += [one.policy.on for one in choices if one.policy.on is not None]
    named = [cls for condition in conditions for cls in _named(condition)]
    named += [kind for one in choices for kind, _ in one.policy.routes]
    pool: list[type[Exception]] = [*filter(_can_be_made, named), *_COMMON]
    accepting = [condition for part in retries(around) if (condition := _on(part)) is not None]
    accepted = [cls for cls in pool if any(_accepts(on, cls) for on in accepting)]
    others = [cls for cls in pool if not any(_accepts(on, cls) for on in accepting)]
    found: list[Error] = first(accepted, 2 + len(named)) + first(others, 1 + len(named))
    if not accepting:
        found = [ConnectionError, *found]
    if not accepted and accepting:
        found = [Fault(retryable=True), *found]
    found += [*_faults(choices), Interruption]
    return unique(found)


def _faults(choices: list[Choice]) -> Iterator[Fault]:
    """Return faults of each scope that a chain knows, and of the request."""
    scopes = {scope for one in choices for target in one.policy.targets for scope in target.scopes}
    for scope in sorted(scopes):
        yield Fault(retryable=False, scope=scope)
        yield Fault(retryable=False, scope=scope, health="trip")
    if any(len(one.branches) > 1 for one in choices):
        yield Fault(retryable=False, scope=REQUEST)
        yield Fault(retryable=True, health="cooldown")


def _on(part: Around) -> Condition | None:
    policy = part.policy
    if isinstance(policy, Retry):
        on, own = policy.policy.on, policy.policy.classify
        return on if own is not None or part.classify is None else with_classify(on, part.classify)
    if isinstance(policy, CircuitBreakerPart) and policy.options is not None:
        return policy.options.policy.on
    return None


def _named(condition: Condition) -> list[type[Exception]]:
    if isinstance(condition, Named):
        return list(condition.types)
    if isinstance(condition, AnyOf):
        return [cls for part in condition.parts for cls in _named(part)]
    return []


def _accepts(on: Condition, cls: type[Exception]) -> bool:
    try:
        return on.decide(_made(cls)) is not False
    except Exception:  # noqa: BLE001 - a predicate that cannot take such an error
        return False


def _made(cls: type[Exception]) -> BaseException:
    return Fail(cls).make()


def _can_be_made(cls: type[Exception]) -> bool:
    try:
        _made(cls)
    except Exception:  # noqa: BLE001 - it wants arguments, which nobody knows
        return False
    return True


def retries(around: list[Around]) -> list[Around]:
    return [part for part in around if isinstance(part.policy, Retry)]


def first(found: Sequence[Any], number: int) -> list[Any]:
    return list(found[:number])


def unique(found: Iterable[Any]) -> list[Any]:
    made: list[Any] = []
    for one in found:
        if not any(one is other or one == other for other in made):
            made.append(one)
    return made
