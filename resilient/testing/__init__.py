"""Test what a bad day does to an async function, without waiting for it.

`virtual_time` runs an async function on a clock that jumps: a test of an hour
of retries takes milliseconds and reads exact times. `Tester` runs policies
against scripts of failures, on asyncio and trio, and compares what happened.
`capture_spans` shows what telemetry makes of it.
"""

from __future__ import annotations

from resilient._hypothesis import tell_hypothesis
from resilient._publish import publish
from resilient._runtime.clock import fresh_breakers
from resilient.testing._backend import FaultyBackend
from resilient.testing._cancellation import Interrupted, cancel_at_every_await
from resilient.testing._check import Finding, InvariantBroken, invariant
from resilient.testing._check_backend import check_backend
from resilient.testing._check_middleware import check_middleware
from resilient.testing._invariants import INVARIANTS, RERUNS
from resilient.testing._invariants.statistics import spread_at_cap
from resilient.testing._leftovers import leftovers
from resilient.testing._measured import CapturedMetric, MetricPoint
from resilient.testing._record import Cancelled, Log, Raised, Returned
from resilient.testing._reply import HttpReply
from resilient.testing._run import CallerRun, Run
from resilient.testing._schedule import FailureSchedule
from resilient.testing._simulate import simulate
from resilient.testing._spans import CapturedSpans, capture_spans
from resilient.testing._steps import (
    Bad,
    Cut,
    CutError,
    Fail,
    FaultError,
    Hang,
    Interruption,
    Items,
    Ok,
    Stubborn,
)
from resilient.testing._strategies import arrivals, cancellations, schedules, schedules_for
from resilient.testing._switches import instant, overrides, policies_off, policies_on
from resilient.testing._tester import Tester
from resilient.testing._virtual import virtual_time
from resilient.testing._virtual_run import Stuck

__all__ = (
    "arrivals",
    "Bad",
    "CallerRun",
    "cancel_at_every_await",
    "cancellations",
    "Cancelled",
    "capture_spans",
    "CapturedMetric",
    "CapturedSpans",
    "check_backend",
    "check_middleware",
    "Cut",
    "CutError",
    "Fail",
    "FailureSchedule",
    "FaultError",
    "FaultyBackend",
    "Finding",
    "fresh_breakers",
    "Hang",
    "HttpReply",
    "instant",
    "Interrupted",
    "Interruption",
    "invariant",
    "InvariantBroken",
    "INVARIANTS",
    "Items",
    "leftovers",
    "Log",
    "MetricPoint",
    "Ok",
    "overrides",
    "policies_off",
    "policies_on",
    "Raised",
    "RERUNS",
    "Returned",
    "Run",
    "schedules",
    "schedules_for",
    "simulate",
    "spread_at_cap",
    "Stubborn",
    "Stuck",
    "Tester",
    "virtual_time",
)

publish(__name__, __all__, globals())
tell_hypothesis()
del publish, tell_hypothesis
