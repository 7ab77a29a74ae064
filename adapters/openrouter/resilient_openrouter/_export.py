"""A tracer provider that sends its spans by OTLP and knows whether they arrived.

Imported only where the SDK is wanted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ("Provider",)


class _Noting(SpanExporter):
    """Sends spans and remembers whether any were lost."""

    def __init__(self, seconds: float) -> None:
        given = os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT")
        self._exporter = OTLPSpanExporter(timeout=None if given else seconds)
        self.lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send, and note a failure."""
        result = self._exporter.export(spans)
        self.lost = self.lost or result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs


class Provider(TracerProvider):
    """The spans of one command, under the name of its service."""

    def __init__(self, service: str, seconds: float) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", service)
        super().__init__(resource=Resource.create({SERVICE_NAME: name}))
        self._noting = _Noting(seconds)
        self.add_span_processor(BatchSpanProcessor(self._noting))

    def delivered(self) -> bool:
        """Tell whether everything so far has arrived."""
        return not self._noting.lost
