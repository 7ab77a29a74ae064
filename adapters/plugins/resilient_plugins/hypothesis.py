"""The entry point of Hypothesis, which calls `register` when it is imported."""

from __future__ import annotations

import importlib
import sys


def register() -> None:
    """Tell Hypothesis of the library, if that is loaded; else it does so itself, when it is."""
    if "resilient" in sys.modules:
        importlib.import_module("resilient._hypothesis").tell_hypothesis()
