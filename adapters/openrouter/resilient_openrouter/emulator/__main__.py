"""The emulated OpenRouter as a program: `python -m resilient_openrouter.emulator --port 0`.

It prints its base URL, then one line for each answer when it has ended, and
runs until it is interrupted. `--script faults.toml` says which model fails how
(see `scripts`), `--journal FILE` writes what is known of each request as a line
of JSON (`-` is standard output), what the client said only with `--bodies`.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from resilient_openrouter.emulator import SWITCHES, Emulator, Entry
from resilient_openrouter.emulator._dialects import OPENAI_DIALECT, OPENROUTER
from resilient_openrouter.emulator.scripts import read_script
from resilient_openrouter.emulator.server import LAST_PORT
from resilient_openrouter.emulator.service import LOOKUP

if TYPE_CHECKING:
    from typing import TextIO

_KEPT = 10_000
"""How many requests are remembered: a load test of days must not fill the memory."""


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    options = _parser().parse_args(argv)
    if options.list:
        print("\n".join(_listed()))
        return 0
    if not 0 <= options.port <= LAST_PORT:
        return _refused(f"--port must be from 0 to {LAST_PORT}, not {options.port}")
    try:
        _run(options)
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
        description="Serve an emulated OpenRouter on 127.0.0.1, and an OpenAI at /v1 beside it.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--script", type=Path, help="a TOML file: which model fails how")
    parser.add_argument("--seed", type=int, help="of the dice; takes the place of the script's")
    parser.add_argument(
        "--journal", metavar="FILE", help="write each request as a line of JSON; - is stdout"
    )
    parser.add_argument("--bodies", action="store_true", help="with what the client said")
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    return parser


def _listed() -> list[str]:
    others = (f"{OPENAI_DIALECT.name}: {name}" for name in OPENAI_DIALECT.scenarios)
    return [*OPENROUTER.scenarios, *SWITCHES, *others]


def _run(options: argparse.Namespace) -> None:
    given: dict[str, Any] = {"port": options.port, "keep": _KEPT}
    if options.seed is not None:
        given["seed"] = options.seed
    emulator = Emulator(**given) if options.script is None else read_script(options.script, **given)
    with ExitStack() as stack:
        journal: TextIO | None = None
        if options.journal == "-":
            journal = sys.stdout
        elif options.journal is not None:
            journal = stack.enter_context(Path(options.journal).open("a", encoding="utf-8"))

        def ended(entry: Entry) -> None:
            if journal is not None:
                line = json.dumps(entry.as_dict(body=options.bodies), ensure_ascii=False)
                print(line, file=journal, flush=True)
            if journal is not sys.stdout:
                print(told(entry), flush=True)

        emulator.journal.ended = ended
        anyio.run(_serve, emulator, sys.stderr if journal is sys.stdout else sys.stdout)


def _refused(line: str) -> int:
    print(f"resilient_openrouter.emulator: {line}", file=sys.stderr)
    return 1


async def _serve(emulator: Emulator, console: TextIO) -> None:
    async with emulator:
        print(f"listening on {emulator.url}", file=console, flush=True)
        await anyio.sleep_forever()


def told(entry: Entry) -> str:
    """Say in one line what was asked, what was answered, who ended it and after how long."""
    took = (entry.finished or entry.began) - entry.began
    asked = entry.path if entry.scenario in {OPENROUTER.no_path, LOOKUP} else entry.model
    return f"{entry.number:4}  {asked}  {entry.scenario}  {entry.ended}  {took:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
