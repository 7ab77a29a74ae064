"""`run.py`: starts with any Python 3, finds one that is new enough, and says what to do when stuck.

What needs the network (making the environment, installing) is tested where
there is one, by the job that runs these tests.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "run.py"


@pytest.fixture
def run():
    """Import run.py as a module, with nothing of it left behind."""
    spec = spec_from_file_location("run_under_test", RUN)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(monkeypatch, tmp_path):
    """Make PATH one empty folder, and write programs into it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def program(name, *lines):
        file = tmp_path / name
        file.write_text("\n".join(("#!/bin/sh", *lines, "")), encoding="utf-8")
        file.chmod(0o755)
        return str(file)

    return program


def test_it_lists_its_tasks():
    """Without a task it names them all and ends well; with a wrong one it does not."""
    for arguments, status in (([], 0), (["--help"], 0), (["tset"], 2)):
        done = subprocess.run(
            [sys.executable, RUN, *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (status, "")
        tasks = ("demo", "failover", "test", "bench", "lint", "docs", "api", "mutants")
        assert [task for task in tasks if f"  {task} " in done.stderr] == list(tasks)


def test_the_newest_python_comes_first(run, path):
    """Candidates are what PATH has by the name of a Python 3, the newest first."""
    for name in ("python3.9", "python3", "python3.13", "python3.11", "python3-config", "pythonw"):
        path(name, "exit 0")
    names = [Path(one).name for one in run.candidates()]
    assert names == ["python3.13", "python3.11", "python3.9", "python3"]


def test_a_shim_that_does_not_run_is_skipped(run, path):
    """A name on PATH that fails, hangs on input or is too old is passed over."""
    path("python3.14", "echo 'python3.14: command not found' >&2", "exit 127")
    path("python3.13", "echo hello")
    path("python3.12", "echo '(3, 9, 2) False'")
    real = path("python3.11", f'exec "{sys.executable}" "$@"')
    assert run.newer_python() == real


def test_no_python_is_one_helpful_line(run, path):
    """With nothing new enough on PATH the answer is one line that says what is needed."""
    path("python3.10", "echo '(3, 10, 0) False'")
    with pytest.raises(SystemExit) as stopped:
        run.newer_python()
    message = str(stopped.value.code)
    assert message.startswith("run.py: resilient needs Python 3.11 or newer")
    assert "\n" not in message


def test_an_old_python_starts_a_newer_one(run, path, monkeypatch):
    """A Python that is too old hands everything over, arguments included."""
    real = path("python3.11", f'exec "{sys.executable}" "$@"')
    monkeypatch.setattr(run.sys, "version_info", (3, 6, 15, "final", 0))
    became = []

    def become(command):
        became.append(command)
        raise SystemExit

    monkeypatch.setattr(run, "become", become)
    with pytest.raises(SystemExit):
        run.main(["demo", "--code", "2"])
    assert became == [[real, str(RUN), "demo", "--code", "2"]]


class TestWithoutInstallers:
    @pytest.fixture
    def bare(self, run, path, monkeypatch, tmp_path):
        """A Python without ensurepip and pip, and no uv."""
        monkeypatch.setattr(run, "VENV", str(tmp_path / "env"))
        monkeypatch.setattr(run, "importable", lambda name: name == "venv")
        return run

    def test_nothing_to_install_with_is_one_helpful_line(self, bare, capsys):
        """Neither ensurepip nor pip nor uv: one line names all three and a way out."""
        with pytest.raises(SystemExit) as stopped:
            bare.make_environment()
        message = str(stopped.value.code)
        assert all(word in message for word in ("ensurepip", "pip", "uv", "python3-venv"))
        assert "\n" not in message

    def test_nothing_half_made_is_left(self, bare, path, monkeypatch, tmp_path, capsys):
        """A way that fails leaves no environment behind."""
        monkeypatch.setattr(bare, "importable", lambda name: False)
        path("uv", '/bin/mkdir "$4" && echo half made', "exit 1")
        with pytest.raises(SystemExit):
            bare.make_environment()
        assert "half made" in capsys.readouterr().err
        assert not (tmp_path / "env").exists()

    def test_the_pip_of_path_serves(self, bare, path):
        """A pip on PATH that runs is used on the environment from outside."""
        path("pip3", "exit 127")
        pip = path("pip", "exit 0")
        assert bare.outer_pip() == [pip]


def test_an_environment_that_does_not_run_is_not_touched(run, monkeypatch, tmp_path):
    """A `.venv` whose Python is gone is the user's: one line says to remove it."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(run, "VENV", str(tmp_path))
    monkeypatch.setattr(run, "VENV_PYTHON", str(tmp_path / "bin" / "python"))
    with pytest.raises(SystemExit, match="remove it and try again"):
        run.make_ready("demo", run.TASKS["demo"])
    assert (tmp_path / "bin").exists()


class TestSecondTime:
    @pytest.fixture
    def ready(self, run, monkeypatch, tmp_path):
        """An environment that is there, in which installing only counts."""
        monkeypatch.setattr(run, "VENV", str(tmp_path))
        monkeypatch.setattr(run, "VENV_PYTHON", sys.executable)
        run.installed = []
        monkeypatch.setattr(run, "install", lambda name, task: run.installed.append(name))
        return run

    def test_it_installs_once(self, ready, capfd):
        """The second time a task finds everything there and says nothing."""
        ready.make_ready("demo", ready.TASKS["demo"])
        assert "needs the network once) ... done" in capfd.readouterr().err
        ready.make_ready("demo", ready.TASKS["demo"])
        assert (ready.installed, capfd.readouterr().err) == (["demo"], "")

    def test_tasks_with_the_same_needs_share_them(self, ready):
        """`docs` needs what `test` needs, so only the first of them installs."""
        ready.make_ready("test", ready.TASKS["test"])
        ready.make_ready("docs", ready.TASKS["docs"])
        ready.make_ready("lint", ready.TASKS["lint"])
        assert ready.installed == ["test", "lint"]

    def test_a_move_or_another_python_installs_again(self, ready, monkeypatch, tmp_path):
        """What was installed for another folder or another Python does not count."""
        task = ready.TASKS["demo"]
        before = ready.key(task, "(3, 11, 7)")
        assert ready.key(task, "(3, 13, 0)") != before
        (tmp_path / "pyproject.toml").write_bytes(RUN.with_name("pyproject.toml").read_bytes())
        monkeypatch.setattr(ready, "ROOT", str(tmp_path))
        assert ready.key(task, "(3, 11, 7)") != before
