"""`error.type`: the one name of a failure, on spans, in history and in logs."""

from __future__ import annotations

from resilient.errors import AllTargetsFailed, Skipped, TimedOut, Unacceptable

_TIMED_OUT = {
    "attempt": "timeout",
    "total": "deadline_exceeded",
    "first_item": "first_item_timeout",
    "between_items": "between_items_timeout",
}


def error_type(error: BaseException) -> str:
    """Return the name of what failed, of low cardinality and without any text of it.

    A builtin is its bare name, any other class `module.qualname`. An error
    may carry its own name as `telemetry_error_type` (a backend's error says
    "429"). Only our own limits are called `timeout`.
    """
    try:
        own: object = getattr(error, "telemetry_error_type", None)
    except Exception:  # noqa: BLE001 - an error that lies about itself is named by its class
        own = None
    if isinstance(own, str):
        return own
    if isinstance(error, TimedOut):
        return _TIMED_OUT[error.limit]
    if isinstance(error, AllTargetsFailed):
        return "all_targets_failed"
    if isinstance(error, Unacceptable):
        return "unacceptable_result"
    if isinstance(error, Skipped):
        return "skipped"
    return class_name(type(error))


def class_name(cls: type) -> str:
    """Return `module.qualname`, bare for a builtin."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
