"""What a user may give as `timeout=`, and the clocks that it comes to."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from resilient_openrouter._options import seconds
from resilient_openrouter.clocks import Clocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient.typing import Seconds

__all__ = ("chosen", "clocks_of")


def clocks_of(timeout: Clocks | Seconds | None, option: str = "timeout") -> Clocks:
    """Return clocks from what a user may give: clocks, seconds for `total`, or nothing.

    >>> clocks_of(8), clocks_of(None)
    (Clocks(total=8.0), Clocks())
    """
    if isinstance(timeout, Clocks):
        return timeout
    return Clocks() if timeout is None else Clocks(total=seconds(timeout, option))


def chosen(model: str, patterns: Mapping[str, Clocks | Seconds | None]) -> object:
    """Return what the first pattern that fits a model says, `...` where none does.

    >>> chosen("openai/o3", {"openai/o*": Clocks(total=600), "*": 30})
    Clocks(total=600.0)
    """
    found = (value for pattern, value in patterns.items() if fnmatchcase(model, pattern))
    return next(found, ...)
