"""What a page does to the process ends with the page."""

from __future__ import annotations

import pytest

from resilient.testing import _check


@pytest.fixture(autouse=True)
def _invariants_of_its_own(monkeypatch):
    """Let no later test be asked what a page has registered."""
    monkeypatch.setattr(_check, "_registered", {})
