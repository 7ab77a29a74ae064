"""Spans, metrics and log lines of a test, from providers of its own.

Under virtual time all instants are exact and ids count from 1, so two runs of
one schedule give the same spans to the byte.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from resilient._runtime.listeners import process
from resilient.telemetry import names
from resilient.telemetry._failures import Failures
from resilient.testing._lines import noting

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Generator, Iterator, Mapping

    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import SpanContext

    from resilient._runtime.listeners import Listener
    from resilient.testing._measured import CapturedMetric


class CapturedSpans:
    """The spans of a test, in the order in which they began; also its metrics and its log lines.

    Made by `capture_spans`. To capture what other libraries make as well, give
    them `provider` and `meter_provider`.
    """

    started: list[ReadableSpan]
    """The spans that began."""
    ended: list[ReadableSpan]
    """The spans that ended, in the order in which they did."""
    logs: list[logging.LogRecord]
    """The lines of the library's log, of every severity."""
    provider: TracerProvider
    """Where the spans come from."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        sdk = _sdk()
        self.started, self.ended, self.logs = [], [], []
        self.provider = sdk.tracer_provider(sdk.Noting(self.started, self.ended), sampler)
        self._failures = Failures(None)
        self._measured: dict[str, CapturedMetric] | None = None

    @cached_property
    def _measurements(self) -> Any:  # noqa: ANN401 - of a module that may be absent
        """What measures: made when it is asked for, because it costs as much as the spans."""
        return _sdk().Measurements()

    @property
    def meter_provider(self) -> MeterProvider:
        """Where the metrics come from."""
        provider: MeterProvider = self._measurements.provider
        return provider

    @property
    def metrics(self) -> Mapping[str, CapturedMetric]:
        """What was measured so far, by the names of the metrics; none that has no point."""
        return self._measurements.read() if self._measured is None else self._measured

    def _freeze(self) -> None:
        """Measure no further: what has been measured is what `metrics` says from now on."""
        self._measured = self._measurements.read()

    def _tracer(self) -> Listener:
        """Return what makes its spans, as a listener."""
        from resilient.telemetry._otel import OtelListener  # noqa: PLC0415 - as `_sdk`

        return OtelListener(self.provider, self._failures)

    def listeners(self) -> tuple[Listener, ...]:
        """Return what makes its spans and metrics, as listeners."""
        from resilient.telemetry._metrics import MetricsListener  # noqa: PLC0415 - as `_sdk`

        return self._tracer(), MetricsListener(self.meter_provider, self._failures)

    def __iter__(self) -> Iterator[ReadableSpan]:
        """Iterate over the spans, also those that have not ended."""
        return iter(self.started)

    def __len__(self) -> int:
        """Return how many began."""
        return len(self.started)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of this name."""
        return [span for span in self if span.name == name]

    def attempts(self) -> list[ReadableSpan]:
        """Return the spans of attempts that started: those with a number."""
        return [span for span in self if names.NUMBER in (span.attributes or {})]

    def tree(self) -> list[str]:
        """Return one line for each span, indented below its parent.

        A line has the name, the number of an attempt or why there was none,
        `ERROR` and what failed, and behind an arrow the attempt that it has a
        link to.
        """
        return list(self._lines(None, _short, ""))

    def page(self) -> str:
        """Return the tree with instants in seconds, status and every attribute."""
        first = min((span.start_time or 0 for span in self), default=0)
        return "".join(f"{line}\n" for line in self._lines(None, partial(_long, first), ""))

    def to_json(self) -> str:
        """Return the spans as JSON, the same text for the same spans.

        Under virtual time that is the same to the byte in every run, on
        asyncio and trio: instants are exact and count from the year 2000, and
        the ids of traces and spans count from 1.
        """
        return json.dumps([_as_json(span) for span in self], indent=2, sort_keys=True) + "\n"

    def _lines(
        self, parent: int | None, line: Callable[[ReadableSpan], str], indent: str
    ) -> Iterator[str]:
        known = {_id(span) for span in self}
        for span in self:
            above = span.parent.span_id if span.parent is not None else None
            if above == parent or (parent is None and above not in known):
                yield indent + line(span) + self._linked(span)
                yield from self._lines(_id(span), line, indent + "  ")

    def _linked(self, span: ReadableSpan) -> str:
        known = {_id(one): one for one in self}
        linked = [known.get(link.context.span_id) for link in span.links]
        return "".join(f"  -> {_named(one) if one else 'another span'}" for one in linked)


class SpansOfARun(CapturedSpans):
    """Those of a simulated run: all runs of a process use the same providers in turn."""

    def __init__(self) -> None:
        self.started, self.ended, self.logs = [], [], []
        reused = _sdk().reused()
        reused.begin(self.started, self.ended)
        self.provider, self._measurements = reused.provider, reused.measurements
        self._failures = Failures(None)
        self._measured = {}  # until it is frozen


def _id(span: ReadableSpan) -> int | None:
    context = span.get_span_context()
    return None if context is None else context.span_id


def _named(span: ReadableSpan) -> str:
    number = (span.attributes or {}).get(names.NUMBER)
    return span.name if number is None else f"{span.name} #{number}"


def _short(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    skipped = attributes.get(names.DISPOSITION) in {"skipped", "rejected"}
    parts = [
        _named(span),
        f"({attributes.get(names.DISPOSITION)})" if skipped else "",
        "ERROR" if span.status.status_code.name == "ERROR" else "",
        str(attributes.get(names.ERROR_TYPE, "")),
    ]
    return " ".join(part for part in parts if part)


def _long(first: int, span: ReadableSpan) -> str:
    start, end = span.start_time or 0, span.end_time
    lasted = "open" if end is None else f"{(end - start) / 1e9:.6g}"
    told = [f"{span.name}  {span.kind.name}  {(start - first) / 1e9:.6g} +{lasted}"]
    told.append(span.status.status_code.name)
    if span.status.description:
        told.append(f"({span.status.description})")
    attributes: dict[str, Any] = dict(span.attributes or {})
    told += [
        f"{name.removeprefix('resilient.')}={_shown(attributes[name])}"
        for name in sorted(attributes)
    ]
    return "  ".join(told)


def _as_json(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace_id": None if context is None else format(context.trace_id, "032x"),
        "span_id": _hex(context),
        "parent_id": _hex(span.parent),
        "start": _instant(span.start_time),
        "end": _instant(span.end_time),
        "status": span.status.status_code.name,
        "description": span.status.description,
        "attributes": dict(span.attributes or {}),
        "links": [_hex(link.context) for link in span.links],
        "events": [event.name for event in span.events],
    }


def _hex(context: SpanContext | None) -> str | None:
    return None if context is None else format(context.span_id, "016x")


def _instant(nanoseconds: int | None) -> str | None:
    if nanoseconds is None:
        return None
    whole, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _shown(value: Any) -> str:  # noqa: ANN401 - of any type that a span can hold
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if isinstance(value, (str, int)) else ",".join(value)


@contextmanager
def capture_spans(sampler: Sampler | None = None) -> Generator[CapturedSpans]:
    """Yield what the calls inside make of spans, metrics and log lines.

    Providers are its own, so neither the global ones nor their exporters see
    anything of it. Listeners that are installed stay, but for those of
    OpenTelemetry; the log writes what it always does, and every severity of it
    is captured.

    It needs OpenTelemetry's SDK, which the extra `testing` brings; without it
    this is an `ImportError`.

    >>> from resilient import retry
    >>> from resilient.testing import virtual_time
    >>> @retry(attempts=2, backoff=[0.5])
    ... async def ask() -> str:
    ...     raise ConnectionError
    >>> with capture_spans() as spans:
    ...     virtual_time(ask)
    Traceback (most recent call last):
    ConnectionError
    >>> for line in spans.tree():
    ...     print(line)
    ask ERROR ConnectionError
      attempt ask #1 ERROR ConnectionError
      attempt ask #2 ERROR ConnectionError
    >>> spans.metrics["resilient.call.retries"].sum, len(spans.logs)
    (1, 2)
    """
    spans = CapturedSpans(sampler)
    mine = spans.listeners()
    loud, watch = process.loud, process.watch
    others = tuple(one for one in loud if type(one) not in {type(own) for own in mine})
    process.loud, process.watch = (*mine, *others), None
    try:
        with noting(spans.logs):
            yield spans
    finally:
        spans._freeze()  # noqa: SLF001 - of the class above
        process.loud, process.watch = loud, watch


def _sdk() -> Any:  # noqa: ANN401 - a module
    """Load what a capture needs of the SDK, which nobody needs who captures nothing."""
    try:
        from resilient.testing import _sdk as sdk  # noqa: PLC0415 - as the docstring says
    except ImportError as error:
        raise ImportError(
            "capture_spans() needs opentelemetry-sdk: pip install 'resilient-policies[testing]'"
        ) from error
    return sdk
