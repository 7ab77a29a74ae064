"""The types that users annotate with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from resilient._core.backoff import Backoff
from resilient._core.breaker import Cause
from resilient._core.breaker_snapshot import BreakerSnapshot
from resilient._core.faults import Classify
from resilient._core.options import Seconds
from resilient._core.trips import Trip
from resilient._items import Items
from resilient._permit import BreakerHandle, BreakerPermit
from resilient._publish import publish
from resilient._runtime.call import Call
from resilient._runtime.chain import LastResort, TargetHealth
from resilient._runtime.listeners import Listener

__all__ = (
    "AsyncFunction",
    "Backoff",
    "BreakerHandle",
    "BreakerPermit",
    "BreakerSnapshot",
    "Call",
    "Cause",
    "Classify",
    "Items",
    "LastResort",
    "Listener",
    "OnError",
    "OnResult",
    "Proceed",
    "Seconds",
    "TargetHealth",
    "Trip",
)

if TYPE_CHECKING:
    AsyncFunction: TypeAlias = (
        Callable[..., Awaitable[Any]]
        | Callable[..., AsyncIterator[Any]]
        | classmethod[Any, ..., Awaitable[Any]]
        | classmethod[Any, ..., AsyncIterator[Any]]
    )
    """What a policy can decorate."""
else:  # a classmethod takes type arguments only in the eyes of type checkers
    AsyncFunction: TypeAlias = Callable[..., Awaitable[Any]] | Callable[..., AsyncIterator[Any]]

Answer: TypeAlias = bool | float | timedelta | None

OnError: TypeAlias = type[Exception] | Callable[[Any], Answer] | tuple["OnError", ...]
"""Which failures a policy acts on: a type, a predicate, or a tuple of either."""

OnResult: TypeAlias = Callable[[Any], Answer]
"""A predicate that makes a returned value a failure."""

Proceed: TypeAlias = Callable[[], Awaitable[Any]]
"""What a middleware calls to run everything inside it."""

publish(__name__, __all__, globals())
