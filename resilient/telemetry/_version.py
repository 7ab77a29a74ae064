"""The version that spans and metrics carry."""

from __future__ import annotations

import importlib.metadata
from functools import cache

from resilient.telemetry import names


@cache  # the whole metadata of a distribution is parsed for it
def version() -> str:
    """Return the version of the distribution, empty in a bare source tree."""
    try:
        return importlib.metadata.version(names.DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""
