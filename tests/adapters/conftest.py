"""Async tests of the adapters run on asyncio and on trio, over real sockets on loopback.

Those of a module with `VIRTUAL = True` run on a clock that jumps (both ends of
their sockets are in the same run), and must leave nothing behind.
"""

from __future__ import annotations

import inspect
from functools import partial

import anyio
import pytest

from resilient.testing import virtual_time

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
    call, backend = partial(pyfuncitem.obj, **arguments), pyfuncitem.callspec.params["backend"]
    if getattr(pyfuncitem.module, "VIRTUAL", False):
        virtual_time(call, backend=backend, check_leftovers=True)
    else:
        anyio.run(call, backend=backend)
    return True


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    """Take the real key of whoever runs the tests out of reach."""
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
