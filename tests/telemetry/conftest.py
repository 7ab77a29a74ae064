"""What the telemetry tests share: listeners as they were before, after each test."""

from __future__ import annotations

import logging

import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from opentelemetry.util._once import Once

from resilient import telemetry
from resilient._runtime import listeners
from resilient.testing import capture_spans


@pytest.fixture(autouse=True)
def _fresh_listeners(monkeypatch):
    """Begin as a fresh process does: the default listeners, nothing said yet, no provider."""
    monkeypatch.setattr(listeners, "_said", set())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics, "_METER_PROVIDER_SET_ONCE", Once())
    process = listeners.process
    before = process.loud, process.quiet, process.watch
    telemetry.install()
    yield
    process.loud, process.quiet, process.watch = before


@pytest.fixture
def spans():
    """Capture the spans of a test."""
    with capture_spans() as captured:
        yield captured


@pytest.fixture
def lines(caplog):
    """Return the records that the logger of the library has written, all severities."""
    caplog.set_level(logging.DEBUG, logger="resilient")

    def written() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "resilient"]

    return written
