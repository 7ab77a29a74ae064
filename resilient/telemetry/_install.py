"""Who listens in this process, and since when.

By default the log does, and OpenTelemetry as soon as somebody has set a
provider: spans with a tracer provider, metrics with a meter provider, each
without the other. Each call looks, while the API is loaded, until there are
both. So a provider that is set late is seen by the next call, and without one
no span is begun and nothing is measured.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

from resilient._core import options
from resilient._runtime.listeners import check_listener, once, process
from resilient.telemetry import _providers, names
from resilient.telemetry._failures import Failures
from resilient.telemetry._logs import LEVELS, LogListener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from resilient._runtime.listeners import Listener
    from resilient.telemetry.names import Severity


def install(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    spans: bool = True,
    metrics: bool = True,
    logs: bool = True,
    listeners: Sequence[Listener] = (),
    exceptions: Literal["off", "span"] = "off",
    describe_error: Callable[[Exception], str | None] | None = None,
    severities: Mapping[str, Severity] | None = None,
) -> None:
    """Set who is told of the calls of this process; the last call of it wins.

    Spans go to `tracer_provider` and metrics to `meter_provider`, by default
    to the global ones as soon as there are any. `logs` are lines on the stdlib
    logger `resilient`. `listeners` are told of every event.
    `exceptions="span"` records the exception that leaves a call on the
    innermost span that it left, traceback and message included;
    `describe_error` makes a text of a foreign exception for the status of a
    span: both are off because messages may hold what the user passed in.
    `severities` changes how loud a log line is, by its event name.

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
    _check_provider(tracer_provider, "tracer_provider", "get_tracer", "TracerProvider")
    _check_provider(meter_provider, "meter_provider", "get_meter", "MeterProvider")
    quiet = (LogListener(_checked(severities or {})),) if logs else ()
    failures = Failures(describe_error)

    def of_spans(provider: TracerProvider) -> Listener:
        from resilient.telemetry._otel import OtelListener  # noqa: PLC0415 - only where it is used

        return OtelListener(provider, failures, exceptions=exceptions)

    def of_metrics(provider: MeterProvider) -> Listener:
        from resilient.telemetry._metrics import MetricsListener  # noqa: PLC0415 - as above

        return MetricsListener(provider, failures)

    # Spans first: a point is recorded in the context of its span.
    parts: list[_Part] = []
    if spans:
        parts.append(_Part("spans", of_spans, tracer_provider, _providers.tracer_provider))
    if metrics:
        parts.append(_Part("metrics", of_metrics, meter_provider, _providers.meter_provider))
    _Lookout(parts, told).begin()
    process.quiet = quiet


def uninstall() -> None:
    """Leave nobody listening: no spans, no metrics, no log lines, no listeners of the process.

    Listeners of a pipeline (`stack(listeners=)`) stay.

    >>> uninstall()
    >>> install()
    """
    process.watch = None
    process.loud = process.quiet = ()


class _Part:
    """Spans or metrics: a listener, as soon as its provider is there."""

    __slots__ = ("_find", "_make", "_name", "listener", "waits")

    def __init__(
        self,
        name: str,
        make: Callable[[Any], Listener],
        given: Any,  # noqa: ANN401 - a provider of either kind
        find: Callable[[], Any],
    ) -> None:
        self._name = name
        self._make = make
        self._find = find
        self.waits = given is None
        self.listener: tuple[Listener, ...] = () if given is None else (make(given),)

    def has_news(self) -> bool:
        """Tell whether the provider that it waits for is there."""
        return self.waits and self._find() is not None

    def begin(self) -> None:
        """Listen, with that provider."""
        self.waits = False
        try:
            self.listener = (self._make(self._find()),)
        except Exception as error:  # noqa: BLE001 - a provider that fails must fail no call
            said = type(error).__qualname__
            once(
                ("watch", self._name, said), "no %s: the provider failed with %s", self._name, said
            )


class _Lookout:
    """Lets the parts listen as their providers turn up, in front of those who are told anyway."""

    __slots__ = ("_changing", "_look", "_parts", "_told")

    def __init__(self, parts: list[_Part], told: tuple[Listener, ...]) -> None:
        self._parts = parts
        self._told = told
        self._changing = RLock()
        self._look = _providers.until_any_is_set(self.look)

    def begin(self) -> None:
        """Make whoever can listen now the listeners of the process."""
        process.loud = tuple(one for part in self._parts for one in part.listener) + self._told
        process.watch = self._look if any(part.waits for part in self._parts) else None

    def look(self) -> None:
        """Let those listen whose providers have turned up."""
        if not any(part.has_news() for part in self._parts):
            return
        with self._changing:  # two threads may find one each, and none must get lost
            for part in self._parts:
                if part.has_news():
                    part.begin()
            if process.watch is self._look:  # nobody installed anything else meanwhile
                self.begin()


def _check_provider(given: object, option: str, method: str, kind: str) -> None:
    if given is not None and not callable(getattr(given, method, None)):
        raise TypeError(f"install({option}=) takes a {kind}, not {options.shown(given)}")


def _checked(severities: Mapping[str, Severity]) -> Mapping[str, Severity]:
    known = sorted(line.name for line in names.LINES)
    for name, severity in severities.items():
        if name not in known:
            shown = f"{options.shown(name)}; there are {', '.join(known)}"
            raise ValueError(f"install(severities=) has no line {shown}")
        options.choice(severity, f"install(severities=)[{name!r}]", tuple(LEVELS))
    return severities
