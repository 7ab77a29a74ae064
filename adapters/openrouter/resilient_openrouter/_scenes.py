"""The scenes of the demonstration: the code that runs, and what goes wrong around it.

Each function is the whole code behind its scene: it is what runs and what
`--code` prints. Nothing in it knows that the server is emulated.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient_openrouter.results import reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient_openrouter._request import Messages
    from resilient_openrouter.client import OpenRouter
    from resilient_openrouter.results import OpenRouterOutcome, Reply

__all__ = ("QUESTION", "SCENES", "Scene")

QUESTION: Final = "Why is the sky blue?"


async def unprotected(openrouter: OpenRouter) -> Reply:
    question = [{"role": "user", "content": "Why is the sky blue?"}]
    return await openrouter.chat("openai/gpt-4o", question)


async def local(messages: Messages) -> str:
    await anyio.sleep(0.3)
    return "Because air scatters blue light more than red."


async def two_models_and_a_function(openrouter: OpenRouter) -> OpenRouterOutcome[Reply]:
    chat = openrouter.manager(
        "openai/gpt-4o", "anthropic/claude-sonnet-4.5", local, timeout=1.5, attempts=1
    )
    return await chat.run([{"role": "user", "content": "Why is the sky blue?"}])


async def one_dead_key(openrouter: OpenRouter, spare: OpenRouter) -> OpenRouterOutcome[Reply]:
    chat = openrouter.manager(
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4.5",
        "google/gemini-2.5-pro",
        spare.target("openai/gpt-4o", name="gpt-4o, another key"),
    )
    return await chat.run([{"role": "user", "content": "Why is the sky blue?"}])


async def everything_down(openrouter: OpenRouter) -> OpenRouterOutcome[Reply]:
    chat = openrouter.manager(
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4.5",
        degrade=reply("No answer right now. Your question is kept."),
    )
    return await chat.run([{"role": "user", "content": "Why is the sky blue?"}])


async def a_stream_that_breaks_off(openrouter: OpenRouter) -> OpenRouterOutcome[None]:
    chat = openrouter.manager("openai/gpt-4o", "anthropic/claude-sonnet-4.5", attempts=1)
    async with chat.stream([{"role": "user", "content": "Why is the sky blue?"}]) as chunks:
        async for chunk in chunks:
            print(chunk.content, end="", flush=True)
    return chunks.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One scene: its title, its code, and how the models behave in it.

    `clients` is how many keys it needs; `dead_key` says that the first one is
    refused; `prints` says that its code prints the answer. `also` are
    functions of the user's that belong to the code.
    """

    title: str
    code: Callable[..., Awaitable[Any]]
    faults: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])
    clients: int = 1
    dead_key: bool = False
    prints: bool = False
    also: tuple[Callable[..., Any], ...] = ()

    def source(self) -> str:
        """Return the code as it is written."""
        return "\n\n".join(inspect.getsource(fn) for fn in (*self.also, self.code))


SCENES: Final[tuple[Scene, ...]] = (
    Scene(
        title="One model, no protection: its rate limit is your error 500",
        code=unprotected,
        faults={"openai/gpt-4o": ["e429_upstream_hint?seconds=26"]},
    ),
    Scene(
        title="Two models, then a plain async function",
        code=two_models_and_a_function,
        faults={
            "openai/gpt-4o": ["e429_upstream_hint?seconds=26"],
            "anthropic/claude-sonnet-4.5": ["stall?every=0.1"],
        },
        also=(local,),
    ),
    Scene(
        title="Three models on a dead key: one call, not three",
        code=one_dead_key,
        faults={"openai/gpt-4o": ["ok?text=Because air scatters blue light more than red."]},
        clients=2,
        dead_key=True,
    ),
    Scene(
        title="A stream that breaks off before its first word: one voice is heard",
        code=a_stream_that_breaks_off,
        faults={
            "openai/gpt-4o": ["s_err_roleonly"],
            "anthropic/claude-sonnet-4.5": [
                "ok?text=Because air scatters blue light more than red.&gap=0.05"
            ],
        },
        prints=True,
    ),
    Scene(
        title="Everything is down",
        code=everything_down,
        faults={
            "openai/gpt-4o": ["e502", "e503"],
            "anthropic/claude-sonnet-4.5": ["err200_nulls_524", "html_502"],
        },
    ),
)
