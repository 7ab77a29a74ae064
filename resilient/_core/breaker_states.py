"""The states of a circuit breaker, and what leads from one to the next."""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "half_open", "isolated", "disabled"]

Reason = Literal[
    "tripped",
    "due",
    "recovered",
    "relapsed",
    "isolated",
    "released",
    "disabled",
    "enabled",
    "reset",
]

Mode = Literal["enforce", "observe"]
"""Whether a breaker refuses, or only counts what it would have refused."""
