"""Counters that several threads share, exact and cheap.

Where the interpreter holds its lock between two calls, `counts[i] += 1` is one
step: no thread is switched between its load and its store. A build without
that lock takes one of its own.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_lock = threading.Lock()


def _with_the_gil(counts: list[int], index: int) -> None:
    counts[index] += 1


def _without(counts: list[int], index: int) -> None:
    with _lock:
        counts[index] += 1


def has_gil() -> bool:
    """Tell whether this interpreter runs one thread at a time."""
    ask: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)
    return ask is None or ask()


count = _with_the_gil if has_gil() else _without
"""Add one to `counts[index]`."""
