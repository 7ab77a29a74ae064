"""The `resilient` command: finds commands by entry point, and says what is missing in one line."""

from __future__ import annotations

import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from resilient import _cli, explain

REQUIRES = [
    "anyio>=4.4",
    "httpx>=0.27; extra == 'openrouter'",
    "opentelemetry-sdk>=1.27; extra == 'otel'",
    "httpx>=0.27; extra == 'all'",
    "rich>=13; extra == 'all'",
    "opentelemetry-sdk>=1.27 ; extra == 'all'",
    "httpx>=0.27; extra == 'demo'",
    "rich>=13; (python_version >= '3.11') and extra == 'demo'",
]


@pytest.fixture
def commands(monkeypatch):
    """Register functions as commands, as installed distributions would."""
    registered = []

    def register(name, function):
        found = metadata.EntryPoint(name, f"acme:{name}", _cli.GROUP)
        dist = SimpleNamespace(name="resilient-policies", requires=REQUIRES)
        vars(found).update(dist=dist, load=lambda: function)
        registered.append(found)

    monkeypatch.setattr(metadata, "entry_points", lambda *, group: registered)
    return register


@pytest.fixture
def module(monkeypatch, tmp_path):
    """Write a module into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name, text):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    return write


def needs(missing: str):
    def command(argv):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    return command


def test_a_command_gets_its_arguments_and_gives_the_status(commands):
    """A command sees what stands behind its name, and its status is the program's."""
    seen = []
    commands("demo", lambda argv: seen.append(argv) or 3)
    assert (_cli.main(["demo", "--code", "2"]), seen) == (3, [["--code", "2"]])


def test_no_command_lists_them(commands, capsys):
    """Without a command the program lists them and ends well."""
    commands("ask", needs("httpx"))
    commands("demo", needs("httpx"))
    assert (_cli.main([]), capsys.readouterr().out.split()[-2:]) == (0, ["ask", "demo"])


def test_an_unknown_command_names_the_known_ones(commands, capsys):
    """A misspelt command is refused with the names that exist."""
    commands("demo", needs("httpx"))
    assert _cli.main(["dmeo"]) == 2
    assert capsys.readouterr().err == "resilient: no command 'dmeo'; there are demo\n"


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("ask", "httpx", "openrouter"),
        ("ask", "httpx._client", "openrouter"),
        ("ask", "opentelemetry.sdk", "otel"),
        ("demo", "httpx", "demo"),
        ("demo", "rich", "demo"),
        ("ask", "rich", "demo"),
    ],
)
def test_a_missing_extra_names_the_line_that_brings_it(commands, capsys, command, missing, extra):
    """A module that an extra brings is answered with that extra's pip line."""
    commands(command, needs(missing))
    assert _cli.main([command]) == 1
    assert capsys.readouterr().err == (
        f"resilient: {command} needs {missing}: pip install 'resilient-policies[{extra}]'\n"
    )


def test_a_missing_module_of_no_extra_is_an_error(commands):
    """A module that no extra brings is a bug, and keeps its traceback."""
    commands("ask", needs("acme_private"))
    with pytest.raises(ModuleNotFoundError, match="acme_private"):
        _cli.main(["ask"])


def test_an_interrupt_ends_quietly(commands):
    """Ctrl-C ends a command with the status shells give it, without a traceback."""

    def interrupted(argv):
        raise KeyboardInterrupt

    commands("demo", interrupted)
    assert _cli.main(["demo"]) == 130


def test_explain_prints_what_explain_says(module, capsys):
    """`resilient explain module:function` prints the explanation of a function in this folder."""
    module(
        "acme_prices",
        "from resilient import retry\n"
        "class Shop:\n"
        "    @retry(attempts=3)\n"
        "    async def price(self): ...\n",
    )
    assert _cli.explain(["acme_prices:Shop.price"]) == 0
    expected = explain(sys.modules["acme_prices"].Shop.price)
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("acme_missing:f", "there is no module 'acme_missing' here"),
        ("acme_missing.inner:f", "there is no module 'acme_missing' here"),
        ("acme_bare:g", "module 'acme_bare' has no attribute 'g'"),
    ],
)
def test_explain_refuses_what_is_not_there(module, capsys, argument, answer):
    """A module or function that does not exist is one line and a status that is not 0."""
    module("acme_bare", "async def f(): ...\n")
    assert (_cli.explain([argument]), capsys.readouterr().err) == (1, f"resilient: {answer}\n")


def test_explain_shows_the_error_of_a_broken_module(module):
    """A module that exists and fails to import is the user's to see."""
    module("acme_broken", "import acme_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="acme_not_installed"):
        _cli.explain(["acme_broken:f"])


@pytest.mark.parametrize("argv", [[], ["acme"], [":f"], ["acme:"], ["a:b", "c:d"]])
def test_explain_needs_one_function(capsys, argv):
    """Anything but one `module:function` is answered with the usage."""
    assert _cli.explain(argv) == 2
    assert capsys.readouterr().err.endswith("usage: resilient explain package.module:function\n")
