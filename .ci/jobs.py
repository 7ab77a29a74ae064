"""Run every check of the project, two at a time, each in an environment of its own.

Each job is a function over a `Place`: it runs commands and fails with the
first that does. What a job printed appears as a whole when the job ends, so
jobs that run side by side stay readable. Nothing but Python and git is
expected of the machine, and nothing is left on it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[1]
SIDE_BY_SIDE = min(2, os.cpu_count() or 1)
SOURCES = (
    "resilient/",
    "adapters/openrouter/resilient_openrouter/",
    "adapters/plugins/resilient_plugins/",
)
AWAY = (
    "--ignore=tests/docs/test_links.py",  # pages link to the sources, which are not there
    "--ignore=tests/kit/test_mutants.py",  # the longest hunt: once, in the README's command
)
# What meets the way functions are wrapped only through the engine.
BEYOND = ("adapters", "docs", "examples", "kit")
LIMIT = 20 * 60  # seconds for one command: a hang is a failure, not a wait
TOTALS = re.compile(r"^=* ?(?=.*\b\d+ (?:passed|failed|errors?)\b).* in [\d.]+s\b.*$", re.MULTILINE)


class Failed(Exception):
    """A command of a job did not do what it should."""


@dataclass
class Place:
    """Where a job works and what it printed."""

    folder: Path
    wheel: Future[Path] = field(repr=False)
    said: list[str] = field(default_factory=list[str])

    def run(
        self,
        *command: str | Path,
        cwd: Path = ROOT,
        env: dict[str, str] | None = None,
        status: int = 0,
    ) -> str:
        """Run a command, keep what it prints, and hold it to its exit status."""
        shown = shlex.join(map(str, command))
        self.said.append(f"$ {shown}\n")
        done = _run(list(map(str, command)), cwd, {**os.environ, **(env or {})})
        self.said.append(done[1])
        if done[0] != status:
            raise Failed(f"{shown}: status {done[0]} instead of {status}")
        return done[1]

    def expect(self, fact: str, *, true: bool) -> None:
        """Hold the job to a fact."""
        self.said.append(f"{'ok' if true else 'NOT SO'}: {fact}\n")
        if not true:
            raise Failed(f"not so: {fact}")

    def environment(self, python: Path | str, *requirements: str | Path) -> Path:
        """Make an environment with some requirements and return its Python."""
        folder = self.folder / "env"
        inner = folder / "bin" / "python"
        if find_spec("ensurepip"):
            self.run(python, "-m", "venv", folder)
            pip: tuple[str | Path, ...] = (inner, "-m", "pip")
        else:
            self.run(python, "-m", "venv", "--without-pip", folder)
            pip = (sys.executable, "-m", "pip", "--python", inner)
        if requirements:
            self.run(*pip, "install", "--quiet", *requirements, cwd=self.folder)
        return inner

    def copy(self, name: str, *, without: Sequence[str] = ()) -> Path:
        """Copy the tracked files to a folder of this job, leaving some folders out."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        target = self.folder / name
        for each in listed.stdout.decode().split("\0"):
            if each and (ROOT / each).is_file() and not each.startswith(tuple(without)):
                (target / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / each, target / each)
        return target


def _run(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that a hang ends with its children
    ) as process:
        try:
            out, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            out += f"\nstill running after {LIMIT} s\n".encode()
    return process.returncode, out.decode(errors="replace")


# The jobs


def readme_test(at: Place) -> None:
    """Run the README's test command."""
    at.run(sys.executable, "run.py", "test", cwd=at.copy("clone"))


def lint_with_a_space(at: Place) -> None:
    """Run `lint` from a path with a space in it, on a Python without ensurepip."""
    clone = at.copy("a path with spaces")
    hidden = at.folder / "hidden"
    hidden.mkdir()
    (hidden / "ensurepip.py").write_text("raise ModuleNotFoundError(__name__)\n")
    env = {"PYTHONPATH": str(hidden)}
    at.run(sys.executable, clone / "run.py", "lint", cwd=at.folder, env=env)


def demo(at: Place) -> None:
    """Run the README's demo command twice, from another folder; the second starts at once."""
    clone = at.copy("clone of resilient")
    elsewhere = at.folder / "elsewhere"
    elsewhere.mkdir()
    first = at.run(sys.executable, clone / "run.py", "demo", cwd=elsewhere)
    at.expect("the first run says what it sets up", true="first run: setting up" in first)
    second = at.run(sys.executable, clone / "run.py", "demo", cwd=elsewhere)
    at.expect("the second run sets nothing up", true="needs the network" not in second)


def wheel_bare(at: Place) -> None:
    """Hold the wheel without extras to what the packaging promises."""
    wheel = at.wheel.result()
    python = at.environment(sys.executable, wheel)
    at.run(python, ROOT / ".ci" / "check_wheel.py", wheel, cwd=at.folder)
    cli = at.folder / "env" / "bin" / "resilient"
    listed = at.run(cli, cwd=at.folder)
    at.expect("four commands", true={"explain", "demo", "ask", "soak"} <= set(listed.split()))
    said = at.run(cli, "demo", cwd=at.folder, status=1)
    at.expect("the extra is named", true="pip install 'resilient-policies[demo]'" in said)
    key = {"OPENROUTER_API_KEY": "no-key"}  # never sent: there is no HTTP client
    said = at.run(cli, "ask", "--model", "any", "why?", cwd=at.folder, env=key, status=1)
    at.expect("the extra is named", true="pip install 'resilient-policies[" in said)


def wheel_suite(python: str, without: Sequence[str] = (), **env: str) -> Callable[[Place], None]:
    """Make the job that runs the suite, or a part of it, against the wheel, away from the tree."""
    # The README's command draws the many examples of CI; once is enough for that.
    few = {"HYPOTHESIS_PROFILE": "dev"}

    def job(at: Place) -> None:
        inner = at.environment(python, f"{at.wheel.result()}[test]")
        tests = at.copy("tree", without=SOURCES)
        left = [f"--ignore=tests/{name}" for name in without]
        at.run(inner, "-m", "pytest", "-q", *AWAY, *left, cwd=tests, env=few | env)
        at.run(inner, ROOT / ".ci" / "check_wheel.py", "--commands", cwd=tests)

    return job


def real_libraries(at: Place) -> None:
    """Hold the table of failures to the real classes of the libraries that it names."""
    tests = at.copy("tree", without=SOURCES)
    folder = tests / "tests" / "core" / "real_libraries"
    wheel = f"{at.wheel.result()}[test]"
    inner = at.environment(sys.executable, "-r", folder / "requirements.txt", wheel)
    at.run(inner, "-m", "pytest", "-q", folder, cwd=tests)


def build_wheel(at: Place) -> Path:
    """Build the wheel once, for all jobs, from what is tracked."""
    tree = at.copy("tree")
    python = at.environment(sys.executable, "build")
    at.run(python, "-m", "build", "--wheel", "--outdir", at.folder, cwd=tree)
    (wheel,) = at.folder.glob("*.whl")
    return wheel


# The machine's Pythons


def pythons() -> dict[str, str]:
    """Return the newer Pythons of the machine that run: version -> program."""
    folders = [Path(each) for each in os.get_exec_path()]
    for root in (os.environ.get("PYENV_ROOT"), "~/.pyenv"):
        if root:
            folders += Path(root).expanduser().glob("versions/*/bin")
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("python3.[0-9]*")):
            if re.fullmatch(r"python3\.\d+", path.name) and path.name not in found:
                asks = "import sys, venv, ensurepip; print(sys.version_info[3])"
                try:
                    status, said = _run([str(path), "-c", asks], ROOT, dict(os.environ))
                except OSError:
                    continue
                if status == 0 and said.strip() == "final":
                    found[path.name] = str(path)
    mine = sys.version_info[:2]
    newer = {n: p for n, p in found.items() if tuple(map(int, n[6:].split("."))) > mine}
    return dict(sorted(newer.items(), key=lambda item: int(item[0].split(".")[1])))


def jobs() -> dict[str, Callable[[Place], None]]:
    """Return the jobs by name, the long ones first."""
    here = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    mine = (here, sys.executable)
    *between, newest = pythons().items() or [mine]
    listed: dict[str, Callable[[Place], None]] = {
        "python3 run.py test": readme_test,
        f"suite against the wheel, {newest[0]}": wheel_suite(newest[1]),
    }
    for name, python in between or [mine]:
        listed[f"engine against the wheel, {name}, without wrapt's extensions"] = wheel_suite(
            python, BEYOND, WRAPT_DISABLE_EXTENSIONS="1"
        )
    listed["python3 run.py lint (path with a space, no ensurepip)"] = lint_with_a_space
    if (ROOT / "tests" / "core" / "real_libraries" / "requirements.txt").exists():
        listed["failure table against the real libraries"] = real_libraries
    listed["wheel without extras"] = wheel_bare
    listed["python3 run.py demo (path with a space, twice)"] = demo
    return listed


# Running them


def main(wanted: Sequence[str]) -> int:
    """Run the jobs whose names contain one of the words, or all; return 1 if one failed."""
    chosen = {n: j for n, j in jobs().items() if not wanted or any(word in n for word in wanted)}
    printing = threading.Lock()
    failed: dict[str, str] = {}
    closing: dict[str, str] = {}
    wheel: Future[Path] = Future()

    def perform(number: int, name: str, job: Callable[[Place], None]) -> None:
        at = Place(scratch / str(number), wheel)
        at.folder.mkdir()
        began = time.monotonic()
        try:
            job(at)
        except Exception as error:  # noqa: BLE001 - whatever happened, the other jobs go on
            failed[name] = f"{type(error).__name__}: {error}"
        closing[name] = " ".join(TOTALS.findall("".join(at.said))[-1:]).strip("= ")
        took = time.monotonic() - began
        with printing:
            print(f"\n{'=' * 100}\n{name}: {'FAILED' if name in failed else 'ok'}, {took:.0f} s")
            print("=" * 100)
            print("".join(at.said).rstrip())
            if name in failed:
                print(f"FAILED: {failed[name]}")
        shutil.rmtree(at.folder, ignore_errors=True)

    with tempfile.TemporaryDirectory(prefix="resilient-ci-") as made:
        scratch = Path(made)
        (scratch / "wheel").mkdir()
        at = Place(scratch / "wheel", wheel)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for number, (name, job) in enumerate(chosen.items()):
                pool.submit(perform, number, name, job)
            try:
                wheel.set_result(build_wheel(at))
            except Exception as error:  # noqa: BLE001 - every job that needs the wheel fails with it
                wheel.set_exception(error)
                print("".join(at.said))
    return report(list(chosen), failed, closing)


def report(names: list[str], failed: dict[str, str], closing: dict[str, str]) -> int:
    """Print how each job ended and what the suites add up to."""
    print(f"\n{'=' * 100}\nsummary\n{'=' * 100}")
    for name in names:
        print(f"{'FAILED' if name in failed else 'ok':7} {name:60} {closing.get(name, '')}")
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}")
    counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for line in closing.values():
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", line):
            counts["failed" if word == "error" else word] += int(number)
    print("tests: {passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
