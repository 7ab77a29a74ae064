"""The driver of `circuit_breaker` around a stream: one permit, to the end of the stream.

What the circuit learns is how the stream ended: well, with an error of its
source before or after the first item, or in a way that says nothing of the
source. The time that a consumer takes is not the service's: a stream is slow
when its first item is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._runtime.breaker import Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient._core.breaker import Permit
    from resilient._core.faults import Classify
    from resilient._core.outcome import Verdict
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient._runtime.circuit import Circuit
    from resilient._runtime.opened import Opened
    from resilient._runtime.world import World


def stream_breaker_layer(
    settle: Callable[[World], Settled], inner: Layer, classify: Classify | None = None
) -> Layer:
    """Let the stream of `inner` be opened while its circuit allows it, as `breaker_layer` does."""
    last = Settled(None)  # as there

    async def guarded(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Opened:
        nonlocal last
        known = last
        if known.world is not call.runtime.world:
            last = known = settle(call.runtime.world)
        circuit = known.circuit
        if circuit is None:
            assert known.find is not None
            circuit = known.find(args, kwargs)
        permit = circuit.admit(call)
        before = call.breaker_state
        call.breaker_state = circuit.name, circuit.breaker.state
        try:
            opened: Opened = await inner(call, args, kwargs)
        except BaseException as error:
            call.breaker_state = before
            circuit.fail(call, permit, error, classify)
            raise
        call.breaker_state = before
        if permit is not None:
            _watch(call, circuit, permit, classify, opened)
        return opened

    return guarded


def _watch(
    call: Call, circuit: Circuit, permit: Permit, classify: Classify | None, opened: Opened
) -> None:
    """Settle `permit` when the stream is over, or at once where its first item is bad."""
    if circuit.judge is not None and not opened.exhausted:
        try:
            bad = circuit.judge.decide(opened.first)
        except BaseException:
            circuit.release(call, permit)
            raise
        if bad is not False:
            circuit.succeed(call, permit, bad=True)
            return
    answered = call.runtime.clock()

    def told(verdict: Verdict, error: Exception | None) -> None:
        if verdict == "success":
            circuit.succeed(call, permit, took=answered - permit.granted)
        elif error is not None:
            circuit.fail(call, permit, error, classify)
        else:
            circuit.release(call, permit)

    opened.at_end(told)
