"""The states of a circuit breaker."""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "half_open", "isolated", "disabled"]
