"""`resilient ask`: one question to a chain of real models.

The answer goes to standard output, how it came about below it. A terminal
shows it as it comes; a file or a pipe gets it when it is whole, because what
is written there cannot be taken back when a model breaks off. What keeps an
answer from coming is one line on standard error; where that cannot tell
everything, the attempts and the models that were not asked stand below it.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient import AllTargetsFailed, ResilientError, Restarted, Skipped
from resilient_openrouter._key import VARIABLE, key_for
from resilient_openrouter._otlp import told
from resilient_openrouter._screen import Screen
from resilient_openrouter._trail import Trail
from resilient_openrouter._waterfall import bars_of, cost_of, seconds
from resilient_openrouter.client import OpenRouter
from resilient_openrouter.collecting import collect
from resilient_openrouter.errors import MissingKey, OpenRouterError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from resilient_openrouter._waterfall import Line
    from resilient_openrouter.managers import ModelItems
    from resilient_openrouter.results import Chunk, OpenRouterOutcome, Reply

__all__ = ("main",)

_URL: Final = "https://openrouter.ai/api/v1"
_TIMEOUT: Final = 60.0


def main(argv: list[str]) -> int:
    """Ask, and print the answer; return 0, 1 if nobody answered, 2 if nobody could be asked."""
    options = _parser().parse_args(argv)
    screen, trail = Screen(), Trail()
    try:
        _check(options)
        with told("resilient-ask", listeners=[screen.watching] if screen.is_terminal else []):
            outcome = anyio.run(_ask, screen, trail, options)
    except MissingKey as error:
        return _refused(str(error).replace(" or pass api_key=", ""), status=2)
    except (OpenRouterError, ResilientError) as error:
        screen.end_line()
        broke = isinstance(error, OpenRouterError) and error.committed and screen.is_terminal
        what = "the answer broke off" if broke else "nobody answered"
        status = _refused(f"{what}: {_told(error, options.models)}", status=1)
        for line in _course(error, trail):
            print(_spelt(line), file=sys.stderr)
        return status
    except (TypeError, ValueError) as error:
        return _refused(str(error), status=2)
    if options.no_stream or not screen.is_terminal:
        screen.write([(outcome.value.content, "plain")])
    screen.write(_story(outcome))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resilient ask",
        description=f"Ask a chain of models a question, with the key in {VARIABLE}.",
        epilog="Exit status: 0 with an answer, 1 if nobody answered, 2 if nobody could be asked.",
    )
    parser.add_argument("question")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        dest="models",
        metavar="NAME",
        help="a model; give it again for the models to fall back to, in order",
    )
    parser.add_argument(
        "--base-url",
        default=_URL,
        metavar="URL",
        help="another server; one on this machine needs no key (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=_TIMEOUT,
        metavar="SECONDS",
        help="for each attempt (default: %(default)g)",
    )
    parser.add_argument(
        "--attempts", type=int, default=2, metavar="N", help="on each model (default: 2)"
    )
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="for everything")
    parser.add_argument(
        "--no-stream",
        action="store_true",
        help="ask for the answer in one piece; one that is given up then goes on and is billed",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense, in the words of the command line."""
    for name in ("timeout", "deadline"):
        given: float | None = getattr(options, name)
        if given is not None and not 0 < given < inf:
            raise ValueError(f"--{name} must be seconds above 0, not {given:g}")
    if options.attempts < 1:
        raise ValueError(f"--attempts must be at least 1, not {options.attempts}")
    for number, model in enumerate(options.models):
        if not model:
            raise ValueError("--model must be the name of a model, not nothing")
        if model in options.models[:number]:
            raise ValueError(f"--model {model!r} twice: more tries on a model are --attempts")


async def _ask(
    screen: Screen, trail: Trail, options: argparse.Namespace
) -> OpenRouterOutcome[Reply]:
    async with OpenRouter(key_for(options.base_url), base_url=options.base_url) as openrouter:
        chat = openrouter.manager(
            *options.models,
            timeout=options.timeout,
            attempts=options.attempts,
            deadline=options.deadline,
            midstream="restart",
            name="ask",
            listeners=[trail],
        )
        question = [{"role": "user", "content": options.question}]
        if options.no_stream:
            async with screen.live():
                return await chat.run(question)
        async with chat.stream(question) as items:
            reply = await _heard(screen, items)
        outcome: OpenRouterOutcome[Any] = items.outcome
        return replace(outcome, value=reply)


async def _heard(screen: Screen, items: ModelItems[Chunk | Restarted]) -> Reply:
    """Read a stream to its end; show it as it comes where it is looked at."""
    if not screen.is_terminal:
        return await collect(items)
    async with screen.live():  # until the first word
        first = await anext(items)
    return await collect(_shown(screen, first, items))


async def _shown(
    screen: Screen, first: Chunk | Restarted, items: ModelItems[Chunk | Restarted]
) -> AsyncGenerator[Chunk | Restarted]:
    """Show the items of a stream as they pass."""
    item: Chunk | Restarted | None = first
    while item is not None:
        if isinstance(item, Restarted):
            screen.write([(f"({item.from_target} broke off; {item.to_target} begins anew)", "dim")])
        else:
            screen.say(item.content)
        yield item
        item = await anext(items, None)
    screen.end_line()


def _story(outcome: OpenRouterOutcome[Reply]) -> Iterator[Line]:
    reply = outcome.value
    yield "", "plain"
    served = ", ".join(part for part in (reply.model_served, reply.provider) if part)
    by = f"answered by {outcome.target}" + (f" ({served})" if served else "")
    yield f"{by} in {seconds(outcome.elapsed)}; cost {cost_of(outcome)}", "good"
    for line in _steps(outcome):
        yield line, "dim"


def _course(error: Exception, trail: Trail) -> Iterator[str]:
    """Tell how it came to an error, unless the error tells it: one attempt on each model."""
    outcome = trail.outcome
    members = len(error.exceptions) if isinstance(error, AllTargetsFailed) else 1
    if outcome is not None and len(outcome.attempts) + len(outcome.skipped) > members:
        yield from _steps(outcome)
        yield f"  in {seconds(outcome.elapsed)}; cost {cost_of(outcome)}"


def _steps(outcome: OpenRouterOutcome[Any]) -> Iterator[str]:
    for bar in bars_of(outcome):
        if bar.reason is not None:
            yield f"  {bar.label}: {bar.verdict}; {bar.reason}"


def _told(error: Exception, models: list[str]) -> str:
    """Say what each model failed with; the members of a group stand in the models' order."""
    if isinstance(error, AllTargetsFailed):
        pairs = zip(models, error.exceptions, strict=True)
        return "; ".join(_told(each, [model]) for model, each in pairs)
    named = isinstance(error, OpenRouterError | Skipped)
    return str(error) if named else f"{models[0]}: {error}"


def _refused(line: str, *, status: int) -> int:
    print(f"resilient ask: {_spelt(' '.join(line.split()))}", file=sys.stderr)
    return status


def _spelt(line: str) -> str:
    """Name an option as the command line does."""
    return re.sub(r"\bbase_url\b=?", "--base-url", line)
