"""Switches for tests that are there already: other policies in force, for as long as a block runs.

What a guarded function calls is swapped, so nothing is asked on the way of a
call, and production pays nothing. A switch holds for the whole process: for
every thread, loop and task, from the moment it is thrown. Calls that are under
way go on with what they began with. Switches nest, and may end in any order.
"""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from resilient._core import options
from resilient._core.options import shown
from resilient._guard import guard_in
from resilient._manager import FallbackManager
from resilient._policies import Retry
from resilient._stack import Pipeline
from resilient._switch import board
from resilient.testing._skip import skipping

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from resilient._policies import Policy

    Policies = tuple[Policy, ...]
    Change = Callable[[Policies, Policies], Policies]


class Switch:
    """Other policies in force while its block runs.

    It is a context manager and no decorator: a decorator would have ended
    before the coroutine of an `async def` test begins.
    """

    __slots__ = ("change", "owner", "targets", "waits")

    def __init__(
        self,
        change: Change,
        *,
        owner: object = None,
        waits: bool | None = None,
        targets: bool | None = None,
    ) -> None:
        # What it makes of the policies in force, and of those that were written.
        self.change = change
        # Whom it is for; `None` is everybody.
        self.owner = owner
        # Whether waits pass, and whether further targets are asked; `None` leaves that alone.
        self.waits = waits
        self.targets = targets

    def __enter__(self) -> None:
        """Throw the switch."""
        with _lock:
            _thrown.append(self)
            try:
                _put_in_force()
            except BaseException:
                _thrown.pop()
                _put_in_force()
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Go back to what was in force without it."""
        with _lock:
            # By identity: the same switch may be thrown twice.
            places = [i for i, one in enumerate(_thrown) if one is self]
            if not places:
                raise RuntimeError("a switch was left that is not thrown: each is left once")
            del _thrown[places[-1]]
            _put_in_force()

    def __call__(self, _: object) -> Any:  # noqa: ANN401 - it never returns
        """Refuse to decorate."""
        raise TypeError(
            "a switch is no decorator, because it would be over before an async test begins:"
            " write `with` inside of the test, or use the fixture"
        )


_thrown: list[Switch] = []
_lock = Lock()


class _InForce:
    """What several switches come to, the one that was thrown last on top."""

    def __init__(self, thrown: list[Switch]) -> None:
        self._thrown = tuple(thrown)
        # A pipeline that is called without decorating keeps what it compiled.
        self._pipelines: dict[int, tuple[object, Pipeline]] = {}

    def composition(self, owner: object, written: Any) -> Pipeline:  # noqa: ANN401
        known = self._pipelines.get(id(written))
        if known is not None and known[0] is written:
            return known[1]
        policies = written.policies
        for switch in self._thrown:
            if switch.owner is None or switch.owner is owner:
                policies = switch.change(policies, written.policies)
        made = Pipeline(policies=policies, name=written.name, listeners=written.listeners)
        if owner is written:
            self._pipelines[id(written)] = written, made
        return made

    def is_alone(self, owner: object) -> bool:
        told = [
            switch.targets
            for switch in self._thrown
            if switch.owner is None or switch.owner is owner
        ]
        return _last(told) is False


def _last(told: list[bool | None]) -> bool | None:
    return next((one for one in reversed(told) if one is not None), None)


def _put_in_force() -> None:
    board.throw(_InForce(_thrown) if _thrown else None)
    skipping(on=_last([switch.waits for switch in _thrown]) is False)


def policies_off() -> AbstractContextManager[None]:
    """Let every guarded function be as if no policy decorated it, while the block runs.

    One call, no limit of time, no circuit, the error as it is. Of a
    `FallbackManager`, and of a function with a fallback, only the first target
    is asked. `current_call()` and spans are there as ever.

    >>> import anyio
    >>> from resilient import retry
    >>> calls = []
    >>> @retry(attempts=5)
    ... async def fetch() -> None:
    ...     calls.append(1)
    ...     raise ConnectionError("down")
    >>> with policies_off():
    ...     anyio.run(fetch)
    Traceback (most recent call last):
        ...
    ConnectionError: down
    >>> len(calls)
    1
    """
    return Switch(lambda now, written: (), targets=False)  # noqa: ARG005 - what it takes


def policies_on() -> AbstractContextManager[None]:
    """Undo, while the block runs, every switch that is thrown around it.

    For the tests of resilience in a suite that is run with another switch.

    >>> with policies_off(), policies_on():
    ...     pass
    """
    return Switch(lambda now, written: written, waits=True, targets=True)  # noqa: ARG005


def instant(attempts: int | None = None) -> AbstractContextManager[None]:
    """Let no retry wait, while the block runs; with `attempts`, let none make more than that.

    All else is as written: the same waits are decided and reported, and then
    passed over. The library's Clock jumps over them, so a retry ends where it
    would end in production: by `attempts`, `max_elapsed` or a limit around it.
    Limits that cut a running attempt, and your own sleeps, take real time.

    In `virtual_time` waits pass as ever: there they cost nothing.

    >>> import anyio
    >>> from resilient import retry
    >>> calls = []
    >>> @retry(attempts=5, backoff=[3600])
    ... async def fetch() -> int:
    ...     calls.append(1)
    ...     if len(calls) < 4:
    ...         raise ConnectionError
    ...     return len(calls)
    >>> with instant():
    ...     anyio.run(fetch)
    4
    """
    if attempts is not None:
        options.whole(attempts, "instant(attempts)")

    def change(now: Policies, written: Policies) -> Policies:
        del written
        return now if attempts is None else _with_attempts(now, attempts, at_most=True)

    return Switch(change, waits=False)


def overrides(
    fn: Any,  # noqa: ANN401 - a guarded function, a pipeline or a manager
    /,
    *,
    attempts: int | None = None,
    policies: Pipeline | None = None,
) -> AbstractContextManager[None]:
    """Let one guarded function have other policies while the block runs.

    `attempts` is for each retry of its pipeline. `policies` is put in the
    place of all that it has: `policies=stack()` for none. Give one of the two.

    `fn` may be a method, bound or not: it is meant for every instance. It may
    also be a pipeline that is used by `call` or `run`, or a `FallbackManager`,
    whose targets are meant; they keep their own policies, so there is only
    `attempts`. A `TypeError` is raised for anything else.

    >>> import anyio
    >>> from resilient import retry
    >>> @retry(attempts=5)
    ... async def fetch() -> None:
    ...     raise ConnectionError
    >>> with overrides(fetch, attempts=1):
    ...     print(explain(fetch))
    fetch: 1 policy, outermost first
      retry             1 attempt on transient errors; full jitter 0.1 s .. 20 s
      bound             at most 1 call and no limit of time
    """
    owner = _owner(fn)
    if (attempts is None) == (policies is None):
        raise ValueError("overrides() takes attempts= or policies=: give one of the two")
    if policies is not None:
        if not isinstance(policies, Pipeline):
            raise TypeError(
                f"overrides(policies=) must be a policy or a stack, not {shown(policies)}"
            )
        if isinstance(owner, FallbackManager):
            raise TypeError("overrides(policies=) is for functions: a manager has none of its own")
        parts = policies.policies
        return Switch(lambda now, written: parts, owner=owner)  # noqa: ARG005
    number = options.whole(attempts, "overrides(attempts=)")
    return Switch(lambda now, written: _with_attempts(now, number), owner=owner)  # noqa: ARG005


def _owner(fn: Any) -> object:  # noqa: ANN401
    guard = guard_in(fn)
    if guard is not None:
        return guard
    if type(fn) is FallbackManager or isinstance(fn, Pipeline):
        return cast("object", fn)
    raise TypeError(
        f"overrides(fn) takes a guarded function, a pipeline or a FallbackManager, not {shown(fn)}"
    )


def _with_attempts(policies: Policies, attempts: int, *, at_most: bool = False) -> Policies:
    return tuple(
        _retry(part, attempts, at_most=at_most) if isinstance(part, Retry) else part
        for part in policies
    )


def _retry(part: Retry, attempts: int, *, at_most: bool) -> Retry:
    own = part.policy.attempts
    number = min(own, attempts) if at_most and own is not None else attempts
    return replace(part, policy=replace(part.policy, attempts=number))
