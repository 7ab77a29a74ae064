"""Policies in order, and what they come to around a function.

A `Composition` is a frozen value: it can be put around any number of
functions, and compiling it gives each its own call, its own chain and its own
name. The first part is the outermost.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from resilient._breaker_part import named
from resilient._core.bound import Bound
from resilient._core.functions import name_of
from resilient._guard import guard_in, inside
from resilient._kinds import is_stream, returns_stream
from resilient._policies import Fallback, Place, Targets, as_layer, bound_of, repeats
from resilient._runtime.entry import entry
from resilient._runtime.plan import Plan
from resilient._runtime.stream import stream_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient._policies import Policy
    from resilient._runtime.attempt import Layer
    from resilient._runtime.chain import Chain
    from resilient._runtime.listeners import Listener


@dataclass(frozen=True, slots=True)
class Compiled:
    """A pipeline around one function."""

    plan: Plan
    run: Layer
    call: Callable[..., Any]
    chains: tuple[Chain, ...] = ()
    """The chains of its fallbacks, outermost first."""


@dataclass(frozen=True, kw_only=True)
class Composition:
    """An ordered stack of policies, outermost first."""

    policies: tuple[Policy, ...] = ()
    name: str | None = None
    listeners: tuple[Listener, ...] = ()

    @property
    def bound(self) -> Bound:
        """The worst case: at most so many calls and seconds."""
        return bound_of(self.policies)

    def compile(self, fn: Callable[..., Any]) -> Compiled:
        """Compile the call of `fn` through these policies."""
        targets = Targets()
        stream = is_stream(fn)
        run = build(self.policies, fn, targets, Place(fn=fn, stream=stream), name_of(fn))
        plan = plan_of(self, fn, targets, self.name or name_of(fn), stream=stream)
        call = stream_entry(plan, run) if stream else entry(plan, run)
        _look_like(call, fn)
        return Compiled(plan, run, call, tuple(targets.chains))


def build(
    policies: Sequence[Policy],
    fn: Callable[..., Any],
    targets: Targets,
    place: Place,
    name: str,
) -> Layer:
    """Compile `policies` around `fn`, which is noted as the target `name`."""

    def around(index: int) -> Callable[[Place], Layer]:
        def compile_at(here: Place) -> Layer:
            if index == len(policies):
                single = not any(repeats(policy) for policy in policies)
                targets.add(name, fn, single=single)
                return as_layer(fn, stream=here.stream)
            return policies[index].layer(here, targets, policies[index + 1 :], around(index + 1))

        return compile_at

    return around(0)(place)


def plan_of(
    composition: Composition, fn: Callable[..., Any], targets: Targets, name: str, *, stream: bool
) -> Plan:
    """Gather what all calls have in common."""
    kinds = tuple(policy.kind for policy in composition.policies)
    return Plan(
        name=name,
        function=f"{getattr(fn, '__module__', '')}.{name_of(fn)}",
        policies=kinds,
        targets=tuple(targets.names),
        listeners=composition.listeners,
        describes=tuple(targets.describes),
        single=tuple(targets.single),
        retries="retry" in kinds,
        stream=stream,
    )


def bound_of_function(fn: Any) -> Bound:  # noqa: ANN401
    """Return the worst case of calling `fn`: its own where it is guarded."""
    found = inside(fn)
    return Bound() if found is None else cast("Bound", found.pipeline.bound)


def explain_guarded(fn: Any, composition: Composition, name: str) -> str:  # noqa: ANN401
    """Return the table that `explain` prints for `composition` around `fn`."""
    policies = named(composition.policies, fn)
    number = f"{len(policies)} polic{'y' if len(policies) == 1 else 'ies'}"
    lines = [f"{name}: {number}, outermost first"]
    for place, policy in enumerate(policies):
        lines.append(row(policy.kind, policy.explain(policies[place + 1 :])))
    if fn is not None and is_stream(fn):
        lines.append(row("stream", "guarded until its first item; after it nothing is replayed"))
    elif fn is not None and returns_stream(fn):
        lines.append(row("stream", "guarded until it is returned, and no longer"))
    nested = _guarded_inside(fn)
    if nested is not None:
        lines.append(row("then", f"{nested}, which is guarded itself"))
    lines.append(row("bound", say_bound(policies)))
    return "\n".join(lines)


def row(head: str, text: str) -> str:
    """Return one line of an explanation."""
    return f"  {head:<17} {text}"


def say_bound(policies: Sequence[Policy]) -> str:
    """Say the worst case in words; a fallback's targets stand behind what is inside it."""
    if policies and isinstance(policies[0], Fallback) and policies[0].to:
        fallback = policies[0]
        inside = bound_of(policies[1:])
        further = [
            _say_target(name_of(fn), bound)
            for fn, bound in zip(fallback.to, fallback.bounds, strict=True)
        ]
        return f"{inside}, then {', then '.join(further)}"
    return str(bound_of(policies))


def _say_target(name: str, bound: Bound) -> str:
    if bound == Bound():
        return f"one fallback call (unbounded: {name} has no timeout)"
    return f"{bound} of {name}"


def _guarded_inside(fn: Any) -> str | None:  # noqa: ANN401
    """Return the name of a foreign wrapper around a guard; only `explain` looks for one."""
    inner = fn
    for _ in range(100):
        if guard_in(inner) is not None:
            return name_of(fn)
        if isinstance(inner, functools.partial):
            inner = inner.func
            continue
        inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            return None
    return None


def _look_like(call: Any, fn: Any) -> None:  # noqa: ANN401
    """Give `call` the name, docstring and signature of `fn`."""
    if hasattr(fn, "__qualname__"):
        functools.update_wrapper(call, fn)
    else:  # an object or a partial: what it holds is not what a function holds
        functools.update_wrapper(call, fn, updated=())
        call.__name__ = call.__qualname__ = name_of(fn)
