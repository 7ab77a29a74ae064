"""Two models and a plain function, against the emulator on loopback: no key, no network.

Run it: python examples/models.py
"""

from __future__ import annotations

import anyio

from resilient_openrouter import OpenRouter, reply
from resilient_openrouter.emulator import Emulator

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


async def local(messages: object) -> str:
    return "Because air scatters blue light more than red."


async def main() -> None:
    async with Emulator() as emulator:
        emulator.script("openai/gpt-4o", ["e429_upstream_hint?seconds=26"])
        emulator.script("anthropic/claude-sonnet-4.5", ["e503"])
        async with OpenRouter("no-key-needed", base_url=emulator.url) as openrouter:
            chat = openrouter.manager(
                "openai/gpt-4o",
                "anthropic/claude-sonnet-4.5",
                local,
                attempts=1,
                deadline=20,
                degrade=reply("No answer right now."),
            )
            outcome = await chat.run(QUESTION)
    for attempt in outcome.attempts:
        print(f"{attempt.number} {attempt.target}: {attempt.error or 'answered'}")
    print(outcome.value.content)


if __name__ == "__main__":
    anyio.run(main)
