"""The lists of the cases and of the traps are true: what they name is tested, on both backends.

`ids.txt` and `traps.txt` beside this file are the specification's cases in
one line each. Here they are compared with what pytest collects.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)  # to collect takes seconds, on a busy machine many

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BACKENDS = {"asyncio", "trio"}
HOW = {"both", "pure", "later", "opt", "pending"}
LINE = re.compile(r"^(?P<id>[A-Z]\d\d) +(?P<how>\w+) +(?P<title>[^|]+?)(?: \| (?P<reason>.+))?$")
ID = re.compile(r"^[A-Z]\d\d$")
NODE = re.compile(r"^(?P<file>[^:\s]+\.py)::(?P<name>[^\[]+)(?:\[(?P<params>.*)\])?$")


@dataclass(frozen=True)
class Case:
    """One case: its id, how it is tested, and why not where it is not."""

    id: str
    how: str
    title: str
    reason: str | None


@dataclass(frozen=True)
class Trap:
    """One defect of others, and the tests that hold it here."""

    title: str
    tests: tuple[str, ...]


def lines(name: str) -> list[str]:
    text = (HERE / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def read_cases(rows: list[str]) -> list[Case]:
    found = []
    for row in rows:
        line = LINE.match(row)
        assert line, f"ids.txt cannot be read at: {row}"
        found.append(Case(line["id"], line["how"], line["title"], line["reason"]))
    return found


def read_traps(rows: list[str]) -> list[Trap]:
    found: list[tuple[str, list[str]]] = []
    for row in rows:
        if row.startswith(" "):
            assert found, f"traps.txt has a test without a trap: {row}"
            found[-1][1].append(row.strip())
        else:
            found.append((row, []))
    return [Trap(title, tuple(tests)) for title, tests in found]


CASES = read_cases(lines("ids.txt"))
TRAPS = read_traps(lines("traps.txt"))


def ids_in(name: str) -> set[str]:
    """Return the ids that the name of a test has."""
    return {word.upper() for word in name.split("_") if ID.match(word.upper())}


def files() -> list[str]:
    """Return the files of tests that are named by an id or by a trap."""
    found = {test.split("::")[0] for trap in TRAPS for test in trap.tests if "::" in test}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if re.search(r"def test_\w*?[A-Za-z]\d\d_", path.read_text(encoding="utf-8")):
            found.add(path.relative_to(ROOT).as_posix())
    return sorted(file for file in found if "real_libraries" not in file)


@functools.cache
def collected() -> dict[str, set[str]]:
    """Return what pytest collects of them: for each test the backends that it runs on."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *files()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = defaultdict(set)
    for line in done.stdout.splitlines():
        if node := NODE.match(line):
            words = set(re.findall(r"[a-z]+", node["params"] or ""))
            found[f"{node['file']}::{node['name']}"] |= BACKENDS & words
    return {test: seen or inside(test) for test, seen in found.items()}


@functools.cache
def functions(file: str) -> dict[str, str]:
    """Return the source of each function of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name: ast.unparse(node) for node in ast.walk(tree) if isinstance(node, kinds)}


def inside(test: str) -> set[str]:
    """Return the backends that a test runs on by itself: a `Tester` takes both."""
    file, _, name = test.partition("::")
    known = functions(file)
    source = known[name.rpartition("::")[2]]
    called = {other for other in known if f"{other}(" in source}
    both = any("Tester(" in known[each] for each in called) or "Tester(" in source
    if both and "backends=" not in source:
        return set(BACKENDS)
    return {backend for backend in BACKENDS if f"'{backend}'" in source}


def held_by(case: Case) -> dict[str, set[str]]:
    return {test: seen for test, seen in collected().items() if case.id in ids_in(test)}


def test_every_case_is_listed_once_and_in_order():
    """Ids stand in their group, in order, each with one of the words that the list explains."""
    groups = list(dict.fromkeys(case.id[0] for case in CASES))
    assert [case.id for case in CASES] == sorted(
        {case.id for case in CASES}, key=lambda one: (groups.index(one[0]), one)
    )
    assert {case.how for case in CASES} <= HOW


def test_every_case_is_tested_on_both_backends():
    """A case that a call is made for has a test with its id in the name on asyncio and on trio."""
    missing = {
        case.id: sorted(BACKENDS - set().union(*held_by(case).values()))
        for case in CASES
        if case.how == "both"
    }
    assert {name: backends for name, backends in missing.items() if backends} == {}


def test_every_case_of_numbers_is_tested():
    """A case without a loop has a test with its id in the name."""
    assert [case.id for case in CASES if case.how == "pure" and not held_by(case)] == []


def test_what_is_not_tested_says_why():
    """A case of a later release or of an option that does not exist has a reason and no test."""
    left_out = [case for case in CASES if case.how in {"later", "opt"}]
    assert [case.id for case in left_out if not case.reason] == []
    assert [case.id for case in left_out if held_by(case)] == []
    assert [case.id for case in CASES if case.how in {"both", "pure"} and case.reason] == []


def test_every_id_in_a_name_is_a_case():
    """No test claims a case that does not exist."""
    known = {case.id for case in CASES}
    assert {test for test in collected() if ids_in(test) - known} == set()


def test_every_trap_has_its_tests():
    """Each trap names tests that are collected, or the release that it waits for."""
    unknown = [
        (trap.title, test)
        for trap in TRAPS
        for test in trap.tests
        if test not in collected() and not re.match(r"^(later: .+|pending)$", test)
    ]
    assert unknown == []
    assert [trap.title for trap in TRAPS if not trap.tests] == []
    assert len({trap.title for trap in TRAPS}) == len(TRAPS)


def test_nothing_is_pending():
    """No case and no trap waits for its test."""
    cases = [case.id for case in CASES if case.how == "pending"]
    traps = [trap.title for trap in TRAPS if "pending" in trap.tests]
    assert (cases, traps) == ([], [])


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_Q23_a_cancelled_probe", {"Q23"}),
        ("tests/a.py::TestX::test_e01_and_E02", {"E01", "E02"}),
        ("test_a_limit_of_r2_d2_and_abc12", set()),
    ],
)
def test_ids_are_read_from_names(name, ids):
    """An id is a word of its own, in either case."""
    assert ids_in(name.replace("::", "_")) == ids


@pytest.mark.parametrize("row", ["R1  both  x", "R01 both", "R01  both  |", "both R01 x"])
def test_a_line_that_makes_no_sense_is_refused(row):
    """A line has an id, a word and a title."""
    with pytest.raises(AssertionError, match="cannot be read"):
        read_cases([row])
