"""What the emulated server can answer, as data.

A scenario says what one answer looks like: its status and headers, what comes
before the body, the body, and how it ends. A completion is streamed to whoever
asks for a stream. Texts that begin with `$` are filled in for each request:

    $id        a fresh generation id        $model     the model as it was asked for
    $served    its dated name               $provider  the provider that serves it
    $filler    `size` million letters
    $<name>    a parameter of the scenario, such as `e429_upstream_hint?seconds=3`

`PARAMETERS` holds what a parameter is without being given.
"""

from __future__ import annotations

from resilient_openrouter.emulator.scenarios import (
    connections,
    errors_in_200,
    failover,
    refusals,
    sizes,
    streams,
    successes,
)
from resilient_openrouter.emulator.scenarios.connections import SWITCHES
from resilient_openrouter.emulator.scenarios.shape import PARAMETERS, Ending, Scenario, Switch

__all__ = ("Ending", "PARAMETERS", "Scenario", "SCENARIOS", "Switch", "SWITCHES")

SCENARIOS: dict[str, Scenario] = (
    successes.SUCCESSES
    | errors_in_200.ERRORS_IN_200
    | refusals.REFUSALS
    | streams.STREAMS
    | sizes.SIZES
    | connections.CONNECTIONS
    | failover.FAILOVER
)
