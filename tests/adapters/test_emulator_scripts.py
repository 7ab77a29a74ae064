"""Scripts of the emulated server: sequences, dice with a seed, and the journal as lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import anyio
import httpx
import pytest

from resilient_openrouter.emulator import Emulator
from resilient_openrouter.emulator.__main__ import main
from resilient_openrouter.emulator.scripts import played

VIRTUAL = True
QUESTION = {"messages": [{"role": "user", "content": "Hello there"}]}
KEY = {"Authorization": "Bearer sk-or-v1-private"}


async def statuses(emulator, count, model="m", path="api/v1"):
    async with emulator, emulator.client() as client:
        root = emulator.url.removesuffix("/api/v1")
        return [
            (
                await client.post(
                    f"{root}/{path}/chat/completions", json=QUESTION | {"model": model}, headers=KEY
                )
            ).status_code
            for _ in range(count)
        ]


async def test_dice_give_each_scenario_its_share():
    """Scenarios come about as often as their probabilities say, and the rest is the default."""
    emulator = Emulator(default="e529")
    emulator.script("m", {"e503": 0.25, "ok": 0.5})
    seen = Counter(await statuses(emulator, 800))
    assert set(seen) == {503, 200, 529}
    assert 150 < seen[503] < 250
    assert 350 < seen[200] < 450


async def test_a_seed_throws_the_same_dice_again():
    """Two servers of one seed answer alike, one of another seed does not."""
    runs = []
    for seed in (7, 7, 8):
        emulator = Emulator(seed=seed)
        emulator.script("m", {"e503": 0.5})
        runs.append(await statuses(emulator, 40))
    assert runs[0] == runs[1] != runs[2]


async def test_each_model_has_dice_of_its_own():
    """What a model answers does not depend on what others were asked in between."""
    alone, among = Emulator(), Emulator()
    for emulator in (alone, among):
        for model in ("m", "n"):
            emulator.script(model, {"e503": 0.5})
    wanted = await statuses(alone, 20)
    async with among, among.client() as client:

        async def ask(model):
            body = QUESTION | {"model": model}
            url = f"{among.url}/chat/completions"
            return (await client.post(url, json=body, headers=KEY)).status_code

        assert [(await ask("m"), await ask("n"))[0] for _ in range(20)] == wanted


async def test_a_sequence_may_end_in_dice():
    """A step of a sequence may be a throw of dice, which then repeats."""
    emulator = Emulator()
    emulator.script("m", ["e502", "e502", {"e503": 0.5}])
    first, second, *rest = await statuses(emulator, 40)
    assert (first, second) == (502, 502)
    assert set(rest) == {503, 200}


async def test_the_rest_of_dice_is_the_default_of_then():
    """A default that is set after a script is what its dice leave."""
    emulator = Emulator()
    emulator.script("m", {"e503": 0})
    emulator.openrouter.default({"e500": 1})
    assert await statuses(emulator, 3) == [500] * 3


async def test_a_file_says_all_of_it():
    """A script names defaults, sequences, dice, their seed, and those of the other API."""
    script = {
        "default": {"e429_nohint": 1.0},
        "seed": 3,
        "models": {"a": ["e503", "ok"], "b": {"e500": 1}},
        "openai": {"default": "e502", "needs_key": False, "models": {"c": ["e500", "ok"]}},
    }
    for model, path, wanted in (
        ("a", "api/v1", [503, 200]),
        ("b", "api/v1", [500, 500]),
        ("c", "api/v1", [429, 429]),
        ("c", "v1", [500, 200]),
        ("a", "v1", [502, 502]),
    ):
        assert await statuses(played(script, port=None), 2, model, path) == wanted


def test_an_option_takes_the_place_of_the_scripts_seed():
    """A seed that is given on the command line counts, and not the one of the file."""
    throws = []
    for options in ({}, {"seed": 1}, {"seed": 2}):
        emulator = played({"seed": 2, "models": {"m": {"e503": 0.5}}}, **options)
        play = emulator.openrouter._plays["m"]
        throws.append([play.next() for _ in range(30)])
    assert throws[0] == throws[2] != throws[1]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"e5003": 0.1}, "scenarios of m: there is no scenario 'e5003'; is 'e503' meant"),
        ({"e503": "often"}, r"scenarios of m\.e503: a probability is a number from 0 to 1"),
        ({"e503": True}, "a probability is a number from 0 to 1, not True"),
        ({"e503": 0.5, "ok": 0.6}, "add up to 1.1, more than 1"),
        (["ok", {}, 3], r"scenarios of m\[2\]: the name of a scenario is needed"),
        (["ok", "ok?gap=-1"], r"scenarios of m\[1\]: parameter 'gap' of 'ok' is a number from 0"),
        (["ok?gap=nan"], "parameter 'gap' of 'ok' is a number from 0 on, not 'nan'"),
        (3, "scenarios of m: a list with at least one scenario is needed, or a table"),
    ],
)
def test_a_wrong_step_is_refused(steps, message):
    """A mistake in a script says where it is and what is accepted, when it is given."""
    with pytest.raises(ValueError, match=message):
        Emulator().script("m", steps)


async def test_an_unknown_parameter_of_a_model_is_no_crash():
    """A model that names a scenario wrongly gets an answer, and the server goes on."""
    assert await statuses(Emulator(), 2, "emu/ok?secs=3") == [400, 400]


class TestJournal:
    async def test_times_of_an_answer_are_in_order(self):
        """An entry says when it began, when headers and first byte left, and when it ended."""
        async with Emulator(port=None) as emulator, emulator.client() as client:
            await anyio.sleep(3)
            body = QUESTION | {"model": "emu/s_trunc?tokens=3&gap=2", "stream": True}
            await client.post(f"{emulator.url}/chat/completions", json=body, headers=KEY)
            await client.post(
                f"{emulator.url}/chat/completions",
                json=QUESTION | {"model": "emu/slow?after=5"},
                headers=KEY,
            )
            stream, slow = emulator.journal
            times = [(e.began, e.headed, e.first_byte, e.finished) for e in (stream, slow)]
            assert times == [(3, 3, 3, 9), (9, 14, 14, 14)]

    async def test_a_client_that_left_has_a_time_and_a_place(self):
        """A client that goes away is noted with the instant and the bytes that it had been sent."""
        async with Emulator(port=None) as emulator, emulator.client() as client:
            body = QUESTION | {"model": "emu/stall?every=1"}
            with anyio.move_on_after(4.5):
                await client.post(f"{emulator.url}/chat/completions", json=body, headers=KEY)
            await emulator.journal.settled()
            entry = emulator.journal[0]
            assert (entry.ended, entry.finished) == ("client_closed", 4.5)
            padding = len(b"b\r\n\n         \n\r\n")
            assert (entry.sent - padding * 4) > 0

    async def test_only_the_last_ones_are_kept(self):
        """With `keep` the journal remembers so many, counts all, and waits by that count."""
        emulator = Emulator(port=None, keep=2)
        await statuses(emulator, 5)
        assert [entry.number for entry in emulator.journal] == [4, 5]
        assert (len(emulator.journal), emulator.journal.count) == (2, 5)
        await emulator.journal.begun(5)

    async def test_each_end_is_told_once(self):
        """Whoever listens hears of each request when its answer has ended."""
        heard = []
        emulator = Emulator(port=None)
        emulator.journal.ended = heard.append
        await statuses(emulator, 3)
        assert [entry.number for entry in heard] == [1, 2, 3]

    async def test_a_line_holds_no_words_of_a_client(self):
        """An entry as JSON has the labels of keys, and what was said only on request."""
        emulator = Emulator(port=None)
        await statuses(emulator, 1)
        entry = emulator.journal[0]
        line = json.dumps(entry.as_dict())
        assert "Hello" not in line
        assert "private" not in line
        assert json.loads(line)["headers"]["authorization"] == "Bearer <key 1>"
        assert json.loads(line)["ended"] == "completed"
        assert "Hello" in json.dumps(entry.as_dict(body=True))


class TestProgram:
    def test_it_writes_its_journal(self, tmp_path):
        """`--journal` appends a line of JSON for each request, beside the lines for a reader."""
        path, script = tmp_path / "journal.jsonl", tmp_path / "faults.toml"
        script.write_text("[models]\nm = { e503 = 1 }\n")
        command = [sys.executable, "-m", "resilient_openrouter.emulator"]
        arguments = ["--script", str(script), "--seed", "4", "--journal", str(path), "--bodies"]
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as program:
            url = program.stdout.readline().split()[-1]
            with httpx.Client(trust_env=False) as client:
                for _ in range(2):
                    body = QUESTION | {"model": "m"}
                    client.post(f"{url}/chat/completions", json=body, headers=KEY)
            shown = [program.stdout.readline().split()[:4] for _ in range(2)]
            program.terminate()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [(line["number"], line["status"], line["service"]) for line in lines] == [
            (1, 503, "openrouter"),
            (2, 503, "openrouter"),
        ]
        assert lines[0]["body"]["messages"] == QUESTION["messages"]
        assert shown == [["1", "m", "e503", "completed"], ["2", "m", "e503", "completed"]]

    def test_a_journal_that_cannot_be_written_is_one_line(self, tmp_path, capsys):
        """A journal in a folder that is not there is one line that names it, and a status of 1."""
        path = tmp_path / "none" / "journal.jsonl"
        assert main(["--journal", str(path)]) == 1
        assert capsys.readouterr().err == (
            f"resilient_openrouter.emulator: {path}: No such file or directory\n"
        )
