"""`resilient demo`: five scenes in which services misbehave and the answer still comes.

Everything happens on this machine: the server is the emulator, over a real
socket, and the code of each scene is what a user would write.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient_openrouter._otlp import told
from resilient_openrouter._scenes import QUESTION, SCENES, Scene
from resilient_openrouter._screen import Screen
from resilient_openrouter._waterfall import bars_of, drawn, seconds, summary_of, total_bar
from resilient_openrouter.client import OpenRouter
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.errors import OpenRouterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_openrouter._waterfall import Line
    from resilient_openrouter.results import OpenRouterOutcome, Reply

__all__ = ("main",)

_PAUSE: Final = 3
_INDENT: Final = 5
_KEYS: Final = ("sk-or-v1-demo-first", "sk-or-v1-demo-spare")


def main(argv: list[str]) -> int:
    """Play the scenes, or print the code behind one; return the exit status."""
    wanted: int | None = _parser().parse_args(argv).code
    if wanted is not None:
        print(SCENES[wanted - 1].source().rstrip())
        return 0
    screen = Screen()
    screen.write([("resilient demo: everything happens on 127.0.0.1, no key needed", "title")])
    with told("resilient-demo", listeners=[screen.watching] if screen.is_terminal else []):
        for number, scene in enumerate(SCENES, 1):
            screen.write([("", "plain"), (f"{number} of {len(SCENES)}  {scene.title}", "title")])
            anyio.run(_play, screen, scene)
            lines = len(scene.source().splitlines())
            screen.write(
                [(f"  the {lines} lines behind this scene: {_command()} --code {number}", "dim")]
            )
            if number < len(SCENES) and not screen.pause(_PAUSE):
                break
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resilient demo",
        description="Watch services misbehave and the answer still come; no key, no network.",
    )
    parser.add_argument(
        "--code",
        type=int,
        choices=range(1, len(SCENES) + 1),
        metavar="N",
        help=f"print the code behind scene N (1 to {len(SCENES)}) and end",
    )
    return parser


def _command() -> str:
    """Return how this command was started, for the line that names it."""
    behind_run = Path(sys.argv[0]).name == "_cli.py"
    return "python3 run.py demo" if behind_run else "resilient demo"


async def _play(screen: Screen, scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator())
        for model, scenarios in scene.faults.items():
            emulator.script(model, scenarios)
        if scene.dead_key:
            emulator.refuse_key(_KEYS[0])
        clients = [
            await stack.enter_async_context(OpenRouter(key, base_url=emulator.url))
            for key in _KEYS[: scene.clients]
        ]
        began = time.monotonic()
        try:
            if scene.prints:
                screen.say(f"  {'you':<{_INDENT}}{QUESTION}\n  {'':<{_INDENT}}")
                found = await scene.code(*clients)
                screen.say("\n")
            else:
                async with screen.live():
                    found = await scene.code(*clients)
        except OpenRouterError as error:
            screen.write(_failure(screen, error, time.monotonic() - began))
        else:
            if not scene.prints:
                screen.write(_said(found))
            screen.write(_story(screen, found))
            requests = len(emulator.journal)
            if scene.dead_key:
                screen.write([(f"  the server saw {requests} requests, 1 of them refused", "dim")])


def _failure(screen: Screen, error: OpenRouterError, took: float) -> Iterator[Line]:
    asks = "" if error.retry_after is None else f"; asks for {error.retry_after:.4g} s"
    name = error.telemetry_error_type
    yield f"  {screen.cross} {name} after {seconds(took)}: {error.says}{asks}", "bad"


def _said(outcome: OpenRouterOutcome[Reply]) -> Iterator[Line]:
    who = "degraded" if outcome.degraded else str(outcome.target)
    width = max(len(who), len("you"))
    yield f"  {'you':<{width}}  {QUESTION}", "plain"
    yield f"  {who:<{width}}  {outcome.value.content}", "good"


def _story(screen: Screen, outcome: OpenRouterOutcome[Any]) -> Iterator[Line]:
    yield "", "plain"
    bars = [total_bar("ask", outcome), *bars_of(outcome)]
    yield from drawn(bars, outcome.elapsed, block=screen.block)
    yield "", "plain"
    yield f"  {summary_of(outcome)}", "plain"
