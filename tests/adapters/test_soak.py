"""`resilient soak`: what it finds in a sound chain, what in a broken one, and what it refuses."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio.from_thread
import pytest

from resilient.events import CallEnded
from resilient.testing import virtual_time
from resilient_openrouter import _exchange, _transcript
from resilient_openrouter._soak import _command, _tally
from resilient_openrouter._soak._faults import MODELS, mixed
from resilient_openrouter._soak._invariants import INVARIANTS, MISSING, Terms
from resilient_openrouter._soak._load import soak
from resilient_openrouter._soak._plan import Plan
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.emulator.scripts import played

BACKENDS = ("asyncio", "trio")
NEVER_WITHOUT = {  # facts that only some courses say anything about
    "what a broken stream gave is the beginning of one answer",
    "what is raised is an error of the library",
    "memory does not grow from round to round",
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Leave the lines about faults out: there are hundreds."""
    monkeypatch.setattr(logging.getLogger("resilient"), "disabled", True)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)


def plan(emulator=None, *, streams=False, seed=7, **options):
    """Return a plan against mixed faults, two of five requests, without breakers."""
    emulator = emulator or mixed(MODELS, seed=seed, streams=streams, illness=0.4)
    usual = {"callers": 20, "requests": 20, "timeout": 10.0, "deadline": 40.0, "breaks": False}
    return Plan(
        models=MODELS, streams=streams, emulator=emulator, key="any-key", **(usual | options)
    )


def run(wanted, backend="asyncio"):
    """Make the calls of a plan in virtual time; nothing may be left behind."""
    return virtual_time(soak, wanted, backend=backend, check_leftovers=True)


def broken(result):
    return {held.says: held.first for held in result.held if held.broken}


@pytest.mark.timeout(60)  # a second of work for each hundred of them, on a machine at rest
@pytest.mark.parametrize("backend", BACKENDS)
def test_five_hundred_calls_at_once(backend):
    """500 calls at once over mixed faults: every fact holds for every outcome."""
    emulator = mixed(MODELS, seed=7, streams=False, illness=0.3)
    result = run(plan(emulator, callers=500, requests=500), backend)
    assert broken(result) == {}
    assert result.is_sound
    tally = result.tally
    assert tally.calls == 500 == sum(tally.attempts.values())
    assert sum(tally.answered.values()) + sum(tally.failed.values()) == 500
    # It was no calm day: faults of all kinds, and answers of all models.
    assert len(tally.faults) >= 7
    assert set(tally.answered) == set(MODELS)
    checked = {held.says: held.checked for held in result.held}
    assert all(checked[name] for name in checked.keys() - NEVER_WITHOUT)
    assert tally.requests == sum(n * count for n, count in tally.attempts.items())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("streams", [False, True], ids=["answers", "streams"])
def test_memory_is_flat(backend, streams):
    """Round after round every fact holds, and calls leave nothing behind, well or ill."""
    result = run(plan(streams=streams, callers=40, requests=160), backend)
    assert broken(result) == {}
    assert (len(result.blocks), result.memory.checked) == (4, 1)
    checked = {held.says: held.checked for held in result.held}
    cut = checked["what a broken stream gave is the beginning of one answer"]
    assert cut >= 3 if streams else cut == 0


class Leaking:
    """A listener that keeps every call."""

    def __init__(self):
        self.kept = []

    def on_event(self, event, call):
        if isinstance(event, CallEnded):
            self.kept.append(call)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_leak_is_found(backend):
    """A listener that keeps every call makes memory grow, and the soak says so."""
    leaking = Leaking()
    watched = partial(soak, listeners=[leaking])
    result = virtual_time(watched, plan(callers=40, requests=160), backend=backend)
    assert len(leaking.kept) == 160
    assert list(broken(result)) == ["memory does not grow from round to round"]


def test_a_connection_that_is_not_given_back_is_found(monkeypatch):
    """An answer that nobody closes holds its connection, and the soak says so."""

    async def forgotten(self):
        pass

    monkeypatch.setattr(_exchange.Exchange, "aclose", forgotten)
    emulator = played({"default": "stall"})
    result = virtual_time(soak, plan(emulator, callers=3, requests=3, timeout=1.0))
    assert "every connection is back in the pool" in broken(result)


def test_a_cut_stream_that_passes_for_an_answer_is_found(monkeypatch):
    """A client that takes every end for a good one gives parts of answers away."""
    monkeypatch.setattr(_transcript.Transcript, "failure", lambda self, **_: None)
    emulator = played({"default": "s_trunc?text=Air scatters blue light&tokens=2"})
    result = run(plan(emulator, streams=True, callers=3, requests=3))
    assert "an answer is the whole answer of one target" in broken(result)


def test_a_hidden_retry_is_found():
    """A client that sends twice makes requests that no ledger knows of."""
    send = _exchange.Exchange.send

    async def twice(self, **told):
        await send(self, **told)
        await self._client.send(self._request, auth=self._key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_exchange.Exchange, "send", twice)
        result = virtual_time(soak, plan(played({"default": "ok"}), callers=3, requests=3))
    assert "the requests of the server are those of the ledger" in broken(result)


@pytest.fixture(scope="module")
def sound():
    """Return a call that fell back after two failures, and the terms it is judged by."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        add = _tally.Tally.add

        def keep(self, course, terms):
            kept.append((course, terms))
            add(self, course, terms)

        patch.setattr(_tally.Tally, "add", keep)
        patch.setattr(logging.getLogger("resilient"), "disabled", True)
        emulator = played({"models": {MODELS[0]: ["e503"], MODELS[1]: ["ok?text=Blue light."]}})
        run(plan(emulator, callers=1, requests=1))
    return kept[0]


def attempts(course, *changes):
    """Return a course whose attempts are changed, each by a dictionary."""
    changed = [replace(a, **c) for a, c in zip(course.way.attempts, changes, strict=True)]
    return replace(course, way=replace(course.way, attempts=tuple(changed)))


def calls(course, *changes):
    changed = [replace(a, **c) for a, c in zip(course.way.calls, changes, strict=True)]
    return replace(course, way=replace(course.way, calls=tuple(changed)))


WRONG = {
    "an answer is the whole answer of one target": [
        lambda c: replace(c, reply=replace(c.reply, content="Blue")),
        lambda c: replace(c, reply=replace(c.reply, model=MODELS[0])),
        lambda c: replace(c, reply=replace(c.reply, generation_id="gen-of-somebody-else")),
        lambda c: replace(c, way=replace(c.way, degraded=True)),
    ],
    "what a broken stream gave is the beginning of one answer": [
        lambda c: replace(c, reply=None, heard="Blue red"),
    ],
    "what is raised is an error of the library": [
        lambda c: replace(c, error=KeyError("choices")),
    ],
    "how it ended is told, and told right": [
        lambda c: replace(c, way=None),
        lambda c: replace(c, reply=None),
        lambda c: replace(c, error=TimeoutError()),
        lambda c: replace(c, way=replace(c.way, fallback_used=False)),
        lambda c: calls(
            replace(c, way=replace(c.way, degraded=True)), {}, {}, {"scope": "request"}
        ),
    ],
    "no target is asked more often than allowed": [
        lambda c: attempts(c, {}, {}, {"target": MODELS[0]}),
    ],
    "targets are asked in their order": [
        lambda c: attempts(c, {"target_index": 1}, {}, {}),
    ],
    "nobody is asked after an answer": [
        lambda c: attempts(c, {}, {"error": None}, {}),
        lambda c: replace(
            c, requests=[*c.requests, replace(c.requests[-1], generation="x", began=9)]
        ),
    ],
    "nobody is asked who shares what has failed": [
        lambda c: calls(c, {}, {"scope": "credential"}, {}),
        lambda c: calls(c, {}, {"scope": "host"}, {}),
        lambda c: calls(c, {}, {"scope": "request"}, {}),
    ],
    "each attempt is in the ledger once": [
        lambda c: replace(c, way=replace(c.way, calls=c.way.calls[1:])),
    ],
    "the requests of the server are those of the ledger": [
        lambda c: replace(c, requests=[*c.requests, c.requests[0]]),
        lambda c: replace(c, requests=c.requests[1:]),
    ],
    "a known cost is what the server charges": [
        lambda c: calls(c, {}, {}, {"cost": 0.5}),
    ],
    "a call ends by its deadline": [
        lambda c: replace(c, took=50.0),
    ],
}


def test_every_fact_is_tried():
    """Each fact has a course below that breaks it."""
    assert set(WRONG) == {each.says for each in INVARIANTS}


@pytest.mark.parametrize("says", WRONG)
def test_every_fact_can_break(sound, says):
    """A course that is as it should be breaks no fact, and one that is not breaks its own."""
    course, terms = sound
    invariant = next(each for each in INVARIANTS if each.says == says)
    assert invariant.check(course, terms) in {None, MISSING}
    for change in WRONG[says]:
        assert invariant.check(change(course), terms) not in {None, MISSING}


def test_without_an_emulator_only_what_the_client_knows_is_judged(sound):
    """Where nobody knows what the server saw, nothing is said about it."""
    course, terms = sound
    elsewhere = Terms(plan=replace(terms.plan, emulator=None, url="http://x"), scopes=terms.scopes)
    silent = {each.says for each in INVARIANTS if each.check(course, elsewhere) is MISSING}
    assert silent == {
        "what a broken stream gave is the beginning of one answer",
        "what is raised is an error of the library",
        "the requests of the server are those of the ledger",
        "a known cost is what the server charges",
    }


PAGE = (Path(__file__).parents[2] / "docs" / "soak.md").read_text(encoding="utf-8")
SCRIPT, REPORT = re.search(r"(?s)```toml\n(.*?)```.*?```text\n(.*?)```", PAGE).groups()


def timeless(text):
    """Take out what differs from run to run."""
    return re.sub(r"\d+ a second", "0 a second", re.sub(r"\d+\.\d+ s\b", "0.0 s", text))


class TestCommand:
    @pytest.fixture(autouse=True)
    def _here(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "faults.toml").write_text(SCRIPT, encoding="utf-8")
        (tmp_path / "torn.toml").write_text("[models", encoding="utf-8")
        (tmp_path / "empty.toml").write_text("seed = 3", encoding="utf-8")

    def test_it_tells_what_it_found(self, capsys):
        """The command of the page, with the script of the page, prints what the page shows."""
        command = re.search(r"(?m)^    resilient soak (--faults faults.toml .*)$", PAGE)[1]
        assert _command.main(command.split()) == 0
        out, err = capsys.readouterr()
        assert (timeless(out), err) == (timeless(REPORT), "")

    def test_the_page_leaves_no_option_out(self):
        """Each option of the command stands in the table of the page."""
        options = [
            each
            for action in _command._parser()._actions
            for each in action.option_strings
            if each not in {"-h", "--help"}
        ]
        assert len(options) == 12
        assert [each for each in options if f"`{each}" not in PAGE] == []

    def test_what_broke_is_told_and_is_the_status(self, capsys, monkeypatch):
        """A fact that did not hold is named with the first call that broke it; the status is 1."""
        monkeypatch.setattr(_transcript.Transcript, "failure", lambda self, **_: None)
        arguments = "--model emu/s_trunc --callers 1 --requests 1 --stream --faults empty.toml"
        assert _command.main(arguments.split()) == 1
        assert (
            "  BROKEN  an answer is the whole answer of one target:"
            " broken 1 of 1 times, first in call 1: a part of s_trunc\n"
        ) in capsys.readouterr().out

    def test_a_last_resort_is_counted_for_itself(self, capsys):
        """With `--degrade` calls that nobody answers end with that text, and are told apart."""
        arguments = ["--model", "emu/e503", "--faults", "empty.toml", "--degrade", "Not now."]
        assert _command.main([*arguments, "--callers", "2", "--requests", "2"]) == 0
        out = capsys.readouterr().out
        assert "  degraded      2 (100.0 %)\n" in out
        assert "  holds   an answer is the whole answer of one target (2)\n" in out

    def test_another_server_is_asked_when_asked_for(self, capsys):
        """With `--base-url` a server elsewhere is asked, so often and for these models alone."""
        with (
            anyio.from_thread.start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Emulator()) as emulator,
        ):
            where = ["--base-url", emulator.url, "--requests", "3", "--callers", "2"]
            assert _command.main([*where, "--model", "emu/e503", "--model", "emu/ok"]) == 0
            assert emulator.journal.models.count("emu/ok") == 3
        out = capsys.readouterr().out
        assert "answered by   emu/ok  3 (100.0 %)" in out
        assert "-       the requests of the server are those of the ledger (no case of it)" in out

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ("--callers 0", "--callers must be at least 1, not 0"),
            ("--callers 10001", "--callers must be at most 10000, not 10001"),
            ("--requests 0", "--requests must be at least 1, not 0"),
            ("--attempts 0", "--attempts must be at least 1, not 0"),
            ("--timeout 0", "--timeout must be seconds above 0, not 0"),
            ("--deadline nan", "--deadline must be seconds above 0, not nan"),
            ("--model a --model a", "--model 'a' twice: more tries on a model are --attempts"),
            ("--model=", "--model must be the name of a model, not nothing"),
            ("--faults none.toml", "none.toml: No such file or directory"),
            ("--faults torn.toml", "torn.toml: Expected ']' at the end of a table declaration"),
            ("--faults empty.toml", "--model is needed: empty.toml names no model"),
            (
                "--faults faults.toml --model bb",
                "--model 'bb': faults.toml has no script for it and no default, only",
            ),
            (
                "--base-url http://127.0.0.1:70000 --model a --requests 1",
                "--base-url must be an address with a port that exists: Port out of range",
            ),
            (
                "--base-url ftp://x --model a --requests 1",
                "--base-url must be an https address, or http to this machine, not 'ftp://x'",
            ),
            ("--base-url https://x.example --requests 1", "--model is needed with --base-url"),
            ("--base-url https://x.example --model a", "--requests is needed with --base-url"),
            (
                "--base-url https://x.example --model a --requests 1 --faults faults.toml",
                "--faults is for the emulator, and --base-url asks another server",
            ),
            (
                "--base-url https://x.example --model a --requests 1",
                "there is no API key: set OPENROUTER_API_KEY",
            ),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, capsys, arguments, complaint):
        """One line names the option, its value and what is accepted; nobody is asked."""
        assert _command.main(arguments.split()) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"resilient soak: {complaint}")
