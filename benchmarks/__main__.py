"""Print the table: `python -m benchmarks [--rounds N] [--chunk N]`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform

from benchmarks import adapter, contenders, kit
from benchmarks.measure import Call, Ratio, ratios


async def main(rounds: int, chunk: int) -> None:
    await _table(
        "success; the function answers at once",
        contenders.target,
        contenders.ours() | contenders.peers(),
        rounds,
        chunk,
    )
    recovering = contenders.recovering()
    hand = next(iter(recovering.values()))
    await _table("fails once, then answers", hand, recovering, rounds, max(1, chunk // 4))
    refusing = contenders.refusing()
    hand = next(iter(refusing.values()))
    await _table("refused by an open circuit", hand, refusing, rounds, max(1, chunk // 4))
    streaming = contenders.streaming()
    bare = next(iter(streaming.values()))
    await _table("a stream of 100 items", bare, streaming, rounds, max(1, chunk // 50))
    await _adapter(rounds, chunk)


async def _adapter(rounds: int, chunk: int) -> None:
    few = max(1, chunk // 20)
    with adapter.served() as url:
        async with adapter.calls(url) as calls:
            raw = next(iter(calls.values()))
            await _table("a call over a socket, the client alone", raw, calls, rounds, few)
    events = adapter.events()
    lines = next(iter(events.values()))
    await _table(f"a stream of {adapter.EVENTS} events", lines, events, rounds, few)


async def _table(
    title: str, baseline: Call, calls: dict[str, Call], rounds: int, chunk: int
) -> None:
    found, nanoseconds = await ratios(baseline, calls, rounds=rounds, chunk=chunk)
    print(f"\n{title}: x baseline ({nanoseconds:.0f} ns here), median and middle half")
    for name, ratio in found.items():
        print(f"  {name:<52} {_said(ratio)}")


def _said(ratio: Ratio) -> str:
    digits = 1 if ratio.middle > 2 else 2  # noqa: PLR2004 - where a tenth says nothing
    return f"{ratio.middle:7.{digits}f}   {ratio.low:.{digits}f} .. {ratio.high:.{digits}f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="interleaved rounds (31)")
    parser.add_argument("--chunk", type=int, default=1000, help="calls in a chunk (1000)")
    options = parser.parse_args()
    logging.getLogger("resilient").setLevel(logging.CRITICAL)  # not the terminal is measured
    print(f"{platform.python_implementation()} {platform.python_version()}, asyncio")
    asyncio.run(main(options.rounds, options.chunk))
    print(f"\n{kit.EXAMPLES} examples of a four-policy stack on both backends:", end=" ")
    print(f"{kit.spent():.1f} s of CPU time")
