"""`FallbackManager`: a chain of named targets, and what is known of them.

A target is a name, an async callable, policies of its own, and the scopes that
it depends on. The manager knows nothing of HTTP or language models, and keeps
nothing of a call: what a call came to is its `Outcome`. `@fallback(to=...)` is
the same engine with the decorated function as the first target, and
`manager_of` gives the manager behind it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from resilient._breaker_part import named, worst_state
from resilient._core import options
from resilient._core.bound import Bound
from resilient._core.chain_options import chain_policy, check_routes
from resilient._core.functions import name_of
from resilient._guard import inside
from resilient._items import Items
from resilient._kinds import kind_to_await
from resilient._lints import lint_targets
from resilient._pipeline import row
from resilient._policies import chain_bound, check_streams
from resilient._runtime.chain import Chain, LastResort, TargetHealth
from resilient._runtime.clock import now
from resilient._runtime.entry import run_for_outcome
from resilient._stack import listeners_of
from resilient._switch import board
from resilient._target_list import (
    compile_alone,
    compile_chain,
    in_order,
    policies_around,
    policies_of,
    spec_of,
    streams_of,
)
from resilient.errors import AllTargetsFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from resilient._core.fallback import Midstream, Raises
    from resilient._core.options import Seconds
    from resilient._core.outcome import Outcome, Restarted
    from resilient._policies import Policy
    from resilient._runtime.listeners import Listener
    from resilient._switch import InForce
    from resilient._target import Target
    from resilient.typing import OnError, OnResult

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class FallbackManager(Generic[R]):
    """Asks targets in order until one answers.

    `deadline` is for the whole chain, in seconds (default: none). `reserve` is
    what each later target keeps of it (default: what it may need, at most an
    equal share), so that a slow first target cannot eat it all. `on` says
    which errors move on (default: every `Exception`; `on=not_a_bug` is
    strict). `on_result` makes a returned value a failure. `routes` maps error
    classes to the names of the targets that may follow. While another target
    is free, no wait above `switch_after` seconds is taken: the target rests
    until the server's hint and the next one is asked. `trip_for` is how long a
    scope is left alone after a fault that trips it (30 s: a key or an account
    is not mended sooner). `midstream="restart"` goes on with the next target
    when a stream fails after its first item. `degrade` is `value(...)` or
    `last_good(...)`. `raises` says what surfaces when all failed: the
    `"group"`, or the `"first"` or `"last"` error. `group` is the class of the
    group. `name` is used by spans and logs.

    >>> async def local(question: str) -> str:
    ...     return "42"
    >>> manager = FallbackManager([Target("local", local, timeout=10)], deadline=60)
    >>> manager.targets
    (Target('local', local),)
    """

    @overload
    def __init__(
        self,
        targets: Sequence[
            Target[R] | Callable[..., Awaitable[R]] | Callable[..., AsyncIterator[R]]
        ],
        /,
        *,
        deadline: Seconds | None = None,
        reserve: Seconds | None = None,
        on: OnError | None = None,
        on_result: OnResult | None = None,
        routes: Mapping[type[Exception], Sequence[str]] | None = None,
        switch_after: Seconds = 3,
        trip_for: Seconds = 30,
        degrade: LastResort | None = None,
        raises: Raises = "group",
        midstream: Literal["error"] = "error",
        name: str = "manager",
        listeners: Sequence[Listener] = (),
        group: Callable[[str, Sequence[Exception]], AllTargetsFailed] = AllTargetsFailed,
    ) -> None: ...

    @overload
    def __init__(
        self: FallbackManager[T | Restarted],
        targets: Sequence[Target[T] | Callable[..., AsyncIterator[T]]],
        /,
        *,
        deadline: Seconds | None = None,
        reserve: Seconds | None = None,
        on: OnError | None = None,
        on_result: OnResult | None = None,
        routes: Mapping[type[Exception], Sequence[str]] | None = None,
        switch_after: Seconds = 3,
        trip_for: Seconds = 30,
        degrade: LastResort | None = None,
        raises: Raises = "group",
        midstream: Literal["restart"],
        name: str = "manager",
        listeners: Sequence[Listener] = (),
        group: Callable[[str, Sequence[Exception]], AllTargetsFailed] = AllTargetsFailed,
    ) -> None: ...

    def __init__(
        self,
        targets: Sequence[Any],
        /,
        *,
        deadline: Seconds | None = None,
        reserve: Seconds | None = None,
        on: OnError | None = None,
        on_result: OnResult | None = None,
        routes: Mapping[type[Exception], Sequence[str]] | None = None,
        switch_after: Seconds = 3,
        trip_for: Seconds = 30,
        degrade: LastResort | None = None,
        raises: Raises = "group",
        midstream: Midstream = "error",
        name: str = "manager",
        listeners: Sequence[Listener] = (),
        group: Callable[[str, Sequence[Exception]], AllTargetsFailed] = AllTargetsFailed,
    ) -> None:
        self.name = options.text(name, "FallbackManager(name=)")
        self.targets: tuple[Target[R], ...] = in_order(targets)
        policy = chain_policy(
            "FallbackManager",
            on=on,
            on_result=on_result,
            routes=routes,
            switch_after=switch_after,
            degrade=degrade,
            raises=raises,
            midstream=midstream,
            deadline=deadline,
            reserve=reserve,
            trip_for=trip_for,
        )
        check_routes(policy.routes, [target.name for target in self.targets], "FallbackManager")
        lint_targets(self.name, [(t.name, t.scopes, policies_of(t)) for t in self.targets])
        told = listeners_of(listeners, "FallbackManager(listeners=)")
        if not callable(group):
            message = f"FallbackManager(group=) takes a class of group, not {options.shown(group)}"
            raise TypeError(message)
        self._chain = Chain(
            replace(policy, targets=tuple(map(spec_of, self.targets))),
            [target.classify for target in self.targets],
            group,
        )
        self._streams = streams_of(self.targets)
        check_streams(policy, "FallbackManager", streams=self._streams)
        self._compiled = compile_chain(
            self.name, self.targets, self._chain, told, streams=self._streams
        )
        self._written = self._chain, self._compiled
        board.add(self, _follow)

    async def run(self, /, *args: Any, **kwargs: Any) -> Outcome[R]:
        """Ask the targets with these arguments; return the answer and how it came about.

        Raises what surfaces when nobody answered: `AllTargetsFailed`, or the
        one error that kept all others from being asked.
        """
        if self.targets[0].call is None:
            message = f"the targets of {self.name} have no callable: use run_with(call, ...)"
            raise TypeError(message)
        self._refuse_stream(streams=False)
        return await run_for_outcome(self._compiled.plan, self._compiled.run, args, kwargs)

    def stream(self, /, *args: Any, **kwargs: Any) -> Items[R]:
        """Ask targets that are async generator functions; give the items of one that answers.

        >>> async def words(question: str):
        ...     yield "forty"
        ...     yield "two"
        >>> async def main():
        ...     async with FallbackManager([words]).stream("why?") as items:
        ...         async for item in items:
        ...             print(item)
        ...     print(items.outcome.target)
        >>> anyio.run(main)
        forty
        two
        words

        Until the first item it falls back as `run` does, and what fails later
        is an error. With `midstream="restart"` the next target is asked then,
        too: a `Restarted` says that the items before it are void.
        """
        self._refuse_stream(streams=True)
        return Items(self._compiled.plan, self._compiled.run, args, kwargs)

    def _refuse_stream(self, *, streams: bool) -> None:
        if self._streams != streams:
            told = "give streams: use stream(...)" if self._streams else "give no streams"
            message = f"the targets of {self.name} {told}"
            raise TypeError(message)

    async def run_with(
        self, call: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any
    ) -> Outcome[T]:
        """Ask by `call(target.name, *args, **kwargs)`, for targets that are only names."""
        kind_to_await(call, "run_with(call)")
        if self.targets[0].call is not None:
            message = f"the targets of {self.name} have callables of their own: use run(...)"
            raise TypeError(message)
        return await run_for_outcome(self._compiled.plan, self._compiled.run, (call, *args), kwargs)

    async def call_with_fallback(
        self,
        call: Callable[[str, Any], Awaitable[Any]],
        data: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Ask by `call(name, data)`; return `{"result", "model", "fallback"}`.

        The shape of the design note this library grew out of, correct this time.
        """
        outcome = await self.run_with(call, data)
        return {
            "result": outcome.value,
            "model": outcome.target,
            "fallback": outcome.fallback_used or outcome.degraded,
        }

    def health(self) -> dict[str, TargetHealth]:
        """Return how each target has done so far, by name."""
        found = self._chain.health(now())
        return {
            name: replace(found[name], breaker=worst_state(policies_around(policies, call)))
            for name, policies, call in self._guarded()
        }

    def _guarded(self) -> list[tuple[str, Sequence[Policy], Any]]:
        return [(target.name, target.policies.policies, target.call) for target in self.targets]

    @property
    def bound(self) -> Bound:
        """The worst case: at most so many calls and seconds."""
        total = Bound(0, 0.0)
        for target in self.targets:
            total = total.then(target.bound)
        return chain_bound(self._chain.policy, total)

    def explain(self) -> str:
        """Say what it asks, in which order, and the worst case."""
        number = len(self.targets)
        lines = [f"{self.name}: {number} target{'' if number == 1 else 's'}, in this order"]
        for target in self.targets:
            inner = named(target.policies.policies, target.call)
            told = "; ".join(
                f"{policy.kind}: {policy.explain(inner[place + 1 :])}"
                for place, policy in enumerate(inner)
            )
            if inside(target.call) is not None:
                nested = f"then {name_of(target.call)}, which is guarded itself"
                told = f"{told}; {nested}" if told else nested
            lines.append(row(target.name, told or "no policies of its own"))
        policy = self._chain.policy
        if policy.degrade is not None:
            lines.append(row("at last", policy.degrade.describe()))
        if policy.midstream == "restart":
            lines.append(row("midstream", "restarts with the next target"))
        if policy.deadline < inf:
            lines.append(row("deadline", f"{policy.deadline:.6g} s for the whole chain"))
        lines.append(row("bound", str(self.bound)))
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Show the names."""
        return f"<FallbackManager {self.name}: {', '.join(t.name for t in self.targets)}>"


def manager_like(
    manager: FallbackManager[Any], targets: Sequence[Target[Any]]
) -> FallbackManager[Any]:
    """Return a manager with the options of `manager` and these targets; it remembers nothing."""
    made = copy.copy(manager)
    made.targets = tuple(targets)
    chain, plan = manager._chain, manager._compiled.plan  # noqa: SLF001 - as above
    made._chain = Chain(chain.policy, chain.classify, chain.group)  # noqa: SLF001
    made._streams = streams_of(made.targets)  # noqa: SLF001
    made._compiled = compile_chain(  # noqa: SLF001
        made.name,
        made.targets,
        made._chain,  # noqa: SLF001
        plan.listeners,
        streams=made._streams,  # noqa: SLF001
    )
    return made


def _follow(manager: FallbackManager[Any], in_force: InForce | None) -> None:
    """Ask as is in force, or as was written."""
    chain, compiled = manager._written  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if in_force is not None:
        targets = [_changed(manager, target, in_force) for target in manager.targets]
        if in_force.is_alone(manager):
            compiled = compile_alone(manager.name, targets, compiled.plan)
        elif any(
            new.policies.policies != old.policies.policies
            for new, old in zip(targets, manager.targets, strict=True)
        ):
            chain = chain.anew()
            compiled = compile_chain(
                manager.name,
                targets,
                chain,
                compiled.plan.listeners,
                streams=compiled.plan.stream,
            )
    manager._chain, manager._compiled = chain, compiled  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _changed(manager: FallbackManager[Any], target: Target[Any], in_force: InForce) -> Target[Any]:
    """Return `target` with the policies that are in force for it."""
    changed = copy.copy(target)
    policies = in_force.composition(manager, target.policies)
    object.__setattr__(changed, "policies", policies)
    return changed
