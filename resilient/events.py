"""The events that listeners get; each class says when it is emitted."""

from __future__ import annotations

from resilient._core.events import (
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    BudgetRefused,
    BugServed,
    CallEnded,
    CallRejected,
    CallStarted,
    Degraded,
    Event,
    FellBack,
    RetryScheduled,
    RetryStopped,
    StreamCommitted,
    StreamCut,
    TargetRests,
    TargetSkipped,
    TimeoutFired,
    TimeoutOverrun,
)
from resilient._publish import publish

__all__ = (
    "AttemptEnded",
    "AttemptStarted",
    "BreakerChanged",
    "BudgetRefused",
    "BugServed",
    "CallEnded",
    "CallRejected",
    "CallStarted",
    "Degraded",
    "Event",
    "FellBack",
    "RetryScheduled",
    "RetryStopped",
    "StreamCommitted",
    "StreamCut",
    "TargetRests",
    "TargetSkipped",
    "TimeoutFired",
    "TimeoutOverrun",
)

publish(__name__, __all__, globals())
