"""The emulated server: what it answers, what it notices, and that it is real HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys

import anyio
import httpx
import pytest

from resilient_openrouter.emulator import SCENARIOS, SWITCHES, Emulator
from resilient_openrouter.emulator.__main__ import main
from resilient_openrouter.emulator.scenarios import PARAMETERS
from resilient_openrouter.emulator.scenarios.openai import OPENAI

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts no certificate: quick to make
QUESTION = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hello there"}]}
KEY = {"Authorization": "Bearer sk-or-v1-private"}
QUICK = [
    name
    for name, scenario in SCENARIOS.items()
    if scenario.status is not None
    and scenario.ending == "whole"
    and name not in {"slow", "slow_ttft", "disconnect_probe"}
]


def client_of(emulator, **options):
    return httpx.AsyncClient(
        base_url=emulator.url, headers=KEY, trust_env=False, timeout=5, verify=NOBODY, **options
    )


async def ask(client, model="openai/gpt-4o", **options):
    return await client.post("chat/completions", json=QUESTION | {"model": model}, **options)


@pytest.mark.parametrize("name", QUICK)
async def test_each_scenario_is_an_http_answer(name):
    """Every scenario that ends well is read to its end by an HTTP client, with its status."""
    async with Emulator() as emulator, client_of(emulator) as client:
        response = await ask(client, f"emu/{name}")
        assert response.status_code == SCENARIOS[name].status
        assert response.headers["x-generation-id"].startswith("gen-")
        assert emulator.journal[0].ended == "completed"
        assert "$" not in response.text


async def test_a_success_looks_like_the_real_one():
    """A success is padded, chunked, names a dated model and says what it cost."""
    async with Emulator() as emulator, client_of(emulator) as client:
        response = await ask(client)
        assert response.content.startswith(b"\n         \n\n         \n{")
        assert response.headers["transfer-encoding"] == "chunked"
        found = json.loads(response.text)
        assert found["model"] == "openai/gpt-4o-20260317"
        assert found["provider"] == "OpenAI"
        assert found["usage"]["cost"] == 0.00001255


BASE = (
    '"object":"chat.completion.chunk","created":1777319808,'
    '"model":"openai/gpt-4o-20260317","provider":"OpenAI"'
)
USAGE = (
    '"usage":{"prompt_tokens":19,"completion_tokens":7,"total_tokens":26,"cost":1.255e-05,'
    '"is_byok":false,"cost_details":{"upstream_inference_cost":1.255e-05,'
    '"upstream_inference_prompt_cost":3.8e-06,"upstream_inference_completions_cost":8.75e-06},'
    '"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}'
)


def line(delta, finish="null", native="null", more=""):
    """Return an event as it stands on the wire."""
    return (
        f'data: {{"id":"gen-1777319809-n1Y7aaaaaaaaaaaaaaaa",{BASE},"choices":[{{"index":0,'
        f'"delta":{delta},"finish_reason":{finish},"native_finish_reason":{native}}}]{more}}}\n\n'
    )


async def test_a_stream_is_exact_to_the_byte():
    """A stream has the bytes of the recorded ones: comments, deltas, two ends, usage, `[DONE]`."""
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.script("openai/gpt-4o", ["ok_stream"])
        response = await ask(client)
        comment = ": OPENROUTER PROCESSING\n\n"
        assert response.text == (
            comment * 2
            + line('{"role":"assistant","content":"Ho"}')
            + line('{"content":"la"}')
            + line('{"content":""}', '"stop"', '"completed"')
            + line('{"role":"assistant","content":""}', '"stop"', '"completed"', f",{USAGE}")
            + "data: [DONE]\n\n"
        )
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-cache"


async def test_a_completion_is_streamed_to_whoever_asks():
    """The same model answers in one piece or as a stream, as the request wants it."""
    async with Emulator() as emulator, client_of(emulator) as client:
        streamed = await client.post("chat/completions", json=QUESTION | {"stream": True})
        emulator.script("openai/gpt-4o", ["ok_stream"])
        written = await ask(client)
        assert streamed.text == written.text.replace("1777319810", "1777319809")


async def test_a_stream_may_be_cut_anywhere():
    """Chunks of HTTP may be single bytes, in the middle of lines and of characters."""
    async with Emulator() as emulator:
        port = httpx.URL(emulator.url).port
        body = json.dumps(QUESTION | {"model": "emu/ok_stream_bytes"}).encode()
        head = (
            "POST /api/v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"authorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head.encode() + body)
            read = b""
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    read += await stream.receive()
        chunks = read.partition(b"\r\n\r\n")[2]
        assert chunks.startswith(b"1\r\n:\r\n1\r\n \r\n1\r\nO\r\n")
        assert chunks.endswith(b"1\r\n]\r\n1\r\n\n\r\n1\r\n\n\r\n0\r\n\r\n")


async def test_a_script_is_played_and_its_last_entry_repeats():
    """A scripted model takes one scenario for each request, and stays at the last one."""
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.script("openai/gpt-4o", ["e503", "e429_upstream_hint?seconds=3", "ok"])
        answers = [await ask(client) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 429, 200, 200]
        assert answers[1].headers["retry-after"] == "3"
        assert answers[1].json()["error"]["metadata"]["retry_after_seconds"] == 3
        assert answers[1].json()["error"]["metadata"]["headers"] == {"Retry-After": "3"}


async def test_the_connection_is_kept():
    """Answers of any status leave the connection open for the next request."""
    async with Emulator() as emulator, client_of(emulator) as client:
        for model in ("emu/ok", "emu/e503", "emu/whitespace_only", "emu/html_502"):
            await ask(client, model)
        assert {entry.connection for entry in emulator.journal} == {1}


async def test_the_journal_hides_keys():
    """A key is a number in the journal, the same for the same key."""
    async with Emulator() as emulator, client_of(emulator) as client:
        await ask(client)
        await ask(client, headers={"Authorization": "Bearer another"})
        await ask(client)
        shown = [entry.headers["authorization"] for entry in emulator.journal]
        assert shown == ["Bearer <key 1>", "Bearer <key 2>", "Bearer <key 1>"]
        assert "private" not in repr(emulator.journal[0])
        assert "Hello" not in repr(emulator.journal[0])


async def test_a_refused_key_gets_401():
    """A refused key is answered with 401 for every model, and other keys are not."""
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.refuse_key("sk-or-v1-private")
        assert (await ask(client)).status_code == 401
        other = await ask(client, headers={"Authorization": "Bearer another"})
        assert other.status_code == 200


async def test_no_key_gets_401():
    """A request without a key is answered as the real server does."""
    async with Emulator() as emulator, httpx.AsyncClient(trust_env=False, verify=NOBODY) as client:
        response = await client.post(f"{emulator.url}/chat/completions", json=QUESTION)
        assert response.status_code == 401
        assert response.json()["error"]["message"] == "No cookie auth credentials found"


async def test_what_is_no_conversation_gets_400():
    """Messages that are a text, a body that is no JSON, and unknown emulated models get 400."""
    async with Emulator() as emulator, client_of(emulator) as client:
        wrong = [
            await client.post("chat/completions", json=QUESTION | {"messages": "hello"}),
            await client.post("chat/completions", content=b"{"),
            await ask(client, "emu/nothing_like_it"),
        ]
        assert [response.status_code for response in wrong] == [400, 400, 400]


async def test_other_paths_get_404():
    """What is at no path is not found, and the journal says what was sought."""
    async with Emulator() as emulator, client_of(emulator) as client:
        assert (await client.get("nothing")).status_code == 404
        assert (await client.post("chat", content=b"x" * 100)).status_code == 404
        assert [(entry.path, entry.scenario) for entry in emulator.journal] == [
            ("/api/v1/nothing", "e404_address"),
            ("/api/v1/chat", "e404_address"),
        ]


@pytest.mark.parametrize("name", ["stall?every=0.01", "silence", "slow?after=60"])
async def test_it_notices_when_the_client_goes_away(name):
    """An answer that never ends is noted as closed by the client as soon as it has closed."""
    async with Emulator() as emulator, client_of(emulator) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, client, f"emu/{name}")
            await emulator.journal.begun()
            group.cancel_scope.cancel()
        await emulator.journal.settled()
        assert emulator.journal[0].ended == "client_closed"


async def test_a_stall_sends_keep_alives():
    """A stalled answer is a 200 with whitespace for as long as anybody listens."""
    async with Emulator() as emulator, client_of(emulator) as client:
        body = json.dumps(QUESTION | {"model": "emu/stall?every=0.01"}).encode()
        async with client.stream("POST", "chat/completions", content=body) as response:
            assert response.status_code == 200
            read = b""
            with anyio.CancelScope() as scope:
                async for piece in response.aiter_raw():
                    read += piece
                    if len(read) > 50:
                        scope.cancel()
        assert read.strip() == b""
        await emulator.journal.settled()
        assert emulator.journal[0].ended == "client_closed"
        assert emulator.journal[0].sent > 50


@pytest.mark.parametrize(
    ("name", "error", "ended"),
    [
        ("reset", httpx.ReadError, "reset_by_us"),
        ("close", httpx.RemoteProtocolError, "closed_by_us"),
        ("close_in_body", httpx.RemoteProtocolError, "closed_by_us"),
        ("reset_in_body", httpx.ReadError, "reset_by_us"),
    ],
)
async def test_a_broken_connection_is_broken(name, error, ended):
    """A reset and an early close reach the client as such, and are noted as the server's doing."""
    async with Emulator() as emulator, client_of(emulator) as client:
        with pytest.raises(error):
            await ask(client, f"emu/{name}")
        assert emulator.journal[0].ended == ended


async def test_a_slow_answer_takes_its_time():
    """`slow` answers after the given seconds."""
    async with Emulator() as emulator, client_of(emulator) as client:
        assert (await ask(client, "emu/slow?after=0.1")).status_code == 200
        entry = emulator.journal[0]
        assert entry.finished - entry.began >= 0.1


async def test_requests_are_waited_for():
    """`begun` returns as soon as so many requests have arrived, to each who waits, or at once."""
    async with Emulator() as emulator, client_of(emulator) as client:
        seen = []

        async def wait(count):
            await emulator.journal.begun(count)
            seen.append((count, len(emulator.journal)))

        async with anyio.create_task_group() as group:
            for count in (2, 1, 1):
                group.start_soon(wait, count)
            await anyio.wait_all_tasks_blocked()
            for _ in range(2):
                await ask(client)
        assert sorted(seen) == [(1, 1), (1, 1), (2, 2)]
        await emulator.journal.begun(2)


async def test_answers_are_given_side_by_side():
    """Many requests at once are each answered, stalled ones among them."""
    async with Emulator() as emulator, client_of(emulator) as client:
        done = []

        async def one(model, group):
            done.append((await ask(client, model)).status_code)
            if len(done) == 40:
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for model in ["emu/stall"] * 3 + ["emu/ok"] * 40:
                group.start_soon(one, model, group)
        assert done == [200] * 40


async def test_the_url_needs_a_running_server():
    """The address of a server that does not run is an error that says what to do."""
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="async with"):
        _ = emulator.url


async def test_an_error_of_the_block_leaves_as_it_is():
    """What is raised inside the block is raised outside of it, and not wrapped into a group."""
    with pytest.raises(ZeroDivisionError):
        async with Emulator():
            raise ZeroDivisionError


async def test_stopping_ends_what_is_open():
    """A server that stops ends the answers that it is giving."""
    emulator = Emulator()
    async with (
        anyio.create_task_group() as group,
        httpx.AsyncClient(trust_env=False, verify=NOBODY) as client,
    ):

        async def one(url):
            with pytest.raises(httpx.HTTPError):
                await client.post(
                    f"{url}/chat/completions",
                    json=QUESTION | {"model": "emu/stall"},
                    headers=KEY,
                )

        async with emulator:
            group.start_soon(one, emulator.url)
            await emulator.journal.begun()
        assert emulator.journal[0].ended == "closed_by_us"


@pytest.mark.parametrize(
    ("scenarios", "message"),
    [
        (["e5003"], "is 'e503' meant"),
        (["ok?secs=3"], "has no parameter 'secs'"),
        (["slow?after=soon"], "soon"),
        ([], "at least one"),
        ("ok", "a list"),
    ],
)
def test_a_wrong_script_is_refused_at_once(scenarios, message):
    """A script with a mistake is a `ValueError` when it is given, not when it is played."""
    with pytest.raises(ValueError, match=message):
        Emulator().script("m", scenarios)


def test_parameters_are_all_used():
    """Every parameter stands in some scenario."""
    text = repr((SCENARIOS, SWITCHES)) + "$size"  # which stands in $filler
    assert [name for name in PARAMETERS if f"${name}" not in text] == []


async def test_what_is_no_http_ends_the_connection():
    """Bytes that are no HTTP, or too many of them, end their connection and nothing else."""
    async with Emulator() as emulator, client_of(emulator) as client:
        port = httpx.URL(emulator.url).port
        for garbage in (
            b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"hello\r\n\r\n",
            b"x" * 200_000,
            b"POST / HTTP/1.1\r\ncontent-length: z\r\n\r\n",
        ):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                with contextlib.suppress(anyio.BrokenResourceError):
                    await stream.send(garbage)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()
        assert (await ask(client)).status_code == 200


async def test_a_big_request_may_ask_first():
    """A client that waits for `100 Continue` gets it."""
    async with Emulator() as emulator:
        port = httpx.URL(emulator.url).port
        body = json.dumps(QUESTION).encode()
        head = (
            "POST /api/v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            f"authorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(head.encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 100 Continue\r\n")
            await stream.send(body)
            assert (await stream.receive()).startswith(b"HTTP/1.1 200 OK\r\n")


class TestProgram:
    def test_it_serves_a_script(self, tmp_path):
        """The program prints its address, plays the script of a file, and reports each answer."""
        script = tmp_path / "faults.toml"
        script.write_text('default = "e502"\n[models]\n"a/b" = ["e503", "ok?text=hi"]\n')
        with self.started("--script", str(script)) as program:
            url = program.stdout.readline().split()[-1]
            with httpx.Client(trust_env=False) as client:
                statuses = [
                    client.post(
                        f"{url}/chat/completions", json=QUESTION | {"model": model}, headers=KEY
                    ).status_code
                    for model in ("a/b", "a/b", "c/d")
                ]
                client.post(f"{url}/chat", json=QUESTION, headers=KEY)
            reported = [program.stdout.readline().split()[:4] for _ in range(4)]
            program.terminate()
        assert statuses == [503, 200, 502]
        assert reported == [
            ["1", "a/b", "e503", "completed"],
            ["2", "a/b", "ok?text=hi", "completed"],
            ["3", "c/d", "e502", "completed"],
            ["4", "/api/v1/chat", "e404_address", "completed"],
        ]

    def test_it_lists_its_scenarios(self):
        """`--list` prints the names of all scenarios, of either API."""
        done = self.run("--list")
        listed = [*SCENARIOS, *SWITCHES, *(f"openai: {name}" for name in OPENAI)]
        assert (done.returncode, done.stdout.splitlines()) == (0, listed)

    def test_a_wrong_script_is_one_line(self, tmp_path, capsys):
        """A script with a mistake is one line on stderr that names the file, and a status of 1."""
        script = tmp_path / "faults.toml"
        mistakes = {
            'default = "okay"': "default: there is no scenario 'okay'",
            "default =": "Invalid value (at end of document)",
            "seed = 1.5": "seed: a whole number is needed, not 1.5",
            '[models]\n"a/b" = []': 'models."a/b": a list with at least one scenario is needed',
            '[models]\na = ["ok", 3]': "models.a[1]: the name of a scenario is needed",
            "[models]\na = 3": "models.a: a list with at least one scenario is needed",
            '[models]\na = ["e5003"]': (
                "models.a: there is no scenario 'e5003'; is 'e503' meant? (--list prints all of"
            ),
            '[models]\na = ["ok", "slow?after=soon"]': (
                "models.a[1]: parameter 'after' of 'slow' is a number from 0 on, not 'soon'"
            ),
            "[models]\na = { e503 = 2 }": (
                "models.a.e503: a probability is a number from 0 to 1, not 2"
            ),
            "[models]\na = { e503 = 0.7, stall = 0.6 }": (
                "models.a: the probabilities add up to 1.3, more than 1"
            ),
            'models = "x"': "models: a table of model = [scenarios] is needed, not 'x'",
            '[model]\n"a" = ["ok"]': (
                "model: there is no such key, only default, seed, models and openai;"
                " is 'models' meant?"
            ),
            'openai = "x"': "openai: a table with default, needs_key and models is needed",
            "[openai]\nneeds_key = 1": "openai.needs_key: true or false is needed, not 1",
            "[openai]\nkey = 1": "openai.key: there is no such key, only default,",
            '[openai.models]\n"llama3.2" = ["e402_credits"]': (
                "openai.models.\"llama3.2\": there is no scenario 'e402_credits'"
            ),
        }
        for text, told in mistakes.items():
            script.write_text(text)
            assert main(["--script", str(script)]) == 1
            err = capsys.readouterr().err
            assert err.startswith(f"resilient_openrouter.emulator: {script}: {told}")
            assert len(err.splitlines()) == 1

    def test_a_script_that_is_not_there_is_one_line(self, tmp_path, capsys):
        """A script that cannot be read is one line on stderr that names it, and a status of 1."""
        path = tmp_path / "faults.toml"
        assert main(["--script", str(path)]) == 1
        assert capsys.readouterr().err == (
            f"resilient_openrouter.emulator: {path}: No such file or directory\n"
        )

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_a_port_that_is_none_is_one_line(self, port, capsys):
        """A port out of range is one line on stderr, and a `ValueError` in a program."""
        assert main([f"--port={port}"]) == 1
        told = f"port must be from 0 to 65535, not {port}"
        assert capsys.readouterr().err == f"resilient_openrouter.emulator: --{told}\n"
        with pytest.raises(ValueError, match=told):
            Emulator(port=port)

    def test_a_port_in_use_is_one_line(self):
        """A port that somebody else has is one line on stderr and an exit code of 1."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = self.run("--port", str(port))
        assert done.returncode == 1
        assert done.stderr == (
            f"resilient_openrouter.emulator: port {port} of 127.0.0.1: Address already in use\n"
        )

    def program(self, *arguments):
        return [sys.executable, "-m", "resilient_openrouter.emulator", *arguments]

    def run(self, *arguments):
        return subprocess.run(
            self.program(*arguments), capture_output=True, text=True, check=False, timeout=15
        )

    def started(self, *arguments):
        return subprocess.Popen(self.program(*arguments), stdout=subprocess.PIPE, text=True)
