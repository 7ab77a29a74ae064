"""The snippet of the design note runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from resilient.testing import virtual_time


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_snippet_of_the_note_runs(backend):
    """It asks the first model and says so."""
    snippet = runpy.run_path(str(Path(__file__).with_name("usage.py")))

    result = virtual_time(snippet["main"], backend=backend, check_leftovers=True)

    assert result == {"result": None, "model": "openai/gpt-4", "fallback": False}
