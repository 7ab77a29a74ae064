"""The lines of the library's log, as a test or a run reads them."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resilient._runtime.listeners import log, unheard

if TYPE_CHECKING:
    from collections.abc import Generator


class _Lines(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def noting(records: list[logging.LogRecord]) -> Generator[None]:
    """Note every line that is written, of every severity."""
    handler, level = _Lines(records), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


@contextmanager
def noting_alone(records: list[logging.LogRecord]) -> Generator[None]:
    """Note every line that is written, where nobody else reads it."""
    before = log.handlers, log.propagate
    with unheard(), noting(records):
        log.handlers, log.propagate, log.disabled = log.handlers[-1:], False, False
        try:
            yield
        finally:
            log.handlers, log.propagate = before
