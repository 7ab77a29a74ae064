"""The providers of the process: OpenTelemetry's global ones, as soon as somebody has set them.

Asking the API for them costs 1.6 µs each, and while nobody has set one it
answers with a placeholder. Its variables are looked at instead, and where they
have other names one day, the API is asked all the same.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_TRACE = "opentelemetry.trace"
_METRICS = "opentelemetry.metrics._internal"
_ABSENT: Any = SimpleNamespace(_TRACER_PROVIDER=None, _METER_PROVIDER=None)
"""Stands for a module that nobody has imported."""


def is_any_set() -> bool:
    """Tell whether there is a provider; each call asks this while there is none."""
    trace: Any = sys.modules.get(_TRACE, _ABSENT)
    metrics: Any = sys.modules.get(_METRICS, _ABSENT)
    try:
        return (
            trace._TRACER_PROVIDER is not None  # noqa: SLF001 - as said above
            or metrics._METER_PROVIDER is not None  # noqa: SLF001 - as said above
        )
    except AttributeError:
        return True  # have a closer look


def tracer_provider() -> TracerProvider | None:
    """Return the tracer provider of the process, `None` until somebody has set one."""
    api: Any = sys.modules.get(_TRACE, _ABSENT)
    try:
        provider: TracerProvider | None = api._TRACER_PROVIDER  # noqa: SLF001 - as said above
    except AttributeError:
        provider = _asked(api, "get_tracer_provider", "ProxyTracerProvider")
    return provider


def meter_provider() -> MeterProvider | None:
    """Return the meter provider of the process, `None` until somebody has set one."""
    api: Any = sys.modules.get(_METRICS, _ABSENT)
    try:
        provider: MeterProvider | None = api._METER_PROVIDER  # noqa: SLF001 - as said above
    except AttributeError:
        provider = _asked(api, "get_meter_provider", "_ProxyMeterProvider")
    return provider


def _asked(api: Any, ask: str, placeholder: str) -> Any:  # noqa: ANN401 - a module, a provider
    try:
        provider = getattr(api, ask)()
        is_placeholder = isinstance(provider, getattr(api, placeholder))
    except AttributeError:  # it is being imported right now
        return None
    return None if is_placeholder else provider
