"""The tests of the real libraries run when they are named, and not otherwise.

They need an environment of their own (`real_libraries/requirements.txt`) and
fail without it, which nobody should meet who only runs the suite.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

REAL_LIBRARIES = Path(__file__).parent / "real_libraries"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path != REAL_LIBRARIES:
        return None
    named = (Path(config.invocation_params.dir, arg.partition("::")[0]) for arg in config.args)
    return None if any(path.resolve().is_relative_to(REAL_LIBRARIES) for path in named) else True
