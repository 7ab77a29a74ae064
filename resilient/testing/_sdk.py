"""What a test needs of OpenTelemetry's SDK, loaded only when a test captures something.

Providers of its own, because the global ones can be set once in a process.
Ids count from 1, so that two runs of one schedule give the same to the byte.
"""

from __future__ import annotations

# A provider asks a thread pool for its resource in a child that was forked. There it waits for
# ever on the pool's lock, unless the pool's own fork hook was there before the provider's.
import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport]
import sys
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

from resilient.testing._measured import CapturedMetric, MetricPoint

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override  # anyio needs it as well

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.sampling import Sampler


class CountingIds(IdGenerator):
    """Ids that count from 1: traces and spans each for themselves."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again with 1."""
        self._traces = count(1)
        self._spans = count(1)

    @override
    def generate_trace_id(self) -> int:
        return next(self._traces)

    @override
    def generate_span_id(self) -> int:
        return next(self._spans)


class Noting(SpanProcessor):
    """Notes the spans that begin and those that end."""

    def __init__(self, started: list[ReadableSpan], ended: list[ReadableSpan]) -> None:
        self.started = started
        self.ended = ended

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append(span)

    @override
    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def tracer_provider(
    processor: SpanProcessor, sampler: Sampler | None, ids: IdGenerator | None = None
) -> TracerProvider:
    """Return a provider that tells `processor` of every span that `sampler` takes."""
    provider = TracerProvider(
        sampler=sampler,
        resource=Resource.get_empty(),
        id_generator=ids or CountingIds(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return provider


class Measurements:
    """A meter provider, and what it has measured so far."""

    def __init__(self, *, since_last: bool = False) -> None:
        """Measure from the beginning, or with `since_last` from the last time it was read."""
        kinds: list[type] = [Counter, Histogram, UpDownCounter]
        delta = dict.fromkeys(kinds, AggregationTemporality.DELTA)
        self._reader = InMemoryMetricReader(delta if since_last else None)
        self.provider = MeterProvider(
            [self._reader], resource=Resource.get_empty(), shutdown_on_exit=False
        )

    def read(self) -> dict[str, CapturedMetric]:
        """Collect what has been measured, by name."""
        return {
            metric.name: CapturedMetric(
                metric.name, metric.unit or "", tuple(map(_point, metric.data.data_points))
            )
            for metric in self._collected()
        }

    def _collected(self) -> Iterator[Any]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics


class Reused:
    """What all simulated runs use, one after the other.

    A provider leaves a hook in the process, for its forks, that nothing takes
    away again: one for each of many thousand runs would add up.
    """

    def __init__(self) -> None:
        self._noting = Noting([], [])
        self._ids = CountingIds()
        self.provider = tracer_provider(self._noting, None, self._ids)
        self.measurements = Measurements(since_last=True)

    def begin(self, started: list[ReadableSpan], ended: list[ReadableSpan]) -> None:
        """Note in these lists from now on; what was measured before is forgotten."""
        self._noting.started, self._noting.ended = started, ended
        self._ids.restart()
        self.measurements.read()


@cache
def reused() -> Reused:
    """Return the one that there is."""
    return Reused()


def _point(found: Any) -> MetricPoint:  # noqa: ANN401 - the SDK has a class for each instrument
    is_histogram = isinstance(found, HistogramDataPoint)
    return MetricPoint(
        attributes=dict(found.attributes),
        sum=found.sum if is_histogram else found.value,
        count=found.count if is_histogram else 1,
        bounds=tuple(found.explicit_bounds) if is_histogram else (),
        exemplars=tuple(one.span_id for one in found.exemplars if one.span_id is not None),
    )
