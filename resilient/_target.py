"""`Target`: one thing that a manager can ask.

A name, an async callable, policies of its own, and the scopes it depends on.
Everything is checked here, when the target is written.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from resilient._core import options
from resilient._core.chain_options import is_mapping
from resilient._core.fallback import REQUEST
from resilient._core.functions import name_of
from resilient._core.options import shown
from resilient._decorators import retry, timeout
from resilient._kinds import function_or_none, kind_to_call
from resilient._pipeline import bound_of_function
from resilient._policies import bound_of
from resilient._stack import Pipeline, stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from resilient._core.bound import Bound
    from resilient._core.faults import Classify
    from resilient._core.options import Seconds

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, init=False)
class Target(Generic[R_co]):
    """One thing a manager can ask: a name, an async callable, and its own policies.

    An async generator function is one as well: a target of `manager.stream`.

    `timeout` is per attempt, `attempts` includes the first; together they are
    `policies=stack(retry(attempts=...), timeout(...))`, which may be given
    instead. `scopes` names what the target depends on, such as
    `{"host": "api.example.org", "credential": "KEY_A"}`: a failure that
    condemns one of them skips every later target that shares it. A lower
    `priority` is asked first; equal ones keep their order. `classify` says
    what is known about its errors. `enabled` may be a function that is asked
    before each call. Without `call`, `run_with` gives the callable.

    Bad values raise `ValueError` or `TypeError` here.

    >>> async def local(question: str) -> str:
    ...     return "42"
    >>> Target("local", local, timeout=10, attempts=2)
    Target('local', local)
    """

    name: str
    call: Callable[..., Awaitable[R_co]] | Callable[..., AsyncIterator[R_co]] | None
    policies: Pipeline
    scopes: Mapping[str, str] = field(hash=False)
    priority: float
    classify: Classify | None
    enabled: bool | Callable[[], bool] = field(repr=False)

    @overload
    def __init__(
        self: Target[Any],
        name: str,
        call: None = None,
        /,
        *,
        timeout: Seconds | None = None,
        attempts: int | None = None,
        policies: Pipeline | None = None,
        scopes: Mapping[str, str] | None = None,
        priority: float = 0,
        classify: Classify | None = None,
        enabled: bool | Callable[[], bool] = True,
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        call: Callable[..., Awaitable[R_co]] | Callable[..., AsyncIterator[R_co]],
        /,
        *,
        timeout: Seconds | None = None,
        attempts: int | None = None,
        policies: Pipeline | None = None,
        scopes: Mapping[str, str] | None = None,
        priority: float = 0,
        classify: Classify | None = None,
        enabled: bool | Callable[[], bool] = True,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        call: Callable[..., Any] | None = None,
        /,
        *,
        timeout: Seconds | None = None,
        attempts: int | None = None,
        policies: Pipeline | None = None,
        scopes: Mapping[str, str] | None = None,
        priority: float = 0,
        classify: Classify | None = None,
        enabled: bool | Callable[[], bool] = True,
    ) -> None:
        put = object.__setattr__
        put(self, "name", options.text(name, "Target(name)"))
        if call is not None:
            kind_to_call(call, f"Target({name!r}, call)")
        put(self, "call", call)
        put(self, "policies", _policies(timeout, attempts, policies))
        put(self, "scopes", _scopes(scopes))
        put(self, "priority", _priority(priority))
        function_or_none(classify, "Target(classify=)")
        put(self, "classify", classify)
        put(self, "enabled", _enabled(enabled))

    @property
    def bound(self) -> Bound:
        """The worst case of asking it."""
        return bound_of(self.policies.policies, bound_of_function(self.call))

    def __deepcopy__(self, memo: object) -> Target[R_co]:
        """Return itself: nothing of it can change."""
        return self

    def __repr__(self) -> str:
        """Show the name and the callable."""
        call = "" if self.call is None else f", {name_of(self.call)}"
        return f"Target({self.name!r}{call})"


def _policies(seconds: Seconds | None, attempts: int | None, policies: Pipeline | None) -> Pipeline:
    if policies is not None:
        if seconds is not None or attempts is not None:
            raise ValueError(
                "Target(policies=) and timeout= or attempts= say the same thing: give one"
            )
        return _pipeline(policies)
    parts: list[Pipeline] = []
    if attempts is not None and options.whole(attempts, "Target(attempts=)") > 1:
        parts.append(retry(attempts=attempts))
    if seconds is not None:
        parts.append(timeout(options.seconds(seconds, "Target(timeout=)")))
    return stack(*parts)


def _pipeline(policies: object) -> Pipeline:
    if not isinstance(policies, Pipeline):
        raise TypeError(f"Target(policies=) must be a policy or a stack, not {shown(policies)}")
    return policies


def _scopes(scopes: Any) -> Mapping[str, str]:  # noqa: ANN401
    if scopes is not None and not is_mapping(scopes):
        raise TypeError(f"Target(scopes=) must map names to keys, not {shown(scopes)}")
    found: dict[str, str] = dict(scopes or {})
    for scope, key in found.items():
        options.text(scope, "Target(scopes=)")
        options.text(key, f"Target(scopes=) for {scope!r}")
        if scope in {REQUEST, "target"}:
            raise ValueError(
                f"Target(scopes=) cannot declare {scope!r}: the chain itself uses that name"
            )
    return types.MappingProxyType(found)


def _priority(priority: object) -> float:
    if isinstance(priority, bool) or not isinstance(priority, int | float):
        raise TypeError(f"Target(priority=) must be a number, not {shown(priority)}")
    if not isfinite(priority):
        raise ValueError(f"Target(priority=) must be a finite number, not {shown(priority)}")
    return priority


def _enabled(enabled: object) -> Any:  # noqa: ANN401
    if not isinstance(enabled, bool) and not callable(enabled):
        raise TypeError(f"Target(enabled=) must be a bool or a function, not {shown(enabled)}")
    if not isinstance(enabled, bool):
        function_or_none(enabled, "Target(enabled=)")
    return enabled
