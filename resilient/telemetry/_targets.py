"""What a target says of its own span: its description, and what it learns while it runs.

Which span that is hangs on the context of the attempt, so that code in child
tasks and below a client's own span finds it as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context as otel
from opentelemetry.trace import SpanKind

from resilient._runtime.listeners import once
from resilient.telemetry import names
from resilient.telemetry._describe import SpanDescription, is_attribute
from resilient.telemetry._spans import Attempt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient.telemetry._call import Call
    from resilient.telemetry._describe import AttributeValue

ATTEMPT = otel.create_key("resilient-attempt")
# The status is shared: a target knows it where no error carries it.
_OWN = frozenset(attribute.name for attribute in names.ATTRIBUTES) - {names.STATUS}


def annotate(attributes: Mapping[str, AttributeValue | None]) -> None:
    """Put `attributes` onto the span that describes the target of this attempt."""
    attempt = otel.get_value(ATTEMPT)
    if not isinstance(attempt, Attempt) or not attempt.span.is_recording():
        return
    for key, value in attributes.items():
        if value is None:
            continue
        if is_attribute(key, value) and key not in _OWN:
            attempt.described.set_attribute(key, value)
        else:
            _dropped(key, value)


def _dropped(key: object, value: object) -> None:
    name = key if isinstance(key, str) else f"a name of type {type(key).__qualname__}"
    once(
        ("annotate", name),
        "annotate: %s with a value of type %s is dropped",
        name,
        type(value).__qualname__,
    )


def description_of(call: Call, index: int) -> SpanDescription | None:
    """Ask target `index` for its description; `None` where it has none or a wrong one."""
    describes = call.plan.describes
    target = describes[index] if index < len(describes) else None
    if target is None:
        return None
    try:
        made = target.describe()
    except Exception as failed:  # noqa: BLE001 - an adapter's mistake never changes an outcome
        made = failed
    if isinstance(made, SpanDescription):
        return made
    once(
        ("describe", type(target), type(made)),
        "%s.describe() gave %s and no SpanDescription; its target stays undescribed",
        type(target).__qualname__,
        type(made).__qualname__,
    )
    return None


def kind_of(described: SpanDescription) -> SpanKind:
    """Return the kind of span that a description names."""
    return SpanKind[described.kind.upper()]
