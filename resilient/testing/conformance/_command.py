"""`python -m resilient.testing conformance FILE...`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import resources, util
from typing import TYPE_CHECKING, cast

from resilient.testing.conformance._check import check
from resilient.testing.conformance._load import Case, MalformedError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient.testing._virtual import Backend

HOLDS, FAILED, MALFORMED = 0, 1, 2


def main(argv: Sequence[str]) -> int:
    """Run the cases of the files; return 0 if all hold, 1 if one does not, 2 for bad files."""
    options = _parser().parse_args(argv)
    if options.schema:
        schema = resources.files("resilient.testing.conformance").joinpath("schema.json")
        _say(schema.read_text(encoding="utf-8").removesuffix("\n"))
        return HOLDS
    backends = _backends(options.backend)
    if not options.files:
        return _refuse("name at least one file of cases")
    if "trio" in backends and util.find_spec("trio") is None:
        return _refuse(
            "trio is not there: pip install 'resilient-policies[testing]', or --backend asyncio"
        )
    cases, mistakes = _all(options.files)
    if mistakes:
        return _refuse(*mistakes)
    chosen = [one for one in cases if not options.only or _is_wanted(one.id, options.only)]
    if not chosen:
        return _refuse(f"no case has an id that begins with {' or '.join(options.only)}")
    failed = sum(_report(case, backends, quiet=options.quiet) for case in chosen)
    on = " and ".join(backends)
    verdict = "all hold" if not failed else f"{failed} {'does' if failed == 1 else 'do'} not hold"
    _say(f"{len(chosen)} case{'' if len(chosen) == 1 else 's'} on {on}: {verdict}")
    return FAILED if failed else HOLDS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m resilient.testing conformance",
        description="Run conformance cases in virtual time and report each by its id.",
        epilog="Exit status: 0 all hold, 1 some do not, 2 a file is malformed.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a JSON file of cases")
    parser.add_argument("--backend", choices=("asyncio", "trio", "both"), default="both")
    parser.add_argument(
        "--only",
        action="append",
        metavar="ID",
        default=[],
        help="the case of this id and its variants; may be repeated",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="tell only what does not hold")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of the format")
    return parser


def _backends(chosen: str) -> list[Backend]:
    return ["asyncio", "trio"] if chosen == "both" else [cast("Backend", chosen)]


def _all(files: Sequence[str]) -> tuple[list[Case], list[str]]:
    cases: list[Case] = []
    mistakes: list[str] = []
    homes: dict[str, str] = {}
    for file in files:
        try:
            found = load(file)
        except MalformedError as error:
            mistakes.append(str(error))
            continue
        for case in found:
            if case.id in homes:
                mistakes.append(f"{file}: {case.id}: id: is one of {homes[case.id]} as well")
            homes[case.id] = file
        cases += found
    return cases, mistakes


def _is_wanted(name: str, wanted: Sequence[str]) -> bool:
    return any(name == one or name.startswith(f"{one}-") for one in wanted)


def _report(case: Case, backends: Sequence[Backend], *, quiet: bool) -> bool:
    told = {backend: check(case, backend) for backend in backends}
    failed = any(told.values())
    if failed or not quiet:
        _say(f"{'FAILED' if failed else 'ok':6} {case.id:24} {case.fact}")
    for backend, wrong in told.items():
        for one in wrong:
            _say(f"       {backend}: {one}")
    return failed


def _refuse(*reasons: str) -> int:
    for reason in reasons:
        print(reason, file=sys.stderr)
    return MALFORMED


def _say(line: str) -> None:
    """Print a line, at once; where nobody reads any more, the exit status still tells."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # What is still to be written, also when Python ends, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
