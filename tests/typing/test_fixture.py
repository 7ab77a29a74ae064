"""Type checkers see what users are promised: `api.py` is checked, never executed.

The file uses every public name as a user would. A line on which a checker
must complain says so: `# E: mypy[arg-type] pyright[reportArgumentType]`.
Both directions count: an expected error that is missing, and any other; `ty`
calls all three by one name. The checkers come with the `lint` extra, so this
folder is not part of the suite: `python3 run.py lint` runs it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

API = Path(__file__).with_name("api.py")
ROOT = API.parents[2]
EXPECTED = re.compile(r"# E: (?P<errors>.+)$")
ERROR = re.compile(r"(?P<checker>\w+)\[(?P<code>[\w-]+)\]")
TY = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):\d+: error\[(?P<code>[\w-]+)\]", re.MULTILINE)
MYPY = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[\w-]+)\]$", re.MULTILINE)


def expected(checker: str, source: str) -> set[tuple[int, str]]:
    if checker == "ty":
        lines = enumerate(source.splitlines(), 1)
        return {
            (number, "invalid-argument-type") for number, line in lines if EXPECTED.search(line)
        }
    return {
        (number, error["code"])
        for number, line in enumerate(source.splitlines(), 1)
        if (comment := EXPECTED.search(line))
        for error in ERROR.finditer(comment["errors"])
        if error["checker"] == checker
    }


def mypy() -> set[tuple[int, str]]:
    told = output("mypy", "--strict", "--no-error-summary", "--no-pretty", "--no-color-output")
    found = list(MYPY.finditer(told))
    assert found or not told.strip(), told
    return {(int(e["line"]), e["code"]) for e in found if Path(e["file"]).name == API.name}


def pyright() -> set[tuple[int, str]]:
    told = json.loads(output("pyright", "--outputjson", "--pythonpath", sys.executable))
    assert told["summary"]["filesAnalyzed"] == 1, told
    return {
        (each["range"]["start"]["line"] + 1, each.get("rule", "syntax"))
        for each in told["generalDiagnostics"]
        if each["severity"] == "error"
    }


def ty() -> set[tuple[int, str]]:
    told = output("ty", "check", "--python", sys.executable, "--output-format", "concise")
    found = list(TY.finditer(told))
    assert "diagnostic" in told or "All checks passed" in told, told
    return {(int(e["line"]), e["code"]) for e in found if Path(e["file"]).name == API.name}


def output(checker: str, *options: str) -> str:
    command = [sys.executable, "-m", checker, *options, str(API)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)  # a checker that starts cold reads the whole standard library
@pytest.mark.parametrize("checker", [mypy, pyright, ty], ids=lambda one: one.__name__)
def test_a_checker_complains_exactly_where_it_should(checker):
    """A type checker reports the errors that the file expects, and no others."""
    assert checker() == expected(checker.__name__, API.read_text(encoding="utf-8"))


def test_expectations_are_read_from_comments():
    """A comment expects errors of one checker or several, and a line without one expects none."""
    source = "x = 1\nf(x)  # E: mypy[arg-type] pyright[reportArgumentType]\ng()  # E: mypy[misc]\n"
    assert expected("mypy", source) == {(2, "arg-type"), (3, "misc")}
    assert expected("pyright", source) == {(2, "reportArgumentType")}
    assert expected("ty", source) == {(2, "invalid-argument-type"), (3, "invalid-argument-type")}
