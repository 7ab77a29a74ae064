"""What the tests of the core share, and which of them run only when they are named.

The tests of the real libraries need an environment of their own
(`real_libraries/requirements.txt`) and fail without it, which nobody should
meet who only runs the suite.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from resilient.errors import AllTargetsFailed

REAL_LIBRARIES = Path(__file__).parent / "real_libraries"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path != REAL_LIBRARIES:
        return None
    named = (Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args)
    return None if any(path.resolve().is_relative_to(REAL_LIBRARIES) for path in named) else True


class Hostile(Exception):
    """An exception that raises whatever it is asked, its class included."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


class Liar(Exception):
    """An exception that claims to be of another class."""

    @property
    def __class__(self) -> type:
        return AllTargetsFailed


@pytest.fixture(params=[Hostile, Liar])
def untrusted(request) -> Exception:
    """An exception that must not be believed, or even asked."""
    return request.param()
