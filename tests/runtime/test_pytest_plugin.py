"""The pytest plugin, loaded with `-p` into runs of pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

import pytest

from resilient_plugins import pytest as plugin

SUITE = """
import anyio
import pytest
from resilient import breakers, circuit_breaker, consecutive, retry, pipeline_of
from resilient.testing import virtual_time as run

calls = []

@retry(attempts=3, backoff=[60])
async def fetch():
    calls.append(1)
    if len(calls) < 3:
        raise ConnectionError
    return anyio.current_time()

@pytest.fixture(autouse=True)
def _nothing_called():
    calls.clear()
"""


@pytest.fixture
def suite(tmp_path):
    """Run a suite of its own with the plugin; return its output and how it ended."""

    def run(tests, *options, ini="", plugins=("resilient_plugins.pytest",)):
        (tmp_path / "test_it.py").write_text(SUITE + textwrap.dedent(tests))
        (tmp_path / "pytest.ini").write_text(
            f"[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n{ini}\n"
        )
        named = [word for plugin in plugins for word in ("-p", plugin)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *named, *options],
            cwd=tmp_path,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr, done.returncode

    return run


def passed(said):
    """Return the ids of the tests that passed."""
    return re.findall(r"::(\S+) PASSED", said)


VIRTUAL = """
def test_waits(virtual_time, resilient_backend):
    assert virtual_time(fetch) == 120

@pytest.mark.resilient_backend("trio")
def test_only_trio(virtual_time, resilient_backend):
    assert resilient_backend == "trio"

def test_without(capture_spans):
    assert run(fetch) == 120
    assert len(capture_spans.attempts()) == 3
"""


@pytest.mark.parametrize(
    ("options", "ini", "backends"),
    [
        ((), "", ["asyncio"]),
        (("--resilient-backend=trio",), "", ["trio"]),
        (("--resilient-backend=both",), "", ["asyncio", "trio"]),
        ((), "resilient_backend = both", ["asyncio", "trio"]),
        (("--resilient-backend=asyncio",), "resilient_backend = both", ["asyncio"]),
    ],
    ids=repr,
)
def test_a_test_runs_on_the_backends_that_are_chosen(suite, options, ini, backends):
    """The option, else the configuration, says where a test with `virtual_time` runs."""
    said, status = suite(VIRTUAL, *options, ini=ini)
    assert status == 0, said
    assert passed(said) == [
        *(f"test_waits[{backend}]" for backend in backends),
        "test_only_trio[trio]",
        "test_without",
    ]


SWITCHED = """
def attempts():
    return [policy.policy.attempts for policy in pipeline_of(fetch).policies]

def test_as_configured():
    assert attempts() == EXPECTED

@pytest.mark.resilient_policies("on")
def test_on_by_marker():
    assert attempts() == [3]

@pytest.mark.resilient_policies("off")
def test_off_by_marker():
    assert attempts() == []

@pytest.mark.resilient_policies("instant:1")
def test_one_attempt_by_marker():
    assert attempts() == [1]

def test_on_by_fixture(policies_on):
    assert attempts() == [3]

def test_off_by_fixture(policies_off):
    assert attempts() == []

def test_no_waits_by_fixture(policies_on, policies_instant):
    assert anyio.run(fetch) > 0

@pytest.mark.resilient_policies("on")
def test_one_function_by_fixture(overrides):
    overrides(fetch, attempts=1)
    assert attempts() == [1]

@pytest.mark.resilient_policies("on")
def test_afterwards():
    assert attempts() == [3]

@pytest.fixture
def attempts_of_a_fixture():
    return attempts()

@pytest.mark.resilient_policies("off")
class TestAll:
    def test_of_a_class(self, attempts_of_a_fixture):
        assert attempts_of_a_fixture == []
"""


@pytest.mark.parametrize(
    ("how", "attempts"), [("", [3]), ("off", []), ("instant", [3]), ("instant:2", [2])]
)
def test_a_whole_suite_is_switched(suite, how, attempts):
    """The configuration switches every test and its fixtures, a marker or a fixture just one."""
    ini = how and f"resilient_policies = {how}"
    said, status = suite(SWITCHED.replace("EXPECTED", repr(attempts)), ini=ini)
    assert (status, len(passed(said))) == (0, 10), said


BREAKERS = """
@pytest.mark.parametrize("turn", [1, 2])
def test_it_opens(turn):
    assert "shop" not in breakers()
    circuit_breaker("shop", trip=consecutive(1)).acquire().fail()
    assert breakers()["shop"].state == "open"
"""


@pytest.mark.parametrize(
    ("ini", "number"), [("", 1), ("resilient_fresh_breakers = true", 2)], ids=["shared", "fresh"]
)
def test_each_test_can_have_its_own_breakers(suite, ini, number):
    """With the option no test meets what another one has broken."""
    said, _ = suite(BREAKERS, ini=ini)
    assert len(passed(said)) == number, said


def test_breakers_are_fresh_by_fixture(suite):
    """The fixture does it for one test."""
    said, status = suite(BREAKERS.replace("(turn)", "(turn, fresh_breakers)"))
    assert (status, len(passed(said))) == (0, 2), said


@pytest.mark.parametrize("how", ["maybe", "", "instant:0", "instant:x", "off:1", "instant:-1"])
def test_a_word_that_is_no_switch_is_refused(how):
    """A wrong word is a usage error that names the option and what is accepted."""
    with pytest.raises(pytest.UsageError, match=r"^x must be on, off, instant, or instant:N"):
        plugin._switch(how, "x")


def test_a_bad_option_is_refused_before_any_test_runs(suite):
    """A wrong backend in the configuration ends the run at once."""
    said, status = suite("def test_it(): pass", ini="resilient_backend = curio")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "resilient_backend must be one of asyncio, trio, both, not 'curio'" in said


BAD_POLICIES = {
    '"of"': "must be on, off, instant, or instant:N for at most N attempts, not 'of'",
    "7": "must be on, off, instant, or instant:N for at most N attempts, not 7",
    "": "takes on, off, instant, or instant:N for at most N attempts, not resilient_policies()",
    '"instant", "off"': "at most N attempts, not resilient_policies('instant', 'off')",
    'how="off"': "at most N attempts, not resilient_policies(how='off')",
}


def test_a_bad_marker_is_an_error_of_its_test_alone(suite):
    """Tests whose markers cannot be read fail, with what is accepted, and the others run."""
    tests = "".join(
        f"""
@pytest.mark.resilient_policies({arguments})
def test_{number}():
    raise AssertionError("it runs")
"""
        for number, arguments in enumerate(BAD_POLICIES)
    )
    said, status = suite(f"{tests}\ndef test_good(): pass")
    assert (status, passed(said)) == (1, ["test_good"]), said
    assert len(re.findall(r"::test_\d ERROR", said)) == len(BAD_POLICIES)
    for what in BAD_POLICIES.values():
        assert re.search(
            rf"^the marker resilient_policies .*{re.escape(what)}$", said, re.MULTILINE
        ), what
    assert "INTERNALERROR" not in said
    assert "it runs" not in said


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("", "takes one or more of asyncio, trio, both, not resilient_backend()"),
        ('name="trio"', "takes one or more of asyncio, trio, both, not resilient_backend(name="),
        ('"curio"', "must be one of asyncio, trio, both, not 'curio'"),
        ("7", "must be one of asyncio, trio, both, not 7"),
        ('["trio"]', "must be one of asyncio, trio, both, not ["),
    ],
)
def test_a_bad_marker_of_a_backend_is_an_error_of_collection(suite, arguments, what):
    """A test whose marker names no backend is not left out in silence."""
    tests = f"""
    @pytest.mark.resilient_backend({arguments})
    def test_it(virtual_time):
        pass
    """
    said, status = suite(tests)
    assert status == pytest.ExitCode.INTERRUPTED
    assert f"the marker resilient_backend {what}" in said


def test_a_marker_can_name_every_backend(suite):
    """A test with the marker `"both"` runs on each backend, once."""
    tests = """
    @pytest.mark.resilient_backend("both", "trio")
    def test_it(virtual_time):
        assert virtual_time(fetch) == 120
    """
    said, status = suite(tests)
    assert (status, passed(said)) == (0, ["test_it[asyncio]", "test_it[trio]"]), said


def test_the_plugin_shows_its_fixtures_and_markers(suite):
    """`--fixtures` and `--markers` describe them."""
    said, _ = suite("", "--fixtures")
    for name in ("resilient_backend", "virtual_time", "policies_off", "capture_spans"):
        assert re.search(rf"^{name}\b", said, re.MULTILINE), name
    said, _ = suite("", "--markers")
    assert "@pytest.mark.resilient_policies(how)" in said


def test_the_plugin_brings_nothing_heavy(fresh_python):
    """Importing it loads pytest, itself, and nothing else: not the library either."""
    program = (
        "import sys, pytest; before = set(sys.modules);"
        " import resilient_plugins.pytest; print(sorted(set(sys.modules) - before))"
    )
    assert fresh_python(program) == "['resilient_plugins', 'resilient_plugins.pytest']"
