"""What holds for every test: reproducible examples, and no network beyond this machine.

Hypothesis draws the same examples on every run, so that a red suite is
always a changed suite; `nightly` is the profile that looks for new ones.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from resilient.testing import fresh_breakers

settings.register_profile(
    "dev",
    max_examples=50,
    deadline=None,  # a busy machine is not a bug
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("dev"), max_examples=100, print_blob=True)
settings.register_profile(
    "nightly", settings.get_profile("dev"), max_examples=20_000, derandomize=False
)
# Each mutant of the core is met by the same examples, and pytest runs many times in one process.
settings.register_profile(
    "mutants",
    settings.get_profile("dev"),
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


def pytest_collection_finish():
    """Leave what lives as long as the run out of every collection: many tests ask for one."""
    _collect_and_keep()


@pytest.fixture(autouse=True, scope="module")
def _the_past_left_out():
    """Collect what a module has dropped, and leave what it has kept out of later collections."""
    yield
    _collect_and_keep()


def _collect_and_keep() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _loopback_only():
    """Refuse every connection that leaves this machine: a test that needs one is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise AssertionError(f"a test tried to reach {address[0]}: only loopback is allowed")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def _breakers_of_its_own():
    """Let no test meet the circuit breakers of another one."""
    with fresh_breakers():
        yield


@pytest.fixture
def fresh_python():
    """Run a program in an interpreter of its own and return what it printed."""

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout.strip()

    return run
