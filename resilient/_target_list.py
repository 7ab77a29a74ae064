"""The targets of a manager: put in order, checked, and compiled into one call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resilient._core.chain_options import listed
from resilient._core.fallback import TargetSpec
from resilient._core.functions import name_of
from resilient._guard import inside
from resilient._kinds import check_alike, is_stream, kind_to_call
from resilient._pipeline import Compiled, build
from resilient._policies import Place, Targets, unique
from resilient._runtime.attempt import NamedLayer
from resilient._runtime.fallback import fallback_layer
from resilient._runtime.plan import Plan
from resilient._runtime.stream_fallback import stream_fallback_layer
from resilient._target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient._policies import Policy
    from resilient._runtime.attempt import Layer
    from resilient._runtime.chain import Chain
    from resilient._runtime.listeners import Listener


def policies_of(target: Target[Any]) -> tuple[Policy, ...]:
    """Return its policies, those of a guarded callable included."""
    found = inside(target.call)
    guarded: tuple[Policy, ...] = () if found is None else found.pipeline.policies
    return target.policies.policies + guarded


def spec_of(target: Target[Any]) -> TargetSpec:
    return TargetSpec(
        name=target.name,
        scopes=target.scopes,
        seconds=target.bound.seconds,
        enabled=target.enabled,
    )


def streams_of(targets: Sequence[Target[Any]]) -> bool:
    """Tell whether the targets give streams: all do, or none."""
    calls = [target.call for target in targets if target.call is not None]
    streams = any(map(is_stream, calls))
    check_alike(calls, "FallbackManager(targets)", streams=streams)
    return streams


def compile_chain(
    name: str,
    targets: Sequence[Target[Any]],
    chain: Chain,
    listeners: tuple[Listener, ...],
    *,
    streams: bool,
) -> Compiled:
    known = Targets()
    runs: list[Layer] = []
    places: list[int] = []
    last = chain.policy.degrade is None
    for index, target in enumerate(targets):
        places.append(len(known.names))
        place = Place(
            leaves=last and index == len(targets) - 1,
            chain=chain,
            index=index,
            classify=target.classify,
            fn=target.call,
            name=target.name if target.call is None else None,
            stream=streams,
        )
        runs.append(build(target.policies.policies, _asked(target), known, place, target.name))
    chain.settle(chain.policy.targets, places)
    if streams:
        run = stream_fallback_layer(chain, runs)
    else:
        run = fallback_layer(chain, runs, named=targets[0].call is None)
    plan = Plan(
        name=name,
        function=name,
        policies=("fallback",),
        targets=tuple(known.names),
        listeners=listeners,
        describes=tuple(known.describes),
        single=tuple(known.single),
        retries=any(policy.kind == "retry" for t in targets for policy in t.policies.policies),
        stream=streams,
    )
    return Compiled(plan, run, run, (chain,))


def policies_around(policies: Sequence[Policy], fn: Any) -> list[tuple[Policy, Any]]:  # noqa: ANN401
    """Return all policies that a call of `fn` meets, each with what it is around."""
    found = [(policy, fn) for policy in policies]
    guarded = inside(fn)
    if guarded is not None:
        found += [(policy, guarded.fn) for policy in guarded.pipeline.policies]
    return found


def _asked(target: Target[Any]) -> Any:  # noqa: ANN401
    return NamedLayer(target.name) if target.call is None else target.call


def _named(call: Any, names: Sequence[str]) -> Target[Any]:  # noqa: ANN401
    kind_to_call(call, "FallbackManager(targets)")
    return Target(unique(name_of(call), names), call)


def in_order(targets: object) -> tuple[Target[Any], ...]:
    made: list[Target[Any]] = []
    names: list[str] = []
    for given in listed(targets, "FallbackManager(targets)", "Targets or async functions"):
        # Not `isinstance`: pyright would take it for a target of something unknown.
        is_target = issubclass(type(given), Target)
        target: Target[Any] = given if is_target else _named(given, names)
        if target.name in names:
            raise ValueError(
                f"FallbackManager(targets) has {target.name!r} twice: names tell targets apart"
            )
        made.append(target)
        names.append(target.name)
    if not made:
        raise ValueError("FallbackManager(targets) needs at least one target")
    if len({target.call is None for target in made}) > 1:
        raise ValueError("FallbackManager(targets): either every target has a callable or none has")
    return tuple(sorted(made, key=lambda target: target.priority))


def compile_alone(name: str, targets: Sequence[Target[Any]], before: Plan) -> Compiled:
    """Compile the first of `targets` that is enabled, and no chain around it."""
    first = next((target for target in targets if _is_enabled(target)), targets[0])
    known = Targets()
    place = Place(classify=first.classify, fn=first.call, stream=before.stream)
    run = build(first.policies.policies, _asked(first), known, place, first.name)
    kinds = tuple(policy.kind for policy in first.policies.policies)
    plan = replace(
        before,
        policies=kinds,
        targets=tuple(known.names),
        describes=tuple(known.describes),
        single=tuple(known.single),
        retries="retry" in kinds,
    )
    return Compiled(replace(plan, name=name), run, run)


def _is_enabled(target: Target[Any]) -> bool:
    return target.enabled if isinstance(target.enabled, bool) else target.enabled()
