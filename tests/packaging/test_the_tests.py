"""Rules for the tests themselves: docstrings are the specification, and none of them waits."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
REAL_TIME = {"time.sleep", "asyncio.sleep"}
SOCKETS = {"adapters", "real_libraries"}  # a peer on loopback lives in real time


def trees():
    for path in sorted(TESTS.rglob("*.py")):
        if "note" not in path.relative_to(TESTS).parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


def fault_of(docstring: str | None) -> str | None:
    """Say what keeps a docstring from being one sentence, or `None`."""
    if not docstring:
        return "no docstring"
    text = re.sub(r"`[^`]*`|\b(e\.g|i\.e|vs)\.", "x", " ".join(docstring.split()))
    if not text.endswith("."):
        return "does not end with a full stop"
    if re.search(r"[.!?] [A-Z]", text):
        return "more than one sentence"
    return None


def test_every_test_states_its_fact():
    """Every test function has a docstring of one sentence."""
    wrong = [
        f"{path.relative_to(TESTS)}:{node.lineno} {node.name}: {fault}"
        for path, tree in trees()
        if path.name.startswith("test_")
        for node in ast.walk(tree)
        if is_test(node) and (fault := fault_of(ast.get_docstring(node)))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("docstring", "fault"),
    [
        ("A cancelled probe decides nothing.", None),
        ("`timeout(8). Then` is one word, e.g. A.", None),
        ("It waits 0.3 s.", None),
        ("A fact. And another.", "more than one sentence"),
        ("A fact", "does not end with a full stop"),
        (None, "no docstring"),
    ],
)
def test_a_sentence_is_told_from_two(docstring, fault):
    """One sentence ends with a full stop and has none inside, abbreviations and code apart."""
    assert fault_of(docstring) == fault


def test_no_test_sleeps_in_real_time():
    """No test calls a sleep that the lint bans, but those that talk to a socket or say why.

    `anyio.sleep` under virtual time is the one to use.
    """
    asleep = [
        f"{path.relative_to(TESTS)}:{node.lineno} {ast.unparse(node)}"
        for path, tree in trees()
        if not SOCKETS & set(path.relative_to(TESTS).parts)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in REAL_TIME
        if ast.unparse(node.args[0] if node.args else node) != "0"
        if not is_excused(path, node.lineno)
    ]
    assert asleep == []


def is_excused(path: Path, line: int) -> bool:
    """Tell whether a line, or its whole file, says why it is an exception."""
    lines = path.read_text(encoding="utf-8").splitlines()
    excuse = "noqa: TID251 - "
    return excuse in lines[line - 1] or any(each.startswith(f"# ruff: {excuse}") for each in lines)
