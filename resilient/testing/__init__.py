"""Test what a bad day does to an async function, without waiting for it.

`virtual_time` runs an async function on a clock that jumps: a test of an hour
of retries takes milliseconds and reads exact times.
"""

from __future__ import annotations

from resilient.testing._leftovers import leftovers
from resilient.testing._run import Stuck
from resilient.testing._virtual import virtual_time

__all__ = (
    "Stuck",
    "leftovers",
    "virtual_time",
)
