"""Fixtures of the packaging tests."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def fresh_python():
    """Run a program in an interpreter of its own and return what it printed."""

    def run(program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.strip()

    return run
