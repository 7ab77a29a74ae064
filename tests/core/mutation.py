"""Mutation testing of `resilient/_core`: every line is broken, and some test has to notice.

    python3 run.py mutants
    python3 run.py mutants 'resilient._core.breaker.*'

mutmut changes one thing at a time (a constant, a comparison, an argument) and
runs the tests that reach it. What no test notices is a survivor: it is killed
by a new test, or listed in `survivors.md` beside this file with the reason why
it makes no difference. Both are told here, with the score. It takes a quarter
of an hour on two cores, so CI does not run it. Patterns of names limit it to a
module or a function.

The type in a `cast` is read by type checkers and by nobody else: its mutants
are neither dead nor survivors, and are not counted.

The work goes on in `.mutants/`, a copy of what is tracked: a second run only
looks at what has changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".mutants"
LISTED = Path(__file__).with_name("survivors.md")
WANTED = 95.0
"""The least score, in percent."""
DEAD = {"killed", "timeout", "suspicious", "caught_by_type_check", "segfault"}


def main(argv: list[str]) -> int:
    """Run mutmut, and compare what survives with what is listed."""
    copy_tracked()
    env = {**os.environ, "HYPOTHESIS_PROFILE": "mutants"}
    mutmut = [sys.executable, "-m", "mutmut"]
    if subprocess.call([*mutmut, "run", *argv], cwd=WORK, env=env):
        return 1
    statuses = {
        name: one
        for name, one in results(mutmut).items()
        if one != "not checked" and any(fnmatch(name, pattern) for pattern in patterns(argv))
    }
    survivors = {name: change(mutmut, name) for name, one in statuses.items() if one not in DEAD}
    for name in [name for name, one in survivors.items() if is_of_a_cast(one)]:
        del statuses[name], survivors[name]
    listed = [
        one
        for one in changes_in(LISTED.read_text(encoding="utf-8"))
        if any(fnmatch(one.splitlines()[0], pattern) for pattern in patterns(argv))
    ]
    for status, number in sorted(Counter(statuses.values()).items()):
        print(f"{number:6} {status}")
    unknown = [name for name, one in survivors.items() if one not in listed]
    gone = [one for one in listed if one not in survivors.values()]
    for name in unknown:
        print(f"survives, and is not listed: {name}\n{survivors[name]}\n")
    for one in gone:
        print(f"listed, and does not survive:\n{one}\n")
    score = 100 - 100 * len(survivors) / len(statuses)
    print(f"score {score:.1f} % of {len(statuses)} mutants; {len(survivors)} survive")
    return 1 if unknown or gone or score < WANTED else 0


def patterns(argv: list[str]) -> list[str]:
    """Return the patterns of names that were asked for: by default everything."""
    return [one for one in argv if not one.startswith("-")] or ["*"]


def is_of_a_cast(one: str) -> bool:
    """Tell whether a change is one of the type in a `cast`."""
    _, *lines = one.splitlines()
    untyped = [re.sub(r"""\bcast\((None|"[^"]*"|'[^']*'),""", "cast(", line) for line in lines]
    return {line[2:] for line in untyped if line[0] == "-"} == {
        line[2:] for line in untyped if line[0] == "+"
    }


def copy_tracked() -> None:
    """Bring the copy up to date, and leave what mutmut keeps there."""
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(asked, cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        source, copy = ROOT / name, WORK / name
        if source.is_file() and not (copy.is_file() and same(source, copy)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


def same(one: Path, other: Path) -> bool:
    """Tell whether two files have the same content."""
    return one.read_bytes() == other.read_bytes()


def results(mutmut: list[str]) -> dict[str, str]:
    """Return how each mutant ended, by its name."""
    said = subprocess.check_output([*mutmut, "results", "--all", "true"], cwd=WORK, text=True)
    return dict(re.findall(r"^\s*(\S+): (\S.*)$", said, re.MULTILINE))


def change(mutmut: list[str], name: str) -> str:
    """Return what a mutant changes: its function, and the lines before and after."""
    said = subprocess.check_output([*mutmut, "show", name], cwd=WORK, text=True)
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    where = f"{module}.{function.removeprefix('x_').replace('xǁ', '').replace('ǁ', '.')}"
    lines = [line.rstrip() for line in said.splitlines()]
    changed = [line for line in lines if re.match(r"[-+](?![-+]{2} )", line)]
    return normal(where, changed)


def changes_in(text: str) -> list[str]:
    """Return the changes that a page lists, as `change` returns them."""
    return [
        normal(found["where"], found["diff"].splitlines())
        for found in re.finditer(
            r"`(?P<where>[\w.]+)`\n+```diff\n(?P<diff>.*?)\n```", text, re.DOTALL
        )
    ]


def normal(where: str, lines: list[str]) -> str:
    """Write a change in one way, whatever the indentation."""
    return "\n".join([where, *(f"{line[0]} {line[1:].strip()}" for line in lines if line.strip())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
