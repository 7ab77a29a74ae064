#!/usr/bin/env python3
"""One command for everything: `python3 run.py demo`, `test`, `bench`, `lint`, `docs` and more.

The first time it makes `.venv` beside this file and installs what the task
needs; after that it only starts the task. Whatever follows the task's name is
passed on to it. It needs nothing but Python: any Python 3 can start it, and
it looks on PATH for one that is new enough. So this file keeps to what an old
Python can read.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from typing import Iterator, List, NamedTuple, NoReturn, Optional, Tuple

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(
    VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python"))
)


class Task(NamedTuple):
    """What a task is for, which extra of the project it needs, and what it starts."""

    purpose: str
    extra: str
    commands: "Tuple[List[str], ...]"
    anywhere: bool = False  # keeps the caller's working directory


TASKS = {
    "demo": Task(
        "five bad days in ten seconds, and the answer still comes",
        "demo",
        (["-P", "-m", "resilient._cli", "demo"],),
        anywhere=True,
    ),
    "failover": Task(
        "sixteen faults against a chain of two models, and a scorecard",
        "openrouter",
        (["-P", "-m", "resilient_openrouter.failover"],),
    ),
    "test": Task("the whole test suite", "test", (["-m", "pytest"],)),
    "bench": Task("what a call costs, beside other libraries", "bench", (["-m", "benchmarks"],)),
    "lint": Task(
        "style and types",
        "lint",
        (
            ["-m", "ruff", "check", "."],
            ["-m", "ruff", "format", "--check", "."],
            ["-m", "mypy"],
            ["-m", "pyright", "--pythonpath", VENV_PYTHON],
            ["-m", "pytest", "-q", "tests/typing"],
        ),
    ),
    "docs": Task(
        "run every example of the documentation", "test", (["-m", "pytest", "tests/docs"],)
    ),
    "api": Task(
        "write public-api.txt anew, after a change of the public API that is meant",
        "test",
        (["tests/packaging/public_api.py"],),
    ),
    "mutants": Task(
        "break each line of the core, and see which test notices (a quarter of an hour)",
        "mutants",
        (["tests/core/mutation.py"],),
    ),
}


def main(argv: "List[str]") -> int:
    """Find a Python, make its environment ready, and become the task."""
    if sys.version_info < OLDEST:
        become([newer_python(), os.path.abspath(__file__), *argv])
    if not argv or argv[0] not in TASKS:
        print("usage: python3 run.py TASK [ARGUMENTS]\n", file=sys.stderr)
        for name, task in TASKS.items():
            print("  {:8} {}".format(name, task.purpose), file=sys.stderr)
        return 0 if argv[:1] in ([], ["-h"], ["--help"]) else 2
    task = TASKS[argv[0]]
    make_ready(argv[0], task)
    if not task.anywhere:
        os.chdir(ROOT)
    first, rest = task.commands[0], task.commands[1:]
    if not rest:
        become([VENV_PYTHON, *first, *argv[1:]])
    return run_all([first + argv[1:], *list(rest)])


def run_all(commands: "List[List[str]]") -> int:
    """Run every command, also after one that failed, and say which did."""
    failed: "List[str]" = []
    for command in commands:
        print("$ python " + " ".join(command), flush=True)
        if subprocess.call([VENV_PYTHON, *command]):
            failed.append(" ".join(command[1:3]).split(" -")[0])
    print("failed: " + ", ".join(failed) if failed else "all passed")
    return 1 if failed else 0


def become(command: "List[str]") -> "NoReturn":
    """Replace this process, so that signals and the terminal go straight to the task."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":  # execv there returns to the shell at once
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def fail(*lines: str) -> "NoReturn":
    """Leave with a message instead of a traceback."""
    sys.exit("\n".join("run.py: " + line for line in lines))


# Which Python


def newer_python() -> str:
    """Return the newest Python on PATH that is new enough and really runs."""
    for candidate in candidates():
        if version_of(candidate) is not None:
            return candidate
    return fail(
        "resilient needs Python {}.{} or newer; this is {}.{}, and there is no newer one on PATH"
        " (python.org has one; with uv: uv run --no-project --python 3.13 run.py)".format(
            *(OLDEST + tuple(sys.version_info[:2]))
        )
    )


def candidates() -> "Iterator[str]":
    """Yield the programs on PATH whose names promise a Python, the newest first."""
    found: "List[Tuple[int, int, str]]" = []
    for place, folder in enumerate(os.get_exec_path()):
        try:
            names = os.listdir(folder or os.curdir)
        except OSError:
            continue
        for name in names:
            match = re.match(r"python(3(?:\.(\d+))?)?(\.exe)?$", name)
            if match:
                found.append((-int(match.group(2) or 0), place, os.path.join(folder, name)))
    for _, _, path in sorted(found):
        yield path


def version_of(python: str) -> "Optional[str]":
    """Return the version of a Python that runs and is new enough, else `None`.

    A name on PATH proves nothing: version managers put shims there for
    Pythons that are not selected, and an environment outlives its Python.
    """
    asks = "import sys; v = sys.version_info; print(v[:3], v >= {} and v[3] == 'final')".format(
        OLDEST
    )
    try:
        told = subprocess.check_output(
            [python, "-I", "-S", "-c", asks], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    version, _, usable = told.decode().strip().rpartition(" ")
    return version if usable == "True" else None


# Its environment


def make_ready(name: str, task: Task) -> None:
    """Make `.venv` and install the project with the task's extra, unless that was done."""
    fresh = not os.path.lexists(VENV)
    version = None if fresh else version_of(VENV_PYTHON)
    if not fresh and version is None:
        fail("{} holds no Python 3.11 or newer that runs: remove it and try again".format(VENV))
    stamp = os.path.join(VENV, ".run-" + task.extra)
    if not fresh and read(stamp) == key(task, version):
        return
    what = "first run: setting up .venv" if fresh else "installing what `{}` needs".format(name)
    print(what + " (about 20 s, needs the network once) ...", end="", flush=True, file=sys.stderr)
    if fresh:
        make_environment()
    install(name, task)
    with open(stamp, "w") as file:
        file.write(key(task, version_of(VENV_PYTHON)))
    print(" done", file=sys.stderr)


def key(task: Task, version: "Optional[str]") -> str:
    """Return what an installation depends on, in short."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        parts = (file.read(), ROOT.encode(), task.extra.encode(), str(version).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read(path: str) -> str:
    """Return the text of a file, empty if there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def make_environment() -> None:
    """Make `.venv` by the first way that works here; leave nothing half made."""
    venv, uv = [sys.executable, "-m", "venv"], shutil.which("uv")
    ways: "List[List[str]]" = []
    if importable("venv") and importable("ensurepip"):
        ways.append([*venv, VENV])
    if importable("venv") and (outer_pip() or uv):
        ways.append([*venv, "--without-pip", VENV])
    if uv:
        ways.append([uv, "venv", "--python", sys.executable, VENV])
    said = ""
    for way in ways:
        try:
            done, said = run(way)
        except BaseException:
            shutil.rmtree(VENV, ignore_errors=True)
            raise
        if done:
            return
        shutil.rmtree(VENV, ignore_errors=True)
    fail_with(
        said,
        "this Python cannot make an environment: it has neither ensurepip nor pip, and uv is not"
        " there either (Debian, Ubuntu: apt install python3-venv)",
    )


def install(name: str, task: Task) -> None:
    """Install the project into `.venv`, editable, with the extra of the task."""
    command = installer()
    if command is None:
        fail_with("", "{} has no pip, and there is none outside of it, nor uv".format(VENV))
    done, said = run([*command, "-e", ".[{}]".format(task.extra)])
    if not done:
        fail_with(said, "could not install what `{}` needs; is the network there?".format(name))


def installer() -> "Optional[List[str]]":
    """Return a command that installs into `.venv`: its own pip, a pip outside, or uv."""
    uv = shutil.which("uv")
    outer = outer_pip()
    if run([VENV_PYTHON, "-m", "pip", "--version"])[0]:
        return [VENV_PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    if outer:
        return [*outer, "--python", VENV_PYTHON, "install", "--disable-pip-version-check"]
    return [uv, "pip", "install", "--python", VENV_PYTHON] if uv else None


def outer_pip() -> "Optional[List[str]]":
    """Return the pip of this Python, or one on PATH that runs."""
    if importable("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        path = shutil.which(name)
        if path and run([path, "--version"])[0]:
            return [path]
    return None


def importable(name: str) -> bool:
    """Tell whether this Python has a module: distributions leave out what they package apart."""
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def run(command: "List[str]") -> "Tuple[bool, str]":
    """Run a command in the project's folder; return whether it succeeded, and what it said."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        return False, str(error)
    return done.returncode == 0, done.stdout.decode(errors="replace")


def fail_with(said: str, line: str) -> "NoReturn":
    """Leave with the last words of the program that failed, and one line of our own."""
    print(" failed", file=sys.stderr)
    for each in said.strip().splitlines()[-12:]:
        print("  " + each, file=sys.stderr)
    fail(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
