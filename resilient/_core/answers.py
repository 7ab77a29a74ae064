"""What a user's predicate may answer: yes, no, or a wait in seconds.

A number may be 0, so an answer is compared with `is`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

from resilient._core.functions import function_name
from resilient._core.options import shown

Answer = bool | float | timedelta | None
"""What a predicate may answer; a number is a wait in seconds."""

Predicate = Callable[[Exception], Answer]


def checked(answer: object, predicate: object, option: str) -> bool | float:
    """Return an answer as `False`, `True` or seconds; another names the predicate."""
    if answer is True or answer is False:
        return answer
    if answer is None:
        return False
    seconds = _seconds(answer)
    # Written so that NaN fails it too.
    if seconds is not None and 0 <= seconds < math.inf:
        return seconds + 0.0  # -0.0 becomes 0.0
    error = TypeError if seconds is None else ValueError
    raise error(
        f"{option}: {function_name(predicate)} returned {shown(answer)};"
        " a predicate answers True, False, None or the seconds to wait (from 0 on)"
    )


def _seconds(answer: object) -> float | None:
    if isinstance(answer, timedelta):
        return answer.total_seconds()
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        return None
    try:
        return float(answer)
    except OverflowError:
        return math.inf
