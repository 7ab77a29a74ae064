"""What the metrics of a test came to: points, each with its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """What was measured under one set of attributes.

    `sum` is what was added up, or seen last; `count` is how many values a
    histogram has, `bounds` are the upper bounds of its buckets. `exemplars`
    are the ids of spans that a value was recorded in.
    """

    attributes: dict[str, Any]
    sum: float
    count: int = 1
    bounds: tuple[float, ...] = ()
    exemplars: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CapturedMetric:
    """A metric of a test: its points, and what they add up to.

    >>> answered = MetricPoint(attributes={"resilient.call.outcome": "success"}, sum=1.5, count=3)
    >>> refused = MetricPoint(attributes={"resilient.call.outcome": "rejected"}, sum=0.5)
    >>> metric = CapturedMetric("resilient.call.duration", "s", (answered, refused))
    >>> metric.sum, metric.count
    (2.0, 4)
    """

    name: str
    unit: str
    points: tuple[MetricPoint, ...]

    @property
    def sum(self) -> float:
        """What all points add up to."""
        return sum(point.sum for point in self.points)

    @property
    def count(self) -> int:
        """How many values there are: in a histogram those recorded, else the points."""
        return sum(point.count for point in self.points)
