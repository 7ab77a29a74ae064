"""How well a chain of models fails over: sixteen faults, a scorecard, and a table of faults.

    python -m resilient_openrouter.failover

plays the scenarios of failoverbench (methodology v0.1), on our own emulator
and with our own code, in virtual time, and then each row of the table that
`docs/failover.md` shows. It ends with 0 if nothing is less than it should be.

Verdicts are the benchmark's: `pass` is rescued with every check passed,
`partial` rescued with an advisory check failed, `safe` not rescued but a clean
error in time, `fail` a hang, a truncated success or a required check failed.
"""

from __future__ import annotations

from resilient_openrouter.failover._bench import FALLBACK, PRIMARY, TEXT, System, system
from resilient_openrouter.failover._matrix import ROWS, Row, RowResult, run_row
from resilient_openrouter.failover._scenarios import SCENARIOS, Scenario
from resilient_openrouter.failover._verdict import Result, Verdict, run

__all__ = (
    "FALLBACK",
    "PRIMARY",
    "Result",
    "Row",
    "RowResult",
    "ROWS",
    "run",
    "run_row",
    "Scenario",
    "SCENARIOS",
    "System",
    "system",
    "TEXT",
    "Verdict",
)

for _made in (Result, Row, RowResult, Scenario, run, run_row, system):
    _made.__module__ = __name__  # as it is imported, shown and pickled
