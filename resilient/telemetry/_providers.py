"""The providers of the process: OpenTelemetry's global ones, as soon as somebody has set them.

Asking the API for them costs 1.6 µs each, and while nobody has set one it
answers with a placeholder. Its variables are looked at instead, and where they
have other names one day, the API is asked all the same.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_TRACE: Final = "opentelemetry.trace"
_METRICS: Final = "opentelemetry.metrics._internal"
_ABSENT: Any = SimpleNamespace(_TRACER_PROVIDER=None, _METER_PROVIDER=None)
"""Stands for a module that nobody has imported."""


def until_any_is_set(found: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `found` once there is a provider, and does nothing before.

    Each call of a guarded function calls it, so it is one frame and no more.
    """
    loaded: Any = sys.modules.get
    absent = _ABSENT

    def look() -> None:
        try:
            if (
                loaded(_TRACE, absent)._TRACER_PROVIDER is None  # noqa: SLF001 - as said above
                and loaded(_METRICS, absent)._METER_PROVIDER is None  # noqa: SLF001 - as said above
            ):
                return
        except AttributeError:
            pass  # have a closer look
        found()

    return look


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
