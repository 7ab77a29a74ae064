"""What all calls of one pipeline have in common, fixed when it is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilient._runtime.listeners import Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all calls of one pipeline have in common."""

    name: str
    function: str
    policies: tuple[str, ...]
    targets: tuple[str, ...]
    listeners: tuple[Listener, ...] = ()
    describes: tuple[Any, ...] = ()
    """For each target: an object with `describe()`, or `None`."""
    single: tuple[bool, ...] = ()
    """For each target: whether its policies allow one attempt only."""
    retries: bool = False
    stream: bool = False
    """Whether its calls give items."""
