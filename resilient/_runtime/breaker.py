"""The driver of `circuit_breaker`.

On a clean call it looks at the closed period of its circuit, calls, and writes
a success into that period: no object, no lock. All else (a circuit that is not
closed, somebody who listens, slow calls, a judged result) goes through a
permit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient._core.breaker import Permit
    from resilient._core.faults import Classify
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient._runtime.circuit import Circuit
    from resilient._runtime.world import World

    Find = Callable[[tuple[Any, ...], Mapping[str, Any]], Circuit]
    """Finds the circuit of a call in its arguments."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a compiled breaker knows of the world that called last."""

    world: World | None
    circuit: Circuit | None = None
    """The one circuit there is, or"""
    find: Find | None = None
    """how to find that of a call."""


def breaker_layer(
    settle: Callable[[World], Settled], inner: Layer, classify: Classify | None = None
) -> Layer:
    """Let `inner` be called while its circuit allows it; `settle` looks its circuits up.

    `classify` is what the target that it stands in knows of its errors.
    """
    # Nearly always the right world. Replaced as a whole, so that threads of two
    # worlds never see half of each.
    last = Settled(None)

    async def guarded(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        nonlocal last
        known = last
        if known.world is not call.runtime.world:
            last = known = settle(call.runtime.world)
        circuit = known.circuit
        if circuit is None:
            assert known.find is not None
            circuit = known.find(args, kwargs)
        evidence = circuit.breaker.evidence
        if evidence is None or call.loud or not circuit.plain:
            permit = circuit.admit(call)
            return await _with_permit(call, circuit, permit, classify, inner, args, kwargs)
        try:
            value = await inner(call, args, kwargs)
        except Exception as error:
            circuit.fail(call, evidence, error, classify)
            raise
        evidence.success(call.runtime.clock() if circuit.timed else 0.0)
        return value

    return guarded


async def _with_permit(
    call: Call,
    circuit: Circuit,
    permit: Permit | None,
    classify: Classify | None,
    inner: Layer,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    before = call.breaker_state
    call.breaker_state = circuit.name, circuit.breaker.state
    try:
        value = await inner(call, args, kwargs)
    except BaseException as error:
        call.breaker_state = before
        circuit.fail(call, permit, error, classify)
        raise
    call.breaker_state = before
    circuit.returned(call, permit, value)
    return value
