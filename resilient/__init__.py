"""Make any async function survive a bad day.

Retry, timeout and fallback, as decorators or as a stack; one engine on asyncio
and trio; a span for every attempt.
"""

from __future__ import annotations

from resilient._breaker import CircuitBreaker, breakers, circuit_breaker
from resilient._core.backoff import constant, exponential, fibonacci, linear
from resilient._core.conditions import not_a_bug
from resilient._core.faults import Fault
from resilient._core.outcome import Attempt, Outcome, Restarted
from resilient._core.transient import transient, unsent
from resilient._core.trips import any_of, consecutive, count_window, time_window
from resilient._decorators import fallback, retry, timeout
from resilient._hypothesis import tell_hypothesis
from resilient._manager import FallbackManager
from resilient._manager_of import manager_of
from resilient._middleware import middleware
from resilient._publish import publish
from resilient._runtime.budgets import RetryBudget
from resilient._runtime.call import current_call, remaining
from resilient._stack import Pipeline, explain, pipeline_of, stack
from resilient._standard import standard
from resilient._target import Target
from resilient._value import last_good, value
from resilient.errors import (
    AllTargetsFailed,
    CircuitIsolated,
    CircuitOpen,
    PolicyOrderWarning,
    Rejected,
    ResilientError,
    Skipped,
    TimedOut,
    Unacceptable,
)
from resilient.telemetry import install

__all__ = (
    "AllTargetsFailed",
    "any_of",
    "Attempt",
    "breakers",
    "circuit_breaker",
    "CircuitBreaker",
    "CircuitIsolated",
    "CircuitOpen",
    "consecutive",
    "constant",
    "count_window",
    "current_call",
    "explain",
    "exponential",
    "fallback",
    "FallbackManager",
    "Fault",
    "fibonacci",
    "last_good",
    "linear",
    "manager_of",
    "middleware",
    "not_a_bug",
    "Outcome",
    "Pipeline",
    "pipeline_of",
    "PolicyOrderWarning",
    "Rejected",
    "remaining",
    "ResilientError",
    "Restarted",
    "retry",
    "RetryBudget",
    "Skipped",
    "stack",
    "standard",
    "Target",
    "time_window",
    "TimedOut",
    "timeout",
    "transient",
    "Unacceptable",
    "unsent",
    "value",
)

publish(__name__, __all__, globals())
install()  # spans and log lines are on by default; see `resilient.telemetry`
tell_hypothesis()
del install, publish, tell_hypothesis


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - read when somebody asks

        return version("resilient-policies")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
