"""The words of the log: names and numbers, never a text of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._core.names import error_status, error_type
from resilient.errors import TimedOut

if TYPE_CHECKING:
    from resilient.telemetry._call import Call


def say(error: BaseException | None) -> str:
    """Say in words what failed; `None` is a value that `on_result` judged bad."""
    if isinstance(error, TimedOut):
        return limit_reached(error.after, error.limit)
    if error is None:
        return "an unacceptable result"
    return _with_status(error_type(error), error_status(error))


def limit_reached(after: float, limit: str) -> str:
    """Say which limit of ours expired."""
    if limit == "total":
        return f"the limit of {seconds(after)} for everything is reached"
    return f"timeout after {seconds(after)}"


def why(result: str) -> str:
    """Say why no further attempt was made."""
    return _WHY.get(result, result)


_WHY = {
    "exhausted": "attempts are used up",
    "not_retryable": "not retryable",
    "deadline": "no time for the next wait",
    "budget": "the retry budget is exhausted",
    "rejected": "then refused",
}


def each(call: Call) -> str:
    """Say what came of each target."""
    told: dict[int, str] = {}
    for attempt in call.history or ():
        came = _with_status(attempt.error or attempt.disposition, attempt.status)
        told[attempt.target_index] = f"{attempt.target}: {came}"
    for skip in call.skipped:
        told.setdefault(skip.target_index, f"{skip.target} was not asked")
    return ", ".join(told[index] for index in sorted(told)) or "none was asked"


def on(call: Call, target: str) -> str:
    """Name the target where there are several."""
    return f" on {target}" if len(call.plan.targets) > 1 else ""


def _with_status(kind: str, status: int | None) -> str:
    return kind if status is None else f"{kind} {status}"


def seconds(number: float) -> str:
    """Say how long."""
    return f"{number:.3g} s"
