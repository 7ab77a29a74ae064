"""Async tests of the adapters run on asyncio and on trio, over real sockets on loopback."""

from __future__ import annotations

import inspect
from functools import partial

import anyio
import pytest

BACKENDS = ("asyncio", "trio")


def pytest_generate_tests(metafunc):
    """Run each async test once for each async library."""
    if inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("backend")
        metafunc.parametrize("backend", BACKENDS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run an async test to its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted if name != "backend"}
    anyio.run(partial(pyfuncitem.obj, **arguments), backend=pyfuncitem.callspec.params["backend"])
    return True


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    """Take the real key of whoever runs the tests out of reach."""
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
