"""See what calls do: OpenTelemetry spans and metrics, lines in the log, events for listeners.

All are on by default: spans and metrics cost next to nothing until a provider
is set, and the log is silent while calls succeed. Nothing that goes into a
call or comes out of it is recorded.
"""

from __future__ import annotations

from resilient._runtime.listeners import Listener
from resilient.telemetry._count import count
from resilient.telemetry._describe import SpanDescription, annotate
from resilient.telemetry._install import install, uninstall
from resilient.telemetry._listeners import Noted, Recent, only
from resilient.telemetry._signals import Signal, Signals

__all__ = (
    "annotate",
    "count",
    "install",
    "Listener",
    "Noted",
    "only",
    "Recent",
    "Signal",
    "Signals",
    "SpanDescription",
    "uninstall",
)

for _name in __all__:
    globals()[_name].__module__ = __name__
