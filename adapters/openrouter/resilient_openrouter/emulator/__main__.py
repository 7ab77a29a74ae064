"""The emulated OpenRouter as a program: `python -m resilient_openrouter.emulator --port 0`.

It prints its base URL, then one line for each answer, and runs until it is
interrupted. `--script faults.toml` says which model fails how:

    default = "ok"

    [models]
    "openai/gpt-4o" = ["e429_upstream_hint?seconds=26"]
    "anthropic/claude-sonnet-4.5" = ["stall"]
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

import anyio

from resilient_openrouter.emulator import SCENARIOS, SWITCHES, Emulator, Entry
from resilient_openrouter.emulator.server import LAST_PORT, LOOKUP, NO_PATH

_TABLES: Final = ("default", "models")


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    options = _parser().parse_args(argv)
    if options.list:
        print("\n".join([*SCENARIOS, *SWITCHES]))
        return 0
    if not 0 <= options.port <= LAST_PORT:
        return _refused(f"--port must be from 0 to {LAST_PORT}, not {options.port}")
    try:
        anyio.run(_serve, _scripted(options.port, options.script))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _refused(f"{where}{error.strerror or error}")
    except ValueError as error:
        return _refused(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m resilient_openrouter.emulator",
        description="Serve an emulated OpenRouter on 127.0.0.1.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--script", type=Path, help="a TOML file: which model fails how")
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    return parser


def _scripted(port: int, path: Path | None) -> Emulator:
    if path is None:
        return Emulator(port=port)
    try:
        return played(port, tomllib.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:  # no TOML, no Unicode, no script
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def played(port: int, script: dict[str, Any]) -> Emulator:
    """Make an emulator that plays a script."""
    for name in script:
        if name not in _TABLES:
            near = get_close_matches(name, _TABLES, n=1)
            meant = f"; is {near[0]!r} meant?" if near else ""
            raise ValueError(f"a script has `default` and [models], not {name!r}{meant}")
    emulator = Emulator(port=port, default=str(script.get("default", "ok")))
    for model, scenarios in _models(script.get("models", {})).items():
        emulator.script(model, scenarios)
    return emulator


def _models(table: object) -> dict[str, Any]:
    if isinstance(table, dict):
        return cast("dict[str, Any]", table)
    raise ValueError("models: a table of model = [scenarios] is needed")


def _refused(line: str) -> int:
    print(f"resilient_openrouter.emulator: {line}", file=sys.stderr)
    return 1


async def _serve(emulator: Emulator) -> None:
    async with emulator:
        print(f"listening on {emulator.url}", flush=True)
        await _report(emulator)


async def _report(emulator: Emulator) -> None:
    """Print one line for each answer that has ended, as they end in order of arrival."""
    for number in itertools.count(1):
        await emulator.journal.begun(number)
        entry = emulator.journal[number - 1]
        await entry.over()
        print(told(entry), flush=True)


def told(entry: Entry) -> str:
    """Say in one line what was asked, what was answered, who ended it and after how long."""
    took = (entry.finished or entry.began) - entry.began
    asked = entry.path if entry.scenario in {NO_PATH, LOOKUP} else entry.model
    return f"{entry.number:4}  {asked}  {entry.scenario}  {entry.ended}  {took:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
