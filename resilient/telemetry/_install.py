"""Who listens in this process, and since when.

By default the log does, and OpenTelemetry as soon as somebody has set a tracer
provider: each call looks, while the API is loaded and until there is one. So
a provider that is set late is seen by the next call, and without one no span
is ever made.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from resilient._core import options
from resilient._runtime.listeners import check_listener, once, process
from resilient.telemetry import names
from resilient.telemetry._logs import LEVELS, LogListener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import TracerProvider

    from resilient._runtime.listeners import Listener
    from resilient.telemetry.names import Severity


def install(
    *,
    tracer_provider: TracerProvider | None = None,
    spans: bool = True,
    logs: bool = True,
    listeners: Sequence[Listener] = (),
    exceptions: Literal["off", "span"] = "off",
    describe_error: Callable[[Exception], str | None] | None = None,
    severities: Mapping[str, Severity] | None = None,
) -> None:
    """Set who is told of the calls of this process; the last call of it wins.

    Spans go to `tracer_provider`, by default to the global one as soon as
    there is one. `logs` are lines on the stdlib logger `resilient`.
    `listeners` are told of every event. `exceptions="span"` records the
    exception that leaves a call on the innermost span that it left, traceback
    and message included; `describe_error` makes a text of a foreign exception
    for the status of a span: both are off because messages may hold what the
    user passed in. `severities` changes how loud a log line is, by its event
    name.

    This is the state of things without any call: `install()`. Calls in flight
    keep the listeners that they began with.

    >>> install(severities={"resilient.retry.scheduled": "INFO"})
    >>> install()
    """
    options.choice(exceptions, "install(exceptions=)", ("off", "span"))
    told = tuple(listeners)
    for listener in told:
        check_listener(listener, "install(listeners=)")
    if describe_error is not None and not callable(describe_error):
        raise TypeError(
            f"install(describe_error=) takes a function, not {options.shown(describe_error)}"
        )
    if tracer_provider is not None and not callable(getattr(tracer_provider, "get_tracer", None)):
        shown = options.shown(tracer_provider)
        raise TypeError(f"install(tracer_provider=) takes a TracerProvider, not {shown}")
    quiet = (LogListener(_checked(severities or {})),) if logs else ()

    def listener_of(provider: TracerProvider) -> Listener:
        from resilient.telemetry._otel import OtelListener  # noqa: PLC0415 - only where it is used

        return OtelListener(provider, exceptions=exceptions, describe_error=describe_error)

    def watch() -> None:
        provider = global_provider()
        if provider is None:
            return
        try:
            found = (listener_of(provider), *told)
        except Exception as error:  # noqa: BLE001 - a provider that fails must fail no call
            name = type(error).__qualname__
            once(("watch", name), "no spans: the tracer provider failed with %s", name)
            found = told
        if process.watch is watch:  # nobody installed anything else meanwhile
            process.loud, process.watch = found, None

    loud = told
    if spans and tracer_provider is not None:
        loud = (listener_of(tracer_provider), *told)
    process.watch = watch if spans and tracer_provider is None else None
    process.loud, process.quiet = loud, quiet


def uninstall() -> None:
    """Leave nobody listening: no spans, no log lines, no listeners of the process.

    Listeners of a pipeline (`stack(listeners=)`) stay.

    >>> uninstall()
    >>> install()
    """
    process.watch = None
    process.loud = process.quiet = ()


def global_provider() -> TracerProvider | None:
    """Return the tracer provider of the process, `None` until somebody has set one."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    try:
        provider: TracerProvider | None = trace._TRACER_PROVIDER  # noqa: SLF001 - asking costs 1.6 µs
    except AttributeError:
        return _asked(trace)
    return provider


def _asked(trace: Any) -> TracerProvider | None:  # noqa: ANN401 - a module
    try:
        provider: TracerProvider = trace.get_tracer_provider()
        placeholder = isinstance(provider, trace.ProxyTracerProvider)
    except AttributeError:  # it is being imported right now
        return None
    return None if placeholder else provider


def _checked(severities: Mapping[str, Severity]) -> Mapping[str, Severity]:
    known = sorted(line.name for line in names.LINES)
    for name, severity in severities.items():
        if name not in known:
            shown = f"{options.shown(name)}; there are {', '.join(known)}"
            raise ValueError(f"install(severities=) has no line {shown}")
        options.choice(severity, f"install(severities=)[{name!r}]", tuple(LEVELS))
    return severities
