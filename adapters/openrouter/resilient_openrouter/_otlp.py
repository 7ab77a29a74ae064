"""Spans of a command go where `OTEL_EXPORTER_OTLP_ENDPOINT` says, if it says anything.

Nobody should have to read a traceback of an exporter: a missing SDK and a
collector that does not answer are one line each.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from resilient.telemetry import install

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from resilient.telemetry import Listener
    from resilient_openrouter._export import Provider

__all__ = ("ENDPOINT", "told")

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
# A collector that is there answers at once; the exporter's own default is ten times as patient.
_SECONDS: Final = 2.0


@contextmanager
def told(service: str, *, listeners: Sequence[Listener] = ()) -> Generator[None]:
    """Have the calls inside told to the collector, if one is named, and to the listeners.

    The library's own log lines are left out: the command says what they say.
    """
    endpoint = os.environ.get(ENDPOINT)
    provider = _provider(service) if endpoint else None
    install(tracer_provider=provider, logs=False, listeners=listeners)
    try:
        yield
    finally:
        install()
        if provider is not None:
            provider.shutdown()
            sent = "were sent" if provider.delivered() else "could not be delivered"
            _say(f"spans {sent} to {endpoint} (service {service})")


def _provider(service: str) -> Provider | None:
    try:
        from resilient_openrouter import _export  # noqa: PLC0415 - needs the SDK
    except ModuleNotFoundError as error:
        _say(
            f"{ENDPOINT} is set, but {error.name} is missing: no spans are sent;"
            ' pip install "resilient-policies[otel]"'
        )
        return None
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry").propagate = False
    return _export.Provider(service, _SECONDS)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
