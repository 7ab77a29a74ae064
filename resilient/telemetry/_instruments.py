"""The instruments of one meter provider, made once for each provider.

Two of them are observed: a reader asks for them whenever it collects, on its
own thread. What it is told is a snapshot, and only while the metrics of this
provider are installed.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.metrics import Observation

from resilient._runtime.clock import audience
from resilient._runtime.listeners import once
from resilient.telemetry import names
from resilient.telemetry._observed import OBSERVED
from resilient.telemetry._version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider

    from resilient.telemetry._observed import Observe
    from resilient.telemetry.names import Metric


class Instruments:
    """The instruments of one provider, by name."""

    __slots__ = ("__weakref__", "_made")

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(names.SCOPE, version(), schema_url=names.SCHEMA_URL)
        self._made = {metric.name: self._make(meter, metric) for metric in names.METRICS}

    def puts(self) -> dict[str, Callable[..., None]]:
        """Return what records a number, by the names of the metrics that are recorded."""
        methods = {"histogram": "record", "counter": "add"}
        return {
            metric.name: getattr(self._made[metric.name], methods[metric.instrument])
            for metric in names.METRICS
            if metric.instrument in methods
        }

    def _make(self, meter: Meter, metric: Metric) -> Any:  # noqa: ANN401
        said = {"unit": metric.unit, "description": metric.says}
        match metric.instrument:
            case "histogram":
                return meter.create_histogram(
                    metric.name, **said, explicit_bucket_boundaries_advisory=metric.buckets
                )
            case "counter":
                return meter.create_counter(metric.name, **said)
            case "observable_gauge":
                return meter.create_observable_gauge(metric.name, [self._asked(metric)], **said)
            case "observable_up_down_counter":
                callbacks = [self._asked(metric)]
                return meter.create_observable_up_down_counter(metric.name, callbacks, **said)

    def _asked(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        observe = OBSERVED[metric.name]

        def answer(_options: CallbackOptions) -> Iterable[Observation]:
            return self._observations(observe)

        return answer

    def _observations(self, observe: Observe) -> Iterable[Observation]:
        try:
            if not self._is_installed():
                return ()
            return [Observation(number, attributes) for number, attributes in observe()]
        except Exception as error:  # noqa: BLE001 - a reader must not lose the metrics of others
            name = type(error).__qualname__
            once(("observed", observe, name), "no snapshot for a metric: %s", name)
            return ()

    def _is_installed(self) -> bool:
        return any(getattr(one, "instruments", None) is self for one in audience().loud)


_known: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()
_lock = Lock()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Return the instruments of `provider`: an observed one that is made twice reports twice."""
    try:
        with _lock:
            found = _known.get(provider)
            if found is None:
                found = _known[provider] = Instruments(provider)
            return found
    except TypeError:  # a provider of somebody's own that cannot be remembered
        return Instruments(provider)
