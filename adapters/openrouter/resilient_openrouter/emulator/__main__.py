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
from pathlib import Path
from typing import Any, cast

import anyio

from resilient_openrouter.emulator import SCENARIOS, Emulator
from resilient_openrouter.emulator.server import NO_PATH


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    options = _parser().parse_args(argv)
    if options.list:
        print("\n".join(SCENARIOS))
        return 0
    try:
        anyio.run(_serve, _scripted(options.port, _script(options.script)))
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError) as error:
        print(f"resilient_openrouter.emulator: {error}", file=sys.stderr)
        return 1
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


def _script(path: Path | None) -> dict[str, Any]:
    return {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))


def _scripted(port: int, script: dict[str, Any]) -> Emulator:
    emulator = Emulator(port=port, default=str(script.get("default", "ok")))
    models = script.get("models", {})
    if not isinstance(models, dict):
        raise ValueError("models: a table of model = [scenarios] is needed")  # noqa: TRY004
    for model, scenarios in cast("dict[str, list[str]]", models).items():
        emulator.script(model, scenarios)
    return emulator


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
        took = (entry.finished or entry.began) - entry.began
        asked = entry.path if entry.scenario == NO_PATH else entry.model
        print(
            f"{entry.number:4}  {asked}  {entry.scenario}  {entry.ended}  {took:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
