"""What an adapter adds to a metric of its own.

The library measures calls and attempts. What else there is to add up, only
the code of a target knows: money, for one.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from resilient._core.options import shown
from resilient._runtime.clock import audience
from resilient._runtime.listeners import once
from resilient.telemetry import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient.telemetry._attributes import Attributes
    from resilient.telemetry._describe import AttributeValue
    from resilient.telemetry._metrics import MetricsListener

_LABELS = {names.COST: {names.TARGET, names.COST_RESOLVED}}
"""The counters that adapters add to, and the attributes of each."""


def count(name: str, number: float, attributes: Mapping[str, AttributeValue], /) -> None:
    """Add to a counter of an adapter's: `resilient.openrouter.cost`, in dollars.

    It goes to the meter provider that the metrics of calls go to. Nothing
    happens where nobody measures. Another counter, other attributes than its
    own and a number below 0 are a `ValueError`.

    >>> told = {"resilient.target.name": "gpt-4o", "resilient.openrouter.cost.resolved": True}
    >>> count("resilient.openrouter.cost", 0.0002, told)
    """
    labels = _LABELS.get(name)
    if labels is None:
        raise ValueError(f"count(name) must be {', '.join(_LABELS)}, not {shown(name)}")
    if set(attributes) != labels:
        raise ValueError(
            f"count({name!r}) has the attributes {', '.join(sorted(labels))},"
            f" not {', '.join(sorted(attributes)) or 'none'}"
        )
    if not number >= 0:
        raise ValueError(f"count({name!r}, number) must be at least 0, not {shown(number)}")
    told = audience()
    if told.watch is not None and "opentelemetry.context" in sys.modules:
        told.watch()
    metrics: Any = sys.modules.get("resilient.telemetry._metrics")
    if metrics is None:
        return
    labelled = dict(attributes)
    for listener in told.loud:
        if isinstance(listener, metrics.MetricsListener):
            _add(cast("MetricsListener", listener), name, number, labelled)


def _add(listener: MetricsListener, name: str, number: float, attributes: Attributes) -> None:
    try:
        listener.add(name, number, attributes)
    except Exception as error:  # noqa: BLE001 - who measures never changes an outcome
        failed = type(error).__qualname__
        once(("count", name, failed), "%s is not counted: %s", name, failed)
