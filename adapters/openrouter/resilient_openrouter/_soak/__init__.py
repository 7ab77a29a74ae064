"""`resilient soak`: many callers at once over a chain of models, and what holds for every outcome.

    resilient soak --callers 500 --faults faults.toml

`_plan` says what is wanted, `_load` makes the calls, `_course` is what one of
them came to, `_invariants` are the facts that hold for each, `_tally` counts,
`_report` prints.
"""

from __future__ import annotations

from resilient_openrouter._soak._command import main

__all__ = ("main",)
