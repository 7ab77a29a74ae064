"""The command: what is asked for, what makes no sense, and the exit status."""

from __future__ import annotations

import argparse
import re
import sys
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from resilient_openrouter._address import checked_url
from resilient_openrouter._key import VARIABLE, Key, key_for
from resilient_openrouter._otlp import told
from resilient_openrouter._screen import Screen
from resilient_openrouter._soak._faults import MODELS, mixed
from resilient_openrouter._soak._load import soak
from resilient_openrouter._soak._plan import ROUNDS, Plan
from resilient_openrouter._soak._report import report
from resilient_openrouter.emulator.scripts import read_script
from resilient_openrouter.errors import MissingKey

if TYPE_CHECKING:
    from resilient_openrouter._soak._result import Result
    from resilient_openrouter.emulator import Emulator

__all__ = ("main",)

_CALLERS: Final = 100
_DEADLINE: Final = 60.0
_PATIENCE: Final = 60.0
_MOST_CALLERS: Final = 10_000
# The emulator shares this process with its callers: where all of them ask at once, nobody is quick.
_LEAST: Final = 2.0
_CALLERS_A_SECOND: Final = 50


def main(argv: list[str]) -> int:
    """Make the calls and print the report; return 0, 1 if a fact broke, 2 if nothing was asked."""
    options = _parser().parse_args(argv)
    screen = Screen()
    try:
        plan = _plan(options)
        screen.write([(_title(plan, options), "title")])
        with told("resilient-soak"):
            result = anyio.run(_soak, plan, screen)
    except MissingKey as error:
        return _refused(str(error).replace(" or pass api_key=", ""))
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _refused(f"{where}{error.strerror or error}")
    except ValueError as error:
        return _refused(re.sub(r"\bbase_url\b", "--base-url", str(error)))
    screen.write(report(plan, result))
    return 0 if result.is_sound else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resilient soak",
        description="Let many callers ask a chain of models at once, and look at every outcome.",
        epilog="Exit status: 0 if all held, 1 if something broke, 2 if nobody could be asked.",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        dest="models",
        metavar="NAME",
        help="a model; give it again for the models to fall back to, in order"
        " (default: those of the script, or three)",
    )
    parser.add_argument(
        "--callers", type=int, default=_CALLERS, metavar="N", help="at once (default: %(default)s)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        metavar="N",
        help=f"calls in all (default: {ROUNDS} of each caller; no default with --base-url)",
    )
    parser.add_argument(
        "--faults",
        type=Path,
        metavar="FILE",
        help="a script of the emulator in TOML (default: mixed faults)",
    )
    parser.add_argument("--seed", type=int, help="of the dice of the faults")
    parser.add_argument(
        "--deadline",
        type=float,
        default=_DEADLINE,
        metavar="SECONDS",
        help="for each call (default: %(default)g)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help=f"for each attempt (default: {_LEAST:g}, and 1 more for each {_CALLERS_A_SECOND}"
        f" callers; with --base-url {_PATIENCE:g})",
    )
    parser.add_argument(
        "--attempts", type=int, default=2, metavar="N", help="on each model (default: 2)"
    )
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--degrade", metavar="TEXT", help="the answer where nobody answers")
    parser.add_argument(
        "--no-breaker", action="store_true", help="leave no model alone because it is down"
    )
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help=f"ask this server and not the emulator, with the key in {VARIABLE}; it is billed",
    )
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    """Return what is to be done; what makes no sense is a `ValueError` in the command's words."""
    _check_numbers(options)
    _check_models(options.models)
    url: str | None = options.base_url
    models, emulator = _emulated(options) if url is None else _real(options, url)
    usual = _LEAST + options.callers // _CALLERS_A_SECOND if url is None else _PATIENCE
    return Plan(
        models=models,
        callers=options.callers,
        requests=options.requests or ROUNDS * options.callers,
        timeout=options.timeout or usual,
        attempts=options.attempts,
        deadline=options.deadline,
        degrade=options.degrade,
        streams=options.stream,
        breaks=not options.no_breaker,
        emulator=emulator,
        url=url,
        key="emulated" if url is None else key_for(url),
    )


def _emulated(options: argparse.Namespace) -> tuple[list[str], Emulator]:
    """Return the models, and an emulator that plays their faults."""
    script: Path | None = options.faults
    models: list[str] = options.models
    if script is None:
        models = models or list(MODELS)
        return models, mixed(models, seed=options.seed or 0, streams=options.stream)
    seed = {} if options.seed is None else {"seed": options.seed}
    emulator = read_script(script, **seed)
    known = [name for name in emulator.openrouter.scripted if not name.startswith("/")]
    for model in models:
        if model not in known and not emulator.openrouter.answers(model):
            near = get_close_matches(model, known, n=1)
            meant = f"; is {near[0]!r} meant?" if near else ""
            raise ValueError(
                f"--model {model!r}: {script} has no script for it and no default,"
                f" only {', '.join(known) or 'nothing'}{meant}"
            )
    if not models and not known:
        raise ValueError(f"--model is needed: {script} names no model")
    return models or known, emulator


def _real(options: argparse.Namespace, url: str) -> tuple[list[str], None]:
    """Return the models to ask a server for; the rest of what is needed is checked."""
    checked_url(url)
    for name in ("faults", "seed"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} is for the emulator, and --base-url asks another server")
    if not options.models:
        raise ValueError("--model is needed with --base-url: nobody else says which are asked")
    if options.requests is None:
        raise ValueError("--requests is needed with --base-url: each call may be billed")
    Key(key_for(url), None).text()  # without one nobody need begin
    return options.models, None


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("callers", "requests", "attempts"):
        count: int | None = getattr(options, name)
        if count is not None and count < 1:
            raise ValueError(f"--{name} must be at least 1, not {count}")
    if options.callers > _MOST_CALLERS:
        raise ValueError(f"--callers must be at most {_MOST_CALLERS}, not {options.callers}")
    for name in ("timeout", "deadline"):
        seconds: float | None = getattr(options, name)
        if seconds is not None and not 0 < seconds < inf:
            raise ValueError(f"--{name} must be seconds above 0, not {seconds:g}")


def _check_models(models: list[str]) -> None:
    for number, model in enumerate(models):
        if not model:
            raise ValueError("--model must be the name of a model, not nothing")
        if model in models[:number]:
            raise ValueError(f"--model {model!r} twice: more tries on a model are --attempts")


async def _soak(plan: Plan, screen: Screen) -> Result:
    return await soak(plan, said=lambda line: screen.write([(f"  {line}", "dim")]))


def _title(plan: Plan, options: argparse.Namespace) -> str:
    faults = "mixed faults" if options.faults is None else options.faults
    server = plan.url or f"the emulator, {faults}"
    return f"resilient soak: {plan.requests} calls by {plan.callers} callers, {server}"


def _refused(line: str) -> int:
    print(f"resilient soak: {' '.join(line.split())}", file=sys.stderr)
    return 2
