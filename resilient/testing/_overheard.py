"""What is said out loud meanwhile: lines of the log, and what is printed."""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class _Ear(logging.Handler):
    """Takes every line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note what the line says."""
        self.lines.append(record.getMessage())


@contextmanager
def overhearing() -> Generator[Callable[[], str]]:
    """Listen to every logger and to what is printed, which goes nowhere else.

    What it yields returns what was said since it was called last.
    """
    ear, printed, root = _Ear(), io.StringIO(), logging.getLogger()

    def heard() -> str:
        said = "\n".join([*ear.lines, printed.getvalue()])
        ear.lines.clear()
        printed.seek(0)
        printed.truncate()
        return said

    before = root.level, root.handlers[:]
    root.handlers[:] = [ear]
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield heard
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
