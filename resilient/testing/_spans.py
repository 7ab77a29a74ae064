"""Spans of a test, from a provider of its own.

The global tracer provider can be set once in a process, so a test passes its
own. Ids count from 1, and under virtual time all instants are exact, so two
runs of one schedule give the same spans to the byte.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import StatusCode

from resilient._runtime.listeners import process
from resilient.telemetry import names
from resilient.telemetry._otel import OtelListener

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override  # anyio needs it as well

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.sampling import Sampler


class CountingIds(IdGenerator):
    """Ids that count from 1: traces and spans each for themselves."""

    def __init__(self) -> None:
        self._traces = count(1)
        self._spans = count(1)

    @override
    def generate_trace_id(self) -> int:
        return next(self._traces)

    @override
    def generate_span_id(self) -> int:
        return next(self._spans)


class CapturedSpans(SpanProcessor):
    """The spans that were made, in the order in which they began."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.started: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []
        self.provider = TracerProvider(
            sampler=sampler,
            resource=Resource.get_empty(),
            id_generator=CountingIds(),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(self)

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append(span)

    @override
    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)

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

    def tree(self, line: Callable[[ReadableSpan], str] | None = None) -> list[str]:
        """Return one line for each span, indented below its parent."""
        return list(self._lines(None, line or _short, ""))

    def page(self) -> str:
        """Return the tree with instants, status and every attribute."""
        first = min((span.start_time or 0 for span in self), default=0)
        return "\n".join(self.tree(lambda span: _long(span, first))) + "\n"

    def _lines(
        self, parent: int | None, line: Callable[[ReadableSpan], str], indent: str
    ) -> Iterator[str]:
        known = {_id(span) for span in self}
        for span in self:
            above = span.parent.span_id if span.parent is not None else None
            if above == parent or (parent is None and above not in known):
                yield indent + line(span)
                yield from self._lines(_id(span), line, indent + "  ")


def _id(span: ReadableSpan) -> int | None:
    context = span.get_span_context()
    return None if context is None else context.span_id


def _short(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    number = attributes.get(names.NUMBER)
    skipped = attributes.get(names.DISPOSITION) in {"skipped", "rejected"}
    parts = [
        span.name,
        "" if number is None else f"#{number}",
        f"({attributes.get(names.DISPOSITION)})" if skipped else "",
        "ERROR" if span.status.status_code is StatusCode.ERROR else "",
        str(attributes.get(names.ERROR_TYPE, "")),
    ]
    return " ".join(part for part in parts if part)


def _long(span: ReadableSpan, first: int) -> str:
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


def _shown(value: Any) -> str:  # noqa: ANN401 - of any type that a span can hold
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if isinstance(value, (str, int)) else ",".join(value)


@contextmanager
def capture_spans(sampler: Sampler | None = None) -> Generator[CapturedSpans]:
    """Yield what the calls inside make of spans; other listeners stay as they are."""
    spans = CapturedSpans(sampler)
    loud, watch = process.loud, process.watch
    others = tuple(one for one in loud if not isinstance(one, OtelListener))
    process.loud, process.watch = (OtelListener(spans.provider), *others), None
    try:
        yield spans
    finally:
        process.loud, process.watch = loud, watch
