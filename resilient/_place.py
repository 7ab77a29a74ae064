"""Where in a user's program we were called from."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

_HERE = f"{Path(__file__).parent}{os.sep}"


def users_level() -> int:
    """Return the `stacklevel` of the first frame that is not ours, as the caller counts."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
        level += 1
    # The caller's own frame is level 1 and this one no level.
    return level


def users_line() -> str:
    """Return file and line of that frame."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
