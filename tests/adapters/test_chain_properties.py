"""What holds for every chain of models, whatever each of them does: drawn, not chosen."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from resilient import Restarted
from resilient.testing import virtual_time
from resilient_openrouter import OpenRouter, OpenRouterError, clocks
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.emulator._said import begins_with, whole_answer

MESSAGES = [{"role": "user", "content": "a question that nobody else may read"}]
# Each target speaks with a word of its own, so that who is heard is seen.
WORDS = ("alpha", "beta", "gamma")
SPEAKING = [
    "ok?text={0} {0} {0}",
    "ok?text={0} {0}&gap=1",
    "s_trunc?text={0}&tokens=2",
    "s_close?text={0}&tokens=1",
    "s_reset?text={0}&tokens=3",
    "s_malformed?text={0}",
    "s_malformed_trunc?text={0}",
    "stall_after_tokens?text={0}&tokens=2",
    "stall_after_tokens_comments?text={0}&tokens=1",
    "slow_ttft?after=20",
    "s_trunc_done",
    "s_err_mid",
]
SILENT = [
    "e400_zod", "e400_model", "e401_badkey", "e402_credits", "e403_management", "e404_privacy",
    "e413", "e429_upstream_hint", "e429_nohint", "e500", "e503", "html_520", "err200", "stall",
    "silence", "reset", "s_err_first", "s_err_roleonly", "s_trunc_early", "s_reset_early",
    "s_empty", "whitespace_only", "null_choices",
]  # fmt: skip
CONDEMNING = {"credential", "account", "host", "request"}


@dataclass(frozen=True)
class Chain:
    """A chain of three targets: what each answers, with which key, and how it goes on."""

    scripts: tuple[tuple[str, ...], ...]
    keys: tuple[int, ...]
    attempts: int
    midstream: str


chains = st.builds(
    Chain,
    st.tuples(
        *[st.lists(st.sampled_from(SPEAKING + SILENT), min_size=1, max_size=2).map(tuple)] * 3
    ),
    st.tuples(*[st.sampled_from([0, 0, 1])] * 3),
    st.sampled_from([1, 2]),
    st.sampled_from(["error", "restart"]),
)


async def run(chain, mode):
    """Ask a chain once; return what was heard, the outcome or error, and the journal."""
    async with (
        Emulator() as emulator,
        OpenRouter("key-of-the-first", base_url=emulator.url, label="first") as first,
        OpenRouter("key-of-the-second", base_url=emulator.url, label="second") as second,
    ):
        targets = []
        for number, (script, key) in enumerate(zip(chain.scripts, chain.keys, strict=True)):
            emulator.script(f"m/{number}", [name.format(WORDS[number]) for name in script])
            targets.append(
                (first, second)[key].target(
                    f"m/{number}",
                    attempts=chain.attempts,
                    timeout=clocks.interactive,
                    transport="stream" if mode == "collected" else "plain",
                )
            )
        chat = first.manager(*targets, midstream=chain.midstream)
        heard, end = [], None
        try:
            if mode == "stream":
                async with chat.stream(MESSAGES) as items:
                    async for item in items:
                        heard.append(item)  # noqa: PERF401 - what had come stays when it raises
                end = items.outcome
            else:
                end = await chat.run(MESSAGES)
                heard = [end.value]
        except (OpenRouterError, TimeoutError) as error:
            end = error
        await emulator.journal.settled()
        return heard, end, list(emulator.journal)


def spoken(heard):
    """Return the text behind the last marker."""
    text = ""
    for item in heard:
        text = "" if isinstance(item, Restarted) else text + item.content
    return text


def depends(call):
    """Return what a call depends on: both clients share the host, and every call the request."""
    key = call.credential
    return {("credential", key), ("account", key), ("host", ""), ("request", "")}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("mode", ["stream", "collected", "plain"])
@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))  # each opens a server
@given(chain=chains)
def test_one_voice_is_heard_and_no_dead_thing_is_asked(backend, mode, chain):
    """One target is heard, tries are bounded, and what is condemned is not asked again."""
    heard, end, journal = virtual_time(run, chain, mode, backend=backend, check_leftovers=True)
    text = spoken(heard)
    # What was heard is the beginning of one target's answer, whole if the chain says so.
    assert len([word for word in WORDS if word in text]) <= 1
    assert not text or any(begins_with(entry, text) for entry in journal)
    if chain.midstream == "error":
        assert not [item for item in heard if isinstance(item, Restarted)]
    if isinstance(end, Exception):
        assert mode == "stream" or heard == []
    else:
        last = heard[-1].reply if mode == "stream" else heard[-1]
        assert last.content == text == whole_answer(journal[-1])
        assert end.target == f"m/{journal[-1].model[-1]}"
    # Tries are bounded, in the order of the chain.
    asked = [entry.model for entry in journal]
    assert asked == sorted(asked)
    assert all(asked.count(model) <= chain.attempts for model in set(asked))
    # Nothing is asked with what another target has condemned by its last failure.
    dead = set()
    for call in {call.target: call for call in getattr(end, "calls", ())}.values():
        assert dead.isdisjoint(depends(call))
        if call.scope in CONDEMNING:
            dead.add(next(each for each in depends(call) if each[0] == call.scope))
    # Every answer has an end on the server's side, and nothing is left open here.
    assert "open" not in {entry.ended for entry in journal}
