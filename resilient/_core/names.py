"""What a class is called, and a failure: `error.type`, on spans, in history and in logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from resilient._core.shape import attribute, status_of, text_of
from resilient.errors import (
    AllTargetsFailed,
    CircuitIsolated,
    CircuitOpen,
    ResilientError,
    Skipped,
    TimedOut,
    Unacceptable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMED_OUT = {
    "attempt": "timeout",
    "total": "deadline_exceeded",
    "first_item": "first_item_timeout",
    "between_items": "between_items_timeout",
}
_OURS: dict[type[Exception], str] = {
    AllTargetsFailed: "all_targets_failed",
    Unacceptable: "unacceptable_result",
    Skipped: "skipped",
    CircuitIsolated: "circuit_isolated",  # before the class that it is one of
    CircuitOpen: "circuit_open",
}

# Read through `type`, not through the class: a metaclass may answer for itself.
name_of: Callable[[type], str] = vars(type)["__name__"].__get__
module_of: Callable[[type], object] = vars(type)["__module__"].__get__
_qualname_of: Callable[[type], str] = vars(type)["__qualname__"].__get__


def error_type(error: BaseException) -> str:
    """Return the name of what failed, of low cardinality and without any text of it.

    A builtin is its bare name, any other class `module.qualname`. An error
    may carry its own name as `telemetry_error_type` (a backend's error says
    "429"). Only our own limits are called `timeout`.
    """
    own = _own_name(error)
    if own is not None:
        return own
    kind = type(error)  # `isinstance` would believe `__class__`
    if issubclass(kind, TimedOut):
        return _TIMED_OUT[cast("TimedOut", error).limit]
    ours = (name for cls, name in _OURS.items() if issubclass(kind, cls))
    return next(ours, None) or class_name(kind)


def error_status(error: BaseException | None) -> int | None:
    """Return the HTTP status of a failure that its name does not tell, `None` without one.

    Only a foreign exception has one: what brings its own name says there what
    it wants to, and ours are no answers of a server.
    """
    kind = type(error)
    if not issubclass(kind, Exception) or issubclass(kind, ResilientError):
        return None
    found = cast("Exception", error)
    return status_of(found) if _own_name(found) is None else None


def _own_name(error: BaseException) -> str | None:
    return text_of(attribute(error, "telemetry_error_type"))


def class_name(cls: type) -> str:
    """Return `module.qualname`, bare for a builtin."""
    module = text_of(module_of(cls))
    return f"{module}.{_qualname_of(cls)}" if module and module != "builtins" else _qualname_of(cls)
