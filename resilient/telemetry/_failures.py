"""How spans and metrics say what failed: a type of few distinct values, a text only if it is safe.

Both ask the same `Failures`, so a span and its point always say the same.

The message of a foreign exception may hold what the user passed in, so it is
nowhere, unless a function of the user's own makes a text of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._core.names import error_type
from resilient._runtime.listeners import once
from resilient.errors import (
    AllTargetsFailed,
    CircuitIsolated,
    CircuitOpen,
    Skipped,
    TimedOut,
    Unacceptable,
)
from resilient.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Callable

    Describe = Callable[[Exception], str | None]

OURS = (TimedOut, AllTargetsFailed, CircuitOpen, CircuitIsolated, Skipped, Unacceptable)
"""The errors that only the library makes; their messages hold names and numbers."""

_PIPELINES = 4096


class Failures:
    """What the listeners know of errors: the distinct types so far, and how to describe one."""

    __slots__ = ("_describe", "_known")

    def __init__(self, describe: Describe | None) -> None:
        self._describe = describe
        self._known: dict[str, set[str]] = {}

    def type_of(self, pipeline: str, error: BaseException) -> str:
        """Return `error.type`, which has at most 64 distinct values in a pipeline."""
        return self.bounded(pipeline, error_type(error))

    def of(
        self, pipeline: str, error: BaseException | None, *, unacceptable: bool = False
    ) -> str | None:
        """Return `error.type`, `None` where nothing failed: a cancellation is no failure."""
        if isinstance(error, Exception):
            return self.type_of(pipeline, error)
        return "unacceptable_result" if unacceptable and error is None else None

    def bounded(self, pipeline: str, kind: str) -> str:
        """Return `kind`, or `_OTHER` where the pipeline has had too many others."""
        known = self._known.get(pipeline)
        if known is None:
            if len(self._known) >= _PIPELINES:
                return names.OTHER
            known = self._known.setdefault(pipeline, set())
        if kind not in known:
            if len(known) >= names.DISTINCT_ERRORS:
                return names.OTHER
            known.add(kind)
        return kind

    def text_of(self, error: BaseException | None) -> str | None:
        """Return a description of `error` that holds nothing of the user's."""
        if type(error) in OURS:
            return str(error)
        if self._describe is None or not isinstance(error, Exception):
            return None
        try:
            return self._describe(error)
        except Exception as failed:  # noqa: BLE001 - the user's function never changes an outcome
            once(
                ("describe_error", type(failed)),
                "describe_error failed with %s; the error stays undescribed",
                type(failed).__qualname__,
            )
            return None
