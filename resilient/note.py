"""The names of the design note that this library grew out of, correct this time.

    models = [ModelConfig("openai/gpt-4", timeout=30, retry_count=2, priority=1), ...]
    manager = FallbackManager(models)
    result = await manager.call_with_fallback(call_llm_func, messages)

    breaker = CircuitBreaker(failure_threshold=5, timeout=60)
    if not breaker.can_call(): ...

New code uses `Target`, `FallbackManager.run` and `circuit_breaker`.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resilient._breaker import circuit_breaker
from resilient._core import options
from resilient._core.trips import consecutive
from resilient._manager import FallbackManager
from resilient._permit import BreakerHandle
from resilient._target import Target
from resilient.errors import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from resilient._core.options import Seconds
    from resilient._permit import BreakerPermit
    from resilient._runtime.circuit import Circuit

__all__ = ("call_with_fallback", "CircuitBreaker", "FallbackManager", "ModelConfig")


class ModelConfig(Target[Any]):
    """A frozen target without a callable: a model's name and how to ask it.

    `retry_count` is the number of *attempts*, as it was in the note.
    A lower `priority` is asked first.

    >>> ModelConfig("openai/gpt-4", timeout=30, retry_count=2, priority=1).priority
    1
    """

    def __init__(self, name: str, timeout: float, retry_count: int = 1, priority: int = 0) -> None:
        super().__init__(name, timeout=timeout, attempts=retry_count, priority=priority)


async def call_with_fallback(
    models: Sequence[Target[Any]],
    call: Callable[[str, Any], Awaitable[Any]],
    data: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Ask `models` in order by `call(name, data)`; return `{"result", "model", "fallback"}`."""
    return await FallbackManager[Any](models).call_with_fallback(call, data)


class CircuitBreaker(BreakerHandle):
    """A circuit breaker that is asked before a call and told after it.

    It opens at `failure_threshold` failures in a row (5); `timeout` seconds
    (60) later one call may try, and how that ends closes or opens it again.
    `can_call()` says whether a call may be made, and takes the place of that
    call; `record_success()` and `record_failure()` in the same task, or in one
    that it began, say how it went. A call of which nothing is told, because it
    was cancelled for instance, gives its place back after `timeout`.

    Each is a breaker of its own, for all threads and loops. It has the rest of
    a breaker's handle as well: `snapshot()`, `isolate()`, `acquire()`, which is
    the better way to guard a block. Bad options are a `ValueError` or
    `TypeError`.

    >>> breaker = CircuitBreaker(failure_threshold=2, timeout=60)
    >>> for _ in range(2):
    ...     if breaker.can_call():
    ...         breaker.record_failure()
    >>> breaker.can_call(), breaker.is_open
    (False, True)
    """

    def __init__(self, failure_threshold: int = 5, timeout: Seconds = 60) -> None:
        most = options.whole(failure_threshold, "CircuitBreaker(failure_threshold=)")
        seconds = options.seconds(timeout, "CircuitBreaker(timeout=)")
        # One definition for all that are written alike, and a circuit for each.
        self._definition = circuit_breaker(
            f"CircuitBreaker({most}, {seconds:.6g})",
            trip=consecutive(most),
            open_for=seconds,
            per="instance",
        )

    def _owner(self) -> Circuit:
        return self._definition._owner().for_instance(self)  # noqa: SLF001 - a handle of its own

    def can_call(self) -> bool:
        """Tell whether a call may be made now; if so, this is it."""
        try:
            permit = self.acquire()
        except CircuitOpen:
            return False
        _held.set({**_held.get(), self: [permit]})
        return True

    def record_success(self) -> None:
        """Say that the call went well."""
        permit = self._permit()
        if permit is not None:
            permit.succeed()

    def record_failure(self, error: Exception | None = None) -> None:
        """Say that it failed; an `error` is judged as one of a call that a breaker guards."""
        permit = self._permit()
        if permit is not None:
            permit.fail(error)

    @property
    def is_open(self) -> bool:
        """Whether it refuses calls, or is about to let one try."""
        return self.snapshot().state not in {"closed", "disabled"}

    @property
    def failure_count(self) -> int:
        """How many calls have failed in a row; 0 while it is open."""
        return self.snapshot().failures

    def _permit(self) -> BreakerPermit | None:
        """Return the permit of the call that is spoken of; `None` if nothing can be learned."""
        held = dict(_held.get())
        mine = held.pop(self, [])
        _held.set(held)
        try:
            return mine.pop()
        except IndexError:
            pass  # nobody had asked, or it has been told already: this is another call
        try:
            return self.acquire()
        except CircuitOpen:
            return None


# The permits of the calls that this task, or the one that began it, was granted
# and has not told of. A list, because who began a task shares its permit with it.
_held: ContextVar[Mapping[CircuitBreaker, list[BreakerPermit]]] = ContextVar(
    "resilient_note", default=MappingProxyType({})
)
