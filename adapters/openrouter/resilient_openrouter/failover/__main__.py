"""The scorecard and the table of faults as a program; the status is 0 if all is as it should be."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from resilient_openrouter.failover import ROWS, SCENARIOS, run, run_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_openrouter.failover import Result, RowResult

_DEPARTURES: Final = """\
departures from the baseline of the benchmark (at most 2 retries, 30 s of patience, one fallback):
  1 retry for each model; `clocks.interactive`: no byte for 10 s or no word for 10 s ends an
  attempt, silence for 15 s or no further word for 20 s ends a stream; answers travel as streams
  and are collected; time is virtual, and the server is the emulator in this process"""


def main(argv: list[str] | None = None) -> int:
    """Play everything; return 0 if nothing is less than it should be."""
    options = _parser().parse_args(argv)
    # Every fault has its line in the log; here they are the subject, and told below.
    logging.getLogger("resilient").addHandler(logging.NullHandler())
    results = [run(scenario, backend=options.backend) for scenario in SCENARIOS]
    rows = [run_row(row, backend=options.backend) for row in ROWS]
    if options.json:
        told = {
            "scenarios": [asdict(each) for each in results],
            "faults": [asdict(r) for r in rows],
        }
        print(json.dumps(told, indent=1))
    else:
        print("\n".join((*card(results), "", *table(rows))))
    passed = all(each.verdict == "pass" for each in results)
    return 0 if passed and all(row.is_right for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m resilient_openrouter.failover",
        description="Play sixteen faults and a table of them against a chain, in virtual time.",
    )
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def card(results: Sequence[Result]) -> list[str]:
    """Return the scorecard: a line for each scenario, and what it adds up to."""
    width = max(len(each.fault) for each in results)
    lines = [f"{'':4} {'fault':{width}}  verdict  primary  fallback  longest call"]
    for each in results:
        lines.append(
            f"{each.id:4} {each.fault:{width}}  {each.verdict:7}  {each.primary:7}"
            f"  {each.fallback:8}  {each.seconds:10.1f} s"
        )
        lines += [f"     ! {found}" for found in each.findings]
    names = ("pass", "partial", "safe", "fail")
    counts = {name: sum(each.verdict == name for each in results) for name in names}
    rest = ", ".join(f"{counts[name]} {name}" for name in names[1:])
    return [*lines, "", f"{counts['pass']} of {len(results)} pass ({rest})", "", _DEPARTURES]


def table(rows: Sequence[RowResult]) -> list[str]:
    """Return the table of faults: what was made of each, and what was wrong about it."""
    width = max(len(row.fault) for row in rows)
    lines = [f"{row.fault:{width}}  {_told(row)}" for row in rows]
    wrong = sum(not row.is_right for row in rows)
    return [*lines, "", f"{len(rows) - wrong} of {len(rows)} faults end as they should"]


def _told(row: RowResult) -> str:
    return row.found if row.is_right else f"{row.found}  ! should be: {row.expected}"


if __name__ == "__main__":
    sys.exit(main())
