"""What the tests of circuit breakers call, and how they see what came of it."""

from __future__ import annotations

import pytest

from resilient.testing import virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def run(fn, *args, backend="asyncio"):
    return virtual_time(fn, *args, backend=backend, check_leftovers=True)


async def fails(*args, **kwargs):
    raise ConnectionError


async def outcome(fn, *args, **kwargs):
    """Return what a call comes to: its value, or the class of its error."""
    try:
        return await fn(*args, **kwargs)
    except Exception as error:
        return type(error)
