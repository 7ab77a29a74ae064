"""What Hypothesis is told of the library, where a process has both.

Whichever is imported last tells: Hypothesis through its entry point
(`resilient_plugins.hypothesis`), the library when it finds Hypothesis loaded.
"""

from __future__ import annotations

import sys
from typing import Any

from resilient._runtime.clock import process_random


def tell_hypothesis() -> None:
    """Make the waits of guarded functions part of what Hypothesis replays, and draw by type.

    The process's random source, which spreads waits, is seeded anew for each
    example: an example that fails fails again. Runs in virtual time have a
    source of their own. `st.from_type(FailureSchedule)` is `schedules()`.
    """
    hypothesis: Any = sys.modules.get("hypothesis")
    if not hasattr(hypothesis, "register_random"):
        return  # it is not there, or is being imported: then it asks by itself
    hypothesis.register_random(process_random)
    kit: Any = sys.modules.get("resilient.testing")
    if hasattr(kit, "FailureSchedule"):
        hypothesis.strategies.register_type_strategy(kit.FailureSchedule, _drawn)


def _drawn(_: object) -> object:
    kit: Any = sys.modules["resilient.testing"]
    return kit.schedules()
