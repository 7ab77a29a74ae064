"""`resilient demo` and `resilient ask`: what they print, where, and the exit status."""

from __future__ import annotations

import http.server
import io
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import anyio.from_thread
import pytest

import resilient_openrouter
from resilient_openrouter import _ask, _demo, _screen
from resilient_openrouter._scenes import SCENES
from resilient_openrouter._waterfall import WIDTH
from resilient_openrouter.emulator import Emulator
from resilient_openrouter.emulator.__main__ import told
from resilient_openrouter.emulator.scripts import played

DEMO = """\
resilient demo: everything happens on 127.0.0.1, no key needed

1 of 5  One model, no protection: its rate limit is your error 500
  ✗ 429 after 0.00 s: the model's providers are at their limit; asks for 26 s
  the 3 lines behind this scene: resilient demo --code 1

2 of 5  Two models, then a plain async function
  you    Why is the sky blue?
  local  Because air scatters blue light more than red.

  ask                            # 0.00 s  fallback
  1 openai/gpt-4o                # 0.00 s  429
      asks for 26 s; another target is free: next
  2 anthropic/claude-sonnet-4.5  # 0.00 s  timeout
      keep-alives, but no answer within 0.00 s: next
  3 local                        # 0.00 s  answered

  answered by local, 2 failed before it; waited 0 s; cost $0 and 1 unknown
  the 10 lines behind this scene: resilient demo --code 2

3 of 5  Three models on a dead key: one call, not three
  you                  Why is the sky blue?
  gpt-4o, another key  Because air scatters blue light more than red.

  ask                            # 0.00 s  fallback
  1 openai/gpt-4o                # 0.00 s  401
      the key is not accepted: next
  - anthropic/claude-sonnet-4.5  # not asked
      shares the key that failed: no call
  - google/gemini-2.5-pro        # not asked
      shares the key that failed: no call
  2 gpt-4o, another key          # 0.00 s  answered

  answered by gpt-4o, another key, 1 failed before it; waited 0 s; cost $0.00001255
  the server saw 2 requests, 1 of them refused
  the 8 lines behind this scene: resilient demo --code 3

4 of 5  A stream that breaks off before its first word: one voice is heard
  you  Why is the sky blue?
       Because air scatters blue light more than red.

  ask                            # 0.00 s  fallback
  1 openai/gpt-4o                # 0.00 s  502
      the provider failed: next
  2 anthropic/claude-sonnet-4.5  # 0.00 s  answered

  answered by anthropic/claude-sonnet-4.5, 1 failed before it; waited 0 s; cost $0.0000251
  the 6 lines behind this scene: resilient demo --code 4

5 of 5  Everything is down
  you       Why is the sky blue?
  degraded  No answer right now. Your question is kept.

  ask                            # 0.00 s  degraded
  1 openai/gpt-4o                # 0.00 s  502
      the provider failed: once more after 0.00 s
  2 openai/gpt-4o                # 0.00 s  503
      the model has no capacity right now: next
  3 anthropic/claude-sonnet-4.5  # 0.00 s  524
      the provider took too long: once more after 0.00 s
  4 anthropic/claude-sonnet-4.5  # 0.00 s  502
      the provider failed: nobody is left

  nobody answered in 4 attempts: the last resort stands in; waited 0.00 s; cost $0 and 3 unknown
  the 7 lines behind this scene: resilient demo --code 5
"""


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setattr(sys, "argv", ["resilient"])
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def quick(monkeypatch):
    """Leave out the scene that has to wait for a stall."""
    scenes = (SCENES[0], SCENES[2], SCENES[4])
    monkeypatch.setattr(_demo, "SCENES", scenes)
    return scenes


class Terminal(io.StringIO):
    """A terminal that nobody types at."""

    encoding = "utf-8"

    def isatty(self):
        return True


def timeless(text):
    """Take out what differs from run to run: durations, and the pictures made of them."""
    text = re.sub(rf"(?m)^(  .{{30}}) [ █]{{{WIDTH}}} +", r"\1 # ", text)
    text = re.sub(r"waited (0\.\d+|\de-\d\d) s", "waited 0.00 s", text)
    # A busy machine leaves a limit late; what a limit makes of its time is tested elsewhere.
    text = re.sub(r"within \d\.\d+ s", "within 0.00 s", text)
    return re.sub(r"\d\.\d\d s", "0.00 s", text)


def colourless(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class TestDemo:
    def test_it_tells_five_stories(self, capsys):
        """Without a terminal the demonstration is plain text, and this is all of it."""
        assert _demo.main([]) == 0
        out, err = capsys.readouterr()
        assert (timeless(out), err) == (DEMO, "")

    def test_on_a_terminal_it_is_the_same_text(self, monkeypatch):
        """On a terminal the same lines are left in the end, after a picture that moved."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert _demo.main([]) == 0
        shown = colourless(terminal.getvalue())
        assert "\x1b[" in terminal.getvalue()
        assert re.search(r"2 anthropic/claude-sonnet-4.5 .*  \.\.\.", shown)
        for line in DEMO.splitlines():
            assert "#" in line or "0.00 s" in line or line in shown

    def test_without_rich_it_is_plain(self, monkeypatch, capsys, quick):
        """A terminal without rich gets the plain text."""
        assert _demo.main([]) == 0
        plain = capsys.readouterr().out
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        monkeypatch.setitem(sys.modules, "rich", None)
        assert _demo.main([]) == 0
        assert timeless(terminal.getvalue()) == timeless(plain)

    def test_where_blocks_cannot_be_printed_it_is_ascii(self, monkeypatch, quick):
        """An output that is not Unicode gets a picture in ASCII instead of a traceback."""
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        assert _demo.main([]) == 0
        sys.stdout.flush()
        assert b"  x 429 after" in raw.getvalue()
        assert b"####" in raw.getvalue()

    @pytest.mark.parametrize(("keys", "scenes"), [(["q\n"], 1), (["\n", ""], 3)])
    def test_a_key_goes_on_or_ends_it(self, monkeypatch, keys, scenes, quick):
        """Between scenes Enter or three seconds go on, and q ends it."""
        terminal, typed = Terminal(), iter(keys)
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(_screen, "_key_within", lambda seconds: next(typed))
        assert _demo.main([]) == 0
        assert colourless(terminal.getvalue()).count(" of 3  ") == scenes
        assert "Enter: next   q Enter: quit   goes on in 3 s" in terminal.getvalue()

    def test_a_terminal_that_cannot_be_asked_waits(self, monkeypatch):
        """Where a terminal cannot be asked for a key, the time passes and the scenes go on."""
        monkeypatch.setattr(sys, "stdin", io.StringIO("q\n"))
        assert _screen._key_within(0) == ""

    @pytest.mark.parametrize(("typed", "read"), [(b"q\n", "q\n"), (b"", "")])
    def test_a_key_is_read_when_it_is_there(self, monkeypatch, typed, read):
        """A line that was typed is read, and nobody waits for one that was not."""
        source, end = os.pipe()
        with os.fdopen(source) as stdin, os.fdopen(end, "wb", buffering=0) as keys:
            monkeypatch.setattr(sys, "stdin", stdin)
            keys.write(typed)
            assert _screen._key_within(0) == read

    @pytest.mark.parametrize("number", range(1, len(SCENES) + 1))
    def test_the_code_behind_a_scene_is_code(self, capsys, number):
        """`--code N` prints the function that scene N runs, a dozen lines that compile."""
        assert _demo.main(["--code", str(number)]) == 0
        out = capsys.readouterr().out
        compile(out, "scene", "exec")
        assert SCENES[number - 1].code.__name__ in out
        assert len(out.splitlines()) <= 12
        assert "noqa" not in out

    def test_there_is_no_sixth_scene(self, capsys):
        """A scene that does not exist is a usage error."""
        with pytest.raises(SystemExit) as caught:
            _demo.main(["--code", "6"])
        assert caught.value.code == 2
        assert "--code" in capsys.readouterr().err

    def test_it_names_itself_as_it_was_started(self, monkeypatch):
        """The line that names the command is the one that works where it was started."""
        monkeypatch.setattr(sys, "argv", ["/somewhere/resilient/_cli.py"])
        assert _demo._command() == "python3 run.py demo"


class Collector:
    """A stand-in for a collector: it keeps what is posted to it."""

    def __enter__(self):
        posted = self.posted = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["content-length"])
                posted.append((self.path, self.rfile.read(length)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01])
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class TestSpans:
    def test_they_go_where_the_variable_says(self, monkeypatch, capsys, quick):
        """With an OTLP endpoint in the environment, the spans of the scenes arrive there."""
        with Collector() as collector:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            assert _demo.main([]) == 0
        path, body = collector.posted[0]
        assert path == "/v1/traces"
        assert b"chat openai/gpt-4o" in body
        assert b"resilient-demo" in body
        assert b"sky" not in body
        assert capsys.readouterr().err == (
            f"spans were sent to {collector.url} (service resilient-demo)\n"
        )

    def test_a_collector_that_is_down_is_one_line(self, monkeypatch, capsys, quick):
        """A collector that does not answer costs one line on stderr and changes nothing else."""
        with Collector() as collector:
            pass
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        assert _demo.main([]) == 0
        out, err = capsys.readouterr()
        assert "answered by gpt-4o, another key" in out
        assert err == (
            f"spans could not be delivered to {collector.url} (service resilient-demo)\n"
        )

    def test_a_missing_sdk_is_one_line(self, monkeypatch, capsys, quick):
        """Without the SDK the variable costs one line that says how to install it."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.delitem(sys.modules, "resilient_openrouter._export", raising=False)
        monkeypatch.delattr(resilient_openrouter, "_export", raising=False)
        monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
        monkeypatch.delitem(
            sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", raising=False
        )
        assert _demo.main([]) == 0
        err = capsys.readouterr().err
        assert err.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry.exporter")
        assert err.endswith('no spans are sent; pip install "resilient-policies[otel]"\n')
        assert len(err.splitlines()) == 1


@pytest.fixture
def server():
    """An emulated server in a thread: `ask` has an event loop of its own."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator()) as emulator,
    ):
        yield emulator


class TestAsk:
    def ask(self, *arguments):
        return _ask.main(["Why?", *arguments])

    def test_it_prints_the_answer_and_how_it_came(self, server, capsys):
        """The answer comes first, then who gave it, what it cost, and why the others did not."""
        server.script("a/first", ["e429_upstream_hint"])
        server.script("b/second", ["stall?every=0.02"])
        server.script("c/third", ["ok?text=Because."])
        models = ["--model", "a/first", "--model", "b/second", "--model", "c/third"]
        options = ["--timeout", "0.3", "--attempts", "1", "--deadline", "5"]
        assert self.ask(*models, *options, "--base-url", server.url) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert timeless(out) == (
            "Because.\n\n"
            "answered by c/third (c/third-20260317, C) in 0.00 s; cost $0.00001255 and 1 unknown\n"
            "  1 a/first: 429; asks for 26 s; another target is free: next\n"
            "  2 b/second: timeout; keep-alives, but no answer within 0.00 s: next\n"
        )

    def test_the_key_of_the_environment_is_used(self, server, monkeypatch, capsys):
        """The key comes from the environment, also for a server on this machine."""
        monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-mine")
        server.refuse_key("sk-or-v1-mine")
        assert self.ask("--model", "a/b", "--base-url", server.url) == 1
        assert "[401] AuthenticationFailed" in capsys.readouterr().err

    def test_a_missing_key_is_one_line(self, capsys):
        """Without a key nobody is asked: one line, and a status of 2."""
        assert self.ask("--model", "a/b") == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", "resilient ask: there is no API key: set OPENROUTER_API_KEY\n")

    def test_a_bad_model_is_one_line(self, server, capsys):
        """A model that nobody knows is one line, and a status of 1."""
        assert self.ask("--model", "emu/no_such", "--base-url", server.url) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(
            r"resilient ask: nobody answered: \[400\] ModelNotFound: no model has this name"
            r" \(emu/no_such, gen-[\w-]+\)\n",
            err,
        )

    def test_a_host_that_is_not_there_is_one_line(self, server, capsys):
        """A server that cannot be reached is one line, and a status of 1."""
        with Collector() as gone:
            pass
        url = f"{gone.url}/api/v1"
        assert self.ask("--model", "a/b", "--attempts", "1", "--base-url", url) == 1
        assert capsys.readouterr().err == (
            "resilient ask: nobody answered: [connect_failed] ConnectFailed: the host could not"
            f" be reached: connection refused at {gone.url.removeprefix('http://')} (a/b)\n"
        )

    def test_all_that_failed_is_one_line(self, server, capsys):
        """When several models failed, each is named with its reason, in one line."""
        server.script("a/first", ["e503"])
        server.script("b/second", ["stall?every=0.02"])
        models = ["--model", "a/first", "--model", "b/second"]
        options = ["--attempts", "1", "--timeout", "0.2"]
        assert self.ask(*models, *options, "--base-url", server.url) == 1
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "[503] Overloaded: the model has no capacity right now (a/first" in err
        assert err.endswith("; b/second: timed out after 0.2 s (limit of one attempt)\n")

    def test_retries_are_told_where_nobody_answered(self, server, capsys):
        """What one line cannot tell stands below it: every attempt, with its reason and cost."""
        server.script("a/first", ["e503", "e502"])
        server.script("b/late", ["stall?every=0.02"])
        models = ["--model", "a/first", "--model", "b/late"]
        assert self.ask(*models, "--timeout", "0.2", "--base-url", server.url) == 1
        out, err = capsys.readouterr()
        assert out == ""
        first, *story = timeless(err).splitlines()
        assert first.startswith("resilient ask: nobody answered: [502] UpstreamError")
        assert story == [
            "  1 a/first: 503; the model has no capacity right now: once more after 0.00 s",
            "  2 a/first: 502; the provider failed: next",
            "  3 b/late: timeout; keep-alives, but no answer within 0.00 s: once more after 0.00 s",
            "  4 b/late: timeout; keep-alives, but no answer within 0.00 s",
            "  in 0.00 s; cost $0 and 3 unknown",
        ]

    def test_skipped_models_are_told_where_nobody_answered(self, server, monkeypatch, capsys):
        """When one failure kept other models from being asked, they are told with the reason."""
        monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-mine")
        server.refuse_key("sk-or-v1-mine")
        models = ["--model", "a/first", "--model", "b/second"]
        assert self.ask(*models, "--base-url", server.url) == 1
        first, *story = timeless(capsys.readouterr().err).splitlines()
        assert first.startswith("resilient ask: nobody answered: [401] AuthenticationFailed")
        assert story == [
            "  1 a/first: 401; the key is not accepted",
            "  - b/second: not asked; shares the key that failed: no call",
            "  in 0.00 s; cost $0",
        ]

    def test_a_wrong_address_is_told_in_the_words_of_the_command_line(self, server, capsys):
        """A server that has nothing at the address is told with the option that names it."""
        url = server.url.removesuffix("/api/v1")
        assert self.ask("--model", "a/b", "--base-url", url) == 1
        err = capsys.readouterr().err
        assert "nothing at this address; --base-url usually ends in /api/v1 (a/b" in err
        assert len(err.splitlines()) == 1

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (
                ["--base-url", "http://example.org"],
                "--base-url must be https, or http to this machine alone, not 'http://example.org'",
            ),
            (
                ["--base-url", "nowhere"],
                "--base-url must be an https address, or http to this machine, not 'nowhere'",
            ),
            (["--base-url", "https://a:99999"], "--base-url must be an address with a port"),
            (["--base-url", "https://a:secret@b"], "--base-url must be a plain address: no user"),
            (["--timeout", "-1"], "--timeout must be seconds above 0, not -1"),
            (["--timeout", "nan"], "--timeout must be seconds above 0, not nan"),
            (["--deadline", "0"], "--deadline must be seconds above 0, not 0"),
            (["--attempts", "0"], "--attempts must be at least 1, not 0"),
            (["--model", ""], "--model must be the name of a model, not nothing"),
            (["--model", "a/b"], "--model 'a/b' twice: more tries on a model are --attempts"),
        ],
    )
    def test_wrong_options_are_one_line(self, options, told, capsys, monkeypatch):
        """Options that make no sense are one line that names them, and a status of 2."""
        monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-v1-mine")
        assert self.ask("--model", "a/b", *options) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"resilient ask: {told}")
        assert len(err.splitlines()) == 1
        assert "secret" not in err

    def test_a_model_is_needed(self, capsys):
        """Which model to ask is the user's choice, because it is the user's money."""
        with pytest.raises(SystemExit) as caught:
            self.ask()
        assert caught.value.code == 2
        assert "--model" in capsys.readouterr().err

    def test_on_a_terminal_it_shows_what_it_waits_for(self, server, monkeypatch):
        """On a terminal the attempts are seen while they run, and the answer is left."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        server.script("a/slow", ["slow?after=0.3&text=At last."])
        assert self.ask("--model", "a/slow", "--base-url", server.url) == 0
        shown = colourless(terminal.getvalue())
        assert "1 a/slow" in shown
        assert "At last.\n\nanswered by a/slow" in shown

    @pytest.mark.parametrize(("options", "stream"), [([], True), (["--no-stream"], None)])
    def test_the_answer_is_asked_for_as_a_stream(self, server, capsys, options, stream):
        """The request is for a stream, unless it is turned off, and the text is the same."""
        assert self.ask("--model", "a/b", *options, "--base-url", server.url) == 0
        assert capsys.readouterr().out.startswith("Hola\n\nanswered by a/b (a/b-20260317, A)")
        assert server.journal[0].body.get("stream") == stream

    def test_words_are_shown_as_they_come(self, server, monkeypatch):
        """On a terminal each word is written when it comes, and nothing is written twice."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        server.script("a/b", ["ok?text=one two three&gap=0.02"])
        written = []
        monkeypatch.setattr(terminal, "write", lambda text: written.append(text) or len(text))
        assert self.ask("--model", "a/b", "--base-url", server.url) == 0
        assert [text for text in written if text in {"one ", "two ", "three"}] == [
            "one ", "two ", "three",
        ]  # fmt: skip
        assert "".join(written).count("three") == 1

    def test_a_model_that_breaks_off_is_told_on_a_terminal(self, server, monkeypatch):
        """What was shown is void, and the next model begins below a line that says so."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        server.script("a/first", ["s_err_mid"])
        models = ["--model", "a/first", "--model", "b/second"]
        assert self.ask(*models, "--base-url", server.url) == 0
        shown = colourless(terminal.getvalue()).replace("\r", "")
        assert "ho\n(a/first broke off; b/second begins anew)\nHola\n\nanswered by b/s" in shown

    def test_a_pipe_never_holds_half_an_answer(self, server, capsys):
        """Where an answer is written to a file it is one model's, and whole."""
        server.script("a/first", ["s_err_mid"])
        models = ["--model", "a/first", "--model", "b/second"]
        assert self.ask(*models, "--base-url", server.url) == 0
        assert capsys.readouterr().out.startswith("Hola\n\nanswered by b/second")
        assert self.ask("--model", "a/first", "--base-url", server.url) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("resilient ask: nobody answered: [502] UpstreamError")

    def test_an_answer_that_breaks_off_for_good_is_told(self, server, monkeypatch, capsys):
        """On a terminal the half of an answer stands there, and the line says that it is one."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        server.script("a/b", ["s_err_mid"])
        assert self.ask("--model", "a/b", "--base-url", server.url) == 1
        assert colourless(terminal.getvalue()).endswith("ho\n")
        assert capsys.readouterr().err.startswith(
            "resilient ask: the answer broke off: [502] UpstreamError: the provider failed"
        )


class TestPage:
    """What `docs/openrouter.md` shows is what its commands print, times apart."""

    @pytest.fixture
    def page(self):
        """Read the part of the page about the command line."""
        text = (Path(__file__).parents[2] / "docs" / "openrouter.md").read_text(encoding="utf-8")
        return text.partition("## On the command line")[2].partition("## The emulator")[0]

    def fenced(self, page, language):
        return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page)

    def test_ask_meets_the_emulator(self, page, capsys):
        """The script, the question, the answer and the lines of the emulator belong together."""
        (script,) = self.fenced(page, "toml")
        answer, lines = self.fenced(page, "text")
        command = re.search(r"(?m)^    (resilient ask .*\\\n.*)$", page)[1]
        words = shlex.split(command.replace("\\\n", ""))
        assert words[:2] == ["resilient", "ask"]
        with (
            anyio.from_thread.start_blocking_portal() as portal,
            portal.wrap_async_context_manager(played(tomllib.loads(script))) as emulator,
        ):
            words[words.index("--base-url") + 1] = emulator.url
            words[words.index("--timeout") + 1] = "0.3"
            assert _ask.main(words[2:]) == 0
            portal.call(emulator.journal.settled)
            shown = [told(entry) for entry in emulator.journal]
        within = re.compile(r"within [\d.]+ s")
        printed = timeless(within.sub("within 0.0 s", capsys.readouterr().out))
        assert printed == timeless(within.sub("within 0.0 s", answer))
        assert [timeless(line) for line in shown] == timeless(lines).splitlines()[1:]


def test_the_commands_start_as_modules():
    """Both commands are reached through `resilient`, in a process of their own."""
    for command, text in ((["demo", "--code", "1"], "openrouter.chat"), (["ask", "-h"], "--model")):
        done = subprocess.run(
            [sys.executable, "-m", "resilient._cli", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert text in done.stdout
