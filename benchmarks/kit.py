"""What a property of a user's costs: examples of a four-policy stack, on both backends."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, given, settings

from resilient import circuit_breaker, consecutive, retry, stack, timeout
from resilient.testing import RERUNS, schedules_for, simulate

EXAMPLES = 300


@stack(
    timeout(30),
    retry(attempts=4),
    circuit_breaker("benchmarks.kit", trip=consecutive(5)),
    timeout(8),
)
async def ask(question: str) -> str: ...


def spent() -> float:
    """Return the seconds of CPU time that the examples take."""

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules_for(ask))
    def holds(schedule):
        for backend in ("asyncio", "trio"):
            simulate(ask, schedule, backend=backend).check(skip=RERUNS)

    began = time.process_time()
    holds()
    return time.process_time() - began
